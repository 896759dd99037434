//! Child processes that never outlive this one.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// Time for a program to stop when it was asked to.
const FAREWELL: Duration = Duration::from_secs(5);

/// A child process and whatever it started. All of them end when this is dropped.
pub(crate) struct Process {
    name: String,
    group: Option<Pid>,
    child: Child,
}

impl Process {
    /// Starts `command` in a process group of its own.
    pub(crate) fn start(name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let child = command.process_group(0).kill_on_drop(true).spawn();
        let child = child.with_context(|| format!("{name} cannot be started"))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Ok(Self { name: name.to_owned(), group, child })
    }

    /// Starts a program that goes on, with its output in the file `log`.
    pub(crate) fn serve<S: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let file = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Self::start(&name, &mut command)
    }

    /// An error if the program, which should go on, has ended.
    pub(crate) fn expect_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended too early, with {status}", self.name),
        }
    }

    /// What it will write, where that was piped.
    pub(crate) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// What it will complain of, where that was piped.
    pub(crate) fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Waits for the end.
    pub(crate) async fn end(mut self) -> anyhow::Result<ExitStatus> {
        let status = self.child.wait().await?;
        // The group's number may belong to others from now on.
        self.group = None;
        Ok(status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(group) = self.group else { return };
        // Whatever fails here fails because there is nobody left to signal.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _gone = killpg(group, Signal::SIGTERM);
            let asked = Instant::now();
            while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < FAREWELL {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _gone = killpg(group, Signal::SIGKILL);
        let _reaped = self.child.try_wait();
    }
}

/// Runs `command` to its end, with its output on this terminal.
pub(crate) async fn run(command: &mut Command) -> anyhow::Result<ExitStatus> {
    let name = name(command);
    Process::start(&name, command.stdin(Stdio::null()))?.end().await
}

/// Runs `command` to its end and returns its standard output; an error carries what it complained about.
pub(crate) async fn read(command: &mut Command) -> anyhow::Result<String> {
    let name = name(command);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
    let output = child.with_context(|| format!("{name} cannot be started"))?.wait_with_output().await?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} does not speak UTF-8"))
}

/// `program argument …`, as somebody would type it.
pub(crate) fn name(command: &Command) -> String {
    let command = command.as_std();
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args().take(2));
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// A command at the root of the repository, without what the outer cargo said about this program: build
/// scripts look at some of that, and would run again whenever the two alternate.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(crate::workspace());
    let said = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| said.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
    command
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::workspace().join("target"), PathBuf::from)
}

/// The cargo that started this program.
pub(crate) fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
