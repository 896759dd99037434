//! `intents-bench OUT.json`: the time of one core for each call that a job asks for, but for the call itself.
//!
//! A package of its own, so that it is built in seconds. All ways take turns in each repetition, so a neighbour's load falls on all of them
//! alike; the median says what came of that, the fastest what the code can do.

#![allow(clippy::expect_used, reason = "a measurement that cannot go on says why and ends")]
#![allow(clippy::print_stdout, reason = "the table is the data of this command")]

use std::hint::black_box;
use std::time::Instant;

use manyhands_intents::{CallKey, Catalogue, Live, admit, fill, hear};
use manyhands_model::{Class, JobName, RunId, UnitId};
use manyhands_placeholder::{Occurrence, Scope, Source, Taken, Token, TokenKey, Value, Values};
use serde_json::json;
use zeroize::Zeroizing;

const REPETITIONS: usize = 2_001;
/// Of the request that is measured.
const REQUEST_BYTES: usize = 4 << 10;
/// Values that the unit has.
const VALUES: u32 = 1_000;

const UNIT: UnitId = UnitId { run: RunId([1; 16]), index: 0 };

fn main() {
    let verbs = json!({"send": {
        "method": "POST", "origin": "https://mail.example.com", "path": "/v1/accounts/{account}/messages",
        "query": {"notify": "{notify}"}, "headers": {"authorization": "Bearer {secret:mail_key}"},
        "json": {"to": "{to}", "text": "{text}", "amount": "{amount}"},
        "slots": {
            "account": {"type": "id", "bytes_max": 64}, "notify": {"type": "enum", "values": ["yes", "no"]},
            "to": {"type": "token", "classes": ["email"]}, "amount": {"type": "integer", "min": 0, "max": 1_000_000},
            "text": {"type": "text", "bytes_max": 20_000, "classes": ["email"]}
        },
        "answer": {
            "message": {"at": "/id", "type": "id", "bytes_max": 64}, "state": {"at": "/state", "type": "enum", "values": ["sent", "queued"]},
            "name": {"at": "/to/name", "type": "text", "class": "name"}
        },
        "effect": "keyed", "idempotency_header": "idempotency-key", "budget": {"per_run": 1}
    }});
    let catalogue = Catalogue::of(&serde_json::from_value(verbs).expect("verbs")).expect("good verbs");
    let job: JobName = "bench".parse().expect("a job name");
    let scope = Scope { tenant: "t", job: &job, unit: UNIT };
    let mint = TokenKey::derive(&[7; 32], 0).mint(&scope);
    let token = |index| -> Token { mint.fresh(Class::Email, Occurrence { source: Source::Input, index }) };
    let taken = |index| Taken {
        token: token(index),
        surrogate: None,
        value: Value::of_text(&format!("ann.{index}@example.com")),
    };
    let values: Values = (0..VALUES).map(taken).collect();
    let request = request(token);
    assert_eq!(request.len(), REQUEST_BYTES);

    let one = || admit(&request, &catalogue, &values).expect("a request").remove(0).expect("fits");
    let known = catalogue.get("send").expect("declared");
    let key = CallKey::derive(&[1; 32]);
    let intent = one();
    let idempotency = key.of(&intent.id(&scope, 0), &known.template.origin);
    let secret = |_: &_, _: &_| Some(Zeroizing::new("s3cret".to_owned()));
    let answer =
        json!({"id": "msg-0123456789", "state": "sent", "to": {"name": "Ann"}, "more": "x".repeat(REQUEST_BYTES)})
            .to_string();
    let live = Live::of((0..10).map(|_| "ann.1@example.com"));

    measure(vec![
        Way::new("admit 4 KiB, and its id", || {
            let intent = one();
            black_box((intent.id(&scope, 0), intent));
        }),
        Way::new("serde_json reads 4 KiB as a value", || {
            black_box(serde_json::from_slice::<serde_json::Value>(&request).expect("JSON"));
        }),
        Way::new("fill", || {
            black_box(fill(known, &intent, &values, secret, &idempotency).expect("fits"));
        }),
        Way::new("hear 4 KiB, ten live values", || {
            black_box(hear(known, 200, answer.as_bytes(), |text| live.shows(text), |_, _| token(0)));
        }),
        Way::new("ten live values' forms", || {
            black_box(Live::of((0..10).map(|_| "ann.1@example.com")));
        }),
    ]);
}

/// A request of [`REQUEST_BYTES`], with a token in every two hundred characters or so.
fn request(token: impl Fn(u32) -> Token) -> Vec<u8> {
    let with = |text: &str| {
        json!([{"verb": "send", "slots": {"account": "a-1", "notify": "yes", "to": token(1), "amount": 12, "text": text}}]).to_string()
    };
    let mut text = String::new();
    for index in 0.. {
        let more = format!(
            "{text}Dear {}, the parcel that you sent us on Monday has arrived, and \"all\" is well with it.\n",
            token(index)
        );
        if with(&more).len() > REQUEST_BYTES {
            break;
        }
        text = more;
    }
    while with(&text).len() < REQUEST_BYTES {
        text.push('.');
    }
    with(&text).into_bytes()
}

/// What is measured.
struct Way<'a> {
    name: &'static str,
    run: Box<dyn FnMut() + 'a>,
    seconds: Vec<f64>,
}

impl<'a> Way<'a> {
    fn new(name: &'static str, run: impl FnMut() + 'a) -> Self {
        Self { name, run: Box::new(run), seconds: Vec::new() }
    }
}

/// Measures all ways in turns, prints a line for each, and writes them where the command says.
fn measure(mut ways: Vec<Way<'_>>) {
    for _ in 0..REPETITIONS {
        for way in &mut ways {
            let began = Instant::now();
            (way.run)();
            way.seconds.push(began.elapsed().as_secs_f64());
        }
    }
    println!("{:41}  {:>12}  {:>12}", "one call", "median, µs", "fastest");
    let figures: Vec<_> = ways
        .iter_mut()
        .map(|Way { name, seconds, .. }| {
            seconds.sort_by(f64::total_cmp);
            let [median, fastest] = [seconds[seconds.len() / 2], seconds[0]].map(|seconds| seconds * 1e6);
            println!("  {name:39}  {median:12.1}  {fastest:12.1}");
            json!({"name": name, "value": median, "fastest": fastest, "unit": "µs"})
        })
        .collect();
    if let Some(out) = std::env::args_os().nth(1) {
        let text = serde_json::to_string_pretty(&figures).expect("serialises");
        std::fs::write(&out, text + "\n").expect("the figures can be written");
    }
}
