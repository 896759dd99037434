//! Canonical form and a worker's form.
//!
//! Both have the same length, and differ in nothing but the tokens. A worker's tokens follow from the canonical ones by a key, so nothing
//! is stored for the way back: the unit's tokens are found in its canonical texts, and their counterparts are computed.

use core::cmp::Ordering;
use core::convert::Infallible;
use core::fmt;

use hashbrown::HashTable;
use manyhands_model::{UnitId, WorkerId};

use crate::mint::{TokenKey, WorkerMint};
use crate::token::{BYTES, Search, Token, find};

/// The canonical tokens of a unit: those of its input and of the answers that were recorded for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitTokens(
    /// In the order of their hashes, which are compared in a fraction of the time.
    Vec<Token>,
);

impl UnitTokens {
    /// Those in these canonical texts. In a text that was not made by [`tokenise`](crate::tokenise()) what looks like a token may be anything, so
    /// only units with sensitive fields have forms.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut tokens: Vec<Token> = texts.into_iter().flat_map(|text| find(text).map(|(_, token)| token)).collect();
        tokens.sort_unstable_by(order);
        tokens.dedup();
        Self(tokens)
    }

    /// Whether there are none: then every form of the unit is its canonical one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of them.
    pub fn contains(&self, token: &Token) -> bool {
        self.0.binary_search_by(|known| order(known, token)).is_ok()
    }

    /// Each of them once, in an order of no meaning.
    pub fn iter(&self) -> impl Iterator<Item = &Token> {
        self.0.iter()
    }
}

/// A token where none of the unit's stands: made up, or another unit's or worker's.
///
/// Alone it is no evidence against the worker, since a job may have written it; then every honest replica has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at} stands a token that is none of this unit's, {token:?}")]
pub struct Foreign {
    /// The index of its first byte.
    pub at: usize,
    /// It.
    pub token: Token,
}

/// How one worker sees one unit.
pub struct Form(WorkerMint);

impl Form {
    /// The form of `unit` for `worker`, with the key in whose epoch the unit was submitted.
    pub fn new(key: &TokenKey, unit: UnitId, worker: WorkerId) -> Self {
        Self(key.worker(unit, worker))
    }

    /// A canonical text of the unit as this worker sees it; as long as before.
    pub fn worker(&self, mut canonical: Vec<u8>) -> Vec<u8> {
        let Ok(()) = splice(&mut canonical, |_, token| Ok::<_, Infallible>(self.0.token(&token)));
        canonical
    }

    /// The way back, for what this worker answers. Takes about half a microsecond for each token.
    pub fn back(&self, tokens: &UnitTokens) -> Back {
        let mut table = HashTable::with_capacity(tokens.0.len());
        for canonical in tokens.iter() {
            let own = self.0.token(canonical);
            table.insert_unique(hash(&own), (own, *canonical), |(own, _)| hash(own));
        }
        Back(table)
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Form").finish_non_exhaustive()
    }
}

/// From one worker's form of one unit to its canonical form.
///
/// It needs no constant time: whoever asks it about a worker's token is that worker, who was given all that is in it.
#[derive(Debug)]
pub struct Back(HashTable<(Token, Token)>);

impl Back {
    /// What the worker answered, in canonical form: outputs, messages, calls; as long as before.
    ///
    /// # Errors
    /// [`Foreign`] when a token in it is none that this worker was given for this unit; canonical ones are none either. The text is
    /// dropped, since a part of it is changed.
    pub fn canonical(&self, mut answered: Vec<u8>) -> Result<Vec<u8>, Foreign> {
        splice(&mut answered, |at, token| self.canonical_of(&token).ok_or(Foreign { at, token }))?;
        Ok(answered)
    }

    /// The canonical token for one of the worker's: so a token that is found elsewhere names who let it out.
    pub fn canonical_of(&self, own: &Token) -> Option<Token> {
        self.0.find(hash(own), |(known, _)| known == own).map(|(_, canonical)| *canonical)
    }
}

/// Puts another token in the place of each.
fn splice<E>(text: &mut [u8], other: impl Fn(usize, Token) -> Result<Token, E>) -> Result<(), E> {
    let search = Search::new();
    let mut from = 0;
    while let Some((at, token)) = search.next(text, from) {
        let other = other(at, token)?;
        from = at + BYTES;
        text[at..from].copy_from_slice(other.as_bytes());
    }
    Ok(())
}

/// Sixteen digits of the payload, 80 bits that are random already; the product spreads them to those that the table looks at. What is looked up may
/// be chosen by somebody, what is in the table is not, so no key is needed against collisions.
fn hash(token: &Token) -> u64 {
    let digits = token.as_bytes()[5..13].try_into().map(u64::from_le_bytes).unwrap_or_default();
    let more = token.as_bytes()[13..21].try_into().map(u64::from_le_bytes).unwrap_or_default();
    let product = u128::from(digits ^ more.rotate_left(3)) * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}

fn order(one: &Token, other: &Token) -> Ordering {
    hash(one).cmp(&hash(other)).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use manyhands_model::{Class, RunId};

    use super::*;
    use crate::mint::{Occurrence, Scope, Source};

    const UNIT: UnitId = UnitId { run: RunId([1; 16]), index: 0 };
    const ALICE: WorkerId = WorkerId([1; 32]);
    const BOB: WorkerId = WorkerId([2; 32]);

    fn key() -> TokenKey {
        TokenKey::derive(&[7; 32], 0)
    }

    fn tokens(unit: UnitId, count: u32) -> Vec<Token> {
        let job = "a".parse().expect("a job name");
        let mint = key().mint(&Scope { tenant: "t", job: &job, unit });
        let fresh = |index| mint.fresh(Class::ALL[index as usize % 10], Occurrence { source: Source::Input, index });
        (0..count).map(fresh).collect()
    }

    fn text(tokens: &[Token]) -> Vec<u8> {
        let values = tokens.iter().map(|token| format!("\"Dear {token}son\""));
        format!("[{}]", values.collect::<Vec<_>>().join(",")).into_bytes()
    }

    fn own(worker: WorkerId, canonical: &[u8]) -> Vec<u8> {
        Form::new(&key(), UNIT, worker).worker(canonical.to_vec())
    }

    fn back(worker: WorkerId, canonical: &[u8]) -> Back {
        Form::new(&key(), UNIT, worker).back(&UnitTokens::of([canonical]))
    }

    #[test]
    fn there_and_back_is_the_same_and_each_worker_sees_another() {
        let canonical = text(&tokens(UNIT, 1000));
        let of = |worker| {
            let own = own(worker, &canonical);
            assert_eq!(own.len(), canonical.len());
            assert_eq!(back(worker, &canonical).canonical(own.clone()), Ok(canonical.clone()));
            own
        };
        let seen = [canonical.clone(), of(ALICE), of(BOB)].map(|text| UnitTokens::of([&text[..]]));
        for (number, one) in seen.iter().enumerate() {
            assert_eq!(one.iter().count(), 1000);
            for other in &seen[number + 1..] {
                assert!(!one.iter().any(|token| other.contains(token)));
            }
        }
    }

    #[test]
    fn attack_13_tokens_of_others_are_foreign() {
        let canonical = text(&tokens(UNIT, 3));
        let alice = back(ALICE, &canonical);
        let elsewhere = tokens(UnitId { index: 1, ..UNIT }, 1);
        // Bob's of the same unit, the canonical ones themselves, another unit's.
        for (answered, at) in [
            (own(BOB, &canonical), 7),
            (canonical.clone(), 7),
            (text(&elsewhere), 7),
            (elsewhere[0].to_string().into(), 0),
        ] {
            assert_eq!(alice.canonical(answered).expect_err("foreign").at, at);
        }
    }

    #[test]
    fn a_token_that_got_out_names_its_worker() {
        let canonical = text(&tokens(UNIT, 3));
        let (_, leaked) = find(&own(BOB, &canonical)).nth(1).expect("three tokens");
        assert_eq!(back(ALICE, &canonical).canonical_of(&leaked), None);
        assert_eq!(back(BOB, &canonical).canonical_of(&leaked), Some(tokens(UNIT, 3)[1]));
    }

    #[test]
    fn attack_9_a_cut_token_stays_as_it_is() {
        let canonical = text(&tokens(UNIT, 1));
        let own = own(ALICE, &canonical);
        for cut in 8..7 + BYTES {
            let parts = [&own[..cut], b"\",\"", &own[cut..]].concat();
            assert_eq!(back(ALICE, &canonical).canonical(parts.clone()), Ok(parts));
        }
    }

    #[test]
    fn without_tokens_nothing_changes() {
        assert!(UnitTokens::of([&b"[1,2]"[..]]).is_empty());
        assert_eq!(own(ALICE, b"[1,2]"), b"[1,2]");
        assert_eq!(back(ALICE, b"[1,2]").canonical(b"dtk1".to_vec()), Ok(b"dtk1".to_vec()));
    }
}
