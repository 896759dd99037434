//! Figures, as a table for people and as JSON for programs.

use std::io;

use manyhands_tests::machine::{Stretch, disturbance};
use manyhands_tests::workspace;
use serde::Serialize;

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    /// What it is compared with, in the same unit, from the same run.
    baseline: Option<f64>,
    /// The value by the baseline.
    ratio: Option<f64>,
}

/// The figures of one benchmark.
pub(crate) struct Report {
    name: String,
    stretch: Stretch,
    figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn new(name: &str) -> Self {
        eprintln!("── {name}");
        Self { name: name.to_owned(), stretch: Stretch::begin(), figures: Vec::new() }
    }

    /// Says what is being done, for whoever watches.
    pub(crate) fn say(&self, text: &str) {
        eprintln!("   {text}");
    }

    /// A figure alone.
    pub(crate) fn add(&mut self, name: &str, value: f64, unit: &'static str) {
        self.figures.push(Figure { name: name.to_owned(), value, unit, baseline: None, ratio: None });
    }

    /// A figure beside what it is compared with.
    pub(crate) fn compare(&mut self, name: &str, value: f64, unit: &'static str, baseline: f64) {
        let ratio = Some(value / baseline);
        self.figures.push(Figure { name: name.to_owned(), value, unit, baseline: Some(baseline), ratio });
    }

    /// Prints the table and writes the file.
    pub(crate) fn finish(self) -> io::Result<()> {
        let number = |value: f64| match value.abs() {
            size if size >= 1000.0 => format!("{value:.0}"),
            size if size >= 10.0 => format!("{value:.1}"),
            _ => format!("{value:.3}"),
        };
        let width = self.figures.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0).max(4);
        println!("{:width$}  {:>12}  {:10}  {:>12}  {:>7}", self.name, "value", "unit", "baseline", "ratio");
        for figure in &self.figures {
            let baseline = figure.baseline.map(number).unwrap_or_default();
            let ratio = figure.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
            let (name, value, unit) = (&figure.name, number(figure.value), figure.unit);
            println!("{name:width$}  {value:>12}  {unit:10}  {baseline:>12}  {ratio:>7}");
        }
        if let Some(disturbance) = disturbance(self.stretch.stolen()) {
            println!("{disturbance}");
        }
        println!();
        let folder = workspace().join("target/bench");
        std::fs::create_dir_all(&folder)?;
        let json = serde_json::to_vec_pretty(&self.figures).map_err(io::Error::other)?;
        std::fs::write(folder.join(format!("{}.json", self.name)), json)
    }
}
