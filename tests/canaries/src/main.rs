//! `canaries --records N --seed S`: sends records on their way and looks for their values everywhere they must not be.

#![allow(clippy::print_stdout, reason = "what it found is the data of this command")]
#![allow(clippy::print_stderr, reason = "progress is for who waits")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use manyhands_canaries::{Place, Seen, World};

/// Sends made-up records on their way, and looks for their values everywhere they must not be.
#[derive(Parser)]
struct Options {
    /// How many records
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Seed of all of them
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first one's number, to see one again
    #[arg(long, default_value_t = 0)]
    first: u64,
}

fn main() -> ExitCode {
    let Options { records, seed, first } = Options::parse();
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let done = std::sync::atomic::AtomicU64::new(0);
    let results: Vec<Result<Seen, String>> = std::thread::scope(|scope| {
        let work = |thread: u64| {
            let (mut seen, mut told) = (Seen::default(), Instant::now());
            for number in (first + thread..first + records).step_by(threads as usize) {
                match World::new(seed, number, false).run() {
                    Ok(one) => seen += one,
                    Err(leak) => {
                        let again = format!("cargo xtask canaries --seed {seed} --first {number} --records 1");
                        return Err(format!(
                            "a {} in {}, {}:\n{}\nagain: {again}",
                            leak.class,
                            leak.place.words(),
                            leak.form,
                            leak.shown
                        ));
                    }
                }
                let all = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if thread == 0 && told.elapsed() > Duration::from_secs(10) {
                    eprintln!("{all} of {records} records");
                    told = Instant::now();
                }
            }
            Ok(seen)
        };
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a record could not be followed".into())))
            .collect()
    });
    let mut seen = Seen::default();
    for result in results {
        match result {
            Ok(one) => seen += one,
            Err(error) => {
                println!("{error}");
                return ExitCode::FAILURE;
            }
        }
    }
    // A search finds nothing where it does not look: one that has to be found.
    if !(0..100).any(|number| World::new(seed, number, true).run().is_err()) {
        println!("a value that nobody declared was not found: this search finds nothing");
        return ExitCode::FAILURE;
    }
    for place in Place::ALL {
        let found = (0..10_000).find_map(|number| World::new(seed, number, false).plants(place)).unwrap_or_default();
        let missed: Vec<_> = found.iter().filter(|(_, is_found)| !is_found).map(|(coding, _)| *coding).collect();
        if found.is_empty() || !missed.is_empty() {
            println!("a value that was put into {} was not found there: {missed:?}", place.words());
            return ExitCode::FAILURE;
        }
    }
    let Seen { records, values, revealed, texts, bytes, filled, sent, refused, heard, withheld } = seen;
    println!(
        "{records} records with {values} values, of {revealed} a part is shown on purpose; {filled} calls filled ({sent} with values) and {refused} refused; {heard} answers heard, {withheld} withheld"
    );
    println!(
        "{texts} texts ({} MB) that leave towards workers, logs and files: none shows a value; one that is put into any of them is found in every coding",
        bytes / 1_000_000
    );
    ExitCode::SUCCESS
}
