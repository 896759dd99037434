//! Takes away from a process everything that executing a guest does not need.
//!
//! On Linux: no new privileges; limits on files, processes and core dumps; lowest priority; death with
//! its parent; Landlock (no file, no TCP); and a list of the system calls that are left (seccomp). What
//! the system does not offer is left out and said in one sentence: WebAssembly itself is the first wall,
//! these are the second.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::memory::Pagemap;

/// What a child is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Compiles one module.
    Compiler,
    /// Executes units.
    Slot,
}

/// How far a wall stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wall {
    /// As far as it was asked to.
    Enforced,
    /// An older kernel knows only a part of it.
    Partial,
    /// Not at all, for this reason.
    Missing(String),
}

/// What was enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lockdown {
    /// No files, no TCP.
    pub landlock: Wall,
    /// Few system calls.
    pub seccomp: Wall,
}

impl Lockdown {
    /// Whether everything is enforced that was asked for.
    pub fn is_complete(&self) -> bool {
        self.landlock == Wall::Enforced && self.seccomp == Wall::Enforced
    }
}

impl fmt::Display for Lockdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let say = |f: &mut fmt::Formatter<'_>, name: &str, wall: &Wall| match wall {
            Wall::Enforced => write!(f, "{name} enforced"),
            Wall::Partial => write!(f, "{name} enforced in part (an older kernel)"),
            Wall::Missing(why) => {
                write!(f, "{name} missing ({why}); jobs are held by WebAssembly and the other walls alone")
            }
        };
        say(f, "Landlock", &self.landlock)?;
        f.write_str(", ")?;
        say(f, "seccomp", &self.seccomp)
    }
}

#[cfg(target_os = "linux")]
pub use linux::enter;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;

    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetStatus,
    };
    use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};
    use rustix::thread::set_no_new_privs;
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
        TargetArch,
    };

    use super::{Lockdown, Pagemap, Role, Wall, io};

    /// Address space of a child: what the engine reserves (one memory with its guards, about 8 GiB) and
    /// 4 GiB to compile or to pass messages in.
    const ADDRESS_BYTES: u64 = 12 << 30;
    /// Processor time of a compiler, in seconds.
    const COMPILER_SECONDS: u64 = 120;

    /// Locks this process down, for good, and returns the one file that a slot keeps open: it tells which pages of its own
    /// memory there are.
    ///
    /// # Errors
    /// When a limit that every system has cannot be set.
    pub fn enter(role: Role) -> io::Result<(Lockdown, Option<Pagemap>)> {
        close_what_was_inherited();
        let pagemap = if role == Role::Slot { Pagemap::open() } else { None };
        // Tied to the thread that started this process: the parent starts its children from threads that
        // live as long as its runtime. When it is too late, reading from the parent ends this process.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        set_no_new_privs(true)?;
        // Already as nice as can be is nice enough.
        let _already = nice(19);
        limit(Resource::Core, 0)?;
        limit(Resource::Fsize, 0)?;
        limit(Resource::As, ADDRESS_BYTES)?;
        if role == Role::Compiler {
            limit(Resource::Cpu, COMPILER_SECONDS)?;
        }
        let landlock = landlock().unwrap_or_else(|error| Wall::Missing(error.to_string()));
        // After Landlock, which needs a descriptor itself. Those that are open stay usable.
        limit(Resource::Nofile, 0)?;
        let seccomp = match seccomp(pagemap.as_ref()) {
            Ok(()) => Wall::Enforced,
            Err(error) => Wall::Missing(error.to_string()),
        };
        Ok((Lockdown { landlock, seccomp }, pagemap))
    }

    /// Closes every descriptor but the three standard ones. Rust marks its own as not to be inherited; this
    /// is for those that the runner's parent left open.
    #[expect(unsafe_code, reason = "no safe interface closes what the standard library does not own")]
    fn close_what_was_inherited() {
        // SAFETY: takes numbers only. First thing in the process, before anything in it owns a descriptor.
        // Kernels before 5.9 do not know the call, and then nothing is closed.
        unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    }

    fn limit(resource: Resource, most: u64) -> io::Result<()> {
        Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
    }

    /// Handles every access there is and allows none.
    fn landlock() -> Result<Wall, landlock::RulesetError> {
        let abi = ABI::V5;
        let status = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(abi))?
            .handle_access(AccessNet::from_all(abi))?
            .create()?
            .restrict_self()?;
        Ok(match status.ruleset {
            RulesetStatus::FullyEnforced => Wall::Enforced,
            RulesetStatus::PartiallyEnforced => Wall::Partial,
            RulesetStatus::NotEnforced => Wall::Missing("this kernel has no Landlock".into()),
        })
    }

    /// Memory, its own signals, time, and the pipes that are open already. No other process, no file, no
    /// socket. Anything else fails as not permitted.
    fn seccomp(pagemap: Option<&Pagemap>) -> Result<(), Box<dyn std::error::Error>> {
        const ALLOWED: &[libc::c_long] = &[
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_readv,
            libc::SYS_writev,
            libc::SYS_close,
            libc::SYS_mmap,
            libc::SYS_munmap,
            libc::SYS_mprotect,
            libc::SYS_mremap,
            libc::SYS_madvise,
            libc::SYS_brk,
            libc::SYS_membarrier,
            libc::SYS_futex,
            libc::SYS_sched_yield,
            libc::SYS_sched_getaffinity,
            libc::SYS_rt_sigaction,
            libc::SYS_rt_sigprocmask,
            libc::SYS_rt_sigreturn,
            libc::SYS_sigaltstack,
            libc::SYS_getpid,
            libc::SYS_gettid,
            libc::SYS_getrandom,
            libc::SYS_clock_gettime,
            libc::SYS_restart_syscall,
            libc::SYS_exit,
            libc::SYS_exit_group,
        ];
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, vec![])).collect();
        if let Some(pagemap) = pagemap {
            // Of all that can be asked of a device or a file, one question, to one file.
            let is = |argument: u8, value: u32| {
                SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, u64::from(value))
            };
            let scan = SeccompRule::new(vec![is(0, pagemap.descriptor().cast_unsigned())?, is(1, Pagemap::REQUEST)?])?;
            rules.insert(libc::SYS_ioctl, vec![scan]);
        }
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let filter: BpfProgram = SeccompFilter::new(rules, refused, SeccompAction::Allow, arch)?.try_into()?;
        seccompiler::apply_filter(&filter)?;
        Ok(())
    }
}

/// Elsewhere, WebAssembly and the process border have to do.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn enter(_role: Role) -> io::Result<(Lockdown, Option<Pagemap>)> {
    let missing = || Wall::Missing("only Linux has it".into());
    Ok((Lockdown { landlock: missing(), seccomp: missing() }, None))
}

/// Tries what is forbidden and lists what was possible all the same. Run by the tests in a real child of
/// the process `parent`.
pub(super) fn probe(parent: u32) -> Vec<String> {
    let mut possible = Vec::new();
    let mut note = |what: &str, worked: bool| {
        if worked {
            possible.push(what.to_owned());
        }
    };
    note("read /etc/passwd", std::fs::read("/etc/passwd").is_ok());
    note("list /", std::fs::read_dir("/").is_ok());
    note("write a file", std::fs::write("sandbox-probe", b"x").is_ok());
    note("open a TCP socket", std::net::TcpListener::bind("127.0.0.1:0").is_ok());
    note("open a UDP socket", std::net::UdpSocket::bind("127.0.0.1:0").is_ok());
    note("connect a Unix socket", std::os::unix::net::UnixStream::pair().is_ok());
    note("start a process", std::process::Command::new("/bin/true").spawn().is_ok());
    let parent = i32::try_from(parent).ok().and_then(rustix::process::Pid::from_raw);
    note("signal its parent", parent.is_some_and(|parent| rustix::process::test_kill_process(parent).is_ok()));
    note("ask how much there is in a pipe", rustix::io::ioctl_fionread(std::io::stdin()).is_ok());
    note("start a thread", std::thread::Builder::new().spawn(|| ()).is_ok());
    possible
}
