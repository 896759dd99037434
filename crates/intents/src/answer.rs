//! What an upstream answers, and what the job hears of it.
//!
//! Only the fields that the verb declares come back, each of the type that it declares; any text becomes a token. So whatever an upstream
//! repeats of what it was sent, in whatever coding, is either not shown or is in a token, but for ids, numbers and days: those
//! are held against the values that are known.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use manyhands_model::template::{is_date, is_id, looks_like_token, pointer};
use manyhands_model::verb::{Projected, Shape};
use manyhands_model::{Class, Name};
use manyhands_placeholder::Token;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::catalogue::Known;
use crate::read::Single;

/// Why a job has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fault {
    /// The verb is not declared or not approved, or what its slots hold does not fit. It was not made.
    Refused,
    /// The verb's budget is used up. It was not made.
    Budget,
    /// No answer came in time; the call did nothing, or may be made again.
    TimedOut,
    /// Nobody knows whether it was made, and it must not be made twice.
    Unknown,
    /// It was answered with this status, which is not one of success.
    Status(u16),
    /// The answer is not what the verb declares, or repeats what it must not.
    Withheld,
    /// The run is a dry run: everything was done but the sending. It was not made.
    DryRun,
}

impl Fault {
    /// The machine-readable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Budget => "budget",
            Self::TimedOut => "timed_out",
            Self::Unknown => "unknown",
            Self::Status(_) => "status",
            Self::Withheld => "withheld",
            Self::DryRun => "dry_run",
        }
    }
}

/// What a job hears of a call, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Heard {
    /// It was made.
    Answer {
        /// From 200 to 299.
        status: u16,
        /// Every field that the verb declares.
        fields: BTreeMap<Name, Field>,
    },
    /// It was not, or nothing can be said of it.
    Fault(Fault),
}

/// One field of an answer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Field {
    /// In place of a text.
    Token(Token),
    /// A whole number.
    Integer(i64),
    /// Yes or no.
    Boolean(bool),
    /// An id, a choice or a day.
    Plain(String),
}

impl fmt::Debug for Field {
    /// What an upstream says stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(token) => write!(f, "Token({token:?})"),
            Self::Integer(_) => f.write_str("Integer(…)"),
            Self::Boolean(_) => f.write_str("Boolean(…)"),
            Self::Plain(text) => write!(f, "Plain({} bytes)", text.len()),
        }
    }
}

/// The list that a job reads as the answers to its request.
pub fn answers<'a>(heard: impl IntoIterator<Item = &'a Heard>) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Written<'a> {
        Answer { status: u16, answer: BTreeMap<&'a str, Value<'a>> },
        Status { fault: &'static str, status: u16 },
        Fault { fault: &'static str },
    }
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Value<'a> {
        Text(&'a str),
        Integer(i64),
        Boolean(bool),
    }
    let written = |heard: &'a Heard| match heard {
        Heard::Answer { status, fields } => {
            let value = |field: &'a Field| match field {
                Field::Token(token) => Value::Text(token.as_str()),
                Field::Plain(text) => Value::Text(text),
                Field::Integer(integer) => Value::Integer(*integer),
                Field::Boolean(boolean) => Value::Boolean(*boolean),
            };
            let answer = fields.iter().map(|(name, field)| (name.as_str(), value(field))).collect();
            Written::Answer { status: *status, answer }
        }
        Heard::Fault(fault) => match fault {
            Fault::Status(status) => Written::Status { fault: fault.word(), status: *status },
            _ => Written::Fault { fault: fault.word() },
        },
    };
    let list: Vec<Written<'_>> = heard.into_iter().map(written).collect();
    // Maps of strings, numbers and booleans can always be written.
    serde_json::to_vec(&list).unwrap_or_default()
}

/// What the job hears of an upstream's answer.
///
/// `status` is the last one (no 1xx), `body` decoded and at most as long as the verb's limit. `is_live` says whether a text gives away a value
/// that a worker must not see; `tokenise` makes a token of a text, and is asked only when the whole answer is good. The content type does
/// not count: a body either has the declared fields or it has not.
pub fn hear(
    known: &Known,
    status: u16,
    body: &[u8],
    is_live: impl Fn(&str) -> bool,
    mut tokenise: impl FnMut(Class, &str) -> Token,
) -> Heard {
    if !(200..300).contains(&status) {
        return Heard::Fault(Fault::Status(status));
    }
    let Some(found) = find(known, body) else { return Heard::Fault(Fault::Withheld) };
    let mut checked = Vec::with_capacity(known.verb.answer.len());
    for (name, Projected { shape, .. }) in &known.verb.answer {
        let single = found.get(name).and_then(|json| Single::of(json));
        let Some(field) = single.and_then(|single| check(shape, single, &is_live)) else {
            return Heard::Fault(Fault::Withheld);
        };
        checked.push((name.clone(), field));
    }
    let fields = checked.into_iter().map(|(name, field)| {
        let field = match field {
            Checked::Shown(field) => field,
            Checked::Hidden(class, text) => Field::Token(tokenise(class, &text)),
        };
        (name, field)
    });
    Heard::Answer { status, fields: fields.collect() }
}

/// A field that is what the verb declares.
enum Checked {
    Shown(Field),
    Hidden(Class, zeroize::Zeroizing<String>),
}

fn check(shape: &Shape, single: Single, is_live: &impl Fn(&str) -> bool) -> Option<Checked> {
    let shown = |text: &str| !looks_like_token(text) && !is_live(text);
    Some(Checked::Shown(match (shape, single) {
        (Shape::Text { class }, Single::Text(text)) => return Some(Checked::Hidden(*class, text)),
        (Shape::Id { bytes_max }, Single::Text(text)) if is_id(&text, *bytes_max) && shown(&text) => {
            Field::Plain(String::clone(&text))
        }
        (Shape::Date, Single::Text(text)) if is_date(&text) && shown(&text) => Field::Plain(String::clone(&text)),
        // What is on the list says which of the list it is, and no more.
        (Shape::Enum { values }, Single::Text(text)) if values.contains(&*text) => Field::Plain(String::clone(&text)),
        (Shape::Integer { min, max }, Single::Integer(value))
            if (min..=max).contains(&&value) && shown(&value.to_string()) =>
        {
            Field::Integer(value)
        }
        (Shape::Boolean, Single::Boolean(value)) => Field::Boolean(value),
        _ => return None,
    }))
}

/// The JSON texts of the declared fields, each of which is there exactly once; nothing if the body is no JSON.
fn find<'a>(known: &'a Known, body: &'a [u8]) -> Option<BTreeMap<&'a Name, &'a str>> {
    if known.wanted.is_nothing() {
        return Some(BTreeMap::new());
    }
    if body.len() as u64 > known.verb.limits.answer_bytes {
        return None;
    }
    let mut found = Found::default();
    let mut reader = serde_json::Deserializer::from_slice(body);
    Seek { wanted: &known.wanted, found: &mut found }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    found.twice.is_empty().then_some(found.texts)
}

/// Where the declared fields are: a tree of the steps to them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// The fields whose value this is.
    here: Vec<Name>,
    /// The ways on.
    on: BTreeMap<String, Wanted>,
}

impl Wanted {
    pub(crate) fn of(fields: &BTreeMap<Name, Projected>) -> Self {
        let mut root = Self::default();
        for (name, field) in fields {
            let mut place = &mut root;
            // A pointer that is none was refused when the verb was read.
            for step in pointer(&field.at).unwrap_or_default() {
                place = place.on.entry(step).or_default();
            }
            place.here.push(name.clone());
        }
        root
    }

    fn is_nothing(&self) -> bool {
        self.here.is_empty() && self.on.is_empty()
    }

    fn names(&self) -> Vec<&Name> {
        let inner = self.on.values().flat_map(Self::names);
        self.here.iter().chain(inner).collect()
    }
}

#[derive(Default)]
struct Found<'a> {
    texts: BTreeMap<&'a Name, &'a str>,
    /// Fields of which readers would disagree which one counts.
    twice: BTreeSet<&'a Name>,
}

/// Walks through a body without keeping any of it but what is wanted.
struct Seek<'a, 'f> {
    wanted: &'a Wanted,
    found: &'f mut Found<'a>,
}

impl<'de: 'a, 'a> DeserializeSeed<'de> for Seek<'a, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // Who is asked for as a single value and as an object as well is neither.
        if !self.wanted.on.is_empty() {
            return deserializer.deserialize_any(self);
        }
        let json = <&'de RawValue>::deserialize(deserializer)?;
        for name in &self.wanted.here {
            self.found.texts.insert(name, json.get());
        }
        Ok(())
    }
}

impl<'de: 'a, 'a> Visitor<'de> for Seek<'a, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let Some((step, wanted)) = self.wanted.on.get_key_value(&key) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if !seen.insert(step) {
                self.found.twice.extend(wanted.names());
            }
            map.next_value_seed(Seek { wanted, found: self.found })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut at = 0_u64;
        let numbers: BTreeMap<u64, &'a Wanted> =
            self.wanted.on.iter().filter_map(|(step, wanted)| Some((index(step)?, wanted))).collect();
        loop {
            let more = match numbers.get(&at) {
                Some(wanted) => list.next_element_seed(Seek { wanted, found: self.found })?.is_some(),
                None => list.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                return Ok(());
            }
            at += 1;
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// An index of a list as a JSON Pointer has it (RFC 6901, section 4).
fn index(step: &str) -> Option<u64> {
    (step == "0" || !step.starts_with(['0', '+'])).then(|| step.parse().ok())?
}
