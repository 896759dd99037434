//! JSON text (RFC 8259) in a tenth of the code, for the feature `small`.
//!
//! Reads and writes what serde_json does, and says the same of what it cannot read: the tests compare them. What makes
//! it small is that code for floats is part of a module only if the job's types hold any, and that no error shows one.
//! It differs in what is absent: types that only serde_json itself knows (`RawValue`, numbers of any precision), and text
//! that is no UTF-8; and in floats, which are rounded correctly, and refused where an `f32` is too small for them.

mod read;
mod write;

use core::fmt::{self, Write as _};

use serde::de::{Expected, Unexpected};

use crate::entry::push_number;
pub(crate) use crate::json::read::read;
pub(crate) use crate::json::write::write;

/// What is wrong with a text or a value.
#[derive(Debug)]
pub(crate) struct Fault {
    message: Box<str>,
    /// Whether the byte to blame comes next. Else it is the last one.
    next: bool,
}

impl Fault {
    // Once, instead of at each of the places that refuse something.
    #[cold]
    #[inline(never)]
    fn new(message: &str) -> Self {
        Self { message: message.into(), next: true }
    }

    /// What a type says of what was read for it.
    fn of_type(message: String) -> Self {
        Self { message: message.into(), next: false }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for Fault {}

impl serde::ser::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::of_type(message.to_string())
    }
}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::of_type(message.to_string())
    }

    // serde's own ways to say these bring along how floats, quoted text and padded numbers are shown, which is more code than
    // all that is here.
    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        let mut text = String::from("invalid length ");
        push_number(&mut text, length as u64);
        but(text, expected)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        instead("invalid type: ", found, expected)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        instead("invalid value: ", found, expected)
    }
}

fn instead(what: &str, found: Unexpected<'_>, expected: &dyn Expected) -> Fault {
    let mut text = String::from(what);
    let mut utf8 = [0; 4];
    let (kind, quote, shown) = match found {
        Unexpected::Bool(true) => ("boolean ", "`", "true"),
        Unexpected::Bool(false) => ("boolean ", "`", "false"),
        Unexpected::Unsigned(number) => return integer(text, "", number, expected),
        Unexpected::Signed(number) => {
            return integer(text, if number < 0 { "-" } else { "" }, number.unsigned_abs(), expected);
        }
        Unexpected::Float(_) => ("floating point number", "", ""),
        Unexpected::Char(char) => ("character ", "`", &*char.encode_utf8(&mut utf8)),
        Unexpected::Str(text) => ("string ", "\"", text),
        Unexpected::Bytes(_) => ("byte array", "", ""),
        Unexpected::Unit => ("null", "", ""),
        Unexpected::Option => ("Option value", "", ""),
        Unexpected::NewtypeStruct => ("newtype struct", "", ""),
        Unexpected::Seq => ("sequence", "", ""),
        Unexpected::Map => ("map", "", ""),
        Unexpected::Enum => ("enum", "", ""),
        Unexpected::UnitVariant => ("unit variant", "", ""),
        Unexpected::NewtypeVariant => ("newtype variant", "", ""),
        Unexpected::TupleVariant => ("tuple variant", "", ""),
        Unexpected::StructVariant => ("struct variant", "", ""),
        Unexpected::Other(other) => (other, "", ""),
    };
    [kind, quote, shown, quote].into_iter().for_each(|part| text.push_str(part));
    but(text, expected)
}

fn integer(mut text: String, sign: &str, number: u64, expected: &dyn Expected) -> Fault {
    text.push_str("integer `");
    text.push_str(sign);
    push_number(&mut text, number);
    text.push('`');
    but(text, expected)
}

fn but(mut text: String, expected: &dyn Expected) -> Fault {
    // Writing to a string succeeds.
    let _written = write!(text, ", expected {expected}");
    Fault::of_type(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "a test fails by panicking")]

    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use proptest::prelude::*;
    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Serialize};
    use serde_json::Value;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Point,
        Circle(f64),
        Line(i8, u64),
        Box { width: u32, name: Option<String> },
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Everything {
        name: String,
        char: char,
        small: i8,
        long: i64,
        huge: i128,
        single: f32,
        double: f64,
        yes: bool,
        unit: (),
        pair: (u8, Option<bool>),
        shapes: Vec<Shape>,
        numbers: BTreeMap<i32, Vec<u8>>,
        flags: BTreeMap<bool, char>,
        #[serde(default)]
        late: Option<Box<Everything>>,
        #[serde(flatten)]
        rest: BTreeMap<String, Value>,
    }

    fn shape() -> impl Strategy<Value = Shape> {
        prop_oneof![
            Just(Shape::Point),
            float().prop_map(Shape::Circle),
            any::<(i8, u64)>().prop_map(|(a, b)| Shape::Line(a, b)),
            any::<(u32, Option<String>)>().prop_map(|(width, name)| Shape::Box { width, name }),
        ]
    }

    fn float() -> impl Strategy<Value = f64> {
        any::<f64>().prop_filter("JSON has no others", |float| float.is_finite())
    }

    fn everything() -> impl Strategy<Value = Everything> {
        let plain = (any::<(String, char, i8, i64, i128, bool)>(), any::<f32>(), float());
        let parts = (
            any::<(u8, Option<bool>)>(),
            prop::collection::vec(shape(), 0..4),
            any::<BTreeMap<i32, Vec<u8>>>(),
            any::<BTreeMap<bool, char>>(),
            prop::collection::btree_map("x[a-z\u{1}-\u{ff}]{0,4}", any::<u32>().prop_map(Value::from), 0..3),
        );
        let one = (plain, parts).prop_map(|(plain, (pair, shapes, numbers, flags, rest))| {
            let ((name, char, small, long, huge, yes), single, double) = plain;
            let single = if single.is_finite() { single } else { 0.5 };
            let unit = ();
            let late = None;
            Everything {
                name,
                char,
                small,
                long,
                huge,
                single,
                double,
                yes,
                unit,
                pair,
                shapes,
                numbers,
                flags,
                late,
                rest,
            }
        });
        let one = one.boxed();
        (one.clone(), prop::option::of(one)).prop_map(|(mut outer, inner)| {
            outer.late = inner.map(Box::new);
            outer
        })
    }

    /// serde_json's floats may be off by their last bit.
    fn rounded(text: &[u8]) -> Value {
        all_rounded(serde_json::from_slice(text).expect("serde_json's own"))
    }

    fn all_rounded(value: Value) -> Value {
        match value {
            Value::Number(number) if number.is_f64() => format!("{:.12e}", number.as_f64().expect("a float")).into(),
            Value::Array(values) => values.into_iter().map(all_rounded).collect(),
            Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, all_rounded(value))).collect(),
            other => other,
        }
    }

    /// Whether both readers take a text, and for the same value.
    fn same<T: DeserializeOwned + Serialize + Debug>(text: &[u8]) {
        let (mine, theirs) = (read::<T>(text), serde_json::from_slice::<T>(text));
        let shown = || String::from_utf8_lossy(text).into_owned();
        match (mine, theirs) {
            (Ok(mine), Ok(theirs)) => {
                let [mine, theirs] = [mine, theirs].map(|value| rounded(&serde_json::to_vec(&value).expect("writes")));
                assert_eq!(mine, theirs, "{}", shown());
            }
            (Err(_), Err(_)) => {}
            (mine, theirs) => panic!("{}: {mine:?}, {theirs:?}", shown()),
        }
    }

    /// As all the types that take different ways through the reader.
    fn same_for_all(text: &[u8]) {
        same::<Value>(text);
        same::<Everything>(text);
        same::<Shape>(text);
        same::<Vec<Shape>>(text);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn what_is_written_is_what_serde_json_writes_and_reads_back(value in everything()) {
            let text = write(&value).expect("writes");
            prop_assert_eq!(String::from_utf8_lossy(&text), serde_json::to_string(&value).expect("writes"));
            prop_assert_eq!(read::<Everything>(&text).expect("reads"), value);
        }

        #[test]
        fn a_broken_text_is_refused_by_both_or_by_neither(
            value in everything(), pretty: bool, at: prop::sample::Index, with in prop::option::of("[\\[\\]{}:,\"\\\\ 0-9a-zA-Z.+\\-\u{1}é]"),
        ) {
            let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
            let mut text = text.expect("writes");
            let at = at.index(text.len());
            text.splice(at..=at, with.unwrap_or_default().into_bytes());
            same_for_all(&text);
        }
    }

    #[test]
    fn texts_that_are_easily_misread() {
        let deep = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        for text in [
            "",
            " ",
            "0",
            "-0",
            "-0.0",
            "00",
            "01",
            "-",
            "-1",
            "1.",
            ".1",
            "1.0",
            "1e5",
            "1E+5",
            "1e-5",
            "1e",
            "1e+",
            "1e400",
            "-1e400",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775808",
            "-9223372036854775809",
            "127",
            "128",
            "-128",
            "-129",
            "255",
            "256",
            "340282366920938463463374607431768211455",
            "340282366920938463463374607431768211456",
            "NaN",
            "Infinity",
            "+1",
            "0x1",
            "1 2",
            "null",
            "nul",
            "nulll",
            "true",
            "tru",
            "false",
            "True",
            "\"",
            "\"a",
            "\"a\"",
            "\"a\"b",
            "\"\\\"",
            "\"\\n\\r\\t\\b\\f\\/\\\\\\\"\"",
            "\"\\x\"",
            "\"\\u0041\"",
            "\"\\u00e9\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\ud83d\\u0041\"",
            "\"\\ud83dx\"",
            "\"\\u12\"",
            "\"\\uD83D\\uDE00\"",
            "\"\\u0000\"",
            "\"\n\"",
            "\"\u{7f}\"",
            "\"\u{80}\"",
            "\"é😀\"",
            "[",
            "[]",
            "[ ]",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1,2",
            "]",
            "{",
            "{}",
            "{ }",
            "{1:2}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":1,\"a\":2}",
            "{\"1\":true}",
            "{\"-1\":true}",
            "{\" 1\":true}",
            "{\"1 \":true}",
            "{\"1.5\":true}",
            "{\"01\":true}",
            "{\"true\":\"x\"}",
            "{\"tru\":\"x\"}",
            "{\"\":1}",
            "{\"\\u0031\":1}",
            "\"Point\"",
            "\"Circle\"",
            "\"Nothing\"",
            "{\"Point\":null}",
            "{\"Point\":1}",
            "{\"Circle\":1}",
            "{\"Circle\":1.5}",
            "{\"Circle\":null}",
            "{\"Circle\":1,\"Point\":null}",
            "{\"Line\":[1,2]}",
            "{\"Line\":[1]}",
            "{\"Line\":[1,2,3]}",
            "{\"Line\":[1,2,]}",
            "{\"Box\":{\"width\":1}}",
            "{\"Box\":[1,null]}",
            "{\"Box\":[1]}",
            "{\"Box\":{\"width\":1,\"name\":\"\\n\",\"more\":[{}]}}",
            "{}x",
            "\u{feff}1",
            "\t\r\n 1 \t\r\n",
            "1\u{b}",
            "[1]]",
            &deep(127),
            &deep(128),
            &deep(129),
            "[[[[",
            "{\"a\":{\"b\":[{\"c\":[]}]}}",
        ] {
            let text = text.as_bytes();
            same_for_all(text);
            same::<(u8, String)>(text);
            same::<Option<i64>>(text);
            same::<()>(text);
            same::<bool>(text);
            same::<char>(text);
            same::<String>(text);
            same::<u8>(text);
            same::<i8>(text);
            same::<u64>(text);
            same::<i64>(text);
            same::<u128>(text);
            same::<i128>(text);
            same::<f64>(text);
            if !serde_json::from_slice::<f32>(text).is_ok_and(f32::is_infinite) {
                same::<f32>(text);
            }
            same::<BTreeMap<i64, bool>>(text);
            same::<BTreeMap<u128, bool>>(text);
            same::<BTreeMap<bool, String>>(text);
            same::<BTreeMap<Option<char>, u8>>(text);
            same::<BTreeMap<String, u8>>(text);
        }
        same_for_all(b"\"\xff\"");
        same_for_all(b"[\xc3]");
    }

    #[test]
    fn what_cannot_be_read_is_told_in_serde_jsons_words() {
        fn told<T: DeserializeOwned + Debug>(text: &str) {
            let (mine, theirs) = (read::<T>(text.as_bytes()), serde_json::from_slice::<T>(text.as_bytes()));
            assert_eq!(mine.expect_err("refused"), theirs.expect_err("refused").to_string(), "{text}");
        }
        told::<Vec<u32>>("[1, x]");
        told::<u32>("?");
        told::<u32>("");
        told::<u32>("true");
        told::<Vec<u8>>("[1,\n 256]");
        told::<Vec<u8>>("[1,\n -3]");
        told::<String>("null");
        told::<bool>("\"yes\"");
        told::<Shape>("\"Square\"");
        told::<Vec<u8>>("[1");
        told::<String>("\"abc");
        let missing = read::<Everything>(b"{}").expect_err("refused");
        assert_eq!(missing, "missing field `name` at line 1 column 1");
        let float = read::<u8>(b"1.5").expect_err("refused");
        assert_eq!(float, "invalid type: floating point number, expected u8 at line 1 column 3");
        let bytes = read::<String>(b"\"\xff\"").expect_err("refused");
        assert_eq!(bytes, "bytes that are no UTF-8 at line 1 column 2");
    }

    #[test]
    fn what_has_no_form_in_json_is_an_error_or_null() {
        assert_eq!(write(&f64::NAN).expect("writes"), b"null");
        let key = |error: Fault| assert_eq!(error.to_string(), "key must be a string");
        key(write(&BTreeMap::from([((1, 2), 3)])).expect_err("refused"));
        key(write(&BTreeMap::from([(vec![1], 3)])).expect_err("refused"));
        key(write(&BTreeMap::from([((), 3)])).expect_err("refused"));
    }
}
