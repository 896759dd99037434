//! What an operator can prove later, as lines of JSON.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use manyhands_api::{NDJSON, Role};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::App;
use crate::audit;
use crate::auth::Caller;
use crate::problem::{Answer, Query};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    /// Those after the entry with this number; from the first on if nothing is said.
    #[serde(default)]
    after: u64,
    /// How many, at most 10,000; 1,000 if nothing is said.
    limit: Option<usize>,
}

/// A page of the audit log: each entry is a line and holds the SHA-256 of the line before it. Between them stand the heads that
/// were signed. An empty page is the end.
#[utoipa::path(get, path = "/v1/audit", tag = "operators", security(("bearer" = [])), params(AuditQuery),
    responses((status = 200, body = String, content_type = "application/x-ndjson")))]
pub(super) async fn page(State(app): State<App>, caller: Caller, Query(query): Query<AuditQuery>) -> Answer<Response> {
    caller.need(Role::Operator)?;
    let limit = query.limit.unwrap_or(1_000).clamp(1, 10_000);
    let lines = app.blocking(move |records| records.audit(query.after, limit)).await?;
    let mut text: Vec<u8> = Vec::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        text.extend(line);
        text.push(b'\n');
    }
    Ok(([(CONTENT_TYPE, NDJSON)], text).into_response())
}

/// Where the audit log ends, signed now. Who keeps it elsewhere can prove that nothing before it was changed or cut off since.
#[utoipa::path(get, path = "/v1/audit/head", tag = "operators", security(("bearer" = [])),
    responses((status = 200, body = String, content_type = "application/json")))]
pub(super) async fn head(State(app): State<App>, caller: Caller) -> Answer<Response> {
    caller.need(Role::Operator)?;
    let head = audit::head(&app).await?;
    Ok(([(CONTENT_TYPE, "application/json")], head.line()).into_response())
}
