//! Processes that never outlive this one.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// What a warden does: it waits until nobody holds the other end of its input any more, and ends its group. A death
/// signal would come when the thread ends that started the program, and reach that program alone.
const WARDEN: &str = "read -r never; kill -KILL 0";
/// Ticks of a processor's clock in a second, as Linux counts for /proc whatever its own clock does (proc(5)).
const TICKS: u64 = 100;

/// A program and whatever it starts. All of it ends when this is dropped, and when this process ends, even by a signal.
#[derive(Debug)]
pub(crate) struct Group {
    /// The first member, whose number is the group's.
    warden: Child,
    child: Child,
}

impl Group {
    /// Starts a program in a group of its own.
    pub(crate) fn start(command: &mut Command) -> std::io::Result<Self> {
        let mut warden = Command::new("sh");
        warden.args(["-c", WARDEN]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut warden = warden.process_group(0).spawn()?;
        match command.process_group(warden.id().cast_signed()).spawn() {
            Ok(child) => Ok(Self { warden, child }),
            Err(error) => {
                let _gone = warden.kill();
                let _reaped = warden.wait();
                Err(error)
            }
        }
    }

    pub(crate) const fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn meter(&self) -> Meter {
        Meter { group: self.warden.id() }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Gone already is as good.
        let _gone = killpg(Pid::from_raw(self.warden.id().cast_signed()), Signal::SIGKILL);
        let _reaped = (self.child.wait(), self.warden.wait());
    }
}

/// Reads what the processes of a group use.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    group: u32,
}

impl Meter {
    /// Processor time that everybody who is in the group has used.
    pub fn processor_time(&self) -> Duration {
        let all = std::fs::read_dir("/proc").expect("/proc can be read").flatten();
        let ticks = all.filter_map(|entry| {
            let text = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name, in brackets, may hold anything.
            let fields: Vec<u64> = text.rsplit_once(") ")?.1.split(' ').map(|f| f.parse().unwrap_or(0)).collect();
            // The group; then time as a user, in the kernel, and both of children that are gone.
            let is_one = *fields.get(2)? == u64::from(self.group);
            is_one.then(|| fields.get(11..15).map(|times| times.iter().sum::<u64>()))?
        });
        Duration::from_millis(ticks.sum::<u64>() * 1000 / TICKS)
    }
}

/// The first program of these names on the search path.
pub(crate) fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()))
}
