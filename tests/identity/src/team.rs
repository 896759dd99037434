//! Engines that execute the same units, and what they disagree on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use manyhands_engines::{Engine, Executed, Failure, Kind, Unit, difference, first_byte};
use manyhands_model::{Fuel, Limits};
use manyhands_protocol::Entry;
use manyhands_sealer::Refusal;

/// Time for one unit. Only an engine that hangs needs it.
const WALL_MS: u64 = 60_000;

/// An input with the fuel for it.
#[derive(Clone, Debug)]
pub struct Task {
    /// Which function.
    pub entry: Entry,
    /// How many answers there are with the input.
    pub step: u32,
    /// What it reads; with answers, a frame of `manyhands_abi::parts`.
    pub input: Vec<u8>,
    /// Its only randomness.
    pub seed: [u8; 32],
    /// What it may use.
    pub fuel: u64,
    /// What must come out, where that is known.
    pub expected: Option<Expected>,
}

impl Task {
    /// A unit without answers.
    pub fn run(input: Vec<u8>, fuel: u64, expected: Option<Expected>) -> Self {
        Self { entry: Entry::Run, step: 0, input, seed: [3; 32], fuel, expected }
    }
}

/// What an oracle says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This output.
    Output(Vec<u8>),
    /// A verdict of this word.
    Word(&'static str),
}

/// An engine at work.
pub struct Member {
    /// Which.
    pub kind: Kind,
    engine: Box<dyn Engine>,
    /// Whether it took the module.
    loaded: Result<(), Failure>,
    /// Time that it took to compile.
    pub loading: Duration,
    /// Time that it took to execute.
    pub executing: Duration,
    /// How many modules it loaded.
    pub modules: u64,
    /// How many units it executed.
    pub units: u64,
}

/// Engines that are compared.
pub struct Team {
    /// They.
    pub members: Vec<Member>,
}

/// What came out of a module's tasks, and all that is wrong with it.
#[derive(Debug, Default)]
pub struct Checked {
    /// By task, as the first engine has it.
    pub executed: Vec<Option<Executed>>,
    /// A sentence each.
    pub differences: Vec<String>,
}

impl Team {
    /// Starts engines.
    ///
    /// # Errors
    /// One is not installed or does not start.
    pub fn open(kinds: &[Kind]) -> anyhow::Result<Self> {
        let members = kinds.iter().map(|kind| {
            let engine = kind.open().with_context(|| kind.name())?;
            let (loading, executing) = (Duration::ZERO, Duration::ZERO);
            let loaded = Err(Failure::Refused("no module is loaded".into()));
            anyhow::Ok(Member { kind: *kind, engine, loaded, loading, executing, modules: 0, units: 0 })
        });
        Ok(Self { members: members.collect::<Result<_, _>>()? })
    }

    /// Executes all tasks of a module on all engines.
    pub fn check(&mut self, sealed: &[u8], tasks: &[Task], output_bytes: u64) -> Checked {
        self.load(sealed);
        self.execute(tasks, output_bytes)
    }

    /// Compiles a module on all engines. That one does not take it is a difference in whatever is executed.
    pub fn load(&mut self, sealed: &[u8]) {
        for member in &mut self.members {
            let began = Instant::now();
            member.loaded = member.engine.load(sealed);
            member.loading += began.elapsed();
            member.modules += 1;
        }
    }

    /// Executes all tasks of the loaded module on all engines.
    pub fn execute(&mut self, tasks: &[Task], output_bytes: u64) -> Checked {
        let mut checked = Checked::default();
        let mut first: Option<(Kind, Vec<Result<Executed, Failure>>)> = None;
        for member in &mut self.members {
            let results = member.execute(tasks, output_bytes);
            for (index, (task, result)) in tasks.iter().zip(&results).enumerate() {
                let wrong = match (result, &first) {
                    // An honest engine executes every sealed module.
                    (Err(failure), _) => Some(failure.to_string()),
                    (Ok(executed), None) => unexpected(executed, task.expected.as_ref()),
                    (Ok(executed), Some((other, results))) => {
                        let other = results[index].as_ref().ok().map(|theirs| (*other, theirs));
                        let ours = (member.kind.name(), executed);
                        other.and_then(|(other, theirs)| difference(ours, (other.name(), theirs)))
                    }
                };
                if let Some(wrong) = wrong {
                    checked.differences.push(format!("task {index}: {}: {wrong}", member.kind));
                }
            }
            first.get_or_insert((member.kind, results));
        }
        checked.executed = first.map(|(_, results)| results.into_iter().map(Result::ok).collect()).unwrap_or_default();
        checked
    }
}

/// By engine: modules, executions, time to load, time to execute.
pub type Figures = BTreeMap<Kind, (u64, u64, Duration, Duration)>;

impl Team {
    /// Adds what its engines did.
    pub fn add_to(&self, figures: &mut Figures) {
        for member in &self.members {
            let entry = figures.entry(member.kind).or_default();
            entry.0 += member.modules;
            entry.1 += member.units;
            entry.2 += member.loading;
            entry.3 += member.executing;
        }
    }
}

impl Member {
    fn execute(&mut self, tasks: &[Task], output_bytes: u64) -> Vec<Result<Executed, Failure>> {
        if let Err(failure) = &self.loaded {
            return tasks.iter().map(|_| Err(failure.clone())).collect();
        }
        let began = Instant::now();
        let results = tasks.iter().map(|task| execute(&mut *self.engine, task, output_bytes)).collect();
        self.executing += began.elapsed();
        self.units += tasks.len() as u64;
        results
    }
}

/// Executes one task of the loaded module.
///
/// # Errors
/// [`Failure`].
pub fn execute(engine: &mut dyn Engine, task: &Task, output_bytes: u64) -> Result<Executed, Failure> {
    let limits = Limits { fuel: Fuel(task.fuel), output_bytes, wall_ms: WALL_MS, ..Limits::MAX };
    engine.execute(&Unit { entry: task.entry, step: task.step, input: &task.input, seed: task.seed, limits })
}

fn unexpected(executed: &Executed, expected: Option<&Expected>) -> Option<String> {
    let verdict = &executed.outcome.verdict;
    match expected {
        None => None,
        Some(Expected::Word(word)) if verdict.word() == *word => None,
        Some(Expected::Word(word)) => Some(format!("{verdict}, where {word} is expected")),
        Some(Expected::Output(_)) if !verdict.is_ok() => Some(format!("{verdict}, where the oracle expects an output")),
        Some(Expected::Output(output)) if *output == executed.output => None,
        Some(Expected::Output(output)) => Some(first_byte(("it", &executed.output), ("the oracle", output))),
    }
}

/// The engines of the proof without browsers.
pub const ENGINES: [Kind; 4] = [Kind::Cranelift, Kind::Winch, Kind::NodeLiftoff, Kind::NodeTurbofan];
/// The sample's engines, and one to compare them with.
pub const BROWSERS: [Kind; 3] = [Kind::Cranelift, Kind::Chromium, Kind::Firefox];

/// Gives a module a manifest and seals it: both forms.
///
/// # Errors
/// [`Refusal`].
pub fn seal(plain: &[u8], memory_bytes: u64) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
    let source = crate::smith::with_manifest(plain.to_vec(), memory_bytes);
    let sealed = manyhands_sealer::seal(&source)?;
    Ok((source, sealed.bytes))
}
