//! `manyhands run --engines`: every input on several engines, side by side. `wasmtime` is the engine and the
//! sandbox that volunteers have; the others execute the job without a sandbox, which is its author's own risk.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use manyhands_engines::{Engine, Executed, Failure, Kind, Unit, difference};
use manyhands_model::{Digest, Limits};
use manyhands_protocol::Entry;
use manyhands_sealer::Sealed;
use serde::Serialize;

use super::parting;
use super::replicas::{Answer, Job};
use super::tokens::Tokens;
use super::{Tally, unit_seed};
use crate::args::{EngineName, Run};
use crate::fault::{Exit, Fault, Result};
use crate::inputs;
use crate::screen::{Screen, grouped, printable, table};

/// Executes the job over the inputs on all engines and prints how it ended on each.
///
/// # Errors
/// An engine is missing or fails, an input cannot be read, engines disagree, or the job fails on an input.
pub(super) async fn run(args: &Run, module: &[u8], sealed: Sealed, screen: Screen) -> Result<()> {
    let (seed, limits) = (Digest::of(&sealed.bytes), sealed.manifest.limits);
    let mut sites = Vec::new();
    for name in &args.engines {
        sites.push(Site::open(*name, &sealed).await?);
    }
    // All engines stand for one worker, and see the same tokens.
    let tokens = if args.plain { None } else { Tokens::of(&sealed.manifest, &seed, &args.declared)? };
    let mut report = Report::default();
    for (unit, input) in (0..).zip(inputs::open(&args.inputs)?) {
        let mut input = input?;
        if let Some(tokens) = &tokens {
            let taken = tokens.take_out(unit, &input);
            let canonical = taken.map_err(|why| Fault::usage(format!("input {}: {why}", u64::from(unit) + 1)))?;
            input = tokens.seen(unit, &canonical.text);
        }
        let task = Task { input: Arc::from(input), seed: unit_seed(&seed, unit), limits };
        let said = join_all(sites.iter().map(|site| site.execute(&task))).await;
        let said = said.into_iter().collect::<Result<Vec<_>>>()?;
        let differ = report.add(unit, &args.engines, &said);
        if let (Some(pair), None) = (differ, &report.parting) {
            let (module, sealed, task) = (module.to_vec(), sealed.clone(), task.clone());
            let look = move || {
                let Task { input, seed, limits } = &task;
                let unit = Unit { entry: Entry::Run, step: 0, input, seed: *seed, limits: *limits };
                parting::describe(pair, &module, &sealed, &unit)
            };
            report.parting = Some((unit, blocking(look).await?));
        }
    }
    if report.tally.units == 0 {
        return Err(Fault::usage("there is no input; a run has at least one"));
    }
    report.print(screen)?;
    report.judge()
}

/// One unit, for all engines.
#[derive(Clone)]
struct Task {
    input: Arc<[u8]>,
    seed: [u8; 32],
    limits: Limits,
}

/// What one engine says of a unit.
type Said = Result<Executed, Failure>;

/// An engine that is ready for the job.
enum Site {
    Wasmtime(Job),
    Other(Arc<Mutex<Box<dyn Engine>>>),
}

impl Site {
    async fn open(name: EngineName, sealed: &Sealed) -> Result<Self> {
        let EngineName::Other(kind) = name else {
            return Ok(Self::Wasmtime(Job::open(sealed.clone(), 1).await?));
        };
        let module = sealed.bytes.clone();
        let engine = blocking(move || open(kind, &module)).await?;
        engine.map(|engine| Self::Other(Arc::new(Mutex::new(engine)))).map_err(|failure| match failure {
            Failure::Missing { name, cure } => {
                Fault::new(Exit::MissingTool, format!("{name} is not installed")).help(cure)
            }
            failure => Fault::bug(format!("{kind}: {failure}")),
        })
    }

    async fn execute(&self, task: &Task) -> Result<Said> {
        match self {
            Self::Wasmtime(job) => Ok(match job.execute(Entry::Run, task.input.to_vec(), task.seed).await? {
                Answer::Agreed { executed, .. } => {
                    let logs = executed.logs.into_iter().map(|line| (line.level, line.text)).collect();
                    Ok(Executed { outcome: executed.outcome, output: executed.output, logs })
                }
                Answer::Overtime { .. } => Err(Failure::Overtime(task.limits.wall_ms / 1000)),
                Answer::Disagreed { sentence } => Err(Failure::Gone(sentence)),
            }),
            Self::Other(engine) => {
                let (engine, task) = (Arc::clone(engine), task.clone());
                blocking(move || {
                    let Task { input, seed, limits } = task;
                    let unit = Unit { entry: Entry::Run, step: 0, input: &input, seed, limits };
                    engine.lock().unwrap_or_else(PoisonError::into_inner).execute(&unit)
                })
                .await
            }
        }
    }
}

fn open(kind: Kind, module: &[u8]) -> Result<Box<dyn Engine>, Failure> {
    let mut engine = kind.open()?;
    engine.load(module)?;
    Ok(engine)
}

/// Waits for what blocks a thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Fault::bug(error.to_string()))
}

/// How one engine ended one unit.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    unit: u32,
    engine: &'static str,
    /// Absent where the machine failed and not the job.
    verdict: Option<&'static str>,
    fuel: Option<u64>,
    output: Option<Digest>,
    output_bytes: Option<u64>,
    /// Why there is no output, or no verdict.
    error: Option<String>,
}

#[derive(Default)]
struct Report {
    rows: Vec<Row>,
    /// By unit, a sentence each.
    differences: Vec<(u32, String)>,
    /// Where the first two that differ part, and on which unit.
    parting: Option<(u32, String)>,
    /// An engine that failed, and how.
    broken: Option<String>,
    tally: Tally,
}

impl Report {
    /// Adds a unit; returns the first two engines that differ.
    fn add(&mut self, unit: u32, names: &[EngineName], said: &[Said]) -> Option<[EngineName; 2]> {
        let tally = &mut self.tally;
        tally.units += 1;
        let mut first: Option<(EngineName, &Executed)> = None;
        let (mut differ, mut overtime) = (None, false);
        for (engine, said) in names.iter().copied().zip(said) {
            let name = engine.word();
            self.rows.push(row(unit, name, said));
            match (said, first) {
                (Ok(executed), None) => first = Some((engine, executed)),
                (Ok(executed), Some((other, theirs))) => {
                    if let Some(text) = difference((name, executed), (other.word(), theirs)) {
                        self.differences.push((unit, text));
                        differ.get_or_insert([other, engine]);
                    }
                }
                (Err(Failure::Overtime(_)), _) => overtime = true,
                (Err(failure), _) => self.broken = Some(format!("{name} failed on unit {unit}: {failure}")),
            }
        }
        tally.disagreed += u64::from(differ.is_some());
        tally.overtime += u64::from(overtime);
        if let Some((_, executed)) = first {
            tally.fuel = tally.fuel.saturating_add(executed.outcome.fuel.0);
            tally.failed += u64::from(!executed.outcome.verdict.is_ok());
        }
        differ
    }

    fn print(&self, screen: Screen) -> Result<()> {
        if screen.json {
            self.rows.iter().try_for_each(|row| screen.json(row))?;
        } else {
            let rows: Vec<_> = self.rows.iter().map(cells).collect();
            screen.line(table(["UNIT", "ENGINE", "VERDICT", "FUEL", "OUTPUT"], &rows))?;
        }
        for (unit, text) in &self.differences {
            // Not a note: a difference is told even to those who asked for quiet.
            Screen::default().note(format_args!("unit {unit}: {}", printable(text)));
        }
        if let Some((unit, text)) = &self.parting {
            Screen::default().note(format_args!("unit {unit}: {}", printable(text)));
        }
        Ok(())
    }

    fn judge(self) -> Result<()> {
        match self.broken {
            // What differs says more than what is missing.
            Some(broken) if self.tally.disagreed == 0 => Err(Fault::bug(broken)),
            _ => self.tally.judge(),
        }
    }
}

fn row(unit: u32, engine: &'static str, said: &Said) -> Row {
    let row = Row { unit, engine, verdict: None, fuel: None, output: None, output_bytes: None, error: None };
    match said {
        Err(failure) => Row { error: Some(failure.to_string()), ..row },
        Ok(Executed { outcome, output, .. }) => {
            let verdict = &outcome.verdict;
            let row = Row { verdict: Some(verdict.word()), fuel: Some(outcome.fuel.0), ..row };
            if verdict.is_ok() {
                Row { output: Some(Digest::of(output)), output_bytes: Some(output.len() as u64), ..row }
            } else {
                Row { error: Some(verdict.to_string()), ..row }
            }
        }
    }
}

fn cells(row: &Row) -> [String; 5] {
    let output = match (&row.output, row.output_bytes, &row.error) {
        (Some(digest), Some(bytes), _) => format!("sha256 {}, {} bytes", digest.short(), grouped(bytes)),
        (_, _, error) => printable(error.as_deref().unwrap_or_default()).replace('\n', " "),
    };
    let fuel = row.fuel.map_or_else(|| "-".to_owned(), grouped);
    [row.unit.to_string(), row.engine.to_owned(), row.verdict.unwrap_or("none").to_owned(), fuel, output]
}

#[cfg(test)]
mod tests {
    use manyhands_model::{Fuel, Outcome, Verdict};

    use super::*;

    fn said(output: &[u8], fuel: u64) -> Said {
        let verdict = Verdict::Ok { output: Digest::of(output), output_bytes: output.len() as u64 };
        let outcome = Outcome { verdict, fuel: Fuel(fuel) };
        Ok(Executed { outcome, output: output.to_vec(), logs: Vec::new() })
    }

    fn report(said: &[Said]) -> (Report, Exit) {
        let names = [EngineName::Wasmtime, EngineName::Other(Kind::Node), EngineName::Other(Kind::Firefox)];
        let mut report = Report::default();
        report.add(0, &names, said);
        let exit =
            Report { tally: core::mem::take(&mut report.tally), broken: report.broken.take(), ..Report::default() };
        (report, exit.judge().err().map_or(Exit::Ok, |fault| fault.exit))
    }

    #[test]
    fn one_engine_that_differs_is_named_with_the_byte() {
        let (told, exit) = report(&[said(b"same", 5), said(b"same", 5), said(b"sane", 5)]);
        assert_eq!(exit, Exit::Disagree);
        assert!(told.differences[0].1.contains("from byte 2 on; firefox has 73 61 6e 65"), "{:?}", told.differences);
        assert_eq!(report(&[said(b"same", 5), said(b"same", 6)]).1, Exit::Disagree);
        assert_eq!(report(&[said(b"same", 5), said(b"same", 5)]).1, Exit::Ok);
    }

    #[test]
    fn an_engine_without_a_verdict_contradicts_nobody() {
        let gone = || Err(Failure::Gone("it crashed".into()));
        assert_eq!(report(&[said(b"", 5), gone()]).1, Exit::Bug);
        assert_eq!(report(&[said(b"", 5), Err(Failure::Overtime(9))]).1, Exit::TimedOut);
        assert_eq!(report(&[said(b"", 5), gone(), said(b"", 6)]).1, Exit::Disagree);
        let (told, _) = report(&[said(b"abc", 1234), gone()]);
        let cells: Vec<_> = told.rows.iter().map(cells).collect();
        assert_eq!(cells[0][2..4], ["ok", "1,234"]);
        assert_eq!(cells[1], ["0", "node", "none", "-", "the engine is gone: it crashed"]);
    }
}
