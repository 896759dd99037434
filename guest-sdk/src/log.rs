//! Log lines. They reach the people who run the job and never count as part of an answer.

use core::fmt;

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something is wrong.
    Error,
    /// Something may be wrong.
    Warn,
    /// Worth knowing.
    Info,
    /// Worth knowing while looking for a mistake.
    Debug,
    /// Every step.
    Trace,
}

/// Writes one line. [`info!`](crate::info) and its siblings are shorter.
pub fn log(level: Level, message: fmt::Arguments<'_>) {
    match message.as_str() {
        Some(text) => crate::host::log(level, text),
        None => crate::host::log(level, &message.to_string()),
    }
}

/// Logs that something is wrong. Takes what `format!` takes.
#[macro_export]
macro_rules! error {
    ($($message:tt)+) => { $crate::log($crate::Level::Error, ::core::format_args!($($message)+)) };
}

/// Logs that something may be wrong. Takes what `format!` takes.
#[macro_export]
macro_rules! warn {
    ($($message:tt)+) => { $crate::log($crate::Level::Warn, ::core::format_args!($($message)+)) };
}

/// Logs what is worth knowing. Takes what `format!` takes.
#[macro_export]
macro_rules! info {
    ($($message:tt)+) => { $crate::log($crate::Level::Info, ::core::format_args!($($message)+)) };
}

/// Logs what is worth knowing while looking for a mistake. Takes what `format!` takes.
#[macro_export]
macro_rules! debug {
    ($($message:tt)+) => { $crate::log($crate::Level::Debug, ::core::format_args!($($message)+)) };
}

/// Logs every step. Takes what `format!` takes.
#[macro_export]
macro_rules! trace {
    ($($message:tt)+) => { $crate::log($crate::Level::Trace, ::core::format_args!($($message)+)) };
}
