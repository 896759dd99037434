//! Whether a log is what was written: line by line, without keeping any of it.

use manyhands_model::Timestamp;
use manyhands_signing::{BadAttestation, Fingerprint};

use crate::entry::{Entry, Tail};
use crate::head::{Head, SignedHead};

/// Checks a log from its first entry on, with the heads that stand between and behind them.
#[derive(Debug, Default)]
pub struct Verifier {
    tail: Tail,
    /// Whose log it is; whose it may be, before the first head.
    root: Option<Fingerprint>,
    /// The last head that fits, and is signed.
    signed: Option<(Tail, Timestamp)>,
    /// A head that somebody kept, if the log has not come so far yet.
    kept: Option<SignedHead>,
}

/// What is certain of a log that is unbroken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many entries it has.
    pub entries: u64,
    /// Whose it is: compare it with the join link, or with `manyhands keys show`.
    pub root: Fingerprint,
    /// When its last head was signed.
    pub signed_at: Timestamp,
}

/// Where a log is not what was written, and how that shows. Entries before [`Broken::entry`] are as they were.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A line that is no entry, or is not written in the one way.
    #[error("entry {entry}: no entry stands there, or it was changed")]
    NotAnEntry {
        /// Which should stand there.
        entry: u64,
    },
    /// An entry that is out of its turn.
    #[error("entry {entry}: missing; entry {found} stands in its place")]
    OutOfTurn {
        /// Which should stand there.
        entry: u64,
        /// Which does.
        found: u64,
    },
    /// The next entry was written after something else.
    #[error("entry {entry}: changed, or the one after it; that was written after another one")]
    Changed {
        /// Which; 0 for the log's beginning.
        entry: u64,
    },
    /// The chain is whole, and not the one that was signed.
    #[error("entry {entry}: it, or one up to entry {to}, is not what was signed")]
    NotWhatWasSigned {
        /// The first that may be meant.
        entry: u64,
        /// The last.
        to: u64,
    },
    /// The chain is whole, and not the one of the head that was kept.
    #[error("entry {entry}: it, or one up to entry {to}, is not what it was when the kept head was signed")]
    NotWhatWasKept {
        /// The first that may be meant.
        entry: u64,
        /// The last.
        to: u64,
    },
    /// A head that is none, or that nobody signed who may.
    #[error("after entry {}: {why}", .entry - 1)]
    BadHead {
        /// The entry that comes after it.
        entry: u64,
        /// Why.
        why: BadAttestation,
    },
    /// A head of another place: entries before it were removed, or put in.
    #[error("entry {entry}: a head over {found} entries stands before it; some were removed, or put in")]
    Misplaced {
        /// The entry that comes after it.
        entry: u64,
        /// Over how many entries the head is.
        found: u64,
    },
    /// The log ends too soon.
    #[error("entry {entry}: cut off, with everything after it; the kept head is over {kept} entries")]
    CutOff {
        /// The first that is missing.
        entry: u64,
        /// How many there were.
        kept: u64,
    },
    /// The log's end is under no head.
    #[error("entry {entry}: nobody signed it, nor what follows; the head at the end is missing")]
    Unsigned {
        /// The first that is under no head.
        entry: u64,
    },
}

impl Broken {
    /// The first entry that is not to be believed.
    pub const fn entry(&self) -> u64 {
        match self {
            Self::NotAnEntry { entry }
            | Self::OutOfTurn { entry, .. }
            | Self::Changed { entry }
            | Self::NotWhatWasSigned { entry, .. }
            | Self::NotWhatWasKept { entry, .. }
            | Self::BadHead { entry, .. }
            | Self::Misplaced { entry, .. }
            | Self::CutOff { entry, .. }
            | Self::Unsigned { entry } => *entry,
        }
    }
}

impl Verifier {
    /// Of a log that may be anybody's, or has to be the one of the coordinator with this root key.
    pub fn new(root: Option<Fingerprint>) -> Self {
        Self { root, ..Self::default() }
    }

    /// Of the log that once had this head.
    pub fn of(kept: SignedHead) -> Self {
        Self { root: Some(kept.root()), kept: Some(kept), ..Self::default() }
    }

    /// Checks the next line, which comes without its line break.
    ///
    /// # Errors
    /// [`Broken`]; what comes after proves nothing.
    pub fn line(&mut self, line: &[u8]) -> Result<(), Broken> {
        if SignedHead::is_one(line) { self.head(line) } else { self.entry(line) }
    }

    /// What is certain, now that all lines were checked.
    ///
    /// # Errors
    /// [`Broken::CutOff`] or [`Broken::Unsigned`]: the end is missing.
    pub fn end(self) -> Result<Report, Broken> {
        if let Some(kept) = &self.kept
            && kept.said().tail.entries > self.tail.entries
        {
            return Err(Broken::CutOff { entry: self.tail.entries + 1, kept: kept.said().tail.entries });
        }
        match (self.signed, self.root) {
            (Some((tail, signed_at)), Some(root)) if tail == self.tail => {
                Ok(Report { entries: tail.entries, root, signed_at })
            }
            _ => Err(Broken::Unsigned { entry: self.first_unsigned() }),
        }
    }

    fn entry(&mut self, line: &[u8]) -> Result<(), Broken> {
        let next = self.tail.entries + 1;
        let entry = Entry::read(line).ok_or(Broken::NotAnEntry { entry: next })?;
        if entry.n != next {
            return Err(Broken::OutOfTurn { entry: next, found: entry.n });
        }
        if entry.before != self.tail.digest {
            return Err(Broken::Changed { entry: self.tail.entries });
        }
        self.tail = entry.tail();
        match &self.kept {
            Some(kept) if kept.said().tail.entries == next && kept.said().tail != self.tail => {
                Err(Broken::NotWhatWasKept { entry: self.first_unsigned(), to: next })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn head(&mut self, line: &[u8]) -> Result<(), Broken> {
        let entry = self.tail.entries + 1;
        let head = SignedHead::read(line, self.root).map_err(|why| Broken::BadHead { entry, why })?;
        let Head { tail, at } = *head.said();
        if tail.entries != self.tail.entries {
            return Err(Broken::Misplaced { entry, found: tail.entries });
        }
        if tail != self.tail {
            return Err(Broken::NotWhatWasSigned { entry: self.first_unsigned(), to: self.tail.entries });
        }
        self.root = Some(head.root());
        self.signed = Some((tail, at));
        Ok(())
    }

    fn first_unsigned(&self) -> u64 {
        self.signed.map_or(0, |(tail, _)| tail.entries) + 1
    }
}
