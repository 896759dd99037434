//! A coordinator and its runners that may die, stop or lose their clock at any moment, and how one talks to them.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use manyhands_api::{FRAMES, IDEMPOTENCY_HEADER, WorkerList};
use manyhands_tests::{Process, publication};
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::work;

/// How long anything may take once all is well.
pub(crate) const BOUND: Duration = Duration::from_secs(120);
/// How often something is tried again that has to succeed in the end.
const AGAIN: Duration = Duration::from_millis(15);
/// Leases that live a few seconds, so that tests can outlive them; what else would hold a run up is in nobody's way.
const SETTINGS: &[&str] = &["scheduling.lease_ms=2000", "log.filter=info", "log.format=json"];

/// A promise that was not kept, in a sentence.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) String);

pub(crate) type Kept<T> = Result<T, Broken>;

pub(crate) fn promise(kept: bool, otherwise: impl FnOnce() -> String) -> Kept<()> {
    if kept { Ok(()) } else { Err(Broken(otherwise())) }
}

/// A program in a folder of its own, that comes back with the same folder.
pub(crate) struct Machine {
    name: String,
    program: &'static str,
    arguments: Vec<String>,
    /// Variables for the next start.
    pub(crate) environment: Vec<(&'static str, OsString)>,
    log: PathBuf,
    process: Option<Process>,
}

impl Machine {
    pub(crate) fn start(&mut self) {
        self.process = Some(Process::start_in(&self.environment, self.program, &self.arguments, &self.log));
    }

    /// As a power cut would.
    pub(crate) fn kill(&mut self) -> Kept<()> {
        self.check()?;
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
        Ok(())
    }

    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    /// It has not ended by itself, nor complained of anything that nobody did to it.
    pub(crate) fn check(&mut self) -> Kept<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        if let Some(status) = process.ended() {
            let log = process.log();
            let tail: Vec<_> = log.lines().rev().take(12).collect();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            return Err(Broken(format!("{} ended by itself with {status}:\n{tail}", self.name)));
        }
        Ok(())
    }
}

/// How to reach the coordinator, whether or not it is there.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    /// Sends a request until it is answered with success. What is nobody's fault is tried again: no connection, a
    /// broken one, and answers that say so themselves.
    pub(crate) async fn insist<T: DeserializeOwned>(&self, request: impl Fn() -> RequestBuilder) -> Kept<T> {
        let since = Instant::now();
        loop {
            let problem = match request().send().await {
                Ok(answer) if answer.status().is_success() => match answer.json().await {
                    Ok(value) => return Ok(value),
                    Err(error) => error.to_string(),
                },
                Ok(answer) => {
                    let status = answer.status();
                    let text = answer.text().await.unwrap_or_default();
                    // 409: the same request is still being answered. 503: the coordinator is about to stop.
                    promise(matches!(status.as_u16(), 409 | 503), || format!("{status}: {text}"))?;
                    text
                }
                Err(error) => error.to_string(),
            };
            promise(since.elapsed() < BOUND, || format!("not answered within {BOUND:?}: {problem}"))?;
            tokio::time::sleep(AGAIN).await;
        }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Kept<T> {
        self.insist(|| self.request(Method::GET, path)).await
    }

    /// Submits under an idempotency key until that is acknowledged.
    pub(crate) async fn submit(&self, key: &str, inputs: &[Vec<u8>]) -> Kept<manyhands_api::RunView> {
        let length = |input: &[u8]| (input.len() as u32).to_le_bytes();
        let body: Vec<u8> = inputs.iter().flat_map(|input| [&length(input)[..], input].concat()).collect();
        self.insist(|| {
            let request = self.request(Method::POST, "/v1/runs?job=stretch&replicas=2&replicas_max=6");
            request.header("content-type", FRAMES).header(IDEMPOTENCY_HEADER, key).body(body.clone())
        })
        .await
    }

    /// Waits until `count` workers are connected, for `bound` at most, and `/metrics` says so too.
    pub(crate) async fn connected(&self, count: usize, bound: Duration) -> Kept<()> {
        let since = Instant::now();
        loop {
            let workers: WorkerList = self.get("/v1/workers").await?;
            let there = workers.workers.iter().filter(|worker| worker.connected).count();
            let counted = self.metric("manyhands_workers_connected ").await;
            if there == count && counted == Some(count as u64) {
                return Ok(());
            }
            promise(since.elapsed() < bound, || {
                format!("after {bound:?} {there} workers are connected and /metrics counts {counted:?}, not {count}")
            })?;
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// A number of `/metrics`, if it can be had now.
    async fn metric(&self, name: &str) -> Option<u64> {
        let text = self.request(Method::GET, "/metrics").send().await.ok()?.text().await.ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }
}

/// All processes of a test. They end when this is dropped.
pub(crate) struct Site {
    // Dropped first: runners leave more quickly while the coordinator is there.
    pub(crate) runners: Vec<Machine>,
    pub(crate) coordinator: Machine,
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    home: TempDir,
}

impl Site {
    /// A coordinator over an empty folder, with the job published; no runners yet.
    pub(crate) async fn start() -> Kept<Self> {
        let _first = rustls::crypto::ring::default_provider().install_default();
        let home = tempfile::tempdir().expect("a temporary folder");
        let mut coordinator = Machine {
            name: "the coordinator".into(),
            program: "manyhands-coordinator",
            arguments: coordinator_arguments(home.path(), "127.0.0.1:0"),
            environment: Vec::new(),
            log: home.path().join("coordinator.log"),
            process: None,
        };
        coordinator.start();
        let http = reqwest::Client::builder().no_proxy().timeout(BOUND).build().expect("a client");
        let read = |name: &str| {
            std::fs::read_to_string(home.path().join("data").join(name)).map(|text| text.trim().to_owned())
        };
        let since = Instant::now();
        let (base, token) = loop {
            if let (Ok(base), Ok(token)) = (read("address"), read("operator.token")) {
                break (base, token);
            }
            coordinator.check()?;
            promise(since.elapsed() < BOUND, || "the coordinator does not say where it listens".into())?;
            tokio::time::sleep(AGAIN).await;
        };
        let address: SocketAddr = base.trim_start_matches("http://").parse().expect("an address");
        // From now on it comes back where it was.
        coordinator.arguments = coordinator_arguments(home.path(), &address.to_string());
        let client = Client { http, base, token };
        let job = work::job();
        let signed = postcard::to_allocvec(&publication(&job.module, &job.manifest)).expect("serialises");
        let publish = || {
            let request = client.request(Method::POST, "/v1/jobs").header("content-type", "application/wasm");
            let request = request.header(manyhands_api::PUBLICATION_HEADER, base64(&signed));
            request.header(IDEMPOTENCY_HEADER, "publish").body(job.module.clone())
        };
        let _published: serde_json::Value = client.insist(publish).await?;
        Ok(Self { runners: Vec::new(), coordinator, client, address, home })
    }

    /// What volunteers are given.
    pub(crate) fn join(&self) -> String {
        let link = std::fs::read_to_string(self.home.path().join("data/join")).expect("the join link");
        link.trim().to_owned()
    }

    /// Where the coordinator keeps everything.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Adds a runner that reaches the coordinator at `address`.
    pub(crate) fn add_runner(&mut self, address: SocketAddr) {
        let number = self.runners.len();
        let join = self.join().replacen(&self.address.to_string(), &address.to_string(), 1);
        let folder = self.home.path().join(format!("runner-{number}"));
        let mut runner = Machine {
            name: format!("runner {number}"),
            program: "manyhands-runner",
            arguments: vec![join, "--data-dir".into(), folder.display().to_string(), "--slots".into(), "1".into()],
            environment: Vec::new(),
            log: self.home.path().join(format!("runner-{number}.log")),
            process: None,
        };
        runner.start();
        self.runners.push(runner);
    }

    /// `count` runners without anything in between.
    pub(crate) fn add_runners(&mut self, count: usize) {
        (0..count).for_each(|_| self.add_runner(self.address));
    }

    /// Nobody ended by itself.
    pub(crate) fn check(&mut self) -> Kept<()> {
        self.coordinator.check()?;
        self.runners.iter_mut().try_for_each(Machine::check)
    }

    /// Nor did the coordinator, in any of its lives, find anything that is its own fault or its disk's.
    pub(crate) fn no_complaints(&self) -> Kept<()> {
        let log = std::fs::read_to_string(&self.coordinator.log).unwrap_or_default();
        let complaint = log.lines().find(|line| line.contains(r#""level":"ERROR""#) || line.contains("panicked"));
        promise(complaint.is_none(), || format!("the coordinator complains: {}", complaint.unwrap_or_default()))
    }
}

fn coordinator_arguments(home: &Path, listen: &str) -> Vec<String> {
    let data = home.join("data").display().to_string();
    let fixed = ["--data-dir", &data, "--listen", listen];
    let set = SETTINGS.iter().flat_map(|setting| ["--set", setting]);
    fixed.into_iter().chain(set).map(str::to_owned).collect()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
