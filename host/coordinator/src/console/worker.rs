//! The page of one worker: what it says it is, what its word is worth and why, what was found wrong, and what it did of late.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use manyhands_credit::{Account, Amount};
use manyhands_model::{Judge, Outcome, RunId, UnitId, WorkerId};
use manyhands_scheduler::{Era, Exposure, Fault, UnitRecord};

use super::charts::{count, moment, short, span};
use super::pages::{Frame, Page, SignedIn, WORDS, WorkerLine, end_word, worth};
use crate::app::App;
use crate::problem::{ApiError, Path};
use crate::records::{FaultRecord, PardonRecord, RecordError, Records};

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

/// A word of it that was found wrong.
struct FaultLine {
    run: String,
    run_short: String,
    unit: u32,
    said: String,
    answer: String,
    judge: &'static str,
    is_pardoned: bool,
    found: String,
    statements: String,
}

impl FaultLine {
    fn new(FaultRecord { at, fault }: FaultRecord, today: Era, statements: usize) -> Self {
        let Fault { unit: UnitId { run, index }, said, answer, judge, era, .. } = fault;
        Self {
            run: run.to_string(),
            run_short: run.short(),
            unit: index,
            said: digested(&said),
            answer: digested(&answer),
            judge: match judge {
                Judge::Quorum => "a quorum",
                Judge::Peers => "workers with a record",
                Judge::Operator => "your own machine",
            },
            is_pardoned: era < today,
            found: moment(at),
            statements: count(statements as u64),
        }
    }
}

/// An outcome without anything that a job wrote.
fn digested(outcome: &Outcome) -> String {
    let what = outcome.verdict.word();
    let digest = outcome.verdict.content().map_or_else(String::new, |(digest, _)| format!(" {}", digest.short()));
    format!("{what}{digest}, fuel {}", count(outcome.fuel.0))
}

/// What an operator overruled.
struct PardonLine {
    by: String,
    at: String,
    reason: Option<String>,
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
    faults: Vec<FaultLine>,
    faults_cut: bool,
    pardons: Vec<PardonLine>,
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
        // Many are of one run.
        let mut statements: BTreeMap<RunId, usize> = BTreeMap::new();
        let mut faults = Vec::new();
        for fault in records.faults(id, SHOWN)? {
            let run = fault.fault.unit.run;
            let kept = match statements.get(&run) {
                Some(kept) => *kept,
                None => *statements.entry(run).or_insert(records.statements(run, id)?),
            };
            faults.push((fault, kept));
        }
        Ok((reported, signed, balance, faults, records.pardons(id, SHOWN)?))
    };
    let (reported, signed, balance, faults, pardons) = app.blocking(read).await?;

    let running = held.into_iter().map(|lease| UnitLine {
        detail: format!("for {}", span(now.since(lease.issued_at))),
        ..UnitLine::new(lease.unit, "open", ("◌", "runs", "has it"))
    });
    let failed = failures.iter().filter(|(_, worker)| *worker == id);
    let failed = failed.map(|(unit, _)| UnitLine::new(*unit, "", ("–", "broke", "its machine failed")));
    let said = reported.iter().filter_map(|(unit, record)| {
        let replica = record.replicas.iter().find(|replica| replica.worker == id)?;
        Some(UnitLine {
            detail: format!("{}, fuel {}", replica.outcome.verdict, count(replica.fuel().0)),
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
    let mut facts = vec![
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
    if let Some(membership) = app.invitations.of(id) {
        facts.extend(membership.owner.map(|owner| ("owner", owner)));
        facts.push(("invitation", membership.id));
    }
    let (today, faults_cut) = (summary.record.era, faults.len() == SHOWN);
    let faults = faults.into_iter().map(|(fault, statements)| FaultLine::new(fault, today, statements)).collect();
    let pardon = |PardonRecord { by, at, reason }| PardonLine { by, at: moment(at), reason };
    let pardons = pardons.into_iter().map(pardon).collect();
    let (frame, meaning, evidence) = (who.frame("workers"), meaning(&worker), evidence.collect());
    let (is_own, audits) = (false, Vec::new());
    let page =
        WorkerPage { frame, worker, meaning, facts, is_own, audits, faults, faults_cut, pardons, units, evidence };
    who.draw(&page)
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
    let (faults, pardons, units, evidence) = Default::default();
    let page = WorkerPage {
        frame,
        worker,
        meaning,
        facts,
        is_own,
        audits,
        faults,
        faults_cut: false,
        pardons,
        units,
        evidence,
    };
    who.draw(&page)
}

fn meaning(worker: &WorkerLine) -> &'static str {
    WORDS.iter().find(|(word, _)| *word == worker.trust).map_or("", |(_, meaning)| meaning)
}

#[cfg(test)]
mod tests {
    use manyhands_model::{Fuel, Timestamp, Verdict};
    use manyhands_scheduler::{Standing, WorkerRecord, WorkerSummary};

    use super::*;

    #[test]
    fn attack_what_jobs_and_operators_write_is_text_and_of_words_only_digests_are_shown() {
        let evil = r#"<script>alert("1")</script>' onload=x"#.to_owned();
        let outcome = |fuel| Outcome { verdict: Verdict::Aborted { code: 1, message: evil.clone() }, fuel: Fuel(fuel) };
        let (unit, judge) = (UnitId { run: RunId([1; 16]), index: 77 }, Judge::Operator);
        let fault = |era| FaultRecord {
            at: Timestamp(0),
            fault: Fault { unit, step: 0, said: outcome(4), answer: outcome(5), judge, era: Era(era) },
        };
        let record = WorkerRecord { banned: true, era: Era(1), ..WorkerRecord::default() };
        let (id, standing) = (WorkerId([1; 32]), Standing::Stranger);
        let summary = WorkerSummary { id, connected: false, leases: 0, record, standing };
        let page = WorkerPage {
            frame: Frame::new("workers", &evil),
            worker: WorkerLine::new(&summary, None, None, None),
            meaning: "",
            facts: vec![("owner", evil.clone())],
            is_own: false,
            audits: Vec::new(),
            faults: vec![FaultLine::new(fault(1), Era(1), 3), FaultLine::new(fault(0), Era(1), 2)],
            faults_cut: true,
            pardons: vec![PardonLine { by: evil.clone(), at: "now".to_owned(), reason: Some(evil.clone()) }],
            units: Vec::new(),
            evidence: Vec::new(),
        };
        let html = page.render().unwrap();
        assert!(html.matches("<script").count() == 1 && !html.contains("' onload"), "{html}");
        let (_, found) = html.split_once("Found wrong").expect("a part for faults");
        let (faults, pardons) = found.split_once("Pardoned by").expect("a pardon");
        assert!(!faults.contains("alert") && pardons.contains("alert"), "{html}");
        for (word, times) in [("<th scope=\"row\">77</th>", 2), ("fuel 4", 2), ("fuel 5", 2), ("(pardoned)", 1)] {
            assert_eq!(faults.matches(word).count(), times, "{word} in {faults}");
        }
        assert!(pardons.contains(&format!("manyhands workers pardon {id}")), "{pardons}");
    }
}
