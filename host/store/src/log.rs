//! The operation log: the truth, in the order in which it happened.
//!
//! ```text
//! segment = "MHlog\0\0\1" | revision before it: u64 | crc32c: u32 | frame*
//! frame   = "MHf1" | payload bytes: u32 | crc32c: u32 | first revision: u64 | payload
//! payload = postcard of the commits: for each its changes, for each its key and its new value
//! ```
//! Numbers are little-endian; a frame's checksum covers its length, revision and payload. **One frame
//! is what one fsync made durable.** So a bad frame with a good one behind it is damage to something
//! acknowledged, and a bad frame with nothing behind it is a write that a crash cut short.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use manyhands_state::{Change, Key, Revision};
use serde::{Deserialize, Serialize, Serializer};

use crate::disk::{self, LogFile};
use crate::report::OpenError;

pub(crate) const SEGMENT_MAGIC: &[u8; 8] = b"MHlog\0\0\x01";
const SEGMENT_HEADER_BYTES: usize = 20;
const FRAME_MAGIC: &[u8; 4] = b"MHf1";
const FRAME_HEADER_BYTES: usize = 20;

/// Stands between the store and its log files.
pub(crate) type LogFiles = Arc<dyn Fn(File) -> Box<dyn LogFile> + Send + Sync>;

/// Bytes that postcard writes as one run instead of one by one.
pub(crate) struct Blob<'a>(pub(crate) &'a [u8]);

impl Serialize for Blob<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Blob<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'de [u8]>::deserialize(deserializer).map(Blob)
    }
}

/// A change as the log writes it: key, then value.
type Logged<'a> = (Blob<'a>, Option<Blob<'a>>);

/// A commit as the log writes it.
struct LoggedCommit<'a>(&'a [Change]);

impl Serialize for LoggedCommit<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let logged = self.0.iter().map(|change| (Blob(change.key.encoded()), change.value.as_deref().map(Blob)));
        serializer.collect_seq(logged)
    }
}

/// The commits of one frame.
pub(crate) struct Frame {
    pub(crate) first: Revision,
    pub(crate) commits: Vec<Vec<Change>>,
}

impl Frame {
    pub(crate) fn last(&self) -> Revision {
        Revision(self.first.0 + self.commits.len() as u64 - 1)
    }
}

/// A frame that grows commit by commit.
pub(crate) struct FrameBuilder {
    /// Room for what is only known at the end, then the commits.
    bytes: Vec<u8>,
    commits: u64,
}

/// The header, and the number of commits as postcard writes it.
const FRAME_PREFIX_BYTES: usize = FRAME_HEADER_BYTES + COUNT_BYTES_MAX;
/// The longest varint of 64 bits.
const COUNT_BYTES_MAX: usize = 10;

impl FrameBuilder {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; FRAME_PREFIX_BYTES], commits: 0 }
    }

    /// Adds a commit. After an error the frame is as it was.
    pub(crate) fn add(&mut self, changes: &[Change]) -> Result<(), postcard::Error> {
        let before = self.bytes.len();
        if let Err(error) = postcard::to_io(&LoggedCommit(changes), &mut self.bytes).map(drop) {
            self.bytes.truncate(before);
            return Err(error);
        }
        self.commits += 1;
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.commits == 0
    }

    /// Bytes by now.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The frame, whose first commit makes the revision `first`.
    pub(crate) fn finish(&mut self, first: Revision) -> Result<&[u8], postcard::Error> {
        let mut room = [0; COUNT_BYTES_MAX];
        let count = postcard::to_slice(&self.commits, &mut room)?;
        let begin = COUNT_BYTES_MAX - count.len();
        self.bytes[FRAME_PREFIX_BYTES - count.len()..FRAME_PREFIX_BYTES].copy_from_slice(count);
        let frame = &mut self.bytes[begin..];
        let length =
            u32::try_from(frame.len() - FRAME_HEADER_BYTES).map_err(|_| postcard::Error::SerializeBufferFull)?;
        frame[..4].copy_from_slice(FRAME_MAGIC);
        frame[4..8].copy_from_slice(&length.to_le_bytes());
        frame[12..20].copy_from_slice(&first.0.to_le_bytes());
        let crc = checksum(&[&frame[4..8], &frame[12..]]);
        frame[8..12].copy_from_slice(&crc.to_le_bytes());
        Ok(frame)
    }
}

/// Reads the frame at the start of `bytes` and says how long it is; `None` if it is not whole and right.
fn decode(bytes: &[u8]) -> Option<(Frame, usize)> {
    let header: &[u8; FRAME_HEADER_BYTES] = bytes.first_chunk()?;
    if &header[..4] != FRAME_MAGIC {
        return None;
    }
    let end = FRAME_HEADER_BYTES.checked_add(u32_at(header, 4)? as usize)?;
    let frame = bytes.get(..end)?;
    if checksum(&[&frame[4..8], &frame[12..]]) != u32_at(header, 8)? {
        return None;
    }
    let logged: Vec<Vec<Logged<'_>>> = postcard::from_bytes(&frame[FRAME_HEADER_BYTES..]).ok()?;
    let change = |(key, value): Logged<'_>| {
        Some(Change { key: Key::decode(key.0.to_vec())?, value: value.map(|value| value.0.to_vec()) })
    };
    let commits: Option<Vec<Vec<Change>>> =
        logged.into_iter().map(|changes| changes.into_iter().map(change).collect()).collect();
    let commits = commits.filter(|commits| !commits.is_empty())?;
    Some((Frame { first: Revision(u64_at(header, 12)?), commits }, end))
}

/// The checksum of `parts`, one after the other.
pub(crate) fn checksum(parts: &[&[u8]]) -> u32 {
    parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The version in the header of the segment or snapshot in `path`, if it is one that comes after that of `magic`.
///
/// Its last byte is the version. Whatever else changes, the header keeps its place, its length and its checksum, so that
/// what is newer is told from what is damaged.
pub(crate) fn newer(path: &Path, magic: &[u8; 8]) -> io::Result<Option<u8>> {
    let mut header = Vec::with_capacity(SEGMENT_HEADER_BYTES);
    File::open(path)?.take(SEGMENT_HEADER_BYTES as u64).read_to_end(&mut header)?;
    let version = header.get(7).copied().filter(|version| *version > magic[7] && header[..7] == magic[..7]);
    Ok(version.filter(|_| u32_at(&header, 16) == Some(checksum(&[&header[..16]]))))
}

/// The revision before a segment, from its header.
fn base_of(bytes: &[u8]) -> Option<Revision> {
    let header: &[u8; SEGMENT_HEADER_BYTES] = bytes.first_chunk()?;
    let right = header[..8] == SEGMENT_MAGIC[..] && u32_at(header, 16)? == checksum(&[&header[..16]]);
    right.then_some(Revision(u64_at(header, 8)?))
}

/// Something in the log that cannot be read, though it was once acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Damage {
    pub(crate) file: PathBuf,
    pub(crate) what: String,
    /// The last revision that is missing through it.
    pub(crate) through: Revision,
}

/// An unfinished write at the very end.
#[derive(Debug, Clone)]
pub(crate) struct Torn {
    pub(crate) file: PathBuf,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// It is as long as its header says, so it may as well be damage to something acknowledged.
    pub(crate) whole: bool,
}

/// What a reading of the log found.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// The last revision that could be read.
    pub(crate) end: Revision,
    pub(crate) torn: Option<Torn>,
    pub(crate) damage: Vec<Damage>,
}

/// Reads every frame that holds something after `after` and hands it to `visit`.
///
/// Segments entirely before are left unread; their damage is for a check to find.
pub(crate) fn read(
    dir: &Path,
    after: Revision,
    mut visit: impl FnMut(Frame) -> Result<(), OpenError>,
) -> Result<Survey, OpenError> {
    let at = OpenError::io;
    let segments = disk::numbered(dir, "log").map_err(at(dir))?;
    let mut first = 0;
    for (position, (_, path)) in segments.iter().enumerate() {
        if header(path).map_err(at(path))?.is_some_and(|base| base <= after) {
            first = position;
        }
    }

    let mut survey = Survey::default();
    // What the next frame's first revision must be; unknown until the first header.
    let mut expected: Option<Revision> = None;
    for (position, (_, path)) in segments.iter().enumerate().skip(first) {
        let newest = position + 1 == segments.len();
        let bytes = fs::read(path).map_err(at(path))?;
        let base = base_of(&bytes);
        if base.is_none() && newest && bytes.len() <= SEGMENT_HEADER_BYTES {
            // A crash between creating the segment and its first commit.
            survey.torn = Some(Torn { file: path.clone(), offset: 0, bytes: bytes.len() as u64, whole: false });
            break;
        }
        let mut next = *expected.get_or_insert(base.unwrap_or_default().min(after).next());
        if position == first
            && let Some(base) = base
            && base <= after
        {
            next = base.next();
        }
        if let Some(base) = base {
            // An empty segment still says how far the log has come.
            if base.next() > next {
                survey.damage.push(missing(path, 0, next, base));
                next = base.next();
            }
            survey.end = survey.end.max(base);
        }

        let begins = next;
        let mut offset = SEGMENT_HEADER_BYTES.min(bytes.len());
        while offset < bytes.len() {
            let Some((frame, length)) = decode(&bytes[offset..]) else {
                match find_frame(&bytes, offset + 1) {
                    Some(resumed) => offset = resumed,
                    None if newest => {
                        let rest = &bytes[offset..];
                        let length = u32_at(rest, 4).map(|payload| FRAME_HEADER_BYTES as u64 + u64::from(payload));
                        let bytes = rest.len() as u64;
                        let whole = rest.starts_with(FRAME_MAGIC) && length == Some(bytes);
                        survey.torn = Some(Torn { file: path.clone(), offset: offset as u64, bytes, whole });
                        break;
                    }
                    None => {
                        let what = format!("unreadable from offset {offset} to its end");
                        survey.damage.push(Damage { file: path.clone(), what, through: survey.end });
                        break;
                    }
                }
                continue;
            };
            if frame.first != next {
                let through = Revision(frame.first.0.saturating_sub(1));
                survey.damage.push(missing(path, offset, next, through));
            }
            next = frame.last().next();
            survey.end = frame.last();
            offset += length;
            if frame.last() > after {
                visit(frame)?;
            }
        }
        if base.is_none() {
            // With frames behind it, what is missing is known from them. Without, there was one at least: a header is on
            // the disk before the first of them is written.
            let through = if next == begins { next } else { Revision(0) };
            let what = "the segment's header is damaged".to_owned();
            survey.damage.push(Damage { file: path.clone(), what, through });
        }
        expected = Some(next);
    }
    Ok(survey)
}

fn missing(file: &Path, offset: usize, from: Revision, through: Revision) -> Damage {
    let what = format!("the commits {from} to {through}, before offset {offset}, are missing or damaged");
    Damage { file: file.to_owned(), what, through }
}

/// Reads only the header of a segment.
fn header(path: &Path) -> io::Result<Option<Revision>> {
    let mut header = Vec::with_capacity(SEGMENT_HEADER_BYTES);
    File::open(path)?.take(SEGMENT_HEADER_BYTES as u64).read_to_end(&mut header)?;
    Ok(base_of(&header))
}

/// Where the next good frame begins, from `from` on.
fn find_frame(bytes: &[u8], from: usize) -> Option<usize> {
    let candidates = bytes.get(from..)?.windows(FRAME_MAGIC.len()).enumerate();
    let mut places = candidates.filter(|(_, window)| window == FRAME_MAGIC).map(|(at, _)| from + at);
    places.find(|at| decode(&bytes[*at..]).is_some())
}

/// The end of the log, open for appending.
pub(crate) struct Log {
    dir: PathBuf,
    files: LogFiles,
    segment_bytes: u64,
    number: u64,
    path: PathBuf,
    file: Box<dyn LogFile>,
    len: u64,
    /// Bytes in the segments before this one.
    closed_bytes: u64,
}

/// Why a frame could not be appended.
pub(crate) enum AppendError {
    /// No room; the log is as it was before.
    Full(PathBuf),
    /// What is on the disk is unknown.
    Failed(String),
}

impl Log {
    /// Opens the end of the log in `dir`, where everything after `revision` was cut off; makes a first segment if there is none.
    pub(crate) fn open(dir: &Path, revision: Revision, segment_bytes: u64, files: LogFiles) -> Result<Self, OpenError> {
        let fail = OpenError::io;
        disk::create_dir(dir).map_err(fail(dir))?;
        let segments = disk::numbered(dir, "log").map_err(fail(dir))?;
        let closed_bytes =
            segments.iter().rev().skip(1).map(|(_, path)| fs::metadata(path).map_or(0, |meta| meta.len()));
        let closed_bytes = closed_bytes.sum();
        let (number, path, file, len) = match segments.last() {
            Some((number, path)) => {
                let file = OpenOptions::new().append(true).open(path).map_err(fail(path))?;
                let len = file.metadata().map_err(fail(path))?.len();
                (*number, path.clone(), file, len)
            }
            None => {
                let path = segment_path(dir, 1);
                let file = create_segment(dir, &path, revision).map_err(fail(&path))?;
                (1, path, file, SEGMENT_HEADER_BYTES as u64)
            }
        };
        let file = files(file);
        Ok(Self { dir: dir.to_owned(), files, segment_bytes, number, path, file, len, closed_bytes })
    }

    /// The number of the segment that is appended to.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes in all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.closed_bytes + self.len
    }

    /// Appends `frame`, whose commits follow `revision`, and returns once it is on the disk.
    pub(crate) fn append(&mut self, frame: &[u8], revision: Revision) -> Result<(), AppendError> {
        let has_frames = self.len > SEGMENT_HEADER_BYTES as u64;
        if has_frames && self.len + frame.len() as u64 > self.segment_bytes {
            self.rotate(revision)?;
        }
        if let Err(error) = self.file.append(frame) {
            let undone = self.file.truncate(self.len).and_then(|()| self.file.sync());
            return match undone {
                Ok(()) if is_full(&error) => Err(AppendError::Full(self.path.clone())),
                _ => Err(self.failed("writing", &error)),
            };
        }
        // A failed fsync may have dropped what it could not write, and the next one would then
        // succeed without it. So there is no second try.
        self.file.sync().map_err(|error| self.failed("fsync", &error))?;
        self.len += frame.len() as u64;
        Ok(())
    }

    /// Begins a new segment after `revision`; returns its number.
    pub(crate) fn rotate(&mut self, revision: Revision) -> Result<u64, AppendError> {
        let path = segment_path(&self.dir, self.number + 1);
        let file = match create_segment(&self.dir, &path, revision) {
            Ok(file) => file,
            Err(error) => {
                let removed = fs::remove_file(&path).is_ok() || !path.exists();
                return match removed && is_full(&error) {
                    true => Err(AppendError::Full(path)),
                    false => Err(AppendError::Failed(format!("{}: {error}; {CURE}", path.display()))),
                };
            }
        };
        self.closed_bytes += self.len;
        self.number += 1;
        self.path = path;
        self.file = (self.files)(file);
        self.len = SEGMENT_HEADER_BYTES as u64;
        Ok(self.number)
    }

    /// Removes the segments before `number`: a snapshot has taken their place.
    pub(crate) fn forget_before(&mut self, number: u64) -> io::Result<()> {
        for (_, path) in disk::numbered(&self.dir, "log")?.into_iter().filter(|(old, _)| *old < number) {
            let bytes = fs::metadata(&path)?.len();
            fs::remove_file(&path)?;
            self.closed_bytes = self.closed_bytes.saturating_sub(bytes);
        }
        disk::sync_dir(&self.dir)
    }

    fn failed(&self, doing: &str, error: &io::Error) -> AppendError {
        AppendError::Failed(format!("{}: {doing} failed: {error}; {CURE}", self.path.display()))
    }
}

const CURE: &str = "the store is read-only now; check the disk, then restart";

/// Cuts an unfinished write off the end of the log.
pub(crate) fn cut(dir: &Path, torn: &Torn) -> io::Result<()> {
    if torn.offset == 0 {
        fs::remove_file(&torn.file)?;
        return disk::sync_dir(dir);
    }
    let file = OpenOptions::new().write(true).open(&torn.file)?;
    file.set_len(torn.offset)?;
    file.sync_all()
}

fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.log"))
}

fn create_segment(dir: &Path, path: &Path, base: Revision) -> io::Result<File> {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..8].copy_from_slice(SEGMENT_MAGIC);
    header[8..16].copy_from_slice(&base.0.to_le_bytes());
    let crc = checksum(&[&header[..16]]);
    header[16..].copy_from_slice(&crc.to_le_bytes());
    let mut file = OpenOptions::new().append(true).create_new(true).open(path)?;
    file.append(&header)?;
    file.sync_all()?;
    disk::sync_dir(dir)?;
    Ok(file)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
