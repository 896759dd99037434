//! Attacks from another process, and what they leave behind.

use std::collections::BTreeMap;
use std::fs;
use std::future::ready;
use std::path::PathBuf;

use manyhands_api::{CreatedToken, NewToken, Role, RunView};
use manyhands_tests::{Coordinator, Process, until};
use reqwest::Method;
use tempfile::TempDir;

/// What an attack met, and how often.
pub(crate) type Met = BTreeMap<String, u64>;

/// Attackers at work. They end when this is dropped.
pub(crate) struct Besieger {
    process: Process,
    _dir: TempDir,
}

impl Besieger {
    /// Begins an attack with that many sockets and returns once each of them was tried.
    pub(crate) async fn begin(attack: &str, sockets: usize, coordinator: &Coordinator, prey: &Prey) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (address, sockets) = (address(coordinator), sockets.to_string());
        let arguments = [attack, &address, &sockets, &prey.token, &prey.run];
        let process = Process::start("besieger", arguments, &dir.path().join("besieger.log"));
        let mut new = Self { process, _dir: dir };
        until("the attack begins", || {
            assert!(new.process.ended().is_none(), "the besieger ended: {}", new.process.log());
            ready(new.process.log().lines().any(|line| line == "ready").then_some(()))
        })
        .await;
        new
    }

    /// Waits until it has met something of which `what` is a part.
    pub(crate) async fn meets(&self, what: &str) {
        let met = |line: &str| line.strip_prefix("met ").is_some_and(|met| met.contains(what));
        until(&format!("somebody meets `{what}`"), || ready(self.process.log().lines().any(met).then_some(()))).await;
    }

    /// Ends it and returns what it met.
    pub(crate) async fn end(mut self) -> Met {
        self.process.terminate();
        until("the attack ends", || ready(self.process.ended())).await;
        let log = self.process.log();
        let line = log.lines().rev().find(|line| line.starts_with('{'));
        serde_json::from_str(line.unwrap_or_else(|| panic!("the besieger says nothing: {log}"))).expect("JSON")
    }
}

/// What attackers have been given: they are not all strangers.
pub(crate) struct Prey {
    /// A developer's token.
    token: String,
    /// A run of theirs that has ended, with long outputs.
    run: String,
}

impl Prey {
    /// Lets them in, with a run that is open as well: nobody executes as many equal replicas as it asks for.
    pub(crate) async fn given(coordinator: &Coordinator) -> Self {
        let new = NewToken { name: "mallory".into(), role: Role::Developer };
        let created = coordinator.request(Method::POST, "/v1/tokens").json(&new).send().await.expect("an answer");
        let token = created.json::<CreatedToken>().await.expect("a token").token;
        let line = |number: usize| format!("[{number},\"{}\"]\n", "x".repeat(1 << 15));
        let submit = async |quorum: &str| {
            let path = format!("/v1/runs?job=parrot&priority=-100&{quorum}");
            let request = coordinator.anonymous(Method::POST, &path).bearer_auth(&token);
            let answer = request.body((0..64).map(line).collect::<String>()).send().await.expect("an answer");
            answer.json::<RunView>().await.expect("a run").id
        };
        let run = submit("replicas=1&replicas_max=1").await;
        coordinator.done(run, 64).await;
        // The honest worker of the harness executes nothing: it is the one who may be wrong.
        submit("replicas=15&replicas_max=16").await;
        Self { token, run: run.to_string() }
    }
}

/// `IP:PORT` of a coordinator.
pub(crate) fn address(coordinator: &Coordinator) -> String {
    let join = coordinator.join();
    join.trim_start_matches("http://").split('/').next().unwrap_or_default().to_owned()
}

/// The operator's token.
pub(crate) fn token(coordinator: &Coordinator) -> String {
    let file = coordinator.data_dir().join("operator.token");
    fs::read_to_string(file).expect("the token").trim().to_owned()
}

/// What a coordinator holds, as the operating system and its own metrics see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) files: usize,
    pub(crate) connections: u64,
    pub(crate) workers: u64,
    pub(crate) memory_mib: f64,
}

impl Held {
    pub(crate) async fn by(coordinator: &Coordinator) -> Self {
        let answer = coordinator.request(Method::GET, "/metrics").send().await.expect("an answer");
        let text = answer.text().await.expect("metrics");
        Self {
            files: fs::read_dir(proc(coordinator).join("fd")).expect("its files").count(),
            connections: gauge(&text, "manyhands_connections"),
            workers: gauge(&text, "manyhands_workers_connected"),
            memory_mib: status_mib(coordinator, "VmRSS"),
        }
    }

    /// Waits until a coordinator holds no more than this, but for a few connections that come and go.
    pub(crate) async fn again(self, coordinator: &Coordinator) -> Self {
        const COMING_AND_GOING: usize = 8;
        until("everything is given back", async || {
            let now = Self::by(coordinator).await;
            let released = now.workers <= self.workers
                && now.connections <= self.connections + COMING_AND_GOING as u64
                && now.files <= self.files + COMING_AND_GOING;
            released.then_some(now)
        })
        .await
    }
}

/// Forgets the peak, so that the next one is of what happens from now on.
pub(crate) fn forget_peak(coordinator: &Coordinator) {
    fs::write(proc(coordinator).join("clear_refs"), "5").expect("the peak can be reset");
}

/// Most memory that the coordinator had since [`forget_peak`].
pub(crate) fn peak_mib(coordinator: &Coordinator) -> f64 {
    status_mib(coordinator, "VmHWM")
}

fn proc(coordinator: &Coordinator) -> PathBuf {
    PathBuf::from(format!("/proc/{}", coordinator.process.id()))
}

fn status_mib(coordinator: &Coordinator, field: &str) -> f64 {
    let status = fs::read_to_string(proc(coordinator).join("status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    let kib: f64 = line.trim_matches([':', '\t', ' ']).split(' ').next().and_then(|kib| kib.parse().ok()).expect("KiB");
    kib / 1024.0
}

fn gauge(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in:\n{text}"))
}
