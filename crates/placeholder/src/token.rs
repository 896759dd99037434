//! What stands for a value: the form is in [`manyhands_abi::token`], since jobs know it too; here is who mints and finds them.

use core::fmt;
use core::str::FromStr;

pub use manyhands_abi::token::{BYTES, PREFIX};
use manyhands_abi::token::{CHECK, CLASS, DIGITS, PAYLOAD, check, is_well_formed};
use manyhands_model::Class;
use memchr::memmem::Finder;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Stands for one sensitive value. That it is well formed does not mean that anybody minted it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token([u8; BYTES]);

impl Token {
    /// A token of this class with the first 130 bits of `bits`.
    pub(crate) fn new(class: Class, bits: &[u8; 32]) -> Self {
        let mut token = [0; BYTES];
        token[..PREFIX.len()].copy_from_slice(PREFIX);
        token[CLASS] = class.letter();
        let (mut rest, mut held, mut bytes) = (0_u32, 0, bits.iter());
        for digit in &mut token[PAYLOAD..CHECK] {
            if held < 5 {
                rest = rest << 8 | u32::from(*bytes.next().unwrap_or(&0));
                held += 8;
            }
            held -= 5;
            *digit = DIGITS[(rest >> held) as usize % 32];
        }
        let check = check(&token);
        token[CHECK..].copy_from_slice(&check);
        Self(token)
    }

    /// Reads a token, which must be the whole of `bytes`. There is one way to write each.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let token: [u8; BYTES] = bytes.try_into().ok()?;
        (is_well_formed(&token) && Class::of_letter(token[CLASS]).is_some()).then_some(Self(token))
    }

    /// The class of its value.
    pub fn class(&self) -> Class {
        Class::of_letter(self.0[CLASS]).unwrap_or(Class::Secret)
    }

    /// Its bytes, all of them ASCII.
    pub const fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Finds tokens in bytes, from the left to the right; where two overlap, the first counts.
pub(crate) struct Search(Finder<'static>);

impl Search {
    pub(crate) fn new() -> Self {
        Self(Finder::new(PREFIX))
    }

    /// The first token at or behind `from`, and where it begins.
    pub(crate) fn next(&self, bytes: &[u8], mut from: usize) -> Option<(usize, Token)> {
        loop {
            let at = from + self.0.find(bytes.get(from..)?)?;
            if let Some(token) = bytes.get(at..at + BYTES).and_then(Token::parse) {
                return Some((at, token));
            }
            from = at + PREFIX.len();
        }
    }
}

/// All tokens in `bytes`, with the index of their first byte; where two overlap, the first counts.
pub fn find(bytes: &[u8]) -> impl Iterator<Item = (usize, Token)> {
    let search = Search::new();
    let mut from = 0;
    core::iter::from_fn(move || {
        let found = search.next(bytes, from)?;
        from = found.0 + BYTES;
        Some(found)
    })
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token: expected `dtk1`, the letter of a class, 26 of a-z and 2-7, and two more that fit")]
pub struct NotToken;

impl FromStr for Token {
    type Err = NotToken;

    fn from_str(text: &str) -> Result<Self, NotToken> {
        Self::parse(text.as_bytes()).ok_or(NotToken)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", &self.as_str()[..12])
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use manyhands_model::digits::BASE32;

    use super::*;

    fn token(seed: u8) -> Token {
        let bits = core::array::from_fn(|at| seed.wrapping_mul(31).wrapping_add((at * 73) as u8));
        Token::new(Class::ALL[usize::from(seed) % Class::ALL.len()], &bits)
    }

    #[test]
    fn a_token_has_its_class_and_its_bits_and_is_read_back() {
        for class in Class::ALL {
            let bits = core::array::from_fn(|at| (at * 37 + 200) as u8);
            let token = Token::new(class, &bits);
            assert_eq!(token.class(), class);
            assert_eq!(token.as_str()[PAYLOAD..CHECK], BASE32.write(&bits)[..26]);
            assert_eq!(token.as_str().parse(), Ok(token));
            let json = serde_json::to_string(&token).expect("writes");
            assert_eq!(json, format!("\"{token}\""));
            assert_eq!(serde_json::from_str::<Token>(&json).expect("reads"), token);
        }
    }

    /// The format cannot change unnoticed: tokens are stored.
    #[test]
    fn the_bytes_of_a_token_are_fixed() {
        let bits = core::array::from_fn(|at| at as u8);
        assert_eq!(Token::new(Class::Email, &bits).as_str(), "dtk1eaaaqeayeaudaocajbifqydiob4ek");
    }

    #[test]
    fn attack_8_only_the_exact_form_is_a_token() {
        let good = token(1);
        let text = good.as_str();
        for bad in [
            &text[..32],
            &text[1..],
            &format!("{text}a"),
            &format!(" {text}"),
            &format!("{text}\n"),
            &text.to_uppercase(),
            &text.replace("dtk1", "dtk2"),
            &text.replace("dtk1", "Dtk1"),
            &text.replacen(&text[4..5], "x", 1),
            "",
            "dtk1",
        ] {
            assert_eq!(bad.parse::<Token>(), Err(NotToken), "{bad}");
        }
        assert!(serde_json::from_str::<Token>(&format!("\"{}\"", &text[..32])).is_err());
    }

    #[test]
    fn attack_8_one_or_two_wrong_characters_are_noticed() {
        for seed in 0..4 {
            let good = token(seed);
            for one in PREFIX.len()..BYTES {
                for other in one..BYTES {
                    for change in 1..32 {
                        let mut bad = *good.as_bytes();
                        let value = |digit: u8| DIGITS.iter().position(|known| *known == digit).expect("a digit");
                        let turn = |digit: u8, by: u8| DIGITS[value(digit) ^ usize::from(by)];
                        bad[one] = turn(bad[one], change);
                        if other > one {
                            bad[other] = turn(bad[other], 1 + change * 7 % 31);
                        }
                        assert_eq!(Token::parse(&bad), None, "{good} at {one} and {other}");
                    }
                }
                if one + 1 < BYTES {
                    let mut bad = *good.as_bytes();
                    bad.swap(one, one + 1);
                    assert!(Token::parse(&bad).is_none() || bad == *good.as_bytes());
                }
            }
        }
    }

    #[test]
    fn tokens_are_found_wherever_they_stand() {
        let (a, b) = (token(1), token(2));
        for between in ["", "dtk1", "1", "\"", "dtk1dtk1e", " \u{e9} "] {
            let text = format!("{between}{a}{between}{b}{between}");
            let found: Vec<_> = find(text.as_bytes()).collect();
            let first = between.len();
            assert_eq!(found, [(first, a), (2 * first + BYTES, b)], "{text}");
        }
        assert_eq!(find(b"dtk").count() + find(b"").count() + find(b"dtk1").count(), 0);
    }

    /// A token whose check ends in `dtk` can be followed by what makes another one of it.
    #[test]
    fn where_two_overlap_the_first_counts() {
        let ends_in_d = (0..=u8::MAX).map(token).find(|token| token.0[BYTES - 1] == b'd').expect("one in 32 does");
        let text = format!("{}{}", ends_in_d, &token(3).as_str()[1..]);
        assert_eq!(find(text.as_bytes()).collect::<Vec<_>>(), [(0, ends_in_d)]);
        assert_eq!(find(&text.as_bytes()[1..]).collect::<Vec<_>>(), [(BYTES - 2, token(3))]);
    }

    #[test]
    fn attack_9_a_token_that_is_cut_is_none() {
        let text = token(5).as_str().to_owned();
        for cut in 1..BYTES {
            // What is well formed by chance, one in a thousand where letters are put in, is still nobody's: see `Foreign`.
            for glue in ["", " ", "\"", "\",\"", "\n", "1", "A"] {
                let cut =
                    if glue.is_empty() { text[..cut].to_owned() } else { [&text[..cut], glue, &text[cut..]].concat() };
                assert_eq!(find(cut.as_bytes()).count(), 0, "{cut}");
            }
        }
    }
}
