//! Clients who want nothing but their work, and how long they wait.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use manyhands_protocol::{ClientMessage, ServerMessage};
use manyhands_tests::{Coordinator, Runner, Unit, Worker, jobs};
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::attack::{address, token};

/// Pace of each client: well below what a coordinator can do, so that waiting is not of their own making.
const EVERY: Duration = Duration::from_millis(10);
/// Whoever waits longer was not served. Long, because a busy machine is slow and not wrong.
const GIVE_UP: Duration = Duration::from_secs(20);

/// What clients waited for in one window of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    /// Submit to verified answer, by a real runner and a worker of the harness.
    pub(crate) invoke: Vec<Duration>,
    /// A worker's report to its receipt.
    pub(crate) receipt: Vec<Duration>,
    /// A request over a connection of its own.
    pub(crate) connect: Vec<Duration>,
    /// Requests that were refused or took too long.
    pub(crate) failures: u32,
    /// The last of them.
    pub(crate) why: String,
}

/// The `q`th part of `times`, in milliseconds.
pub(crate) fn quantile_ms(times: &[Duration], q: f64) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = (times.len() as f64 * q).ceil() as usize;
    times.get(at.saturating_sub(1)).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

/// Honest clients of one coordinator: a runner, a worker of the harness, and a requester.
pub(crate) struct Honest {
    _runners: Vec<Runner>,
    worker: JoinHandle<()>,
    receipts: Arc<Mutex<Vec<Duration>>>,
}

impl Drop for Honest {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

impl Honest {
    /// They arrive before anybody else.
    pub(crate) async fn arrive(coordinator: &Coordinator) -> Self {
        let job = jobs::parrot();
        coordinator.publish(&job.module, &job.manifest).await.expect("published");
        let runners = coordinator.runners(1).await;
        // The worker of the harness does not execute: it says what the runner found.
        let first = invoke(coordinator, 1).await.expect("the runner answers");
        let fuel = first.parse().expect("fuel is a number");
        let worker = Worker::connect(&coordinator.join(), Worker::new_key()).await.expect("connects");
        let receipts = Arc::new(Mutex::new(Vec::new()));
        let worker = tokio::spawn(work(worker, fuel, Arc::clone(&receipts)));
        Self { _runners: runners, worker, receipts }
    }

    /// Works for that long.
    pub(crate) async fn work(&self, coordinator: &Coordinator, length: Duration) -> Window {
        let end = Instant::now() + length;
        self.receipts.lock().expect("nobody panics").clear();
        let (address, token) = (address(coordinator).parse().expect("an address"), token(coordinator));
        let invoking = repeat(end, async || invoke(coordinator, 2).await.map(drop));
        let connecting = repeat(end, async || connect(address, &token).await);
        let (invoked, connected) = tokio::join!(invoking, connecting);
        assert!(!self.worker.is_finished(), "the honest worker was sent away");
        let receipt = self.receipts.lock().expect("nobody panics").clone();
        let failures = invoked.1 + connected.1;
        let why = if invoked.1 > 0 { format!("invoke: {}", invoked.2) } else { format!("connect: {}", connected.2) };
        Window { invoke: invoked.0, connect: connected.0, receipt, failures, why }
    }
}

/// Does something again and again until `end`. Returns how long each took, how many failed and the last reason.
async fn repeat(end: Instant, once: impl AsyncFn() -> Result<(), String>) -> (Vec<Duration>, u32, String) {
    let (mut times, mut failures, mut why) = (Vec::new(), 0, String::new());
    let mut pace = interval(EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < end {
        pace.tick().await;
        let began = Instant::now();
        match timeout(GIVE_UP, once()).await {
            Ok(Ok(())) => times.push(began.elapsed()),
            Ok(Err(error)) => (failures, why) = (failures + 1, error),
            Err(_) => (failures, why) = (failures + 1, format!("nothing within {} s", GIVE_UP.as_secs())),
        }
    }
    // Who was not served waited too long, however soon the refusal came.
    times.extend(std::iter::repeat_n(GIVE_UP, failures as usize));
    (times, failures, why)
}

/// One unit, submit to verified. Returns its fuel.
async fn invoke(coordinator: &Coordinator, replicas: u8) -> Result<String, String> {
    let path = format!("/v1/jobs/parrot/invoke?replicas={replicas}");
    // Executed each time, not answered from the first.
    let request = coordinator.request(Method::POST, &path).header("cache-control", "no-cache");
    let answer = request.body(r#"["a","small","unit"]"#).send().await;
    let answer = answer.map_err(|error| error.to_string())?;
    let fuel = answer.headers().get("manyhands-fuel").and_then(|fuel| fuel.to_str().ok()).map(str::to_owned);
    let (status, body) = (answer.status(), answer.text().await.unwrap_or_default());
    fuel.filter(|_| status.is_success()).ok_or_else(|| format!("{status}: {body}"))
}

/// One request over a new connection.
async fn connect(address: SocketAddr, token: &str) -> Result<(), String> {
    let lost = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).await.map_err(lost)?;
    let request =
        format!("GET /v1/jobs HTTP/1.1\r\nhost: honest\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(lost)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(lost)?;
    if answer.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(answer) }
}

/// A worker of the harness: answers every input with itself, as the parrot does.
async fn work(mut worker: Worker, fuel: u64, receipts: Arc<Mutex<Vec<Duration>>>) {
    let mut reported = Instant::now();
    let mut ping = interval(Duration::from_secs(10));
    worker.send(&ClientMessage::Want(1)).await.expect("connected");
    loop {
        let heard = tokio::select! {
            heard = worker.receive() => heard.unwrap_or_else(|lost| panic!("an honest worker was sent away: {lost}")),
            _ = ping.tick() => {
                worker.send(&ClientMessage::Ping).await.expect("connected");
                continue;
            }
        };
        match heard {
            ServerMessage::Grant(grant) => {
                let units = Unit::all(&grant);
                let done = worker.done(units.iter().map(|unit| (unit, unit.input.to_vec())), fuel);
                reported = Instant::now();
                worker.send(&ClientMessage::Done(done)).await.expect("connected");
            }
            ServerMessage::Receipts(_) => {
                receipts.lock().expect("nobody panics").push(reported.elapsed());
                worker.send(&ClientMessage::Want(1)).await.expect("connected");
            }
            _ => {}
        }
    }
}
