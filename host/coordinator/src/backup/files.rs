//! Files of a backup: copied with their digest, synced, and listed in `SHA256SUMS`.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use manyhands_model::Digest;
use sha2::{Digest as _, Sha256};

/// Something that the file system refused.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct FileError {
    /// The file or directory.
    pub path: PathBuf,
    /// What the operating system says.
    pub error: io::Error,
}

impl FileError {
    /// For `map_err`: says where it happened.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self { path, error }
    }
}

/// Makes `dir`, and what is above it, for its owner only.
pub(crate) fn make_dir(dir: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(FileError::at(dir))
}

/// A new file that its owner alone can read.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Writes a new file, durable when this returns but for its name.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let written = create(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(FileError::at(path))
}

/// Copies a file, durable when this returns but for its name; returns the digest of what was read.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<Digest, FileError> {
    let mut target = create(to).map_err(FileError::at(to))?;
    let digest = read(from, |part| target.write_all(part).map_err(FileError::at(to)))?;
    target.sync_all().map_err(FileError::at(to))?;
    Ok(digest)
}

/// The digest of a file's bytes.
pub(crate) fn digest(path: &Path) -> Result<Digest, FileError> {
    read(path, |_| Ok(()))
}

/// Hands the bytes of a file to `visit`, part by part; returns their digest.
fn read(path: &Path, mut visit: impl FnMut(&[u8]) -> Result<(), FileError>) -> Result<Digest, FileError> {
    let mut file = File::open(path).map_err(FileError::at(path))?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 128 << 10]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Digest(hasher.finalize().into())),
            Ok(length) => {
                hasher.update(&buffer[..length]);
                visit(&buffer[..length])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FileError::at(path)(error)),
        }
    }
}

/// Gives a file a second name; copies it where the file system has no such thing, or no more of it.
pub(crate) fn link(from: &Path, to: &Path) -> Result<(), FileError> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(_) => copy(from, to).map(drop),
    }
}

/// All files in `dir` and below, by their paths from there, in order.
pub(crate) fn walk(dir: &Path) -> Result<Vec<String>, FileError> {
    let mut files = Vec::new();
    walk_into(dir, "", &mut files)?;
    files.sort();
    Ok(files)
}

fn walk_into(dir: &Path, prefix: &str, files: &mut Vec<String>) -> Result<(), FileError> {
    for entry in fs::read_dir(dir).map_err(FileError::at(dir))? {
        let entry = entry.map_err(FileError::at(dir))?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().map_err(FileError::at(dir))?.is_dir() {
            walk_into(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.push(name);
        }
    }
    Ok(())
}

/// Makes all names in `dir` and below durable.
pub(crate) fn sync_names(dir: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(dir).map_err(FileError::at(dir))? {
        let entry = entry.map_err(FileError::at(dir))?;
        if entry.file_type().map_err(FileError::at(dir))?.is_dir() {
            sync_names(&entry.path())?;
        }
    }
    sync(dir)
}

/// Makes a file's bytes, or a directory's names, durable.
pub(crate) fn sync(path: &Path) -> Result<(), FileError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(FileError::at(path))
}

/// Removes a directory with everything in it, if it is there.
pub(crate) fn remove_dir(dir: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::at(dir)(error)),
        _ => Ok(()),
    }
}

/// The digests of files by their paths, in the form of `sha256sum`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums(pub(crate) BTreeMap<String, Digest>);

impl Sums {
    /// The file's text.
    pub(crate) fn to_text(&self) -> String {
        self.0.iter().map(|(path, digest)| format!("{digest}  {path}\n")).collect()
    }

    /// Reads what [`to_text`](Self::to_text) wrote and nothing else; `None` if it is anything else. Paths lead nowhere but down.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut sums = BTreeMap::new();
        for line in text.strip_suffix('\n')?.split('\n') {
            let (digest, path) = line.split_once("  ")?;
            let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
            // A digest has one spelling, in lower case, so each flipped bit shows.
            let digest = digest.parse().ok()?;
            if !path.split('/').all(plain) || sums.insert(path.to_owned(), digest).is_some() {
                return None;
            }
        }
        Some(Self(sums))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_as_they_were_written_and_in_no_other_way() {
        let sums = Sums(["a", "b/c"].map(|path| (path.to_owned(), Digest::of(path.as_bytes()))).into());
        let text = sums.to_text();
        assert_eq!(Sums::parse(&text), Some(sums.clone()));
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = String::from_utf8(bytes).ok().and_then(|text| Sums::parse(&text));
            assert_ne!(read.as_ref(), Some(&sums), "bit {bit}");
        }
        let digest = Digest::of(b"x");
        for path in ["/etc/passwd", "../x", "a/../../x", "", "a//b", "./a"] {
            assert_eq!(Sums::parse(&format!("{digest}  {path}\n")), None, "{path}");
        }
    }
}
