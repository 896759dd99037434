//! What is counted, for `/metrics`.
//!
//! Labels come from closed lists (routes as declared, enums), never from what a client sent, so nobody
//! outside can make the numbers grow without bound, and no value of a request ends up in a metric.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// Media type of the text exposition.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

macro_rules! label {
    ($(#[$about:meta])* $name:ident { $( $(#[$value_about:meta])* $value:ident = $text:literal, )* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[$value_about])* $value, )* }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                encoder.write_str(match self { $(Self::$value => $text,)* })
            }
        }
    };
}

label! {
    /// Why a connection was not served.
    Refused {
        /// There are too many already.
        Total = "total",
        /// There are too many already from this address.
        Address = "address",
    }
}

label! {
    /// What became of a worker's report.
    ReportResult {
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
    UnitState {
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: ReportResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: UnitState,
}

type Seconds<L> = Family<L, Histogram, fn() -> Histogram>;

/// All counters. Cheap to clone; every clone counts into the same numbers.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Numbers>);

#[derive(Debug)]
struct Numbers {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Seconds<RouteLabels>,
    connections: Gauge,
    refused: Family<ReasonLabels, Counter>,
    workers: Gauge,
    leases_granted: Counter,
    leases_expired: Counter,
    reports: Family<ResultLabels, Counter>,
    units: Family<StateLabels, Gauge>,
    dissents: Counter,
    commit_seconds: Histogram,
}

impl Metrics {
    /// All zero.
    #[expect(clippy::new_without_default, reason = "a registry is made once, on purpose")]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("manyhands");
        // From 0.1 ms, a read from memory, to 26 s, a long upload.
        let seconds: fn() -> Histogram = || Histogram::new((0..10).map(|step| 0.0001 * 4_f64.powi(step)));
        let requests = Family::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        let request_seconds: Seconds<RouteLabels> = Family::new_with_constructor(seconds);
        registry.register_with_unit(
            "http_request_duration",
            "Time until the head of a response",
            Unit::Seconds,
            request_seconds.clone(),
        );
        let connections = Gauge::default();
        registry.register("connections", "Open connections", connections.clone());
        let refused = Family::default();
        registry.register("connections_refused", "Connections refused", refused.clone());
        let workers = Gauge::default();
        registry.register("workers_connected", "Workers connected", workers.clone());
        let leases_granted = Counter::default();
        registry.register("leases_granted", "Leases given to workers", leases_granted.clone());
        let leases_expired = Counter::default();
        registry.register("leases_expired", "Leases that ran out", leases_expired.clone());
        let reports = Family::default();
        registry.register("reports", "Reports of workers", reports.clone());
        let units = Family::default();
        registry.register("units", "Units of active runs", units.clone());
        let dissents = Counter::default();
        registry.register("dissents", "Reports that contradicted an answer", dissents.clone());
        let commit_seconds = seconds();
        let about = "Time until a commit is durable";
        registry.register_with_unit("commit_duration", about, Unit::Seconds, commit_seconds.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "This program", build);
        Self(Arc::new(Numbers {
            registry,
            requests,
            request_seconds,
            connections,
            refused,
            workers,
            leases_granted,
            leases_expired,
            reports,
            units,
            dissents,
            commit_seconds,
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
        self.0.refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// So many workers are connected now.
    pub fn workers_connected(&self, workers: usize) {
        self.0.workers.set(whole(workers as u64));
    }

    /// A worker got units.
    pub fn leases_granted(&self, leases: usize) {
        self.0.leases_granted.inc_by(leases as u64);
    }

    /// A worker had a unit for too long.
    pub fn lease_expired(&self) {
        self.0.leases_expired.inc();
    }

    /// A worker reported. A dissent is counted once more on its own, since operators watch it.
    pub fn report(&self, result: ReportResult) {
        self.0.reports.get_or_create(&ResultLabels { result }).inc();
        if result == ReportResult::Dissent {
            self.0.dissents.inc();
        }
    }

    /// So many units are in that state now.
    pub fn units(&self, state: UnitState, units: u64) {
        self.0.units.get_or_create(&StateLabels { state }).set(whole(units));
    }

    /// A commit became durable.
    pub fn commit(&self, took: Duration) {
        self.0.commit_seconds.observe(took.as_secs_f64());
    }

    /// The text exposition, for [`OPENMETRICS`].
    pub fn text(&self) -> String {
        let mut page = String::new();
        // Writing to a string does not fail; a page cut short would lack its `# EOF` and be refused.
        let _written = text::encode(&mut page, &self.0.registry);
        page
    }
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
        metrics.lease_expired();
        metrics.report(ReportResult::Dissent);
        metrics.units(UnitState::Waiting, 7);
        metrics.commit(Duration::from_millis(5));
        let page = metrics.text();
        for line in [
            r#"manyhands_http_requests_total{route="/v1/runs/{id}",status="2xx"} 1"#,
            r#"manyhands_http_request_duration_seconds_count{route="/v1/runs/{id}"} 1"#,
            "manyhands_connections 1",
            r#"manyhands_connections_refused_total{reason="address"} 1"#,
            "manyhands_workers_connected 4",
            "manyhands_leases_granted_total 1",
            "manyhands_leases_expired_total 1",
            r#"manyhands_reports_total{result="dissent"} 1"#,
            r#"manyhands_units{state="waiting"} 7"#,
            "manyhands_dissents_total 1",
            "manyhands_commit_duration_seconds_count 1",
            r#"manyhands_build_info{version=""#,
            "# EOF",
        ] {
            assert!(page.lines().any(|found| found.starts_with(line)), "{line} is not in\n{page}");
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
