//! The page of one worker: what it says it is, what its word is worth and why, and what it did of late.

use askama::Template;
use axum::extract::State;
use manyhands_model::{RunId, UnitId, WorkerId};
use manyhands_scheduler::UnitRecord;

use super::charts::{count, span};
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
    units: Vec<UnitLine>,
    evidence: Vec<Evidence>,
}

/// One worker.
pub(super) async fn worker(State(app): State<App>, who: SignedIn, Path(id): Path<String>) -> Page {
    let id: WorkerId = id.parse().map_err(|_| ApiError::not_found("worker", &id))?;
    let now = app.clock.now();
    let look = move |scheduler: &manyhands_scheduler::Scheduler, _| {
        let held = scheduler.leases().filter(|lease| lease.worker == id).take(SHOWN);
        (scheduler.worker(id), held.collect::<Vec<_>>())
    };
    let (summary, held) = app.core.ask(look).await?;
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
        Ok((reported, signed))
    };
    let (reported, signed) = app.blocking(read).await?;

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
    let worker = WorkerLine::new(&summary, session.as_deref());
    let facts = vec![
        ("state", worker.state.to_owned()),
        ("kind", worker.kind.to_owned()),
        ("slots", worker.slots.clone()),
        ("leases", worker.leases.clone()),
        ("agreed", worker.agreed.clone()),
        ("disagreed", worker.dissents.clone()),
        ("lost", worker.lost.clone()),
    ];
    let meaning = WORDS.iter().find(|(word, _)| *word == worker.trust).map_or("", |(_, meaning)| meaning);
    let evidence = evidence.collect();
    who.draw(&WorkerPage { frame: who.frame("workers"), worker, meaning, facts, units, evidence })
}
