//! What comes back, and what of it nobody sees.

use std::cell::RefCell;

use manyhands_intents::answer::answers;
use manyhands_intents::{Fault, Heard, Live, hear};
use manyhands_model::{Class, Name};
use manyhands_placeholder::Token;
use serde_json::{Value, json};

use crate::world::{UNIT, World, name, token};

const SECRET: &str = "sk_live_9aZ/b+Q=Tail51xk";

fn good() -> Value {
    json!({
        "company": {"name": "Acme & Söhne", "more": [1, 2]}, "tier": "gold", "ids": ["x", "order-17"], "orders": 3,
        "since": "2019-02-28", "a/b": true, "else": {"secret": SECRET}
    })
}

/// What the job hears of `lookup`, as JSON text, and what was made tokens of.
fn heard(status: u16, body: &[u8]) -> (String, Vec<(Class, String)>) {
    let world = World::new();
    let live = Live::of([SECRET]);
    let taken = RefCell::new(Vec::new());
    let tokenise = |class: Class, text: &str| -> Token {
        taken.borrow_mut().push((class, text.to_owned()));
        token(UNIT, class, 100 + taken.borrow().len() as u32)
    };
    let heard = hear(world.verb("lookup"), status, body, |text| live.shows(text), tokenise);
    (String::from_utf8(answers([&heard])).expect("text"), taken.into_inner())
}

fn changed(place: &str, value: Value) -> String {
    let mut answer = good();
    *answer.pointer_mut(place).expect("there") = value;
    heard(200, answer.to_string().as_bytes()).0
}

const WITHHELD: &str = r#"[{"fault":"withheld"}]"#;

#[test]
fn a_job_hears_what_the_verb_declares() {
    let (heard, taken) = heard(201, good().to_string().as_bytes());
    let company = token(UNIT, Class::Name, 101);
    let expected = format!(
        r#"[{{"status":201,"answer":{{"active":true,"company":"{company}","id":"order-17","orders":3,"since":"2019-02-28","tier":"gold"}}}}]"#
    );
    assert_eq!(heard, expected);
    assert_eq!(taken, [(Class::Name, "Acme & Söhne".to_owned())]);
}

#[test]
fn all_answers_of_a_request_are_one_list() {
    let faults = [
        Fault::Refused,
        Fault::Budget,
        Fault::TimedOut,
        Fault::Unknown,
        Fault::Withheld,
        Fault::DryRun,
        Fault::Status(404),
    ];
    let text = String::from_utf8(answers(&faults.map(Heard::Fault))).expect("text");
    let words = r#"[{"fault":"refused"},{"fault":"budget"},{"fault":"timed_out"},{"fault":"unknown"},{"fault":"withheld"},{"fault":"dry_run"},{"fault":"status","status":404}]"#;
    assert_eq!(text, words);
    assert_eq!(answers([]), b"[]");
}

#[test]
fn what_was_heard_survives_the_journal() {
    let world = World::new();
    let body = good().to_string();
    let heard = hear(world.verb("lookup"), 200, body.as_bytes(), |_| false, |class, _| token(UNIT, class, 0));
    let bytes = postcard::to_allocvec(&heard).expect("writes");
    assert_eq!(postcard::from_bytes::<Heard>(&bytes).expect("reads"), heard);
}

#[test]
fn a_verb_without_fields_hears_the_status_whatever_the_body_is() {
    let world = World::new();
    for body in [&b""[..], b"<html>", b"\xff"] {
        let heard = hear(world.verb("ping"), 204, body, |_| true, |class, _| token(UNIT, class, 0));
        assert_eq!(answers([&heard]), br#"[{"status":204,"answer":{}}]"#);
    }
}

#[test]
fn what_is_not_as_declared_is_withheld_and_nothing_of_it_is_kept() {
    for (place, bad) in [
        ("/company", json!(5)),
        ("/company", json!([{"name": "x"}])),
        ("/company/name", json!(null)),
        ("/company/name", json!(5)),
        ("/company/name", json!({"a": "b"})),
        ("/tier", json!("platinum")),
        ("/tier", json!("Gold")),
        ("/ids", json!(["x"])),
        ("/ids/1", json!("a b")),
        ("/ids/1", json!("x".repeat(65))),
        ("/ids/1", json!(17)),
        ("/ids", json!({"0": "a", "01": "b"})),
        ("/orders", json!(-1)),
        ("/orders", json!(1.5)),
        ("/orders", json!("3")),
        ("/since", json!("2019-02-29")),
        ("/a~1b", json!("true")),
        ("/a~1b", json!(null)),
    ] {
        assert_eq!(changed(place, bad.clone()), WITHHELD, "{place} {bad}");
    }
    for field in ["company", "tier", "ids", "orders", "since", "a/b"] {
        let mut answer = good();
        answer.as_object_mut().expect("an object").remove(field);
        let (heard, taken) = heard(200, answer.to_string().as_bytes());
        assert_eq!((heard.as_str(), taken.len()), (WITHHELD, 0), "{field}");
    }
    // A list's element and the member of that name are one to a pointer.
    assert_ne!(changed("/ids", json!({"1": "a"})), WITHHELD);
    assert_ne!(changed("/orders", json!(3.0)), WITHHELD);
}

#[test]
fn two_readers_would_not_disagree() {
    let text = good().to_string();
    let again = |more: &str| format!("{}{more}}}", &text[..text.len() - 1]);
    for more in
        [r#","tier":"basic""#, r#","tier":"gold""#, r#","company":{}"#, r#","company":5"#, r#","t\u0069er":"basic""#]
    {
        assert_eq!(heard(200, again(more).as_bytes()).0, WITHHELD, "{more}");
    }
    for more in [r#","else":5"#, r#","Tier":"basic""#] {
        assert_ne!(heard(200, again(more).as_bytes()).0, WITHHELD, "{more}");
    }
}

#[test]
fn attack_27_a_body_that_is_no_json_or_too_much_of_it_is_withheld() {
    let text = good().to_string();
    for bad in [
        "",
        "{",
        "null",
        "[]",
        "<html>",
        &text[..text.len() - 1],
        &format!("{text}x"),
        &format!("{text}{text}"),
        &format!("\u{feff}{text}"),
    ] {
        assert_eq!(heard(200, bad.as_bytes()).0, WITHHELD, "{bad}");
    }
    let mut bytes = text.clone().into_bytes();
    let at = text.find("Acme").expect("there");
    bytes[at] = 0xff;
    assert_eq!(heard(200, &bytes).0, WITHHELD);
    let with = |more: String| text.replacen("\"else\"", &format!("\"deep\":{more},\"else\""), 1);
    assert_ne!(heard(200, with("[".repeat(500) + &"]".repeat(500)).as_bytes()).0, WITHHELD);
    assert_eq!(heard(200, with("[".repeat(5_000)).as_bytes()).0, WITHHELD);
    assert_eq!(heard(200, with(format!("\"{}\"", "x".repeat(5_000))).as_bytes()).0, WITHHELD, "longer than the limit");
    let inside = changed("/company/name", serde_json::from_str(&("[".repeat(100) + &"]".repeat(100))).expect("JSON"));
    assert_eq!(inside, WITHHELD);
}

#[test]
fn attack_13_an_upstream_cannot_hand_out_tokens() {
    let foreign = token(manyhands_model::UnitId { index: 8, ..UNIT }, Class::Email, 0).to_string();
    for bad in [foreign.clone(), foreign.to_uppercase(), format!("x{foreign}"), "dtk1".to_owned()] {
        assert_eq!(changed("/ids/1", json!(bad)), WITHHELD);
    }
    // In a text it is text, and a token stands for it.
    assert!(!changed("/company/name", json!(foreign)).contains(&foreign));
}

/// The battery: every way in which an API is known to repeat a secret.
fn echoes() -> Vec<(&'static str, String)> {
    let bytes = SECRET.as_bytes();
    let percent = |all: bool, upper: bool, keep: &str| -> String {
        let one = |c: char| match c {
            c if (c.is_ascii_alphanumeric() || c == '_' || keep.contains(c)) && !all => c.to_string(),
            c if upper => format!("%{:02X}", c as u32),
            c => format!("%{:02x}", c as u32),
        };
        SECRET.chars().map(one).collect()
    };
    let base64 = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
    let utf16: Vec<u8> = SECRET.encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        ("identity", SECRET.to_owned()),
        ("percent, upper", percent(false, true, "")),
        ("percent, lower", percent(false, false, "")),
        ("percent, every byte", percent(true, true, "")),
        ("percent, slash kept", percent(false, true, "/")),
        ("percent, doubled", percent(false, true, "").replace('%', "%25")),
        ("base64", base64(SECRET)),
        ("base64, at an offset", base64(&format!("user:{SECRET}"))),
        ("base64url", data_encoding::BASE64URL_NOPAD.encode(bytes)),
        ("base64url, at an offset", data_encoding::BASE64URL_NOPAD.encode(format!("u:{SECRET};x").as_bytes())),
        ("hex, lower", data_encoding::HEXLOWER.encode(bytes)),
        ("hex, upper", data_encoding::HEXUPPER.encode(bytes)),
        ("unicode escapes", SECRET.chars().map(|c| format!("\\u{:04x}", c as u32)).collect()),
        ("escaped slash", SECRET.replace('/', "\\/")),
        ("HTML entities", SECRET.chars().map(|c| format!("&#{};", c as u32)).collect()),
        ("reversed", SECRET.chars().rev().collect()),
        ("lower case", SECRET.to_lowercase()),
        ("split by a line break", SECRET.replacen("Tail", "\nTail", 1)),
        ("one half", SECRET[..12].to_owned()),
        ("the other half", SECRET[12..].to_owned()),
        ("a joiner inside", SECRET.replacen("Tail", "\u{200d}Tail", 1)),
        ("UTF-16", utf16.iter().map(|b| char::from(*b)).collect()),
        ("base32", data_encoding::BASE32_NOPAD.encode(bytes)),
        ("base32, at an offset", data_encoding::BASE32_NOPAD.encode(format!("abc{SECRET}d").as_bytes()).to_lowercase()),
        ("JSON in JSON", json!({"key": SECRET}).to_string()),
        ("quoted-printable", SECRET.replace('=', "=3D").replacen("live", "li=\r\nve", 1)),
    ]
}

#[test]
fn attack_15_and_17_no_echo_is_shown_in_any_coding() {
    for (how, echo) in echoes() {
        // In a text, a token stands for it.
        let shown = changed("/company/name", json!(echo));
        assert!(
            shown.starts_with(r#"[{"status":200"#) && !shown.contains(&echo) && !shown.contains(SECRET),
            "{how}: {shown}"
        );
        // In an id, with what ids do not hold left out, it is withheld.
        let id: String = echo.chars().filter(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).take(64).collect();
        let known_blind = [
            "percent, upper",
            "percent, lower",
            "percent, every byte",
            "percent, slash kept",
            "percent, doubled",
            "unicode escapes",
            "HTML entities",
            "quoted-printable",
        ];
        let withheld = changed("/ids/1", json!(id)) == WITHHELD;
        assert!(withheld || known_blind.contains(&how), "{how}: {id}");
        assert_eq!(changed("/ids/1", json!(echo)), WITHHELD, "{how}");
    }
}

#[test]
fn attack_17_two_halves_in_two_fields_are_withheld() {
    let mut answer = good();
    for half in ["sk_live_9aZ", "bQTail51xk", "live_9aZb"] {
        answer["ids"][1] = json!(half);
        assert_eq!(heard(200, answer.to_string().as_bytes()).0, WITHHELD, "{half}");
    }
}

#[test]
fn numbers_and_days_are_held_against_values_as_well() {
    let live = Live::of(["415-2368", "1984-03-01", "42", "Ann"]);
    assert!(live.shows("4152368") && live.shows("1984-03-01") && live.shows("19840301"));
    assert!(!live.shows("42") && !live.shows("ann"), "what is met by chance is not looked for");
    assert!(Live::of(["Алексей"]).shows(&data_encoding::HEXLOWER.encode("Алексей".as_bytes())));
    assert!(!live.shows("order-17") && !live.shows("") && !live.shows("4152"));
}

/// Whatever the secret is, what workers see of an answer is the same.
#[test]
fn attack_18_two_secrets_of_one_shape_look_the_same() {
    let world = World::new();
    let secrets = ["sk_live_9aZ/b+Q=Tail51xk", "sk_live_XXXXXXXXXXXXXXXXX"];
    let outcomes = secrets.map(|secret| {
        let live = Live::of([secret]);
        let hears = |status, body: Value| {
            let fixed = |class: Class, _: &str| token(UNIT, class, 0);
            answers([&hear(world.verb("lookup"), status, body.to_string().as_bytes(), |text| live.shows(text), fixed)])
        };
        let with = |place: &str, value: &str| {
            let mut answer = good();
            *answer.pointer_mut(place).expect("there") = json!(value);
            answer
        };
        let id: String = secret.chars().filter(char::is_ascii_alphanumeric).collect();
        [
            hears(200, with("/company/name", secret)),
            hears(200, with("/ids/1", &id)),
            hears(500, json!({"error": secret})),
            hears(401, json!(secret)),
            hears(200, json!({"no": secret})),
            hears(302, json!(secret)),
        ]
    });
    assert_eq!(outcomes[0], outcomes[1]);
}

#[test]
fn attack_19_a_redirect_is_a_status_and_no_more() {
    for status in [100, 101, 301, 302, 303, 307, 308, 304, 400, 404, 500, 503, 600, 999] {
        assert_eq!(
            heard(status, good().to_string().as_bytes()).0,
            format!(r#"[{{"fault":"status","status":{status}}}]"#)
        );
    }
}

#[test]
fn attack_42_what_was_heard_is_not_shown() {
    let world = World::new();
    let mut answer = good();
    answer["ids"][1] = json!("canary");
    let heard =
        hear(world.verb("lookup"), 200, answer.to_string().as_bytes(), |_| false, |class, _| token(UNIT, class, 0));
    let Heard::Answer { fields, .. } = &heard else { panic!("{heard:?}") };
    assert!(fields.contains_key::<Name>(&name("id")));
    assert!(!format!("{heard:?} {:?}", Live::of(["canary"])).contains("canary"));
}
