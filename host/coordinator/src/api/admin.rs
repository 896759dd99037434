//! For operators: workers, tokens, keys, health; and the door for workers.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Extension;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use manyhands_api::{
    ConsoleLink, CreatedInvitation, CreatedToken, ExposureView, FaultView, InvitationList, KeysView, NewInvitation,
    NewPardon, NewToken, PardonView, RequesterExposureView, Role, Standing, TokenList, UptimeView, VerificationView,
    WorkerDetail, WorkerList, WorkerView,
};
use manyhands_audit::Event;
use manyhands_credit::{Account, Amount};
use manyhands_model::{Outcome, Timestamp, WorkerId};
use manyhands_protocol::{FRAME_BYTES_MAX, SUBPROTOCOL};
use manyhands_scheduler::{AuditTally, Era, Exposure, Fault, Level, RequesterExposure, Standings, WorkerSummary};

use super::submit::disk_full;
use crate::app::{App, to_its_end};
use crate::auditing;
use crate::auth::Caller;
use crate::console::door::CODE_TIME;
use crate::hub::Session;
use crate::idempotency::ShownOnce;
use crate::invitations;
use crate::metrics::{AuditReason, AuditState, Decided, StandingOf, UnitState};
use crate::problem::{Answer, ApiError, Json, Kind, Path};
use crate::records::{FaultRecord, PardonRecord};
use crate::settings::{Auditor, Join};
use crate::uptime::Attended;

/// A scheduler that is busy with one batch for longer does not get on: it takes milliseconds.
const BUSY_MAX: Duration = Duration::from_secs(10);
/// Faults of a worker that are shown.
const FAULTS_SHOWN: usize = 100;
/// Pardons that are listed of one worker.
const PARDONS_SHOWN: usize = 100;
/// Longest reason for a pardon. Unit: characters.
const REASON_CHARS_MAX: usize = 200;
/// What is read from a worker at once.
const READ_BUFFER_BYTES: usize = 8 << 10;

/// All workers that are connected or ever reported.
#[utoipa::path(get, path = "/v1/workers", tag = "operators", security(("bearer" = [])),
    responses((status = 200, body = WorkerList)))]
pub(super) async fn workers(State(app): State<App>, caller: Caller) -> Answer<Json<WorkerList>> {
    caller.need(Role::Operator)?;
    let summaries = app.core.ask(|scheduler, _| scheduler.workers().collect::<Vec<_>>()).await?;
    let sessions = app.hub.workers();
    let now = app.clock.now();
    let view = |worker: WorkerSummary| view(&app, worker, sessions.get(&worker.id).map(|session| &**session), now);
    let trusted = app.auditing.trusted();
    let others = summaries.into_iter().filter(|worker| !trusted.contains(&worker.id)).map(view);
    let own = trusted.iter().map(|id| own(&app, *id, sessions.get(id).map(|session| &**session), now));
    Ok(Json(WorkerList { workers: others.chain(own).collect() }))
}

/// How verification stands: the usual rule, and the operator's own machines.
#[utoipa::path(get, path = "/v1/verification", tag = "operators", security(("bearer" = [])),
    responses((status = 200, body = VerificationView)))]
pub(super) async fn verification(State(app): State<App>, caller: Caller) -> Answer<Json<VerificationView>> {
    caller.need(Role::Operator)?;
    let audits = app.core.ask(|scheduler, _| scheduler.audits()).await?;
    let standing = app.auditing.standing();
    let (audits_in_line, audits_under_way) = standing.waiting_and_running(audits);
    let usual = manyhands_scheduler::Rule::Fixed(app.settings.scheduling.quorum());
    Ok(Json(VerificationView {
        rule: app.settings.verification.rule.0.unwrap_or(usual).to_string(),
        auditor: app.auditing.mode().word().to_owned(),
        auditors: standing.machines as u64,
        audits_under_way,
        audits_in_line,
        audits_done: standing.done,
        notice: auditing::notice(app.auditing.mode(), standing).map(str::to_owned),
    }))
}

/// Makes a worker the operator's own: it gets audits and nothing else, and what it says is the coordinator's word.
#[utoipa::path(put, path = "/v1/workers/{id}/trust", tag = "operators", security(("bearer" = [])), params(("id" = String, Path)),
    responses((status = 204), (status = 409, body = manyhands_api::Problem)))]
pub(super) async fn trust(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    caller.need(Role::Operator)?;
    let worker = worker_of(&id)?;
    if app.auditing.mode() == Auditor::Off {
        let detail =
            "`verification.auditor` is off, so nobody executes units in the operator's name; set it to own or trusted";
        return Err(ApiError::new(Kind::Conflict, detail));
    }
    let event = Event::WorkerTrusted { worker, by: caller.name };
    app.calls.decide(event, |writes| writes.trusted(worker)).await?;
    set_trusted(&app, worker, true);
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a worker one like any other again.
#[utoipa::path(delete, path = "/v1/workers/{id}/trust", tag = "operators", security(("bearer" = [])), params(("id" = String, Path)),
    responses((status = 204), (status = 400, body = manyhands_api::Problem)))]
pub(super) async fn distrust(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    caller.need(Role::Operator)?;
    let worker = worker_of(&id)?;
    let event = Event::WorkerDistrusted { worker, by: caller.name };
    app.calls.decide(event, |writes| writes.not_trusted(worker)).await?;
    set_trusted(&app, worker, false);
    Ok(StatusCode::NO_CONTENT)
}

fn set_trusted(app: &App, worker: WorkerId, is_trusted: bool) {
    if app.auditing.set_trusted(worker, is_trusted) {
        tracing::info!(%worker, is_trusted, "the operator has changed whether a worker is trusted");
        app.hub.reassign(worker);
    }
}

/// Overrules what a worker's faults led to: nothing that it did so far counts against it again, and it may work and earn a record, from nothing if
/// it was banned. What it said and signed stays listed.
#[utoipa::path(post, path = "/v1/workers/{id}/pardon", tag = "operators", security(("bearer" = [])),
    params(("id" = String, Path), ("idempotency-key" = Option<String>, Header)), request_body = NewPardon,
    responses((status = 204), (status = 404, body = manyhands_api::Problem), (status = 422, body = manyhands_api::Problem)))]
pub(super) async fn pardon(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Json(NewPardon { reason }): Json<NewPardon>,
) -> Answer<StatusCode> {
    caller.need(Role::Operator)?;
    let worker = worker_of(&id)?;
    if let Some(reason) = &reason
        && (reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX || reason.chars().any(char::is_control))
    {
        let detail = format!("`reason` has to be 1 to {REASON_CHARS_MAX} printable characters, or absent");
        return Err(ApiError::new(Kind::Invalid, detail));
    }
    let is_listed = app.blocklists.of(worker, app.clock.now()).is_some();
    if !is_listed && app.core.ask(move |scheduler, _| scheduler.worker(worker).is_none()).await? {
        return Err(ApiError::not_found("worker", worker));
    }
    if app.core.is_disk_full() {
        return Err(disk_full());
    }
    let pardon = PardonRecord { by: caller.name, at: app.clock.now(), reason };
    to_its_end(async move {
        app.core.pardon(worker, pardon).await?;
        tracing::info!(%worker, "the operator pardoned a worker");
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

fn worker_of(id: &str) -> Answer<WorkerId> {
    id.parse().map_err(|error| ApiError::new(Kind::Invalid, format!("{error}")))
}

fn view(app: &App, worker: WorkerSummary, session: Option<&Session>, now: Timestamp) -> WorkerView {
    let membership = app.invitations.of(worker.id);
    WorkerView {
        id: worker.id,
        connected: worker.connected,
        engine: session.map(|session| session.body.engine.clone()).unwrap_or_default(),
        slots: session.map_or(0, |session| session.slots),
        leases: worker.leases as u64,
        agreed: worker.record.agreed,
        dissents: worker.record.dissents,
        lost: worker.record.lost,
        banned: worker.record.banned,
        uptime: attended(app, worker.id, now),
        standing: match worker.standing {
            manyhands_scheduler::Standing::Stranger => Standing::Stranger,
            manyhands_scheduler::Standing::Established => Standing::Established,
            manyhands_scheduler::Standing::Trusted => Standing::Trusted,
        },
        checks: worker.record.checks,
        invitation: membership.as_ref().map(|it| it.id.clone()),
        owner: membership.and_then(|it| it.owner),
    }
}

/// The operator's own, which the scheduler knows nothing of.
fn own(app: &App, id: WorkerId, session: Option<&Session>, now: Timestamp) -> WorkerView {
    WorkerView {
        id,
        connected: session.is_some(),
        engine: session.map(|session| session.body.engine.clone()).unwrap_or_default(),
        slots: session.map_or(0, |session| session.slots),
        leases: app.auditing.given(id) as u64,
        agreed: 0,
        dissents: 0,
        lost: 0,
        banned: false,
        uptime: attended(app, id, now),
        standing: Standing::Trusted,
        checks: 0,
        invitation: None,
        owner: None,
    }
}

fn attended(app: &App, worker: WorkerId, now: Timestamp) -> Option<UptimeView> {
    let Attended { since, ever, lately } = app.uptimes.of(worker, now)?;
    Some(UptimeView { since, ever, thirty_days: lately })
}

/// One worker, what it earned, and how much it has seen of whose work.
#[utoipa::path(get, path = "/v1/workers/{id}", tag = "operators", security(("bearer" = [])), params(("id" = String, Path)),
    responses((status = 200, body = WorkerDetail), (status = 404, body = manyhands_api::Problem),
        (status = 422, body = manyhands_api::Problem)))]
pub(super) async fn worker(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<WorkerDetail>> {
    caller.need(Role::Operator)?;
    let id = worker_of(&id)?;
    if app.auditing.is_trusted(id) {
        let worker = own(&app, id, app.hub.session(id).as_deref(), app.clock.now());
        let (exposure, requesters, faults, pardons) = Default::default();
        return Ok(Json(WorkerDetail { worker, balance: Amount::ZERO, exposure, requesters, faults, pardons }));
    }
    let known = app.core.ask(move |scheduler, _| {
        let requesters = scheduler.exposure_to_requesters(id).collect::<Vec<_>>();
        scheduler.worker(id).map(|worker| (worker, scheduler.exposure(id).collect::<Vec<_>>(), requesters))
    });
    let (worker, exposure, requesters) = known.await?.ok_or_else(|| ApiError::not_found("worker", id))?;
    let read = app.blocking(move |records| {
        let faults = records.faults(id, FAULTS_SHOWN)?;
        Ok((records.balance(&Account::Worker(id))?, faults, records.pardons(id, PARDONS_SHOWN)?))
    });
    let (balance, faults, pardons) = read.await?;
    let era = worker.record.era;
    let view = |Exposure { run, units, owner_units, of }: Exposure| ExposureView { run, units, owner_units, of };
    let mut exposure: Vec<ExposureView> = exposure.into_iter().map(view).collect();
    exposure.sort_by_key(|one| Reverse((u64::from(one.units) * 1_000_000 / u64::from(one.of.max(1)), one.run)));
    let session = app.hub.session(id);
    Ok(Json(WorkerDetail {
        worker: self::view(&app, worker, session.as_deref(), app.clock.now()),
        balance: balance.map_or(Amount::ZERO, |balance| balance.balance),
        exposure,
        requesters: requesters.into_iter().map(requester).collect(),
        faults: faults.into_iter().map(|known| fault(known, era)).collect(),
        pardons: pardons.into_iter().map(|PardonRecord { by, at, reason }| PardonView { by, at, reason }).collect(),
    }))
}

fn requester(RequesterExposure { requester, leases, of }: RequesterExposure) -> RequesterExposureView {
    RequesterExposureView { requester, leases, of }
}

fn fault(FaultRecord { at, fault }: FaultRecord, today: Era) -> FaultView {
    let Fault { unit, step, said, answer, judge, era } = fault;
    let shown = |outcome: Outcome| format!("{}, {} fuel", outcome.verdict, outcome.fuel.0);
    FaultView {
        run: unit.run,
        unit: unit.index,
        step,
        at,
        said: shown(said),
        answer: shown(answer),
        judge,
        pardoned: era < today,
    }
}

/// All tokens, without their secrets.
#[utoipa::path(get, path = "/v1/tokens", tag = "operators", security(("bearer" = [])),
    responses((status = 200, body = TokenList)))]
pub(super) async fn tokens(State(app): State<App>, caller: Caller) -> Answer<Json<TokenList>> {
    caller.need(Role::Operator)?;
    Ok(Json(app.tokens.list()))
}

/// Creates a token. Its secret is shown this once.
#[utoipa::path(post, path = "/v1/tokens", tag = "operators", security(("bearer" = [])),
    params(("idempotency-key" = Option<String>, Header)), request_body = NewToken,
    responses((status = 201, body = CreatedToken)))]
pub(super) async fn create_token(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<NewToken>,
) -> Answer<(StatusCode, Extension<ShownOnce>, Json<CreatedToken>)> {
    caller.need(Role::Operator)?;
    Ok((StatusCode::CREATED, Extension(ShownOnce), Json(app.tokens.create(new, app.clock.now()).await?)))
}

/// Revokes a token at once.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "operators", security(("bearer" = [])), params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = manyhands_api::Problem)))]
pub(super) async fn revoke_token(State(app): State<App>, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    caller.need(Role::Operator)?;
    app.tokens.revoke(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// All invitations, without their secrets.
#[utoipa::path(get, path = "/v1/invitations", tag = "operators", security(("bearer" = [])),
    responses((status = 200, body = InvitationList)))]
pub(super) async fn invitations(State(app): State<App>, caller: Caller) -> Answer<Json<InvitationList>> {
    caller.need(Role::Operator)?;
    Ok(Json(app.invitations.list()))
}

/// Creates an invitation, by which workers join. Its secret is shown this once.
#[utoipa::path(post, path = "/v1/invitations", tag = "operators", security(("bearer" = [])),
    params(("idempotency-key" = Option<String>, Header)), request_body = NewInvitation,
    responses((status = 201, body = CreatedInvitation), (status = 422, body = manyhands_api::Problem)))]
pub(super) async fn create_invitation(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<NewInvitation>,
) -> Answer<(StatusCode, Extension<ShownOnce>, Json<CreatedInvitation>)> {
    caller.need(Role::Operator)?;
    let now = app.clock.now();
    let created = invitations::change(&app, move |app| {
        app.invitations.create(new, now, caller.name, |event, writes| app.calls.decide_here(event, writes))
    });
    let created = created.await?;
    Ok((StatusCode::CREATED, Extension(ShownOnce), Json(created)))
}

/// Takes an invitation back: nobody comes with it any more, and where workers need one, those that came with it are sent away.
#[utoipa::path(delete, path = "/v1/invitations/{id}", tag = "operators", security(("bearer" = [])), params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = manyhands_api::Problem)))]
pub(super) async fn revoke_invitation(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    caller.need(Role::Operator)?;
    to_its_end(async move {
        let now = app.clock.now();
        let workers = invitations::change(&app, move |app| {
            app.invitations.revoke(&id, now, caller.name, |event, writes| app.calls.decide_here(event, writes))
        });
        let workers = workers.await?;
        if app.settings.workers.join == Join::Invited {
            workers.into_iter().for_each(|worker| app.hub.reassign(worker));
        }
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Makes a link that opens the operator's pages in a browser, once and within ten minutes.
#[utoipa::path(post, path = "/v1/console-links", tag = "operators", security(("bearer" = [])),
    params(("idempotency-key" = Option<String>, Header)), responses((status = 201, body = ConsoleLink)))]
pub(super) async fn console_link(
    State(app): State<App>,
    caller: Caller,
) -> Answer<(StatusCode, Extension<ShownOnce>, Json<ConsoleLink>)> {
    caller.need(Role::Operator)?;
    let link = app.door.link(&caller, app.clock.now()).map_err(|error| ApiError::internal(&error))?;
    let link = ConsoleLink { link, seconds: CODE_TIME.as_secs() };
    Ok((StatusCode::CREATED, Extension(ShownOnce), Json(link)))
}

/// The coordinator's keys, by fingerprint, and the link for volunteers.
#[utoipa::path(get, path = "/v1/keys", tag = "operators", security(("bearer" = [])), responses((status = 200, body = KeysView)))]
pub(super) async fn keys(State(app): State<App>, caller: Caller) -> Answer<Json<KeysView>> {
    caller.need(Role::Operator)?;
    Ok(Json(app.authority.keys().view(app.join.clone())))
}

/// Replaces the signing key. Leases that are out are lost; their units are given out again.
#[utoipa::path(post, path = "/v1/keys/rotate", tag = "operators", security(("bearer" = [])),
    params(("idempotency-key" = Option<String>, Header)), responses((status = 200, body = KeysView)))]
pub(super) async fn rotate_keys(State(app): State<App>, caller: Caller) -> Answer<Json<KeysView>> {
    caller.need(Role::Operator)?;
    let (authority, now) = (app.authority.clone(), app.clock.now());
    let rotated = tokio::task::spawn_blocking(move || authority.rotate(now)).await;
    let trust = rotated.map_err(|error| ApiError::internal(&error))?.map_err(|error| ApiError::internal(&error))?;
    app.hub.trust(&trust);
    tracing::info!("the signing key was rotated");
    Ok(Json(app.authority.keys().view(app.join.clone())))
}

/// The process answers.
#[utoipa::path(get, path = "/livez", tag = "operators", responses((status = 200, body = String)))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// The coordinator takes work: its scheduler gets on and it is not stopping.
#[utoipa::path(get, path = "/readyz", tag = "operators",
    responses((status = 200, body = String), (status = 503, body = manyhands_api::Problem)))]
pub(super) async fn readyz(State(app): State<App>) -> Answer<&'static str> {
    match app.core.busy_for().filter(|_| !app.stop.is_cancelled()) {
        None => Err(crate::core::Stopping.into()),
        Some(busy) if busy > BUSY_MAX => {
            let detail =
                format!("the scheduler has got no further for {} s; is the disk full, or slow?", busy.as_secs());
            Err(ApiError::new(Kind::Unavailable, detail).retry_after(BUSY_MAX))
        }
        Some(_) => Ok("ok\n"),
    }
}

/// Counters for Prometheus, as OpenMetrics text.
#[utoipa::path(get, path = "/metrics", tag = "operators", responses((status = 200, body = String)))]
pub(super) async fn metrics(State(app): State<App>) -> Response {
    let look = |scheduler: &manyhands_scheduler::Scheduler, now: manyhands_model::Timestamp| {
        let age = scheduler.waiting_since().map(|since| now.since(since));
        let counts = (scheduler.counts(), scheduler.active_runs(), age, scheduler.expired(), scheduler.spares());
        let audits = (scheduler.audits(), scheduler.audit_tally(), scheduler.disputes_left());
        let decided = DECIDED.map(|(level, rule)| (rule, scheduler.decided(level)));
        (counts, audits, decided, scheduler.standings())
    };
    // One that is stopping shows the last counts.
    if let Ok((counts, audits, decided, standings)) = app.core.ask(look).await {
        verification_metrics(&app, audits, standings);
        decided.into_iter().for_each(|(rule, units)| app.metrics.decided(rule, units));
        let (counts, runs, age, expired, spares) = counts;
        app.metrics.units(UnitState::Waiting, counts.waiting.into());
        app.metrics.units(UnitState::Running, counts.running.into());
        app.metrics.units(UnitState::Done, counts.done.into());
        app.metrics.units(UnitState::Failed, counts.failed.into());
        app.metrics.units(UnitState::Cancelled, counts.cancelled.into());
        app.metrics.backlog(runs, age);
        app.metrics.leases_expired(expired);
        app.metrics.leases_spare(spares);
    }
    app.metrics.workers_connected(app.hub.connected());
    let (events, batches) = app.core.queues();
    app.metrics.core_queues(events, batches);
    ([(header::CONTENT_TYPE, crate::metrics::OPENMETRICS)], app.metrics.text()).into_response()
}

/// Levels of rules, and what the metrics call them.
const DECIDED: [(Option<Level>, Decided); 4] = [
    (None, Decided::Fixed),
    (Some(Level::Adaptive), Decided::Adaptive),
    (Some(Level::Full), Decided::Full),
    (Some(Level::Audited), Decided::Audited),
];

fn verification_metrics(
    app: &App,
    (audits, tally, disputes_left): ((usize, usize), AuditTally, u64),
    standings: Standings,
) {
    let (metrics, standing) = (&app.metrics, app.auditing.standing());
    let (waiting, running) = standing.waiting_and_running(audits);
    metrics.audits(AuditState::Waiting, waiting);
    metrics.audits(AuditState::Running, running);
    metrics.audits_for(AuditReason::Rule, tally.rule);
    metrics.audits_for(AuditReason::Dispute, tally.dispute);
    metrics.audits_for(AuditReason::Alone, tally.alone);
    metrics.audits_for(AuditReason::Drawn, tally.drawn);
    metrics.disputes_left(disputes_left);
    metrics.standing(StandingOf::Stranger, standings.strangers);
    metrics.standing(StandingOf::Established, standings.established);
    metrics.standing(StandingOf::Trusted, standings.trusted + standing.machines as u64);
    metrics.standing(StandingOf::Banned, standings.banned);
}

/// For a person who opens the join link in a browser.
pub(super) async fn join(State(app): State<App>) -> String {
    format!(
        "This link is for a program. Lend this coordinator your computer's spare time with:\n\n  manyhands-runner '{}'\n\n\
         Or lend it this browser, without installing anything: {}/volunteer\n",
        app.join,
        app.join.split("/join").next().unwrap_or_default()
    )
}

/// Where workers come in, by WebSocket.
pub(super) async fn worker_socket(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Answer<Response> {
    let upgrade =
        upgrade.map_err(|error| ApiError::new(Kind::UpgradeRequired, format!("this path is for workers: {error}")))?;
    let upgrade = upgrade.protocols([SUBPROTOCOL]).max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX);
    // The library's own 128 KiB, for each worker, would be most of the coordinator's memory.
    let upgrade = upgrade.read_buffer_size(READ_BUFFER_BYTES);
    if upgrade.selected_protocol().is_none() {
        let detail = format!("this coordinator speaks `{SUBPROTOCOL}`, the worker does not; upgrade the older side");
        return Err(ApiError::new(Kind::Invalid, detail));
    }
    let address = app.origins.address(peer.ip(), &headers);
    Ok(upgrade.on_upgrade(move |socket| crate::workers::serve(app, socket, address)))
}
