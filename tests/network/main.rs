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

use std::panic::{catch_unwind, resume_unwind};

use world::{Outcome, World};

/// Worlds unless more are asked for: a few seconds' worth.
const ROUNDS: u64 = 200;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

/// Runs one world with trouble and without. One that fails is run again, with its last events.
fn check(seed: u64) -> Outcome {
    let run = || {
        let troubled = World::new(seed, false).run();
        let calm = World::new(seed, true).run();
        assert_eq!(troubled.answers, calm.answers, "other answers than without trouble");
        troubled
    };
    catch_unwind(run).unwrap_or_else(|failure| {
        let _again = catch_unwind(|| World::new(seed, false).traced().run());
        eprintln!(
            "replay with\nMANYHANDS_FAULTS_SEED={seed} MANYHANDS_FAULTS_ROUNDS=1 cargo test -p manyhands-tests --test network -- --nocapture"
        );
        resume_unwind(failure)
    })
}

#[test]
fn whatever_the_network_does_the_work_ends_right() {
    let (first, rounds) = (number("MANYHANDS_FAULTS_SEED", 1), number("MANYHANDS_FAULTS_ROUNDS", ROUNDS));
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let (events, longest) = std::thread::scope(|scope| {
        let some = |thread| (first..first + rounds).filter(move |seed| seed % threads == thread).map(check);
        let sum = |(events, longest): (u64, u64), world: Outcome| (events + world.events, longest.max(world.recovery));
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || some(thread).fold((0, 0), sum))).collect();
        let results = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|failure| resume_unwind(failure)));
        results.fold((0, 0), |all, some| (all.0 + some.0, all.1.max(some.1)))
    });
    eprintln!("{rounds} worlds, {events} events; the longest recovery took {} s of its world", longest / 1000);
}
