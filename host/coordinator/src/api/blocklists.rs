//! Whom other coordinators have banned, and whom this one has.

use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use manyhands_api::{BlocklistList, BlocklistView, NDJSON, Role};
use manyhands_signing::Fingerprint;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::{App, to_its_end};
use crate::auth::Caller;
use crate::blocklists;
use crate::problem::{Answer, ApiError, Json, Kind, Path, Query};

/// For how long an exported list may be acted upon. Unit: days.
const DAYS: std::ops::RangeInclusive<u32> = 1..=365;
const DAYS_USUALLY: u32 = 30;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportQuery {
    /// For how many days it may be acted upon, 1 to 365; 30 if nothing is said.
    days: Option<u32>,
    /// Whether workers' signed reports are shown, in which the digests of others' inputs and outputs stand.
    #[serde(default)]
    evidence: bool,
}

/// Whom this coordinator has banned and not pardoned, a line of JSON for each, and a signed seal behind them, for other coordinators.
#[utoipa::path(get, path = "/v1/blocklists/export", tag = "operators", security(("bearer" = [])), params(ExportQuery),
    responses((status = 200, body = String, content_type = "application/x-ndjson"),
        (status = 422, body = manyhands_api::Problem)))]
pub(super) async fn export(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ExportQuery>,
) -> Answer<Response> {
    caller.need(Role::Operator)?;
    let days = query.days.unwrap_or(DAYS_USUALLY);
    if !DAYS.contains(&days) {
        let detail = format!("`days` has to be {} to {}", DAYS.start(), DAYS.end());
        return Err(ApiError::new(Kind::Invalid, detail));
    }
    Ok(([(CONTENT_TYPE, NDJSON)], blocklists::export(&app, days, query.evidence).await?).into_response())
}

/// Block lists that count here.
#[utoipa::path(get, path = "/v1/blocklists", tag = "operators", security(("bearer" = [])),
    responses((status = 200, body = BlocklistList)))]
pub(super) async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<BlocklistList>> {
    caller.need(Role::Operator)?;
    Ok(Json(app.blocklists.list(app.clock.now())))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscribeQuery {
    /// What workers that are refused are told that it is called: 1 to 64 characters; the key's fingerprint if nothing is said.
    name: Option<String>,
}

/// Lets a list of that coordinator's count here, as its export gave it: the workers on it are refused. It has to be later than the last.
#[utoipa::path(put, path = "/v1/blocklists/{root}", tag = "operators", security(("bearer" = [])),
    params(("root" = String, Path), SubscribeQuery), request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 200, body = BlocklistView), (status = 409, body = manyhands_api::Problem),
        (status = 422, body = manyhands_api::Problem)))]
pub(super) async fn subscribe(
    State(app): State<App>,
    caller: Caller,
    Path(root): Path<String>,
    Query(query): Query<SubscribeQuery>,
    text: Result<Bytes, BytesRejection>,
) -> Answer<Json<BlocklistView>> {
    caller.need(Role::Operator)?;
    let (root, text) = (root_of(&root)?, text?);
    let subscribed = async move { blocklists::subscribe(&app, root, query.name, text, caller.name).await };
    to_its_end(subscribed).await.map(Json)
}

/// Lets the list of that coordinator's count no more.
#[utoipa::path(delete, path = "/v1/blocklists/{root}", tag = "operators", security(("bearer" = [])), params(("root" = String, Path)),
    responses((status = 204), (status = 404, body = manyhands_api::Problem)))]
pub(super) async fn unsubscribe(
    State(app): State<App>,
    caller: Caller,
    Path(root): Path<String>,
) -> Answer<StatusCode> {
    caller.need(Role::Operator)?;
    let root = root_of(&root)?;
    to_its_end(async move { blocklists::unsubscribe(&app, root, caller.name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn root_of(text: &str) -> Answer<Fingerprint> {
    text.parse().map_err(|error| ApiError::new(Kind::Invalid, format!("{error}")))
}
