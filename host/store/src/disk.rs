//! The few things that durability asks of a file system.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The file that commits are appended to.
///
/// [`File`] is the real one. It is a trait so that a fault suite can stand between the store and the disk.
pub trait LogFile: Send {
    /// Writes `bytes` at the end.
    ///
    /// # Errors
    /// The operating system's; any part of `bytes` may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns once everything written is on the disk.
    ///
    /// # Errors
    /// The operating system's. It may have forgotten the unwritten data, so another try proves nothing.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts off everything after `len` bytes.
    ///
    /// # Errors
    /// The operating system's.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

/// Expects a file opened for appending.
impl LogFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        // The length is data: `sync_data` is enough to read the bytes back.
        self.sync_data()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

/// Makes new, renamed and removed names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    // Windows cannot open a directory, and does not need to.
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// Creates `dir` and makes its name durable.
pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    dir.parent().map_or(Ok(()), sync_dir)
}

/// Renames `from` to `to`, in place of what an earlier repair left there.
pub(crate) fn move_aside(from: &Path, to: &Path) -> io::Result<()> {
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(from, to)?;
    from.parent().map_or(Ok(()), sync_dir)
}

/// Bytes of the files in `dir` and below; what vanishes meanwhile counts nothing.
pub(crate) fn bytes_in(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_in(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

/// Files in `dir` named by a number and `.extension`, in the order of the numbers.
pub(crate) fn numbered(dir: &Path, extension: &str) -> io::Result<Vec<(u64, std::path::PathBuf)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let Some(number) = number
            && path.extension().unwrap_or_default() == extension
        {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files)
}
