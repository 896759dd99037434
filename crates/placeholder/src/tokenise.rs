//! Takes sensitive values out of a text.

use core::ops::Range;

use manyhands_model::{Class, Sensitive};
use std::collections::BTreeSet;

use crate::json::{self, NotJson, Str};
use crate::places::{Finder, Found, Open, Places};
use crate::surrogate::Surrogates;
use crate::token::find;
use crate::{Mint, Occurrence, Source, Token, Value, reveal};

/// The most values that are taken from one text.
pub const VALUES_MAX: usize = 100_000;

/// A text in canonical form, and what was taken out of it.
#[derive(Debug)]
pub struct Tokenised {
    /// The text. All that was not taken is there byte for byte.
    pub text: Vec<u8>,
    /// What was taken, in the order in which it stood there; values with one token are there once.
    pub taken: Vec<Taken>,
}

/// A value that was taken out of a text.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Stands for it.
    pub token: Token,
    /// What stands in the text instead of the token: a string's text, or a number's. None where the token does.
    pub surrogate: Option<String>,
    /// The value.
    pub value: Value,
}

/// Why a text has no canonical form. Whoever sent it is to mend it; nothing of it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untokenisable {
    /// Fields are declared, so it must be JSON.
    #[error(transparent)]
    NotJson(#[from] NotJson),
    /// A worker who read it would be taken for somebody who makes tokens up.
    #[error("line {line}, column {column}: this looks like a token; tokens are put in by the coordinator alone")]
    LooksLikeToken {
        /// The line, from 1.
        line: usize,
        /// The character in the line, from 1.
        column: usize,
    },
    /// More than [`VALUES_MAX`].
    #[error("more than {VALUES_MAX} sensitive values; split the input into several")]
    TooManyValues,
    /// Surrogates are few where they are short.
    #[error(
        "there are not so many surrogates of `{class}` for one unit; split its input, or let it have tokens instead"
    )]
    NoSurrogateLeft {
        /// Of this class.
        class: Class,
    },
}

/// Puts a text into canonical form.
///
/// The same text has the same form whenever it is made with the same key. A key that is there several times is taken each time. A value that
/// cannot have a surrogate, being neither a string nor a number, has a token; and so have an answer's, whose surrogates could be those of the
/// input.
///
/// # Errors
/// [`Untokenisable`] says why there is none, and where.
pub fn tokenise(text: &[u8], places: &Places, mint: &Mint, source: Source) -> Result<Tokenised, Untokenisable> {
    let looks_like_token = |at| {
        let (line, column) = NotJson::place(text, at);
        Untokenisable::LooksLikeToken { line, column }
    };
    if let Some((at, _)) = find(text).next() {
        return Err(looks_like_token(at));
    }
    // The reader says where it is no UTF-8.
    let shown = core::str::from_utf8(text).unwrap_or_default();
    let draws = source == Source::Input && places.have_surrogates();
    let in_the_open = InTheOpen { text: shown, surrogates: draws.then(Surrogates::default), token: None };
    let mut finder = Finder::new(shown, places, VALUES_MAX, in_the_open);
    json::read(text, &mut finder)?;
    let Finder { found, open, .. } = finder;
    if let Some(at) = open.token {
        return Err(looks_like_token(at));
    }
    if found.len() > VALUES_MAX {
        return Err(Untokenisable::TooManyValues);
    }
    replace(shown, &found, &places.fields, mint, source, open.surrogates)
}

fn replace(
    text: &str,
    found: &[Found],
    fields: &[Sensitive],
    mint: &Mint,
    source: Source,
    mut surrogates: Option<Surrogates>,
) -> Result<Tokenised, Untokenisable> {
    let mut canonical = Vec::with_capacity(text.len() + found.len() * crate::token::BYTES);
    let mut taken = Vec::with_capacity(found.len());
    let mut joined = BTreeSet::new();
    let mut done = 0;
    for (index, Found { value: Range { start, end }, field }) in (0..).zip(found) {
        let Sensitive { class, reveal, surrogate, joinable, .. } = fields[*field];
        let value = Value::read_before(&text[*start..*end]);
        let occurrence = Occurrence { source, index };
        let token = if joinable { mint.joined(class, &value) } else { mint.fresh(class, occurrence) };
        canonical.extend_from_slice(&text.as_bytes()[done..*start]);
        done = *end;
        let mut drawn = None;
        if surrogate
            && (value.is_text() || value.is_number())
            && let Some(surrogates) = &mut surrogates
        {
            let random = mint.random(class, occurrence);
            let one = surrogates.draw(class, value.is_number(), random);
            let one = one.ok_or(Untokenisable::NoSurrogateLeft { class })?;
            let quote: &[u8] = if value.is_text() { b"\"" } else { b"" };
            for part in [quote, one.as_bytes(), quote] {
                canonical.extend_from_slice(part);
            }
            drawn = Some(one);
        } else if let Some(part) = reveal {
            let shown = reveal::shown(class, part, &value);
            canonical.extend_from_slice(format!(r#"{{"token":"{token}","{part}":{shown}}}"#).as_bytes());
        } else {
            for part in [&b"\""[..], token.as_bytes(), b"\""] {
                canonical.extend_from_slice(part);
            }
        }
        if !joinable || joined.insert(token) {
            taken.push(Taken { token, surrogate: drawn, value });
        }
    }
    canonical.extend_from_slice(&text.as_bytes()[done..]);
    Ok(Tokenised { text: canonical, taken })
}

/// Looks at what is not taken.
struct InTheOpen<'a> {
    text: &'a str,
    /// If there will be any.
    surrogates: Option<Surrogates>,
    /// Where the first string stands that a job would read as a token.
    token: Option<usize>,
}

impl Open for InTheOpen<'_> {
    fn string(&mut self, string: &Str, is_key: bool) {
        let inner = &self.text[string.inner.clone()];
        // Letters and digits are written as escapes by nobody who means well; tokens in plain sight have been found before.
        if string.escaped && self.token.is_none() && inner.contains("\\u00") {
            let mut read = String::new();
            string.text(self.text, &mut read);
            if find(read.as_bytes()).next().is_some() {
                self.token = Some(string.inner.start);
            }
        }
        if let Some(surrogates) = &mut self.surrogates
            && !is_key
        {
            if string.escaped {
                let mut read = String::new();
                string.text(self.text, &mut read);
                surrogates.avoid(&read);
            } else {
                surrogates.avoid(inner);
            }
        }
    }

    fn number(&mut self, number: Range<usize>) {
        if let Some(surrogates) = &mut self.surrogates {
            surrogates.avoid(&self.text[number]);
        }
    }
}

#[cfg(test)]
mod tests {
    use manyhands_model::{RunId, SensitiveFields, UnitId};

    use super::*;
    use crate::{Scope, TokenKey};

    fn mint() -> Mint {
        let unit = UnitId { run: RunId([1; 16]), index: 0 };
        TokenKey::derive(&[7; 32], 0).mint(&Scope { tenant: "t", job: &"a".parse().expect("a job name"), unit })
    }

    fn tokenised(fields: &str, text: &str) -> Result<Tokenised, Untokenisable> {
        let fields: SensitiveFields = serde_json::from_str(fields).expect("fits");
        tokenise(text.as_bytes(), &Places::new(&fields), &mint(), Source::Input)
    }

    /// The canonical text with a short word for each token and surrogate, and the values.
    fn check(fields: &str, text: &str, expected: &str, values: &[&str]) {
        let Tokenised { text, taken } = tokenised(fields, text).expect("has a form");
        let mut shown = String::from_utf8(text).expect("UTF-8");
        for (number, Taken { token, surrogate, .. }) in taken.iter().enumerate() {
            let stands = surrogate.as_deref().unwrap_or(token.as_str());
            shown = shown.replace(stands, &format!("{}{number}", token.class()));
        }
        assert_eq!(shown, expected);
        assert_eq!(taken.iter().map(|taken| taken.value.json()).collect::<Vec<_>>(), values);
    }

    #[test]
    fn values_are_taken_and_nothing_else_changes() {
        check(
            r#"[{"at":"/customer/email","class":"email","reveal":"domain"},{"at":"$.orders[*].card","class":"card","reveal":"last4"},
                {"at":"/iban","class":"iban","surrogate":true},{"at":"$..note","class":"text"}]"#,
            "{ \"customer\" : {\"email\": \"ann@example.com\", \"id\":1e2},\n\"orders\":[{\"card\":4111111111111234},{\"note\" : {\"a\":[]}}],\"iban\":\"x\\ny\" }\n",
            "{ \"customer\" : {\"email\": {\"token\":\"email0\",\"domain\":\"example.com\"}, \"id\":1e2},\n\"orders\":[{\"card\":{\"token\":\"card1\",\"last4\":\"1234\"}},{\"note\" : \"text2\"}],\"iban\":\"iban3\" }\n",
            &["\"ann@example.com\"", "4111111111111234", "{\"a\":[]}", "\"x\\ny\""],
        );
        check(r#"[{"at":"/a","class":"text"}]"#, r#" {"b": 1} "#, r#" {"b": 1} "#, &[]);
        check(r#"[{"at":"","class":"text"}]"#, " {\"b\": 1}\n", " \"text0\"\n", &["{\"b\": 1}"]);
    }

    #[test]
    fn a_surrogate_is_of_its_values_kind() {
        check(
            r#"[{"at":"$[*]","class":"number","surrogate":true}]"#,
            r#"[12, "12", true, [1]]"#,
            r#"[number0, "number1", "number2", "number3"]"#,
            &["12", "\"12\"", "true", "[1]"],
        );
    }

    #[test]
    fn answers_have_tokens_of_their_own() {
        let fields: SensitiveFields =
            serde_json::from_str(r#"[{"at":"/a","class":"phone","surrogate":true}]"#).expect("fits");
        let of = |source| tokenise(br#"{"a":"+49 30 1"}"#, &Places::new(&fields), &mint(), source).expect("has a form");
        let all = [Source::Input, Source::Answer { step: 0, call: 0 }, Source::Answer { step: 0, call: 1 }].map(of);
        let tokens: BTreeSet<Token> = all.iter().map(|one| one.taken[0].token).collect();
        assert_eq!(tokens.len(), all.len());
        assert_eq!(all.map(|one| one.taken[0].surrogate.is_some()), [true, false, false]);
    }

    #[test]
    fn no_surrogate_stands_in_the_open() {
        let fields = r#"[{"at":"/a","class":"date","surrogate":true}]"#;
        let first =
            |text: &str| tokenised(fields, text).expect("has a form").taken[0].surrogate.clone().expect("a surrogate");
        let date = first(r#"{"a":1985}"#.replace("1985", "\"1985-04-05\"").as_str());
        assert_eq!(first(&format!(r#"{{"a":"1985-04-05","b":"{}"}}"#, &date[..9])), date);
        assert_ne!(first(&format!(r#"{{"a":"1985-04-05","b":"{date}"}}"#)), date);
        assert_ne!(first(&format!(r#"{{"a":"1985-04-05","b":"\u0031{}"}}"#, &date[1..])), date);
    }

    #[test]
    fn attack_12_equal_values_have_one_token_only_where_that_is_declared() {
        let text = r#"["a","a","\u0061",1]"#;
        check(
            r#"[{"at":"$[*]","class":"text"}]"#,
            text,
            r#"["text0","text1","text2","text3"]"#,
            &["\"a\"", "\"a\"", "\"\\u0061\"", "1"],
        );
        check(
            r#"[{"at":"$[*]","class":"text","joinable":true}]"#,
            text,
            r#"["text0","text0","text0","text1"]"#,
            &["\"a\"", "1"],
        );
    }

    #[test]
    fn attack_8_who_brings_tokens_is_refused() {
        let token = mint().fresh(Class::Email, Occurrence { source: Source::Input, index: 0 }).to_string();
        let escaped = |at: usize| format!("{}\\u00{:02x}{}", &token[..at], token.as_bytes()[at], &token[at + 1..]);
        let fields = r#"[{"at":"/a","class":"email"}]"#;
        for (text, column) in [
            (format!("[\n\"x {token}\"]"), 4),
            (format!("[\n{{\"{token}\":1}}]"), 3),
            (format!("[\n{{\"a\":\"{token}\"}}]"), 7),
            (format!("[\n\"{}\"]", escaped(0)), 2),
            (format!("[\n\"{}\"]", escaped(32)), 2),
            (format!("[\n{{\"\\n{}\":1}}]", escaped(2)), 3),
        ] {
            let error = tokenised(fields, &text).expect_err("a token").to_string();
            assert!(error.starts_with(&format!("line 2, column {column}: this looks like a token")), "{text}: {error}");
            assert!(!error.contains(&token));
        }
        // Nearly one is none.
        assert!(tokenised(fields, &format!("[\"{}\", \"{}\"]", &token[..32], token.to_uppercase())).is_ok());
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        let error = tokenised("[]", "{\"a\":\n nul}").expect_err("no JSON").to_string();
        assert_eq!(error, "not JSON: line 2, column 2: a value comes next");
        assert!(tokenise(b"\"\xff\"", &Places::new(&[]), &mint(), Source::Input).is_err());
    }

    #[test]
    fn there_are_bounds() {
        let many = |count: usize| format!("[{}0]", "0,".repeat(count - 1));
        let fields = |class, surrogate| format!(r#"[{{"at":"$[*]","class":"{class}","surrogate":{surrogate}}}]"#);
        assert_eq!(tokenised(&fields("text", false), &many(VALUES_MAX)).expect("has a form").taken.len(), VALUES_MAX);
        assert_eq!(tokenised(&fields("text", false), &many(VALUES_MAX + 1)).err(), Some(Untokenisable::TooManyValues));
        let phones = format!("[{}\"\"]", "\"\",".repeat(6000));
        let refused = tokenised(&fields("phone", true), &phones).err();
        assert_eq!(refused, Some(Untokenisable::NoSurrogateLeft { class: Class::Phone }));
    }
}
