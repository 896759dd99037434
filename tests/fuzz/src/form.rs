//! What workers answer about a unit with tokens, on its way into canonical form and to the requester.
//!
//! Bytes that stand in no text stand for tokens here, whole and cut, the worker's own and others: a fuzzer would not find one by itself.

use manyhands_model::{RunId, SensitiveFields, UnitId, WorkerId};
use manyhands_placeholder::token::{BYTES, find};
use manyhands_placeholder::{Form, Places, Scope, Source, TokenKey, UnitTokens, Values, restore, tokenise};

use serde_json::Value;

use crate::promise;

/// A value is put in for a token that was one byte.
const RESTORED_BYTES_MAX: usize = 1 << 20;

const UNIT: UnitId = UnitId { run: RunId([1; 16]), index: 0 };

/// Runs the target.
pub fn run(data: &[u8]) -> bool {
    let key = TokenKey::derive(&[7; 32], 0);
    let job = "fuzz".parse().unwrap();
    let fields: SensitiveFields = serde_json::from_str(
        r#"[{"at":"/0","class":"email","reveal":"domain"},{"at":"/1","class":"text"},{"at":"/2","class":"phone","surrogate":true}]"#,
    )
    .unwrap();
    let input = br#"["ann@example.com", "\",\"admin\":true,\"", "+49 30 1234567"]"#;
    let tokenised =
        tokenise(input, &Places::new(&fields), &key.mint(&Scope { tenant: "t", job: &job, unit: UNIT }), Source::Input)
            .unwrap();
    let tokens = UnitTokens::of([&tokenised.text[..]]);
    let form = Form::new(&key, UNIT, WorkerId([1; 32]));
    let own = form.worker(tokenised.text.clone());
    let anothers = Form::new(&key, UNIT, WorkerId([2; 32])).worker(tokenised.text.clone());

    let pick = |text: &[u8], number: usize| *find(text).nth(number).unwrap().1.as_bytes();
    let surrogate = tokenised.taken[2].surrogate.clone().unwrap();
    let mut answered = Vec::new();
    for byte in data {
        match byte {
            // None of these is in any UTF-8 text.
            0xf8 => answered.extend(pick(&own, 0)),
            0xf9 => answered.extend(pick(&own, 1)),
            0xfa => answered.extend(pick(&anothers, 0)),
            0xfb => answered.extend(pick(&tokenised.text, 0)),
            0xfc => answered.extend(&pick(&own, 0)[..BYTES / 2]),
            0xfd => answered.extend(&pick(&own, 0)[BYTES / 2..]),
            0xfe => answered.extend(surrogate.as_bytes()),
            other => answered.push(*other),
        }
    }
    let back = form.back(&tokens);
    match promise::bounded_by(answered.len() as u64 + 1024, || back.canonical(answered.clone())) {
        Ok(canonical) => {
            assert_eq!(canonical.len(), answered.len(), "its length changed");
            assert!(find(&canonical).all(|(_, token)| tokens.contains(&token)), "a token that is none of the unit's");
            assert_eq!(form.worker(canonical.clone()), answered, "the worker did not say that");
            let values = Values::from_iter(tokenised.taken);
            match restore(&canonical, &values, RESTORED_BYTES_MAX) {
                Ok(restored) => {
                    let read = |text: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok();
                    assert!(read(&canonical) && read(&restored), "a value broke out");
                    let stayed = serde_json::from_slice(&restored).map_or(0, |restored| tokens_in(&restored));
                    assert_eq!(stayed, 0, "a token of the unit's stayed");
                    true
                }
                Err(refusal) => {
                    assert!(!refusal.to_string().is_empty(), "refused without a word");
                    false
                }
            }
        }
        Err(foreign) => {
            assert_eq!(&answered[foreign.at..foreign.at + BYTES], foreign.token.as_bytes(), "it stands elsewhere");
            assert_eq!(back.canonical_of(&foreign.token), None, "it is the worker's");
            false
        }
    }
}

/// In the texts for which strings stand: behind `\u00d`, what looks like a token is none.
fn tokens_in(value: &Value) -> usize {
    match value {
        Value::String(text) => find(text.as_bytes()).count(),
        Value::Array(elements) => elements.iter().map(tokens_in).sum(),
        Value::Object(members) => {
            members.iter().map(|(key, value)| find(key.as_bytes()).count() + tokens_in(value)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// What honest jobs answer.
pub fn seeds() -> Vec<Vec<u8>> {
    [
        &b"[\"\xf8\", {\"token\":\"\xf8\",\"domain\":\"example.com\"}, \"Dear \xf9, \xf8\xf9\", {\"\xf9\": \"\xfe\"}, \"\xfc\"]"[..],
        b"{ \"domain\" : \"other.com\", \"token\" : \"\xf8\" }",
        b"7",
    ]
    .map(<[u8]>::to_vec)
    .into()
}
