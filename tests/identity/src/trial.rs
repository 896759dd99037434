//! The proof over jobs that somebody wrote: as they are, and short of fuel, memory and stack.
//!
//! A case is a unit of a job: one of its samples, or one that was spoilt. If it asks for calls it is answered and executed again, as often as it
//! asks. Each execution is made again with just the fuel that it took, with one less, and with what is far too little.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use manyhands_abi::parts;
use manyhands_engines::{Engine, Executed, Kind};
use manyhands_model::Verdict;
use manyhands_protocol::Entry;
use manyhands_runner::engine;

use crate::dice::Dice;
use crate::jobs::{PAGE_BYTES, Sample, Subject};
use crate::kept::keep;
use crate::spoil::{drawn, spoil};
use crate::stack::with_stack;
use crate::team::{BROWSERS, ENGINES, Expected, Figures, Task, Team, execute};
use crate::upstream::Seen;

/// Most fuel of a unit that is none of the samples: some would go on for minutes. A tenth of a second of a quick compiler's code.
const FUEL_MAX: u64 = 300_000_000;
/// One case of so many goes to browsers, and every sample.
const BROWSER_SHARE: usize = 4;
/// How often a unit is answered.
const STEPS_MAX: u32 = 6;
/// Differences after which it is clear that something is wrong.
const DIFFERENCES_MAX: usize = 20;
/// How often the progress is told.
const NEWS: Duration = Duration::from_secs(10);

/// What to prove.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many cases of each job. The first ones are its samples.
    pub cases: usize,
    /// The first of them.
    pub first: usize,
    /// From which seed.
    pub seed: u64,
    /// Whether a part of them also goes to browsers.
    pub browsers: bool,
    /// Where differences are kept.
    pub folder: PathBuf,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Tally {
    /// Units, each counted once for all engines.
    pub cases: u64,
    /// Executions by their verdict, each counted once for all engines.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Executions whose outcome somebody had written down.
    pub judged: u64,
    /// Requests for calls that were answered.
    pub answered: u64,
    /// Executions of a reduce step.
    pub reduced: u64,
    /// Executions with too little memory that ended otherwise than with enough: a growth was refused.
    pub refused_growths: u64,
    /// What each engine did.
    pub engines: Figures,
    /// Where each difference is kept.
    pub differences: Vec<String>,
}

/// How a job is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As it is published.
    Whole,
    /// With less memory than its manifest grants. Unit: bytes.
    Memory(u64),
    /// With less stack than a job has. Unit: 16 bytes.
    Stack(u16),
}

/// Engines, and one that executes what is short of memory as if it were not.
struct Lane {
    team: Team,
    control: Box<dyn Engine>,
    /// Whether what is executed goes into the tally.
    counts: bool,
}

struct Trial<'a> {
    plan: &'a Plan,
    /// A job in one form, and its number among the job's forms.
    work: Vec<(&'a Subject, usize)>,
    enough: AtomicBool,
    tally: Mutex<Tally>,
}

/// Carries it out.
///
/// # Errors
/// An engine cannot be started, a job not be sealed, or a file not be written. Differences are no error; they are in the tally.
pub fn prove(subjects: &[Subject], plan: &Plan) -> anyhow::Result<Tally> {
    let forms = |subject| (0..forms(subject, plan.seed).len()).map(move |form| (subject, form));
    let work = subjects.iter().flat_map(forms).collect();
    let trial = Trial { plan, work, enough: AtomicBool::new(false), tally: Mutex::default() };
    let (next, next_browsers) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let lanes = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let trial = &trial;
        let mut running: Vec<_> = (0..lanes).map(|_| scope.spawn(|| trial.lane(&ENGINES, &next))).collect();
        if plan.browsers {
            running.push(scope.spawn(|| trial.lane(&BROWSERS, &next_browsers)));
        }
        let mut told = Instant::now();
        while !running.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::park_timeout(Duration::from_millis(50));
            if told.elapsed() > NEWS {
                told = Instant::now();
                let (begun, all) = (next.load(Ordering::Relaxed).min(trial.work.len()), trial.work.len());
                eprintln!("   {begun} of {all} forms of jobs begun; differences: {}", trial.tally().differences.len());
            }
        }
        let ended = running.into_iter().map(|lane| lane.join().unwrap_or_else(|_| anyhow::bail!("a lane panicked")));
        ended.collect::<anyhow::Result<Vec<()>>>()
    })?;
    Ok(trial.tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The choices of a case of a job.
fn dice(subject: &Subject, seed: u64, number: u64) -> Dice {
    // FNV-1a, so that no two jobs meet the same choices.
    let name = subject
        .name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    Dice::new(seed ^ name, number)
}

/// The forms in which a job is tried, the whole one first.
fn forms(subject: &Subject, seed: u64) -> Vec<Form> {
    let dice = &mut dice(subject, seed, u64::MAX);
    let least = subject.memory_bytes_min;
    let most = subject.manifest.limits.memory_bytes;
    let mut forms = vec![Form::Whole];
    forms.extend([0, 1 + dice.below(6) as u64].map(|pages| Form::Memory((least + pages * PAGE_BYTES).min(most))));
    forms.extend(
        [(1, 40), (40, 400), (400, 8_000)].map(|(from, to)| Form::Stack((from + dice.below(to - from)) as u16)),
    );
    forms
}

/// In which form a case is executed.
fn form_of(number: usize, samples: usize, forms: usize, dice: &mut Dice) -> usize {
    let drawn = dice.below(2 * forms);
    if number < samples || drawn >= forms { 0 } else { drawn }
}

impl Trial<'_> {
    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one form of a job after the other, until all are done.
    fn lane(&self, kinds: &[Kind], next: &AtomicUsize) -> anyhow::Result<()> {
        let counts = kinds == ENGINES;
        let mut lane = Lane { team: Team::open(kinds)?, control: Kind::Cranelift.open()?, counts };
        while let Some((subject, form)) = self.work.get(next.fetch_add(1, Ordering::Relaxed)) {
            self.form(&mut lane, subject, *form)?;
        }
        lane.team.add_to(&mut self.tally().engines);
        Ok(())
    }

    /// All cases of a job that are executed in this form.
    fn form(&self, lane: &mut Lane, subject: &Subject, number: usize) -> anyhow::Result<()> {
        let forms = forms(subject, self.plan.seed);
        let form = forms[number];
        let samples = subject.samples.len();
        let mut cases = (self.plan.first..self.plan.first + self.plan.cases).filter_map(|case| {
            let mut dice = dice(subject, self.plan.seed, case as u64);
            let here = form_of(case, samples, forms.len(), &mut dice) == number
                && (lane.counts || case < samples || case.is_multiple_of(BROWSER_SHARE));
            here.then_some((case, dice))
        });
        let cases: Vec<_> = cases.by_ref().collect();
        if cases.is_empty() {
            return Ok(());
        }
        let memory_bytes = match form {
            Form::Memory(bytes) => bytes,
            Form::Whole | Form::Stack(_) => subject.manifest.limits.memory_bytes,
        };
        let (source, sealed) = subject.seal(memory_bytes)?;
        let module = match form {
            Form::Stack(units) => with_stack(&sealed.bytes, units)?,
            Form::Whole | Form::Memory(_) => sealed.bytes,
        };
        lane.team.load(&module);
        if matches!(form, Form::Memory(_)) {
            let (_, whole) = subject.seal(subject.manifest.limits.memory_bytes)?;
            lane.control.load(&whole.bytes)?;
        }
        for (number, dice) in cases {
            if self.enough.load(Ordering::Relaxed) {
                break;
            }
            let mut case = Case {
                subject,
                form,
                lane: &mut *lane,
                dice,
                tasks: Vec::new(),
                differences: Vec::new(),
                tally: Tally::default(),
            };
            case.execute(number)?;
            let Case { tasks, differences, tally, .. } = case;
            self.keep(subject, number, [&source, &module], &tasks, &differences)?;
            if lane.counts {
                self.tally().add(tally);
            }
        }
        Ok(())
    }

    fn keep(
        &self,
        subject: &Subject,
        number: usize,
        modules: [&[u8]; 2],
        tasks: &[Task],
        differences: &[String],
    ) -> anyhow::Result<()> {
        if differences.is_empty() {
            return Ok(());
        }
        let (seed, name) = (self.plan.seed, &subject.name);
        let plain = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let folder = self.plan.folder.join(format!("{seed}-{plain}-{number}"));
        let browsers = if self.plan.browsers { " --browsers" } else { "" };
        let replay = format!(
            "cargo xtask identity --no-probe --modules 0 --seed {seed} --job {name} --first-case {number} --cases 1{browsers}"
        );
        keep(&folder, &replay, modules, tasks, differences)?;
        let mut tally = self.tally();
        tally.differences.push(format!("{}: {}", folder.display(), differences[0]));
        if tally.differences.len() >= DIFFERENCES_MAX {
            self.enough.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.cases += other.cases;
        for (word, count) in other.verdicts {
            *self.verdicts.entry(word).or_default() += count;
        }
        self.judged += other.judged;
        self.answered += other.answered;
        self.reduced += other.reduced;
        self.refused_growths += other.refused_growths;
    }
}

/// One case on its way.
struct Case<'a> {
    subject: &'a Subject,
    form: Form,
    lane: &'a mut Lane,
    dice: Dice,
    /// All that was executed.
    tasks: Vec<Task>,
    differences: Vec<String>,
    tally: Tally,
}

impl Case<'_> {
    fn execute(&mut self, number: usize) -> anyhow::Result<()> {
        self.tally.cases = 1;
        let samples = &self.subject.samples;
        let is_sample = number < samples.len();
        let mut sample = samples.get(number).unwrap_or_else(|| self.dice.pick(samples)).clone();
        let fuel = self.subject.manifest.limits.fuel.0;
        let fuel = if is_sample { fuel } else { fuel.min(FUEL_MAX) };
        if !is_sample && self.subject.reduces && self.dice.once_in(4) {
            sample = self.reduction(fuel);
        } else if !is_sample {
            self.change(&mut sample);
        }
        let Sample { entry, input, answers, seed, case } = sample;
        let known = case.filter(|_| is_sample);
        let mut seen = Seen::new(&self.subject.manifest, input, answers, &mut self.dice)?;
        loop {
            let step = seen.step();
            let task = Task { entry, step, input: seen.input(), seed, fuel, expected: None };
            let Some(executed) = self.one(task) else { return Ok(()) };
            if let Some(case) = &known
                && step as usize == case.answers.len()
            {
                self.tally.judged += 1;
                let (outcome, output) = (executed.outcome.clone(), executed.output.clone());
                let executed = engine::Executed { outcome, output, logs: Vec::new(), wall_us: 0 };
                self.differences.extend(case.differences(&executed)?);
            }
            let called = matches!(executed.outcome.verdict, Verdict::Called { .. });
            if !called || step >= STEPS_MAX || !seen.answer(executed.output, &mut self.dice) {
                return Ok(());
            }
            self.tally.answered += 1;
        }
    }

    /// Spoils what a unit reads or hears.
    fn change(&mut self, sample: &mut Sample) {
        let dice = &mut self.dice;
        for byte in &mut sample.seed {
            *byte = dice.below(256) as u8;
        }
        match dice.below(6) {
            0 => {}
            1 => {
                let inputs = self.subject.samples.iter().filter(|other| other.entry == sample.entry);
                let inputs: Vec<&[u8]> = inputs.map(|other| &*other.input).collect();
                sample.input = drawn(&inputs, dice);
            }
            _ if !sample.answers.is_empty() && dice.once_in(2) => {
                let which = dice.below(sample.answers.len());
                spoil(&mut sample.answers[which], dice);
            }
            _ => spoil(&mut sample.input, dice),
        }
    }

    /// What some units put out, for a reduce step.
    fn reduction(&mut self, fuel: u64) -> Sample {
        let mut outputs = Vec::new();
        let runs: Vec<&Sample> = self
            .subject
            .samples
            .iter()
            .filter(|sample| sample.entry == Entry::Run && sample.answers.is_empty())
            .collect();
        for _ in 0..if runs.is_empty() { 0 } else { 1 + self.dice.below(4) } {
            let mut sample = (*self.dice.pick(&runs)).clone();
            self.change(&mut sample);
            let Sample { input, seed, .. } = sample;
            let executed = self.one(Task { entry: Entry::Run, step: 0, input, seed, fuel, expected: None });
            outputs
                .extend(executed.filter(|executed| executed.outcome.verdict.is_ok()).map(|executed| executed.output));
        }
        if !outputs.is_empty() && self.dice.once_in(3) {
            let which = self.dice.below(outputs.len());
            spoil(&mut outputs[which], &mut self.dice);
        }
        let mut input = parts::encode(outputs.iter().map(Vec::as_slice));
        if self.dice.once_in(8) {
            spoil(&mut input, &mut self.dice);
        }
        Sample { entry: Entry::Reduce, input, answers: Vec::new(), seed: [5; 32], case: None }
    }

    /// One execution, and again with less fuel. None if the engines do not agree.
    fn one(&mut self, task: Task) -> Option<Executed> {
        let executed = self.all(core::slice::from_ref(&task)).pop()??;
        let (verdict, took) = (executed.outcome.verdict.clone(), executed.outcome.fuel.0);
        if let Form::Memory(_) = self.form {
            let control = execute(&mut *self.lane.control, &task, self.subject.manifest.limits.output_bytes);
            let same = control
                .is_ok_and(|control| (&control.outcome, &control.output) == (&executed.outcome, &executed.output));
            self.tally.refused_growths += u64::from(!same);
        }
        self.tally.reduced += u64::from(task.entry == Entry::Reduce);
        let mut again = Vec::new();
        // Just enough. What traps by itself, and not by `unreachable`, has paid for more than the meter tells.
        if !matches!(verdict, Verdict::OutOfFuel | Verdict::Trap) && self.dice.once_in(4) {
            again.push(Task { expected: Some(Expected::Word(verdict.word())), fuel: took, ..task.clone() });
        }
        if took > 0 {
            let random = self.dice.bits() as u64;
            let little = [took - 1, random % took, (random >> 32) % took.min(1 + (took >> self.dice.below(24)))];
            let too_little = Some(Expected::Word("out_of_fuel"));
            again.extend(little.map(|fuel| Task { fuel, expected: too_little.clone(), ..task.clone() }));
        }
        self.all(&again);
        self.differences.is_empty().then_some(executed)
    }

    fn all(&mut self, tasks: &[Task]) -> Vec<Option<Executed>> {
        let begun = self.tasks.len();
        let checked = self.lane.team.execute(tasks, self.subject.manifest.limits.output_bytes);
        self.tasks.extend_from_slice(tasks);
        let of_all = |difference: String| format!("{:?}, from task {begun} on: {difference}", self.form);
        self.differences.extend(checked.differences.into_iter().map(of_all));
        for executed in checked.executed.iter().flatten() {
            *self.tally.verdicts.entry(executed.outcome.verdict.word()).or_default() += 1;
        }
        checked.executed
    }
}
