//! Whether a text that will come in again would be taken out as it was.

use core::ops::Range;

use crate::Values;
use crate::json::{NotJson, Str};
use crate::places::{Open, Places, in_the_open};
use crate::token::find;

/// The longest place that is told. Unit: characters.
const PLACE_CHARS_MAX: usize = 200;

/// Why a text would be seen by workers with a value in it, or never be taken in again. The job's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exposed {
    /// It is no text that values could be put into.
    #[error(transparent)]
    NotJson(#[from] NotJson),
    /// A value is at no declared place.
    #[error("a sensitive value at `{0}`, which no field of the manifest declares; declare it, or write it elsewhere")]
    Value(String),
}

/// Goes on if all that [`restore()`](crate::restore()) puts into a canonical text stands at these places: once that is done, nothing tells what was a value.
///
/// # Errors
/// [`Exposed`] names the first that does not, by a JSON Pointer (RFC 6901).
pub fn stays_hidden(canonical: &[u8], values: &Values, places: &Places) -> Result<(), Exposed> {
    // The reader says where it is no UTF-8.
    let text = core::str::from_utf8(canonical).unwrap_or_default();
    let walk = in_the_open(canonical, places, Walk { text, values, way: Vec::new(), exposed: None })?;
    walk.exposed.map_or(Ok(()), |place| Err(Exposed::Value(place)))
}

enum Step {
    /// Into an object or array of which nothing was read yet.
    In,
    Name(String),
    Element(u64),
}

struct Walk<'a> {
    text: &'a str,
    values: &'a Values,
    way: Vec<Step>,
    exposed: Option<String>,
}

impl Walk<'_> {
    fn look(&mut self, is_value: bool) {
        if is_value && self.exposed.is_none() {
            self.exposed = Some(pointer(&self.way).chars().take(PLACE_CHARS_MAX).collect());
        }
    }

    fn is_surrogate(&self, text: &str) -> bool {
        self.values.of_surrogate(text).is_some()
    }
}

fn pointer(way: &[Step]) -> String {
    let mut pointer = String::new();
    for step in way {
        match step {
            Step::In => {}
            Step::Name(name) => pointer.extend(["/", &name.replace('~', "~0").replace('/', "~1")]),
            Step::Element(index) => pointer.extend(["/", &index.to_string()]),
        }
    }
    pointer
}

impl Open for Walk<'_> {
    fn string(&mut self, string: &Str, is_key: bool) {
        let holds_token = |text: &str| find(text.as_bytes()).next().is_some();
        let inner = &self.text[string.inner.clone()];
        let mut read = String::new();
        string.text(self.text, &mut read);
        // Written with escapes it would not be put back, and not be taken in again either.
        let is_value = holds_token(inner) || holds_token(&read) || (!is_key && self.is_surrogate(&read));
        if is_key && let Some(step) = self.way.last_mut() {
            // A key with a token in it is told by the object that it is in.
            *step = if is_value { Step::In } else { Step::Name(read) };
        }
        self.look(is_value);
    }

    fn number(&mut self, number: Range<usize>) {
        self.look(self.is_surrogate(&self.text[number]));
    }

    fn begin(&mut self) {
        self.way.push(Step::In);
    }

    fn end(&mut self) {
        self.way.pop();
    }

    fn element(&mut self) {
        if let Some(step) = self.way.last_mut() {
            *step = Step::Element(if let Step::Element(index) = step { *index + 1 } else { 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use manyhands_model::{Class, SensitiveFields};

    use super::*;
    use crate::{Taken, Token, Value};

    #[test]
    fn what_is_put_back_where_nothing_is_declared_is_told_with_its_place() {
        let fields = r#"[{"at":"/a/email","class":"email","reveal":"domain"},{"at":"$.list[*].card","class":"card","surrogate":true}]"#;
        let fields: SensitiveFields = serde_json::from_str(fields).expect("fits");
        let places = Places::new(&fields);
        let token = Token::new(Class::Email, &[1; 32]);
        let number = Token::new(Class::Card, &[2; 32]);
        let value = |json: &str| Value::of_json(json).expect("JSON");
        let values = Values::from_iter([
            Taken { token, surrogate: None, value: value(r#""ann@example.com""#) },
            Taken { token: number, surrogate: Some("4000000000000002".to_owned()), value: value("4111111111111111") },
        ]);
        let escaped = format!("\\u0064{}", &token.as_str()[1..]);
        for (text, exposed) in [
            (r#"{"a":{"email":"T"},"list":[{"card":4000000000000002},{"card":"4000000000000002"}]}"#, None),
            (r#"{"a":{"email":{"token":"T","domain":"example.com"}},"b":"4000000000000003"}"#, None),
            (r#"{"a":{"email":["to T",{"T":0}]}}"#, None),
            (r#"{"a":{"mail":"T"}}"#, Some("/a/mail")),
            (r#"{"b":[0,["to T"]],"c":"T"}"#, Some("/b/1/0")),
            (r#"{"b":{"~/":{"token":"T","domain":"example.com"}}}"#, Some("/b/~0~1/token")),
            (r#"{"a":{"b":1,"T":0}}"#, Some("/a")),
            (r#"{"list":[{"card":1},{"number":4000000000000002}]}"#, Some("/list/1/number")),
            (r#"{"list":["\u0034000000000000002"]}"#, Some("/list/0")),
            (r#"{"b":"E"}"#, Some("/b")),
            (r#""T""#, Some("")),
        ] {
            let text = text.replace('T', token.as_str()).replace('E', &escaped);
            let expected = exposed.map_or(Ok(()), |place| Err(Exposed::Value(place.to_owned())));
            assert_eq!(stays_hidden(text.as_bytes(), &values, &places), expected, "{text}");
        }
        assert!(matches!(stays_hidden(b"[", &values, &places), Err(Exposed::NotJson(_))));
    }
}
