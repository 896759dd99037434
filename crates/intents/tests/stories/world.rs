//! A job, a unit with tokens, and what they stand for.

use std::collections::BTreeMap;

use manyhands_intents::{CallKey, Catalogue, IdempotencyKey, Intent, Known, Outgoing, Refused, Unfit, admit, fill};
use manyhands_model::template::Origin;
use manyhands_model::{Class, IntentId, JobName, Manifest, Name, RunId, UnitId};
use manyhands_placeholder::{Occurrence, Scope, Source, Taken, Token, TokenKey, UnitTokens, Value, Values};
use serde_json::json;
use zeroize::Zeroizing;

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

pub(crate) fn manifest() -> Manifest {
    let manifest = json!({
        "name": "letters", "version": "1.2.0", "abi": 1,
        "sensitive": [
            {"at": "/customer/email", "class": "email", "reveal": "domain"},
            {"at": "$.orders[*].card", "class": "card", "joinable": true},
            {"at": "/iban", "class": "iban", "surrogate": true}
        ],
        "verbs": {
            "lookup": {
                "description": "Finds a customer.",
                "method": "GET", "origin": "https://crm.example.com", "path": "/v1/customers/{who}/orders",
                "query": {"email": "{email}", "page": "{page}", "fixed": "a b&c"},
                "headers": {"authorization": "Bearer {secret:crm_key}", "x-kind": "{kind}", "x-who": "{who}"},
                "slots": {
                    "who": {"type": "token", "classes": ["text", "name", "secret"]},
                    "email": {"type": "token", "classes": ["email", "text"]},
                    "page": {"type": "integer", "min": -5, "max": 9007199254740991_i64},
                    "kind": {"type": "enum", "values": ["plain", "rich text"]}
                },
                "answer": {
                    "company": {"at": "/company/name", "type": "text", "class": "name"},
                    "tier": {"at": "/tier", "type": "enum", "values": ["gold", "basic"]},
                    "id": {"at": "/ids/1", "type": "id", "bytes_max": 64},
                    "orders": {"at": "/orders", "type": "integer", "min": 0, "max": 999999},
                    "since": {"at": "/since", "type": "date"},
                    "active": {"at": "/a~1b", "type": "boolean"}
                },
                "effect": "safe",
                "limits": {"request_bytes": 1024, "answer_bytes": 4096, "total_ms": 10000},
                "budget": {"per_run": 1000, "per_day": 10000}
            },
            "send": {
                "method": "POST", "origin": "https://mail.example.com:8443", "path": "/v1/messages",
                "headers": {"authorization": "Bearer {secret:mail_key}"},
                "json": {
                    "to": "{to}", "text": "{text}", "amount": "{amount}", "key": "{secret:mail_key}",
                    "on": "{on}", "also": [null, true, 1.5, "{ literal }", {"ref": "{ref}"}]
                },
                "slots": {
                    "to": {"type": "token", "classes": ["email", "number", "text"]},
                    "text": {"type": "text", "bytes_max": 20000, "classes": ["name", "text"]},
                    "amount": {"type": "integer", "min": 0, "max": 1000000},
                    "on": {"type": "date"},
                    "ref": {"type": "id", "bytes_max": 16}
                },
                "answer": {"message": {"at": "/id", "type": "id", "bytes_max": 64}},
                "effect": "keyed", "idempotency_header": "Idempotency-Key",
                "budget": {"per_run": 2}
            },
            "post": {
                "method": "POST", "origin": "http://127.0.0.1:8080", "path": "/",
                "form": {"text": "{text}", "a&b": "c=d", "key": "{secret:mail_key}"},
                "slots": {"text": {"type": "text", "bytes_max": 100, "classes": ["text"]}},
                "effect": "irreversible",
                "limits": {"request_bytes": 4096, "answer_bytes": 1024, "total_ms": 1000},
                "budget": {"per_run": 1}
            },
            "visit": {
                "method": "DELETE", "origin": "https://a.example", "path": "/{who}/",
                "slots": {"who": {"type": "token", "classes": ["text"]}}, "effect": "at_most_once", "budget": {"per_run": 1}
            },
            "ping": {
                "method": "HEAD", "origin": "https://a.example", "path": "/", "effect": "at_most_once", "budget": {"per_run": 1}
            }
        }
    });
    serde_json::from_value(manifest).expect("a manifest")
}

pub(crate) fn job() -> JobName {
    "letters".parse().expect("a name")
}

pub(crate) const UNIT: UnitId = UnitId { run: RunId([9; 16]), index: 4 };

pub(crate) fn scope<'a>(job: &'a JobName, unit: UnitId) -> Scope<'a> {
    Scope { tenant: "alice", job, unit }
}

/// A canonical token of a unit; each number has another.
pub(crate) fn token(unit: UnitId, class: Class, number: u32) -> Token {
    let job = job();
    let mint = TokenKey::derive(&[7; 32], 0).mint(&scope(&job, unit));
    mint.fresh(class, Occurrence { source: Source::Input, index: number })
}

/// One unit's side of things.
pub(crate) struct World {
    pub(crate) catalogue: Catalogue,
    pub(crate) values: BTreeMap<Token, String>,
    pub(crate) secrets: BTreeMap<Name, String>,
}

impl World {
    pub(crate) fn new() -> Self {
        let catalogue = Catalogue::of(&manifest().verbs).expect("good verbs");
        let secrets = [(name("crm_key"), "crm-s3cret".to_owned()), (name("mail_key"), "mail-s3cret".to_owned())];
        Self { catalogue, values: BTreeMap::new(), secrets: secrets.into() }
    }

    /// A token of the unit's that stands for this text.
    pub(crate) fn holds(&mut self, class: Class, text: &str) -> Token {
        self.holds_json(class, &serde_json::to_string(text).expect("writes"))
    }

    /// A token of the unit's that stands for this JSON.
    pub(crate) fn holds_json(&mut self, class: Class, json: &str) -> Token {
        let token = token(UNIT, class, self.values.len() as u32);
        self.values.insert(token, json.to_owned());
        token
    }

    pub(crate) fn tokens(&self) -> UnitTokens {
        let text: String = self.values.keys().map(ToString::to_string).collect();
        UnitTokens::of([text.as_bytes()])
    }

    pub(crate) fn verb(&self, verb: &str) -> &Known {
        self.catalogue.get(verb).expect("declared")
    }

    /// Admits one call.
    pub(crate) fn ask(&self, verb: &str, slots: serde_json::Value) -> Result<Intent, Refused> {
        let request = json!([{"verb": verb, "slots": slots}]).to_string();
        let mut admitted = admit(request.as_bytes(), &self.catalogue, &self.tokens()).expect("a request");
        assert_eq!(admitted.len(), 1);
        admitted.remove(0)
    }

    pub(crate) fn fill(&self, intent: &Intent) -> Result<Outgoing, Unfit> {
        let secret = |origin: &Origin, name: &Name| self.secret(origin, name);
        fill(self.verb(intent.verb.as_str()), intent, &self.values(), secret, &key())
    }
}

pub(crate) fn key() -> IdempotencyKey {
    let world = Catalogue::of(&manifest().verbs).expect("good verbs");
    CallKey::derive(&[1; 32]).of(&IntentId([2; 32]), &world.get("send").expect("declared").template.origin)
}

impl World {
    fn values(&self) -> Values {
        let taken = |(token, json): (&Token, &String)| Taken {
            token: *token,
            surrogate: None,
            value: Value::of_json(json).expect("JSON"),
        };
        self.values.iter().map(taken).collect()
    }

    fn secret(&self, origin: &Origin, name: &Name) -> Option<Zeroizing<String>> {
        let bound = match name.as_str() {
            "crm_key" => "https://crm.example.com",
            _ => "https://mail.example.com:8443",
        };
        let origin = origin.to_string();
        let here = origin == bound || origin.starts_with("http://127.0.0.1");
        here.then(|| self.secrets.get(name).cloned().map(Zeroizing::new))?
    }
}
