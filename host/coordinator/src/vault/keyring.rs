//! The vault's keys, as they lie in their file.
//!
//! ```text
//! manyhands vault 1
//! age 7
//! root 64 hexadecimal digits
//! key 3 64 hexadecimal digits
//! key 4 64 hexadecimal digits
//! ```
//!
//! Tokens, names, idempotency keys and the seals of clients' records follow from the root, which never changes. Values are sealed under the last key; those before it
//! are there as long as anything is sealed under them. How old the file is, the data must be at least: see [`super::Vault::grow`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

const HEAD: &str = "manyhands vault 1";

/// 32 random bytes.
pub(super) type Secret = Zeroizing<[u8; 32]>;

#[derive(Clone)]
pub(super) struct KeyRing {
    pub(super) age: u64,
    pub(super) root: Secret,
    /// By their numbers. Never empty.
    pub(super) keys: BTreeMap<u32, Secret>,
}

impl KeyRing {
    /// With a root and a first key.
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        Ok(Self { age: 0, root: random()?, keys: BTreeMap::from([(0, random()?)]) })
    }

    /// Another key, under which values are sealed from now on.
    pub(super) fn add(&mut self) -> Result<u32, getrandom::Error> {
        let number = self.newest() + 1;
        self.keys.insert(number, random()?);
        Ok(number)
    }

    pub(super) fn newest(&self) -> u32 {
        self.keys.last_key_value().map_or(0, |(number, _)| *number)
    }

    pub(super) fn text(&self) -> Zeroizing<String> {
        // As long as it gets, so that no copy is left behind by growing.
        let mut text = Zeroizing::new(String::with_capacity(128 + 96 * (self.keys.len() + 1)));
        let hex = |secret: &Secret| Zeroizing::new(HEXLOWER.encode(&**secret));
        // Writing to a string does not fail.
        let _ = write!(text, "{HEAD}\nage {}\nroot {}\n", self.age, *hex(&self.root));
        for (number, key) in &self.keys {
            let _ = writeln!(text, "key {number} {}", *hex(key));
        }
        text
    }

    /// `None` if this is no such text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut line = || lines.next();
        if line()? != HEAD {
            return None;
        }
        let age = line()?.strip_prefix("age ")?.parse().ok()?;
        let root = secret(line()?.strip_prefix("root ")?)?;
        let mut keys = BTreeMap::new();
        for line in lines {
            let (number, key) = line.strip_prefix("key ")?.split_once(' ')?;
            keys.insert(number.parse().ok()?, secret(key)?);
        }
        (!keys.is_empty()).then_some(Self { age, root, keys })
    }
}

fn random() -> Result<Secret, getrandom::Error> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *secret)?;
    Ok(secret)
}

fn secret(hex: &str) -> Option<Secret> {
    let mut secret = Zeroizing::new([0; 32]);
    (hex.len() == 64).then_some(())?;
    HEXLOWER.decode_mut(hex.as_bytes(), &mut *secret).ok()?;
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nothing_else_is() {
        let mut ring = KeyRing::new().unwrap();
        assert_eq!((ring.add().unwrap(), ring.add().unwrap()), (1, 2));
        ring.age = 7;
        ring.keys.remove(&0);
        let text = ring.text();
        let again = KeyRing::parse(&text).unwrap();
        assert_eq!((again.age, &again.root, &again.keys), (7, &ring.root, &ring.keys));
        assert_eq!(again.newest(), 2);
        let lines: Vec<&str> = text.lines().collect();
        for cut in 0..4 {
            assert!(KeyRing::parse(&lines[..cut].join("\n")).is_none(), "{cut} lines");
        }
        for (from, to) in [("vault 1", "vault 2"), ("age 7", "age -7"), ("key 2 ", "key two "), ("root ", "root 0")] {
            assert!(KeyRing::parse(&text.replace(from, to)).is_none(), "{from} -> {to}");
        }
    }
}
