//! Calls of APIs. The coordinator makes them, once the workers agree on what is asked; a job reads as if it made them itself.
//!
//! An execution ends where it asks for a call that has no answer yet. When it has, the job is executed again from its
//! beginning, and the same request finds its answer: so code before a call may run several times, and nothing but its
//! answers may differ.

use core::cell::RefCell;
use core::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::entry::json;

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// The verb is not declared or not approved, or what its slots hold does not fit. It was not made.
    Refused,
    /// The verb's budget is used up. It was not made.
    Budget,
    /// The API did not answer in time; the call did nothing, or may be made again.
    TimedOut,
    /// Nobody knows whether it was made, and it must not be made twice. The operator is told.
    Unknown,
    /// The API answered with a status that says that it did not do what was asked.
    Status {
        /// The status (RFC 9110, section 15).
        status: u16,
    },
    /// The API answered with something that is not what the verb declares.
    Withheld,
    /// The run is a dry run: everything was done but the sending. It was not made.
    DryRun,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "the call was refused",
            Self::Budget => "the budget for this call is used up",
            Self::TimedOut => "the call was not answered in time",
            Self::Unknown => "nobody knows whether the call was made",
            Self::Status { .. } => "the call was answered with an error",
            Self::Withheld => "the answer is not what the verb declares",
            Self::DryRun => "the run is a dry run, so the call was not made",
        })
    }
}

impl core::error::Error for Fault {}

/// One answer, as the coordinator writes it.
#[derive(Deserialize)]
struct Answered<T> {
    answer: Option<T>,
    fault: Option<Word>,
    status: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Refused,
    Budget,
    TimedOut,
    Unknown,
    Status,
    Withheld,
    DryRun,
}

/// Calls a verb of the job's manifest and reads what it declares as its answer.
///
/// `slots` is a structure or a map with the verb's slots; `T` reads the declared fields.
///
/// # Errors
/// [`Fault`].
///
/// # Panics
/// When `slots` cannot be written as JSON, or the declared fields are not those of `T`: both are mistakes of the job's.
pub fn call<T: DeserializeOwned>(verb: &str, slots: impl Serialize) -> Result<T, Fault> {
    call_all([(verb, slots)]).swap_remove(0)
}

/// Asks for several calls at once, which are made side by side. The answers come in the order of the calls.
///
/// # Panics
/// As [`call`].
pub fn call_all<'a, S: Serialize, T: DeserializeOwned>(
    calls: impl IntoIterator<Item = (&'a str, S)>,
) -> Vec<Result<T, Fault>> {
    let calls: Vec<(&str, Vec<u8>)> = calls.into_iter().map(|(verb, slots)| (verb, text(&slots))).collect();
    if calls.is_empty() {
        return Vec::new();
    }
    let answers = API.with_borrow_mut(Option::take).map_or_else(
        || crate::host::call(&request(&calls)),
        |mut api| {
            let answers = list(calls.iter().map(|(verb, slots)| played(&mut api, verb, slots)));
            API.set(Some(api));
            answers
        },
    );
    let read: Vec<Answered<T>> = must(json::decode(&answers), "the answers are not what the job expects");
    assert_eq!(read.len(), calls.len(), "the request was refused as a whole; ask for at most 64 calls at once");
    read.into_iter().map(Answered::settle).collect()
}

impl<T> Answered<T> {
    #[expect(clippy::panic, reason = "nobody writes an answer that is neither")]
    fn settle(self) -> Result<T, Fault> {
        Err(match (self.answer, self.fault) {
            (Some(answer), _) => return Ok(answer),
            (None, Some(Word::Refused)) => Fault::Refused,
            (None, Some(Word::Budget)) => Fault::Budget,
            (None, Some(Word::TimedOut)) => Fault::TimedOut,
            (None, Some(Word::Unknown)) => Fault::Unknown,
            (None, Some(Word::Status)) => Fault::Status { status: self.status.unwrap_or_default() },
            (None, Some(Word::Withheld)) => Fault::Withheld,
            (None, Some(Word::DryRun)) => Fault::DryRun,
            (None, None) => panic!("an answer without an answer"),
        })
    }
}

#[expect(clippy::panic, reason = "the job's mistake ends it, with the reason")]
fn must<T>(result: Result<T, impl fmt::Display>, what: &str) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error}"))
}

fn text(value: &impl Serialize) -> Vec<u8> {
    must(json::encode(value), "the slots cannot be written")
}

/// `[{"verb":…,"slots":…},…]`
fn request(calls: &[(&str, Vec<u8>)]) -> Vec<u8> {
    list(calls.iter().map(|(verb, slots)| [b"{\"verb\":", &text(verb)[..], b",\"slots\":", slots, b"}"].concat()))
}

fn list(elements: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut list = vec![b'['];
    for element in elements {
        if list.len() > 1 {
            list.push(b',');
        }
        list.extend(element);
    }
    list.push(b']');
    list
}

/// What a test answers to a verb and its slots, which are JSON text; so is the answer.
pub(crate) type Api = Box<dyn FnMut(&str, &str) -> Result<String, Fault>>;

thread_local! {
    static API: RefCell<Option<Api>> = const { RefCell::new(None) };
}

pub(crate) fn with_calls<T>(api: Api, test: impl FnOnce() -> T) -> T {
    /// Puts the old one back even when the test panics.
    struct Restore(Option<Api>);
    impl Drop for Restore {
        fn drop(&mut self) {
            API.set(self.0.take());
        }
    }
    let _restore = Restore(API.replace(Some(api)));
    test()
}

/// One answer of a test's API.
fn played(api: &mut Api, verb: &str, slots: &[u8]) -> Vec<u8> {
    match api(verb, &String::from_utf8_lossy(slots)) {
        Ok(answer) => [b"{\"answer\":", answer.as_bytes(), b"}"].concat(),
        Err(fault) => text(&fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[derive(Serialize)]
    struct Lookup<'a> {
        email: &'a str,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Found {
        company: String,
    }

    #[test]
    fn a_test_answers_for_the_api() {
        let api = |verb: &str, slots: &str| {
            assert_eq!((verb, slots), ("lookup", r#"{"email":"a\"b"}"#));
            Ok(r#"{"company":"Acme","more":1}"#.to_owned())
        };
        let found = testing::with_calls(api, || call::<Found>("lookup", Lookup { email: "a\"b" }));
        assert_eq!(found, Ok(Found { company: "Acme".into() }));
    }

    #[test]
    fn answers_come_in_the_order_of_the_calls_faults_among_them() {
        let faults = [
            Fault::Refused,
            Fault::Budget,
            Fault::TimedOut,
            Fault::Unknown,
            Fault::Status { status: 404 },
            Fault::Withheld,
            Fault::DryRun,
        ];
        let mut next = faults.into_iter();
        let api = move |_: &str, slots: &str| match slots {
            "1" => Ok("true".to_owned()),
            _ => Err(next.next().expect("one for each")),
        };
        let slots = [1, 0, 0, 0, 1, 0, 0, 0, 0];
        let answers = testing::with_calls(api, || call_all::<_, bool>(slots.map(|slots| ("verb", slots))));
        let mut expected = faults.map(Err).to_vec();
        expected.insert(0, Ok(true));
        expected.insert(4, Ok(true));
        assert_eq!(answers, expected);
        assert_eq!(testing::with_calls(|_, _| Err(Fault::Refused), || call_all::<u8, u8>([])), []);
    }

    #[test]
    fn a_request_is_json_whatever_the_verb_holds() {
        let calls = [("a", b"1".to_vec()), ("\"", b"{}".to_vec())];
        assert_eq!(request(&calls), br#"[{"verb":"a","slots":1},{"verb":"\"","slots":{}}]"#);
    }
}
