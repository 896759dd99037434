//! The publisher's key: a job's name belongs to whoever used it first, and this key is who that is.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use manyhands_signing::Keypair;
use zeroize::Zeroizing;

use crate::fault::{Fault, Result};
use crate::profile::{Replace, user_folder, write_secret};
use crate::screen::Screen;

/// Reads the key, or creates it if there is none.
///
/// # Errors
/// The file cannot be read or written, others can read it, or it does not hold a key.
pub fn key(path: Option<&Path>, screen: Screen) -> Result<Keypair> {
    let path = match path {
        Some(path) => path.to_owned(),
        None => default_path()?,
    };
    if !path.exists() {
        match create(&path) {
            Ok(created) => screen.note(format_args!(
                "created the publisher key {} in {}; keep a copy: only this key can publish newer versions of its jobs",
                created.public(),
                path.display()
            )),
            // Another process was faster: its key is the key.
            Err(_) if path.exists() => {}
            Err(fault) => return Err(fault),
        }
    }
    load(&path)
}

fn default_path() -> Result<PathBuf> {
    Ok(user_folder("XDG_DATA_HOME", ".local/share")?.join("publisher.key"))
}

fn create(path: &Path) -> Result<Keypair> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| Fault::bug(format!("the system gives no random bytes: {error}")))?;
    let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(HEXLOWER.encode(&*seed))));
    write_secret(path, text.as_bytes(), Replace::No)?;
    Ok(Keypair::from_seed(&seed))
}

fn load(path: &Path) -> Result<Keypair> {
    let metadata = path.metadata().map_err(|error| Fault::file("read", path, &error))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        let fault = Fault::usage(format!("the publisher key `{}` can be read by others", path.display()));
        return Err(fault.help(format!("if nobody did, `chmod 600 {}`; else make a new one", path.display())));
    }
    let text = std::fs::read(path).map(Zeroizing::new).map_err(|error| Fault::file("read", path, &error))?;
    let seed = HEXLOWER.decode(text.trim_ascii()).map(Zeroizing::new).ok();
    match seed.as_ref().and_then(|seed| <&[u8; 32]>::try_from(seed.as_slice()).ok()) {
        Some(seed) => Ok(Keypair::from_seed(seed)),
        None => Err(Fault::usage(format!("`{}` is not a publisher key: expected 64 of 0-9 and a-f", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Screen = Screen { json: false, quiet: true };

    #[test]
    fn a_key_is_created_once_and_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("publisher.key");
        let first = key(Some(&path), QUIET).expect("created");
        let second = key(Some(&path), QUIET).expect("read");
        assert_eq!(first.public(), second.public());
        assert_eq!(path.metadata().expect("exists").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("publisher.key");
        key(Some(&path), QUIET).expect("created");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changed");
        let fault = key(Some(&path), QUIET).expect_err("refused");
        assert!(fault.help.expect("help").contains("chmod 600"));
    }

    #[test]
    fn a_file_that_holds_no_key_is_not_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notes.txt");
        write_secret(&path, b"dear diary", Replace::No).expect("written");
        assert!(key(Some(&path), QUIET).is_err());
        assert_eq!(std::fs::read(&path).expect("read"), b"dear diary");
    }
}
