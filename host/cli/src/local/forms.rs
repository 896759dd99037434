//! Whether a job does the same whatever its tokens are: each sample is executed as two workers would see it.
//!
//! Workers see other tokens for one value, so replicas of a job that sorts by them, or does anything else with their letters, never agree. That
//! shows here first, on the samples and as far as they lead: up to the first calls that they ask for.

use core::fmt::Write as _;

use futures::future::try_join;
use manyhands_abi::parts;
use manyhands_engines::first_byte;
use manyhands_model::{Digest, RunId, UnitId, Verdict, WorkerId};
use manyhands_placeholder::token::find;
use manyhands_placeholder::{Back, Form, Places, Scope, Source, Token, TokenKey, UnitTokens, tokenise};
use manyhands_protocol::Entry;
use manyhands_runner::engine::Executed;
use manyhands_scheduler::Reduction;
use manyhands_sealer::Sealed;
use serde_json::Value;

use super::replicas::{Answer, Job};
use super::unit_seed;
use crate::fault::{Exit, Fault, Result};
use crate::samples::Sample;
use crate::screen::{Screen, printable};

/// Workers of whom two are chosen.
const CANDIDATES: u8 = 64;
/// Tokens of a unit by which they are chosen.
const COMPARED_MAX: usize = 64;
/// Characters of what differs that are shown.
const SHOWN_CHARS: usize = 60;

/// Executes each sample that holds tokens, then what combines their outputs if the job does, and says how many there were.
///
/// # Errors
/// The job depends on the bytes of tokens, takes too long, or cannot be executed here; or a sample has no canonical form.
pub(crate) async fn check(sealed: &Sealed, samples: &[Sample], screen: Screen) -> Result<u64> {
    let seed = Digest::of(&sealed.bytes);
    let stand = Stand {
        job: Job::open(sealed.clone(), 1).await?,
        key: TokenKey::derive(&Digest::of_parts([&b"manyhands local tokens\0"[..], seed.as_bytes()]).0, 0),
        seed,
    };
    let places = Places::new(&sealed.manifest.sensitive);
    let (mut executed, mut outputs) = (0, Vec::new());
    for (index, sample) in (0..).zip(samples) {
        let unit = UnitId { run: RUN, index };
        let mint = stand.key.mint(&Scope { tenant: "", job: &sealed.manifest.name, unit });
        let tokenised = tokenise(&sample.input, &places, &mint, Source::Input);
        let canonical = tokenised.map_err(|error| Fault::usage(format!("{}: {error}", sample.place())))?.text;
        let Said { verdict, output } = match stand.execute(Entry::Run, unit, canonical).await? {
            Compared::Same(said) => said,
            Compared::NoTokens => continue,
            Compared::Parted(how) => return Err(parted(sealed, &sample.place(), &how)),
        };
        executed += 1;
        match verdict {
            Verdict::Ok { .. } => outputs.push(output),
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
        let unit = UnitId { run: RUN, index: samples.len() as u32 };
        let canonical = parts::encode(outputs.iter().map(Vec::as_slice));
        if let Compared::Parted(how) = stand.execute(Entry::Reduce, unit, canonical).await? {
            return Err(parted(sealed, "the samples' outputs, combined", &how));
        }
    }
    Ok(executed)
}

/// One like any other.
const RUN: RunId = RunId([0; 16]);

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
    key: TokenKey,
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
    async fn execute(&self, entry: Entry, unit: UnitId, canonical: Vec<u8>) -> Result<Compared> {
        let tokens = UnitTokens::of([&canonical[..]]);
        if tokens.is_empty() {
            return Ok(Compared::NoTokens);
        }
        let [one, other] = two(&self.key, unit, &canonical);
        let (one, other) = try_join(
            self.said(entry, unit, &one, &canonical, &tokens),
            self.said(entry, unit, &other, &canonical, &tokens),
        )
        .await?;
        Ok(match parting(&one, &other) {
            None => Compared::Same(one),
            Some(how) => Compared::Parted(how),
        })
    }

    async fn said(
        &self,
        entry: Entry,
        unit: UnitId,
        form: &Form,
        canonical: &[u8],
        tokens: &UnitTokens,
    ) -> Result<Said> {
        let input = form.worker(canonical.to_vec());
        match self.job.execute(entry, input, unit_seed(&self.seed, unit.index)).await? {
            Answer::Agreed { executed, .. } => Ok(Said::new(executed, &form.back(tokens))),
            Answer::Overtime { sentence } => {
                Err(Fault::new(Exit::TimedOut, sentence).help("name shorter samples with --sample"))
            }
            Answer::Disagreed { sentence } => Err(Fault::bug(sentence)),
        }
    }
}

impl Said {
    /// What is no token of the unit's stays as it is, and will differ.
    fn new(executed: Executed, back: &Back) -> Self {
        let canonical = |bytes: Vec<u8>| back.canonical(bytes.clone()).unwrap_or(bytes);
        let verdict = match executed.outcome.verdict {
            Verdict::Aborted { code, message } => {
                let message = String::from_utf8(canonical(message.into_bytes())).unwrap_or_default();
                Verdict::Aborted { code, message }
            }
            verdict => verdict,
        };
        Self { verdict, output: canonical(executed.output) }
    }
}

/// Of some workers, two who see the unit's tokens as nearly in opposite orders as there are: then whether a job sorts or compares two of them shows
/// at once, and not by chance.
fn two(key: &TokenKey, unit: UnitId, canonical: &[u8]) -> [Form; 2] {
    let form = |number: u8| Form::new(key, unit, WorkerId([number; 32]));
    let seen = |number: u8| -> Vec<Token> {
        let own = form(number).worker(canonical.to_vec());
        find(&own).map(|(_, token)| token).take(COMPARED_MAX).collect()
    };
    let first = seen(0);
    let turned = |other: &[Token]| {
        let pairs = (0..first.len().min(other.len())).flat_map(|at| (0..at).map(move |before| (before, at)));
        pairs.filter(|(before, at)| (first[*before] < first[*at]) != (other[*before] < other[*at])).count()
    };
    let other = (1..=CANDIDATES).max_by_key(|number| turned(&seen(*number))).unwrap_or(1);
    [form(0), form(other)]
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
    use manyhands_model::Class;

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

    #[test]
    fn two_workers_see_two_tokens_in_opposite_orders() {
        let key = TokenKey::derive(&[7; 32], 0);
        let (job, fields) = ("a".parse().expect("a name"), r#"[{"at":"$[*]","class":"email"}]"#);
        let fields: manyhands_model::SensitiveFields = serde_json::from_str(fields).expect("fields");
        for index in 0..50 {
            let unit = UnitId { run: RUN, index };
            let mint = key.mint(&Scope { tenant: "", job: &job, unit });
            let canonical =
                tokenise(br#"["a","b"]"#, &Places::new(&fields), &mint, Source::Input).expect("a form").text;
            let seen = two(&key, unit, &canonical).map(|form| {
                let own = form.worker(canonical.clone());
                let tokens: Vec<Token> = find(&own).map(|(_, token)| token).collect();
                assert!(tokens.iter().all(|token| token.class() == Class::Email));
                tokens[0] < tokens[1]
            });
            assert_ne!(seen[0], seen[1]);
        }
    }
}
