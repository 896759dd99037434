//! A conversation with a process that executes modules: one request, one reply, and an end in time.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use manyhands_javascript::frame;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{Engine, Executed, Failure, Unit};

/// Time for an engine to start, or to compile a module.
const PREPARATION: Duration = Duration::from_secs(120);
/// Time beyond the unit's own for its input and output to travel.
const TRAVEL: Duration = Duration::from_secs(10);
/// How often somebody looks whether the process still lives.
const LOOK: Duration = Duration::from_millis(250);

/// The first program of these names on the search path.
pub(crate) fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()))
}

/// A child process in a group with whatever it starts. All of it ends when this is dropped, and when this process ends,
/// however that happens.
pub(crate) struct Process {
    child: Child,
    /// The group's first member, whose number is the group's.
    warden: Child,
}

/// What a warden does: it waits until nobody holds the other end of its input any more, and ends its group. A death signal would
/// come as soon as the thread is gone that started the child, and to the child alone.
const WARDEN: &str = "read -r never; kill -s KILL 0";

impl Process {
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        use std::os::unix::process::CommandExt as _;
        let mut warden = Command::new("sh");
        warden.args(["-c", WARDEN]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut warden = spawn(warden.process_group(0))?;
        match spawn(command.process_group(warden.id().cast_signed())) {
            Ok(child) => Ok(Self { child, warden }),
            Err(error) => {
                // It reads the end of its input, and ends itself.
                let _reaped = warden.wait();
                Err(error)
            }
        }
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

fn spawn(command: &mut Command) -> Result<Child, Failure> {
    command.spawn().map_err(|error| Failure::Gone(format!("{}: {error}", command.get_program().display())))
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already is as good.
        if let Some(group) = Pid::from_raw(self.warden.id().cast_signed()) {
            let _gone = kill_process_group(group, Signal::KILL);
        }
        let _reaped = (self.child.wait(), self.warden.wait());
    }
}

/// One conversation. Whoever carries it takes requests, and sends a reply to each.
pub(crate) struct Talk {
    pub(crate) requests: Sender<Vec<u8>>,
    pub(crate) replies: Receiver<io::Result<Vec<u8>>>,
    pub(crate) process: Process,
    /// What else has to live as long, and is dropped after the process.
    pub(crate) _keep: Box<dyn Send>,
}

impl Talk {
    fn ask(&mut self, request: Vec<u8>, within: Duration) -> Result<Vec<u8>, Failure> {
        let gone = |why: &dyn std::fmt::Display| Failure::Gone(why.to_string());
        self.requests.send(request).map_err(|_| gone(&"nobody listens"))?;
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.replies.recv_timeout(left.min(LOOK)) {
                Ok(reply) => return reply.map_err(|error| gone(&error)),
                Err(RecvTimeoutError::Disconnected) => return Err(gone(&"nobody listens")),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Err(Failure::Overtime(within.as_secs())),
                Err(RecvTimeoutError::Timeout) => match self.process.child().try_wait() {
                    Ok(None) => {}
                    Ok(Some(status)) => return Err(gone(&status)),
                    Err(error) => return Err(gone(&error)),
                },
            }
        }
    }
}

/// An engine in another process.
pub(crate) struct Remote {
    start: Box<dyn Fn() -> Result<Talk, Failure> + Send>,
    talk: Option<Talk>,
    module: Vec<u8>,
}

impl Remote {
    pub(crate) fn new(start: impl Fn() -> Result<Talk, Failure> + Send + 'static) -> Result<Self, Failure> {
        let talk = Some(start()?);
        Ok(Self { start: Box::new(start), talk, module: Vec::new() })
    }

    /// Ends the process where it cannot be trusted to know what comes next.
    fn settle<T>(&mut self, result: Result<T, Failure>) -> Result<T, Failure> {
        if matches!(result, Err(Failure::Gone(_) | Failure::Overtime(_))) {
            self.talk = None;
        }
        result
    }

    /// The conversation; one that ended begins anew, with the module loaded.
    fn talk(&mut self) -> Result<&mut Talk, Failure> {
        let talk = match self.talk.take() {
            Some(talk) => talk,
            None => {
                let mut talk = (self.start)()?;
                loaded(&talk.ask(frame::load(&self.module), PREPARATION)?)?;
                talk
            }
        };
        Ok(self.talk.insert(talk))
    }
}

fn loaded(reply: &[u8]) -> Result<(), Failure> {
    if reply.is_empty() { Ok(()) } else { Err(Failure::Refused(String::from_utf8_lossy(reply).into_owned())) }
}

impl Engine for Remote {
    fn load(&mut self, sealed: &[u8]) -> Result<(), Failure> {
        sealed.clone_into(&mut self.module);
        if self.talk.is_none() {
            return self.talk().map(drop);
        }
        let reply = self.talk().and_then(|talk| talk.ask(frame::load(sealed), PREPARATION));
        self.settle(reply.and_then(|reply| loaded(&reply)))
    }

    fn execute(&mut self, unit: &Unit<'_>) -> Result<Executed, Failure> {
        let within = Duration::from_millis(unit.limits.wall_ms) + TRAVEL;
        let reply = self.talk().and_then(|talk| talk.ask(frame::execute(unit), within));
        self.settle(reply.and_then(|reply| Ok(frame::executed(&unit.limits, &reply)?)))
    }
}
