//! Who is asking: bearer tokens and what they permit.
//!
//! A token is 256 random bits. Only its SHA-256 is kept, in the store's table of tokens and in memory, so
//! neither a copied disk nor a log gives a token away; with that many bits no slower hash is needed. A
//! token is found by its digest: how long that takes says nothing about a token, since nobody can choose
//! digests byte by byte. The secret is shown once, when it is created.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use axum::extract::{FromRef, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use data_encoding::BASE32_NOPAD;
use manyhands_api::{CreatedToken, NewToken, Role, TokenList, TokenView};
use manyhands_model::{Digest, Timestamp};
use manyhands_state::{Commit, CommitError, ReadError, StateStore, Table};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::private_file::{self, PrivateFileError};
use crate::problem::{Answer, ApiError, Kind};

/// Before every token, so that people and scanners for leaked secrets know one when they see it.
pub const TOKEN_PREFIX: &str = "mht_";
/// The file in the data directory that holds the first operator's token.
pub const OPERATOR_FILE: &str = "operator.token";
/// Most tokens at the same time; all of them are kept in memory.
pub const TOKENS_MAX: usize = 10_000;
/// Longest name of a token. Unit: characters.
pub const NAME_CHARS_MAX: usize = 64;

/// A token itself, or an invitation. Wiped from memory when dropped; never printed.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A new one, with `prefix` before it.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub fn draw(prefix: &str) -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes)?;
        let mut text = Zeroizing::new(BASE32_NOPAD.encode(&*bytes));
        text.make_ascii_lowercase();
        Ok(Self(Zeroizing::new(format!("{prefix}{}", *text))))
    }

    /// Reads one that somebody presents, with `prefix` before it; `None` if it cannot be one.
    pub fn parse(prefix: &str, text: &str) -> Option<Self> {
        let rest = text.strip_prefix(prefix)?;
        let is_base32 = rest.len() == 52 && rest.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'));
        is_base32.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The token in the clear, for the one who may have it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What is kept of a token, under its digest.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    id: String,
    name: String,
    role: Role,
    created_at: Timestamp,
}

/// Somebody whose token is known.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Names the token.
    pub token: String,
    /// Whose it is; the owner of what it submits.
    pub name: String,
    /// What it permits.
    pub role: Role,
}

impl Caller {
    /// Goes on only for a token of that role or a higher one.
    ///
    /// # Errors
    /// [`Kind::Forbidden`], with both roles.
    pub fn need(&self, role: Role) -> Answer<()> {
        if self.role >= role {
            return Ok(());
        }
        let (name, needed, has) = (&self.name, word(role), word(self.role));
        let detail = format!(
            "this needs the role {needed}; the token of `{name}` has the role {has}. An operator can create another"
        );
        Err(ApiError::new(Kind::Forbidden, detail))
    }

    /// Whether what `owner` submitted may be seen: by its owner and by operators.
    pub fn sees(&self, owner: &str) -> bool {
        self.name == owner || self.role == Role::Operator
    }
}

const fn word(role: Role) -> &'static str {
    match role {
        Role::Requester => "requester",
        Role::Developer => "developer",
        Role::Operator => "operator",
    }
}

/// Why the tokens cannot be read or set up at the start.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The store does not give them.
    #[error("tokens cannot be read: {0}")]
    Read(#[from] ReadError),
    /// The store does not take one.
    #[error("the operator's token cannot be kept: {0}")]
    Commit(#[from] CommitError),
    /// The operator's file cannot be written.
    #[error("the operator's token cannot be handed over: {0}")]
    File(#[from] PrivateFileError),
    /// A record is not readable.
    #[error("the record of a token is not readable by this version of the coordinator; use the newer one again")]
    Unreadable,
    /// No random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// All tokens. Cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    store: Arc<dyn StateStore>,
    /// Follows the store: changed only after a commit.
    known: RwLock<BTreeMap<Digest, Kept>>,
    /// Serialises changes, so that two revocations cannot both leave the other as the last operator.
    changing: Mutex<()>,
}

impl Tokens {
    /// Reads all tokens. Blocks; for the start.
    ///
    /// # Errors
    /// [`TokensError`].
    pub fn open(store: Arc<dyn StateStore>) -> Result<Self, TokensError> {
        let mut known = BTreeMap::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = store.scan(Table::Tokens, &[], after.as_deref(), 1000)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, record) in page {
                let digest = key.try_into().map(Digest).map_err(|_| TokensError::Unreadable)?;
                known.insert(digest, postcard::from_bytes(&record.value).map_err(|_| TokensError::Unreadable)?);
            }
        }
        Ok(Self(Arc::new(Inner { store, known: RwLock::new(known), changing: Mutex::default() })))
    }

    /// Makes sure that there is an operator: where there is no operator's token, creates one and writes it
    /// to [`OPERATOR_FILE`] in `dir`, readable by its owner only. Returns whether it did. Blocks; for the start.
    ///
    /// # Errors
    /// [`TokensError`].
    pub fn ensure_operator(&self, dir: &Path, now: Timestamp) -> Result<bool, TokensError> {
        if self.read(|known| known.values().any(|kept| kept.role == Role::Operator)) {
            return Ok(false);
        }
        let secret = Secret::draw(TOKEN_PREFIX)?;
        let kept = Kept { id: id_of(&secret), name: "operator".into(), role: Role::Operator, created_at: now };
        // The file first: a crash in between leaves a token that does not count yet, and the next start
        // replaces it. The other way round, the coordinator could have an operator whom nobody can be.
        let line = Zeroizing::new(format!("{}\n", secret.expose()));
        private_file::write(&dir.join(OPERATOR_FILE), line.as_bytes())?;
        self.0.store.commit(put(&secret, &kept))?;
        self.write(|known| known.insert(secret.digest(), kept));
        Ok(true)
    }

    /// Creates a token. Its secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a bad name, [`Kind::Conflict`] when there are too many, or what the store says.
    pub async fn create(&self, new: NewToken, now: Timestamp) -> Answer<CreatedToken> {
        if !is_name(&new.name) {
            let detail =
                format!("`name` has to be 1 to {NAME_CHARS_MAX} printable characters without space at its ends");
            return Err(ApiError::new(Kind::Invalid, detail));
        }
        self.change(move |tokens| {
            if tokens.read(BTreeMap::len) >= TOKENS_MAX {
                let detail = format!("there are {TOKENS_MAX} tokens, and no more are kept; revoke some");
                return Err(ApiError::new(Kind::Conflict, detail));
            }
            let NewToken { name, role } = new;
            let secret = Secret::draw(TOKEN_PREFIX).map_err(|error| ApiError::internal(&error))?;
            let id = id_of(&secret);
            let kept = Kept { id: id.clone(), name: name.clone(), role, created_at: now };
            tokens.0.store.commit(put(&secret, &kept))?;
            tokens.write(|known| known.insert(secret.digest(), kept));
            Ok(CreatedToken { id, name, role, token: secret.expose().to_owned() })
        })
        .await
    }

    /// Revokes a token: from the moment this returns nobody gets in with it, whatever happens.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Conflict`] for the last operator's, or what the store says.
    pub async fn revoke(&self, id: &str) -> Answer<()> {
        let id = id.to_owned();
        self.change(move |tokens| {
            let found = tokens
                .read(|known| known.iter().find(|(_, kept)| kept.id == id).map(|(digest, kept)| (*digest, kept.role)));
            let Some((digest, role)) = found else { return Err(ApiError::not_found("token", id)) };
            let operators = tokens.read(|known| known.values().filter(|kept| kept.role == Role::Operator).count());
            if role == Role::Operator && operators == 1 {
                let detail = "this is the last operator's token; create another operator's token first";
                return Err(ApiError::new(Kind::Conflict, detail));
            }
            tokens.0.store.commit(Commit::new().delete((Table::Tokens, digest.as_bytes())))?;
            tokens.write(|known| known.remove(&digest));
            Ok(())
        })
        .await
    }

    /// All tokens without their secrets, oldest first.
    pub fn list(&self) -> TokenList {
        let view = |kept: &Kept| TokenView {
            id: kept.id.clone(),
            name: kept.name.clone(),
            role: kept.role,
            created_at: kept.created_at,
        };
        let mut tokens: Vec<_> = self.read(|known| known.values().map(view).collect());
        tokens.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        TokenList { tokens }
    }

    /// Whether the token of that id is an operator's, and not revoked.
    pub fn is_operator(&self, id: &str) -> bool {
        self.read(|known| known.values().any(|kept| kept.role == Role::Operator && kept.id == id))
    }

    /// Whom the header `Authorization` speaks for.
    ///
    /// # Errors
    /// [`Kind::Unauthenticated`].
    pub fn caller(&self, headers: &HeaderMap) -> Answer<Caller> {
        let refuse = |detail: &str| ApiError::new(Kind::Unauthenticated, detail);
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = match (values.next(), values.next()) {
            (Some(value), None) => value,
            (None, _) => {
                return Err(refuse("send the header `authorization: Bearer mht_…`; an operator gives tokens out"));
            }
            (Some(_), Some(_)) => return Err(refuse("send the header `authorization` once")),
        };
        let presented = value.to_str().ok().and_then(|text| text.split_once(' '));
        let secret = presented
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .and_then(|(_, token)| Secret::parse(TOKEN_PREFIX, token.trim()))
            .ok_or_else(|| {
                refuse("the header `authorization` has to be `Bearer mht_…`, with the 52 characters of a token")
            })?;
        let digest = secret.digest();
        self.read(|known| known.get(&digest).map(Caller::from)).ok_or_else(|| {
            refuse("this token is not known here; perhaps it was revoked, or belongs to another coordinator")
        })
    }

    fn read<T>(&self, look: impl FnOnce(&BTreeMap<Digest, Kept>) -> T) -> T {
        look(&self.0.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut BTreeMap<Digest, Kept>) -> T) -> T {
        change(&mut self.0.known.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes store and memory together, on a thread where blocking is fine. It goes on to its end even
    /// when the client hangs up, so the two never differ.
    async fn change<T: Send + 'static>(&self, change: impl FnOnce(&Self) -> Answer<T> + Send + 'static) -> Answer<T> {
        let tokens = self.clone();
        let changed = tokio::task::spawn_blocking(move || {
            let _one_at_a_time = tokens.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
            change(&tokens)
        });
        changed.await.unwrap_or_else(|error| Err(ApiError::internal(&error)))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.read(BTreeMap::len))
    }
}

impl From<&Kept> for Caller {
    fn from(kept: &Kept) -> Self {
        Self { token: kept.id.clone(), name: kept.name.clone(), role: kept.role }
    }
}

/// Whether a text can name somebody.
pub fn is_name(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control) && text.trim() == text
}

/// Names a token by 80 bits of its digest, of which nobody can guess the 256-bit token.
fn id_of(secret: &Secret) -> String {
    format!("tok_{}", BASE32_NOPAD.encode(&secret.digest().as_bytes()[..10]).to_ascii_lowercase())
}

fn put(secret: &Secret, kept: &Kept) -> Commit {
    let key = (Table::Tokens, *secret.digest().as_bytes());
    // A struct of strings and numbers always has bytes.
    Commit::new().expect_absent(key).put(key, postcard::to_allocvec(kept).unwrap_or_default())
}

impl<S: Send + Sync> FromRequestParts<S> for Caller
where
    Tokens: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        Tokens::from_ref(state).caller(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use axum::routing::get;
    use manyhands_state::MemoryStore;
    use tower::ServiceExt as _;

    use super::*;

    fn tokens() -> (Arc<MemoryStore>, Tokens) {
        let store = Arc::new(MemoryStore::new());
        (store.clone(), Tokens::open(store).unwrap())
    }

    fn new(name: &str, role: Role) -> NewToken {
        NewToken { name: name.into(), role }
    }

    fn bearing(token: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())])
    }

    #[tokio::test]
    async fn a_token_works_until_it_is_revoked_and_survives_a_restart() {
        let (store, tokens) = tokens();
        let created = tokens.create(new("ada", Role::Developer), Timestamp(5)).await.unwrap();
        let again = Tokens::open(store.clone()).unwrap();
        let caller = again.caller(&bearing(&created.token)).unwrap();
        assert_eq!((&*caller.name, caller.role, &*caller.token), ("ada", Role::Developer, &*created.id));
        again.revoke(&created.id).await.unwrap();
        assert_eq!(again.caller(&bearing(&created.token)).unwrap_err().kind, Kind::Unauthenticated);
        assert_eq!(Tokens::open(store).unwrap().list().tokens.len(), 0);
        assert_eq!(again.revoke(&created.id).await.unwrap_err().kind, Kind::NotFound);
    }

    #[tokio::test]
    async fn a_secret_is_neither_stored_nor_printed() {
        let (store, tokens) = tokens();
        let created = tokens.create(new("ada", Role::Requester), Timestamp(5)).await.unwrap();
        let secret = created.token.strip_prefix(TOKEN_PREFIX).unwrap();
        for (key, record) in store.scan(Table::Tokens, &[], None, 10).unwrap() {
            let stored = [key, record.value].concat();
            assert!(!stored.windows(20).any(|window| secret.as_bytes().starts_with(window)));
        }
        assert_eq!(format!("{:?}", Secret::parse(TOKEN_PREFIX, &created.token).unwrap()), "Secret(..)");
        let caller = tokens.caller(&bearing(&created.token)).unwrap();
        assert!(!format!("{tokens:?} {caller:?} {:?}", tokens.list()).contains(&secret[..20]));
    }

    #[tokio::test]
    async fn the_first_start_hands_the_operators_token_over_in_a_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let (store, tokens) = tokens();
        assert!(tokens.ensure_operator(dir.path(), Timestamp(1)).unwrap());
        let line = private_file::read(&dir.path().join(OPERATOR_FILE)).unwrap();
        let token = std::str::from_utf8(&line).unwrap().trim_end();
        let again = Tokens::open(store).unwrap();
        assert!(!again.ensure_operator(dir.path(), Timestamp(2)).unwrap(), "once is enough");
        let caller = again.caller(&bearing(token)).unwrap();
        assert_eq!(caller.role, Role::Operator);
        let refused = again.revoke(&caller.token).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Conflict, "nobody locks themselves out");
    }

    #[tokio::test]
    async fn names_are_short_and_printable() {
        let (_, tokens) = tokens();
        for name in ["", " ada", "a\nb", &"a".repeat(65)] {
            let refused = tokens.create(new(name, Role::Operator), Timestamp(1)).await.unwrap_err();
            assert_eq!(refused.kind, Kind::Invalid, "{name:?}");
        }
    }

    #[tokio::test]
    async fn a_router_knows_its_caller_and_what_they_may() {
        let (_, tokens) = tokens();
        let requester = tokens.create(new("ada", Role::Requester), Timestamp(1)).await.unwrap().token;
        let developer = tokens.create(new("bob", Role::Developer), Timestamp(1)).await.unwrap().token;
        let publish = async |caller: Caller| caller.need(Role::Developer).map(|()| caller.name);
        let router = Router::new().route("/", get(publish)).with_state(tokens);
        let unknown = format!("mht_{}", "a".repeat(52));
        for (header, status) in [
            (format!("Bearer {developer}"), StatusCode::OK),
            (format!("bearer {developer}"), StatusCode::OK),
            (format!("Bearer {requester}"), StatusCode::FORBIDDEN),
            (format!("Bearer {unknown}"), StatusCode::UNAUTHORIZED),
            (format!("Basic {developer}"), StatusCode::UNAUTHORIZED),
            ("Bearer mht_short".into(), StatusCode::UNAUTHORIZED),
            (String::new(), StatusCode::UNAUTHORIZED),
        ] {
            let request = Request::builder().uri("/").header(AUTHORIZATION, &header).body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), status, "{header}");
            let asks = response.headers().contains_key(axum::http::header::WWW_AUTHENTICATE);
            assert_eq!(asks, status == StatusCode::UNAUTHORIZED);
        }
    }

    #[test]
    fn what_belongs_to_others_is_for_them_and_operators() {
        let caller = |name: &str, role| Caller { token: "tok_".into(), name: name.into(), role };
        assert!(caller("ada", Role::Requester).sees("ada"));
        assert!(!caller("bob", Role::Developer).sees("ada"));
        assert!(caller("root", Role::Operator).sees("ada"));
    }
}
