//! Requests for calls, which a job makes up, and what upstreams answer: one zero byte stands between them.

use manyhands_intents::{CallKey, Catalogue, Heard, Intent, Known, Outgoing, admit, answer::answers, fill, hear};
use manyhands_model::template::looks_like_token;
use manyhands_model::{Class, IntentId, JobName, RunId, UnitId};
use manyhands_placeholder::{Occurrence, Scope, Source, Taken, Token, TokenKey, Value, Values};
use serde_json::json;
use zeroize::Zeroizing;

use crate::promise;

const UNIT: UnitId = UnitId { run: RunId([1; 16]), index: 0 };
/// What a value that means harm would look like, wherever it is put.
const VALUES: [&str; 4] = ["ann@example.com", "\",\"admin\":true,\"", "../..", "a\r\nx-admin: 1"];

/// Runs the target.
pub fn run(data: &[u8]) -> bool {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (request, answer) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let catalogue = catalogue();
    let values: Values = (0..)
        .zip(VALUES)
        .map(|(index, value)| Taken { token: token(index), surrogate: None, value: Value::of_text(value) })
        .collect();
    for known in [catalogue.get("lookup").unwrap(), catalogue.get("send").unwrap()] {
        heard(known, answer);
    }
    let Ok(calls) = promise::bounded(request.len(), || admit(request, &catalogue, &values)) else { return false };
    let mut made = 0;
    for call in calls {
        match call {
            Ok(intent) => {
                admitted(&catalogue, &values, &intent);
                made += 1;
            }
            Err(refused) => assert!(!refused.to_string().is_empty(), "refused without a word"),
        }
    }
    made > 0
}

/// One form, however it was written; and what is sent has the shape of its verb.
fn admitted(catalogue: &Catalogue, values: &Values, intent: &Intent) {
    let canonical = intent.canonical();
    let again = admit(&[b"[", &canonical[..], b"]"].concat(), catalogue, values).unwrap().remove(0).unwrap();
    assert_eq!(again.slots, intent.slots, "another intent came back");
    assert_eq!(again.canonical(), canonical, "two forms");
    let job: JobName = "fuzz".parse().unwrap();
    let scope = Scope { tenant: "t", job: &job, unit: UNIT };
    assert_eq!(Intent { ordinal: intent.ordinal, ..again }.id(&scope, 0), intent.id(&scope, 0), "two ids");

    let known = catalogue.get(intent.verb.as_str()).unwrap();
    let key = CallKey::derive(&[1; 32]).of(&IntentId([2; 32]), &known.template.origin);
    let secret = |_: &_, _: &_| Some(Zeroizing::new("s3cret".to_owned()));
    match fill(known, intent, values, secret, &key) {
        Ok(outgoing) => sent(intent, &outgoing),
        Err(unfit) => assert!(!unfit.to_string().is_empty(), "refused without a word"),
    }
}

fn sent(intent: &Intent, outgoing: &Outgoing) {
    let (path, query) = outgoing.target.split_once('?').unwrap_or((&outgoing.target, ""));
    let visible = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    assert!(outgoing.headers.iter().all(|(_, value)| visible(value)), "a header that is none");
    assert!(visible(path) && !path.contains([' ', '\\', ';', '#']) && visible(query), "a target that is none");
    assert!(path.split('/').skip(1).all(|segment| !matches!(segment, "." | "..")), "a path that leads elsewhere");
    match intent.verb.as_str() {
        "lookup" => {
            let segments: Vec<&str> = path.split('/').collect();
            assert!(segments.len() == 5 && segments[4] == "orders" && !segments[3].is_empty(), "another path");
            assert_eq!(query.split('&').count(), 2, "another query");
        }
        "send" => {
            let body: serde_json::Value = serde_json::from_slice(&outgoing.body).unwrap();
            let members: Vec<&String> = body.as_object().unwrap().keys().collect();
            assert_eq!(members, ["amount", "on", "text", "to"], "another body");
            assert!(body["amount"].is_i64() && body["text"].is_string() && body["to"].is_string(), "of other types");
        }
        _ => assert_eq!((path, query, outgoing.body.len()), ("/", "", 0)),
    }
}

/// Nothing of an answer comes through but what is declared.
fn heard(known: &Known, answer: &[u8]) {
    let mut texts = 0;
    let tokenise = |_: Class, _: &str| {
        texts += 1;
        token(100 + texts)
    };
    let heard = promise::bounded(answer.len(), || hear(known, 200, answer, |text| text.contains("live"), tokenise));
    let written = String::from_utf8(answers([&heard])).unwrap();
    assert!(!written.contains("live"), "a value is shown");
    let expected =
        known.verb.answer.values().filter(|field| matches!(field.shape, manyhands_model::verb::Shape::Text { .. }));
    match heard {
        Heard::Answer { fields, .. } => {
            assert!(fields.keys().eq(known.verb.answer.keys()), "other fields");
            assert_eq!(texts as usize, expected.count(), "another number of tokens");
        }
        Heard::Fault(_) => assert!(texts == 0 && !looks_like_token(&written), "tokens for nothing"),
    }
}

fn token(index: u32) -> Token {
    let job: JobName = "fuzz".parse().unwrap();
    let mint = TokenKey::derive(&[7; 32], 0).mint(&Scope { tenant: "t", job: &job, unit: UNIT });
    mint.fresh(Class::Email, Occurrence { source: Source::Input, index })
}

fn catalogue() -> Catalogue {
    let verbs = json!({
        "lookup": {
            "method": "GET", "origin": "https://crm.example.com", "path": "/v1/customers/{who}/orders",
            "query": {"email": "{email}", "kind": "{kind}"}, "headers": {"x-id": "id {id}"},
            "slots": {
                "who": {"type": "token", "classes": ["email"]}, "email": {"type": "token", "classes": ["email"]},
                "kind": {"type": "enum", "values": ["a", "b c"]}, "id": {"type": "id", "bytes_max": 20}
            },
            "answer": {
                "name": {"at": "/n/name", "type": "text", "class": "name"}, "id": {"at": "/ids/1", "type": "id", "bytes_max": 20},
                "count": {"at": "/n/count", "type": "integer", "min": 0, "max": 1000}, "day": {"at": "/day", "type": "date"},
                "yes": {"at": "/yes", "type": "boolean"}, "tier": {"at": "/tier", "type": "enum", "values": ["gold", "tin"]}
            },
            "effect": "safe", "budget": {"per_run": 1}
        },
        "send": {
            "method": "POST", "origin": "https://mail.example.com", "path": "/v1/messages",
            "json": {"to": "{to}", "text": "{text}", "amount": "{amount}", "on": "{on}"},
            "slots": {
                "to": {"type": "token", "classes": ["email"]}, "text": {"type": "text", "bytes_max": 2000, "classes": ["email"]},
                "amount": {"type": "integer", "min": -1000, "max": 1000}, "on": {"type": "date"}
            },
            "answer": {"all": {"at": "", "type": "text", "class": "text"}},
            "effect": "keyed", "idempotency_header": "idempotency-key", "budget": {"per_run": 1}
        },
        "ping": {"method": "HEAD", "origin": "https://a.example", "path": "/", "effect": "at_most_once", "budget": {"per_run": 1}}
    });
    Catalogue::of(&serde_json::from_value(verbs).unwrap()).unwrap()
}

/// A call of each verb and an answer for it, with every value in its place.
pub fn seeds() -> Vec<Vec<u8>> {
    let [ann, admin, dots, header] = [0, 1, 2, 3].map(token);
    // Keys in their order, which is that of every feature set of serde_json's.
    let lookup = |who| json!([{"slots": {"email": ann, "id": "x-1", "kind": "b c", "who": who}, "verb": "lookup"}]);
    let send = json!([
        {"slots": {"amount": 1e2, "on": "2026-11-22", "text": format!("Dear {header},\n{dots}{ann}!"), "to": admin}, "verb": "send"},
        {"verb": "ping"}, {"slots": {"a": [1]}, "verb": "nobody"}, {"slots": null, "verb": "ping"}
    ]);
    let found = json!({"day": "2024-02-29", "ids": ["a", "order-1"], "n": {"count": 3, "name": "Acme"}, "tier": "tin", "x": [{}], "yes": true});
    let with =
        |request: serde_json::Value, answer: &str| [request.to_string().as_bytes(), b"\0", answer.as_bytes()].concat();
    vec![
        with(lookup(ann), &found.to_string()),
        with(lookup(dots), "{}"),
        with(lookup(header), "\"live\""),
        with(send, "\"text\""),
    ]
}
