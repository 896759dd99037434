//! Bytes of a module, read one number after the other.

use alloc::vec::Vec;

use wasmparser::{BlockType, FuncType, ValType};

/// Why bytes are not WebAssembly, or not as much of it as jobs may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (at offset {offset:#x})")]
pub struct Malformed {
    /// The byte of the module at which it was noticed.
    pub offset: usize,
    /// What is wrong.
    pub reason: &'static str,
}

/// What is still to be read.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the first of the bytes is in the module.
    base: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], base: usize) -> Self {
        Self { bytes, at: 0, base }
    }

    /// The next byte's place in the module.
    #[inline]
    pub(crate) fn offset(&self) -> usize {
        self.base + self.at
    }

    #[inline]
    pub(crate) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    #[cold]
    pub(crate) fn fail<T>(&self, reason: &'static str) -> Result<T, Malformed> {
        Err(Malformed { offset: self.offset(), reason })
    }

    /// # Errors
    /// If anything is left.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.is_at_end() { Ok(()) } else { self.fail("a section holds more than it says") }
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        let Some(byte) = self.bytes.get(self.at) else { return self.fail("it ends too early") };
        self.at += 1;
        Ok(*byte)
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let Some(taken) = self.rest().get(..count) else { return self.fail("it ends too early") };
        self.at += count;
        Ok(taken)
    }

    /// What follows its own length.
    pub(crate) fn part(&mut self) -> Result<Self, Malformed> {
        let count = self.u32()? as usize;
        let base = self.offset();
        Ok(Self::new(self.take(count)?, base))
    }

    pub(crate) fn name(&mut self) -> Result<&'a str, Malformed> {
        let bytes = self.part()?.bytes;
        str::from_utf8(bytes).or_else(|_| self.fail("a name is not UTF-8"))
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        match self.bytes.get(self.at) {
            // Nearly all of them.
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u32::from(*byte))
            }
            _ => Ok(self.number(32, false)? as u32),
        }
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(self.number(32, true)? as i32)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        self.number(64, true)
    }

    /// A number of so many bits (LEB128). Its last byte must not say more than fits into them.
    fn number(&mut self, bits: u32, signed: bool) -> Result<i64, Malformed> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.u8()?;
            number |= i64::from(byte & 0x7f) << shift;
            let room = bits - shift;
            if room < 7 {
                let beyond = if signed { (byte << 1).cast_signed() >> room } else { (byte >> room).cast_signed() };
                if byte >= 0x80 || !(beyond == 0 || signed && beyond == -1) {
                    return self.fail("a number is too long or too large");
                }
            }
            shift += 7;
            if byte < 0x80 {
                let unused = 64_u32.saturating_sub(shift);
                return Ok(if signed { number << unused >> unused } else { number });
            }
        }
    }

    /// A type of values, of which none refers to a function: what does could carry it into a table unseen.
    pub(crate) fn value_type(&mut self) -> Result<ValType, Malformed> {
        Ok(match self.u8()? {
            0x7f => ValType::I32,
            0x7e => ValType::I64,
            0x7d => ValType::F32,
            0x7c => ValType::F64,
            0x7b => ValType::V128,
            _ => return self.fail("a type that jobs must not use"),
        })
    }

    pub(crate) fn function_type(&mut self) -> Result<FuncType, Malformed> {
        if self.u8()? != 0x60 {
            return self.fail("a type that jobs must not use");
        }
        let params = self.list(Self::value_type)?;
        let results = self.list(Self::value_type)?;
        Ok(FuncType::new(params, results))
    }

    pub(crate) fn block_type(&mut self) -> Result<BlockType, Malformed> {
        match self.bytes.get(self.at) {
            Some(0x40) => {
                self.at += 1;
                Ok(BlockType::Empty)
            }
            // One byte, below zero as a number.
            Some(0x41..=0x7f) => Ok(BlockType::Type(self.value_type()?)),
            _ => match u32::try_from(self.number(33, true)?) {
                Ok(index) => Ok(BlockType::FuncType(index)),
                Err(_) => self.fail("a block of no type"),
            },
        }
    }

    /// As many as it says first. Nothing is set aside for what only says that it will come.
    pub(crate) fn list<T>(&mut self, one: impl Fn(&mut Self) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
        let mut list = Vec::new();
        for _ in 0..self.u32()? {
            list.push(one(self)?);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use std::prelude::v1::*;

    use super::*;

    #[test]
    fn numbers_have_their_bits_and_no_more() {
        let u32_of = |bytes: &[u8]| Reader::new(bytes, 0).u32().ok();
        assert_eq!(u32_of(&[0xe5, 0x8e, 0x26]), Some(624_485));
        assert_eq!(u32_of(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Some(u32::MAX));
        assert_eq!(u32_of(&[0xff, 0xff, 0xff, 0xff, 0x1f]), None, "33 bits");
        assert_eq!(u32_of(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), None, "six bytes");
        assert_eq!(u32_of(&[0x80, 0x00]), Some(0));
        assert_eq!(u32_of(&[0x80]), None);
        let i32_of = |bytes: &[u8]| Reader::new(bytes, 0).i32().ok();
        assert_eq!(i32_of(&[0x7f]), Some(-1));
        assert_eq!(i32_of(&[0x80, 0x80, 0x80, 0x80, 0x78]), Some(i32::MIN));
        assert_eq!(i32_of(&[0x80, 0x80, 0x80, 0x80, 0x08]), None, "2^31");
        let i64_of = |bytes: &[u8]| Reader::new(bytes, 0).i64().ok();
        let least = [&[0x80; 9][..], &[0x7f]].concat();
        assert_eq!(i64_of(&least), Some(i64::MIN));
        assert_eq!(i64_of(&[&[0x80; 9][..], &[0x01]].concat()), None, "2^63");
    }

    #[test]
    fn a_fault_is_said_to_be_where_it_is() {
        let mut reader = Reader::new(&[1, 0x80], 40);
        assert_eq!(reader.u32(), Ok(1));
        assert_eq!(reader.u32(), Err(Malformed { offset: 42, reason: "it ends too early" }));
    }

    #[test]
    fn attack_27_a_count_that_lies_sets_nothing_aside() {
        let mut reader = Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f], 0);
        assert!(reader.list(Reader::value_type).is_err());
    }
}
