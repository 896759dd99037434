//! Files that hold secrets: readable by their owner alone, whole or not there, durable once written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Why a secret cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// Others have access. What they could read is no secret any more.
    #[error("{}: others than its owner have access (mode {mode:o}); if nobody used that, run `chmod {wanted:o} {}`, otherwise replace what is in it", .path.display(), .path.display())]
    Exposed {
        /// The file or directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What they should be.
        wanted: u32,
    },
    /// The operating system refused.
    #[error("{}: {why}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        why: io::Error,
    },
}

impl PrivateFileError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |why| Self::Io { path, why }
    }

    /// Whether there simply is no such file.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Io { why, .. } if why.kind() == io::ErrorKind::NotFound)
    }
}

/// Makes sure that `dir` is there and is its owner's alone.
pub(crate) fn directory(dir: &Path) -> Result<(), PrivateFileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(PrivateFileError::at(dir))?;
    check(dir, &fs::metadata(dir).map_err(PrivateFileError::at(dir))?, 0o700)
}

/// Puts a file there as a whole, over whatever was there. When this returns, a power cut does not undo it.
pub(crate) fn write(path: &Path, contents: &[u8]) -> Result<(), PrivateFileError> {
    let at = || PrivateFileError::at(path);
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let draft = path.with_added_extension("new");
    match fs::remove_file(&draft) {
        // A draft is what a crash left behind. It goes first, so that its permissions cannot be inherited.
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(at()(why)),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(at())?;
    file.write_all(contents).and_then(|()| file.sync_all()).map_err(at())?;
    fs::rename(&draft, path).and_then(|()| File::open(dir)?.sync_all()).map_err(at())
}

/// Reads a file that is its owner's alone.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    let at = || PrivateFileError::at(path);
    let mut file = File::open(path).map_err(at())?;
    // Of the opened file, so that nobody swaps it between the look and the reading.
    check(path, &file.metadata().map_err(at())?, 0o600)?;
    let mut contents = Zeroizing::new(Vec::with_capacity(4096));
    file.read_to_end(&mut contents).map_err(at())?;
    Ok(contents)
}

fn check(path: &Path, metadata: &fs::Metadata, wanted: u32) -> Result<(), PrivateFileError> {
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(PrivateFileError::Exposed { path: path.to_owned(), mode, wanted }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_owners_alone_and_a_leftover_draft_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(dir.path().join("secret.new"), "half").unwrap();
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(*read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft stays behind");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_cure() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write(&path, b"one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let said = read(&path).unwrap_err().to_string();
        assert!(said.contains("mode 640") && said.contains(&format!("chmod 600 {}", path.display())), "{said}");
    }
}
