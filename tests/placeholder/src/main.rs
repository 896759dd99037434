//! `placeholder-bench OUT.json`: bytes a second of processor time, for what happens to every input and every output with sensitive values.
//!
//! A package of its own, so that it is built in seconds. All ways take turns in each repetition, so a neighbour's load falls on all of them
//! alike; the median says what came of that, the fastest what the code can do.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a measurement that cannot go on says why and ends")]
#![allow(clippy::print_stdout, reason = "the table is the data of this command")]

use std::cell::Cell;
use std::fmt::Write as _;
use std::hint::black_box;

use manyhands_model::{JobName, RunId, SensitiveFields, UnitId, WorkerId};
use manyhands_placeholder::{Form, Mint, Places, Scope, Source, TokenKey, UnitTokens, Values, restore, tokenise};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

const REPETITIONS: usize = 101;
const TEXT_BYTES: usize = 1 << 20;
/// How many tokens a unit has whose bodies are searched, and how many stand in a body.
const LIVE_TOKENS: usize = 100_000;
const TOKENS_IN_BODY: usize = 650;

const UNIT: UnitId = UnitId { run: RunId([1; 16]), index: 0 };

/// What is measured.
struct Way<'a> {
    name: &'static str,
    bytes: usize,
    run: Box<dyn FnMut() + 'a>,
    seconds: Vec<f64>,
}

impl<'a> Way<'a> {
    fn new(name: &'static str, bytes: usize, run: impl FnMut() + 'a) -> Self {
        Self { name, bytes, run: Box::new(run), seconds: Vec::new() }
    }

    /// Of all repetitions the median and the fastest. Unit: bytes a second.
    fn speeds(&self) -> [f64; 2] {
        let mut seconds = self.seconds.clone();
        seconds.sort_by(f64::total_cmp);
        [seconds[seconds.len() / 2], seconds[0]].map(|seconds| self.bytes as f64 / seconds)
    }
}

fn main() {
    let key = TokenKey::derive(&[7; 32], 0);
    let job: JobName = "bench".parse().expect("a job name");
    let mint = key.mint(&Scope { tenant: "t", job: &job, unit: UNIT });
    let mut figures = Vec::new();
    // A value in one or two KiB, and one in every line.
    for sensitive in [16, 1] {
        figures.extend(json(&orders(sensitive), &key, &mint));
    }
    figures.extend(opaque(&key, &mint));
    let out = std::env::args_os().nth(1);
    if let Some(out) = out {
        let text = serde_json::to_string_pretty(&figures).expect("serialises");
        std::fs::write(&out, text + "\n").expect("the figures can be written");
    }
}

/// Of this thread, so that others who use the core meanwhile do not count.
fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Measures all ways in turns, and prints a line for each.
fn measure(title: &str, mut ways: Vec<Way<'_>>, unit: f64, unit_name: &str) -> Vec<serde_json::Value> {
    for _ in 0..REPETITIONS {
        for way in &mut ways {
            let began = processor_seconds();
            (way.run)();
            way.seconds.push(processor_seconds() - began);
        }
    }
    println!("{title:43}  {:>12}  {:>12}", format!("median, {unit_name}"), "fastest");
    let figure = |way: &Way<'_>| {
        let [median, fastest] = way.speeds().map(|speed| speed / unit);
        println!("  {:41}  {median:12.1}  {fastest:12.1}", way.name);
        json!({ "name": format!("{title}: {}", way.name), "value": median, "fastest": fastest, "unit": unit_name })
    };
    ways.iter().map(figure).collect()
}

/// Inputs and outputs that are JSON.
fn json(text: &[u8], key: &TokenKey, mint: &Mint) -> Vec<serde_json::Value> {
    let fields: SensitiveFields = serde_json::from_str(
        r#"[{"at":"$.orders[*].customer.email","class":"email","reveal":"domain"},{"at":"$.orders[*].customer.name","class":"name"},
            {"at":"$.orders[*].customer.phone","class":"phone"},{"at":"$.orders[*].payment.card","class":"card","joinable":true}]"#,
    )
    .expect("fits");
    let places = Places::new(&fields);
    let taken = tokenise(text, &places, mint, Source::Input).expect("has a form");
    let title = format!("JSON, {} values in a MiB", taken.taken.len());
    let canonical = taken.text;
    let values = Values::from_iter(taken.taken);
    let form = Form::new(key, UNIT, WorkerId([1; 32]));
    let own = form.worker(canonical.clone());
    let ways = vec![
        Way::new("serde_json: parse", text.len(), || {
            black_box(serde_json::from_slice::<serde_json::Value>(text).expect("JSON"));
        }),
        Way::new("tokenise", text.len(), || {
            black_box(tokenise(text, &places, mint, Source::Input).expect("has a form"));
        }),
        Way::new("tokenise, and substitute for a worker", text.len(), || {
            let form = Form::new(key, UNIT, WorkerId([1; 32]));
            black_box(form.worker(tokenise(text, &places, mint, Source::Input).expect("has a form").text));
        }),
        Way::new("substitute for another worker", canonical.len(), || {
            let form = Form::new(key, UNIT, WorkerId([2; 32]));
            black_box(form.worker(canonical.clone()));
        }),
        Way::new("an output into canonical form", own.len(), || {
            let back = form.back(&UnitTokens::of([&canonical[..]]));
            black_box(back.canonical(own.clone()).expect("its own tokens"));
        }),
        Way::new("restore", canonical.len(), || {
            black_box(restore(&canonical, &values, 2 * text.len()).expect("restores"));
        }),
    ];
    measure(&title, ways, 1e6, "MB/s")
}

/// Bytes that are no JSON, for a unit with very many tokens.
fn opaque(key: &TokenKey, mint: &Mint) -> Vec<serde_json::Value> {
    let fields: SensitiveFields = serde_json::from_str(r#"[{"at":"$[*]","class":"text"}]"#).expect("fits");
    let input = format!("[{}0]", "0,".repeat(LIVE_TOKENS - 1));
    let taken = tokenise(input.as_bytes(), &Places::new(&fields), mint, Source::Input).expect("has a form");
    let form = Form::new(key, UNIT, WorkerId([1; 32]));
    let back = form.back(&UnitTokens::of([&taken.text[..]]));
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut body = vec![0; TEXT_BYTES];
    // Letters, so that beginnings of tokens are as frequent as in texts.
    body.iter_mut().for_each(|byte| *byte = b"etaoinshrdlu dtk1,.\n"[random.next_u32() as usize % 20]);
    for number in 0..TOKENS_IN_BODY {
        let token = taken.taken[random.next_u32() as usize % LIVE_TOKENS].token;
        let at = number * (TEXT_BYTES / TOKENS_IN_BODY);
        body[at..at + token.as_bytes().len()].copy_from_slice(token.as_bytes());
    }
    // One body goes there and comes back, so that nothing is copied for the measurement's sake.
    let body = Cell::new(body);
    let ways = vec![
        Way::new("substitute for a worker", TEXT_BYTES, || body.set(form.worker(body.take()))),
        Way::new("into canonical form", TEXT_BYTES, || body.set(back.canonical(body.take()).expect("its own tokens"))),
    ];
    measure("other bytes, 650 of 100,000 tokens in a MiB", ways, 1e9, "GB/s")
}

/// About a MiB of orders; in every `sensitive`th of them all is there that is declared.
fn orders(sensitive: usize) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(sensitive as u64);
    let mut text = String::from("{\"orders\":[\n");
    let mut number = 0;
    while text.len() < TEXT_BYTES {
        let mut digits = |count: u32| random.next_u64() % 10_u64.pow(count);
        let (id, card, price, phone) = (digits(12), digits(16), digits(5), digits(7));
        let customer = if number % sensitive == 0 {
            format!(
                r#"{{"id":{id},"name":"Anna \u00c5ngström {number}","email":"anna.{id}@example.com","phone":"+49 30 {phone:07}","since":"2019-03-04"}}"#
            )
        } else {
            format!(r#"{{"id":{id},"since":"2019-03-04","guest":true}}"#)
        };
        let payment = if number % sensitive == 0 {
            format!(r#","payment":{{"card":"{card:016}","paid":true}}"#)
        } else {
            String::new()
        };
        let items =
            r#"{"sku":"A-4711","title":"Garden hose, 20 m, with \"quick\" coupling","quantity":2,"price":19.99}"#;
        let _ = writeln!(
            text,
            "{{\"order\":\"2024-{number:06}\",\"customer\":{customer}{payment},\"items\":[{items},{items},{{\"sku\":\"B-1\",\"title\":\"Nozzle\",\"quantity\":1,\"price\":{price}.5}}],\"note\":null}},"
        );
        number += 1;
    }
    text.truncate(text.len() - 2);
    (text + "]}\n").into_bytes()
}
