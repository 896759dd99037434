//! What an engine promises.

use core::fmt;

use crate::commit::{Commit, CommitError};
use crate::table::Table;

/// Counts the commits that changed something. The state at a revision never changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of the next commit.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stored value and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The revision at which it was last written.
    pub version: Revision,
    /// Its bytes.
    pub value: Vec<u8>,
}

impl Record {
    /// The value as a counter; `None` if it is none.
    pub fn counter(&self) -> Option<i64> {
        self.value.as_slice().try_into().ok().map(i64::from_be_bytes)
    }
}

/// State that survives: commits that are durable when they return, and reads of what is durable.
///
/// Calls block, so asynchronous code makes them from a thread of their own. Reads see only what
/// was acknowledged or is about to be, never what a crash could take back. One call sees one moment.
pub trait StateStore: Send + Sync {
    /// Carries out `commits` in order, each on its own account: one that is refused changes nothing
    /// and does not stop the others, and each sees those before it. All of them share the cost of
    /// becoming durable. The answers come in the same order.
    fn commit_all(&self, commits: Vec<Commit>) -> Vec<Result<Revision, CommitError>>;

    /// Carries out one commit: all or nothing, and durable when this returns. Returns the revision
    /// it made, or, for a repeated idempotency key, the one that the first request made.
    ///
    /// # Errors
    /// [`CommitError`], see there which of them leave the outcome open.
    fn commit(&self, commit: Commit) -> Result<Revision, CommitError> {
        let mut answers = self.commit_all(vec![commit]);
        answers.pop().unwrap_or_else(|| Err(CommitError::Storage("the engine gave no answer; report this".to_owned())))
    }

    /// The record at `key` in `table`.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be read; a wrong value is never returned.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Record>, ReadError>;

    /// Up to `limit` records of `table` whose keys begin with `prefix`, in the order of their keys.
    /// Those up to and including `after` are left out: pass the last key of one page to get the next.
    ///
    /// # Errors
    /// [`ReadError`] when one of them cannot be read.
    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Record)>, ReadError>;

    /// The revision of the last commit.
    fn revision(&self) -> Revision;

    /// Reads everything there is and says what is damaged. May hold up commits while it reads.
    ///
    /// # Errors
    /// [`ReadError`] when the check itself could not be carried out.
    fn check(&self) -> Result<Checked, ReadError>;

    /// What the state takes up.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be measured.
    fn space(&self) -> Result<Space, ReadError>;
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Records that were read and are right.
    pub records: u64,
    /// What is wrong. Empty on a good day.
    pub problems: Vec<Problem>,
}

/// Something that is damaged, though reads may still be right thanks to another copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file or record.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do about it.
    pub cure: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.cure)
    }
}

/// What the state takes up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// Records there are.
    pub records: u64,
    /// Bytes of their keys and values.
    pub live_bytes: u64,
    /// Bytes on disk, for everything that the engine keeps.
    pub disk_bytes: u64,
}

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The bytes are not those that were written, and no copy could replace them.
    #[error("{place}: {what}; restore a backup")]
    Corrupt {
        /// The file or record.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// The disk or the database did not answer.
    #[error("{0}")]
    Storage(String),
}
