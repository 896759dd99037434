//! How the operator's pages and their files travel: with nothing from elsewhere, and never embedded anywhere.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

use crate::assets::{self, Asset};
use crate::problem::ApiError;

/// No script, style, picture or connection but our own, and nobody's frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const FOLDER: &str = "/operator/assets";

static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new(FOLDER, "operator.css", "text/css", include_bytes!("../../web/operator.css")));
static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new(FOLDER, "operator.js", "text/javascript", include_bytes!("../../web/operator.js")));
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new(FOLDER, "icon.svg", "image/svg+xml", include_bytes!("../../web/icon.svg")));

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
        Self { style: STYLE.path(), script: SCRIPT.path(), icon: ICON.path() }
    }
}

impl Default for Links {
    fn default() -> Self {
        Self::new()
    }
}

/// One of the files. They hold nothing secret, and the page for signing in needs them.
pub async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let path = format!("{FOLDER}/{name}");
    match [&*STYLE, &*SCRIPT, &*ICON].into_iter().find(|asset| asset.path() == path) {
        Some(asset) => asset.response(&headers),
        None => ApiError::not_found("file", name).into_response(),
    }
}

/// A page. Nobody keeps it: it is for whoever is signed in, at this moment.
pub fn page(status: StatusCode, headers: &HeaderMap, html: String) -> Response {
    let mut response = assets::page(headers, html);
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
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
    use super::*;

    #[tokio::test]
    async fn files_are_found_by_the_names_that_pages_use_and_by_no_other() {
        let name = Links::new().style.rsplit('/').next().unwrap().to_owned();
        assert_eq!(asset(Path(name), HeaderMap::new()).await.status(), StatusCode::OK);
        assert_eq!(asset(Path("operator.css".into()), HeaderMap::new()).await.status(), StatusCode::NOT_FOUND);
    }
}
