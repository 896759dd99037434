//! The coordinator's keys on disk: the root that workers pin, and the key that signs today.
//!
//! ```text
//! DATA_DIR/keys/                 0700
//!   root.key                     0600  never changes; its fingerprint is in every join link
//!   signing-key_….key            0600  the key that signs today
//!   trust                        0600  which key that is, which ones are revoked, the trust list's version
//! ```
//!
//! **Rotation revokes at once.** A signing key is rotated because somebody else might have it, and a grace
//! period would be theirs. Nothing signed is stored: releases and leases are signed when they are sent, so
//! after a rotation everything is simply signed anew on its next use, and a lease that a worker holds under
//! the old key lapses and is given again.
//!
//! **The version only grows.** It is on disk before a list that carries it leaves. A new one is at least the
//! clock's milliseconds, and where the last one is not known, because the file `trust` was lost or comes from
//! a backup, the next is years ahead: workers have then seen none that is higher, even if a clock was wrong. The
//! keys that were revoked in a lost file are then no keys of this coordinator at all, which workers refuse
//! as well; and a restored signing key is replaced, because it may have been revoked since the backup.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use manyhands_api::KeysView;
use manyhands_model::{Digest, JobName, Timestamp};
use manyhands_signing::{Fingerprint, Keypair, PublicKey, Signed, TrustList, TrustedKey, Validity};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::private_file::{self, PrivateFileError};

/// How long a trust list has force. A worker that is cut off for longer stops working.
pub const TRUST_VALID: Duration = Duration::from_secs(7 * 24 * 3600);
/// Age at which an unchanged list is signed anew, so that those handed out have most of their force left.
const TRUST_FRESH: Duration = Duration::from_secs(3600);
/// How far the version of a restored list is ahead of the clock: further than a clock is wrong.
const RESTORED_LEAP: Duration = Duration::from_secs(365 * 24 * 3600);
/// The same for a lost list. Further still: it may have been a restored one.
const LOST_LEAP: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// Revoked keys that are named in the list. Older ones are refused as unknown instead.
const REVOKED_MAX: usize = 64;

/// Where seeds of keys come from.
pub type Entropy = fn(&mut [u8; 32]) -> Result<(), getrandom::Error>;

/// The operating system's random source.
///
/// # Errors
/// When it has none.
pub fn system_entropy(seed: &mut [u8; 32]) -> Result<(), getrandom::Error> {
    getrandom::fill(seed)
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file is exposed or cannot be read or written.
    #[error("the coordinator's keys cannot be used: {0}")]
    File(#[from] PrivateFileError),
    /// A file is not what was written.
    #[error("{}: damaged; restore it from a backup. {cure}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What else can be done.
        cure: &'static str,
    },
    /// No random bytes.
    #[error("the operating system gives no random bytes for a key: {0}")]
    Random(#[from] getrandom::Error),
}

/// What is remembered between starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Trust {
    version: u64,
    current: PublicKey,
    /// Oldest first.
    revoked: Vec<PublicKey>,
}

struct State {
    trust: Trust,
    signing: Arc<Keypair>,
    /// The list as it was last signed.
    list: Option<(TrustList, Signed<TrustList>)>,
}

/// The keys. Every change is on disk before it has an effect.
pub struct KeyStore {
    dir: PathBuf,
    entropy: Entropy,
    root: Keypair,
    state: Mutex<State>,
}

impl KeyStore {
    /// Reads the keys in `dir`, or makes them when there are none. Blocks; for the start.
    ///
    /// # Errors
    /// [`KeysError`]: a directory or file that others can read, a damaged file, a full disk.
    pub fn open_or_create(dir: &Path, entropy: Entropy, now: Timestamp) -> Result<Self, KeysError> {
        private_file::directory(dir)?;
        let root_path = dir.join("root.key");
        let (root, version) = match read_root(&root_path) {
            Err(KeysError::File(error)) if error.is_absent() => (write_key(&root_path, entropy)?, 0),
            root => (root?, now.after(LOST_LEAP).0),
        };
        let trust_path = dir.join("trust");
        let (trust, signing) = match private_file::read(&trust_path) {
            Ok(bytes) => {
                let cure = "It can also be deleted; a new signing key is then made";
                let trust = decode(&bytes).ok_or(KeysError::Damaged { path: trust_path, cure })?;
                let path = signing_path(dir, trust.current);
                let signing = read_key(&path, "Or delete the file `trust` beside it; a new signing key is then made")?;
                if signing.public() != trust.current {
                    return Err(KeysError::Damaged { path, cure });
                }
                (trust, signing)
            }
            Err(error) if error.is_absent() => {
                let signing = new_signing_key(dir, entropy)?;
                let trust = Trust { version, current: signing.public(), revoked: Vec::new() };
                private_file::write(&trust_path, &encode(&trust))?;
                (trust, signing)
            }
            Err(error) => return Err(error.into()),
        };
        let state = Mutex::new(State { trust, signing: Arc::new(signing), list: None });
        Ok(Self { dir: dir.to_owned(), entropy, root, state })
    }

    /// Reads the keys in `dir`, which come from a backup, and makes them fit for the present: the signing key
    /// is replaced, and the trust list's version is higher than any that workers may have seen since. Blocks.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn restore(dir: &Path, entropy: Entropy, now: Timestamp) -> Result<Self, KeysError> {
        let keys = Self::verify(dir)?;
        {
            let mut state = keys.state();
            let version = state.trust.version.max(now.0).saturating_add(millis(RESTORED_LEAP));
            state.trust.version = version;
        }
        let keys = Self { entropy, ..keys };
        // Writes the version as well.
        keys.rotate()?;
        Ok(keys)
    }

    /// Reads the keys in `dir` and changes nothing, not even if some are missing. Blocks.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn verify(dir: &Path) -> Result<Self, KeysError> {
        for file in ["root.key", "trust"] {
            private_file::read(&dir.join(file))?;
        }
        // Nothing is made, so neither the time nor a random source is asked for.
        Self::open_or_create(dir, |_| Err(getrandom::Error::UNSUPPORTED), Timestamp(0))
    }

    /// Writes a copy of all keys into `dir`, readable by its owner only and durable when this returns. Blocks.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn copy_to(&self, dir: &Path) -> Result<(), KeysError> {
        // Held meanwhile, so that no rotation leaves half of itself in the copy.
        let state = self.state();
        private_file::directory(dir)?;
        private_file::write(&dir.join("root.key"), key_line(&self.root).as_bytes())?;
        private_file::write(&signing_path(dir, state.trust.current), key_line(&state.signing).as_bytes())?;
        private_file::write(&dir.join("trust"), &encode(&state.trust))?;
        Ok(())
    }

    /// The root key that workers pin by its fingerprint.
    pub fn root(&self) -> PublicKey {
        self.root.public()
    }

    /// The key that signs today. Ask anew for each signature: after a rotation it is another.
    pub fn signing(&self) -> Arc<Keypair> {
        self.state().signing.clone()
    }

    /// Replaces the signing key and revokes the old one at once. Send [`trust_list`](Self::trust_list) to
    /// every worker afterwards. Blocks.
    ///
    /// # Errors
    /// [`KeysError`]; the old key then stays in force.
    pub fn rotate(&self) -> Result<Fingerprint, KeysError> {
        let mut state = self.state();
        let signing = new_signing_key(&self.dir, self.entropy)?;
        let old = state.trust.current;
        let mut revoked = state.trust.revoked.clone();
        revoked.push(old);
        revoked.drain(..revoked.len().saturating_sub(REVOKED_MAX));
        let trust = Trust { version: state.trust.version, current: signing.public(), revoked };
        // Until this file is in place the new key is a file that nobody refers to.
        private_file::write(&self.dir.join("trust"), &encode(&trust))?;
        let fingerprint = signing.public().fingerprint();
        *state = State { trust, signing: Arc::new(signing), list: None };
        drop(state);
        if let Err(error) = fs::remove_file(signing_path(&self.dir, old)) {
            tracing::warn!(%error, key = %old, "the revoked key's file could not be deleted; delete it by hand");
        }
        tracing::info!(old = %old, new = %fingerprint, "rotated the signing key");
        Ok(fingerprint)
    }

    /// The list that tells workers what to believe, with force for [`TRUST_VALID`] from `now`. The same
    /// list is handed out again while nothing changed and it is fresh; a changed one has a higher version,
    /// which is on disk before this returns. Blocks when it changed.
    ///
    /// # Errors
    /// [`KeysError`] when the new version cannot be remembered.
    pub fn trust_list(
        &self,
        now: Timestamp,
        floors: &BTreeMap<JobName, u64>,
        revoked_modules: &[Digest],
    ) -> Result<Signed<TrustList>, KeysError> {
        let mut state = self.state();
        if let Some((list, signed)) = &state.list {
            let unchanged = list.floors.iter().map(|(job, floor)| (job, floor)).eq(floors)
                && list.revoked_modules == revoked_modules;
            // A clock that was set back makes a list from the future, which workers refuse.
            let fresh = now >= list.validity.issued_at && now < list.validity.issued_at.after(TRUST_FRESH);
            if unchanged && fresh {
                return Ok(signed.clone());
            }
        }
        let version = state.trust.version.saturating_add(1).max(now.0);
        let trust = Trust { version, ..state.trust.clone() };
        private_file::write(&self.dir.join("trust"), &encode(&trust))?;
        let revoked = trust.revoked.iter().map(|&key| TrustedKey { key, revoked: true });
        let list = TrustList {
            version,
            validity: Validity { issued_at: now, expires_at: now.after(TRUST_VALID) },
            keys: revoked.chain([TrustedKey { key: trust.current, revoked: false }]).collect(),
            floors: floors.iter().map(|(job, floor)| (job.clone(), *floor)).collect(),
            revoked_modules: revoked_modules.to_vec(),
        };
        let signed = Signed::new(&self.root, &list);
        state.trust = trust;
        state.list = Some((list, signed.clone()));
        Ok(signed)
    }

    /// The keys as operators see them.
    pub fn view(&self, join: String) -> KeysView {
        let state = self.state();
        KeysView {
            root: self.root.public().fingerprint(),
            current: state.trust.current.fingerprint(),
            revoked: state.trust.revoked.iter().map(PublicKey::fingerprint).collect(),
            trust_version: state.trust.version,
            join,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave it half changed: it is assigned as a whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyStore({})", self.root())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn read_root(path: &Path) -> Result<Keypair, KeysError> {
    read_key(path, "Without it workers need new join links: then move the directory away")
}

fn signing_path(dir: &Path, key: PublicKey) -> PathBuf {
    dir.join(format!("signing-{}.key", key.fingerprint()))
}

fn new_keypair(entropy: Entropy) -> Result<Keypair, KeysError> {
    let mut seed = Zeroizing::new([0; 32]);
    entropy(&mut seed)?;
    Ok(Keypair::from_seed(&seed))
}

fn new_signing_key(dir: &Path, entropy: Entropy) -> Result<Keypair, KeysError> {
    let key = new_keypair(entropy)?;
    private_file::write(&signing_path(dir, key.public()), key_line(&key).as_bytes())?;
    Ok(key)
}

fn write_key(path: &Path, entropy: Entropy) -> Result<Keypair, KeysError> {
    let key = new_keypair(entropy)?;
    private_file::write(path, key_line(&key).as_bytes())?;
    Ok(key)
}

/// One line: the fingerprint, so that a flipped bit shows, and the seed.
fn key_line(key: &Keypair) -> Zeroizing<String> {
    let seed = Zeroizing::new(BASE32_NOPAD.encode(&*key.seed()));
    Zeroizing::new(format!("{} {}\n", key.public().fingerprint(), *seed))
}

fn read_key(path: &Path, cure: &'static str) -> Result<Keypair, KeysError> {
    let bytes = private_file::read(path)?;
    parse_key(&bytes).ok_or_else(|| KeysError::Damaged { path: path.to_owned(), cure })
}

fn parse_key(bytes: &[u8]) -> Option<Keypair> {
    let (fingerprint, seed) = std::str::from_utf8(bytes).ok()?.trim_end().split_once(' ')?;
    let seed = Zeroizing::new(BASE32_NOPAD.decode(seed.as_bytes()).ok()?);
    let seed: &[u8; 32] = seed.as_slice().try_into().ok()?;
    let key = Keypair::from_seed(seed);
    (key.public().fingerprint() == fingerprint.parse().ok()?).then_some(key)
}

/// The record behind its SHA-256.
fn encode(trust: &Trust) -> Vec<u8> {
    // Numbers and lists always have bytes.
    let record = postcard::to_allocvec(trust).unwrap_or_default();
    [&Digest::of(&record).as_bytes()[..], &record].concat()
}

fn decode(bytes: &[u8]) -> Option<Trust> {
    let (digest, record) = bytes.split_at_checked(32)?;
    (Digest::of(record).as_bytes() == digest).then(|| postcard::from_bytes(record).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use manyhands_signing::{KeyRing, Untrusted};

    use super::*;

    struct World(tempfile::TempDir);

    impl World {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn dir(&self) -> PathBuf {
            self.0.path().join("keys")
        }

        fn open(&self) -> Result<KeyStore, KeysError> {
            KeyStore::open_or_create(&self.dir(), system_entropy, NOW)
        }

        fn files(&self) -> Vec<PathBuf> {
            let mut files: Vec<_> = fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            files
        }
    }

    const NOW: Timestamp = Timestamp(1_000_000);

    fn list(keys: &KeyStore, now: Timestamp) -> Signed<TrustList> {
        keys.trust_list(now, &BTreeMap::new(), &[]).unwrap()
    }

    fn ring(keys: &KeyStore, now: Timestamp, seen: u64) -> Result<KeyRing, Untrusted> {
        KeyRing::open(keys.root().fingerprint(), keys.root(), &list(keys, now), now, seen)
    }

    #[test]
    fn keys_survive_a_restart_and_nobody_else_can_read_them() {
        let world = World::new();
        let first = world.open().unwrap();
        let second = world.open().unwrap();
        assert_eq!(first.root(), second.root());
        assert_eq!(first.signing().public(), second.signing().public());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&world.dir()), 0o700);
        assert_eq!(world.files().len(), 3);
        assert!(world.files().iter().all(|file| mode(file) == 0o600));
    }

    #[test]
    fn a_key_that_others_could_read_stops_the_start() {
        let world = World::new();
        drop(world.open().unwrap());
        for path in world.files().into_iter().chain([world.dir()]) {
            let before = fs::metadata(&path).unwrap().permissions();
            fs::set_permissions(&path, fs::Permissions::from_mode(before.mode() | 0o044)).unwrap();
            let said = world.open().unwrap_err().to_string();
            assert!(said.contains("chmod") && said.contains(&*path.to_string_lossy()), "{said}");
            fs::set_permissions(&path, before).unwrap();
        }
        assert!(world.open().is_ok());
    }

    #[test]
    fn any_flipped_byte_in_any_file_is_noticed() {
        let world = World::new();
        drop(world.open().unwrap());
        for path in world.files() {
            let good = fs::read(&path).unwrap();
            // The last byte of a key's file is its line's end, which means nothing.
            let length = if path.ends_with("trust") { good.len() } else { good.len() - 1 };
            for place in 0..length {
                let mut bad = good.clone();
                bad[place] ^= 1;
                fs::write(&path, bad).unwrap();
                assert!(world.open().is_err(), "{} byte {place}", path.display());
            }
            fs::write(&path, good).unwrap();
        }
        assert!(world.open().is_ok());
    }

    #[test]
    fn rotation_revokes_the_old_key_at_once_and_for_good() {
        let world = World::new();
        let keys = world.open().unwrap();
        let old = keys.signing().public();
        let seen = ring(&keys, NOW, 0).unwrap().version();
        let new = keys.rotate().unwrap();
        assert_eq!(keys.signing().public().fingerprint(), new);
        let reopened = world.open().unwrap();
        for keys in [&keys, &reopened] {
            let list = list(keys, NOW).verify(keys.root()).unwrap();
            let state = |key| list.keys.iter().find(|trusted| trusted.key == key).map(|trusted| trusted.revoked);
            assert_eq!(state(old), Some(true));
            assert_eq!(state(keys.signing().public()), Some(false));
            assert!(list.version > seen);
        }
        assert_eq!(world.files().len(), 3, "the old secret is gone");
        assert_eq!(keys.view("join".into()).revoked, [old.fingerprint()]);
    }

    #[test]
    fn the_version_only_grows_whatever_happens() {
        let world = World::new();
        let mut seen = 0;
        let keys = world.open().unwrap();
        let name: JobName = "primes".parse().unwrap();
        for floor in 1..4 {
            let list = keys.trust_list(NOW, &BTreeMap::from([(name.clone(), floor)]), &[]).unwrap();
            let version = list.verify(keys.root()).unwrap().version;
            assert!(version > seen);
            seen = version;
        }
        let reopened = world.open().unwrap();
        let after = ring(&reopened, NOW, seen + 1).unwrap().version();
        fs::remove_file(world.dir().join("trust")).unwrap();
        let lost = world.open().unwrap();
        assert!(ring(&lost, Timestamp(NOW.0 + 1_000), after + 1).is_ok(), "even a lost file does not repeat a version");
    }

    #[test]
    fn a_restored_coordinator_is_believed_by_workers_that_saw_its_future() {
        let (world, backup) = (World::new(), tempfile::tempdir().unwrap());
        let copy = backup.path().join("keys");
        let keys = world.open().unwrap();
        let leaked = keys.signing().public();
        ring(&keys, NOW, 0).unwrap();
        keys.copy_to(&copy).unwrap();

        // Since the backup: a key was revoked, and a list was signed while the clock was a month ahead.
        keys.rotate().unwrap();
        let month = Duration::from_secs(30 * 24 * 3600);
        let seen = list(&keys, NOW.after(month)).verify(keys.root()).unwrap().version;

        // Restored an hour later, on a computer whose clock is ten minutes slow.
        let later = NOW.after(Duration::from_secs(50 * 60));
        let restored = KeyStore::restore(&copy, system_entropy, later).unwrap();
        assert_eq!(restored.root(), keys.root());
        assert!(ring(&restored, later, seen).is_ok(), "a worker that saw {seen} believes the restored list");
        assert_ne!(restored.signing().public(), leaked, "what was revoked since does not come back into force");
        let trusted = list(&restored, later).verify(restored.root()).unwrap();
        assert!(trusted.keys.iter().all(|trusted| trusted.revoked == (trusted.key == leaked)));

        // From the same backup once more, and with the list lost after that.
        let seen = trusted.version;
        let file = copy.join("trust");
        fs::remove_file(&file).unwrap();
        let lost = KeyStore::open_or_create(&copy, system_entropy, later).unwrap();
        assert!(ring(&lost, later, seen + 1).is_ok());
    }

    #[test]
    fn looking_at_keys_makes_none() {
        let world = World::new();
        drop(world.open().unwrap());
        for file in world.files() {
            let bytes = fs::read(&file).unwrap();
            fs::remove_file(&file).unwrap();
            let before = world.files();
            assert!(KeyStore::verify(&world.dir()).is_err(), "{} is missing", file.display());
            assert_eq!(world.files(), before);
            private_file::write(&file, &bytes).unwrap();
        }
        assert!(KeyStore::verify(&world.dir()).is_ok());
    }

    #[test]
    fn an_unchanged_list_is_handed_out_again_while_it_is_fresh() {
        let world = World::new();
        let keys = world.open().unwrap();
        let first = list(&keys, NOW);
        assert_eq!(first, list(&keys, NOW.after(Duration::from_secs(60))));
        let renewed = list(&keys, NOW.after(TRUST_FRESH));
        assert_ne!(first, renewed);
        let validity = renewed.verify(keys.root()).unwrap().validity;
        assert_eq!(validity.expires_at.since(validity.issued_at), TRUST_VALID);
    }

    #[test]
    fn without_randomness_there_are_no_keys() {
        let world = World::new();
        let failed = KeyStore::open_or_create(&world.dir(), |_| Err(getrandom::Error::UNSUPPORTED), NOW);
        assert!(matches!(failed, Err(KeysError::Random(_))));
        assert!(world.files().is_empty());
    }
}
