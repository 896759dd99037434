//! The same request twice has one effect: `Idempotency-Key` on POST.
//!
//! A key belongs to one token, method and path. The first response to it is kept for [`KEPT_FOR`] and given
//! again, marked with [`REPLAYED_HEADER`], to whoever repeats the request:
//!
//! | the same key with | is answered by |
//! |---|---|
//! | the same query and body | the first response |
//! | another query or body | 422 |
//! | a first request that is still being answered | 409 |
//! | a first response that showed a secret ([`ShownOnce`]) | 409: secrets are not stored |
//!
//! Failures of the coordinator (5xx) and answers that mean "later" (408, 409, 429) are not kept: the key
//! stays free for the next try. Once a request is read whole, it is carried through even if its client
//! hangs up, since that is exactly the client who will ask again.
//!
//! A crash between an effect and the keeping of its response is closed by [`RequestName`]: whoever commits
//! the effect names it in `Commit::idempotency`, and the repetition finds the effect done.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http_body::Body as _;
use manyhands_api::IDEMPOTENCY_HEADER;
use manyhands_model::{Digest, Timestamp};
use manyhands_state::{Commit, ReadError, StateStore, Table};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::auth::{Caller, Tokens};
use crate::problem::{Answer, ApiError, Kind};

/// How long a response is given again.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// Longest key. Unit: bytes.
pub const KEY_BYTES_MAX: usize = 255;
/// Longest body of a response that is kept. Unit: bytes. Half of the largest commit.
pub const KEPT_BODY_BYTES_MAX: usize = 4 << 20;
/// On responses that were given before.
pub const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Longest part of a body in one record. Unit: bytes. Below the largest value of a store.
const PART_BYTES: usize = 60 << 10;
/// Where responses are kept. The table `Idempotency` is the engines' own.
const TABLE: Table = Table::Meta;
/// Before the keys there.
const PREFIX: &[u8] = b"response/";
/// When to ask again about a request that is being answered.
const IN_FLIGHT_RETRY: Duration = Duration::from_secs(1);

/// Put into a response's extensions, keeps its body from being stored.
#[derive(Clone, Copy, Debug)]
pub struct ShownOnce;

/// Names a request with an idempotency key: the same for each repetition. Found in the extensions of a
/// request that carries a key; goes into `Commit::idempotency` of what it effects, as its 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestName(pub Digest);

impl RequestName {
    /// The name of a request, if it carries a key.
    ///
    /// # Errors
    /// [`Kind::Malformed`] for a key that is none.
    pub fn of(caller: &Caller, method: &Method, path: &str, headers: &HeaderMap) -> Answer<Option<Self>> {
        let mut keys = headers.get_all(IDEMPOTENCY_HEADER).iter();
        let key = match (keys.next(), keys.next()) {
            (None, _) => return Ok(None),
            (Some(key), None) => key.as_bytes(),
            (Some(_), Some(_)) => {
                return Err(ApiError::new(Kind::Malformed, "send one `idempotency-key`, not several"));
            }
        };
        if !(1..=KEY_BYTES_MAX).contains(&key.len()) || !key.iter().all(u8::is_ascii_graphic) {
            let detail =
                format!("an `idempotency-key` has 1 to {KEY_BYTES_MAX} visible ASCII characters, such as a UUID");
            return Err(ApiError::new(Kind::Malformed, detail));
        }
        // None of the first three contains a zero, so the parts cannot be shifted against each other.
        let parts = [caller.token.as_bytes(), b"\0", method.as_str().as_bytes(), b"\0", path.as_bytes(), b"\0", key];
        Ok(Some(Self(Digest::of_parts(parts))))
    }

    fn head(self) -> Vec<u8> {
        [PREFIX, self.0.as_bytes()].concat()
    }

    fn part(self, number: u32) -> Vec<u8> {
        [PREFIX, self.0.as_bytes(), &number.to_be_bytes()].concat()
    }
}

/// Takes up what a request asks for, piece by piece.
#[derive(Clone, Debug)]
pub struct Fingerprinter(Sha256);

impl Fingerprinter {
    /// Begins with the query of the request's URI.
    pub fn new(query: Option<&str>) -> Self {
        let query = query.unwrap_or_default();
        Self(Sha256::new().chain_update((query.len() as u64).to_le_bytes()).chain_update(query))
    }

    /// Takes the next piece of the body.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// What tells this request from every other.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// A first response, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    expires_at: Timestamp,
    fingerprint: Digest,
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    shown_once: bool,
    parts: u32,
}

/// The first response to a request that is repeated.
#[derive(Debug)]
pub struct Replay {
    kept: Kept,
    body: Vec<u8>,
}

impl Replay {
    /// The first response, if this is the same request.
    ///
    /// # Errors
    /// [`Kind::KeyReused`] for another request, [`Kind::AnsweredBefore`] where the response was a secret.
    pub fn answer(self, fingerprint: Digest) -> Answer<Response> {
        let Self { kept, body } = self;
        if kept.fingerprint != fingerprint {
            let detail = "this `idempotency-key` was used for a request with another body or query; take a new key for a new request";
            return Err(ApiError::new(Kind::KeyReused, detail));
        }
        if kept.shown_once {
            let detail = "this request succeeded before, and its secret was shown then; if it was lost on the way, revoke it and create another under a new `idempotency-key`";
            return Err(ApiError::new(Kind::AnsweredBefore, detail));
        }
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
        for (name, value) in kept.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                response.headers_mut().append(name, value);
            }
        }
        response.headers_mut().insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
        Ok(response)
    }
}

/// What is known about a request when it arrives.
#[derive(Debug)]
pub enum Begin {
    /// It is new, or its earlier tries left nothing: carry it out, then [`Guard::finish`].
    Fresh(Guard),
    /// It was answered before. Read it to its end, then [`Replay::answer`] tells whether it is the same.
    Replay(Replay),
    /// It is being answered at this moment: see [`in_flight`].
    InFlight,
}

/// The answer to [`Begin::InFlight`].
pub fn in_flight() -> ApiError {
    let detail = "the first request with this `idempotency-key` is still being answered; ask again in a moment";
    ApiError::new(Kind::RequestInFlight, detail).retry_after(IN_FLIGHT_RETRY)
}

/// The memory of requests. Cheap to clone.
#[derive(Clone)]
pub struct Idempotency(Arc<Inner>);

struct Inner {
    store: Arc<dyn StateStore>,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// Requests that are being answered. Gone after a crash, as they should be.
    in_flight: Mutex<HashSet<RequestName>>,
}

impl Inner {
    fn in_flight(&self) -> MutexGuard<'_, HashSet<RequestName>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds a request's name while it is answered; dropping it frees the name.
pub struct Guard {
    name: RequestName,
    inner: Arc<Inner>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&self.name).finish()
    }
}

impl fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Idempotency({} in flight)", self.0.in_flight().len())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.inner.in_flight().remove(&self.name);
    }
}

impl Idempotency {
    /// Keeps responses in `store`, by the time of `clock`.
    pub fn new(store: Arc<dyn StateStore>, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { store, clock: Box::new(clock), in_flight: Mutex::default() }))
    }

    /// Looks a request up and, if it is fresh, takes its name.
    ///
    /// # Errors
    /// What the store says.
    pub async fn begin(&self, name: RequestName) -> Answer<Begin> {
        if !self.0.in_flight().insert(name) {
            return Ok(Begin::InFlight);
        }
        let guard = Guard { name, inner: self.0.clone() };
        let inner = self.0.clone();
        match blocking(move || inner.find(name)).await? {
            Some(replay) => Ok(Begin::Replay(replay)),
            None => Ok(Begin::Fresh(guard)),
        }
    }

    /// Forgets the responses that are too old, and says how many. Blocks. Call it now and then.
    ///
    /// # Errors
    /// What the store says.
    pub fn purge(&self) -> Answer<usize> {
        let now = (self.0.clock)();
        let (mut after, mut purged, mut expired): (Option<Vec<u8>>, usize, Option<Vec<u8>>) = (None, 0, None);
        loop {
            // A record is up to 64 KiB.
            let page = self.0.store.scan(TABLE, PREFIX, after.as_deref(), 64)?;
            let Some((last, _)) = page.last() else { return Ok(purged) };
            after = Some(last.clone());
            let mut commit = Commit::new();
            for (key, record) in page {
                // A head comes right before its parts, and is the beginning of their keys.
                if key.len() == PREFIX.len() + 32 {
                    // What this version cannot read can never be given again either.
                    let dead = postcard::from_bytes::<Kept>(&record.value).map_or(true, |kept| kept.expires_at <= now);
                    expired = dead.then(|| key.clone());
                    purged += usize::from(dead);
                    if dead {
                        // The engine's own mark of the effect goes with the response.
                        commit = commit.delete((Table::Idempotency, &key[PREFIX.len()..]));
                    }
                }
                if expired.as_ref().is_some_and(|head| key.starts_with(head)) {
                    commit = commit.delete((TABLE, key));
                }
            }
            if !commit.ops.is_empty() {
                self.0.store.commit(commit)?;
            }
        }
    }
}

impl Inner {
    fn find(&self, name: RequestName) -> Result<Option<Replay>, ReadError> {
        let Some(record) = self.store.get(TABLE, &name.head())? else { return Ok(None) };
        let Ok(kept) = postcard::from_bytes::<Kept>(&record.value) else { return Ok(None) };
        if kept.expires_at <= (self.clock)() {
            return Ok(None);
        }
        let mut body = Vec::new();
        for number in 0..kept.parts {
            match self.store.get(TABLE, &name.part(number))? {
                Some(part) => body.extend_from_slice(&part.value),
                None => return Ok(None),
            }
        }
        Ok(Some(Replay { kept, body }))
    }
}

impl Guard {
    /// Names the request, for `Commit::idempotency`.
    pub fn name(&self) -> RequestName {
        self.name
    }

    /// Keeps the response to the request with that fingerprint, and hands it back to be sent. The name is
    /// free for the next try if the response is not one to keep.
    pub async fn finish(self, fingerprint: Digest, response: Response) -> Response {
        let status = response.status();
        let later = [StatusCode::REQUEST_TIMEOUT, StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS];
        let length = response.body().size_hint().exact().and_then(|length| usize::try_from(length).ok());
        let keep = !status.is_server_error() && !later.contains(&status);
        // A stream of unknown length is a view on what is there, not the result of an effect.
        if !keep || length.is_none_or(|length| length > KEPT_BODY_BYTES_MAX) {
            return response;
        }
        let (parts, body) = response.into_parts();
        let body = match to_bytes(body, KEPT_BODY_BYTES_MAX).await {
            Ok(body) => body,
            Err(error) => return ApiError::internal(&error).into_response(),
        };
        let shown_once = parts.extensions.get::<ShownOnce>().is_some();
        let not_kept = [CONTENT_LENGTH, DATE, CONNECTION, TRANSFER_ENCODING];
        let headers = parts.headers.iter().filter(|(name, _)| !not_kept.contains(name));
        let stored = if shown_once { &[] } else { &body[..] };
        let kept = Kept {
            expires_at: (self.inner.clock)().after(KEPT_FOR),
            fingerprint,
            status: status.as_u16(),
            headers: headers.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_owned())).collect(),
            shown_once,
            parts: u32::try_from(stored.len().div_ceil(PART_BYTES)).unwrap_or(u32::MAX),
        };
        // Numbers, strings and lists always have bytes.
        let head = postcard::to_allocvec(&kept).unwrap_or_default();
        let mut commit = Commit::new().put((TABLE, self.name.head()), head);
        for (number, part) in (0..).zip(stored.chunks(PART_BYTES)) {
            commit = commit.put((TABLE, self.name.part(number)), part);
        }
        let store = self.inner.store.clone();
        if let Err(error) = blocking(move || store.commit(commit)).await {
            // The effect has happened, and its client shall learn of it.
            tracing::warn!(%error, "a response could not be kept; its repetition will be carried out anew");
        }
        Response::from_parts(parts, Body::from(body))
    }
}

/// Runs what blocks on a thread for that.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Answer<T>
where
    T: Send + 'static,
    E: Into<ApiError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(error) => Err(ApiError::internal(&error)),
    }
}

/// What [`remember`] needs to know.
#[derive(Clone, Debug)]
pub struct Remember {
    /// Whose keys they are.
    pub tokens: Tokens,
    /// What was answered.
    pub idempotency: Idempotency,
    /// Longest body of these routes. Unit: bytes. A request with a key is held in memory whole.
    pub body_bytes_max: usize,
}

/// The layer for POST routes with bodies that fit in memory: `from_fn_with_state(remember, idempotency::remember)`.
///
/// # Errors
/// Everything that can be wrong with the key, the token or the body.
pub async fn remember(State(remember): State<Remember>, request: Request, next: Next) -> Answer<Response> {
    if request.method() != Method::POST || !request.headers().contains_key(IDEMPOTENCY_HEADER) {
        return Ok(next.run(request).await);
    }
    let caller = remember.tokens.caller(request.headers())?;
    let Some(name) = RequestName::of(&caller, request.method(), request.uri().path(), request.headers())? else {
        return Ok(next.run(request).await);
    };
    let (mut parts, body) = request.into_parts();
    let begun = remember.idempotency.begin(name).await?;
    if let Begin::InFlight = begun {
        return Err(in_flight());
    }
    let body = to_bytes(body, remember.body_bytes_max).await?;
    let mut fingerprinter = Fingerprinter::new(parts.uri.query());
    fingerprinter.update(&body);
    let fingerprint = fingerprinter.finish();
    let guard = match begun {
        Begin::Fresh(guard) => guard,
        Begin::Replay(replay) => return replay.answer(fingerprint),
        Begin::InFlight => return Err(in_flight()),
    };
    parts.extensions.insert(name);
    let request = Request::from_parts(parts, Body::from(body));
    // A task of its own outlives the connection.
    let answered = tokio::spawn(async move { guard.finish(fingerprint, next.run(request).await).await });
    answered.await.map_err(|error| ApiError::internal(&error))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use axum::http::header::AUTHORIZATION;
    use axum::routing::post;
    use axum::{Extension, Router};
    use manyhands_api::{NewToken, Role};
    use manyhands_state::MemoryStore;
    use tokio::sync::{Notify, mpsc};
    use tower::ServiceExt as _;

    use super::*;

    /// A counter behind POST: each effect shows in the number that is answered.
    struct World {
        store: Arc<MemoryStore>,
        router: Router,
        idempotency: Idempotency,
        now: Arc<AtomicU64>,
        ada: String,
        bob: String,
        release: Arc<Notify>,
        waiting: mpsc::UnboundedReceiver<()>,
    }

    impl World {
        async fn new() -> Self {
            let store = Arc::new(MemoryStore::new());
            let tokens = Tokens::open(store.clone()).unwrap();
            let token = async |name: &str| {
                let new = NewToken { name: name.into(), role: Role::Requester };
                tokens.create(new, Timestamp(1)).await.unwrap().token
            };
            let (ada, bob) = (token("ada").await, token("bob").await);
            let now = Arc::new(AtomicU64::new(1000));
            let idempotency = {
                let now = now.clone();
                Idempotency::new(store.clone(), move || Timestamp(now.load(Ordering::SeqCst)))
            };
            let (effects, release) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
            let (tell, waiting) = mpsc::unbounded_channel();
            let count = {
                let effects = effects.clone();
                move || effects.fetch_add(1, Ordering::SeqCst).to_string()
            };
            let slow = {
                let (count, release) = (count.clone(), release.clone());
                async move || {
                    tell.send(()).unwrap();
                    release.notified().await;
                    count()
                }
            };
            let remember = Remember { tokens, idempotency: idempotency.clone(), body_bytes_max: 100 };
            let large = count.clone();
            let secret = count.clone();
            let busy = count.clone();
            let router = Router::new()
                .route("/count", post(async move || (StatusCode::CREATED, [("manyhands-run", "r1")], count())))
                .route("/large", post(async move || [large(), "x".repeat(200_000)].concat()))
                .route("/secret", post(async move || (Extension(ShownOnce), ["mht_secret", &secret()].concat())))
                .route("/busy", post(async move || (StatusCode::SERVICE_UNAVAILABLE, busy())))
                .route("/slow", post(slow))
                .layer(axum::middleware::from_fn_with_state(remember, super::remember));
            Self { store, router, idempotency, now, ada, bob, release, waiting }
        }

        fn request(&self, token: &str, path: &str, key: &str, body: &str) -> Request {
            let request = Request::builder().method("POST").uri(path).header(AUTHORIZATION, format!("Bearer {token}"));
            let request = if key.is_empty() { request } else { request.header(IDEMPOTENCY_HEADER, key) };
            request.body(Body::from(body.to_owned())).unwrap()
        }

        async fn post(&self, token: &str, path: &str, key: &str, body: &str) -> (u16, String) {
            read(self.router.clone().oneshot(self.request(token, path, key, body)).await.unwrap()).await
        }
    }

    async fn read(response: Response) -> (u16, String) {
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn text(status: u16, body: &str) -> (u16, String) {
        (status, body.to_owned())
    }

    #[tokio::test]
    async fn a_repeated_request_gets_the_first_response_again() {
        let world = World::new().await;
        assert_eq!(world.post(&world.ada, "/count", "k1", "a").await, text(201, "0"));
        let again = world.router.clone().oneshot(world.request(&world.ada, "/count", "k1", "a")).await.unwrap();
        assert_eq!(again.headers()["manyhands-run"], "r1");
        assert_eq!(again.headers()[REPLAYED_HEADER], "true");
        assert_eq!(read(again).await, text(201, "0"));
        assert_eq!(world.post(&world.ada, "/count", "k2", "a").await, text(201, "1"), "another key");
        assert_eq!(world.post(&world.bob, "/count", "k1", "a").await, text(201, "2"), "another caller");
        assert_eq!(world.post(&world.ada, "/count", "", "a").await, text(201, "3"), "no key");
    }

    #[tokio::test]
    async fn another_body_or_query_under_the_same_key_is_refused() {
        let world = World::new().await;
        world.post(&world.ada, "/count", "k1", "a").await;
        for (path, body) in [("/count", "b"), ("/count?x=1", "a")] {
            let (status, body) = world.post(&world.ada, path, "k1", body).await;
            assert!(status == 422 && body.contains("/problems/idempotency-key-reused"), "{status} {body}");
        }
    }

    #[tokio::test]
    async fn a_response_larger_than_a_record_is_kept_whole() {
        let world = World::new().await;
        let first = world.post(&world.ada, "/large", "k1", "").await;
        assert_eq!(first.1.len(), 200_001);
        assert_eq!(world.post(&world.ada, "/large", "k1", "").await, first);
    }

    #[tokio::test]
    async fn a_secret_is_shown_once_and_never_stored() {
        let world = World::new().await;
        assert_eq!(world.post(&world.ada, "/secret", "k1", "").await, text(200, "mht_secret0"));
        let (status, body) = world.post(&world.ada, "/secret", "k1", "").await;
        assert!(status == 409 && body.contains("/problems/answered-before"), "{status} {body}");
        let stored = world.store.scan(TABLE, PREFIX, None, 100).unwrap();
        assert!(!stored.is_empty());
        assert!(stored.iter().all(|(_, record)| !record.value.windows(10).any(|window| window == b"mht_secret")));
    }

    #[tokio::test]
    async fn a_failure_leaves_the_key_free() {
        let world = World::new().await;
        assert_eq!(world.post(&world.ada, "/busy", "k1", "").await, text(503, "0"));
        assert_eq!(world.post(&world.ada, "/busy", "k1", "").await, text(503, "1"));
    }

    #[tokio::test]
    async fn a_repetition_in_flight_is_told_to_wait_and_a_client_that_hangs_up_finds_its_answer() {
        let mut world = World::new().await;
        let first = tokio::spawn(world.router.clone().oneshot(world.request(&world.ada, "/slow", "k1", "a")));
        world.waiting.recv().await.unwrap();
        let (status, body) = world.post(&world.ada, "/slow", "k1", "a").await;
        assert!(status == 409 && body.contains("/problems/request-in-flight"), "{status} {body}");
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        world.release.notify_one();
        loop {
            let (status, body) = world.post(&world.ada, "/slow", "k1", "a").await;
            if status != 409 {
                assert_eq!(text(status, &body), text(200, "0"));
                break;
            }
            // The first request goes on in a task of this same thread.
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn bad_keys_long_bodies_and_strangers_are_refused() {
        let world = World::new().await;
        for (token, key, body, expected) in [
            (&*world.ada, "with space", "a", 400),
            (&*world.ada, &"k".repeat(256), "a", 400),
            (&*world.ada, "k1", &"a".repeat(101), 413),
            ("mht_x", "k1", "a", 401),
        ] {
            assert_eq!(world.post(token, "/count", key, body).await.0, expected, "{key}");
        }
        assert_eq!(world.post(&world.ada, "/count", "k1", "a").await, text(201, "0"), "and nothing was done");
    }

    #[tokio::test]
    async fn after_a_day_a_key_is_free_and_its_record_goes() {
        let world = World::new().await;
        world.post(&world.ada, "/large", "old", "").await;
        world.now.fetch_add(1000, Ordering::SeqCst);
        world.post(&world.ada, "/count", "young", "").await;
        assert_eq!(world.idempotency.purge().unwrap(), 0);
        world.now.fetch_add(KEPT_FOR.as_millis() as u64 - 1000, Ordering::SeqCst);
        assert_eq!(world.post(&world.ada, "/count", "young", "").await, text(201, "1"), "given again");
        assert_eq!(world.idempotency.purge().unwrap(), 1);
        assert_eq!(world.store.scan(TABLE, PREFIX, None, 100).unwrap().len(), 2, "the young one's head and part");
        assert_eq!(world.post(&world.ada, "/large", "old", "").await.1.len(), 200_001, "carried out anew");
    }

    #[tokio::test]
    async fn a_streamed_request_is_looked_up_before_and_judged_after() {
        let world = World::new().await;
        let name = RequestName(Digest::of(b"request"));
        let Begin::Fresh(guard) = world.idempotency.begin(name).await.unwrap() else { panic!("nobody asked before") };
        assert!(matches!(world.idempotency.begin(name).await.unwrap(), Begin::InFlight));
        assert_eq!(guard.name(), name);
        guard.finish(Digest::of(b"body"), "done".into_response()).await;
        let Begin::Replay(replay) = world.idempotency.begin(name).await.unwrap() else { panic!("it was answered") };
        assert_eq!(read(replay.answer(Digest::of(b"body")).unwrap()).await, text(200, "done"));
    }

    #[test]
    fn a_fingerprint_does_not_depend_on_the_pieces() {
        let of = |query, pieces: &[&str]| {
            let mut fingerprinter = Fingerprinter::new(query);
            pieces.iter().for_each(|piece| fingerprinter.update(piece.as_bytes()));
            fingerprinter.finish()
        };
        assert_eq!(of(Some("q"), &["ab", "c"]), of(Some("q"), &["a", "bc"]));
        assert_ne!(of(Some("q"), &["abc"]), of(Some("qa"), &["bc"]));
        assert_eq!(of(None, &["a"]), of(Some(""), &["a"]));
    }
}
