//! Reads JSON texts (RFC 8259) from the left to the right, strictly, and says where what stands.
//!
//! No tree is built, since nearly all of a text stays as it is: what is put in is put between bytes that are copied. Halves of surrogate
//! pairs are refused, as I-JSON (RFC 7493) does, because they are no text that a job could read.

use core::ops::Range;

/// Deepest nesting, as in serde_json, with which most jobs read.
const DEPTH_MAX: usize = 127;

/// Why a text is not JSON. Never shows any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not JSON: line {line}, column {column}: {reason}")]
pub struct NotJson {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    reason: &'static str,
}

impl NotJson {
    /// The place of a byte for people: its line and its column, both from 1.
    pub fn place(text: &[u8], at: usize) -> (usize, usize) {
        let before = &text[..at.min(text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count();
        let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        // Bytes that continue a character do not count.
        let column = before[begin..].iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        (line + 1, column + 1)
    }

    fn new(text: &[u8], fault: Fault) -> Self {
        let (line, column) = Self::place(text, fault.at);
        Self { line, column, reason: fault.reason }
    }
}

/// What is wrong, and at which byte.
#[derive(Clone, Copy, Debug)]
struct Fault {
    at: usize,
    reason: &'static str,
}

const fn fault<T>(at: usize, reason: &'static str) -> Result<T, Fault> {
    Err(Fault { at, reason })
}

/// A string: what stands between its quotes.
#[derive(Clone, Debug)]
pub struct Str {
    /// Without the quotes.
    pub inner: Range<usize>,
    /// Whether there is an escape in it.
    pub escaped: bool,
}

/// Is told what stands in a text, in its order.
pub trait Reader {
    /// A value begins at this byte. Whether to take it whole: then [`Reader::whole`] is told where it ends, and nothing of what is in it.
    fn value(&mut self, at: usize) -> bool;
    /// The value that was to be taken whole.
    fn whole(&mut self, value: Range<usize>);
    /// An object or array begins.
    fn open(&mut self) {}
    /// It ends before this byte.
    fn close(&mut self, _end: usize) {}
    /// The key of the member whose value comes next.
    fn key(&mut self, _key: Str) {}
    /// The element of an array comes next.
    fn element(&mut self) {}
    /// A string that is a value.
    fn string(&mut self, _string: Str) {}
    /// A number.
    fn number(&mut self, _number: Range<usize>) {}
}

/// Reads a whole text.
///
/// # Errors
/// [`NotJson`] where it is none; the reader has been told what stands before.
pub fn read(text: &[u8], reader: &mut impl Reader) -> Result<(), NotJson> {
    match core::str::from_utf8(text) {
        Ok(_) => walk(text, reader),
        Err(error) => fault(error.valid_up_to(), "these bytes are no UTF-8"),
    }
    .map_err(|fault| NotJson::new(text, fault))
}

/// What comes next.
enum Next {
    Value,
    /// Behind an opening brace or a comma in an object.
    Key,
    /// A comma or the end of what surrounds it.
    Separator,
}

fn walk(text: &[u8], reader: &mut impl Reader) -> Result<(), Fault> {
    let byte = |at: usize| text.get(at).copied();
    // Whether each that is open is an object.
    let mut open: Vec<bool> = Vec::new();
    // What is taken whole: where it begins, and how many are open around it.
    let mut whole: Option<(usize, usize)> = None;
    let mut next = Next::Value;
    let mut at = 0;
    loop {
        at = blank(text, at);
        match next {
            Next::Key => {
                let key = string(text, at)?;
                at = blank(text, key.inner.end + 1);
                if whole.is_none() {
                    reader.key(key);
                }
                if byte(at) != Some(b':') {
                    return fault(at, "`:` comes next");
                }
                at += 1;
                next = Next::Value;
                continue;
            }
            Next::Value => {
                if whole.is_none() && reader.value(at) {
                    whole = Some((at, open.len()));
                }
                match byte(at) {
                    Some(b'"') => {
                        let string = string(text, at)?;
                        at = string.inner.end + 1;
                        if whole.is_none() {
                            reader.string(string);
                        }
                    }
                    Some(bracket @ (b'{' | b'[')) => {
                        if open.len() == DEPTH_MAX {
                            return fault(at, "it is nested deeper than 127 levels");
                        }
                        open.push(bracket == b'{');
                        if whole.is_none() {
                            reader.open();
                        }
                        at = blank(text, at + 1);
                        // An opening bracket and its closing one are two apart in ASCII.
                        if byte(at) == Some(bracket + 2) {
                            next = Next::Separator;
                        } else if bracket == b'{' {
                            next = Next::Key;
                        } else if whole.is_none() {
                            reader.element();
                        }
                        continue;
                    }
                    Some(b'-' | b'0'..=b'9') => {
                        let end = number(text, at)?;
                        if whole.is_none() {
                            reader.number(at..end);
                        }
                        at = end;
                    }
                    _ => at = scalar(text, at)?,
                }
            }
            Next::Separator => {
                let Some(object) = open.last().copied() else {
                    return if at == text.len() { Ok(()) } else { fault(at, "something stands behind the value") };
                };
                match (byte(at), object) {
                    (Some(b','), true) => next = Next::Key,
                    (Some(b','), false) => {
                        if whole.is_none() {
                            reader.element();
                        }
                        next = Next::Value;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        open.pop();
                        if whole.is_none() {
                            reader.close(at + 1);
                        }
                    }
                    (_, true) => return fault(at, "`,` or `}` comes next"),
                    (_, false) => return fault(at, "`,` or `]` comes next"),
                }
                at += 1;
                if !matches!(next, Next::Separator) {
                    continue;
                }
            }
        }
        // A value has ended.
        if let Some((begin, around)) = whole
            && around == open.len()
        {
            whole = None;
            reader.whole(begin..at);
        }
        next = Next::Separator;
    }
}

/// The first byte at or behind `at` that is no blank space.
fn blank(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = text.get(at) {
        at += 1;
    }
    at
}

fn literal(text: &[u8], at: usize, word: &[u8]) -> Result<usize, Fault> {
    if text[at..].starts_with(word) { Ok(at + word.len()) } else { fault(at, "a value comes next") }
}

/// The end of the number that begins at `at`.
fn number(text: &[u8], mut at: usize) -> Result<usize, Fault> {
    let digits = |mut at: usize| {
        let begin = at;
        while text.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        if at == begin { fault(at, "a digit comes next") } else { Ok(at) }
    };
    if text[at] == b'-' {
        at += 1;
    }
    // No digits behind a zero: what stands there is no separator.
    at = if text.get(at) == Some(&b'0') { at + 1 } else { digits(at)? };
    if text.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = text.get(at) {
            at += 1;
        }
        at = digits(at)?;
    }
    Ok(at)
}

/// The string whose quote stands at `at`.
fn string(text: &[u8], at: usize) -> Result<Str, Fault> {
    if text.get(at) != Some(&b'"') {
        return fault(at, "a key in quotes comes next");
    }
    let begin = at + 1;
    let mut at = begin;
    let mut escaped = false;
    loop {
        at = plain(text, at);
        match text.get(at) {
            Some(b'"') => return Ok(Str { inner: begin..at, escaped }),
            Some(b'\\') => {
                escaped = true;
                at = escape(text, at)?.1;
            }
            Some(_) => return fault(at, "a control character in a string is written as an escape"),
            None => return fault(at, "the string does not end"),
        }
    }
}

/// The first byte at or behind `at` that is a quote, a backslash or a control character, or the end: eight bytes at a time.
fn plain(text: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    while let Some(eight) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let eight = u64::from_le_bytes(*eight);
        // The high bit of each byte that is less than `n`. A borrow can set more of them, above the first that is meant.
        let less = |bytes: u64, n: u64| bytes.wrapping_sub(ONES * n) & !bytes;
        let is = |byte: u8| less(eight ^ (ONES * u64::from(byte)), 1);
        let found = (less(eight, 0x20) | is(b'"') | is(b'\\')) & HIGH;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while text.get(at).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)) {
        at += 1;
    }
    at
}

/// The character of the escape whose backslash stands at `at`, and where it ends.
fn escape(text: &[u8], at: usize) -> Result<(char, usize), Fault> {
    let plain = match text.get(at + 1) {
        Some(same @ (b'"' | b'\\' | b'/')) => char::from(*same),
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => {
            let one = unit(text, at)?;
            let (units, end) = if (0xd800..0xdc00).contains(&one) && text.get(at + 6..at + 8) == Some(b"\\u") {
                ([one, unit(text, at + 6)?], at + 12)
            } else {
                ([one, 0], at + 6)
            };
            let used = (end - at) / 6;
            return match char::decode_utf16(units.into_iter().take(used)).next() {
                Some(Ok(character)) => Ok((character, end)),
                _ => fault(at, "half of a surrogate pair is no character"),
            };
        }
        _ => return fault(at, "there is no such escape"),
    };
    Ok((plain, at + 2))
}

/// The four digits of the escape whose backslash stands at `at`.
fn unit(text: &[u8], at: usize) -> Result<u16, Fault> {
    let digits = text.get(at + 2..at + 6).unwrap_or_default();
    let value = |unit: u16, digit: &u8| char::from(*digit).to_digit(16).map(|value| unit << 4 | value as u16);
    match digits.iter().try_fold(0, value) {
        Some(unit) if digits.len() == 4 => Ok(unit),
        _ => fault(at, "`\\u` has four digits"),
    }
}

/// Keys and values, as they are written, of the object that begins at `at`, if it has two members and neither value is an object or array.
pub(crate) fn pair(text: &str, at: usize) -> Option<[(&str, &str); 2]> {
    let bytes = text.as_bytes();
    let mut at = at;
    let mut member = |before: u8| {
        (bytes.get(at) == Some(&before)).then_some(())?;
        let key = string(bytes, blank(bytes, at + 1)).ok()?.inner;
        at = blank(bytes, key.end + 1);
        (bytes.get(at) == Some(&b':')).then_some(())?;
        let begin = blank(bytes, at + 1);
        let end = scalar(bytes, begin).ok()?;
        at = blank(bytes, end);
        Some((text.get(key)?, text.get(begin..end)?))
    };
    let pair = [member(b'{')?, member(b',')?];
    (bytes.get(at) == Some(&b'}')).then_some(pair)
}

/// The end of the string, number or word that begins at `at`.
fn scalar(text: &[u8], at: usize) -> Result<usize, Fault> {
    match text.get(at) {
        Some(b'"') => Ok(string(text, at)?.inner.end + 1),
        Some(b'-' | b'0'..=b'9') => number(text, at),
        Some(b't') => literal(text, at, b"true"),
        Some(b'f') => literal(text, at, b"false"),
        Some(b'n') => literal(text, at, b"null"),
        _ => fault(at, "a value comes next"),
    }
}

/// Appends the text for which a string's inner bytes stand. They have been read before; what could not be is left out.
pub(crate) fn unescape(inner: &str, into: &mut String) {
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        into.push_str(&rest[..at]);
        let Ok((character, end)) = escape(rest.as_bytes(), at) else { return };
        into.push(character);
        rest = &rest[end..];
    }
    into.push_str(rest);
}

/// The pieces of a string between its escapes.
pub(crate) fn between_escapes(text: &str, string: Str) -> impl Iterator<Item = Range<usize>> {
    let Range { start, end } = string.inner;
    let mut next = Some(start);
    core::iter::from_fn(move || {
        let begin = next?;
        let backslash = memchr::memchr(b'\\', &text.as_bytes()[begin..end]).map(|at| begin + at);
        next = backslash.and_then(|at| Some(escape(text.as_bytes(), at).ok()?.1));
        Some(begin..backslash.unwrap_or(end))
    })
}

/// Appends `text` as the inner bytes of a string.
pub(crate) fn escape_into(text: &str, into: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => into.extend([b'\\', byte]),
            b'\n' => into.extend(b"\\n"),
            b'\r' => into.extend(b"\\r"),
            b'\t' => into.extend(b"\\t"),
            control @ 0..0x20 => {
                let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
                into.extend([b'\\', b'u', b'0', b'0', digit(control >> 4), digit(control & 15)]);
            }
            plain => into.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Writes down what it is told.
    struct Told<'a> {
        text: &'a str,
        /// Whether to take values that begin with this byte whole.
        whole: u8,
        told: String,
    }

    impl Reader for Told<'_> {
        fn value(&mut self, at: usize) -> bool {
            self.text.as_bytes().get(at) == Some(&self.whole)
        }
        fn whole(&mut self, value: Range<usize>) {
            self.told += &format!("<{}>", &self.text[value]);
        }
        fn open(&mut self) {
            self.told.push('(');
        }
        fn close(&mut self, _end: usize) {
            self.told.push(')');
        }
        fn key(&mut self, key: Str) {
            self.told += &format!("{}=", &self.text[key.inner]);
        }
        fn element(&mut self) {
            self.told.push('.');
        }
        fn string(&mut self, string: Str) {
            self.told += &self.text[string.inner];
        }
        fn number(&mut self, number: Range<usize>) {
            self.told += &self.text[number];
        }
    }

    fn told(text: &str, whole: u8) -> String {
        let mut told = Told { text, whole, told: String::new() };
        match read(text.as_bytes(), &mut told) {
            Ok(()) => told.told,
            Err(error) => error.to_string(),
        }
    }

    /// Accepts a text.
    pub(crate) struct Nobody;

    impl Reader for Nobody {
        fn value(&mut self, _: usize) -> bool {
            false
        }
        fn whole(&mut self, _: Range<usize>) {}
    }

    #[test]
    fn everything_is_told_in_its_order() {
        let text = r#" {"a" : [1, "x", {"b":{}}, [], null, true], "c\n":-0.5e+3 } "#;
        assert_eq!(told(text, b'#'), r"(a=(.1.x.(b=()).().. )c\n=-0.5e+3)".replace(' ', ""));
        assert_eq!(told(text, b'['), r#"(a=<[1, "x", {"b":{}}, [], null, true]>c\n=-0.5e+3)"#);
        assert_eq!(told(text, b'{'), format!("<{}>", text.trim()));
        assert_eq!(told("[[[1],2],[3]]", b'['), "<[[[1],2],[3]]>");
        assert_eq!(told(r#"["a","b",7]"#, b'"'), r#"(.<"a">.<"b">.7)"#);
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place_and_nothing_of_its_text() {
        for (text, place) in [
            ("", "line 1, column 1: a value comes next"),
            ("{\n  \"é\": secret}", "line 2, column 8: a value"),
            ("[1,]", "column 4: a value"),
            ("{,}", "column 2: a key"),
            ("{\"a\" 1}", "column 6: `:`"),
            ("{\"a\":1,}", "column 8: a key"),
            ("[1}", "column 3: `,` or `]`"),
            ("{\"a\":1]", "column 7: `,` or `}`"),
            ("1 2", "column 3: something stands behind"),
            ("01", "column 2: something"),
            ("-", "column 2: a digit"),
            ("1.", "column 3: a digit"),
            ("1e+", "column 4: a digit"),
            ("tru", "column 1: a value"),
            ("\"a", "column 3: the string does not end"),
            ("\"a\tb\"", "column 3: a control character"),
            (r#""\x""#, "column 2: there is no such escape"),
            (r#""\u12g4""#, "column 2: `\\u` has four digits"),
            (r#""\ud800""#, "column 2: half of a surrogate pair"),
            (r#""\ud800\u0041""#, "column 2: half of"),
            (r#""\udc00""#, "column 2: half of"),
        ] {
            let error = told(text, b'#');
            assert!(error.starts_with("not JSON: line") && error.contains(place), "{text}: {error}");
            assert!(!error.contains("secret"));
        }
        let error = read(b"\"\n\xff\"", &mut Nobody).expect_err("no UTF-8");
        assert_eq!((error.line, error.column), (2, 1));
    }

    #[test]
    fn nesting_ends_where_jobs_stop_reading() {
        let deep = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        for depth in [127, 128] {
            let theirs = serde_json::from_str::<Value>(&deep(depth)).is_ok();
            assert_eq!(read(deep(depth).as_bytes(), &mut Nobody).is_ok(), theirs, "{depth}");
        }
        assert!(read("[".repeat(1 << 20).as_bytes(), &mut Nobody).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn it_takes_what_serde_json_takes(text in r#"([\[\]{}:, 0-9.eE+\-]|"([a\\"/bfnrtué]|\\u[d0][8-9c-f0][0-9a-f]{2}){0,9}"|true|null|\{"a":|\n){0,12}"#) {
            let mine = read(text.as_bytes(), &mut Nobody).is_ok();
            match serde_json::from_str::<Value>(&text) {
                // Numbers have no size here.
                Err(error) if error.to_string().contains("number out of range") => {}
                theirs => prop_assert_eq!(mine, theirs.is_ok(), "{}", text),
            }
        }

        #[test]
        fn a_broken_byte_is_noticed_where_serde_json_notices_it(keys in "[a-z\\\\\"\u{e9}]{0,20}", at: prop::sample::Index, byte: u8) {
            let value = serde_json::json!({ keys.clone(): [keys, 1.5, null, {"x": [true, "0123456789abcdef"]}] });
            let mut text = serde_json::to_vec(&value).expect("writes");
            let at = at.index(text.len());
            text[at] = byte;
            prop_assert_eq!(read(&text, &mut Nobody).is_ok(), serde_json::from_slice::<Value>(&text).is_ok());
        }

        #[test]
        fn strings_are_escaped_and_unescaped_as_by_serde_json(text: String) {
            let json = serde_json::to_string(&text).expect("writes");
            let mut read = String::new();
            unescape(&json[1..json.len() - 1], &mut read);
            prop_assert_eq!(&read, &text);
            let mut written = vec![b'"'];
            escape_into(&text, &mut written);
            written.push(b'"');
            prop_assert_eq!(serde_json::from_slice::<String>(&written).expect("a string"), text);
        }
    }
}
