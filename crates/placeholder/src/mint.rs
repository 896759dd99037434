//! How tokens follow from keys.
//!
//! ```text
//! master ──▶ key of an epoch ─┬─▶ key of a unit ──▶ canonical token of an occurrence
//!                             ├─▶ key of a run ───▶ canonical token of a value, where equal values shall have equal tokens
//!                             └─▶ key of a unit and a worker ──▶ worker's token of a canonical one
//! ```
//!
//! Each arrow is keyed BLAKE3 (the first one its key derivation), a pseudorandom function: who does not have the key cannot tell its results from
//! random bytes, so a token says nothing about its value, about other tokens, or that two workers' tokens stand for the same.

use core::fmt;

use manyhands_model::{Class, JobName, UnitId, WorkerId};
use zeroize::Zeroizing;

use crate::{Token, Value};

/// Separates these keys from all others that follow from the same master.
const EPOCH_CONTEXT: &str = "manyhands placeholder v1: key of an epoch";

type Key = Zeroizing<[u8; 32]>;

/// What all tokens of an epoch follow from. Wiped from memory when it is dropped.
#[derive(Clone)]
pub struct TokenKey {
    epoch: u32,
    key: Key,
}

impl TokenKey {
    /// The key of this epoch. Epochs part what is lost with one key; a unit's tokens stay with the epoch in which they were minted.
    pub fn derive(master: &[u8; 32], epoch: u32) -> Self {
        let mut material = Zeroizing::new([0; 36]);
        material[..32].copy_from_slice(master);
        material[32..].copy_from_slice(&epoch.to_le_bytes());
        Self { epoch, key: Zeroizing::new(blake3::derive_key(EPOCH_CONTEXT, &*material)) }
    }

    /// Its number.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What mints the canonical tokens of a unit.
    pub fn mint(&self, scope: &Scope<'_>) -> Mint {
        let Scope { tenant, job, unit: UnitId { run, index } } = scope;
        let [tenant, job, run]: [&[u8]; 3] = [tenant.as_bytes(), job.as_str().as_bytes(), run.as_bytes()];
        Mint {
            unit: prf(&self.key, &[b"unit", tenant, job, run, &index.to_le_bytes()]),
            run: prf(&self.key, &[b"run", tenant, job, run]),
        }
    }

    /// What makes a worker's tokens of a unit's canonical ones.
    pub(crate) fn worker(&self, unit: UnitId, worker: WorkerId) -> WorkerMint {
        WorkerMint(prf(&self.key, &[b"worker", worker.as_bytes(), unit.run.as_bytes(), &unit.index.to_le_bytes()]))
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// Where tokens are valid, and nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Whose run it is.
    pub tenant: &'a str,
    /// Of which job.
    pub job: &'a JobName,
    /// The unit.
    pub unit: UnitId,
}

/// Which of a unit's texts a value comes from. A text that takes another's place needs another source: equal occurrences have equal tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Its input.
    Input,
    /// The answer to a call.
    Answer {
        /// The step of the unit, from 0: how often it had been executed before it asked.
        step: u32,
        /// The call's number in that step, from 0.
        call: u32,
    },
}

/// Which value of a unit: no two have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Occurrence {
    /// From which text.
    pub source: Source,
    /// Its number among the values that are taken from this text, from 0.
    pub index: u32,
}

impl Occurrence {
    /// Every occurrence has other bytes, and all have as many.
    fn bytes(self, purpose: u8) -> [u8; 14] {
        let (kind, step, call) = match self.source {
            Source::Input => (0, 0, 0),
            Source::Answer { step, call } => (1, step, call),
        };
        let mut bytes = [0; 14];
        bytes[0] = purpose;
        bytes[1] = kind;
        bytes[2..6].copy_from_slice(&step.to_le_bytes());
        bytes[6..10].copy_from_slice(&call.to_le_bytes());
        bytes[10..].copy_from_slice(&self.index.to_le_bytes());
        bytes
    }
}

/// Mints the canonical tokens of one unit. Wiped from memory when it is dropped.
pub struct Mint {
    unit: Key,
    run: Key,
}

impl Mint {
    /// The token of one occurrence: no other has the same, whatever their values.
    pub fn fresh(&self, class: Class, occurrence: Occurrence) -> Token {
        token(class, &self.unit, &occurrence.bytes(class.letter()))
    }

    /// The token of a value: every equal value of this class in the run has the same.
    pub fn joined(&self, class: Class, value: &Value) -> Token {
        let kind = if value.is_text() { b"text" } else { b"json" };
        let bits = prf(&self.run, &[&[class.letter()], kind, value.text().as_bytes()]);
        Token::new(class, &bits)
    }

    /// Numbers that nobody can guess, for an occurrence's surrogate.
    pub(crate) fn random(&self, class: Class, occurrence: Occurrence) -> impl FnMut() -> u64 {
        // In upper case, so that they have nothing to do with its token.
        let purpose = class.letter().to_ascii_uppercase();
        let mut bits = blake3::Hasher::new_keyed(&self.unit).update(&occurrence.bytes(purpose)).finalize_xof();
        move || {
            let mut bytes = [0; 8];
            bits.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        }
    }
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mint").finish_non_exhaustive()
    }
}

/// Makes one worker's tokens of one unit.
pub(crate) struct WorkerMint(Key);

impl WorkerMint {
    pub(crate) fn token(&self, canonical: &Token) -> Token {
        token(canonical.class(), &self.0, canonical.as_bytes())
    }
}

fn token(class: Class, key: &Key, input: &[u8]) -> Token {
    Token::new(class, blake3::keyed_hash(key, input).as_bytes())
}

/// Keyed BLAKE3 over parts, each behind its length, so that no two lists of parts are the same bytes.
fn prf(key: &Key, parts: &[&[u8]]) -> Key {
    let mut hasher = blake3::Hasher::new_keyed(key);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    Zeroizing::new(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use manyhands_model::RunId;

    use super::*;

    fn name(text: &str) -> JobName {
        text.parse().expect("a job name")
    }

    fn scope<'a>(tenant: &'a str, job: &'a JobName, run: u8, index: u32) -> Scope<'a> {
        Scope { tenant, job, unit: UnitId { run: RunId([run; 16]), index } }
    }

    const FIRST: Occurrence = Occurrence { source: Source::Input, index: 0 };

    /// The way from the master to a token cannot change unnoticed: units wait for their workers across restarts.
    #[test]
    fn tokens_are_fixed() {
        let key = TokenKey::derive(&[7; 32], 3);
        let job = name("letters");
        let scope = scope("alice", &job, 9, 4);
        let mint = key.mint(&scope);
        let canonical = mint.fresh(Class::Email, FIRST);
        let answered = Occurrence { source: Source::Answer { step: 1, call: 2 }, index: 3 };
        let joined = mint.joined(Class::Card, &Value::of_text("4111 1111 1111 1111"));
        let worker = key.worker(scope.unit, WorkerId([5; 32])).token(&canonical);
        let tokens = [canonical, mint.fresh(Class::Name, answered), joined, worker].map(|token| token.to_string());
        assert_eq!(
            tokens,
            [
                "dtk1ewb7khymk34oprdrovycy3umzm6k6",
                "dtk1natc7fxazz74urrfih57xw5gwgzzd",
                "dtk1csrr2r3hnk22p2ctqupmh52ahaj7b",
                "dtk1ej4ojlvm5v5x2bzfrsxhw3fimmsh7",
            ]
        );
    }

    #[test]
    fn attack_13_whatever_differs_the_token_differs() {
        let (a, ab) = (name("a"), name("ab"));
        let mut seen = BTreeSet::new();
        for epoch in [0, 1, 256] {
            let key = TokenKey::derive(&[7; 32], epoch);
            // `b` + `a` and `ba` + nothing read the same one after the other.
            for (tenant, job) in [("b", &a), ("b", &ab), ("ba", &a), ("", &a)] {
                for (run, index) in [(0, 0), (0, 1), (1, 0), (1, 256)] {
                    let scope = scope(tenant, job, run, index);
                    let mint = key.mint(&scope);
                    for class in [Class::Email, Class::Text] {
                        for source in [
                            Source::Input,
                            Source::Answer { step: 0, call: 0 },
                            Source::Answer { step: 0, call: 1 },
                            Source::Answer { step: 1, call: 0 },
                        ] {
                            for index in [0, 1, 256] {
                                let canonical = mint.fresh(class, Occurrence { source, index });
                                assert!(seen.insert(canonical));
                                for worker in [1, 2] {
                                    assert!(
                                        seen.insert(key.worker(scope.unit, WorkerId([worker; 32])).token(&canonical))
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn attack_12_equal_values_have_equal_tokens_within_a_run_only() {
        let key = TokenKey::derive(&[7; 32], 0);
        let job = name("a");
        let joined = |tenant, run, index, class, json: &str| {
            key.mint(&scope(tenant, &job, run, index)).joined(class, &Value::of_json(json).expect("a value"))
        };
        let token = joined("t", 1, 0, Class::Text, r#""4A""#);
        assert_eq!(token, joined("t", 1, 9, Class::Text, r#""4\u0041""#));
        for other in [
            joined("u", 1, 0, Class::Text, r#""4A""#),
            joined("t", 2, 0, Class::Text, r#""4A""#),
            joined("t", 1, 0, Class::Name, r#""4A""#),
            joined("t", 1, 0, Class::Text, r#""4B""#),
        ] {
            assert_ne!(token, other);
        }
        assert_ne!(joined("t", 1, 0, Class::Number, "4"), joined("t", 1, 0, Class::Number, "\"4\""));
    }

    #[test]
    fn attack_42_keys_show_nothing() {
        let key = TokenKey::derive(&[7; 32], 3);
        assert_eq!(format!("{key:?}"), "TokenKey { epoch: 3, .. }");
        assert_eq!(format!("{:?}", key.mint(&scope("t", &name("a"), 0, 0))), "Mint { .. }");
    }
}
