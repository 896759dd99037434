use std::fmt;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Uri};
use http_body_util::Full;
use manyhands_addresses::Origin;

use crate::Limits;

/// A call, complete: what there is of it goes over the wire as it is here.
pub struct Request {
    pub(crate) method: Method,
    pub(crate) origin: Origin,
    pub(crate) target: PathAndQuery,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) limits: Limits,
}

/// Why something is no part of a request. The fault of whoever put it together; it repeats no value, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The method is another.
    #[error("the method is one of GET, HEAD, POST, PUT, PATCH and DELETE")]
    Method,
    /// What comes after the origin is not as it goes over the wire.
    #[error(
        "the path begins with a slash, has no segment `.` or `..`, and everything in path and query that RFC 3986 does not allow there is \
         encoded with a percent sign"
    )]
    Target,
    /// The field is not the caller's to set.
    #[error("the field {0} says how the request is sent, which is not the caller's to say")]
    Header(HeaderName),
    /// The field is there already.
    #[error("the field {0} is there twice")]
    Twice(HeaderName),
}

impl Request {
    /// A request for `target`, a path with or without a query, encoded, on `origin`, without fields and body.
    ///
    /// # Errors
    /// [`RequestError`] when method or target are not allowed.
    pub fn new(method: Method, origin: Origin, target: &str) -> Result<Self, RequestError> {
        // CONNECT would make a tunnel of the connection, and TRACE sends the credentials back.
        if ![Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(&method) {
            return Err(RequestError::Method);
        }
        if !is_target(target) {
            return Err(RequestError::Target);
        }
        let target = target.parse().map_err(|_| RequestError::Target)?;
        let host = HeaderValue::try_from(origin.authority()).map_err(|_| RequestError::Target)?;
        let headers = HeaderMap::from_iter([(header::HOST, host)]);
        Ok(Self { method, origin, target, headers, body: Bytes::new(), limits: Limits::default() })
    }

    /// With a field. Its value is never shown.
    ///
    /// # Errors
    /// [`RequestError`] when the field is there already, or concerns the connection or the coding of bodies.
    pub fn header(mut self, name: HeaderName, mut value: HeaderValue) -> Result<Self, RequestError> {
        if OURS.contains(&name) || name.as_str().starts_with("proxy-") {
            return Err(RequestError::Header(name));
        }
        if self.headers.contains_key(&name) {
            return Err(RequestError::Twice(name));
        }
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// With other limits than the default ones.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    pub(crate) fn into_http(self) -> http::Request<Full<Bytes>> {
        let mut headers = self.headers;
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        // RFC 9110, section 8.6: where a body is usual, its absence is said.
        if self.body.is_empty() && [Method::POST, Method::PUT, Method::PATCH].contains(&self.method) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut request = http::Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = Uri::from(self.target);
        *request.headers_mut() = headers;
        request
    }
}

/// What some APIs want to know before they answer.
const AGENT: &str = concat!("manyhands/", env!("CARGO_PKG_VERSION"));

/// Fields that decide where one message ends and whose it is, or what becomes of bytes on the way.
const OURS: [HeaderName; 12] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::ACCEPT_ENCODING,
    header::CONTENT_ENCODING,
    HeaderName::from_static("http2-settings"),
];

/// Whether this is a path, and perhaps a query, with nothing that anybody on the way would write otherwise (RFC 3986, section 3.3 and 3.4).
fn is_target(text: &str) -> bool {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let Some(path) = path.strip_prefix('/') else { return false };
    let is_encoded = |text: &str, more: &[u8]| {
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            let fine = match byte {
                b'%' => [bytes.next(), bytes.next()]
                    .iter()
                    .all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit())),
                _ => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte) || more.contains(&byte),
            };
            if !fine {
                return false;
            }
        }
        true
    };
    let is_dots = |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    is_encoded(path, b"") && is_encoded(query, b"?") && !path.split('/').any(is_dots)
}

/// Without what may be secret: path, values of fields and body.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("origin", &self.origin.to_string())
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.len())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
