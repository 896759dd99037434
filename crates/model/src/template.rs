//! What a verb's texts say, read once: where which slot stands.
//!
//! A [`Template`] exists only of a verb that keeps every rule, so whoever fills one need not ask again. A slot is always a whole
//! thing (a segment, a value, a string of JSON, the end of a header), so what is put there cannot become something else.

use alloc::borrow::ToOwned as _;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

pub use manyhands_addresses::Origin;
use manyhands_addresses::OriginError;
use serde::Serialize;
use serde_json::{Number, Value};

use crate::verb::{CallLimits, EffectClass, Method, Name, Projected, Shape, Slot, Verb, Verbs};

/// Most verbs of a job.
pub const VERBS_MAX: usize = 64;
/// Most slots of a verb.
pub const SLOTS_MAX: usize = 32;
/// Most fields of a verb's answer.
pub const ANSWER_FIELDS_MAX: usize = 64;
/// The largest number that every reader of JSON reads exactly (RFC 8259, section 6).
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

/// Longest path, and longest value elsewhere but in a body, in bytes.
const TEXT_BYTES_MAX: usize = 2048;
/// Most headers, and most keys of a query or a form.
const KEYS_MAX: usize = 64;
/// Deepest nesting of a body of JSON, and most steps to a field of an answer.
const DEPTH_MAX: usize = 32;
/// Longest texts that may be chosen from, and longest ids, in bytes.
const WORD_BYTES_MAX: usize = 256;
/// Most texts that may be chosen from.
const WORDS_MAX: usize = 256;
/// Longest text in a slot, in bytes.
const SLOT_TEXT_BYTES_MAX: u32 = 64 << 10;
/// Most calls in a run, and in a day.
const PER_RUN_MAX: u64 = 1_000_000;
const PER_DAY_MAX: u64 = 1_000_000_000;
/// Longest description of a verb, in characters.
const DESCRIPTION_CHARS_MAX: usize = 500;

/// What every token begins with. Nothing that is fixed may look like one.
const TOKEN_PREFIX: &[u8] = b"dtk1";

/// Headers that are the coordinator's to write: they say where a request goes, where it ends and how it is coded, or what a connection does next.
const RESERVED_HEADERS: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Why a verb cannot be declared so. Whoever wrote the manifest is to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadVerb {
    /// More than anybody reads before approving them.
    #[error("`verbs`: {0} are declared, at most {VERBS_MAX}; leave out what the job does not call")]
    TooMany(usize),
    /// One of them.
    #[error("verb `{verb}`: {place}: {reason}; {cure}")]
    At {
        /// Which.
        verb: Name,
        /// Where in it.
        place: String,
        /// What is wrong.
        reason: String,
        /// What would help.
        cure: &'static str,
    },
}

/// Reads where a verb goes.
///
/// # Errors
/// Reason and cure.
fn read_origin(text: &str) -> Result<Origin, (String, &'static str)> {
    if text.contains(['{', '}']) {
        return Err(("nothing may be put into an origin".into(), "declare a verb for each place"));
    }
    text.parse().map_err(|error| match error {
        OriginError::Spelling(origin) => (format!("it is read as `{origin}`"), "write it as it is read"),
        OriginError::Scheme | OriginError::Host | OriginError::Port => {
            (format!("{error}"), "write scheme, host and if need be a port, such as `https://api.example.com:8443`")
        }
    })
}

/// What is put somewhere when a call is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hole {
    /// What the job says.
    Slot(Name),
    /// A secret of the operator's, for this origin.
    Secret(Name),
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot(name) => write!(f, "{{{name}}}"),
            Self::Secret(name) => write!(f, "{{secret:{name}}}"),
        }
    }
}

/// A whole value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Always the same.
    Fixed(String),
    /// What is put there.
    Hole(Hole),
}

/// A header's value: always the same, or at least its beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Header {
    /// What it begins with.
    pub before: String,
    /// What it ends with.
    pub hole: Option<Hole>,
}

/// JSON in which any string may be put in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Node {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(Part),
    /// A list.
    List(Vec<Node>),
    /// An object, sorted by keys.
    Object(BTreeMap<String, Node>),
}

/// What a request carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// Nothing.
    None,
    /// JSON.
    Json(Node),
    /// `application/x-www-form-urlencoded`
    Form(BTreeMap<String, Part>),
}

/// A request with holes in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Template {
    /// The method.
    pub method: Method,
    /// Where it goes.
    pub origin: Origin,
    /// The path's segments, to be written with a `/` before each; none is the path `/`. Secrets never stand there.
    pub path: Vec<Part>,
    /// The query.
    pub query: BTreeMap<String, Part>,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, Header>,
    /// The body.
    pub body: Body,
    /// The header that carries the idempotency key, in lower case.
    pub idempotency_header: Option<String>,
}

impl Template {
    /// Every secret of the operator's that stands in it.
    pub fn secrets(&self) -> BTreeSet<&Name> {
        let headers = self.headers.values().filter_map(|header| header.hole.as_ref());
        let mut holes: Vec<&Hole> = headers.collect();
        holes.extend(self.path.iter().chain(self.query.values()).filter_map(Part::hole));
        match &self.body {
            Body::None => {}
            Body::Json(node) => node.holes(&mut holes),
            Body::Form(pairs) => holes.extend(pairs.values().filter_map(Part::hole)),
        }
        let secret = |hole: &'_ Hole| matches!(hole, Hole::Secret(_));
        holes.into_iter().filter(|hole| secret(hole)).map(Hole::name).collect()
    }
}

impl Hole {
    /// Of the slot or the secret.
    pub const fn name(&self) -> &Name {
        match self {
            Self::Slot(name) | Self::Secret(name) => name,
        }
    }
}

impl Part {
    /// What is put there, if something is.
    pub const fn hole(&self) -> Option<&Hole> {
        match self {
            Self::Fixed(_) => None,
            Self::Hole(hole) => Some(hole),
        }
    }
}

impl Node {
    /// Adds everything that is put into it.
    fn holes<'a>(&'a self, holes: &mut Vec<&'a Hole>) {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => {}
            Self::Text(part) => holes.extend(part.hole()),
            Self::List(nodes) => nodes.iter().for_each(|node| node.holes(holes)),
            Self::Object(members) => members.values().for_each(|node| node.holes(holes)),
        }
    }
}

/// Reads all verbs of a manifest.
///
/// # Errors
/// [`BadVerb`] for the first rule that one does not keep, with its cure.
pub fn templates(verbs: &Verbs) -> Result<BTreeMap<Name, Template>, BadVerb> {
    if verbs.len() > VERBS_MAX {
        return Err(BadVerb::TooMany(verbs.len()));
    }
    verbs.iter().map(|(name, verb)| Ok((name.clone(), verb.template(name)?))).collect()
}

impl Verb {
    /// Reads the verb and checks it.
    ///
    /// # Errors
    /// [`BadVerb`] for the first rule that it does not keep; `name` is what it is called there.
    pub fn template(&self, name: &Name) -> Result<Template, BadVerb> {
        Reader { verb: self, name, used: BTreeSet::new() }.read()
    }
}

/// Reads one verb, and notes which slots were met.
struct Reader<'a> {
    verb: &'a Verb,
    name: &'a Name,
    used: BTreeSet<Name>,
}

/// Where in a request something stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Site {
    Path,
    Query,
    Header,
    Body,
}

impl Reader<'_> {
    fn read(mut self) -> Result<Template, BadVerb> {
        let verb = self.verb;
        if verb.description.chars().count() > DESCRIPTION_CHARS_MAX || verb.description.chars().any(char::is_control) {
            let reason = format!("longer than {DESCRIPTION_CHARS_MAX} characters, or not one line");
            return Err(self.bad("description", reason, "say it in a sentence"));
        }
        let origin = read_origin(&verb.origin).map_err(|(reason, cure)| self.bad("origin", reason, cure))?;
        self.slots()?;
        let template = Template {
            method: verb.method,
            origin,
            path: self.path()?,
            query: self.values("query", &verb.query, Site::Query)?,
            headers: self.headers()?,
            body: self.body()?,
            idempotency_header: self.idempotency_header()?,
        };
        if let Some(unused) = verb.slots.keys().find(|slot| !self.used.contains(*slot)) {
            return Err(self.bad(
                format!("slots.{unused}"),
                "it stands nowhere",
                "put it somewhere with its name in braces, or leave it out",
            ));
        }
        self.answer()?;
        self.limits()?;
        Ok(template)
    }

    fn bad(&self, place: impl Into<String>, reason: impl Into<String>, cure: &'static str) -> BadVerb {
        BadVerb::At { verb: self.name.clone(), place: place.into(), reason: reason.into(), cure }
    }

    fn slots(&self) -> Result<(), BadVerb> {
        if self.verb.slots.len() > SLOTS_MAX {
            let reason = format!("{} are declared, at most {SLOTS_MAX}", self.verb.slots.len());
            return Err(self.bad("slots", reason, "declare two verbs"));
        }
        for (name, slot) in &self.verb.slots {
            let place = || format!("slots.{name}");
            match slot {
                Slot::Token { classes } if classes.is_empty() => {
                    return Err(self.bad(
                        place(),
                        "no class is named",
                        "name the classes of tokens that may stand there",
                    ));
                }
                Slot::Id { bytes_max } => self.range(place(), "bytes_max", *bytes_max, WORD_BYTES_MAX as u32)?,
                Slot::Text { bytes_max, .. } => self.range(place(), "bytes_max", *bytes_max, SLOT_TEXT_BYTES_MAX)?,
                Slot::Integer { min, max } => self.integer(place(), *min, *max)?,
                Slot::Enum { values } => self.words(place(), values)?,
                Slot::Token { .. } | Slot::Date => {}
            }
        }
        Ok(())
    }

    fn range<N: PartialOrd + From<u8> + fmt::Display>(
        &self,
        place: String,
        what: &str,
        value: N,
        max: N,
    ) -> Result<(), BadVerb> {
        if value < N::from(1) || value > max {
            let reason = format!("`{what}` is {value}, it must be from 1 to {max}");
            return Err(self.bad(place, reason, "choose another, or divide the work"));
        }
        Ok(())
    }

    fn integer(&self, place: String, min: i64, max: i64) -> Result<(), BadVerb> {
        if min > max || min < -INTEGER_MAX || max > INTEGER_MAX {
            let reason = format!("from {min} to {max} is no range within 2^53");
            return Err(self.bad(place, reason, "let `min` be at most `max`; longer numbers are ids"));
        }
        Ok(())
    }

    fn words(&self, place: String, words: &[String]) -> Result<(), BadVerb> {
        let cure = "list 1 to 256 different texts of 1 to 256 bytes, without control characters";
        let good = |word: &String| {
            !word.is_empty()
                && word.len() <= WORD_BYTES_MAX
                && !word.chars().any(char::is_control)
                && !looks_like_token(word)
        };
        if words.is_empty() || words.len() > WORDS_MAX {
            return Err(self.bad(place, format!("`values` has {}", words.len()), cure));
        }
        if let Some(number) = words.iter().position(|word| !good(word)) {
            return Err(self.bad(place, format!("number {number} of `values` cannot be chosen"), cure));
        }
        if words.iter().collect::<BTreeSet<_>>().len() < words.len() {
            return Err(self.bad(place, "one of `values` is there twice", cure));
        }
        Ok(())
    }

    fn path(&mut self) -> Result<Vec<Part>, BadVerb> {
        const CURE: &str =
            "write it as it is sent, such as `/v1/customers/{id}`, with nothing in need of percent signs";
        let path = &self.verb.path;
        let Some(rest) = path.strip_prefix('/') else {
            return Err(self.bad("path", "it does not begin with `/`", CURE));
        };
        if path.len() > TEXT_BYTES_MAX {
            return Err(self.bad("path", format!("longer than {TEXT_BYTES_MAX} bytes"), CURE));
        }
        if rest.is_empty() {
            return Ok(Vec::new());
        }
        let last = rest.split('/').count() - 1;
        let mut segments = Vec::new();
        for (number, segment) in rest.split('/').enumerate() {
            let part = self.part("path", segment, Site::Path)?;
            if let Part::Fixed(text) = &part {
                // Reserved characters of RFC 3986, section 3.3, but for `;`, which some servers cut off.
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&b);
                if text.is_empty() && number < last {
                    return Err(self.bad("path", "a segment is empty", CURE));
                }
                if matches!(&text[..], "." | "..") {
                    return Err(self.bad("path", format!("a segment is `{text}`"), CURE));
                }
                if let Some(odd) = text.chars().find(|c| !u8::try_from(*c).is_ok_and(plain)) {
                    return Err(self.bad("path", format!("{odd:?} stands in a segment"), CURE));
                }
            }
            segments.push(part);
        }
        Ok(segments)
    }

    fn values(
        &mut self,
        place: &str,
        values: &BTreeMap<String, String>,
        site: Site,
    ) -> Result<BTreeMap<String, Part>, BadVerb> {
        if values.len() > KEYS_MAX {
            let reason = format!("{} keys, at most {KEYS_MAX}", values.len());
            return Err(self.bad(place, reason, "declare two verbs"));
        }
        let mut parts = BTreeMap::new();
        for (key, value) in values {
            self.key(place, key)?;
            parts.insert(key.clone(), self.part(&format!("{place}.{key}"), value, site)?);
        }
        Ok(parts)
    }

    fn key(&self, place: &str, key: &str) -> Result<(), BadVerb> {
        if key.is_empty() || key.len() > WORD_BYTES_MAX || key.chars().any(char::is_control) {
            return Err(self.bad(
                place,
                "a key is empty, longer than 256 bytes or has control characters",
                "write it otherwise",
            ));
        }
        if holes(key).next().is_some() || looks_like_token(key) {
            return Err(self.bad(
                place,
                format!("something would be put into the key `{key}`"),
                "keys are fixed; declare a verb for each",
            ));
        }
        Ok(())
    }

    fn headers(&mut self) -> Result<BTreeMap<String, Header>, BadVerb> {
        if self.verb.headers.len() > KEYS_MAX {
            let reason = format!("{} of them, at most {KEYS_MAX}", self.verb.headers.len());
            return Err(self.bad("headers", reason, "leave some out"));
        }
        let mut headers = BTreeMap::new();
        for (written, value) in &self.verb.headers {
            let place = format!("headers.{written}");
            let name = self.header_name(&place, written)?;
            let header = self.header(&place, value)?;
            let by_secret = matches!(header.hole, Some(Hole::Secret(_)));
            if name == "cookie" && !by_secret {
                return Err(self.bad(
                    place,
                    "cookies say who calls",
                    "end the value in a `{secret:…}`, or leave it out",
                ));
            }
            if name == "content-type" && !(self.verb.json.is_some() && is_json(&header)) {
                let cure = "leave it out; for a body of JSON it may be `application/json` or end in `+json`";
                return Err(self.bad(place, "it must say what the body is", cure));
            }
            if headers.insert(name, header).is_some() {
                return Err(self.bad(place, "it is there twice", "keep one; upper and lower case are the same"));
            }
        }
        Ok(headers)
    }

    fn header_name(&self, place: &str, written: &str) -> Result<String, BadVerb> {
        // RFC 9110, section 5.6.2.
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if written.is_empty() || written.len() > 64 || !written.bytes().all(token) {
            return Err(self.bad(place, "no header is called that", "use 1 to 64 of letters, digits and `-`"));
        }
        let name = written.to_ascii_lowercase();
        if RESERVED_HEADERS.contains(&&name[..]) {
            return Err(self.bad(place, "this header is the coordinator's to write", "leave it out"));
        }
        Ok(name)
    }

    fn header(&mut self, place: &str, value: &str) -> Result<Header, BadVerb> {
        const CURE: &str = "write a text of visible ASCII and blanks, which may end in one `{slot}` or `{secret:…}`";
        let (before, hole) = match holes(value).next() {
            None => (value, None),
            Some((at, bytes, hole)) if at + bytes == value.len() => (&value[..at], Some(hole)),
            Some(_) => return Err(self.bad(place, "something stands behind what is put in", CURE)),
        };
        let visible = before.bytes().all(|b| matches!(b, b' '..=b'~'));
        // A blank at the end is cut off by who reads it, unless something follows.
        let trimmed = before.trim_start() == before && (hole.is_some() || before.trim_end() == before);
        if !visible || !trimmed || value.is_empty() || value.len() > TEXT_BYTES_MAX || before.contains(['{', '}']) {
            return Err(self.bad(place, "the value cannot be sent so", CURE));
        }
        self.fixed(place, before)?;
        if let Some(hole) = &hole {
            self.meet(place, hole, Site::Header)?;
        }
        Ok(Header { before: before.to_owned(), hole })
    }

    fn body(&mut self) -> Result<Body, BadVerb> {
        let method = self.verb.method;
        match (&self.verb.json, &self.verb.form) {
            (None, None) => Ok(Body::None),
            (Some(_), Some(_)) => Err(self.bad("form", "there is a `json` as well", "keep one of them")),
            _ if !method.has_body() => {
                let reason = format!("{} has no body", method.word());
                Err(self.bad("method", reason, "use POST, PUT or PATCH, or put it into `query`"))
            }
            (Some(json), None) => Ok(Body::Json(self.node("json", json, 0)?)),
            (None, Some(form)) => Ok(Body::Form(self.values("form", form, Site::Body)?)),
        }
    }

    fn node(&mut self, place: &str, json: &Value, depth: usize) -> Result<Node, BadVerb> {
        if depth > DEPTH_MAX {
            return Err(self.bad(place, format!("nested more than {DEPTH_MAX} deep"), "no API reads that"));
        }
        Ok(match json {
            Value::Null => Node::Null,
            Value::Bool(value) => Node::Bool(*value),
            Value::Number(value) => Node::Number(value.clone()),
            Value::String(text) => Node::Text(self.part(place, text, Site::Body)?),
            Value::Array(list) => {
                let nodes = list.iter().enumerate();
                Node::List(
                    nodes
                        .map(|(at, node)| self.node(&format!("{place}/{at}"), node, depth + 1))
                        .collect::<Result<_, _>>()?,
                )
            }
            Value::Object(members) => {
                let mut nodes = BTreeMap::new();
                for (key, node) in members {
                    self.key(place, key)?;
                    nodes.insert(key.clone(), self.node(&format!("{place}/{key}"), node, depth + 1)?);
                }
                Node::Object(nodes)
            }
        })
    }

    fn idempotency_header(&self) -> Result<Option<String>, BadVerb> {
        const PLACE: &str = "idempotency_header";
        let keyed = self.verb.effect == EffectClass::Keyed;
        match &self.verb.idempotency_header {
            None if keyed => {
                let cure =
                    "name the header in which the API expects it, such as `idempotency-key`, or declare `at_most_once`";
                Err(self.bad(
                    PLACE,
                    "`keyed` means that the API knows a call by its key, and no header carries it",
                    cure,
                ))
            }
            None => Ok(None),
            Some(_) if !keyed => Err(self.bad(
                PLACE,
                format!("the effect is `{}`", self.verb.effect.word()),
                "leave it out, or declare `keyed`",
            )),
            Some(written) => {
                let name = self.header_name(PLACE, written)?;
                let taken = self.verb.headers.keys().any(|header| header.eq_ignore_ascii_case(&name));
                if taken || matches!(&name[..], "authorization" | "cookie" | "content-type") {
                    return Err(self.bad(
                        PLACE,
                        "this header says something else already",
                        "name the one that the API expects",
                    ));
                }
                Ok(Some(name))
            }
        }
    }

    /// A text that is fixed or put in as a whole.
    fn part(&mut self, place: &str, text: &str, site: Site) -> Result<Part, BadVerb> {
        match holes(text).next() {
            Some((0, bytes, hole)) if bytes == text.len() => {
                self.meet(place, &hole, site)?;
                Ok(Part::Hole(hole))
            }
            Some((_, _, hole)) => {
                let reason = format!("`{hole}` is only a part of what stands there");
                Err(self.bad(place, reason, "let it be the whole; text around it belongs into a slot of type `text`, or, if it is no slot, write `{ ` with a blank"))
            }
            None => {
                // In a query language braces are ordinary; elsewhere they are a slot that was misspelt.
                if site != Site::Body && text.contains(['{', '}']) {
                    return Err(self.bad(
                        place,
                        "braces without a name of a-z, 0-9 and `_` in them",
                        "write `{slot}`, or no braces",
                    ));
                }
                if site != Site::Body && text.len() > TEXT_BYTES_MAX {
                    return Err(self.bad(place, format!("longer than {TEXT_BYTES_MAX} bytes"), "shorten it"));
                }
                self.fixed(place, text)?;
                Ok(Part::Fixed(text.to_owned()))
            }
        }
    }

    /// Nothing that is fixed may look like a token: it would seem to be put in.
    fn fixed(&self, place: &str, text: &str) -> Result<(), BadVerb> {
        if looks_like_token(text) {
            return Err(self.bad(place, "a token seems to stand in it", "tokens come through slots; leave `dtk1` out"));
        }
        Ok(())
    }

    fn meet(&mut self, place: &str, hole: &Hole, site: Site) -> Result<(), BadVerb> {
        let name = match hole {
            Hole::Secret(_) if site == Site::Path => {
                return Err(self.bad(
                    place,
                    "paths are written into logs",
                    "put a secret into a header, a query or a body",
                ));
            }
            Hole::Secret(_) => return Ok(()),
            Hole::Slot(name) => name,
        };
        match self.verb.slots.get(name) {
            None => Err(self.bad(place, format!("no slot `{name}` is declared"), "declare it in `slots`")),
            Some(Slot::Text { .. }) if site != Site::Body => {
                let cure = "put it into `json` or `form`, or give the slot another type";
                Err(self.bad(place, format!("any text may stand in the slot `{name}`"), cure))
            }
            Some(_) => {
                self.used.insert(name.clone());
                Ok(())
            }
        }
    }

    fn answer(&self) -> Result<(), BadVerb> {
        let fields = &self.verb.answer;
        if fields.len() > ANSWER_FIELDS_MAX {
            let reason = format!("{} fields, at most {ANSWER_FIELDS_MAX}", fields.len());
            return Err(self.bad("answer", reason, "leave out what the job does not read"));
        }
        if self.verb.method == Method::Head && !fields.is_empty() {
            return Err(self.bad("answer", "the answer to HEAD has no body", "use GET, or read the status alone"));
        }
        for (name, Projected { at, shape }) in fields {
            let place = || format!("answer.{name}");
            if pointer(at).is_none() {
                let cure = "write a JSON Pointer (RFC 6901) of at most 512 bytes and 32 steps, such as `/company/name`";
                return Err(self.bad(place(), format!("`{at}` leads nowhere"), cure));
            }
            match shape {
                Shape::Id { bytes_max } => self.range(place(), "bytes_max", *bytes_max, WORD_BYTES_MAX as u32)?,
                Shape::Integer { min, max } => self.integer(place(), *min, *max)?,
                Shape::Enum { values } => self.words(place(), values)?,
                Shape::Boolean | Shape::Date | Shape::Text { .. } => {}
            }
        }
        Ok(())
    }

    fn limits(&self) -> Result<(), BadVerb> {
        let CallLimits { request_bytes, answer_bytes, total_ms } = self.verb.limits;
        let limit = |name, value, max| self.range("limits".into(), name, value, max);
        limit("request_bytes", request_bytes, CallLimits::MAX.request_bytes)?;
        limit("answer_bytes", answer_bytes, CallLimits::MAX.answer_bytes)?;
        limit("total_ms", total_ms, CallLimits::MAX.total_ms)?;
        self.range("budget".into(), "per_run", self.verb.budget.per_run, PER_RUN_MAX)?;
        self.verb.budget.per_day.map_or(Ok(()), |per_day| self.range("budget".into(), "per_day", per_day, PER_DAY_MAX))
    }
}

/// The steps of a JSON Pointer (RFC 6901), if it is one of at most 512 bytes and 32 steps.
pub fn pointer(text: &str) -> Option<Vec<String>> {
    if text.len() > 512 || !(text.is_empty() || text.starts_with('/')) {
        return None;
    }
    let step = |step: &str| {
        let escapes = step.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
        escapes.then(|| step.replace("~1", "/").replace("~0", "~"))
    };
    let steps: Option<Vec<String>> = text.split('/').skip(1).map(step).collect();
    steps.filter(|steps| steps.len() <= DEPTH_MAX)
}

/// Where in a text tokens begin, or what wants to pass for one: their prefix, in lower or upper case.
pub fn token_prefixes(text: &str) -> impl Iterator<Item = usize> {
    let bytes = text.as_bytes();
    let begins = bytes.iter().enumerate().filter(|(_, byte)| byte.eq_ignore_ascii_case(&TOKEN_PREFIX[0]));
    let whole = begins.filter(|(at, _)| {
        bytes[*at..].get(..TOKEN_PREFIX.len()).is_some_and(|it| it.eq_ignore_ascii_case(TOKEN_PREFIX))
    });
    whole.map(|(at, _)| at)
}

/// Whether a token stands in the text, or something that wants to pass for one.
pub fn looks_like_token(text: &str) -> bool {
    token_prefixes(text).next().is_some()
}

/// Whether it is a day of the calendar as `2026-11-22` (RFC 3339, full-date).
pub fn is_date(text: &str) -> bool {
    let digits = |at: core::ops::Range<usize>| -> Option<u32> {
        let part = text.get(at)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let (Some(year), Some(month), Some(day)) = (digits(0..4), digits(5..7), digits(8..10)) else { return false };
    let leaps = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(leaps),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-' && (1..=days).contains(&day)
}

/// Whether it is an id: 1 to so many letters, digits, `_` and `-` of ASCII.
pub fn is_id(text: &str, bytes_max: u32) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    !text.is_empty() && text.len() <= bytes_max as usize && text.bytes().all(plain)
}

/// A content type that says JSON (RFC 6839, section 3.1).
fn is_json(header: &Header) -> bool {
    let text = header.before.to_ascii_lowercase();
    header.hole.is_none() && text.starts_with("application/") && (text == "application/json" || text.ends_with("+json"))
}

/// Everything that asks to be put in, from the left: where it begins, its length, what it names.
fn holes(text: &str) -> impl Iterator<Item = (usize, usize, Hole)> {
    text.match_indices('{').filter_map(move |(at, _)| {
        let inner = &text[at + 1..at + text[at..].find('}')?];
        let hole = match inner.strip_prefix("secret:") {
            Some(name) => Hole::Secret(name.parse().ok()?),
            None => Hole::Slot(inner.parse().ok()?),
        };
        Some((at, inner.len() + 2, hole))
    })
}
