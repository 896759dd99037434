//! `manyhands-sim`: the production scheduler under attack, beside the rules of others. Run by `cargo xtask sim`.

mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, bail};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use manyhands_sim::{Adversary, Figures, Rule, Scene, Tells, adversary};

/// What to simulate; everything if nothing is named.
#[derive(Parser)]
struct Options {
    /// Of all chance
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Who cheats, and how: liar:1000, together:2:100, …
    #[arg(long)]
    adversary: Vec<Adversary>,
    /// How many of a hundred workers do
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=100))]
    hostile: Vec<u32>,
    /// When an outcome counts: 2-of-2+, boinc, sarmenta, fixed, adaptive:1e-4, full:1e-5, …
    #[arg(long)]
    rule: Vec<Rule>,
    /// Computers in each world
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    workers: u32,
    /// Units in each world
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    units: u32,
    /// How many of a hundred honest computers are visitors' browsers
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    visitors: u32,
    /// How many of a hundred workers the coordinator takes for hostile; as many as there are, and at least 10
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=99))]
    assumed: Option<u32>,
    /// How many of the eight runs are of a job whose units take sixty times as long
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=8))]
    long_runs: u32,
    /// How often the coordinator loses its memory; rules of others are left out then
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    restarts: u32,
    /// Of a thousand inputs, how many are made up besides, where words have to be earned
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    decoys: u32,
    /// Have each unit ask for a call, and execute it again with the answer; rules of others are left out then
    #[arg(long)]
    calls: bool,
    /// Train a classifier to tell leases that are checks from others, and decoys from real inputs, instead
    #[arg(long)]
    tells: bool,
    /// Where the figures go
    #[arg(long, default_value = "target/sim/report.json")]
    report: PathBuf,
}

impl Options {
    fn scenes(&self) -> Vec<Scene> {
        let or = |named: &[u32], all: &[u32]| if named.is_empty() { all.to_vec() } else { named.to_vec() };
        let adversaries = if self.adversary.is_empty() { adversary::ALL } else { &self.adversary };
        let mut scenes = Vec::new();
        for hostile_percent in or(&self.hostile, &[0, 10, 30]) {
            // Those who are not there all do the same.
            let adversaries = if hostile_percent == 0 { &[Adversary::None] } else { adversaries };
            let rules = if self.rule.is_empty() { Rule::of_tables(hostile_percent) } else { self.rule.clone() };
            for &adversary in adversaries {
                let &Self { seed, workers, units, visitors: visitors_percent, long_runs, restarts, .. } = self;
                let (decoys_permille, calls) = (self.decoys, self.calls);
                let assumed_percent = self.assumed.unwrap_or(hostile_percent.clamp(10, 99));
                let scene = |&rule| Scene {
                    seed,
                    workers,
                    units,
                    hostile_percent,
                    adversary,
                    visitors_percent,
                    assumed_percent,
                    long_runs,
                    restarts,
                    decoys_permille,
                    calls,
                    rule,
                };
                scenes.extend(rules.iter().filter(|rule| (restarts == 0 && !calls) || rule.is_ours()).map(scene));
            }
        }
        scenes
    }

    /// Worlds that have promises and no place in the tables: those where most are visitors, if nobody named others, and those without
    /// the griefers of `scenes`.
    fn besides(&self, scenes: &[Scene]) -> Vec<Scene> {
        let mut besides: Vec<Scene> = Vec::new();
        if self.visitors == 0 && self.hostile.is_empty() && self.adversary.is_empty() {
            let visited = |scene: &Scene| Scene { visitors_percent: VISITORS_PERCENT, ..*scene };
            let is_promised = |scene: &&Scene| scene.hostile_percent == 0 && !scene.promises().is_empty();
            besides.extend(scenes.iter().filter(is_promised).map(visited));
        }
        for control in scenes.iter().filter_map(Scene::control) {
            if !scenes.contains(&control) && !besides.contains(&control) {
                besides.push(control);
            }
        }
        besides
    }
}

/// How many of a hundred are visitors' browsers where that is looked at.
const VISITORS_PERCENT: u32 = 90;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the tables are the data of this command")]
fn run(options: &Options) -> anyhow::Result<()> {
    let scenes = options.scenes();
    if options.tells {
        return tells(&scenes);
    }
    let besides = options.besides(&scenes);
    let all = play(&[&scenes[..], &besides].concat())?;
    let (played, besides) = all.split_at(scenes.len());
    table::compare(played).iter().for_each(|line| println!("{line}"));
    table::ours(played).iter().for_each(|line| println!("{line}"));
    table::promises(&all).iter().for_each(|line| println!("{line}"));
    let report: Vec<_> = [(played, true), (besides, false)]
        .into_iter()
        .flat_map(|(played, is_in_tables)| played.iter().map(move |played| table::json(played, is_in_tables)))
        .collect();
    if let Some(folder) = options.report.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    std::fs::write(&options.report, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("{} cannot be written", options.report.display()))?;
    let broken = table::broken(&all);
    broken.iter().for_each(|line| eprintln!("{line}"));
    if broken.is_empty() { Ok(()) } else { bail!("{} promises are broken, each shown where it is worst", broken.len()) }
}

/// Shows what workers can tell of their leases.
#[expect(clippy::print_stdout, reason = "the table is the data of this command")]
fn tells(scenes: &[Scene]) -> anyhow::Result<()> {
    println!("what a classifier knows among leases: 0.5 is guessing, 1 is knowing");
    for scene in scenes {
        let observed = scene.observe(&|_| ());
        let checks = observed.checks.with_context(|| format!("{scene}: too few leases to learn from"))?;
        for (what, tells) in [("checks", Some(checks)), ("decoys", observed.decoys)] {
            let Some(Tells { asked, told, auc, by, .. }) = tells else { continue };
            let by: Vec<_> = by.iter().map(|(what, much)| format!("{what} ({much:.2})")).collect();
            let share = 100.0 * told;
            println!("{:22} AUC {auc:.3}, {share:.1} % of {asked} were {what}; by {}", scene.rule, by.join(", "));
        }
        let [strangers, others] = observed.decoys_of.map(|share| 100.0 * share);
        println!("{:22} decoys among leases: {strangers:.2} % without a record, {others:.2} % with one", scene.rule);
    }
    Ok(())
}

/// Plays all scenes, as many at a time as there are cores.
fn play(scenes: &[Scene]) -> anyhow::Result<Vec<(Scene, Figures)>> {
    let bar = ProgressBar::new(scenes.iter().map(|scene| u64::from(scene.units)).sum());
    bar.set_style(ProgressStyle::with_template("{bar:30} {percent} %, {eta} left: {msg}")?);
    let next = AtomicUsize::new(0);
    let played: Vec<Mutex<Option<Figures>>> = scenes.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from).min(scenes.len()) {
            scope.spawn(|| {
                while let Some((scene, place)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    scenes.get(number).zip(played.get(number))
                } {
                    bar.set_message(format!("{} % {}, {}", scene.hostile_percent, scene.adversary, scene.rule));
                    let figures = scene.play(&|units| bar.inc(units));
                    if let Ok(mut place) = place.lock() {
                        *place = Some(figures);
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    let figures = played.into_iter().map(|place| place.into_inner().ok().flatten());
    scenes
        .iter()
        .copied()
        .zip(figures)
        .map(|(scene, figures)| Some((scene, figures?)))
        .collect::<Option<_>>()
        .context("a world has no end")
}
