//! What a commit comes to. Every engine asks here, so that all of them agree.

use crate::commit::{COMMIT_BYTES_MAX, Commit, CommitError, Expect, KEY_BYTES_MAX, Op, VALUE_BYTES_MAX};
use crate::store::{ReadError, Record, Revision};
use crate::table::{Key, Table};

/// The state that a commit meets, commits before it in the same batch included.
pub trait View {
    /// The record at `key`.
    ///
    /// # Errors
    /// [`ReadError`] when the engine cannot tell.
    fn record(&self, key: &Key) -> Result<Option<Record>, ReadError>;
}

/// A change with nothing left to decide: replaying it gives the same record, whatever was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The record that changes.
    pub key: Key,
    /// Its new value; `None` removes it.
    pub value: Option<Vec<u8>>,
}

/// What a commit comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Nothing changes: the request was answered at the revision given, or nothing was asked for.
    Unchanged(Option<Revision>),
    /// These changes, in this order, at one new revision.
    Changes(Vec<Change>),
}

/// Decides what `commit` comes to in the state shown by `view`. Pure: same arguments, same answer.
///
/// # Errors
/// [`CommitError`]; nothing changes then.
pub fn resolve(view: &impl View, commit: Commit) -> Result<Resolution, CommitError> {
    let read = |key: &Key| view.record(key).map_err(|error| CommitError::Storage(error.to_string()));
    check_sizes(&commit)?;

    if let Some(idempotency) = &commit.idempotency
        && let Some(answered) = read(&idempotency.place())?
    {
        return Ok(Resolution::Unchanged(Some(answered.version)));
    }
    for expect in &commit.expects {
        let found = read(expect.key())?.map(|record| record.version);
        let holds = match expect {
            Expect::Absent(_) => found.is_none(),
            Expect::Version(_, version) => found == Some(*version),
            Expect::Exists(_) => found.is_some(),
        };
        if !holds {
            return Err(CommitError::Conflict { expect: expect.clone(), found });
        }
    }
    if commit.ops.is_empty() && commit.idempotency.is_none() {
        return Ok(Resolution::Unchanged(None));
    }

    let mut changes: Vec<Change> = Vec::with_capacity(commit.ops.len() + 1);
    for op in commit.ops {
        let change = match op {
            Op::Put(key, _) if key.is_in(Table::Idempotency) => return Err(CommitError::Reserved(key)),
            Op::Add(key, _) if key.is_in(Table::Idempotency) => return Err(CommitError::Reserved(key)),
            Op::Put(key, value) => Change { key, value: Some(value) },
            Op::Delete(key) => Change { key, value: None },
            Op::Add(key, amount) => {
                let before = match changes.iter().rev().find(|change| change.key == key) {
                    Some(change) => change.value.clone(),
                    None => read(&key)?.map(|record| record.value),
                };
                let sum = add(before.as_deref(), amount);
                match sum {
                    Ok(sum) => Change { key, value: Some(sum.to_be_bytes().to_vec()) },
                    Err(reason) => return Err(CommitError::Counter { key, amount, reason }),
                }
            }
        };
        changes.push(change);
    }
    if let Some(idempotency) = commit.idempotency {
        changes.push(Change { key: idempotency.place(), value: Some(Vec::new()) });
    }
    Ok(Resolution::Changes(changes))
}

fn add(before: Option<&[u8]>, amount: i64) -> Result<i64, &'static str> {
    let before = match before {
        None => 0,
        Some(bytes) => i64::from_be_bytes(bytes.try_into().map_err(|_| "the record is no counter of eight bytes")?),
    };
    before.checked_add(amount).ok_or("the sum does not fit into 64 bits")
}

fn check_sizes(commit: &Commit) -> Result<(), CommitError> {
    let within = |what: &dyn Fn() -> String, bytes: usize, bytes_max: usize| {
        if bytes <= bytes_max { Ok(()) } else { Err(CommitError::TooLarge { what: what(), bytes, bytes_max }) }
    };
    for op in &commit.ops {
        within(&|| "a key".to_owned(), op.key().bytes().len(), KEY_BYTES_MAX)?;
        if let Op::Put(key, value) = op {
            within(&|| format!("the value of {key}"), value.len(), VALUE_BYTES_MAX)?;
        }
    }
    if let Some(key) = &commit.idempotency {
        within(&|| "the idempotency key".to_owned(), key.0.len(), KEY_BYTES_MAX)?;
    }
    within(&|| "the commit".to_owned(), commit.bytes(), COMMIT_BYTES_MAX)
}
