//! Results, streamed while they become true.

use std::io;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use data_encoding::BASE64;
use manyhands_api::{FRAMES, NDJSON, ResultLine};
use manyhands_model::{UnitId, Verdict};
use manyhands_scheduler::{End, Reason, RunSpec, RunStatus, UnitRecord};
use serde::Deserialize;
use tokio::sync::{SemaphorePermit, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::{IntoParams, ToSchema};

use super::runs;
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Answer, ApiError, Kind, Path, Query};
use crate::records::{RecordError, Records};
use crate::serve::Intake;

/// Pieces of results that wait for a slow reader.
const AHEAD: usize = 2;
/// Longest piece: what a reader who does not read costs. Unit: bytes.
const PIECE_BYTES: usize = 16 << 10;
/// Units that are read at once.
const PAGE: usize = 256;

/// In which order results come.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// That of the inputs: each waits for those before it.
    #[default]
    Input,
    /// As they are accepted.
    Accepted,
}

/// How results are written.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    /// One JSON object a line.
    #[default]
    Ndjson,
    /// Outputs alone, each after its length; a failed unit breaks the stream off.
    Frames,
}

/// Which units.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Which {
    /// One for each input.
    Inputs,
    /// The one result of the reduction.
    Reduced,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ResultsQuery {
    /// In which order.
    #[serde(default)]
    #[param(inline)]
    order: Order,
    /// How.
    #[serde(default)]
    #[param(inline)]
    format: Format,
    /// Of which units; by default the reduced result if the run reduces.
    #[param(inline)]
    which: Option<Which>,
}

/// A run's results. Follows the run until all of them are there.
#[utoipa::path(get, path = "/v1/runs/{id}/results", tag = "runs", security(("bearer" = [])),
    params(("id" = String, Path), ResultsQuery),
    responses(
        (status = 200, body = ResultLine, content_type = "application/x-ndjson"),
        (status = 404, body = manyhands_api::Problem),
    ))]
pub(super) async fn results(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<ResultsQuery>,
    intake: Option<Extension<Intake>>,
) -> Answer<Response> {
    let spec = runs::find(&app, &caller, &id).await?.spec;
    let root = spec.reduction().root();
    let units = match (query.which, root) {
        (Some(Which::Reduced), None) => {
            return Err(ApiError::new(Kind::Invalid, "this run does not reduce; ask for which=inputs"));
        }
        (Some(Which::Reduced) | None, Some(root)) => root..root + 1,
        (Some(Which::Inputs), _) | (None, None) => 0..spec.inputs,
    };
    let (sender, receiver) = mpsc::channel(AHEAD);
    let feed = app.hub.follow(spec.id);
    let intake = intake.map(|Extension(intake)| intake).unwrap_or_default();
    let writer = Writer { app, spec, feed, format: query.format, intake, sender };
    tokio::spawn(async move {
        let sender = writer.sender.clone();
        let done = match query.order {
            Order::Input => writer.in_order(units).await,
            Order::Accepted => writer.by_acceptance(units).await,
        };
        if let Err(Broken::Off(error)) = done {
            let _gone = sender.send(Err(error)).await;
        }
    });
    let kind = match query.format {
        Format::Ndjson => NDJSON,
        Format::Frames => FRAMES,
    };
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(ReceiverStream::new(receiver))).into_response())
}

/// Why a stream of results does not go on.
enum Broken {
    /// Nobody reads it.
    Gone,
    /// With an error, which breaks the response off visibly.
    Off(io::Error),
}

impl From<ApiError> for Broken {
    fn from(error: ApiError) -> Self {
        Self::Off(io::Error::other(error.to_string()))
    }
}

struct Writer {
    app: App,
    spec: RunSpec,
    feed: watch::Receiver<u64>,
    format: Format,
    intake: Intake,
    sender: mpsc::Sender<Result<Bytes, io::Error>>,
}

impl Writer {
    async fn in_order(mut self, units: std::ops::Range<u32>) -> Result<(), Broken> {
        let mut next = units.start;
        while next < units.end {
            self.feed.mark_unchanged();
            let (run, limit) = (self.spec.id, PAGE.min((units.end - next) as usize));
            let page = {
                let _turn = self.turn().await;
                self.app.blocking(move |records| records.units_from(run, next, limit)).await?
            };
            let in_line =
                page.into_iter().zip(next..).take_while(|((index, unit), at)| index == at && unit.end.is_some());
            let ready: Vec<(u32, UnitRecord)> = in_line.map(|(unit, _)| unit).collect();
            next += ready.len() as u32;
            if ready.is_empty() {
                self.wait().await?;
            } else {
                self.write(ready).await?;
            }
        }
        Ok(())
    }

    async fn by_acceptance(mut self, units: std::ops::Range<u32>) -> Result<(), Broken> {
        let mut missing: std::collections::BTreeSet<u32> = units.collect();
        let mut after = None;
        while !missing.is_empty() {
            self.feed.mark_unchanged();
            let (run, from) = (self.spec.id, after);
            let page = {
                let _turn = self.turn().await;
                self.app.blocking(move |records| records.ended(run, from)).await?
            };
            after = page.last().map(|(sequence, _)| *sequence).or(after);
            let new: Vec<u32> =
                page.into_iter().flat_map(|(_, indices)| indices).filter(|index| missing.contains(index)).collect();
            if new.is_empty() {
                self.wait().await?;
                continue;
            }
            for some in new.chunks(PAGE) {
                let some = some.to_vec();
                let read = move |records: &Records| -> Result<Vec<_>, RecordError> {
                    some.into_iter().map(|index| Ok((index, records.unit(UnitId { run, index })?))).collect()
                };
                let units = {
                    let _turn = self.turn().await;
                    self.app.blocking(read).await?
                };
                // A unit that was retried ended more than once: what counts is how it stands now.
                let ended = units
                    .into_iter()
                    .filter_map(|(index, unit)| Some((index, unit.filter(|unit| unit.end.is_some())?)));
                let ready: Vec<(u32, UnitRecord)> = ended.filter(|(index, _)| missing.remove(index)).collect();
                self.write(ready).await?;
            }
        }
        Ok(())
    }

    /// Waits for a turn to prepare some of the answer. Not to be held while its reader is waited for.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        self.app.turns.acquire().await.ok()
    }

    async fn wait(&mut self) -> Result<(), Broken> {
        let stopping = || Broken::Off(io::Error::other(crate::core::Stopping));
        tokio::select! {
            changed = self.feed.changed() => changed.map_err(|_| stopping()),
            () = self.sender.closed() => Err(Broken::Gone),
            () = self.app.stop.cancelled() => Err(stopping()),
        }
    }

    async fn write(&self, units: Vec<(u32, UnitRecord)>) -> Result<(), Broken> {
        let mut bytes = BytesMut::new();
        for (index, record) in units {
            let output_bytes = match record.accepted.as_ref().map(|accepted| &accepted.verdict) {
                Some(Verdict::Ok { output_bytes, .. }) => *output_bytes,
                _ => 0,
            };
            // Long outputs are in memory until they are read; readers who do not read must not fill it.
            let _room = self.intake.room_to_send(output_bytes).await;
            let turn = self.turn().await;
            let output = match crate::core::accepted_output(Some(&record)) {
                Some(digest) => {
                    let output = self.app.records.output(digest).await.map_err(ApiError::from)?;
                    Some(self.app.secrets.restored(&self.spec, index, output).await.map_err(ApiError::from)?)
                }
                None => None,
            };
            match (self.format, output) {
                (Format::Ndjson, output) => {
                    let line = serde_json::to_vec(&line(index, &record, output.as_ref())).unwrap_or_default();
                    bytes.extend_from_slice(&line);
                    bytes.extend_from_slice(b"\n");
                }
                (Format::Frames, Some(output)) => {
                    bytes.extend_from_slice(&u32::try_from(output.len()).unwrap_or(u32::MAX).to_le_bytes());
                    bytes.extend_from_slice(&output);
                }
                (Format::Frames, None) => {
                    drop(turn);
                    self.send(bytes.split().freeze()).await?;
                    let why = format!("unit {index} has no output; ask for format=ndjson to see why");
                    return Err(Broken::Off(io::Error::other(why)));
                }
            }
            drop(turn);
            if bytes.len() >= PIECE_BYTES {
                self.send(bytes.split().freeze()).await?;
            }
        }
        self.send(bytes.freeze()).await
    }

    async fn send(&self, bytes: Bytes) -> Result<(), Broken> {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
            self.sender.send(Ok(piece)).await.map_err(|_| Broken::Gone)?;
        }
        Ok(())
    }
}

fn line(index: u32, record: &UnitRecord, output: Option<&Bytes>) -> ResultLine {
    let accepted = record.accepted.as_ref();
    let end = Reason::Ended(record.end.unwrap_or(End::Undecided));
    let status = accepted.map_or(end.word(), |accepted| accepted.verdict.word());
    let json = output.and_then(|bytes| {
        let text = std::str::from_utf8(bytes).ok()?;
        // A line break inside would end the line; in JSON it never stands in a string.
        serde_json::value::RawValue::from_string(text.replace('\n', " ")).ok()
    });
    ResultLine {
        unit: index,
        status: status.to_owned(),
        output_base64: output.filter(|_| json.is_none()).map(|bytes| BASE64.encode(bytes)),
        output: json,
        error: match accepted {
            Some(accepted) if accepted.verdict.is_ok() => None,
            Some(accepted) => Some(accepted.verdict.to_string()),
            None => Some(end.to_string()),
        },
        fuel: record.paid_for().0,
        replicas: u32::try_from(record.agreeing().count()).unwrap_or(u32::MAX),
    }
}

/// One unit's output, as the job wrote it.
#[utoipa::path(get, path = "/v1/runs/{id}/units/{unit}/output", tag = "runs", security(("bearer" = [])),
    params(("id" = String, Path), ("unit" = u32, Path)),
    responses(
        (status = 200, content_type = "application/octet-stream"),
        (status = 404, body = manyhands_api::Problem),
        (status = 409, description = "the unit has no output", body = manyhands_api::Problem),
    ))]
pub(super) async fn output(
    State(app): State<App>,
    caller: Caller,
    Path((id, index)): Path<(String, u32)>,
) -> Answer<Response> {
    let run = runs::find(&app, &caller, &id).await?;
    if index >= run.spec.reduction().units() {
        return Err(ApiError::not_found("unit of this run", index));
    }
    let unit = UnitId { run: run.spec.id, index };
    let record = app.blocking(move |records| records.unit(unit)).await?;
    let ended = record.as_ref().is_some_and(|record| record.end.is_some());
    let failed = record.as_ref().and_then(|record| record.accepted.as_ref()).map(|accepted| accepted.verdict.clone());
    match (crate::core::accepted_output(record.as_ref()), failed) {
        (Some(digest), _) => {
            let bytes = app.records.output(digest).await?;
            let bytes = app.secrets.restored(&run.spec, index, bytes).await?;
            Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
        }
        (
            None,
            Some(verdict @ (Verdict::OutOfFuel | Verdict::OutOfStack | Verdict::Aborted { .. } | Verdict::Trap)),
        ) => Err(ApiError::new(Kind::JobFailed, verdict.to_string())),
        (None, _) if ended || run.status != RunStatus::Active => {
            Err(ApiError::new(Kind::Conflict, format!("unit {index} ended without an output; see why")))
        }
        (None, _) => Err(ApiError::new(Kind::Conflict, format!("unit {index} has no answer yet; see why"))),
    }
}
