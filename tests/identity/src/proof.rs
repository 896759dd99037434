//! The proof itself: many modules, many inputs, several engines, no difference.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use manyhands_engines::{Executed, Kind};

use crate::dice::Dice;
use crate::ops::{self, Op};
use crate::program::{Program, SLOTS, Stopped};
use crate::smith::{Job, with_manifest};
use crate::team::{BROWSERS, ENGINES, Expected, Figures, Task, Team, seal};
use crate::{kept, mutant, operands};

/// Inputs of a module.
const INPUTS: usize = 3;
/// One module of so many is a float program with an oracle.
const PROGRAM_SHARE: u64 = 4;
/// One module of so many is mutated.
const MUTANT_SHARE: u64 = 3;
/// Most output of a random module: some write more.
const OUTPUT_BYTES: u64 = 16 << 10;
/// Fuel of random modules: seldom too little for anything or for the driver's own work.
const FUELS: [u64; 6] = [400, 30_000, 4_000_000, 4_000_000, 4_000_000, 4_000_000];
/// Fuel of programs with an oracle: always enough.
const PROGRAM_FUEL: u64 = 1_000_000_000;
/// The one reason for which the sealer may refuse these modules: it stands in no table of features, and the
/// generator does not know it.
const NO_JOB: &str = "which can only be called directly";
/// Attempts to make a module that can be sealed.
const ATTEMPTS: u64 = 50;
/// Differences after which it is clear that something is wrong.
const DIFFERENCES_MAX: usize = 20;
/// How often the progress is told.
const NEWS: Duration = Duration::from_secs(10);

/// What to prove.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many modules.
    pub modules: u64,
    /// The first of them.
    pub first: u64,
    /// From which seed.
    pub seed: u64,
    /// One of so many also goes to browsers.
    pub browser_share: Option<u64>,
    /// Where differences are kept.
    pub folder: PathBuf,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Tally {
    /// Modules that were executed.
    pub modules: u64,
    /// Modules that were rightly refused by the sealer. Any other refusal is a difference.
    pub refused: u64,
    /// Executions by their verdict, each counted once for all engines.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Executions that the oracle judged as well.
    pub judged: u64,
    /// Growths that were refused and seen in an output.
    pub refused_growths: u64,
    /// Executions of mutants that were compared with their originals'.
    pub mutants: u64,
    /// Executions of mutants that ended for lack of fuel or stack, or whose originals did.
    pub bounded: u64,
    /// Mutants that the sealer refused: what a mutator adds may be more than a job may have.
    pub mutants_refused: u64,
    /// What each engine did.
    pub engines: Figures,
    /// Where each difference is kept.
    pub differences: Vec<String>,
}

/// A module with its tasks.
struct Made {
    /// The module without a manifest.
    plain: Vec<u8>,
    memory_bytes: u64,
    tasks: Vec<Task>,
    /// How many globals a random module's output ends with.
    globals: Option<usize>,
}

/// The same, sealed.
struct Subject {
    source: Vec<u8>,
    sealed: Vec<u8>,
    made: Made,
}

struct Proof<'a> {
    plan: &'a Plan,
    ops: &'a [Op],
    next: AtomicU64,
    next_browsers: AtomicU64,
    enough: AtomicBool,
    tally: Mutex<Tally>,
}

/// Carries it out.
///
/// # Errors
/// An engine cannot be started, or a file not written. Differences are no error; they are in the tally.
pub fn prove(plan: &Plan) -> anyhow::Result<Tally> {
    let ops = ops::all();
    let proof = Proof {
        plan,
        ops: &ops,
        next: AtomicU64::new(0),
        next_browsers: AtomicU64::new(0),
        enough: AtomicBool::new(false),
        tally: Mutex::default(),
    };
    let lanes = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let proof = &proof;
        let mut running: Vec<_> = (0..lanes).map(|_| scope.spawn(|| proof.lane(&ENGINES, &proof.next, 1))).collect();
        if let Some(share) = plan.browser_share {
            running.push(scope.spawn(move || proof.lane(&BROWSERS, &proof.next_browsers, share)));
        }
        let began = Instant::now();
        let mut told = began;
        while !running.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::park_timeout(Duration::from_millis(50));
            if told.elapsed() > NEWS {
                told = Instant::now();
                proof.tell(began.elapsed());
            }
        }
        let ended = running.into_iter().map(|lane| lane.join().unwrap_or_else(|_| anyhow::bail!("a lane panicked")));
        ended.collect::<anyhow::Result<Vec<()>>>()
    })?;
    Ok(proof.tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}

impl Proof<'_> {
    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, elapsed: Duration) {
        let tally = self.tally();
        let rate = tally.modules as f64 / elapsed.as_secs_f64();
        let left = (self.plan.modules.saturating_sub(tally.modules)) as f64 / rate.max(0.001) / 60.0;
        eprintln!(
            "   {} of {} modules, {rate:.0}/s, {left:.0} min left; differences: {}",
            tally.modules,
            self.plan.modules,
            tally.differences.len()
        );
    }

    /// Takes one module after the other, in steps of `share`, until all are done.
    fn lane(&self, kinds: &[Kind], next: &AtomicU64, share: u64) -> anyhow::Result<()> {
        let mut team = Team::open(kinds)?;
        while !self.enough.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed) * share;
            if index >= self.plan.modules {
                break;
            }
            self.one(&mut team, self.plan.first + index, kinds == ENGINES)?;
        }
        team.add_to(&mut self.tally().engines);
        Ok(())
    }

    /// One module, and a mutant of some. `counts` says whether its verdicts go into the tally.
    fn one(&self, team: &mut Team, index: u64, counts: bool) -> anyhow::Result<()> {
        let subject = self.subject(index, counts)?;
        let checked = team.check(&subject.sealed, &subject.made.tasks, OUTPUT_BYTES);
        self.keep(index, "module", &subject.source, &subject.sealed, &subject.made.tasks, &checked.differences)?;
        if !counts {
            return Ok(());
        }
        {
            let mut tally = self.tally();
            tally.modules += 1;
            tally.judged += subject.made.tasks.iter().filter(|task| task.expected.is_some()).count() as u64;
            for executed in checked.executed.iter().flatten() {
                *tally.verdicts.entry(executed.outcome.verdict.word()).or_default() += 1;
                tally.refused_growths += subject.made.globals.map_or(0, |globals| refused_growths(executed, globals));
            }
        }
        if index % MUTANT_SHARE == 1 {
            self.mutant(team, index, &subject, &checked.executed)?;
        }
        Ok(())
    }

    fn mutant(
        &self,
        team: &mut Team,
        index: u64,
        subject: &Subject,
        originals: &[Option<Executed>],
    ) -> anyhow::Result<()> {
        let Some(plain) = mutant::of(&subject.made.plain, self.plan.seed ^ index) else { return Ok(()) };
        let Ok((source, sealed)) = seal(&plain, subject.made.memory_bytes) else {
            self.tally().mutants_refused += 1;
            return Ok(());
        };
        let more = |task: &Task| Task { fuel: task.fuel.saturating_mul(mutant::FUEL_FACTOR), ..task.clone() };
        let tasks: Vec<Task> = subject.made.tasks.iter().map(more).collect();
        let mut checked = team.check(&sealed, &tasks, OUTPUT_BYTES);
        for (index, pair) in originals.iter().zip(&checked.executed).enumerate() {
            let (Some(original), Some(mutant)) = pair else { continue };
            match mutant::compare(original, mutant) {
                None => self.tally().bounded += 1,
                Some(Ok(())) => self.tally().mutants += 1,
                Some(Err(text)) => checked.differences.push(format!("task {index}: {text}")),
            }
        }
        self.keep(index, "mutant", &source, &sealed, &tasks, &checked.differences)?;
        // Beside the mutant, what it was made of.
        self.keep(index, "original", &subject.source, &subject.sealed, &subject.made.tasks, &checked.differences)
    }

    /// The module of this index. Where random choices make none that can be a job, others are made.
    fn subject(&self, index: u64, counts: bool) -> anyhow::Result<Subject> {
        for attempt in 0..ATTEMPTS {
            let dice = &mut Dice::new(self.plan.seed, index * ATTEMPTS + attempt);
            let made = if index.is_multiple_of(PROGRAM_SHARE) { Ok(self.program(dice)) } else { smith(dice) };
            // The generator ran out of random bytes.
            let Ok(made) = made else { continue };
            match seal(&made.plain, made.memory_bytes) {
                Ok((source, sealed)) => return Ok(Subject { source, sealed, made }),
                Err(refusal) if refusal.reason.contains(NO_JOB) => {
                    if counts {
                        self.tally().refused += 1;
                    }
                }
                Err(refusal) => {
                    let source = with_manifest(made.plain, made.memory_bytes);
                    self.keep(index, "refused", &source, &[], &made.tasks, &[refusal.to_string()])?;
                }
            }
        }
        anyhow::bail!("module {index} of seed {} cannot be made", self.plan.seed)
    }

    fn program(&self, dice: &mut Dice) -> Made {
        let program = Program::random(self.ops, dice);
        let mut tasks = Vec::new();
        for _ in 0..INPUTS {
            let slots = (0..SLOTS).map(|_| operands::any(dice, crate::ops::Ty::V128));
            let input: Vec<u8> = slots.flat_map(u128::to_le_bytes).collect();
            let expected = match program.interpret(&input) {
                Ok(output) => Some(Expected::Output(output)),
                Err(Stopped::Trap) => Some(Expected::Word("trap")),
                Err(Stopped::TooLong) => continue,
            };
            tasks.push(Task::run(input, PROGRAM_FUEL, expected));
        }
        Made { plain: program.module(false), memory_bytes: 1 << 16, tasks, globals: None }
    }

    /// Writes a difference down, with all that is needed to see it again.
    fn keep(
        &self,
        index: u64,
        what: &str,
        source: &[u8],
        sealed: &[u8],
        tasks: &[Task],
        differences: &[String],
    ) -> anyhow::Result<()> {
        if differences.is_empty() {
            return Ok(());
        }
        let seed = self.plan.seed;
        let folder = self.plan.folder.join(format!("{seed}-{index}-{what}"));
        let replay = format!("cargo xtask identity --cases 0 --seed {seed} --first {index} --modules 1");
        kept::keep(&folder, &replay, [source, sealed], tasks, differences)?;
        let mut tally = self.tally();
        tally.differences.push(format!("{}: {}", folder.display(), differences[0]));
        if tally.differences.len() >= DIFFERENCES_MAX {
            self.enough.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn smith(dice: &mut Dice) -> anyhow::Result<Made> {
    let job = Job::random(dice, false)?;
    let tasks = (0..INPUTS).map(|_| Task::run(job.input(dice), *dice.pick(&FUELS), None));
    let tasks = tasks.collect();
    Ok(Made { plain: job.module, memory_bytes: job.memory_bytes, tasks, globals: Some(job.globals) })
}

/// How many growths the driver saw refused, which stands before the globals in its output.
fn refused_growths(executed: &Executed, globals: usize) -> u64 {
    let end = executed.output.len().checked_sub(16 * globals);
    let number = end.and_then(|end| executed.output.get(end.checked_sub(4)?..end)?.try_into().ok());
    number.map_or(0, |number| u64::from(u32::from_le_bytes(number)))
}
