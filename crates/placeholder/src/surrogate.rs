//! Values that pass for one of a class and are nobody's, for jobs that check the form of what they read.
//!
//! Each is from a range that nobody is given anything of, so one that gets out does no harm, and one that is in an output by chance is
//! rare. All workers of a unit see the same, so they are never looked for inside of texts: only a whole string or number is one.

use std::collections::BTreeSet;

use manyhands_model::Class;

/// Area codes of the North American Numbering Plan that have been in use for decades. The lines 555-0100 to 555-0199 of each are kept
/// for fiction (Industry Numbering Committee, 555 NXX Assignment Guidelines).
const AREA_CODES: &[u16] = &[
    201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 215, 216, 217, 218, 219, 301, 302, 303, 304, 305, 307,
    308, 309, 310, 312, 313, 314, 315, 316, 317, 318, 319, 401, 402, 404, 405, 406, 407, 408, 409, 410, 412, 413, 414,
    415, 417,
];
/// Draws until it is believed that there is none left. With 31 of 32 taken, one in three thousand runs of draws ends here.
const DRAWS_MAX: u32 = 256;

/// Draws surrogates that differ from each other and from what they must not be taken for.
#[derive(Default)]
pub(crate) struct Surrogates(BTreeSet<String>);

impl Surrogates {
    /// This text stands in the open, so no surrogate is like it.
    pub(crate) fn avoid(&mut self, open: &str) {
        if may_be_one(open) {
            self.0.insert(open.to_owned());
        }
    }

    /// A new one for a value of this class, made from random numbers; none when there are too few.
    pub(crate) fn draw(&mut self, class: Class, is_number: bool, mut random: impl FnMut() -> u64) -> Option<String> {
        (0..DRAWS_MAX).find_map(|_| {
            let surrogate = if is_number { number(&mut random) } else { text(class, &mut random)? };
            self.0.insert(surrogate.clone()).then_some(surrogate)
        })
    }
}

fn text(class: Class, random: &mut impl FnMut() -> u64) -> Option<String> {
    let text = match class {
        // RFC 2606, section 2.
        Class::Email => format!("{}@mail.invalid", letters(random, 12)),
        Class::Phone => {
            let area = AREA_CODES[random() as usize % AREA_CODES.len()];
            format!("+1{area}55501{:02}", random() % 100)
        }
        // ISO/IEC 7812-1: 9 is for national standards bodies and followed by their country, and 900 to 999 are no country's in
        // ISO 3166-1, so no issuer has it.
        Class::Card => {
            let digits = format!("9999{:011}", random() % 10_u64.pow(11));
            format!("{digits}{}", luhn(&digits))
        }
        // ISO 3166-1 leaves XX to its users, so it is no country in ISO 13616.
        Class::Iban => {
            let account = format!("{:018}", random() % 10_u64.pow(18));
            format!("XX{:02}{account}", 98 - remainder(&format!("{account}333300")))
        }
        Class::Name => format!("{} {}", GIVEN[random() as usize % GIVEN.len()], word(random)),
        Class::Address => format!("{} {} Street, {}", random() % 999 + 1, word(random), word(random)),
        // The eighteenth century is in every calendar, and nobody's birthday or due date.
        Class::Date => {
            let (year, month) = (1700 + random() % 100, random() % 12 + 1);
            format!("{year}-{month:02}-{:02}", random() % days(year, month) + 1)
        }
        Class::Number => number(random),
        Class::Text | Class::Secret => return None,
    };
    Some(text)
}

/// Fifteen digits, which every program reads exactly.
fn number(random: &mut impl FnMut() -> u64) -> String {
    (900_000_000_000_000 + random() % 100_000_000_000_000).to_string()
}

/// Given names of any gender.
const GIVEN: &[&str] = &["Alex", "Charlie", "Jamie", "Kim", "Lee", "Morgan", "Robin", "Sam", "Sasha", "Taylor"];

fn letters(random: &mut impl FnMut() -> u64, count: usize) -> String {
    let mut bits = random();
    let letter = |_| {
        let letter = b'a' + (bits % 26) as u8;
        bits /= 26;
        char::from(letter)
    };
    (0..count).map(letter).collect()
}

fn word(random: &mut impl FnMut() -> u64) -> String {
    let mut word = letters(random, 9);
    word[..1].make_ascii_uppercase();
    word
}

/// The check digit of ISO/IEC 7812-1, annex B.
fn luhn(digits: &str) -> u32 {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let value = u32::from(digit - b'0') * if at % 2 == 0 { 2 } else { 1 };
            value / 10 + value % 10
        })
        .sum();
    (10 - sum % 10) % 10
}

/// By 97, as ISO 13616 checks.
fn remainder(digits: &str) -> u32 {
    digits.bytes().fold(0, |rest, digit| (rest * 10 + u32::from(digit - b'0')) % 97)
}

fn days(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && !year.is_multiple_of(100) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Whether a text that stands in an input could be drawn. Names and addresses have so many letters that none ever is.
fn may_be_one(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match text.len() {
        10 => text.starts_with("17"),
        12 => text.starts_with("+1"),
        15 => text.starts_with('9') && digits(text),
        16 => text.starts_with("9999") && digits(text),
        22 => text.starts_with("XX"),
        25 => text.ends_with("@mail.invalid"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from a seed.
    fn random(seed: u64) -> impl FnMut() -> u64 {
        let mut bits = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
        move || {
            let mut bytes = [0; 8];
            bits.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        }
    }

    fn some(class: Class) -> Vec<String> {
        let (mut surrogates, mut random) = (Surrogates::default(), random(class as u64));
        (0..1000).map(|_| surrogates.draw(class, false, &mut random).expect("there are more")).collect()
    }

    #[test]
    fn each_passes_for_its_class() {
        for card in some(Class::Card) {
            assert_eq!((card.len(), &card[..4]), (16, "9999"));
            assert_eq!(luhn(&card[..15]), u32::from(card.as_bytes()[15] - b'0'), "{card}");
        }
        // The usual test number, and the example of the IBAN registry.
        assert_eq!(luhn("411111111111111"), 1);
        let checks = |iban: &str| {
            let turned = [&iban[4..], &iban[..4]].concat();
            let digits: String = turned.chars().map(|c| c.to_digit(36).expect("base 36").to_string()).collect();
            remainder(&digits) == 1
        };
        assert!(checks("GB29NWBK60161331926819"));
        for iban in some(Class::Iban) {
            assert!(iban.starts_with("XX") && iban.len() == 22 && checks(&iban), "{iban}");
        }
        for phone in some(Class::Phone) {
            assert!(phone.len() == 12 && phone.starts_with("+1") && &phone[5..10] == "55501", "{phone}");
        }
        for date in some(Class::Date) {
            let [year, month, day] =
                [&date[..4], &date[5..7], &date[8..]].map(|part| part.parse::<u64>().expect("digits"));
            assert!(
                (1700..1800).contains(&year) && (1..=12).contains(&month) && (1..=days(year, month)).contains(&day),
                "{date}"
            );
        }
        for email in some(Class::Email) {
            assert!(email.len() == 25 && email.ends_with("@mail.invalid"), "{email}");
        }
        for number in some(Class::Number) {
            assert!(number.parse::<f64>().expect("a number").to_string() == number, "{number}");
        }
        assert_eq!((days(1700, 2), days(1704, 2)), (28, 29));
        assert!(some(Class::Name).iter().chain(&some(Class::Address)).all(|text| text.is_ascii()));
    }

    #[test]
    fn none_is_drawn_twice_nor_one_that_stands_in_the_open() {
        for class in Class::ALL.into_iter().filter(|class| class.has_surrogates()) {
            let drawn = some(class);
            assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), drawn.len());
            let mut surrogates = Surrogates::default();
            surrogates.avoid(&drawn[0]);
            let first = surrogates.draw(class, false, random(class as u64)).expect("there are more");
            if !matches!(class, Class::Name | Class::Address) {
                assert_eq!(first, drawn[1]);
            }
        }
    }

    #[test]
    fn when_there_is_none_left_that_is_said() {
        let (mut surrogates, mut random) = (Surrogates::default(), random(0));
        let drawn = (0..10_000).take_while(|_| surrogates.draw(Class::Phone, false, &mut random).is_some()).count();
        let all = AREA_CODES.len() * 100;
        assert!((all * 9 / 10..=all).contains(&drawn), "{drawn} of {all}");
        assert_eq!(surrogates.draw(Class::Text, false, &mut random), None);
    }
}
