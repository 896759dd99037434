//! Values that an upstream repeats.
//!
//! Texts come back as tokens, whatever is in them. What an answer shows as it is (ids, numbers, days) could carry a value as well, also
//! in another coding; so it is held against the values that are known. This cannot be complete, which is why so little is
//! shown as it is: an upstream that wants to tell workers something can always choose an id.

use core::fmt;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD, Encoding, HEXLOWER};
use zeroize::Zeroizing;

/// Characters that a value and a form need to be looked for at all. Shorter ones are met by chance, and guessed as easily.
const CHARACTERS_MIN: usize = 4;
/// Those that it needs to be looked for within something longer, or in parts.
const WITHIN_MIN: usize = 6;

/// Values that must not be shown, in the forms that letters and digits can give them. Wiped from memory when it is dropped.
///
/// Case and everything but letters and digits of ASCII do not count. The forms: as it is, backwards, in hexadecimal, in base32 and
/// base64 at every offset.
pub struct Live(Vec<Zeroizing<String>>);

impl Live {
    /// Forms of these values.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut forms = Vec::new();
        for value in values {
            if value.chars().count() < CHARACTERS_MIN {
                continue;
            }
            let backwards = Zeroizing::new(value.chars().rev().collect::<String>());
            forms.extend([plain(value), plain(&backwards)]);
            // After so many bytes a coding's digits begin with a byte again.
            for (coding, period) in [(&HEXLOWER, 1), (&BASE32_NOPAD, 5), (&BASE64URL_NOPAD, 3)] {
                forms.extend((0..period).map(|offset| at_offset(value.as_bytes(), coding, offset)));
            }
        }
        forms.retain(|form| form.len() >= CHARACTERS_MIN);
        Self(forms)
    }

    /// Whether a text is one of the values, holds one, or is a quarter of one and more.
    pub fn shows(&self, text: &str) -> bool {
        let text = plain(text);
        self.0.iter().any(|form| {
            **form == *text
                || form.len() >= WITHIN_MIN && text.contains(&**form)
                // A word of a long text tells little, and is met by chance.
                || text.len() >= WITHIN_MIN && 4 * text.len() >= form.len() && form.contains(&*text)
        })
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Live({} forms)", self.0.len())
    }
}

/// Letters and digits of ASCII, in lower case.
fn plain(text: &str) -> Zeroizing<String> {
    let mut plain = Zeroizing::new(String::with_capacity(text.len()));
    plain.extend(text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()));
    plain
}

/// What of these bytes' text in a coding of so many bits a digit depends on them alone, if so many other bytes stand before them.
fn at_offset(bytes: &[u8], coding: &Encoding, offset: usize) -> Zeroizing<String> {
    let mut shifted = Zeroizing::new(vec![0; offset + bytes.len()]);
    shifted[offset..].copy_from_slice(bytes);
    let text = Zeroizing::new(coding.encode(&shifted));
    let bits = coding.bit_width();
    let own = (offset * 8).div_ceil(bits)..shifted.len() * 8 / bits;
    plain(text.get(own).unwrap_or_default())
}
