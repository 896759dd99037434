//! Numbers that check themselves.

/// Whether these digits are the number of a payment card: its last digit checks (ISO/IEC 7812-1, annex B), and an issuer of a known network has
/// numbers that begin so and are as long.
pub(crate) fn is_card(digits: &str) -> bool {
    has_issuer(digits) && luhn(digits)
}

/// Whether the digits' weighted sum is a multiple of ten (ISO/IEC 7812-1, annex B).
pub(crate) fn luhn(digits: &str) -> bool {
    let value = |(at, digit): (usize, u8)| {
        let value = u32::from(digit - b'0') << (at % 2);
        value / 10 + value % 10
    };
    digits.bytes().rev().enumerate().map(value).sum::<u32>().is_multiple_of(10)
}

/// The networks' own lists of what their numbers begin with, as they give them to merchants. Maestro's and other networks' that take nearly any
/// beginning are left out: without one, every tenth number would be a card's.
fn has_issuer(digits: &str) -> bool {
    let Some(first) = digits.get(..4).and_then(|first| first.parse::<u32>().ok()) else { return false };
    match (first, digits.len()) {
        // Visa; Mastercard; American Express; JCB.
        (4000..=4999, 13 | 16 | 19)
        | (5100..=5599 | 2221..=2720, 16)
        | (3400..=3499 | 3700..=3799, 15)
        | (3528..=3589, 16..=19)
        // Diners Club; Discover; UnionPay.
        | (3600..=3699 | 3800..=3999 | 3000..=3059 | 3095, 14..=19)
        | (6011 | 6440..=6599, 16..=19)
        | (6200..=6299, 16..=19) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that networks and payment services publish for tests.
    #[test]
    fn cards_are_known_by_issuer_length_and_check_digit() {
        for card in [
            "4111111111111111",
            "4222222222222",
            "5555555555554444",
            "2223003122003222",
            "378282246310005",
            "3530111333300000",
            "30569309025904",
            "6011111111111117",
            "6200000000000005",
        ] {
            assert!(is_card(card), "{card}");
            // One digit that is wrong is always noticed.
            for at in 4..card.len() {
                let mut other = card.to_owned().into_bytes();
                other[at] = b'0' + (other[at] - b'0' + 1) % 10;
                assert!(!is_card(core::str::from_utf8(&other).expect("digits")), "{card} at {at}");
            }
        }
        for other in ["", "4111", "9999000000000007", "411111111111111", "1234567812345670", "0000000000000000"] {
            assert!(!is_card(other), "{other}");
        }
    }
}
