//! A real coordinator in a folder of its own, and its HTTP API.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use manyhands_api::{
    FRAMES, JobView, PUBLICATION_HEADER, Problem, ResultLine, RunState, RunView, Why, WorkerList, WorkerView,
};
use manyhands_model::{Digest, Manifest, RunId, Timestamp};
use manyhands_protocol::Publication;
use manyhands_signing::{Keypair, Signed};
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::process::{Process, Runner};
use crate::wait::{PATIENCE, until};

/// An answer that is a problem document.
#[derive(Debug)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// What is wrong.
    pub problem: Problem,
}

impl Refused {
    /// Status and code, which is what programs look at.
    pub fn code(&self) -> (u16, &str) {
        (self.status, self.problem.kind.trim_start_matches("/problems/"))
    }
}

/// A coordinator that serves until this is dropped.
pub struct Coordinator {
    /// Its process.
    pub process: Process,
    settings: Vec<&'static str>,
    home: TempDir,
    address: String,
    token: String,
    http: reqwest::Client,
}

impl Coordinator {
    /// Starts one over an empty folder.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one over an empty folder, with settings such as `limits.workers_max=1`.
    pub async fn start_with(settings: &[&'static str]) -> Self {
        static TLS: Once = Once::new();
        TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let home = tempfile::tempdir().expect("a temporary folder");
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        let process = launch(home.path(), "127.0.0.1:0", settings);
        let mut new =
            Self { process, settings: settings.to_vec(), home, address: String::new(), token: String::new(), http };
        new.serving().await;
        new
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill();
        let _none = std::fs::remove_file(self.data_dir().join("address"));
    }

    /// Starts it again where it was, over the same folder.
    pub async fn restart(&mut self) {
        self.process = launch(self.home.path(), self.address.trim_start_matches("http://"), &self.settings);
        self.serving().await;
    }

    /// Starts another process over the same folder and returns its exit code and last words.
    pub async fn start_a_second(&self) -> (Option<i32>, String) {
        let data = self.data_dir().display().to_string();
        let log = self.home.path().join("second.log");
        let mut second =
            Process::start("manyhands-coordinator", ["--data-dir", &data, "--listen", "127.0.0.1:0"], &log);
        let waited = tokio::time::Instant::now();
        loop {
            if let Some(status) = second.ended() {
                return (status.code(), second.log());
            }
            assert!(waited.elapsed() < PATIENCE, "the second coordinator goes on");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn serving(&mut self) {
        let data = self.data_dir();
        let read = |name: &str| std::fs::read_to_string(data.join(name)).ok().map(|text| text.trim().to_owned());
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let (Some(address), Some(token)) = (read("address"), read("operator.token")) {
                let ready = self.http.get(format!("{address}/readyz")).send().await;
                if ready.is_ok_and(|answer| answer.status().is_success()) {
                    (self.address, self.token) = (address, token);
                    return;
                }
            }
            if let Some(status) = self.process.ended() {
                panic!("the coordinator ended with {status}:\n{}", self.process.log());
            }
            assert!(tokio::time::Instant::now() < deadline, "the coordinator does not become ready");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Where it keeps everything.
    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Where a path of it is.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address.trim_start_matches("http://").parse().expect("an address")
    }

    /// What volunteers are given.
    pub fn join(&self) -> String {
        std::fs::read_to_string(self.data_dir().join("join")).expect("the join link").trim().to_owned()
    }

    /// `count` runners, all of them connected.
    pub async fn runners(&self, count: usize) -> Vec<Runner> {
        let join = self.join();
        let before = self.connected().await;
        let runners = (0..count).map(|_| Runner::start(&join)).collect();
        until("runners connect", async || (self.connected().await >= before + count).then_some(())).await;
        runners
    }

    /// How many workers are connected.
    pub async fn connected(&self) -> usize {
        self.workers().await.iter().filter(|worker| worker.connected).count()
    }

    /// All workers that were ever there.
    pub async fn workers(&self) -> Vec<WorkerView> {
        self.get::<WorkerList>("/v1/workers").await.expect("a list").workers
    }

    /// A request with the operator's token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.token)
    }

    /// A request without any token.
    pub fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.address))
    }

    /// The answer to a GET.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refused> {
        read(self.request(Method::GET, path)).await
    }

    /// The answer to a POST with a body of JSON lines.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: impl Into<reqwest::Body>) -> Result<T, Refused> {
        read(self.request(Method::POST, path).body(body)).await
    }

    /// Publishes `module` under its own name, signed by the tests' publisher.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn publish(&self, module: &[u8], manifest: &Manifest) -> Result<JobView, Refused> {
        self.publish_as(module, &publication(module, manifest)).await
    }

    /// Publishes `module` with whatever is said about it.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn publish_as(&self, module: &[u8], publication: &Signed<Publication>) -> Result<JobView, Refused> {
        let signed = postcard::to_allocvec(publication).expect("serialises");
        let request = self.request(Method::POST, "/v1/jobs").header("content-type", "application/wasm");
        read(request.header(PUBLICATION_HEADER, BASE64.encode(signed)).body(module.to_vec())).await
    }

    /// Submits a run; `query` begins with the job's name.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn submit(&self, query: &str, inputs: &[Vec<u8>]) -> Result<RunView, Refused> {
        let request = self.request(Method::POST, &format!("/v1/runs?job={query}")).header("content-type", FRAMES);
        read(request.body(frames(inputs))).await
    }

    /// Where a run stands.
    pub async fn run(&self, id: RunId) -> RunView {
        self.get(&format!("/v1/runs/{id}")).await.expect("the run is known")
    }

    /// A number of `/metrics`, by its whole name.
    pub async fn metric(&self, name: &str) -> u64 {
        let answer = self.request(Method::GET, "/metrics").send().await.expect("an answer");
        let page = answer.text().await.expect("a page");
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{page}"))
    }

    /// Waits until at least `count` units of a run are done.
    pub async fn done(&self, id: RunId, count: u64) -> RunView {
        let look = async || Some(self.run(id).await).filter(|run| run.units.done >= count);
        until("units are done", look).await
    }

    /// The outputs that can be had at this moment, by the numbers of their units.
    pub async fn served(&self, id: RunId, inputs: u64) -> BTreeMap<u64, Vec<u8>> {
        let mut served = BTreeMap::new();
        for unit in 0..inputs {
            let path = format!("/v1/runs/{id}/units/{unit}/output");
            let answer = self.request(Method::GET, &path).send().await.expect("an answer");
            if answer.status().is_success() {
                served.insert(unit, answer.bytes().await.expect("the whole output").to_vec());
            }
        }
        served
    }

    /// Follows the run to its end and returns its results in the order of the inputs.
    pub async fn results(&self, id: RunId) -> Vec<ResultLine> {
        let path = format!("/v1/runs/{id}/results?which=inputs");
        let answer = self.request(Method::GET, &path).send().await.expect("an answer");
        let body = match answer.status().is_success() {
            true => answer.text().await,
            false => panic!("{path}: {:?}", refused(answer).await),
        };
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                let why: Result<Why, _> = self.get(&format!("/v1/runs/{id}/why")).await;
                panic!("the results broke off: {error}; {why:#?}");
            }
        };
        body.lines().map(|line| serde_json::from_str(line).expect("a result line")).collect()
    }

    /// The outputs of a run without failures, in the order of the inputs.
    pub async fn outputs(&self, id: RunId) -> Vec<Vec<u8>> {
        let outputs = self.handed_on(id).await;
        assert_eq!(self.run(id).await.state, RunState::Finished);
        outputs
    }

    /// The same where whoever is caught may have had units opened again since.
    pub async fn handed_on(&self, id: RunId) -> Vec<Vec<u8>> {
        let output = |line: ResultLine| match (line.output_base64, line.output) {
            (Some(text), _) => BASE64.decode(text).expect("base64"),
            (None, Some(json)) => json.get().as_bytes().to_vec(),
            (None, None) => panic!("unit {} has no output: {} {:?}", line.unit, line.status, line.error),
        };
        self.results(id).await.into_iter().map(output).collect()
    }
}

fn launch(home: &Path, listen: &str, settings: &[&str]) -> Process {
    let data = home.join("data").display().to_string();
    let log = home.join("coordinator.log");
    let fixed = ["--data-dir", &data, "--listen", listen];
    let arguments = fixed.into_iter().chain(settings.iter().flat_map(|setting| ["--set", *setting]));
    Process::start("manyhands-coordinator", arguments, &log)
}

/// What the tests' publisher says about `module`.
pub fn publication(module: &[u8], manifest: &Manifest) -> Signed<Publication> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let publication = Publication {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        module: Digest::of(module),
        issued_at: Timestamp(u64::try_from(now).unwrap_or(u64::MAX)),
    };
    Signed::new(&Keypair::from_seed(&[7; 32]), &publication)
}

fn frames(inputs: &[Vec<u8>]) -> Vec<u8> {
    let length = |input: &[u8]| u32::try_from(input.len()).expect("inputs are short").to_le_bytes();
    inputs.iter().flat_map(|input| [&length(input), &input[..]].concat()).collect()
}

/// Sends a request and reads its answer.
async fn read<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, Refused> {
    let answer = request.send().await.expect("the coordinator answers");
    if answer.status().is_success() {
        Ok(answer.json().await.expect("the answer is what the API promises"))
    } else {
        Err(refused(answer).await)
    }
}

async fn refused(answer: Response) -> Refused {
    let status = answer.status().as_u16();
    let kind = answer.headers().get("content-type").cloned();
    assert_eq!(kind.as_ref().and_then(|kind| kind.to_str().ok()), Some("application/problem+json"));
    Refused { status, problem: answer.json().await.expect("a problem document") }
}
