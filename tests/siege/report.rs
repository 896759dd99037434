//! The JSON that measurements leave in `target/bench`.

use std::fmt;

use manyhands_tests::workspace;
use serde::Serialize;

/// One measured number beside the one it is compared with.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) baseline: Option<f64>,
    pub(crate) ratio: Option<f64>,
}

impl Row {
    /// A number.
    pub(crate) fn alone(name: &str, value: f64, unit: &'static str) -> Self {
        Self { name: name.to_owned(), value, unit, baseline: None, ratio: None }
    }

    /// A number beside the one it should be near to, or below.
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str, baseline: f64) -> Self {
        Self { name: name.into(), value, unit, baseline: Some(baseline), ratio: Some(value / baseline) }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<28} {:>12.3} {:<14}", self.name, self.value, self.unit)?;
        match (self.baseline, self.ratio) {
            (Some(baseline), Some(ratio)) => write!(f, " {baseline:>12.3} {ratio:>7.2}"),
            _ => Ok(()),
        }
    }
}

/// Writes `target/bench/NAME.json`.
pub(crate) fn write(name: &str, rows: &[Row]) {
    let folder = workspace().join("target/bench");
    std::fs::create_dir_all(&folder).expect("target can be written");
    let file = folder.join(format!("{name}.json"));
    std::fs::write(&file, serde_json::to_string_pretty(rows).expect("serialises")).expect("target can be written");
    println!("written: {}", file.display());
}

/// The one in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
