//! What a token stands for.

use core::fmt;
use core::ops::Range;

use zeroize::Zeroizing;

use crate::json::{self, NotJson, Str};

/// A sensitive value, as JSON text: what stands in the input, byte for byte. Wiped from memory when it is dropped, never shown.
#[derive(Clone)]
pub struct Value(Zeroizing<String>);

impl Value {
    /// Reads a value that was written with [`Value::json`], or stands in an answer.
    ///
    /// # Errors
    /// [`NotJson`] when it is no JSON text.
    pub fn of_json(json: &str) -> Result<Self, NotJson> {
        struct Nobody;
        impl json::Reader for Nobody {
            fn value(&mut self, _: usize) -> bool {
                true
            }
            fn whole(&mut self, _: Range<usize>) {}
        }
        json::read(json.as_bytes(), &mut Nobody)?;
        Ok(Self::read_before(json.trim_matches([' ', '\n', '\r', '\t'])))
    }

    /// The string of this text.
    pub fn of_text(text: &str) -> Self {
        // At most six bytes for each, so that no copy is left behind by growing.
        let mut json = Vec::with_capacity(text.len() * 6 + 2);
        json.push(b'"');
        json::escape_into(text, &mut json);
        json.push(b'"');
        Self(Zeroizing::new(String::from_utf8(json).unwrap_or_default()))
    }

    /// A value that is known to be JSON.
    pub(crate) fn read_before(json: &str) -> Self {
        Self(Zeroizing::new(json.to_owned()))
    }

    /// Its JSON text, to be encrypted and stored, or put where a value stands.
    pub fn json(&self) -> &str {
        &self.0
    }

    /// Whether it is a string.
    pub fn is_text(&self) -> bool {
        self.0.starts_with('"')
    }

    /// Whether it is a number.
    pub fn is_number(&self) -> bool {
        self.0.starts_with(|first: char| first == '-' || first.is_ascii_digit())
    }

    /// The string's text without quotes and escapes, or the JSON text of any other value.
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.0.len()));
        match self.inner() {
            Some(inner) => json::unescape(inner, &mut text),
            None => text.push_str(&self.0),
        }
        text
    }

    /// What stands between the quotes of a string.
    pub(crate) fn inner(&self) -> Option<&str> {
        self.0.strip_prefix('"')?.strip_suffix('"')
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value(…)")
    }
}

impl Str {
    /// Appends the text for which it stands.
    pub fn text(&self, of: &str, into: &mut String) {
        json::unescape(&of[self.inner.clone()], into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_keeps_its_bytes_and_knows_its_text() {
        for (json, text) in [
            (r#""caf\u00e9\n\"\/""#, "café\n\"/"),
            ("42", "42"),
            (r#"{"a": "b"}"#, r#"{"a": "b"}"#),
            ("\"\"", ""),
            ("null", "null"),
        ] {
            let value = Value::of_json(&format!(" {json}\n")).expect("a value");
            assert_eq!((value.json(), value.text().as_str()), (json, text));
            assert_eq!(value.is_text(), json.starts_with('"'));
        }
        assert!(Value::of_json("\"a\" 1").is_err());
        let value = Value::of_text("a\"\\\u{1}\n😀");
        assert_eq!(value.text().as_str(), "a\"\\\u{1}\n😀");
        assert_eq!(Value::of_json(value.json()).expect("a value").text(), value.text());
    }

    #[test]
    fn attack_42_a_value_is_never_shown() {
        assert_eq!(format!("{:?}", Value::of_text("secret")), "Value(…)");
    }
}
