//! What a verb may say, and what everything else is told.

use std::collections::BTreeMap;

use manyhands_model::template::{BadVerb, Body, Hole, Node, Part, is_date, pointer, templates, token_prefixes};
use manyhands_model::{Manifest, Name, Template, Verb, Verbs};
use serde_json::{Value, json};

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// Two verbs that use most of what there is.
fn good() -> Value {
    json!({
        "crm_lookup": {
            "method": "GET", "origin": "https://crm.example.com", "path": "/v1/customers/{id}",
            "query": {"email": "{email}"},
            "headers": {"Authorization": "Bearer {secret:crm_key}"},
            "slots": {"id": {"type": "id", "bytes_max": 64}, "email": {"type": "token", "classes": ["email"]}},
            "answer": {
                "company": {"at": "/company/name", "type": "text", "class": "name"},
                "tier": {"at": "/tier", "type": "enum", "values": ["gold", "basic"]}
            },
            "effect": "safe",
            "limits": {"request_bytes": 16384, "answer_bytes": 65536, "total_ms": 10000},
            "budget": {"per_run": 1000, "per_day": 10000}
        },
        "send_letter": {
            "method": "POST", "origin": "https://mail.example.com", "path": "/v1/messages",
            "headers": {"authorization": "Bearer {secret:mail_key}"},
            "json": {"to": "{to}", "subject": "{subject}", "text": "{text}", "options": [{"track": false, "n": 1.5}, null, "{ x }"]},
            "slots": {
                "to": {"type": "token", "classes": ["email"]},
                "subject": {"type": "text", "bytes_max": 200, "classes": ["name"]},
                "text": {"type": "text", "bytes_max": 20000, "classes": ["name"]}
            },
            "answer": {"message": {"at": "/id", "type": "id", "bytes_max": 64}},
            "effect": "keyed", "idempotency_header": "Idempotency-Key",
            "budget": {"per_run": 1000}
        }
    })
}

fn read(verbs: Value) -> Result<BTreeMap<Name, Template>, String> {
    let verbs: Verbs = serde_json::from_value(verbs).map_err(|error| error.to_string())?;
    templates(&verbs).map_err(|error| error.to_string())
}

/// The examples with one value changed; `null` removes it.
fn changed(place: &str, value: Value) -> Result<BTreeMap<Name, Template>, String> {
    let mut verbs = good();
    let (parent, key) = place.rsplit_once('/').expect("a place");
    let parent = verbs.pointer_mut(parent).expect("there").as_object_mut().expect("an object");
    if value.is_null() {
        parent.remove(key)
    } else {
        parent.insert(key.to_owned(), value)
    };
    read(verbs)
}

fn refused(place: &str, value: Value) -> String {
    let shown = value.to_string();
    changed(place, value).map(|_| ()).expect_err(&format!("{place} {shown}"))
}

#[test]
fn the_examples_are_read() {
    let templates = read(good()).expect("good");
    let lookup = &templates["crm_lookup"];
    assert_eq!(lookup.path[2], Part::Hole(Hole::Slot(name("id"))));
    assert_eq!(lookup.headers["authorization"].before, "Bearer ");
    assert_eq!(lookup.secrets().into_iter().collect::<Vec<_>>(), [&name("crm_key")]);
    let letter = &templates["send_letter"];
    assert_eq!(letter.idempotency_header.as_deref(), Some("idempotency-key"));
    let Body::Json(Node::Object(members)) = &letter.body else { panic!("{:?}", letter.body) };
    assert_eq!(members["to"], Node::Text(Part::Hole(Hole::Slot(name("to")))));
}

#[test]
fn a_verb_survives_being_written() {
    let manifest = json!({"name": "a", "version": "1.0.0", "abi": 1, "verbs": good()});
    let manifest: Manifest = serde_json::from_value(manifest).expect("parses");
    let written = serde_json::to_string(&manifest).expect("writes");
    assert_eq!(serde_json::from_str::<Manifest>(&written).expect("parses"), manifest);
}

#[test]
fn a_refusal_names_verb_place_and_cure() {
    assert_eq!(
        refused("/crm_lookup/path", json!("/v1/../{id}")),
        "verb `crm_lookup`: path: a segment is `..`; write it as it is sent, such as `/v1/customers/{id}`, with nothing in need of percent signs"
    );
}

#[test]
fn unknown_keys_are_refused_everywhere() {
    for place in [
        "/crm_lookup/hots",
        "/crm_lookup/slots/id/x",
        "/crm_lookup/answer/tier/x",
        "/crm_lookup/limits/x",
        "/crm_lookup/budget/x",
    ] {
        let refusal = refused(place, json!(1));
        assert!(refusal.contains("unknown field"), "{place}: {refusal}");
    }
}

#[test]
fn attack_2_nothing_stands_in_an_origin_but_scheme_host_and_port() {
    for good in ["https://a.example", "http://127.0.0.1:8080", "https://[::1]:9000", "https://xn--bcher-kva.example"] {
        let templates = changed("/crm_lookup/origin", json!(good)).expect(good);
        assert_eq!(templates["crm_lookup"].origin.to_string(), good);
    }
    for bad in [
        "https://{id}.example",
        "https://user@a.example",
        "https://user:pw@a.example",
        "https://a.example/",
        "https://a.example/x",
        "https://a.example?x",
        "https://a.example#x",
        "ftp://a.example",
        "file:///etc/passwd",
        "data:,x",
        "a.example",
        "//a.example",
        "",
        "https://",
        "https://:443",
        "https://dtk1eaaaaaaaaaaaaaaaaaaaaaaaaaaaa@a.example",
        "https://a b.example",
        // No host name (RFC 1123), and nobody would ever be called there.
        "https://a_b.example",
        "https://a*.example",
        "https://a.example:99999",
    ] {
        assert!(refused("/crm_lookup/origin", json!(bad)).contains("origin: "), "{bad}");
    }
}

/// The 17 forms and more; a lenient reader takes ten of them for the allowed host.
#[test]
fn attack_3_an_origin_that_is_read_otherwise_than_it_is_written_is_refused() {
    for bad in [
        "https://api.example.com\\@evil.example",
        "https://api.example.com@evil.example",
        "https://api.example.com#@evil.example",
        "https://api.example.com.",
        "https://api%2eexample.com",
        "https://api\u{3002}example\u{3002}com",
        "https://\u{ff41}pi.example.com",
        "https://api.example.com:443",
        "https://api.exa\tmple.com",
        "https://[::ffff:127.0.0.1]",
        "https://[::ffff:7f00:1]",
        "https://api.example.com/a/../../",
        "https://api.example.com/a/%2e%2e/",
        "https://api.example.com//",
        "https:api.example.com",
        "https://API.example.com",
        "HTTPS://api.example.com",
        "https://xn--a.example",
        "https://api\u{ad}.example.com",
        "https://2130706433",
        "https://0x7f.1",
        "https://127.1",
        "http://a.example:80",
        " https://api.example.com",
        "https://api.example.com ",
        "https:///api.example.com",
        "https:\\\\api.example.com",
    ] {
        assert!(refused("/crm_lookup/origin", json!(bad)).contains("origin: "), "{bad}");
    }
    let refusal = refused("/crm_lookup/origin", json!("https://API.example.com"));
    assert!(refusal.contains("it is read as `https://api.example.com`; write it as it is read"), "{refusal}");
}

#[test]
fn attack_4_a_path_has_plain_segments_and_whole_slots() {
    for good in ["/{id}", "/a/{id}/", "/a:b@c/{id}", "/{id}/{id}", "/~x/{id}"] {
        assert!(changed("/crm_lookup/path", json!(good)).is_ok(), "{good}");
    }
    for bad in [
        "v1/{id}",
        "",
        "//{id}",
        "/a//{id}",
        "/./{id}",
        "/../{id}",
        "/a;b/{id}",
        "/a%2fb/{id}",
        "/%2e%2e/{id}",
        "/a?b={id}",
        "/{id}#x",
        "/a b/{id}",
        "/a\\b/{id}",
        "/é/{id}",
        "/{id}.json",
        "/x{id}",
        "/{id}{id}",
        "/{secret:crm_key}/{id}",
        "/{nobody}/{id}",
        "/{Id}/{id}",
        "/{/{id}",
        "/dtk1/{id}",
        "/\r\n/{id}",
    ] {
        assert!(refused("/crm_lookup/path", json!(bad)).contains("`crm_lookup`: path: "), "{bad}");
    }
    assert!(refused("/crm_lookup/path", json!("/{secret:crm_key}/{id}")).contains("logs"));
}

/// A host that may be called often has a path that sends elsewhere, or repeats what it is told. Which path is called is the manifest's to say.
#[test]
fn attack_20_no_path_has_a_free_part() {
    for wild in [
        "/v1/{id}*",
        "/v1/{*id}",
        "/v1/{id*}",
        "/v1/{id...}",
        "/v1/{+id}",
        "/v1/{/id}",
        "/v1/{id:.*}",
        "/v1/{?id}",
        "/{id}?to={email}",
        "/v1/[^/]+",
        "/v1/?",
        "/(v1|redirect)/{id}",
        "{id}",
        "{id}/v1",
    ] {
        assert!(refused("/crm_lookup/path", json!(wild)).contains("`crm_lookup`: path: "), "{wild}");
    }
    // A star is a star, and stands for nothing else.
    let starred = changed("/crm_lookup/path", json!("/v1/*/{id}/**")).expect("good");
    let fixed = starred["crm_lookup"].path.iter().filter_map(|part| match part {
        Part::Fixed(text) => Some(&text[..]),
        Part::Hole(_) => None,
    });
    assert_eq!(fixed.collect::<Vec<_>>(), ["v1", "*", "**"]);
    // Nor does a slot hold more than a segment: any text is refused in a path, and keys of a query are fixed.
    let text = json!({"type": "text", "bytes_max": 10});
    assert!(refused("/crm_lookup/slots/id", text).contains("any text may stand in the slot `id`"));
    assert!(refused("/crm_lookup/query/{id}", json!("x")).contains("keys are fixed"));
}

#[test]
fn attack_5_headers_are_few_and_fixed_but_for_their_end() {
    for reserved in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "TE",
        "connection",
        "Accept-Encoding",
        "Content-Encoding",
        "trailer",
        "upgrade",
        "expect",
    ] {
        let refusal = refused(&format!("/crm_lookup/headers/{reserved}"), json!("x"));
        assert!(refusal.contains("the coordinator's to write"), "{refusal}");
    }
    for bad in ["x y", "x:y", "x\r\ny", "", "{id}", "é", "x\0"] {
        let refusal = refused(&format!("/crm_lookup/headers/{bad}"), json!("x"));
        assert!(refusal.contains("no header is called that"), "{refusal}");
    }
    let bad_values = [
        "a\r\nb",
        "a\0",
        "é",
        "",
        " a",
        "a ",
        "{id} a",
        "{id}{id}",
        "{secret:a}{secret:b}",
        "{nobody}",
        "{",
        "a}",
        "dtk1e",
    ];
    for bad in bad_values {
        assert!(refused("/crm_lookup/headers/x-a", json!(bad)).contains("headers.x-a: "), "{bad}");
    }
    for good in ["a", "a b", "{id}", "Bearer {secret:a}", "v={email}"] {
        assert!(changed("/crm_lookup/headers/x-a", json!(good)).is_ok(), "{good}");
    }
    let twice = refused("/crm_lookup/headers/authorization", json!("x"));
    assert!(twice.contains("it is there twice"), "{twice}");
    assert!(refused("/crm_lookup/headers/cookie", json!("a=b")).contains("who calls"));
    assert!(changed("/crm_lookup/headers/cookie", json!("sid={secret:sid}")).is_ok());
    assert!(refused("/crm_lookup/headers/content-type", json!("application/json")).contains("what the body is"));
    assert!(refused("/send_letter/headers/content-type", json!("text/html")).contains("what the body is"));
    assert!(changed("/send_letter/headers/content-type", json!("application/vnd.api+json")).is_ok());
}

#[test]
fn attack_7_any_text_stands_in_bodies_only_and_as_a_whole() {
    let text = json!({"type": "text", "bytes_max": 10});
    assert!(refused("/crm_lookup/slots/id", text.clone()).contains("any text may stand in the slot `id`"));
    assert!(refused("/crm_lookup/slots/email", text).contains("any text may stand in the slot `email`"));
    for bad in ["Hello {subject}", "{subject}{text}", "{subject} ", "query{user{subject}}", "{nobody}"] {
        assert!(refused("/send_letter/json/x", json!(bad)).contains("`send_letter`: json/x: "), "{bad}");
    }
    for key in ["{subject}", "a{to}", "{secret:x}", ""] {
        let refusal = refused(&format!("/send_letter/json/{key}"), json!(1));
        assert!(refusal.contains("json: "), "{key}: {refusal}");
    }
    assert!(changed("/send_letter/json/x", json!("query { user { name } }")).is_ok());
    assert!(refused("/crm_lookup/query/{id}", json!("x")).contains("keys are fixed"));
    assert!(refused("/crm_lookup/query/x", json!("{ id }")).contains("braces"));
}

#[test]
fn every_declared_slot_is_used_and_every_used_one_declared() {
    let refusal = refused("/crm_lookup/slots/more", json!({"type": "date"}));
    assert!(refusal.contains("slots.more: it stands nowhere"), "{refusal}");
    let refusal = refused("/crm_lookup/slots/id", Value::Null);
    assert!(refusal.contains("no slot `id` is declared"), "{refusal}");
}

#[test]
fn what_no_coordinator_grants_is_refused_with_its_range() {
    for (place, value, said) in [
        ("/crm_lookup/slots/id/bytes_max", json!(0), "from 1 to 256"),
        ("/crm_lookup/slots/id/bytes_max", json!(257), "from 1 to 256"),
        ("/crm_lookup/slots/email/classes", json!([]), "no class"),
        ("/crm_lookup/slots/id", json!({"type": "integer", "min": 2, "max": 1}), "no range"),
        ("/crm_lookup/slots/id", json!({"type": "integer", "min": 0, "max": 9_007_199_254_740_992_i64}), "no range"),
        ("/crm_lookup/slots/id", json!({"type": "enum", "values": []}), "`values` has 0"),
        ("/crm_lookup/slots/id", json!({"type": "enum", "values": ["a", "a"]}), "twice"),
        ("/crm_lookup/slots/id", json!({"type": "enum", "values": ["a", ""]}), "number 1"),
        ("/crm_lookup/slots/id", json!({"type": "enum", "values": ["DTK1e"]}), "number 0"),
        ("/send_letter/slots/text/bytes_max", json!(65_537), "from 1 to 65536"),
        ("/crm_lookup/answer/tier/at", json!("tier"), "leads nowhere"),
        ("/crm_lookup/answer/tier/at", json!("/a~2"), "leads nowhere"),
        ("/crm_lookup/answer/tier/at", json!("/a".repeat(33)), "leads nowhere"),
        ("/crm_lookup/limits/request_bytes", json!(0), "from 1 to 1048576"),
        ("/crm_lookup/limits/answer_bytes", json!(4_194_305), "from 1 to 4194304"),
        ("/crm_lookup/limits/total_ms", json!(120_001), "from 1 to 120000"),
        ("/crm_lookup/budget/per_run", json!(0), "from 1 to 1000000"),
        ("/crm_lookup/budget/per_day", json!(0), "from 1 to"),
        ("/crm_lookup/description", json!("a\nb"), "say it in a sentence"),
        ("/crm_lookup/json", json!({}), "GET has no body"),
        ("/send_letter/form", json!({}), "keep one of them"),
        ("/send_letter/idempotency_header", Value::Null, "no header carries it"),
        ("/send_letter/idempotency_header", json!("authorization"), "something else already"),
        ("/crm_lookup/idempotency_header", json!("x-key"), "declare `keyed`"),
        ("/crm_lookup/method", json!("HEAD"), "HEAD has no body"),
        ("/crm_lookup/method", json!("CONNECT"), "unknown variant"),
    ] {
        let refusal = refused(place, value.clone());
        assert!(refusal.contains(said), "{place} {value}: {refusal}");
    }
}

#[test]
fn lists_have_an_end() {
    let simple = json!({"method": "GET", "origin": "https://a.example", "path": "/", "effect": "safe", "budget": {"per_run": 1}});
    let simple: Verb = serde_json::from_value(simple).expect("a verb");
    let many =
        |count: usize| -> Verbs { (0..count).map(|number| (name(&format!("v{number}")), simple.clone())).collect() };
    assert!(templates(&many(64)).is_ok());
    assert_eq!(templates(&many(65)), Err(BadVerb::TooMany(65)));
    let mut deep = json!("x");
    for _ in 0..40 {
        deep = json!([deep]);
    }
    assert!(refused("/send_letter/json/x", deep).contains("nested more than 32 deep"));
}

#[test]
fn small_readers_agree_with_their_sources() {
    for good in ["2026-11-22", "2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31"] {
        assert!(is_date(good), "{good}");
    }
    for bad in [
        "2025-02-29",
        "1900-02-29",
        "2026-13-01",
        "2026-00-01",
        "2026-01-00",
        "2026-04-31",
        "2026-1-01",
        "+026-01-01",
        "2026-01-01T",
        "2026/01/01",
        "",
        "éé-01-01-0",
    ] {
        assert!(!is_date(bad), "{bad}");
    }
    assert_eq!(pointer("/a~1b/m~0n/").as_deref(), Some(&["a/b".to_owned(), "m~n".into(), String::new()][..]));
    assert_eq!(pointer("").as_deref(), Some(&[][..]));
    assert_eq!((pointer("a"), pointer("/~"), pointer("/~01")), (None, None, Some(vec!["~1".to_owned()])));
    assert_eq!(token_prefixes("dtk1DTK1 xdTk1dtk").collect::<Vec<_>>(), [0, 4, 10]);
}
