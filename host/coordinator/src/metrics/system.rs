//! What the operating system knows, asked at each scrape: the process, the disk, the log.

use std::fmt::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::statvfs::statvfs;
use nix::sys::time::TimeValLike as _;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Unit;

use crate::log;

/// The names that Prometheus gives to such numbers of every program.
#[derive(Debug)]
pub(super) struct Process {
    /// Seconds since 1970.
    started: f64,
}

impl Process {
    pub(super) const fn new(started: f64) -> Self {
        Self { started }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        gauge(
            &mut encoder,
            "process_start_time",
            "When it started, as seconds since 1970",
            Some(&Unit::Seconds),
            self.started,
        )?;
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            let micros = (usage.user_time() + usage.system_time()).num_microseconds();
            let seconds = ConstCounter::new(micros as f64 / 1e6);
            let about = "Processor time, of user and system";
            let metric =
                encoder.encode_descriptor("process_cpu", about, Some(&Unit::Seconds), ConstCounter::<f64>::TYPE)?;
            seconds.encode(metric)?;
        }
        if let Ok((most, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
            gauge(&mut encoder, "process_max_fds", "Most file descriptors", None, most as f64)?;
        }
        // Where there is no /proc, these are left out.
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            // One of them is the listing itself.
            let open = open.count().saturating_sub(1);
            gauge(&mut encoder, "process_open_fds", "Open file descriptors", None, open as f64)?;
        }
        if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
            let bytes = |name| kib(&status, name).map(|kib| kib as f64 * 1024.0);
            if let Some(resident) = bytes("VmRSS:") {
                gauge(&mut encoder, "process_resident_memory", "Memory in RAM", Some(&Unit::Bytes), resident)?;
            }
            if let Some(virtual_memory) = bytes("VmSize:") {
                gauge(&mut encoder, "process_virtual_memory", "Address space", Some(&Unit::Bytes), virtual_memory)?;
            }
        }
        Ok(())
    }
}

/// A line such as `VmRSS:     1234 kB`.
fn kib(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Room where the data directory is, once that is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<OnceLock<PathBuf>>);

impl Disk {
    /// Called once; a second directory is not looked at.
    pub(super) fn watch(&self, dir: &Path) {
        let _first = self.0.set(dir.to_owned());
    }
}

impl Collector for Disk {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Some(Ok(room)) = self.0.get().map(|dir| statvfs(dir.as_path())) else { return Ok(()) };
        let bytes = |blocks| blocks as f64 * room.fragment_size() as f64;
        let about = "Room left for the coordinator on the disk of its data directory";
        gauge(&mut encoder, "data_dir_free", about, Some(&Unit::Bytes), bytes(room.blocks_available()))?;
        let about = "Size of the disk of the data directory";
        gauge(&mut encoder, "data_dir_size", about, Some(&Unit::Bytes), bytes(room.blocks()))
    }
}

/// Lines of the log that ask for attention.
#[derive(Debug)]
pub(super) struct Lines;

impl Collector for Lines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let about = "Warnings and errors written to the log";
        let mut metric = encoder.encode_descriptor("log_lines", about, None, ConstCounter::<u64>::TYPE)?;
        for (level, lines) in log::lines() {
            let label = [("level", level)];
            ConstCounter::new(lines).encode(metric.encode_family(&label)?)?;
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    about: &str,
    unit: Option<&Unit>,
    value: f64,
) -> Result<(), Error> {
    let metric = encoder.encode_descriptor(name, about, unit, MetricType::Gauge)?;
    ConstGauge::new(value).encode(metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_what_linux_writes() {
        let status = "Name:\tx\nVmSize:\t   20480 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(
            (kib(status, "VmRSS:"), kib(status, "VmSize:"), kib(status, "VmSwap:")),
            (Some(1024), Some(20480), None)
        );
    }
}
