//! What opening a store tells: what was repaired, or why it cannot be opened.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

use manyhands_state::Revision;

/// How a store came up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The last commit.
    pub revision: Revision,
    /// Commits that the index had not got yet and took from the log.
    pub replayed: u64,
    /// What was damaged and is whole again. Empty on a good day.
    pub repairs: Vec<Repair>,
}

/// What an export holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// The last commit in it.
    pub revision: Revision,
    /// Records in its snapshot; the log after it may add some and take some away.
    pub records: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// Something that was damaged, and what became of it. No acknowledged commit is lost by any of these, except perhaps by
/// a torn tail that is `whole`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// The log ended in a commit that was never finished, as after a crash or a power cut.
    TornTail {
        /// The segment.
        file: PathBuf,
        /// Where the unfinished commit began.
        offset: u64,
        /// How many bytes of it were cut off.
        bytes: u64,
        /// All of its bytes were there, but not as they were meant: either the crash kept some from the disk, or it
        /// was finished, perhaps acknowledged, and damaged since. Nothing on the disk tells which.
        whole: bool,
    },
    /// The index was damaged, missing or too large; log and snapshot gave a new one.
    IndexRebuilt {
        /// What was wrong.
        reason: String,
        /// Records in the new one.
        records: u64,
        /// Where the old one is now, if there was one.
        aside: Option<PathBuf>,
    },
    /// The log was damaged where the index was whole; a snapshot of the index took its place.
    LogReplaced {
        /// What was wrong.
        reason: String,
        /// Records in the snapshot.
        records: u64,
        /// Where the old log is now, if there was one.
        aside: Option<PathBuf>,
    },
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TornTail { file, offset: 0, bytes, .. } => {
                write!(f, "{}: removed a segment that was only begun, of {bytes} bytes", file.display())
            }
            Self::TornTail { file, offset, bytes, whole: false } => {
                write!(f, "{}: cut off {bytes} bytes of an unfinished commit at offset {offset}", file.display())
            }
            Self::TornTail { file, offset, bytes, whole: true } => {
                write!(
                    f,
                    "{}: cut off {bytes} bytes at offset {offset}, as long as a commit but wrong ",
                    file.display()
                )?;
                write!(f, "in its checksum: unfinished in a crash, or damaged after it was acknowledged")
            }
            Self::IndexRebuilt { reason, records, aside } => {
                write!(f, "rebuilt the index with {records} records from the log ({reason})")?;
                aside.as_ref().map_or(Ok(()), |aside| write!(f, "; the old one is in {}", aside.display()))
            }
            Self::LogReplaced { reason, records, aside } => {
                write!(f, "replaced the log by a snapshot of the {records} records of the index ({reason})")?;
                aside.as_ref().map_or(Ok(()), |aside| write!(f, "; the old one is in {}", aside.display()))
            }
        }
    }
}

/// Why a store cannot be opened. Shown to the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "{}: in use by another process ({holder}); stop that one or choose another directory",
        dir.display()
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// What is known of the other process.
        holder: String,
    },
    /// Log and index are damaged in the same place. Nothing was changed.
    #[error("{}: {what}, and no other copy has it; restore the latest backup", place.display())]
    Damaged {
        /// The file.
        place: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A newer version wrote some of it. Nothing was changed.
    #[error(
        "{}: its format is {found}, and this program knows those up to {known}: written by a newer version; \
         upgrade, or restore an older backup",
        place.display()
    )]
    Newer {
        /// The file.
        place: PathBuf,
        /// The version of its format.
        found: u8,
        /// The newest version that this program reads.
        known: u8,
    },
    /// The operating system refused.
    #[error("{}: {error}; check the path, its owner and the room on its disk", place.display())]
    Io {
        /// The file or directory.
        place: PathBuf,
        /// Its reason.
        error: io::Error,
    },
    /// The index would not work even when made anew.
    #[error("{}: a new index cannot be written: {what}; check the room on its disk", place.display())]
    Index {
        /// The index's directory.
        place: PathBuf,
        /// Its reason.
        what: String,
    },
}

impl OpenError {
    /// For `map_err`: says where an operating system's error happened.
    pub(crate) fn io(place: &Path) -> impl FnOnce(io::Error) -> Self {
        let place = place.to_owned();
        move |error| Self::Io { place, error }
    }
}
