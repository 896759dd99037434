//! Where log lines go and how they look.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry};

use crate::settings::{Log, LogFormat};

/// Whether [`init`] can use `text` as a filter.
pub fn is_filter(text: &str) -> bool {
    EnvFilter::try_new(text).is_ok()
}

/// Sends log lines to standard error from now on; standard output belongs to data.
///
/// Called once, before anything else happens. A second call changes nothing.
pub fn init(log: &Log) {
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(terminal);
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let lines = if json { lines.json().flatten_event(true).boxed() } else { lines.boxed() };
    let lines = lines.with_filter(EnvFilter::new(&log.filter));
    // A subscriber that is there already, as in a test, stays.
    // Without a filter of its own, the counter would have every event made that nobody reads.
    let _kept = Registry::default().with(Count.with_filter(LevelFilter::WARN)).with(lines).try_init();
}

/// Counts warnings and errors, also those that the filter keeps out of the log.
struct Count;

// One program, one log: whoever counts needs no place in it, and whoever asks need not be there at its start.
static WARNINGS: AtomicU64 = AtomicU64::new(0);
static ERRORS: AtomicU64 = AtomicU64::new(0);

impl<S: Subscriber> Layer<S> for Count {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        match *event.metadata().level() {
            Level::ERROR => ERRORS.fetch_add(1, Ordering::Relaxed),
            Level::WARN => WARNINGS.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
    }
}

/// Warnings and errors so far, by the name of their level.
pub fn lines() -> [(&'static str, u64); 2] {
    [("warn", WARNINGS.load(Ordering::Relaxed)), ("error", ERRORS.load(Ordering::Relaxed))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_levels_or_directives() {
        assert!(is_filter("info") && is_filter("warn,manyhands_coordinator=debug"));
        assert!(!is_filter("a=b=c"));
    }
}
