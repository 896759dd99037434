//! A worker that lies: it signs answers that look right and are not.
//!
//! `liar JOIN_LINK [--after K] [--permille N] [--instead HOW] [--flees] [--wants N] [--from ADDRESS]`. It speaks the real protocol with a real key, so
//! whoever catches it has its signature under the lie. Alone, it takes leases and executes nothing. With `--after` or `--permille` it executes honestly, but
//! for N of a thousand units (all, if nothing is said) once K were reported. Several that are started alike tell the same lie of a unit: they are a gang.
//! `--instead` is what it does where it is not honest. With `--flees` it leaves once it has lied, and comes back as somebody else. `--from` is where it says
//! that it is, for coordinators that take it for a proxy. It ends when the coordinator will not have it any more.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use manyhands_model::{Digest, Limits, Outcome, Timestamp, Verdict};
use manyhands_protocol::{ClientMessage, Done, Grant, Report, Reports, ServerMessage};
use manyhands_runner::engine::{Execution, Prepared, Wasm};
use manyhands_signing::{Keypair, Signed};
use manyhands_tests::{Lost, Unit, Worker};

/// Says that it is there when it has nothing else to say.
const HEARTBEAT: Duration = Duration::from_secs(5);

#[derive(Parser)]
struct Arguments {
    join: String,
    #[arg(long)]
    after: Option<u64>,
    #[arg(long)]
    permille: Option<u64>,
    #[arg(long, value_enum, default_value_t = Instead::Lie)]
    instead: Instead,
    #[arg(long)]
    flees: bool,
    /// How many units it asks for at a time.
    #[arg(long, default_value_t = 2)]
    wants: u16,
    #[arg(long)]
    from: Option<String>,
}

/// What it does where it does not say what came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Instead {
    /// Says something else, the same as all who lie.
    Lie,
    /// Says something else each time.
    Noise,
    /// Sends bytes that are no message.
    Bytes,
    /// Nothing, and it keeps the lease.
    Silence,
    /// Says it when the lease has ended.
    Late,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A second call only says that the provider is there already.
    let _there = rustls::crypto::ring::default_provider().install_default();
    let mut liar = match Liar::new(arguments) {
        Ok(liar) => liar,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    loop {
        match liar.lie().await {
            End::Fled => (liar.seed, liar.reported) = (new_seed(), 0),
            End::Lost(Lost::Refused { reason, retry_after: None }) => {
                eprintln!("found out: {reason}");
                return ExitCode::SUCCESS;
            }
            End::Lost(Lost::Refused { retry_after: Some(after), .. }) => tokio::time::sleep(after).await,
            End::Lost(Lost::Broken(_)) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

fn new_seed() -> [u8; 32] {
    *Worker::new_key().seed()
}

/// Why a connection is over.
enum End {
    Lost(Lost),
    /// It left, and is somebody else from now on.
    Fled,
}

impl From<Lost> for End {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

/// What it says, and how many units it reported under this identity.
struct Liar {
    arguments: Arguments,
    seed: [u8; 32],
    reported: u64,
    /// Reports that are for later, with the moment at which their leases end.
    kept: Vec<(Timestamp, Done)>,
    honest: Option<Honest>,
}

/// How it executes what it does not lie about.
struct Honest {
    base: String,
    wasm: Wasm,
    limits: BTreeMap<Digest, Limits>,
    modules: BTreeMap<Digest, Prepared>,
}

impl Liar {
    fn new(arguments: Arguments) -> anyhow::Result<Self> {
        let base = arguments.join.split("/join#").next().unwrap_or_default().to_owned();
        let is_late = arguments.instead == Instead::Late;
        let is_honest = arguments.after.is_some() || arguments.permille.is_some() || is_late;
        let honest = |wasm| Honest { base, wasm, limits: BTreeMap::new(), modules: BTreeMap::new() };
        let honest = if is_honest { Some(honest(Wasm::new()?)) } else { None };
        Ok(Self { arguments, seed: new_seed(), reported: 0, kept: Vec::new(), honest })
    }

    async fn lie(&mut self) -> End {
        let from = self.arguments.from.as_deref();
        let key = Keypair::from_seed(&self.seed);
        let mut worker = match Worker::connect_from(&self.arguments.join, key, from).await {
            Ok(worker) => worker,
            Err(lost) => return lost.into(),
        };
        eprintln!("{} is connected", worker.id());
        match self.talk(&mut worker).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn talk(&mut self, worker: &mut Worker) -> Result<std::convert::Infallible, End> {
        let wants = ClientMessage::Want(self.arguments.wants);
        worker.send(&wants).await?;
        loop {
            for (_, done) in self.kept.extract_if(.., |(ends_at, _)| *ends_at < now()) {
                worker.send(&ClientMessage::Done(done)).await?;
            }
            let next = self.kept.iter().map(|(ends_at, _)| ends_at.since(now()) + Duration::from_millis(1)).min();
            match tokio::time::timeout(next.map_or(HEARTBEAT, |next| next.min(HEARTBEAT)), worker.receive()).await {
                Ok(Ok(ServerMessage::Grant(grant))) => {
                    self.answer(worker, &grant).await?;
                    worker.send(&wants).await?;
                }
                Ok(message) => drop(message?),
                Err(_) => worker.send(&ClientMessage::Ping).await?,
            }
        }
    }

    async fn answer(&mut self, worker: &mut Worker, grant: &Grant) -> Result<(), End> {
        if let (Some(honest), Some(release)) = (&mut self.honest, &grant.release) {
            let release = release.verify_any().map_err(|error| Lost::Broken(error.to_string()))?;
            honest.limits.insert(release.module, release.limits);
        }
        let ends_at = grant.leases.verify_any().map_err(|error| Lost::Broken(error.to_string()))?.validity.expires_at;
        for unit in Unit::all(grant) {
            let instead = self.lies().then_some(self.arguments.instead);
            self.reported += 1;
            let done = match (&mut self.honest, instead) {
                (_, Some(Instead::Silence)) => continue,
                (_, Some(Instead::Bytes)) => {
                    worker.send_bytes(noise().to_vec()).await?;
                    continue;
                }
                (_, Some(Instead::Noise)) => worker.done([(&unit, noise().to_vec())], 1_000_000),
                (Some(honest), _) => honest
                    .execute(worker.key(), &unit, instead == Some(Instead::Lie))
                    .await
                    .map_err(|error| Lost::Broken(format!("{error:#}")))?,
                (None, _) => worker.done([(&unit, invented(&unit))], 1_000_000),
            };
            if instead == Some(Instead::Late) {
                self.kept.push((ends_at, done));
                continue;
            }
            worker.send(&ClientMessage::Done(done)).await?;
            if instead.is_some() && self.arguments.flees {
                // What is not read yet would be lost with the connection.
                worker.receipt(unit.lease.id).await?;
                return Err(End::Fled);
            }
        }
        Ok(())
    }

    fn lies(&self) -> bool {
        let is_time = self.reported >= self.arguments.after.unwrap_or(0);
        // Evenly spread, and never the first.
        is_time && self.arguments.permille.is_none_or(|permille| (self.reported + 1) * permille % 1000 < permille)
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    Timestamp(u64::try_from(since).unwrap_or(u64::MAX))
}

/// Bytes that nobody else says.
fn noise() -> [u8; 32] {
    new_seed()
}

/// Something of the right shape: the input with one character changed.
fn invented(unit: &Unit) -> Vec<u8> {
    let mut output: Vec<u8> = unit.input.iter().copied().take(1000).collect();
    match output.iter_mut().find(|byte| byte.is_ascii_digit()) {
        Some(digit) => *digit = if *digit == b'9' { b'0' } else { *digit + 1 },
        None => output.push(b'0'),
    }
    output
}

impl Honest {
    /// Executes a unit, and changes a byte of what comes out if it is to lie.
    async fn execute(&mut self, key: &Keypair, unit: &Unit, lies: bool) -> anyhow::Result<Done> {
        if !self.modules.contains_key(&unit.module) {
            let bytes = reqwest::get(format!("{}/v1/modules/{}", self.base, unit.module)).await?.bytes().await?;
            self.modules.insert(unit.module, self.wasm.prepare(&self.wasm.compile(&bytes)?)?);
        }
        let (module, limits) = (&self.modules[&unit.module], self.limits.get(&unit.module));
        let task = &unit.lease.task;
        let execution = Execution {
            entry: task.entry,
            step: task.step,
            input: unit.input.clone(),
            seed: task.seed,
            limits: *limits.context("the release never came")?,
        };
        let executed = self.wasm.execute(module, execution, Box::new(|_| {}))?;
        let (mut outcome, mut output) = (executed.outcome, executed.output);
        if lies {
            let at = output.iter().position(u8::is_ascii_digit).unwrap_or(0);
            match output.get_mut(at) {
                Some(byte) if byte.is_ascii_digit() => *byte = if *byte == b'9' { b'8' } else { *byte + 1 },
                Some(byte) => *byte ^= 1,
                None => output.push(b'0'),
            }
            let verdict = Verdict::Ok { output: Digest::of(&output), output_bytes: output.len() as u64 };
            outcome = Outcome { verdict, fuel: outcome.fuel };
        }
        let report = Report { lease: unit.lease.clone(), outcome };
        let reports = Reports { run: unit.run, module: unit.module, reports: vec![report] };
        Ok(Done { reports: Signed::new(key, &reports), outputs: vec![output.into()] })
    }
}
