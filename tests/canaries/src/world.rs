//! One record, on its whole way.

use manyhands_intents::answer::answers;
use manyhands_intents::{CallKey, Catalogue, Live, admit, fill, hear};
use manyhands_model::{Class, JobName, RunId, SensitiveFields, UnitId, WorkerId};
use manyhands_placeholder::{
    Form, Occurrence, Places, Scope, Source, Token, TokenKey, UnitTokens, Values, restore, tokenise,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::detector::{Detector, echo};

/// Fields of a record, at most.
const FIELDS_MAX: u32 = 12;

/// A value where it must not be.
#[derive(Debug, PartialEq, Eq)]
pub struct Leak {
    /// What it stood in.
    pub place: &'static str,
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
    /// Texts that were held against them.
    pub texts: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Calls that were filled.
    pub filled: u64,
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
    secret: String,
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
        let pointer = name.replace('~', "~0").replace('/', "~1");
        let (at, value) = match self.below(4) {
            0 => {
                let count = 1 + self.below(3);
                let list: Vec<Value> = (0..count).map(|_| self.canary(class)).collect();
                (format!("$['{name}'][*]"), Value::Array(list))
            }
            1 => (format!("/{pointer}/in/0"), json!({ "in": [self.canary(class)], "out": true })),
            2 => (format!("$..['{name}']"), self.canary(class)),
            _ => (format!("/{pointer}"), self.canary(class)),
        };
        let mut field = json!({ "at": at, "class": class.word() });
        match self.below(6) {
            0 if class.has_surrogates() => field["surrogate"] = true.into(),
            1 => field["joinable"] = true.into(),
            _ => {}
        }
        if declares {
            self.fields.push(field);
        }
        (name, value)
    }

    fn canary(&mut self, class: Class) -> Value {
        let text = match class {
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
                1000 + self.below(9000),
                1 + self.below(12),
                1 + self.below(28),
                self.digits(6)
            ),
            Class::Number => return self.number(),
            Class::Text => format!("{} {{to}} ${{{}}} dtk {}", self.letters(9), self.letters(9), self.letters(9)),
            Class::Secret => format!("{}/b+Q={}", self.letters(9), self.letters(9)),
        };
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
        let mut texts: Vec<String> = self.canaries.iter().map(|(_, canary)| canary.clone()).collect();
        texts.push(self.secret.clone());
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
        self.look(&detector, "an input in canonical form", &tokenised.text)?;
        for taken in &tokenised.taken {
            self.look(&detector, "how a value is printed", format!("{taken:?} {:?}", taken.value).as_bytes())?;
        }
        let taken: Vec<(Token, String)> =
            tokenised.taken.iter().map(|taken| (taken.token, taken.value.text().to_string())).collect();
        let values: Values = tokenised.taken.into_iter().collect();
        let back = restore(&tokenised.text, &values, 1 << 20).expect("it comes back");
        let back: Value = serde_json::from_slice(&back).expect("JSON");
        assert_eq!(back, self.record, "who submitted it gets it back");

        for worker in [WorkerId([1; 32]), WorkerId([2; 32])] {
            let form = Form::new(&key, unit, worker);
            let shown = form.worker(tokenised.text.clone());
            self.look(&detector, "what a worker reads", &shown)?;
            let tokens = UnitTokens::of([&tokenised.text[..]]);
            let request = self.request(&shown);
            let Ok(canonical) = form.back(&tokens).canonical(request) else { continue };
            let heard = self.calls(&detector, &canonical, &values, &taken, (&scope, &mint))?;
            self.look(&detector, "answers in canonical form", &heard)?;
            self.look(&detector, "answers as a worker reads them", &form.worker(heard.clone()))?;
        }
        Ok(self.seen)
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
                self.look(detector, "what is said of a broken input", format!("{error} {error:?}").as_bytes())?;
            }
        }
        Ok(())
    }

    /// What a job asks for: tokens where they belong, and where they do not, whole and in parts.
    fn request(&mut self, shown: &[u8]) -> Vec<u8> {
        let tokens: Vec<Token> = manyhands_placeholder::token::find(shown).map(|(_, token)| token).collect();
        let mut calls = Vec::new();
        for _ in 0..4 {
            let text = tokens.get(self.below(tokens.len().max(1) as u32) as usize).map_or("none", Token::as_str);
            let text = match self.below(8) {
                0 => text.get(..20).unwrap_or(text).to_owned(),
                1 => text.to_uppercase(),
                2 => format!("{text}{text}"),
                _ => text.to_owned(),
            };
            let verb = self.pick(&["send", "send", "send", "look", "none"]);
            let slots = match self.below(4) {
                0 => json!({ "to": "somebody", "text": format!("Dear {text},"), "id": "a" }),
                1 => json!({ "to": text, "text": "x", "id": text }),
                _ => json!({ "to": text, "text": format!("Dear {text}, hello"), "id": "c-1" }),
            };
            let slots = if verb == "look" { json!({ "id": "c-1", "who": text }) } else { slots };
            calls.push(json!({ "verb": verb, "slots": slots }));
        }
        Value::Array(calls).to_string().into_bytes()
    }

    /// Makes the calls of a request, and returns what the job hears.
    fn calls(
        &mut self,
        detector: &Detector,
        request: &[u8],
        values: &Values,
        taken: &[(Token, String)],
        (scope, mint): (&Scope<'_>, &manyhands_placeholder::Mint),
    ) -> Result<Vec<u8>, Box<Leak>> {
        let catalogue = catalogue();
        let admitted = match admit(request, &catalogue, values) {
            Ok(admitted) => admitted,
            Err(error) => {
                self.look(detector, "why a request is refused", format!("{error} {error:?}").as_bytes())?;
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
                    self.look(detector, "why a call is refused", format!("{refused} {refused:?}").as_bytes())?;
                    continue;
                }
            };
            let stored = postcard::to_stdvec(&intent).expect("it can be written");
            self.look(detector, "a call in the journal", &stored)?;
            self.look(detector, "how a call is printed", format!("{intent:?}").as_bytes())?;
            let known = catalogue.get(intent.verb.as_str()).expect("admitted");
            let key = call_key.of(&intent.id(scope, 0), &known.template.origin);
            let secret = self.secret.clone();
            let outgoing = match fill(known, &intent, values, |_, _| Some(Zeroizing::new(secret.clone())), &key) {
                Ok(outgoing) => outgoing,
                Err(unfit) => {
                    self.seen.refused += 1;
                    self.look(detector, "why a call cannot be filled", format!("{unfit} {unfit:?}").as_bytes())?;
                    continue;
                }
            };
            self.seen.filled += 1;
            self.look(detector, "how a filled call is printed", format!("{outgoing:?}").as_bytes())?;
            // The control: here they are, or nothing is worth anything.
            let goes_out = outgoing.headers.iter().any(|(_, value)| value.contains(self.secret.as_str()));
            assert!(goes_out, "the operator's secret is sent");

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
            self.look(detector, "how an answer is printed", format!("{answer:?}").as_bytes())?;
            let stored = postcard::to_stdvec(&answer).expect("it can be written");
            self.look(detector, "an answer in the journal", &stored)?;
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
            "day": said(self, json!("2026-11-22")), "note": said(self, json!("a note")), "more": said(self, json!("ignored")),
        });
        answer.to_string().into_bytes()
    }

    fn look(&mut self, detector: &Detector, place: &'static str, bytes: &[u8]) -> Result<(), Box<Leak>> {
        self.seen.texts += 1;
        self.seen.bytes += bytes.len() as u64;
        let Some((which, form)) = detector.find(bytes) else { return Ok(()) };
        let class = self.canaries.get(which).map_or(Class::Secret, |(class, _)| *class);
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
        self.texts += other.texts;
        self.bytes += other.bytes;
        self.filled += other.filled;
        self.refused += other.refused;
        self.heard += other.heard;
        self.withheld += other.withheld;
    }
}

/// Verbs of every kind of slot and of answer.
fn catalogue() -> Catalogue {
    let classes: Vec<&str> = Class::ALL.iter().map(|class| class.word()).collect();
    let answer = json!({
        "id": { "at": "/id", "type": "id", "bytes_max": 64 },
        "state": { "at": "/state", "type": "enum", "values": ["sent", "queued"] },
        "count": { "at": "/count", "type": "integer", "min": 0, "max": 999_999_999_999_999_i64 },
        "day": { "at": "/day", "type": "date" },
        "note": { "at": "/note", "type": "text", "class": "text" },
    });
    let verbs = json!({
        "send": {
            "method": "POST", "origin": "https://mail.example.com", "path": "/v1/{id}/messages",
            "headers": { "authorization": "Bearer {secret:mail_key}" },
            "json": { "to": "{to}", "text": "{text}" },
            "slots": {
                "id": { "type": "id", "bytes_max": 64 },
                "to": { "type": "token", "classes": classes },
                "text": { "type": "text", "bytes_max": 2000, "classes": classes },
            },
            "answer": answer, "effect": "keyed", "idempotency_header": "idempotency-key", "budget": { "per_run": 1 },
        },
        "look": {
            "method": "GET", "origin": "https://crm.example.com", "path": "/v1/{id}", "query": { "who": "{who}" },
            "headers": { "authorization": "Bearer {secret:crm_key}" },
            "slots": { "id": { "type": "id", "bytes_max": 64 }, "who": { "type": "token", "classes": classes } },
            "answer": answer, "effect": "safe", "budget": { "per_run": 1 },
        },
    });
    Catalogue::of(&serde_json::from_value(verbs).expect("verbs")).expect("good verbs")
}
