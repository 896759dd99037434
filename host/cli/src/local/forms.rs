//! Whether a job does the same whatever its tokens are: each sample is executed as two workers would see it.
//!
//! Workers see other tokens for one value, so replicas of a job that sorts by them, or does anything else with their letters, never agree. That
//! shows here first, on the samples and as far as they lead: up to the first calls that they ask for.

use core::fmt::Write as _;

use futures::future::try_join;
use manyhands_abi::parts;
use manyhands_engines::first_byte;
use manyhands_model::{Digest, Verdict};
use manyhands_placeholder::{Form, UnitTokens};
use manyhands_protocol::Entry;
use manyhands_scheduler::Reduction;
use manyhands_sealer::Sealed;
use serde_json::Value;

use super::replicas::{Answer, Job};
use super::tokens::{Canonical, Tokens, in_canonical_form, may_be_kept};
use super::unit_seed;
use crate::args::Declared;
use crate::fault::{Exit, Fault, Result};
use crate::samples::Sample;
use crate::screen::{Screen, printable};

/// Characters of what differs that are shown.
const SHOWN_CHARS: usize = 60;

/// Executes each sample that holds tokens, then what combines their outputs if the job does, and says how many there were.
///
/// # Errors
/// The job depends on the bytes of tokens, takes too long, or cannot be executed here; or a sample has no canonical form.
pub(crate) async fn check(sealed: &Sealed, samples: &[Sample], screen: Screen) -> Result<u64> {
    let seed = Digest::of(&sealed.bytes);
    let Some(tokens) = Tokens::of(&sealed.manifest, &seed, &Declared::default())? else { return Ok(0) };
    let stand = Stand { job: Job::open(sealed.clone(), 1).await?, tokens, seed };
    let (mut executed, mut outputs) = (0, Vec::new());
    for (index, sample) in (0..).zip(samples) {
        let taken = stand.tokens.take_out(index, &sample.input);
        let Canonical { text: canonical, taken } =
            taken.map_err(|error| Fault::usage(format!("{}: {error}", sample.place())))?;
        let Said { verdict, output } = match stand.execute(Entry::Run, index, canonical).await? {
            Compared::Same(said) => said,
            Compared::NoTokens => continue,
            Compared::Parted(how) => return Err(parted(sealed, &sample.place(), &how)),
        };
        executed += 1;
        match verdict {
            Verdict::Ok { .. } => {
                let values = taken.into_iter().collect();
                may_be_kept(&sealed.manifest, Some(&stand.tokens), &output, &values)
                    .map_err(|why| Fault::job(format!("{}: {why}", sample.place())))?;
                outputs.push(output);
            }
            Verdict::Called { .. } => {}
            failed => screen.note(format_args!(
                "warning: {}: with tokens in it, it ends so: {}; if the job checks what it gets, let the field have a `surrogate`",
                sample.place(),
                printable(&failed.to_string())
            )),
        }
    }
    outputs.truncate(Reduction::FAN_IN as usize);
    if sealed.reduces && !outputs.is_empty() {
        let unit = samples.len() as u32;
        let canonical = parts::encode(outputs.iter().map(Vec::as_slice));
        if let Compared::Parted(how) = stand.execute(Entry::Reduce, unit, canonical).await? {
            return Err(parted(sealed, "the samples' outputs, combined", &how));
        }
    }
    Ok(executed)
}

fn parted(sealed: &Sealed, place: &str, how: &str) -> Fault {
    let name = &sealed.manifest.name;
    Fault::job(format!("`{name}` depends on the bytes of tokens, so that no two workers would agree\n  {place}: {how}")).help(
        "tokens may be moved, kept, and put into outputs and slots; do not sort by them, hash, cut or compare them.\n  \
         `joinable` makes equal values have equal tokens, `surrogate` lets the job see a value that passes for one",
    )
}

/// Where units are executed.
struct Stand {
    job: Job,
    tokens: Tokens,
    seed: Digest,
}

/// How an execution ended, in canonical form.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    verdict: Verdict,
    /// The output, or the request for calls.
    output: Vec<u8>,
}

enum Compared {
    Same(Said),
    /// There is nothing to depend on.
    NoTokens,
    /// In these words.
    Parted(String),
}

impl Stand {
    /// Executes a unit as two workers see it.
    async fn execute(&self, entry: Entry, unit: u32, canonical: Vec<u8>) -> Result<Compared> {
        let own = UnitTokens::of([&canonical[..]]);
        if own.is_empty() {
            return Ok(Compared::NoTokens);
        }
        let [one, other] = self.tokens.pair(unit, &canonical);
        let said = |form| self.said(entry, unit, form, &canonical, &own);
        let (one, other) = try_join(said(one), said(other)).await?;
        Ok(match parting(&one, &other) {
            None => Compared::Same(one),
            Some(how) => Compared::Parted(how),
        })
    }

    async fn said(&self, entry: Entry, unit: u32, form: Form, canonical: &[u8], own: &UnitTokens) -> Result<Said> {
        let input = form.worker(canonical.to_vec());
        match self.job.execute(entry, input, unit_seed(&self.seed, unit)).await? {
            Answer::Agreed { executed, .. } => {
                let executed = in_canonical_form(executed, &form.back(own));
                Ok(Said { verdict: executed.outcome.verdict, output: executed.output })
            }
            Answer::Overtime { sentence } => {
                Err(Fault::new(Exit::TimedOut, sentence).help("name shorter samples with --sample"))
            }
            Answer::Disagreed { sentence } => Err(Fault::bug(sentence)),
        }
    }
}

/// How two outcomes part; none if they are the same. Fuel does not count: to compare other tokens may take another number of steps.
fn parting(one: &Said, other: &Said) -> Option<String> {
    match (&one.verdict, &other.verdict) {
        (Verdict::Ok { .. }, Verdict::Ok { .. }) => difference("the output", &one.output, &other.output),
        (Verdict::Called { .. }, Verdict::Called { .. }) => difference("what is asked for", &one.output, &other.output),
        (verdict, same) if verdict == same => None,
        (one, other) => {
            let [one, other] = [one, other].map(|verdict| printable(&verdict.to_string()));
            Some(format!("for one worker it ends so: {one}; for another: {other}"))
        }
    }
}

fn difference(what: &str, one: &[u8], other: &[u8]) -> Option<String> {
    if one == other {
        return None;
    }
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    let mut at = String::new();
    if let (Some(one), Some(other)) = (json(one), json(other))
        && let Some((one, other)) = first(&one, &other, &mut at)
    {
        let place = if at.is_empty() { String::new() } else { format!(" at `{}`", printable(&at)) };
        return Some(format!("{what} differs{place}: one worker has {}, another {}", shown(one), shown(other)));
    }
    // Blanks, or the order of members: the same value in other bytes.
    Some(format!("{what} differs {}", first_byte(("one worker", one), ("another", other))))
}

/// The first values that differ, and the JSON Pointer (RFC 6901) to them.
fn first<'a>(one: &'a Value, other: &'a Value, at: &mut String) -> Option<(&'a Value, &'a Value)> {
    let length = at.len();
    match (one, other) {
        (Value::Object(one), Value::Object(other)) if one.keys().eq(other.keys()) => {
            one.iter().zip(other.values()).find_map(|((name, one), other)| {
                let _written = write!(at, "/{}", name.replace('~', "~0").replace('/', "~1"));
                first(one, other, at).or_else(|| {
                    at.truncate(length);
                    None
                })
            })
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            one.iter().zip(other).enumerate().find_map(|(index, (one, other))| {
                let _written = write!(at, "/{index}");
                first(one, other, at).or_else(|| {
                    at.truncate(length);
                    None
                })
            })
        }
        _ => (one != other).then_some((one, other)),
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    let short: String = text.chars().take(SHOWN_CHARS).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("`{}{more}`", printable(&short))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(output: &str) -> Said {
        let verdict = Verdict::Ok { output: Digest::of(output.as_bytes()), output_bytes: output.len() as u64 };
        Said { verdict, output: output.as_bytes().to_vec() }
    }

    #[test]
    fn where_outcomes_part_is_told() {
        assert_eq!(parting(&ok("[1]"), &ok("[1]")), None);
        for (one, other, expected) in [
            (
                r#"{"a":[1,{"b/c":"x"}],"z":1}"#,
                r#"{"a":[1,{"b/c":"y"}],"z":2}"#,
                "differs at `/a/1/b~1c`: one worker has `\"x\"`, another `\"y\"`",
            ),
            ("[1,2]", "[1]", "differs: one worker has `[1,2]`, another `[1]`"),
            (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, "differs from byte 2 on"),
            ("abc", "abd", "differs from byte 2 on"),
        ] {
            let told = parting(&ok(one), &ok(other)).expect("they differ");
            assert!(told.contains(expected), "{told}");
        }
        let failed = Said { verdict: Verdict::Aborted { code: 1, message: "no\u{1b}".into() }, output: Vec::new() };
        let told = parting(&ok("1"), &failed).expect("they differ");
        assert!(told.contains("for another: the job returned an error: no\u{fffd}"), "{told}");
        assert_eq!(parting(&failed, &failed), None);
    }
}
