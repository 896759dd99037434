//! `cargo xtask demo`: everything at once, for somebody who has never seen it.
//!
//! A coordinator, three real runners and a worker that lies, all of them processes of their own in a
//! temporary directory; three jobs over real data, and one that writes to people whom nobody who executes it sees; every answer is checked
//! before it becomes a file. The developer's tool does all the talking, so what is shown here is what a developer would type.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::map::{self, Place};
use crate::outside::{Outside, SECRETS};
use crate::picture::Picture;
use crate::process::{self, Process};
use crate::wire::Wire;
use crate::{browser, check, setup, workspace};

/// Real runners, besides the liar.
const RUNNERS: usize = 3;
/// Postal codes in one input: each execution first reads all airports, and a lease costs a little too.
const BATCH: usize = 250;
/// The Mandelbrot picture and its tiles. Unit: pixels.
const PICTURE: (usize, usize) = (1920, 1280);
const TILE: usize = 160;
/// How long anything may take to start.
const START: Duration = Duration::from_secs(60);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What the demo is to do.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave everything running afterwards, until Ctrl-C, and say where the pages are
    #[arg(long)]
    keep: bool,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    setup::target().await?;
    setup::compiler().await?;
    eprintln!("building the programs (the first time this takes some minutes)");
    browser::run().await?;
    ensure!(process::run(&mut check::programs()).await?.success(), "the programs do not build");
    let modules = build_jobs().await?;

    let began = Instant::now();
    let stage = Stage::open().await?;
    for module in &modules {
        let mut publish = stage.tool(["publish", "--quiet"]);
        publish.arg("--key").arg(stage.path("publisher.key")).arg(module);
        ensure!(process::run(&mut publish).await?.success(), "{} is not published", module.display());
    }
    let folder = workspace().join("target/demo");
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    stage.allow_calls().await?;
    let customers = customers()?;
    let letters = stage.submit("crm-enrich", &customers).await?;
    let codes = postal_codes()?;
    let airports = stage.submit("nearest-airport", &airport_inputs(&codes)).await?;
    let tiles = stage.submit("mandelbrot", &tile_inputs()).await?;
    let texts = match text_inputs() {
        inputs if inputs.is_empty() => None,
        inputs => Some(stage.submit("text-index", &inputs).await?),
    };

    let contacts = stage.results(&letters).await?;
    let nearest = nearest_airports(&codes, stage.results(&airports).await?)?;
    let (csv, map) = (folder.join("nearest-airport.csv"), folder.join("nearest-airport.png"));
    write_csv(&csv, &nearest)?;
    map::draw(&places(&codes, &nearest)).save(&map)?;
    let set = folder.join("mandelbrot.png");
    assemble(stage.results(&tiles).await?)?.save(&set)?;
    let mut files = vec![csv, map, set];
    if let Some(texts) = texts {
        let index = folder.join("text-index.json");
        let results = stage.results::<serde_json::Value>(&texts).await?;
        std::fs::write(&index, results.first().context("the index is missing")?.to_string())?;
        files.push(index);
    }
    let report = stage.report().await?;
    let privacy = stage.privacy(&customers, &contacts)?;
    let took = began.elapsed();
    if options.keep {
        summarize(&report, &privacy, took, &files);
        stage.show().await?;
        // Whoever stops this command stops everything.
        return std::future::pending().await;
    }
    // Before the summary: whoever reads it may trust that nothing is left behind.
    drop(stage);
    summarize(&report, &privacy, took, &files);
    Ok(())
}

/// Compiles the jobs with the developer's tool and returns the modules.
async fn build_jobs() -> anyhow::Result<Vec<PathBuf>> {
    let mut modules = Vec::new();
    for job in ["nearest-airport", "mandelbrot", "text-index", "crm-enrich"] {
        let mut build = process::command(program("manyhands"));
        build.args(["build", "--package", job]);
        modules.push(PathBuf::from(process::read(&mut build).await?.trim()));
    }
    Ok(modules)
}

/// A program that was just built: the folder of the profile is where this one lies, or beside it.
fn program(name: &str) -> PathBuf {
    process::target().join("debug").join(name)
}

/// All processes and their folder. Dropping it ends the first and removes the second.
struct Stage {
    // In this order: workers go before their coordinator, and all before the folder.
    visitor: Option<Process>,
    liar: Process,
    runners: Vec<Process>,
    coordinator: Process,
    server: String,
    /// What all workers are told goes through here.
    wire: Wire,
    outside: Outside,
    liar_log: PathBuf,
    folder: TempDir,
}

impl Stage {
    async fn open() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("manyhands-demo-").tempdir()?;
        let path = |name: &str| folder.path().join(name);
        let log = path("coordinator.log");
        let data = path("coordinator").display().to_string();
        let outside = Outside::open().await?;
        let allow = format!("calls.allow={}", Outside::origin());
        let arguments = ["--data-dir", &data, "--listen", "127.0.0.1:0", "--set", &allow];
        let mut coordinator = Process::serve(&program("manyhands-coordinator"), arguments, &log)?;
        let read = |name: &str| std::fs::read_to_string(path("coordinator").join(name)).ok();
        let began = Instant::now();
        let (server, join) = loop {
            if let (Some(server), Some(join)) = (read("address"), read("join")) {
                break (server.trim().to_owned(), join.trim().to_owned());
            }
            coordinator.expect_alive().with_context(|| tail(&log))?;
            ensure!(began.elapsed() < START, "the coordinator does not start: {}", tail(&log));
            tokio::time::sleep(LOOK).await;
        };
        eprintln!("a coordinator serves at {server}");
        let address = server.trim_start_matches("http://");
        let wire = Wire::tap(address.parse().with_context(|| format!("{server} is no address"))?).await?;
        let join = join.replace(address, &wire.address().to_string());

        let mut runners = Vec::new();
        for number in 1..=RUNNERS {
            let data = path(&format!("runner-{number}")).display().to_string();
            let log = path(&format!("runner-{number}.log"));
            let arguments = [&join, "--data-dir", &data, "--slots", "1"];
            runners.push(Process::serve(&program("manyhands-runner"), arguments, &log)?);
        }
        let liar_log = path("liar.log");
        let liar = Process::serve(&program("liar"), [&join], &liar_log)?;
        let mut stage = Self { visitor: None, liar, runners, coordinator, server, wire, outside, liar_log, folder };
        stage.everybody_is_there().await?;
        eprintln!("{RUNNERS} runners and a liar have joined");
        stage.invite().await?;
        Ok(stage)
    }

    /// A visitor's browser joins, where there is one.
    async fn invite(&mut self) -> anyhow::Result<()> {
        let log = self.path("visitor.log");
        let page = format!("http://{}", self.wire.address());
        let mut visitor = Process::serve(&program("visitor"), [&page], &log)?;
        let began = Instant::now();
        while !self.workers().await?.iter().any(Worker::is_browser) {
            if visitor.expect_alive().is_err() {
                eprintln!("no browser has joined: {}", tail(&log));
                return Ok(());
            }
            ensure!(began.elapsed() < START, "the browser does not join: {}", tail(&log));
            tokio::time::sleep(LOOK).await;
        }
        eprintln!("a visitor's browser has joined, without a window");
        self.visitor = Some(visitor);
        Ok(())
    }

    /// Says where the pages are.
    async fn show(&self) -> anyhow::Result<()> {
        let mut console = Command::new(program("manyhands-coordinator"));
        console.args(["console", "--data-dir"]).arg(self.path("coordinator"));
        let link = process::read(console.kill_on_drop(true)).await?;
        eprintln!("\nlend a hand:     {}/volunteer", self.server);
        eprintln!("operator's page: {}", link.trim());
        eprintln!("Ctrl-C ends everything");
        Ok(())
    }

    async fn everybody_is_there(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            self.coordinator.expect_alive().with_context(|| tail(&self.path("coordinator.log")))?;
            for (index, runner) in self.runners.iter_mut().enumerate() {
                let log = self.folder.path().join(format!("runner-{}.log", index + 1));
                runner.expect_alive().with_context(|| tail(&log))?;
            }
            self.liar.expect_alive().with_context(|| tail(&self.liar_log))?;
            // Right after its start the coordinator may not answer yet.
            let workers = self.workers().await.unwrap_or_default();
            if workers.iter().filter(|worker| worker.connected).count() > RUNNERS {
                return Ok(());
            }
            ensure!(
                began.elapsed() < START,
                "the workers do not join: {}",
                tail(&self.folder.path().join("runner-1.log"))
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The developer's tool, talking to this coordinator and to nothing of the user's.
    fn tool<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = Command::new(program("manyhands"));
        command.args(arguments).arg("--server").arg(&self.server);
        command.arg("--token-file").arg(self.path("coordinator/operator.token"));
        command.env("XDG_CONFIG_HOME", self.path("config")).env("XDG_DATA_HOME", self.path("data"));
        command.kill_on_drop(true);
        command
    }

    async fn ask<T: DeserializeOwned, const N: usize>(&self, arguments: [&str; N]) -> anyhow::Result<T> {
        let answer = process::read(self.tool(arguments).args(["--json", "--quiet"])).await?;
        Ok(serde_json::from_str(&answer)?)
    }

    async fn workers(&self) -> anyhow::Result<Vec<Worker>> {
        Ok(self.ask::<Workers, _>(["workers"]).await?.workers)
    }

    /// What an operator does before a job may make calls.
    async fn allow_calls(&self) -> anyhow::Result<()> {
        for (name, secret) in SECRETS {
            let file = self.path(name);
            std::fs::write(&file, secret)?;
            let mut set = self.tool(["secret", "set", name, "--origin", &Outside::origin(), "--quiet"]);
            ensure!(process::run(set.arg("--file").arg(&file)).await?.success(), "the secret {name} is not set");
        }
        let mut approve = self.tool(["plan", "approve", "crm-enrich", "--yes"]);
        ensure!(process::run(&mut approve).await?.success(), "the plan of crm-enrich is not approved");
        Ok(())
    }

    /// Submits a run and returns its id.
    async fn submit(&self, job: &str, inputs: &[serde_json::Value]) -> anyhow::Result<String> {
        let file = self.path("inputs.jsonl");
        let lines: String = inputs.iter().map(|input| format!("{input}\n")).collect();
        std::fs::write(&file, lines)?;
        let mut submit = self.tool(["submit", job, "--json", "--quiet"]);
        let answer = process::read(submit.arg("--inputs").arg(&file)).await?;
        let run: Run = serde_json::from_str(&answer)?;
        eprintln!("{job}: {} inputs submitted as {}", inputs.len(), run.id);
        Ok(run.id)
    }

    /// Shows a run's progress until it ends, and returns its outputs.
    async fn results<T: DeserializeOwned>(&self, run: &str) -> anyhow::Result<Vec<T>> {
        if !process::run(&mut self.tool(["watch", run])).await?.success() {
            bail!("{run} has failed units: {}", tail(&self.path("runner-1.log")));
        }
        let text = process::read(&mut self.tool(["results", run, "--quiet"])).await?;
        let output = |line: &str| match serde_json::from_str(line)? {
            ResultLine { output: Some(output), .. } => Ok(output),
            ResultLine { unit, error, .. } => bail!("unit {unit} has no output: {}", error.unwrap_or_default()),
        };
        text.lines().map(output).collect()
    }

    /// Holds what the outside world saw, what workers were told and what came back against each other.
    fn privacy(&self, customers: &[serde_json::Value], contacts: &[Contact]) -> anyhow::Result<Privacy> {
        let text = |customer: &serde_json::Value, key: &str| {
            customer[key].as_str().map(str::to_owned).with_context(|| format!("a customer has no {key}"))
        };
        let all = |key| customers.iter().map(|customer| text(customer, key)).collect::<anyhow::Result<Vec<_>>>();
        let (names, emails, phones) = (all("name")?, all("email")?, all("phone")?);
        let seen = self.outside.seen();

        let written_to: BTreeSet<&String> = seen.letters.values().flatten().collect();
        ensure!(written_to == emails.iter().collect(), "letters went to others than the customers");
        for (name, phone) in names.iter().zip(&phones) {
            let sent = seen.texts.iter().filter(|text| text.contains(&format!("Dear {name},")) && text.contains(phone));
            ensure!(sent.count() > 0, "a letter does not say what it should");
        }
        let known = contacts.iter().all(|contact| seen.companies.contains(&contact.company));
        ensure!(known && contacts.len() == customers.len(), "results do not have the values that they should");

        let values: BTreeSet<&str> =
            [&names, &emails, &phones].into_iter().flatten().chain(&seen.companies).map(String::as_str).collect();
        let found = self.wire.find(values.iter().copied());
        ensure!(found.texts == 0, "workers saw {} real values; this is a bug", found.texts);
        // What is not declared stands beside them, so they would be found.
        let ids = all("id")?;
        for id in &ids {
            ensure!(
                self.wire.find([id.as_str()]).texts > 0,
                "workers were never told of {id}, so nothing was looked through"
            );
        }
        ensure!(found.tokens >= customers.len() * 3, "workers were told of {} tokens, which is too few", found.tokens);
        let made: usize = seen.letters.values().map(Vec::len).sum();
        Ok(Privacy {
            customers: customers.len(),
            values: values.len(),
            seen: found.texts,
            tokens: found.tokens,
            bytes: found.bytes,
            lookups: seen.lookups.values().sum(),
            letters: seen.letters.len(),
            duplicates: made - emails.len(),
        })
    }

    async fn report(&self) -> anyhow::Result<Report> {
        let runs: Runs = self.ask(["runs"]).await?;
        let words = std::fs::read_to_string(&self.liar_log)?;
        let liar = words.split_whitespace().next().context("the liar says nothing")?.to_owned();
        let report = Report { runs: runs.runs, workers: self.workers().await?, liar };
        for worker in report.workers.iter().filter(|worker| worker.id != report.liar) {
            ensure!(worker.dissents == 0, "the honest runner {} was outvoted; this is a bug", worker.id);
        }
        Ok(report)
    }
}

/// The last lines of a log, for an error message.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(10).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

#[derive(Deserialize)]
struct ResultLine<T> {
    unit: u32,
    output: Option<T>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Run {
    id: String,
}

#[derive(Deserialize)]
struct Runs {
    runs: Vec<RunTally>,
}

#[derive(Deserialize)]
struct RunTally {
    units: Units,
}

#[derive(Deserialize)]
struct Units {
    done: u64,
}

#[derive(Deserialize)]
struct Workers {
    workers: Vec<Worker>,
}

#[derive(Deserialize)]
struct Worker {
    id: String,
    connected: bool,
    engine: String,
    agreed: u64,
    dissents: u64,
    banned: bool,
}

impl Worker {
    fn is_browser(&self) -> bool {
        self.connected && self.engine.starts_with("Chrom")
    }
}

/// What happened, as the coordinator recorded it.
struct Report {
    runs: Vec<RunTally>,
    workers: Vec<Worker>,
    liar: String,
}

/// What became of the customers.
struct Privacy {
    customers: usize,
    /// Their names, addresses, phones and companies.
    values: usize,
    /// How often one of these was told to a worker.
    seen: usize,
    /// How often a token was.
    tokens: usize,
    /// All that workers were told.
    bytes: usize,
    lookups: usize,
    letters: usize,
    duplicates: usize,
}

/// An output of `crm-enrich`.
#[derive(Deserialize)]
struct Contact {
    company: String,
}

fn customers() -> anyhow::Result<Vec<serde_json::Value>> {
    let path = workspace().join("jobs/crm-enrich/inputs.jsonl");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn summarize(report: &Report, privacy: &Privacy, took: Duration, files: &[PathBuf]) {
    let verified: u64 = report.runs.iter().map(|run| run.units.done).sum();
    let lies: u64 = report.workers.iter().map(|worker| worker.dissents).sum();
    let short = |id: &str| id.chars().take(16).collect::<String>();
    let mut text = format!("\n{verified} units verified, each by two workers that agree in every bit\n");
    let mut line = |args: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _written = writeln!(text, "{args}");
    };
    line(format_args!("{lies} lies caught:"));
    for worker in &report.workers {
        let who = match worker {
            liar if liar.id == report.liar => "liar",
            browser if browser.is_browser() => "browser",
            _ => "runner",
        };
        let fate = if worker.banned { ", banned" } else { "" };
        let (id, agreed, dissents) = (short(&worker.id), worker.agreed, worker.dissents);
        line(format_args!("  {id}…  {who:7}  {agreed:4} answers counted, {dissents} lies{fate}"));
    }
    let Privacy { customers, values, seen, tokens, bytes, lookups, letters, duplicates } = privacy;
    line(format_args!("{customers} customers were written to by workers that do not know them:"));
    let megabytes = *bytes as f64 / 1e6;
    line(format_args!(
        "  real values seen by workers: {seen}, of {values}, in {megabytes:.1} MB that they were sent; tokens: {tokens}"
    ));
    line(format_args!("  calls made: {lookups} lookups, {letters} letters; duplicates: {duplicates}"));
    line(format_args!("{:.1} s, from the coordinator's start to the last file:", took.as_secs_f32()));
    for file in files {
        line(format_args!("  {}", file.strip_prefix(workspace()).unwrap_or(file).display()));
    }
    eprint!("{text}");
}

/// A line of `zipcodes.csv`.
struct PostalCode {
    zip_code: String,
    latitude: f64,
    longitude: f64,
}

fn postal_codes() -> anyhow::Result<Vec<PostalCode>> {
    let path = workspace().join("jobs/nearest-airport/data/zipcodes.csv");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let read = |line: &str| {
        let mut fields = line.split(',');
        let (zip_code, latitude, longitude) = (fields.next()?, fields.next()?, fields.next()?);
        Some(PostalCode {
            zip_code: zip_code.trim_matches('"').to_owned(),
            latitude: latitude.parse().ok()?,
            longitude: longitude.parse().ok()?,
        })
    };
    let line = |line: &str| read(line).with_context(|| format!("{}: `{line}` is no postal code", path.display()));
    text.lines().skip(1).map(line).collect()
}

fn airport_inputs(codes: &[PostalCode]) -> Vec<serde_json::Value> {
    let code = |code: &PostalCode| json!({ "zip_code": code.zip_code, "latitude": code.latitude, "longitude": code.longitude });
    codes.chunks(BATCH).map(|batch| batch.iter().map(code).collect()).collect()
}

#[derive(Deserialize)]
struct Nearest {
    zip_code: String,
    iata: String,
    distance_km: f64,
}

/// Joins the batches and checks that every postal code is there exactly once.
fn nearest_airports(codes: &[PostalCode], batches: Vec<Vec<Nearest>>) -> anyhow::Result<Vec<Nearest>> {
    let nearest: Vec<_> = batches.into_iter().flatten().collect();
    let found: BTreeSet<_> = nearest.iter().map(|nearest| &nearest.zip_code).collect();
    let all: BTreeSet<_> = codes.iter().map(|code| &code.zip_code).collect();
    ensure!(nearest.len() == found.len(), "{} postal codes came twice", nearest.len() - found.len());
    ensure!(found == all, "{} postal codes went in, {} others came out", all.len(), found.len());
    let sound = |nearest: &&Nearest| (0.0..20_038.0).contains(&nearest.distance_km) && !nearest.iata.is_empty();
    ensure!(nearest.iter().all(|nearest| sound(&nearest)), "a distance is longer than the earth is round");
    Ok(nearest)
}

fn write_csv(path: &Path, nearest: &[Nearest]) -> anyhow::Result<()> {
    let mut text = String::from("zip_code,iata,distance_km\n");
    for Nearest { zip_code, iata, distance_km } in nearest {
        writeln!(text, "{zip_code},{iata},{distance_km:.3}")?;
    }
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

fn places(codes: &[PostalCode], nearest: &[Nearest]) -> Vec<Place> {
    let distances: BTreeMap<_, _> = nearest.iter().map(|nearest| (&nearest.zip_code, nearest.distance_km)).collect();
    let place = |code: &PostalCode| {
        let &distance_km = distances.get(&code.zip_code)?;
        Some(Place { latitude: code.latitude, longitude: code.longitude, distance_km })
    };
    codes.iter().filter_map(place).collect()
}

fn tile_inputs() -> Vec<serde_json::Value> {
    let (width, height) = PICTURE;
    let tile = |x: usize, y: usize| {
        json!({
            "width": width, "height": height, "x": x, "y": y, "w": TILE, "h": TILE,
            "center": [-0.743_64, 0.131_35], "scale": 0.003, "max_iterations": 3000,
        })
    };
    let rows = (0..height).step_by(TILE);
    rows.flat_map(|y| (0..width).step_by(TILE).map(move |x| (x, y))).map(|(x, y)| tile(x, y)).collect()
}

#[derive(Deserialize)]
struct Tile {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
    pixels: String,
}

/// Puts the tiles together and checks that they cover the picture.
fn assemble(tiles: Vec<Tile>) -> anyhow::Result<Picture> {
    let (width, height) = PICTURE;
    let mut picture = Picture::new(width, height, [0; 3]);
    let mut covered = BTreeSet::new();
    for tile in tiles {
        let bytes = BASE64.decode(&tile.pixels)?;
        let (pixels, rest) = bytes.as_chunks::<3>();
        ensure!(rest.is_empty() && pixels.len() == tile.width * tile.height, "a tile has the wrong size");
        for (index, &pixel) in pixels.iter().enumerate() {
            picture.set(tile.x + index % tile.width, tile.y + index / tile.width, pixel);
        }
        ensure!(covered.insert((tile.x, tile.y)), "a tile came twice");
    }
    ensure!(covered.len() * TILE * TILE == width * height, "tiles are missing");
    Ok(picture)
}

/// The licence texts that every Debian ships; nothing on other systems.
fn text_inputs() -> Vec<serde_json::Value> {
    let folder = Path::new("/usr/share/common-licenses");
    let mut files: Vec<_> = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    // `GPL` is a link to `GPL-3`, and so on.
    files.retain(|path| path.is_file() && !path.is_symlink());
    let input = |path: &PathBuf| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        Some(json!({ "name": name, "text": std::fs::read_to_string(path).ok()? }))
    };
    files.iter().filter_map(input).collect()
}
