//! From text to a value.

use std::borrow::Cow;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::entry::push_number;
use crate::json::Fault;

/// How deep arrays and objects may nest: serde_json's limit.
const DEPTH_MAX: u32 = 127;
/// What a number is that has no place in a register of 64 bits.
const NO_INTEGER: &str = "floating point number";

type Result<T> = core::result::Result<T, Fault>;

/// Reads one value and nothing after it.
///
/// # Errors
/// What is wrong, with line and column.
pub(crate) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> core::result::Result<T, String> {
    let text = match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Err(place(Fault::new("bytes that are no UTF-8"), bytes, error.valid_up_to())),
    };
    let mut reader = Reader { text, at: 0, depth: 0 };
    let value = T::deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|fault| place(fault, bytes, reader.at))
}

/// What is wrong and where: `at` is the first byte that was not taken.
fn place(fault: Fault, bytes: &[u8], at: usize) -> String {
    let end = at + usize::from(fault.next);
    let read = bytes.get(..end).unwrap_or(bytes);
    let line = read.iter().filter(|byte| **byte == b'\n').count();
    let column = read.iter().rev().take_while(|byte| **byte != b'\n').count();
    let mut text = String::from(fault.message);
    text.push_str(" at line ");
    push_number(&mut text, line as u64 + 1);
    text.push_str(" column ");
    push_number(&mut text, column as u64);
    text
}

struct Reader<'a> {
    text: &'a str,
    /// The first byte that was not taken.
    at: usize,
    depth: u32,
}

/// A number, converted as far as every job can.
enum Number<'a> {
    Unsigned(u64),
    /// Below zero.
    Signed(i64),
    /// With a fraction, an exponent, a negative zero, or too long.
    Other(&'a str),
}

impl<'a> Reader<'a> {
    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.next() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other,
            }
        }
    }

    /// Takes a byte if it is the next one.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.next() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8, or: &str) -> Result<()> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(Fault::new(or)),
            None => Err(Fault::new("EOF while parsing a value")),
        }
    }

    fn end(&mut self) -> Result<()> {
        if self.peek().is_some() { Err(Fault::new("trailing characters")) } else { Ok(()) }
    }

    fn word(&mut self, word: &str) -> Result<()> {
        for byte in word.bytes() {
            if !self.take(byte) {
                return Err(Fault::new(if self.next().is_some() {
                    "expected ident"
                } else {
                    "EOF while parsing a value"
                }));
            }
        }
        Ok(())
    }

    fn slice(&self, from: usize, to: usize) -> &'a str {
        // Both places lie beside ASCII characters, so there is always something.
        self.text.get(from..to).unwrap_or_default()
    }

    /// Takes digits, at least one.
    fn digits(&mut self) -> Result<()> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.next() {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Fault::new("invalid number")) }
    }

    /// Takes a number, which begins with a digit or a minus.
    fn number(&mut self) -> Result<Number<'a>> {
        let start = self.at;
        let negative = self.take(b'-');
        let mut value = Some(0_u64);
        let first = self.at;
        if self.take(b'0') {
            if let Some(b'0'..=b'9') = self.next() {
                return Err(Fault::new("invalid number"));
            }
        } else {
            while let Some(digit @ b'0'..=b'9') = self.next() {
                value = value.and_then(|value| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
                self.at += 1;
            }
            if self.at == first {
                return Err(Fault::new("invalid number"));
            }
        }
        let mut whole = true;
        if self.take(b'.') {
            self.digits()?;
            whole = false;
        }
        if let Some(b'e' | b'E') = self.next() {
            self.at += 1;
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
            whole = false;
        }
        let text = self.slice(start, self.at);
        Ok(match value {
            Some(value) if whole && !negative => Number::Unsigned(value),
            Some(value) if whole && value != 0 => match 0_i64.checked_sub_unsigned(value) {
                Some(value) => Number::Signed(value),
                None => Number::Other(text),
            },
            _ => Number::Other(text),
        })
    }

    /// Takes a string, whose opening quote is next.
    fn string(&mut self) -> Result<Cow<'a, str>> {
        self.at += 1;
        let mut start = self.at;
        let mut unescaped = String::new();
        loop {
            match self.next() {
                Some(b'"') => {
                    let rest = self.slice(start, self.at);
                    self.at += 1;
                    if unescaped.is_empty() {
                        return Ok(Cow::Borrowed(rest));
                    }
                    unescaped.push_str(rest);
                    return Ok(Cow::Owned(unescaped));
                }
                Some(b'\\') => {
                    unescaped.push_str(self.slice(start, self.at));
                    self.at += 1;
                    unescaped.push(self.escaped()?);
                    start = self.at;
                }
                Some(0..0x20) => {
                    return Err(Fault::new("control character (\\u0000-\\u001F) found while parsing a string"));
                }
                Some(_) => self.at += 1,
                None => return Err(Fault::new("EOF while parsing a string")),
            }
        }
    }

    /// Takes what stands behind a backslash.
    fn escaped(&mut self) -> Result<char> {
        let char = match self.next() {
            Some(same @ (b'"' | b'\\' | b'/')) => char::from(same),
            Some(b'b') => '\x08',
            Some(b'f') => '\x0c',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.code_point();
            }
            Some(_) => return Err(Fault::new("invalid escape")),
            None => return Err(Fault::new("EOF while parsing a string")),
        };
        self.at += 1;
        Ok(char)
    }

    /// Takes a character in UTF-16: four digits, or two times four with `\u` between them.
    fn code_point(&mut self) -> Result<char> {
        let mut code = self.four_digits()?;
        if let 0xD800..0xDC00 = code {
            if !(self.take(b'\\') && self.take(b'u')) {
                return Err(Fault::new("unexpected end of hex escape"));
            }
            let low = self.four_digits()?;
            if !matches!(low, 0xDC00..0xE000) {
                return Err(Fault::new("lone leading surrogate in hex escape"));
            }
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
        char::from_u32(code).ok_or_else(|| Fault::new("lone leading surrogate in hex escape"))
    }

    fn four_digits(&mut self) -> Result<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.next().and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| Fault::new("invalid escape"))?;
            self.at += 1;
        }
        Ok(code)
    }

    /// Takes an opening bracket or brace.
    fn open(&mut self) -> Result<()> {
        self.at += 1;
        if self.depth == DEPTH_MAX {
            return Err(Fault::new("recursion limit exceeded"));
        }
        self.depth += 1;
        Ok(())
    }

    /// Takes a closing one.
    fn close(&mut self, close: u8) -> Result<()> {
        self.depth -= 1;
        self.expect(close, "trailing characters")
    }

    /// Takes an array or an object, whose opening bracket or brace is next, with what `read` makes of the inside.
    fn inside<T>(&mut self, close: u8, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.open()?;
        let value = read(self)?;
        self.close(close).map(|()| value)
    }

    /// Whether there is another element or key before the closing one, which stays. Takes the comma between two.
    fn more(&mut self, first: &mut bool, close: u8) -> Result<bool> {
        let was_first = core::mem::replace(first, false);
        match self.peek() {
            Some(byte) if byte == close => return Ok(false),
            Some(b',') if !was_first => self.at += 1,
            Some(_) if was_first => return Ok(true),
            Some(_) if close == b']' => return Err(Fault::new("expected `,` or `]`")),
            Some(_) => return Err(Fault::new("expected `,` or `}`")),
            None if close == b']' => return Err(Fault::new("EOF while parsing a list")),
            None => return Err(Fault::new("EOF while parsing an object")),
        }
        if self.peek() == Some(close) { Err(Fault::new("trailing comma")) } else { Ok(true) }
    }

    /// Stops before a key's opening quote.
    fn key(&mut self) -> Result<()> {
        match self.peek() {
            Some(b'"') => Ok(()),
            Some(_) => Err(Fault::new("key must be a string")),
            None => Err(Fault::new("EOF while parsing an object")),
        }
    }

    /// Takes any value.
    fn skip(&mut self) -> Result<()> {
        let close = match self.peek() {
            Some(b'"') => return self.string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => return self.number().map(|_| ()),
            Some(b'n') => return self.word("null"),
            Some(b't') => return self.word("true"),
            Some(b'f') => return self.word("false"),
            Some(b'[') => b']',
            Some(b'{') => b'}',
            Some(_) => return Err(Fault::new("expected value")),
            None => return Err(Fault::new("EOF while parsing a value")),
        };
        self.inside(close, |reader| {
            let mut first = true;
            while reader.more(&mut first, close)? {
                if close == b'}' {
                    reader.key()?;
                    reader.string()?;
                    reader.expect(b':', "expected `:`")?;
                }
                reader.skip()?;
            }
            Ok(())
        })
    }

    /// Why the next value is not what was expected.
    #[inline(never)]
    fn refuse(&mut self, expected: &dyn Expected) -> Fault {
        self.found(expected).unwrap_or_else(|fault| fault)
    }

    fn found(&mut self, expected: &dyn Expected) -> Result<Fault> {
        let text;
        let found = match self.peek() {
            Some(b'"') => {
                text = self.string()?;
                Unexpected::Str(&text)
            }
            Some(b'-' | b'0'..=b'9') => match self.number()? {
                Number::Unsigned(number) => Unexpected::Unsigned(number),
                Number::Signed(number) => Unexpected::Signed(number),
                Number::Other(_) => Unexpected::Other(NO_INTEGER),
            },
            Some(b'n') => self.word("null").map(|()| Unexpected::Unit)?,
            Some(b't') => self.word("true").map(|()| Unexpected::Bool(true))?,
            Some(b'f') => self.word("false").map(|()| Unexpected::Bool(false))?,
            Some(b'[') => Unexpected::Seq,
            Some(b'{') => Unexpected::Map,
            Some(_) => return Err(Fault::new("expected value")),
            None => return Err(Fault::new("EOF while parsing a value")),
        };
        Ok(Fault::invalid_type(found, expected))
    }

    /// A number as text, where one is next.
    fn long_number(&mut self, expected: &dyn Expected) -> Result<&'a str> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => {}
            _ => return Err(self.refuse(expected)),
        }
        let start = self.at;
        self.number()?;
        Ok(self.slice(start, self.at))
    }
}

/// Rounded as IEEE 754 does.
fn float32(text: &str) -> Result<f32> {
    text.parse().ok().filter(|number: &f32| number.is_finite()).ok_or_else(|| Fault::new("number out of range"))
}

fn float64(text: &str) -> Result<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| Fault::new("number out of range"))
}

fn long<T: core::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| Fault::new("number out of range"))
}

/// Methods for integers that a register holds, which end up in the same place.
macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
            match self.peek() {
                Some(b'-' | b'0'..=b'9') => {}
                _ => return Err(self.refuse(&visitor)),
            }
            match self.number()? {
                Number::Unsigned(number) => visitor.visit_u64(number),
                Number::Signed(number) => visitor.visit_i64(number),
                Number::Other(_) => Err(Fault::invalid_type(Unexpected::Other(NO_INTEGER), &visitor)),
            }
        }
    )*};
}

macro_rules! long_numbers {
    ($($method:ident $visit:ident $parse:ident;)*) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
            let number = $parse(self.long_number(&visitor)?)?;
            visitor.$visit(number)
        }
    )*};
}

impl<'a> Deserializer<'a> for &mut Reader<'a> {
    type Error = Fault;

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    long_numbers! {
        deserialize_i128 visit_i128 long;
        deserialize_u128 visit_u128 long;
        deserialize_f32 visit_f32 float32;
        deserialize_f64 visit_f64 float64;
    }

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        match self.peek() {
            Some(b'"') => self.deserialize_str(visitor),
            Some(b'[') => self.deserialize_seq(visitor),
            Some(b'{') => self.deserialize_map(visitor),
            Some(b't' | b'f') => self.deserialize_bool(visitor),
            Some(b'-' | b'0'..=b'9') => match self.number()? {
                Number::Unsigned(number) => visitor.visit_u64(number),
                Number::Signed(number) => visitor.visit_i64(number),
                Number::Other(text) => visitor.visit_f64(float64(text)?),
            },
            _ => self.deserialize_unit(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        match self.peek() {
            Some(b't') => self.word("true").and_then(|()| visitor.visit_bool(true)),
            Some(b'f') => self.word("false").and_then(|()| visitor.visit_bool(false)),
            _ => Err(self.refuse(&visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        match self.peek() {
            Some(b'"') => match self.string()? {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            },
            _ => Err(self.refuse(&visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        match self.peek() {
            Some(b'"') => match self.string()? {
                Cow::Borrowed(text) => visitor.visit_borrowed_bytes(text.as_bytes()),
                Cow::Owned(text) => visitor.visit_byte_buf(text.into_bytes()),
            },
            _ => self.deserialize_seq(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        match self.peek() {
            Some(b'n') => self.word("null").and_then(|()| visitor.visit_none()),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        match self.peek() {
            Some(b'n') => self.word("null").and_then(|()| visitor.visit_unit()),
            _ => Err(self.refuse(&visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        match self.peek() {
            Some(b'[') => self.inside(b']', |reader| visitor.visit_seq(Parts { reader, first: true })),
            _ => Err(self.refuse(&visitor)),
        }
    }

    fn deserialize_tuple<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(self, _: &'static str, _: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        match self.peek() {
            Some(b'{') => self.inside(b'}', |reader| visitor.visit_map(Parts { reader, first: true })),
            _ => Err(self.refuse(&visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.peek() {
            Some(b'[') => self.deserialize_seq(visitor),
            _ => self.deserialize_map(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.peek() {
            Some(b'"') => visitor.visit_enum(Name(self)),
            Some(b'{') => self.inside(b'}', |reader| visitor.visit_enum(Tagged(reader))),
            Some(_) => Err(Fault::new("expected value")),
            None => Err(Fault::new("EOF while parsing a value")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        self.skip().and_then(|()| visitor.visit_unit())
    }
}

/// What stands between brackets or braces.
struct Parts<'r, 'a> {
    reader: &'r mut Reader<'a>,
    first: bool,
}

impl<'a> SeqAccess<'a> for Parts<'_, 'a> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        if self.reader.more(&mut self.first, b']')? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }
}

impl<'a> MapAccess<'a> for Parts<'_, 'a> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        if !self.reader.more(&mut self.first, b'}')? {
            return Ok(None);
        }
        self.reader.key()?;
        seed.deserialize(Key(self.reader)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<T::Value> {
        self.reader.expect(b':', "expected `:`")?;
        seed.deserialize(&mut *self.reader)
    }
}

/// A key, whose opening quote is next. It is a string, and what is in it may be a number or a truth value.
struct Key<'r, 'a>(&'r mut Reader<'a>);

macro_rules! quoted {
    ($first:pat, $or:literal: $($method:ident)*) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
            self.0.at += 1;
            let value = match self.0.next() {
                Some($first) => (&mut *self.0).$method(visitor)?,
                _ => return Err(Fault::new($or)),
            };
            if self.0.take(b'"') { Ok(value) } else { Err(Fault::new("expected `\"`")) }
        }
    )*};
}

impl<'a> Deserializer<'a> for Key<'_, 'a> {
    type Error = Fault;

    quoted! {
        b'-' | b'0'..=b'9', "invalid value: expected key to be a number in quotes":
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
    }

    quoted! { b't' | b'f', "invalid type: string, expected a boolean": deserialize_bool }

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        self.0.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        self.0.deserialize_bytes(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        self.0.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        <W: Visitor<'a>>
        char str string unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// A variant that is nothing but its name.
struct Name<'r, 'a>(&'r mut Reader<'a>);

impl<'a> EnumAccess<'a> for Name<'_, 'a> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<(T::Value, Self)> {
        seed.deserialize(&mut *self.0).map(|name| (name, self))
    }
}

impl<'a> VariantAccess<'a> for Name<'_, 'a> {
    type Error = Fault;

    fn unit_variant(self) -> Result<()> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, _: T) -> Result<T::Value> {
        Err(Fault::invalid_type(Unexpected::UnitVariant, &"newtype variant"))
    }

    fn tuple_variant<V: Visitor<'a>>(self, _: usize, _: V) -> Result<V::Value> {
        Err(Fault::invalid_type(Unexpected::UnitVariant, &"tuple variant"))
    }

    fn struct_variant<V: Visitor<'a>>(self, _: &'static [&'static str], _: V) -> Result<V::Value> {
        Err(Fault::invalid_type(Unexpected::UnitVariant, &"struct variant"))
    }
}

/// A variant that holds something: an object with its name as the one key.
struct Tagged<'r, 'a>(&'r mut Reader<'a>);

impl<'a> EnumAccess<'a> for Tagged<'_, 'a> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<(T::Value, Self)> {
        let name = seed.deserialize(&mut *self.0)?;
        self.0.expect(b':', "expected `:`")?;
        Ok((name, self))
    }
}

impl<'a> VariantAccess<'a> for Tagged<'_, 'a> {
    type Error = Fault;

    fn unit_variant(self) -> Result<()> {
        Deserialize::deserialize(self.0)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.0.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'a>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.0.deserialize_struct("", fields, visitor)
    }
}
