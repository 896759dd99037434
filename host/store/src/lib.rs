//! The coordinator's memory on a disk.
//!
//! ```text
//! DIR/LOCK                     one process at a time
//! DIR/log/00000001.log …       the truth: every commit, checksummed, fsynced before it is acknowledged
//! DIR/snapshot/….snapshot      all records at one moment; what the log before it is no longer needed for
//! DIR/index/00000001/          sled: the same records, quick to find; rebuilt from the above whenever in doubt
//! DIR/{index,log}.discarded    what the last repair moved aside
//! ```
//! Two copies of every record exist, log and index (which lags by a second at most), and each can replace the other: sled may refuse
//! to open after one flipped bit, and a log cannot be searched. Blobs are files named by their digest.
//!
//! Absent on purpose: decisions. What a commit comes to is settled in `manyhands-state`.
//! Start at [`SledStore::open`]; then the private modules `store` (commits), `log`, `recent`, `index` and `snapshot`, `opening`
//! and `upkeep`; [`Blobs`] stands alone.

mod blobs;
mod disk;
mod index;
mod log;
mod opening;
mod recent;
mod report;
mod snapshot;
mod store;
mod upkeep;

pub use crate::blobs::{BlobError, BlobInfo, Blobs, blob_file};
pub use crate::disk::LogFile;
pub use crate::report::{Exported, OpenError, Opened, Repair};
pub use crate::store::{Options, SledStore};
