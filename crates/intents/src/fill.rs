//! An intent and its values become a request.
//!
//! Values are put into places that a [`Template`](manyhands_model::Template) knows, each written as that place wants it: nothing is ever searched and replaced
//! in a text that is sent, and nothing that was put in is looked at again.

use core::fmt;
use std::collections::BTreeMap;
use std::io;

use form_urlencoded::Serializer;
use manyhands_model::Name;
use manyhands_model::template::{Body, Header, Hole, Node, Origin, Part};
use manyhands_model::verb::{CallLimits, Method};
use manyhands_placeholder::token::{BYTES as TOKEN_BYTES, find};
use manyhands_placeholder::{Token, Values};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use crate::catalogue::Known;
use crate::intent::{Given, Intent};
use crate::key::IdempotencyKey;

/// Longest path with its query, in bytes: what RFC 9110, section 4.1, asks every server to take.
const TARGET_BYTES_MAX: usize = 8_000;
/// Longest value of a header, in bytes. Servers take 8 KiB of headers together.
const HEADER_BYTES_MAX: usize = 4_096;

/// Everything but what is never encoded (RFC 3986, section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A request with everything in its place. Wiped from memory when it is dropped; `Debug` shows lengths only.
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// Where it goes.
    pub origin: Origin,
    /// Path and query, as they are sent.
    pub target: Zeroizing<String>,
    /// Names in lower case and values of visible ASCII and blanks. What the connection needs (`host`, lengths, codings) is not
    /// among them.
    pub headers: Vec<(String, Zeroizing<String>)>,
    /// The body; none if it is empty.
    pub body: Zeroizing<Vec<u8>>,
    /// How long and how large the call may be.
    pub limits: CallLimits,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, origin, target, headers, body, limits: _ } = self;
        write!(f, "{} {origin}, target of {} bytes, headers", method.word(), target.len())?;
        for (name, value) in headers {
            write!(f, " {name} of {} bytes,", value.len())?;
        }
        write!(f, " body of {} bytes", body.len())
    }
}

/// Why a call cannot be made with the values that it has. It was not made. No value is named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A token's value is gone. It expired, or the run's values were removed.
    #[error("slot `{0}`: a token's value is no longer there; submit the run again")]
    NoValue(Name),
    /// A token stands for more than one value.
    #[error("slot `{0}`: a token stands for a list or an object; declare what is in it as sensitive, each for itself")]
    Composed(Name),
    /// The operator has not said this secret.
    #[error("the secret `{0}` is not set for this origin; the operator is to set it")]
    NoSecret(Name),
    /// A value that would mean something else in a path.
    #[error(
        "{0}: the value cannot be a segment of a path: it is empty, `.` or `..`, or has a control character or one of `/ \\ % ;`"
    )]
    Segment(Hole),
    /// A value that no header can carry.
    #[error(
        "{0}: the value cannot stand in a header: it is empty, has a blank at an end, or something but visible ASCII"
    )]
    Header(Hole),
    /// More than is sent.
    #[error("{what} would be longer than {max} bytes")]
    TooLong {
        /// What.
        what: &'static str,
        /// The most.
        max: u64,
    },
    /// An intent of another manifest.
    #[error("the intent has no slot `{0}`; it belongs to another version of the job")]
    OtherVerb(Name),
}

/// Puts an intent's values into its verb's request.
///
/// `secret` knows the operator's secrets, each for the origins that it is bound to; `key` is sent where the verb has a header for it.
///
/// # Errors
/// [`Unfit`]: a value cannot stand where it is to stand. The call is refused.
pub fn fill(
    known: &Known,
    intent: &Intent,
    values: &Values,
    secret: impl Fn(&Origin, &Name) -> Option<Zeroizing<String>>,
    key: &IdempotencyKey,
) -> Result<Outgoing, Unfit> {
    let template = &known.template;
    let limits = known.verb.limits;
    let filling = Filling::read(known, intent, values, secret)?;
    let body = filling.body()?;
    let mut headers = Vec::with_capacity(template.headers.len() + 3);
    for (name, header) in &template.headers {
        headers.push((name.clone(), filling.header(header)?));
    }
    let mut add = |name: &str, value: &str| {
        if !template.headers.contains_key(name) {
            headers.push((name.to_owned(), Zeroizing::new(value.to_owned())));
        }
    };
    match &template.body {
        Body::None => {}
        Body::Json(_) => add("content-type", "application/json"),
        Body::Form(_) => add("content-type", "application/x-www-form-urlencoded"),
    }
    if !known.verb.answer.is_empty() {
        add("accept", "application/json");
    }
    if let Some(header) = &template.idempotency_header {
        add(header, key.as_str());
    }
    let target = filling.target()?;
    Ok(Outgoing { method: template.method, origin: template.origin.clone(), target, headers, body, limits })
}

/// What is put into a hole.
struct Filler {
    text: Zeroizing<String>,
    /// Whether it is a string in JSON, or else stands there as it is: a number, `true`, `false` or `null`.
    is_text: bool,
}

/// A request, and everything that is put into it.
struct Filling<'a> {
    known: &'a Known,
    slots: BTreeMap<&'a Name, Filler>,
    secrets: BTreeMap<&'a Name, Filler>,
}

impl<'a> Filling<'a> {
    /// Looks up everything once.
    fn read(
        known: &'a Known,
        intent: &Intent,
        values: &Values,
        secret: impl Fn(&Origin, &Name) -> Option<Zeroizing<String>>,
    ) -> Result<Self, Unfit> {
        let mut slots = BTreeMap::new();
        for name in known.verb.slots.keys() {
            let given = intent.slots.get(name).ok_or_else(|| Unfit::OtherVerb(name.clone()))?;
            let filler = match given {
                Given::Token(token) => value(name, token, values)?,
                Given::Integer(integer) => Filler { text: Zeroizing::new(integer.to_string()), is_text: false },
                Given::Plain(text) => Filler { text: Zeroizing::new(text.clone()), is_text: true },
                Given::Text(text) => {
                    Filler { text: compose(name, text, values, known.verb.limits.request_bytes)?, is_text: true }
                }
            };
            slots.insert(name, filler);
        }
        let mut secrets = BTreeMap::new();
        for name in known.template.secrets() {
            let text = secret(&known.template.origin, name).ok_or_else(|| Unfit::NoSecret(name.clone()))?;
            secrets.insert(name, Filler { text, is_text: true });
        }
        Ok(Self { known, slots, secrets })
    }

    fn hole(&self, hole: &Hole) -> Result<&Filler, Unfit> {
        let filler = match hole {
            Hole::Slot(name) => self.slots.get(name),
            Hole::Secret(name) => self.secrets.get(name),
        };
        // Never: what stands in a template is declared.
        filler.ok_or_else(|| Unfit::OtherVerb(hole.name().clone()))
    }

    fn text<'p>(&'p self, part: &'p Part) -> Result<&'p str, Unfit> {
        match part {
            Part::Fixed(text) => Ok(text),
            Part::Hole(hole) => Ok(&self.hole(hole)?.text),
        }
    }

    fn target(&self) -> Result<Zeroizing<String>, Unfit> {
        const TOO_LONG: Unfit = Unfit::TooLong { what: "path and query", max: TARGET_BYTES_MAX as u64 };
        let mut segments = Vec::with_capacity(self.known.template.path.len());
        for part in &self.known.template.path {
            let text = self.text(part)?;
            if let Part::Hole(hole) = part
                && !is_segment(text)
            {
                return Err(Unfit::Segment(hole.clone()));
            }
            segments.push((matches!(part, Part::Hole(_)), text));
        }
        let mut query = Vec::with_capacity(self.known.template.query.len());
        for (key, part) in &self.known.template.query {
            query.push((key, self.text(part)?));
        }
        let bytes = segments.iter().map(|(_, text)| text.len() + 1).sum::<usize>()
            + query.iter().map(|(key, value)| key.len() + value.len() + 2).sum::<usize>();
        if bytes > TARGET_BYTES_MAX {
            return Err(TOO_LONG);
        }
        // Three bytes for each at most, so that no copy is left behind by growing.
        let mut target = Zeroizing::new(String::with_capacity(3 * bytes + 2));
        for (is_put_in, text) in &segments {
            target.push('/');
            if *is_put_in {
                target.extend(utf8_percent_encode(text, SEGMENT));
            } else {
                target.push_str(text);
            }
        }
        if segments.is_empty() {
            target.push('/');
        }
        if !query.is_empty() {
            target.push('?');
            let start = target.len();
            let mut pairs = Serializer::for_suffix(&mut *target, start);
            for (key, value) in &query {
                pairs.append_pair(key, value);
            }
        }
        if target.len() > TARGET_BYTES_MAX { Err(TOO_LONG) } else { Ok(target) }
    }

    fn header(&self, header: &Header) -> Result<Zeroizing<String>, Unfit> {
        let Header { before, hole } = header;
        let Some(hole) = hole else { return Ok(Zeroizing::new(before.clone())) };
        let filler = &self.hole(hole)?.text;
        let visible = filler.bytes().all(|b| matches!(b, b' '..=b'~'));
        if filler.is_empty() || !visible || filler.trim() != filler.as_str() {
            return Err(Unfit::Header(hole.clone()));
        }
        if before.len() + filler.len() > HEADER_BYTES_MAX {
            return Err(Unfit::TooLong { what: "a header", max: HEADER_BYTES_MAX as u64 });
        }
        let mut value = Zeroizing::new(String::with_capacity(before.len() + filler.len()));
        value.push_str(before);
        value.push_str(filler);
        Ok(value)
    }

    fn body(&self) -> Result<Zeroizing<Vec<u8>>, Unfit> {
        let max = self.known.verb.limits.request_bytes;
        let too_long = Unfit::TooLong { what: "the body", max };
        match &self.known.template.body {
            Body::None => Ok(Zeroizing::default()),
            Body::Json(node) => {
                // Counted first, so that it is written in one piece and no copy is left behind by growing.
                let mut count = Count { bytes: 0, max };
                self.write(node, &mut count)?.map_err(|_| too_long)?;
                let mut body = Zeroizing::new(Vec::with_capacity(count.bytes as usize));
                // A vector takes whatever it is given.
                let _ = self.write(node, &mut *body)?;
                Ok(body)
            }
            Body::Form(pairs) => {
                let mut read = Vec::with_capacity(pairs.len());
                for (key, part) in pairs {
                    read.push((key, self.text(part)?));
                }
                let bytes: usize = read.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
                if bytes as u64 > max + 2 * pairs.len() as u64 {
                    return Err(too_long);
                }
                let mut form = Zeroizing::new(String::with_capacity(3 * bytes));
                let mut serializer = Serializer::new(&mut *form);
                for (key, value) in &read {
                    serializer.append_pair(key, value);
                }
                if form.len() as u64 > max {
                    return Err(too_long);
                }
                Ok(Zeroizing::new(core::mem::take(&mut *form).into_bytes()))
            }
        }
    }

    /// Writes JSON, with every string escaped by the one who writes it. The outer error is ours, the inner one the writer's.
    fn write(&self, node: &Node, to: &mut impl io::Write) -> Result<io::Result<()>, Unfit> {
        macro_rules! put {
            ($written:expr) => {
                if let Err(error) = $written {
                    return Ok(Err(error.into()));
                }
            };
        }
        match node {
            Node::Null => put!(to.write_all(b"null")),
            Node::Bool(value) => put!(serde_json::to_writer(to, value)),
            Node::Number(value) => put!(serde_json::to_writer(to, value)),
            Node::Text(Part::Fixed(text)) => put!(serde_json::to_writer(to, text)),
            Node::Text(Part::Hole(hole)) => {
                let Filler { text, is_text } = self.hole(hole)?;
                if *is_text {
                    put!(serde_json::to_writer(to, text.as_str()));
                } else {
                    put!(to.write_all(text.as_bytes()));
                }
            }
            Node::List(nodes) => {
                for (at, node) in nodes.iter().enumerate() {
                    put!(to.write_all(if at == 0 { b"[" } else { b"," }));
                    put!(self.write(node, to)?);
                }
                put!(to.write_all(if nodes.is_empty() { b"[]" } else { b"]" }));
            }
            Node::Object(members) => {
                for (at, (key, node)) in members.iter().enumerate() {
                    put!(to.write_all(if at == 0 { b"{" } else { b"," }));
                    put!(serde_json::to_writer(&mut *to, key));
                    put!(to.write_all(b":"));
                    put!(self.write(node, to)?);
                }
                put!(to.write_all(if members.is_empty() { b"{}" } else { b"}" }));
            }
        }
        Ok(Ok(()))
    }
}

fn value(slot: &Name, token: &Token, values: &Values) -> Result<Filler, Unfit> {
    let value = values.get(token).ok_or_else(|| Unfit::NoValue(slot.clone()))?;
    if value.json().starts_with(['[', '{']) {
        return Err(Unfit::Composed(slot.clone()));
    }
    Ok(Filler { text: value.text(), is_text: value.is_text() })
}

/// A text with values in place of its tokens.
fn compose(slot: &Name, text: &str, values: &Values, max: u64) -> Result<Zeroizing<String>, Unfit> {
    let mut found = Vec::new();
    let mut bytes = text.len();
    for (at, token) in find(text.as_bytes()) {
        let value = value(slot, &token, values)?.text;
        bytes = bytes - TOKEN_BYTES + value.len();
        // A short text may say a long token a thousand times.
        if bytes as u64 > max {
            return Err(Unfit::TooLong { what: "the body", max });
        }
        found.push((at, value));
    }
    // In one piece, so that no copy is left behind by growing.
    let mut composed = Zeroizing::new(String::with_capacity(bytes));
    let mut from = 0;
    for (at, value) in &found {
        composed.push_str(text.get(from..*at).unwrap_or_default());
        composed.push_str(value);
        from = at + TOKEN_BYTES;
    }
    composed.push_str(text.get(from..).unwrap_or_default());
    Ok(composed)
}

/// Whether a value is one segment of a path to every server, also to those that decode before they split.
fn is_segment(text: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, '/' | '\\' | '%' | ';');
    !matches!(text, "" | "." | "..") && !text.contains(odd)
}

/// Counts what is written, up to so many bytes.
struct Count {
    bytes: u64,
    max: u64,
}

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
