//! What workers see beside a token, and how much that tells them.

use core::fmt;
use core::ops::Range;

use manyhands_model::{Class, Place, Reveal, Sensitive};

use crate::Value;
use crate::json::{self, Str};

/// Years that are shown. With a bound, so that it is known how much a year tells.
const YEARS: Range<u32> = 1900..2100;
/// The longest length that is told from others. Unit: characters.
const LENGTH_MAX: usize = 1 << 16;

/// What is shown of a value, as JSON: a string, a number, or `null` where the value has no such part.
///
/// None of it can look like a token: it is too short, or a piece of an input in which none stands.
pub fn shown(class: Class, reveal: Reveal, value: &Value) -> String {
    let text = value.text();
    let text = text.as_str();
    let quoted = |part: Option<String>| part.map(|part| format!("\"{part}\""));
    let shown = match (class, reveal) {
        (_, Reveal::Domain) => quoted(domain(text).map(str::to_owned)),
        (Class::Phone, Reveal::Country) => quoted(calling_code(text).map(|code| format!("+{code}"))),
        (Class::Iban, Reveal::Country) => quoted(iban(text).map(|iban| iban[..2].to_owned())),
        (_, Reveal::Country) => quoted(country(value)),
        (Class::Iban, Reveal::Last4) => quoted(iban(text).map(|iban| iban[iban.len() - 4..].to_owned())),
        (_, Reveal::Last4) => quoted(card(text).map(|digits| digits[digits.len() - 4..].to_owned())),
        (_, Reveal::Year) => year(text).map(|year| year.to_string()),
        (_, Reveal::LengthBucket) => {
            let length = text.chars().count().min(LENGTH_MAX);
            Some(if length == 0 { 0 } else { length.next_power_of_two() }.to_string())
        }
    };
    shown.unwrap_or_else(|| "null".into())
}

/// A host name in ASCII behind the last `@`.
fn domain(text: &str) -> Option<&str> {
    let (local, domain) = text.rsplit_once('@')?;
    let plain = domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    // RFC 1035, section 2.3.4, without the root.
    (!local.is_empty() && plain && (1..=253).contains(&domain.len())).then_some(domain)
}

/// The text without what people put between digits.
fn bare(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '/' | '(' | ')' | '\u{a0}')).collect()
}

/// The country code of a number in international form: one digit in zones 1 and 7, two where such a code was given, else three (ITU-T
/// E.164, list of assigned country codes).
fn calling_code(text: &str) -> Option<String> {
    let number = bare(text);
    let digits = number.strip_prefix('+')?;
    // E.164, section 6.1: at most fifteen.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || !(7..=15).contains(&digits.len()) {
        return None;
    }
    let length = match digits.as_bytes() {
        [b'1' | b'7', ..] => 1,
        [b'0', ..] => return None,
        [b'2', b'0' | b'7', ..]
        | [b'3', b'0'..=b'4' | b'6' | b'9', ..]
        | [b'4', b'0' | b'1' | b'3'..=b'9', ..]
        | [b'5', b'1'..=b'8', ..]
        | [b'6', b'0'..=b'6', ..]
        | [b'8', b'1' | b'2' | b'4' | b'6', ..]
        | [b'9', b'0'..=b'5' | b'8', ..] => 2,
        _ => 3,
    };
    Some(digits[..length].to_owned())
}

/// The digits of a card's number (ISO/IEC 7812-1: up to nineteen).
fn card(text: &str) -> Option<String> {
    let digits = bare(text);
    (digits.bytes().all(|byte| byte.is_ascii_digit()) && (12..=19).contains(&digits.len())).then_some(digits)
}

/// An IBAN in its electronic form (ISO 13616-1).
fn iban(text: &str) -> Option<String> {
    let iban = bare(text).to_ascii_uppercase();
    let bytes = iban.as_bytes();
    let formed = (15..=34).contains(&bytes.len())
        && bytes[..2].iter().all(u8::is_ascii_uppercase)
        && bytes[2..4].iter().all(u8::is_ascii_digit)
        && bytes[4..].iter().all(u8::is_ascii_alphanumeric);
    formed.then_some(iban)
}

/// The year of a day in the form of ISO 8601.
fn year(text: &str) -> Option<u32> {
    let day = text.get(..10)?.as_bytes();
    let digits = |range: Range<usize>| day[range].iter().all(u8::is_ascii_digit);
    let formed = digits(0..4) && day[4] == b'-' && digits(5..7) && day[7] == b'-' && digits(8..10);
    let ends = matches!(text.as_bytes().get(10), None | Some(b'T' | b't' | b' '));
    let year = text[..4].parse().ok()?;
    (formed && ends && YEARS.contains(&year)).then_some(year)
}

/// The code of two letters (ISO 3166-1 alpha-2) in an object's member `country`, or at the end of a text, behind a comma or a line's end.
fn country(value: &Value) -> Option<String> {
    struct Member<'a> {
        text: &'a str,
        depth: usize,
        is_next: bool,
        country: Option<String>,
    }
    impl json::Reader for Member<'_> {
        fn value(&mut self, _: usize) -> bool {
            false
        }
        fn whole(&mut self, _: Range<usize>) {}
        fn open(&mut self) {
            self.depth += 1;
            self.is_next = false;
        }
        fn close(&mut self, _end: usize) {
            self.depth -= 1;
        }
        fn key(&mut self, key: Str) {
            self.is_next = self.depth == 1 && &self.text[key.inner] == "country";
        }
        fn string(&mut self, string: Str) {
            if core::mem::take(&mut self.is_next) {
                self.country = Some(self.text[string.inner].to_owned());
            }
        }
    }
    let code = if value.is_text() {
        value
            .text()
            .rsplit([',', '\n'])
            .next()
            .map(|part| part.trim().to_owned())
            .filter(|part| part.len() < value.text().len())
    } else {
        let mut member = Member { text: value.json(), depth: 0, is_next: false, country: None };
        json::read(value.json().as_bytes(), &mut member).ok()?;
        member.country
    };
    code.filter(|code| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_alphabetic()))
        .map(|code| code.to_ascii_uppercase())
}

/// The most that one shown part tells. Unit: bits.
///
/// All but the domain are the logarithm of how many different things [`shown`] can say, `null` included. Domains are as many as are
/// registered: 2^28.5 is 380 million, and Verisign's Domain Name Industry Brief counted 364 million at the end of 2024.
pub fn bits(class: Class, reveal: Reveal) -> f64 {
    let kinds = match (class, reveal) {
        (_, Reveal::Domain) => return 28.5,
        // Codes of one digit, of two, and what begins three.
        (Class::Phone, Reveal::Country) => 2 + 44 + 260,
        (_, Reveal::Country) => 26_u32.pow(2),
        (Class::Iban, Reveal::Last4) => 36_u32.pow(4),
        (_, Reveal::Last4) => 10_u32.pow(4),
        (_, Reveal::Year) => YEARS.end - YEARS.start,
        // Zero, and the powers; there is always a length.
        (_, Reveal::LengthBucket) => LENGTH_MAX.ilog2() + 1,
    };
    f64::from(kinds + 1).log2()
}

/// What a job's workers learn about sensitive values, before it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct LeakBudget(Vec<Leak>);

/// One field's part of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Leak {
    /// Where.
    pub at: Place,
    /// What it is, which workers know.
    pub class: Class,
    /// What is shown besides.
    pub reveal: Option<Reveal>,
    /// Bits that a worker learns of each value, at most.
    pub bits: f64,
    /// Whether workers see which values of a unit are equal. Bits cannot say what that is worth: it depends on who else knows some of them.
    pub joinable: bool,
    /// Whether workers can see that they have the same unit.
    pub surrogate: bool,
}

impl LeakBudget {
    /// What these fields tell.
    pub fn of(fields: &[Sensitive]) -> Self {
        let leak = |Sensitive { at, class, reveal, surrogate, joinable }: &Sensitive| Leak {
            at: at.clone(),
            class: *class,
            reveal: *reveal,
            bits: reveal.map_or(0.0, |reveal| bits(*class, reveal)),
            joinable: *joinable,
            surrogate: *surrogate,
        };
        Self(fields.iter().map(leak).collect())
    }

    /// Each field's part, in the order of the fields.
    pub fn leaks(&self) -> &[Leak] {
        &self.0
    }

    /// Bits of an input in which each field has one value.
    pub fn bits(&self) -> f64 {
        self.0.iter().map(|leak| leak.bits).sum()
    }
}

/// A table for people.
impl fmt::Display for LeakBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            self.0.iter().map(|leak| leak.at.to_string().chars().count()).max().unwrap_or(0).max("together".len());
        writeln!(f, "{:width$}  class    workers see                     bits a value", "field")?;
        for Leak { at, class, reveal, bits, joinable, surrogate } in &self.0 {
            let mut sees = if *surrogate { "a surrogate, the same for all".to_owned() } else { "a token".to_owned() };
            if let Some(reveal) = reveal {
                sees += &format!(", {reveal}");
            }
            if *joinable {
                sees += ", what is equal";
            }
            writeln!(f, "{:width$}  {:7}  {sees:30}  {bits:12.1}", at.to_string(), class.word())?;
        }
        write!(f, "{:width$}  {:7}  {:30}  {:12.1}", "together", "", "", self.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reveal_shows_its_part_and_nothing_where_there_is_none() {
        for (class, reveal, value, expected) in [
            (Class::Email, Reveal::Domain, r#""ann.b@Example.com""#, r#""Example.com""#),
            (Class::Email, Reveal::Domain, r#""\"a@b\"@mail.example""#, r#""mail.example""#),
            (Class::Email, Reveal::Domain, r#""ann""#, "null"),
            (Class::Email, Reveal::Domain, r#""@example.com""#, "null"),
            (Class::Email, Reveal::Domain, r#""a@b, my password is x""#, "null"),
            (Class::Email, Reveal::Domain, r#""a@\",\"admin\":true""#, "null"),
            (Class::Phone, Reveal::Country, r#""+44 (0)20 7946-0123""#, r#""+44""#),
            (Class::Phone, Reveal::Country, r#""+1 212 555 0123""#, r#""+1""#),
            (Class::Phone, Reveal::Country, r#""+353 1 234 5678""#, r#""+353""#),
            (Class::Phone, Reveal::Country, r#""020 7946 0123""#, "null"),
            (Class::Phone, Reveal::Country, r#""+0 7946 0123""#, "null"),
            (Class::Card, Reveal::Last4, r#""4111 1111-1111 1234""#, r#""1234""#),
            (Class::Card, Reveal::Last4, "4111111111111234", r#""1234""#),
            (Class::Card, Reveal::Last4, r#""123456""#, "null"),
            (Class::Iban, Reveal::Last4, r#""gb82 west 1234 5698 7654 32""#, r#""5432""#),
            (Class::Iban, Reveal::Country, r#""gb82 west 1234 5698 7654 32""#, r#""GB""#),
            (Class::Iban, Reveal::Country, r#""my iban is secret""#, "null"),
            (Class::Date, Reveal::Year, r#""1985-04-05""#, "1985"),
            (Class::Date, Reveal::Year, r#""1985-04-05T10:00:00Z""#, "1985"),
            (Class::Date, Reveal::Year, r#""1785-04-05""#, "null"),
            (Class::Date, Reveal::Year, r#""1985""#, "null"),
            (Class::Date, Reveal::Year, r#""05.04.1985""#, "null"),
            (Class::Date, Reveal::Year, r#""1985-04-0é""#, "null"),
            (Class::Address, Reveal::Country, r#""1 High Street, Oxford, gb ""#, r#""GB""#),
            (Class::Address, Reveal::Country, r#""1 High Street\nOxford\nGB""#, r#""GB""#),
            (Class::Address, Reveal::Country, r#""GB""#, "null"),
            (Class::Address, Reveal::Country, r#"{"x": {"country": "FR"}, "country": "de"}"#, r#""DE""#),
            (Class::Address, Reveal::Country, r#"{"country": {"x": "FR"}}"#, "null"),
            (Class::Address, Reveal::Country, r#"{"country": "Germany"}"#, "null"),
            (Class::Text, Reveal::LengthBucket, r#""""#, "0"),
            (Class::Text, Reveal::LengthBucket, r#""éééééééé""#, "8"),
            (Class::Text, Reveal::LengthBucket, r#""ééééééééé""#, "16"),
        ] {
            assert!(class.reveals().contains(&reveal));
            assert_eq!(shown(class, reveal, &Value::of_json(value).expect("JSON")), expected, "{value}");
        }
        let long = Value::of_text(&"a".repeat(1 << 20));
        assert_eq!(shown(Class::Text, Reveal::LengthBucket, &long), "65536");
    }

    /// The bound is true: there are no more codes than it counts.
    #[test]
    fn calling_codes_are_as_many_as_are_counted() {
        let numbers = (0..1000).map(|code| format!("+{code:03}0000000"));
        let codes: std::collections::BTreeSet<_> = numbers.filter_map(|number| calling_code(&number)).collect();
        assert_eq!(codes.len(), 2 + 44 + 260);
    }

    #[test]
    fn the_budget_adds_up() {
        let fields: manyhands_model::SensitiveFields = serde_json::from_str(
            r#"[{"at":"/customer/email","class":"email","reveal":"domain"},
                {"at":"$.orders[*].card","class":"card","reveal":"last4","joinable":true},
                {"at":"/iban","class":"iban","surrogate":true},
                {"at":"/note","class":"text"}]"#,
        )
        .expect("fits");
        let budget = LeakBudget::of(&fields);
        assert!((budget.bits() - (28.5 + 10_001_f64.log2())).abs() < 1e-9);
        let lines = [
            "field             class    workers see                     bits a value",
            "/customer/email   email    a token, domain                         28.5",
            "$.orders[*].card  card     a token, last4, what is equal           13.3",
            "/iban             iban     a surrogate, the same for all            0.0",
            "/note             text     a token                                  0.0",
            "together                                                           41.8",
        ];
        assert_eq!(budget.to_string().lines().collect::<Vec<_>>(), lines);
    }
}
