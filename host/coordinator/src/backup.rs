//! Backups: made while the coordinator works, verified by restoring them, and restored for good.
//!
//! ```text
//! DIR/000012-20261121T080000Z/
//!   manifest.json     what it holds: [`Manifest`]
//!   SHA256SUMS        of every other file, in the form of sha256sum(1)
//!   state/            a store of its own, as `SledStore::export` writes one
//!   blobs/            every blob that its records name, under its digest
//!   keys/             the coordinator's keys; with `operator.token` left out where they are not wanted
//!   operator.token
//! ```
//! **A backup is a directory and complete on its own**: it can be copied, listed and checked with the tools that
//! everybody has, and losing one loses no other. Blobs never change, so those that the backup before has as
//! well are the same files (hard links); a file system without such links holds copies.
//!
//! **It is restored before it is called a backup.** Everything is written aside; then read back, restored
//! into a scratch directory, opened and counted; only then does it get its name. Older ones go after that.
//!
//! **A restore touches nothing before everything is verified.** It goes into a directory of its own inside
//! the empty data directory, is opened there, and moved into place by renaming.
//!
//! Start at [`Directory::take`] and [`restore`]; [`retention`] decides which ones may go.

mod files;
pub mod retention;
pub mod schedule;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use manyhands_api::BackupView;
use manyhands_model::{Digest, Timestamp};
use manyhands_signing::Fingerprint;
use manyhands_state::{ReadError, StateStore as _};
use manyhands_store::{BlobError, Blobs, OpenError, Options, Repair, SledStore, blob_file};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::auth::OPERATOR_FILE;
pub use crate::backup::files::FileError;
use crate::backup::files::Sums;
use crate::backup::retention::{Keep, Taken};
use crate::census::Census;
use crate::keys::{KeyStore, KeysError, system_entropy};

const MANIFEST: &str = "manifest.json";
const SUMS: &str = "SHA256SUMS";
/// Grows when an older coordinator could not restore what a newer one writes.
const FORMAT: u32 = 1;
/// Of everything that is not finished, and of nothing else.
const DRAFT: &str = ".draft";
/// A restore that is not finished, inside the data directory.
pub const RESTORING: &str = ".restoring";
/// Damage is listed up to here.
const PROBLEMS_MAX: usize = 20;
/// Memory for the pages of a store that is opened once to be counted. Unit: bytes.
const SCRATCH_CACHE_BYTES: u64 = 16 << 20;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of the backup itself.
    pub format: u32,
    /// The version of the coordinator that made it.
    pub coordinator: String,
    /// Its number in the directory where it was made.
    pub number: u64,
    /// When, in milliseconds since the Unix epoch.
    pub taken_at: Timestamp,
    /// The root key; absent where keys were left out.
    pub root: Option<Fingerprint>,
    /// The last commit.
    pub revision: u64,
    /// Records of all kinds.
    pub records: u64,
    /// Releases of published jobs.
    pub jobs: u64,
    /// Runs.
    pub runs: u64,
    /// Those of them that were going on.
    pub active_runs: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes of all files, whether or not they are shared with other backups.
    pub bytes: u64,
}

impl Manifest {
    /// As the HTTP API shows a backup in `path`.
    pub fn view(&self, path: &Path) -> BackupView {
        BackupView {
            path: path.display().to_string(),
            number: self.number,
            taken_at: self.taken_at,
            revision: self.revision,
            records: self.records,
            jobs: self.jobs,
            runs: self.runs,
            active_runs: self.active_runs,
            blobs: self.blobs,
            bytes: self.bytes,
            root: self.root,
        }
    }
}

/// A backup and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its directory.
    pub path: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
}

/// Why there is no backup, or nothing was restored from one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file system refused.
    #[error("{0}; check the path, its owner and the room on its disk")]
    File(#[from] FileError),
    /// A store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A blob that a record names cannot be had.
    #[error("the coordinator's own data is not whole: {0}; run `manyhands-coordinator check`")]
    Blob(#[from] BlobError),
    /// Keys cannot be read or written.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A record of the coordinator's cannot be read.
    #[error("the coordinator's own data is not whole: {0}")]
    Record(manyhands_state::Problem),
    /// This is no backup.
    #[error("{}: {why}; `manyhands-coordinator backups` lists them", path.display())]
    NotABackup {
        /// What was named.
        path: PathBuf,
        /// Why it is none.
        why: String,
    },
    /// It is not what was written.
    #[error("{}: the backup is damaged, nothing was restored from it; use another one{}", path.display(), listed(problems))]
    Damaged {
        /// The backup.
        path: PathBuf,
        /// What is wrong, the first twenty places.
        problems: Vec<String>,
    },
    /// A newer coordinator made it.
    #[error("{}: written in form {found} by coordinator {version}; this one reads up to form {FORMAT}: upgrade it", path.display())]
    Newer {
        /// The backup.
        path: PathBuf,
        /// Its form.
        found: u32,
        /// Who made it.
        version: String,
    },
    /// Somebody else makes a backup there.
    #[error("{}: somebody else is writing here at this moment; wait for it, or choose another directory", .0.display())]
    Busy(PathBuf),
    /// A backup inside of what it is to protect.
    #[error("{}: lies in the data directory, and would be lost with it; choose a directory elsewhere, best on another disk", .0.display())]
    Inside(PathBuf),
    /// There is something where a restore is to go.
    #[error("{dir}: not empty ({found}), and a restore replaces nothing; move it away first: mv {dir} {dir}.old", dir = dir.display())]
    NotEmpty {
        /// The data directory.
        dir: PathBuf,
        /// What is in it.
        found: String,
    },
    /// The coordinator stops.
    #[error("the coordinator is stopping; what was begun is removed with the next backup")]
    Stopped,
}

impl BackupError {
    /// Whether a disk has no room.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        self.io().is_some_and(|kind| matches!(kind, StorageFull | QuotaExceeded | FileTooLarge))
    }

    /// Whether the directory that was named cannot be what it was named for.
    pub fn is_bad_place(&self) -> bool {
        use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
        let bad = |kind| matches!(kind, NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem);
        matches!(self, Self::Inside(_)) || self.io().is_some_and(bad)
    }

    fn io(&self) -> Option<io::ErrorKind> {
        match self {
            Self::File(FileError { error, .. }) | Self::Open(OpenError::Io { error, .. }) => Some(error.kind()),
            _ => None,
        }
    }
}

fn listed(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// What is backed up.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The state.
    pub store: &'a SledStore,
    /// The blobs.
    pub blobs: &'a Blobs,
    /// The keys; `None` leaves them and the operator's token out.
    pub keys: Option<&'a KeyStore>,
    /// Where all of that is.
    pub data_dir: &'a Path,
    /// The time.
    pub now: Timestamp,
    /// Gives up when cancelled.
    pub stop: &'a CancellationToken,
}

/// A directory of backups, and the only one in this moment who writes there.
pub struct Directory {
    dir: PathBuf,
    _lock: File,
}

impl Directory {
    /// Opens `dir` for writing, makes it if it is not there, and removes what an interrupted backup left. Blocks.
    ///
    /// # Errors
    /// [`BackupError::Busy`], [`BackupError::Inside`] or [`BackupError::File`].
    pub fn open(dir: &Path, data_dir: &Path) -> Result<Self, BackupError> {
        let real = |path: &Path| fs::canonicalize(path).map_err(FileError::at(path));
        let there = dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
        if real(there)?.starts_with(real(data_dir)?) {
            return Err(BackupError::Inside(dir.to_owned()));
        }
        files::make_dir(dir)?;
        let path = dir.join(".lock");
        let lock = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
        let lock = lock.map_err(FileError::at(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BackupError::Busy(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(FileError::at(&path)(error).into()),
        }
        for entry in fs::read_dir(dir).map_err(FileError::at(dir))? {
            let path = entry.map_err(FileError::at(dir))?.path();
            if path.extension().is_some_and(|extension| *extension == DRAFT[1..]) {
                files::remove_dir(&path)?;
            }
        }
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    /// Makes a backup, and returns once it was restored and found right. Blocks, for as long as it takes to
    /// write and read everything; `runtime` carries out what does not.
    ///
    /// # Errors
    /// Any [`BackupError`]; there is then no backup, and the older ones are as they were.
    pub fn take(&self, source: Source<'_>, runtime: &tokio::runtime::Handle) -> Result<Backup, BackupError> {
        let before = list(&self.dir)?;
        let number = before.last().map_or(0, |last| last.number) + 1;
        let name = format!("{number:06}-{}", compact_date(source.now));
        let draft = self.dir.join(format!("{name}{DRAFT}"));
        let written = self.write(source, runtime, number, &draft, before.last().map(|last| &*last.path));
        let scratch = self.dir.join(format!("{name}-scratch{DRAFT}"));
        let verified = written.and_then(|manifest| {
            rebuild(&draft, &scratch, files::link, source.stop)?;
            Ok(manifest)
        });
        files::remove_dir(&scratch)?;
        match verified {
            Ok(manifest) => {
                let path = self.dir.join(&name);
                fs::rename(&draft, &path).map_err(FileError::at(&path))?;
                files::sync(&self.dir)?;
                Ok(Backup { path, manifest })
            }
            Err(error) => {
                // The disk may be full: what is of no use goes at once. If it does not, the next backup tries again.
                let _kept = files::remove_dir(&draft);
                Err(error)
            }
        }
    }

    /// Writes everything into `draft`.
    fn write(
        &self,
        source: Source<'_>,
        runtime: &tokio::runtime::Handle,
        number: u64,
        draft: &Path,
        before: Option<&Path>,
    ) -> Result<Manifest, BackupError> {
        files::make_dir(draft)?;
        let state = draft.join("state");
        let exported = source.store.export(&state)?;
        let census = self.census(&state, &draft.with_extension("census.draft"))?;
        if let Some(problem) = census.problems.into_iter().next() {
            return Err(BackupError::Record(problem));
        }

        let mut sums = Sums::default();
        let blobs = draft.join("blobs");
        files::make_dir(&blobs)?;
        for digest in &census.blobs {
            if source.stop.is_cancelled() {
                return Err(BackupError::Stopped);
            }
            let name = blob_file(digest);
            let file = blobs.join(&name);
            file.parent().map_or(Ok(()), files::make_dir)?;
            let same = before.map(|before| before.join("blobs").join(&name)).filter(|same| same.exists());
            match same {
                Some(same) if files::digest(&same)? == *digest => files::link(&same, &file)?,
                same => {
                    if let Some(damaged) = same {
                        tracing::warn!(file = %damaged.display(), "a blob in an earlier backup is damaged; it was copied anew");
                    }
                    files::write(&file, &runtime.block_on(source.blobs.get(digest))?)?;
                }
            }
            sums.0.insert(format!("blobs/{name}"), *digest);
        }

        if let Some(keys) = source.keys {
            keys.copy_to(&draft.join("keys"))?;
            let token = source.data_dir.join(OPERATOR_FILE);
            if token.exists() {
                files::copy(&token, &draft.join(OPERATOR_FILE))?;
            }
        }
        for path in files::walk(draft)?.into_iter().filter(|path| !path.starts_with("blobs/")) {
            let digest = files::digest(&draft.join(&path))?;
            sums.0.insert(path, digest);
        }
        let length = |path: &String| fs::metadata(draft.join(path)).map_or(0, |meta| meta.len());
        let manifest = Manifest {
            format: FORMAT,
            coordinator: env!("CARGO_PKG_VERSION").to_owned(),
            number,
            taken_at: source.now,
            root: source.keys.map(|keys| keys.root().fingerprint()),
            revision: exported.revision.0,
            records: census.records,
            jobs: census.jobs,
            runs: census.runs,
            active_runs: census.active_runs,
            blobs: census.blobs.len() as u64,
            bytes: sums.0.keys().map(length).sum(),
        };
        // Numbers, words and a fingerprint always have a text.
        let text = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
        files::write(&draft.join(MANIFEST), &text)?;
        sums.0.insert(MANIFEST.to_owned(), Digest::of(&text));
        files::write(&draft.join(SUMS), sums.to_text().as_bytes())?;
        files::sync_names(draft)?;
        Ok(manifest)
    }

    /// Counts what an exported state holds, in a copy of it: opening a store writes into it.
    fn census(&self, state: &Path, scratch: &Path) -> Result<Census, BackupError> {
        files::make_dir(scratch)?;
        for path in files::walk(state)? {
            place(&state.join(&path), &scratch.join(&path), files::copy)?;
        }
        let counted = open_scratch(scratch).and_then(|(store, _)| Ok(Census::take(&store)?));
        files::remove_dir(scratch)?;
        counted
    }

    /// Removes the backups that `keep` does not ask for; returns their names. Blocks.
    ///
    /// # Errors
    /// [`BackupError::File`].
    pub fn prune(&self, keep: Keep) -> Result<Vec<String>, BackupError> {
        let backups = list(&self.dir)?;
        let taken: Vec<Taken> = backups.iter().filter_map(Listed::taken).collect();
        let expired = retention::expired(&taken, keep);
        let mut removed = Vec::new();
        for backup in backups.into_iter().filter(|backup| expired.contains(&backup.number)) {
            // A backup is there as a whole or not at all, also after a power cut in between.
            let gone = self.dir.join(format!("{}{DRAFT}", backup.name()));
            fs::rename(&backup.path, &gone).map_err(FileError::at(&backup.path))?;
            files::sync(&self.dir)?;
            files::remove_dir(&gone)?;
            removed.push(backup.name());
        }
        Ok(removed)
    }
}

/// A backup as a look at its directory shows it, not verified.
#[derive(Debug)]
pub struct Listed {
    /// Its number.
    pub number: u64,
    /// Its directory.
    pub path: PathBuf,
    /// What it says of itself, or why that cannot be read.
    pub manifest: Result<Manifest, BackupError>,
}

impl Listed {
    /// As [`retention`] sees it; `None` for one that cannot be read, which is then left alone.
    pub fn taken(&self) -> Option<Taken> {
        let manifest = self.manifest.as_ref().ok()?;
        Some(Taken { number: self.number, at: manifest.taken_at })
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The backups in `dir`, oldest first; none where there is no such directory. Blocks.
///
/// # Errors
/// [`BackupError::File`].
pub fn list(dir: &Path) -> Result<Vec<Listed>, BackupError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::at(dir)(error).into()),
    };
    let mut backups = Vec::new();
    for entry in entries {
        let path = entry.map_err(FileError::at(dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number =
            name.split_once('-').filter(|_| !name.ends_with(DRAFT)).and_then(|(number, _)| number.parse().ok());
        if let Some(number) = number {
            let manifest = manifest(&path);
            backups.push(Listed { number, path, manifest });
        }
    }
    backups.sort_by(|a, b| (a.number, &a.path).cmp(&(b.number, &b.path)));
    Ok(backups)
}

fn manifest(backup: &Path) -> Result<Manifest, BackupError> {
    let path = backup.join(MANIFEST);
    let text = fs::read(&path).map_err(|error| {
        let why = match list(backup).unwrap_or_default().pop() {
            Some(newest) => format!("holds backups and is none; the newest is {}", newest.path.display()),
            None => format!("no backup, for want of a readable {MANIFEST} ({error})"),
        };
        BackupError::NotABackup { path: backup.to_owned(), why }
    })?;
    let manifest: Manifest = match serde_json::from_slice(&text) {
        Ok(manifest) => manifest,
        Err(error) => {
            let problems = vec![format!("{MANIFEST}: {error}")];
            return Err(BackupError::Damaged { path: backup.to_owned(), problems });
        }
    };
    if manifest.format > FORMAT {
        let Manifest { format: found, coordinator: version, .. } = manifest;
        return Err(BackupError::Newer { path: backup.to_owned(), found, version });
    }
    Ok(manifest)
}

/// Reads every file of a backup and compares it with what was written.
fn verify(backup: &Path, stop: &CancellationToken) -> Result<(Manifest, BTreeMap<String, Digest>), BackupError> {
    let manifest = manifest(backup)?;
    let damaged = |problems| BackupError::Damaged { path: backup.to_owned(), problems };
    let sums = fs::read_to_string(backup.join(SUMS)).ok().and_then(|text| Sums::parse(&text));
    let Some(Sums(sums)) = sums else { return Err(damaged(vec![format!("{SUMS}: missing or damaged")])) };
    let mut problems = Vec::new();
    if !sums.contains_key(MANIFEST) {
        problems.push(format!("{SUMS}: does not name {MANIFEST}"));
    }
    for (path, digest) in &sums {
        if stop.is_cancelled() {
            return Err(BackupError::Stopped);
        }
        match files::digest(&backup.join(path)) {
            Ok(found) if found == *digest => {}
            Ok(_) => problems.push(format!("{path}: its bytes are not those that were written")),
            Err(FileError { error, .. }) => problems.push(format!("{path}: {error}")),
        }
        if problems.len() >= PROBLEMS_MAX {
            break;
        }
    }
    if problems.is_empty() { Ok((manifest, sums)) } else { Err(damaged(problems)) }
}

/// How a file comes to its place.
type Placement<T> = fn(&Path, &Path) -> Result<T, FileError>;

fn place<T>(from: &Path, to: &Path, how: Placement<T>) -> Result<T, FileError> {
    to.parent().map_or(Ok(()), files::make_dir)?;
    how(from, to)
}

fn open_scratch(dir: &Path) -> Result<(SledStore, manyhands_store::Opened), BackupError> {
    Ok(SledStore::open(dir, Options { cache_bytes: SCRATCH_CACHE_BYTES, ..Options::default() })?)
}

/// Verifies a backup, puts it together again in the new directory `into`, opens it there and counts it.
fn rebuild(backup: &Path, into: &Path, blob: Placement<()>, stop: &CancellationToken) -> Result<Manifest, BackupError> {
    let (manifest, sums) = verify(backup, stop)?;
    let damaged = |problems| BackupError::Damaged { path: backup.to_owned(), problems };
    for (path, digest) in sums.iter().filter(|(path, _)| *path != MANIFEST) {
        if stop.is_cancelled() {
            return Err(BackupError::Stopped);
        }
        let (from, to) = (backup.join(path), into.join(path));
        if path.starts_with("blobs/") {
            place(&from, &to, blob)?;
        } else if place(&from, &to, files::copy)? != *digest {
            return Err(damaged(vec![format!("{path}: changed while it was read")]));
        }
    }
    files::make_dir(&into.join("blobs"))?;

    let mut problems = Vec::new();
    {
        let (store, opened) = open_scratch(&into.join("state"))?;
        // An exported store has no index yet; anything else is damage that the sums do not know of.
        let repairs =
            opened.repairs.iter().filter(|repair| !matches!(repair, Repair::IndexRebuilt { aside: None, .. }));
        problems.extend(repairs.map(|repair| format!("state: needs a repair: {repair}")));
        problems.extend(store.check()?.problems.iter().map(ToString::to_string));
        let census = Census::take(&store)?;
        problems.extend(census.problems.iter().map(ToString::to_string));
        let missing = census.blobs.iter().filter(|blob| !sums.contains_key(&format!("blobs/{}", blob_file(blob))));
        problems.extend(missing.map(|blob| format!("blob {blob}: a record names it and it is missing")));
        let (found, expected) = ((store.revision().0, census.records), (manifest.revision, manifest.records));
        if found != expected {
            problems.push(format!("state: (revision, records) are {found:?} and not {expected:?}"));
        }
    }
    if let Some(root) = manifest.root {
        match KeyStore::verify(&into.join("keys")) {
            Ok(keys) if keys.root().fingerprint() == root => {}
            Ok(keys) => problems.push(format!("keys: the root key is {} and not {root}", keys.root().fingerprint())),
            Err(error) => problems.push(error.to_string()),
        }
    }
    problems.truncate(PROBLEMS_MAX);
    if problems.is_empty() { Ok(manifest) } else { Err(damaged(problems)) }
}

/// Copies a blob whose digest has just been verified.
fn copy_blob(from: &Path, to: &Path) -> Result<(), FileError> {
    files::copy(from, to).map(drop)
}

/// Restores a backup into a data directory that is empty or not there. The signing key is replaced: it may
/// have been revoked since. Blocks.
///
/// # Errors
/// Any [`BackupError`]; the data directory is then as it was, unless the disk failed during the last renames:
/// a coordinator refuses to start there.
pub fn restore(backup: &Path, data_dir: &Path, now: Timestamp) -> Result<Manifest, BackupError> {
    let never = CancellationToken::new();
    let made = !data_dir.exists();
    let into = data_dir.join(RESTORING);
    if !made {
        for entry in fs::read_dir(data_dir).map_err(FileError::at(data_dir))? {
            let name = entry.map_err(FileError::at(data_dir))?.file_name();
            // The root of a file system is as good as empty.
            if name != RESTORING && name != "lost+found" {
                let found = name.to_string_lossy().into_owned();
                return Err(BackupError::NotEmpty { dir: data_dir.to_owned(), found });
            }
        }
    }
    files::make_dir(data_dir)?;
    // Whoever else restores here at this moment would lose what is begun.
    let lock = File::open(data_dir).map_err(FileError::at(data_dir))?;
    if lock.try_lock().is_err() {
        return Err(BackupError::Busy(data_dir.to_owned()));
    }
    files::remove_dir(&into)?;
    let restored = rebuild(backup, &into, copy_blob, &never).and_then(|manifest| {
        if manifest.root.is_some() {
            KeyStore::restore(&into.join("keys"), system_entropy, now)?;
        }
        files::sync_names(&into)?;
        Ok(manifest)
    });
    match restored {
        Ok(manifest) => {
            for entry in fs::read_dir(&into).map_err(FileError::at(&into))? {
                let name = entry.map_err(FileError::at(&into))?.file_name();
                let to = data_dir.join(&name);
                fs::rename(into.join(&name), &to).map_err(FileError::at(&to))?;
            }
            files::sync(data_dir)?;
            // Last, because a coordinator does not start while it is there.
            fs::remove_dir(&into).map_err(FileError::at(&into))?;
            files::sync(data_dir)?;
            Ok(manifest)
        }
        Err(error) => {
            // As it was before, as far as the disk allows.
            let _left = files::remove_dir(&into);
            if made {
                let _left = fs::remove_dir(data_dir);
            }
            Err(error)
        }
    }
}

/// A date for people, in UTC.
pub fn date(at: Timestamp) -> String {
    // Not verified where it is only listed, and a date beyond the year 9999 has no text.
    let at: SystemTime = UNIX_EPOCH + Duration::from_millis(at.0.min(253_402_300_799_000));
    humantime::format_rfc3339_seconds(at).to_string()
}

/// The same for the name of a file.
fn compact_date(at: Timestamp) -> String {
    date(at).replace(['-', ':'], "")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use manyhands_model::RunId;

    use super::*;
    use crate::records::{Content, Pack, Writes};

    /// A coordinator's data, and a directory of backups.
    struct World {
        dir: tempfile::TempDir,
        runtime: tokio::runtime::Runtime,
        store: SledStore,
        blobs: Blobs,
        keys: KeyStore,
        inputs: u32,
    }

    const NOW: Timestamp = Timestamp(1_795_248_000_000);

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let data = dir.path().join("data");
            files::make_dir(&data).unwrap();
            let (store, _) = SledStore::open(&data.join("state"), Options::default()).unwrap();
            let blobs = Blobs::local(&data.join("blobs")).unwrap();
            let keys = KeyStore::open_or_create(&data.join("keys"), system_entropy, NOW).unwrap();
            fs::write(data.join(OPERATOR_FILE), "mht_secret\n").unwrap();
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let mut world = Self { dir, runtime, store, blobs, keys, inputs: 0 };
            world.input(b"the first");
            world
        }

        /// Records an input that is a blob.
        fn input(&mut self, bytes: &'static [u8]) -> Digest {
            let digest = self.runtime.block_on(self.blobs.put(bytes)).unwrap();
            let mut writes = Writes::default();
            let inputs = vec![Content { digest, inline: None }];
            writes.inputs(RunId([1; 16]), &Pack { first: self.inputs, inputs });
            self.store.commit(writes.0).unwrap();
            self.inputs += 1;
            digest
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn take(&self, with_keys: bool, now: Timestamp) -> Result<Backup, BackupError> {
            let data_dir = &self.path("data");
            let keys = with_keys.then_some(&self.keys);
            let stop = &CancellationToken::new();
            let source = Source { store: &self.store, blobs: &self.blobs, keys, data_dir, now, stop };
            Directory::open(&self.path("backups"), data_dir)?.take(source, self.runtime.handle())
        }
    }

    #[test]
    fn what_is_restored_is_what_was_there() {
        let world = World::new();
        let backup = world.take(true, NOW).unwrap();
        assert_eq!(backup.path, world.path("backups/000001-20261121T080000Z"));
        let into = world.path("new");
        let manifest = restore(&backup.path, &into, NOW).unwrap();
        assert_eq!((manifest.records, manifest.blobs, manifest.root), (1, 1, Some(world.keys.root().fingerprint())));

        let (store, opened) = SledStore::open(&into.join("state"), Options::default()).unwrap();
        assert_eq!((opened.revision, &opened.repairs[..]), (world.store.revision(), &[][..]));
        assert_eq!(Census::take(&store).unwrap(), Census::take(&world.store).unwrap());
        let blobs = Blobs::local(&into.join("blobs")).unwrap();
        assert_eq!(world.runtime.block_on(blobs.get(&Digest::of(b"the first"))).unwrap(), &b"the first"[..]);
        let keys = KeyStore::verify(&into.join("keys")).unwrap();
        assert_eq!(keys.root(), world.keys.root());
        assert_ne!(keys.signing().public(), world.keys.signing().public());
        assert_eq!(fs::read(into.join(OPERATOR_FILE)).unwrap(), b"mht_secret\n");
        assert!(!into.join(RESTORING).exists());
        for path in files::walk(&backup.path).unwrap() {
            let mode = fs::metadata(backup.path.join(&path)).unwrap().permissions().mode() & 0o777;
            assert!(mode & 0o077 == 0 || path.starts_with("state/"), "{path} has mode {mode:o}");
        }
        assert_eq!(fs::metadata(&backup.path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn keys_can_be_left_out() {
        let world = World::new();
        let backup = world.take(false, NOW).unwrap();
        let secrets = files::walk(&backup.path)
            .unwrap()
            .into_iter()
            .filter(|path| path.contains("key") || path.contains("token"));
        assert_eq!(secrets.collect::<Vec<_>>(), Vec::<String>::new());
        restore(&backup.path, &world.path("new"), NOW).unwrap();
        assert!(!world.path("new/keys").exists());
    }

    #[test]
    fn two_backups_share_the_blobs_that_did_not_change_and_are_each_complete() {
        let mut world = World::new();
        let first = world.take(true, NOW).unwrap();
        let second_blob = world.input(b"the second");
        let second = world.take(true, NOW).unwrap();
        let file = |backup: &Backup, digest| backup.path.join("blobs").join(blob_file(&digest));
        let shared = Digest::of(b"the first");
        let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
        assert_eq!(inode(file(&first, shared)), inode(file(&second, shared)));
        assert!(!file(&first, second_blob).exists());
        let live = world.path("data/blobs").join(blob_file(&shared));
        assert_ne!(inode(live), inode(file(&first, shared)), "a backup shares no file with what it protects");
        fs::remove_dir_all(&first.path).unwrap();
        assert_eq!(restore(&second.path, &world.path("new"), NOW).unwrap().blobs, 2);
    }

    #[test]
    fn a_blob_that_rotted_in_the_backup_before_is_copied_anew() {
        let world = World::new();
        let first = world.take(true, NOW).unwrap();
        let rotten = first.path.join("blobs").join(blob_file(&Digest::of(b"the first")));
        fs::write(&rotten, b"rotten").unwrap();
        let second = world.take(true, NOW).unwrap();
        assert!(restore(&second.path, &world.path("new"), NOW).is_ok());
        assert!(matches!(restore(&first.path, &world.path("other"), NOW), Err(BackupError::Damaged { .. })));
    }

    #[test]
    fn a_flipped_bit_in_any_file_is_found_before_anything_is_touched() {
        let world = World::new();
        let backup = world.take(true, NOW).unwrap().path;
        let into = world.path("new");
        for path in files::walk(&backup).unwrap() {
            let file = backup.join(&path);
            let good = fs::read(&file).unwrap();
            for place in [0, good.len() / 2, good.len().saturating_sub(1)] {
                let mut bad = good.clone();
                let Some(byte) = bad.get_mut(place) else { continue };
                *byte ^= 4;
                fs::write(&file, bad).unwrap();
                let error = restore(&backup, &into, NOW).expect_err(&path);
                assert!(
                    matches!(error, BackupError::Damaged { .. } | BackupError::NotABackup { .. }),
                    "{path}: {error}"
                );
                assert!(!into.exists(), "{path}");
            }
            fs::remove_file(&file).unwrap();
            assert!(restore(&backup, &into, NOW).is_err(), "{path} is missing");
            assert!(!into.exists(), "{path}");
            fs::write(&file, good).unwrap();
        }
        assert!(restore(&backup, &into, NOW).is_ok(), "and whole again, it is restored");
    }

    #[test]
    fn a_blob_that_the_records_name_and_nobody_listed_is_found() {
        let world = World::new();
        let backup = world.take(true, NOW).unwrap().path;
        // As if it had never been in the backup: sums and files agree.
        let name = format!("blobs/{}", blob_file(&Digest::of(b"the first")));
        let sums = fs::read_to_string(backup.join(SUMS)).unwrap();
        let without: String =
            sums.lines().filter(|line| !line.ends_with(&name)).map(|line| format!("{line}\n")).collect();
        assert!(without.len() < sums.len());
        fs::write(backup.join(SUMS), without).unwrap();
        let error = restore(&backup, &world.path("new"), NOW).unwrap_err().to_string();
        assert!(error.contains("a record names it"), "{error}");
        assert!(!world.path("new").exists());
    }

    #[test]
    fn a_restore_replaces_nothing() {
        let world = World::new();
        let backup = world.take(true, NOW).unwrap().path;
        let error = restore(&backup, &world.path("data"), NOW).unwrap_err();
        assert!(matches!(&error, BackupError::NotEmpty { .. }) && error.to_string().contains("mv "), "{error}");
        let error = restore(&world.path("backups"), &world.path("new"), NOW).unwrap_err().to_string();
        assert!(error.contains("the newest is") && error.contains("000001-"), "{error}");
        // What an interrupted one left is no obstacle to another try.
        files::make_dir(&world.path("new").join(RESTORING).join("state")).unwrap();
        assert!(restore(&backup, &world.path("new"), NOW).is_ok());
    }

    #[test]
    fn a_backup_that_fails_leaves_nothing_and_takes_nothing() {
        let mut world = World::new();
        let first = world.take(true, NOW).unwrap();
        let gone = world.input(b"gone");
        fs::remove_file(world.path("data/blobs").join(blob_file(&gone))).unwrap();
        let error = world.take(true, NOW).unwrap_err();
        assert!(matches!(error, BackupError::Blob(_)) && error.to_string().contains("check"), "{error}");
        let left: Vec<_> =
            fs::read_dir(world.path("backups")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "the lock and the first one: {left:?}");
        assert!(restore(&first.path, &world.path("new"), NOW).is_ok());
        let locked = Directory::open(&world.path("backups"), &world.path("data")).unwrap();
        assert!(matches!(world.take(true, NOW), Err(BackupError::Busy(_))));
        drop(locked);
        assert!(matches!(Directory::open(&world.path("data/b"), &world.path("data")), Err(BackupError::Inside(_))));
        assert!(!world.path("data/b").exists());
    }

    #[test]
    fn expired_ones_go_and_what_cannot_be_read_stays() {
        let world = World::new();
        let hour = Duration::from_secs(3600);
        for number in 0..5 {
            world.take(false, NOW.after(number * hour)).unwrap();
        }
        fs::write(world.path("backups/000002-20261121T090000Z/manifest.json"), "?").unwrap();
        let directory = Directory::open(&world.path("backups"), &world.path("data")).unwrap();
        let removed = directory.prune(Keep { hourly: 2, daily: 0, weekly: 0 }).unwrap();
        assert_eq!(removed, ["000001-20261121T080000Z", "000003-20261121T100000Z"]);
        let left: Vec<_> = list(&world.path("backups")).unwrap().iter().map(|listed| listed.number).collect();
        assert_eq!(left, [2, 4, 5]);
    }
}
