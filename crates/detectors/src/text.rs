//! What a text looks like by itself, and what a field's name makes of it.

use std::sync::LazyLock;

use iban::Iban;
use manyhands_model::{Class, Reveal};
use manyhands_placeholder::{Token, Value, reveal};
use regex::Regex;

use crate::digits::{is_card, luhn};
use crate::name::Named;

/// What looks sensitive, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) class: Class,
    /// In a few words that hold nothing of it.
    pub(crate) what: &'static str,
    /// Bare digits whose check digit is right by chance in one of ten.
    pub(crate) may_be_chance: bool,
}

const fn seen(class: Class, what: &'static str) -> Option<Seen> {
    Some(Seen { class, what, may_be_chance: false })
}

/// One pattern, compiled when it is first needed. A pattern that does not compile finds nothing; a test says so.
struct Pattern(LazyLock<Option<Regex>>);

impl Pattern {
    fn all<'a>(&self, text: &'a str) -> impl Iterator<Item = regex::Match<'a>> {
        self.0.as_ref().into_iter().flat_map(move |pattern| pattern.find_iter(text))
    }

    fn is_in(&self, text: &str) -> bool {
        self.0.as_ref().is_some_and(|pattern| pattern.is_match(text))
    }
}

macro_rules! patterns {
    ($($(#[$doc:meta])* $name:ident = $pattern:literal;)*) => {
        $($(#[$doc])* static $name: Pattern = Pattern(LazyLock::new(|| Regex::new($pattern).ok()));)*
        #[cfg(test)]
        const ALL: &[&Pattern] = &[$(&$name),*];
    };
}

patterns! {
    /// RFC 5322's addresses as people have them: no quotes, a domain of names.
    EMAIL = r"(?i-u)[a-z0-9][a-z0-9._%+'\-]*@(?:[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?\.)+[a-z]{2,24}";
    /// A number in international form with something between its parts. As one piece it has to be the whole text.
    PHONE = r"(?-u)\+[1-9][0-9]{0,2}(?:[ .\-]|[ ]?\()[0-9][0-9 .\-()/]{5,16}[0-9]";
    /// The form in which North America writes an area code.
    AREA = r"(?-u)\([2-9][0-9]{2}\) ?[2-9][0-9]{2}-[0-9]{4}";
    /// ISO/IEC 7812-1: digits, perhaps in groups.
    CARD = r"(?-u)[0-9](?:[ \-]?[0-9]){12,18}";
    /// ISO 13616: two letters, two digits, and up to thirty more, perhaps in groups of four.
    IBAN = r"(?-u)\b[A-Z]{2}[0-9]{2}(?:[A-Z0-9]{11,30}|(?: [A-Z0-9]{1,4}){3,8})\b";
    /// Keys whose issuers begin them all alike, so that they are noticed: Amazon, GitHub, GitLab, Slack, Stripe, Google, OpenAI and Anthropic,
    /// npm, PyPI, SendGrid, DigitalOcean, Hugging Face.
    KEY = r"(?-u)\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}\b|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{40}|glpat-[A-Za-z0-9_\-]{20}|xox[abeprs]-[A-Za-z0-9\-]{16}|[rs]k_(?:live|test)_[A-Za-z0-9]{16}|AIza[A-Za-z0-9_\-]{35}|sk-(?:ant-|proj-)?[A-Za-z0-9_\-]{32}|npm_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_\-]{50}|SG\.[A-Za-z0-9_\-]{22}\.[A-Za-z0-9_\-]{43}|dop_v1_[a-f0-9]{64}|hf_[A-Za-z0-9]{34})";
    /// RFC 7519, section 3: header and claims are JSON objects, and `{"` is `eyJ` in base64url.
    JWT = r"(?-u)\beyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*";
    /// RFC 7468, section 10 and 11.
    PEM = r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----";
    /// A password in an address (RFC 3986, section 3.2.1).
    USERINFO = r"[a-z][a-z0-9+.\-]*://[^\s/?#@:]*:[^\s/?#@]+@";
}

/// What a text that stands in a field of this kind looks like.
pub(crate) fn of_text(text: &str, named: Named) -> Option<Seen> {
    // What stands for a value is none.
    if Token::parse(text.as_bytes()).is_some() {
        return None;
    }
    by_itself(text).or_else(|| by_name(text, named))
}

/// What a whole number in a field of this kind looks like; others are amounts and measures.
pub(crate) fn of_number(digits: &str, named: Named) -> Option<Seen> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match named {
        Named::Phone if (7..=15).contains(&digits.len()) => {
            seen(Class::Phone, "a telephone number, by its field's name")
        }
        Named::Card if is_card(digits) => CARD_BY_NAME,
        _ if is_card(digits) => BARE_CARD,
        _ => None,
    }
}

/// Whether these are digits that could be a card's by chance.
pub(crate) fn could_be_card(digits: &str) -> bool {
    (13..=19).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

const CARD_BY_NAME: Option<Seen> = seen(Class::Card, "a payment card's number, by its field's name and check digit");
const BARE_CARD: Option<Seen> =
    Some(Seen { class: Class::Card, what: "a payment card's number, by issuer and check digit", may_be_chance: true });

/// What it looks like wherever it stands.
pub(crate) fn by_itself(text: &str) -> Option<Seen> {
    let mut digits = 0_usize;
    let (mut at, mut plus, mut paren, mut colon, mut dash) = (false, false, false, false, false);
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'@' => at = true,
            b'+' => plus = true,
            b'(' => paren = true,
            b':' => colon = true,
            b'-' | b'_' | b'.' => dash = true,
            _ => {}
        }
    }
    if dash && PEM.is_in(text) {
        return seen(Class::Secret, "a private key");
    }
    if dash && JWT.is_in(text) {
        return seen(Class::Secret, "a JSON Web Token");
    }
    if text.len() >= 20 && KEY.is_in(text) {
        return seen(Class::Secret, "a key of an API, by how it begins");
    }
    if at && colon && USERINFO.is_in(text) {
        return seen(Class::Secret, "a password in an address");
    }
    if at && EMAIL.all(text).any(|found| is_email(text, found.start(), found.end())) {
        return seen(Class::Email, "an e-mail address");
    }
    if digits >= 2 && text.len() >= 15 && IBAN.all(text).any(|found| is_iban(found.as_str())) {
        return seen(Class::Iban, "an IBAN, by its check digits");
    }
    if digits >= 13
        && let Some(card) = CARD.all(text).find_map(|found| card(text, found.start(), found.end()))
    {
        return Some(card);
    }
    if digits >= 9 && plus && is_phone(text)
        || digits >= 10 && paren && AREA.all(text).any(|found| is_alone(text, found.start(), found.end()))
    {
        return seen(Class::Phone, "a telephone number");
    }
    None
}

/// What its field's name makes of it.
fn by_name(text: &str, named: Named) -> Option<Seen> {
    let has = |kind: fn(char) -> bool| text.contains(kind);
    let words = || text.contains(char::is_whitespace);
    let (letters, digits) = (has(char::is_alphabetic), has(|c| c.is_ascii_digit()));
    let others = has(|c| !c.is_alphanumeric());
    match named {
        Named::Phone if is_national(text) => seen(Class::Phone, "a telephone number, by its field's name"),
        Named::Card => {
            let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
            if could_be_card(&digits) && luhn(&digits) { CARD_BY_NAME } else { None }
        }
        Named::Person if is_name(text) => seen(Class::Name, "a person's name, by its field's name"),
        // A street and its number, at least: a `street` alone is on every map.
        Named::Address if letters && digits && words() && text.chars().count() <= 500 => {
            seen(Class::Address, "a postal address, by its field's name")
        }
        Named::Birth if digits && text.len() <= 40 => seen(Class::Date, "a date of birth, by its field's name"),
        // Names of policies and addresses of pages have both.
        Named::Password
            if text.len() >= 6
                && letters
                && (digits || others)
                && !words()
                && !(text.contains(':') && text.contains('/')) =>
        {
            seen(Class::Secret, "a password, by its field's name")
        }
        Named::Key
            if text.len() >= 12
                && is_of_a_key(text.trim_start_matches("Bearer "))
                && bits_of_a_character(text) >= 3.0 =>
        {
            seen(Class::Secret, "a secret, by its field's name")
        }
        // Digests and UUIDs are keys of another kind, and names of things have a version's number at most.
        Named::MaybeKey
            if text.len() >= 20
                && letters
                && text.bytes().filter(u8::is_ascii_digit).count() >= 3
                && is_of_a_key(text)
                && !text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
                && bits_of_a_character(text) >= 3.5 =>
        {
            seen(Class::Secret, "a secret, by its field's name")
        }
        _ => None,
    }
}

/// Whether it has nothing but what names of people have.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_alphabetic() || matches!(c, ' ' | '.' | ',' | '\'' | '-' | '\u{2019}');
    text.contains(char::is_alphabetic) && text.chars().all(plain) && text.chars().count() <= 100
}

/// Whether it has nothing but what keys and tokens are written with (RFC 6750, section 2.1).
fn is_of_a_key(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
}

/// Whether nothing around it makes it something else.
fn is_alone(text: &str, start: usize, end: usize) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    !text[..start].ends_with(joins) && !text[end..].starts_with(joins)
}

fn is_email(text: &str, start: usize, end: usize) -> bool {
    let (before, found, after) = (&text[..start], &text[start..end], &text[end..]);
    let Some((local, domain)) = found.rsplit_once('@') else { return false };
    // `@ann@social.example` is a name at a server, `git@host:path` a place of files, `icon@2x.png` a picture.
    let handle = before.ends_with('@');
    let in_address = before.ends_with('/') || (before.ends_with(':') && !before.ends_with("mailto:"));
    let place = after.starts_with([':', '/']) && local == "git";
    let ending = domain.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let file = ["png", "jpg", "jpeg", "gif", "webp", "svg", "pdf", "js", "css", "html"].contains(&ending.as_str());
    !handle && !in_address && !place && !file
}

fn is_phone(text: &str) -> bool {
    // The whole text, by the rules of E.164 as far as they say anything; fewer than ten digits are a number with a sign as well.
    let whole = text.starts_with('+') && reveal::shown(Class::Phone, Reveal::Country, &Value::of_text(text)) != "null";
    let count = |text: &str| text.bytes().filter(u8::is_ascii_digit).count();
    (whole && count(text) >= 10)
        || PHONE
            .all(text)
            .any(|found| (9..=15).contains(&count(found.as_str())) && is_alone(text, found.start(), found.end()))
}

/// Digits with what people put between them, as many as numbers have anywhere.
fn is_national(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let plain = |c: char| c.is_ascii_digit() || matches!(c, ' ' | '-' | '.' | '/' | '(' | ')' | '+' | '\u{a0}');
    (6..=15).contains(&digits) && text.chars().all(plain)
}

fn card(text: &str, start: usize, end: usize) -> Option<Seen> {
    let found = &text[start..end];
    let digits: String = found.chars().filter(char::is_ascii_digit).collect();
    // A longer number is none, and neither is what stands behind a point or a sign.
    if !is_alone(text, start, end) || text[..start].ends_with(['.', '-', '+', '#']) || !is_card(&digits) {
        return None;
    }
    if digits.len() == found.len() {
        BARE_CARD
    } else {
        seen(Class::Card, "a payment card's number, by its check digit")
    }
}

fn is_iban(found: &str) -> bool {
    // In groups, a word in capitals behind it is taken for another one.
    let mut rest = found;
    loop {
        if rest.replace(' ', "").parse::<Iban>().is_ok() {
            return true;
        }
        match rest.rsplit_once(' ') {
            Some((shorter, _)) if shorter.len() >= 15 => rest = shorter,
            _ => return false,
        }
    }
}

/// How many bits a character tells of those in the text (Shannon's entropy of their frequencies): random text of twenty has about 4.
fn bits_of_a_character(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let length = text.len().max(1) as f64;
    let part = |count: u32| f64::from(count) / length * (length / f64::from(count)).log2();
    counts.into_iter().filter(|count| *count > 0).map(part).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        assert!(ALL.iter().all(|pattern| pattern.0.is_some()));
    }

    fn class(text: &str, named: Named) -> Option<&'static str> {
        of_text(text, named).map(|seen| seen.class.word())
    }

    #[test]
    fn what_speaks_for_itself_is_found_in_any_field() {
        for (expected, texts) in [
            (
                "email",
                &[
                    "ann.lee@example.com",
                    "Ann Lee <ann@mail.example.co.uk>",
                    "write to o'neil+x@a-b.example, please",
                    "mailto:ann@example.com",
                    "ANN@EXAMPLE.COM",
                ][..],
            ),
            (
                "phone",
                &["+49 30 901820", "+14155550123", "call +44 (0)20 7946 0123 now", "(415) 555-0123", "+353-1-234-5678"],
            ),
            (
                "card",
                &["4111111111111111", "4111 1111 1111 1111", "paid with 5555-5555-5555-4444 today", "378282246310005"],
            ),
            ("iban", &["GB82WEST12345698765432", "GB82 WEST 1234 5698 7654 32", "to DE89 3704 0044 0532 0130 00 OK"]),
            (
                "secret",
                &[
                    "AKIAIOSFODNN7EXAMPLE",
                    "ghp_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                    "key is sk_live_aaaaaaaaaaaaaaaaaaaa",
                    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
                    "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
                    "-----BEGIN PRIVATE KEY-----",
                    "postgres://ann:hunter2@db.example/x",
                ],
            ),
        ] {
            for text in texts {
                assert_eq!(class(text, Named::Nothing), Some(expected), "{text}");
            }
        }
    }

    #[test]
    fn what_only_resembles_it_is_left_alone() {
        for text in [
            "",
            "@ann",
            "@ann@social.example",
            "git@github.com:ann/repository.git",
            "icon@2x.png",
            "lodash@4.17.21",
            "a@b",
            "user@localhost",
            "+0100",
            "+1",
            "+12345678",
            "1.5e+10",
            "2026-11-22T10:00:00+01:00",
            "(1) 2, (3) 4-5",
            "1234567812345670",
            "4111111111111112",
            "0x4111111111111111",
            "3.4111111111111111",
            "41111111111111110000000",
            "GB82WEST12345698765433",
            "XX98123456789012345678",
            "SERIAL12AB",
            "550e8400-e29b-41d4-a716-446655440000",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "-----BEGIN CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----",
            "https://example.com:8080/a@b",
            "eyJhbGciOiJIUzI1NiJ9",
            "ACGTACGTTAGCACGTCGTTAGGC",
            "40.7506, -73.9971",
            "192.168.1.1",
            "978-3-16-148410-0",
            "sk-learn",
            "The quick brown fox: 12 times (or 13).",
        ] {
            assert_eq!(class(text, Named::Nothing), None, "{text}");
        }
    }

    #[test]
    fn a_name_makes_more_of_what_could_be_it_and_nothing_of_what_could_not() {
        for (named, expected, found, left) in [
            (
                Named::Phone,
                "phone",
                &["030 901820", "415-555-0123", "(0)30/90 18 20", "5550123"][..],
                &["iPhone 12", "yes", "12", "home", "2026-11-22T10"][..],
            ),
            (
                Named::Card,
                "card",
                &["6759649826438453", "4111 1111 1111 1111"],
                &["ace of spades", "visa", "1111", "4111111111111112"],
            ),
            (
                Named::Person,
                "name",
                &["Ann", "Lee-Smith", "o'Neil", "李", "Dr. Ann Lee, Jr."],
                &["", "17", "-", "decode/utf8", "lee_smith"],
            ),
            (
                Named::Address,
                "address",
                &["12 High Street", "Hauptstr. 5\n10115 Berlin"],
                &["10.0.0.1", "0x7f", "High Street", "main", "localhost:80"],
            ),
            (Named::Birth, "date", &["1985-04-05", "5.4.85", "5 April 1985"], &["unknown", ""]),
            (
                Named::Password,
                "secret",
                &["hunter2", "correct-horse-battery"],
                &[
                    "required",
                    "",
                    "12345",
                    "must be 8 characters long",
                    "arn:aws:iam::aws:policy/IAMUserChangePassword",
                ],
            ),
            (
                Named::Key,
                "secret",
                &["d41d8cd98f00b204e9800998ecf8427e", "Bearer abcdef0123456789abcdef"],
                &["none", "environment", "from the vault", "xxxxxxxxxxxxxxxxxxx"],
            ),
            (
                Named::MaybeKey,
                "secret",
                &["Zm9vYmFyQmF6UXV4MTIzNDU2"],
                &[
                    "the",
                    "customer-name-and-address",
                    "d41d8cd98f00b204e9800998ecf8427e",
                    "550e8400-e29b-41d4-a716-446655440000",
                    "aws:ResourceTag/${TagKey1}",
                    "ec2:CapacityReservationFleet2",
                    "DescribeIpv6PoolAssociationsV2",
                ],
            ),
        ] {
            for text in found {
                assert_eq!(class(text, named), Some(expected), "{named:?}: {text}");
                assert_eq!(class(text, Named::Nothing), if by_itself(text).is_some() { Some(expected) } else { None });
            }
            for text in left {
                assert_eq!(class(text, named), None, "{named:?}: {text}");
            }
        }
    }

    #[test]
    fn numbers_are_phones_by_name_and_cards_by_their_digits() {
        let class = |digits, named| of_number(digits, named).map(|seen| seen.class.word());
        assert_eq!(class("4155550123", Named::Phone), Some("phone"));
        assert_eq!(class("4155550123", Named::Nothing), None);
        assert_eq!(class("12", Named::Phone), None);
        assert_eq!(class("4111111111111111", Named::Nothing), Some("card"));
        for number in ["1700000000000", "1700000000000000", "-4111111111111111", "41111111111111.11", "4e15"] {
            assert_eq!(class(number, Named::Nothing), None, "{number}");
        }
    }

    #[test]
    fn a_token_is_no_secret() {
        // One that somebody minted, from the tests of `manyhands_placeholder`.
        let token = "dtk1ewb7khymk34oprdrovycy3umzm6k6";
        assert!(Token::parse(token.as_bytes()).is_some());
        assert_eq!(class(token, Named::Key), None);
        assert_eq!(class(&token.replace("wb7", "wb6"), Named::Key), Some("secret"));
    }
}
