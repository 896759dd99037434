//! `manyhands-runner`: see `--help`.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use manyhands_model::WorkerId;
use manyhands_protocol::{Body, Invitation};
use manyhands_runner::cache::Cache;
use manyhands_runner::engine;
use manyhands_runner::identity::{DataDir, DataDirError};
use manyhands_runner::link::JoinLink;
use manyhands_runner::outbox::Outbox;
use manyhands_runner::sandbox::{self, Program, parent};
use manyhands_runner::session::{Command, End, Session};
use manyhands_worker::{Config, Event, Key, Pace, Worker};
use tokio::sync::mpsc;

/// Longest file that can be an invitation.
const INVITATION_BYTES_MAX: u64 = 1 << 10;
/// How often the results so far are told.
const SUMMARY: Duration = Duration::from_secs(60);

/// Lends this computer's spare time to a Manyhands coordinator.
///
/// Jobs are WebAssembly modules without network, files or clock; each runs in a process of its own that
/// the operating system locks down. Ctrl-C or SIGTERM finishes what was begun, for at most half a minute,
/// and leaves; a second one leaves at once, and what was finished is sent at the next start. SIGUSR1 pauses
/// and resumes. MANYHANDS_LOG=debug shows every unit.
#[derive(Parser)]
#[command(
    version,
    subcommand_negates_reqs = true,
    after_help = "Exit codes: 0 left as asked, 2 wrong usage, 69 cannot work here, 77 not wanted or not believed, 130 left at once."
)]
struct Arguments {
    /// The join link that the coordinator's operator gave you; put it in quotes
    #[arg(value_name = "JOIN_LINK", required = true)]
    link: Option<JoinLink>,
    /// Units to execute at once [default: half of the processors]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    slots: Option<u16>,
    /// Where the key, finished work and compiled modules are kept; each runner needs its own
    /// [default: $XDG_DATA_HOME/manyhands-runner]
    #[arg(long, value_name = "DIR", env = "MANYHANDS_RUNNER_DATA_DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// A file with the invitation that the operator gave you, if the coordinator takes invited workers only, or your workers are to be
    /// known as yours; else $MANYHANDS_RUNNER_INVITATION is it. It is needed once
    #[arg(long, value_name = "FILE")]
    invitation: Option<PathBuf>,
    /// Leave at once when standard input ends: for a program that starts a runner of its own, and may end in any way
    #[arg(long)]
    attached: bool,
    /// Log as JSON lines
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Print this worker's id, which is its public key, and end
    Fingerprint,
}

fn main() -> ExitCode {
    if let Some(code) = sandbox::run_if_child() {
        return code;
    }
    let arguments = Arguments::parse();
    log(arguments.json);
    // One thread: it only passes on what its children execute, and passing it between threads costs more.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(69, &error),
    };
    let code = runtime.block_on(run(arguments));
    // What still executes is killed with its processes; nothing waits for it.
    runtime.shutdown_background();
    code
}

async fn run(arguments: Arguments) -> ExitCode {
    let Some(dir) = arguments.data_dir.or_else(default_data_dir) else {
        return fail(2, &"neither XDG_DATA_HOME nor HOME names a directory; say where with --data-dir");
    };
    let Some(link) = arguments.link.filter(|_| arguments.verb.is_none()) else {
        return match id(&dir) {
            Ok(id) => {
                let _closed = writeln!(std::io::stdout(), "{id}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(69, &error),
        };
    };
    if arguments.attached {
        leave_with_standard_input();
    }
    let slots = arguments.slots.unwrap_or_else(half_of_the_processors);
    let invitation = match invitation(arguments.invitation.as_deref()) {
        Ok(invitation) => invitation,
        Err(error) => return fail(2, &format!("{error:#}")),
    };
    match prepare(link, &dir, slots, invitation, arguments.json).await {
        Ok((session, left)) => match session.run(commands(), left).await {
            End::Drained => ExitCode::SUCCESS,
            End::Fatal(reason) => fail(77, &reason),
        },
        Err(error) => fail(69, &format!("{error:#}")),
    }
}

/// What the volunteer was invited with: the file's only line, or the variable.
fn invitation(file: Option<&Path>) -> anyhow::Result<Option<Invitation>> {
    let text = match file {
        Some(file) => {
            let mut text = String::new();
            let read =
                std::fs::File::open(file).and_then(|file| file.take(INVITATION_BYTES_MAX).read_to_string(&mut text));
            read.with_context(|| format!("the invitation in {} cannot be read", file.display()))?;
            text
        }
        None => std::env::var("MANYHANDS_RUNNER_INVITATION").unwrap_or_default(),
    };
    let text = text.trim();
    if text.is_empty() && file.is_some() {
        anyhow::bail!("the file of the invitation is empty");
    }
    Ok((!text.is_empty()).then(|| Invitation(text.to_owned())))
}

/// Also while the runner runs.
fn id(dir: &Path) -> Result<WorkerId, DataDirError> {
    let data = match DataDir::open(dir) {
        Err(DataDirError::InUse(_)) => DataDir::look(dir),
        opened => opened?,
    };
    Ok(data.key()?.public().into())
}

async fn prepare(
    link: JoinLink,
    dir: &Path,
    slots: u16,
    invitation: Option<Invitation>,
    json: bool,
) -> anyhow::Result<(Session, Vec<manyhands_worker::Parcel>)> {
    let data = DataDir::open(dir)?;
    let key = data.key()?;
    // A second call only says that the provider is there already.
    let _there = rustls::crypto::ring::default_provider().install_default();
    let program = Program::current()?;
    let (lockdown, fingerprint) = parent::survey(&program).await?;
    if lockdown.is_complete() {
        tracing::info!(%lockdown, "jobs run in locked-down processes");
    } else {
        tracing::warn!(%lockdown, "jobs run in processes that are locked down in part");
    }
    // One for each coordinator: what was done for one is nobody else's business.
    let coordinator = link.fingerprint.to_string();
    let (outbox, left) = Outbox::open(&data.join("outbox").join(&coordinator))?;
    if !left.is_empty() {
        tracing::info!(parcels = left.len(), "results from before wait to be sent");
    }
    let cache = Cache::open(&data.join("cache"), *data.secret("cache.key")?, fingerprint)?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    tracing::info!(worker = %WorkerId::from(key.public()), slots, "ready");
    let worker = Worker::new(Config {
        pinned: link.fingerprint,
        key: Key::Held(key),
        body: Body {
            engine: engine::NAME.to_owned(),
            runtime: format!("manyhands-runner {}", env!("CARGO_PKG_VERSION")),
        },
        pace: Pace::full(slots),
        is_watched: false,
        trust_version: data.trust_version(&coordinator)?,
        invitation,
        seed,
    });
    let session =
        Session { link, worker, data, outbox, cache: Arc::new(cache), program, slots, say: Box::new(narrator(json)) };
    Ok((session, left))
}

/// Tells the volunteer what happens, units one by one only if asked to; machines get a word for it too.
fn narrator(json: bool) -> impl FnMut(&Event) + Send {
    let (mut recorded, mut told) = (0_u64, Instant::now());
    move |event| {
        let kind = json.then(|| event.word());
        match event {
            Event::Started { .. } | Event::Executed { .. } | Event::Recorded { .. } | Event::Settled { .. } => {
                tracing::debug!(kind, "{event}")
            }
            Event::Joined
            | Event::NotCounted { .. }
            | Event::Balance { .. }
            | Event::Paused(_)
            | Event::Resumed
            | Event::Draining { .. }
            | Event::Left { .. } => tracing::info!(kind, "{event}"),
            Event::Lost { .. }
            | Event::Contradicted { .. }
            | Event::ClockDiffers { .. }
            | Event::Refused(_)
            | Event::MachineFailed { .. }
            | Event::TooLate { .. }
            | Event::Resting { .. } => tracing::warn!(kind, "{event}"),
        }
        let is_recorded = matches!(event, Event::Recorded { .. });
        recorded += u64::from(is_recorded);
        if is_recorded && told.elapsed() >= SUMMARY {
            told = Instant::now();
            tracing::info!(kind = json.then_some("summary"), "{recorded} results recorded so far");
        }
    }
}

/// Ends this process, and so its children, when whoever holds the other end is gone.
fn leave_with_standard_input() {
    std::thread::spawn(|| {
        let _end = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(130);
    });
}

/// Turns signals into commands.
fn commands() -> mpsc::Receiver<Command> {
    use tokio::signal::unix::{SignalKind, signal};
    let (sender, receiver) = mpsc::channel(4);
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut user)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::user_defined1()))
    else {
        // Without handlers the signals end the process, and saved work is sent at the next start. The
        // sender stays alive, or the session would take its end for a command.
        std::mem::forget(sender);
        return receiver;
    };
    tokio::spawn(async move {
        let mut draining = false;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = user.recv() => {
                    let _ended = sender.send(Command::TogglePause).await;
                    continue;
                }
            }
            if std::mem::replace(&mut draining, true) {
                std::process::exit(130);
            }
            let _ended = sender.send(Command::Drain).await;
        }
    });
    receiver
}

fn half_of_the_processors() -> u16 {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(processors / 2).unwrap_or(u16::MAX).max(1)
}

/// None where the user has no directory: a key does not belong into one that is shared.
fn default_data_dir() -> Option<PathBuf> {
    // A relative path is to be ignored (XDG Base Directory Specification 0.8).
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || absolute("HOME").map(|home| home.join(".local/share"));
    Some(absolute("XDG_DATA_HOME").or_else(home)?.join("manyhands-runner"))
}

fn log(json: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MANYHANDS_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let lines = lines.with_ansi(std::io::stderr().is_terminal());
    if json { lines.json().flatten_event(true).init() } else { lines.compact().init() }
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    // Nobody left to tell if this fails.
    let _closed = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::from(code)
}
