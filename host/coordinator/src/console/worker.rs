//! The page of one worker: what it says it is, what its word is worth and why, and what it did of late.

use askama::Template;
use axum::extract::State;
use manyhands_credit::{Account, Amount};
use manyhands_model::{RunId, UnitId, WorkerId};
use manyhands_scheduler::{Exposure, UnitRecord};

use super::charts::{count, short, span};
use super::pages::{Frame, Page, SignedIn, WORDS, WorkerLine, end_word, worth};
use crate::app::App;
use crate::problem::{ApiError, Path};
use crate::records::{RecordError, Records};

/// Leases and recent units on the page, at most of each.
const SHOWN: usize = 100;

/// A unit that the worker has, or reported on.
struct UnitLine {
    run: String,
    run_short: String,
    unit: u32,
    state: &'static str,
    sign: &'static str,
    class: &'static str,
    word: &'static str,
    detail: String,
}

impl UnitLine {
    fn new(unit: UnitId, state: &'static str, (sign, class, word): (&'static str, &'static str, &'static str)) -> Self {
        let UnitId { run, index } = unit;
        Self {
            run: run.to_string(),
            run_short: run.short(),
            unit: index,
            state,
            sign,
            class,
            word,
            detail: String::new(),
        }
    }
}

/// What it signed of a run, kept as evidence.
struct Evidence {
    run: String,
    run_short: String,
    statements: String,
}

#[derive(Template)]
#[template(path = "worker.html")]
struct WorkerPage {
    frame: Frame,
    worker: WorkerLine,
    /// What its trust means, in words.
    meaning: &'static str,
    facts: Vec<(&'static str, String)>,
    /// Whether it is the operator's own, and how audits stand then.
    is_own: bool,
    audits: Vec<(&'static str, String)>,
    units: Vec<UnitLine>,
    evidence: Vec<Evidence>,
}

/// One worker.
pub(super) async fn worker(State(app): State<App>, who: SignedIn, Path(id): Path<String>) -> Page {
    let id: WorkerId = id.parse().map_err(|_| ApiError::not_found("worker", &id))?;
    if app.auditing.is_trusted(id) {
        return own(&app, &who, id).await;
    }
    let now = app.clock.now();
    let look = move |scheduler: &manyhands_scheduler::Scheduler, _| {
        let held = scheduler.leases().filter(|lease| lease.worker == id).take(SHOWN);
        let most = scheduler.exposure(id).max_by(|a, b| Exposure::share(a).total_cmp(&b.share()));
        (scheduler.worker(id), held.collect::<Vec<_>>(), most)
    };
    let (summary, held, most) = app.core.ask(look).await?;
    let summary = summary.ok_or_else(|| ApiError::not_found("worker", id))?;
    let (recent, failures) = app.monitor.recent();
    let read = move |records: &Records| -> Result<_, RecordError> {
        let mut reported: Vec<(UnitId, UnitRecord)> = Vec::new();
        for unit in recent {
            let record = records.unit(unit)?;
            let is_its = |record: &UnitRecord| record.replicas.iter().any(|replica| replica.worker == id);
            reported.extend(record.filter(is_its).map(|record| (unit, record)));
            if reported.len() == SHOWN {
                break;
            }
        }
        let mut runs: Vec<RunId> = reported.iter().map(|(unit, _)| unit.run).collect();
        runs.dedup();
        let signed = runs.into_iter().map(|run| Ok((run, records.statements(run, id)?)));
        let signed = signed.collect::<Result<Vec<_>, RecordError>>()?;
        let balance = records.balance(&Account::Worker(id))?.map_or(Amount::ZERO, |record| record.balance);
        Ok((reported, signed, balance))
    };
    let (reported, signed, balance) = app.blocking(read).await?;

    let running = held.into_iter().map(|lease| UnitLine {
        detail: format!("for {}", span(now.since(lease.issued_at))),
        ..UnitLine::new(lease.unit, "open", ("◌", "runs", "has it"))
    });
    let failed = failures.iter().filter(|(_, worker)| *worker == id);
    let failed = failed.map(|(unit, _)| UnitLine::new(*unit, "", ("–", "broke", "its machine failed")));
    let said = reported.iter().filter_map(|(unit, record)| {
        let replica = record.replicas.iter().find(|replica| replica.worker == id)?;
        let outcome = &replica.outcome;
        Some(UnitLine {
            detail: format!("{}, fuel {}", outcome.verdict, count(outcome.fuel.0)),
            ..UnitLine::new(*unit, end_word(record.end), worth(record, replica))
        })
    });
    let units = running.chain(failed).chain(said).take(SHOWN).collect();
    let evidence = signed.into_iter().filter(|(_, statements)| *statements > 0);
    let evidence = evidence.map(|(run, statements)| Evidence {
        run: run.to_string(),
        run_short: run.short(),
        statements: count(statements as u64),
    });
    let session = app.hub.session(id);
    let uptime = app.uptimes.of(id, now).and_then(|uptime| uptime.lately);
    let worker = WorkerLine::new(&summary, session.as_deref(), uptime, most.as_ref());
    let facts = vec![
        ("state", worker.state.to_owned()),
        ("kind", worker.kind.to_owned()),
        ("slots", worker.slots.clone()),
        ("leases", worker.leases.clone()),
        ("agreed", worker.agreed.clone()),
        ("disagreed", worker.dissents.clone()),
        ("lost", worker.lost.clone()),
        ("uptime", worker.uptime.clone()),
        ("saw most of", worker.saw.clone()),
        ("fuel earned", short(balance.0 as f64)),
    ];
    let (frame, meaning, evidence) = (who.frame("workers"), meaning(&worker), evidence.collect());
    let (is_own, audits) = (false, Vec::new());
    who.draw(&WorkerPage { frame, worker, meaning, facts, is_own, audits, units, evidence })
}

/// One of the operator's own.
async fn own(app: &App, who: &SignedIn, id: WorkerId) -> Page {
    let look = |scheduler: &manyhands_scheduler::Scheduler, _| (scheduler.audits(), scheduler.disputes_left());
    let (audits, disputes_left) = app.core.ask(look).await?;
    let standing = app.auditing.standing();
    let (waiting, running) = standing.waiting_and_running(audits);
    let audits = vec![
        ("waiting", count(waiting)),
        ("under way", count(running)),
        ("done since the start", count(standing.done)),
        ("disputes left", count(disputes_left)),
    ];
    let worker = WorkerLine::own(app, id, app.clock.now());
    let facts = vec![
        ("state", worker.state.to_owned()),
        ("kind", worker.kind.to_owned()),
        ("slots", worker.slots.clone()),
        ("audits", worker.leases.clone()),
        ("uptime", worker.uptime.clone()),
    ];
    let (frame, meaning, is_own) = (who.frame("workers"), meaning(&worker), true);
    let (units, evidence) = Default::default();
    who.draw(&WorkerPage { frame, worker, meaning, facts, is_own, audits, units, evidence })
}

fn meaning(worker: &WorkerLine) -> &'static str {
    WORDS.iter().find(|(word, _)| *word == worker.trust).map_or("", |(_, meaning)| meaning)
}
