//! Files that are part of this program, and how they and pages travel.
//!
//! Those for visitors' browsers are made by `cargo xtask browser` and compressed there; the operator's own are compressed once, when they
//! are first asked for. Pages are compressed as they are made, with pure Rust gzip, which every browser takes; brotli would
//! save a few hundred bytes of a page at many times the cost.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::LazyLock;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use manyhands_api::AssetView;
use manyhands_model::Digest;
use serde::Deserialize;

/// The script that other pages embed. Its name stays, so browsers ask each time whether it has changed: an old one beside
/// the digest of a new one would not be executed.
pub const EMBED: &str = "/embed.js";
/// The client's side of records, which other pages import; its name stays as well.
pub const RECORDS: &str = "/records.js";

/// A file.
#[derive(Debug)]
pub struct Asset {
    path: String,
    kind: &'static str,
    /// Of what it holds; for visitors as subresource integrity has it.
    digest: String,
    /// Whether any page may read it, from wherever it came.
    is_public: bool,
    plain: Bytes,
    coding: &'static str,
    compressed: Bytes,
}

/// A file as `browser-runtime/bundle` writes it.
#[derive(Deserialize)]
struct Made {
    path: &'static str,
    kind: &'static str,
    integrity: &'static str,
    body: &'static [u8],
    brotli: &'static [u8],
}

static MADE: LazyLock<BTreeMap<&str, Asset>> = LazyLock::new(|| {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/assets"));
    let made: Vec<Made> = postcard::from_bytes(bytes).unwrap_or_default();
    let asset = |Made { path, kind, integrity, body, brotli }| Asset {
        path: String::from(path),
        kind,
        digest: String::from(integrity),
        is_public: true,
        plain: Bytes::from_static(body),
        coding: "br",
        compressed: Bytes::from_static(brotli),
    };
    made.into_iter().map(|made| (made.path, asset(made))).collect()
});

/// The file for visitors' browsers at a path.
pub fn find(path: &str) -> Option<&'static Asset> {
    MADE.get(path)
}

/// The file for visitors' browsers that was called so before its digest became part of its name.
pub fn named(stem: &str) -> Option<&'static Asset> {
    let called = |asset: &&Asset| asset.path.strip_prefix("/assets/")?.rsplit_once('-').map(|(name, _)| name == stem);
    MADE.values().find(|asset| called(asset) == Some(true))
}

/// Bytes that travel before a browser computes its first unit.
pub fn runtime_bytes() -> u64 {
    let assets = ["runtime", "mind", "pool", "slot"].into_iter().filter_map(named);
    assets.map(|asset| asset.compressed.len() as u64).sum()
}

impl Asset {
    /// One in `folder`, for pages of our own alone. Its digest becomes part of its name, so that no old one is ever shown with a new page.
    pub fn new(folder: &str, name: &str, kind: &'static str, content: &'static [u8]) -> Self {
        let digest: String = Digest::of(content).to_string().chars().rev().take(16).collect();
        let (stem, ending) = name.split_once('.').unwrap_or((name, ""));
        Self {
            path: format!("{folder}/{stem}-{digest}.{ending}"),
            kind,
            digest,
            is_public: false,
            plain: Bytes::from_static(content),
            coding: "gzip",
            compressed: gzip(content, Compression::best()),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where it is, and what it is.
    pub fn view(&self) -> AssetView {
        AssetView { path: self.path.clone(), integrity: self.digest.clone() }
    }

    /// The response to a request with these headers.
    pub fn response(&self, asked: &HeaderMap) -> Response {
        let tag = format!("\"{}\"", self.digest);
        let is_known = asked.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
        let mut response = if is_known {
            (StatusCode::NOT_MODIFIED, [(VARY, "accept-encoding")]).into_response()
        } else {
            coded(asked, &self.plain, self.coding, || self.compressed.clone())
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        let kept = if [EMBED, RECORDS].contains(&self.path.as_str()) {
            "no-cache"
        } else {
            "public, max-age=31536000, immutable"
        };
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(kept));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.extend(HeaderValue::from_str(&tag).map(|tag| (ETAG, tag)));
        if self.is_public {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            let policy = HeaderName::from_static("cross-origin-resource-policy");
            headers.insert(policy, HeaderValue::from_static("cross-origin"));
        }
        response
    }
}

/// A page for whoever asked with these headers. It holds no secret that its reader chose the surroundings of, so its length gives
/// nothing away.
pub fn page(asked: &HeaderMap, html: String) -> Response {
    let plain = Bytes::from(html);
    let mut response = coded(asked, &plain, "gzip", || gzip(&plain, Compression::default()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// The one body or, for whoever takes its coding, the other.
fn coded(asked: &HeaderMap, plain: &Bytes, coding: &'static str, compressed: impl FnOnce() -> Bytes) -> Response {
    let vary = [(VARY, "accept-encoding")];
    if takes(asked, coding) {
        (vary, [(CONTENT_ENCODING, coding)], Body::from(compressed())).into_response()
    } else {
        (vary, Body::from(plain.clone())).into_response()
    }
}

fn gzip(content: &[u8], level: Compression) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(content.len() / 3), level);
    // Into memory, where nothing fails.
    let _written = encoder.write_all(content);
    encoder.finish().unwrap_or_default().into()
}

/// Whether whoever asks takes this coding (RFC 9110, 12.5.3).
fn takes(asked: &HeaderMap, coding: &str) -> bool {
    let values = asked.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut codings = values.flat_map(|value| value.split(',')).map(|coding| coding.trim().replace(' ', ""));
    codings.any(|taken| {
        let (name, weight) = taken.split_once(";q=").unwrap_or((&taken, "1"));
        name == coding && !weight.trim_start_matches(['0', '.']).is_empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(codings: &str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT_ENCODING, codings.parse().unwrap())])
    }

    #[test]
    fn only_who_takes_gzip_gets_it() {
        for (is_taken, codings) in [
            (true, "gzip"),
            (true, "br, gzip;q=0.5"),
            (true, "deflate, gzip ; q=1"),
            (false, "gzip;q=0"),
            (false, "gzip;q=0.00"),
            (false, "br"),
            (false, "xgzip"),
        ] {
            assert_eq!(takes(&accepting(codings), "gzip"), is_taken, "{codings}");
        }
        assert!(!takes(&HeaderMap::new(), "gzip"));
    }

    #[test]
    fn a_file_is_kept_for_good_and_is_for_our_own_pages() {
        let file = Asset::new("/files", "a.css", "text/css", b"p { margin: 0 }");
        assert!(file.path().starts_with("/files/a-") && file.path().ends_with(".css"));
        let response = file.response(&accepting("gzip"));
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
        assert!(response.headers()[CACHE_CONTROL].to_str().unwrap().contains("immutable"));
        assert!(!response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        let again = HeaderMap::from_iter([(IF_NONE_MATCH, response.headers()[ETAG].clone())]);
        assert_eq!(file.response(&again).status(), StatusCode::NOT_MODIFIED);
    }
}
