//! Three workers in ten cheat together, each a process of its own beside real runners: every answer is right, those who lie are caught, all
//! work is done, and nobody honest pays for it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use manyhands_api::{RunState, Standing, WorkerView};
use manyhands_model::{Codec, WorkerId};
use manyhands_tests::{Coordinator, Liar, Runner, jobs, until};

/// Whoever is right ten times has a record, and four of these are enough to lean on. All workers are on this computer, which says nothing.
const SMALL: &[&str] = &[
    "verification.record_checks=10",
    "verification.records_min=4",
    "verification.ipv4_bits=0",
    "verification.audits_permille=200",
    "scheduling.lease_ms=500",
];
const HONEST: usize = 7;
const CHEATS: usize = 3;
const RULES: [&str; 2] = ["adaptive:1e-4", "full:1e-6"];
const UNITS: u32 = 100;
/// What one that brings nothing may cost. Unit: leases.
const IN_VAIN_MAX: u64 = 20;

/// A coordinator and its ten workers.
struct World {
    coordinator: Coordinator,
    honest: BTreeSet<WorkerId>,
    _runners: Vec<Runner>,
    _cheats: Vec<Liar>,
}

impl World {
    /// All ten are there before there is any work; each cheat is started with these arguments.
    async fn with(cheat: &[&str]) -> Self {
        let coordinator = Coordinator::start_with(SMALL).await;
        let mut manifest = jobs::manifest("hasher", Codec::Raw);
        // A unit takes a millisecond; whoever keeps one is soon missed.
        manifest.limits.wall_ms = 500;
        let job = jobs::hasher_of(manifest);
        coordinator.publish(&job.module, &job.manifest).await.expect("published");
        let runners = coordinator.runners(HONEST).await;
        let honest = coordinator.workers().await.iter().map(|worker| worker.id).collect();
        let join = coordinator.join();
        let cheats = (0..CHEATS).map(|_| Liar::start_with(&join, cheat)).collect();
        let all = HONEST + CHEATS;
        until("everybody is there", async || (coordinator.connected().await >= all).then_some(())).await;
        Self { coordinator, honest, _runners: runners, _cheats: cheats }
    }

    /// Submits a run under each rule, and another one, until the cheats are where they should be. Each answer that is handed on is right,
    /// and stays so when what rested on a cheat's word has been looked at again.
    async fn works_until(&self, what: &str, condition: impl Fn(&[WorkerView]) -> bool) {
        let rounds = Cell::new(0);
        let runs = RefCell::new(Vec::new());
        let round = async || {
            let round = rounds.replace(rounds.get() + 1);
            for rule in RULES {
                let inputs: Vec<Vec<u8>> =
                    (0..UNITS).map(|number| format!("{rule} {round} {number}").into_bytes()).collect();
                let run = self.coordinator.submit(&format!("hasher&verify={rule}"), &inputs).await.expect("submitted");
                let expected: Vec<_> = inputs.iter().map(|input| jobs::hash(input)).collect();
                assert_eq!(self.coordinator.handed_on(run.id).await, expected, "{rule}, round {round}");
                runs.borrow_mut().push(run.id);
            }
            condition(&self.cheats().await).then_some(())
        };
        until(what, round).await;
        for run in runs.into_inner() {
            let ended = async || Some(self.coordinator.run(run).await).filter(|run| run.state == RunState::Finished);
            let run = until("what was opened again is answered again", ended).await;
            assert_eq!((run.changed, run.units.done), (0, u64::from(UNITS)), "{run:?}");
        }
        self.nobody_honest_pays().await;
    }

    /// Those who are neither honest nor the operator's, whatever they call themselves by now.
    async fn cheats(&self) -> Vec<WorkerView> {
        let workers = self.coordinator.workers().await;
        let is_cheat = |worker: &WorkerView| worker.standing != Standing::Trusted && !self.honest.contains(&worker.id);
        workers.into_iter().filter(is_cheat).collect()
    }

    async fn nobody_honest_pays(&self) {
        let workers = self.coordinator.workers().await;
        let honest: Vec<_> = workers.iter().filter(|worker| self.honest.contains(&worker.id)).collect();
        assert_eq!(honest.len(), HONEST);
        for worker in honest {
            assert_eq!((worker.banned, worker.dissents), (false, 0), "{worker:?}");
            assert!(worker.agreed > 0, "{worker:?}");
        }
    }
}

#[tokio::test]
async fn attack_32_a_gang_that_lies_from_its_first_unit_on_is_caught_to_the_last() {
    let world = World::with(&["--after", "0"]).await;
    world.works_until("all of the gang are caught", |gang| gang.iter().all(|one| one.dissents > 0)).await;
    for one in world.cheats().await {
        assert_ne!(one.standing, Standing::Established, "{one:?}");
    }
}

#[tokio::test]
async fn attack_33_a_gang_of_sleepers_is_caught_when_it_wakes() {
    let world = World::with(&["--after", "60"]).await;
    world.works_until("all of them have lied", |gang| gang.iter().all(|one| one.dissents > 0)).await;
    for one in world.cheats().await {
        assert!(one.agreed >= 30, "it was honest first: {one:?}");
    }
}

#[tokio::test]
async fn attack_36_workers_that_take_and_never_answer_stop_nobody() {
    let world = World::with(&["--instead", "silence"]).await;
    world.works_until("each of them has been missed", |mutes| mutes.iter().all(|mute| mute.lost > 0)).await;
    for mute in world.cheats().await {
        assert_eq!((mute.agreed, mute.dissents, mute.banned), (0, 0, false), "silence is no lie: {mute:?}");
        assert!(mute.lost <= IN_VAIN_MAX, "{mute:?}");
    }
}

#[tokio::test]
async fn attack_36_workers_that_are_always_late_stop_nobody() {
    let world = World::with(&["--instead", "late"]).await;
    world.works_until("each of them has been missed", |late| late.iter().all(|late| late.lost > 0)).await;
    for late in world.cheats().await {
        assert_eq!((late.dissents, late.banned), (0, false), "what it says is right: {late:?}");
    }
}

#[tokio::test]
async fn attack_36_random_bytes_are_no_answers() {
    let world = World::with(&["--instead", "noise"]).await;
    world.works_until("each of them is caught", |griefers| griefers.iter().all(|it| it.dissents > 0)).await;
    for griefer in world.cheats().await {
        assert_eq!(griefer.agreed, 0, "{griefer:?}");
    }
}

#[tokio::test]
async fn attack_36_random_bytes_are_no_messages() {
    let world = World::with(&["--instead", "bytes"]).await;
    world
        .works_until("each of them was cut off with what it held", |griefers| griefers.iter().all(|it| it.lost > 0))
        .await;
    for griefer in world.cheats().await {
        assert_eq!((griefer.agreed, griefer.dissents), (0, 0), "{griefer:?}");
        assert!(griefer.lost <= IN_VAIN_MAX, "{griefer:?}");
    }
}

#[tokio::test]
async fn attack_35_whoever_lies_and_comes_back_as_somebody_else_begins_anew() {
    let world = World::with(&["--after", "15", "--flees"]).await;
    let fled = |names: &[WorkerView]| names.iter().filter(|name| name.dissents > 0).count();
    world.works_until("as many names as there are cheats were given up for a lie", |names| fled(names) >= CHEATS).await;
    for name in world.cheats().await {
        assert!(name.dissents <= 1, "one lie each: {name:?}");
    }
}
