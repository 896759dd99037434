//! The programs under test, as child processes.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Set by whoever has built the programs already.
const BUILT: &str = "MANYHANDS_PROGRAMS_ARE_BUILT";
/// The packages whose programs are started.
const PACKAGES: &[&str] = &["manyhands-coordinator", "manyhands-runner", "manyhands-cli", "manyhands-tests"];

/// The root of the repository.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The path of a program of this workspace, which is built if nobody said that it is.
fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        if std::env::var_os(BUILT).is_none() {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
            cargo.current_dir(workspace()).args(["build", "--quiet", "--bins"]);
            cargo.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
            let status = cargo.status().expect("cargo is there: it runs this test");
            assert!(status.success(), "the programs do not build");
        }
        // A program lies in target/PROFILE, a test in the folder `deps` there.
        let own = std::env::current_exe().expect("a program has a path");
        let folder = own.parent().expect("a folder");
        if folder.ends_with("deps") { folder.parent().expect("a folder").to_owned() } else { folder.to_owned() }
    });
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing; `cargo xtask test` builds it", path.display());
    path
}

/// Runs a program of this workspace to its end, and returns all that it said.
pub fn run<S: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>) -> Output {
    run_in(Path::new("."), name, arguments)
}

/// The same in a folder, which is where it leaves files.
pub(crate) fn run_in<S: AsRef<OsStr>>(folder: &Path, name: &str, arguments: impl IntoIterator<Item = S>) -> Output {
    let output = Command::new(program(name)).args(arguments).current_dir(folder).stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{name} does not start: {error}"))
}

/// The same through a shell that first sets `limits`, such as `ulimit -f 100`.
pub fn run_limited<S: AsRef<OsStr>>(limits: &str, name: &str, arguments: impl IntoIterator<Item = S>) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limits}; exec \"$@\""), "sh"]).arg(program(name)).args(arguments);
    shell.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{name} does not start: {error}"))
}

/// A child process and whatever it started. Both end when this is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program of this workspace; its output goes to the file `log`.
    pub fn start<S: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>, log: &Path) -> Self {
        Self::start_in::<&str, &str, S>(&[], name, arguments, log)
    }

    /// The same with variables in its environment.
    pub fn start_in<K: AsRef<OsStr>, V: AsRef<OsStr>, S: AsRef<OsStr>>(
        environment: &[(K, V)],
        name: &str,
        arguments: impl IntoIterator<Item = S>,
        log: &Path,
    ) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("the log can be written");
        let child = Command::new(program(name))
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file can be shared"))
            .stderr(file)
            // A group of its own, so that what it starts can be ended with it.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { child, log: log.to_owned() }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        // Gone already is as good.
        let _gone = killpg(Pid::from_raw(self.child.id().cast_signed()), signal);
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process at once, as a power cut would.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        let _status = self.child.wait();
    }

    /// Asks the process to stop.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Stops the process and whatever it started, as a lid that is closed would.
    pub fn suspend(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            // Gently first: a runner ends its guest processes itself, wherever they are.
            self.terminate();
            let deadline = Instant::now() + Duration::from_secs(2);
            while self.ended().is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            eprintln!("--- {}\n{}", self.log.display(), tail.join("\n"));
        }
    }
}

/// A real runner with one slot.
pub struct Runner {
    /// Its process.
    pub process: Process,
    _dir: TempDir,
}

impl Runner {
    /// Starts a runner that joins at `join`.
    pub fn start(join: &str) -> Self {
        Self::start_with(join, &[])
    }

    /// Starts one with more arguments.
    pub fn start_with(join: &str, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let data = dir.path().join("data").display().to_string();
        let arguments = [&[join, "--data-dir", &data, "--slots", "1"], arguments].concat();
        let process = Process::start("manyhands-runner", arguments, &dir.path().join("runner.log"));
        Self { process, _dir: dir }
    }
}

/// The program that signs wrong answers.
pub struct Liar {
    /// Its process.
    pub process: Process,
    _dir: TempDir,
}

impl Liar {
    /// Starts a liar that joins at `join`.
    pub fn start(join: &str) -> Self {
        Self::start_with(join, &[])
    }

    /// Starts one that lies now and then, or that says where it is; see its source.
    pub fn start_with(join: &str, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let arguments = std::iter::once(&join).chain(arguments);
        let process = Process::start("liar", arguments, &dir.path().join("liar.log"));
        Self { process, _dir: dir }
    }
}
