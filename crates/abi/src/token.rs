//! The form of tokens: what a job sees in the place of values that stay with the coordinator.
//!
//! ```text
//! dtk1 e k3jv…26 of a-z and 2-7…q2 x7
//! │    │ │                         └─ check: from class and payload, without a key
//! │    │ └─ payload: 130 bits that nobody can guess and that say nothing of the value
//! │    └─ class
//! └─ what all of them begin with
//! ```
//!
//! Every token has 33 bytes of `[a-z0-9]`, so it reads the same in a JSON string, a URL, a header and a form, and its length says
//! nothing. Behind its first four bytes it has no `1`, so no token begins inside another one.

/// What every token begins with.
pub const PREFIX: &[u8; 4] = b"dtk1";
/// Bytes of a token.
pub const BYTES: usize = 33;

/// Where the letter of the class stands.
pub const CLASS: usize = PREFIX.len();
/// Where the payload begins.
pub const PAYLOAD: usize = CLASS + 1;
/// Where the check begins.
pub const CHECK: usize = BYTES - 2;

/// Base32 (RFC 4648, section 6) in lower case.
pub const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// The value of each digit; 255 is no digit's.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut value = 0;
    while value < 32 {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// Whether this is a token, but for its class: any digit may be the class's letter.
#[inline]
pub fn is_well_formed(token: &[u8; BYTES]) -> bool {
    // No digit has a high bit; what is none has them all.
    let others = token[CLASS..].iter().fold(0, |seen, digit| seen | VALUES[usize::from(*digit)]);
    token.starts_with(PREFIX) && others < 32 && token[CHECK..] == check(token)
}

/// The two characters that a token with this class and payload ends in.
///
/// Two Reed-Solomon symbols over GF(32), with x^5 + x^2 + 1 and roots at the generator's first two powers: of 29 characters any two
/// that are wrong are noticed, and so is any two that changed places.
#[inline]
pub fn check(token: &[u8; BYTES]) -> [u8; 2] {
    /// What a symbol adds to the two behind it: its product with (x + 2)(x + 4) = x^2 + 6x + 8.
    const PRODUCTS: [u16; 32] = {
        let mut products = [0; 32];
        let mut symbol = 0;
        while symbol < 32 {
            products[symbol] = times(symbol as u16, 6) << 5 | times(symbol as u16, 8);
            symbol += 1;
        }
        products
    };
    let check = token[CLASS..CHECK].iter().fold(0_u16, |state, digit| {
        let symbol = u16::from(VALUES[usize::from(*digit)] % 32);
        (state & 31) << 5 ^ PRODUCTS[usize::from(state >> 5 ^ symbol)]
    });
    [DIGITS[usize::from(check >> 5)], DIGITS[usize::from(check & 31)]]
}

/// The product in GF(32).
const fn times(mut a: u16, mut b: u16) -> u16 {
    let mut product = 0;
    while b > 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a <<= 1;
        if a & 32 != 0 {
            a ^= 0b10_0101;
        }
        b >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a token is, is tested where tokens are minted; here, that the form is not changed in passing.
    #[test]
    fn a_token_is_what_it_always_was() {
        let token = *b"dtk1eaaaqeayeaudaocajbifqydiob4ek";
        assert!(is_well_formed(&token));
        assert_eq!(check(&token), *b"ek");
        for at in 0..BYTES {
            let mut other = token;
            other[at] = if other[at] == b'z' { b'y' } else { b'z' };
            assert!(!is_well_formed(&other), "{at}");
        }
    }
}
