//! What workers, jobs and requesters who mean harm try with tokens; the numbers are those of the list of attacks.

use std::collections::{BTreeMap, BTreeSet};

use manyhands_model::{Class, JobName, Reveal, RunId, Sensitive, UnitId, WorkerId};
use manyhands_placeholder::token::{BYTES, find};
use manyhands_placeholder::{
    Back, Form, Mint, Places, Scope, Source, Taken, Token, TokenKey, Tokenised, UnitTokens, Untokenisable, Values,
    restore, tokenise,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const LONG: usize = 1 << 24;

fn key() -> TokenKey {
    TokenKey::derive(&[7; 32], 0)
}

fn unit(index: u32) -> UnitId {
    UnitId { run: RunId([1; 16]), index }
}

fn mint(index: u32) -> Mint {
    let job: JobName = "letters".parse().expect("a job name");
    key().mint(&Scope { tenant: "alice", job: &job, unit: unit(index) })
}

fn field(at: &str, class: Class) -> Sensitive {
    Sensitive { at: at.parse().expect("a place"), class, reveal: None, surrogate: false, joinable: false }
}

fn taken_of(fields: &[Sensitive], input: &Value, index: u32) -> Tokenised {
    let text = serde_json::to_vec(input).expect("writes");
    tokenise(&text, &Places::new(fields), &mint(index), Source::Input).expect("has a canonical form")
}

/// A canonical text as this worker sees it.
fn seen_by(worker: u8, index: u32, canonical: &[u8]) -> Vec<u8> {
    Form::new(&key(), unit(index), WorkerId([worker; 32])).worker(canonical.to_vec())
}

fn way_back(worker: u8, index: u32, canonical: &[u8]) -> Back {
    Form::new(&key(), unit(index), WorkerId([worker; 32])).back(&UnitTokens::of([canonical]))
}

/// Texts that break out of strings, hide in escapes, or look like something else.
fn nasty() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        prop::collection::vec(
            prop::sample::select(vec![
                "\",\"admin\":true,\"",
                "\"",
                "\\",
                "\\\"",
                "\\u0022",
                "\u{0}",
                "\u{1f}",
                "\n",
                "\u{2028}",
                "😀",
                "é",
                "dtk1",
                "}",
                "]",
                "{\"a\":1}",
                "null",
                "a@b.example",
            ]),
            0..6
        )
        .prop_map(|parts| parts.concat()),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        nasty().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key_text(), inner), 0..5)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Some of the names that are declared, often enough to be met.
fn key_text() -> impl Strategy<Value = String> {
    prop_oneof![2 => prop::sample::select(vec!["email", "a/b", "0", "", "card", "\"", "text"]).prop_map(str::to_owned), 1 => nasty()]
}

fn some_fields() -> Vec<Sensitive> {
    let shown = |at, class, reveal| Sensitive { reveal: Some(reveal), ..field(at, class) };
    vec![
        shown("$..email", Class::Email, Reveal::Domain),
        Sensitive { joinable: true, ..shown("$..text", Class::Text, Reveal::LengthBucket) },
        Sensitive { surrogate: true, ..field("$..card", Class::Card) },
        field("/a~1b", Class::Secret),
        field("$[*]['0']", Class::Number),
        field("/0", Class::Name),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(600) })]

    /// Whatever values hold, a job that returns what it was given gives its requester what was sent, and no worker saw a value.
    #[test]
    fn attack_6_what_goes_out_comes_back(input in any_json(), pretty: bool) {
        let text = if pretty { serde_json::to_vec_pretty(&input) } else { serde_json::to_vec(&input) }.expect("writes");
        let Tokenised { text: canonical, taken } =
            tokenise(&text, &Places::new(&some_fields()), &mint(0), Source::Input).expect("has a canonical form");
        let own = seen_by(1, 0, &canonical);
        prop_assert_eq!(own.len(), canonical.len());
        for part in [&canonical, &own] {
            serde_json::from_slice::<Value>(part).expect("still JSON");
        }
        let back = way_back(1, 0, &canonical).canonical(own.clone()).expect("the worker's own tokens");
        prop_assert_eq!(&back, &canonical);
        let values = Values::from_iter(taken);
        let restored = restore(&back, &values, LONG).expect("restores");
        prop_assert_eq!(&restored, &text);

        // As a job would write it that reads the input and writes it again.
        let rewritten = serde_json::to_vec_pretty(&serde_json::from_slice::<Value>(&own).expect("JSON")).expect("writes");
        let restored = restore(&way_back(1, 0, &canonical).canonical(rewritten).expect("its own tokens"), &values, LONG).expect("restores");
        prop_assert_eq!(serde_json::from_slice::<Value>(&restored).expect("JSON"), input);
    }

    /// A value in the middle of a string changes that string's text and nothing else.
    #[test]
    fn attack_6_a_value_within_a_string_stays_within(value in nasty(), before in nasty(), behind in nasty()) {
        let input = json!({ "a/b": value });
        let Tokenised { taken, .. } = taken_of(&some_fields(), &input, 0);
        let token = taken[0].token;
        let output = json!({ "text": format!("{before}{token}{behind}"), format!("{token}"): [format!("{token}{token}")] });
        let restored = restore(&serde_json::to_vec(&output).expect("writes"), &Values::from_iter(taken), LONG).expect("restores");
        let expected = json!({ "text": format!("{before}{value}{behind}"), value.clone(): [format!("{value}{value}")] });
        prop_assert_eq!(serde_json::from_slice::<Value>(&restored).expect("JSON"), expected);
    }

    /// Bytes that are not a canonical text are never changed into something longer or shorter, and never fail to be read.
    #[test]
    fn attack_9_whatever_comes_is_read(bytes: Vec<u8>, tokens in prop::collection::vec((any::<prop::sample::Index>(), 0..=BYTES), 0..4)) {
        let input = json!({ "a/b": "x", "email": "a@b.example" });
        let canonical = taken_of(&some_fields(), &input, 0).text;
        let unit_tokens = UnitTokens::of([&canonical[..]]);
        let own = seen_by(1, 0, &canonical);
        let (_, token) = find(&own).next().expect("a token");
        let mut bytes = bytes;
        for (at, cut) in tokens {
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, token.as_bytes()[..cut].iter().copied());
        }
        if let Ok(read) = way_back(1, 0, &canonical).canonical(bytes.clone()) {
            prop_assert_eq!(read.len(), bytes.len());
            prop_assert!(find(&read).all(|(_, token)| unit_tokens.contains(&token)));
        }
        let _ = restore(&bytes, &Values::default(), LONG);
        let _ = tokenise(&bytes, &Places::new(&some_fields()), &mint(0), Source::Input);
    }
}

#[test]
fn attack_8_a_token_of_anybody_elses_is_refused_wherever_it_stands() {
    let input = json!({ "a/b": "x" });
    let canonical = taken_of(&some_fields(), &input, 0).text;
    let back = way_back(1, 0, &canonical);
    let own = seen_by(1, 0, &canonical);
    let others =
        [seen_by(2, 0, &canonical), seen_by(1, 1, &taken_of(&some_fields(), &input, 1).text), canonical.clone()];
    for other in others {
        let (_, foreign) = find(&other).next().expect("a token");
        for answer in [
            format!("{foreign}"),
            format!("{{\"{foreign}\":0}}"),
            format!("\0\u{1}x{foreign}y"),
            format!("{foreign}{foreign}"),
        ] {
            let answer = [&own[..], answer.as_bytes()].concat();
            assert_eq!(back.canonical(answer).expect_err("foreign").token, foreign);
        }
    }
    // Nor does its requester bring one.
    for places in [&[][..], &some_fields()] {
        let refused = tokenise(&own, &Places::new(places), &mint(0), Source::Input).err();
        assert!(matches!(refused, Some(Untokenisable::LooksLikeToken { .. })));
    }
}

/// A cut at every point, glued with every kind of thing that can be between: what is not whole is nobody's, and what is whole is found.
#[test]
fn attack_9_a_token_split_over_fields_is_not_put_together() {
    let canonical = taken_of(&some_fields(), &json!({ "a/b": "secret" }), 0);
    let values = Values::from_iter(canonical.taken);
    let (_, token) = find(&canonical.text).next().expect("a token");
    for cut in 1..BYTES {
        let (head, tail) = token.as_str().split_at(cut);
        for output in [
            json!([head, tail]),
            json!({ head: tail }),
            json!(format!("{head} {tail}")),
            json!(format!("{head}\u{200d}{tail}")),
        ] {
            let output = serde_json::to_vec(&output).expect("writes");
            assert_eq!(restore(&output, &values, LONG).expect("restores"), output);
        }
    }
}

/// A token has as many bytes for every value, of each class, and the bytes of one tell nothing of the other: as many of each digit for
/// values that begin with an `a` as for others, at every position.
#[test]
fn attack_11_a_token_carries_nothing_of_its_value() {
    const VALUES: usize = 20_000;
    let values: Vec<String> =
        (0..VALUES).map(|number| format!("{}{number}", if number % 2 == 0 { 'a' } else { 'b' })).collect();
    for joinable in [false, true] {
        let fields = [Sensitive { joinable, ..field("$[*]", Class::Text) }];
        let taken = taken_of(&fields, &json!(values), 0).taken;
        let mut seen = BTreeMap::<(usize, u8), [f64; 2]>::new();
        for (number, Taken { token, .. }) in taken.iter().enumerate() {
            assert_eq!(token.as_str().len(), BYTES);
            for (at, digit) in token.as_bytes().iter().enumerate().skip(5) {
                seen.entry((at, *digit)).or_default()[number % 2] += 1.0;
            }
        }
        // 28 positions of 32 digits: a chi-square of 28 * 31 degrees of freedom, within five deviations of its mean.
        let half = VALUES as f64 / 2.0;
        let chi: f64 = seen.values().map(|[a, b]| (a - b).powi(2) / (a + b)).sum();
        let freedom = (28 * 31) as f64;
        assert_eq!(seen.len(), 28 * 32);
        assert!((chi - freedom).abs() < 5.0 * (2.0 * freedom).sqrt(), "chi-square {chi} at {freedom}, {half} of each");
    }
    // Whatever the length of a value, the text that workers see is as long.
    for class in Class::ALL {
        let length = |value: Value| taken_of(&[field("/a", class)], &json!({ "a": value }), 0).text.len();
        let lengths = [json!(""), json!("x".repeat(10_000)), json!(7), json!([1, 2, 3]), Value::Null].map(length);
        assert_eq!(lengths, [r#"{"a":""}"#.len() + BYTES; 5]);
    }
}

/// Who sees ten thousand values of which nine in ten are one and the same sees ten thousand different tokens, and guesses which are that one
/// no better by anything in them than by always saying so.
#[test]
fn attack_12_equal_values_are_not_seen_to_be_equal() {
    let values: Vec<&str> = (0..10_000).map(|number| if number % 10 == 0 { "rare" } else { "common" }).collect();
    let seen: BTreeSet<Token> = (0..3)
        .flat_map(|index| {
            let canonical = taken_of(&[field("$[*]", Class::Name)], &json!(values), index).text;
            [1, 2]
                .map(|worker| find(&seen_by(worker, index, &canonical)).map(|(_, token)| token).collect::<Vec<_>>())
                .concat()
        })
        .collect();
    assert_eq!(seen.len(), 3 * 2 * values.len());

    // The best guess by each bit of a token: learnt from one half, tried on the other.
    let taken = taken_of(&[field("$[*]", Class::Name)], &json!(values), 0).taken;
    let (known, unknown) = taken.split_at(5_000);
    let is_rare = |taken: &Taken| taken.value.json() == "\"rare\"";
    for at in 5..BYTES {
        for bit in 0..5 {
            let set = |taken: &&Taken| taken.token.as_bytes()[at] >> bit & 1 == 1;
            let share = |some: &[Taken], value: bool| {
                let these: Vec<_> = some.iter().filter(|taken| set(taken) == value).collect();
                these.iter().filter(|taken| is_rare(taken)).count() as f64 / these.len().max(1) as f64
            };
            // Either side of the bit has as many rare ones, within six deviations of what chance gives 2,500 of them (0.006 each).
            if known.iter().any(|taken| set(&taken)) && known.iter().any(|taken| !set(&taken)) {
                assert!((share(unknown, true) - share(unknown, false)).abs() < 6.0 * 0.0085, "byte {at}, bit {bit}");
            }
        }
    }
}

/// Where equality is declared it holds within a run, and workers still do not see it across units.
#[test]
fn attack_12_joinable_values_are_equal_to_the_coordinator_only() {
    let fields = [Sensitive { joinable: true, ..field("$[*]", Class::Card) }];
    let input = json!(["4111", "4111", "4112"]);
    let tokens = |text: &[u8]| find(text).map(|(_, token)| token).collect::<Vec<_>>();
    let units = [0, 1].map(|index| taken_of(&fields, &input, index).text);
    assert_eq!(units[0], units[1]);
    let seen = [0, 1].map(|index| tokens(&seen_by(1, index, &units[0])));
    for tokens in &seen {
        assert!(tokens[0] == tokens[1] && tokens[0] != tokens[2]);
    }
    assert!(!seen[0].iter().any(|token| seen[1].contains(token)));
}

/// What replays from elsewhere is refused: another worker's, another unit's, another run's, another tenant's, another epoch's.
#[test]
fn attack_13_tokens_are_worth_nothing_elsewhere() {
    let input = json!({ "a/b": "x", "email": "a@b.example" });
    let places = Places::new(&some_fields());
    let text = serde_json::to_vec(&input).expect("writes");
    let job: JobName = "letters".parse().expect("a job name");
    let other_job: JobName = "others".parse().expect("a job name");
    let mut answers = Vec::new();
    for (tenant, job, run, index, epoch) in [
        ("alice", &job, 1, 0, 0),
        ("bob", &job, 1, 0, 0),
        ("alice", &other_job, 1, 0, 0),
        ("alice", &job, 2, 0, 0),
        ("alice", &job, 1, 1, 0),
        ("alice", &job, 1, 0, 1),
    ] {
        let key = TokenKey::derive(&[7; 32], epoch);
        let unit = UnitId { run: RunId([run; 16]), index };
        let canonical =
            tokenise(&text, &places, &key.mint(&Scope { tenant, job, unit }), Source::Input).expect("has a form").text;
        for worker in [1, 2] {
            let form = Form::new(&key, unit, WorkerId([worker; 32]));
            answers.push((form.back(&UnitTokens::of([&canonical[..]])), form.worker(canonical.clone())));
        }
    }
    for (mine, (back, _)) in answers.iter().enumerate() {
        for (theirs, (_, own)) in answers.iter().enumerate() {
            assert_eq!(back.canonical(own.clone()).is_ok(), mine == theirs, "{theirs} at {mine}");
        }
    }
}
