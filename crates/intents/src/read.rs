//! Single values of somebody else's JSON.

use manyhands_model::template::INTEGER_MAX;
use zeroize::Zeroizing;

/// A single value; lists, objects and everything that is no whole number in text are nothing.
pub(crate) enum Single {
    Text(Zeroizing<String>),
    Integer(i64),
    Boolean(bool),
}

impl Single {
    /// Reads one value's JSON text, without blanks around it.
    pub(crate) fn of(json: &str) -> Option<Self> {
        match json.as_bytes().first()? {
            b'"' => serde_json::from_str(json).ok().map(|text: String| Self::Text(Zeroizing::new(text))),
            b't' | b'f' => Some(Self::Boolean(json == "true")),
            b'-' | b'0'..=b'9' => integer(json).map(Self::Integer),
            _ => None,
        }
    }
}

/// A whole number, however it is written: `1`, `1.0` and `1e0` are one (RFC 8785, section 3.2.2.3).
fn integer(json: &str) -> Option<i64> {
    if let Ok(integer) = json.parse::<i64>() {
        return Some(integer);
    }
    let number: f64 = json.parse().ok()?;
    (number.fract() == 0.0 && number.abs() <= INTEGER_MAX as f64).then_some(number as i64)
}
