//! Data on stdout, everything else on stderr.

use core::fmt;
use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

use crate::fault::{self, Fault, Result};

/// How this invocation talks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Screen {
    /// Data as JSON.
    pub json: bool,
    /// Nothing on stderr but errors.
    pub quiet: bool,
}

impl Screen {
    /// Writes one line of data.
    pub fn line(&self, line: impl fmt::Display) -> Result<()> {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{line}").and_then(|()| stdout.flush()).map_err(|error| fault::stdout(&error))
    }

    /// Writes bytes of data as they are.
    pub fn bytes(&self, bytes: &[u8]) -> Result<()> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| fault::stdout(&error))
    }

    /// Writes data as one line of JSON.
    pub fn json(&self, data: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(data).map_err(|error| Fault::bug(format!("cannot write JSON: {error}")))?;
        self.line(text)
    }

    /// Writes data as JSON where that was asked for, else as `text` puts it.
    pub fn show<T: Serialize>(&self, data: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        if self.json { self.json(data) } else { self.line(text(data)) }
    }

    /// Tells the person something on stderr, unless they asked for quiet.
    pub fn note(&self, text: impl fmt::Display) {
        if !self.quiet {
            // A closed stderr is no reason to fail.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// Whether a person watches stderr, so that a line may be drawn again and again.
    pub fn is_live(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }
}

/// Lays out rows below a head in columns of equal width. Empty when there are no rows.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|text| text.chars().count());
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(text, width)| format!("{text:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let head = line(&head.map(str::to_owned));
    core::iter::once(head).chain(rows.iter().map(line)).collect::<Vec<_>>().join("\n")
}

/// Makes text from elsewhere safe to show: a job or a server must not steer the terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// A number of bytes for people.
pub fn bytes(count: u64) -> String {
    let as_float = |unit: u32| count as f64 / f64::from(1u32 << unit);
    match count {
        0..1024 => format!("{count} B"),
        1024..0x10_0000 => format!("{:.1} KiB", as_float(10)),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", as_float(20)),
        _ => format!("{:.1} GiB", as_float(30)),
    }
}

/// A whole number with its digits in groups of three.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["a".to_owned(), "1".to_owned()], ["long name".to_owned(), "22".to_owned()]];
        assert_eq!(table(["JOB", "UNITS"], &rows), "JOB        UNITS\na          1\nlong name  22");
    }

    #[test]
    fn quantities_are_readable() {
        assert_eq!(
            (grouped(999), grouped(1_000), grouped(12_345_678)),
            ("999".into(), "1,000".into(), "12,345,678".into())
        );
        assert_eq!((bytes(12), bytes(64 << 20), bytes(1 << 30)), ("12 B".into(), "64.0 MiB".into(), "1.0 GiB".into()));
    }

    #[test]
    fn a_job_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\nc");
    }
}
