//! What a signature claims, for whoever has the curve.
//!
//! Signatures are checked in two steps. Which encodings count at all is seen here, from their bytes. What takes arithmetic is
//! answered by this program, with the feature `curve`, or by a browser's Web Crypto. For what is left they may differ only over keys
//! with a part of small order, which their owner alone can make (RFC 8032, 5.1.7, with the cofactor or without).

use alloc::vec::Vec;

use crate::key::{PublicKey, Signature};

/// That `signature` is `signer`'s over `message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who is said to have signed.
    pub signer: PublicKey,
    /// Which bytes.
    pub message: Vec<u8>,
    /// And how.
    pub signature: Signature,
}

/// A statement of whatever kind, about whose signature somebody else can be asked.
pub trait Claims {
    /// The claim that is to be checked; nothing where it was.
    fn claim(&self) -> Option<Claim>;

    /// Whether it is true, by somebody who has the curve. What does not count whatever the curve says is refused all the same.
    fn answer(&mut self, fits: bool);
}

/// The group's order (RFC 8032, 5.1). All numbers here have their lowest byte first.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The field's prime, 2^255 - 19.
const PRIME: [u8; 32] = number(0xed, 0xff, 0x7f);

/// Every y of a point whose order is 1, 2, 4 or 8.
const SMALL: [[u8; 32]; 5] = [
    number(0, 0, 0),
    number(1, 0, 0),
    number(0xec, 0xff, 0x7f),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

const fn number(first: u8, between: u8, last: u8) -> [u8; 32] {
    let mut number = [between; 32];
    (number[0], number[31]) = (first, last);
    number
}

fn is_less(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.iter().rev().lt(other.iter().rev())
}

/// Whether these bytes, if they are a point at all, are its one encoding, and its order is not small: a signature with such a
/// point fits many messages.
fn is_sound(point: &[u8; 32]) -> bool {
    let mut y = *point;
    // Without the sign of x.
    y[31] &= 0x7f;
    is_less(&y, &PRIME) && !SMALL.contains(&y)
}

impl Claim {
    /// Whether its encodings are such that it may count.
    pub(crate) fn is_strict(signer: &PublicKey, signature: &Signature) -> bool {
        let (r, s) = signature.halves();
        is_sound(&signer.0) && is_sound(r) && is_less(s, &ORDER)
    }
}

#[cfg(test)]
mod tests {
    use std::prelude::v1::*;

    use ed25519_dalek::VerifyingKey;

    use super::*;
    use crate::Keypair;

    fn with_sign(y: &[u8; 32]) -> [u8; 32] {
        let mut point = *y;
        point[31] |= 0x80;
        point
    }

    #[test]
    fn attack_40_all_eight_points_of_small_order_are_known() {
        // Where x is zero it has no sign, so of ten encodings eight are points.
        let (neutral, second) = (SMALL[1], SMALL[2]);
        let points: Vec<_> = SMALL.iter().flat_map(|y| [*y, with_sign(y)]).collect();
        let points = points.iter().filter(|point| **point != with_sign(&neutral) && **point != with_sign(&second));
        let weak = points.filter(|point| VerifyingKey::from_bytes(point).is_ok_and(|key| key.is_weak()));
        assert_eq!(weak.count(), 8);
        for y in SMALL {
            assert!(!is_sound(&y) && !is_sound(&with_sign(&y)));
        }
    }

    #[test]
    fn attack_40_a_point_has_one_encoding() {
        for more in 0..19 {
            let y = number(0xed + more, 0xff, 0x7f);
            assert!(!is_sound(&y) && !is_sound(&with_sign(&y)), "p + {more}");
        }
        assert!(is_sound(&number(0xeb, 0xff, 0x7f)), "p - 2");
        assert!((0..=255).all(|seed| is_sound(&Keypair::from_seed(&[seed; 32]).public().0)));
    }

    #[test]
    fn attack_40_a_signature_has_one_encoding() {
        let key = Keypair::from_seed(&[1; 32]);
        let message = b"so it is".to_vec();
        let claim = Claim { signer: key.public(), signature: key.sign(&message), message };
        assert!(claim.fits());
        // s + L is the same modulo L, and would be another signature under the same statement.
        let mut bytes = claim.signature.to_bytes();
        let mut carry = 0;
        for (byte, order) in bytes[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
        let again = Claim { signature: bytes.into(), ..claim.clone() };
        assert!(!Claim::is_strict(&again.signer, &again.signature) && !again.fits());
        let at_order =
            Claim { signature: [&bytes[..32], &ORDER].concat().try_into().map(<[u8; 64]>::into).expect("64"), ..claim };
        assert!(!Claim::is_strict(&at_order.signer, &at_order.signature));
    }
}
