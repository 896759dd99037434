//! What a job asks for.
//!
//! A request is a JSON list, `[{"verb":"…","slots":{…}},…]`, in the unit's canonical form. Each call in it becomes an
//! [`Intent`] or is [`Refused`]. What differs in nothing but its writing (blanks, escapes, the order of keys, `1.0` for `1`) is the same intent.

use core::fmt;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use manyhands_abi::CALLS_BYTES_MAX;
use manyhands_model::template::{is_date, is_id, looks_like_token, token_prefixes};
use manyhands_model::verb::Slot;
use manyhands_model::{Class, IntentId, Name};
use manyhands_placeholder::token::BYTES as TOKEN_BYTES;
use manyhands_placeholder::{Scope, Token, UnitTokens, Values};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::catalogue::Catalogue;
use crate::key::Lengths;
use crate::read::Single;

/// Most calls in one request.
pub const CALLS_MAX: usize = 64;

/// Why a request is none: nobody can say which calls are meant, so none is made. Its only answer is one fault, `refused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// Longer than a job may say.
    #[error("the request is {0} bytes long, at most {CALLS_BYTES_MAX} are read")]
    TooLong(usize),
    /// Not what the ABI says.
    #[error(
        "the request is no list of at most {CALLS_MAX} calls, each with a `verb` and its `slots`: line {line}, column {column}"
    )]
    NotCalls {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
}

/// Why a call is not made. For the operator's log: it names no value, and nothing that a job could write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("call {ordinal}{}: {why}", verb.as_ref().map(|verb| format!(" of `{verb}`")).unwrap_or_default())]
pub struct Refused {
    /// Its number in the request, from 0.
    pub ordinal: u32,
    /// The verb, if there is one of that name.
    pub verb: Option<Name>,
    /// The reason.
    pub why: Why,
}

/// Why a call does not fit its verb. The job's fault, or that of a worker who changed what it said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Nothing of that name is declared.
    #[error("the manifest declares no such verb")]
    NoVerb,
    /// Something else than an object, or one with a key twice.
    #[error("the slots are no object with each name once")]
    NotSlots,
    /// A slot without a value.
    #[error("slot `{0}` is missing")]
    Missing(Name),
    /// A value without a slot.
    #[error("it has a slot that the verb does not declare")]
    Undeclared,
    /// A value that the slot does not take.
    #[error("slot `{slot}` takes {expected}")]
    Mistyped {
        /// Which.
        slot: Name,
        /// What it takes.
        expected: Expected,
    },
    /// Something that looks like a token and is none, or stands where none may stand.
    #[error("in slot `{0}` stands what looks like a token and is not the whole of one")]
    NotToken(Name),
    /// A token that is somebody else's, or nobody's. Worth noticing: no job gets hold of one by itself.
    #[error("in slot `{0}` stands a token that is none of this unit's")]
    Foreign(Name),
    /// A surrogate where no value is put in: it would be sent as it is.
    #[error("in slot `{0}` stands a surrogate; only slots of type `token` and `text` put in what it is for")]
    Surrogate(Name),
    /// A token of another class.
    #[error("slot `{slot}` takes no token of class `{class}`")]
    WrongClass {
        /// Which.
        slot: Name,
        /// Of what stands there.
        class: Class,
    },
}

/// What a slot takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Expected {
    /// One token.
    #[error("one token")]
    Token,
    /// An id.
    #[error("1 to {0} of A-Z, a-z, 0-9, `_` and `-`")]
    Id(u32),
    /// A whole number.
    #[error("a whole number from {0} to {1}")]
    Integer(i64, i64),
    /// A choice.
    #[error("one of the texts that the verb lists")]
    Enum,
    /// A day.
    #[error("a day such as 2026-11-22")]
    Date,
    /// Text.
    #[error("at most {0} bytes of text, without control characters but tabs and line breaks")]
    Text(u32),
}

/// What stands in a slot, in canonical form: it fits the slot's type.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Given {
    /// One token of the unit's.
    Token(Token),
    /// A whole number.
    Integer(i64),
    /// An id, a choice or a day. No token stands in it.
    Plain(String),
    /// Text, in which tokens of the unit's may stand.
    Text(String),
}

impl fmt::Debug for Given {
    /// What a job writes may be data, so it stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(token) => write!(f, "Token({token:?})"),
            Self::Integer(_) => f.write_str("Integer(…)"),
            Self::Plain(text) => write!(f, "Plain({} bytes)", text.len()),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
        }
    }
}

/// A call that a job asks for and its verb allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Its number in the request, from 0.
    pub ordinal: u32,
    /// The verb.
    pub verb: Name,
    /// Every slot that the verb declares, and no other.
    pub slots: BTreeMap<Name, Given>,
}

impl Intent {
    /// Verb and slots as JSON in the one form of RFC 8785.
    ///
    /// Names are ASCII, so their order is that of their bytes; numbers are whole and below 2^53, so they have one form; and
    /// serde_json escapes strings as section 3.2.2.2 wants it.
    pub fn canonical(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Canonical<'a> {
            slots: BTreeMap<&'a str, Written<'a>>,
            verb: &'a str,
        }
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Written<'a> {
            Text(&'a str),
            Integer(i64),
        }
        let slots = self.slots.iter().map(|(name, given)| {
            let written = match given {
                Given::Token(token) => Written::Text(token.as_str()),
                Given::Integer(integer) => Written::Integer(*integer),
                Given::Plain(text) | Given::Text(text) => Written::Text(text),
            };
            (name.as_str(), written)
        });
        // Maps of strings and integers can always be written.
        serde_json::to_vec(&Canonical { slots: slots.collect(), verb: self.verb.as_str() }).unwrap_or_default()
    }

    /// What this intent is called: a function of who asks (`scope`), in which step of the unit, where in the request, and what is asked.
    ///
    /// Replicas that agree have the same, and so has the same unit after a crash; nobody else has it.
    pub fn id(&self, scope: &Scope<'_>, step: u32) -> IntentId {
        let mut hasher = blake3::Hasher::new_derive_key("manyhands intents v1: id of an intent");
        hasher
            .lengths(scope.tenant.as_bytes())
            .lengths(scope.job.as_str().as_bytes())
            .lengths(scope.unit.run.as_bytes())
            .lengths(&scope.unit.index.to_le_bytes())
            .lengths(&step.to_le_bytes())
            .lengths(&self.ordinal.to_le_bytes())
            .lengths(&self.canonical());
        IntentId(*hasher.finalize().as_bytes())
    }
}

/// The tokens that a unit may speak of.
pub trait Own {
    /// Whether this canonical token is the unit's.
    fn has(&self, token: &Token) -> bool;

    /// The token for which this surrogate of the unit's stands: a text, or a number's text.
    fn of_surrogate(&self, surrogate: &str) -> Option<Token>;
}

/// For units without surrogates.
impl Own for UnitTokens {
    fn has(&self, token: &Token) -> bool {
        self.contains(token)
    }

    fn of_surrogate(&self, _: &str) -> Option<Token> {
        None
    }
}

impl Own for Values {
    fn has(&self, token: &Token) -> bool {
        self.get(token).is_some()
    }

    fn of_surrogate(&self, surrogate: &str) -> Option<Token> {
        Values::of_surrogate(self, surrogate)
    }
}

/// Reads a request and holds each call against its verb; `own` knows the tokens that the unit has. One result for each call, in their order.
///
/// # Errors
/// [`BadRequest`] when it cannot be said which calls are meant.
pub fn admit(
    request: &[u8],
    catalogue: &Catalogue,
    own: &impl Own,
) -> Result<Vec<Result<Intent, Refused>>, BadRequest> {
    if request.len() > CALLS_BYTES_MAX {
        return Err(BadRequest::TooLong(request.len()));
    }
    // The error's own text may repeat what it stumbled over.
    let Calls(calls) = serde_json::from_slice(request)
        .map_err(|error| BadRequest::NotCalls { line: error.line(), column: error.column() })?;
    let admitted = (0..).zip(calls).map(|(ordinal, call)| {
        let entry = catalogue.entry(&call.verb);
        let refused = |why| Refused { ordinal, verb: entry.map(|(verb, _)| verb.clone()), why };
        let (verb, known) = entry.ok_or_else(|| refused(Why::NoVerb))?;
        let slots = fit(&known.verb.slots, call.slots, own).map_err(refused)?;
        Ok(Intent { ordinal, verb: verb.clone(), slots })
    });
    Ok(admitted.collect())
}

fn fit(declared: &BTreeMap<Name, Slot>, said: Option<&RawValue>, own: &impl Own) -> Result<BTreeMap<Name, Given>, Why> {
    let Said(said) = match said.map(RawValue::get) {
        None => Said::default(),
        Some(json) => serde_json::from_str::<Option<Said<'_>>>(json).map_err(|_| Why::NotSlots)?.unwrap_or_default(),
    };
    let mut given = BTreeMap::new();
    for (name, slot) in declared {
        let json = said.get(name.as_str()).ok_or_else(|| Why::Missing(name.clone()))?;
        given.insert(name.clone(), give(name, slot, json, own)?);
    }
    if said.len() > declared.len() { Err(Why::Undeclared) } else { Ok(given) }
}

fn give(name: &Name, slot: &Slot, json: &RawValue, own: &impl Own) -> Result<Given, Why> {
    let mistyped = || {
        let expected = match slot {
            Slot::Token { .. } => Expected::Token,
            Slot::Id { bytes_max } => Expected::Id(*bytes_max),
            Slot::Integer { min, max } => Expected::Integer(*min, *max),
            Slot::Enum { .. } => Expected::Enum,
            Slot::Date => Expected::Date,
            Slot::Text { bytes_max, .. } => Expected::Text(*bytes_max),
        };
        Why::Mistyped { slot: name.clone(), expected }
    };
    let single = Single::of(json.get()).ok_or_else(mistyped)?;
    let surrogate = match &single {
        Single::Text(text) => own.of_surrogate(text),
        // As it was written, which is how it was given.
        Single::Integer(_) => own.of_surrogate(json.get()),
        Single::Boolean(_) => None,
    };
    if let Some(token) = surrogate {
        return match slot {
            Slot::Token { classes } => Ok(Given::Token(of_class(name, token, classes)?)),
            Slot::Text { classes, .. } => Ok(Given::Text(of_class(name, token, classes)?.to_string())),
            Slot::Id { .. } | Slot::Integer { .. } | Slot::Enum { .. } | Slot::Date => {
                Err(Why::Surrogate(name.clone()))
            }
        };
    }
    let text = match (slot, single) {
        (Slot::Integer { min, max }, Single::Integer(value)) if (min..=max).contains(&&value) => {
            return Ok(Given::Integer(value));
        }
        (Slot::Integer { .. }, _) | (_, Single::Integer(_) | Single::Boolean(_)) => return Err(mistyped()),
        (_, Single::Text(text)) => String::clone(&text),
    };
    let fits = match slot {
        Slot::Token { classes } => return Ok(Given::Token(whole(name, &text, classes, own)?)),
        Slot::Text { bytes_max, classes } => {
            let odd = |c: char| c.is_control() && c != '\n' && c != '\t';
            if text.len() > *bytes_max as usize || text.chars().any(odd) {
                return Err(mistyped());
            }
            let mut behind = 0;
            for at in token_prefixes(&text) {
                // No token begins inside another one, but two may stand side by side.
                if at >= behind {
                    let token = text.get(at..at + TOKEN_BYTES).ok_or_else(|| Why::NotToken(name.clone()))?;
                    whole(name, token, classes, own)?;
                    behind = at + TOKEN_BYTES;
                }
            }
            return Ok(Given::Text(text));
        }
        Slot::Id { bytes_max } => is_id(&text, *bytes_max),
        Slot::Enum { values } => values.contains(&text),
        Slot::Date => is_date(&text),
        Slot::Integer { .. } => false,
    };
    if looks_like_token(&text) {
        return Err(Why::NotToken(name.clone()));
    }
    if fits { Ok(Given::Plain(text)) } else { Err(mistyped()) }
}

/// The token that this text is the whole of, if it is the unit's and of one of these classes.
fn whole(slot: &Name, text: &str, classes: &[Class], own: &impl Own) -> Result<Token, Why> {
    let token: Token = text.parse().map_err(|_| Why::NotToken(slot.clone()))?;
    if !own.has(&token) {
        return Err(Why::Foreign(slot.clone()));
    }
    of_class(slot, token, classes)
}

fn of_class(slot: &Name, token: Token, classes: &[Class]) -> Result<Token, Why> {
    if !classes.contains(&token.class()) {
        return Err(Why::WrongClass { slot: slot.clone(), class: token.class() });
    }
    Ok(token)
}

/// One call, as it was written. Keys that stand there twice are refused by what `derive` writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call<'a> {
    #[serde(borrow)]
    verb: Cow<'a, str>,
    #[serde(borrow, default)]
    slots: Option<&'a RawValue>,
}

/// At most [`CALLS_MAX`]. No more are read than may be there.
struct Calls<'a>(Vec<Call<'a>>);

impl<'de> Deserialize<'de> for Calls<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Calls<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of calls")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Calls<'de>, A::Error> {
                let mut calls = Vec::new();
                while let Some(call) = list.next_element()? {
                    if calls.len() == CALLS_MAX {
                        return Err(de::Error::custom("too many"));
                    }
                    calls.push(call);
                }
                Ok(Calls(calls))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// What is in the slots of a call, each name once.
#[derive(Default)]
struct Said<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'de> Deserialize<'de> for Said<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Said<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Said<'de>, A::Error> {
                let mut said = BTreeMap::new();
                while let Some((name, json)) = map.next_entry::<Cow<'de, str>, _>()? {
                    match said.entry(name) {
                        Entry::Vacant(entry) => entry.insert(json),
                        Entry::Occupied(_) => return Err(de::Error::custom("twice")),
                    };
                    if said.len() > manyhands_model::template::SLOTS_MAX {
                        return Err(de::Error::custom("too many"));
                    }
                }
                Ok(Said(said))
            }
        }
        deserializer.deserialize_map(Map)
    }
}
