//! For visitors who may lend a hand: the card, its page, and the files for their browsers.

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_LANGUAGE, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use manyhands_api::{Card, CardJob};

use crate::app::App;
use crate::assets;
use crate::problem::{Answer, ApiError, Json};

/// What the page may do: its own script and style, WebAssembly, workers that the script makes, and this coordinator.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; worker-src blob:; \
                      connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/volunteer", get(page))
        .route(assets::EMBED, get(asset))
        .route(assets::RECORDS, get(asset))
        .route("/assets/{name}", get(asset))
}

/// What visitors read before they lend a hand.
#[utoipa::path(get, path = "/v1/card", tag = "volunteers", responses((status = 200, body = Card)))]
pub(super) async fn card(State(app): State<App>) -> Response {
    ([(ACCESS_CONTROL_ALLOW_ORIGIN, "*"), (CACHE_CONTROL, "public, max-age=10")], Json(draw(&app))).into_response()
}

fn draw(app: &App) -> Card {
    let settings = &app.settings.volunteers;
    // The join link is made of the public URL.
    let (base, host) = (app.join.split("/join").next(), |base: &str| base.split("//").nth(1).map(str::to_owned));
    let name = Some(settings.name.clone()).filter(|name| !name.is_empty()).or_else(|| host(base?));
    let revoked = |job: &crate::records::JobRecord| app.catalogue.is_revoked(&job.module);
    let jobs = app.catalogue.newest().into_iter().filter(|job| !revoked(job)).map(|job| CardJob {
        name: job.manifest.name.clone(),
        about: job.manifest.description.clone(),
        module_bytes: job.module_bytes,
        memory_bytes: job.manifest.limits.memory_bytes,
        output_bytes: job.manifest.limits.output_bytes,
    });
    Card {
        name: name.unwrap_or_default(),
        about: settings.about.clone(),
        contact: settings.contact.clone(),
        fingerprint: app.authority.root().fingerprint(),
        workers: app.hub.connected() as u64,
        jobs: jobs.collect(),
        runtime_bytes: assets::runtime_bytes(),
        embed: assets::find(assets::EMBED).map(assets::Asset::view),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

async fn asset(uri: Uri, headers: HeaderMap) -> Answer<Response> {
    let asset = assets::find(uri.path()).ok_or_else(|| ApiError::not_found("file", uri.path()))?;
    Ok(asset.response(&headers))
}

/// The languages of the page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Language {
    English,
    German,
}

impl Language {
    /// The first known one that the browser asks for (RFC 9110, 12.5.4; weights are almost always in this order).
    fn of(headers: &HeaderMap) -> Self {
        let asked = headers.get(ACCEPT_LANGUAGE).and_then(|asked| asked.to_str().ok()).unwrap_or_default();
        let mut tags = asked.split(',').map(|tag| tag.trim().get(..2).unwrap_or_default().to_ascii_lowercase());
        match tags.find(|tag| tag == "en" || tag == "de") {
            Some(tag) if tag == "de" => Self::German,
            _ => Self::English,
        }
    }

    const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }
}

#[derive(Template)]
#[template(path = "volunteer.html")]
struct Page {
    language: Language,
    card: Card,
}

impl Page {
    fn asset(&self, stem: &str) -> &'static str {
        assets::named(stem).map_or("", |asset| asset.path())
    }

    /// One of two texts.
    fn either(&self, english: &'static str, german: &'static str) -> &'static str {
        match self.language {
            Language::English => english,
            Language::German => german,
        }
    }
}

async fn page(State(app): State<App>, headers: HeaderMap) -> Answer<Response> {
    let page = Page { language: Language::of(&headers), card: draw(&app) };
    let html = page.render().map_err(|error| ApiError::internal(&error))?;
    let mut response = assets::page(&headers, html);
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (VARY, "accept-encoding, accept-language"),
        (CACHE_CONTROL, "no-cache"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_language_that_is_known_is_spoken() {
        let of = |asked: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_LANGUAGE, asked.parse().unwrap());
            Language::of(&headers).tag()
        };
        assert_eq!(of("de-CH,de;q=0.9,en;q=0.8"), "de");
        assert_eq!(of("fr, en-GB;q=0.8, de;q=0.7"), "en");
        assert_eq!(of("ü"), "en");
        assert_eq!(Language::of(&HeaderMap::new()).tag(), "en");
    }
}
