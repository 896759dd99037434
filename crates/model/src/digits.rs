//! Bytes as text: hexadecimal, and base32 for names.

use alloc::string::String;

/// A way to write bytes as digits of so many bits, the highest first. The last digit is filled up with zeros.
///
/// Each text stands for one row of bytes, and each row of bytes has one text.
pub struct Digits {
    bits: u32,
    all: &'static [u8],
}

/// Base16 (RFC 4648, section 8) in lower case.
pub const HEX: Digits = Digits { bits: 4, all: b"0123456789abcdef" };

/// Base32 (RFC 4648, section 6) in lower case without padding: safe in URLs, file names and double clicks.
pub const BASE32: Digits = Digits { bits: 5, all: b"abcdefghijklmnopqrstuvwxyz234567" };

impl Digits {
    /// The text of these bytes.
    pub fn write(&self, bytes: &[u8]) -> String {
        let mut text = String::with_capacity((bytes.len() * 8).div_ceil(self.bits as usize));
        let (mut rest, mut bits) = (0_u32, 0);
        let mut push = |value: u32| text.push(self.all[value as usize % self.all.len()].into());
        for byte in bytes {
            rest = rest << 8 | u32::from(*byte);
            bits += 8;
            while bits >= self.bits {
                bits -= self.bits;
                push(rest >> bits);
            }
        }
        if bits > 0 {
            push(rest << (self.bits - bits));
        }
        text
    }

    /// The bytes of this text, if it is the text of so many.
    pub fn read<const N: usize>(&self, text: &str) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read_into(text.as_bytes(), &mut bytes).then_some(bytes)
    }

    fn read_into(&self, text: &[u8], bytes: &mut [u8]) -> bool {
        if text.len() != (bytes.len() * 8).div_ceil(self.bits as usize) {
            return false;
        }
        let (mut rest, mut bits) = (0_u32, 0);
        let mut bytes = bytes.iter_mut();
        for digit in text {
            let Some(value) = self.all.iter().position(|known| known == digit) else { return false };
            rest = rest << self.bits | value as u32;
            bits += self.bits;
            if bits >= 8
                && let Some(byte) = bytes.next()
            {
                bits -= 8;
                *byte = (rest >> bits) as u8;
                rest &= (1 << bits) - 1;
            }
        }
        // What fills up the last digit.
        rest == 0
    }
}

#[cfg(test)]
mod tests {
    use std::prelude::v1::*;

    use super::*;

    /// RFC 4648, section 10, in lower case and without padding.
    #[test]
    fn the_standards_examples_hold() {
        assert_eq!(HEX.write(b"foobar"), "666f6f626172");
        let texts = ["", "my", "mzxq", "mzxw6", "mzxw6yq", "mzxw6ytb", "mzxw6ytboi"];
        for (length, text) in texts.into_iter().enumerate() {
            assert_eq!(BASE32.write(&b"foobar"[..length]), text);
        }
        assert_eq!(BASE32.read("mzxw6yq"), Some(*b"foob"));
        assert_eq!(HEX.read("666f6f"), Some(*b"foo"));
        assert_eq!(BASE32.read(""), Some([]));
    }

    #[test]
    fn every_byte_survives() {
        for byte in 0..=255_u8 {
            let bytes = [byte, !byte, 0, byte, 255];
            assert_eq!(HEX.read(&HEX.write(&bytes)), Some(bytes));
            assert_eq!(BASE32.read(&BASE32.write(&bytes)), Some(bytes));
            assert_eq!(BASE32.read(&BASE32.write(&bytes[..2])), Some([byte, !byte]));
        }
    }

    #[test]
    fn no_other_text_is_read() {
        for text in ["666f6", "666f6f6", "666F6f", "666g6f", "66 f6f", "666f6\u{e9}", "-66f6f", "0x666f"] {
            assert_eq!(HEX.read::<3>(text), None, "{text}");
        }
        for text in ["mzxw6y", "mzxw6yqa", "MZXW6YQ", "mzxw6y1", "mzxw6y8", "mzxw6y=", "mzxw\u{e9}q", "mzxw6y "] {
            assert_eq!(BASE32.read::<4>(text), None, "{text}");
        }
    }

    /// Who may write one name in several ways may have it twice.
    #[test]
    fn what_fills_up_the_last_digit_is_zero() {
        assert_eq!(BASE32.read("mzxw6yq"), Some(*b"foob"));
        for text in ["mzxw6yr", "mzxw6yx", "mzxw6y7"] {
            assert_eq!(BASE32.read::<4>(text), None, "{text}");
        }
    }
}
