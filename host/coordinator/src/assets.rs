//! Files for browsers: made by `cargo xtask browser`, embedded here, served as they are.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use manyhands_api::AssetView;
use serde::Deserialize;

/// The script that other pages embed. Its name stays, so browsers ask each time whether it has changed: an old one beside
/// the digest of a new one would not be executed.
pub const EMBED: &str = "/embed.js";

/// A file.
#[derive(Debug, Deserialize)]
pub struct Asset {
    path: &'static str,
    kind: &'static str,
    integrity: &'static str,
    body: &'static [u8],
    brotli: &'static [u8],
}

static ASSETS: LazyLock<BTreeMap<&str, Asset>> = LazyLock::new(|| {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/assets"));
    let assets: Vec<Asset> = postcard::from_bytes(bytes).unwrap_or_default();
    assets.into_iter().map(|asset| (asset.path, asset)).collect()
});

/// The file at a path.
pub fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.get(path)
}

/// The file that was called so before its digest became part of its name.
pub fn named(stem: &str) -> Option<&'static Asset> {
    let called = |asset: &&Asset| asset.path.strip_prefix("/assets/").and_then(|name| name.rsplit_once('-'));
    ASSETS.values().find(|asset| called(asset).is_some_and(|(name, _)| name == stem))
}

/// Bytes that travel before a browser computes its first unit.
pub fn runtime_bytes() -> u64 {
    let assets = ["runtime", "mind", "pool", "slot"].into_iter().filter_map(named);
    assets.map(|asset| asset.brotli.len() as u64).sum()
}

impl Asset {
    /// Where it is.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// Where it is, and what it is.
    pub fn view(&self) -> AssetView {
        AssetView { path: self.path.to_owned(), integrity: self.integrity.to_owned() }
    }

    /// The response to a request with these headers. Any page may read it: it is the same for everybody.
    pub fn response(&self, asked: &HeaderMap) -> Response {
        let etag = format!("\"{}\"", self.integrity);
        let forever = self.path != EMBED;
        let cached = if forever { "public, max-age=31536000, immutable" } else { "no-cache" };
        let headers = [
            (CONTENT_TYPE, self.kind),
            (CACHE_CONTROL, cached),
            (ETAG, etag.as_str()),
            (VARY, "accept-encoding"),
            (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        if asked.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        if takes(asked, "br") {
            (headers, [(CONTENT_ENCODING, "br")], Body::from(self.brotli)).into_response()
        } else {
            (headers, Body::from(self.body)).into_response()
        }
    }
}

/// Whether whoever asks takes this coding (RFC 9110, 12.5.3).
pub fn takes(asked: &HeaderMap, coding: &str) -> bool {
    let values = asked.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut codings = values.flat_map(|value| value.split(',')).map(|coding| coding.trim().replace(' ', ""));
    codings.any(|taken| {
        let (name, weight) = taken.split_once(";q=").unwrap_or((&taken, "1"));
        name == coding && !weight.trim_start_matches(['0', '.']).is_empty()
    })
}
