//! The runner that the coordinator starts for itself: a child process over the coordinator's own port, under a key that it trusts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use manyhands_model::WorkerId;
use manyhands_signing::Fingerprint;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Auditing;

const PROGRAM: &str = "manyhands-runner";
/// When one that ended is started again: so long at first, and twice as long each time that it did not last.
const AGAIN: Duration = Duration::from_secs(2);
const AGAIN_MAX: Duration = Duration::from_secs(300);
/// One that worked for so long has lasted.
const LASTED: Duration = Duration::from_secs(60);
/// Time for it to leave when the coordinator stops.
const LEAVE_TIME: Duration = Duration::from_secs(3);

/// What it takes to start one.
pub struct Own {
    /// Where it keeps its key.
    pub dir: PathBuf,
    /// Where the coordinator listens.
    pub address: SocketAddr,
    /// The coordinator's root key.
    pub root: Fingerprint,
    /// Units that it executes at the same time.
    pub slots: u32,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
enum NotOwn {
    #[error(
        "{program} cannot be started: {error}; install it beside the coordinator, or set `verification.auditor` to trusted or off"
    )]
    Start { program: String, error: std::io::Error },
    #[error("it does not say its key: {0}")]
    Key(String),
    #[error("it ended with {0}; what it said is above")]
    Ended(std::process::ExitStatus),
}

/// Starts one when it is first needed, and again whenever it ends, until `stop`.
pub async fn keep_one(auditing: Auditing, own: Own, stop: CancellationToken) {
    if stop.run_until_cancelled(auditing.0.needed.notified()).await.is_none() {
        return;
    }
    let mut again = AGAIN;
    loop {
        let began = tokio::time::Instant::now();
        let Some(error) = own.keep(&auditing, &stop).await else { return };
        again = if began.elapsed() >= LASTED { AGAIN } else { (2 * again).min(AGAIN_MAX) };
        warn!(%error, again_s = again.as_secs(), "the coordinator's own auditor does not work");
        if stop.run_until_cancelled(tokio::time::sleep(again)).await.is_none() {
            return;
        }
    }
}

impl Own {
    /// Keeps one until it ends, or until `stop`.
    async fn keep(&self, auditing: &Auditing, stop: &CancellationToken) -> Option<NotOwn> {
        let key = match self.key().await {
            Ok(key) => key,
            Err(error) => return Some(error),
        };
        auditing.set_trusted(key, true);
        let mut child = match self.start() {
            Ok(child) => child,
            Err(error) => return Some(error),
        };
        // It leaves when this ends. Whoever waits for a child would close it first.
        let held = child.stdin.take();
        info!(worker = %key, "the coordinator's own auditor was started");
        if let Some(ended) = stop.run_until_cancelled(child.wait()).await {
            return Some(match ended {
                Ok(status) => NotOwn::Ended(status),
                Err(error) => NotOwn::Start { program: PROGRAM.to_owned(), error },
            });
        }
        drop(held);
        let _killed = tokio::time::timeout(LEAVE_TIME, child.wait()).await;
        None
    }

    async fn key(&self) -> Result<WorkerId, NotOwn> {
        let mut ask = self.command();
        let said = ask.arg("fingerprint").stdin(Stdio::null()).output().await.map_err(Self::not_started)?;
        let text = String::from_utf8_lossy(&said.stdout);
        let why = || NotOwn::Key(String::from_utf8_lossy(&said.stderr).trim().chars().take(500).collect());
        text.trim().parse().map_err(|_| why())
    }

    fn start(&self) -> Result<Child, NotOwn> {
        // Whoever listens everywhere listens here as well.
        let here = match self.address.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let link = format!("http://{}/join#{}", SocketAddr::new(here, self.address.port()), self.root);
        let mut start = self.command();
        start.args(["--attached", "--slots", &self.slots.to_string(), &link]);
        start.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
        start.spawn().map_err(Self::not_started)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(Self::program());
        command.arg("--data-dir").arg(&self.dir);
        command
    }

    /// The one that was installed with this coordinator, else whichever is found.
    fn program() -> PathBuf {
        let beside = std::env::current_exe().ok().map(|own| own.with_file_name(PROGRAM));
        beside.filter(|path| path.is_file()).unwrap_or_else(|| PROGRAM.into())
    }

    fn not_started(error: std::io::Error) -> NotOwn {
        NotOwn::Start { program: Self::program().display().to_string(), error }
    }
}
