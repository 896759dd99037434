//! Inputs with sensitive fields: who may say which, and the text that is then read without a tree.
//!
//! The list of fields comes first, then a zero byte, then the text.

use std::collections::BTreeSet;

use manyhands_model::{RunId, SensitiveFields, UnitId, WorkerId};
use manyhands_placeholder::token::find;
use manyhands_placeholder::{
    Form, Mint, Places, Scope, Source, TokenKey, Tokenised, UnitTokens, Untokenisable, Values, restore, tokenise,
};

use crate::promise;

/// For each byte of a text: a token, a value and what is remembered of both come of two.
const BYTES_PER_BYTE: u64 = 160;
const FREE_BYTES: u64 = 64 << 10;

const UNIT: UnitId = UnitId { run: RunId([1; 16]), index: 0 };

/// Runs the target.
pub fn run(data: &[u8]) -> bool {
    let Some(end) = data.iter().position(|byte| *byte == 0) else { return false };
    let (fields, text) = (&data[..end], &data[end + 1..]);
    let Ok(fields) = promise::bounded(fields.len(), || serde_json::from_slice::<SensitiveFields>(fields)) else {
        return false;
    };
    let written = serde_json::to_vec(&fields).unwrap();
    assert_eq!(serde_json::from_slice::<SensitiveFields>(&written).unwrap(), fields, "other fields came back");

    let places = Places::new(&fields);
    let bytes_max = BYTES_PER_BYTE * text.len() as u64 + FREE_BYTES;
    let tokenised = promise::bounded_by(bytes_max, || tokenise(text, &places, &mint(), Source::Input));
    let is_json = match serde_json::from_slice::<serde_json::Value>(text) {
        Ok(_) => Some(true),
        // Numbers have no size here.
        Err(error) if error.to_string().contains("number out of range") => None,
        Err(_) => Some(false),
    };
    match tokenised {
        Ok(tokenised) => {
            assert_ne!(is_json, Some(false), "serde_json does not read it");
            let exact = !fields.iter().any(|field| field.joinable);
            keeps_its_promises(text, tokenised, exact);
            true
        }
        Err(refusal) => {
            let not_json = matches!(refusal, Untokenisable::NotJson(_));
            assert!(!not_json || is_json != Some(true), "serde_json reads it: {refusal}");
            assert!(!refusal.to_string().is_empty(), "refused without a word");
            false
        }
    }
}

/// `exact` says whether every value has a token of its own: of equal ones that are written differently, one comes back.
fn keeps_its_promises(text: &[u8], Tokenised { text: canonical, taken }: Tokenised, exact: bool) {
    let tokens: BTreeSet<_> = taken.iter().map(|taken| taken.token).collect();
    assert_eq!(tokens.len(), taken.len(), "one token for two values");
    assert!(find(&canonical).all(|(_, token)| tokens.contains(&token)), "a token that stands for nothing");
    let form = Form::new(&TokenKey::derive(&[7; 32], 0), UNIT, WorkerId([1; 32]));
    let own = form.worker(canonical.clone());
    assert!(find(&own).all(|(_, token)| !tokens.contains(&token)), "a worker sees a canonical token");
    let back = form.back(&UnitTokens::of([&canonical[..]])).canonical(own);
    assert_eq!(back.as_deref(), Ok(&canonical[..]), "another canonical form came back");
    // An escape of six bytes can come back for one.
    let restored = restore(&canonical, &Values::from_iter(taken), 6 * text.len()).unwrap();
    if exact {
        assert_eq!(restored, text, "another text came back");
    } else {
        let read = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).ok();
        assert_eq!(read(&restored), read(text), "another value came back");
    }
}

fn mint() -> Mint {
    let job = "fuzz".parse().unwrap();
    TokenKey::derive(&[7; 32], 0).mint(&Scope { tenant: "t", job: &job, unit: UNIT })
}

/// Each kind of field, each kind of value, and texts that are easily misread.
pub fn seeds() -> Vec<Vec<u8>> {
    let fields = r#"[{"at":"/a~1b/0","class":"email","reveal":"domain"},{"at":"$..card","class":"card","reveal":"last4","joinable":true},
        {"at":"$['x'][*]","class":"date","surrogate":true},{"at":"$.*.n","class":"number","surrogate":true},{"at":"$..t[1]","class":"text","reveal":"length_bucket"}]"#;
    let texts = [
        r#"{"a/b":["ann@example.com"],"card":"4111 1111","x":["1985-04-05",7,null],"y":{"n":12,"card":"4111 1111"},"t":[0,"\ud83d\ude00"]}"#,
        "[{\"c\\u0061rd\" : {\"card\":[]}, \"card\":-1.5e+3, \"card\":\"\\\",\\\"admin\\\":true,\\\"\"} ,\n\ttrue]",
        " \"dtk1\" ",
    ];
    let seed = |text: &str| [fields.as_bytes(), b"\0", text.as_bytes()].concat();
    texts
        .map(seed)
        .into_iter()
        .chain([b"[{\"at\":\"$..*\",\"class\":\"secret\"}]\0 [{}, \"\\ud83d\\ude00\", 1e3, null]\n".to_vec()])
        .collect()
}
