//! Tokens in the place of sensitive values, as a coordinator gives them to workers: what a job would not see there, it does not see here.

use manyhands_abi::INPUT_BYTES_MAX;
use manyhands_held::written::hides;
use manyhands_held::{Unusable, Written};
use manyhands_model::{Digest, JobName, Manifest, RunId, UnitId, Verdict, WorkerId};
use manyhands_placeholder::token::find;
use manyhands_placeholder::{
    Back, Form, Places, Scope, Source, Taken, Token, TokenKey, UnitTokens, Untokenisable, Values, restore, tokenise,
};
use manyhands_protocol::Entry;
use manyhands_runner::engine::Executed;

use super::replicas::{Answer, Job};
use super::unit_seed;
use crate::args::Declared;
use crate::fault::{Fault, Result};

/// Workers of whom two are chosen.
const CANDIDATES: u8 = 64;
/// Tokens of a unit by which they are chosen.
const COMPARED_MAX: usize = 64;
/// One like any other.
const RUN: RunId = RunId([0; 16]);

/// What stands for the sensitive values of a job's units.
pub(super) struct Tokens {
    key: TokenKey,
    job: JobName,
    places: Places,
}

/// An input as it is stored, and what was taken out of it.
pub(super) struct Canonical {
    pub(super) text: Vec<u8>,
    pub(super) taken: Vec<Taken>,
}

impl Tokens {
    /// For a job's run with which these fields are declared; none if nothing is sensitive in it.
    ///
    /// # Errors
    /// The fields do not fit to each other, to the job, or to its manifest's.
    pub(super) fn of(manifest: &Manifest, module: &Digest, declared: &Declared) -> Result<Option<Self>> {
        let fields = declared.of(manifest)?.before(&manifest.sensitive).map_err(|why| Fault::usage(why.to_string()))?;
        let key = TokenKey::derive(&Digest::of_parts([&b"manyhands local tokens\0"[..], module.as_bytes()]).0, 0);
        let tokens = || Self { key, job: manifest.name.clone(), places: Places::new(&fields) };
        Ok((!fields.is_empty()).then(tokens))
    }

    /// A unit's input as it is stored.
    ///
    /// # Errors
    /// [`Untokenisable`].
    pub(super) fn take_out(&self, unit: u32, input: &[u8]) -> Result<Canonical, Untokenisable> {
        let scope = Scope { tenant: "", job: &self.job, unit: UnitId { run: RUN, index: unit } };
        let tokenised = tokenise(input, &self.places, &self.key.mint(&scope), Source::Input)?;
        Ok(Canonical { text: tokenised.text, taken: tokenised.taken })
    }

    /// A unit as one worker sees it.
    pub(super) fn seen(&self, unit: u32, canonical: &[u8]) -> Vec<u8> {
        self.form(unit, 0).worker(canonical.to_vec())
    }

    fn form(&self, unit: u32, worker: u8) -> Form {
        Form::new(&self.key, UnitId { run: RUN, index: unit }, WorkerId([worker; 32]))
    }

    /// A unit as so many workers see it, of whom two are a [pair](Self::pair).
    fn forms(&self, unit: u32, canonical: &[u8], count: usize) -> Vec<Form> {
        let others = (CANDIDATES + 1..).map(|number| self.form(unit, number));
        self.pair(unit, canonical).into_iter().chain(others).take(count).collect()
    }

    /// A unit as two workers see it, of some, who see its tokens as nearly in opposite orders as there are: then whether a job sorts or compares two of
    /// them shows at once, and not by chance.
    pub(super) fn pair(&self, unit: u32, canonical: &[u8]) -> [Form; 2] {
        let seen = |number: u8| -> Vec<Token> {
            let own = self.form(unit, number).worker(canonical.to_vec());
            find(&own).map(|(_, token)| token).take(COMPARED_MAX).collect()
        };
        let first = seen(0);
        let turned = |other: &[Token]| {
            let pairs = (0..first.len().min(other.len())).flat_map(|at| (0..at).map(move |before| (before, at)));
            pairs.filter(|(before, at)| (first[*before] < first[*at]) != (other[*before] < other[*at])).count()
        };
        let other = (1..=CANDIDATES).max_by_key(|number| turned(&seen(*number))).unwrap_or(1);
        [0, other].map(|number| self.form(unit, number))
    }
}

/// Executes a unit, each replica as another worker sees it; what comes out is in canonical form. Without tokens all see the same.
///
/// # Errors
/// The machine's.
pub(super) async fn execute(
    job: &Job,
    tokens: Option<&Tokens>,
    entry: Entry,
    unit: u32,
    canonical: Vec<u8>,
    seed: &Digest,
) -> Result<Answer> {
    let seed = unit_seed(seed, unit);
    let own = tokens.map(|_| UnitTokens::of([&canonical[..]])).unwrap_or_default();
    let Some(tokens) = tokens.filter(|_| !own.is_empty()) else { return job.execute(entry, canonical, seed).await };
    let forms = tokens.forms(unit, &canonical, job.replicas());
    let inputs = forms.iter().map(|form| form.worker(canonical.clone()).into()).collect();
    let backs: Vec<Back> = forms.iter().map(|form| form.back(&own)).collect();
    job.execute_each(entry, inputs, seed, |replica, executed| match backs.get(replica) {
        Some(back) => in_canonical_form(executed, back),
        None => executed,
    })
    .await
}

/// What a worker says, in canonical form. What is no token of the unit's stays as it is, and will differ. Fuel does not count: to compare other
/// tokens may take another number of steps.
pub(super) fn in_canonical_form(mut executed: Executed, back: &Back) -> Executed {
    let canonical = |bytes: Vec<u8>| back.canonical(bytes.clone()).unwrap_or(bytes);
    executed.output = canonical(executed.output);
    let (digest, bytes) = (Digest::of(&executed.output), executed.output.len() as u64);
    let outcome = &mut executed.outcome;
    outcome.fuel = Default::default();
    match &mut outcome.verdict {
        Verdict::Ok { output, output_bytes } => (*output, *output_bytes) = (digest, bytes),
        Verdict::Called { calls, calls_bytes } => (*calls, *calls_bytes) = (digest, bytes),
        Verdict::Aborted { message, .. } => {
            let text = canonical(core::mem::take(message).into_bytes());
            *message = String::from_utf8(text).unwrap_or_default();
        }
        Verdict::OutOfFuel | Verdict::OutOfStack | Verdict::Trap => {}
    }
    executed
}

/// Goes on if a coordinator would hand out what a job that uses records of its clients wrote, in canonical form: not if workers would see one of
/// these values when the record comes in again.
///
/// # Errors
/// [`Unusable`].
pub(super) fn may_be_kept(
    manifest: &Manifest,
    tokens: Option<&Tokens>,
    canonical: &[u8],
    values: &Values,
) -> Result<(), Unusable> {
    if manifest.record_bytes == 0 {
        return Ok(());
    }
    let none = Places::new(&[]);
    hides(canonical, values, tokens.map_or(&none, |tokens| &tokens.places))?;
    Written::restored(&restored(canonical, values), manifest.record_bytes).map(drop)
}

/// What a requester would get of an output in canonical form.
pub(super) fn restored(output: &[u8], values: &Values) -> Vec<u8> {
    restore(output, values, INPUT_BYTES_MAX).unwrap_or_else(|_| output.to_vec())
}

#[cfg(test)]
mod tests {
    use manyhands_model::Class;

    use super::*;

    fn tokens(sensitive: &str) -> Tokens {
        let manifest = format!(r#"{{"name":"a","version":"0.1.0","abi":1,"sensitive":{sensitive}}}"#);
        let manifest = serde_json::from_str(&manifest).expect("a manifest");
        Tokens::of(&manifest, &Digest::of(b"module"), &Declared::default()).expect("fits").expect("some")
    }

    #[test]
    fn two_workers_see_two_tokens_in_opposite_orders() {
        let tokens = tokens(r#"[{"at":"$[*]","class":"email"}]"#);
        for unit in 0..50 {
            let canonical = tokens.take_out(unit, br#"["a","b"]"#).expect("a form").text;
            let forms = tokens.forms(unit, &canonical, 4);
            let seen: Vec<bool> = forms
                .iter()
                .map(|form| {
                    let own = form.worker(canonical.clone());
                    let tokens: Vec<Token> = find(&own).map(|(_, token)| token).collect();
                    assert!(tokens.iter().all(|token| token.class() == Class::Email));
                    tokens[0] < tokens[1]
                })
                .collect();
            assert_eq!(seen.len(), 4);
            assert_ne!(seen[0], seen[1]);
        }
    }

    #[test]
    fn what_is_declared_has_to_fit_the_job() {
        let manifest = |rest: &str| {
            serde_json::from_str::<Manifest>(&format!(r#"{{"name":"a","version":"0.1.0","abi":1{rest}}}"#))
                .expect("a manifest")
        };
        let field = |json: &str| Declared { sensitive: vec![serde_json::from_str(json).expect("a field")] };
        let of = |manifest: &Manifest, declared: &Declared| {
            Tokens::of(manifest, &Digest::of(b"module"), declared).map(|tokens| tokens.is_some())
        };
        let email = field(r#"{"at":"/a","class":"email","reveal":"domain"}"#);
        assert_eq!(of(&manifest(""), &Declared::default()), Ok(false));
        assert_eq!(of(&manifest(""), &email), Ok(true));
        let raw = of(&manifest(r#","codec":"raw""#), &email).expect_err("refused");
        assert!(raw.message.contains("not JSON"), "{raw}");
        let hidden = manifest(r#","sensitive":[{"at":"/a","class":"email"}]"#);
        assert!(of(&hidden, &email).expect_err("refused").message.contains("`/a` is `email`"));
    }
}
