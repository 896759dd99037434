//! Engines that execute the same units, and what they disagree on.

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
    /// What it reads.
    pub input: Vec<u8>,
    /// What it may use.
    pub fuel: u64,
    /// What must come out, where that is known.
    pub expected: Option<Expected>,
}

/// What an oracle says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This output.
    Output(Vec<u8>),
    /// A trap.
    Trap,
}

/// An engine at work.
pub struct Member {
    /// Which.
    pub kind: Kind,
    engine: Box<dyn Engine>,
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
            anyhow::Ok(Member { kind: *kind, engine, loading, executing, modules: 0, units: 0 })
        });
        Ok(Self { members: members.collect::<Result<_, _>>()? })
    }

    /// Executes all tasks on all engines.
    pub fn check(&mut self, sealed: &[u8], tasks: &[Task], output_bytes: u64) -> Checked {
        let mut checked = Checked::default();
        let mut first: Option<(Kind, Vec<Result<Executed, Failure>>)> = None;
        for member in &mut self.members {
            let results = member.run(sealed, tasks, output_bytes);
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

impl Member {
    fn run(&mut self, sealed: &[u8], tasks: &[Task], output_bytes: u64) -> Vec<Result<Executed, Failure>> {
        let began = Instant::now();
        let loaded = self.engine.load(sealed);
        self.loading += began.elapsed();
        self.modules += 1;
        if let Err(failure) = loaded {
            return tasks.iter().map(|_| Err(failure.clone())).collect();
        }
        let began = Instant::now();
        let results = tasks.iter().map(|task| {
            let limits = Limits { fuel: Fuel(task.fuel), output_bytes, wall_ms: WALL_MS, ..Limits::MAX };
            self.engine.execute(&Unit { entry: Entry::Run, step: 0, input: &task.input, seed: [3; 32], limits })
        });
        let results = results.collect();
        self.executing += began.elapsed();
        self.units += tasks.len() as u64;
        results
    }
}

fn unexpected(executed: &Executed, expected: Option<&Expected>) -> Option<String> {
    let verdict = &executed.outcome.verdict;
    match expected {
        None => None,
        Some(Expected::Trap) if verdict.word() == "trap" => None,
        Some(Expected::Trap) => Some(format!("{verdict}, where the oracle expects a trap")),
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
