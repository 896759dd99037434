//! One unit in several processes, and whether they agree.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use futures::future::join_all;
use manyhands_model::{Digest, Limits};
use manyhands_placeholder::Values;
use manyhands_placeholder::token::find;
use manyhands_protocol::Entry;
use manyhands_runner::engine::{Executed, Execution, Infrastructure};
use manyhands_runner::sandbox::{Compiled, Program, Slot, compile};
use manyhands_sealer::Sealed;

use super::tokens::restored;
use crate::fault::{Exit, Fault, Result};

/// A compiled module and the processes that execute it.
pub(super) struct Job {
    limits: Limits,
    replicas: usize,
    compiled: Compiled,
    program: Program,
    /// Slots that nobody uses now. A process serves one replica after the other, as it does with volunteers,
    /// and never two of the same unit.
    idle: Mutex<Vec<Slot>>,
}

/// What the replicas of one unit say.
#[derive(Debug)]
pub(super) enum Answer {
    /// All the same.
    Agreed {
        /// What the first of them gave.
        executed: Executed,
        /// How many they were.
        replicas: u32,
    },
    /// Not all the same.
    Disagreed {
        /// Who said what.
        sentence: String,
    },
    /// At least one did not end in time, which is no verdict.
    Overtime {
        /// After how long.
        sentence: String,
    },
}

impl Answer {
    /// The output that the replicas agree on.
    pub(super) fn output(&self) -> Option<&[u8]> {
        match self {
            Self::Agreed { executed, .. } if executed.outcome.verdict.is_ok() => Some(&executed.output),
            _ => None,
        }
    }

    /// Puts values in the place of tokens, as the requester would get the output.
    pub(super) fn restore(&mut self, values: &Values) {
        if let Self::Agreed { executed, .. } = self
            && executed.outcome.verdict.is_ok()
            && (values.have_surrogates() || find(&executed.output).next().is_some())
        {
            executed.output = restored(&executed.output, values);
        }
    }

    /// Fuel that one replica used.
    pub(super) fn fuel(&self) -> u64 {
        match self {
            Self::Agreed { executed, .. } => executed.outcome.fuel.0,
            Self::Disagreed { .. } | Self::Overtime { .. } => 0,
        }
    }

    /// What the job logged in one replica: level and text.
    pub(super) fn logs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        const LEVELS: [&str; 5] = ["error", "warning", "info", "debug", "trace"];
        let logs = match self {
            Self::Agreed { executed, .. } => executed.logs.as_slice(),
            Self::Disagreed { .. } | Self::Overtime { .. } => &[],
        };
        logs.iter().map(|line| (LEVELS.get(usize::from(line.level)).copied().unwrap_or("log"), line.text.as_str()))
    }
}

/// What one replica says.
enum Said {
    Something(Executed),
    /// It did not end within the job's wall time.
    Nothing(Infrastructure),
}

impl Job {
    /// Compiles the module, in a process of its own.
    ///
    /// # Errors
    /// The machine's: a sealed module always compiles.
    pub(super) async fn open(sealed: Sealed, replicas: usize) -> Result<Self> {
        Self::of(sealed.bytes, sealed.manifest.limits, replicas).await
    }

    /// The same of a module that is sealed already.
    ///
    /// # Errors
    /// The machine's, or the module is not well sealed.
    pub(super) async fn of(sealed: Vec<u8>, limits: Limits, replicas: usize) -> Result<Self> {
        let program =
            Program::current().map_err(|error| Fault::bug(format!("cannot find this very program: {error}")))?;
        let module = Digest::of(&sealed);
        let code = compile(&program, sealed).await.map_err(|error| machine(&error))?;
        let compiled = Compiled { module, code: Arc::from(code) };
        Ok(Self { limits, replicas, compiled, program, idle: Mutex::default() })
    }

    /// How many units fill this machine.
    pub(super) fn units_at_once(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, core::num::NonZero::get);
        (cores / self.replicas).max(1)
    }

    /// Executes all replicas of one unit at once and compares them.
    ///
    /// # Errors
    /// The machine's.
    pub(super) async fn execute(&self, entry: Entry, input: Vec<u8>, seed: [u8; 32]) -> Result<Answer> {
        self.execute_each(entry, vec![input.into(); self.replicas], seed, |_, executed| executed).await
    }

    /// The same with an input for each replica; what each says is `translated` before it is compared.
    ///
    /// # Errors
    /// The machine's.
    pub(super) async fn execute_each(
        &self,
        entry: Entry,
        inputs: Vec<Bytes>,
        seed: [u8; 32],
        translated: impl Fn(usize, Executed) -> Executed,
    ) -> Result<Answer> {
        let execution = |input| Execution { entry, step: 0, input, seed, limits: self.limits };
        let replicas = inputs.into_iter().map(|input| self.replica(execution(input)));
        let (mut executed, mut fuel) = (Vec::with_capacity(self.replicas), None);
        for (number, said) in join_all(replicas).await.into_iter().enumerate() {
            match said? {
                Said::Something(one) => {
                    fuel.get_or_insert(one.outcome.fuel);
                    executed.push(translated(number, one));
                }
                Said::Nothing(error) => return Ok(Answer::Overtime { sentence: error.to_string() }),
            }
        }
        let mut answer = compare(executed);
        // Told to the author also where it is not compared.
        if let (Answer::Agreed { executed, .. }, Some(fuel)) = (&mut answer, fuel) {
            executed.outcome.fuel = fuel;
        }
        Ok(answer)
    }

    /// In how many replicas each unit is executed.
    pub(super) const fn replicas(&self) -> usize {
        self.replicas
    }

    /// Executes one step of a unit once.
    ///
    /// # Errors
    /// The machine's, or it did not end within the job's wall time.
    pub(super) async fn step(&self, entry: Entry, step: u32, input: Vec<u8>, seed: [u8; 32]) -> Result<Executed> {
        match self.replica(Execution { entry, step, input: input.into(), seed, limits: self.limits }).await? {
            Said::Something(executed) => Ok(executed),
            Said::Nothing(error) => Err(Fault::new(Exit::TimedOut, error.to_string())),
        }
    }

    async fn replica(&self, execution: Execution) -> Result<Said> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = idle().pop();
        let mut slot = taken.unwrap_or_else(|| Slot::new(self.program.clone()));
        let started = Instant::now();
        let executed = slot.execute(&self.compiled, execution, &mut |_| ()).await;
        idle().push(slot);
        match executed {
            Ok(executed) => Ok(Said::Something(executed)),
            Err(error) if started.elapsed() >= self.limits.wall() => Ok(Said::Nothing(error)),
            Err(error) => Err(machine(&error)),
        }
    }
}

fn machine(error: &Infrastructure) -> Fault {
    Fault::bug(format!("this machine could not execute the job: {error}"))
}

/// Whether all replicas gave the same outcome, fuel included, as a coordinator's quorum asks.
fn compare(executed: Vec<Executed>) -> Answer {
    let count = executed.len();
    let mut executed = executed.into_iter();
    let Some(first) = executed.next() else {
        return Answer::Disagreed { sentence: "there were no replicas".to_owned() };
    };
    match executed.find(|other| other.outcome != first.outcome) {
        None => Answer::Agreed { executed: first, replicas: u32::try_from(count).unwrap_or(u32::MAX) },
        Some(other) => {
            let [a, b] =
                [&first.outcome, &other.outcome].map(|outcome| format!("{} ({})", outcome.verdict, outcome.fuel));
            Answer::Disagreed { sentence: format!("replicas disagree: one says {a}; another says {b}") }
        }
    }
}

#[cfg(test)]
mod tests {
    use manyhands_model::{Fuel, Outcome, Verdict};

    use super::*;

    fn said(output: &[u8], fuel: u64) -> Executed {
        let verdict = Verdict::Ok { output: Digest::of(output), output_bytes: output.len() as u64 };
        let outcome = Outcome { verdict, fuel: Fuel(fuel) };
        Executed { outcome, output: output.to_vec(), logs: vec![], wall_us: 0 }
    }

    #[test]
    fn replicas_agree_on_output_and_fuel_or_not_at_all() {
        let agreed = compare(vec![said(b"a", 5), said(b"a", 5), said(b"a", 5)]);
        assert!(matches!(agreed, Answer::Agreed { replicas: 3, .. }) && agreed.output() == Some(b"a"));
        for other in [said(b"b", 5), said(b"a", 6)] {
            let answer = compare(vec![said(b"a", 5), said(b"a", 5), other]);
            assert!(matches!(&answer, Answer::Disagreed { sentence } if sentence.contains("replicas disagree")));
            assert_eq!(answer.output(), None);
        }
    }
}
