//! Whatever is killed, suspended, cut off or told the wrong time: the run ends right.
//!
//! Real processes, a real job, and one data directory over all rounds, so that damage adds up if there is any. In
//! each round requesters submit one run after the other, under idempotency keys and until they are answered, and read
//! results as they are accepted, from the start after each interruption; meanwhile something goes wrong, at moments that the
//! round's seed draws. Then all is well again, and promised is:
//!
//! - what was acknowledged stays: a submission, a result that a reader had, a report that a worker has a receipt for;
//! - no unit is accepted twice, or counts one worker twice;
//! - the answers are, byte for byte and with their fuel, those of a run that nothing disturbed;
//! - everything ends, and nobody ends who was not killed.
//!
//! `MANYHANDS_FAULTS_ROUNDS` is how many rounds, `MANYHANDS_FAULTS_SEED` the first one's seed; each round's is one more.
//! Every failure prints the command that replays its round. Only what is drawn is repeated: where a process is struck
//! depends on the machine as well, so a rare failure wants several tries.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod calls;
mod clocks;
mod control;
mod kills;
mod network;
mod round;
mod site;
mod suspended;
mod work;

use std::time::Instant;

use manyhands_tests::Worker;
use round::{Dice, Ledger, Tally, round};
use site::{Broken, Kept, Site};

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

/// How many rounds of a test that has `short` unless more are asked for.
fn rounds(short: u64) -> u64 {
    number("MANYHANDS_FAULTS_ROUNDS").unwrap_or(short)
}

/// Whether there is time for what takes minutes.
fn is_long() -> bool {
    number("MANYHANDS_FAULTS_ROUNDS").is_some()
}

/// Rounds of one kind of trouble over one site, whose runners are connected.
async fn campaign(
    test: &str,
    count: u64,
    site: Kept<Site>,
    mut trouble: impl AsyncFnMut(&mut Site, &Ledger, &mut Dice) -> Kept<u64>,
) {
    let first = number("MANYHANDS_FAULTS_SEED").unwrap_or(1);
    let fail = |seed: u64, Broken(why): Broken| -> ! {
        let release = if cfg!(debug_assertions) { "" } else { "--release " };
        panic!(
            "{test}, round {} of {count}, seed {seed}: {why}\n\
             replay with `MANYHANDS_FAULTS_SEED={seed} MANYHANDS_FAULTS_ROUNDS=1 \
             cargo test {release}-p manyhands-tests --test faults -- --exact {test}`",
            seed - first + 1
        )
    };
    let mut site = site.unwrap_or_else(|broken| fail(first, broken));
    let ledger = match Ledger::open(&mut site, u64::MAX).await {
        Ok(ledger) => ledger,
        Err(broken) => fail(first, broken),
    };
    let witness = Worker::new_key();
    let (mut all, began) = (Tally::default(), Instant::now());
    for seed in first..first + count {
        let spoil = async |site: &mut Site, dice: &mut Dice| trouble(site, &ledger, dice).await;
        match round(&mut site, &ledger, seed, &witness, spoil).await {
            Ok(tally) => all.add(tally),
            Err(broken) => fail(seed, broken),
        }
        let done = seed - first + 1;
        if done.is_multiple_of(20) || done == count {
            if let Err(broken) = ledger.audit().await.and_then(|()| site.no_complaints()) {
                fail(seed, broken);
            }
            eprintln!(
                "{test}: {done} rounds, {} faults, {} runs, {} units, {} acknowledgements ({} receipts), {} ms to recover at most, {} s",
                all.faults,
                all.runs,
                all.units,
                all.acknowledged,
                ledger.receipts(),
                all.recovery.as_millis(),
                began.elapsed().as_secs()
            );
        }
    }
}
