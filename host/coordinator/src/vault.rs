//! What tokens stand for: sealed on the disk, opened for the one who puts values into a call or a result.
//!
//! Each value is encrypted by itself with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), whose nonces may be random, and bound to the place where it
//! belongs: tenant, job, unit and token. A value that is moved to another place does not open. The keys
//! lie beside the data directory and not in it, so whoever carries that away has nothing.
//!
//! **A key is replaced while the coordinator runs.** From then on values are sealed under the next one, [`Vault::tidy`] seals anew what is under
//! an earlier one, and throws that away once nothing is sealed under it, on the disk or on its way there ([`Mark`]). What the disk, old
//! logs and backups still hold of values that were removed is then noise for good.
//!
//! **Data that was put back is recognised.** The keys' file and the data grow old together ([`Vault::grow`]), the data first: data that is younger than the
//! file was put back from a copy, by whomever, and has forgotten calls that were made. The coordinator does not start with it before
//! an operator has said that this is meant.

mod keyring;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use manyhands_held::RecordKey;
use manyhands_intents::CallKey;
use manyhands_model::{Digest, JobName, Name, RunId, Timestamp, UnitId};
use manyhands_placeholder::{Scope, Taken, Token, TokenKey, Value};
use manyhands_state::commit::VALUE_BYTES_MAX;
use zeroize::Zeroizing;

use self::keyring::KeyRing;
use crate::audit::{Event, Ledger};
use crate::private_file::{self, PrivateFileError};
use crate::records::{Doubt, RecordError, Records, SecretRecord, Writes};

/// Bytes of a nonce.
const NONCE_BYTES: usize = 24;
/// The longest value that can be sealed, as JSON: a record of the store has room for it with all that belongs to it. Unit: bytes.
pub const SEALED_BYTES_MAX: usize = VALUE_BYTES_MAX - (1 << 10);
/// Sealed values that are looked at together.
const PAGE: usize = 1_000;

/// Why there is no vault.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The keys' file cannot be read or made.
    #[error("the vault's keys: {0}")]
    File(#[from] PrivateFileError),
    /// The file holds something else.
    #[error("{}: these are no vault's keys; restore the file from where you keep a copy, or values that were taken in are lost", .0.display())]
    NoKeys(PathBuf),
    /// The file is gone, or another one, and something was sealed with it.
    #[error("{}: not the keys with which values were sealed; put those back, from where you keep a copy", .0.display())]
    Lost(PathBuf),
    /// The data was put back from a copy: it has forgotten calls.
    #[error(
        "{}: the data is older than these keys: was it restored? Calls that were made since are forgotten. Run `manyhands-coordinator vault \
         accept-older-data` to go on with it: calls that must not be made twice are then listed instead of made. Or, if nothing is \
         wanted of what these keys sealed, remove them", .0.display()
    )]
    OlderData(PathBuf),
    /// A value does not open: it is of another place, or was changed.
    #[error("a sealed value does not open; it was changed on the disk")]
    Sealed,
    /// The records cannot be read or written.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// No random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// Everything that concerns values. Cheap until it is needed: who never uses it needs no key.
pub struct Vault {
    path: PathBuf,
    records: Records,
    keys: OnceLock<Keys>,
    /// Held by the one who reads or changes the file: of two that are made at once, one would be lost.
    file: Mutex<()>,
}

/// What follows from the keys' file. Wiped from memory when it is dropped.
struct Keys {
    tokens: TokenKey,
    calls: CallKey,
    names: Zeroizing<[u8; 32]>,
    records: RecordKey,
    values: RwLock<ValueKeys>,
}

/// Under which values are sealed.
struct ValueKeys {
    ring: KeyRing,
    ciphers: BTreeMap<u32, (XChaCha20Poly1305, Mark)>,
}

/// Says while it lives that something sealed under a key may be on its way to the disk.
#[derive(Clone, Debug, Default)]
pub struct Mark(Arc<()>);

/// Some bytes as they are stored.
#[derive(Debug)]
pub struct Sealed {
    /// The number of the key, a nonce, and what was encrypted.
    pub bytes: Vec<u8>,
    /// To be kept until they are on the disk, or thrown away.
    pub mark: Mark,
}

/// What [`Vault::tidy`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Values and secrets that were sealed anew.
    pub sealed: u64,
    /// Keys that were thrown away.
    pub gone: u64,
    /// Keys that are left, the newest included.
    pub kept: u64,
}

impl Vault {
    /// With the keys of this file. It is read when it is first needed, and made if there never was one.
    pub fn new(path: PathBuf, records: Records) -> Self {
        Self { path, records, keys: OnceLock::new(), file: Mutex::default() }
    }

    fn alone(&self) -> MutexGuard<'_, ()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> Result<&Keys, VaultError> {
        match self.keys.get() {
            Some(keys) => Ok(keys),
            None => self.open(&self.alone()),
        }
    }

    /// The keys if there are any.
    fn keys_if_used(&self) -> Result<Option<&Keys>, VaultError> {
        match self.keys.get() {
            Some(keys) => Ok(Some(keys)),
            None if self.path.exists() || self.records.vault_key()?.is_some() => self.keys().map(Some),
            None => Ok(None),
        }
    }

    fn open(&self, _alone: &MutexGuard<'_, ()>) -> Result<&Keys, VaultError> {
        if let Some(keys) = self.keys.get() {
            return Ok(keys);
        }
        let known = self.records.vault_key()?;
        let ring = match self.read() {
            Ok(ring) => ring,
            // Others would open nothing of what is stored, and make calls again under other idempotency keys.
            Err(VaultError::File(error)) if error.is_absent() && known.is_some() => {
                return Err(VaultError::Lost(self.path.clone()));
            }
            Err(VaultError::File(error)) if error.is_absent() => {
                let ring = KeyRing::new()?;
                self.write(&ring)?;
                ring
            }
            Err(error) => return Err(error),
        };
        let print = print(&ring);
        if known.is_some_and(|known| known != print) {
            return Err(VaultError::Lost(self.path.clone()));
        }
        if self.records.vault_age()? < ring.age {
            return Err(VaultError::OlderData(self.path.clone()));
        }
        if known.is_none() {
            let mut writes = Writes::default();
            writes.vault_key(print);
            self.records.commit(writes)?;
        }
        Ok(self.keys.get_or_init(|| Keys::of(ring)))
    }

    fn read(&self) -> Result<KeyRing, VaultError> {
        let bytes = private_file::read(&self.path)?;
        let text = core::str::from_utf8(&bytes).ok();
        text.and_then(KeyRing::parse).ok_or_else(|| VaultError::NoKeys(self.path.clone()))
    }

    fn write(&self, ring: &KeyRing) -> Result<(), VaultError> {
        Ok(private_file::write(&self.path, ring.text().as_bytes())?)
    }

    /// Changes the keys, in the file and then in memory.
    fn change<T>(
        &self,
        keys: &Keys,
        change: impl FnOnce(&mut KeyRing) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        let _alone = self.alone();
        let mut ring = keys.read(|values| values.ring.clone());
        let done = change(&mut ring)?;
        self.write(&ring)?;
        keys.values.write().unwrap_or_else(PoisonError::into_inner).set(ring);
        Ok(done)
    }

    /// Grows a year older, with the data: what is put back from a copy that was made before is recognised. For every start and end, every
    /// minute, and every backup.
    ///
    /// # Errors
    /// [`VaultError`]; among them [`VaultError::OlderData`], which is why it is the first thing to be done.
    pub fn grow(&self) -> Result<(), VaultError> {
        let Some(keys) = self.keys_if_used()? else { return Ok(()) };
        let age = self.records.vault_age()?.max(keys.read(|values| values.ring.age)) + 1;
        let mut writes = Writes::default();
        writes.vault_age(age);
        // The data first: after a crash in between it is older than it need be, which is no reason for an alarm.
        self.records.commit(writes)?;
        self.change(keys, |ring| {
            ring.age = age;
            Ok(())
        })
    }

    /// Goes on with data that was put back from a copy: what it does not know of may have happened before `now`.
    ///
    /// # Errors
    /// [`VaultError`] when there are no such keys.
    pub fn accept_older_data(&self, now: Timestamp) -> Result<(), VaultError> {
        let _alone = self.alone();
        let ring = self.read()?;
        let print = print(&ring);
        if self.records.vault_key()?.is_some_and(|known| known != print) {
            return Err(VaultError::Lost(self.path.clone()));
        }
        // Whatever this computer's clock says, it concerns all runs that are there.
        let newest = self.records.runs(None, 1)?.pop().map(|run| run.spec.submitted_at);
        let before = newest.map_or(now, |newest| now.max(newest.after(Duration::from_millis(1))));
        let mut writes = Writes::default();
        writes.vault_key(print);
        writes.vault_age(ring.age);
        let starts = self.records.starts()?;
        writes.doubt(&Doubt { before, starts });
        let accepted = Event::OlderDataAccepted { before, starts };
        Ok(Ledger::default().commit(&self.records, now, vec![accepted], writes)?)
    }

    /// Seals under another key from now on, and returns its number. What was sealed before is to be sealed anew: [`Vault::tidy`].
    ///
    /// # Errors
    /// [`VaultError`]; then nothing is changed.
    pub fn rotate(&self) -> Result<u32, VaultError> {
        self.change(self.keys()?, |ring| Ok(ring.add()?))
    }

    /// Seals anew what is sealed under earlier keys than the newest, and throws those away that are not needed any more. Blocks.
    ///
    /// # Errors
    /// [`VaultError`]; what was done until then is done.
    pub fn tidy(&self) -> Result<Tidied, VaultError> {
        let mut tidied = Tidied::default();
        let Some(keys) = self.keys_if_used()? else { return Ok(tidied) };
        // Nothing new is sealed under these; and before the look at what is on the disk, or it might arrive in between.
        let idle: Vec<u32> = keys.read(|values| {
            let earlier = values.ciphers.range(..values.ring.newest());
            earlier.filter(|(_, (_, mark))| Arc::strong_count(&mark.0) == 1).map(|(number, _)| *number).collect()
        });
        let newest = keys.read(|values| values.ring.newest());
        if keys.read(|values| values.ciphers.len()) > 1 {
            let left = self.seal_anew(newest, &mut tidied)?;
            if left == 0 && !idle.is_empty() {
                tidied.gone = idle.len() as u64;
                self.change(keys, |ring| {
                    idle.iter().for_each(|number| drop(ring.keys.remove(number)));
                    Ok(())
                })?;
            }
        }
        tidied.kept = keys.read(|values| values.ciphers.len()) as u64;
        Ok(tidied)
    }

    /// Runs with values that ended before: those are to be forgotten. Blocks.
    ///
    /// # Errors
    /// [`VaultError::Records`].
    pub fn expired(&self, before: Timestamp) -> Result<Vec<RunId>, VaultError> {
        let (mut expired, mut after) = (Vec::new(), None);
        while let Some(run) = self.records.run_with_values(after)? {
            after = Some(run);
            let ended = self.records.run(run)?.and_then(|run| run.finished_at);
            expired.extend(ended.filter(|ended| *ended < before).map(|_| run));
        }
        Ok(expired)
    }

    /// Says how many could not be, for now.
    fn seal_anew(&self, newest: u32, tidied: &mut Tidied) -> Result<u64, VaultError> {
        let mut left = 0;
        let mut known: Option<(RunId, Option<(String, JobName)>)> = None;
        let mut after = None;
        loop {
            let page = self.records.sealed_values(after.as_deref(), PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for value in page.iter().filter(|value| key_of(&value.sealed) != Some(newest)) {
                let unit = value.unit;
                if known.as_ref().is_none_or(|(run, _)| *run != unit.run) {
                    let run = self.records.run(unit.run)?;
                    known = Some((unit.run, run.map(|run| (run.spec.owner, run.spec.job))));
                }
                let Some((_, Some((tenant, job)))) = &known else {
                    // Of a run that is being submitted, or will never be.
                    left += 1;
                    continue;
                };
                let scope = Scope { tenant, job, unit };
                let taken = match self.unseal(&scope, &value.token, &value.sealed) {
                    Ok(taken) => taken,
                    Err(VaultError::Sealed) => {
                        tracing::warn!(%unit, "a value does not open under any key");
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let again = self.seal(&scope, &taken)?;
                // Somebody may have removed it meanwhile.
                if self.records.replace_value(value, again)? {
                    tidied.sealed += 1;
                } else {
                    left += 1;
                }
            }
        }
        for (name, SecretRecord { origin, sealed }) in self.records.secrets()? {
            if key_of(&sealed) == Some(newest) {
                continue;
            }
            let secret = match self.unseal_secret(&name, &origin, &sealed) {
                Ok(secret) => secret,
                Err(VaultError::Sealed) => {
                    tracing::warn!(%name, "a secret does not open under any key; set it again");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let again = self.seal_secret(&name, &origin, &secret)?;
            if self.records.replace_secret(&name, &sealed, origin, again)? {
                tidied.sealed += 1;
            } else {
                left += 1;
            }
        }
        Ok(left)
    }

    /// What tokens follow from.
    ///
    /// # Errors
    /// [`VaultError`] when there is no key.
    pub fn tokens(&self) -> Result<&TokenKey, VaultError> {
        Ok(&self.keys()?.tokens)
    }

    /// What idempotency keys follow from.
    ///
    /// # Errors
    /// [`VaultError`] when there is no key.
    pub fn calls(&self) -> Result<&CallKey, VaultError> {
        Ok(&self.keys()?.calls)
    }

    /// What records of clients are sealed with.
    ///
    /// # Errors
    /// [`VaultError`] when there is no key.
    pub fn client_records(&self) -> Result<&RecordKey, VaultError> {
        Ok(&self.keys()?.records)
    }

    /// A value as it is stored.
    ///
    /// # Errors
    /// [`VaultError::Random`].
    pub fn seal(&self, scope: &Scope<'_>, taken: &Taken) -> Result<Sealed, VaultError> {
        let Taken { token, surrogate, value } = taken;
        // The surrogate after its length, then the value.
        let surrogate = surrogate.as_deref().unwrap_or_default();
        let mut plain = Zeroizing::new(Vec::with_capacity(4 + surrogate.len() + value.json().len()));
        plain.extend((surrogate.len() as u32).to_le_bytes());
        plain.extend(surrogate.as_bytes());
        plain.extend(value.json().as_bytes());
        self.encrypt(&place(scope, token), &plain)
    }

    /// A value that was stored.
    ///
    /// # Errors
    /// [`VaultError::Sealed`], or that there is no key.
    pub fn unseal(&self, scope: &Scope<'_>, token: &Token, sealed: &[u8]) -> Result<Taken, VaultError> {
        let plain = self.decrypt(&place(scope, token), sealed)?;
        let (length, rest) = plain.split_first_chunk::<4>().ok_or(VaultError::Sealed)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (surrogate, json) = rest.split_at_checked(length).ok_or(VaultError::Sealed)?;
        let text = |bytes| core::str::from_utf8(bytes).map_err(|_| VaultError::Sealed);
        let surrogate = Some(text(surrogate)?).filter(|surrogate| !surrogate.is_empty()).map(str::to_owned);
        let value = Value::of_json(text(json)?).map_err(|_| VaultError::Sealed)?;
        Ok(Taken { token: *token, surrogate, value })
    }

    /// Values of a job's units that were stored, but for those that do not open.
    ///
    /// # Errors
    /// [`VaultError`] when there is no key.
    pub fn unseal_all(
        &self,
        tenant: &str,
        job: &JobName,
        sealed: Vec<(UnitId, Token, Vec<u8>)>,
    ) -> Result<Vec<Taken>, VaultError> {
        let mut opened = Vec::with_capacity(sealed.len());
        for (unit, token, sealed) in sealed {
            let scope = Scope { tenant, job, unit };
            let again = || self.records.value(unit, &token);
            match self.open_as_it_is(sealed, again, |sealed| self.unseal(&scope, &token, sealed)) {
                Ok(taken) => opened.push(taken),
                Err(VaultError::Sealed) => tracing::warn!(%unit, "a value does not open and is left out"),
                Err(error) => return Err(error),
            }
        }
        Ok(opened)
    }

    /// Opens what was read some time ago. Its key may have been thrown away since; then it lies there sealed anew, and is read again.
    fn open_as_it_is<T>(
        &self,
        mut sealed: Vec<u8>,
        again: impl Fn() -> Result<Option<Vec<u8>>, RecordError>,
        open: impl Fn(&[u8]) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        loop {
            match open(&sealed) {
                Err(VaultError::Sealed) => {}
                done => return done,
            }
            match again()? {
                Some(now) if now != sealed => sealed = now,
                _ => return Err(VaultError::Sealed),
            }
        }
    }

    /// A name for some bytes that nobody can guess who has not the key.
    ///
    /// # Errors
    /// [`VaultError`] when there is no key.
    pub fn name(&self, bytes: &[u8]) -> Result<Digest, VaultError> {
        Ok(Digest(*blake3::keyed_hash(&self.keys()?.names, bytes).as_bytes()))
    }

    /// A secret of the operator's for calls, as it is stored: bound to its name and to the origin where alone it is sent.
    ///
    /// # Errors
    /// [`VaultError::Random`].
    pub fn seal_secret(&self, name: &Name, origin: &str, secret: &str) -> Result<Sealed, VaultError> {
        self.encrypt(&parts(&[b"secret", name.as_str().as_bytes(), origin.as_bytes()]), secret.as_bytes())
    }

    /// A secret that was stored.
    ///
    /// # Errors
    /// [`VaultError::Sealed`], or that there is no key.
    pub fn unseal_secret(&self, name: &Name, origin: &str, sealed: &[u8]) -> Result<Zeroizing<String>, VaultError> {
        let place = parts(&[b"secret", name.as_str().as_bytes(), origin.as_bytes()]);
        let secret = self.decrypt(&place, sealed)?;
        Ok(Zeroizing::new(core::str::from_utf8(&secret).map_err(|_| VaultError::Sealed)?.to_owned()))
    }

    /// The operator's secrets as they were read, with the origin where alone each is sent, but for those that do not open.
    ///
    /// # Errors
    /// [`VaultError`] when there is no key.
    pub fn unseal_secrets(
        &self,
        secrets: Vec<(Name, SecretRecord)>,
    ) -> Result<BTreeMap<Name, (String, Zeroizing<String>)>, VaultError> {
        let mut opened = BTreeMap::new();
        for (name, SecretRecord { origin, sealed }) in secrets {
            // Set for another origin since, it does not open: nobody knows whether it was meant for this one.
            let again = || Ok(self.records.secret(&name)?.map(|secret| secret.sealed));
            match self.open_as_it_is(sealed, again, |sealed| self.unseal_secret(&name, &origin, sealed)) {
                Ok(secret) => drop(opened.insert(name, (origin, secret))),
                Err(VaultError::Sealed) => tracing::warn!(%name, "a secret does not open and is left out"),
                Err(error) => return Err(error),
            }
        }
        Ok(opened)
    }

    #[expect(
        clippy::expect_used,
        reason = "the cipher takes whatever fits in memory, and there is always a newest key"
    )]
    fn encrypt(&self, place: &[u8], bytes: &[u8]) -> Result<Sealed, VaultError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)?;
        let payload = Payload { msg: bytes, aad: place };
        self.keys()?.read(|values| {
            let (number, (cipher, mark)) = values.ciphers.last_key_value().expect("a key");
            let sealed = cipher.encrypt(&XNonce::from(nonce), payload).expect("it is encrypted");
            Ok(Sealed { bytes: [&number.to_le_bytes()[..], &nonce, &sealed].concat(), mark: mark.clone() })
        })
    }

    fn decrypt(&self, place: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let (number, sealed) = sealed.split_first_chunk::<4>().ok_or(VaultError::Sealed)?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(VaultError::Sealed)?;
        let payload = Payload { msg: sealed, aad: place };
        self.keys()?.read(|values| {
            let (cipher, _) = values.ciphers.get(&u32::from_le_bytes(*number)).ok_or(VaultError::Sealed)?;
            cipher.decrypt(&XNonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| VaultError::Sealed)
        })
    }
}

impl Keys {
    fn of(ring: KeyRing) -> Self {
        let root = &ring.root;
        let mut values = ValueKeys { ring: ring.clone(), ciphers: BTreeMap::new() };
        let (tokens, calls) = (TokenKey::derive(root, 0), CallKey::derive(root));
        let names = Zeroizing::new(blake3::derive_key("manyhands vault v1: names of inputs", &**root));
        let records = RecordKey::derive(root);
        values.set(ring);
        Self { tokens, calls, names, records, values: RwLock::new(values) }
    }

    fn read<T>(&self, look: impl FnOnce(&ValueKeys) -> T) -> T {
        look(&self.values.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ValueKeys {
    /// Takes another ring's keys, and keeps the marks of those that it had.
    fn set(&mut self, ring: KeyRing) {
        self.ciphers.retain(|number, _| ring.keys.contains_key(number));
        for (number, key) in &ring.keys {
            let cipher = || (XChaCha20Poly1305::new((&**key).into()), Mark::default());
            self.ciphers.entry(*number).or_insert_with(cipher);
        }
        self.ring = ring;
    }
}

/// Under which key something was sealed.
fn key_of(sealed: &[u8]) -> Option<u32> {
    sealed.first_chunk().map(|number| u32::from_le_bytes(*number))
}

/// By which the keys are recognised, whatever was added to them.
fn print(ring: &KeyRing) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("manyhands vault v1: fingerprint");
    Digest(*hasher.update(&*ring.root).finalize().as_bytes())
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(…)")
    }
}

/// Where a value belongs.
fn place(scope: &Scope<'_>, token: &Token) -> Vec<u8> {
    let (tenant, job) = (scope.tenant.as_bytes(), scope.job.as_str().as_bytes());
    parts(&[
        b"value",
        tenant,
        job,
        scope.unit.run.as_bytes(),
        &scope.unit.index.to_le_bytes(),
        token.as_str().as_bytes(),
    ])
}

/// Each part after its length, so that no two rows of them read the same.
fn parts(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&(part.len() as u64).to_le_bytes()[..], part].concat()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::sync::Arc;

    use manyhands_model::{Class, RunId};
    use manyhands_placeholder::{Occurrence, Source};
    use manyhands_scheduler::{Counts, Decoys, Quorum, Rule, RunRecord, RunSpec, RunStatus};
    use manyhands_state::MemoryStore;
    use manyhands_store::Blobs;
    use tempfile::TempDir;

    use super::*;
    use crate::metrics::Metrics;

    fn job(name: &str) -> JobName {
        name.parse().expect("a name")
    }

    fn records(dir: &Path) -> Records {
        Records::new(Arc::new(MemoryStore::new()), Blobs::local(&dir.join("blobs")).expect("blobs"), Metrics::new())
    }

    /// A folder of its own, and a vault there.
    fn vault() -> (TempDir, Vault) {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).expect("set");
        let vault = Vault::new(dir.path().join("key"), records(dir.path()));
        (dir, vault)
    }

    fn is_sealed<T>(opened: Result<T, VaultError>) -> bool {
        matches!(opened, Err(VaultError::Sealed))
    }

    #[test]
    fn a_value_opens_in_its_place_and_with_its_key_only() {
        let ((_dir, vault), (_other_dir, other)) = (vault(), vault());
        let (job, other_job) = (job("job"), job("other"));
        let unit = UnitId { run: RunId([2; 16]), index: 3 };
        let scope = Scope { tenant: "ann", job: &job, unit };
        let key = vault.tokens().expect("a key");
        let token = |index| key.mint(&scope).fresh(Class::Email, Occurrence { source: Source::Input, index });
        let value = Value::of_text("ann@example.com");
        for surrogate in [None, Some("ann@mail.invalid".to_owned())] {
            let taken = Taken { token: token(0), surrogate: surrogate.clone(), value: value.clone() };
            let sealed = vault.seal(&scope, &taken).expect("sealed").bytes;
            let opened = vault.unseal(&scope, &token(0), &sealed).expect("opens");
            assert_eq!((opened.value.json(), opened.surrogate), (value.json(), surrogate));
        }
        let taken = Taken { token: token(0), surrogate: None, value };
        let sealed = vault.seal(&scope, &taken).expect("sealed").bytes;
        assert!(!sealed.windows(3).any(|bytes| bytes == b"ann"));
        assert_ne!(sealed, vault.seal(&scope, &taken).expect("sealed").bytes, "no two are alike");

        let elsewhere = [
            Scope { tenant: "bob", ..scope },
            Scope { job: &other_job, ..scope },
            Scope { unit: UnitId { index: 4, ..unit }, ..scope },
            Scope { unit: UnitId { run: RunId([5; 16]), ..unit }, ..scope },
        ];
        assert!(elsewhere.iter().all(|place| is_sealed(vault.unseal(place, &token(0), &sealed))));
        assert!(is_sealed(vault.unseal(&scope, &token(1), &sealed)));
        assert!(is_sealed(other.unseal(&scope, &token(0), &sealed)));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(is_sealed(vault.unseal(&scope, &token(0), &changed)), "{at}");
            assert!(is_sealed(vault.unseal(&scope, &token(0), &sealed[..at])), "{at}");
        }
        let name: Name = "key".parse().expect("a name");
        let secret = vault.seal_secret(&name, "https://a.example", "s3cret").expect("sealed").bytes;
        assert_eq!(*vault.unseal_secret(&name, "https://a.example", &secret).expect("opens"), "s3cret");
        assert!(is_sealed(vault.unseal_secret(&name, "https://b.example", &secret)));
    }

    /// A run, and a value of its only unit.
    fn stored(vault: &Vault, number: u8, finished_at: Option<u64>) -> (RunRecord, Token) {
        let spec = RunSpec {
            id: RunId([number; 16]),
            owner: "ann".into(),
            job: job("job"),
            version: "1.0.0".parse().expect("a version"),
            serial: 1,
            module: Digest::of(b"module"),
            wall_ms: 1_000,
            rule: Rule::Fixed(Quorum { agree: 1, most: 1 }),
            priority: 0,
            reduce: false,
            inputs: 1,
            submitted_at: Timestamp(0),
            is_dry: false,
            decoys: Decoys::default(),
        };
        let status = if finished_at.is_some() { RunStatus::Finished } else { RunStatus::Active };
        let finished_at = finished_at.map(Timestamp);
        let run = RunRecord { spec, status, counts: Counts::default(), dissents: 0, finished_at };
        let unit = UnitId { run: run.spec.id, index: 0 };
        let scope = Scope { tenant: "ann", job: &run.spec.job, unit };
        let occurrence = Occurrence { source: Source::Input, index: 0 };
        let token = vault.tokens().expect("keys").mint(&scope).fresh(Class::Text, occurrence);
        let taken = Taken { token, surrogate: None, value: Value::of_text("a value") };
        let mut writes = Writes::default();
        writes.run(&run);
        writes.value(unit, &token, vault.seal(&scope, &taken).expect("sealed"));
        vault.records.commit(writes).expect("written");
        (run, token)
    }

    fn value(vault: &Vault, run: &RunRecord) -> Option<String> {
        let sealed = vault.records.values(run.spec.id, None).expect("read");
        let opened = vault.unseal_all(&run.spec.owner, &run.spec.job, sealed).expect("opened");
        opened.first().map(|taken| taken.value.text().to_string())
    }

    fn text(vault: &Vault) -> String {
        std::fs::read_to_string(&vault.path).expect("the keys")
    }

    #[test]
    fn a_key_is_gone_once_nothing_is_sealed_under_it() {
        let (_dir, vault) = vault();
        assert_eq!(vault.tidy().expect("nothing to do"), Tidied::default(), "who needs no keys has none");
        let (run, token) = stored(&vault, 1, None);
        let name: Name = "key".parse().expect("a name");
        let mut writes = Writes::default();
        let origin = "https://a.example".to_owned();
        writes.secret(&name, origin.clone(), vault.seal_secret(&name, &origin, "s3cret").expect("sealed"));
        vault.records.commit(writes).expect("written");
        let before = vault.records.values(run.spec.id, None).expect("read");
        let secrets = vault.records.secrets().expect("read");
        let (other_job, tokens) = (job("other"), vault.tokens().expect("keys").clone());

        // Something sealed under the first key is on its way to the disk.
        let scope = Scope { tenant: "ann", job: &other_job, unit: UnitId { run: RunId([9; 16]), index: 0 } };
        let taken = Taken { token, surrogate: None, value: Value::of_text("late") };
        let on_its_way = vault.seal(&scope, &taken).expect("sealed");
        assert_eq!(vault.rotate().expect("rotated"), 1);
        assert_eq!(vault.tidy().expect("tidied"), Tidied { sealed: 2, gone: 0, kept: 2 });
        assert_eq!(value(&vault, &run).as_deref(), Some("a value"));
        assert_eq!(vault.unseal(&scope, &token, &on_its_way.bytes).expect("opens").value.text().as_str(), "late");
        drop(on_its_way);
        assert_eq!(vault.tidy().expect("tidied"), Tidied { sealed: 0, gone: 1, kept: 1 });
        assert!(!text(&vault).contains("key 0") && text(&vault).contains("key 1"));

        // What a thief of the disk has from before opens no more, and everything else does.
        let again = Vault::new(vault.path.clone(), vault.records.clone());
        for vault in [&vault, &again] {
            let (unit, token, sealed) = before[0].clone();
            assert!(is_sealed(vault.unseal(&Scope { tenant: "ann", job: &run.spec.job, unit }, &token, &sealed)));
            // Who has read it before, and opens it only now, gets it as it lies there now.
            let late = vault.unseal_all("ann", &run.spec.job, before.clone()).expect("read");
            assert_eq!(late[0].value.text().as_str(), "a value");
            let late = vault.unseal_secrets(secrets.clone()).expect("read");
            assert_eq!(*late[&name].1, "s3cret");
            assert_eq!(value(vault, &run).as_deref(), Some("a value"));
            let secret = vault.records.secret(&name).expect("read").expect("it is there");
            assert_eq!(*vault.unseal_secret(&name, &secret.origin, &secret.sealed).expect("opens"), "s3cret");
        }
        let mint =
            |tokens: &TokenKey| tokens.mint(&scope).fresh(Class::Text, Occurrence { source: Source::Input, index: 0 });
        assert_eq!(mint(again.tokens().expect("keys")), mint(&tokens), "tokens stay what they are");
    }

    #[test]
    fn a_key_stays_while_a_run_is_submitted_that_needs_it() {
        let (_dir, vault) = vault();
        let (run, _) = stored(&vault, 1, None);
        let mut without_run = Writes::default();
        let unit = UnitId { run: RunId([2; 16]), index: 0 };
        let scope = Scope { tenant: "ann", job: &run.spec.job, unit };
        let token = vault
            .tokens()
            .expect("keys")
            .mint(&scope)
            .fresh(Class::Text, Occurrence { source: Source::Input, index: 0 });
        let taken = Taken { token, surrogate: None, value: Value::of_text("early") };
        without_run.value(unit, &token, vault.seal(&scope, &taken).expect("sealed"));
        vault.records.commit(without_run).expect("written");
        vault.rotate().expect("rotated");
        assert_eq!(vault.tidy().expect("tidied"), Tidied { sealed: 1, gone: 0, kept: 2 });
        vault.records.remove_values(unit.run).expect("removed");
        assert_eq!(vault.tidy().expect("tidied"), Tidied { sealed: 0, gone: 1, kept: 1 });
    }

    #[test]
    fn values_go_some_time_after_their_run_has_ended() {
        let (_dir, vault) = vault();
        let [active, old, young] =
            [(1, None), (2, Some(1_000)), (3, Some(2_000))].map(|(n, ended)| stored(&vault, n, ended).0);
        assert_eq!(vault.expired(Timestamp(1_000)).expect("looked"), []);
        assert_eq!(vault.expired(Timestamp(2_000)).expect("looked"), [old.spec.id]);
        vault.records.forget(old.spec.id, Timestamp(7)).expect("removed");
        vault.records.forget(old.spec.id, Timestamp(8)).expect("removed");
        let left = [&active, &old, &young].map(|run| value(&vault, run).is_some());
        assert_eq!(left, [true, false, true]);
        let forgotten = [&active, &old, &young].map(|run| vault.records.forgotten(run.spec.id).expect("read"));
        assert_eq!(forgotten, [None, Some(Timestamp(7)), None], "the first time counts");
        assert_eq!(vault.expired(Timestamp(2_000)).expect("looked"), []);
    }

    #[test]
    fn data_that_was_put_back_from_a_copy_is_recognised() {
        let (dir, vault) = vault();
        vault.grow().expect("nothing to do");
        assert!(!vault.path.exists(), "who needs no keys has none");
        vault.tokens().expect("keys");
        vault.grow().expect("older");
        let copy = vault.records.vault_age().expect("read");
        vault.grow().expect("older");
        let (path, records) = (vault.path.clone(), vault.records.clone());
        let start = || Vault::new(path.clone(), records.clone());
        start().grow().expect("the same data");

        let mut writes = Writes::default();
        writes.vault_age(copy);
        records.commit(writes).expect("put back");
        assert!(matches!(start().grow(), Err(VaultError::OlderData(_))));
        assert!(matches!(start().tokens(), Err(VaultError::OlderData(_))));
        start().accept_older_data(Timestamp(7)).expect("accepted");
        assert_eq!(records.doubt().expect("read"), Some(Doubt { before: Timestamp(7), starts: 0 }));
        let logged = records.audit(0, 10).expect("read");
        assert_eq!(logged.len(), 1);
        assert!(String::from_utf8_lossy(&logged[0]).contains(r#"{"older_data_accepted":{"before":7,"starts":0}}"#));
        start().grow().expect("accepted");

        // Other keys than those that sealed what is there are no cure.
        let keys = text(&vault);
        let mut other = KeyRing::new().expect("keys");
        other.age = 1_000;
        private_file::write(&path, other.text().as_bytes()).expect("written");
        assert!(matches!(start().accept_older_data(Timestamp(8)), Err(VaultError::Lost(_))));
        private_file::write(&path, keys.as_bytes()).expect("written");

        // Data that never knew these keys is older still.
        let fresh = Vault::new(path, self::records(&dir.path().join("fresh")));
        assert!(matches!(fresh.grow(), Err(VaultError::OlderData(_))));
    }

    #[test]
    fn those_who_need_the_first_key_at_once_get_the_same() {
        let (dir, vault) = vault();
        let names = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| vault.name(b"input").expect("a key"))).collect();
            threads.into_iter().map(|thread| thread.join().expect("it ends")).collect::<Vec<_>>()
        });
        let again = Vault::new(dir.path().join("key"), vault.records.clone()).name(b"input").expect("the key");
        assert!(names.iter().all(|name| *name == again), "{names:?}");
    }

    #[test]
    fn the_key_is_made_when_it_is_needed_and_never_replaced() {
        let (dir, vault) = vault();
        let path = dir.path().join("key");
        assert!(!path.exists(), "who needs none has none");
        vault.calls().expect("a key");
        assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        let again = || Vault::new(path.clone(), vault.records.clone());
        again().calls().expect("the same key");

        let key = std::fs::read(&path).expect("a key");
        let other = KeyRing::new().expect("keys");
        private_file::write(&path, other.text().as_bytes()).expect("written");
        assert!(matches!(again().calls(), Err(VaultError::Lost(_))));
        std::fs::remove_file(&path).expect("removed");
        assert!(matches!(again().calls(), Err(VaultError::Lost(_))));
        assert!(!path.exists());
        private_file::write(&path, b"short").expect("written");
        assert!(matches!(again().calls(), Err(VaultError::NoKeys(_))));
        private_file::write(&path, &key).expect("written");
        again().calls().expect("it is back");
    }
}
