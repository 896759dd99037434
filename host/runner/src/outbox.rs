//! Finished work on disk, until the coordinator has it on its own.
//!
//! One file a parcel, written aside, fsynced and renamed, so that a crash leaves a whole file or none.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use manyhands_model::Digest;
use manyhands_protocol::{decode, encode};
use manyhands_worker::Parcel;

/// Ending of a file that is not a parcel, and is kept for whoever wants to know why.
const SET_ASIDE: &str = "unreadable";

/// Parcels that wait for their receipts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox {
    dir: PathBuf,
}

impl Outbox {
    /// The outbox in `dir`, with what is left in it from before.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(dir: &Path) -> io::Result<(Self, Vec<Parcel>)> {
        fs::create_dir_all(dir)?;
        let mut left = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Ok(name) = name.parse::<Digest>() else {
                // A part is what a crash left of a parcel that nobody was told about.
                if path.extension().is_some_and(|ending| ending == "part") {
                    fs::remove_file(&path)?;
                }
                continue;
            };
            if let Some(parcel) = whole(name, &fs::read(&path)?) {
                left.push(parcel);
            } else {
                tracing::warn!(file = %path.display(), "a saved result is damaged; setting it aside");
                fs::rename(&path, path.with_extension(SET_ASIDE))?;
            }
        }
        Ok((Self { dir: dir.to_owned() }, left))
    }

    /// Keeps a parcel; it survives everything but the disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, parcel: &Parcel) -> io::Result<()> {
        write_durably(&self.dir.join(parcel.name().to_string()), &encode(parcel.done()))
    }

    /// Forgets a parcel that the coordinator acknowledged.
    ///
    /// # Errors
    /// When it cannot be removed; it would be sent again after a restart, and acknowledged again.
    pub fn forget(&self, parcel: Digest) -> io::Result<()> {
        match fs::remove_file(self.dir.join(parcel.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// The parcel in `bytes`, if it is the one that was saved.
fn whole(name: Digest, bytes: &[u8]) -> Option<Parcel> {
    Parcel::reopen(decode(bytes).ok()?).filter(|parcel| parcel.name() == name)
}

/// Writes a whole file or nothing, and waits for the disk.
///
/// # Errors
/// What the operating system says.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    sync_dir(path)
}

/// Waits until the disk has the entry of `path` in its directory.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use manyhands_model::{Fuel, LeaseId, Outcome, RunId, Verdict};
    use manyhands_protocol::{Done, Entry, Lease, Report, Reports, Task, Ticket};
    use manyhands_signing::{Keypair, Signed};

    fn parcel() -> Parcel {
        let key = Keypair::from_seed(&[1; 32]);
        let report = |index: u32| {
            let task = Task { index, step: 0, entry: Entry::Run, input: Digest::of(b"i"), seed: [0; 32] };
            let lease = Lease { id: LeaseId([index as u8; 16]), task, ticket: Ticket([3; 16]) };
            let verdict = Verdict::Ok { output: Digest::of(b"out"), output_bytes: 3 };
            Report { lease, outcome: Outcome { verdict, fuel: Fuel(5) } }
        };
        let reports = Reports { run: RunId([2; 16]), module: Digest::of(b"m"), reports: vec![report(1), report(2)] };
        let outputs = vec![Bytes::from_static(b"out"); 2];
        Parcel::reopen(Done { reports: Signed::new(&key, &reports), outputs }).expect("whole")
    }

    #[test]
    fn a_parcel_survives_a_restart_until_it_is_acknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let (outbox, left) = Outbox::open(dir.path()).unwrap();
        assert_eq!(left, []);
        outbox.save(&parcel()).unwrap();
        assert_eq!(Outbox::open(dir.path()).unwrap().1, [parcel()]);
        outbox.forget(parcel().name()).unwrap();
        outbox.forget(parcel().name()).unwrap();
        assert_eq!(Outbox::open(dir.path()).unwrap().1, []);
    }

    #[test]
    fn a_torn_file_is_set_aside_and_nothing_else_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (outbox, _) = Outbox::open(dir.path()).unwrap();
        outbox.save(&parcel()).unwrap();
        fs::write(dir.path().join(Digest::of(b"torn").to_string()), b"torn").unwrap();
        fs::write(dir.path().join("x.part"), b"left by a crash").unwrap();
        assert_eq!(Outbox::open(dir.path()).unwrap().1, [parcel()]);
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn flipping_any_one_byte_of_a_saved_parcel_sets_it_aside() {
        let dir = tempfile::tempdir().unwrap();
        let (outbox, _) = Outbox::open(dir.path()).unwrap();
        outbox.save(&parcel()).unwrap();
        let path = dir.path().join(parcel().name().to_string());
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(whole(parcel().name(), &flipped), None, "byte {at}");
        }
        assert_eq!(whole(Digest::of(b"other"), &bytes), None, "under another name");
        assert_eq!(whole(parcel().name(), &bytes), Some(parcel()));
    }
}
