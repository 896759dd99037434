//! How long a worker takes from a sealed module to its first instruction, and over a unit that does next to nothing.

use std::time::{Duration, Instant};

use bytes::Bytes;
use manyhands_model::{Digest, Limits};
use manyhands_protocol::Entry;
use manyhands_runner::cache::Cache;
use manyhands_runner::engine::{Execution, Wasm};
use manyhands_sealer::seal;

use super::corpus::Corpus;
use super::engines::Bare;
use super::{median, minimum};
use crate::report::{Report, Table};

const STARTS: usize = 201;
const UNITS: usize = 2001;

/// With the runner's own engine and cache; *bare* is wasmtime alone, set to be quick at short units. The input is empty, so a kernel reads it, which touches its memory,
/// and gives up.
pub(crate) fn measure(report: &mut Report, corpus: &Corpus) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let wasm = Wasm::new().expect("the engine starts");
    let cache = Cache::open(folder.path(), [7; 32], wasm.fingerprint()).expect("a cache");
    let columns = [
        "code, KB",
        "read+check, us",
        "load, us",
        "first unit, us",
        "all, us",
        "least",
        "warm unit, us",
        "least",
        "bare, us",
        "least",
    ];
    let mut table = Table::new("start: from cached code through a whole unit; and a unit of a loaded module", columns);
    for kernel in corpus.kernels.iter().filter(|kernel| ["fib", "sha256", "json", "regex"].contains(&kernel.name)) {
        let sealed = seal(&kernel.module).expect("seals").bytes;
        let (digest, code) = (Digest::of(&sealed), wasm.compile(&sealed).expect("compiles"));
        cache.put(digest, &code).expect("cached");
        let mut stages = [const { Vec::new() }; 4];
        for _ in 0..STARTS {
            let began = Instant::now();
            let cached = cache.get(digest).expect("cached");
            let read = Instant::now();
            let prepared = wasm.prepare(&cached).expect("can be used");
            let loaded = Instant::now();
            unit(&wasm, &prepared);
            let ended = Instant::now();
            let spans = [read - began, loaded - read, ended - loaded, ended - began];
            stages.iter_mut().zip(spans).for_each(|(stage, span)| stage.push(micros(span)));
        }
        let prepared = wasm.prepare(&code).expect("can be used");
        let warm: Vec<f64> = (0..UNITS)
            .map(|_| {
                let began = Instant::now();
                unit(&wasm, &prepared);
                micros(began.elapsed())
            })
            .collect();
        let bare = Bare::new(&sealed).units(UNITS);
        let least = [minimum(&stages[3]), median(warm.clone()), minimum(&warm), median(bare.clone()), minimum(&bare)];
        table.row(kernel.name, [code.len() as f64 / 1000.0].into_iter().chain(stages.map(median)).chain(least));
    }
    report.table(table);
}

fn unit(wasm: &Wasm, module: &manyhands_runner::engine::Prepared) {
    let execution =
        Execution { entry: Entry::Run, step: 0, input: Bytes::new(), seed: [0; 32], limits: Limits::default() };
    let executed = wasm.execute(module, execution, Box::new(|_| {})).expect("is executed");
    assert!(!executed.outcome.verdict.is_ok(), "an empty input is refused");
}

fn micros(span: Duration) -> f64 {
    span.as_nanos() as f64 / 1000.0
}
