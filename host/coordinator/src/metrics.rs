//! What is counted, for `/metrics`.
//!
//! Labels come from closed lists (routes as declared, enums), never from what a client sent, so nobody
//! outside can make the numbers grow without bound, and no value of a request ends up in a metric.
//! Whatever is counted under an enum stands at zero from the start: an alert on a rate never sees the first
//! event of a number that was not there before.
//!
//! `packaging/alerts.yml` watches these numbers; a test there holds both together.

mod system;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use manyhands_model::Judge;
use manyhands_scheduler::AuditCount;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

pub use crate::metrics::system::Room;
use crate::problem::Kind;

/// Media type of the text exposition.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

macro_rules! label {
    ($(#[$about:meta])* $name:ident as $key:literal { $( $(#[$value_about:meta])* $value:ident = $text:literal, )* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[$value_about])* $value, )* }

        impl $name {
            const ALL: &[Self] = &[ $( Self::$value ),* ];

            const fn text(self) -> &'static str {
                match self { $( Self::$value => $text, )* }
            }
        }

        impl EncodeLabelSet for $name {
            fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
                [($key, self.text())].encode(encoder)
            }
        }
    };
}

label! {
    /// Why a connection was not served.
    Refused as "reason" {
        /// There are too many already.
        Total = "total",
        /// There are too many already from this address.
        Address = "address",
    }
}

label! {
    /// Why a connection was cut before its request was answered.
    Cut as "reason" {
        /// The request's head did not arrive in time, or the connection idled.
        Head = "head",
        /// The request's body stopped coming.
        Body = "body",
        /// The client stopped taking its response.
        Response = "response",
        /// Others needed its place, or the room for what it sent.
        Crowded = "crowded",
        /// The coordinator stopped, and the time for the request was up.
        Stop = "stop",
    }
}

label! {
    /// Who came more often than they may, and was told to come again.
    Throttled as "who" {
        /// Somebody without a token.
        Address = "address",
        /// A requester.
        Requester = "requester",
        /// A developer.
        Developer = "developer",
        /// An operator.
        Operator = "operator",
        /// A worker that connected.
        Worker = "worker",
    }
}

label! {
    /// What came more often than it may, and had to wait.
    Delayed as "what" {
        /// A worker's message.
        Message = "message",
        /// A unit's calls.
        Calls = "calls",
    }
}

label! {
    /// Why a worker was not let in.
    WorkerRefused as "reason" {
        /// There are as many as may be.
        Full = "full",
        /// It connects too often.
        Throttled = "throttled",
        /// It did not prove who it is, or spoke something else.
        Greeting = "greeting",
        /// It is banned.
        Banned = "banned",
        /// It is on a block list.
        Blocked = "blocked",
        /// It showed no invitation that holds, where it needs one or showed one.
        Uninvited = "uninvited",
    }
}

label! {
    /// Why a worker's connection ended.
    WorkerLeft as "reason" {
        /// It closed the connection, or the network did.
        Closed = "closed",
        /// Its page was closed or left.
        Away = "away",
        /// It said nothing for three heartbeats.
        Silent = "silent",
        /// It took its messages too slowly.
        Slow = "slow",
        /// Another connection of the same worker took over.
        Replaced = "replaced",
        /// It broke the protocol.
        Protocol = "protocol",
        /// The coordinator could not serve it: it stops, or its disk does not take outputs.
        Coordinator = "coordinator",
    }
}

label! {
    /// What became of a worker's report.
    ReportResult as "result" {
        /// It counts.
        Accepted = "accepted",
        /// It says what was said before.
        Repeated = "repeated",
        /// It contradicts the answer.
        Dissent = "dissent",
        /// The worker's machine failed, which says nothing about the job.
        Failed = "failed",
        /// It is none: wrong lease, wrong signature, too late.
        Refused = "refused",
    }
}

label! {
    /// Where units are.
    UnitState as "state" {
        /// Waiting for a worker.
        Waiting = "waiting",
        /// Being executed.
        Running = "running",
        /// Agreed: an output.
        Done = "done",
        /// Agreed: a failure; or never agreed.
        Failed = "failed",
        /// Cancelled.
        Cancelled = "cancelled",
    }
}

/// Who said that a worker was wrong, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct By(Judge);

impl EncodeLabelSet for By {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("by", self.0.word())].encode(encoder)
    }
}

label! {
    /// By which kind of rule a unit was decided.
    Decided as "rule" {
        /// So many equal outcomes.
        Fixed = "fixed",
        /// One with a record may do.
        Adaptive = "adaptive",
        /// At least two.
        Full = "full",
        /// The operator's own machine.
        Audited = "audited",
    }
}

label! {
    /// What workers' words are worth.
    StandingOf as "standing" {
        /// Without a record.
        Stranger = "stranger",
        /// With one.
        Established = "established",
        /// The operator's own.
        Trusted = "trusted",
        /// Who get no more work.
        Banned = "banned",
    }
}

label! {
    /// Where audits are.
    AuditState as "state" {
        /// No machine has them.
        Waiting = "waiting",
        /// One has.
        Running = "running",
    }
}

label! {
    /// Why the operator's own machine executes a unit.
    AuditReason as "reason" {
        /// The run's rule asks for it.
        Rule = "rule",
        /// Workers differed.
        Dispute = "dispute",
        /// Too few workers with a record were there.
        Alone = "alone",
        /// It was drawn.
        Drawn = "drawn",
    }
}

/// Which requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: Arc<str>,
    status: &'static str,
}

/// Which route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: Arc<str>,
}

label! {
    /// What was repaired when the store was opened.
    Repaired as "kind" {
        /// The end of the log, as after a crash.
        TornTail = "torn_tail",
        /// Something that no crash leaves behind.
        Damage = "damage",
    }
}

label! {
    /// What was done with a blob when it failed.
    BlobOperation as "operation" {
        /// It was read.
        Read = "read",
        /// It was written.
        Write = "write",
    }
}

label! {
    /// How something went.
    Went as "result" {
        /// Well.
        Ok = "ok",
        /// Not.
        Failed = "failed",
    }
}

impl EncodeLabelSet for Kind {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        [("problem", self.code())].encode(encoder)
    }
}

type Seconds<L> = Family<L, Histogram, fn() -> Histogram>;
type Fraction = Gauge<f64, AtomicU64>;

/// All counters. Cheap to clone; every clone counts into the same numbers.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Numbers>);

#[derive(Debug)]
struct Numbers {
    registry: Registry,
    disk: system::Disk,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Seconds<RouteLabels>,
    problems: Family<Kind, Counter>,
    connections: Gauge,
    refused: Family<Refused, Counter>,
    cut: Family<Cut, Counter>,
    accept_failures: Counter,
    throttled: Family<Throttled, Counter>,
    delayed: Family<Delayed, Counter>,
    repeats: Counter,
    workers: Gauge,
    workers_joined: Counter,
    workers_refused: Family<WorkerRefused, Counter>,
    workers_left: Family<WorkerLeft, Counter>,
    workers_banned: Counter,
    leases_granted: Counter,
    leases_expired: Counter,
    leases_spare: Counter,
    leases_failed: Counter,
    reports: Family<ReportResult, Counter>,
    units: Family<UnitState, Gauge>,
    runs: Gauge,
    backlog_seconds: Fraction,
    dissents: Family<By, Counter>,
    decided: Family<Decided, Counter>,
    results_changed: Counter,
    standings: Family<StandingOf, Gauge>,
    audits: Family<AuditState, Gauge>,
    audits_asked: Family<AuditReason, Counter>,
    audits_done: Family<AuditReason, Counter>,
    disputes_left: Gauge,
    events_waiting: Gauge,
    batches_waiting: Gauge,
    commit_seconds: Histogram,
    commit_failures: Counter,
    blob_errors: Family<BlobOperation, Counter>,
    repairs: Family<Repaired, Gauge>,
    start_seconds: Fraction,
    backups: Family<Went, Counter>,
    backup_time: Fraction,
}

/// The start of every name but those of the process, which are the same for every program.
const PREFIX: &str = "manyhands";

/// Registers a new number.
fn number<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Registers one number for each of `labels`.
fn family<L, M>(registry: &mut Registry, name: &str, help: &str, labels: &[L]) -> Family<L, M>
where
    L: EncodeLabelSet + Clone + Eq + std::hash::Hash + std::fmt::Debug + Send + Sync + 'static,
    M: Metric + Clone + Default + prometheus_client::metrics::TypedMetric,
{
    let family = number::<Family<L, M>>(registry, name, help);
    for label in labels {
        drop(family.get_or_create(label));
    }
    family
}

/// Registers a time or a length of time.
fn seconds(registry: &mut Registry, name: &str, help: &str) -> Fraction {
    let metric = Fraction::default();
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

impl Metrics {
    /// All zero.
    #[expect(clippy::new_without_default, reason = "a registry is made once, on purpose")]
    pub fn new() -> Self {
        // From 0.1 ms, a read from memory, to 26 s, a long upload.
        let durations: fn() -> Histogram = || Histogram::new((0..10).map(|step| 0.0001 * 4_f64.powi(step)));
        let (request_seconds, commit_seconds) = (Seconds::new_with_constructor(durations), durations());
        let mut whole = Registry::default();
        whole.register_collector(Box::new(system::Process::new(since_epoch(SystemTime::now()))));
        let disk = system::Disk::default();
        let r = whole.sub_registry_with_prefix(PREFIX);
        r.register_collector(Box::new(system::Lines));
        r.register_collector(Box::new(disk.clone()));
        r.register("build", "This program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let about = "Time until the head of a response";
        r.register_with_unit("http_request_duration", about, Unit::Seconds, request_seconds.clone());
        let about = "Time until a commit is durable";
        r.register_with_unit("commit_duration", about, Unit::Seconds, commit_seconds.clone());
        let cut = "Connections cut because the client was too slow, or the coordinator stopped";
        let accept = "Times that connections could not be accepted, for want of file descriptors";
        let throttled = "Requests and connections refused because somebody came too often";
        let delayed = "Messages of workers and calls of units that waited because there were too many";
        let repeats = "Invocations that an earlier result answered";
        let joined = "Connections of workers that proved who they are";
        let backlog = "Age of the oldest active run that has a unit waiting for a worker; 0 without one";
        let decided = "Units that got an answer, by the kind of rule";
        let changed = "Answers that are not what they were, since somebody was caught";
        let standings = "Connected workers by what their word is worth, and all that are banned";
        let asked = "Units that the operator's own machine was to execute, by the reason";
        let audited = "Units that the operator's own machine executed, by the reason";
        let disputes = "Disputes that the operator's own machine may still settle";
        let events = "Events that wait for the scheduler";
        let batches = "Batches of effects that wait to be made durable";
        let start = "Time from the start of the program until it served";
        let backup = "When the newest verified backup was made, as seconds since 1970; 0 before the first";
        Self(Arc::new(Numbers {
            disk,
            requests: number(r, "http_requests", "Requests answered"),
            request_seconds,
            problems: family(r, "http_problems", "Requests answered with a problem", Kind::ALL),
            connections: number(r, "connections", "Open connections"),
            refused: family(r, "connections_refused", "Connections refused", Refused::ALL),
            cut: family(r, "connections_cut", cut, Cut::ALL),
            accept_failures: number(r, "accept_failures", accept),
            throttled: family(r, "throttled", throttled, Throttled::ALL),
            delayed: family(r, "delayed", delayed, Delayed::ALL),
            repeats: number(r, "repeats", repeats),
            workers: number(r, "workers_connected", "Workers connected"),
            workers_joined: number(r, "workers_joined", joined),
            workers_refused: family(r, "workers_refused", "Workers not let in", WorkerRefused::ALL),
            workers_left: family(r, "workers_left", "Ends of workers' connections", WorkerLeft::ALL),
            workers_banned: number(r, "workers_banned", "Workers that contradicted answers too often"),
            leases_granted: number(r, "leases_granted", "Leases given to workers"),
            leases_expired: number(r, "leases_expired", "Leases that ran out"),
            leases_spare: number(r, "leases_spare", "Leases given because others were late for which somebody waited"),
            leases_failed: number(r, "leases_failed", "Leases that could not be given, for want of the input"),
            reports: family(r, "reports", "Reports of workers", ReportResult::ALL),
            units: family(r, "units", "Units of active runs", UnitState::ALL),
            runs: number(r, "runs_active", "Active runs"),
            backlog_seconds: seconds(r, "backlog_age", backlog),
            dissents: family(r, "dissents", "Reports that contradicted an answer, by who says so", &Judge::ALL.map(By)),
            decided: family(r, "units_decided", decided, Decided::ALL),
            results_changed: number(r, "results_changed", changed),
            standings: family(r, "workers", standings, StandingOf::ALL),
            audits: family(r, "audits", "Units for the operator's own machine", AuditState::ALL),
            audits_asked: family(r, "audits_asked", asked, AuditReason::ALL),
            audits_done: family(r, "audits_done", audited, AuditReason::ALL),
            disputes_left: number(r, "disputes_left", disputes),
            events_waiting: number(r, "core_events_waiting", events),
            batches_waiting: number(r, "core_batches_waiting", batches),
            commit_seconds,
            commit_failures: number(r, "commit_failures", "Commits that the disk refused"),
            blob_errors: family(r, "blob_errors", "Blobs that could not be read or written", BlobOperation::ALL),
            repairs: family(r, "store_repairs", "What was repaired when the store was opened", Repaired::ALL),
            start_seconds: seconds(r, "start_duration", start),
            backups: family(r, "backups", "Backups", Went::ALL),
            backup_time: seconds(r, "backup_last_success_timestamp", backup),
            registry: whole,
        }))
    }

    /// A request to a declared route was answered.
    pub fn request(&self, route: &str, status: StatusCode, took: Duration) {
        let route: Arc<str> = route.into();
        let status = match status.as_u16() {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.0.requests.get_or_create(&RequestLabels { route: route.clone(), status }).inc();
        self.0.request_seconds.get_or_create(&RouteLabels { route }).observe(took.as_secs_f64());
    }

    /// A connection was opened.
    pub fn connection_opened(&self) {
        self.0.connections.inc();
    }

    /// A connection was closed.
    pub fn connection_closed(&self) {
        self.0.connections.dec();
    }

    /// A connection was refused.
    pub fn connection_refused(&self, reason: Refused) {
        self.0.refused.get_or_create(&reason).inc();
    }

    /// The operating system had no file descriptor for a connection.
    pub fn accept_failed(&self) {
        self.0.accept_failures.inc();
    }

    /// A connection was cut.
    pub fn connection_cut(&self, reason: Cut) {
        self.0.cut.get_or_create(&reason).inc();
    }

    /// Somebody came too often and was told to come again.
    pub fn throttled(&self, who: Throttled) {
        self.0.throttled.get_or_create(&who).inc();
    }

    /// Something came too often and had to wait.
    pub fn delayed(&self, what: Delayed) {
        self.0.delayed.get_or_create(&what).inc();
    }

    /// An invocation was answered from an earlier result.
    pub fn repeated(&self) {
        self.0.repeats.inc();
    }

    /// So many workers are connected now.
    pub fn workers_connected(&self, workers: usize) {
        self.0.workers.set(whole(workers as u64));
    }

    /// A worker proved who it is and joined.
    pub fn worker_joined(&self) {
        self.0.workers_joined.inc();
    }

    /// A worker was not let in.
    pub fn worker_refused(&self, reason: WorkerRefused) {
        self.0.workers_refused.get_or_create(&reason).inc();
    }

    /// The connection of a worker that had joined ended.
    pub fn worker_left(&self, reason: WorkerLeft) {
        self.0.workers_left.get_or_create(&reason).inc();
    }

    /// A worker gets no more work.
    pub fn worker_banned(&self) {
        self.0.workers_banned.inc();
    }

    /// A worker got units.
    pub fn leases_granted(&self, leases: usize) {
        self.0.leases_granted.inc_by(leases as u64);
    }

    /// So many leases ran out since the start.
    pub fn leases_expired(&self, leases: u64) {
        count_to(&self.0.leases_expired, leases);
    }

    /// So many leases were given since the start because others were late.
    pub fn leases_spare(&self, leases: u64) {
        count_to(&self.0.leases_spare, leases);
    }

    /// A unit could not be given out.
    pub fn lease_failed(&self) {
        self.0.leases_failed.inc();
    }

    /// A worker reported.
    pub fn report(&self, result: ReportResult) {
        self.0.reports.get_or_create(&result).inc();
    }

    /// A worker's report contradicts an answer. It is counted once more on its own, since operators watch it.
    pub fn dissent(&self, judge: Judge) {
        self.report(ReportResult::Dissent);
        self.0.dissents.get_or_create(&By(judge)).inc();
    }

    /// An answer is not what it was.
    pub fn result_changed(&self) {
        self.0.results_changed.inc();
    }

    /// So many units were decided under such rules since the start.
    pub fn decided(&self, rule: Decided, units: u64) {
        count_to(&self.0.decided.get_or_create(&rule), units);
    }

    /// So many workers' words are worth that now.
    pub fn standing(&self, standing: StandingOf, workers: u64) {
        self.0.standings.get_or_create(&standing).set(whole(workers));
    }

    /// So many audits are there now.
    pub fn audits(&self, state: AuditState, units: u64) {
        self.0.audits.get_or_create(&state).set(whole(units));
    }

    /// So many audits were asked for since the start, and done.
    pub fn audits_for(&self, reason: AuditReason, AuditCount { asked, done }: AuditCount) {
        count_to(&self.0.audits_asked.get_or_create(&reason), asked);
        count_to(&self.0.audits_done.get_or_create(&reason), done);
    }

    /// So many disputes may still be settled.
    pub fn disputes_left(&self, units: u64) {
        self.0.disputes_left.set(whole(units));
    }

    /// So many units are in that state now.
    pub fn units(&self, state: UnitState, units: u64) {
        self.0.units.get_or_create(&state).set(whole(units));
    }

    /// So many runs are active now, and the oldest that has a unit waiting is so old.
    pub fn backlog(&self, runs: usize, age: Option<Duration>) {
        self.0.runs.set(whole(runs as u64));
        self.0.backlog_seconds.set(age.unwrap_or_default().as_secs_f64());
    }

    /// So much waits now: events for the scheduler, and batches for the disk.
    pub fn core_queues(&self, events: usize, batches: usize) {
        self.0.events_waiting.set(whole(events as u64));
        self.0.batches_waiting.set(whole(batches as u64));
    }

    /// A commit became durable.
    pub fn commit(&self, took: Duration) {
        self.0.commit_seconds.observe(took.as_secs_f64());
    }

    /// The disk refused a commit. The coordinator stops after this, so seeing it takes a scrape in between;
    /// the log and the exit code 74 say it as well.
    pub fn commit_failed(&self) {
        self.0.commit_failures.inc();
    }

    /// A blob could not be read or written.
    pub fn blob_error(&self, operation: BlobOperation) {
        self.0.blob_errors.get_or_create(&operation).inc();
    }

    /// Something was repaired when the store was opened.
    pub fn repaired(&self, what: Repaired) {
        self.0.repairs.get_or_create(&what).inc();
    }

    /// The coordinator serves, so long after its start. Room is measured where `data_dir` is from now on.
    pub fn started(&self, took: Duration, data_dir: &Path) {
        self.0.start_seconds.set(took.as_secs_f64());
        self.0.disk.watch(data_dir);
    }

    /// A backup was made at that time and verified.
    pub fn backup_made(&self, at: SystemTime) {
        self.0.backups.get_or_create(&Went::Ok).inc();
        self.backup_found(at);
    }

    /// The newest backup that is there when the coordinator starts was made at that time.
    pub fn backup_found(&self, at: SystemTime) {
        self.0.backup_time.set(since_epoch(at));
    }

    /// A backup failed.
    pub fn backup_failed(&self) {
        self.0.backups.get_or_create(&Went::Failed).inc();
    }

    /// The text exposition, for [`OPENMETRICS`].
    pub fn text(&self) -> String {
        let mut page = String::new();
        // Writing to a string does not fail; a page cut short would lack its `# EOF` and be refused.
        let _written = text::encode(&mut page, &self.0.registry);
        page
    }
}

/// In seconds. A clock set before 1970 is not worth an error here.
fn since_epoch(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Lets a number that somebody else counts stand where they are.
fn count_to(counter: &Counter, counted: u64) {
    counter.inc_by(counted.saturating_sub(counter.get()));
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Counts each request under its declared route: `Router::route_layer(from_fn_with_state(metrics, count))`
/// sees matched routes only, `Router::layer` counts the others as `unmatched`.
pub async fn count(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let began = Instant::now();
    let response = next.run(request).await;
    metrics.request(matched.as_ref().map_or("unmatched", MatchedPath::as_str), response.status(), began.elapsed());
    if let Some(problem) = response.extensions().get::<Kind>() {
        metrics.0.problems.get_or_create(problem).inc();
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    #[test]
    fn the_page_has_every_number_under_its_name() {
        let metrics = Metrics::new();
        metrics.request("/v1/runs/{id}", StatusCode::OK, Duration::from_millis(3));
        metrics.connection_opened();
        metrics.connection_refused(Refused::Address);
        metrics.workers_connected(4);
        metrics.leases_granted(1);
        metrics.leases_expired(1);
        metrics.leases_spare(2);
        metrics.leases_spare(3);
        metrics.dissent(Judge::Operator);
        metrics.decided(Decided::Adaptive, 3);
        metrics.decided(Decided::Adaptive, 5);
        metrics.result_changed();
        metrics.standing(StandingOf::Established, 2);
        metrics.audits(AuditState::Waiting, 6);
        metrics.audits_for(AuditReason::Drawn, AuditCount { asked: 9, done: 8 });
        metrics.disputes_left(2_000);
        metrics.units(UnitState::Waiting, 7);
        metrics.commit(Duration::from_millis(5));
        metrics.worker_joined();
        metrics.worker_refused(WorkerRefused::Full);
        metrics.worker_left(WorkerLeft::Slow);
        metrics.worker_banned();
        metrics.lease_failed();
        metrics.backlog(2, Some(Duration::from_millis(1500)));
        metrics.core_queues(9, 3);
        metrics.commit_failed();
        metrics.blob_error(BlobOperation::Read);
        metrics.connection_cut(Cut::Response);
        metrics.accept_failed();
        metrics.throttled(Throttled::Requester);
        metrics.delayed(Delayed::Message);
        metrics.repeated();
        metrics.repaired(Repaired::TornTail);
        metrics.started(Duration::from_millis(250), Path::new("/"));
        metrics.backup_made(UNIX_EPOCH + Duration::from_secs(86_400));
        metrics.backup_failed();
        let page = metrics.text();
        for line in [
            r#"manyhands_http_requests_total{route="/v1/runs/{id}",status="2xx"} 1"#,
            r#"manyhands_http_request_duration_seconds_count{route="/v1/runs/{id}"} 1"#,
            "manyhands_connections 1",
            r#"manyhands_connections_refused_total{reason="address"} 1"#,
            "manyhands_workers_connected 4",
            "manyhands_leases_granted_total 1",
            "manyhands_leases_expired_total 1",
            "manyhands_leases_spare_total 3",
            r#"manyhands_reports_total{result="dissent"} 1"#,
            r#"manyhands_units{state="waiting"} 7"#,
            r#"manyhands_dissents_total{by="operator"} 1"#,
            r#"manyhands_dissents_total{by="peers"} 0"#,
            r#"manyhands_units_decided_total{rule="adaptive"} 5"#,
            r#"manyhands_units_decided_total{rule="fixed"} 0"#,
            "manyhands_results_changed_total 1",
            r#"manyhands_workers{standing="established"} 2"#,
            r#"manyhands_workers{standing="banned"} 0"#,
            r#"manyhands_audits{state="waiting"} 6"#,
            r#"manyhands_audits_asked_total{reason="drawn"} 9"#,
            r#"manyhands_audits_done_total{reason="drawn"} 8"#,
            r#"manyhands_audits_done_total{reason="rule"} 0"#,
            "manyhands_disputes_left 2000",
            "manyhands_commit_duration_seconds_count 1",
            r#"manyhands_build_info{version=""#,
            "manyhands_accept_failures_total 1",
            r#"manyhands_throttled_total{who="requester"} 1"#,
            r#"manyhands_throttled_total{who="address"} 0"#,
            r#"manyhands_delayed_total{what="message"} 1"#,
            "manyhands_repeats_total 1",
            "manyhands_workers_joined_total 1",
            r#"manyhands_workers_refused_total{reason="full"} 1"#,
            r#"manyhands_workers_left_total{reason="slow"} 1"#,
            "manyhands_workers_banned_total 1",
            "manyhands_leases_failed_total 1",
            "manyhands_runs_active 2",
            "manyhands_backlog_age_seconds 1.5",
            "manyhands_core_events_waiting 9",
            "manyhands_core_batches_waiting 3",
            "manyhands_commit_failures_total 1",
            r#"manyhands_blob_errors_total{operation="read"} 1"#,
            r#"manyhands_blob_errors_total{operation="write"} 0"#,
            r#"manyhands_connections_cut_total{reason="response"} 1"#,
            r#"manyhands_store_repairs{kind="torn_tail"} 1"#,
            r#"manyhands_store_repairs{kind="damage"} 0"#,
            "manyhands_start_duration_seconds 0.25",
            "manyhands_backup_last_success_timestamp_seconds 86400.0",
            r#"manyhands_backups_total{result="ok"} 1"#,
            r#"manyhands_backups_total{result="failed"} 1"#,
            r#"manyhands_http_problems_total{problem="queue-full"} 0"#,
            r#"manyhands_log_lines_total{level="error"} "#,
            "manyhands_data_dir_free_bytes ",
            "manyhands_data_dir_size_bytes ",
            "process_cpu_seconds_total ",
            "process_start_time_seconds ",
            "process_max_fds ",
            "# EOF",
        ] {
            assert!(page.lines().any(|found| found.starts_with(line)), "{line} is not in\n{page}");
        }
    }

    /// Every selector of the alerts, such as `manyhands_reports_total{result="failed"`.
    fn selectors(alerts: &str) -> impl Iterator<Item = &str> {
        let expressions = alerts.lines().filter_map(|line| line.trim_start().strip_prefix("expr: "));
        let words = expressions.flat_map(|line| line.split(|c: char| c.is_whitespace() || "()[]}'".contains(c)));
        words.filter(|word| word.starts_with("manyhands_") || word.starts_with("process_"))
    }

    #[test]
    fn every_alert_watches_numbers_that_are_there_from_the_start_and_says_what_to_do() {
        let alerts = include_str!("../../../packaging/alerts.yml");
        let metrics = Metrics::new();
        metrics.started(Duration::ZERO, Path::new("/"));
        let page = metrics.text();
        let mut seen = 0;
        for selector in selectors(alerts) {
            let found =
                |line: &str| line.strip_prefix(selector).is_some_and(|rest| rest.starts_with([' ', '{', '}', ',']));
            assert!(page.lines().any(found), "{selector} is not in\n{page}");
            seen += 1;
        }
        let count = |what| alerts.lines().filter(|line| line.trim_start().starts_with(what)).count();
        assert!(seen >= count("- alert: "), "{seen} selectors");
        for needed in ["expr: ", "labels: {severity: ", "summary: ", "description: "] {
            assert_eq!(count(needed), count("- alert: "), "{needed}");
        }
    }

    #[tokio::test]
    async fn requests_are_counted_by_route_and_never_by_what_was_asked() {
        let metrics = Metrics::new();
        let router = Router::new()
            .route("/runs/{id}", get(async || "ok"))
            .layer(axum::middleware::from_fn_with_state(metrics.clone(), count));
        for path in ["/runs/1", "/runs/2", "/etc/passwd"] {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            router.clone().oneshot(request).await.unwrap();
        }
        let page = metrics.text();
        assert!(page.contains(r#"route="/runs/{id}",status="2xx"} 2"#), "{page}");
        assert!(page.contains(r#"route="unmatched",status="4xx"} 1"#) && !page.contains("passwd"), "{page}");
    }
}
