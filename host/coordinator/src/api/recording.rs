//! What happened in a run, for whoever wants to execute it again.

use std::io;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use data_encoding::BASE64;
use manyhands_api::{NDJSON, RecordedOutcome, RecordedUnit, Recording};
use manyhands_model::{Digest, Outcome, UnitId};
use manyhands_scheduler::{RunRecord, RunSpec, RunStatus};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::runs;
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Answer, ApiError, Kind, Path};
use crate::records::{AnswersRecord, Content, RecordError, Records};
use crate::serve::Intake;

/// Lines that wait for a slow reader.
const AHEAD: usize = 1;
/// How long an input or an answer is taken to be that is a blob. Unit: bytes.
const LONG_BYTES: u64 = 1 << 20;

/// A run that has ended, with all that it takes to execute it again: the sealed module, then for each unit what it read and what workers
/// agreed on, in canonical form, which holds tokens in place of values.
#[utoipa::path(get, path = "/v1/runs/{id}/recording", tag = "runs", security(("bearer" = [])), params(("id" = String, Path)),
    responses(
        (status = 200, description = "a `Recording`, then a line for each unit", body = RecordedUnit, content_type = "application/x-ndjson"),
        (status = 404, body = manyhands_api::Problem),
        (status = 409, description = "the run goes on", body = manyhands_api::Problem),
    ))]
pub(super) async fn recording(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    intake: Option<Extension<Intake>>,
) -> Answer<Response> {
    let RunRecord { spec, status, .. } = runs::find(&app, &caller, &id).await?;
    if status == RunStatus::Active {
        return Err(ApiError::new(Kind::Conflict, format!("{} goes on; record it when it has ended", spec.id)));
    }
    let job = app.catalogue.module(spec.module).ok_or_else(|| ApiError::not_found("job", &spec.job))?;
    let module = app.records.read(&spec.module).await?;
    let head = Recording {
        run: spec.id,
        job: spec.job.clone(),
        version: spec.version.clone(),
        limits: job.manifest.limits,
        module: spec.module,
        module_base64: BASE64.encode(&module),
        units: spec.reduction().units(),
    };
    let (sender, receiver) = mpsc::channel(AHEAD);
    let intake = intake.map(|Extension(intake)| intake).unwrap_or_default();
    tokio::spawn(async move {
        if sender.send(Ok(line(&head))).await.is_err() {
            return;
        }
        drop(head);
        for index in 0..spec.reduction().units() {
            let written = match known(&app, &spec, index).await {
                Ok(known) => write(&app, &intake, known, &sender).await,
                Err(error) => Err(error),
            };
            match written {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(run = %spec.id, unit = index, %error, "a run cannot be recorded");
                    // Breaks the response off visibly.
                    let _gone = sender.send(Err(io::Error::other(ApiError::from(error).to_string()))).await;
                    return;
                }
            }
        }
    });
    Ok(([(CONTENT_TYPE, NDJSON)], Body::from_stream(ReceiverStream::new(receiver))).into_response())
}

/// What is known of a unit, without the bytes.
struct Known {
    unit: UnitId,
    reduces: bool,
    seed: [u8; 32],
    read: Vec<Content>,
    outcomes: Vec<Outcome>,
}

async fn known(app: &App, spec: &RunSpec, index: u32) -> Result<Known, RecordError> {
    let unit = UnitId { run: spec.id, index };
    let (reduces, seed) = (spec.reduction().is_reduce(index), spec.seed(index));
    let read = move |records: &Records| {
        let record = records.unit(unit)?.unwrap_or_default();
        let input = if records.has_input(unit)? { Some(records.input(unit)?) } else { None };
        let mut read: Vec<_> = input.into_iter().collect();
        let mut outcomes = Vec::new();
        for step in 0..record.step {
            let missing = || RecordError::Missing(format!("the answers to request {step} of unit {unit}"));
            let AnswersRecord { request, answers } = records.answers(unit, step)?.ok_or_else(missing)?;
            outcomes.push(request);
            read.push(answers);
        }
        outcomes.extend(record.accepted);
        Ok(Known { unit, reduces, seed, read, outcomes })
    };
    app.records.blocking(read).await
}

/// Whether somebody still reads.
async fn write(
    app: &App,
    intake: &Intake,
    Known { unit, reduces, seed, read, outcomes }: Known,
    sender: &mpsc::Sender<Result<Bytes, io::Error>>,
) -> Result<bool, RecordError> {
    let outputs = outcomes.iter().filter_map(|outcome| outcome.verdict.content());
    let inline = |content: &Content| content.inline.as_ref().map(|bytes| bytes.len() as u64);
    // Of a long input nobody knows how long it is before it is read.
    let inputs = read.iter().map(|content| inline(content).unwrap_or(LONG_BYTES));
    let _room = intake.room_to_send(outputs.map(|(_, bytes)| bytes).chain(inputs).sum()).await;
    let recorded = {
        // Nobody closes it.
        let _turn = app.turns.acquire().await.ok();
        let mut texts = Vec::with_capacity(read.len());
        for content in &read {
            texts.push(BASE64.encode(&app.records.bytes(content).await?));
        }
        let mut recorded = Vec::with_capacity(outcomes.len());
        for Outcome { verdict, fuel } in outcomes {
            let output = match verdict.content() {
                Some((digest, _)) => app.records.output(digest).await?,
                None => Bytes::new(),
            };
            // Where tokens stand, fuel does not count, and is 0.
            let fuel = Some(fuel.0).filter(|fuel| *fuel > 0);
            recorded.push(RecordedOutcome { verdict, fuel, output_base64: BASE64.encode(&output) });
        }
        let mut texts = texts.into_iter();
        let input_base64 = texts.next();
        let (answers_base64, outcomes) = (texts.collect(), recorded);
        line(&RecordedUnit { unit: unit.index, reduces, seed: Digest(seed), input_base64, answers_base64, outcomes })
    };
    Ok(sender.send(Ok(recorded)).await.is_ok())
}

fn line(value: &impl Serialize) -> Bytes {
    // Texts and numbers can always be written.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
