//! Starts children and holds them to their limits.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use manyhands_model::{Digest, Limits, Verdict};
use tokio::io::BufReader;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::engine::{Executed, Execution, Infrastructure};
use crate::sandbox::CHILD_ARGUMENT;
use crate::sandbox::lockdown::Lockdown;
use crate::sandbox::wire::{MESSAGE_BYTES_MAX, Request, Response, receive, send};

/// Time for a child to lock itself down.
const START_TIME: Duration = Duration::from_secs(30);
/// Time to compile one module.
const COMPILE_TIME: Duration = Duration::from_secs(180);
/// Added to a job's wall time before its child is killed: for the pipes and a busy machine.
const WALL_GRACE: Duration = Duration::from_secs(2);
/// Time for a child to make machine code ready, which is reading it.
const LOAD_TIME: Duration = Duration::from_secs(30);
/// Longest message of a slot's process beside the output: the logs, an abort's text, the frame.
const MESSAGE_BESIDE_OUTPUT_BYTES: usize = 1 << 20;
/// Modules that are known to be loaded in a child, fewer than the child keeps.
const LOADED_MAX: usize = 8;

/// The executable whose children these are.
#[derive(Clone, Debug)]
pub struct Program(PathBuf);

impl Program {
    /// This executable itself. Its `main` calls [`run_if_child`](crate::sandbox::run_if_child) first.
    ///
    /// # Errors
    /// When the operating system does not say where it is.
    pub fn current() -> io::Result<Self> {
        // On Linux the link names the very file that runs, even after an upgrade replaced it on disk.
        let link = PathBuf::from("/proc/self/exe");
        if link.exists() { Ok(Self(link)) } else { std::env::current_exe().map(Self) }
    }

    /// Another executable whose `main` does so.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

/// Machine code of one module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// SHA-256 of the sealed module that it was made from.
    pub module: Digest,
    /// The machine code.
    pub code: Arc<[u8]>,
}

/// A child process. Killed when dropped.
struct Process {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    lockdown: Lockdown,
    fingerprint: Digest,
}

impl Process {
    async fn start(program: &Program, role: &str) -> Result<Self, Infrastructure> {
        let failed =
            |error: &dyn std::fmt::Display| Infrastructure(format!("the sandbox process does not start: {error}"));
        let arguments: [OsString; 2] = [CHILD_ARGUMENT.into(), role.into()];
        let mut child = Command::new(&program.0)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            // Ctrl-C in a terminal goes to a whole group; what was begun is to be finished.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(&error))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(&"it has no pipes"));
        };
        let mut from = BufReader::new(from);
        match timeout(START_TIME, receive(&mut from, MESSAGE_BESIDE_OUTPUT_BYTES)).await {
            Ok(Ok(Response::Ready(lockdown, fingerprint))) => Ok(Self { child, to, from, lockdown, fingerprint }),
            Ok(Ok(Response::Failed(error))) => Err(error),
            Ok(Ok(_)) => Err(failed(&"it said something unexpected")),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(failed(&"it took too long")),
        }
    }

    /// Sends a request and waits for its response of at most `most` bytes, telling `progress` what comes
    /// before.
    async fn ask(
        &mut self,
        request: &Request,
        most: usize,
        progress: &mut (dyn FnMut(u16) + Send),
    ) -> Result<Response, Infrastructure> {
        let talk = async {
            send(&mut self.to, request).await?;
            loop {
                match receive(&mut self.from, most).await? {
                    Response::Progress(permille) => progress(permille.min(1000)),
                    response => return io::Result::Ok(response),
                }
            }
        };
        match talk.await {
            Ok(Response::Failed(error)) => Err(error),
            Ok(response) => Ok(response),
            Err(_) => {
                let status = timeout(Duration::from_secs(1), self.child.wait()).await;
                let how = status.ok().and_then(Result::ok).map_or("unknown".to_owned(), |status| status.to_string());
                Err(Infrastructure(format!("the sandbox process ended before it answered ({how})")))
            }
        }
    }
}

/// Whether the parts of an answer fit each other and what was granted. A process that a guest broke out of
/// its walls in may say anything; what it says is at least something that an execution could have ended as.
fn is_consistent(executed: &Executed, limits: &Limits) -> bool {
    let granted = match &executed.outcome.verdict {
        Verdict::Ok { output_bytes, .. } => *output_bytes <= limits.output_bytes,
        Verdict::Aborted { message, .. } => message.len() <= manyhands_abi::ABORT_MESSAGE_BYTES_MAX,
        Verdict::Called { calls_bytes, .. } => *calls_bytes <= manyhands_abi::CALLS_BYTES_MAX as u64,
        Verdict::OutOfFuel | Verdict::OutOfStack | Verdict::Trap => true,
    };
    granted && executed.outcome.is_of(&executed.output) && executed.outcome.fuel <= limits.fuel
}

fn unexpected() -> Infrastructure {
    Infrastructure("the sandbox process said something unexpected".into())
}

/// Compiles a sealed module in a process of its own, which never runs guest code.
///
/// # Errors
/// [`Infrastructure`], also when it takes more time or memory than a sealed module needs.
pub async fn compile(program: &Program, module: Vec<u8>) -> Result<Vec<u8>, Infrastructure> {
    let mut process = Process::start(program, "compile").await?;
    let request = Request::Compile(module);
    match timeout(COMPILE_TIME, process.ask(&request, MESSAGE_BYTES_MAX, &mut |_| ())).await {
        Ok(Ok(Response::Compiled(code))) => Ok(code),
        Ok(Ok(_)) => Err(unexpected()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Infrastructure("compiling the module took too long".into())),
    }
}

/// What a child on this machine would enforce, and the fingerprint of its engine.
///
/// # Errors
/// [`Infrastructure`] when no child can be started.
pub async fn survey(program: &Program) -> Result<(Lockdown, Digest), Infrastructure> {
    let process = Process::start(program, "compile").await?;
    Ok((process.lockdown.clone(), process.fingerprint))
}

/// Runs the forbidden in a slot's process, lists what was possible, and says whether that process can tell which pages of
/// its own memory were touched, which is allowed and needed for short units to be short.
///
/// # Errors
/// [`Infrastructure`] when the child does not answer.
pub async fn probe(program: &Program) -> Result<(Vec<String>, bool), Infrastructure> {
    let mut process = Process::start(program, "slot").await?;
    match process.ask(&Request::Probe, MESSAGE_BESIDE_OUTPUT_BYTES, &mut |_| ()).await? {
        Response::Probed { possible, knows_pages } => Ok((possible, knows_pages)),
        _ => Err(unexpected()),
    }
}

/// A place for one execution at a time.
pub struct Slot {
    program: Program,
    /// The process and the modules that it has ready.
    running: Option<Box<(Process, BTreeSet<Digest>)>>,
}

impl Slot {
    /// A slot; its process starts when it is needed.
    pub fn new(program: Program) -> Self {
        Self { program, running: None }
    }

    /// Executes one unit. The process is killed when it exceeds the job's wall time, and when this future
    /// is dropped; the next execution gets a new one.
    ///
    /// # Errors
    /// [`Infrastructure`].
    pub async fn execute(
        &mut self,
        module: &Compiled,
        execution: Execution,
        progress: &mut (dyn FnMut(u16) + Send),
    ) -> Result<Executed, Infrastructure> {
        // Taken out, so that a failure or a dropped future leaves no process in an unknown state.
        let (mut process, mut loaded) = match self.running.take() {
            Some(running) => *running,
            None => (Process::start(&self.program, "slot").await?, BTreeSet::new()),
        };
        if !loaded.contains(&module.module) {
            if loaded.len() >= LOADED_MAX {
                (process, loaded) = (Process::start(&self.program, "slot").await?, BTreeSet::new());
            }
            let request = Request::Load(module.module, module.code.to_vec());
            match timeout(LOAD_TIME, process.ask(&request, MESSAGE_BESIDE_OUTPUT_BYTES, &mut |_| ())).await {
                Ok(Ok(Response::Loaded)) => loaded.insert(module.module),
                Ok(Ok(_)) => return Err(unexpected()),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(Infrastructure("loading the module took too long".into())),
            };
        }
        let limits = execution.limits;
        let wall = limits.wall();
        let most =
            usize::try_from(limits.output_bytes).unwrap_or(usize::MAX).saturating_add(MESSAGE_BESIDE_OUTPUT_BYTES);
        let request = Request::Execute(module.module, execution);
        match timeout(wall + WALL_GRACE, process.ask(&request, most, progress)).await {
            Ok(Ok(Response::Executed(executed))) if is_consistent(&executed, &limits) => {
                self.running = Some(Box::new((process, loaded)));
                Ok(*executed)
            }
            Ok(Ok(_)) => Err(unexpected()),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let reason =
                    format!("the job ran for longer than its wall time of {} ms on this machine", wall.as_millis());
                Err(Infrastructure(reason))
            }
        }
    }
}
