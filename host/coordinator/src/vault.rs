//! What tokens stand for: sealed on the disk, opened for the one who puts values into a call or a result.
//!
//! Each value is encrypted by itself with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), whose nonces may be random, and bound to the place where it
//! belongs: tenant, job, unit and token. A value that is moved to another place does not open. The master key
//! lies beside the data directory and not in it, so whoever carries that away has nothing.

use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use manyhands_intents::CallKey;
use manyhands_model::Name;
use manyhands_placeholder::{Scope, Token, TokenKey, Value};
use zeroize::Zeroizing;

use crate::private_file::{self, PrivateFileError};

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
    /// No random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// A value that does not open: it is of another place or key, or was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value does not open; it is of another vault, or was changed on the disk")]
pub struct Sealed;

/// Keys of everything that concerns values. Wiped from memory when it is dropped.
pub struct Vault {
    cipher: XChaCha20Poly1305,
    tokens: TokenKey,
    calls: CallKey,
}

impl Vault {
    /// With the key of this file, which is made if it is not there.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn open(path: &Path) -> Result<Self, VaultError> {
        let master = match private_file::read(path) {
            Ok(bytes) => Zeroizing::new(
                <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| VaultError::NotAKey(path.to_owned()))?,
            ),
            Err(error) if error.is_absent() => {
                let mut master = Zeroizing::new([0; 32]);
                getrandom::fill(&mut *master)?;
                private_file::write(path, &*master)?;
                master
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self::new(&master))
    }

    fn new(master: &[u8; 32]) -> Self {
        let key = Zeroizing::new(blake3::derive_key("manyhands vault v1: values", master));
        Self {
            cipher: XChaCha20Poly1305::new((&*key).into()),
            tokens: TokenKey::derive(master, 0),
            calls: CallKey::derive(master),
        }
    }

    /// What tokens follow from.
    pub const fn tokens(&self) -> &TokenKey {
        &self.tokens
    }

    /// What idempotency keys follow from.
    pub const fn calls(&self) -> &CallKey {
        &self.calls
    }

    /// A value as it is stored.
    ///
    /// # Errors
    /// [`VaultError::Random`].
    pub fn seal(&self, scope: &Scope<'_>, token: &Token, value: &Value) -> Result<Vec<u8>, VaultError> {
        self.encrypt(&place(scope, token), value.json().as_bytes())
    }

    /// A value that was stored.
    ///
    /// # Errors
    /// [`Sealed`].
    pub fn unseal(&self, scope: &Scope<'_>, token: &Token, sealed: &[u8]) -> Result<Value, Sealed> {
        let json = self.decrypt(&place(scope, token), sealed)?;
        Value::of_json(core::str::from_utf8(&json).map_err(|_| Sealed)?).map_err(|_| Sealed)
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
    /// [`Sealed`].
    pub fn unseal_secret(&self, name: &Name, origin: &str, sealed: &[u8]) -> Result<Zeroizing<String>, Sealed> {
        let place = parts(&[b"secret", name.as_str().as_bytes(), origin.as_bytes()]);
        let secret = self.decrypt(&place, sealed)?;
        Ok(Zeroizing::new(core::str::from_utf8(&secret).map_err(|_| Sealed)?.to_owned()))
    }

    #[expect(clippy::expect_used, reason = "the cipher takes whatever fits in memory")]
    fn encrypt(&self, place: &[u8], bytes: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)?;
        let payload = Payload { msg: bytes, aad: place };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).expect("it is encrypted");
        Ok([&nonce[..], &sealed].concat())
    }

    fn decrypt(&self, place: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Sealed> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(Sealed)?;
        let payload = Payload { msg: sealed, aad: place };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| Sealed)
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
    use manyhands_model::{Class, JobName, RunId, UnitId};
    use manyhands_placeholder::{Occurrence, Source};

    use super::*;

    fn job(name: &str) -> JobName {
        name.parse().expect("a name")
    }

    #[test]
    fn a_value_opens_in_its_place_and_with_its_key_only() {
        let vault = Vault::new(&[1; 32]);
        let (job, other_job) = (job("job"), job("other"));
        let unit = UnitId { run: RunId([2; 16]), index: 3 };
        let scope = Scope { tenant: "ann", job: &job, unit };
        let token =
            |index| vault.tokens().mint(&scope).fresh(Class::Email, Occurrence { source: Source::Input, index });
        let value = Value::of_text("ann@example.com");
        let sealed = vault.seal(&scope, &token(0), &value).expect("sealed");
        assert_eq!(vault.unseal(&scope, &token(0), &sealed).expect("opens").json(), value.json());
        assert!(!sealed.windows(3).any(|bytes| bytes == b"ann"));
        assert_ne!(sealed, vault.seal(&scope, &token(0), &value).expect("sealed"), "no two are alike");

        let elsewhere = [
            Scope { tenant: "bob", ..scope },
            Scope { job: &other_job, ..scope },
            Scope { unit: UnitId { index: 4, ..unit }, ..scope },
            Scope { unit: UnitId { run: RunId([5; 16]), ..unit }, ..scope },
        ];
        for place in elsewhere {
            assert_eq!(vault.unseal(&place, &token(0), &sealed).err(), Some(Sealed));
        }
        assert_eq!(vault.unseal(&scope, &token(1), &sealed).err(), Some(Sealed));
        assert_eq!(Vault::new(&[2; 32]).unseal(&scope, &token(0), &sealed).err(), Some(Sealed));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(vault.unseal(&scope, &token(0), &changed).err(), Some(Sealed), "{at}");
            assert_eq!(vault.unseal(&scope, &token(0), &sealed[..at]).err(), Some(Sealed), "{at}");
        }
    }

    #[test]
    fn the_key_is_made_once_and_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).expect("set");
        let path = dir.path().join("vault.key");
        let job = job("job");
        let scope = Scope { tenant: "ann", job: &job, unit: UnitId { run: RunId([2; 16]), index: 3 } };
        let mint = || {
            let vault = Vault::open(&path).expect("a vault");
            vault.tokens().mint(&scope).fresh(Class::Name, Occurrence { source: Source::Input, index: 0 })
        };
        assert_eq!(mint(), mint());
        assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, b"short").expect("written");
        assert!(matches!(Vault::open(&path), Err(VaultError::NotAKey(_))));
    }
}
