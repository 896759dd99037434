//! Puts values back into what a requester gets.

use core::ops::Range;
use std::collections::BTreeMap;

use crate::json::{self, NotJson, Str};
use crate::token::{BYTES, Search};
use crate::{Taken, Token, Value, reveal};

/// Values by what stands for them.
#[derive(Debug, Default)]
pub struct Values {
    by_token: BTreeMap<Token, Value>,
    /// None where units of one run share a surrogate: then nobody can say whose value is meant.
    by_surrogate: BTreeMap<String, Option<Token>>,
}

impl Values {
    /// The value of this canonical token.
    pub fn get(&self, token: &Token) -> Option<&Value> {
        self.by_token.get(token)
    }

    /// The token whose value this surrogate is for: a whole string's text, or a whole number's. None if it is for several.
    pub fn of_surrogate(&self, surrogate: &str) -> Option<Token> {
        *self.by_surrogate.get(surrogate)?
    }

    /// Whether a surrogate stands for one of them: then nothing in a text tells whether there is something to put back.
    pub fn have_surrogates(&self) -> bool {
        !self.by_surrogate.is_empty()
    }
}

impl Extend<Taken> for Values {
    fn extend<I: IntoIterator<Item = Taken>>(&mut self, all: I) {
        for Taken { token, surrogate, value } in all {
            if let Some(surrogate) = surrogate {
                let known = self.by_surrogate.entry(surrogate).or_insert(Some(token));
                *known = known.filter(|known| *known == token);
            }
            self.by_token.insert(token, value);
        }
    }
}

impl FromIterator<Taken> for Values {
    fn from_iter<I: IntoIterator<Item = Taken>>(all: I) -> Self {
        let mut values = Self::default();
        values.extend(all);
        values
    }
}

/// Why values cannot be put back. The job's to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrestorable {
    /// The job declared that its outputs are JSON.
    #[error("the output cannot hold its values: {0}")]
    NotJson(#[from] NotJson),
    /// An output can name a long value many times.
    #[error("the output with its values is longer than {bytes_max} bytes; let the job name each value once")]
    TooLong {
        /// The most that it could be.
        bytes_max: usize,
    },
}

/// Puts values into a canonical output.
///
/// A whole string that is a token or a surrogate becomes the value as it stood in the input, of whatever kind; so does an object of a token and
/// what was shown beside it. In a longer string, and in a key, a token becomes the value's text. What no value is known for stays.
///
/// # Errors
/// [`Unrestorable`] when the output is no JSON, or would become longer than `bytes_max`.
pub fn restore(canonical: &[u8], values: &Values, bytes_max: usize) -> Result<Vec<u8>, Unrestorable> {
    // The reader says where it is no UTF-8.
    let text = core::str::from_utf8(canonical).unwrap_or_default();
    let mut writer = Writer {
        text,
        values,
        bytes_max,
        out: Vec::with_capacity(text.len()),
        done: 0,
        object: None,
        search: Search::new(),
    };
    json::read(canonical, &mut writer)?;
    writer.put(text.len()..text.len(), b"");
    if writer.is_full() { Err(Unrestorable::TooLong { bytes_max }) } else { Ok(writer.out) }
}

struct Writer<'a> {
    text: &'a str,
    values: &'a Values,
    bytes_max: usize,
    /// At most one piece longer than may be.
    out: Vec<u8>,
    /// How much of the text is in there.
    done: usize,
    /// The value of the object that is taken whole.
    object: Option<&'a Value>,
    search: Search,
}

impl<'a> Writer<'a> {
    fn is_full(&self) -> bool {
        self.out.len() > self.bytes_max
    }

    /// What stands before `place`, and `piece` in its place.
    fn put(&mut self, place: Range<usize>, piece: &[u8]) {
        if !self.is_full() {
            self.out.extend_from_slice(&self.text.as_bytes()[self.done..place.start]);
            self.out.extend_from_slice(piece);
            self.done = place.end;
        }
    }

    /// Puts values in for tokens that are a part of a string or key.
    ///
    /// Between escapes only: the `d` with which a token begins can be the last digit of one, and then there is no token.
    fn put_texts(&mut self, string: Str) {
        for piece in json::between_escapes(self.text, string) {
            let mut from = piece.start;
            while let Some((at, token)) = self.search.next(&self.text.as_bytes()[..piece.end], from) {
                from = at + BYTES;
                let Some(value) = self.values.get(&token) else { continue };
                match value.inner() {
                    Some(escaped) => self.put(at..from, escaped.as_bytes()),
                    None => {
                        let mut escaped = Vec::new();
                        json::escape_into(value.json(), &mut escaped);
                        self.put(at..from, &escaped);
                    }
                }
            }
        }
    }

    /// The value of the object that begins at `at`, if it is one of a token and what was shown beside it.
    fn revealed(&self, at: usize) -> Option<&'a Value> {
        let (token, (word, shown)) = match json::pair(self.text, at)? {
            [("token", token), other] | [other, ("token", token)] => (token, other),
            _ => return None,
        };
        let token = Token::parse(token.strip_prefix('"')?.strip_suffix('"')?.as_bytes())?;
        let class = token.class();
        let reveal = class.reveals().iter().find(|reveal| reveal.word() == word)?;
        let value = self.values.get(&token)?;
        let [shown, was_shown] = [shown, &reveal::shown(class, *reveal, value)].map(Value::read_before);
        (shown.is_text() == was_shown.is_text() && shown.text() == was_shown.text()).then_some(value)
    }
}

impl json::Reader for Writer<'_> {
    fn value(&mut self, at: usize) -> bool {
        self.object = self.revealed(at);
        self.object.is_some()
    }

    fn whole(&mut self, value: Range<usize>) {
        if let Some(object) = self.object.take() {
            self.put(value, object.json().as_bytes());
        }
    }

    fn key(&mut self, key: Str) {
        self.put_texts(key);
    }

    fn string(&mut self, string: Str) {
        let inner = &self.text[string.inner.clone()];
        let token = Token::parse(inner.as_bytes()).or_else(|| {
            // Some programs write `+` and `@` as escapes.
            let mut read = String::new();
            if string.escaped && !self.values.by_surrogate.is_empty() {
                string.text(self.text, &mut read);
            }
            self.values.of_surrogate(if string.escaped { &read } else { inner })
        });
        match token {
            Some(token) => {
                if let Some(value) = self.values.get(&token) {
                    self.put(string.inner.start - 1..string.inner.end + 1, value.json().as_bytes());
                }
            }
            None => self.put_texts(string),
        }
    }

    fn number(&mut self, number: Range<usize>) {
        let surrogate = self.values.of_surrogate(&self.text[number.clone()]);
        if let Some(value) = surrogate.and_then(|token| self.values.get(&token)) {
            self.put(number, value.json().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use manyhands_model::Class;

    use super::*;

    const BITS: [[u8; 32]; 2] = [[1; 32], [2; 32]];

    fn one(class: Class, json: &str) -> (Token, Values) {
        let token = Token::new(class, &BITS[0]);
        let value = Value::of_json(json).expect("JSON");
        (token, Values::from_iter([Taken { token, surrogate: None, value }]))
    }

    /// The output with `T` as the token, and what it becomes.
    fn check(class: Class, value: &str, output: &str, expected: &str) {
        let (token, values) = one(class, value);
        let canonical = output.replace('T', token.as_str());
        let restored = restore(canonical.as_bytes(), &values, 1000).expect("an output");
        assert_eq!(String::from_utf8(restored).expect("UTF-8"), expected.replace('T', token.as_str()), "{output}");
    }

    #[test]
    fn a_whole_string_becomes_the_value_as_it_was() {
        check(Class::Text, r#""a\u0062\"""#, r#" {"x" : "T" } "#, r#" {"x" : "a\u0062\"" } "#);
        check(Class::Text, "42", r#"["T"]"#, "[42]");
        check(Class::Text, r#"{"a": []}"#, r#""T""#, r#"{"a": []}"#);
    }

    #[test]
    fn in_a_longer_string_and_in_a_key_it_becomes_text() {
        check(Class::Text, r#""a\"b\u0063""#, r#"["Dear T, TT"]"#, r#"["Dear a\"b\u0063, a\"b\u0063a\"b\u0063"]"#);
        check(Class::Text, r#""a\"b""#, r#"{"T":1,"xT":"T"}"#, r#"{"a\"b":1,"xa\"b":"a\"b"}"#);
        check(Class::Text, "{\"a\":\n\"\\n\"}", r#"{"T":["-T"]}"#, r#"{"{\"a\":\n\"\\n\"}":["-{\"a\":\n\"\\n\"}"]}"#);
    }

    #[test]
    fn attack_6_a_value_does_not_break_out_of_its_string() {
        let value = r#""x\",\"admin\":true,\"""#;
        check(
            Class::Text,
            value,
            r#"{"name":"T","greeting":"Hello T"}"#,
            &format!(r#"{{"name":{value},"greeting":"Hello {}"}}"#, &value[1..value.len() - 1]),
        );
    }

    #[test]
    fn attack_6_a_token_that_begins_in_an_escape_is_none() {
        check(
            Class::Text,
            r#""fg\",""#,
            r#"["\u00dT","\ud83d\ude0dT","\"T\u00ddT"]"#,
            r#"["\u00dT","\ud83d\ude0dfg\",","\"fg\",\u00ddfg\","]"#,
        );
        check(Class::Text, r#""fg""#, r#"{"\\u00dT":"\\\u00dT"}"#, r#"{"\\u00dfg":"\\\u00dT"}"#);
    }

    #[test]
    fn what_was_shown_beside_a_token_goes_with_it() {
        let email = r#""ann@example.com""#;
        for (output, expected) in [
            (r#"[{"token":"T","domain":"example.com"}]"#, r#"["ann@example.com"]"#),
            (r#"[{ "domain" : "ex\u0061mple.com" , "token" : "T" } ]"#, r#"["ann@example.com" ]"#),
            (r#"[{"token":"T","domain":"other.com"}]"#, r#"[{"token":"ann@example.com","domain":"other.com"}]"#),
            (r#"[{"token":"T","year":null}]"#, r#"[{"token":"ann@example.com","year":null}]"#),
            (
                r#"[{"token":"T","domain":"example.com","x":1}]"#,
                r#"[{"token":"ann@example.com","domain":"example.com","x":1}]"#,
            ),
            (r#"[{"domain":"example.com","x":"T"}]"#, r#"[{"domain":"example.com","x":"ann@example.com"}]"#),
            (r#"[{"token":"T"}]"#, r#"[{"token":"ann@example.com"}]"#),
            (
                r#"[{"token":"T","domain":["example.com"]}]"#,
                r#"[{"token":"ann@example.com","domain":["example.com"]}]"#,
            ),
            (
                r#"[{"token":{"token":"T","domain":"example.com"},"domain":1}]"#,
                r#"[{"token":"ann@example.com","domain":1}]"#,
            ),
        ] {
            check(Class::Email, email, output, expected);
        }
        check(Class::Date, r#""1985-04-05""#, r#"{"token":"T","year":1985}"#, r#""1985-04-05""#);
        check(
            Class::Date,
            r#""1985-04-05""#,
            r#"{"token":"T","year":"1985"}"#,
            r#"{"token":"1985-04-05","year":"1985"}"#,
        );
        check(Class::Date, "5", r#"{"token":"T","year":null}"#, "5");
    }

    #[test]
    fn a_surrogate_is_a_whole_string_or_number() {
        let entry = |number: usize, surrogate: &str, value: &str| {
            let token = Token::new(Class::Phone, &BITS[number]);
            Taken { token, surrogate: Some(surrogate.into()), value: Value::of_json(value).expect("JSON") }
        };
        let mut values = Values::from_iter([entry(0, "+12125550123", r#""+49 1""#), entry(1, "900000000000001", "17")]);
        let output = r#"["+12125550123","\u002b12125550123","call +12125550123",900000000000001,9000000000000010,"900000000000001",{"+12125550123":0}]"#;
        let expected = r#"["+49 1","+49 1","call +12125550123",17,9000000000000010,17,{"+12125550123":0}]"#;
        assert_eq!(restore(output.as_bytes(), &values, 1000).expect("an output"), expected.as_bytes());

        // Two units of a run, whose outputs are reduced together: no value rather than another's.
        values.extend([entry(1, "+12125550123", r#""+49 2""#)]);
        let output = r#"["+12125550123",900000000000001]"#;
        assert_eq!(restore(output.as_bytes(), &values, 1000).expect("an output"), br#"["+12125550123","+49 2"]"#);
    }

    #[test]
    fn attack_8_a_token_without_a_value_stays() {
        let other = Token::new(Class::Text, &BITS[1]).to_string();
        let (token, values) = one(Class::Text, r#""secret""#);
        let upper = token.as_str().to_uppercase();
        let cut = &token.as_str()[..32];
        let output = format!(r#"["{other}","a {other}","{upper}","{cut}",{{"{other}":1}}]"#);
        assert_eq!(restore(output.as_bytes(), &values, 1000).expect("an output"), output.as_bytes());
    }

    #[test]
    fn a_long_value_that_is_named_often_is_refused() {
        let (token, values) = one(Class::Text, &format!("\"{}\"", "a".repeat(1 << 20)));
        let output = format!("[{}0]", format!("\"{token}\",").repeat(10_000));
        assert_eq!(restore(output.as_bytes(), &values, 4 << 20), Err(Unrestorable::TooLong { bytes_max: 4 << 20 }));
        let (_, values) = one(Class::Text, "1");
        assert_eq!(restore(b"[123]", &values, 5).expect("fits"), b"[123]");
        assert_eq!(restore(b"[123]", &values, 4), Err(Unrestorable::TooLong { bytes_max: 4 }));
    }

    #[test]
    fn an_output_that_is_no_json_is_refused() {
        let error = restore(b"[", &Values::default(), 10).expect_err("no JSON").to_string();
        assert_eq!(error, "the output cannot hold its values: not JSON: line 1, column 2: a value comes next");
    }
}
