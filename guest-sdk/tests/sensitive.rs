//! What types say of sensitive values is what is found in the inputs that they read.
#![allow(dead_code, reason = "of most fields it matters only that they are read")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use manyhands::token::*;
use manyhands::{Sensitive, draft, testing};
use manyhands_model::sensitive::Class as Known;
use manyhands_model::{Reveal as Part, SensitiveFields, UnitId};
use manyhands_placeholder::{Places, Scope, Source, TokenKey, tokenise};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The input as a worker gets it: with tokens where `T` says that values are sensitive.
fn seen<T: Sensitive + ?Sized>(input: &Value) -> String {
    let list = testing::sensitive::<T>();
    let fields: SensitiveFields = serde_json::from_str(if list.is_empty() { "[]" } else { &list }).expect("a list");
    let job = "a".parse().expect("a name");
    let unit = UnitId { run: manyhands_model::RunId([1; 16]), index: 0 };
    let mint = TokenKey::derive(&[7; 32], 0).mint(&Scope { tenant: "t", job: &job, unit });
    let tokenised = tokenise(input.to_string().as_bytes(), &Places::new(&fields), &mint, Source::Input);
    String::from_utf8(tokenised.expect("JSON").text).expect("text")
}

/// As a job reads what a worker gets.
#[track_caller]
fn read<T: Sensitive + DeserializeOwned>(input: &Value) -> T {
    serde_json::from_str(&seen::<T>(input)).expect("reads what it declared")
}

#[derive(Deserialize, Sensitive)]
#[serde(rename_all = "camelCase")]
struct Customer<'a> {
    id: &'a str,
    full_name: Token<Name>,
    #[serde(rename = "e-mail", alias = "it's \"mail\"\\")]
    email: Revealed<Email, Domain>,
    #[serde(default)]
    phones: Vec<Token<Phone>>,
    #[sensitive(text)]
    note: Option<String>,
    #[serde(flatten)]
    billing: Billing,
    #[serde(skip)]
    cache: u32,
}

#[derive(Deserialize, Sensitive)]
struct Billing {
    payment: Payment,
    homes: BTreeMap<String, (u8, Token<Address>)>,
    #[sensitive(number, surrogate)]
    income: u64,
    #[sensitive(none)]
    more: Value,
}

#[derive(Deserialize, Sensitive)]
#[serde(rename_all = "lowercase")]
enum Payment {
    Card(#[sensitive(card, surrogate)] String),
    Sepa { iban: Revealed<Iban, Last4>, since: Revealed<Date, Year> },
    Mixed(u8, Joinable<Number>),
    Cash,
}

fn customer(payment: &Value) -> Value {
    json!({
        "id": "c-1", "fullName": "Ann Lee", "e-mail": "ann.lee@example.com", "phones": ["+1 212 555 0100", "0"], "note": "owes",
        "payment": payment, "homes": {"old": [1, "1 Elm Street"], "new": [2, {"street": "Oak"}]}, "income": 12_345, "more": {"a": 1},
    })
}

#[test]
fn what_is_declared_is_what_is_found() {
    for (payment, value) in [
        (json!({"card": "4111111111111111"}), "4111111111111111"),
        (json!({"sepa": {"iban": "DE89370400440532013000", "since": "2020-01-02"}}), "DE8937040044053201"),
        (json!({"mixed": [1, 77_777]}), "77777"),
        (json!("cash"), "none of it"),
    ] {
        let text = seen::<Customer<'_>>(&customer(&payment));
        for value in ["Ann", "ann.lee", "212 555", "owes", "Elm", "Oak", "12345", "2020-01", value] {
            assert!(!text.contains(value), "{value} in {text}");
        }
        let read: Customer<'_> = serde_json::from_str(&text).expect("reads");
        assert_eq!((read.id, read.email.part.as_deref(), read.phones.len()), ("c-1", Some("example.com"), 2));
        assert!(read.note.is_some_and(|note| note.starts_with("dtk1t")));
        assert_eq!(read.billing.more, json!({"a": 1}));
        if let Payment::Sepa { iban, since } = read.billing.payment {
            assert_eq!((iban.part.as_deref(), since.part), (Some("3000"), Some(2020)));
        }
    }
    let mut other = customer(&json!("cash"));
    let email = other["e-mail"].take();
    other.as_object_mut().expect("an object").remove("e-mail");
    other["it's \"mail\"\\"] = email;
    let text = seen::<Customer<'_>>(&other);
    assert!(
        !text.contains("ann.lee") && serde_json::from_str::<Customer<'_>>(&text).is_ok(),
        "an alias is a place too"
    );
}

#[test]
fn the_list_is_what_a_manifest_says() {
    #[derive(Deserialize, Sensitive)]
    struct Page<T> {
        items: Vec<T>,
        count: usize,
    }
    #[derive(Deserialize, Sensitive)]
    #[serde(tag = "kind")]
    enum Item {
        A { email: Joinable<Email> },
        B(Inner),
    }
    #[derive(Deserialize, Sensitive)]
    struct Inner {
        #[sensitive(text, joinable)]
        text: Cow<'static, str>,
    }
    assert_eq!(
        testing::sensitive::<Page<Item>>(),
        r#"[{"at":"$.items[*].email","class":"email","joinable":true},{"at":"$.items[*].text","class":"text","joinable":true}]"#
    );
    assert_eq!(testing::sensitive::<Page<u32>>(), "");
    assert_eq!(testing::sensitive::<Token<Secret>>(), r#"[{"at":"$","class":"secret"}]"#);
    assert_eq!(
        testing::sensitive::<Option<Box<[Revealed<Text, LengthBucket>]>>>(),
        r#"[{"at":"$[*]","class":"text","reveal":"length_bucket"}]"#
    );
    let read: Page<Item> =
        read(&json!({"items": [{"kind": "B", "text": "x"}, {"kind": "A", "email": "a@b.c"}], "count": 2}));
    assert_eq!((read.items.len(), read.count), (2, 2));
}

/// The SDK has words of its own, since a job's module has no room for the model.
#[test]
fn classes_and_reveals_are_those_of_the_model() {
    fn class<C: Class>() -> (&'static str, u8) {
        (C::WORD, C::LETTER)
    }
    let classes = [
        class::<Email>(),
        class::<Phone>(),
        class::<Card>(),
        class::<Iban>(),
        class::<Name>(),
        class::<Address>(),
        class::<Date>(),
        class::<Number>(),
        class::<Text>(),
        class::<Secret>(),
    ];
    assert_eq!(classes, Known::ALL.map(|class| (class.word(), class.letter())));

    fn reveal<C: Class, R: Reveal<C>>() -> (&'static str, &'static str) {
        (C::WORD, R::WORD)
    }
    let reveals = [
        reveal::<Email, Domain>(),
        reveal::<Phone, Country>(),
        reveal::<Card, Last4>(),
        reveal::<Iban, Last4>(),
        reveal::<Iban, Country>(),
        reveal::<Address, Country>(),
        reveal::<Date, Year>(),
        reveal::<Text, LengthBucket>(),
    ];
    let known = Known::ALL.into_iter().flat_map(|class| class.reveals().iter().map(move |part| (class, *part)));
    assert_eq!(
        reveals.to_vec(),
        known.map(|(class, part): (Known, Part)| (class.word(), part.word())).collect::<Vec<_>>()
    );
}

#[test]
fn only_a_token_of_the_class_is_read_and_nothing_else_is_repeated() {
    let token = serde_json::to_string(&testing::token::<Email>("ann@example.com")).expect("writes");
    assert!(serde_json::from_str::<Token<Email>>(&token).is_ok());
    let cut = format!("{}\"", &token[..token.len() - 2]);
    for (text, why) in [
        (token.replace("dtk1e", "dtk1p"), "another class"),
        (cut, "cut"),
        (token.replace("dtk1", "dtk2"), "another prefix"),
        (token.to_uppercase(), "large letters"),
        (format!("\"{}a\"", &token[1..token.len() - 2]), "a wrong check"),
        ("\"ann@example.com\"".to_owned(), "a value"),
        ("\"\"".to_owned(), "nothing"),
    ] {
        let error = serde_json::from_str::<Token<Email>>(&text).expect_err(why).to_string();
        assert!(
            error.starts_with("expected a token of the class `email`; is the field declared so?"),
            "{why}: {error}"
        );
        assert!(!error.contains("ann"), "{error}");
    }
    assert!(serde_json::from_str::<Revealed<Email, Domain>>(&token).is_err());
    let error = serde_json::from_str::<Revealed<Iban, Last4>>(&format!("{{\"token\":{token},\"country\":\"DE\"}}"));
    assert!(error.expect_err("another class").to_string().contains("iban"));
    let token = token.replace("dtk1e", "dtk1p");
    assert!(serde_json::from_str::<Revealed<Phone, Country>>(&format!("{{\"token\":{token}}}")).is_err());
}

#[test]
fn a_token_shows_its_class_and_joinable_ones_whether_they_are_equal() {
    assert_eq!(format!("{:?}", testing::token::<Email>("ann@example.com")), "Token<email>");
    let shown =
        Revealed::<Email, Domain> { token: testing::token("ann@example.com"), part: Some("example.com".to_owned()) };
    assert_eq!(format!("{:?}", shown.clone()), r#"Revealed { token: Token<email>, domain: Some("example.com") }"#);
    assert_eq!(testing::joinable::<Email>("a"), testing::joinable("a"));
    assert_ne!(testing::joinable::<Email>("a"), testing::joinable("b"));
}

#[test]
fn a_draft_holds_its_tokens_whole() {
    let token = testing::token::<Name>("Ann");
    let Value::String(name) = serde_json::to_value(token).expect("writes") else { panic!("a text") };
    assert_eq!(
        manyhands_placeholder::token::find(name.as_bytes()).count(),
        1,
        "a test's token has the form of a token"
    );
    let (count, inner) = (3, draft!("{:.4} and {:>50}", token, token));
    let outer = draft!("Dear {}: {count:03}, {:>5}", inner, "you");
    assert_eq!(serde_json::to_value(&outer).expect("writes"), format!("Dear {name} and {name}: 003,   you"));
    assert_eq!(format!("{outer:?}"), "Draft(…)");
}

/// A job whose input says nothing has nothing sensitive; one whose input does compiles.
mod jobs {
    use super::*;

    #[manyhands::job]
    fn plain(input: Vec<u32>) -> u32 {
        input.iter().sum()
    }

    mod borrowed {
        use super::*;

        #[manyhands::job]
        fn echo(input: Vec<Customer<'_>>) -> usize {
            input.len()
        }
    }
}
