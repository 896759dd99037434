//! What is drawn of some inputs.

use std::collections::BTreeSet;

use manyhands_decoys::Pool;
use manyhands_model::{RunId, SensitiveFields, UnitId};
use manyhands_placeholder::{Mint, Places, Scope, Source, TokenKey, token, tokenise};
use proptest::prelude::*;
use serde_json::{Value, json};

fn seed(number: u32) -> [u8; 32] {
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&number.to_le_bytes());
    seed
}

fn mint(index: u32) -> Mint {
    let unit = UnitId { run: RunId([1; 16]), index };
    TokenKey::derive(&[7; 32], 0).mint(&Scope { tenant: "ann", job: &"job".parse().expect("a name"), unit })
}

fn pool(inputs: &[Vec<u8>]) -> Pool<'_> {
    Pool::new(inputs.iter().map(Vec::as_slice)).expect("JSON")
}

fn texts(inputs: impl IntoIterator<Item = Value>) -> Vec<Vec<u8>> {
    inputs.into_iter().map(|input| input.to_string().into_bytes()).collect()
}

fn drawn(pool: &Pool<'_>, count: u32) -> Vec<Value> {
    let draw = |number| serde_json::from_slice(&pool.draw(seed(number), None).expect("one is drawn")).expect("JSON");
    (0..count).map(draw).collect()
}

/// An order, with what half of them have and lists of different lengths.
fn order(number: u64) -> Value {
    let country = if number % 4 == 3 { "fr" } else { "de" };
    let line = |line: u64| json!({ "sku": format!("s{}", (number + line) % 13), "n": line });
    let lines: Vec<_> = (0..number % 5).map(line).collect();
    let mut order = json!({ "id": 1_000 + number, "country": country, "lines": lines });
    if number.is_multiple_of(2) {
        order["note"] = json!(null);
        order["gift"] = json!(true);
    }
    order
}

#[test]
fn each_value_is_one_of_the_runs_own_and_as_frequent() {
    let inputs = texts((0..400).map(order));
    let orders = drawn(&pool(&inputs), 2_000);
    let share = |is: &dyn Fn(&Value) -> bool| orders.iter().filter(|order| is(order)).count() as f64 / 2_000.0;
    for (what, found, expected) in [
        ("from France", share(&|it| it["country"] == "fr"), 0.25),
        ("with no lines", share(&|it| it["lines"].as_array().is_some_and(Vec::is_empty)), 0.2),
        ("with four lines", share(&|it| it["lines"].as_array().is_some_and(|lines| lines.len() == 4)), 0.2),
        ("gifts", share(&|it| it["gift"] == true), 0.5),
        // What hangs together there does not here: all of these have an odd number there.
        ("gifts from France", share(&|it| it["country"] == "fr" && it["gift"] == true), 0.125),
    ] {
        assert!((found - expected).abs() < 0.04, "{what}: {found} instead of {expected}");
    }
    for order in &orders {
        assert_eq!(order["gift"].is_null(), order.get("note").is_none(), "keys are one input's own");
        assert!((1_000..1_400).contains(&order["id"].as_u64().expect("a number")));
        for line in order["lines"].as_array().expect("a list") {
            assert!(line["sku"].as_str().is_some_and(|sku| sku.starts_with('s')) && line["n"].is_u64());
        }
    }
}

#[test]
fn blanks_order_and_spelling_are_those_of_an_input() {
    let inputs = [&b" {\"b\" : 1.0e2, \"a\":\"\\u0061\"}\n"[..], b" {\"b\" : 7, \"a\":\"x\"}\n"].map(<[u8]>::to_vec);
    let found: BTreeSet<_> = (0..50).filter_map(|number| pool(&inputs).draw(seed(number), None)).collect();
    let expected = [&b" {\"b\" : 1.0e2, \"a\":\"x\"}\n"[..], b" {\"b\" : 7, \"a\":\"\\u0061\"}\n"];
    assert_eq!(found, expected.map(<[u8]>::to_vec).into());
}

#[test]
fn none_is_an_input_and_where_nothing_else_comes_of_them_there_is_none() {
    let inputs = texts((0..400).map(order));
    let pool = pool(&inputs);
    for number in 0..500 {
        let decoy = pool.draw(seed(number), None).expect("one is drawn");
        assert!(!inputs.contains(&decoy));
        assert_eq!(pool.draw(seed(number), None), Some(decoy), "the same again");
    }
    for single in
        [vec![], texts([json!("LHR"), json!("JFK")]), texts([json!({ "a": 1, "b": 2 })]), texts([json!({}), json!([])])]
    {
        assert_eq!(self::pool(&single).draw(seed(1), None), None, "{single:?}");
    }
}

#[test]
fn attack_34_tokens_are_fresh_ones_and_stand_as_often_for_the_same() {
    let fields =
        r#"[{"at":"/email","class":"email","reveal":"domain"},{"at":"$.people[*]","class":"name","joinable":true}]"#;
    let fields: SensitiveFields = serde_json::from_str(fields).expect("fields");
    let places = Places::new(&fields);
    let canary = |number: u32| format!("canary{number}");
    let canonical: Vec<Vec<u8>> = (0..40)
        .map(|number| {
            let who = canary(number);
            let input = json!({ "n": number, "email": format!("{who}@site{}.example", number % 3), "people": [who, who, "bob"] });
            tokenise(input.to_string().as_bytes(), &places, &mint(number), Source::Input).expect("a form").text
        })
        .collect();
    let known: BTreeSet<_> = canonical.iter().flat_map(|text| token::find(text)).map(|(_, token)| token).collect();
    let mut seen = BTreeSet::new();
    for number in 0..200 {
        let decoy =
            pool(&canonical).draw(seed(number), Some(&mint(UnitId::FIRST_DECOY + number))).expect("one is drawn");
        let text = String::from_utf8(decoy).expect("UTF-8");
        assert!(!text.contains("canary"), "{text}");
        let of: Vec<_> = token::find(text.as_bytes()).map(|(_, token)| token).collect();
        assert_eq!(of.iter().map(|token| token.class().letter()).collect::<Vec<_>>(), b"ennn");
        assert_eq!((of[1] == of[2], of[2] == of[3]), (true, false), "{text}");
        assert!(of.iter().all(|token| !known.contains(token)), "{text}");
        assert!(of.into_iter().collect::<BTreeSet<_>>().into_iter().all(|token| seen.insert(token)), "{text}");
        assert!(text.contains("\"domain\":\"site"), "{text}");
    }
}

#[test]
fn what_is_no_json_is_refused() {
    for text in [&b"{"[..], b"", b"\xff", b"[1,]"] {
        assert!(Pool::new([&b"1"[..], text]).is_err(), "{text:?}");
    }
}

#[test]
fn nothing_is_deeper_or_longer_than_what_is_known() {
    // Lists of lists of which each could have the most of another's: more than memory has room for.
    let wide = |count: usize| format!("[{}]", vec!["1"; count].join(","));
    let nested = |outer: usize, inner: usize| format!("[{}]", vec![wide(inner); outer].join(",")).into_bytes();
    let inputs = vec![nested(1_000, 1), nested(1, 1_000), nested(30, 30)];
    let longest = inputs.iter().map(Vec::len).max();
    for number in 0..50 {
        let decoy = pool(&inputs).draw(seed(number), None);
        assert!(decoy.map(|decoy| decoy.len()) <= longest);
    }
    let deep = ["[".repeat(127), "]".repeat(127)].concat().into_bytes();
    assert_eq!(pool(&[deep]).draw(seed(1), None), None);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        ".*".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c\"\\\\]{0,2}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_drawn_is_json_whatever_it_is_drawn_of(inputs in prop::collection::vec(any_json(), 1..8), number in any::<u32>()) {
        let inputs = texts(inputs);
        if let Some(decoy) = pool(&inputs).draw(seed(number), None) {
            serde_json::from_slice::<Value>(&decoy).expect("JSON");
            prop_assert!(!inputs.contains(&decoy));
            prop_assert!(Some(decoy.len()) <= inputs.iter().map(Vec::len).max());
        }
    }
}
