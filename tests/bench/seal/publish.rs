//! What a publisher pays for sealing.

use std::path::Path;
use std::process::Command;

use manyhands_sealer::{seal, strip};
use manyhands_verifier::verify;

use super::corpus::Corpus;
use super::engines::processor_time;
use super::{geometric_mean, maximum, median, minimum};
use crate::cpu;
use crate::report::{Report, Table};

/// Makes the bench program seal one module and print how much memory that took, instead of measuring.
pub(crate) const SEALER: &str = "seal-once";
const REPETITIONS: usize = 9;

pub(crate) fn measure(report: &mut Report, corpus: &Corpus) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let columns = ["KB", "sealed, KB", "growth", "seal, ms", "ms a MB", "most memory, MiB", "verify, MB a s"];
    let mut table =
        Table::new("publisher: sizes without custom sections; memory of a process that seals once", columns);
    let kernels = corpus.kernels.iter().map(|kernel| (kernel.label(), &kernel.module));
    let jobs = corpus.jobs.iter().map(|(name, module)| (format!("jobs/{name}"), module));
    let (mut growths, mut rates, mut peaks, mut speeds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (name, module) in kernels.chain(jobs) {
        let bytes = strip::strip(module).expect("a module").len() as f64;
        let sealed = seal(module).unwrap_or_else(|refusal| panic!("{name}: {refusal}")).bytes;
        let ms = milliseconds(1, || assert!(seal(module).is_ok()));
        // Short ones are verified often enough for the clock.
        let times = 1 + (1 << 20) / sealed.len();
        let speed = sealed.len() as f64 / 1e3 / milliseconds(times, || assert!(verify(&sealed).is_ok()));
        let sealed = sealed.len() as f64;
        let file = folder.path().join("module.wasm");
        std::fs::write(&file, module).expect("a module is written");
        let growth = sealed / bytes;
        let (rate, peak) = (ms / (module.len() as f64 / 1e6), peak_mib(&file));
        table.row(&name, [bytes / 1e3, sealed / 1e3, growth, ms, rate, peak, speed]);
        growths.push(growth);
        rates.push(rate);
        peaks.push(peak);
        speeds.push(speed);
    }
    let [none, no_size] = [f64::NAN; 2];
    let mean = [&growths, &rates, &peaks, &speeds].map(|values| geometric_mean(values));
    let mean = [mean[0], none, mean[1], mean[2], mean[3]];
    table.row("geometric mean", [none, no_size].into_iter().chain(mean));
    let worst = [maximum(&growths), none, maximum(&rates), maximum(&peaks), minimum(&speeds)];
    table.row("worst", [none, no_size].into_iter().chain(worst));
    report.table(table);
}

/// Processor time for doing something once: the median of some repetitions, each so many times.
fn milliseconds(times: usize, work: impl Fn()) -> f64 {
    let once = |_| {
        let began = processor_time();
        (0..times).for_each(|_| work());
        (processor_time() - began).as_secs_f64() * 1e3 / times as f64
    };
    median((0..REPETITIONS).map(once).collect())
}

fn peak_mib(module: &Path) -> f64 {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).arg(SEALER).arg(module).output().expect("starts");
    assert!(output.status.success(), "sealing in a process of its own: {}", output.status);
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

/// Seals the module in a file and prints the most memory that this took, in MiB, beyond what the process had before.
pub(crate) fn seal_in_this_process(module: &Path) {
    let pid = std::process::id();
    let before = cpu::resident_mib(pid);
    let module = std::fs::read(module).expect("a file");
    assert!(seal(&module).is_ok());
    println!("{}", cpu::peak_mib(pid) - before);
}
