//! `manyhands replay`: a recorded run on this machine, without any network. Each step of each unit is executed once more, and comes out as
//! workers agreed that it does, bit for bit.

use std::io::{BufRead as _, BufReader};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use manyhands_abi::parts;
use manyhands_api::{RecordedOutcome, RecordedUnit, Recording};
use manyhands_model::Digest;
use manyhands_protocol::Entry;
use manyhands_runner::engine::Executed;
use serde::de::DeserializeOwned;

use super::replicas::Job;
use crate::args::Replay;
use crate::fault::{Exit, Fault, Result};
use crate::inputs::open_file;
use crate::screen::{Screen, grouped, printable};

/// Bytes that are shown of what differs.
const SHOWN_BYTES: usize = 40;

/// Executes what was recorded and compares.
///
/// # Errors
/// A file that is no recording, or the first difference: unit, step and place.
pub async fn replay(args: &Replay, screen: Screen) -> Result<()> {
    let bad = |what: String| {
        Fault::usage(format!("`{}` is no whole recording: {what}", args.file.display()))
            .help("`manyhands record RUN FILE` writes one")
    };
    let mut lines = BufReader::new(open_file(&args.file)?).split(b'\n').map(|line| {
        let line = line.map_err(|error| Fault::file("read", &args.file, &error))?;
        Ok::<_, Fault>(line)
    });
    let head: Recording = match lines.next() {
        Some(line) => read(&line?).map_err(|error| bad(format!("line 1: {error}")))?,
        None => return Err(bad("it is empty".to_owned())),
    };
    let module = bytes(&head.module_base64).map_err(|error| bad(format!("line 1: the module: {error}")))?;
    if Digest::of(&module) != head.module {
        return Err(bad("line 1: the module is not the one that its digest names".to_owned()));
    }
    head.limits.check().map_err(|error| bad(format!("line 1: {error}")))?;
    let job = Job::of(module, head.limits, 1).await?;
    let units = (2..).zip(lines).map(|(number, line)| {
        let at = |error: String| bad(format!("line {number}: {error}"));
        let unit: RecordedUnit = read(&line?).map_err(at)?;
        Unit::of(unit).map_err(at)
    });
    let job = &job;
    let mut compared =
        stream::iter(units).map(|unit| async move { again(job, unit?).await }).buffered(job.units_at_once());
    let (mut count, mut steps) = (0_u64, 0);
    while let Some(executed) = compared.try_next().await? {
        count += 1;
        steps += executed;
    }
    if count != u64::from(head.units) {
        return Err(bad(format!("it should have {} units and has {count}", head.units)));
    }
    let (count, steps) = (grouped(count), grouped(steps));
    screen.line(format_args!("{}: {count} units, {steps} executions, all as recorded", head.run))
}

/// A unit, as bytes.
struct Unit {
    index: u32,
    entry: Entry,
    seed: [u8; 32],
    /// The input, then the answers.
    read: Vec<Vec<u8>>,
    outcomes: Vec<(RecordedOutcome, Vec<u8>)>,
}

impl Unit {
    fn of(recorded: RecordedUnit) -> Result<Self, String> {
        let read = recorded.input_base64.iter().chain(&recorded.answers_base64);
        let read: Vec<_> = read.map(|text| bytes(text)).collect::<Result<_, _>>()?;
        let outcome = |outcome: RecordedOutcome| {
            let output = bytes(&outcome.output_base64)?;
            Ok::<_, String>((outcome, output))
        };
        let outcomes = recorded.outcomes.into_iter().map(outcome).collect::<Result<Vec<_>, _>>()?;
        if outcomes.len() > read.len() {
            return Err(format!("{} outcomes of {} executions", outcomes.len(), read.len()));
        }
        let entry = if recorded.reduces { Entry::Reduce } else { Entry::Run };
        Ok(Self { index: recorded.unit, entry, seed: recorded.seed.0, read, outcomes })
    }

    /// What it reads at a step.
    fn material(&self, step: usize) -> Vec<u8> {
        let parts = self.read.get(..=step).unwrap_or_default();
        match parts {
            [input] => input.clone(),
            parts => parts::encode(parts.iter().map(Vec::as_slice)),
        }
    }
}

/// Executes all steps of a unit, and returns how many there were.
async fn again(job: &Job, unit: Unit) -> Result<u64> {
    for (step, recorded) in unit.outcomes.iter().enumerate() {
        let number = u32::try_from(step).unwrap_or(u32::MAX);
        let executed = job.step(unit.entry, number, unit.material(step), unit.seed).await?;
        if let Some(difference) = difference(recorded, &executed) {
            let place = format!("unit {}, step {step}", unit.index);
            return Err(Fault::new(Exit::Disagree, format!("{place}: {}", printable(&difference))).help(
                "the recording was changed, or this manyhands executes otherwise than the workers who agreed on it",
            ));
        }
    }
    Ok(unit.outcomes.len() as u64)
}

/// Where two outcomes part, if they do.
fn difference((recorded, output): &(RecordedOutcome, Vec<u8>), executed: &Executed) -> Option<String> {
    let (verdict, again) = (&recorded.verdict, &executed.outcome.verdict);
    if verdict.word() != again.word() {
        return Some(format!("recorded was {verdict}; now it is {again}"));
    }
    if *output != executed.output {
        let what = if verdict.is_ok() { "outputs" } else { "requests for calls" };
        let at = output.iter().zip(&executed.output).take_while(|(a, b)| a == b).count();
        let [before, now] = [output, &executed.output].map(|bytes| excerpt(bytes, at));
        return Some(format!("the {what} part at byte {at}: recorded was {before}; now it is {now}"));
    }
    if verdict != again {
        return Some(format!("recorded was {verdict}; now it is {again}"));
    }
    match recorded.fuel {
        Some(fuel) if fuel != executed.outcome.fuel.0 => {
            let now = grouped(executed.outcome.fuel.0);
            Some(format!("recorded were {} fuel; now it takes {now}", grouped(fuel)))
        }
        Some(_) | None => None,
    }
}

/// What stands at a place of some bytes.
fn excerpt(bytes: &[u8], at: usize) -> String {
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return "its end".to_owned();
    }
    let shown = rest.get(..SHOWN_BYTES).unwrap_or(rest);
    format!("`{}`{}", shown.escape_ascii(), if shown.len() < rest.len() { "…" } else { "" })
}

fn read<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| error.to_string())
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    BASE64.decode(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use manyhands_model::{Fuel, Outcome, Verdict};

    use super::*;

    fn verdict(output: &[u8]) -> Verdict {
        Verdict::Ok { output: Digest::of(output), output_bytes: output.len() as u64 }
    }

    fn recorded(output: &[u8], fuel: Option<u64>) -> (RecordedOutcome, Vec<u8>) {
        (RecordedOutcome { verdict: verdict(output), fuel, output_base64: String::new() }, output.to_vec())
    }

    fn executed(output: &[u8], fuel: u64) -> Executed {
        let outcome = Outcome { verdict: verdict(output), fuel: Fuel(fuel) };
        Executed { outcome, output: output.to_vec(), logs: vec![], wall_us: 0 }
    }

    #[test]
    fn a_difference_is_shown_with_its_place() {
        assert_eq!(difference(&recorded(b"abc", Some(7)), &executed(b"abc", 7)), None);
        assert_eq!(difference(&recorded(b"abc", None), &executed(b"abc", 7)), None);
        let fuel = difference(&recorded(b"abc", Some(1_007)), &executed(b"abc", 7)).expect("another");
        assert_eq!(fuel, "recorded were 1,007 fuel; now it takes 7");
        let output = difference(&recorded(b"ab\nc", None), &executed(b"ab", 7)).expect("another");
        assert_eq!(output, "the outputs part at byte 2: recorded was `\\nc`; now it is its end");
        // The output is right, and what was said about it is not.
        let lie = (recorded(b"a", None).0, b"abc".to_vec());
        assert!(difference(&lie, &executed(b"abc", 7)).expect("another").starts_with("recorded was ok: 1 bytes"));
        let mut trap = executed(b"", 7);
        trap.outcome.verdict = Verdict::Trap;
        let trap = difference(&recorded(b"abc", None), &trap).expect("another");
        assert!(trap.starts_with("recorded was ok: 3 bytes") && trap.ends_with("out of bounds"), "{trap}");
    }

    #[test]
    fn a_unit_reads_its_input_and_the_answers_so_far() {
        let text = |bytes: &[u8]| BASE64.encode(bytes);
        let recorded = RecordedUnit {
            unit: 3,
            reduces: false,
            seed: Digest([1; 32]),
            input_base64: Some(text(b"input")),
            answers_base64: vec![text(b"one"), text(b"two")],
            outcomes: vec![],
        };
        let unit = Unit::of(recorded.clone()).expect("whole");
        assert_eq!(unit.material(0), b"input");
        assert_eq!(unit.material(1), parts::encode([&b"input"[..], b"one"].into_iter()));
        assert_eq!(unit.material(2), parts::encode([&b"input"[..], b"one", b"two"].into_iter()));
        let outcome = RecordedOutcome { verdict: Verdict::Trap, fuel: None, output_base64: String::new() };
        let more = RecordedUnit { outcomes: vec![outcome; 4], ..recorded };
        assert_eq!(Unit::of(more).err(), Some("4 outcomes of 3 executions".to_owned()));
    }
}
