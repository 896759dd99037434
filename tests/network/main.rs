//! The production cores on a network that is as bad as networks are, in worlds made from seeds.
//!
//! The scheduler and the workers are those that ship, joined by the protocol's own bytes and signatures; their
//! shells are small copies of `host/coordinator` and `host/runner`, for a disk, a clock and a network that a seed
//! can spoil. Each world has some of the troubles that there are ([`world`]), for some minutes; then all is well,
//! and the work has to end. Promised in every world:
//!
//! - no unit is accepted twice, or with a lie while those in league are fewer than the quorum;
//! - what a worker is told is recorded is on disk, and stays there;
//! - a worker forgets no report before it is answered, and executes nothing under a key that it knows is revoked;
//! - the answers are those of a world without trouble;
//! - everything ends, nobody spins, and nothing panics.
//!
//! `MANYHANDS_FAULTS_ROUNDS` is how many worlds, `MANYHANDS_FAULTS_SEED` the first one's seed. Every failure prints
//! the command that replays it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a simulation fails by panicking")]

mod clock;
mod coordinator;
mod job;
mod machine;
mod world;

use world::World;

/// Worlds unless more are asked for: a few seconds' worth.
const ROUNDS: u64 = 240;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

#[test]
fn whatever_the_network_does_the_work_ends_right() {
    let (first, rounds) = (number("MANYHANDS_FAULTS_SEED", 1), number("MANYHANDS_FAULTS_ROUNDS", ROUNDS));
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for seed in (first..first + rounds).filter(|seed| seed % threads == thread) {
                    let troubled = World::new(seed, false).run();
                    let calm = World::new(seed, true).run();
                    assert_eq!(troubled.answers, calm.answers, "seed {seed}: other answers than without trouble");
                    if rounds == 1 {
                        eprintln!("{} events, {} s to recover", troubled.events, troubled.recovery / 1000);
                    }
                }
            });
        }
    });
}
