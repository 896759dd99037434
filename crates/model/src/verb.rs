//! What a job may ask of the outside.
//!
//! A verb fixes everything about a request but the values of its slots: method, origin, path, where each slot stands and
//! of what type it is, what comes back, and how often. A job names a verb and fills its slots; it cannot name a
//! host, a header or a key.
//!
//! This is what a manifest says, in texts. [`Template`](crate::template::Template) is what was read from them, and the only
//! thing that can be filled.

use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::sensitive::Class;

/// A name in a manifest: 1 to 64 of a-z, 0-9 and `_`, starting with a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name: use 1 to 64 of a-z, 0-9 and `_`, starting with a letter")]
pub struct BadName(String);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        let starts_well = text.starts_with(|first: char| first.is_ascii_lowercase());
        let all_good = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if starts_well && all_good && text.len() <= 64 {
            Ok(Self(text))
        } else {
            Err(BadName(text.chars().take(80).collect()))
        }
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::try_from(text.to_owned())
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A method that verbs may have (RFC 9110, section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Asks for something.
    Get,
    /// Asks whether it is there.
    Head,
    /// Hands something over.
    Post,
    /// Puts something in a place.
    Put,
    /// Changes a part of something.
    Patch,
    /// Removes something.
    Delete,
}

impl Method {
    /// Whether a body has a meaning with it (RFC 9110, section 9.3).
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }

    /// As it is sent.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// What a call does to the world; decides what happens when nobody knows whether it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectClass {
    /// Nothing: it may be made any number of times.
    Safe,
    /// Something, once for each idempotency key: it may be made again with the same key.
    Keyed,
    /// Something, each time. It is never made again.
    AtMostOnce,
    /// Something that cannot be taken back. It is never made again, and needs more agreement than others.
    Irreversible,
}

impl EffectClass {
    /// Whether a call may be made again when nobody knows whether it was.
    pub const fn may_repeat(self) -> bool {
        matches!(self, Self::Safe | Self::Keyed)
    }

    /// The machine-readable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Keyed => "keyed",
            Self::AtMostOnce => "at_most_once",
            Self::Irreversible => "irreversible",
        }
    }
}

/// What a job may put into a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Slot {
    /// One token, of one of these classes; sent is what it stands for.
    Token {
        /// At least one.
        classes: Vec<Class>,
    },
    /// Letters, digits, `_` and `-` of ASCII.
    Id {
        /// 1 to 256.
        bytes_max: u32,
    },
    /// A whole number. In a body of JSON it stands as a number.
    Integer {
        /// The least; from -(2^53 - 1), since not everybody reads more.
        min: i64,
        /// The most; to 2^53 - 1.
        max: i64,
    },
    /// One of these texts.
    Enum {
        /// 1 to 256, each of 1 to 256 bytes.
        values: Vec<String>,
    },
    /// A day, as `2026-11-22` (RFC 3339, full-date).
    Date,
    /// Any text, tokens of these classes within it included. Only in a body.
    Text {
        /// 1 to 65,536, counted with the tokens and not with what they stand for.
        bytes_max: u32,
        /// None, if tokens may not stand in it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        classes: Vec<Class>,
    },
}

/// A value that comes back, and where it lies in the upstream's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Projected {
    /// JSON Pointer (RFC 6901) into the answer. It must be there.
    pub at: String,
    /// What it must be, and how a job sees it.
    #[serde(flatten)]
    pub shape: Shape,
}

/// What a value of an upstream's answer must be to come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Shape {
    /// Letters, digits, `_` and `-` of ASCII, shown as they are.
    Id {
        /// 1 to 256.
        bytes_max: u32,
    },
    /// A whole number, shown as it is.
    Integer {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// `true` or `false`, shown as it is.
    Boolean,
    /// One of these texts, shown as it is.
    Enum {
        /// 1 to 256.
        values: Vec<String>,
    },
    /// A day, shown as it is.
    Date,
    /// Any text; a job sees a token.
    Text {
        /// Of which class the token is.
        class: Class,
    },
}

/// How long and how large a call may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallLimits {
    /// Body of the request in bytes. Default 64 KiB, at most 1 MiB.
    pub request_bytes: u64,
    /// Body of the upstream's answer in bytes, decoded. Default 256 KiB, at most 4 MiB.
    pub answer_bytes: u64,
    /// Time for all of it, in milliseconds. Default 10,000, at most 120,000.
    pub total_ms: u64,
}

impl CallLimits {
    /// The most that a verb may ask for.
    pub const MAX: Self = Self { request_bytes: 1 << 20, answer_bytes: 4 << 20, total_ms: 120_000 };
}

impl Default for CallLimits {
    fn default() -> Self {
        Self { request_bytes: 64 << 10, answer_bytes: 256 << 10, total_ms: 10_000 }
    }
}

/// How often a verb may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// In one run. 1 to a million.
    pub per_run: u64,
    /// In any 24 hours, by all runs of the job. 1 to a thousand million; as many as the runs may, if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_day: Option<u64>,
}

/// An operation of an API, with slots for what a job may say.
///
/// In `path`, `query`, `headers`, `json` and `form` a `{name}` stands for the slot of that name: in a path a whole
/// segment, in a header the whole value or its end, elsewhere a whole value. `{secret:name}` stands for a
/// secret of the operator's, anywhere but in a path.
///
/// [`Verb::template`] checks it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verb {
    /// One sentence for the operator who approves it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The method.
    pub method: Method,
    /// Scheme, host and port, such as `https://api.example.com`.
    pub origin: String,
    /// The path, starting with `/`.
    pub path: String,
    /// Keys and values of the query.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// Names and values of headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// A body of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// A body of `application/x-www-form-urlencoded`: keys and values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<BTreeMap<String, String>>,
    /// What a job says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slots: BTreeMap<Name, Slot>,
    /// What a job hears, besides the status.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub answer: BTreeMap<Name, Projected>,
    /// What it does to the world.
    pub effect: EffectClass,
    /// The header that carries the idempotency key; needed where the effect is `keyed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_header: Option<String>,
    /// How long and how large a call may be.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: CallLimits,
    /// How often it may be called.
    pub budget: Budget,
}

fn is_default(limits: &CallLimits) -> bool {
    *limits == CallLimits::default()
}

/// A job's verbs.
pub type Verbs = BTreeMap<Name, Verb>;
