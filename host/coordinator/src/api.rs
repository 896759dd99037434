//! The HTTP API. Each handler checks who asks, asks the core or the records, and answers.

mod admin;
mod audit;
mod blocklists;
mod calls;
mod credit;
mod held;
mod jobs;
mod recording;
mod results;
pub(crate) mod runs;
mod submit;
mod unsent;
mod upkeep;
mod volunteers;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{from_fn_with_state, map_response};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::idempotency::{self, Remember};
use crate::problem;

#[derive(OpenApi)]
#[openapi(
    info(title = "Manyhands coordinator", description = "Verified work on computers that nobody needs to trust."),
    components(schemas(manyhands_api::Problem)),
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
        let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_default().security_schemes.insert("bearer".into(), bearer.into());
    }
}

/// All routes, with what every response goes through.
pub fn router(app: App) -> Router {
    let limits = &app.settings.limits;
    let bytes = |most: u64| usize::try_from(most).unwrap_or(usize::MAX);
    let long = bytes(limits.module_bytes_max.max(limits.input_bytes_max));
    let short = bytes(limits.body_bytes_max);
    let (documented, document) = documented(
        |posts, size| {
            let body_bytes_max = match size {
                Size::Long => long,
                Size::Short => short,
            };
            let (tokens, idempotency) = (app.tokens.clone(), app.idempotency.clone());
            let remember = Remember { tokens, idempotency, body_bytes_max };
            posts
                .layer(from_fn_with_state(remember, idempotency::remember))
                .layer(DefaultBodyLimit::max(body_bytes_max))
        },
        |posts| posts.layer(DefaultBodyLimit::max(long)),
    );
    let text = document.to_json().unwrap_or_default();
    documented
        .route("/openapi.json", get(move || async move { ([(CONTENT_TYPE, "application/json")], text) }))
        .route("/join", get(admin::join))
        .merge(volunteers::routes())
        .merge(crate::console::router())
        .route("/v1/worker", get(admin::worker_socket))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(map_response(problem::no_plain_errors))
        .layer(from_fn_with_state(app.clone(), crate::throttle::admit))
        .layer(from_fn_with_state(app.metrics.clone(), crate::metrics::count))
        .with_state(app)
}

/// The document that describes the API, for the guides.
pub fn document() -> utoipa::openapi::OpenApi {
    documented(|posts, _| posts, |posts| posts).1
}

/// How long the bodies of some routes may be.
#[derive(Clone, Copy)]
enum Size {
    /// As long as a module or an input.
    Long,
    /// A question with a few words.
    Short,
}

/// The routes and their document. `remembered` goes around those whose requests must not happen twice;
/// submitting a run is not among them, because its body is too long to be held: it remembers by itself.
fn documented(
    remembered: impl Fn(OpenApiRouter<App>, Size) -> OpenApiRouter<App>,
    sized: impl Fn(OpenApiRouter<App>) -> OpenApiRouter<App>,
) -> (Router<App>, utoipa::openapi::OpenApi) {
    let long = OpenApiRouter::new().routes(routes!(jobs::list, jobs::publish)).routes(routes!(submit::invoke));
    let short = OpenApiRouter::new()
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::retry))
        .routes(routes!(admin::tokens, admin::create_token))
        .routes(routes!(admin::console_link))
        .routes(routes!(admin::rotate_keys))
        .routes(routes!(admin::pardon))
        .routes(routes!(admin::invitations, admin::create_invitation))
        .routes(routes!(calls::rotate_vault))
        .routes(routes!(jobs::revoke))
        .routes(routes!(credit::requester, credit::deposit))
        .routes(routes!(upkeep::create_backup));
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(remembered(long, Size::Long))
        .merge(remembered(short, Size::Short))
        // Not remembered: what is answered would be kept for a day, and asking again is answered the same by itself.
        .merge(sized(
            OpenApiRouter::new()
                .routes(routes!(held::exchange, held::forget))
                .routes(routes!(blocklists::subscribe, blocklists::unsubscribe)),
        ))
        .routes(routes!(jobs::show))
        .routes(routes!(jobs::module))
        .routes(routes!(calls::plan))
        .routes(routes!(calls::approve, calls::disapprove))
        .routes(routes!(calls::secrets))
        .routes(routes!(calls::set_secret, calls::remove_secret))
        .routes(routes!(calls::unknown))
        .routes(routes!(calls::settle))
        .routes(routes!(audit::page))
        .routes(routes!(audit::head))
        .routes(routes!(blocklists::list))
        .routes(routes!(blocklists::export))
        .routes(routes!(credit::list))
        .routes(routes!(credit::worker))
        .routes(routes!(credit::export))
        .routes(routes!(volunteers::card))
        .routes(routes!(runs::list, submit::submit))
        .routes(routes!(runs::show))
        .routes(routes!(runs::events))
        .routes(routes!(runs::why))
        .routes(routes!(runs::changed))
        .routes(routes!(runs::unit))
        .routes(routes!(runs::forget))
        .routes(routes!(runs::sensitive))
        .routes(routes!(results::results))
        .routes(routes!(results::output))
        .routes(routes!(recording::recording))
        .routes(routes!(unsent::unsent))
        .routes(routes!(admin::workers))
        .routes(routes!(admin::worker))
        .routes(routes!(admin::trust, admin::distrust))
        .routes(routes!(admin::verification))
        .routes(routes!(admin::revoke_token))
        .routes(routes!(admin::revoke_invitation))
        .routes(routes!(admin::keys))
        .routes(routes!(upkeep::check))
        .routes(routes!(upkeep::compact))
        .routes(routes!(admin::livez))
        .routes(routes!(admin::readyz))
        .routes(routes!(admin::metrics))
        .split_for_parts()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_openapi_3_1_and_names_every_route() {
        let document = serde_json::to_value(document()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let paths: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        for path in [
            "/v1/jobs",
            "/v1/jobs/{name}",
            "/v1/jobs/{name}/invoke",
            "/v1/jobs/{name}/clients/{client}",
            "/v1/jobs/{name}/revoke",
            "/v1/jobs/{name}/plan",
            "/v1/plans/{digest}",
            "/v1/secrets",
            "/v1/secrets/{name}",
            "/v1/calls/unknown",
            "/v1/calls/{id}",
            "/v1/audit",
            "/v1/audit/head",
            "/v1/blocklists",
            "/v1/blocklists/export",
            "/v1/blocklists/{root}",
            "/v1/credit",
            "/v1/credit/export",
            "/v1/credit/requesters/{name}",
            "/v1/credit/workers/{id}",
            "/v1/modules/{digest}",
            "/v1/card",
            "/v1/runs",
            "/v1/runs/{id}",
            "/v1/runs/{id}/cancel",
            "/v1/runs/{id}/changed",
            "/v1/runs/{id}/events",
            "/v1/runs/{id}/recording",
            "/v1/runs/{id}/results",
            "/v1/runs/{id}/retry",
            "/v1/runs/{id}/units/{unit}",
            "/v1/runs/{id}/values",
            "/v1/runs/{id}/sensitive",
            "/v1/vault/rotate",
            "/v1/runs/{id}/units/{unit}/output",
            "/v1/runs/{id}/why",
            "/v1/runs/{id}/unsent",
            "/v1/workers",
            "/v1/workers/{id}",
            "/v1/workers/{id}/pardon",
            "/v1/workers/{id}/trust",
            "/v1/verification",
            "/v1/tokens",
            "/v1/tokens/{id}",
            "/v1/invitations",
            "/v1/invitations/{id}",
            "/v1/console-links",
            "/v1/keys",
            "/v1/keys/rotate",
            "/v1/backups",
            "/v1/check",
            "/v1/compact",
            "/livez",
            "/readyz",
            "/metrics",
        ] {
            assert!(paths.contains(&path), "{path} is missing among {paths:?}");
        }
        for (path, route) in document["paths"].as_object().unwrap() {
            let open = ["/livez", "/readyz", "/metrics", "/v1/modules/{digest}", "/v1/card"].contains(&path.as_str());
            for (method, operation) in route.as_object().unwrap() {
                assert_eq!(operation["security"].is_null(), open, "{method} {path} says who may call");
                assert!(operation["summary"].is_string(), "{method} {path} says what it does");
            }
        }
    }
}
