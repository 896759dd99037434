//! Verbs made up by a seed: every method and effect, slots of every type in every place where they may stand, and answers of every shape.

use manyhands_intents::Catalogue;
use manyhands_model::Class;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng as _;
use serde_json::{Map, Value, json};

/// What a slot takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Token,
    Text,
    Id,
    Integer,
    Date,
    Choice,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [Self::Token, Self::Text, Self::Id, Self::Integer, Self::Date, Self::Choice];
}

/// What a job knows of a verb, and whether an operator's secret goes with it.
#[derive(Debug)]
pub(crate) struct Sketch {
    pub(crate) name: String,
    pub(crate) slots: Vec<(String, Kind)>,
    pub(crate) has_secret: bool,
}

/// Up to three verbs.
pub(crate) fn draw(random: &mut ChaCha8Rng) -> (Catalogue, Vec<Sketch>) {
    let (mut verbs, mut sketches) = (Map::new(), Vec::new());
    for number in 0..=below(random, 3) {
        let (verb, sketch) = verb(random, format!("verb{number}"));
        verbs.insert(sketch.name.clone(), verb);
        sketches.push(sketch);
    }
    let verbs = serde_json::from_value(Value::Object(verbs)).expect("verbs");
    (Catalogue::of(&verbs).expect("good verbs"), sketches)
}

fn verb(random: &mut ChaCha8Rng, name: String) -> (Value, Sketch) {
    let method = pick(random, &["GET", "POST", "POST", "PUT", "PATCH", "DELETE"]);
    let has_body = matches!(method, "POST" | "PUT" | "PATCH");
    let effect = match method {
        "GET" => "safe",
        _ => pick(random, &["safe", "keyed", "keyed", "at_most_once", "irreversible"]),
    };
    let mut sketch = Sketch { name, slots: Vec::new(), has_secret: false };
    let (mut slots, mut path) = (Map::new(), "/v1".to_owned());
    let (mut query, mut headers, mut body) = (Map::new(), Map::new(), Map::new());
    for number in 0..=below(random, 4) {
        let slot = format!("s{number}");
        let (kind, hole) = (if number == 0 { Kind::Token } else { pick(random, &Kind::ALL) }, format!("{{{slot}}}"));
        let kind = if kind == Kind::Text && !has_body { Kind::Id } else { kind };
        // Any text stands in bodies only.
        let place = if kind == Kind::Text { 0 } else { below(random, 6) };
        match place {
            0..=2 if has_body => drop(body.insert(format!("b{number}"), hole.into())),
            0 | 3 => path += &format!("/{hole}"),
            1 | 4 => drop(query.insert(format!("q{number}"), hole.into())),
            _ => drop(headers.insert(format!("x-{number}"), format!("v={hole}").into())),
        }
        let classes = classes(random);
        let declared = match kind {
            Kind::Token => json!({ "type": "token", "classes": classes }),
            Kind::Text => json!({ "type": "text", "bytes_max": 2000, "classes": classes }),
            Kind::Id => json!({ "type": "id", "bytes_max": 64 }),
            Kind::Integer => json!({ "type": "integer", "min": 0, "max": 1_000 }),
            Kind::Date => json!({ "type": "date" }),
            Kind::Choice => json!({ "type": "enum", "values": ["one", "two"] }),
        };
        slots.insert(slot.clone(), declared);
        sketch.slots.push((slot, kind));
    }
    sketch.has_secret = true;
    match below(random, 3) {
        0 if has_body => drop(body.insert("key".into(), "{secret:key}".into())),
        0 => sketch.has_secret = false,
        _ => drop(headers.insert("authorization".into(), "Bearer {secret:key}".into())),
    }
    let mut verb = json!({
        "method": method, "origin": pick(random, &["https://mail.example.com", "https://crm.example.com:8443"]), "path": path,
        "query": query, "headers": headers, "slots": slots, "answer": answer(random), "effect": effect, "budget": { "per_run": 1 },
    });
    if effect == "keyed" {
        verb["idempotency_header"] = "idempotency-key".into();
    }
    if has_body && below(random, 2) == 0 {
        verb["form"] = body.into();
    } else if has_body {
        // Some of it deeper.
        body.insert("in".into(), json!({ "list": [true, null, body.values().next().cloned()] }));
        verb["json"] = body.into();
    }
    (verb, sketch)
}

/// Fields of an answer: none, some or all that there are.
fn answer(random: &mut ChaCha8Rng) -> Value {
    let class = pick(random, &Class::ALL).word();
    let fields = [
        ("id", json!({ "at": "/id", "type": "id", "bytes_max": 64 })),
        ("state", json!({ "at": "/state", "type": "enum", "values": ["sent", "queued"] })),
        ("count", json!({ "at": "/count", "type": "integer", "min": 0, "max": 999_999_999_999_999_i64 })),
        ("day", json!({ "at": "/day", "type": "date" })),
        ("flag", json!({ "at": "/flag", "type": "boolean" })),
        ("note", json!({ "at": "/note", "type": "text", "class": class })),
    ];
    let kept = fields.into_iter().filter(|_| below(random, 3) != 0);
    kept.map(|(name, shape)| (name.to_owned(), shape)).collect::<Map<_, _>>().into()
}

/// Mostly all, so that most calls are filled.
fn classes(random: &mut ChaCha8Rng) -> Vec<&'static str> {
    let among = if below(random, 4) == 0 { vec![pick(random, &Class::ALL)] } else { Class::ALL.to_vec() };
    among.iter().map(|class| class.word()).collect()
}

fn below(random: &mut ChaCha8Rng, most: u32) -> u32 {
    random.next_u32() % most
}

fn pick<T: Copy>(random: &mut ChaCha8Rng, among: &[T]) -> T {
    among[below(random, among.len() as u32) as usize]
}
