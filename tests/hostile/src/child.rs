//! Processes of their own: what they take is one module's, and when they have taken too much they end.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use manyhands_model::{Digest, Fuel, Limits};
use manyhands_protocol::Entry;
use manyhands_runner::engine::Execution;
use manyhands_runner::sandbox::{Compiled, Program, Slot, compile};
use manyhands_verifier::verify;
use nix::sys::resource::{UsageWho, getrusage};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Stack of the threads on which coordinators seal.
const STACK_BYTES: usize = 2 << 20;
/// What ends a child: far beyond every promise, and before the computer suffers.
const ADDRESS_BYTES: u64 = 4 << 30;
const CPU_SECONDS: u64 = 300;

/// What came of sealing a module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sealing {
    /// The reason, if it was refused.
    pub refusal: Option<String>,
    /// Length of the module.
    pub bytes: u64,
    /// Length of the sealed one.
    pub sealed_bytes: u64,
    /// Processor time of it.
    pub cpu_ms: f64,
    /// The most memory that it had in use at a time, beyond the module itself and what a process has.
    pub peak_mib: f64,
    /// Processor time of verifying what came out, as a runner does.
    pub verify_ms: f64,
}

/// What came of compiling a sealed module as a runner does, and of executing it once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compiling {
    /// Time on a clock.
    pub wall_ms: f64,
    /// The most memory that the compiler's process had in use.
    pub peak_mib: f64,
    /// Length of the machine code.
    pub code_bytes: u64,
    /// What ended the compiler, if it did not succeed.
    pub failure: Option<String>,
    /// How an execution with little fuel ended, or why it has no verdict.
    pub verdict: Option<Result<String, String>>,
}

/// Becomes a child if the arguments say so, and ends with what it found.
pub fn run_if_child() -> Option<anyhow::Result<()>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [word, module] = &arguments[..] else { return None };
    let module = Path::new(module);
    Some(match word.to_str()? {
        "seal-one" => seal_one(module).and_then(|found| tell(&found)),
        "compile-one" => compile_one(module).and_then(|found| tell(&found)),
        _ => return None,
    })
}

fn tell(found: &impl Serialize) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(serde_json::to_string(found)?.as_bytes())?)
}

/// Starts `program`, whose `main` calls [`run_if_child`], to seal a module. What is sealed lies beside it afterwards.
///
/// # Errors
/// The child did not end well.
pub fn seal(program: &Path, module: &Path) -> anyhow::Result<Sealing> {
    ask(program, "seal-one", module)
}

/// The same, to compile a sealed module.
///
/// # Errors
/// The child did not end well.
pub fn compiled(program: &Path, sealed: &Path) -> anyhow::Result<Compiling> {
    ask(program, "compile-one", sealed)
}

fn ask<T: DeserializeOwned>(program: &Path, word: &str, module: &Path) -> anyhow::Result<T> {
    let mut command = Command::new(program);
    let output = command.arg(word).arg(module).stdin(Stdio::null()).output().context("a child cannot be started")?;
    if !output.status.success() {
        bail!("{word} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn seal_one(module: &Path) -> anyhow::Result<Sealing> {
    let file = module.with_extension("sealed");
    let bytes = std::fs::read(module)?;
    for (resource, most) in [(Resource::As, ADDRESS_BYTES), (Resource::Cpu, CPU_SECONDS), (Resource::Core, 0)] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    let work = move || {
        let before = memory_mib("VmRSS:");
        let began = thread_time();
        let sealed = manyhands_sealer::seal(&bytes);
        let cpu_ms = (thread_time() - began).as_secs_f64() * 1e3;
        let peak_mib = memory_mib("VmHWM:") - before;
        let mut found =
            Sealing { refusal: None, bytes: bytes.len() as u64, sealed_bytes: 0, cpu_ms, peak_mib, verify_ms: 0.0 };
        match sealed {
            Err(refusal) => found.refusal = Some(refusal.to_string()),
            Ok(sealed) => {
                let began = thread_time();
                verify(&sealed.bytes).context("the verifier refuses what the sealer made")?;
                found.verify_ms = (thread_time() - began).as_secs_f64() * 1e3;
                found.sealed_bytes = sealed.bytes.len() as u64;
                std::fs::write(file, sealed.bytes)?;
            }
        }
        Ok(found)
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work)?;
    thread.join().unwrap_or_else(|_| bail!("it panicked"))
}

fn compile_one(sealed: &Path) -> anyhow::Result<Compiling> {
    let sealed = std::fs::read(sealed)?;
    let module = Digest::of(&sealed);
    let program = Program::current()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let began = Instant::now();
        let compiled = compile(&program, sealed).await;
        let wall_ms = began.elapsed().as_secs_f64() * 1e3;
        // The compiler is a child that is ended; what it took is known when it is gone.
        let peak_mib = loop {
            let most = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
            if most > 0 {
                break most as f64 / 1024.0;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let mut found = Compiling { wall_ms, peak_mib, code_bytes: 0, failure: None, verdict: None };
        match compiled {
            Err(failure) => found.failure = Some(failure.to_string()),
            Ok(code) => {
                found.code_bytes = code.len() as u64;
                let limits = Limits { fuel: Fuel(1_000_000), ..Limits::MAX };
                let execution =
                    Execution { entry: Entry::Run, step: 0, input: bytes::Bytes::new(), seed: [0; 32], limits };
                let compiled = Compiled { module, code: Arc::from(code) };
                let executed = Slot::new(program).execute(&compiled, execution, &mut |_| ()).await;
                found.verdict = Some(match executed {
                    Ok(executed) => Ok(executed.outcome.verdict.word().to_owned()),
                    Err(failure) => Err(failure.to_string()),
                });
            }
        }
        Ok(found)
    })
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

fn memory_mib(name: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).map_or(0.0, |kib| kib / 1024.0)
}
