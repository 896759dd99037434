//! How pages and their files travel: small, with nothing from elsewhere, and never embedded anywhere.
//!
//! Files are part of the program. Their names carry their digest, so a browser keeps them for good and never shows an old one
//! with a new page. They are compressed once; pages are compressed as they are made, with the same pure
//! Rust gzip: every browser takes it, and brotli would save a few hundred bytes of a page at many times the cost.
//! A page holds no secret that its reader chose the surroundings of, so its length gives nothing away.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use manyhands_model::Digest;

use crate::assets::takes;
use crate::problem::ApiError;

/// No script, style, picture or connection but our own, and nobody's frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A file that pages name.
struct Asset {
    /// Where it is.
    path: String,
    kind: &'static str,
    tag: String,
    plain: Bytes,
    compressed: Bytes,
}

impl Asset {
    fn new(name: &str, kind: &'static str, content: &'static [u8]) -> Self {
        let digest = Digest::of(content).to_string();
        let tag: String = digest.chars().rev().take(16).collect();
        let (stem, ending) = name.split_once('.').unwrap_or((name, ""));
        Self {
            path: format!("/operator/assets/{stem}-{tag}.{ending}"),
            kind,
            tag: format!("\"{tag}\""),
            plain: Bytes::from_static(content),
            compressed: compress(content, Compression::best()),
        }
    }
}

fn compress(content: &[u8], level: Compression) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(content.len() / 3), level);
    // Into memory, where nothing fails.
    let _written = encoder.write_all(content);
    encoder.finish().unwrap_or_default().into()
}

static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("operator.css", "text/css", include_bytes!("../../web/operator.css")));
static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("operator.js", "text/javascript", include_bytes!("../../web/operator.js")));
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon.svg", "image/svg+xml", include_bytes!("../../web/icon.svg")));

/// Where the files are that every page names.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    /// The stylesheet.
    pub style: &'static str,
    /// The script.
    pub script: &'static str,
    /// The icon.
    pub icon: &'static str,
}

impl Links {
    /// Their names in this program.
    pub fn new() -> Self {
        Self { style: &STYLE.path, script: &SCRIPT.path, icon: &ICON.path }
    }
}

impl Default for Links {
    fn default() -> Self {
        Self::new()
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    takes(headers, "gzip")
}

/// One of the files. They hold nothing secret, and the page for signing in needs them.
pub async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let path = format!("/operator/assets/{name}");
    let Some(asset) = [&*STYLE, &*SCRIPT, &*ICON].into_iter().find(|asset| asset.path == path) else {
        return ApiError::not_found("file", name).into_response();
    };
    let known = headers.get(IF_NONE_MATCH).is_some_and(|tag| tag == &*asset.tag);
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        encoded(takes_gzip(&headers), &asset.plain, || asset.compressed.clone())
    };
    let own = response.headers_mut();
    own.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    own.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    if let Ok(tag) = HeaderValue::from_str(&asset.tag) {
        own.insert(ETAG, tag);
    }
    response
}

/// A page. Nobody keeps it: it is for whoever is signed in, at this moment.
pub fn page(status: StatusCode, headers: &HeaderMap, html: String) -> Response {
    let plain = Bytes::from(html);
    let mut response = encoded(takes_gzip(headers), &plain, || compress(&plain, Compression::default()));
    *response.status_mut() = status;
    let own = response.headers_mut();
    own.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    own.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn encoded(takes_gzip: bool, plain: &Bytes, compressed: impl FnOnce() -> Bytes) -> Response {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    if takes_gzip {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        *response.body_mut() = compressed().into();
    } else {
        *response.body_mut() = plain.clone().into();
    }
    response
}

/// What every answer says, whatever it is.
///
/// The referrer stays within the pages. To send none at all would be no safer, since no secret is in an address; but then
/// browsers say `Origin: null` with our own forms, which without TLS is all that tells them from others'.
pub async fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::http::header::ACCEPT_ENCODING;

    use super::*;

    fn accepting(codings: &str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT_ENCODING, codings.parse().unwrap())])
    }

    #[test]
    fn only_who_takes_gzip_gets_it() {
        for (takes, codings) in [
            (true, "gzip"),
            (true, "br, gzip;q=0.5"),
            (true, "deflate, gzip ; q=1"),
            (false, "gzip;q=0"),
            (false, "gzip;q=0.00"),
            (false, "br"),
            (false, "xgzip"),
        ] {
            assert_eq!(takes_gzip(&accepting(codings)), takes, "{codings}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn a_file_is_kept_for_good_under_a_name_of_its_own() {
        let name = Links::new().style.rsplit('/').next().unwrap().to_owned();
        let response = asset(Path(name.clone()), accepting("gzip")).await;
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
        assert!(response.headers()[CACHE_CONTROL].to_str().unwrap().contains("immutable"));
        let tag = response.headers()[ETAG].clone();
        let again = HeaderMap::from_iter([(IF_NONE_MATCH, tag)]);
        assert_eq!(asset(Path(name), again).await.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(asset(Path("operator.css".into()), HeaderMap::new()).await.status(), StatusCode::NOT_FOUND);
    }
}
