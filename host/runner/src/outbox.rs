//! Finished work on disk, until the coordinator has it on its own.
//!
//! One file a report, written aside, fsynced and renamed, so that a crash leaves a whole file or none.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use manyhands_model::{Digest, LeaseId, Verdict};
use manyhands_protocol::Report;
use manyhands_signing::Signed;
use manyhands_worker::Saved;
use serde::{Deserialize, Serialize};

/// Ending of a file that is not a report, and is kept for whoever wants to know why.
const SET_ASIDE: &str = "unreadable";

/// Reports that wait for their receipts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox {
    dir: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    report: Signed<Report>,
    output: Vec<u8>,
}

impl Outbox {
    /// The outbox in `dir`, with what is left in it from before.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(dir: &Path) -> io::Result<(Self, Vec<Saved>)> {
        fs::create_dir_all(dir)?;
        let mut left = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Ok(lease) = name.parse::<LeaseId>() else {
                // A part is what a crash left of a report that nobody was told about.
                if path.extension().is_some_and(|ending| ending == "part") {
                    fs::remove_file(&path)?;
                }
                continue;
            };
            if let Some(saved) = whole(lease, &fs::read(&path)?) {
                left.push(saved);
            } else {
                tracing::warn!(file = %path.display(), "a saved result is damaged; setting it aside");
                fs::rename(&path, path.with_extension(SET_ASIDE))?;
            }
        }
        Ok((Self { dir: dir.to_owned() }, left))
    }

    /// Keeps a report; it survives everything but the disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, saved: &Saved) -> io::Result<()> {
        let entry = Entry { report: saved.report.clone(), output: saved.output.clone() };
        let bytes = postcard::to_allocvec(&entry).map_err(io::Error::other)?;
        write_durably(&self.dir.join(saved.lease.to_string()), &bytes)
    }

    /// Forgets a report that the coordinator acknowledged.
    ///
    /// # Errors
    /// When it cannot be removed; it would be sent again after a restart, and acknowledged again.
    pub fn forget(&self, lease: LeaseId) -> io::Result<()> {
        match fs::remove_file(self.dir.join(lease.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// The report in `bytes`, if it is the one that was saved: its own signature covers everything in it.
fn whole(lease: LeaseId, bytes: &[u8]) -> Option<Saved> {
    let Entry { report, output } = postcard::from_bytes(bytes).ok()?;
    let said = report.verify_any().ok()?;
    let fits = match &said.outcome.verdict {
        Verdict::Ok { output: digest, .. } => Digest::of(&output) == *digest,
        Verdict::OutOfFuel | Verdict::OutOfStack | Verdict::Aborted { .. } | Verdict::Trap => output.is_empty(),
    };
    let about = said.lease.verify_any().ok()?.id;
    (fits && about == lease).then_some(Saved { lease, report, output })
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
    use manyhands_model::{Fuel, Outcome, RunId, Timestamp, UnitId, WorkerId};
    use manyhands_protocol::{Entry as Function, Lease};
    use manyhands_signing::{Keypair, Validity};

    fn saved() -> Saved {
        let key = Keypair::from_seed(&[1; 32]);
        let lease = Lease {
            id: LeaseId([7; 16]),
            worker: WorkerId(key.public().0),
            unit: UnitId { run: RunId([2; 16]), index: 3 },
            entry: Function::Run,
            job: "a".parse().unwrap(),
            serial: 1,
            module: Digest::of(b"m"),
            input: Digest::of(b"i"),
            seed: [0; 32],
            validity: Validity { issued_at: Timestamp(1), expires_at: Timestamp(2) },
        };
        let verdict = Verdict::Ok { output: Digest::of(b"out"), output_bytes: 3 };
        let outcome = Outcome { verdict, fuel: Fuel(5) };
        let report = Signed::new(&key, &Report { lease: Signed::new(&key, &lease), outcome });
        Saved { lease: LeaseId([7; 16]), report, output: b"out".to_vec() }
    }

    #[test]
    fn a_report_survives_a_restart_until_it_is_acknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let (outbox, left) = Outbox::open(dir.path()).unwrap();
        assert_eq!(left, []);
        outbox.save(&saved()).unwrap();
        assert_eq!(Outbox::open(dir.path()).unwrap().1, [saved()]);
        outbox.forget(saved().lease).unwrap();
        outbox.forget(saved().lease).unwrap();
        assert_eq!(Outbox::open(dir.path()).unwrap().1, []);
    }

    #[test]
    fn a_torn_file_is_set_aside_and_nothing_else_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (outbox, _) = Outbox::open(dir.path()).unwrap();
        outbox.save(&saved()).unwrap();
        fs::write(dir.path().join(LeaseId([8; 16]).to_string()), b"torn").unwrap();
        fs::write(dir.path().join("x.part"), b"left by a crash").unwrap();
        assert_eq!(Outbox::open(dir.path()).unwrap().1, [saved()]);
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn flipping_any_one_byte_of_a_saved_report_sets_it_aside() {
        let dir = tempfile::tempdir().unwrap();
        let (outbox, _) = Outbox::open(dir.path()).unwrap();
        outbox.save(&saved()).unwrap();
        let path = dir.path().join(saved().lease.to_string());
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(whole(saved().lease, &flipped), None, "byte {at}");
        }
        assert_eq!(whole(LeaseId([8; 16]), &bytes), None, "under another name");
        assert_eq!(whole(saved().lease, &bytes), Some(saved()));
    }
}
