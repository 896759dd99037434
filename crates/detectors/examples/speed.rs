//! How fast inputs are looked at: `cargo run --release -p manyhands-detectors --example speed`.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures time and prints it")]

use std::time::Instant;

use manyhands_detectors::look;

const ROWS: usize = 50_000;

fn main() {
    let clean = |n: usize| {
        format!(
            r#"{{"id":{n},"sku":"A-{n:06}","title":"A lamp, 12 W (warm white)","price":19.95,"stock":[{n},3,0],"shipped":"2026-11-22"}}"#
        )
    };
    let people = |n: usize| {
        format!(
            r#"{{"id":{n},"first_name":"Ann","email":"ann{n}@example.com","phone":"+49 30 {n:06}","card":"4111 1111 1111 1111","note":"calls at 9"}}"#
        )
    };
    let prose = |_: usize| {
        format!("\"{}\"", "Many hands make light work, and light work makes for many a long evening. ".repeat(4))
    };
    let rows = |row: &dyn Fn(usize) -> String| format!("[{}]", (0..ROWS).map(row).collect::<Vec<_>>().join(",\n"));
    for (name, text) in
        [("rows without findings", rows(&clean)), ("rows of people", rows(&people)), ("prose", rows(&prose))]
    {
        let (mut best, mut places) = (f64::MAX, 0);
        for _ in 0..5 {
            let started = Instant::now();
            places = look(text.as_bytes(), &[]).map_or(0, |found| found.len());
            best = best.min(started.elapsed().as_secs_f64());
        }
        let megabytes = text.len() as f64 / 1e6;
        println!("{name:22} {megabytes:6.1} MB, {places} places, {:6.0} MB/s", megabytes / best);
    }
}
