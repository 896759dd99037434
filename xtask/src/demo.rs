//! `cargo xtask demo`: everything at once, for somebody who has never seen it.
//!
//! A coordinator with an auditor of its own, three real runners, a worker that always lies and one that earns trust first, all of them
//! processes of their own in a temporary directory; three jobs over real data, and one that writes to people whom nobody who executes it
//! sees; what becomes a file is computed here once more before. The developer's tool does all the talking, so what is shown
//! here is what a developer would type.

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
use serde_json::value::RawValue;
use tempfile::TempDir;
use tokio::process::Command;

use crate::map::{self, Place};
use crate::outside::{Outside, SECRETS};
use crate::picture::Picture;
use crate::process::{self, Process};
use crate::wire::Wire;
use crate::{browser, check, setup, workspace};

/// Real runners, besides the liars.
const RUNNERS: usize = 3;
/// What a coordinator is told that works for half a minute on one computer: a record is earned with ten checks instead of a hundred,
/// three workers with one are enough to lean on, one address is not one voice, and of ten accepted units four, instead of
/// two of a hundred, are drawn for an audit.
const VERIFICATION: [&str; 4] = [
    "verification.record_checks=10",
    "verification.records_min=3",
    "verification.ipv4_bits=0",
    "verification.audits_permille=600",
];
/// When an answer counts of what needs no call: what one worker with a record says, and now and then a second one.
const RULE: &str = "adaptive:1e-2";
/// How the second liar behaves: it asks for so many units at a time, says the truth about the first so many, and then lies about so many
/// of a thousand.
///
/// When it begins to lie it has a record and is believed alone, but for five units of a hundred that somebody else gets as well, and for
/// what is drawn: a lie stays unseen with a probability of at most 0.95 · 0.6. Of a round it is given 60 units at least, so it lies six
/// times; that all lies of [`ROUNDS`] rounds stay unseen has a probability below 0.57¹⁸, which is 0.00004.
const WANTS: &str = "8";
const HONEST: &str = "20";
const LIES_PERMILLE: &str = "100";
/// How often postal codes are looked up, at most, until it is caught: mostly once.
const ROUNDS: usize = 3;
/// Postal codes in one input: each execution first reads all airports, and a lease costs a little too.
const BATCH: usize = 50;
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
    let mut stage = Stage::open().await?;
    for module in modules.values() {
        let mut publish = stage.tool(["publish", "--quiet"]);
        publish.arg("--key").arg(stage.path("publisher.key")).arg(module);
        ensure!(process::run(&mut publish).await?.success(), "{} is not published", module.display());
    }
    let folder = workspace().join("target/demo");
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    stage.allow_calls().await?;

    // By two that agree, whoever they are: who lies always contradicts two others each time.
    let customers = customers()?;
    let letters = stage.submit("crm-enrich", &customers, &[]).await?;
    let text_inputs = text_inputs();
    let texts = if text_inputs.is_empty() { None } else { Some(stage.submit("text-index", &text_inputs, &[]).await?) };
    stage.watch(&letters).await?;
    if let Some(texts) = &texts {
        stage.watch(texts).await?;
    }
    let contacts: Vec<Contact> = stage.results(&letters).await?.into_iter().map(|(contact, _)| contact).collect();

    // By trust that is earned: who lies seldom is believed for a while.
    let patient = stage.admit_the_patient_liar().await?;
    let codes = postal_codes()?;
    let (code_inputs, tile_inputs) = (airport_inputs(&codes), tile_inputs());
    let rule = ["--verify", RULE];
    let tiles = stage.submit("mandelbrot", &tile_inputs, &rule).await?;
    stage.watch(&tiles).await?;
    let mut rounds = Vec::new();
    loop {
        let airports = stage.submit("nearest-airport", &code_inputs, &rule).await?;
        stage.watch(&airports).await?;
        rounds.push(airports);
        stage.audits_are_done().await?;
        if stage.caught().await?.contains_key(&patient) {
            break;
        }
        ensure!(rounds.len() < ROUNDS, "the second liar is lucky, as in less than one demo of a thousand; begin anew");
        eprintln!("nobody has found the second liar out so far; once more");
    }

    eprintln!("computing everything here as well, to compare");
    let (csv, map) = (folder.join("nearest-airport.csv"), folder.join("nearest-airport.png"));
    let mut nearest = Vec::new();
    for airports in &rounds {
        nearest = stage.compared(&modules["nearest-airport"], &code_inputs, airports).await?;
    }
    let nearest = nearest_airports(&codes, nearest)?;
    write_csv(&csv, &nearest)?;
    map::draw(&places(&codes, &nearest)).save(&map)?;
    let set = folder.join("mandelbrot.png");
    assemble(stage.compared(&modules["mandelbrot"], &tile_inputs, &tiles).await?)?.save(&set)?;
    let mut files = vec![csv, map, set];
    if let Some(texts) = texts {
        let index = folder.join("text-index.json");
        let results = stage.compared::<serde_json::Value>(&modules["text-index"], &text_inputs, &texts).await?;
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

/// Compiles the jobs with the developer's tool and returns their modules.
async fn build_jobs() -> anyhow::Result<BTreeMap<&'static str, PathBuf>> {
    let mut modules = BTreeMap::new();
    for job in ["nearest-airport", "mandelbrot", "text-index", "crm-enrich"] {
        let mut build = process::command(program("manyhands"));
        build.args(["build", "--package", job]);
        modules.insert(job, PathBuf::from(process::read(&mut build).await?.trim()));
    }
    Ok(modules)
}

/// A program that was just built: the folder of the profile is where this one lies, or beside it.
fn program(name: &str) -> PathBuf {
    process::target().join("debug").join(name)
}

/// A worker that lies.
struct Liar {
    process: Process,
    log: PathBuf,
    /// What it does.
    habit: &'static str,
}

impl Liar {
    fn join(log: PathBuf, habit: &'static str, arguments: &[&str]) -> anyhow::Result<Self> {
        Ok(Self { process: Process::serve(&program("liar"), arguments, &log)?, log, habit })
    }

    /// As which worker it has joined.
    fn id(&self) -> anyhow::Result<String> {
        let words = std::fs::read_to_string(&self.log)?;
        words.split_whitespace().next().map(str::to_owned).context("a liar says nothing")
    }
}

/// All processes and their folder. Dropping it ends the first and removes the second.
struct Stage {
    // In this order: workers go before their coordinator, and all before the folder.
    visitor: Option<Process>,
    liars: Vec<Liar>,
    runners: Vec<Process>,
    coordinator: Process,
    server: String,
    /// What workers need to join.
    join: String,
    /// What all workers are told goes through here.
    wire: Wire,
    outside: Outside,
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
        let mut arguments = vec!["--data-dir", &data, "--listen", "127.0.0.1:0", "--set", &allow];
        arguments.extend(VERIFICATION.iter().flat_map(|setting| ["--set", setting]));
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
        let liars = vec![Liar::join(path("liar-1.log"), "lies always", &[&join])?];
        let mut stage = Self { visitor: None, liars, runners, coordinator, server, join, wire, outside, folder };
        stage.are_there(RUNNERS + 1).await?;
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

    /// A worker joins that is right until it is trusted.
    async fn admit_the_patient_liar(&mut self) -> anyhow::Result<String> {
        let arguments = [&self.join, "--wants", WANTS, "--after", HONEST, "--permille", LIES_PERMILLE];
        let mut liar = Liar::join(self.path("liar-2.log"), "lies seldom", &arguments)?;
        let began = Instant::now();
        let id = loop {
            liar.process.expect_alive().with_context(|| tail(&liar.log))?;
            let id = liar.id().unwrap_or_default();
            if self.workers().await?.iter().any(|worker| worker.id == id && worker.connected) {
                break id;
            }
            ensure!(began.elapsed() < START, "the second liar does not join: {}", tail(&liar.log));
            tokio::time::sleep(LOOK).await;
        };
        self.liars.push(liar);
        eprintln!("another liar has joined, which says the truth {HONEST} times first");
        Ok(id)
    }

    /// Waits for so many workers.
    async fn are_there(&mut self, count: usize) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            self.coordinator.expect_alive().with_context(|| tail(&self.path("coordinator.log")))?;
            for (index, runner) in self.runners.iter_mut().enumerate() {
                let log = self.folder.path().join(format!("runner-{}.log", index + 1));
                runner.expect_alive().with_context(|| tail(&log))?;
            }
            for liar in &mut self.liars {
                liar.process.expect_alive().with_context(|| tail(&liar.log))?;
            }
            // Right after its start the coordinator may not answer yet.
            let workers = self.workers().await.unwrap_or_default();
            if workers.iter().filter(|worker| worker.connected).count() >= count {
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

    fn write(&self, inputs: &[serde_json::Value]) -> anyhow::Result<PathBuf> {
        let file = self.path("inputs.jsonl");
        let lines: String = inputs.iter().map(|input| format!("{input}\n")).collect();
        std::fs::write(&file, lines)?;
        Ok(file)
    }

    /// Submits a run and returns its id.
    async fn submit(&self, job: &str, inputs: &[serde_json::Value], options: &[&str]) -> anyhow::Result<String> {
        let mut submit = self.tool(["submit", job, "--json", "--quiet"]);
        let answer = process::read(submit.args(options).arg("--inputs").arg(self.write(inputs)?)).await?;
        let run: Run = serde_json::from_str(&answer)?;
        eprintln!("{job}: {} inputs submitted as {}", inputs.len(), run.id);
        Ok(run.id)
    }

    /// Shows a run's progress until it ends.
    async fn watch(&self, run: &str) -> anyhow::Result<()> {
        if !process::run(&mut self.tool(["watch", run])).await?.success() {
            bail!("{run} has failed units: {}", tail(&self.path("runner-1.log")));
        }
        Ok(())
    }

    /// A run's outputs once it has ended, each as it is and as it was written.
    async fn results<T: DeserializeOwned>(&self, run: &str) -> anyhow::Result<Vec<(T, String)>> {
        outputs(&process::read(&mut self.tool(["results", run, "--quiet"])).await?)
    }

    /// Executes a job here, by nobody's help, and returns a run's outputs if they are what comes out, in every bit. What somebody said who
    /// has just been caught may be on its way to be put right.
    async fn compared<T: DeserializeOwned>(
        &self,
        module: &Path,
        inputs: &[serde_json::Value],
        run: &str,
    ) -> anyhow::Result<Vec<T>> {
        let mut compute = self.tool(["run", "--json", "--quiet", "--replicas", "1"]);
        let computed = process::read(compute.arg(module).arg("--inputs").arg(self.write(inputs)?)).await?;
        let computed: Vec<(serde::de::IgnoredAny, String)> = outputs(&computed)?;
        let began = Instant::now();
        loop {
            let results = self.results(run).await?;
            ensure!(results.len() == computed.len(), "{run} has {} outputs of {}", results.len(), computed.len());
            let wrong = results.iter().zip(&computed).filter(|((_, result), (_, computed))| result != computed).count();
            if wrong == 0 {
                return Ok(results.into_iter().map(|(output, _)| output).collect());
            }
            ensure!(began.elapsed() < START, "{wrong} results of {run} are not what was computed here; this is a bug");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the coordinator's own machine has looked at all that was drawn.
    async fn audits_are_done(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let Verification { audits_under_way, audits_in_line, .. } = self.ask(["verification"]).await?;
            if audits_under_way + audits_in_line == 0 {
                return Ok(());
            }
            ensure!(
                began.elapsed() < START,
                "{audits_in_line} audits are not done: {}",
                tail(&self.path("coordinator.log"))
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Who was caught, and by what each time: what the audit log says, which is checked on its way here.
    async fn caught(&self) -> anyhow::Result<BTreeMap<String, Vec<Caught>>> {
        let file = self.path("audit.jsonl");
        let mut export = self.tool(["audit", "export", "--quiet"]);
        process::read(export.arg(&file)).await?;
        let mut caught: BTreeMap<String, Vec<Caught>> = BTreeMap::new();
        for line in std::fs::read_to_string(&file)?.lines() {
            if let LogLine { event: Some(LogEvent { worker_caught: Some(one) }) } = serde_json::from_str(line)? {
                caught.entry(one.worker.clone()).or_default().push(one);
            }
        }
        Ok(caught)
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
        let Runs { runs } = self.ask(["runs"]).await?;
        let mut lines = Vec::new();
        for RunTally { id, job, verify, units, dissents, changed } in runs.into_iter().rev() {
            let text = process::read(&mut self.tool(["results", &id, "--quiet"])).await?;
            let results: Vec<ResultLine> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
            let said = results.iter().map(|result| result.replicas).sum::<u64>() + dissents;
            lines.push(RunLine { job, rule: verify, units: units.done, said, of: results.len() as u64, changed });
        }
        let (mut caught, audits) =
            (self.caught().await?, self.ask::<Verification, _>(["verification"]).await?.audits_done);
        let habits: BTreeMap<String, &str> =
            self.liars.iter().map(|liar| Ok((liar.id()?, liar.habit))).collect::<anyhow::Result<_>>()?;
        let mut workers = Vec::new();
        for worker in self.workers().await? {
            let is = match habits.get(&worker.id) {
                Some(habit) => habit,
                None if worker.standing == "trusted" => "auditor",
                None if worker.is_browser() => "browser",
                None => "runner",
            };
            let caught = caught.remove(&worker.id).unwrap_or_default();
            let is_liar = habits.contains_key(&worker.id);
            ensure!(is_liar || worker.dissents == 0, "the honest {is} {} was outvoted; this is a bug", worker.id);
            ensure!(!is_liar || !caught.is_empty(), "nobody found out who {is}");
            workers.push(WorkerLine { worker, is, caught });
        }
        workers.sort_by_key(|one| (!one.caught.is_empty(), one.is));
        Ok(Report { runs: lines, workers, audits })
    }
}

/// The outputs in lines of results, each as it is and as it was written.
fn outputs<T: DeserializeOwned>(lines: &str) -> anyhow::Result<Vec<(T, String)>> {
    let output = |line: &str| match serde_json::from_str::<ResultLine>(line)? {
        ResultLine { output: Some(output), .. } => Ok((serde_json::from_str(output.get())?, output.get().to_owned())),
        ResultLine { unit, error, .. } => bail!("unit {unit} has no output: {}", error.unwrap_or_default()),
    };
    lines.lines().map(output).collect()
}

/// The last lines of a log, for an error message.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(10).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

#[derive(Deserialize)]
struct ResultLine {
    unit: u32,
    output: Option<Box<RawValue>>,
    error: Option<String>,
    replicas: u64,
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
    id: String,
    job: String,
    verify: String,
    units: Units,
    dissents: u64,
    changed: u64,
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
    standing: String,
}

impl Worker {
    fn is_browser(&self) -> bool {
        self.connected && self.engine.starts_with("Chrom")
    }
}

#[derive(Deserialize)]
struct Verification {
    audits_under_way: u64,
    audits_in_line: u64,
    audits_done: u64,
}

/// A line of the audit log: an entry, or a signed head.
#[derive(Deserialize)]
struct LogLine {
    event: Option<LogEvent>,
}

#[derive(Deserialize)]
struct LogEvent {
    worker_caught: Option<Caught>,
}

/// Whose signature stands under a wrong answer.
#[derive(Deserialize)]
struct Caught {
    worker: String,
    by: String,
}

/// What happened, as the coordinator recorded it.
struct Report {
    runs: Vec<RunLine>,
    workers: Vec<WorkerLine>,
    /// Units that the coordinator's own machine executed as well.
    audits: u64,
}

struct RunLine {
    job: String,
    rule: String,
    units: u64,
    /// How often workers said something of so many results.
    said: u64,
    of: u64,
    changed: u64,
}

struct WorkerLine {
    worker: Worker,
    is: &'static str,
    caught: Vec<Caught>,
}

impl WorkerLine {
    /// Who found it out, and what came of that.
    fn fate(&self) -> String {
        let audits = self.caught.iter().filter(|caught| caught.by == "operator").count() as u64;
        let votes = self.worker.dissents.saturating_sub(audits);
        let by = [(votes, "votes"), (audits, "audits")];
        let mut parts: Vec<String> =
            by.iter().filter(|(lies, _)| *lies > 0).map(|(lies, by)| format!("{lies} by {by}")).collect();
        if self.worker.banned {
            parts.push("banned".to_owned());
        } else if !self.caught.is_empty() {
            parts.push("trusted no more".to_owned());
        }
        parts.join(", ")
    }
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

/// In lines of at most 80 characters.
fn summarize(report: &Report, privacy: &Privacy, took: Duration, files: &[PathBuf]) {
    let Report { runs, workers, audits } = report;
    let mut text = String::from("\n");
    let mut line = |args: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _written = writeln!(text, "{args}");
    };
    let verified: u64 = runs.iter().map(|run| run.units).sum();
    line(format_args!("{verified} units verified; all but the letters computed here too: equal in every bit"));
    line(format_args!(
        "  {:16} {:>6}  {:14} {:>15}  {:>15}",
        "job", "units", "rule", "replicas a unit", "corrected later"
    ));
    for RunLine { job, rule, units, said, of, changed } in runs {
        let replicas = *said as f64 / (*of).max(1) as f64;
        line(format_args!("  {job:16} {units:>6}  {rule:14} {replicas:>15.2}  {changed:>15}"));
    }
    line(format_args!("  the coordinator's own machine looked at {audits} of them"));
    let liars = workers.iter().filter(|worker| !worker.caught.is_empty()).count();
    line(format_args!("{liars} liars caught, each by what it has signed:"));
    line(format_args!("  {:14} {:12} {:>7} {:>5}  {}", "worker", "kind", "counted", "lies", "found"));
    for one in workers {
        let (id, is) = (one.worker.id.chars().take(14).collect::<String>(), one.is);
        let (agreed, dissents) = (one.worker.agreed, one.worker.dissents);
        let about = format!("  {id:14} {is:12} {agreed:>7} {dissents:>5}  {}", one.fate());
        line(format_args!("{}", about.trim_end()));
    }
    let Privacy { customers, values, seen, tokens, bytes, lookups, letters, duplicates } = privacy;
    line(format_args!("{customers} customers were written to by workers that do not know them:"));
    let megabytes = *bytes as f64 / 1e6;
    line(format_args!("  workers were sent {megabytes:.1} MB: {tokens} tokens, and {seen} of {values} real values"));
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
