//! `manyhands run`: the job on this machine, with the engine and the sandbox that volunteers have, every unit
//! in several processes whose outcomes are compared. What comes out here comes out of a coordinator's run, and what the job sees here is
//! what it sees there: tokens in the place of sensitive values.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use manyhands_abi::parts;
use manyhands_api::ResultLine;
use manyhands_held::Unusable;
use manyhands_model::{Codec, Digest, Manifest, Verdict};
use manyhands_placeholder::Values;
use manyhands_protocol::Entry;
use manyhands_scheduler::Reduction;

use crate::args::Run;
use crate::fault::{Exit, Fault, Result, stdout};
use crate::inputs;
use crate::screen::{Screen, grouped, printable};

mod engines;
pub(crate) mod forms;
pub mod guest_tests;
mod parting;
pub mod replay;
mod replicas;
mod tokens;

use replicas::{Answer, Job};
use tokens::{Canonical, Tokens, may_be_kept};

/// Executes the job over the inputs and prints its outputs.
///
/// # Errors
/// The module is refused, an input cannot be read, the job fails on one, replicas disagree, or an
/// execution takes too long. Outputs of other inputs are printed all the same.
pub async fn run(args: &Run, screen: Screen) -> Result<()> {
    let module = std::fs::read(&args.module).map_err(|error| Fault::file("read", &args.module, &error))?;
    let sealed = manyhands_sealer::seal(&module).map_err(|refusal| Fault::refused(&refusal))?;
    if !args.engines.is_empty() {
        return engines::run(args, &module, sealed, screen).await;
    }
    let reduces = sealed.reduces && !args.no_reduce;
    if args.reduce && !sealed.reduces {
        return Err(Fault::usage(format!("`{}` has no reduce step", sealed.manifest.name)));
    }
    let form = Form::choose(args, reduces, &sealed.manifest, screen)?;
    let mut inputs = inputs::open(&args.inputs)?;
    let (seed, manifest) = (Digest::of(&sealed.bytes), sealed.manifest.clone());
    let tokens = if args.plain { None } else { Tokens::of(&manifest, &seed, &args.declared)? };
    let job = Job::open(sealed, usize::from(args.replicas)).await?;

    let mut printer = Printer { form, codec: manifest.codec, screen, tally: Tally::default() };
    let (mut outputs, mut values, mut held_tokens) = (Vec::new(), Values::default(), false);
    // As many units at once as there are cores, started and printed in order: a long file of inputs is
    // read as it is used up.
    let at_once = job.units_at_once();
    let mut started = FuturesOrdered::new();
    let mut next = 0;
    let mut ended = 0;
    loop {
        while started.len() < at_once {
            let Some(input) = inputs.next() else { break };
            let (job, tokens, input) = (&job, tokens.as_ref(), input?);
            let Canonical { text, taken } = match tokens {
                Some(tokens) => tokens
                    .take_out(next, &input)
                    .map_err(|why| Fault::usage(format!("input {}: {why}", u64::from(next) + 1)))?,
                None => Canonical { text: input, taken: Vec::new() },
            };
            started.push_back(async move {
                let answer = tokens::execute(job, tokens, Entry::Run, next, text, &seed).await?;
                Ok::<_, Fault>((answer, taken))
            });
            next += 1;
        }
        let Some(done) = started.next().await else { break };
        let (answer, taken) = done?;
        held_tokens |= !taken.is_empty();
        if reduces {
            printer.remember(ended, &answer);
            outputs.push(answer.output().map(<[u8]>::to_vec));
            values.extend(taken);
        } else {
            let values = taken.into_iter().collect();
            match answer.output().map(|output| may_be_kept(&manifest, tokens.as_ref(), output, &values)) {
                Some(Err(why)) => printer.refuse(ended, &answer, &why)?,
                Some(Ok(())) | None => printer.print(ended, answer, &values)?,
            }
        }
        ended += 1;
    }
    if next == 0 {
        return Err(Fault::usage("there is no input; a run has at least one"));
    }
    if reduces {
        let Some(outputs) = outputs.into_iter().collect::<Option<VecDeque<_>>>() else {
            screen.note("not reduced: the outputs above are missing");
            return printer.tally.judge();
        };
        let (unit, answer) = reduce(&job, tokens.as_ref(), outputs, &seed, &mut printer).await?;
        if let Some(answer) = answer {
            printer.print(unit, answer, &values)?;
        }
    }
    if held_tokens {
        screen.note("the job saw tokens in the place of sensitive values, which its outputs have again; --plain shows it the values");
    }
    let tally = &printer.tally;
    let (units, replicas) = (grouped(tally.units), args.replicas);
    screen
        .note(format_args!("{units} units × {replicas} replicas, {} fuel by one replica of each", grouped(tally.fuel)));
    tally.judge()
}

/// Combines outputs as a coordinator would: the same tree, so the same bytes. Returns the last unit's number
/// and answer, or none where a step before it failed.
async fn reduce(
    job: &Job,
    tokens: Option<&Tokens>,
    outputs: VecDeque<Vec<u8>>,
    seed: &Digest,
    printer: &mut Printer,
) -> Result<(u32, Option<Answer>)> {
    let count = u32::try_from(outputs.len()).map_err(|_| Fault::usage("a run has at most 4 billion inputs"))?;
    let tree = Reduction::tree(count);
    // Parts are taken in order and each once, so what was combined can be forgotten at once.
    let mut waiting = outputs;
    for unit in count..tree.units() {
        let taken: Vec<Vec<u8>> = waiting.drain(..tree.parts(unit).len()).collect();
        let input = parts::encode(taken.iter().map(Vec::as_slice));
        let answer = tokens::execute(job, tokens, Entry::Reduce, unit, input, seed).await?;
        if Some(unit) == tree.root() {
            return Ok((unit, Some(answer)));
        }
        printer.remember(unit, &answer);
        match answer.output() {
            Some(output) => waiting.push_back(output.to_vec()),
            None => return Ok((unit, None)),
        }
    }
    Err(Fault::bug("a reduction without a last step"))
}

/// The seed of a unit: any value would do, and the same one again makes a failure repeatable.
pub(crate) fn unit_seed(module: &Digest, unit: u32) -> [u8; 32] {
    Digest::of_parts([&b"manyhands local seed\0"[..], module.as_bytes(), &unit.to_le_bytes()]).0
}

/// How outputs are written to stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A line of JSON about each unit, the same as `manyhands results`.
    Lines,
    /// Outputs that are JSON, each on a line.
    Json,
    /// Frames.
    Frames,
    /// The bytes of the only output.
    Raw,
}

impl Form {
    fn choose(args: &Run, reduces: bool, manifest: &Manifest, screen: Screen) -> Result<Self> {
        let is_one = reduces || (args.inputs.inputs.is_none() && args.inputs.input.len() == 1);
        match manifest.codec {
            _ if screen.json => Ok(Self::Lines),
            _ if args.frames => Ok(Self::Frames),
            Codec::Json => Ok(Self::Json),
            Codec::Postcard | Codec::Raw if is_one => Ok(Self::Raw),
            Codec::Postcard | Codec::Raw => Err(Fault::usage(format!(
                "outputs of `{}` are bytes, and where one ends and the next begins would be lost",
                manifest.name
            ))
            .help("add --frames or --json")),
        }
    }
}

/// Prints answers and keeps count.
struct Printer {
    form: Form,
    codec: Codec,
    screen: Screen,
    tally: Tally,
}

impl Printer {
    /// Logs, failures and counts of a unit whose output is not a result of the run.
    fn remember(&mut self, unit: u32, answer: &Answer) {
        for (level, text) in answer.logs() {
            self.screen.note(format_args!("unit {unit} {level}: {}", printable(text)));
        }
        self.tally.units += 1;
        self.tally.fuel = self.tally.fuel.saturating_add(answer.fuel());
        match answer {
            Answer::Agreed { executed, .. } => {
                let verdict = &executed.outcome.verdict;
                if !verdict.is_ok() {
                    self.tally.failed += 1;
                    self.failure(unit, &verdict.to_string());
                }
            }
            Answer::Disagreed { sentence } => {
                self.tally.disagreed += 1;
                self.failure(unit, sentence);
            }
            Answer::Overtime { sentence } => {
                self.tally.overtime += 1;
                self.failure(unit, sentence);
            }
        }
    }

    fn failure(&self, unit: u32, sentence: &str) {
        // Not a note: a failure is told even to those who asked for quiet.
        Screen::default().note(format_args!("unit {unit}: {}", printable(sentence)));
    }

    /// The same, and its output as a result, with these values in the place of tokens.
    fn print(&mut self, unit: u32, mut answer: Answer, values: &Values) -> Result<()> {
        self.remember(unit, &answer);
        answer.restore(values);
        let answer = &answer;
        match (self.form, answer.output()) {
            (Form::Lines, _) => self.screen.json(&self.line(unit, answer)),
            (_, None) => Ok(()),
            (Form::Json, Some(output)) => {
                self.screen.bytes(output)?;
                self.screen.bytes(b"\n")
            }
            (Form::Raw, Some(output)) => self.screen.bytes(output),
            (Form::Frames, Some(output)) => {
                inputs::write_frame(&mut std::io::stdout().lock(), output).map_err(|error| stdout(&error))
            }
        }
    }

    /// The same of a unit whose output no coordinator would hand out.
    fn refuse(&mut self, unit: u32, answer: &Answer, why: &Unusable) -> Result<()> {
        self.remember(unit, answer);
        self.tally.failed += 1;
        self.failure(unit, &why.to_string());
        if self.form != Form::Lines {
            return Ok(());
        }
        let (status, error) = ("unusable".to_owned(), Some(why.to_string()));
        self.screen.json(&ResultLine { status, error, output: None, output_base64: None, ..self.line(unit, answer) })
    }

    fn line(&self, unit: u32, answer: &Answer) -> ResultLine {
        let (status, error, replicas) = match answer {
            Answer::Agreed { executed, replicas } => {
                let verdict: &Verdict = &executed.outcome.verdict;
                (verdict.word(), (!verdict.is_ok()).then(|| verdict.to_string()), *replicas)
            }
            Answer::Disagreed { sentence } | Answer::Overtime { sentence } => ("undecided", Some(sentence.clone()), 0),
        };
        let output = answer.output();
        let json = output.filter(|_| self.codec == Codec::Json).and_then(|output| serde_json::from_slice(output).ok());
        let output_base64 = output.filter(|_| json.is_none()).map(|output| BASE64.encode(output));
        ResultLine {
            unit,
            status: status.to_owned(),
            output: json,
            output_base64,
            error,
            fuel: answer.fuel(),
            replicas,
        }
    }
}

/// How the units ended.
#[derive(Debug, Default)]
struct Tally {
    units: u64,
    fuel: u64,
    failed: u64,
    disagreed: u64,
    overtime: u64,
}

impl Tally {
    /// The worst decides: a job whose replicas disagree is broken in a way that no coordinator accepts.
    fn judge(&self) -> Result<()> {
        let of = |count| format!("{} of {} units", grouped(count), grouped(self.units));
        if self.disagreed > 0 {
            Err(Fault::new(Exit::Disagree, format!("replicas of {} gave different answers", of(self.disagreed))))
        } else if self.failed > 0 {
            Err(Fault::job(format!("the job failed on {}", of(self.failed))))
        } else if self.overtime > 0 {
            Err(Fault::new(Exit::TimedOut, format!("{} took longer than `limits.wall_ms` grants", of(self.overtime))))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_unit_decides_the_exit_code() {
        let exit = |failed, disagreed, overtime| {
            Tally { units: 9, fuel: 0, failed, disagreed, overtime }.judge().map_err(|fault| fault.exit)
        };
        assert_eq!(exit(0, 0, 0), Ok(()));
        assert_eq!(exit(2, 0, 1), Err(Exit::JobFailed));
        assert_eq!(exit(2, 1, 1), Err(Exit::Disagree));
        assert_eq!(exit(0, 0, 1), Err(Exit::TimedOut));
    }

    #[test]
    fn every_unit_has_a_seed_of_its_own_and_always_the_same() {
        let module = Digest::of(b"module");
        assert_eq!(unit_seed(&module, 1), unit_seed(&module, 1));
        assert_ne!(unit_seed(&module, 1), unit_seed(&module, 2));
    }
}
