//! What a job says, and what it may not.

use manyhands_intents::intent::{CALLS_MAX, Expected, Why};
use manyhands_intents::{BadRequest, CallKey, Catalogue, Given, Intent, Unfit, admit};
use manyhands_model::{Class, RunId, UnitId};
use manyhands_placeholder::{Taken, UnitTokens, Value as PlaceholderValue, Values};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{UNIT, World, job, name, scope, token};

fn why(world: &World, verb: &str, slots: Value) -> Why {
    let shown = slots.to_string();
    world.ask(verb, slots).expect_err(&shown).why
}

/// Slots of `send`, with one changed.
fn send(world: &World, slot: &str, value: Value) -> Value {
    let to = world.values.keys().next().expect("a token");
    let mut slots = json!({"to": to, "text": "Hello", "amount": 12, "on": "2026-11-22", "ref": "a-1"});
    slots[slot] = value;
    slots
}

fn with_email() -> World {
    let mut world = World::new();
    world.holds(Class::Email, "ann@example.com");
    world
}

#[test]
fn what_fits_its_verb_is_an_intent() {
    let world = with_email();
    let intent = world.ask("send", send(&world, "amount", json!(7))).expect("fits");
    assert_eq!(intent.slots[&name("amount")], Given::Integer(7));
    assert_eq!(intent.slots[&name("to")], Given::Token(token(UNIT, Class::Email, 0)));
    for slots in [json!(null), json!({})] {
        assert_eq!(world.ask("ping", slots).expect("fits").slots.len(), 0);
    }
    let bare = admit(br#"[{"verb":"ping"}]"#, &world.catalogue, &world.tokens()).expect("a request");
    assert!(bare[0].is_ok());
}

#[test]
fn an_intent_survives_the_journal() {
    let world = with_email();
    let intent = world.ask("send", send(&world, "amount", json!(7))).expect("fits");
    let bytes = postcard::to_allocvec(&intent).expect("writes");
    assert_eq!(postcard::from_bytes::<Intent>(&bytes).expect("reads"), intent);
}

#[test]
fn a_call_that_does_not_fit_is_refused_and_the_others_are_not() {
    let world = with_email();
    let good = send(&world, "amount", json!(1)).to_string();
    let request = format!(r#"[{{"verb":"send","slots":{good}}},{{"verb":"nobody"}},{{"verb":"send","slots":{good}}}]"#);
    let admitted = admit(request.as_bytes(), &world.catalogue, &world.tokens()).expect("a request");
    assert_eq!(admitted[0].as_ref().expect("fits").ordinal, 0);
    let refused = admitted[1].as_ref().expect_err("unknown");
    assert_eq!(refused.to_string(), "call 1: the manifest declares no such verb");
    assert_eq!(admitted[2].as_ref().expect("fits").ordinal, 2);
}

#[test]
fn every_type_of_slot_takes_its_own_and_nothing_else() {
    let world = with_email();
    for (slot, bad, expected) in [
        ("amount", json!(-1), Expected::Integer(0, 1_000_000)),
        ("amount", json!(1_000_001), Expected::Integer(0, 1_000_000)),
        ("amount", json!(1.5), Expected::Integer(0, 1_000_000)),
        ("amount", json!(1e300), Expected::Integer(0, 1_000_000)),
        ("amount", json!("1"), Expected::Integer(0, 1_000_000)),
        ("amount", json!(true), Expected::Integer(0, 1_000_000)),
        ("amount", json!(null), Expected::Integer(0, 1_000_000)),
        ("on", json!("2026-02-30"), Expected::Date),
        ("on", json!(20_261_122), Expected::Date),
        ("ref", json!(""), Expected::Id(16)),
        ("ref", json!("a".repeat(17)), Expected::Id(16)),
        ("ref", json!("a/b"), Expected::Id(16)),
        ("ref", json!("é"), Expected::Id(16)),
        ("ref", json!(["a"]), Expected::Id(16)),
        ("text", json!("a\0b"), Expected::Text(20_000)),
        ("text", json!("a\rb"), Expected::Text(20_000)),
        ("text", json!("a\u{85}b"), Expected::Text(20_000)),
        ("text", json!("x".repeat(20_001)), Expected::Text(20_000)),
        ("text", json!({"a": 1}), Expected::Text(20_000)),
        ("to", json!(5), Expected::Token),
        ("to", json!([]), Expected::Token),
    ] {
        assert_eq!(
            why(&world, "send", send(&world, slot, bad.clone())),
            Why::Mistyped { slot: name(slot), expected },
            "{bad}"
        );
    }
    assert!(world.ask("send", send(&world, "text", json!("tab\tand\nline é 😀"))).is_ok());
    let mut less = send(&world, "amount", json!(1));
    less.as_object_mut().expect("an object").remove("on");
    assert_eq!(why(&world, "send", less), Why::Missing(name("on")));
    assert_eq!(why(&world, "send", send(&world, "more", json!(1))), Why::Undeclared);
    for bad in [json!(1), json!([]), json!("a")] {
        assert_eq!(why(&world, "send", bad), Why::NotSlots);
    }
}

#[test]
fn attack_8_only_the_unit_s_own_whole_tokens_are_taken() {
    let world = with_email();
    let own = token(UNIT, Class::Email, 0).to_string();
    let flipped = own.replace(&own[30..31], if own.as_bytes()[30] == b'a' { "b" } else { "a" });
    for bad in [
        &own[..32],
        &format!("{own}a"),
        &own.to_uppercase(),
        &format!(" {own}"),
        &format!("{own}\n"),
        &flipped,
        "dtk1",
        "",
        "ann@example.com",
    ] {
        assert_eq!(why(&world, "send", send(&world, "to", json!(bad))), Why::NotToken(name("to")), "{bad}");
    }
    // In any other slot nothing may even look like one.
    for (slot, bad) in [
        ("ref", &own[..16]),
        ("ref", "xDTK1"),
        ("on", "dtk1"),
        ("text", "see dtk1e"),
        ("text", &own.to_uppercase()),
        ("text", &own[..32]),
    ] {
        assert_eq!(why(&world, "send", send(&world, slot, json!(bad))), Why::NotToken(name(slot)), "{bad}");
    }
}

#[test]
fn attack_9_a_split_token_is_refused_wherever_it_is_cut() {
    let mut world = with_email();
    let person = world.holds(Class::Name, "Ann").to_string();
    for cut in 4..person.len() {
        let (head, tail) = person.split_at(cut);
        for glue in [" ", "\n", "", "\u{200d}", "-"] {
            let text = format!("{head}{glue}{tail}");
            let result = world.ask("send", send(&world, "text", json!(text)));
            assert_eq!(result.is_ok(), glue.is_empty(), "{text}");
        }
        // Half of it here, half of it there: the head is recognised, and nothing is put in for the tail.
        let mut slots = send(&world, "text", json!(head));
        slots["ref"] = json!(&tail[..tail.len().min(16)]);
        assert_eq!(why(&world, "send", slots), Why::NotToken(name("text")));
    }
    for text in [format!("Dear {person},"), format!("{person}{person}"), format!("{person}x")] {
        assert_eq!(
            world.ask("send", send(&world, "text", json!(text))).expect("fits").slots[&name("text")],
            Given::Text(text)
        );
    }
}

#[test]
fn attack_10_a_coded_token_is_not_put_in() {
    let world = with_email();
    let own = token(UNIT, Class::Email, 0).to_string();
    // JSON's own escapes are how JSON is written, and nothing more.
    let escaped: String = own.chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
    let request = format!(r#"[{{"verb":"send","slots":{}}}]"#, send(&world, "to", json!("@"))).replace('@', &escaped);
    let admitted = admit(request.as_bytes(), &world.catalogue, &world.tokens()).expect("a request");
    assert_eq!(admitted[0].as_ref().expect("fits").slots[&name("to")], Given::Token(token(UNIT, Class::Email, 0)));
    let percent: String = own.bytes().map(|b| format!("%{b:02x}")).collect();
    for coded in [
        percent,
        data_encoding::BASE64.encode(own.as_bytes()),
        own.chars().rev().collect(),
        own.replace("dtk1", "&#100;tk1"),
    ] {
        assert_eq!(why(&world, "send", send(&world, "to", json!(coded))), Why::NotToken(name("to")));
        // As text it is text, which stands for nothing.
        let intent = world.ask("send", send(&world, "text", json!(coded))).expect("fits");
        let body = world.fill(&intent).expect("fits").body.to_vec();
        assert!(!String::from_utf8(body).expect("text").replacen("ann@example.com", "", 1).contains("ann@"));
    }
}

#[test]
fn attack_13_another_unit_s_token_is_refused() {
    let world = with_email();
    let foreign = token(UnitId { index: 5, ..UNIT }, Class::Email, 0);
    assert_eq!(why(&world, "send", send(&world, "to", json!(foreign))), Why::Foreign(name("to")));
    let foreign = token(UnitId { run: RunId([1; 16]), ..UNIT }, Class::Name, 0);
    assert_eq!(why(&world, "send", send(&world, "text", json!(format!("Dear {foreign}")))), Why::Foreign(name("text")));
}

/// After a run's deadline, or once somebody had its values forgotten.
#[test]
fn attack_14_a_token_whose_value_is_gone_stands_for_nothing() {
    let mut world = with_email();
    let slots = send(&world, "amount", json!(7));
    let intent = world.ask("send", slots.clone()).expect("fits");
    assert!(world.fill(&intent).is_ok(), "control: the value is there");
    world.values.clear();
    // What was agreed on before is not sent any more, and what is asked for from now on is not taken.
    assert_eq!(world.fill(&intent).expect_err("gone"), Unfit::NoValue(name("to")));
    assert_eq!(why(&world, "send", slots), Why::Foreign(name("to")));
}

#[test]
fn a_surrogate_is_its_token_where_it_is_a_whole_slot() {
    let world = World::new();
    let email = token(UNIT, Class::Email, 0);
    let number = token(UNIT, Class::Number, 1);
    let person = token(UNIT, Class::Name, 2);
    let taken = [(email, "fzcq@mail.invalid"), (number, "815"), (person, "2026-11-22")].map(|(token, surrogate)| {
        Taken { token, surrogate: Some(surrogate.to_owned()), value: PlaceholderValue::of_text("x") }
    });
    let values: Values = taken.into_iter().collect();
    let ask = |slot: &str, value: Value| {
        let mut slots = json!({"to": "fzcq@mail.invalid", "text": "a", "amount": 1, "on": "2026-11-23", "ref": "a"});
        slots[slot] = value;
        let request = json!([{"verb": "send", "slots": slots}]).to_string();
        let mut admitted = admit(request.as_bytes(), &world.catalogue, &values).expect("a request");
        admitted.remove(0).map(|mut intent| intent.slots.remove(slot).expect("given")).map_err(|refused| refused.why)
    };
    assert_eq!(ask("to", json!("fzcq@mail.invalid")), Ok(Given::Token(email)));
    assert_eq!(ask("to", json!(815)), Ok(Given::Token(number)));
    assert_eq!(ask("to", json!(number)), Ok(Given::Token(number)));
    assert_eq!(ask("text", json!("2026-11-22")), Ok(Given::Text(person.to_string())));
    assert_eq!(
        ask("text", json!("fzcq@mail.invalid")),
        Err(Why::WrongClass { slot: name("text"), class: Class::Email })
    );
    // Elsewhere it would go out as if it were somebody's.
    assert_eq!(ask("on", json!("2026-11-22")), Err(Why::Surrogate(name("on"))));
    assert_eq!(ask("amount", json!(815)), Err(Why::Surrogate(name("amount"))));
    assert_eq!(ask("text", json!("to fzcq@mail.invalid")), Ok(Given::Text("to fzcq@mail.invalid".into())));
}

#[test]
fn a_token_of_another_class_is_refused() {
    let mut world = with_email();
    let card = world.holds(Class::Card, "4111111111111111");
    let refused = Why::WrongClass { slot: name("to"), class: Class::Card };
    assert_eq!(why(&world, "send", send(&world, "to", json!(card))), refused);
    let in_text = Why::WrongClass { slot: name("text"), class: Class::Card };
    assert_eq!(why(&world, "send", send(&world, "text", json!(format!("card {card}")))), in_text);
}

#[test]
fn attack_27_a_request_has_an_end() {
    let (catalogue, tokens) = (World::new().catalogue, UnitTokens::default());
    let admit = |request: &[u8]| admit(request, &catalogue, &tokens);
    let calls = |count: usize| format!("[{}]", vec![r#"{"verb":"ping"}"#; count].join(","));
    assert_eq!(admit(calls(CALLS_MAX).as_bytes()).expect("a request").len(), CALLS_MAX);
    assert!(matches!(admit(calls(CALLS_MAX + 1).as_bytes()), Err(BadRequest::NotCalls { .. })));
    let long = format!(r#"[{{"verb":"ping","slots":{{"a":"{}"}}}}]"#, "x".repeat(256 << 10));
    assert_eq!(admit(long.as_bytes()), Err(BadRequest::TooLong(long.len())));
    let deep = format!(r#"[{{"verb":"send","slots":{{"text":{}{}}}}}]"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(&admit(deep.as_bytes()), Err(BadRequest::NotCalls { .. }) | Ok(_)));
    for bad in [
        "",
        "[",
        "{}",
        "[1]",
        "[[]]",
        r#"[{"verb":1}]"#,
        r#"[{"slots":{}}]"#,
        r#"[{"verb":"a","verb":"b"}]"#,
        r#"[{"verb":"a","slots":{},"slots":{}}]"#,
        r#"[{"verb":"a","host":"evil"}]"#,
        r#"[{"verb":"a"}] "#.trim_end_matches(' ').replace(']', "]]").as_str(),
        "\u{feff}[]",
        "[]x",
        "[{\"verb\":\"\\ud800\"}]",
    ] {
        assert!(matches!(admit(bad.as_bytes()), Err(BadRequest::NotCalls { .. })), "{bad}");
    }
    assert!(matches!(admit(b"[{\"verb\":\"\xff\"}]"), Err(BadRequest::NotCalls { .. })));
    let twice = admit(br#"[{"verb":"send","slots":{"to":"a","to":"b"}}]"#).expect("a request");
    assert_eq!(twice[0].as_ref().expect_err("twice").why, Why::NotSlots);
    assert_eq!(admit(b" [ ] ").expect("a request").len(), 0);
}

#[test]
fn attack_42_a_refusal_repeats_nothing_that_was_said() {
    let world = with_email();
    let canary = "canary-4711";
    let mut said = Vec::new();
    for slot in ["to", "on", "ref", "amount", "canary-4711"] {
        said.push(world.ask("send", send(&world, slot, json!("canary-4711/"))).expect_err("refused").to_string());
    }
    said.push(world.ask(canary, json!({})).expect_err("refused").to_string());
    let bad = format!(r#"[{{"verb":"a","{canary}":1}}]"#);
    said.push(admit(bad.as_bytes(), &world.catalogue, &world.tokens()).expect_err("refused").to_string());
    let intent = world.ask("send", send(&world, "text", json!(canary))).expect("fits");
    said.push(format!("{intent:?}"));
    assert!(said.iter().all(|said| !said.contains("4711")), "{said:?}");
}

#[test]
fn attack_30_what_differs_in_its_writing_only_is_one_intent() {
    let world = with_email();
    let to = token(UNIT, Class::Email, 0).to_string();
    let escaped: String = to.chars().map(|c| format!("\\u{:04X}", c as u32)).collect();
    let spellings = [
        format!(r#"[{{"verb":"send","slots":{{"to":"{to}","text":"é/\n","amount":10,"on":"2026-11-22","ref":"a"}}}}]"#),
        format!(
            r#"[{{"slots":{{"ref":"a","on":"2026-11-22","amount":10.0,"text":"\u00e9\/\u000A","to":"{to}"}},"verb":"send"}}]"#
        ),
        format!(
            "[ {{\n\"verb\" : \"s\\u0065nd\", \"slots\":{{\"to\":\"{escaped}\",\"t\\u0065xt\":\"\\u00E9/\\n\",\"amount\":1e1,\"on\":\"2026-11-22\",\"ref\":\"a\"}}}}\t]"
        ),
        format!(
            r#"[{{"verb":"send","slots":{{"to":"{to}","text":"é/\n","amount":1000E-2,"on":"2026-11-22","ref":"a"}}}}]"#
        ),
    ];
    let job = job();
    let ids = spellings.map(|request| {
        let admitted = admit(request.as_bytes(), &world.catalogue, &world.tokens()).expect(&request);
        let intent = admitted[0].as_ref().expect("fits").clone();
        (intent.canonical(), intent.id(&scope(&job, UNIT), 0))
    });
    assert!(ids.iter().all(|id| *id == ids[0]));
    let canonical = String::from_utf8(ids[0].0.clone()).expect("text");
    let expected =
        format!(r#"{{"slots":{{"amount":10,"on":"2026-11-22","ref":"a","text":"é/\n","to":"{to}"}},"verb":"send"}}"#);
    assert_eq!(canonical, expected);
}

/// What was called can be found again after a release, and idempotency keys stay what they were.
#[test]
fn ids_and_keys_are_fixed() {
    let world = with_email();
    let intent = world.ask("ping", json!({})).expect("fits");
    let job = job();
    let id = intent.id(&scope(&job, UNIT), 3);
    let key = CallKey::derive(&[1; 32]).of(&id, &world.verb("ping").template.origin);
    assert_eq!(id.to_string(), "intent_66mduyozcinxsnxzrcixncbud5zfjn76zm5cpofozqgx2ybt22wa");
    assert_eq!(key.as_str(), "qxmo3y6skxfndwimqdgou243jp5siuco");
}

#[test]
fn attack_28_whatever_differs_the_id_differs() {
    let world = with_email();
    let (letters, letter) = (job(), "letter".parse().expect("a name"));
    let ping = world.ask("ping", json!({})).expect("fits");
    let send = |text: &str| world.ask("send", send(&world, "text", json!(text))).expect("fits");
    let mut seen = std::collections::BTreeSet::new();
    for intent in [ping.clone(), Intent { ordinal: 1, ..ping }, send("a"), send("b")] {
        for step in [0, 1] {
            for unit in [UNIT, UnitId { index: 5, ..UNIT }, UnitId { run: RunId([1; 16]), ..UNIT }] {
                for (tenant, job) in [("alice", &letters), ("alices", &letter), ("bob", &letters)] {
                    let id = intent.id(&manyhands_placeholder::Scope { tenant, job, unit }, step);
                    assert!(seen.insert(id));
                    // Nor does a key link two upstreams.
                    let key = CallKey::derive(&[1; 32]);
                    let origins = ["send", "lookup"].map(|verb| world.verb(verb).template.origin.clone());
                    assert_ne!(key.of(&id, &origins[0]), key.of(&id, &origins[1]));
                }
            }
        }
    }
}

proptest! {
    /// The canonical form is RFC 8785's, as somebody else writes it.
    #[test]
    fn attack_30_the_canonical_form_is_that_of_rfc_8785(text in "[\\PC\\n\\t\"\\\\]{0,60}", amount in 0..1_000_000_i64, whole in any::<bool>()) {
        prop_assume!(!manyhands_model::template::looks_like_token(&text));
        let world = with_email();
        let amount = if whole { json!(amount) } else { json!(amount as f64) };
        let slots = send(&world, "text", json!(text));
        let intent = { let mut slots = slots; slots["amount"] = amount; world.ask("send", slots.clone()).map(|intent| (intent, slots)) };
        let (intent, slots) = intent.expect("fits");
        let theirs = serde_json_canonicalizer::to_vec(&json!({"verb": "send", "slots": slots})).expect("writes");
        prop_assert_eq!(String::from_utf8(intent.canonical()), String::from_utf8(theirs));
    }

    /// Attack 29: no change of what is said is the same intent, and nothing makes reading panic.
    #[test]
    fn attack_29_every_changed_byte_is_noticed(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let world = with_email();
        let original = json!([{"verb": "send", "slots": send(&world, "text", json!("pay 100 to Ann"))}]).to_string().into_bytes();
        let mut changed = original.clone();
        let at = at.index(changed.len());
        changed[at] ^= 1 << bit;
        let first = |bytes: &[u8]| admit(bytes, &world.catalogue, &world.tokens()).ok().and_then(|mut all| all.remove(0).ok());
        let honest = first(&original).expect("fits");
        if let Some(other) = first(&changed) {
            prop_assert_ne!(other.canonical(), honest.canonical());
        }
    }

    /// Whatever is said, nobody panics, and what is admitted holds no foreign token.
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let catalogue: Catalogue = World::new().catalogue;
        let _ = admit(&bytes, &catalogue, &UnitTokens::default());
    }
}
