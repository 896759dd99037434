//! What tokens stand for: sealed on the disk, opened for the one who puts values into a call or a result.
//!
//! Each value is encrypted by itself with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), whose nonces may be random, and bound to the place where it
//! belongs: tenant, job, unit and token. A value that is moved to another place does not open. The master key
//! lies beside the data directory and not in it, so whoever carries that away has nothing.

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use manyhands_intents::CallKey;
use manyhands_model::{Digest, JobName, Name, UnitId};
use manyhands_placeholder::{Scope, Taken, Token, TokenKey, Value};
use zeroize::Zeroizing;

use crate::private_file::{self, PrivateFileError};
use crate::records::{RecordError, Records, Writes};

/// Bytes of a nonce.
const NONCE_BYTES: usize = 24;

/// Why there is no vault.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key's file cannot be read or made.
    #[error("the vault's key: {0}")]
    File(#[from] PrivateFileError),
    /// The file holds something else.
    #[error("{}: no vault's key, which is 32 bytes; restore it from where you keep it, or values that were taken in are lost", .0.display())]
    NotAKey(PathBuf),
    /// The file is gone, or another one, and something was sealed with it.
    #[error("{}: not the key with which values were sealed; put that back, from where you keep a copy", .0.display())]
    Lost(PathBuf),
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
    /// Held by the one who reads or makes the key: of two that are made at once, one would be lost.
    opening: Mutex<()>,
}

/// What follows from the master key. Wiped from memory when it is dropped.
struct Keys {
    cipher: XChaCha20Poly1305,
    tokens: TokenKey,
    calls: CallKey,
    names: Zeroizing<[u8; 32]>,
}

impl Vault {
    /// With the key of this file. It is read when it is first needed, and made if there never was one.
    pub fn new(path: PathBuf, records: Records) -> Self {
        Self { path, records, keys: OnceLock::new(), opening: Mutex::default() }
    }

    fn keys(&self) -> Result<&Keys, VaultError> {
        if let Some(keys) = self.keys.get() {
            return Ok(keys);
        }
        let _alone = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = self.keys.get() {
            return Ok(keys);
        }
        let known = self.records.vault_key()?;
        let master = match private_file::read(&self.path) {
            Ok(bytes) => Zeroizing::new(
                <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| VaultError::NotAKey(self.path.clone()))?,
            ),
            // Another one would open nothing of what is stored, and make calls again under other idempotency keys.
            Err(error) if error.is_absent() && known.is_some() => return Err(VaultError::Lost(self.path.clone())),
            Err(error) if error.is_absent() => {
                let mut master = Zeroizing::new([0; 32]);
                getrandom::fill(&mut *master)?;
                private_file::write(&self.path, &*master)?;
                master
            }
            Err(error) => return Err(error.into()),
        };
        let print = Digest(
            *blake3::Hasher::new_derive_key("manyhands vault v1: fingerprint").update(&*master).finalize().as_bytes(),
        );
        match known {
            Some(known) if known != print => return Err(VaultError::Lost(self.path.clone())),
            Some(_) => {}
            None => {
                let mut writes = Writes::default();
                writes.vault_key(print);
                self.records.commit(writes)?;
            }
        }
        Ok(self.keys.get_or_init(|| Keys::of(&master)))
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

    /// A value as it is stored.
    ///
    /// # Errors
    /// [`VaultError::Random`].
    pub fn seal(&self, scope: &Scope<'_>, taken: &Taken) -> Result<Vec<u8>, VaultError> {
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
            match self.unseal(&Scope { tenant, job, unit }, &token, &sealed) {
                Ok(taken) => opened.push(taken),
                Err(VaultError::Sealed) => tracing::warn!(%unit, "a value does not open and is left out"),
                Err(error) => return Err(error),
            }
        }
        Ok(opened)
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
    pub fn seal_secret(&self, name: &Name, origin: &str, secret: &str) -> Result<Vec<u8>, VaultError> {
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

    #[expect(clippy::expect_used, reason = "the cipher takes whatever fits in memory")]
    fn encrypt(&self, place: &[u8], bytes: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)?;
        let payload = Payload { msg: bytes, aad: place };
        let sealed = self.keys()?.cipher.encrypt(&XNonce::from(nonce), payload).expect("it is encrypted");
        Ok([&nonce[..], &sealed].concat())
    }

    fn decrypt(&self, place: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(VaultError::Sealed)?;
        let payload = Payload { msg: sealed, aad: place };
        let plain = self.keys()?.cipher.decrypt(&XNonce::from(*nonce), payload);
        plain.map(Zeroizing::new).map_err(|_| VaultError::Sealed)
    }
}

impl Keys {
    fn of(master: &[u8; 32]) -> Self {
        let key = Zeroizing::new(blake3::derive_key("manyhands vault v1: values", master));
        Self {
            cipher: XChaCha20Poly1305::new((&*key).into()),
            tokens: TokenKey::derive(master, 0),
            calls: CallKey::derive(master),
            names: Zeroizing::new(blake3::derive_key("manyhands vault v1: names of inputs", master)),
        }
    }
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
            let sealed = vault.seal(&scope, &taken).expect("sealed");
            let opened = vault.unseal(&scope, &token(0), &sealed).expect("opens");
            assert_eq!((opened.value.json(), opened.surrogate), (value.json(), surrogate));
        }
        let taken = Taken { token: token(0), surrogate: None, value };
        let sealed = vault.seal(&scope, &taken).expect("sealed");
        assert!(!sealed.windows(3).any(|bytes| bytes == b"ann"));
        assert_ne!(sealed, vault.seal(&scope, &taken).expect("sealed"), "no two are alike");

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
        let secret = vault.seal_secret(&name, "https://a.example", "s3cret").expect("sealed");
        assert_eq!(*vault.unseal_secret(&name, "https://a.example", &secret).expect("opens"), "s3cret");
        assert!(is_sealed(vault.unseal_secret(&name, "https://b.example", &secret)));
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
        std::fs::write(&path, [7; 32]).expect("written");
        assert!(matches!(again().calls(), Err(VaultError::Lost(_))));
        std::fs::remove_file(&path).expect("removed");
        assert!(matches!(again().calls(), Err(VaultError::Lost(_))));
        assert!(!path.exists());
        private_file::write(&path, b"short").expect("written");
        assert!(matches!(again().calls(), Err(VaultError::NotAKey(_))));
        private_file::write(&path, &key).expect("written");
        again().calls().expect("it is back");
    }
}
