//! Rounds of a fault test: how many, from which seed, and the command that replays the one that failed.
//!
//! `MANYHANDS_FAULTS_ROUNDS` is how many, `MANYHANDS_FAULTS_SEED` the first one's seed; each round's is one more.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// The file whose rounds take long, and of how many that are asked for it plays one.
const LONG: &str = "space";
const LONG_SHARE: u64 = 200;

/// Random numbers that a seed repeats.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.next_u64() as usize % bound
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse().ok();
    assert!(number.is_some(), "{variable} is no number");
    number
}

/// Plays rounds of `kind`, `short` unless more are asked for; each tells how many faults it had.
pub(crate) fn play(kind: &str, file: &str, test: &str, short: u64, mut round: impl FnMut(&mut Dice) -> u64) {
    let asked = number("MANYHANDS_FAULTS_ROUNDS");
    let rounds = asked.map_or(short, |rounds| if file == LONG { rounds.div_ceil(LONG_SHARE) } else { rounds });
    let first = number("MANYHANDS_FAULTS_SEED").unwrap_or(1);
    let mut faults = 0;
    for seed in first..first + rounds {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        match catch_unwind(AssertUnwindSafe(|| round(&mut dice))) {
            Ok(count) => faults += count,
            Err(panic) => {
                let release = if cfg!(debug_assertions) { "" } else { "--release " };
                eprintln!(
                    "{kind}, round {} of {rounds}, seed {seed}: replay with `MANYHANDS_FAULTS_SEED={seed} \
                     MANYHANDS_FAULTS_ROUNDS=1 cargo test {release}-p manyhands-store --test {file} -- --exact {test}`",
                    seed - first + 1
                );
                resume_unwind(panic);
            }
        }
    }
    eprintln!("{kind}: {rounds} rounds, {faults} faults");
}
