//! The key by which an upstream knows a call again.

use core::fmt;

use manyhands_model::IntentId;
use manyhands_model::digits::BASE32;
use manyhands_model::template::Origin;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// What idempotency keys follow from. Wiped from memory when it is dropped.
///
/// It must stay the same for as long as anything is tried again: another one would make a second call of a repeated one.
#[derive(Clone)]
pub struct CallKey(Zeroizing<[u8; 32]>);

impl CallKey {
    /// The one that follows from this master key.
    pub fn derive(master: &[u8; 32]) -> Self {
        Self(Zeroizing::new(blake3::derive_key("manyhands intents v1: idempotency keys", master)))
    }

    /// The key of an intent for the upstream that it goes to. Two upstreams cannot find out by their keys that they were called for the
    /// same thing, nor can one that knows everything else make a key.
    pub fn of(&self, intent: &IntentId, origin: &Origin) -> IdempotencyKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        let hash = hasher.lengths(origin.to_string().as_bytes()).lengths(intent.as_bytes()).finalize();
        // 160 bits: enough never to meet twice, and 32 characters, which is what servers expect of a UUID and a little more.
        IdempotencyKey(BASE32.write(&hash.as_bytes()[..20]))
    }
}

impl fmt::Debug for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallKey(…)")
    }
}

/// 32 of a-z and 2-7, sent in the header that the verb names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Bytes with their length before them, so that no two rows of them read the same.
pub(crate) trait Lengths {
    fn lengths(&mut self, bytes: &[u8]) -> &mut Self;
}

impl Lengths for blake3::Hasher {
    fn lengths(&mut self, bytes: &[u8]) -> &mut Self {
        self.update(&(bytes.len() as u64).to_le_bytes()).update(bytes)
    }
}
