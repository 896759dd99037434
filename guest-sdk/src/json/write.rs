//! From a value to text.

use core::fmt::{Display, Write as _};

use serde::ser::{
    Error as _, Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use crate::json::Fault;

type Result<T> = core::result::Result<T, Fault>;

/// Writes a value, without white space.
///
/// # Errors
/// The value has no form in JSON.
pub(crate) fn write<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut writer = Writer(Vec::new());
    value.serialize(&mut writer)?;
    Ok(writer.0)
}

struct Writer(Vec<u8>);

impl Writer {
    fn push(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// A number's digits. By hand, since the standard library's bring their own buffers and paddings along.
    fn number(&mut self, mut number: u64) {
        let start = self.0.len();
        loop {
            self.0.push(b'0' + (number % 10) as u8);
            number /= 10;
            if number == 0 {
                break;
            }
        }
        if let Some(digits) = self.0.get_mut(start..) {
            digits.reverse();
        }
    }

    fn signed(&mut self, number: i64) {
        if number < 0 {
            self.0.push(b'-');
        }
        self.number(number.unsigned_abs());
    }

    fn string(&mut self, text: &str) {
        self.0.push(b'"');
        self.escape(text);
        self.0.push(b'"');
    }

    fn escape(&mut self, text: &str) {
        for byte in text.bytes() {
            let short = match byte {
                b'"' | b'\\' => byte,
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                0x08 => b'b',
                0x0c => b'f',
                0..0x20 => {
                    self.push(if byte < 0x10 { "\\u000" } else { "\\u001" });
                    let digit = byte % 0x10;
                    self.0.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
                    continue;
                }
                _ => {
                    self.0.push(byte);
                    continue;
                }
            };
            self.0.extend_from_slice(&[b'\\', short]);
        }
    }

    /// The comma before whatever comes, unless it is the first.
    fn comma(&mut self, first: &mut bool) {
        if !core::mem::replace(first, false) {
            self.0.push(b',');
        }
    }

    /// `{"variant":`, for variants that hold something.
    fn variant(&mut self, variant: &str) {
        self.0.push(b'{');
        self.string(variant);
        self.0.push(b':');
    }
}

/// Escapes what is displayed while it is written.
struct Escaped<'w>(&'w mut Writer);

impl core::fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.escape(text);
        Ok(())
    }
}

/// An array or an object that has been begun.
struct Parts<'w> {
    writer: &'w mut Writer,
    first: bool,
    /// What ends it.
    end: &'static str,
}

impl<'w> Parts<'w> {
    fn begin(writer: &'w mut Writer, begin: u8, end: &'static str) -> Result<Self> {
        writer.0.push(begin);
        Ok(Self { writer, first: true, end })
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.writer.comma(&mut self.first);
        value.serialize(&mut *self.writer)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<()> {
        self.writer.comma(&mut self.first);
        self.writer.string(name);
        self.writer.0.push(b':');
        value.serialize(&mut *self.writer)
    }

    fn finish(self) -> Result<()> {
        self.writer.push(self.end);
        Ok(())
    }
}

/// All of serde's kinds of sequences are arrays, and all of its kinds of structures are objects.
macro_rules! parts {
    ($($kind:ident: $method:ident;)*) => {$(
        impl $kind for Parts<'_> {
            type Ok = ();
            type Error = Fault;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.element(value)
            }

            fn end(self) -> Result<()> {
                self.finish()
            }
        }
    )*};
}

macro_rules! fields {
    ($($kind:ident)*) => {$(
        impl $kind for Parts<'_> {
            type Ok = ();
            type Error = Fault;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<()> {
                self.field(name, value)
            }

            fn end(self) -> Result<()> {
                self.finish()
            }
        }
    )*};
}

parts! {
    SerializeSeq: serialize_element;
    SerializeTuple: serialize_element;
    SerializeTupleStruct: serialize_field;
    SerializeTupleVariant: serialize_field;
}

fields! { SerializeStruct SerializeStructVariant }

impl SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = Fault;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.writer.comma(&mut self.first);
        key.serialize(Key(self.writer))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.writer.0.push(b':');
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<()> {
        self.finish()
    }
}

/// Methods whose numbers are all written alike.
macro_rules! numbers {
    ($($method:ident($type:ty) $write:ident;)*) => {$(
        fn $method(self, number: $type) -> Result<()> {
            self.$write(number.into());
            Ok(())
        }
    )*};
}

impl<'w> Serializer for &'w mut Writer {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Parts<'w>;
    type SerializeTuple = Parts<'w>;
    type SerializeTupleStruct = Parts<'w>;
    type SerializeTupleVariant = Parts<'w>;
    type SerializeMap = Parts<'w>;
    type SerializeStruct = Parts<'w>;
    type SerializeStructVariant = Parts<'w>;

    numbers! {
        serialize_i8(i8) signed; serialize_i16(i16) signed; serialize_i32(i32) signed; serialize_i64(i64) signed;
        serialize_u8(u8) number; serialize_u16(u16) number; serialize_u32(u32) number; serialize_u64(u64) number;
    }

    fn serialize_i128(self, number: i128) -> Result<()> {
        self.push(&number.to_string());
        Ok(())
    }

    fn serialize_u128(self, number: u128) -> Result<()> {
        self.push(&number.to_string());
        Ok(())
    }

    fn serialize_f32(self, number: f32) -> Result<()> {
        let mut buffer = zmij::Buffer::new();
        self.push(if number.is_finite() { buffer.format_finite(number) } else { "null" });
        Ok(())
    }

    fn serialize_f64(self, number: f64) -> Result<()> {
        let mut buffer = zmij::Buffer::new();
        self.push(if number.is_finite() { buffer.format_finite(number) } else { "null" });
        Ok(())
    }

    fn serialize_bool(self, yes: bool) -> Result<()> {
        self.push(if yes { "true" } else { "false" });
        Ok(())
    }

    fn serialize_char(self, char: char) -> Result<()> {
        self.string(char.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Result<()> {
        self.string(text);
        Ok(())
    }

    fn collect_str<T: Display + ?Sized>(self, text: &T) -> Result<()> {
        self.0.push(b'"');
        write!(Escaped(self), "{text}").map_err(Fault::custom)?;
        self.0.push(b'"');
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<()> {
        let mut parts = Parts::begin(self, b'[', "]")?;
        bytes.iter().try_for_each(|byte| parts.element(byte))?;
        parts.finish()
    }

    fn serialize_unit(self) -> Result<()> {
        self.push("null");
        Ok(())
    }

    fn serialize_none(self) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<()> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        self.variant(variant);
        value.serialize(&mut *self)?;
        self.0.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'w>> {
        Parts::begin(self, b'[', "]")
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'w>> {
        Parts::begin(self, b'[', "]")
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts<'w>> {
        Parts::begin(self, b'[', "]")
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Parts<'w>> {
        self.variant(variant);
        Parts::begin(self, b'[', "]}")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'w>> {
        Parts::begin(self, b'{', "}")
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Parts<'w>> {
        if name.starts_with("$serde_json::") {
            return Err(Fault::new("a type that only serde_json knows"));
        }
        Parts::begin(self, b'{', "}")
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Parts<'w>> {
        self.variant(variant);
        Parts::begin(self, b'{', "}}")
    }
}

/// A key, which is always a string: numbers and truth values stand in quotes, and whatever has parts has no form.
struct Key<'w>(&'w mut Writer);

fn no_key<T>() -> Result<T> {
    Err(Fault::new("key must be a string"))
}

fn no_float_key() -> Result<()> {
    Err(Fault::new("float key must be finite (got NaN or +/-inf)"))
}

macro_rules! quoted {
    ($($method:ident($type:ty))*) => {$(
        fn $method(self, value: $type) -> Result<()> {
            self.0.0.push(b'"');
            (&mut *self.0).$method(value)?;
            self.0.0.push(b'"');
            Ok(())
        }
    )*};
}

impl Serializer for Key<'_> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Impossible<(), Fault>;
    type SerializeTuple = Impossible<(), Fault>;
    type SerializeTupleStruct = Impossible<(), Fault>;
    type SerializeTupleVariant = Impossible<(), Fault>;
    type SerializeMap = Impossible<(), Fault>;
    type SerializeStruct = Impossible<(), Fault>;
    type SerializeStructVariant = Impossible<(), Fault>;

    quoted! {
        serialize_bool(bool)
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64) serialize_i128(i128)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_u128(u128)
    }

    fn serialize_f32(self, number: f32) -> Result<()> {
        if number.is_finite() {
            self.0.serialize_str(zmij::Buffer::new().format_finite(number))
        } else {
            no_float_key()
        }
    }

    fn serialize_f64(self, number: f64) -> Result<()> {
        if number.is_finite() {
            self.0.serialize_str(zmij::Buffer::new().format_finite(number))
        } else {
            no_float_key()
        }
    }

    fn serialize_char(self, char: char) -> Result<()> {
        self.0.serialize_char(char)
    }

    fn serialize_str(self, text: &str) -> Result<()> {
        self.0.serialize_str(text)
    }

    fn collect_str<T: Display + ?Sized>(self, text: &T) -> Result<()> {
        self.0.collect_str(text)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<()> {
        no_key()
    }

    fn serialize_unit(self) -> Result<()> {
        no_key()
    }

    fn serialize_none(self) -> Result<()> {
        no_key()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        no_key()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<()> {
        self.0.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<()> {
        no_key()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq> {
        no_key()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple> {
        no_key()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct> {
        no_key()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant> {
        no_key()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap> {
        no_key()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct> {
        no_key()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant> {
        no_key()
    }
}
