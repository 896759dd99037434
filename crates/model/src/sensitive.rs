//! Which fields of an input are sensitive, as a job's manifest or a requester says it.
//!
//! A field has a [`Place`], a [`Class`] and what a worker may know of it all the same. [`SensitiveFields`] is a list that was checked.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// What kind of value it is. Workers know this much: a token's fifth character says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// An address for electronic mail.
    Email,
    /// A telephone number.
    Phone,
    /// The number of a payment card.
    Card,
    /// An international bank account number (ISO 13616).
    Iban,
    /// A person's or a company's name.
    Name,
    /// A postal address.
    Address,
    /// A day, or a day and a time.
    Date,
    /// A number.
    Number,
    /// Any text.
    Text,
    /// A password or a key.
    Secret,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 10] = [
        Self::Email,
        Self::Phone,
        Self::Card,
        Self::Iban,
        Self::Name,
        Self::Address,
        Self::Date,
        Self::Number,
        Self::Text,
        Self::Secret,
    ];

    /// Its letter in a token.
    pub const fn letter(self) -> u8 {
        match self {
            Self::Email => b'e',
            Self::Phone => b'p',
            Self::Card => b'c',
            Self::Iban => b'i',
            Self::Name => b'n',
            Self::Address => b'a',
            Self::Date => b'd',
            Self::Number => b'u',
            Self::Text => b't',
            Self::Secret => b's',
        }
    }

    /// The class with this letter.
    pub fn of_letter(letter: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.letter() == letter)
    }

    /// Its word in a manifest.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Card => "card",
            Self::Iban => "iban",
            Self::Name => "name",
            Self::Address => "address",
            Self::Date => "date",
            Self::Number => "number",
            Self::Text => "text",
            Self::Secret => "secret",
        }
    }

    /// What may be shown of it.
    pub const fn reveals(self) -> &'static [Reveal] {
        match self {
            Self::Email => &[Reveal::Domain],
            Self::Phone | Self::Address => &[Reveal::Country],
            Self::Card => &[Reveal::Last4],
            Self::Iban => &[Reveal::Last4, Reveal::Country],
            Self::Date => &[Reveal::Year],
            Self::Text => &[Reveal::LengthBucket],
            Self::Name | Self::Number | Self::Secret => &[],
        }
    }

    /// Whether there are surrogates of it: values that pass for one and are nobody's.
    pub const fn has_surrogates(self) -> bool {
        !matches!(self, Self::Text | Self::Secret)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A part of a value that workers may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reveal {
    /// What stands behind the `@`.
    Domain,
    /// A phone's calling code, an IBAN's or an address's country.
    Country,
    /// The last four characters of the number.
    Last4,
    /// The year.
    Year,
    /// The length in characters, rounded up to a power of two.
    LengthBucket,
}

impl Reveal {
    /// Its word in a manifest, and its key beside a token.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::Country => "country",
            Self::Last4 => "last4",
            Self::Year => "year",
            Self::LengthBucket => "length_bucket",
        }
    }
}

impl fmt::Display for Reveal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One sensitive field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sensitive {
    /// Where its values stand; whatever stands there is taken whole.
    pub at: Place,
    /// What they are.
    pub class: Class,
    /// What workers see of a value beside its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reveal: Option<Reveal>,
    /// Whether workers see a value that passes for one of its class, instead of a token. It is the same for all workers of a
    /// unit, so colluders can find with it that they share one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub surrogate: bool,
    /// Whether equal values of a run have equal tokens, which tells whoever sees two that their values are equal.
    #[serde(default, skip_serializing_if = "is_false")]
    pub joinable: bool,
}

impl Sensitive {
    /// Whether workers see anything of a value but a token that is like no other.
    pub const fn is_shown(&self) -> bool {
        self.reveal.is_some() || self.surrogate || self.joinable
    }

    fn shows_as(&self, other: &Self) -> bool {
        (self.reveal, self.surrogate, self.joinable) == (other.reveal, other.surrogate, other.joinable)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Sensitive fields that fit together: at most [`SensitiveFields::MAX`], each place once, and nothing asked of a class that it cannot do.
///
/// Where places overlap, the first field of the list counts, and an outer value before what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Sensitive>", into = "Vec<Sensitive>")]
pub struct SensitiveFields(Vec<Sensitive>);

impl SensitiveFields {
    /// The most that one list has.
    pub const MAX: usize = 256;
    /// Fields of a list whose places descend (`..`), at most. Each is looked for everywhere, so they cost the most.
    pub const DESCENDING_MAX: usize = 16;

    /// All that counts in a run: these, which its requester declares, and those of its job's manifest. Of a value that both name nothing is
    /// shown that either of them hides: first come the requester's fields that show nothing, then the manifest's, then the requester's others.
    ///
    /// # Errors
    /// [`BadSensitive::Manifest`] when one stands in the manifest as something else, [`BadSensitive::TooMany`] and
    /// [`BadSensitive::TooManyDescend`] when they are too many together.
    pub fn before(self, manifest: &Self) -> Result<Self, BadSensitive> {
        let there = |fields: &[Sensitive], field: &Sensitive| {
            fields.iter().find(|known| known.at.steps == field.at.steps).cloned()
        };
        let misfit =
            |own: &Sensitive, known: &Sensitive| known.class != own.class || (own.is_shown() && !own.shows_as(known));
        for own in &self.0 {
            if let Some(known) = there(&manifest.0, own).filter(|known| misfit(own, known)) {
                return Err(BadSensitive::Manifest { at: own.at.clone(), class: known.class });
            }
        }
        let others = |of: Vec<Sensitive>, known: &[Sensitive]| -> Vec<Sensitive> {
            of.into_iter().filter(|field| there(known, field).is_none()).collect()
        };
        let (shown, mut fields): (Vec<_>, Vec<_>) = self.0.into_iter().partition(Sensitive::is_shown);
        let manifests = others(manifest.0.clone(), &fields);
        fields.extend(manifests);
        fields.extend(others(shown, &manifest.0));
        Self::try_from(fields)
    }
}

impl Deref for SensitiveFields {
    type Target = [Sensitive];

    fn deref(&self) -> &[Sensitive] {
        &self.0
    }
}

impl From<SensitiveFields> for Vec<Sensitive> {
    fn from(fields: SensitiveFields) -> Self {
        fields.0
    }
}

/// Why sensitive fields cannot be declared so. Whoever wrote the list is to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSensitive {
    /// A longer list than anybody checks.
    #[error("{0} sensitive fields, at most {max}; name what they have in common with a wildcard", max = SensitiveFields::MAX)]
    TooMany(usize),
    /// Too many that are looked for everywhere.
    #[error("{0} places descend with `..`, at most {max}; say where they are", max = SensitiveFields::DESCENDING_MAX)]
    TooManyDescend(usize),
    /// Which of two would count?
    #[error("`{0}` is declared twice; keep one")]
    Twice(Place),
    /// A run may declare more than its job's manifest, and not something else.
    #[error(
        "`{at}` is `{class}` in the job's manifest; a run may hide what is shown of it, and not change anything else"
    )]
    Manifest {
        /// Of this field.
        at: Place,
        /// What the manifest says.
        class: Class,
    },
    /// This class has no such part.
    #[error("`{at}`: `{class}` has no `{reveal}` to reveal; {}", known(*class))]
    Reveal {
        /// Of this field.
        at: Place,
        /// Of this class.
        class: Class,
        /// Which was asked for.
        reveal: Reveal,
    },
    /// Nothing passes for one.
    #[error("`{at}`: there are no surrogates of `{class}`; leave `surrogate` out, a token is as good")]
    Surrogate {
        /// Of this field.
        at: Place,
        /// Of this class.
        class: Class,
    },
    /// A surrogate is alone.
    #[error(
        "`{0}`: a surrogate shows nothing of its value and joins nothing; leave out `surrogate`, or `reveal` and `joinable`"
    )]
    SurrogateAnd(Place),
}

fn known(class: Class) -> String {
    let words: Vec<String> = class.reveals().iter().map(|reveal| format!("`{reveal}`")).collect();
    if words.is_empty() { "leave `reveal` out".into() } else { format!("it has {}", words.join(" and ")) }
}

impl TryFrom<Vec<Sensitive>> for SensitiveFields {
    type Error = BadSensitive;

    fn try_from(fields: Vec<Sensitive>) -> Result<Self, BadSensitive> {
        if fields.len() > Self::MAX {
            return Err(BadSensitive::TooMany(fields.len()));
        }
        let descending = fields.iter().filter(|field| field.at.descends()).count();
        if descending > Self::DESCENDING_MAX {
            return Err(BadSensitive::TooManyDescend(descending));
        }
        for (number, Sensitive { at, class, reveal, surrogate, joinable }) in fields.iter().enumerate() {
            if fields[..number].iter().any(|known| known.at.steps == at.steps) {
                return Err(BadSensitive::Twice(at.clone()));
            }
            if let Some(reveal) = *reveal
                && !class.reveals().contains(&reveal)
            {
                return Err(BadSensitive::Reveal { at: at.clone(), class: *class, reveal });
            }
            if *surrogate && !class.has_surrogates() {
                return Err(BadSensitive::Surrogate { at: at.clone(), class: *class });
            }
            if *surrogate && (reveal.is_some() || *joinable) {
                return Err(BadSensitive::SurrogateAnd(at.clone()));
            }
        }
        Ok(Self(fields))
    }
}

/// Where in a JSON text: a JSON Pointer (RFC 6901), or a JSONPath (RFC 9535) of names, indices, wildcards and descendants.
///
/// Filters and slices are refused: where a value stands must not depend on what stands elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Place {
    text: String,
    steps: Vec<Step>,
}

/// One step of a place, from a value to values in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// Whether it may be taken at any depth below.
    pub descends: bool,
    /// To which.
    pub to: To,
}

/// Where a step leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum To {
    /// The member of this name.
    Name(String),
    /// The element of this index, from 0.
    Index(u64),
    /// What a JSON Pointer's token refers to: the member of this name, or the element if the token is an index.
    Token(String),
    /// Every member and every element.
    Any,
}

/// Longest place, in bytes.
const PLACE_BYTES_MAX: usize = 512;
/// Most steps of a place. A text that a job reads is hardly deeper.
const STEPS_MAX: usize = 32;
/// The largest index of RFC 9535, section 2.1.
const INDEX_MAX: u64 = (1 << 53) - 1;

/// Why a text is not a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a place: at character {at}, {reason}")]
pub struct BadPlace {
    text: String,
    at: usize,
    reason: &'static str,
}

impl Place {
    /// The steps from the whole text to the values.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn descends(&self) -> bool {
        self.steps.iter().any(|step| step.descends)
    }
}

impl FromStr for Place {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Place {
    type Error = BadPlace;

    fn try_from(text: String) -> Result<Self, BadPlace> {
        let mut reader = Reader { text: &text, at: 0 };
        let steps = if text.len() > PLACE_BYTES_MAX {
            Err("it is longer than 512 bytes")
        } else if text.is_empty() || text.starts_with('/') {
            reader.pointer()
        } else if text.starts_with('$') {
            reader.path()
        } else {
            Err("a JSON Pointer begins with `/`, a JSONPath with `$`")
        };
        match steps {
            Ok(steps) if steps.len() <= STEPS_MAX => Ok(Self { text, steps }),
            failed => {
                let reason = failed.err().unwrap_or("it has more than 32 steps");
                let at = text[..reader.at].chars().count() + 1;
                Err(BadPlace { text: text.chars().take(80).collect(), at, reason })
            }
        }
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.text
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Reads places from the left to the right.
struct Reader<'a> {
    text: &'a str,
    /// The byte that comes next.
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, expected: char) -> bool {
        let there = self.peek() == Some(expected);
        if there {
            self.at += expected.len_utf8();
        }
        there
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Blank space (RFC 9535, section 2.1.1).
    fn blank(&mut self) {
        while self.peek().is_some_and(|c| matches!(c, ' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    /// RFC 6901, section 3.
    fn pointer(&mut self) -> Result<Vec<Step>, &'static str> {
        let mut steps = Vec::new();
        while self.take('/') {
            let mut token = String::new();
            while self.peek().is_some_and(|c| c != '/') {
                if self.take('~') {
                    token.push(if self.take('0') {
                        '~'
                    } else if self.take('1') {
                        '/'
                    } else {
                        return Err("`~` stands only in `~0` for `~` and in `~1` for `/`");
                    });
                } else {
                    token.extend(self.next());
                }
            }
            steps.push(Step { descends: false, to: To::Token(token) });
        }
        Ok(steps)
    }

    /// RFC 9535, section 2.
    fn path(&mut self) -> Result<Vec<Step>, &'static str> {
        self.take('$');
        let mut steps = Vec::new();
        while self.at < self.text.len() {
            self.blank();
            let dot = self.take('.');
            let descends = dot && self.take('.');
            let to = if (descends || !dot) && self.take('[') {
                self.bracket()?
            } else if !dot {
                return Err("`.`, `..` or `[` comes next");
            } else if self.take('*') {
                To::Any
            } else {
                To::Name(self.shorthand()?)
            };
            steps.push(Step { descends, to });
        }
        Ok(steps)
    }

    /// A name that needs no quotes.
    fn shorthand(&mut self) -> Result<String, &'static str> {
        let begin = self.at;
        while self.peek().is_some_and(|c| {
            c.is_ascii_alphabetic() || c == '_' || !c.is_ascii() || (self.at > begin && c.is_ascii_digit())
        }) {
            self.next();
        }
        let name = &self.text[begin..self.at];
        if name.is_empty() { Err("a name or `*` comes next; other names stand in `['…']`") } else { Ok(name.into()) }
    }

    fn bracket(&mut self) -> Result<To, &'static str> {
        self.blank();
        let to = match self.peek() {
            Some('*') => {
                self.at += 1;
                To::Any
            }
            Some(quote @ ('\'' | '"')) => To::Name(self.quoted(quote)?),
            Some('0'..='9') => To::Index(self.index()?),
            Some('?') => {
                return Err("filters are not taken: where a value stands must not depend on others; use `[*]`");
            }
            Some('-') => return Err("an index counts from the beginning; use `[*]`"),
            Some(':') => return Err(SLICE),
            _ => return Err("an index, a name in quotes or `*` comes next"),
        };
        self.blank();
        match self.peek() {
            Some(']') => {
                self.at += 1;
                Ok(to)
            }
            Some(',') => Err("one selector stands in brackets; declare another field for each"),
            Some(':') => Err(SLICE),
            _ => Err("`]` comes next"),
        }
    }

    fn index(&mut self) -> Result<u64, &'static str> {
        let begin = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        let digits = &self.text[begin..self.at];
        match digits.parse() {
            Ok(index) if index <= INDEX_MAX && (digits == "0" || !digits.starts_with('0')) => Ok(index),
            _ => Err("an index is at most 2^53 - 1 and has no zeros before it"),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, &'static str> {
        const OPEN: &str = "the quoted name does not end";
        self.take(quote);
        let mut name = String::new();
        loop {
            match self.next().ok_or(OPEN)? {
                end if end == quote => return Ok(name),
                '\\' => name.push(match self.next().ok_or(OPEN)? {
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    plain @ ('/' | '\\') => plain,
                    'u' => self.unicode()?,
                    other if other == quote => other,
                    _ => return Err("there is no such escape"),
                }),
                control if control < ' ' => return Err("a control character is written as an escape"),
                plain => name.push(plain),
            }
        }
    }

    fn unicode(&mut self) -> Result<char, &'static str> {
        let mut units = [self.unit()?, 0];
        if (0xd800..0xdc00).contains(&units[0]) && self.take('\\') && self.take('u') {
            units[1] = self.unit()?;
        }
        let used = if units[1] == 0 { &units[..1] } else { &units[..] };
        match char::decode_utf16(used.iter().copied()).next() {
            Some(Ok(c)) => Ok(c),
            _ => Err("half of a surrogate pair is no character"),
        }
    }

    fn unit(&mut self) -> Result<u16, &'static str> {
        let digits = self.text.get(self.at..self.at + 4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()).ok_or("`\\u` has four digits")?;
        self.at += 4;
        Ok(unit)
    }
}

const SLICE: &str = "slices are not taken; use `[*]`";

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    fn fields(json: &str) -> Result<SensitiveFields, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn steps(place: &str) -> String {
        let place: Place = place.parse().unwrap_or_else(|error| panic!("{error}"));
        let step = |Step { descends, to }: &Step| format!("{}{to:?}", if *descends { ".." } else { "" });
        place.steps().iter().map(step).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_list_is_read_and_written_as_it_was() {
        let json = r#"[{"at":"/customer/email","class":"email","reveal":"domain"},{"at":"$.orders[*].card","class":"card","reveal":"last4","joinable":true},{"at":"/iban","class":"iban","surrogate":true}]"#;
        assert_eq!(serde_json::to_string(&fields(json).expect("fits")).expect("writes"), json);
    }

    #[test]
    fn words_are_those_of_the_json() {
        for class in Class::ALL {
            assert_eq!(serde_json::to_string(&class).expect("writes"), format!("\"{class}\""));
            assert_eq!(Class::of_letter(class.letter()), Some(class));
            for reveal in class.reveals() {
                assert_eq!(serde_json::to_string(&reveal).expect("writes"), format!("\"{reveal}\""));
            }
        }
        assert_eq!(Class::of_letter(b'x'), None);
    }

    #[test]
    fn pointers_and_paths_become_steps() {
        for (place, expected) in [
            ("", ""),
            ("$", ""),
            ("/", r#"Token("")"#),
            ("/a~1b/~01/0", r#"Token("a/b") Token("~1") Token("0")"#),
            ("$.a[*].b[3]", r#"Name("a") Any Name("b") Index(3)"#),
            ("$..a.*..*..[0]", r#"..Name("a") Any ..Any ..Index(0)"#),
            (r#"$['a.b']["c'\"\u00e9\ud83d\ude00"] [ 0 ].é_9"#, r#"Name("a.b") Name("c'\"é😀") Index(0) Name("é_9")"#),
        ] {
            assert_eq!(steps(place), expected, "{place}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused_with_where_and_why() {
        for (place, reason) in [
            ("a", "at character 1, a JSON Pointer begins"),
            ("/a~2", "at character 4, `~` stands only"),
            ("$.", "at character 3, a name or `*`"),
            ("$.é!", "at character 4, `.`, `..` or `[` comes next"),
            ("$a", "comes next"),
            ("$.9a", "a name or `*`"),
            ("$[", "an index, a name"),
            ("$[0", "`]` comes next"),
            ("$[01]", "no zeros before it"),
            ("$[9007199254740992]", "at most 2^53 - 1"),
            ("$[-1]", "counts from the beginning"),
            ("$[?@.a]", "filters are not taken"),
            ("$[1:2]", "slices are not taken"),
            ("$[:2]", "slices are not taken"),
            ("$[0,1]", "declare another field"),
            ("$['a", "does not end"),
            (r"$['\x']", "no such escape"),
            (r#"$['\"']"#, "no such escape"),
            (r"$['\ud800']", "half of a surrogate pair"),
            (r"$['\ud800\u0041']", "half of a surrogate pair"),
            (r"$['\u+123']", "four digits"),
            (r"$['\u12é']", "four digits"),
            ("$['\n']", "written as an escape"),
            ("$.a ", "comes next"),
            (&"/a".repeat(33), "more than 32 steps"),
            (&"/".repeat(513), "longer than 512 bytes"),
        ] {
            let error = place.parse::<Place>().expect_err(place).to_string();
            assert!(error.contains(reason), "{place}: {error}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused_with_the_cure() {
        for (json, reason) in [
            (r#"[{"at":"/a","class":"email"},{"at":"/a","class":"text"}]"#, "`/a` is declared twice"),
            (r#"[{"at":"$.a","class":"email"},{"at":"$['a']","class":"email"}]"#, "`$['a']` is declared twice"),
            (r#"[{"at":"/a","class":"email","reveal":"last4"}]"#, "`email` has no `last4` to reveal; it has `domain`"),
            (r#"[{"at":"/a","class":"secret","reveal":"last4"}]"#, "leave `reveal` out"),
            (r#"[{"at":"/a","class":"text","surrogate":true}]"#, "no surrogates of `text`"),
            (r#"[{"at":"/a","class":"card","surrogate":true,"reveal":"last4"}]"#, "shows nothing of its value"),
            (r#"[{"at":"/a","class":"card","surrogate":true,"joinable":true}]"#, "joins nothing"),
            (r#"[{"at":"/a","class":"card","joinabel":true}]"#, "unknown field `joinabel`"),
            (r#"[{"at":"/a","class":"cart"}]"#, "unknown variant `cart`"),
            (r#"[{"at":"a","class":"card"}]"#, "`a` is not a place"),
        ] {
            let error = fields(json).expect_err(json);
            assert!(error.contains(reason), "{json}: {error}");
        }
    }

    #[test]
    fn a_list_has_an_end() {
        let list = |count: usize, place: &dyn Fn(usize) -> String| {
            let field = |n| format!(r#"{{"at":"{}","class":"text"}}"#, place(n));
            fields(&format!("[{}]", (0..count).map(field).collect::<Vec<_>>().join(",")))
        };
        assert_eq!(list(256, &|n| format!("/{n}")).expect("fits").len(), 256);
        assert!(list(257, &|n| format!("/{n}")).expect_err("too many").contains("257 sensitive fields, at most 256"));
        assert!(list(17, &|n| format!("$..a{n}")).expect_err("too many").contains("17 places descend"));
    }

    #[test]
    fn the_requesters_word_comes_first() {
        let manifest =
            fields(r#"[{"at":"/a","class":"email","reveal":"domain"},{"at":"/b","class":"name"}]"#).expect("fits");
        let own = fields(r#"[{"at":"/c","class":"text"},{"at":"/a","class":"email"}]"#).expect("fits");
        let both = own.before(&manifest).expect("fits");
        let shown: Vec<_> = both.iter().map(|field| (field.at.to_string(), field.reveal)).collect();
        assert_eq!(shown, [("/c".into(), None), ("/a".into(), None), ("/b".into(), None)]);
    }

    #[test]
    fn a_run_shows_nothing_that_its_manifest_hides() {
        let manifest = r#"[{"at":"/a","class":"email"},{"at":"/b","class":"iban","joinable":true},{"at":"/c","class":"card","surrogate":true}]"#;
        let manifest = fields(manifest).expect("fits");
        let both = |own: &str| {
            let both = fields(own).expect("fits").before(&manifest).map_err(|error| error.to_string())?;
            Ok::<_, String>(both.iter().map(|field| format!("{}{}", field.at, field.is_shown())).collect::<Vec<_>>())
        };
        // Behind the manifest's, which count where `..` finds the same value.
        let own = r#"[{"at":"$..a","class":"email","reveal":"domain"},{"at":"$..b","class":"iban"},{"at":"/c","class":"card"}]"#;
        assert_eq!(both(own).expect("fits"), ["$..bfalse", "/cfalse", "/afalse", "/btrue", "$..atrue"]);
        // The same once more is no other word.
        let same = r#"[{"at":"$.a","class":"email"},{"at":"/b","class":"iban","joinable":true}]"#;
        assert_eq!(both(same).expect("fits").len(), 4, "another way to write a place is another place");
        assert_eq!(both(r#"[{"at":"/b","class":"iban","joinable":true}]"#).expect("fits"), both("[]").expect("fits"));
        for (own, place) in [
            (r#"[{"at":"/a","class":"text"}]"#, "`/a` is `email` in the job's manifest"),
            (r#"[{"at":"/a","class":"email","reveal":"domain"}]"#, "`/a` is `email`"),
            (r#"[{"at":"/a","class":"email","joinable":true}]"#, "`/a` is `email`"),
            (r#"[{"at":"/b","class":"iban","surrogate":true}]"#, "`/b` is `iban`"),
            (r#"[{"at":"/c","class":"card","reveal":"last4"}]"#, "`/c` is `card`"),
        ] {
            assert!(both(own).expect_err(own).starts_with(place), "{own}");
        }
        let many = (0..254).map(|number| format!(r#"{{"at":"/x{number}","class":"text"}}"#)).collect::<Vec<_>>();
        assert!(both(&format!("[{}]", many.join(","))).expect_err("too many").contains("257 sensitive fields"));
    }
}
