//! One round: requesters keep the coordinator busy while something goes wrong, and then everything has to end right.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use manyhands_api::{ResultLine, RunState, RunView, UnitView};
use manyhands_model::{RunId, WorkerId};
use manyhands_protocol::{ClientMessage, Receipt};
use manyhands_signing::Keypair;
use manyhands_tests::{Unit, Worker};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use reqwest::Method;
use tokio::sync::watch;

use crate::site::{BOUND, Broken, Client, Kept, Site, promise};
use crate::work::{self, Answer, Undisturbed};

/// Requesters at the same time.
const LANES: u64 = 2;
/// Units of one run.
const UNITS: u32 = 15;
/// How soon a broken reader asks again.
const AGAIN: Duration = Duration::from_millis(15);

/// Random numbers that a seed repeats.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    /// Milliseconds, fewer than `bound`.
    pub(crate) fn moment(&mut self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }
}

/// What one round was like.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Faults: kills, jumps, suspensions, spoilt lines.
    pub(crate) faults: u64,
    pub(crate) runs: u64,
    pub(crate) units: u64,
    /// Answers that a reader had, receipts that a worker had, submissions that were answered.
    pub(crate) acknowledged: u64,
    /// Longest time from the last fault's end to the end of all runs.
    pub(crate) recovery: Duration,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.faults += other.faults;
        self.runs += other.runs;
        self.units += other.units;
        self.acknowledged += other.acknowledged;
        self.recovery = self.recovery.max(other.recovery);
    }
}

/// Everything that was ever acknowledged, over all rounds.
pub(crate) struct Ledger {
    pub(crate) client: Client,
    undisturbed: Undisturbed,
    /// Each run's answers, once it ended.
    runs: RefCell<BTreeMap<RunId, Vec<Answer>>>,
    /// Units of which a worker was told that its report is on disk.
    receipts: RefCell<BTreeSet<(RunId, u32)>>,
    /// Counts acknowledgements, so that one can strike right after one.
    acknowledged: watch::Sender<u64>,
}

impl Ledger {
    /// Executes everything once without any trouble.
    pub(crate) async fn open(site: &mut Site, name: u64) -> Kept<Self> {
        let client = site.client.clone();
        client.connected(site.runners.len(), BOUND).await?;
        let inputs = work::inputs(name, Undisturbed::INPUTS);
        let run = client.submit(&format!("undisturbed {name}"), &inputs).await?;
        let lines = read(&client, run.id, "input", &mut |_| Ok(())).await?;
        let answers: Vec<_> = lines.iter().map(Answer::of).collect();
        for (input, answer) in inputs.iter().zip(&answers) {
            promise(answer.output == work::answer(input), || format!("undisturbed, but wrong: {answer:?}"))?;
        }
        site.check()?;
        Ok(Self {
            client,
            undisturbed: Undisturbed::new(&answers),
            runs: RefCell::new(BTreeMap::from([(run.id, answers)])),
            receipts: RefCell::default(),
            acknowledged: watch::channel(0).0,
        })
    }

    /// Waits until something is acknowledged, but not for ever.
    pub(crate) async fn acknowledgement(&self) {
        let mut counter = self.acknowledged.subscribe();
        let _late = tokio::time::timeout(Duration::from_secs(2), counter.changed()).await;
    }

    /// How many reports a worker was told are on disk.
    pub(crate) fn receipts(&self) -> usize {
        self.receipts.borrow().len()
    }

    fn note(&self) {
        self.acknowledged.send_modify(|count| *count += 1);
    }

    /// Everything that was acknowledged in any round is still so.
    pub(crate) async fn audit(&self) -> Kept<()> {
        let runs = self.runs.borrow().clone();
        for (id, answers) in runs {
            let lines = read(&self.client, id, "input", &mut |_| Ok(())).await?;
            let now: Vec<_> = lines.iter().map(Answer::of).collect();
            promise(now == answers, || format!("run {id} has other answers than when it ended"))?;
        }
        Ok(())
    }
}

/// Runs requesters while `trouble` is under way, and until all that they submitted has ended.
pub(crate) async fn round(
    site: &mut Site,
    ledger: &Ledger,
    seed: u64,
    witness: &Keypair,
    trouble: impl AsyncFnOnce(&mut Site, &mut Dice) -> Kept<u64>,
) -> Kept<Tally> {
    let (calm, before) = (Cell::new(None), *ledger.acknowledged.borrow());
    let join = site.join();
    let spoil = async {
        let faults = trouble(site, &mut Dice::new(seed)).await?;
        calm.set(Some(Instant::now()));
        Ok(faults)
    };
    let lanes = futures::future::try_join_all((0..LANES).map(|number| lane(ledger, seed, number, &calm)));
    let all = async { tokio::try_join!(spoil, lanes) };
    let ended = tokio::select! {
        ended = all => ended,
        never = testify(&join, ledger, witness) => match never {},
    };
    // A process that gave up explains more than a run that did not end.
    site.check()?;
    let (faults, runs) = ended?;
    let runs: Vec<_> = runs.into_iter().flatten().collect();
    for id in &runs {
        witnessed(ledger, witness.public().into(), *id, UNITS).await?;
    }
    site.check()?;
    Ok(Tally {
        faults,
        runs: runs.len() as u64,
        units: runs.len() as u64 * u64::from(UNITS),
        acknowledged: *ledger.acknowledged.borrow() - before,
        recovery: calm.get().map_or(Duration::ZERO, |calm| calm.elapsed()),
    })
}

/// One requester: one run after the other while trouble lasts.
async fn lane(ledger: &Ledger, seed: u64, lane: u64, calm: &Cell<Option<Instant>>) -> Kept<Vec<RunId>> {
    let mut runs = Vec::new();
    for number in 0.. {
        let inputs = work::inputs(seed.wrapping_mul(LANES).wrapping_add(lane) << 16 | number, UNITS);
        let key = format!("seed {seed}, lane {lane}, run {number}");
        let run = ledger.client.submit(&key, &inputs).await?;
        ledger.note();
        let answers = follow(ledger, run.id, &inputs, calm).await?;
        // Whoever lost the answer to a submission asks again, however late.
        let again = ledger.client.submit(&key, &inputs).await?;
        promise(again.id == run.id, || format!("the same submission became {} and {}", run.id, again.id))?;
        ended(ledger, run.id, &inputs).await?;
        ledger.runs.borrow_mut().insert(run.id, answers);
        runs.push(run.id);
        if calm.get().is_some() {
            break;
        }
    }
    Ok(runs)
}

/// Reads a run's results as they are accepted until all are there, from the start after each interruption.
async fn follow(ledger: &Ledger, run: RunId, inputs: &[Vec<u8>], calm: &Cell<Option<Instant>>) -> Kept<Vec<Answer>> {
    let mut had: Vec<(u32, Answer)> = Vec::new();
    loop {
        let mut at = 0;
        let mut take = |line: &ResultLine| {
            let new = (line.unit, Answer::of(line));
            match had.get(at) {
                Some(old) => promise(*old == new, || {
                    format!("run {run}: unit {} was accepted at place {at}, and now that is unit {}", old.0, new.0)
                })?,
                None => {
                    let twice = had.iter().any(|(unit, _)| *unit == new.0);
                    promise(!twice, || format!("run {run}: unit {} came twice", new.0))?;
                    let right = ledger.undisturbed.answer(&inputs[new.0 as usize]);
                    promise(new.1 == right, || {
                        format!(
                            "run {run}, unit {}: {} with {} bytes and fuel {}, undisturbed {} with {} bytes and fuel {}",
                            new.0,
                            new.1.status,
                            new.1.output.len(),
                            new.1.fuel,
                            right.status,
                            right.output.len(),
                            right.fuel
                        )
                    })?;
                    had.push(new);
                    ledger.note();
                }
            }
            at += 1;
            Ok(())
        };
        let complete = stream(&ledger.client, run, "accepted", &mut take);
        let patience = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if calm.get().is_some_and(|calm| calm.elapsed() > BOUND) {
                    return;
                }
            }
        };
        let complete = tokio::select! {
            complete = complete => complete?,
            () = patience => {
                let why: serde_json::Value = ledger.client.get(&format!("/v1/runs/{run}/why")).await?;
                return Err(Broken(format!("run {run} is stuck for {BOUND:?} after the last fault: {why:#}")));
            }
        };
        if complete {
            break;
        }
        tokio::time::sleep(AGAIN).await;
    }
    promise(had.len() == inputs.len(), || format!("run {run}: {} results for {} inputs", had.len(), inputs.len()))?;
    let sorted: BTreeMap<u32, Answer> = had.into_iter().collect();
    Ok(sorted.into_values().collect())
}

/// Passes on the lines of a stream of results; false if it broke off.
async fn stream(
    client: &Client,
    run: RunId,
    order: &str,
    take: &mut impl FnMut(&ResultLine) -> Kept<()>,
) -> Kept<bool> {
    let path = format!("/v1/runs/{run}/results?order={order}");
    let Ok(answer) = client.request(Method::GET, &path).send().await else { return Ok(false) };
    let status = answer.status();
    if status.as_u16() == 503 {
        return Ok(false);
    }
    // Not found, for example, means that an acknowledged run was lost.
    promise(status.is_success(), || format!("{path}: {status}"))?;
    let (mut chunks, mut rest) = (answer.bytes_stream(), Vec::new());
    while let Some(chunk) = chunks.next().await {
        let Ok(chunk) = chunk else { return Ok(false) };
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let line = serde_json::from_slice(&line).map_err(|error| Broken(format!("{path}: no result: {error}")))?;
            take(&line)?;
        }
    }
    promise(rest.is_empty(), || format!("{path}: ends in the middle of a line, as if that were the end"))?;
    Ok(true)
}

/// All results of a run that will not be interrupted for long.
async fn read(
    client: &Client,
    run: RunId,
    order: &str,
    take: &mut impl FnMut(&ResultLine) -> Kept<()>,
) -> Kept<Vec<ResultLine>> {
    let since = Instant::now();
    loop {
        let mut lines = Vec::new();
        let mut keep = |line: &ResultLine| {
            take(line)?;
            lines.push(line.clone());
            Ok(())
        };
        if stream(client, run, order, &mut keep).await? {
            return Ok(lines);
        }
        promise(since.elapsed() < BOUND, || format!("the results of run {run} break off again and again"))?;
        tokio::time::sleep(AGAIN).await;
    }
}

/// A run of which everything was read says that it ended, and how.
async fn ended(ledger: &Ledger, run: RunId, inputs: &[Vec<u8>]) -> Kept<()> {
    let view: RunView = ledger.client.get(&format!("/v1/runs/{run}")).await?;
    let whole = view.state == RunState::Finished
        && view.units.total == inputs.len() as u64
        && view.units.done == view.units.total
        && view.units.failed == 0
        && view.dissents == 0;
    promise(whole, || format!("run {run} was read to its end, but {view:?}"))
}

/// Each unit was counted once for each worker, by enough of them, and whoever had a receipt is among them.
async fn witnessed(ledger: &Ledger, witness: WorkerId, run: RunId, units: u32) -> Kept<()> {
    let receipts = ledger.receipts.borrow().clone();
    for unit in 0..units {
        let view: UnitView = ledger.client.get(&format!("/v1/runs/{run}/units/{unit}")).await?;
        let workers: BTreeSet<WorkerId> = view.replicas.iter().map(|replica| replica.worker).collect();
        promise(workers.len() == view.replicas.len(), || format!("run {run}, unit {unit}: a worker counts twice"))?;
        promise(workers.len() >= 2, || format!("run {run}, unit {unit}: accepted by {} workers", workers.len()))?;
        let lost = receipts.contains(&(run, unit)) && !workers.contains(&witness);
        promise(!lost, || format!("run {run}, unit {unit}: a report is gone that was acknowledged"))?;
    }
    Ok(())
}

enum Never {}

/// An honest worker that remembers what it was told, and sends again what it was told nothing about.
async fn testify(join: &str, ledger: &Ledger, key: &Keypair) -> Never {
    let mut unanswered: Vec<(Unit, Vec<u8>)> = Vec::new();
    loop {
        if let Ok(mut worker) = Worker::connect(join, Keypair::from_seed(&key.seed())).await {
            // Until the connection breaks.
            let _lost = work_for(&mut worker, ledger, &mut unanswered).await;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn work_for(
    worker: &mut Worker,
    ledger: &Ledger,
    unanswered: &mut Vec<(Unit, Vec<u8>)>,
) -> Result<std::convert::Infallible, manyhands_tests::Lost> {
    loop {
        while let Some((unit, output)) = unanswered.last() {
            let input: &[u8] = &unit.input;
            let done = worker.done([(unit, output.clone())], ledger.undisturbed.fuel(input));
            worker.send(&ClientMessage::Done(done)).await?;
            match worker.receipt(unit.lease.id).await? {
                Receipt::Recorded | Receipt::AlreadyRecorded => {
                    ledger.receipts.borrow_mut().insert((unit.run, unit.lease.task.index));
                    ledger.note();
                }
                // The unit ended without it, or the lease did.
                Receipt::Refused(_) => {}
            }
            unanswered.pop();
        }
        for unit in worker.units(1).await? {
            let output = work::answer(&unit.input);
            unanswered.push((unit, output));
        }
    }
}
