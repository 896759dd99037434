//! Bytes of a length that is known, read by a loop.
//!
//! serde's own code for an array has a step for each element, in every program that reads one.

use core::fmt;

use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

/// For `#[serde(deserialize_with = …)]`: what serde writes for an array of bytes.
///
/// # Errors
/// That the input ends too early, or whatever the format complains about.
pub fn deserialize<'de, const N: usize, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; N], D::Error> {
    deserializer.deserialize_tuple(N, Array::<N>)
}

struct Array<const N: usize>;

impl<'de, const N: usize> Visitor<'de> for Array<N> {
    type Value = [u8; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{N} bytes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut bytes: A) -> Result<[u8; N], A::Error> {
        let mut array = [0; N];
        for (at, place) in array.iter_mut().enumerate() {
            *place = bytes.next_element()?.ok_or_else(|| A::Error::invalid_length(at, &self))?;
        }
        Ok(array)
    }
}

#[cfg(test)]
mod tests {
    use std::prelude::v1::*;

    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Four(#[serde(deserialize_with = "super::deserialize")] [u8; 4]);

    #[test]
    fn what_serde_writes_is_read_and_nothing_else() {
        let bytes = postcard::to_allocvec(&[1_u8, 2, 0, 255]).expect("serialises");
        assert_eq!(postcard::from_bytes(&bytes), Ok(Four([1, 2, 0, 255])));
        for cut in 0..bytes.len() {
            assert!(postcard::from_bytes::<Four>(&bytes[..cut]).is_err(), "{cut}");
        }
        assert_eq!(serde_json::from_str::<Four>("[1,2,0,255]").expect("parses"), Four([1, 2, 0, 255]));
        for text in ["[1,2,3]", "[1,2,3,4,5]", "[1,2,3,256]", "\"abcd\""] {
            assert!(serde_json::from_str::<Four>(text).is_err(), "{text}");
        }
    }
}
