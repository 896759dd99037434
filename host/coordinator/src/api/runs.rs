//! Following, explaining and steering runs.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures::Stream;
use manyhands_api::{
    AnswerView, ChangedList, ChangedView, ReasonCount, ReplicaView, Role, RunList, RunSensitive, RunState, RunView,
    UnitCounts, UnitView, UnitWhy, Why,
};
use manyhands_model::{Digest, Outcome, RunId, UnitId};
use manyhands_placeholder::LeakBudget;
use manyhands_scheduler::{End, Input, Reason, RunRecord, RunStatus};
use serde::Deserialize;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use super::jobs;
use crate::app::App;
use crate::auditing;
use crate::auth::Caller;
use crate::core::{Event, ready_inputs};
use crate::problem::{Answer, ApiError, Json, Kind, Path, Query};
use crate::records::{ChangedRecord, RecordError, Records};

/// Followers are told at most this often.
const EVENTS_EVERY: Duration = Duration::from_millis(100);
/// Units that are read at once.
const UNITS_PAGE: usize = 1_000;
/// Units that one explanation lists.
const WHY_UNITS: usize = 100;

/// Changed answers that one list has.
const CHANGED: usize = 10_000;

/// As the HTTP API shows a run.
pub(super) fn view(app: &App, record: &RunRecord) -> RunView {
    let RunRecord { spec, status, counts, dissents, finished_at } = record;
    RunView {
        id: spec.id,
        job: spec.job.clone(),
        version: spec.version.clone(),
        owner: spec.owner.clone(),
        state: match status {
            RunStatus::Active => RunState::Active,
            RunStatus::Finished => RunState::Finished,
            RunStatus::Cancelled => RunState::Cancelled,
        },
        priority: spec.priority,
        verify: spec.rule.to_string(),
        replicas: spec.rule.replicas().agree,
        replicas_max: spec.rule.replicas().most,
        reduce: spec.reduce,
        inputs: spec.inputs.into(),
        units: UnitCounts {
            total: spec.reduction().units().into(),
            waiting: counts.waiting.into(),
            running: counts.running.into(),
            done: counts.done.into(),
            failed: counts.failed.into(),
            cancelled: counts.cancelled.into(),
        },
        dissents: *dissents,
        changed: app.changes.of(spec.id),
        dry_run: spec.is_dry,
        submitted_at: spec.submitted_at,
        finished_at: *finished_at,
    }
}

/// The run as it stands now, if the caller may see it.
pub(super) async fn find(app: &App, caller: &Caller, id: &str) -> Answer<RunRecord> {
    let id: RunId = id.parse().map_err(|error| ApiError::new(Kind::Invalid, format!("{error}")))?;
    let record = current(app, id).await?;
    // Somebody else's run looks like none: ids are not to be tried out.
    match record {
        Some(record) if caller.sees(&record.spec.owner) => Ok(record),
        Some(_) | None => Err(ApiError::not_found("run of yours", id)),
    }
}

/// The run as it stands now: an active one as the scheduler sees it.
pub(crate) async fn current(app: &App, id: RunId) -> Answer<Option<RunRecord>> {
    if let Some(record) = app.core.ask(move |scheduler, _| scheduler.run(id)).await? {
        return Ok(Some(record));
    }
    app.blocking(move |records| records.run(id)).await
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// How many, at most 1,000; 50 if nothing is said.
    limit: Option<usize>,
    /// Those before this run.
    #[param(value_type = Option<String>)]
    after: Option<RunId>,
}

/// The caller's runs, newest first; an operator sees all.
#[utoipa::path(get, path = "/v1/runs", tag = "runs", security(("bearer" = [])), params(ListQuery),
    responses((status = 200, body = RunList)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Answer<Json<RunList>> {
    let limit = query.limit.unwrap_or(50).clamp(1, 1_000);
    let (found, next) = if caller.role == Role::Operator {
        let all = app.blocking(move |records| records.runs(query.after, limit)).await?;
        let next = all.last().map(|run| run.spec.id).filter(|_| all.len() == limit);
        (all, next)
    } else {
        app.blocking(move |records| records.runs_of(&caller.name, query.after, limit)).await?
    };
    let mut runs = Vec::with_capacity(found.len());
    for record in found {
        let active = record.status == RunStatus::Active;
        let fresh = if active { current(&app, record.spec.id).await? } else { None };
        runs.push(view(&app, &fresh.unwrap_or(record)));
    }
    Ok(Json(RunList { runs, next }))
}

/// One run.
#[utoipa::path(get, path = "/v1/runs/{id}", tag = "runs", security(("bearer" = [])), params(("id" = String, Path)),
    responses((status = 200, body = RunView), (status = 404, body = manyhands_api::Problem)))]
pub(super) async fn show(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<Json<RunView>> {
    Ok(Json(view(&app, &find(&app, &caller, &id).await?)))
}

/// Progress as server-sent events: `progress` with a run, and `end` as the last one.
#[utoipa::path(get, path = "/v1/runs/{id}/events", tag = "runs", security(("bearer" = [])), params(("id" = String, Path)),
    responses((status = 200, content_type = "text/event-stream"), (status = 404, body = manyhands_api::Problem)))]
pub(super) async fn events(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>> {
    let id = find(&app, &caller, &id).await?.spec.id;
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move {
        let mut feed = app.hub.follow(id);
        loop {
            feed.mark_unchanged();
            let Ok(Some(record)) = current(&app, id).await else { return };
            let event = SseEvent::default().event("progress").json_data(view(&app, &record));
            let Ok(event) = event else { return };
            if sender.send(Ok(event)).await.is_err() {
                return;
            }
            if record.status != RunStatus::Active {
                let _gone = sender.send(Ok(SseEvent::default().event("end").data("end"))).await;
                return;
            }
            tokio::time::sleep(EVENTS_EVERY).await;
            tokio::select! {
                changed = feed.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
                () = app.stop.cancelled() => return,
            }
        }
    });
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(KeepAlive::default()))
}

/// Why units have no answer yet, and what would help.
#[utoipa::path(get, path = "/v1/runs/{id}/why", tag = "runs", security(("bearer" = [])), params(("id" = String, Path)),
    responses((status = 200, body = Why), (status = 404, body = manyhands_api::Problem)))]
pub(super) async fn why(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<Json<Why>> {
    let record = find(&app, &caller, &id).await?;
    let summaries = unfinished(&app, &record, usize::MAX).await?;
    let units = summaries.iter().take(WHY_UNITS).map(|(unit, reason)| UnitWhy {
        unit: *unit,
        reason: reason.word().to_owned(),
        sentence: sentence(&app, reason),
    });
    Ok(Json(Why { run: view(&app, &record), reasons: counted(&app, &summaries), units: units.collect() }))
}

/// Why the first `most` units without an output have none: each reason with how many units it holds up, most first.
pub(crate) async fn explain(app: &App, record: &RunRecord, most: usize) -> Answer<Vec<ReasonCount>> {
    Ok(counted(app, &unfinished(app, record, most).await?))
}

/// Up to `most` units without an output, each with the reason.
async fn unfinished(app: &App, record: &RunRecord, most: usize) -> Answer<Vec<(u32, Reason)>> {
    let id = record.spec.id;
    if record.status == RunStatus::Active {
        let all = move |scheduler: &manyhands_scheduler::Scheduler, now| {
            scheduler.why_all(now, id).take(most).map(|unit| (unit.index, unit.reason)).collect()
        };
        return Ok(app.core.ask(all).await?);
    }
    if record.counts.failed + record.counts.cancelled == 0 {
        return Ok(Vec::new());
    }
    let read = move |records: &crate::records::Records| {
        let (mut found, mut from) = (Vec::new(), 0);
        loop {
            let page = records.units_from(id, from, UNITS_PAGE)?;
            let last = page.last().map(|(index, _)| index + 1).filter(|_| page.len() == UNITS_PAGE);
            let ended = page.into_iter().filter_map(|(index, unit)| Some((index, unit.end?)));
            found.extend(ended.filter(|(_, end)| *end != End::Done).map(|(index, end)| (index, Reason::Ended(end))));
            match last.filter(|_| found.len() < most) {
                Some(next) => from = next,
                None => break,
            }
        }
        found.truncate(most);
        Ok(found)
    };
    app.blocking(read).await
}

/// A reason for a person, with what would help.
fn sentence(app: &App, reason: &Reason) -> String {
    let notice = match reason {
        Reason::NeedsAudit => auditing::notice(app.auditing.mode(), app.auditing.standing()),
        _ => None,
    };
    notice.map_or_else(|| reason.to_string(), |notice| format!("{reason}; {notice}"))
}

fn counted(app: &App, summaries: &[(u32, Reason)]) -> Vec<ReasonCount> {
    let mut reasons: BTreeMap<&str, ReasonCount> = BTreeMap::new();
    for (_, reason) in summaries {
        let count = reasons.entry(reason.word()).or_insert_with(|| ReasonCount {
            reason: reason.word().to_owned(),
            sentence: sentence(app, reason),
            units: 0,
        });
        count.units += 1;
    }
    let mut reasons: Vec<ReasonCount> = reasons.into_values().collect();
    reasons.sort_by_key(|count| std::cmp::Reverse(count.units));
    reasons
}

/// One unit: where it stands, and what each worker reported.
#[utoipa::path(get, path = "/v1/runs/{id}/units/{unit}", tag = "runs", security(("bearer" = [])),
    params(("id" = String, Path), ("unit" = u32, Path)),
    responses((status = 200, body = UnitView), (status = 404, body = manyhands_api::Problem)))]
pub(super) async fn unit(
    State(app): State<App>,
    caller: Caller,
    Path((id, index)): Path<(String, u32)>,
) -> Answer<Json<UnitView>> {
    let run = find(&app, &caller, &id).await?;
    if index >= run.spec.reduction().units() {
        return Err(ApiError::not_found("unit of this run", index));
    }
    let unit = UnitId { run: run.spec.id, index };
    let record = app.blocking(move |records| records.unit(unit)).await?.unwrap_or_default();
    let asked = app.core.ask(move |scheduler, now| scheduler.why(now, unit)).await?;
    let reason = match (record.end, asked) {
        (Some(end), _) => Reason::Ended(end),
        (None, Some(summary)) => summary.reason,
        (None, None) => Reason::Ended(End::Cancelled),
    };
    let accepted = record.accepted.as_ref();
    let sentence = match accepted {
        Some(outcome) if !outcome.verdict.is_ok() => outcome.verdict.to_string(),
        Some(_) | None => sentence(&app, &reason),
    };
    let replicas = record.replicas.iter().map(|replica| ReplicaView {
        worker: replica.worker,
        verdict: replica.outcome.verdict.clone(),
        fuel: replica.fuel().0,
        agrees: accepted.map(|accepted| *accepted == replica.outcome),
    });
    Ok(Json(UnitView { unit: index, state: reason.word().to_owned(), sentence, replicas: replicas.collect() }))
}

/// Answers of a run that are not what they were: somebody on whose word they rested was caught, perhaps after the run had ended.
#[utoipa::path(get, path = "/v1/runs/{id}/changed", tag = "runs", security(("bearer" = [])), params(("id" = String, Path)),
    responses((status = 200, body = ChangedList), (status = 404, body = manyhands_api::Problem)))]
pub(super) async fn changed(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<ChangedList>> {
    let run = find(&app, &caller, &id).await?.spec.id;
    let read = move |records: &crate::records::Records| {
        let changed = records.changed(run, CHANGED)?.into_iter().map(|ChangedRecord { index, at, was }| {
            let is = records.unit(UnitId { run, index })?.and_then(|record| record.accepted);
            Ok(ChangedView { unit: index, at, was: was.as_ref().map(answer), is: is.as_ref().map(answer) })
        });
        changed.collect::<Result<Vec<_>, RecordError>>()
    };
    Ok(Json(ChangedList { changed: app.blocking(read).await? }))
}

/// An answer, without what came out.
pub(crate) fn answer(outcome: &Outcome) -> AnswerView {
    let output = outcome.verdict.content().map(|(digest, _)| digest);
    AnswerView { ended: outcome.verdict.word().to_owned(), output }
}

/// Cancels a run. What has an answer keeps it.
#[utoipa::path(post, path = "/v1/runs/{id}/cancel", tag = "runs", security(("bearer" = [])), params(("id" = String, Path)),
    responses((status = 200, body = RunView), (status = 404, body = manyhands_api::Problem)))]
pub(super) async fn cancel(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<Json<RunView>> {
    let record = find(&app, &caller, &id).await?;
    if record.status != RunStatus::Active {
        return Ok(Json(view(&app, &record)));
    }
    let id = record.spec.id;
    app.core.tell(Input::Cancel(id)).await?;
    Ok(Json(view(&app, &until(&app, id, |run| run.status != RunStatus::Active).await?)))
}

/// Removes the values of a run that has ended, before their time: its results show tokens from then on.
#[utoipa::path(delete, path = "/v1/runs/{id}/values", tag = "runs", security(("bearer" = [])), params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = manyhands_api::Problem), (status = 409, body = manyhands_api::Problem)))]
pub(super) async fn forget(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    let RunRecord { spec, status, .. } = find(&app, &caller, &id).await?;
    let needed = || {
        let detail = "the run needs its values until it has ended; cancel it first";
        ApiError::new(Kind::Conflict, detail)
    };
    if status == RunStatus::Active {
        return Err(needed());
    }
    // Where there are none, there is nothing that a later try would miss.
    if !app.secrets.concern(spec.id, spec.module)? {
        return Ok(StatusCode::NO_CONTENT);
    }
    // Whoever has just heard of its end may be faster than the disk.
    until(&app, spec.id, |run| run.status != RunStatus::Active).await?;
    if app.calls.forget(spec.id).await? { Ok(StatusCode::NO_CONTENT) } else { Err(needed()) }
}

/// What workers do not see of a run's inputs, and what they see instead: what its job declares, and what was declared with it.
#[utoipa::path(get, path = "/v1/runs/{id}/sensitive", tag = "runs", security(("bearer" = [])), params(("id" = String, Path)),
    responses((status = 200, body = RunSensitive), (status = 404, body = manyhands_api::Problem)))]
pub(super) async fn sensitive(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<RunSensitive>> {
    let RunRecord { spec, .. } = find(&app, &caller, &id).await?;
    let read = move |records: &Records| Ok((records.fields(spec.id)?, records.forgotten(spec.id)?));
    let (declared, forgotten_at) = app.blocking(read).await?;
    let job = app.catalogue.module(spec.module).ok_or_else(|| ApiError::not_found("job", &spec.job))?;
    let fields = declared.clone().before(&job.manifest.sensitive).map_err(|error| ApiError::internal(&error))?;
    let leaks = LeakBudget::of(&fields);
    Ok(Json(RunSensitive { bits: leaks.bits(), page: leaks.to_string(), fields, declared, forgotten_at }))
}

/// Cancels every active run of a revoked module; returns how many once that is on disk.
pub(crate) async fn cancel_revoked(app: &App) -> Answer<u64> {
    let revoked: BTreeSet<Digest> = app.catalogue.revoked().into_iter().collect();
    if revoked.is_empty() {
        return Ok(0);
    }
    let of_revoked = move |(run, module)| revoked.contains(&module).then_some(run);
    let runs: Vec<RunId> = app.core.ask(|scheduler, _| scheduler.modules().filter_map(of_revoked).collect()).await?;
    for &run in &runs {
        app.core.tell(Input::Cancel(run)).await?;
    }
    for &run in &runs {
        until(app, run, |run| run.status != RunStatus::Active).await?;
    }
    Ok(runs.len() as u64)
}

/// Tries everything again that ended without an output.
#[utoipa::path(post, path = "/v1/runs/{id}/retry", tag = "runs", security(("bearer" = [])), params(("id" = String, Path)),
    responses(
        (status = 200, body = RunView),
        (status = 404, body = manyhands_api::Problem),
        (status = 409, description = "its values were removed", body = manyhands_api::Problem),
    ))]
pub(super) async fn retry(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<Json<RunView>> {
    let record = find(&app, &caller, &id).await?;
    jobs::not_revoked(&app, &record.spec.job, &record.spec.version, &record.spec.module)?;
    let (id, finished_at) = (record.spec.id, record.finished_at);
    let kept;
    if record.status == RunStatus::Active {
        app.core.tell(Input::Retry(id)).await?;
    } else if record.counts.failed + record.counts.cancelled > 0 {
        let spec = record.spec.clone();
        let known = app.blocking(move |records| Ok((records.units(id)?, ready_inputs(records, &spec)?))).await?;
        // Until it counts as active on the disk, where whoever forgets values looks.
        kept = app.calls.keep(id).await?;
        if kept.is_none() {
            let detail = "the values of this run were removed, so its tokens stand for nothing: submit its inputs as another run";
            return Err(ApiError::new(Kind::Conflict, detail));
        }
        app.core.send(Event::Reopen(Box::new(record), known.0, known.1, Input::Retry(id))).await?;
    } else {
        return Ok(Json(view(&app, &record)));
    }
    // It may have ended again by now.
    let retried = |run: &RunRecord| run.status == RunStatus::Active || run.finished_at != finished_at;
    Ok(Json(view(&app, &until(&app, id, retried).await?)))
}

/// Waits until the run, as recorded on disk, is as it was asked to be.
pub(super) async fn until(app: &App, id: RunId, reached: impl Fn(&RunRecord) -> bool) -> Answer<RunRecord> {
    let mut feed = app.hub.follow(id);
    loop {
        feed.mark_unchanged();
        // What has just begun is not on the disk yet.
        let recorded = app.blocking(move |records| records.run(id)).await?;
        if let Some(record) = recorded.filter(&reached) {
            return Ok(current(app, id).await?.unwrap_or(record));
        }
        tokio::select! {
            changed = feed.changed() => if changed.is_err() { return Err(crate::core::Stopping.into()) },
            () = app.stop.cancelled() => return Err(crate::core::Stopping.into()),
        }
    }
}
