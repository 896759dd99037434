//! The pages: each asks the scheduler and the records what it needs, and fills a template.
//!
//! Whatever is shown is escaped by the template: a job, a worker or an abort message may be called whatever it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use askama::Template;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, FromRequestParts, State};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use manyhands_api::{AnswerView, ReasonCount};
use manyhands_credit::Uptime;
use manyhands_model::{Outcome, RunId, Timestamp, UnitId, WorkerId};
use manyhands_scheduler::{
    End, Exposure, Replica, RunRecord, RunStatus, Scheduler, UnitRecord, WorkerRecord, WorkerSummary,
};
use serde::Deserialize;

use super::Kind;
use super::charts::{self, Chart, Histogram, HistoryRow, count, moment, short, span};
use super::door::Operator;
use super::history::{Period, Tally};
use super::samples::Sample;
use super::web::{self, Links};
use crate::api::runs::{answer, current, explain};
use crate::app::App;
use crate::auditing;
use crate::hub::Session;
use crate::problem::{ApiError, Kind as Problem, Path, Query};
use crate::records::{ChangedRecord, RecordError, Records};

/// Runs on a page.
const RUNS: usize = 50;
/// Workers on a page.
const WORKERS: usize = 100;
/// Units on a run's page.
const VOTES: usize = 25;
/// Units that are asked why they have no answer; the page asks again and again, and others wait for the scheduler.
const REASONS: usize = 200;
/// Rows and columns of the matrix.
const MATRIX: (usize, usize) = (40, 40);
/// Leases that the matrix looks at.
const LEASES: usize = 400;
/// Bars in the table beside the live picture.
const NEWEST: usize = 30;

/// What every page has around it.
pub(super) struct Frame {
    pub(super) page: &'static str,
    pub(super) operator: String,
    pub(super) links: Links,
}

impl Frame {
    pub(super) fn new(page: &'static str, operator: &str) -> Self {
        Self { page, operator: operator.to_owned(), links: Links::new() }
    }
}

/// Why there is no page.
pub(super) enum Trouble {
    /// Nobody is signed in.
    SignIn,
    /// Something is wrong, which is said on a page.
    Problem(ApiError),
}

impl<E: Into<ApiError>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Problem(error.into())
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn => go("/operator/enter"),
            Self::Problem(error) => {
                let (title, detail) = (error.kind.title(), error.detail);
                let page = TroublePage { frame: Frame::new("", ""), title, detail };
                draw(error.kind.status(), &HeaderMap::new(), &page)
            }
        }
    }
}

pub(super) type Page = Result<Response, Trouble>;

fn go(to: &'static str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response()
}

fn draw(status: StatusCode, headers: &HeaderMap, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => web::page(status, headers, html),
        Err(error) => ApiError::internal(&error).into_response(),
    }
}

/// Whoever is signed in; what they asked with.
pub(super) struct SignedIn {
    operator: Operator,
    headers: HeaderMap,
}

impl SignedIn {
    pub(super) fn frame(&self, page: &'static str) -> Frame {
        Frame::new(page, &self.operator.name)
    }

    pub(super) fn draw(&self, page: &impl Template) -> Page {
        Ok(draw(StatusCode::OK, &self.headers, page))
    }
}

impl FromRequestParts<App> for SignedIn {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Trouble> {
        let operator = app.door.look(&parts.headers, &app.tokens, app.clock.now()).ok_or(Trouble::SignIn)?;
        Ok(Self { operator, headers: parts.headers.clone() })
    }
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct TroublePage {
    frame: Frame,
    title: &'static str,
    detail: String,
}

// ── Signing in and out ──

#[derive(Template)]
#[template(path = "enter.html")]
struct EnterPage {
    frame: Frame,
    refusal: &'static str,
}

/// The form for a code. The code of a link is in its fragment, which only the page sees.
pub(super) async fn enter_form(headers: HeaderMap) -> Response {
    draw(StatusCode::OK, &headers, &EnterPage { frame: Frame::new("", ""), refusal: "" })
}

#[derive(Deserialize)]
pub(super) struct Entry {
    code: String,
}

/// Signs in with a code.
pub(super) async fn enter(
    State(app): State<App>,
    headers: HeaderMap,
    form: Result<Form<Entry>, FormRejection>,
) -> Page {
    let refuse = |refusal| {
        let page = EnterPage { frame: Frame::new("", ""), refusal };
        Ok(draw(StatusCode::FORBIDDEN, &headers, &page))
    };
    if !app.door.is_from_here(&headers) {
        return refuse("The form was not sent by this page, or the browser does not say so.");
    }
    let Ok(Form(Entry { code })) = form else {
        return refuse("The form has no code in it.");
    };
    let code = code.rsplit('#').next().unwrap_or_default();
    let now = app.clock.now();
    let entered = app.door.enter(code, &app.tokens, now).map_err(|error| ApiError::internal(&error))?;
    match entered.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        Some(cookie) => {
            tracing::info!("an operator signed in to the pages");
            Ok(([(SET_COOKIE, cookie)], go("/operator")).into_response())
        }
        None => refuse(
            "This link was used, is older than ten minutes, or was made before the coordinator restarted. Print a new one.",
        ),
    }
}

/// Signs out.
pub(super) async fn leave(State(app): State<App>, headers: HeaderMap) -> Page {
    if !app.door.is_from_here(&headers) {
        let detail = "the form was not sent by one of our pages, or the browser does not say so";
        return Err(ApiError::new(Problem::Forbidden, detail).into());
    }
    let cookie = HeaderValue::from_str(&app.door.leave(&headers)).ok();
    Ok((cookie.map(|cookie| [(SET_COOKIE, cookie)]), go("/operator/enter")).into_response())
}

// ── Overview ──

/// A replica in the table beside the live picture.
struct Newest {
    worker: String,
    kind: &'static str,
    job: String,
    run: String,
    run_short: String,
    unit: u32,
    time: String,
    stage: &'static str,
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    /// What needs a person, and what to do.
    warnings: Vec<(String, &'static str)>,
    /// Name, figure, note.
    totals: Vec<(&'static str, String, String)>,
    newest: Vec<Newest>,
    month: bool,
    charts: Vec<Chart>,
    columns: &'static [&'static str],
    rows: Vec<HistoryRow>,
    sampled: String,
    histograms: Vec<Histogram>,
}

#[derive(Deserialize)]
pub(super) struct OverviewQuery {
    history: Option<String>,
}

/// What happens, and what happened.
pub(super) async fn overview(State(app): State<App>, who: SignedIn, Query(query): Query<OverviewQuery>) -> Page {
    let now = app.clock.now();
    let monitor = &app.monitor;
    monitor.live().look(now);
    let month = query.history.as_deref() == Some("month");
    let (period, ends) = if month { (Period::Hour, "30 days ago") } else { (Period::Minute, "a day ago") };
    let (drawn, listed) = if month {
        (monitor.sums(period, now, 6, 120), monitor.sums(period, now, 24, 30))
    } else {
        (monitor.sums(period, now, 15, 96), monitor.sums(period, now, 60, 24))
    };
    let (counts, active, banned) = app
        .core
        .ask(|scheduler, _| {
            let banned = scheduler.workers().filter(|worker| worker.record.banned).count();
            (scheduler.counts(), scheduler.active_runs(), banned)
        })
        .await?;
    let audits = app.auditing.standing();
    let mut day = Tally::default();
    monitor.sums(Period::Minute, now, 60, 24).iter().filter_map(|(_, sum)| sum.as_ref()).for_each(|sum| day.add(sum));
    let (native, browser, other) = monitor.connected();
    let kinds = [("native", native), ("in browsers", browser), ("other", other)];
    let kinds = kinds.iter().filter(|(_, some)| *some > 0).map(|(name, some)| format!("{some} {name}"));
    let of_day = || "in a day".to_owned();
    let totals = vec![
        ("active runs", count(active as u64), String::new()),
        ("units waiting", count(counts.waiting.into()), String::new()),
        ("units running", count(counts.running.into()), String::new()),
        ("workers", count((native + browser + other).into()), kinds.collect::<Vec<_>>().join(", ")),
        ("units accepted", count(day.accepted), of_day()),
        ("disagreements", count(day.disagreements), of_day()),
        ("audits", count(audits.done), "since the start".to_owned()),
        ("leases lost", count(day.failures), of_day()),
        ("fuel", short(day.fuel as f64), of_day()),
    ];
    let mut warnings = Vec::new();
    if app.core.is_disk_full() {
        warnings.push(("The disk is full.".to_owned(), "Nothing is acknowledged until there is room; make some."));
    }
    if banned > 0 {
        let what =
            if banned == 1 { "One worker is banned.".to_owned() } else { format!("{banned} workers are banned.") };
        warnings.push((what, "Signed reports contradicted answers; see Workers."));
    }
    if let Some(notice) = auditing::notice(app.auditing.mode(), audits) {
        warnings.push((format!("{} units wait to be audited.", count(audits.waiting as u64)), notice));
    }
    if day.undecided > 0 {
        let what = format!("{} units ended undecided in a day.", count(day.undecided));
        warnings.push((what, "Workers did not agree, or their machines failed; retry their runs once that is mended."));
    }
    let newest = monitor.live().recent(NEWEST).into_iter().map(|bar| Newest {
        worker: bar.worker.short(),
        kind: bar.kind.word(),
        job: bar.job.to_string(),
        run: bar.unit.run.to_string(),
        run_short: bar.unit.run.short(),
        unit: bar.unit.index,
        time: span(bar.end.unwrap_or(now).since(bar.begin)),
        stage: bar.stage.word(),
    });
    let module = monitor.latest_module();
    let job = module.and_then(|module| app.catalogue.module(module));
    let page = OverviewPage {
        frame: who.frame("overview"),
        warnings,
        totals,
        newest: newest.collect(),
        month,
        charts: charts::history(&drawn, &(ends.to_owned(), "now".to_owned())),
        columns: charts::HISTORY_COLUMNS,
        rows: charts::history_rows(period, &listed),
        sampled: job.map(|job| format!("{} {}", job.manifest.name, job.manifest.version)).unwrap_or_default(),
        histograms: module.map(|module| histograms(&monitor.samples(&module))).unwrap_or_default(),
    };
    who.draw(&page)
}

fn histograms(samples: &[Sample]) -> Vec<Histogram> {
    let fuel = charts::histogram("Fuel", samples, |sample| sample.fuel.0 as f64, short);
    let say = |milliseconds: f64| span(Duration::from_secs_f64(milliseconds / 1000.0));
    let time =
        charts::histogram("Time from lease to report", samples, |sample| sample.took.as_secs_f64() * 1000.0, say);
    fuel.into_iter().chain(time).collect()
}

// ── Runs ──

/// A run as a line, or at the head of its page.
struct RunLine {
    id: String,
    short: String,
    job: String,
    version: String,
    owner: String,
    state: String,
    total: u32,
    ended: u32,
    share: String,
    failed: String,
    dissents: String,
    changed: String,
    age: String,
    why: String,
}

impl RunLine {
    fn new(app: &App, record: &RunRecord, now: Timestamp, why: String) -> Self {
        let (spec, counts) = (&record.spec, &record.counts);
        let total = spec.reduction().units();
        let ended = counts.done + counts.failed + counts.cancelled;
        let state = match record.status {
            RunStatus::Active => "active",
            RunStatus::Finished => "finished",
            RunStatus::Cancelled => "cancelled",
        };
        let dry = if spec.is_dry { ", dry run" } else { "" };
        Self {
            id: spec.id.to_string(),
            short: spec.id.short(),
            job: spec.job.to_string(),
            version: spec.version.to_string(),
            owner: spec.owner.clone(),
            state: format!("{state}{dry}"),
            total,
            ended,
            share: format!("{} of {}", count(ended.into()), count(total.into())),
            failed: count(counts.failed.into()),
            dissents: count(record.dissents),
            changed: count(app.changes.of(spec.id)),
            age: format!("{} ago", span(now.since(spec.submitted_at))),
            why,
        }
    }
}

#[derive(Template)]
#[template(path = "runs.html")]
struct RunsPage {
    frame: Frame,
    runs: Vec<RunLine>,
    older: bool,
    next: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct RunsQuery {
    after: Option<RunId>,
}

/// The newest runs, or those before one.
pub(super) async fn runs(State(app): State<App>, who: SignedIn, Query(query): Query<RunsQuery>) -> Page {
    let now = app.clock.now();
    let found = app.blocking(move |records| records.runs(query.after, RUNS)).await?;
    let next = found.last().filter(|_| found.len() == RUNS).map(|run| run.spec.id.to_string());
    let ids: Vec<RunId> = found.iter().filter(|run| run.status == RunStatus::Active).map(|run| run.spec.id).collect();
    // Active ones as the scheduler sees them, with what the first unit waits for that has not ended.
    let look = move |scheduler: &Scheduler, now| {
        let of = |id| Some((id, (scheduler.run(id)?, scheduler.why_all(now, id).next().map(|why| why.reason))));
        ids.into_iter().filter_map(of).collect::<BTreeMap<_, _>>()
    };
    let active = app.core.ask(look).await?;
    let line = |record: &RunRecord| match active.get(&record.spec.id) {
        Some((fresh, why)) => RunLine::new(&app, fresh, now, why.as_ref().map(ToString::to_string).unwrap_or_default()),
        None => RunLine::new(&app, record, now, String::new()),
    };
    let runs = found.iter().map(line).collect();
    who.draw(&RunsPage { frame: who.frame("runs"), runs, older: query.after.is_some(), next })
}

/// What some workers said.
struct Vote {
    sign: &'static str,
    class: &'static str,
    word: &'static str,
    /// Each with its kind.
    workers: Vec<(String, &'static str)>,
    verdict: String,
    fuel: String,
}

/// What was said of a unit.
struct UnitVotes {
    unit: u32,
    state: &'static str,
    /// Whether the operator's own machine executed it as well.
    is_audited: bool,
    votes: Vec<Vote>,
}

pub(super) const fn end_word(end: Option<End>) -> &'static str {
    match end {
        None => "open",
        Some(End::Done) => "done",
        Some(End::Failed) => "failed",
        Some(End::Undecided) => "undecided",
        Some(End::Skipped) => "skipped",
        Some(End::Cancelled) => "cancelled",
    }
}

/// What a worker's report is worth: its sign, its class and its word.
pub(super) fn worth(unit: &UnitRecord, replica: &Replica) -> (&'static str, &'static str, &'static str) {
    match &unit.accepted {
        Some(accepted) if *accepted == replica.outcome => ("●", "agrees", "agrees"),
        Some(_) => ("✗", "differs", "contradicts the answer"),
        None => ("◐", "waits", "reported"),
    }
}

/// Kinds and engines of those who are connected.
fn kinds(app: &App) -> BTreeMap<WorkerId, (Kind, String)> {
    let known = |(id, session): (WorkerId, std::sync::Arc<Session>)| {
        (id, (Kind::of(&session.body), session.body.engine.clone()))
    };
    app.hub.workers().into_iter().map(known).collect()
}

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    frame: Frame,
    run: RunLine,
    facts: Vec<(&'static str, String)>,
    reasons: Vec<ReasonCount>,
    reasons_cut: bool,
    reasons_most: usize,
    /// What is said where there is no reason.
    settled: &'static str,
    votes: Vec<UnitVotes>,
    /// The first answers that are not what they were, and whether there are more.
    changed: Vec<ChangedLine>,
    changed_cut: bool,
    from: u32,
    next: Option<u32>,
    histograms: Vec<Histogram>,
    /// Whether anything about it may change.
    active: bool,
}

#[derive(Deserialize)]
pub(super) struct RunQuery {
    #[serde(default)]
    from: u32,
}

/// One run.
pub(super) async fn run(
    State(app): State<App>,
    who: SignedIn,
    Path(id): Path<String>,
    Query(RunQuery { from }): Query<RunQuery>,
) -> Page {
    let id: RunId = id.parse().map_err(|_| ApiError::not_found("run", &id))?;
    let record = current(&app, id).await?.ok_or_else(|| ApiError::not_found("run", id))?;
    let now = app.clock.now();
    let reasons = explain(&app, &record, REASONS).await?;
    let settled = match record.status {
        RunStatus::Active => "Every unit has ended; the run is about to.",
        RunStatus::Finished => "It is done: every unit has an output.",
        RunStatus::Cancelled => "It was cancelled.",
    };
    let units = app.blocking(move |records| records.units_from(id, from, VOTES)).await?;
    let next = units.last().filter(|_| units.len() == VOTES).map(|(index, _)| index + 1);
    let known = kinds(&app);
    let votes_of = |unit: &UnitRecord| {
        let mut groups: Vec<(&Replica, Vote)> = Vec::new();
        for replica in &unit.replicas {
            let kind = known.get(&replica.worker).map_or("not connected", |(kind, _)| kind.word());
            let worker = (replica.worker.short(), kind);
            if let Some((_, vote)) = groups.iter_mut().find(|(first, _)| first.outcome == replica.outcome) {
                vote.workers.push(worker);
                continue;
            }
            let (sign, class, word) = worth(unit, replica);
            let (verdict, fuel) = (replica.outcome.verdict.to_string(), count(replica.fuel().0));
            groups.push((replica, Vote { sign, class, word, workers: vec![worker], verdict, fuel }));
        }
        groups.into_iter().map(|(_, vote)| vote).collect()
    };
    let votes = units.iter().map(|(unit, record)| UnitVotes {
        unit: *unit,
        state: end_word(record.end),
        is_audited: record.audited.is_some(),
        votes: votes_of(record),
    });
    let (changed, changed_cut) = app.blocking(move |records| changes(records, id)).await?;
    let (spec, counts) = (&record.spec, &record.counts);
    let line = RunLine::new(&app, &record, now, String::new());
    let ended = record.finished_at.map(|at| span(at.since(spec.submitted_at)));
    let mut facts = vec![
        ("state", line.state.clone()),
        ("waiting", count(counts.waiting.into())),
        ("running", count(counts.running.into())),
        ("done", count(counts.done.into())),
        ("failed", count(counts.failed.into())),
        ("cancelled", count(counts.cancelled.into())),
        ("disagreements", count(record.dissents)),
        ("changed", line.changed.clone()),
        ("verification", spec.rule.to_string()),
        ("owner", spec.owner.clone()),
        ("submitted", format!("{} UTC", moment(spec.submitted_at))),
    ];
    facts.extend(ended.map(|took| ("took", took)));
    let page = RunPage {
        frame: who.frame("runs"),
        run: line,
        facts,
        reasons_cut: reasons.iter().map(|reason| reason.units).sum::<u64>() >= REASONS as u64,
        reasons_most: REASONS,
        reasons,
        settled,
        votes: votes.collect(),
        changed,
        changed_cut,
        from,
        next,
        histograms: histograms(&app.monitor.samples(&spec.module)),
        active: record.status == RunStatus::Active,
    };
    who.draw(&page)
}

/// An answer that is not what it was.
struct ChangedLine {
    unit: u32,
    at: String,
    was: String,
    is: String,
}

/// The first changes of a run, and whether there are more.
fn changes(records: &Records, run: RunId) -> Result<(Vec<ChangedLine>, bool), RecordError> {
    let mut found = records.changed(run, VOTES + 1)?;
    let is_cut = found.len() > VOTES;
    found.truncate(VOTES);
    let said = |outcome: Option<&Outcome>| match outcome.map(answer) {
        Some(AnswerView { ended, output: Some(output) }) => format!("{ended} {}", output.short()),
        Some(AnswerView { ended, output: None }) => ended,
        None => "–".to_owned(),
    };
    let line = |ChangedRecord { index, at, was }: ChangedRecord| {
        let is = records.unit(UnitId { run, index })?.and_then(|unit| unit.accepted);
        let at = format!("{} UTC", moment(at));
        Ok(ChangedLine { unit: index, at, was: said(was.as_ref()), is: said(is.as_ref()) })
    };
    Ok((found.into_iter().map(line).collect::<Result<_, RecordError>>()?, is_cut))
}

// ── Workers ──

/// A worker as a line, or at the head of its page.
pub(super) struct WorkerLine {
    pub(super) id: String,
    pub(super) short: String,
    pub(super) kind: &'static str,
    pub(super) engine: String,
    pub(super) state: &'static str,
    pub(super) slots: String,
    pub(super) leases: String,
    pub(super) agreed: String,
    pub(super) dissents: String,
    pub(super) lost: String,
    pub(super) trust: &'static str,
    pub(super) trust_class: &'static str,
    pub(super) uptime: String,
    pub(super) saw: String,
}

impl WorkerLine {
    pub(super) fn new(
        worker: &WorkerSummary,
        session: Option<&Session>,
        uptime: Option<Uptime>,
        saw: Option<&Exposure>,
    ) -> Self {
        let none = || "–".to_owned();
        let (trust, trust_class) = trust(&worker.record);
        Self {
            id: worker.id.to_string(),
            short: worker.id.short(),
            kind: session.map_or("–", |session| Kind::of(&session.body).word()),
            engine: session
                .map_or_else(String::new, |session| format!("{}, {}", session.body.engine, session.body.runtime)),
            state: if !worker.connected {
                "away"
            } else if worker.leases > 0 {
                "busy"
            } else {
                "idle"
            },
            slots: session.map_or_else(|| "–".to_owned(), |session| session.slots.to_string()),
            leases: count(worker.leases as u64),
            agreed: count(worker.record.agreed),
            dissents: count(worker.record.dissents),
            lost: count(worker.record.lost),
            trust,
            trust_class,
            uptime: uptime.map_or_else(none, |uptime| uptime.to_string()),
            saw: saw.map_or_else(none, |saw| format!("{:.1} % of {}", 100.0 * saw.share(), saw.run.short())),
        }
    }

    pub(super) fn has_dissents(&self) -> bool {
        !matches!(&*self.dissents, "0" | "–")
    }

    /// One of the operator's own, which audits and of which the scheduler knows nothing.
    pub(super) fn own(app: &App, id: WorkerId, now: Timestamp) -> Self {
        let none = || "–".to_owned();
        let session = app.hub.session(id);
        let (leases, connected) = (app.auditing.given(id), session.is_some());
        let standing = manyhands_scheduler::Standing::Trusted;
        let summary = WorkerSummary { id, connected, leases, record: WorkerRecord::default(), standing };
        let uptime = app.uptimes.of(id, now).and_then(|uptime| uptime.lately);
        let line = Self::new(&summary, session.as_deref(), uptime, None);
        // Nothing that it says is held against what others say.
        Self { trust: "trusted", trust_class: "good", agreed: none(), dissents: none(), lost: none(), ..line }
    }
}

/// The words on the pages of workers.
pub(super) const WORDS: &[(&str, &str)] = &[
    ("new", "none of its reports counted yet; it gets two units at a time"),
    ("proven", "it brought more answers than it lost leases; it gets first what somebody waits for"),
    ("unreliable", "it lost as many leases as it brought answers"),
    (
        "doubted",
        "a report with its signature contradicted an answer; three, if they are a quarter of what it said, ban it",
    ),
    ("banned", "it contradicted too often: it gets no more work, and its reports do not count"),
    ("trusted", "it is the operator's own: it executes what is audited and nothing else, and what it says is so"),
    ("lost", "leases that ran out, or on which its machine failed"),
    ("uptime", "how much of the last thirty days it was connected, in nines: two are 99 %"),
    ("saw most of", "the active run of more than one unit of which it was given the largest share"),
];

/// What the scheduler makes of a worker's record: one of [`WORDS`], and its class.
fn trust(record: &WorkerRecord) -> (&'static str, &'static str) {
    if record.banned {
        ("banned", "bad")
    } else if record.dissents > 0 {
        ("doubted", "warn")
    } else if record.agreed > record.lost {
        ("proven", "good")
    } else if record.agreed == 0 {
        ("new", "")
    } else {
        ("unreliable", "warn")
    }
}

#[derive(Template)]
#[template(path = "workers.html")]
struct WorkersPage {
    frame: Frame,
    summary: String,
    words: &'static [(&'static str, &'static str)],
    join: String,
    workers: Vec<WorkerLine>,
    from: usize,
    next: Option<usize>,
}

#[derive(Deserialize)]
pub(super) struct WorkersQuery {
    #[serde(default)]
    from: usize,
}

/// All workers, those first that need a look.
pub(super) async fn workers(
    State(app): State<App>,
    who: SignedIn,
    Query(WorkersQuery { from }): Query<WorkersQuery>,
) -> Page {
    let mut all = app.core.ask(|scheduler, _| scheduler.workers().collect::<Vec<_>>()).await?;
    let trusted = app.auditing.trusted();
    all.retain(|worker| !trusted.contains(&worker.id));
    let sessions = app.hub.workers();
    let kind = |worker: &WorkerSummary| sessions.get(&worker.id).map_or(Kind::Other, |session| Kind::of(&session.body));
    all.sort_by_key(|worker| {
        (!worker.connected, !worker.record.banned, std::cmp::Reverse(worker.record.dissents), kind(worker), worker.id)
    });
    let connected = all.iter().filter(|worker| worker.connected).count();
    let banned = all.iter().filter(|worker| worker.record.banned).count();
    let known = count(all.len() as u64);
    let own = if trusted.is_empty() { String::new() } else { format!(", and {} of your own", trusted.len()) };
    let summary = format!("{known} known, {connected} connected, {banned} banned{own}.");
    let ids: Vec<WorkerId> = all.iter().skip(from).take(WORKERS).map(|worker| worker.id).collect();
    let most = move |scheduler: &Scheduler, _| -> BTreeMap<WorkerId, Exposure> {
        let most = |id: &WorkerId| scheduler.exposure(*id).max_by(|a, b| a.share().total_cmp(&b.share()));
        ids.iter().filter_map(|id| Some((*id, most(id)?))).collect()
    };
    let (exposed, now) = (app.core.ask(most).await?, app.clock.now());
    let line = |worker: &WorkerSummary| {
        let uptime = app.uptimes.of(worker.id, now).and_then(|uptime| uptime.lately);
        let session = sessions.get(&worker.id).map(AsRef::as_ref);
        WorkerLine::new(worker, session, uptime, exposed.get(&worker.id))
    };
    let shown: Vec<WorkerLine> = all.iter().skip(from).take(WORKERS).map(line).collect();
    let next = (from + shown.len() < all.len()).then_some(from + WORKERS);
    // They are few, and stand at the top of the first page.
    let own = trusted.iter().filter(|_| from == 0).map(|id| WorkerLine::own(&app, *id, now));
    let shown = own.chain(shown).collect();
    let page = WorkersPage {
        frame: who.frame("workers"),
        summary,
        words: WORDS,
        join: app.join.clone(),
        workers: shown,
        from,
        next,
    };
    who.draw(&page)
}

// ── Units ──

struct Column {
    id: String,
    short: String,
    /// Whether it is the first of its engine.
    first: bool,
}

struct Cell {
    sign: &'static str,
    class: &'static str,
    word: &'static str,
    first: bool,
}

struct Row {
    run: String,
    run_short: String,
    unit: u32,
    state: &'static str,
    cells: Vec<Cell>,
}

#[derive(Template)]
#[template(path = "units.html")]
struct UnitsPage {
    frame: Frame,
    /// Kinds with engines, and how many columns each has.
    groups: Vec<(String, usize)>,
    columns: Vec<Column>,
    rows: Vec<Row>,
    /// Workers for which there is no column.
    hidden: usize,
}

/// Which workers agree on recent units.
pub(super) async fn units(State(app): State<App>, who: SignedIn) -> Page {
    let (mut shown, failures) = app.monitor.recent();
    let (rows_max, columns_max) = MATRIX;
    shown.truncate(rows_max);
    let look = move |scheduler: &Scheduler, _: Timestamp| {
        // What runs and has no report yet stands at the top.
        let known: BTreeSet<UnitId> = shown.iter().copied().collect();
        let leased = scheduler.leases().take(LEASES).map(|lease| lease.unit).filter(|unit| !known.contains(unit));
        let leased: BTreeSet<UnitId> = leased.collect();
        shown.splice(0..0, leased.into_iter().take(rows_max / 4));
        shown.truncate(rows_max);
        let running: Vec<(UnitId, WorkerId)> =
            shown.iter().flat_map(|unit| scheduler.holders(*unit).map(|worker| (*unit, worker))).collect();
        (shown, running)
    };
    let (shown, running) = app.core.ask(look).await?;
    let asked = shown.clone();
    let read = move |records: &Records| asked.into_iter().map(|unit| records.unit(unit)).collect();
    let records: Vec<Option<UnitRecord>> = app.blocking(read).await?;
    // Each worker's cell of each unit: what is worst of what is known.
    let mut cells: BTreeMap<(UnitId, WorkerId), (&str, &str, &str)> = BTreeMap::new();
    for (unit, worker) in failures {
        cells.insert((unit, worker), ("–", "broke", "machine failed"));
    }
    for holder in running {
        cells.insert(holder, ("◌", "runs", "running"));
    }
    for (unit, record) in shown.iter().zip(&records) {
        let Some(record) = record else { continue };
        for replica in &record.replicas {
            cells.insert((*unit, replica.worker), worth(record, replica));
        }
    }
    let rows: BTreeSet<UnitId> = shown.iter().copied().collect();
    cells.retain(|(unit, _), _| rows.contains(unit));
    let kinds = kinds(&app);
    let gone = (Kind::Other, "not connected".to_owned());
    let mut workers: Vec<(&(Kind, String), WorkerId)> = Vec::new();
    for worker in cells.keys().map(|(_, worker)| *worker).collect::<BTreeSet<_>>() {
        workers.push((kinds.get(&worker).unwrap_or(&gone), worker));
    }
    workers.sort();
    let hidden = workers.len().saturating_sub(columns_max);
    workers.truncate(columns_max);
    let mut groups: Vec<(String, usize)> = Vec::new();
    let mut columns = Vec::new();
    for ((kind, engine), worker) in &workers {
        let name = if engine == "not connected" { engine.clone() } else { format!("{} · {engine}", kind.word()) };
        let first = groups.last().is_none_or(|(last, _)| *last != name);
        if first {
            groups.push((name, 0));
        }
        if let Some((_, width)) = groups.last_mut() {
            *width += 1;
        }
        // What all ids begin with tells nothing apart.
        let short = worker.short().split('_').next_back().unwrap_or_default().to_owned();
        columns.push(Column { id: worker.to_string(), short, first });
    }
    let row = |(unit, record): (&UnitId, &Option<UnitRecord>)| Row {
        run: unit.run.to_string(),
        run_short: unit.run.short(),
        unit: unit.index,
        state: end_word(record.as_ref().and_then(|record| record.end)),
        cells: workers
            .iter()
            .zip(&columns)
            .map(|((_, worker), column)| {
                let (sign, class, word) = cells.get(&(*unit, *worker)).copied().unwrap_or_default();
                Cell { sign, class, word, first: column.first }
            })
            .collect(),
    };
    let rows = shown.iter().zip(&records).map(row).collect();
    who.draw(&UnitsPage { frame: who.frame("units"), groups, columns, rows, hidden })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_a_script_for_a_name_is_shown_as_text() {
        let evil = r#"<script>alert("1")</script>' onload=x"#;
        let reason = ReasonCount { reason: evil.into(), sentence: evil.into(), units: 1 };
        let record = UnitRecord::default();
        let page = RunPage {
            frame: Frame::new("runs", evil),
            run: RunLine {
                id: evil.into(),
                short: evil.into(),
                job: evil.into(),
                version: evil.into(),
                owner: evil.into(),
                state: "active".into(),
                total: 1,
                ended: 0,
                share: evil.into(),
                failed: evil.into(),
                dissents: evil.into(),
                changed: evil.into(),
                age: evil.into(),
                why: evil.into(),
            },
            facts: vec![("owner", evil.into())],
            reasons: vec![reason],
            reasons_cut: true,
            reasons_most: 1,
            settled: "",
            votes: vec![UnitVotes {
                unit: 1,
                state: end_word(record.end),
                is_audited: true,
                votes: vec![Vote {
                    sign: "●",
                    class: "agrees",
                    word: "agrees",
                    workers: vec![(evil.into(), "native")],
                    verdict: evil.into(),
                    fuel: evil.into(),
                }],
            }],
            changed: vec![ChangedLine { unit: 1, at: evil.into(), was: evil.into(), is: evil.into() }],
            changed_cut: true,
            from: 0,
            next: None,
            histograms: Vec::new(),
            active: true,
        };
        let html = page.render().unwrap();
        assert!(html.contains("&#60;script&#62;"), "{html}");
        // The page's own script is the only one.
        assert_eq!(html.matches("<script").count(), 1, "{html}");
        assert!(html.contains("&#39; onload=x") && !html.contains("' onload"), "{html}");
    }

    #[test]
    fn trust_is_what_the_scheduler_goes_by() {
        let record =
            |agreed, dissents, lost, banned| WorkerRecord { agreed, dissents, lost, banned, ..Default::default() };
        let word = |agreed, dissents, lost, banned| trust(&record(agreed, dissents, lost, banned)).0;
        assert_eq!(word(0, 0, 0, false), "new");
        assert_eq!(word(5, 0, 1, false), "proven");
        assert_eq!(word(1, 0, 1, false), "unreliable");
        assert_eq!(word(9, 1, 0, false), "doubted");
        assert_eq!(word(9, 3, 0, true), "banned");
    }
}
