//! A change of state as data.
//!
//! ```
//! use manyhands_state::{Commit, MemoryStore, StateStore, Table};
//!
//! let store = MemoryStore::new();
//! let submit = Commit::new()
//!     .expect_absent((Table::Runs, "r1"))
//!     .put((Table::Runs, "r1"), b"primes".to_vec())
//!     .add((Table::Meta, "runs"), 1)
//!     .idempotency("request-42");
//! let first = store.commit(submit.clone()).unwrap();
//! assert_eq!(store.commit(submit), Ok(first), "a repeated request is answered, not repeated");
//! ```

use crate::store::Revision;
use crate::table::{Key, Table};

/// Longest key inside a table. Unit: bytes. Ids and digests need a tenth of it.
pub const KEY_BYTES_MAX: usize = 1024;

/// Largest value. Unit: bytes. Whatever is larger, and most of what is over [`INLINE_BYTES_MAX`], is a blob.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Up to here a value is best kept in its record. Unit: bytes. About one page of an index: beyond
/// it, reading neighbours costs more than opening a file.
pub const INLINE_BYTES_MAX: usize = 4 * 1024;

/// Largest sum of keys and values in one commit. Unit: bytes. Keeps the memory of an engine bounded.
pub const COMMIT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// All of it happens, or none of it.
///
/// Preconditions are judged against the state before the commit; operations then apply in order.
/// A commit without operations and without a key is a question: it changes nothing and is answered
/// with the current revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// What must hold.
    pub expects: Vec<Expect>,
    /// What changes.
    pub ops: Vec<Op>,
    /// The request this answers, if it may be repeated.
    pub idempotency: Option<IdempotencyKey>,
}

/// What must hold before a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// There is no record.
    Absent(Key),
    /// The record was last written at this revision.
    Version(Key, Revision),
    /// There is a record.
    Exists(Key),
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a record, whether or not there was one.
    Put(Key, Vec<u8>),
    /// Removes a record; nothing happens if there is none.
    Delete(Key),
    /// Adds to a counter; an absent one counts from zero. A counter is eight bytes, see [`Record::counter`](crate::Record::counter).
    Add(Key, i64),
}

/// Names a request, so that its repetition is recognised for as long as the key is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdempotencyKey(pub Vec<u8>);

impl IdempotencyKey {
    /// Where engines remember this key.
    pub fn place(&self) -> Key {
        Key::new(Table::Idempotency, &self.0)
    }
}

impl Commit {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires that there is no record at `key`.
    #[must_use]
    pub fn expect_absent(mut self, key: impl Into<Key>) -> Self {
        self.expects.push(Expect::Absent(key.into()));
        self
    }

    /// Requires that the record at `key` was last written at `version`.
    #[must_use]
    pub fn expect_version(mut self, key: impl Into<Key>, version: Revision) -> Self {
        self.expects.push(Expect::Version(key.into(), version));
        self
    }

    /// Requires that there is a record at `key`.
    #[must_use]
    pub fn expect_exists(mut self, key: impl Into<Key>) -> Self {
        self.expects.push(Expect::Exists(key.into()));
        self
    }

    /// Writes `value` at `key`.
    #[must_use]
    pub fn put(mut self, key: impl Into<Key>, value: impl Into<Vec<u8>>) -> Self {
        self.ops.push(Op::Put(key.into(), value.into()));
        self
    }

    /// Removes the record at `key`.
    #[must_use]
    pub fn delete(mut self, key: impl Into<Key>) -> Self {
        self.ops.push(Op::Delete(key.into()));
        self
    }

    /// Adds `amount` to the counter at `key`.
    #[must_use]
    pub fn add(mut self, key: impl Into<Key>, amount: i64) -> Self {
        self.ops.push(Op::Add(key.into(), amount));
        self
    }

    /// Names the request that this commit answers.
    #[must_use]
    pub fn idempotency(mut self, key: impl AsRef<[u8]>) -> Self {
        self.idempotency = Some(IdempotencyKey(key.as_ref().to_vec()));
        self
    }

    /// Bytes of its keys and values, as counted against [`COMMIT_BYTES_MAX`].
    pub fn bytes(&self) -> usize {
        let ops = self.ops.iter().map(|op| match op {
            Op::Put(key, value) => key.encoded().len() + value.len(),
            Op::Delete(key) => key.encoded().len(),
            Op::Add(key, _) => key.encoded().len() + size_of::<i64>(),
        });
        ops.sum::<usize>() + self.idempotency.as_ref().map_or(0, |key| key.0.len())
    }
}

impl Expect {
    /// The record that is spoken of.
    pub fn key(&self) -> &Key {
        match self {
            Self::Absent(key) | Self::Version(key, _) | Self::Exists(key) => key,
        }
    }
}

impl Op {
    /// The record that changes.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::Delete(key) | Self::Add(key, _) => key,
        }
    }
}

/// Why a commit did not happen. Except after [`Storage`](Self::Storage), it certainly did not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Somebody else was there first.
    #[error("{}: expected {}, found {}; read it again and decide anew", expect.key(), expected(expect), found_text(*found))]
    Conflict {
        /// The first precondition that does not hold.
        expect: Expect,
        /// The version that is there.
        found: Option<Revision>,
    },
    /// The caller counts with a record that is no counter, or counts too far.
    #[error("{key}: cannot add {amount}: {reason}")]
    Counter {
        /// The counter.
        key: Key,
        /// What was to be added.
        amount: i64,
        /// What stands against it.
        reason: &'static str,
    },
    /// The caller writes a table that belongs to the engine.
    #[error("{0}: this table is written by the engine only; name the key in `Commit::idempotency`")]
    Reserved(Key),
    /// The caller's commit is too large.
    #[error("{what} has {bytes} bytes, more than {bytes_max}; store it as a blob, or split the commit")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The disk is full. Nothing was written, and the store goes on once there is room.
    #[error("{0} is full; free some space, the store then goes on by itself")]
    Full(String),
    /// The store could not make the commit durable. Whether it happened is known after the store
    /// was opened again; until then it is read-only. Repeating it under an idempotency key is safe.
    #[error("{0}")]
    Storage(String),
}

fn expected(expect: &Expect) -> String {
    match expect {
        Expect::Absent(_) => "no record".to_owned(),
        Expect::Version(_, version) => format!("version {version}"),
        Expect::Exists(_) => "a record".to_owned(),
    }
}

fn found_text(found: Option<Revision>) -> String {
    found.map_or_else(|| "none".to_owned(), |version| format!("version {version}"))
}
