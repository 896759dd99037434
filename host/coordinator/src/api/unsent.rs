//! What a dry run would have sent.

use std::io;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::{BufMut as _, Bytes, BytesMut};
use manyhands_api::{NDJSON, UnsentCall};
use manyhands_intents::Plan;
use manyhands_model::RunId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::runs;
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Answer, ApiError, Kind, Path};
use crate::records::{CallRecord, UnsentRecord};

/// Calls that are read at once.
const PAGE: usize = 100;
/// Pages that wait for a slow reader.
const AHEAD: usize = 1;

/// The calls that a dry run has asked for so far and that would have been sent, a line for each, with tokens in place of values.
#[utoipa::path(get, path = "/v1/runs/{id}/unsent", tag = "runs", security(("bearer" = [])), params(("id" = String, Path)),
    responses(
        (status = 200, body = UnsentCall, content_type = "application/x-ndjson"),
        (status = 404, body = manyhands_api::Problem),
        (status = 422, description = "the run is no dry run", body = manyhands_api::Problem),
    ))]
pub(super) async fn unsent(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<Response> {
    let spec = runs::find(&app, &caller, &id).await?.spec;
    if !spec.is_dry {
        return Err(ApiError::new(Kind::Invalid, format!("{} is no dry run: its calls are made", spec.id)));
    }
    let job = app.catalogue.module(spec.module).ok_or_else(|| ApiError::not_found("job", &spec.job))?;
    let plan = Plan::of(&job.manifest).map_err(|error| ApiError::internal(&error))?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        if let Err(error) = write(&app, spec.id, &plan, &sender).await {
            // Breaks the response off visibly.
            let _gone = sender.send(Err(io::Error::other(error.to_string()))).await;
        }
    });
    Ok(([(CONTENT_TYPE, NDJSON)], Body::from_stream(ReceiverStream::new(receiver))).into_response())
}

async fn write(app: &App, run: RunId, plan: &Plan, sender: &mpsc::Sender<io::Result<Bytes>>) -> Answer<()> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let from = after.take();
        let page = app.blocking(move |records| records.unsent(run, from.as_deref(), PAGE)).await?;
        let Some((last, ..)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        let mut text = BytesMut::new().writer();
        for (_, unsent, call) in &page {
            if let Some(view) = view(plan, unsent, call) {
                serde_json::to_writer(&mut text, &view).map_err(|error| ApiError::internal(&error))?;
                text.get_mut().put_u8(b'\n');
            }
        }
        if sender.send(Ok(text.into_inner().freeze())).await.is_err() {
            return Ok(());
        }
    }
}

/// Nothing, never, of a verb that the job does not declare.
fn view(plan: &Plan, unsent: &UnsentRecord, call: &CallRecord) -> Option<UnsentCall> {
    let known = plan.catalogue().get(call.intent.verb.as_str())?;
    Some(UnsentCall {
        id: unsent.call.to_string(),
        unit: call.unit.index,
        step: call.step,
        verb: call.intent.verb.to_string(),
        method: known.verb.method.word().to_owned(),
        origin: known.template.origin.to_string(),
        path: known.verb.path.clone(),
        canonical: String::from_utf8_lossy(&call.intent.canonical()).into_owned(),
        target_bytes: unsent.target_bytes,
        body_bytes: unsent.body_bytes,
    })
}
