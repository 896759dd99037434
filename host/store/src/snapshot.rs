//! Snapshots: all records in one file, so that the log before them can go.
//!
//! ```text
//! snapshot = "MHsnp\0\0\1" | start: u64 | crc32c: u32 | chunk*
//! chunk    = payload bytes: u32 | crc32c: u32 | postcard of [`Chunk`]
//! ```
//! A snapshot is taken while commits go on: it starts at one revision, is read page by page, and its
//! end names the revision at which the last page was read. Its records alone are of no single
//! moment, but with the log from `start` to at least `complete_at` replayed over them they are:
//! whatever changed meanwhile is changed again to the same end.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write as _};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::Builder;

use manyhands_state::{Key, Record, Revision};
use serde::{Deserialize, Serialize};

use crate::disk;
use crate::log::{Blob, checksum, u32_at, u64_at};
use crate::report::OpenError;

pub(crate) const MAGIC: &[u8; 8] = b"MHsnp\0\0\x01";
const HEADER_BYTES: usize = 20;
/// Length and checksum.
const CHUNK_PREFIX_BYTES: usize = 8;
/// So much is written before it is made durable. Unit: bytes.
const SYNC_BYTES: usize = 16 * 1024 * 1024;
/// Far more than a page of the largest records needs; a longer length is damage.
const CHUNK_BYTES_MAX: u32 = 512 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
enum Chunk<'a> {
    /// Key, version, value.
    #[serde(borrow)]
    Records(Vec<(Blob<'a>, u64, Blob<'a>)>),
    End {
        complete_at: u64,
        records: u64,
    },
}

impl Chunk<'_> {
    /// What it takes on the disk, or a little more.
    fn bytes_about(&self) -> usize {
        /// Version, two lengths.
        const ROW_BYTES: usize = 20;
        let rows = match self {
            Self::Records(rows) => rows.as_slice(),
            Self::End { .. } => &[],
        };
        let bytes: usize = rows.iter().map(|(key, _, value)| key.0.len() + value.0.len() + ROW_BYTES).sum();
        CHUNK_PREFIX_BYTES + ROW_BYTES + bytes
    }
}

/// A page of records, and the revision at which it was read.
pub(crate) type Page = (Vec<(Key, Record)>, Revision);

/// Writes a snapshot from `start` on; `pages` gives the records page by page, an empty one at the
/// end. Durable when it returns. Returns the number of records.
pub(crate) fn write(
    dir: &Path,
    start: Revision,
    pages: impl FnMut() -> Result<Page, OpenError>,
) -> Result<u64, OpenError> {
    let at = OpenError::io;
    disk::create_dir(dir).map_err(at(dir))?;
    let path = dir.join(format!("{:020}.snapshot", start.0));
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial).map_err(at(&partial))?;

    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..16].copy_from_slice(&start.0.to_le_bytes());
    let crc = checksum(&[&header[..16]]);
    header[16..].copy_from_slice(&crc.to_le_bytes());
    file.write_all(&header).map_err(at(&partial))?;

    let written = std::thread::scope(|scope| {
        let (sender, chunks) = mpsc::sync_channel(0);
        let writer = Builder::new().spawn_scoped(scope, move || put(file, chunks)).map_err(at(&partial))?;
        let records = send(&partial, pages, sender);
        let written = writer.join().unwrap_or_else(|panic| resume_unwind(panic));
        written.map_err(at(&partial)).and(records)
    });
    let records = written.inspect_err(|_| _ = fs::remove_file(&partial))?;
    fs::rename(&partial, &path).and_then(|()| disk::sync_dir(dir)).map_err(at(&path))?;
    Ok(records)
}

/// Sends all pages to the writer. Returns the number of records.
fn send(
    path: &Path,
    mut pages: impl FnMut() -> Result<Page, OpenError>,
    writer: SyncSender<Vec<u8>>,
) -> Result<u64, OpenError> {
    let mut records = 0;
    loop {
        let (page, read_at) = pages()?;
        records += page.len() as u64;
        let chunk = if page.is_empty() {
            Chunk::End { complete_at: read_at.0, records }
        } else {
            let rows = page.iter().map(|(key, record)| (Blob(key.encoded()), record.version.0, Blob(&record.value)));
            Chunk::Records(rows.collect())
        };
        let chunk = encode(&chunk).map_err(OpenError::io(path))?;
        // A writer that is gone says itself why.
        if writer.send(chunk).is_err() || page.is_empty() {
            return Ok(records);
        }
    }
}

/// Writes while the next page is read. What is on the disk already need not be waited for at the end, and keeps no commit
/// waiting behind it.
fn put(mut file: File, chunks: Receiver<Vec<u8>>) -> io::Result<()> {
    let mut unsynced = 0;
    for chunk in chunks {
        file.write_all(&chunk)?;
        unsynced += chunk.len();
        if unsynced >= SYNC_BYTES {
            file.sync_data()?;
            unsynced = 0;
        }
    }
    file.sync_all()
}

/// Removes the snapshots before `start`, and those that a crash left unfinished.
pub(crate) fn forget_before(dir: &Path, start: Revision) -> Result<(), OpenError> {
    let at = OpenError::io;
    let older = disk::numbered(dir, "snapshot").map_err(at(dir))?.into_iter().filter(|(old, _)| *old < start.0);
    for (_, old) in older.chain(disk::numbered(dir, "partial").map_err(at(dir))?) {
        fs::remove_file(&old).map_err(at(&old))?;
    }
    Ok(())
}

fn encode(chunk: &Chunk<'_>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(chunk.bytes_about());
    bytes.resize(CHUNK_PREFIX_BYTES, 0);
    // Not `to_extend`: it copies byte by byte, a fifth of the time that a snapshot takes.
    postcard::to_io(chunk, &mut bytes).map_err(io::Error::other)?;
    let (prefix, payload) = bytes.split_at_mut(CHUNK_PREFIX_BYTES);
    prefix[..4].copy_from_slice(&u32::try_from(payload.len()).map_err(io::Error::other)?.to_le_bytes());
    let crc = checksum(&[&prefix[..4], payload]);
    prefix[4..].copy_from_slice(&crc.to_le_bytes());
    Ok(bytes)
}

/// The newest snapshot, by its name.
pub(crate) fn newest(dir: &Path) -> io::Result<Option<PathBuf>> {
    Ok(disk::numbered(dir, "snapshot")?.pop().map(|(_, path)| path))
}

/// What a snapshot covers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extent {
    /// The log is needed from here.
    pub(crate) start: Revision,
    /// And at least to here.
    pub(crate) complete_at: Revision,
}

/// Reads the snapshot in `path` and hands its pages to `visit`. `Ok(Err(what))` when it is damaged.
pub(crate) fn read(
    path: &Path,
    mut visit: impl FnMut(Vec<(Key, Record)>) -> Result<(), OpenError>,
) -> Result<Result<Extent, String>, OpenError> {
    let io = |error: io::Error| OpenError::io(path)(error);
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let mut header = [0; HEADER_BYTES];
    if !fill(&mut file, &mut header).map_err(io)? || header[..8] != MAGIC[..] {
        return Ok(Err("not a snapshot, or its header is damaged".to_owned()));
    }
    if u32_at(&header, 16) != Some(checksum(&[&header[..16]])) {
        return Ok(Err("the header is damaged".to_owned()));
    }
    let start = Revision(u64_at(&header, 8).unwrap_or_default());
    let mut seen = 0;
    loop {
        let damaged = Ok(Err(format!("damaged after {seen} records")));
        let mut prefix = [0; CHUNK_PREFIX_BYTES];
        if !fill(&mut file, &mut prefix).map_err(io)? {
            return damaged;
        }
        let length = u32_at(&prefix, 0).unwrap_or_default();
        if length > CHUNK_BYTES_MAX {
            return damaged;
        }
        let mut payload = Vec::new();
        (&mut file).take(length.into()).read_to_end(&mut payload).map_err(io)?;
        if payload.len() != length as usize || u32_at(&prefix, 4) != Some(checksum(&[&prefix[..4], &payload])) {
            return damaged;
        }
        match postcard::from_bytes(&payload) {
            Ok(Chunk::Records(rows)) => {
                let row = |(key, version, value): (Blob<'_>, u64, Blob<'_>)| {
                    let record = Record { version: Revision(version), value: value.0.to_vec() };
                    Some((Key::decode(key.0.to_vec())?, record))
                };
                let Some(rows) = rows.into_iter().map(row).collect::<Option<Vec<_>>>() else { return damaged };
                seen += rows.len() as u64;
                visit(rows)?;
            }
            Ok(Chunk::End { complete_at, records }) if records == seen => {
                return Ok(Ok(Extent { start, complete_at: Revision(complete_at) }));
            }
            Ok(Chunk::End { .. }) | Err(_) => return damaged,
        }
    }
}

/// Fills `buffer`; `false` if the file ends before.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
