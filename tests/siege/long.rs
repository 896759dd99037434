//! Every attack at full strength, with honest clients measured without and under it.

use std::time::Duration;

use manyhands_tests::Coordinator;
use manyhands_tests::machine::{STOLEN_MAX, Stretch, disturbance};

use crate::attack::{Besieger, Held, Met, Prey, forget_peak, peak_mib};
use crate::honest::{Honest, Window, quantile_ms};
use crate::report::{Row, median, write};

/// How long clients are watched without and under an attack, in each round.
const WINDOW: Duration = Duration::from_secs(5);
/// The promise: honest clients' p99 under attack, as a multiple of that without.
const RATIO_MAX: f64 = 1.5;
/// The promise: memory of the coordinator.
const MEMORY_MIB_MAX: f64 = 256.0;
/// Below this a p99 is the scheduling of the operating system and not the coordinator's doing.
const NOISE_MS: f64 = 2.0;

/// A round is played so often, until others on the same hardware take next to nothing of the processors.
const TRIES: usize = 5;

/// Attacks and their sockets.
const ATTACKS: &[(&str, usize)] = &[
    ("slow-heads", 10_000),
    ("slow-bodies", 10_000),
    ("slow-frames", 10_000),
    ("slow-workers", 10_000),
    ("idle", 10_000),
    ("noise", 200),
    ("oversized", 50),
    ("bombs", 50),
    ("hoarded-bodies", 500),
    ("hoarded-frames", 500),
    ("hoarded-workers", 500),
    ("fragments", 500),
    ("drips", 500),
    ("pings", 200),
    ("lessees", 1_000),
    ("deaf", 1_000),
    ("flood", 100),
    ("guess", 100),
];

/// What one attack did.
struct Siege {
    alone: Vec<Window>,
    under: Vec<Window>,
    /// Requests of honest clients that failed, in whatever round, and why the last one did.
    failures: (u32, String),
    /// The most that other machines took of the processors in a round.
    stolen: f64,
    peak_mib: f64,
    after: Held,
    met: Met,
}

/// One kind of waiting.
type Wait = (&'static str, fn(&Window) -> &[Duration]);
const WAITS: [Wait; 3] =
    [("invoke", |window| &window.invoke), ("receipt", |window| &window.receipt), ("connect", |window| &window.connect)];

impl Siege {
    async fn lay(
        coordinator: &Coordinator,
        honest: &Honest,
        attack: (&str, usize),
        rounds: usize,
        (besieged, prey): (&Coordinator, &Prey),
    ) -> Self {
        let before = Held::by(besieged).await;
        forget_peak(besieged);
        let (mut alone, mut under, mut met, mut after) = (Vec::new(), Vec::new(), Met::new(), before);
        let (mut failures, mut stolen) = ((0, String::new()), 0.0_f64);
        for _ in 0..rounds {
            let mut calmest: Option<(f64, Window, Window)> = None;
            for _ in 0..TRIES {
                let stretch = Stretch::begin();
                let without = honest.work(coordinator, WINDOW).await;
                let besieger = Besieger::begin(attack.0, attack.1, besieged, prey).await;
                let with = honest.work(coordinator, WINDOW).await;
                let taken = stretch.stolen();
                for (what, times) in besieger.end().await {
                    *met.entry(what).or_default() += times;
                }
                after = before.again(besieged).await;
                if with.failures > 0 {
                    failures = (failures.0 + with.failures, with.why.clone());
                }
                if calmest.as_ref().is_none_or(|(least, ..)| taken < *least) {
                    calmest = Some((taken, without, with));
                }
                if taken <= STOLEN_MAX {
                    break;
                }
            }
            if let Some((taken, without, with)) = calmest {
                stolen = stolen.max(taken);
                alone.push(without);
                under.push(with);
            }
        }
        Self { alone, under, failures, stolen, peak_mib: peak_mib(besieged), after, met }
    }

    /// The median of the windows' p99, without and under the attack.
    fn p99_ms(&self, of: fn(&Window) -> &[Duration]) -> (f64, f64) {
        let p99 = |windows: &[Window]| windows.iter().map(|w| quantile_ms(of(w), 0.99)).collect::<Vec<_>>();
        (median(&p99(&self.alone)), median(&p99(&self.under)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes and measures: `cargo xtask siege`"]
async fn siege() {
    let rounds = std::env::var("MANYHANDS_SIEGE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3);
    let wanted = std::env::var("MANYHANDS_SIEGE_ATTACKS").unwrap_or_default();
    let coordinator = Coordinator::start().await;
    let honest = Honest::arrive(&coordinator).await;
    let bystander = match std::env::var_os("MANYHANDS_SIEGE_BYSTANDER") {
        Some(_) => {
            let bystander = Coordinator::start().await;
            let company = Honest::arrive(&bystander).await;
            Some((company, bystander))
        }
        None => None,
    };
    let besieged = bystander.as_ref().map_or(&coordinator, |(_, bystander)| bystander);
    let prey = Prey::given(besieged).await;
    // Warm: the first requests pay for what later ones find in memory.
    honest.work(&coordinator, WINDOW).await;
    println!(
        "{:<16} {:>7} | {:>8} {:>8} {:>5} | {:>8} {:>8} {:>5} | {:>8} {:>8} {:>5} | {:>4} | {:>5} {:>5} | met",
        "attack",
        "sockets",
        "invoke",
        "under",
        "",
        "receipt",
        "under",
        "",
        "connect",
        "under",
        "",
        "fail",
        "peak",
        "after"
    );
    let (mut rows, mut broken) = (Vec::new(), Vec::new());
    for attack in ATTACKS.iter().filter(|attack| wanted.is_empty() || wanted.split(',').any(|name| name == attack.0)) {
        let siege = Siege::lay(&coordinator, &honest, *attack, rounds, (besieged, &prey)).await;
        let mut line = format!("{:<16} {:>7} |", attack.0, attack.1);
        for (name, of) in WAITS {
            let (alone, under) = siege.p99_ms(of);
            let row = Row::new(format!("{}/{name}-p99", attack.0), under, "ms", alone);
            let ratio = row.ratio.unwrap_or_default();
            line += &format!(" {alone:>8.2} {under:>8.2} {ratio:>5.2} |");
            if ratio > RATIO_MAX && under - alone > NOISE_MS {
                broken.push(format!("{}: {name} {ratio:.2} times", attack.0));
            }
            rows.push(row);
        }
        rows.push(Row::new(format!("{}/memory-peak", attack.0), siege.peak_mib, "MiB", MEMORY_MIB_MAX));
        if siege.peak_mib > MEMORY_MIB_MAX {
            broken.push(format!("{}: {:.0} MiB", attack.0, siege.peak_mib));
        }
        if siege.failures.0 > 0 {
            let (failures, why) = &siege.failures;
            broken.push(format!("{}: {failures} honest requests failed, {why}", attack.0));
        }
        let mut met: Vec<_> = siege.met.iter().collect();
        met.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
        let met: Vec<_> = met.iter().map(|(what, times)| format!("{times}x {what}")).collect();
        println!(
            "{line} {:>4} | {:>5.0} {:>5.0} | {}",
            siege.failures.0,
            siege.peak_mib,
            siege.after.memory_mib,
            met.join("; ")
        );
        if let Some(disturbance) = disturbance(siege.stolen) {
            println!("  {disturbance}");
        }
    }
    if bystander.is_some() {
        // Nothing is promised there.
        write("siege-bystander", &rows);
        return;
    }
    write("siege", &rows);
    assert!(broken.is_empty(), "not kept:\n{}", broken.join("\n"));
}
