//! `cargo xtask sim`: the production scheduler under attack, in virtual time, and a picture of what came of it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;

use crate::check::succeed;
use crate::picture::{Colour, Picture};
use crate::process::{cargo, command};
use crate::workspace;

/// What to simulate; everything if nothing is named.
#[derive(Args)]
pub(crate) struct Options {
    /// Of all chance
    #[arg(long)]
    seed: Option<u64>,
    /// Who cheats, and how: liar:1000, together:2:100, …
    #[arg(long)]
    adversary: Vec<String>,
    /// How many of a hundred workers do
    #[arg(long)]
    hostile: Vec<String>,
    /// When an outcome counts: 2-of-2+, boinc, sarmenta, fixed, adaptive:1e-4, full:1e-5, …
    #[arg(long)]
    rule: Vec<String>,
    /// Computers in each world
    #[arg(long)]
    workers: Option<u64>,
    /// Units in each world
    #[arg(long)]
    units: Option<u64>,
    /// How many of a hundred honest computers are visitors' browsers
    #[arg(long)]
    visitors: Option<u64>,
    /// How many of a hundred workers the coordinator takes for hostile; as many as there are, and at least 10
    #[arg(long)]
    assumed: Vec<String>,
    /// How many of the eight runs are of a job whose units take sixty times as long
    #[arg(long)]
    long_runs: Option<u64>,
    /// How often the coordinator loses its memory; rules of others are left out then
    #[arg(long)]
    restarts: Option<u64>,
    /// Of a thousand inputs, how many are made up besides, where words have to be earned
    #[arg(long)]
    decoys: Option<u64>,
    /// Have each unit ask for a call, and execute it again with the answer; rules of others are left out then
    #[arg(long)]
    calls: bool,
    /// Train a classifier to tell leases that are checks from others, and decoys from real inputs, instead
    #[arg(long)]
    tells: bool,
}

/// Prints the tables, and writes `target/sim/report.json` and `target/sim/plot.png`.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    succeed(cargo().args(["build", "--quiet", "--profile", "proof", "--package", "manyhands-sim"])).await?;
    let folder = workspace().join("target/sim");
    let report = folder.join("report.json");
    let mut sim = command(workspace().join("target/proof/manyhands-sim"));
    sim.arg("--report").arg(&report);
    let Options { seed, workers, units, visitors, long_runs, restarts, decoys, .. } = options;
    let numbers = [
        ("--seed", seed),
        ("--workers", workers),
        ("--units", units),
        ("--visitors", visitors),
        ("--long-runs", long_runs),
        ("--restarts", restarts),
        ("--decoys", decoys),
    ];
    // What is not said is the simulator's to say.
    for (name, number) in numbers.into_iter().filter_map(|(name, number)| Some((name, number?))) {
        sim.args([name, &number.to_string()]);
    }
    let Options { adversary, hostile, rule, assumed, .. } = options;
    let named = [("--adversary", adversary), ("--hostile", hostile), ("--rule", rule), ("--assumed", assumed)];
    for (name, value) in named.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value))) {
        sim.args([name, value.as_str()]);
    }
    if options.calls {
        sim.arg("--calls");
    }
    if options.tells {
        return succeed(sim.arg("--tells")).await;
    }
    // One of before says nothing about this.
    drop(std::fs::remove_file(&report));
    let kept = succeed(&mut sim).await;
    // Also where a promise is broken: then it is wanted most.
    if report.exists() {
        draw(&report)?.save(&folder.join("plot.png"))?;
        eprintln!("target/sim/report.json, target/sim/plot.png");
    }
    kept
}

/// A world in the report.
#[derive(Deserialize)]
struct World {
    is_in_tables: bool,
    rule: String,
    hostile_percent: u32,
    wrong_share: f64,
    figures: Figures,
}

#[derive(Deserialize)]
struct Figures {
    replicas: f64,
}

const PAPER: Colour = [255, 255, 255];
const INK: Colour = [30, 34, 48];
const FAINT: Colour = [222, 225, 232];
/// Okabe and Ito's, who see no red or no green see them apart.
const COLOURS: &[Colour] = &[
    [0, 0, 0],
    [230, 159, 0],
    [86, 180, 233],
    [0, 158, 115],
    [213, 94, 0],
    [0, 114, 178],
    [204, 121, 167],
    [200, 190, 30],
];
/// Each panel. Unit: pixels.
const PANEL: (f64, f64) = (460.0, 420.0);
const MARGIN: (f64, f64) = (90.0, 90.0);
/// The axes: replicas a unit, and the wrong share as a power of ten; what is below counts as none.
const REPLICAS: (f64, f64) = (1.0, 5.0);
const POWERS: (f64, f64) = (-6.0, 0.0);

/// Each world is a dot: to the left it is cheap, at the bottom it is right.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "places in the picture")]
fn draw(report: &Path) -> anyhow::Result<Picture> {
    let text = std::fs::read(report).with_context(|| format!("{} cannot be read", report.display()))?;
    let worlds: Vec<World> = serde_json::from_slice(&text).context("the report")?;
    let mut panels: BTreeMap<u32, Vec<&World>> = BTreeMap::new();
    let mut rules: Vec<&str> = Vec::new();
    for world in worlds.iter().filter(|world| world.is_in_tables) {
        panels.entry(world.hostile_percent).or_default().push(world);
        if !rules.contains(&world.rule.as_str()) {
            rules.push(&world.rule);
        }
    }
    let width = MARGIN.0 + panels.len() as f64 * (PANEL.0 + MARGIN.0);
    let mut picture = Picture::new(width as usize, (PANEL.1 + 2.0 * MARGIN.1 + 90.0) as usize, PAPER);
    let colour = |rule: &str| {
        let place = rules.iter().position(|other| *other == rule).unwrap_or(0);
        COLOURS[place % COLOURS.len()]
    };
    picture.text((MARGIN.0 as usize, 24), 2, INK, "Share of wrong answers over replicas a unit");
    for (number, (hostile, worlds)) in panels.iter().enumerate() {
        let left = MARGIN.0 + number as f64 * (PANEL.0 + MARGIN.0);
        let x = |replicas: f64| {
            left + (replicas.clamp(REPLICAS.0, REPLICAS.1) - REPLICAS.0) / (REPLICAS.1 - REPLICAS.0) * PANEL.0
        };
        let y = |share: f64| {
            let power = share.log10().clamp(POWERS.0, POWERS.1);
            MARGIN.1 + (POWERS.1 - power) / (POWERS.1 - POWERS.0) * PANEL.1
        };
        let place = |at: f64| at.max(0.0) as usize;
        picture.text((place(left), place(MARGIN.1) - 30), 2, INK, &format!("{hostile} % hostile"));
        for power in POWERS.0 as i32..=POWERS.1 as i32 {
            let at = y(10_f64.powi(power));
            (place(left)..=place(left + PANEL.0)).for_each(|column| picture.set(column, place(at), FAINT));
            let label = if f64::from(power) > POWERS.0 { format!("1e{power}") } else { "none".to_owned() };
            picture.text((place(left) - 60, place(at) - 6), 2, INK, &label);
        }
        for replicas in REPLICAS.0 as u32..=REPLICAS.1 as u32 {
            let at = x(f64::from(replicas));
            (place(MARGIN.1)..=place(MARGIN.1 + PANEL.1)).for_each(|row| picture.set(place(at), row, FAINT));
            picture.text((place(at) - 4, place(MARGIN.1 + PANEL.1) + 14), 2, INK, &replicas.to_string());
        }
        for world in worlds {
            picture.disc((x(world.figures.replicas), y(world.wrong_share)), 5.0, colour(&world.rule));
        }
    }
    for (number, rule) in rules.iter().enumerate() {
        let left = MARGIN.0 + (number % 2) as f64 * 230.0;
        let row = MARGIN.1 + PANEL.1 + 60.0 + (number / 2) as f64 * 26.0;
        picture.disc((left, row), 5.0, colour(rule));
        picture.text((left as usize + 14, row as usize - 7), 2, INK, rule);
    }
    Ok(picture)
}
