//! Hostile values in every place, and what is sent.

use manyhands_intents::{Outgoing, Unfit};
use manyhands_model::Class;
use manyhands_model::template::Hole;
use proptest::prelude::*;
use serde_json::{Value, json};
use url::Url;

use crate::world::{World, key, name};

/// `lookup` with these values behind its tokens.
fn lookup(who: &str, email: &str) -> Result<Outgoing, Unfit> {
    let mut world = World::new();
    let who = world.holds(Class::Text, who);
    let email = world.holds(Class::Text, email);
    let slots = json!({"who": who, "email": email, "page": 3, "kind": "rich text"});
    world.fill(&world.ask("lookup", slots).expect("fits"))
}

/// `send` to this value, with this one in its text.
fn send(to_json: &str, in_text: &str) -> Result<Outgoing, Unfit> {
    let mut world = World::new();
    let to = world.holds_json(Class::Text, to_json);
    let person = world.holds(Class::Name, in_text);
    let text = format!("Dear {person}, {person}{to}!");
    let slots = json!({"to": to, "text": text, "amount": 12, "on": "2026-11-22", "ref": "a-1"});
    world.fill(&world.ask("send", slots).expect("fits"))
}

fn body(outgoing: &Outgoing) -> Value {
    serde_json::from_slice(&outgoing.body).expect("JSON")
}

fn header<'a>(outgoing: &'a Outgoing, wanted: &str) -> &'a str {
    let mut found = outgoing.headers.iter().filter(|(name, _)| name == wanted);
    let value = &found.next().expect(wanted).1;
    assert!(found.next().is_none(), "{wanted} is there twice");
    value
}

#[test]
fn values_stand_where_the_verb_says() {
    let outgoing = lookup("Ann-1", "ann+x@example.com").expect("fits");
    assert_eq!(outgoing.origin.to_string(), "https://crm.example.com");
    assert_eq!(outgoing.target.as_str(), "/v1/customers/Ann-1/orders?email=ann%2Bx%40example.com&fixed=a+b%26c&page=3");
    assert_eq!(header(&outgoing, "authorization"), "Bearer crm-s3cret");
    assert_eq!(header(&outgoing, "x-kind"), "rich text");
    assert_eq!(header(&outgoing, "accept"), "application/json");
    assert!(outgoing.body.is_empty());
    let outgoing = send(r#""ann@example.com""#, "Ann").expect("fits");
    let expected = json!({
        "to": "ann@example.com", "text": "Dear Ann, Annann@example.com!", "amount": 12, "key": "mail-s3cret",
        "on": "2026-11-22", "also": [null, true, 1.5, "{ literal }", {"ref": "a-1"}]
    });
    assert_eq!(body(&outgoing), expected);
    assert_eq!(header(&outgoing, "content-type"), "application/json");
    assert_eq!(header(&outgoing, "idempotency-key"), key().as_str());
}

#[test]
fn values_that_are_no_strings_keep_their_type() {
    for (value, said) in [
        ("42", json!(42)),
        ("-1.50", json!(-1.5)),
        ("true", json!(true)),
        ("null", json!(null)),
        ("\"42\"", json!("42")),
    ] {
        assert_eq!(body(&send(value, "Ann").expect("fits"))["to"], said);
    }
    for value in [r#"{"admin": true}"#, "[1]"] {
        assert!(matches!(send(value, "Ann"), Err(Unfit::Composed(_))), "{value}");
    }
}

#[test]
fn attack_1_a_secret_goes_to_its_origin_only() {
    let mut world = World::new();
    let text = world.holds(Class::Text, "x");
    let intent = world.ask("post", json!({"text": text.to_string()})).expect("fits");
    let form = String::from_utf8(world.fill(&intent).expect("bound").body.to_vec()).expect("text");
    assert_eq!(form, "a%26b=c%3Dd&key=mail-s3cret&text=x");
    world.secrets.clear();
    assert_eq!(world.fill(&intent).expect_err("gone"), Unfit::NoSecret(name("mail_key")));
    world.values.clear();
    assert_eq!(world.fill(&intent).expect_err("gone"), Unfit::NoValue(name("text")));
}

#[test]
fn attack_4_a_value_stays_one_segment_of_the_path() {
    for bad in [
        "",
        ".",
        "..",
        "a/b",
        "a\\b",
        "%2e%2e",
        "a%2fb",
        "..;",
        "a;b",
        "a\0",
        "a\nb",
        "\u{85}",
        "../../admin",
        "%",
        "..%00",
    ] {
        let unfit = Unfit::Segment(Hole::Slot(name("who")));
        let mut world = World::new();
        let who = world.holds(Class::Text, bad);
        let filled = world.fill(&world.ask("visit", json!({"who": who})).expect("fits"));
        assert_eq!(filled.expect_err(bad), unfit, "{bad:?}");
    }
    for (good, sent) in [
        ("...", "..."),
        ("a?b", "a%3Fb"),
        ("a#b", "a%23b"),
        ("a b", "a%20b"),
        ("a:b@c", "a%3Ab%40c"),
        ("~", "~"),
        ("{who}", "%7Bwho%7D"),
    ] {
        let outgoing = lookup(good, "a").expect(good);
        assert!(outgoing.target.starts_with(&format!("/v1/customers/{sent}/orders?")), "{}", &*outgoing.target);
    }
}

#[test]
fn attack_5_a_header_value_ends_nowhere_but_at_its_end() {
    for bad in ["a\r\nx-admin: 1", "a\n b", "a\r", "a\0", "a\u{7f}", "\t", "é", " a", "a ", "\u{2028}"] {
        assert_eq!(lookup(bad, "a").expect_err(bad), Unfit::Header(Hole::Slot(name("who"))), "{bad:?}");
    }
}

#[test]
fn attack_6_a_value_does_not_break_out_of_json() {
    for value in [
        r#"","admin":true,""#,
        "\\",
        "\\\"",
        "\"}",
        "\u{0}",
        "\u{2028}",
        "</script>",
        "{secret:mail_key}",
        "{to}",
        "\u{fffd}",
        "😀",
    ] {
        let json = serde_json::to_string(value).expect("writes");
        let outgoing = send(&json, value).expect("fits");
        let sent = body(&outgoing);
        assert_eq!(sent["to"], json!(value));
        assert_eq!(sent["text"], json!(format!("Dear {value}, {value}{value}!")));
        assert_eq!(sent.as_object().expect("an object").len(), 6);
    }
}

#[test]
fn attack_9_what_was_put_in_is_not_looked_at_again() {
    let mut world = World::new();
    let secret = world.holds(Class::Name, "the other one");
    let sly = world.holds(Class::Name, &secret.to_string());
    let to = world.holds(Class::Email, "a");
    let slots = json!({"to": to, "text": sly.to_string(), "amount": 1, "on": "2026-11-22", "ref": "a"});
    let sent = body(&world.fill(&world.ask("send", slots).expect("fits")).expect("fits"));
    assert_eq!(sent["text"], json!(secret.to_string()));
}

#[test]
fn nothing_is_longer_than_the_verb_allows() {
    let long = "x".repeat(70_000);
    assert_eq!(
        send(&format!("\"{long}\""), "Ann").expect_err("long"),
        Unfit::TooLong { what: "the body", max: 65_536 }
    );
    // Each token is 33 bytes, what it stands for half a megabyte, and all of it would be a gigabyte.
    let mut world = World::new();
    let person = world.holds(Class::Name, &"y".repeat(500_000));
    let to = world.holds(Class::Email, "a");
    let text = person.to_string().repeat(600);
    let slots = json!({"to": to, "text": text, "amount": 1, "on": "2026-11-22", "ref": "a"});
    let unfit = world.fill(&world.ask("send", slots).expect("fits")).expect_err("long");
    assert_eq!(unfit, Unfit::TooLong { what: "the body", max: 65_536 });
    assert_eq!(lookup("a", &long).expect_err("long"), Unfit::TooLong { what: "path and query", max: 8_000 });
    assert_eq!(
        lookup("a", &"é".repeat(2_000)).expect_err("long"),
        Unfit::TooLong { what: "path and query", max: 8_000 }
    );
    assert_eq!(lookup(&long, "a").expect_err("long"), Unfit::TooLong { what: "a header", max: 4_096 });
    // A control character has six bytes in JSON.
    assert!(send(&serde_json::to_string(&"\u{1}".repeat(5_000)).expect("writes"), "Ann").is_ok());
    assert!(send(&serde_json::to_string(&"\u{1}".repeat(6_000)).expect("writes"), "Ann").is_err());
}

#[test]
fn attack_42_what_is_sent_is_never_shown() {
    let outgoing = lookup("canary", "canary").expect("fits");
    let shown = format!("{outgoing:?}");
    assert!(!shown.contains("canary") && !shown.contains("s3cret"), "{shown}");
    assert!(shown.starts_with("GET https://crm.example.com, target of "), "{shown}");
    let outgoing = send("\"canary\"", "canary").expect("fits");
    assert!(!format!("{outgoing:?}").contains("canary"));
    let errors = [
        lookup("canary/", "a"),
        lookup("canary\n", "a"),
        lookup("a", &"canary".repeat(5_000)),
        send(r#"["canary"]"#, "a"),
    ];
    assert!(errors.iter().all(|error| !error.as_ref().expect_err("unfit").to_string().contains("canary")));
}

/// Texts that mean something to somebody on the way.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "\"",
            "\\",
            "/",
            "..",
            "%2e",
            "%",
            "&",
            "=",
            "+",
            "?",
            "#",
            ";",
            "\r\n",
            "\n",
            "\0",
            " ",
            "{",
            "}",
            "{secret:mail_key}",
            "dtk1",
            "\",\"admin\":true,\"",
            "\\u0022",
            "é",
            "\u{202e}",
            "😀",
            "<",
            "'",
            ":",
            "@",
            "//",
            "\u{3002}",
            ",",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,3}",
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    /// The request as sent has the template's shape with values in its slots, to a reader who shares nothing with the writer.
    #[test]
    fn attack_4_and_5_the_request_that_is_sent_has_the_shape_of_the_template(who in hostile(), email in hostile()) {
        let Ok(outgoing) = lookup(&who, &email) else {
            let header = !who.is_empty() && who.trim() == who && who.bytes().all(|b| matches!(b, b' '..=b'~'));
            let segment = !who.contains(['/', '\\', '%', ';']) && who != "." && who != "..";
            prop_assert!(!(header && segment), "{:?} fits", who);
            return Ok(());
        };
        let text = format!("{}{}", outgoing.origin, &*outgoing.target);
        let url = Url::parse(&text).expect("a URL");
        prop_assert_eq!(url.as_str(), &text, "read otherwise than it is written");
        let segments: Vec<_> = url.path_segments().expect("segments").collect();
        prop_assert_eq!(segments.len(), 4);
        prop_assert_eq!((segments[0], segments[1], segments[3]), ("v1", "customers", "orders"));
        prop_assert_eq!(percent_encoding::percent_decode_str(segments[2]).decode_utf8().expect("UTF-8"), who.as_str());
        let query: Vec<_> = url.query_pairs().into_owned().collect();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        prop_assert_eq!(query, vec![pair("email", &email), pair("fixed", "a b&c"), pair("page", "3")]);
        prop_assert_eq!(url.fragment(), None);
        for (name, value) in &outgoing.headers {
            prop_assert!(value.bytes().all(|b| matches!(b, b' '..=b'~')) && !name.is_empty());
        }
        prop_assert_eq!(header(&outgoing, "x-who"), &who);
    }

    /// The body is the template's with its strings changed.
    #[test]
    fn attack_6_the_body_is_the_template_with_its_strings_changed(to in hostile(), person in hostile()) {
        let sent = body(&send(&serde_json::to_string(&to).expect("writes"), &person).expect("bodies take any text"));
        let expected = json!({
            "to": to, "text": format!("Dear {person}, {person}{to}!"), "amount": 12, "key": "mail-s3cret",
            "on": "2026-11-22", "also": [null, true, 1.5, "{ literal }", {"ref": "a-1"}]
        });
        prop_assert_eq!(sent, expected);
    }

    /// A form has its keys once each, and the value behind its key.
    #[test]
    fn attack_6_a_form_has_its_pairs_and_no_others(text in hostile()) {
        let mut world = World::new();
        let token = world.holds(Class::Text, &text);
        let outgoing = world.fill(&world.ask("post", json!({"text": format!("<{token}>")})).expect("fits")).expect("fits");
        let pairs: Vec<_> = form_urlencoded::parse(&outgoing.body).into_owned().collect();
        let pair = |key: &str, value: String| (key.to_owned(), value);
        prop_assert_eq!(pairs, vec![pair("a&b", "c=d".into()), pair("key", "mail-s3cret".into()), pair("text", format!("<{text}>"))]);
    }
}
