//! What a runner keeps: its key, its cache's key, and the newest trust list that it saw.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use manyhands_signing::Keypair;
use zeroize::Zeroizing;

use crate::outbox::{sync_dir, write_durably};

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another runner uses it.
    #[error("{0}: another runner uses this data directory; give each its own with --data-dir")]
    InUse(String),
    /// Others can read a secret.
    #[error("{0}: other users can read this key; run `chmod 600` on it, or delete it to become a new worker")]
    Exposed(String),
    /// A file is not what was written.
    #[error("{0}: not a key of 32 bytes; delete it to become a new worker")]
    Damaged(String),
    /// The note of the newest trust list is unreadable. Taking that for a first start would let somebody
    /// replay an older list.
    #[error("{0}: not the version of a trust list; delete it if you know why")]
    DamagedTrust(String),
    /// The operating system refuses.
    #[error("{place}: {error}")]
    Io {
        /// Where.
        place: String,
        /// What it says.
        error: io::Error,
    },
}

/// A runner's own directory, locked for as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    dir: PathBuf,
    _lock: Option<File>,
}

impl DataDir {
    /// Makes the directory if need be, for its owner only, and locks it.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn open(dir: &Path) -> Result<Self, DataDirError> {
        let io = |error| DataDirError::Io { place: dir.display().to_string(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("LOCK")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir: dir.to_owned(), _lock: Some(lock) }),
            Err(fs::TryLockError::WouldBlock) => Err(DataDirError::InUse(dir.display().to_string())),
            Err(fs::TryLockError::Error(error)) => Err(io(error)),
        }
    }

    /// A directory that another runner uses, only to be looked at.
    pub fn look(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), _lock: None }
    }

    /// A place in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The worker's key, made at the first start.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn key(&self) -> Result<Keypair, DataDirError> {
        Ok(Keypair::from_seed(&*self.secret("worker.key")?))
    }

    /// A secret of 32 bytes in a file that its owner alone can read, made at its first use.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn secret(&self, name: &str) -> Result<Zeroizing<[u8; 32]>, DataDirError> {
        let path = self.join(name);
        let place = || path.display().to_string();
        let io = |error| DataDirError::Io { place: path.display().to_string(), error };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut secret = Zeroizing::new([0; 32]);
                getrandom::fill(&mut *secret).map_err(|error| io(io::Error::other(error)))?;
                create_secret(&path, &*secret).map_err(io)?;
                return Ok(secret);
            }
            Err(error) => return Err(io(error)),
        };
        if file.metadata().map_err(io)?.permissions().mode() & 0o077 != 0 {
            return Err(DataDirError::Exposed(place()));
        }
        let mut bytes = Zeroizing::new(Vec::new());
        file.read_to_end(&mut bytes).map_err(io)?;
        let secret: [u8; 32] = bytes.as_slice().try_into().map_err(|_| DataDirError::Damaged(place()))?;
        Ok(Zeroizing::new(secret))
    }

    /// The highest version of the coordinator's trust list that was seen.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn trust_version(&self, coordinator: &str) -> Result<u64, DataDirError> {
        let path = self.join(&format!("trust-{coordinator}"));
        let place = path.display().to_string();
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| DataDirError::DamagedTrust(place)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(DataDirError::Io { place, error }),
        }
    }

    /// Remembers that version, durably.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn remember_trust(&self, coordinator: &str, version: u64) -> io::Result<()> {
        write_durably(&self.join(&format!("trust-{coordinator}")), format!("{version}\n").as_bytes())
    }
}

fn create_secret(path: &Path, secret: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let _left_over = fs::remove_file(&part);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&part)?;
    file.write_all(secret)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    sync_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_readable_by_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let first = data.key().unwrap().public();
        assert_eq!(data.key().unwrap().public(), first);
        let path = data.join("worker.key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(data.key(), Err(DataDirError::Exposed(_))));
    }

    #[test]
    fn a_second_runner_is_told_to_use_another_directory() {
        let dir = tempfile::tempdir().unwrap();
        let _first = DataDir::open(dir.path()).unwrap();
        let second = DataDir::open(dir.path()).expect_err("in use").to_string();
        assert!(second.contains("--data-dir"), "{second}");
    }

    #[test]
    fn the_newest_trust_list_is_remembered_for_each_coordinator() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        data.remember_trust("a", 7).unwrap();
        assert_eq!((data.trust_version("a").unwrap(), data.trust_version("b").unwrap()), (7, 0));
        fs::write(data.join("trust-a"), "\0\0").unwrap();
        assert!(matches!(data.trust_version("a"), Err(DataDirError::DamagedTrust(_))), "not taken for a first start");
    }

    #[test]
    fn others_cannot_look_into_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(&dir.path().join("new/data")).unwrap();
        assert_eq!(fs::metadata(data.join(".")).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
