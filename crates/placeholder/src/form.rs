//! Canonical form and a worker's form.
//!
//! Both have the same length, and differ in nothing but the tokens. A worker's tokens follow from the canonical ones by a key, so nothing
//! is stored for the way back: the unit's tokens are found in its canonical texts, and their counterparts are computed.

use hashbrown::HashTable;
use manyhands_model::{UnitId, WorkerId};

use crate::token::{BYTES, Search, find};
use crate::{Token, TokenKey};

/// The canonical tokens of a unit: those of its input and of the answers that were recorded for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitTokens(Vec<Token>);

impl UnitTokens {
    /// Those in these canonical texts.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut tokens: Vec<Token> = texts.into_iter().flat_map(|text| find(text).map(|(_, token)| token)).collect();
        tokens.sort_unstable();
        tokens.dedup();
        Self(tokens)
    }

    /// Whether there are none: then every form of the unit is its canonical one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is one of them.
    pub fn contains(&self, token: &Token) -> bool {
        self.0.binary_search(token).is_ok()
    }

    /// Each of them once, in their order.
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
///
/// The tables need no constant time: whoever asks one about a worker's token is that worker, who was given all that is in it.
#[derive(Debug)]
pub struct Form {
    to_worker: Table,
    to_canonical: Table,
}

impl Form {
    /// The form of `unit` for `worker`, with the key in whose epoch the unit was submitted.
    pub fn new(key: &TokenKey, unit: UnitId, worker: WorkerId, tokens: &UnitTokens) -> Self {
        let mint = key.worker(unit, worker);
        let mut form = Self { to_worker: Table::of(tokens.0.len()), to_canonical: Table::of(tokens.0.len()) };
        for canonical in tokens.iter() {
            let own = mint.token(canonical);
            form.to_worker.insert(*canonical, own);
            form.to_canonical.insert(own, *canonical);
        }
        form
    }

    /// A canonical text as this worker sees it; as long as before.
    ///
    /// # Errors
    /// [`Foreign`] when a token in it is none of the unit's. The text is dropped, since half of it is changed.
    pub fn worker(&self, canonical: Vec<u8>) -> Result<Vec<u8>, Foreign> {
        self.to_worker.splice(canonical)
    }

    /// What this worker answered, in canonical form: outputs, messages, calls; as long as before.
    ///
    /// # Errors
    /// [`Foreign`] when a token in it is none that this worker was given for this unit, canonical ones included.
    pub fn canonical(&self, answered: Vec<u8>) -> Result<Vec<u8>, Foreign> {
        self.to_canonical.splice(answered)
    }

    /// The canonical token for one of this worker's: so a token that is found elsewhere names who let it out.
    pub fn canonical_of(&self, own: &Token) -> Option<Token> {
        self.to_canonical.get(own)
    }
}

/// From token to token.
#[derive(Debug)]
struct Table(HashTable<(Token, Token)>);

impl Table {
    fn of(capacity: usize) -> Self {
        Self(HashTable::with_capacity(capacity))
    }

    fn insert(&mut self, from: Token, to: Token) {
        self.0.insert_unique(hash(&from), (from, to), |(from, _)| hash(from));
    }

    fn get(&self, from: &Token) -> Option<Token> {
        self.0.find(hash(from), |(known, _)| known == from).map(|(_, to)| *to)
    }

    fn splice(&self, mut text: Vec<u8>) -> Result<Vec<u8>, Foreign> {
        let search = Search::new();
        let mut from = 0;
        while let Some((at, token)) = search.next(&text, from) {
            let other = self.get(&token).ok_or(Foreign { at, token })?;
            from = at + BYTES;
            text[at..from].copy_from_slice(other.as_bytes());
        }
        Ok(text)
    }
}

/// Twelve digits of the payload, 60 bits that are random already. What is looked up may be chosen by somebody, what is in the table is not, so no
/// key is needed against collisions; the product spreads them to the bits that the table looks at.
fn hash(token: &Token) -> u64 {
    let digits = token.as_bytes()[5..13].try_into().map(u64::from_le_bytes).unwrap_or_default();
    let more = token.as_bytes()[13..21].try_into().map(u64::from_le_bytes).unwrap_or_default();
    let product = u128::from(digits ^ more.rotate_left(3)) * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
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

    fn form(worker: WorkerId, canonical: &[u8]) -> Form {
        Form::new(&key(), UNIT, worker, &UnitTokens::of([canonical]))
    }

    #[test]
    fn there_and_back_is_the_same_and_each_worker_sees_another() {
        let canonical = text(&tokens(UNIT, 1000));
        let of = |worker| {
            let form = form(worker, &canonical);
            let own = form.worker(canonical.clone()).expect("its own tokens");
            assert_eq!(own.len(), canonical.len());
            assert_eq!(form.canonical(own.clone()).expect("its own tokens"), canonical);
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
        let here = tokens(UNIT, 3);
        let canonical = text(&here);
        let alice = form(ALICE, &canonical);
        let bobs = form(BOB, &canonical).worker(canonical.clone()).expect("its own tokens");
        let elsewhere = tokens(UnitId { index: 1, ..UNIT }, 1);
        // Bob's of the same unit, the canonical ones themselves, another unit's, and made-up ones.
        for (answered, at) in
            [(bobs, 7), (canonical.clone(), 7), (text(&elsewhere), 7), (elsewhere[0].to_string().into(), 0)]
        {
            assert_eq!(alice.canonical(answered).expect_err("foreign").at, at);
        }
        assert_eq!(alice.worker(text(&elsewhere)).expect_err("foreign").token, elsewhere[0]);
    }

    #[test]
    fn a_token_that_got_out_names_its_worker() {
        let canonical = text(&tokens(UNIT, 3));
        let own = form(BOB, &canonical).worker(canonical.clone()).expect("its own tokens");
        let (_, leaked) = find(&own).nth(1).expect("three tokens");
        assert_eq!(form(ALICE, &canonical).canonical_of(&leaked), None);
        assert_eq!(form(BOB, &canonical).canonical_of(&leaked), Some(tokens(UNIT, 3)[1]));
    }

    #[test]
    fn attack_9_a_cut_token_stays_as_it_is() {
        let canonical = text(&tokens(UNIT, 1));
        let form = form(ALICE, &canonical);
        let own = form.worker(canonical).expect("its own tokens");
        for cut in 8..7 + BYTES {
            let parts = [&own[..cut], b"\",\"", &own[cut..]].concat();
            assert_eq!(form.canonical(parts.clone()).expect("no token at all"), parts);
        }
    }

    #[test]
    fn without_tokens_nothing_changes() {
        let form = form(ALICE, b"[1,2]");
        assert!(UnitTokens::of([&b"[1,2]"[..]]).is_empty());
        assert_eq!(form.worker(b"[1,2]".to_vec()).expect("no token"), b"[1,2]");
    }
}
