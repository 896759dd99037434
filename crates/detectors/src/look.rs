//! Reads a text and tells what looks sensitive in it.

use core::fmt;
use core::ops::Range;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use manyhands_model::{Class, Sensitive};
use manyhands_placeholder::{NotJson, Open, Places, Str, in_the_open};

use crate::name::Named;
use crate::text::{Seen, by_itself, could_be_card, is_name, of_number, of_text};
use crate::way::{Step, place, pointer, read};

/// The most places that are told about.
pub const FINDINGS_MAX: usize = 1_000;

/// What looks sensitive: values at one place, where an array's elements are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where the first of them stands: a JSON Pointer (RFC 6901), with `*` where the name of a member is itself sensitive.
    pub at: String,
    /// The line of the first, from 1.
    pub line: usize,
    /// The character in that line, from 1.
    pub column: usize,
    /// What a manifest declares for all of them: a JSON Pointer, or a JSONPath (RFC 9535).
    pub declare: String,
    /// What they seem to be.
    pub class: Class,
    /// Why.
    pub why: Why,
    /// How many there are.
    pub count: usize,
}

/// Why something looks sensitive, in words that hold nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A value is it.
    Value(&'static str),
    /// The name of a member is it. No manifest can declare names, only the whole object, which is what [`Finding::at`] and `declare` say.
    Key(&'static str),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(what) => f.write_str(what),
            Self::Key(what) => write!(f, "a member whose name is {what}"),
        }
    }
}

/// Looks at all values of a JSON text but those at these places, and at the names of members.
///
/// Findings come in the order in which the first of each stands there, at most [`FINDINGS_MAX`].
///
/// # Errors
/// [`NotJson`] where the text is none.
pub fn look(text: &[u8], declared: &[Sensitive]) -> Result<Vec<Finding>, NotJson> {
    let places = Places::new(declared);
    // The reader says where it is no UTF-8.
    let shown = core::str::from_utf8(text).unwrap_or_default();
    let walk = Walk {
        text: shown,
        way: Vec::new(),
        frame: Frame::default(),
        outer: Vec::new(),
        names: BTreeMap::new(),
        found: BTreeMap::new(),
        bare: BTreeMap::new(),
    };
    Ok(in_the_open(text, &places, walk)?.findings())
}

/// What was found at one place: where it stands first, its way, and how often.
struct Hits {
    at: usize,
    way: Vec<Step>,
    seen: Seen,
    count: usize,
}

/// An object or array that is open, or the whole text.
#[derive(Default)]
struct Frame {
    /// What its values are, by the name under which it or the current member stands.
    named: Named,
    /// Elements so far.
    elements: u64,
    /// Where a member `name` has a text, and under which way.
    name: Option<(usize, Vec<Step>)>,
    /// Whether other members are a person's.
    is_person: bool,
}

struct Walk<'a> {
    text: &'a str,
    way: Vec<Step>,
    /// The innermost that is open.
    frame: Frame,
    outer: Vec<Frame>,
    /// What names say that were met before.
    names: BTreeMap<&'a str, (Named, Option<Seen>)>,
    found: BTreeMap<(String, Class, bool), Hits>,
    /// By place, how many values could be cards by their length.
    bare: BTreeMap<String, usize>,
}

impl<'a> Walk<'a> {
    /// Puts what was found with what was found at this place before.
    fn found(&mut self, at: usize, way: Vec<Step>, seen: Seen, is_key: bool) {
        let full = self.found.len() >= FINDINGS_MAX;
        match self.found.entry((place(self.text, &way), seen.class, is_key)) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.count += 1;
                known.seen.may_be_chance &= seen.may_be_chance;
            }
            Entry::Vacant(_) if full => {}
            Entry::Vacant(new) => {
                new.insert(Hits { at, way, seen, count: 1 });
            }
        }
    }

    fn value(&mut self, at: usize, seen: Seen) {
        self.is_a_persons(seen.class);
        self.found(at, self.way.clone(), seen, false);
    }

    /// Who has one of these is somebody.
    fn is_a_persons(&mut self, class: Class) {
        let is_person = match class {
            Class::Email | Class::Phone | Class::Card | Class::Iban | Class::Name | Class::Address => true,
            Class::Date | Class::Number | Class::Text | Class::Secret => false,
        };
        self.frame.is_person |= is_person;
    }

    fn count_bare(&mut self, digits: &str) {
        if could_be_card(digits) {
            *self.bare.entry(place(self.text, &self.way)).or_default() += 1;
        }
    }

    fn text(&mut self, at: usize, text: &str) {
        let named = self.frame.named;
        self.count_bare(text);
        if let Some(seen) = of_text(text, named) {
            self.value(at, seen);
        } else if named == Named::Name && is_name(text) && !text.starts_with(char::is_lowercase) {
            self.frame.name.get_or_insert_with(|| (at, self.way.clone()));
        }
    }

    fn key(&mut self, key: &Str) {
        let inner: &'a str = &self.text[key.inner.clone()];
        let (named, seen) = match self.names.get(inner) {
            Some(known) => *known,
            None => {
                let name = read(self.text, key);
                let known = (Named::of(&name), by_itself(&name).filter(|seen| !seen.may_be_chance));
                self.names.insert(inner, known);
                known
            }
        };
        self.frame.named = named;
        self.way.pop();
        if let Some(seen) = seen {
            self.found(key.inner.start - 1, self.way.clone(), seen, true);
        }
        self.way.push(match seen {
            Some(_) => Step::Hidden,
            None => Step::Name(key.clone()),
        });
    }

    fn findings(self) -> Vec<Finding> {
        let Self { text, found, bare, .. } = self;
        let mut all: Vec<_> = found.into_iter().collect();
        // Of numbers that are no cards, one in ten has the right check digit: so most at one place have to have it.
        all.retain(|((declare, ..), Hits { seen, count, .. })| {
            !seen.may_be_chance || count * 2 > bare.get(declare).copied().unwrap_or_default()
        });
        all.sort_by(|(one, a), (other, b)| (a.at, one).cmp(&(b.at, other)));
        let mut lines = Lines { text: text.as_bytes(), at: 0, line: 1 };
        let finding = |((declare, class, is_key), Hits { at, way, seen, count })| {
            let (line, column) = lines.place(at);
            let why = if is_key { Why::Key(seen.what) } else { Why::Value(seen.what) };
            Finding { at: pointer(text, &way), line, column, declare, class, why, count }
        };
        all.into_iter().map(finding).collect()
    }
}

impl Open for Walk<'_> {
    fn string(&mut self, string: &Str, is_key: bool) {
        if is_key {
            return self.key(string);
        }
        let at = string.inner.start - 1;
        if string.escaped {
            let text = read(self.text, string);
            self.text(at, &text);
        } else {
            let text = self.text;
            self.text(at, &text[string.inner.clone()]);
        }
    }

    fn number(&mut self, number: Range<usize>) {
        let digits = &self.text[number.clone()];
        self.count_bare(digits);
        if let Some(seen) = of_number(digits, self.frame.named) {
            self.value(number.start, seen);
        }
    }

    fn taken(&mut self, class: Class) {
        self.is_a_persons(class);
    }

    fn begin(&mut self) {
        // What stands in a list has the list's name; members have their own, and the first says it before its value.
        let inner = Frame { named: self.frame.named, ..Frame::default() };
        self.outer.push(core::mem::replace(&mut self.frame, inner));
        self.way.push(Step::Hidden);
    }

    fn end(&mut self) {
        self.way.pop();
        let ended = core::mem::replace(&mut self.frame, self.outer.pop().unwrap_or_default());
        if let Some((at, way)) = ended.name.filter(|_| ended.is_person) {
            let what = "a name beside what is a person's";
            self.found(at, way, Seen { class: Class::Name, what, may_be_chance: false }, false);
        }
    }

    fn element(&mut self) {
        self.way.pop();
        self.way.push(Step::Element(self.frame.elements));
        self.frame.elements += 1;
    }
}

/// Places of bytes for people, in ascending order.
struct Lines<'a> {
    text: &'a [u8],
    /// Where the line begins.
    at: usize,
    line: usize,
}

impl Lines<'_> {
    fn place(&mut self, at: usize) -> (usize, usize) {
        let (line, column) = NotJson::place(&self.text[self.at..], at - self.at);
        self.line += line - 1;
        if line > 1 {
            self.at = self.text[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        }
        (self.line, column)
    }
}

#[cfg(test)]
mod tests {
    use manyhands_model::SensitiveFields;
    use proptest::prelude::*;

    use super::*;

    fn found(declared: &str, text: &str) -> String {
        let declared: SensitiveFields = serde_json::from_str(declared).expect("fits");
        let shown = |finding: Finding| {
            let Finding { at, line, column, declare, class, count, why } = finding;
            let key = if matches!(why, Why::Key(_)) { " key" } else { "" };
            format!("{line}:{column} {at} {declare} {class}{key} x{count}")
        };
        look(text.as_bytes(), &declared).expect("JSON").into_iter().map(shown).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn findings_say_where_and_what_to_declare() {
        for (declared, text, expected) in [
            ("[]", r#"{"id": 7, "mail": "ann@example.com"}"#, "1:19 /mail /mail email x1"),
            (r#"[{"at":"/mail","class":"email"}]"#, r#"{"id": 7, "mail": "ann@example.com"}"#, ""),
            ("[]", "[\n [\"ann@example.com\"],\n [\"bob@example.com\", 3]]", "2:3 /0/0 $[*][*] email x2"),
            (
                "[]",
                "{\"é\": [{\"a b\": \"ann@example.com\"}],\n\"x/y\": {\"phone\": 4155550123}}",
                "1:16 /é/0/a b $.é[*]['a b'] email x1\n2:18 /x~1y/phone /x~1y/phone phone x1",
            ),
            ("[]", r#"{"it's": ["ann@example.com"]}"#, r"1:11 /it's/0 $['it\'s'][*] email x1"),
            ("[]", r#""ann@example.com""#, "1:1   email x1"),
            ("[]", r#"{"m\u0061il": "ann\u0040example.com"}"#, "1:15 /mail /mail email x1"),
            ("[]", r#"{"phones": ["030 901820", "x"], "b": ["030 901820"]}"#, "1:13 /phones/0 $.phones[*] phone x1"),
            (r#"[{"at":"$..*","class":"text"}]"#, r#"{"a": ["ann@example.com"]}"#, ""),
        ] {
            assert_eq!(found(declared, text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_told_to_declare_is_a_place_and_declares_it() {
        let text =
            r#"{"a\"]b": [{"it's": "ann@example.com", "": ["bob@example.com"], "c\\\u0001~/": "eve@example.com"}]}"#;
        let findings = look(text.as_bytes(), &[]).expect("JSON");
        assert_eq!(findings.len(), 3);
        let declared: Vec<Sensitive> = findings
            .iter()
            .map(|finding| Sensitive {
                at: finding.declare.parse().expect("a place"),
                class: finding.class,
                reveal: None,
                surrogate: false,
                joinable: false,
            })
            .collect();
        assert_eq!(look(text.as_bytes(), &declared), Ok(vec![]));
        assert_eq!(look(text.as_bytes(), &declared[1..]).expect("JSON").len(), 1);
    }

    #[test]
    fn a_name_is_a_persons_beside_what_only_people_have() {
        assert_eq!(found("[]", r#"{"name": "A page", "text": "words"}"#), "");
        assert_eq!(found("[]", r#"{"name": "glob", "phone": "030 901820"}"#), "1:27 /phone /phone phone x1");
        let person = r#"[{"name": "Ann Lee", "email": "ann@example.com"}, {"name": "a page"}]"#;
        assert_eq!(found("[]", person), "1:11 /0/name $[*].name name x1\n1:31 /0/email $[*].email email x1");
        // Also when what is beside it is declared already, whichever comes first.
        let declared = r#"[{"at":"$[*].email","class":"email"}]"#;
        assert_eq!(found(declared, person), "1:11 /0/name $[*].name name x1");
        assert_eq!(
            found(declared, r#"[{"email": "ann@example.com", "name": "Ann"}]"#),
            "1:39 /0/name $[*].name name x1"
        );
        assert_eq!(
            found("[]", r#"{"name": "Ann", "other": {"email": "ann@example.com"}}"#),
            "1:36 /other/email /other/email email x1"
        );
    }

    #[test]
    fn a_member_whose_name_is_sensitive_is_not_named() {
        let told = found("[]", r#"{"ann@example.com": {"phone": "030 901820"}, "bob@example.com": {}}"#);
        assert_eq!(told, "1:2   email key x2\n1:31 /*/phone $.*.phone phone x1");
    }

    #[test]
    fn numbers_are_cards_if_most_at_their_place_are() {
        // Every tenth number passes the check.
        let numbers = |step: u64| {
            let numbers: Vec<String> = (0..100).map(|n| (4_000_000_000_000_000_u64 + n * step).to_string()).collect();
            format!("[{}]", numbers.join(","))
        };
        assert_eq!(found("[]", &numbers(1)), "");
        assert_eq!(found("[]", &numbers(7)), "");
        let cards =
            r#"{"orders": [{"paid": 4111111111111111}, {"paid": 5555555555554444}, {"paid": 4111111111111112}]}"#;
        assert_eq!(found("[]", cards), "1:22 /orders/0/paid $.orders[*].paid card x2");
    }

    #[test]
    fn there_is_a_bound() {
        let members: Vec<String> = (0..2 * FINDINGS_MAX).map(|n| format!("\"k{n}\":\"ann@example.com\"")).collect();
        let findings = look(format!("{{{}}}", members.join(",")).as_bytes(), &[]).expect("JSON");
        assert_eq!(findings.len(), FINDINGS_MAX);
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        let error = look(b"{\"a\":\n nul}", &[]).expect_err("no JSON").to_string();
        assert_eq!(error, "not JSON: line 2, column 2: a value comes next");
        assert!(look(b"\"\xff\"", &[]).is_err());
    }

    /// Words that pass for nothing, and values that are canaries.
    fn json() -> impl Strategy<Value = serde_json::Value> {
        let key = prop_oneof!["[a-z_]{0,6}", Just("phone".to_owned()), Just("name".to_owned()), ".{0,4}"];
        let leaf = prop_oneof![
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,20}".prop_map(serde_json::Value::from),
            Just("canary.ann@example.com".into()),
            Just("GB82 WEST 1234 5698 7654 32".into()),
            Just("4111 1111 1111 1111".into()),
        ];
        leaf.prop_recursive(5, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::vec((key.clone(), inner), 0..5)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn findings_lead_to_values_show_none_and_are_gone_once_declared(value in json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let text = text.expect("writes");
            let findings = look(text.as_bytes(), &[]).expect("JSON");
            let canaries = text.matches("canary.ann").count();
            let emails: usize = findings.iter().filter(|found| found.class == Class::Email).map(|found| found.count).sum();
            prop_assert_eq!(emails, canaries);
            let mut declared: Vec<Sensitive> = Vec::new();
            for found in &findings {
                let told = format!("{found:?} {}", found.why);
                prop_assert!(!told.contains("canary"), "{}", told);
                if let Why::Value(_) = found.why {
                    prop_assert!(value.pointer(&found.at).is_some(), "{:?}", found);
                }
                let line = text.lines().nth(found.line - 1).expect("a line");
                prop_assert!(line.chars().nth(found.column - 1).is_some_and(|c| c == '"' || c.is_ascii_digit()), "{:?}", found);
                let at = found.declare.parse().expect("a place");
                declared.push(Sensitive { at, class: found.class, reveal: None, surrogate: false, joinable: false });
            }
            let left = look(text.as_bytes(), &declared).expect("JSON");
            prop_assert!(left.iter().all(|found| matches!(found.why, Why::Key(_)) || found.class == Class::Name), "{:?}", left);
        }

        #[test]
        fn no_bytes_make_it_stumble(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,100}") {
            let _ = look(&bytes, &[]);
            let quoted = serde_json::to_string(&text).expect("writes");
            prop_assert!(look(quoted.as_bytes(), &[]).is_ok());
        }
    }
}
