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

/// Figures of many things of one kind: a row for each, with the same columns.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    title: String,
    columns: Vec<String>,
    /// A cell that does not exist is no number, and `null` in JSON.
    rows: Vec<(String, Vec<f64>)>,
}

impl Table {
    pub(crate) fn new<'a>(title: &str, columns: impl IntoIterator<Item = &'a str>) -> Self {
        Self { title: title.to_owned(), columns: columns.into_iter().map(str::to_owned).collect(), rows: Vec::new() }
    }

    /// Adds a row, with a cell for each column.
    pub(crate) fn row(&mut self, name: &str, cells: impl IntoIterator<Item = f64>) {
        self.rows.push((name.to_owned(), cells.into_iter().collect()));
    }

    fn print(&self) {
        println!("{}", self.title);
        let width = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let line = |name: &str, cells: &mut dyn Iterator<Item = String>| {
            let cells: String =
                cells.zip(&self.columns).map(|(cell, column)| format!("  {cell:>0$}", column.len().max(7))).collect();
            println!("{name:width$}{cells}");
        };
        line("", &mut self.columns.iter().cloned());
        for (name, cells) in &self.rows {
            line(name, &mut cells.iter().map(|cell| if cell.is_nan() { String::new() } else { number(*cell) }));
        }
        println!();
    }
}

/// The figures of one benchmark.
pub(crate) struct Report {
    name: String,
    stretch: Stretch,
    figures: Vec<Figure>,
    tables: Vec<Table>,
}

impl Report {
    pub(crate) fn new(name: &str) -> Self {
        eprintln!("── {name}");
        Self { name: name.to_owned(), stretch: Stretch::begin(), figures: Vec::new(), tables: Vec::new() }
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

    /// Figures of many things.
    pub(crate) fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// Prints the tables and writes the file.
    pub(crate) fn finish(self) -> io::Result<()> {
        self.tables.iter().for_each(Table::print);
        if !self.figures.is_empty() {
            self.print();
        }
        if let Some(disturbance) = disturbance(self.stretch.stolen()) {
            println!("{disturbance}");
        }
        println!();
        let folder = workspace().join("target/bench");
        std::fs::create_dir_all(&folder)?;
        let json = if self.tables.is_empty() {
            serde_json::to_vec_pretty(&self.figures)
        } else {
            serde_json::to_vec_pretty(&self.tables)
        };
        std::fs::write(folder.join(format!("{}.json", self.name)), json.map_err(io::Error::other)?)
    }

    fn print(&self) {
        let width = self.figures.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0).max(4);
        println!("{:width$}  {:>12}  {:10}  {:>12}  {:>7}", self.name, "value", "unit", "baseline", "ratio");
        for figure in &self.figures {
            let baseline = figure.baseline.map(number).unwrap_or_default();
            let ratio = figure.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
            let (name, value, unit) = (&figure.name, number(figure.value), figure.unit);
            println!("{name:width$}  {value:>12}  {unit:10}  {baseline:>12}  {ratio:>7}");
        }
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}
