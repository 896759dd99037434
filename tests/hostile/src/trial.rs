//! Every module through a publisher's and a volunteer's hands, and whether each kept what it promises.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use manyhands_engines::{Failure, Kind};

use crate::child::{self, Compiling, Sealing};
use crate::corpus::{Case, Fate};

/// Memory that sealing may take beyond the module, for each million bytes of it, and besides: twice what the worst take.
const PEAK_MIB_A_MB: f64 = 32.0;
const PEAK_MIB_BESIDES: f64 = 64.0;
/// Memory that a runner's compiler may take, for each million bytes of the module, and besides.
const COMPILER_MIB_A_MB: f64 = 384.0;
const COMPILER_MIB_BESIDES: f64 = 768.0;
/// How many times as long a module may become, and how many bytes longer besides.
const GROWTH: f64 = 4.0;
const BYTES_BESIDES: f64 = 4096.0;
/// How often what took too long is tried again: other work on a computer costs time too.
const TRIES: usize = 3;

/// Processor time that sealing may take.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    /// For each million bytes.
    pub ms_a_mb: f64,
    /// And besides.
    pub ms_besides: f64,
}

impl Time {
    /// What is promised: twice what the worst module of the corpus takes.
    pub const PROMISED: Self = Self { ms_a_mb: 1_000.0, ms_besides: 20.0 };
    /// What is wanted. Code that is as dense as can be still takes longer.
    pub const AIM: Self = Self { ms_a_mb: 50.0, ms_besides: 20.0 };

    fn allows(self, sealing: &Sealing) -> bool {
        sealing.cpu_ms <= self.for_bytes(sealing.bytes)
    }

    fn for_bytes(self, bytes: u64) -> f64 {
        self.ms_a_mb * bytes as f64 / 1e6 + self.ms_besides
    }
}

/// What is tried.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// About how long each module is.
    pub bytes: usize,
    /// How long sealing may take.
    pub time: Time,
    /// Whether runners compile what was sealed, and execute it.
    pub compile: bool,
}

/// What came of one module.
#[derive(Clone, Debug)]
pub struct Tried {
    /// Its name.
    pub name: &'static str,
    /// What came of sealing it.
    pub sealing: Option<Sealing>,
    /// What came of compiling it, if it was sealed and that was asked for.
    pub compiling: Option<Compiling>,
    /// Each promise that was broken.
    pub broken: Vec<String>,
}

/// Tries one module. `program` is one whose `main` begins with [`child::run_if_child`].
///
/// # Errors
/// Files cannot be written.
pub fn one(program: &Path, case: &Case, plan: &Plan) -> anyhow::Result<Tried> {
    let folder = tempfile::tempdir().context("a folder for modules")?;
    let file = folder.path().join("module.wasm");
    fs::write(&file, (case.make)(plan.bytes))?;
    let mut tried = Tried { name: case.name, sealing: None, compiling: None, broken: Vec::new() };
    for _ in 0..TRIES {
        match child::seal(program, &file) {
            Err(error) => {
                tried.broken.push(format!("{error:#}"));
                return Ok(tried);
            }
            Ok(sealing) => {
                let best = tried.sealing.get_or_insert_with(|| sealing.clone());
                best.cpu_ms = best.cpu_ms.min(sealing.cpu_ms);
                if plan.time.allows(best) {
                    break;
                }
            }
        }
    }
    let Some(sealing) = &tried.sealing else { return Ok(tried) };
    tried.broken = complaints(case, sealing, plan);
    let sealed = file.with_extension("sealed");
    if plan.compile && sealed.exists() {
        if let Err(refused) = elsewhere(&sealed)? {
            tried.broken.push(refused);
        }
        match child::compiled(program, &sealed) {
            Err(error) => tried.broken.push(format!("{error:#}")),
            Ok(compiling) => {
                tried.broken.extend(compiling.failure.as_ref().map(|failure| format!("a runner: {failure}")));
                if let Some(Err(failure)) = &compiling.verdict {
                    tried.broken.push(format!("a runner that executes it: {failure}"));
                }
                let peak_mib_max = COMPILER_MIB_A_MB * sealing.bytes as f64 / 1e6 + COMPILER_MIB_BESIDES;
                if compiling.peak_mib > peak_mib_max {
                    tried.broken.push(format!("compiling took {:.0} MiB of {peak_mib_max:.0}", compiling.peak_mib));
                }
                tried.compiling = Some(compiling);
            }
        }
    }
    Ok(tried)
}

fn complaints(case: &Case, sealing: &Sealing, plan: &Plan) -> Vec<String> {
    let mut broken = Vec::new();
    match (case.fate, &sealing.refusal) {
        (Fate::Sealed, None) => {}
        (Fate::Refused(words), Some(reason)) if reason.contains(words) => {}
        (Fate::Refused(words), Some(reason)) => {
            broken.push(format!("refused for another reason than `{words}`: {reason}"))
        }
        (Fate::Refused(words), None) => broken.push(format!("sealed, and not refused since `{words}`")),
        (Fate::Sealed, Some(reason)) => broken.push(format!("refused: {reason}")),
    }
    if !plan.time.allows(sealing) {
        broken.push(format!("sealing took {:.0} ms of {:.0}", sealing.cpu_ms, plan.time.for_bytes(sealing.bytes)));
    }
    let peak_mib_max = PEAK_MIB_A_MB * sealing.bytes as f64 / 1e6 + PEAK_MIB_BESIDES;
    if sealing.peak_mib > peak_mib_max {
        broken.push(format!("sealing took {:.0} MiB of {peak_mib_max:.0}", sealing.peak_mib));
    }
    if sealing.sealed_bytes as f64 > GROWTH * sealing.bytes as f64 + BYTES_BESIDES {
        broken.push(format!("it grew from {} to {} bytes", sealing.bytes, sealing.sealed_bytes));
    }
    broken
}

/// Whether V8 takes it as well, where Node is installed.
fn elsewhere(sealed: &Path) -> anyhow::Result<Result<(), String>> {
    let mut engine = match Kind::Node.open() {
        Err(Failure::Missing { .. }) => return Ok(Ok(())),
        engine => engine.context("Node")?,
    };
    Ok(engine.load(&fs::read(sealed)?).map_err(|failure| format!("Node: {failure}")))
}

/// The lines of a table: what each took.
pub fn table(all: &[Tried]) -> Vec<String> {
    let width = all.iter().map(|tried| tried.name.len()).max().unwrap_or(0);
    let mut lines = vec![format!(
        "{:width$}  {:>7}  {:>6}  {:>7}  {:>7}  {:>9}  {:>8}  {:>9}  {:>7}  end",
        "", "KB", "growth", "seal ms", "ms a MB", "peak MiB", "verify", "compile s", "its MiB"
    )];
    for Tried { name, sealing, compiling, broken } in all {
        let mark = if broken.is_empty() { "" } else { "  BROKEN" };
        let Some(found) = sealing else {
            lines.push(format!("{name:width$}{mark}"));
            continue;
        };
        let kb = found.bytes as f64 / 1e3;
        let growth = if found.sealed_bytes == 0 {
            String::new()
        } else {
            format!("{:.2}", found.sealed_bytes as f64 / found.bytes as f64)
        };
        let compile = compiling.as_ref().map_or_else(String::new, |found| format!("{:.2}", found.wall_ms / 1e3));
        let its_peak = compiling.as_ref().map_or_else(String::new, |found| format!("{:.0}", found.peak_mib));
        let end = match (&found.refusal, compiling.as_ref().and_then(|found| found.verdict.as_ref())) {
            (Some(_), _) => "refused",
            (None, Some(Ok(verdict))) => verdict,
            (None, Some(Err(_))) => "no verdict",
            (None, None) => "sealed",
        };
        lines.push(format!(
            "{name:width$}  {kb:>7.0}  {growth:>6}  {:>7.1}  {:>7.1}  {:>9.1}  {:>8.1}  {compile:>9}  {its_peak:>7}  {end}{mark}",
            found.cpu_ms,
            found.cpu_ms / (kb / 1e3),
            found.peak_mib,
            found.verify_ms,
        ));
    }
    lines
}

/// How far sealing is from its aim, in a sentence.
pub fn aim(all: &[Tried]) -> String {
    let Time { ms_a_mb, ms_besides } = Time::AIM;
    let all: Vec<&Sealing> = all.iter().filter_map(|tried| tried.sealing.as_ref()).collect();
    let missed = all.iter().filter(|sealing| !Time::AIM.allows(sealing)).count();
    let worst =
        all.iter().map(|sealing| (sealing.cpu_ms - ms_besides) / (sealing.bytes as f64 / 1e6)).fold(0.0, f64::max);
    format!(
        "{missed} of {} miss the aim of {ms_a_mb} ms a MB and {ms_besides} ms besides; the worst takes {worst:.0} ms a MB and as much besides",
        all.len()
    )
}
