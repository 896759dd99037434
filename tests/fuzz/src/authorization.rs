//! The header `Authorization` of whoever calls the HTTP API.

use std::cell::LazyCell;
use std::sync::Arc;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use manyhands_api::Role;
use manyhands_coordinator::auth::Tokens;
use manyhands_model::{Digest, Timestamp};
use manyhands_state::{Commit, MemoryStore, StateStore as _, Table};

use crate::promise;

/// A token that is known.
const TOKEN: &str = "mht_abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrst";

thread_local! {
    static TOKENS: LazyCell<Tokens> = LazyCell::new(|| {
        let store = MemoryStore::new();
        // As `auth` writes it; had that changed, nothing could be opened here.
        let kept = postcard::to_allocvec(&("tok_a", "ada", Role::Developer, Timestamp(5))).unwrap();
        store.commit(Commit::new().put((Table::Tokens, Digest::of(TOKEN.as_bytes()).as_bytes()), kept)).unwrap();
        Tokens::open(Arc::new(store)).unwrap()
    });
}

/// Runs the target.
pub fn run(bytes: &[u8]) -> bool {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return false };
    TOKENS.with(|tokens| {
        let once = HeaderMap::from_iter([(AUTHORIZATION, value.clone())]);
        let answer = promise::bounded(bytes.len(), || tokens.caller(&once));
        let twice: HeaderMap = [(AUTHORIZATION, value.clone()), (AUTHORIZATION, value)].into_iter().collect();
        assert!(tokens.caller(&twice).is_err(), "two headers are taken for one");
        match answer {
            Ok(caller) => {
                assert_eq!((&*caller.name, caller.role), ("ada", Role::Developer), "somebody else gets in");
                let text = str::from_utf8(bytes).unwrap();
                let (scheme, token) = text.split_at(6);
                assert!(scheme.eq_ignore_ascii_case("bearer") && token.trim() == TOKEN, "{text:?} gets in");
                true
            }
            Err(error) => {
                // A refusal says the same to everybody, and so nothing of what it was given.
                let stranger = format!("Bearer {}z", &TOKEN[..TOKEN.len() - 1]);
                let others = ["x", &stranger].map(|value| {
                    let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
                    format!("{:?}", tokens.caller(&headers).unwrap_err())
                });
                assert!(others.contains(&format!("{error:?}")), "{error:?} repeats what it was given");
                false
            }
        }
    })
}

/// The right one, in its spellings.
pub fn seeds() -> Vec<Vec<u8>> {
    ["Bearer ", "bearer ", "BEARER   "].map(|scheme| format!("{scheme}{TOKEN}").into_bytes()).into()
}
