//! The bytes of a record: sealed with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), bound to client, job and number.
//!
//! ```text
//! "mhr1_" base64url( place 32 | number 8, little-endian | nonce 24 | content, encrypted | tag 16 )
//! ```
//!
//! What stands before the nonce is authenticated with the rest. The keys follow from the vault's root, which never changes: a
//! vault whose keys for values are replaced still opens what clients kept meanwhile.

use core::fmt;
use core::str::FromStr;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use data_encoding::BASE64URL_NOPAD;
use manyhands_model::{Digest, JobName};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Bytes of a nonce; random ones never meet.
pub const NONCE_BYTES: usize = 24;
/// Before every record, so that people and programs know one when they see it.
const PREFIX: &str = "mhr1_";
/// Place and number.
const HEAD_BYTES: usize = 32 + 8;
/// What sealing adds to a content. Unit: bytes, before base64.
pub const OVERHEAD_BYTES: usize = HEAD_BYTES + NONCE_BYTES + 16;

/// What a service calls one of its clients: 1 to 64 of a-z, A-Z, 0-9, `-` and `_`. Random is best.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(String);

/// Why a text names no client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a client's name has 1 to 64 of a-z, A-Z, 0-9, `-` and `_`")]
pub struct BadClientName;

impl FromStr for ClientName {
    type Err = BadClientName;

    fn from_str(text: &str) -> Result<Self, BadClientName> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if (1..=64).contains(&text.len()) && text.bytes().all(is_good) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadClientName)
        }
    }
}

/// Where a record belongs: a client of a requester's, and a job. Nobody who has not the key can tell from it whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub Digest);

/// Which record it is: its number, from 1, and a keyed digest of what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// One more than that of the record before it.
    pub number: u64,
    /// Differs where the content does.
    pub code: Digest,
}

/// A record that was opened.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    /// Which it is.
    pub stamp: Stamp,
    /// What the job wrote.
    pub content: Zeroizing<Vec<u8>>,
}

/// Why a record does not open. Shown to who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// It is no record at all.
    #[error("this is no record: it begins with `mhr1_` and goes on in base64url; send what was answered, as it was")]
    Unreadable,
    /// It was not sealed here, or not like this.
    #[error(
        "the record does not open: it was changed, or is of another coordinator; send what was answered, as it was"
    )]
    Changed,
    /// It belongs to somebody else.
    #[error("the record is of another client or another job; send it where it belongs")]
    Foreign,
}

/// What records are sealed and recognised with. Wiped from memory when it is dropped.
pub struct RecordKey {
    cipher: XChaCha20Poly1305,
    places: Zeroizing<[u8; 32]>,
    codes: Zeroizing<[u8; 32]>,
    questions: Zeroizing<[u8; 32]>,
}

impl RecordKey {
    /// The one that follows from this master key.
    pub fn derive(master: &[u8; 32]) -> Self {
        let derive = |what: &str| Zeroizing::new(blake3::derive_key(what, master));
        Self {
            cipher: XChaCha20Poly1305::new((&*derive("manyhands records v1: contents")).into()),
            places: derive("manyhands records v1: places"),
            codes: derive("manyhands records v1: codes"),
            questions: derive("manyhands records v1: questions"),
        }
    }

    /// Where the record of a requester's client for a job belongs.
    pub fn place(&self, owner: &str, job: &JobName, client: &ClientName) -> Place {
        Place(keyed(&self.places, &[owner.as_bytes(), job.as_str().as_bytes(), client.0.as_bytes()]))
    }

    /// The stamp of a content under this number.
    pub fn stamp(&self, place: &Place, number: u64, content: &[u8]) -> Stamp {
        Stamp { number, code: keyed(&self.codes, &[place.0.as_bytes(), &number.to_le_bytes(), content]) }
    }

    /// Names what is asked, so that it can be recognised and not guessed at.
    pub fn question(&self, place: &Place, input: &[u8]) -> Digest {
        keyed(&self.questions, &[place.0.as_bytes(), input])
    }

    /// A record as its client keeps it. `nonce` has to be random.
    #[expect(clippy::expect_used, reason = "the cipher takes whatever fits in memory")]
    pub fn seal(&self, place: &Place, number: u64, content: &[u8], nonce: [u8; NONCE_BYTES]) -> String {
        let mut bytes = [place.0.as_bytes(), &number.to_le_bytes()[..], &nonce].concat();
        let payload = Payload { msg: content, aad: &bytes[..HEAD_BYTES] };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).expect("it is encrypted");
        bytes.extend(sealed);
        PREFIX.to_owned() + &BASE64URL_NOPAD.encode(&bytes)
    }

    /// Opens what a client sends.
    ///
    /// # Errors
    /// [`NotOpened`].
    pub fn open(&self, place: &Place, record: &str) -> Result<Opened, NotOpened> {
        let text = record.strip_prefix(PREFIX).ok_or(NotOpened::Unreadable)?;
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| NotOpened::Unreadable)?;
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(NotOpened::Unreadable)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(NotOpened::Unreadable)?;
        let payload = Payload { msg: sealed, aad: head };
        // Before anything in it is believed, the name of its place included.
        let content = self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| NotOpened::Changed)?;
        let content = Zeroizing::new(content);
        let (whose, number) = head.split_first_chunk::<32>().ok_or(NotOpened::Unreadable)?;
        if *whose != place.0.0 {
            return Err(NotOpened::Foreign);
        }
        let number = u64::from_le_bytes(number.try_into().map_err(|_| NotOpened::Unreadable)?);
        Ok(Opened { stamp: self.stamp(place, number, &content), content })
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecordKey(…)")
    }
}

/// Each part goes in after its length, so that no two rows of them read the same.
fn keyed(key: &[u8; 32], parts: &[&[u8]]) -> Digest {
    let mut hasher = blake3::Hasher::new_keyed(key);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    Digest(*hasher.finalize().as_bytes())
}
