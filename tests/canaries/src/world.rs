//! One record, on its whole way.

use core::ops::Range;

use manyhands_intents::answer::answers;
use manyhands_intents::{CallKey, Catalogue, Live, admit, fill, hear};
use manyhands_model::{Class, JobName, Reveal, RunId, SensitiveFields, UnitId, WorkerId};
use manyhands_placeholder::{
    Form, Occurrence, Places, Scope, Source, Token, TokenKey, UnitTokens, Values, restore, tokenise,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::detector::{BYTES_MIN, Detector, all_forms, echo};
use crate::verbs::{Kind, Sketch};

/// Fields of a record, at most.
const FIELDS_MAX: u32 = 12;

/// What leaves towards a worker, a log, an error or an unencrypted file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An input in canonical form: what is stored, recorded and compared.
    Canonical,
    /// What a worker reads.
    Worker,
    /// What is said of an input that is none.
    BrokenInput,
    /// How a value is printed by whoever prints it.
    PrintedValue,
    /// Why a whole request is refused.
    RefusedRequest,
    /// Why a call is refused.
    RefusedCall,
    /// A call in the journal, as it lies on the disk.
    StoredCall,
    /// How a call is printed.
    PrintedCall,
    /// Why a call cannot be filled.
    Unfilled,
    /// How a filled call is printed.
    PrintedRequest,
    /// How an answer is printed.
    PrintedAnswer,
    /// An answer in the journal, as it lies on the disk.
    StoredAnswer,
    /// Answers in canonical form.
    CanonicalAnswers,
    /// Answers as a worker reads them.
    WorkersAnswers,
}

impl Place {
    /// All of them, in the order in which a record comes by.
    pub const ALL: [Self; 14] = [
        Self::BrokenInput,
        Self::Canonical,
        Self::PrintedValue,
        Self::Worker,
        Self::RefusedRequest,
        Self::RefusedCall,
        Self::StoredCall,
        Self::PrintedCall,
        Self::Unfilled,
        Self::PrintedRequest,
        Self::PrintedAnswer,
        Self::StoredAnswer,
        Self::CanonicalAnswers,
        Self::WorkersAnswers,
    ];

    /// For people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Canonical => "an input in canonical form",
            Self::Worker => "what a worker reads",
            Self::BrokenInput => "what is said of a broken input",
            Self::PrintedValue => "how a value is printed",
            Self::RefusedRequest => "why a request is refused",
            Self::RefusedCall => "why a call is refused",
            Self::StoredCall => "a call in the journal",
            Self::PrintedCall => "how a call is printed",
            Self::Unfilled => "why a call cannot be filled",
            Self::PrintedRequest => "how a filled call is printed",
            Self::PrintedAnswer => "how an answer is printed",
            Self::StoredAnswer => "an answer in the journal",
            Self::CanonicalAnswers => "answers in canonical form",
            Self::WorkersAnswers => "answers as a worker reads them",
        }
    }
}

/// A value where it must not be.
#[derive(Debug, PartialEq, Eq)]
pub struct Leak {
    /// What it stood in.
    pub place: Place,
    /// In which form.
    pub form: &'static str,
    /// Of which class it is.
    pub class: Class,
    /// The whole of it.
    pub shown: String,
}

/// What was looked at, so that nobody takes an empty search for a clean one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Records.
    pub records: u64,
    /// Values in them.
    pub values: u64,
    /// Those of which a part is shown on purpose, and was.
    pub revealed: u64,
    /// Texts that were held against them.
    pub texts: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Calls that were filled.
    pub filled: u64,
    /// Those among them that hold a value: the way out, where values belong.
    pub sent: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Answers that a job heard.
    pub heard: u64,
    /// Answers that were withheld.
    pub withheld: u64,
}

/// A record, what is said of it, and what it is held against.
pub struct World {
    random: ChaCha8Rng,
    record: Value,
    fields: Vec<Value>,
    canaries: Vec<(Class, String)>,
    /// Of a value of which a part is shown: the rest, and the part, both of which are canaries themselves.
    parts: Vec<(Class, String)>,
    /// Values of which a part is shown, by their places among the canaries.
    reveals: Vec<(usize, Reveal)>,
    secret: String,
    /// Where a value is put on purpose, and in which codings it was found there.
    plant: Option<(Place, Vec<(&'static str, bool)>)>,
    seen: Seen,
}

impl World {
    /// The one with this number. With `planted`, its last value is one that nobody declared, which has to be found.
    pub fn new(seed: u64, number: u64, planted: bool) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&number.to_le_bytes());
        let mut world = Self {
            random: ChaCha8Rng::from_seed(key),
            record: json!({}),
            fields: Vec::new(),
            canaries: Vec::new(),
            parts: Vec::new(),
            reveals: Vec::new(),
            plant: None,
            secret: String::new(),
            seen: Seen { records: 1, ..Seen::default() },
        };
        world.secret = format!("sk_live_{}", world.letters(20));
        let count = 1 + world.below(FIELDS_MAX);
        let mut record = Map::new();
        for index in 0..count {
            let class = world.pick(&Class::ALL);
            let declares = !(planted && index == count - 1);
            let (name, value) = world.field(index, class, declares);
            record.insert(name, value);
            let (name, open) = (format!("open{index}"), world.below(1_000));
            record.insert(name, open.into());
        }
        world.record = Value::Object(record);
        world.seen.values = world.canaries.len() as u64;
        world
    }

    /// A field, or a list or an object of some, and where it stands.
    fn field(&mut self, index: u32, class: Class, declares: bool) -> (String, Value) {
        let name = self.pick(&["mail", "a b", "x/y", "~", "Größe", "0"]);
        let name = format!("{name}{index}");
        // What is said of it beside its place and class.
        let said = self.below(6);
        let reveals = class.reveals();
        let reveal = (said >= 4 && declares && !reveals.is_empty()).then(|| self.pick(reveals));
        let pointer = name.replace('~', "~0").replace('/', "~1");
        let (at, value) = match self.below(4) {
            0 => {
                let count = 1 + self.below(3);
                let list: Vec<Value> = (0..count).map(|_| self.canary(class, reveal)).collect();
                (format!("$['{name}'][*]"), Value::Array(list))
            }
            1 => (format!("/{pointer}/in/0"), json!({ "in": [self.canary(class, reveal)], "out": true })),
            2 => (format!("$..['{name}']"), self.canary(class, reveal)),
            _ => (format!("/{pointer}"), self.canary(class, reveal)),
        };
        let mut field = json!({ "at": at, "class": class.word() });
        match said {
            0 if class.has_surrogates() => field["surrogate"] = true.into(),
            1 | 5 => field["joinable"] = true.into(),
            _ => {}
        }
        if let Some(reveal) = reveal {
            field["reveal"] = reveal.word().into();
        }
        if declares {
            self.fields.push(field);
        }
        (name, value)
    }

    fn canary(&mut self, class: Class, reveal: Option<Reveal>) -> Value {
        let mut text = match class {
            Class::Email => format!("{}@{}.example", self.letters(12), self.letters(10)),
            Class::Phone => format!("+{}", self.digits(15)),
            Class::Card => self.digits(16),
            Class::Iban => format!("XX{}", self.digits(20)),
            Class::Name | Class::Address => {
                let middle = self.pick(&[" ", "\", \"admin\": \"", " Ünï ", "\r\nX-Evil: ", "<b>", "%0d", "\\"]);
                format!("{}{middle}{}", self.letters(8), self.letters(8))
            }
            Class::Date => format!(
                "{}-{:02}-{:02}T{}",
                if self.below(2) == 0 { 1000 + self.below(9000) } else { 1900 + self.below(200) },
                1 + self.below(12),
                1 + self.below(28),
                self.digits(6)
            ),
            Class::Number => return self.number(),
            Class::Text => format!("{} {{to}} ${{{}}} dtk {}", self.letters(9), self.letters(9), self.letters(9)),
            Class::Secret => format!("{}/b+Q={}", self.letters(9), self.letters(9)),
        };
        if let Some(reveal) = reveal {
            if class == Class::Address {
                text += self.pick(&[", GB", ", DE", ", FR"]);
            }
            self.reveals.push((self.canaries.len(), reveal));
            self.parts.extend(parts(class, reveal, &text).into_iter().map(|part| (class, part)));
        }
        self.canaries.push((class, text.clone()));
        text.into()
    }

    fn number(&mut self) -> Value {
        let number = 100_000_000_000_000 + (self.random.next_u64() % 899_999_999_999_999);
        self.canaries.push((Class::Number, number.to_string()));
        number.into()
    }

    /// Sends it on its way.
    ///
    /// # Errors
    /// The first [`Leak`].
    ///
    /// # Panics
    /// When a world is not as it should be: a record that is refused, or that does not come back as it was.
    pub fn run(mut self) -> Result<Seen, Box<Leak>> {
        self.go()
    }

    fn go(&mut self) -> Result<Seen, Box<Leak>> {
        let (catalogue, verbs) = crate::verbs::draw(&mut self.random);
        let known = self.canaries.iter().chain(&self.parts).map(|(_, canary)| canary.clone());
        let texts: Vec<String> = known.chain([self.secret.clone()]).collect();
        let detector = Detector::of(&texts);

        let fields: SensitiveFields = serde_json::from_value(Value::Array(self.fields.clone())).expect("fields");
        let places = Places::new(&fields);
        let (job, unit): (JobName, UnitId) = ("job".parse().expect("a name"), UnitId { run: RunId([3; 16]), index: 5 });
        let scope = Scope { tenant: "ann", job: &job, unit };
        let mut master = [0; 32];
        self.random.fill_bytes(&mut master);
        let key = TokenKey::derive(&master, 0);
        let mint = key.mint(&scope);

        let input = self.record.to_string();
        self.broken_inputs(&detector, &places, &mint, &input)?;
        let tokenised = tokenise(input.as_bytes(), &places, &mint, Source::Input).expect("a record of ours");
        let taken: Vec<(Token, String)> =
            tokenised.taken.iter().map(|taken| (taken.token, taken.value.text().to_string())).collect();
        let shown_on_purpose = self.revealed(&tokenised.text, &taken);
        self.look(&detector, Place::Canonical, &without(&tokenised.text, &shown_on_purpose))?;
        for taken in &tokenised.taken {
            self.look(&detector, Place::PrintedValue, format!("{taken:?} {:?}", taken.value).as_bytes())?;
        }
        let values: Values = tokenised.taken.into_iter().collect();
        let back = restore(&tokenised.text, &values, 1 << 20).expect("it comes back");
        let back: Value = serde_json::from_slice(&back).expect("JSON");
        assert_eq!(back, self.record, "who submitted it gets it back");

        for worker in [WorkerId([1; 32]), WorkerId([2; 32])] {
            let form = Form::new(&key, unit, worker);
            let shown = form.worker(tokenised.text.clone());
            // A worker's tokens are as long as the canonical ones, so the parts stand in the same places.
            let same = |range: &Range<usize>| shown.get(range.clone()) == tokenised.text.get(range.clone());
            assert!(shown_on_purpose.iter().all(same), "a worker reads the parts that are shown");
            self.look(&detector, Place::Worker, &without(&shown, &shown_on_purpose))?;
            let tokens = UnitTokens::of([&tokenised.text[..]]);
            let request = self.request(&shown, &verbs);
            let Ok(canonical) = form.back(&tokens).canonical(request) else { continue };
            let heard = self.calls(&detector, (&catalogue, &verbs), &canonical, &values, &taken, (&scope, &mint))?;
            self.look(&detector, Place::CanonicalAnswers, &heard)?;
            self.look(&detector, Place::WorkersAnswers, &form.worker(heard.clone()))?;
        }
        Ok(self.seen)
    }

    /// In which codings a value is found that was put into this place, and whether it is; none if the record does not come by there. What finds
    /// none of them looks at nothing.
    ///
    /// # Panics
    /// As [`World::run`].
    pub fn plants(mut self, place: Place) -> Option<Vec<(&'static str, bool)>> {
        self.plant = Some((place, Vec::new()));
        let _the_first = self.go();
        self.plant.map(|(_, found)| found).filter(|found| !found.is_empty())
    }

    /// Where in an input the parts stand that are shown on purpose: each beside its own token, and each what it has to be.
    fn revealed(&mut self, canonical: &[u8], taken: &[(Token, String)]) -> Vec<Range<usize>> {
        let text = core::str::from_utf8(canonical).expect("JSON");
        let mut ranges = Vec::new();
        for (at, reveal) in &self.reveals {
            let (class, canary) = &self.canaries[*at];
            let (token, _) = taken.iter().find(|(_, value)| value == canary).expect("it was taken");
            let before = format!(r#"{{"token":"{token}","{reveal}":"#);
            let mut places = text.match_indices(&before).map(|(at, _)| at + before.len());
            let start = places.next().expect("a part beside its token");
            assert_eq!(places.next(), None, "and once");
            let length = text[start..].find('}').expect("an object's end");
            let part = &text[start..start + length];
            assert!(is_part(*class, *reveal, canary, part), "{part} is not the {reveal} of a {class}");
            self.seen.revealed += u64::from(part != "null");
            ranges.push(start..start + length);
        }
        ranges
    }

    /// What is wrong with an input is said without it.
    fn broken_inputs(
        &mut self,
        detector: &Detector,
        places: &Places,
        mint: &manyhands_placeholder::Mint,
        input: &str,
    ) -> Result<(), Box<Leak>> {
        let mut at = self.below(u32::try_from(input.len()).unwrap_or(u32::MAX)) as usize;
        while !input.is_char_boundary(at) {
            at -= 1;
        }
        let (front, rest) = input.split_at(at);
        let doubled =
            format!("{{{},{}", input.trim_start_matches('{').trim_end_matches('}'), input.trim_start_matches('{'));
        for broken in [front.to_owned(), format!("{front}\u{1}{rest}"), format!("{front}\"{rest}"), doubled] {
            if let Err(error) = tokenise(broken.as_bytes(), places, mint, Source::Input) {
                self.look(detector, Place::BrokenInput, format!("{error} {error:?}").as_bytes())?;
            }
        }
        Ok(())
    }

    /// What a job asks for: tokens where they belong, and where they do not, whole and in parts.
    fn request(&mut self, shown: &[u8], verbs: &[Sketch]) -> Vec<u8> {
        let tokens: Vec<Token> = manyhands_placeholder::token::find(shown).map(|(_, token)| token).collect();
        let mut calls = Vec::new();
        for _ in 0..4 {
            let verb = &verbs[self.below(verbs.len() as u32) as usize];
            let mut slots = Map::new();
            for (name, kind) in &verb.slots {
                // One in many is left out, or what belongs into another.
                let kind = match self.below(24) {
                    0 => continue,
                    1 => self.pick(&Kind::ALL),
                    _ => *kind,
                };
                slots.insert(name.clone(), self.slot(kind, &tokens));
            }
            if self.below(24) == 0 {
                slots.insert("more".into(), self.slot(Kind::Token, &tokens));
            }
            let name = if self.below(24) == 0 { "none" } else { &verb.name };
            calls.push(json!({ "verb": name, "slots": slots }));
        }
        let mut text = Value::Array(calls).to_string();
        // Some are no requests at all.
        match self.below(32) {
            0 => text.truncate(self.below(text.len() as u32) as usize),
            1 => text = format!(r#"{{"calls":{text}}}"#),
            2 => text = text.replace(r#""verb":"#, r#""verb":7,"verb":"#),
            _ => {}
        }
        text.into_bytes()
    }

    /// What a job puts into a slot.
    fn slot(&mut self, kind: Kind, tokens: &[Token]) -> Value {
        let token = tokens.get(self.below(tokens.len().max(1) as u32) as usize).map_or("none", Token::as_str);
        let token = match self.below(12) {
            0 => token.get(..20).unwrap_or(token).to_owned(),
            1 => token.to_uppercase(),
            2 => format!("{token}{token}"),
            _ => token.to_owned(),
        };
        match kind {
            Kind::Token => token.into(),
            Kind::Text if self.below(4) == 0 => "a text without any".into(),
            Kind::Text => format!("Dear {token}, hello").into(),
            Kind::Id => format!("c-{}", self.below(1_000)).into(),
            Kind::Integer => self.below(2_000).into(),
            Kind::Date => "2026-11-22".into(),
            Kind::Choice => self.pick(&["one", "two", "three"]).into(),
        }
    }

    /// Makes the calls of a request, and returns what the job hears.
    fn calls(
        &mut self,
        detector: &Detector,
        (catalogue, verbs): (&Catalogue, &[Sketch]),
        request: &[u8],
        values: &Values,
        taken: &[(Token, String)],
        (scope, mint): (&Scope<'_>, &manyhands_placeholder::Mint),
    ) -> Result<Vec<u8>, Box<Leak>> {
        let admitted = match admit(request, catalogue, values) {
            Ok(admitted) => admitted,
            Err(error) => {
                self.look(detector, Place::RefusedRequest, format!("{error} {error:?}").as_bytes())?;
                return Ok(Vec::new());
            }
        };
        let call_key = CallKey::derive(&[9; 32]);
        let mut heard = Vec::new();
        for intent in admitted {
            let intent = match intent {
                Ok(intent) => intent,
                Err(refused) => {
                    self.seen.refused += 1;
                    self.look(detector, Place::RefusedCall, format!("{refused} {refused:?}").as_bytes())?;
                    continue;
                }
            };
            let stored = postcard::to_stdvec(&intent).expect("it can be written");
            self.look(detector, Place::StoredCall, &stored)?;
            self.look(detector, Place::PrintedCall, format!("{intent:?}").as_bytes())?;
            let known = catalogue.get(intent.verb.as_str()).expect("admitted");
            let key = call_key.of(&intent.id(scope, 0), &known.template.origin);
            let secret = self.secret.clone();
            let outgoing = match fill(known, &intent, values, |_, _| Some(Zeroizing::new(secret.clone())), &key) {
                Ok(outgoing) => outgoing,
                Err(unfit) => {
                    self.seen.refused += 1;
                    self.look(detector, Place::Unfilled, format!("{unfit} {unfit:?}").as_bytes())?;
                    continue;
                }
            };
            self.seen.filled += 1;
            self.look(detector, Place::PrintedRequest, format!("{outgoing:?}").as_bytes())?;
            // The control: here they are, or nothing is worth anything.
            let mut goes_out = [outgoing.target.as_bytes(), b" ", &outgoing.body[..]].concat();
            outgoing.headers.iter().for_each(|(_, value)| goes_out.extend_from_slice(value.as_bytes()));
            let goes_out = String::from_utf8(goes_out).expect("text");
            let has_secret = verbs.iter().any(|verb| verb.name == intent.verb.as_str() && verb.has_secret);
            assert_eq!(goes_out.contains(&self.secret), has_secret, "the operator's secret is sent where it belongs");
            let values_alone = goes_out.replace(&self.secret, "");
            self.seen.sent += u64::from(detector.find(values_alone.as_bytes()).is_some());

            let live = Live::of(taken.iter().map(|(_, value)| value.as_str()).chain([self.secret.as_str()]));
            let body = self.answer();
            let mut index = 0;
            let tokenise = |class: Class, _: &str| {
                index += 1;
                mint.fresh(class, Occurrence { source: Source::Answer { step: 0, call: intent.ordinal }, index })
            };
            let status = if self.below(10) == 0 { 500 } else { 200 };
            let answer = hear(known, status, &body, |text| live.shows(text), tokenise);
            match &answer {
                manyhands_intents::Heard::Answer { .. } => self.seen.heard += 1,
                manyhands_intents::Heard::Fault(_) => self.seen.withheld += 1,
            }
            self.look(detector, Place::PrintedAnswer, format!("{answer:?}").as_bytes())?;
            let stored = postcard::to_stdvec(&answer).expect("it can be written");
            self.look(detector, Place::StoredAnswer, &stored)?;
            heard.push(answer);
        }
        Ok(answers(&heard))
    }

    /// An API that repeats what it was told, in any field and coding.
    fn answer(&mut self) -> Vec<u8> {
        let said = |world: &mut Self, good: Value| {
            if world.below(3) != 0 {
                return good;
            }
            let which = world.below(world.canaries.len() as u32 + 1) as usize;
            let text = world.canaries.get(which).map_or(world.secret.clone(), |(_, canary)| canary.clone());
            let how = world.random.next_u32();
            match text.parse::<i64>() {
                Ok(number) if how.is_multiple_of(2) => number.into(),
                _ => echo(&text, how).into(),
            }
        };
        let id = json!(format!("m-{}", self.letters(6)));
        let answer = json!({
            "id": said(self, id), "state": said(self, json!("sent")), "count": said(self, json!(3)),
            "day": said(self, json!("2026-11-22")), "flag": said(self, json!(true)), "note": said(self, json!("a note")), "more": said(self, json!("ignored")),
        });
        answer.to_string().into_bytes()
    }

    fn look(&mut self, detector: &Detector, place: Place, bytes: &[u8]) -> Result<(), Box<Leak>> {
        self.seen.texts += 1;
        self.seen.bytes += bytes.len() as u64;
        let mut planted = Vec::new();
        if let Some((there, found)) = &mut self.plant
            && *there == place
        {
            let (front, rest) = bytes.split_at(bytes.len() / 2);
            for (name, form) in all_forms(&self.canaries[0].1).into_iter().filter(|(_, form)| form.len() >= BYTES_MIN) {
                planted = [front, &form, rest].concat();
                found.push((name, detector.find(&planted).is_some()));
            }
        }
        let bytes = if planted.is_empty() { bytes } else { &planted };
        let Some((which, form)) = detector.find(bytes) else { return Ok(()) };
        let class = self.canaries.iter().chain(&self.parts).nth(which).map_or(Class::Secret, |(class, _)| *class);
        Err(Box::new(Leak { place, form, class, shown: String::from_utf8_lossy(bytes).into_owned() }))
    }

    fn below(&mut self, most: u32) -> u32 {
        self.random.next_u32() % most
    }

    fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len() as u32) as usize]
    }

    fn letters(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(self.pick(b"abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ23456789"))).collect()
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(self.pick(b"123456789"))).collect()
    }
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.values += other.values;
        self.revealed += other.revealed;
        self.texts += other.texts;
        self.bytes += other.bytes;
        self.filled += other.filled;
        self.sent += other.sent;
        self.refused += other.refused;
        self.heard += other.heard;
        self.withheld += other.withheld;
    }
}

/// A value's rest and the part that is shown of it, as far as they are long enough to be looked for.
fn parts(class: Class, reveal: Reveal, text: &str) -> Vec<String> {
    let (one, other) = match (class, reveal) {
        (_, Reveal::Domain) => text.split_once('@').unwrap_or((text, "")),
        (Class::Phone, Reveal::Country) => (text.get(4..).unwrap_or_default(), ""),
        (Class::Iban, Reveal::Country) => (text.get(2..).unwrap_or_default(), ""),
        (_, Reveal::Country) => (text.rsplit_once(',').map_or("", |(rest, _)| rest), ""),
        (_, Reveal::Last4) => (&text[..text.len() - 4], ""),
        (_, Reveal::Year) => (text.get(4..).unwrap_or_default(), ""),
        // Nothing of it is shown.
        (_, Reveal::LengthBucket) => ("", ""),
    };
    [one, other].into_iter().filter(|part| part.len() >= BYTES_MIN).map(str::to_owned).collect()
}

/// Whether this, as JSON, is what may be shown of a value and not a character more. By what a person would say it is, and not by what shows it.
fn is_part(class: Class, reveal: Reveal, text: &str, shown: &str) -> bool {
    let quoted = |part: &str| shown == format!("\"{part}\"");
    match (class, reveal) {
        (_, Reveal::Domain) => text.split_once('@').is_some_and(|(_, domain)| quoted(domain)),
        (Class::Phone, Reveal::Country) => (2..=4).any(|length| text.get(..length).is_some_and(quoted)),
        (Class::Iban, Reveal::Country) => quoted(&text[..2]),
        (_, Reveal::Country) => quoted(&text[text.len() - 2..]),
        (_, Reveal::Last4) => quoted(&text[text.len() - 4..]),
        (_, Reveal::Year) => {
            let year = &text[..4];
            shown == if year.starts_with("19") || year.starts_with("20") { year } else { "null" }
        }
        (_, Reveal::LengthBucket) => {
            let length = text.chars().count();
            shown.parse().is_ok_and(|bucket: usize| bucket >= length && bucket / 2 < length && bucket.is_power_of_two())
        }
    }
}

/// A text without some of it.
fn without(text: &[u8], ranges: &[Range<usize>]) -> Vec<u8> {
    let mut rest = Vec::with_capacity(text.len());
    let mut sorted: Vec<&Range<usize>> = ranges.iter().collect();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut done = 0;
    for range in sorted {
        rest.extend_from_slice(&text[done..range.start]);
        done = range.end;
    }
    rest.extend_from_slice(&text[done..]);
    rest
}
