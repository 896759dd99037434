//! What sealing costs: the time of sealed modules by that of unsealed ones, fuel as a unit, start-up, and the
//! publisher's share.
//!
//! Ratios are of the same engine in the same process: a repetition executes each variant once, one after the other, and the
//! median of the repetitions' ratios is shown. The column *control* is the unsealed module loaded once more: how far
//! it is from 1 is how far to trust its row.

mod corpus;
mod dearest;
mod engines;
mod forms;
mod publish;
mod script;
mod start;

use std::collections::BTreeMap;

use crate::report::{Report, Table};

pub(crate) use publish::{SEALER, seal_in_this_process};

use corpus::{Corpus, Kernel, Kind};
use forms::Forms;
use manyhands_tests::browser;
use script::Plan;

/// How often each variant of each kernel is executed.
const REPETITIONS: usize = 41;
/// The same in browsers.
const REPETITIONS_BROWSER: usize = 21;
/// The same of the loops of [`dearest`], which tell apart tens and not hundredths.
const REPETITIONS_DEAREST: usize = 5;

/// What is compared, in the order of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Variant {
    /// As the compiler wrote it.
    Unsealed,
    /// With fuel and stack.
    Metered,
    /// With everything.
    Sealed,
    /// Unsealed, with the engine's own fuel.
    EngineFuel,
    /// Unsealed, with the engine's epochs.
    EngineEpochs,
    /// Unsealed, with the engine's own canonical NaNs.
    EngineNan,
    /// Unsealed once more.
    Control,
}

impl Variant {
    const ALL: [Self; 7] = [
        Self::Unsealed,
        Self::Metered,
        Self::Sealed,
        Self::EngineFuel,
        Self::EngineEpochs,
        Self::EngineNan,
        Self::Control,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Unsealed => "unsealed",
            Self::Metered => "fuel+stack",
            Self::Sealed => "sealed",
            Self::EngineFuel => "its fuel",
            Self::EngineEpochs => "its epochs",
            Self::EngineNan => "its NaN",
            Self::Control => "control",
        }
    }
}

/// Times of one kernel in one engine, in nanoseconds, one for each repetition.
type Times = BTreeMap<Variant, Vec<f64>>;

/// What one engine did with one kernel.
struct Measured {
    times: Times,
    /// Answers, which must be the same everywhere, and fuel of the sealed module.
    output: u64,
    fuel: Option<u64>,
}

pub(crate) fn run(report: &mut Report) {
    report.say("compiling the kernels and the example jobs to WebAssembly");
    let corpus = Corpus::build();
    report.say("sealing them");
    let forms: Vec<Forms> = corpus.kernels.iter().map(Forms::of).collect();
    let wasmtime = engines::Engines::new();
    let rounds: Vec<u32> = forms.iter().map(|forms| wasmtime.rounds(forms)).collect();
    report.say("wasmtime");
    let native: Vec<Measured> =
        forms.iter().zip(&rounds).map(|(forms, rounds)| wasmtime.measure(forms, *rounds, REPETITIONS)).collect();
    compare(report, "wasmtime", &corpus.kernels, &native);
    report.say("Node");
    let node =
        script::in_node(&Plan { kernels: &corpus.kernels, forms: &forms, rounds: &rounds, repetitions: REPETITIONS });
    match &node {
        Some(node) => {
            for ((kernel, here), there) in corpus.kernels.iter().zip(&native).zip(node) {
                assert_eq!(here.output, there.output, "{}: wasmtime and Node differ", kernel.name);
                assert_eq!(here.fuel, there.fuel, "{}: wasmtime's fuel and Node's differ", kernel.name);
            }
            compare(report, "Node", &corpus.kernels, node);
        }
        None => report.say("Node is not installed: left out"),
    }
    let exact: Vec<Option<u64>> =
        forms.iter().zip(&rounds).map(|(forms, rounds)| wasmtime.exact_fuel(forms, *rounds)).collect();
    fuel(report, &corpus.kernels, &rounds, &native, node.as_deref(), &exact);
    report.say("the dearest units");
    dear(report, &wasmtime, &native, node.as_deref());
    report.say("start-up");
    start::measure(report, &corpus);
    report.say("the publisher's share");
    publish::measure(report, &corpus);
}

/// The same kernels in browsers, those that are installed.
pub(crate) async fn in_browsers(report: &mut Report) {
    report.say("compiling the kernels to WebAssembly");
    let kernels = Corpus::build().kernels;
    report.say("sealing them");
    let forms: Vec<Forms> = kernels.iter().map(Forms::of).collect();
    let wasmtime = engines::Engines::new();
    let rounds: Vec<u32> = forms.iter().map(|forms| wasmtime.rounds(forms)).collect();
    let plan = Plan { kernels: &kernels, forms: &forms, rounds: &rounds, repetitions: REPETITIONS_BROWSER };
    for kind in [browser::Kind::Chromium, browser::Kind::Firefox] {
        let engine = format!("{kind:?}");
        let measured = script::in_browser(&plan, kind, |kernel| report.say(&format!("{engine}: {kernel}"))).await;
        let Some(measured) = measured else { continue };
        for (kernel, (forms, (rounds, there))) in kernels.iter().zip(forms.iter().zip(rounds.iter().zip(&measured))) {
            let here = wasmtime.measure(forms, *rounds, 1);
            assert_eq!(here.output, there.output, "{}: wasmtime and {engine} differ", kernel.name);
            assert_eq!(here.fuel, there.fuel, "{}: wasmtime's fuel and {engine}'s differ", kernel.name);
        }
        compare(report, &engine, &kernels, &measured);
    }
}

/// Start-up alone.
pub(crate) fn start(report: &mut Report) {
    report.say("compiling the kernels and the example jobs to WebAssembly");
    start::measure(report, &Corpus::build());
}

/// Adds two tables of one engine: medians and minima of all variants that it has, by the unsealed module.
fn compare(report: &mut Report, engine: &str, kernels: &[Kernel], measured: &[Measured]) {
    let here = |variant: &Variant| measured.iter().all(|measured| measured.times.contains_key(variant));
    let variants: Vec<Variant> = Variant::ALL[1..].iter().copied().filter(here).collect();
    let columns = || std::iter::once("unsealed, ms").chain(variants.iter().map(|variant| variant.word()));
    let mut medians = Table::new(&format!("{engine}: times the unsealed module, medians"), columns());
    let mut minima = Table::new(&format!("{engine}: times the unsealed module, minima"), columns());
    let mut ratios: Vec<(Kind, [Vec<f64>; 2])> = Vec::new();
    for (kernel, measured) in kernels.iter().zip(measured) {
        let unsealed = &measured.times[&Variant::Unsealed];
        let by_median: Vec<f64> = variants.iter().map(|variant| paired(&measured.times[variant], unsealed)).collect();
        let by_minimum: Vec<f64> =
            variants.iter().map(|variant| minimum(&measured.times[variant]) / minimum(unsealed)).collect();
        medians.row(&kernel.label(), [median(unsealed.clone()) / 1e6].into_iter().chain(by_median.iter().copied()));
        minima.row(&kernel.label(), [minimum(unsealed) / 1e6].into_iter().chain(by_minimum.iter().copied()));
        ratios.push((kernel.kind, [by_median, by_minimum]));
    }
    for kind in [Kind::Integer, Kind::Float, Kind::Recursion] {
        for (word, combine) in [("geometric mean", geometric_mean as fn(&[f64]) -> f64), ("worst", maximum)] {
            let label = format!("{word}, {}", kind.word());
            for (which, table) in [&mut medians, &mut minima].into_iter().enumerate() {
                let cells = (0..variants.len()).map(|column| {
                    let of_kind = ratios.iter().filter(|(of, _)| *of == kind);
                    combine(&of_kind.map(|(_, ratios)| ratios[which][column]).collect::<Vec<f64>>())
                });
                table.row(&label, std::iter::once(f64::NAN).chain(cells));
            }
        }
    }
    report.table(medians);
    report.table(minima);
}

/// Adds a table of fuel: how near it is to an exact count, and how much of it an engine does in a nanosecond.
fn fuel(
    report: &mut Report,
    kernels: &[Kernel],
    rounds: &[u32],
    native: &[Measured],
    node: Option<&[Measured]>,
    exact: &[Option<u64>],
) {
    let columns = ["rounds", "fuel, millions", "by exact", "a ns, wasmtime", "a ns, Node"];
    let mut table = Table::new("fuel", columns);
    let mut rates: [Vec<f64>; 3] = Default::default();
    for (at, (kernel, measured)) in kernels.iter().zip(native).enumerate() {
        let Some(fuel) = measured.fuel.map(|fuel| fuel as f64) else { continue };
        let by_exact = exact[at].map_or(f64::NAN, |exact| fuel / exact as f64);
        assert!(by_exact.is_nan() || by_exact >= 1.0, "{}: charged less than what is executed", kernel.name);
        let there = node.map_or(f64::NAN, |node| rate(&node[at]));
        let here = rate(measured);
        table.row(&kernel.label(), [rounds[at].into(), fuel / 1e6, by_exact, here, there]);
        for (rates, rate) in rates.iter_mut().zip([by_exact, here, there]) {
            rates.push(rate);
        }
    }
    if rates[0].is_empty() {
        return report.say("no module has a meter: nothing to say about fuel");
    }
    table.row("smallest", [f64::NAN; 2].into_iter().chain(rates.iter().map(|rates| minimum(rates))));
    table.row("largest", [f64::NAN; 2].into_iter().chain(rates.iter().map(|rates| maximum(rates))));
    let spread = |rates: &Vec<f64>| maximum(rates) / minimum(rates);
    let middle = |rates: &Vec<f64>| part(rates, 0.9) / part(rates, 0.1);
    table.row("largest by smallest", [f64::NAN; 2].into_iter().chain(rates.iter().map(spread)));
    table.row("90th by 10th percentile", [f64::NAN; 2].into_iter().chain(rates.iter().map(middle)));
    report.table(table);
}

/// Adds a table of loops that do nothing but what takes longest for a unit, beside the median of the kernels.
fn dear(report: &mut Report, wasmtime: &engines::Engines, native: &[Measured], node: Option<&[Measured]>) {
    let kernels = dearest::kernels();
    let forms: Vec<Forms> = kernels.iter().map(Forms::of).collect();
    let rounds: Vec<u32> = forms.iter().map(|forms| wasmtime.rounds(forms)).collect();
    let here: Vec<Measured> = forms
        .iter()
        .zip(&rounds)
        .map(|(forms, rounds)| wasmtime.measure(forms, *rounds, REPETITIONS_DEAREST))
        .collect();
    let plan = Plan { kernels: &kernels, forms: &forms, rounds: &rounds, repetitions: REPETITIONS_DEAREST };
    let there = node.and_then(|_| script::in_node(&plan));
    let usual = |measured: &[Measured]| median(measured.iter().map(rate).collect());
    let usual = [usual(native), node.map_or(f64::NAN, usual)];
    let columns = ["a ns, wasmtime", "a ns, Node", "longer, wasmtime", "longer, Node"];
    let mut table =
        Table::new("fuel at its dearest: units, and how much longer one takes than in the median kernel", columns);
    for (at, kernel) in kernels.iter().enumerate() {
        let rates = [rate(&here[at]), there.as_ref().map_or(f64::NAN, |there| rate(&there[at]))];
        table.row(&kernel.label(), [rates[0], rates[1], usual[0] / rates[0], usual[1] / rates[1]]);
    }
    report.table(table);
}

/// Units of fuel a nanosecond; no number for a module without a meter.
fn rate(measured: &Measured) -> f64 {
    measured.fuel.map_or(f64::NAN, |fuel| fuel as f64 / median(measured.times[&Variant::Sealed].clone()))
}

fn median(values: Vec<f64>) -> f64 {
    part(&values, 0.5)
}

/// The value below which that part of the values lies.
fn part(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
}

fn minimum(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn maximum(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}

/// The median of the ratios within each repetition: what slows all of a repetition down does not show in it.
fn paired(values: &[f64], baseline: &[f64]) -> f64 {
    median(values.iter().zip(baseline).map(|(value, baseline)| value / baseline).collect())
}
