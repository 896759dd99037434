//! What a process has used, as /proc tells it.

use std::time::{Duration, Instant};

use manyhands_tests::machine::processor_ticks;

/// Ticks of a processor's clock in a second, as Linux counts for /proc whatever its own clock does (proc(5)).
const TICKS: f64 = 100.0;

fn stat(path: &str) -> Option<Vec<u64>> {
    let text = std::fs::read_to_string(path).ok()?;
    // The name, in brackets, may hold anything.
    let rest = text.rsplit_once(") ")?.1;
    Some(rest.split(' ').map(|field| field.parse().unwrap_or(0)).collect())
}

/// Processor time of a process and all its threads, and of its children that have ended.
pub(crate) fn seconds(pid: u32) -> f64 {
    let fields = stat(&format!("/proc/{pid}/stat")).unwrap_or_default();
    fields.get(11..15).map_or(0.0, |times| times.iter().sum::<u64>() as f64 / TICKS)
}

/// Processor time of everything on this computer.
fn busy() -> f64 {
    let [user, nice, system, _idle, _iowait, irq, softirq, steal] = processor_ticks();
    (user + nice + system + irq + softirq + steal) as f64 / TICKS
}

fn status(pid: u32, name: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).map_or(0.0, |kib| kib / 1024.0)
}

/// Memory that a process has in use, in MiB.
pub(crate) fn resident_mib(pid: u32) -> f64 {
    status(pid, "VmRSS")
}

/// The most memory that it had in use, in MiB.
pub(crate) fn peak_mib(pid: u32) -> f64 {
    status(pid, "VmHWM")
}

/// Measures a stretch of time.
pub(crate) struct Meter {
    pid: u32,
    began: Instant,
    cpu: f64,
    busy: f64,
}

impl Meter {
    pub(crate) fn start(pid: u32) -> Self {
        Self { pid, began: Instant::now(), cpu: seconds(pid), busy: busy() }
    }

    /// Time on a clock.
    pub(crate) fn wall(&self) -> Duration {
        self.began.elapsed()
    }

    /// Processor time of the process, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        seconds(self.pid) - self.cpu
    }

    /// Processors that were busy, on average, with anything on this computer.
    pub(crate) fn busy(&self) -> f64 {
        (busy() - self.busy) / self.wall().as_secs_f64()
    }
}
