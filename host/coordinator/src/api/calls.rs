//! What jobs may ask of the outside, and what became of it: for operators.

use axum::extract::State;
use axum::http::StatusCode;
use manyhands_addresses::Origin;
use manyhands_api::{
    CallView, NewSecret, PlanView, Role, RotatedVault, SecretList, SecretView, SettledCall, UnknownCalls,
};
use manyhands_intents::Plan;
use manyhands_model::{Digest, IntentId, Name};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::App;
use crate::audit::Event;
use crate::auth::Caller;
use crate::calls::SettleError;
use crate::problem::{Answer, ApiError, Json, Kind, Path, Query};
use crate::records::{ApprovalRecord, SecretRecord};
use crate::vault::{Tidied, Vault, VaultError};

use super::jobs::{self, ShowQuery};

/// The longest secret.
const SECRET_BYTES_MAX: usize = 4_096;

/// Every call that a job could ever make, as a page for people and with the digest to which an approval is bound.
#[utoipa::path(get, path = "/v1/jobs/{name}/plan", tag = "jobs", security(("bearer" = [])),
    params(("name" = String, Path), ShowQuery),
    responses((status = 200, body = PlanView), (status = 404, body = manyhands_api::Problem)))]
pub(super) async fn plan(
    State(app): State<App>,
    _caller: Caller,
    Path(name): Path<String>,
    Query(query): Query<ShowQuery>,
) -> Answer<Json<PlanView>> {
    let job = jobs::find(&app, &name, query.version.as_ref())?;
    let plan = Plan::of(&job.manifest).map_err(|error| ApiError::internal(&error))?;
    let digest = plan.digest();
    let approval = app.blocking(move |records| records.approval(digest)).await?;
    Ok(Json(PlanView { digest, approved: approval.is_some(), page: plan.to_string() }))
}

/// Approves a plan: jobs with exactly this plan may make its calls.
#[utoipa::path(put, path = "/v1/plans/{digest}", tag = "operators", security(("bearer" = [])),
    params(("digest" = String, Path)), responses((status = 204), (status = 400, body = manyhands_api::Problem)))]
pub(super) async fn approve(State(app): State<App>, caller: Caller, Path(digest): Path<String>) -> Answer<StatusCode> {
    caller.need(Role::Operator)?;
    let plan = digest_of(&digest)?;
    let approval = ApprovalRecord { by: caller.name.clone(), at: app.clock.now() };
    let event = Event::PlanApproved { plan, by: caller.name.clone() };
    app.calls.decide(event, |writes| writes.approval(plan, &approval)).await?;
    tracing::info!(plan = %plan, "a plan was approved");
    Ok(StatusCode::NO_CONTENT)
}

/// Takes an approval back: no call of this plan is on its way any more when this answers, which takes as long as one that was.
#[utoipa::path(delete, path = "/v1/plans/{digest}", tag = "operators", security(("bearer" = [])),
    params(("digest" = String, Path)), responses((status = 204), (status = 400, body = manyhands_api::Problem)))]
pub(super) async fn disapprove(
    State(app): State<App>,
    caller: Caller,
    Path(digest): Path<String>,
) -> Answer<StatusCode> {
    caller.need(Role::Operator)?;
    let plan = digest_of(&digest)?;
    let event = Event::PlanWithdrawn { plan, by: caller.name.clone() };
    app.calls.withdraw(event, |writes| writes.no_approval(plan)).await?;
    tracing::info!(plan = %plan, "a plan is approved no more");
    Ok(StatusCode::NO_CONTENT)
}

fn digest_of(text: &str) -> Answer<Digest> {
    text.parse().map_err(|error| ApiError::new(Kind::Invalid, format!("{error}")))
}

/// Names of the secrets for calls, and where each is sent; never the secrets.
#[utoipa::path(get, path = "/v1/secrets", tag = "operators", security(("bearer" = [])),
    responses((status = 200, body = SecretList)))]
pub(super) async fn secrets(State(app): State<App>, caller: Caller) -> Answer<Json<SecretList>> {
    caller.need(Role::Operator)?;
    let secrets = app.blocking(|records| records.secrets()).await?;
    let view = |(name, secret): (Name, SecretRecord)| SecretView { name: name.to_string(), origin: secret.origin };
    Ok(Json(SecretList { secrets: secrets.into_iter().map(view).collect() }))
}

/// Sets a secret for calls of one origin, over what there was: no call with that is on its way any more when this answers.
#[utoipa::path(put, path = "/v1/secrets/{name}", tag = "operators", security(("bearer" = [])),
    params(("name" = String, Path)), request_body = NewSecret,
    responses((status = 204), (status = 400, body = manyhands_api::Problem)))]
pub(super) async fn set_secret(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Json(new): Json<NewSecret>,
) -> Answer<StatusCode> {
    caller.need(Role::Operator)?;
    let name = name_of(&name)?;
    let origin: Origin = new.origin.parse().map_err(|error| ApiError::new(Kind::Invalid, format!("{error}")))?;
    let origin = origin.to_string();
    if new.secret.is_empty() || new.secret.len() > SECRET_BYTES_MAX {
        let detail = format!("a secret has 1 to {SECRET_BYTES_MAX} bytes");
        return Err(ApiError::new(Kind::Invalid, detail));
    }
    let sealed = app.vault.seal_secret(&name, &origin, &new.secret);
    let sealed = sealed.map_err(|error| ApiError::internal(&error))?;
    let event = Event::SecretSet { name: name.clone(), origin: origin.clone(), by: caller.name.clone() };
    app.calls.withdraw(event, |writes| writes.secret(&name, origin, sealed)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Seals values and secrets under a new key, and throws earlier keys away as soon as nothing needs them.
#[utoipa::path(post, path = "/v1/vault/rotate", tag = "operators", security(("bearer" = [])),
    params(("idempotency-key" = Option<String>, Header)), responses((status = 200, body = RotatedVault)))]
pub(super) async fn rotate_vault(State(app): State<App>, caller: Caller) -> Answer<Json<RotatedVault>> {
    caller.need(Role::Operator)?;
    let failed = |error: VaultError| ApiError::internal(&error);
    let key = app.vault_work(Vault::rotate).await.map_err(failed)?;
    app.calls.decide(Event::VaultRotated { key, by: caller.name.clone() }, |_| ()).await?;
    let Tidied { sealed, gone, kept } = app.vault_work(Vault::tidy).await.map_err(failed)?;
    tracing::info!(key, sealed, gone, kept, "the vault's key was rotated");
    Ok(Json(RotatedVault { key, sealed, gone, kept }))
}

/// Removes a secret: no call with it is on its way any more when this answers.
#[utoipa::path(delete, path = "/v1/secrets/{name}", tag = "operators", security(("bearer" = [])),
    params(("name" = String, Path)), responses((status = 204), (status = 400, body = manyhands_api::Problem)))]
pub(super) async fn remove_secret(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    caller.need(Role::Operator)?;
    let name = name_of(&name)?;
    let event = Event::SecretRemoved { name: name.clone(), by: caller.name.clone() };
    app.calls.withdraw(event, |writes| writes.no_secret(&name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn name_of(text: &str) -> Answer<Name> {
    text.parse().map_err(|error| ApiError::new(Kind::Invalid, format!("{error}")))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct UnknownQuery {
    /// How many, at most 1,000, which is how many there are if nothing is said.
    limit: Option<usize>,
    /// Those after this call.
    #[param(value_type = Option<String>)]
    after: Option<IntentId>,
}

/// Calls of which nobody knows whether they were made. They are not made again before an operator says so.
#[utoipa::path(get, path = "/v1/calls/unknown", tag = "operators", security(("bearer" = [])), params(UnknownQuery),
    responses((status = 200, body = UnknownCalls)))]
pub(super) async fn unknown(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<UnknownQuery>,
) -> Answer<Json<UnknownCalls>> {
    caller.need(Role::Operator)?;
    let limit = query.limit.unwrap_or(1_000).clamp(1, 1_000);
    let calls = app.calls.unknown(query.after, limit).await?;
    let next = calls.last().map(|(id, _)| id.to_string()).filter(|_| calls.len() == limit);
    let view = |(id, call): (IntentId, crate::records::CallRecord)| CallView {
        id: id.to_string(),
        run: call.unit.run,
        unit: call.unit.index,
        step: call.step,
        verb: call.intent.verb.to_string(),
        canonical: String::from_utf8_lossy(&call.intent.canonical()).into_owned(),
    };
    Ok(Json(UnknownCalls { calls: calls.into_iter().map(view).collect(), next }))
}

/// Says what an operator found out about an unknown call.
#[utoipa::path(put, path = "/v1/calls/{id}", tag = "operators", security(("bearer" = [])),
    params(("id" = String, Path)), request_body = SettledCall,
    responses((status = 204), (status = 404, body = manyhands_api::Problem), (status = 409, body = manyhands_api::Problem)))]
pub(super) async fn settle(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Json(settled): Json<SettledCall>,
) -> Answer<StatusCode> {
    caller.need(Role::Operator)?;
    let id: IntentId = id.parse().map_err(|error| ApiError::new(Kind::Invalid, format!("{error}")))?;
    app.calls.settle(id, settled.found, caller.name.clone()).await.map_err(|error| match error {
        SettleError::Nobody => ApiError::not_found("call", id),
        SettleError::Unchanged(why) => ApiError::new(Kind::Conflict, why.to_string()),
        SettleError::Records(error) => error.into(),
    })?;
    Ok(StatusCode::NO_CONTENT)
}
