//! What is said when a request cannot be answered as asked: problem documents (RFC 9457).
//!
//! The kinds are a closed list, [`Kind`]: each has a code that never changes its meaning, a status and a
//! title. The detail says what happened this time, whose fault it is and what to do. Causes inside the
//! coordinator are logged under an incident number and never shown, so no path, key or value of somebody
//! else slips out with an error.

use std::error::Error;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts};
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use manyhands_state::{CommitError, ReadError};

use crate::serve::{BodyIdle, Crowded};

/// Media type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// When a client that found no room for its body may send it again.
const CROWDED_RETRY: Duration = Duration::from_secs(10);

/// What a handler returns.
pub type Answer<T> = Result<T, ApiError>;

macro_rules! kinds {
    ($( $(#[$about:meta])* $kind:ident = $code:literal, $status:ident, $title:literal; )*) => {
        /// Every problem there is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $( $(#[$about])* $kind, )*
        }

        impl Kind {
            /// All kinds, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The code at the end of its URI. Never changes its meaning.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$kind => $code,)* }
            }

            /// The HTTP status.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)* }
            }

            /// The problem in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }
        }
    };
}

kinds! {
    /// The request is not understood.
    Malformed = "malformed", BAD_REQUEST, "The request cannot be read";
    /// No token, or none that is known.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "A valid token is needed";
    /// The token's role is too low, or the thing belongs to somebody else.
    Forbidden = "forbidden", FORBIDDEN, "The token does not permit this";
    /// A publication, key or signature is not believed.
    Untrusted = "untrusted", FORBIDDEN, "The signature is not believed";
    /// A client's record was changed, or belongs to somebody else.
    RecordUntrusted = "record-untrusted", FORBIDDEN, "The record is not believed";
    /// No such thing.
    NotFound = "not-found", NOT_FOUND, "There is no such thing";
    /// The path is there, the method is not.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "The method does not fit the path";
    /// The body came too slowly.
    BodyTimeout = "body-timeout", REQUEST_TIMEOUT, "The request's body stopped coming";
    /// The state does not allow it.
    Conflict = "conflict", CONFLICT, "The state of things does not allow this";
    /// A client's record is older than the newest, or another request has it.
    RecordOutdated = "record-outdated", CONFLICT, "The record is not the newest one";
    /// That version of the job exists with other content.
    VersionExists = "version-exists", CONFLICT, "This version is published already, with other content";
    /// The same request is being answered at this moment.
    RequestInFlight = "request-in-flight", CONFLICT, "A request with this idempotency key is being answered";
    /// The request was answered before with something that is shown only once.
    AnsweredBefore = "answered-before", CONFLICT, "This request was answered before, with a secret shown only once";
    /// A limit on sizes.
    TooLarge = "too-large", PAYLOAD_TOO_LARGE, "The request is too large";
    /// The body is of another type.
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The body has the wrong media type";
    /// Understood, and not acceptable.
    Invalid = "invalid", UNPROCESSABLE_ENTITY, "The request asks for something impossible";
    /// The module was refused.
    ModuleRefused = "module-refused", UNPROCESSABLE_ENTITY, "The module cannot be published";
    /// Every replica agrees that the job fails on this input.
    JobFailed = "job-failed", UNPROCESSABLE_ENTITY, "The job fails on this input";
    /// The key was used for another request.
    KeyReused = "idempotency-key-reused", UNPROCESSABLE_ENTITY, "The idempotency key belongs to another request";
    /// The client needs to speak another protocol.
    UpgradeRequired = "upgrade-required", UPGRADE_REQUIRED, "This path speaks WebSocket only";
    /// The caller has more under way than it may.
    QueueFull = "queue-full", TOO_MANY_REQUESTS, "The queue is full";
    /// The caller comes more often than it may.
    TooManyRequests = "too-many-requests", TOO_MANY_REQUESTS, "Too many requests";
    /// One address has as many connections as it may.
    TooManyFromAddress = "too-many-from-address", TOO_MANY_REQUESTS, "Too many connections from this address";
    /// The URI is too long.
    UriTooLong = "uri-too-long", URI_TOO_LONG, "The request's URI is too long";
    /// The head is too long.
    HeadTooLarge = "head-too-large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The request's head is too large";
    /// Something inside broke.
    Internal = "internal", INTERNAL_SERVER_ERROR, "The coordinator failed";
    /// More connections than are served.
    TooManyConnections = "too-many-connections", SERVICE_UNAVAILABLE, "Too many connections";
    /// Too much arrives at the same time.
    Crowded = "crowded", SERVICE_UNAVAILABLE, "Too much is being sent to the coordinator";
    /// Starting or stopping.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "The coordinator is not available now";
    /// No room on the disk.
    StorageFull = "storage-full", INSUFFICIENT_STORAGE, "The coordinator's disk is full";
    /// No verified answer in time.
    Timeout = "timeout", GATEWAY_TIMEOUT, "There is no verified answer yet";
}

/// One problem, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", .kind.code())]
pub struct ApiError {
    /// Which problem.
    pub kind: Kind,
    /// This occurrence, in sentences.
    pub detail: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl ApiError {
    /// A problem with its detail: what happened, whose fault it is, what to do.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), retry_after: None }
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// There is no `what` named `name`.
    pub fn not_found(what: &str, name: impl std::fmt::Display) -> Self {
        Self::new(Kind::NotFound, format!("there is no {what} {name}"))
    }

    /// A fault of the coordinator's. The cause goes to the log, the number that finds it there to the client.
    pub fn internal(cause: &(dyn Error + 'static)) -> Self {
        let mut number = [0; 6];
        // Without a number the log line is found by its time; that is no reason to fail twice.
        let _unnumbered = getrandom::fill(&mut number);
        let incident = HEXLOWER.encode(&number);
        let causes: Vec<_> =
            std::iter::successors(cause.source(), |&cause| cause.source()).map(ToString::to_string).collect();
        tracing::error!(incident, cause = %cause, causes = causes.join(": "), "a request failed inside");
        Self::new(
            Kind::Internal,
            format!(
                "something failed inside the coordinator; nothing in the request is at fault. The operator finds it in the log as incident {incident}"
            ),
        )
    }

    /// The problem that stopped a body while it was read.
    pub fn of_body(error: &(dyn Error + 'static)) -> Self {
        for cause in std::iter::successors(Some(error), |&cause| cause.source()) {
            if let Some(idle) = cause.downcast_ref::<BodyIdle>() {
                return Self::new(Kind::BodyTimeout, idle.to_string());
            }
            if cause.is::<http_body_util::LengthLimitError>() {
                return Self::too_large();
            }
            // An IO error's own source is that of the error inside, never this one.
            let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            if inner.is_some_and(|inner| inner.is::<Crowded>()) {
                return Self::new(Kind::Crowded, Crowded.to_string()).retry_after(CROWDED_RETRY);
            }
        }
        Self::new(Kind::Malformed, "the body ended early or is not well framed; send it again")
    }

    fn too_large() -> Self {
        Self::new(Kind::TooLarge, "the body is longer than this path takes")
    }

    /// The document itself.
    pub fn document(&self) -> manyhands_api::Problem {
        manyhands_api::Problem {
            kind: format!("/problems/{}", self.kind.code()),
            title: self.kind.title().into(),
            status: self.kind.status().as_u16(),
            detail: self.detail.clone(),
            retry_after_seconds: self.retry_after.map(whole_seconds),
        }
    }
}

impl ApiError {
    /// The whole response, for a connection that ends with it.
    pub fn into_last_words(self) -> Bytes {
        let body = serde_json::to_string(&self.document()).unwrap_or_default();
        let (status, length) = (self.kind.status(), body.len());
        let retry = self.retry_after.map(|after| format!("retry-after: {}\r\n", whole_seconds(after)));
        let retry = retry.unwrap_or_default();
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {length}\r\n{retry}connection: close\r\n\r\n{body}"
        )
        .into()
    }
}

/// Seconds, rounded up and at least one, so that "at once" never reads as a busy loop.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1000).clamp(1, u64::MAX.into()) as u64
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.document()).unwrap_or_default();
        let mut response = (self.kind.status(), body).into_response();
        // For whoever counts.
        response.extensions_mut().insert(self.kind);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, whole_seconds(after).into());
        }
        if self.kind == Kind::Unauthenticated {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="manyhands""#));
        }
        response
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        match rejection {
            JsonRejection::BytesRejection(rejection) => rejection.into(),
            JsonRejection::MissingJsonContentType(_) => {
                Self::new(Kind::UnsupportedMediaType, "this path takes JSON: send `content-type: application/json`")
            }
            JsonRejection::JsonSyntaxError(error) => Self::new(Kind::Malformed, error.body_text()),
            other => Self::new(Kind::Invalid, other.body_text()),
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(Kind::Malformed, rejection.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        // What is not even well formed names nothing, so the answer is the one for a name that is free.
        Self::new(Kind::NotFound, rejection.body_text())
    }
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE { Self::too_large() } else { Self::of_body(&rejection) }
    }
}

impl From<axum::Error> for ApiError {
    fn from(error: axum::Error) -> Self {
        Self::of_body(&error)
    }
}

impl From<CommitError> for ApiError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Full(_) => Self::new(Kind::StorageFull, "nothing was changed; the operator has to make room")
                .retry_after(Duration::from_secs(60)),
            error => Self::internal(&error),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        Self::internal(&error)
    }
}

/// JSON in a request; what is wrong with it is a problem document.
#[derive(Debug, FromRequest)]
#[from_request(via(axum::Json), rejection(ApiError))]
pub struct Json<T>(pub T);

impl<T: serde::Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// The query of a request's URI; what is wrong with it is a problem document.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub struct Query<T>(pub T);

/// The variables of a request's path; what is wrong with them is a problem document.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(ApiError))]
pub struct Path<T>(pub T);

/// Answers for every path that is not there: `Router::fallback`.
pub async fn not_found(uri: Uri) -> ApiError {
    ApiError::new(Kind::NotFound, format!("there is nothing at {}; /openapi.json lists what there is", uri.path()))
}

/// Answers for a path with another method: `Router::method_not_allowed_fallback`.
pub async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::new(Kind::MethodNotAllowed, format!("{} does not take {method}; see the header `allow`", uri.path()))
}

/// The last layer of a router: turns errors that a library answered in plain text into problem documents.
pub async fn no_plain_errors(response: Response) -> Response {
    let status = response.status();
    let plain = response.headers().get(CONTENT_TYPE).is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !(status.is_client_error() || status.is_server_error()) || !plain {
        return response;
    }
    let allow = response.headers().get(ALLOW).cloned();
    let text = to_bytes(response.into_body(), 4096).await.unwrap_or_default();
    let kind = Kind::ALL.iter().find(|kind| kind.status() == status).copied();
    let mut response = match kind.unwrap_or(if status.is_client_error() { Kind::Malformed } else { Kind::Internal }) {
        Kind::Internal => ApiError::internal(&std::io::Error::other(String::from_utf8_lossy(&text).into_owned())),
        kind if text.is_empty() => ApiError::new(kind, kind.title()),
        kind => ApiError::new(kind, String::from_utf8_lossy(&text)),
    }
    .into_response();
    if let Some(allow) = allow {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::Router;
    use axum::body::Body;
    use axum::extract::DefaultBodyLimit;
    use axum::http::Request;
    use axum::routing::{get, post};
    use manyhands_api::{NewToken, Problem};
    use tower::ServiceExt as _;

    use super::*;

    fn router() -> Router {
        #[derive(serde::Deserialize)]
        struct Page {
            limit: u32,
        }
        Router::new()
            .route("/json", post(async |Json(new): Json<NewToken>| new.name))
            .route("/query", get(async |Query(page): Query<Page>| page.limit.to_string()))
            .route("/path/{n}", get(async |Path(n): Path<u32>| n.to_string()))
            .route("/socket", get(async |_: axum::extract::WebSocketUpgrade| ""))
            .fallback(not_found)
            .method_not_allowed_fallback(method_not_allowed)
            .layer(DefaultBodyLimit::max(64))
            .layer(axum::middleware::map_response(no_plain_errors))
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_a_problem_document() {
        let json = "application/json";
        let long = format!(r#"{{"name":"{}","role":"operator"}}"#, "a".repeat(100));
        let stories = [
            ("GET", "/nothing", "", "", "not-found"),
            ("GET", "/json", "", "", "method-not-allowed"),
            ("POST", "/json", "", "{}", "unsupported-media-type"),
            ("POST", "/json", json, "{", "malformed"),
            ("POST", "/json", json, r#"{"name":"a","role":"king"}"#, "invalid"),
            ("POST", "/json", json, r#"{"name":"a","role":"operator","x":1}"#, "invalid"),
            ("POST", "/json", json, &long, "too-large"),
            ("GET", "/query?limit=many", "", "", "malformed"),
            ("GET", "/path/x", "", "", "not-found"),
            ("GET", "/socket", "", "", "malformed"),
        ];
        for (method, path, kind, body, code) in stories {
            let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, kind);
            let response = router().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
            let (status, headers) = (response.status(), response.headers().clone());
            assert_eq!(headers[CONTENT_TYPE], PROBLEM_JSON, "{method} {path} {body}");
            let document: Problem =
                serde_json::from_slice(&to_bytes(response.into_body(), 9999).await.unwrap()).unwrap();
            assert_eq!(document.kind, format!("/problems/{code}"), "{method} {path} {body}: {}", document.detail);
            assert_eq!(document.status, status.as_u16());
            assert!(!document.detail.is_empty());
            assert_eq!(headers.contains_key(ALLOW), code == "method-not-allowed", "{method} {path}");
        }
    }

    #[test]
    fn a_wait_is_said_in_header_and_document_in_whole_seconds() {
        let error = ApiError::new(Kind::QueueFull, "full").retry_after(Duration::from_millis(1200));
        assert_eq!(error.document().retry_after_seconds, Some(2));
        assert_eq!(error.into_response().headers()[RETRY_AFTER], "2");
        let now = ApiError::new(Kind::QueueFull, "full").retry_after(Duration::ZERO);
        assert_eq!(now.into_response().headers()[RETRY_AFTER], "1");
    }

    #[test]
    fn a_cause_inside_is_logged_and_not_shown() {
        let error = ApiError::internal(&std::io::Error::other("/srv/secret/path"));
        assert!(!error.detail.contains("secret") && error.detail.contains("incident"), "{}", error.detail);
    }

    #[test]
    fn codes_are_different_from_each_other() {
        let codes: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), Kind::ALL.len());
    }
}
