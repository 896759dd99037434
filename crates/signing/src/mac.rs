//! Codes by which somebody recognises what they wrote themselves.

use core::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Bytes of a code.
pub const MAC_BYTES: usize = 16;

/// A secret that makes and recognises codes: HMAC-SHA-256, cut to 128 bits (RFC 2104, section 5).
///
/// A hundredth of a signature's cost, and of use to nobody but its maker.
#[derive(Clone)]
pub struct MacKey(Hmac<Sha256>);

impl MacKey {
    /// The key of these bytes.
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("a key"))
    }

    /// The code over `message`.
    pub fn code(&self, message: &[u8]) -> [u8; MAC_BYTES] {
        let full = self.over(message).finalize().into_bytes();
        let mut code = [0; MAC_BYTES];
        code.copy_from_slice(&full[..MAC_BYTES]);
        code
    }

    /// Whether `code` is the one over `message`; takes the same time whatever it is.
    pub fn knows(&self, message: &[u8], code: &[u8; MAC_BYTES]) -> bool {
        self.over(message).verify_truncated_left(code).is_ok()
    }

    fn over(&self, message: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(message);
        mac
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::prelude::v1::*;

    use super::*;

    #[test]
    fn a_code_is_known_for_its_message_and_key_only() {
        let (key, other) = (MacKey::new(&[1; 32]), MacKey::new(&[2; 32]));
        let code = key.code(b"message");
        assert!(key.knows(b"message", &code));
        assert!(!key.knows(b"another", &code));
        assert!(!other.knows(b"message", &code));
        for bit in 0..MAC_BYTES * 8 {
            let mut flipped = code;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.knows(b"message", &flipped), "bit {bit}");
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", MacKey::new(&[1; 32])), "MacKey(..)");
    }
}
