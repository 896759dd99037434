//! Where log lines go and how they look.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

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
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&log.filter))
        .with_writer(std::io::stderr)
        .with_ansi(terminal);
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    // A subscriber that is there already, as in a test, stays.
    let _kept = if json { lines.json().flatten_event(true).finish().try_init() } else { lines.finish().try_init() };
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
