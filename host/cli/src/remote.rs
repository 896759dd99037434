//! The commands that talk to a coordinator.

use core::time::Duration;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use manyhands_api::{
    AnswerView, ChangedList, ChangedView, CreatedToken, ExposureView, FRAMES, FaultView, IDEMPOTENCY_HEADER, JobList,
    JobView, KeysView, NDJSON, NewPardon, NewToken, PUBLICATION_HEADER, PardonView, RecordAnswer, RecordRequest,
    RequesterExposureView, Role, RunList, RunSensitive, RunState, RunView, Standing, TokenList, UnitView, UnsentCall,
    UptimeView, VerificationView, Why, WorkerDetail, WorkerList,
};
use manyhands_model::{Digest, Judge, RunId, Timestamp, WorkerId};
use manyhands_protocol::Publication;
use manyhands_signing::Signed;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Body, Method};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use crate::args::{
    Declared, Format, Inputs, Invoke, Keys, Order, Publish, Record, Results, RoleArg, RunOnly, Runs, Submit, Token,
    Watch, Which, Workers, WorkersCommand,
};
use crate::client::{Client, random_key};
use crate::fault::{Exit, Fault, Result};
use crate::inputs::{open_file, read_whole, write_frame};
use crate::profile::{Replace, write_secret};
use crate::screen::{Screen, bytes, grouped, printable, table};
use crate::{publisher, samples, watch};

/// Uploads are read in pieces of this size, and two of them wait at most.
const PIECE_BYTES: usize = 64 << 10;

/// `manyhands publish`
///
/// # Errors
/// The module is refused, here or there, what [`samples::check`] finds, or any [`Client`] fault.
pub async fn publish(client: &Client, args: &Publish, screen: Screen) -> Result<()> {
    let module = std::fs::read(&args.module).map_err(|error| Fault::file("read", &args.module, &error))?;
    // Sealing here costs milliseconds, and a refusal is clearer without a coordinator in between.
    let sealed = manyhands_sealer::seal(&module).map_err(|refusal| Fault::refused(&refusal))?;
    samples::check(&args.samples, &args.module, &sealed, screen).await?;
    let key = publisher::key(args.key.as_deref(), screen)?;
    let publication = Publication {
        name: sealed.manifest.name,
        version: sealed.manifest.version,
        module: Digest::of(&module),
        issued_at: now(),
    };
    let signed = postcard::to_allocvec(&Signed::new(&key, &publication))
        .map_err(|error| Fault::bug(format!("cannot write the publication: {error}")))?;
    let request = client
        .request(Method::POST, &["v1", "jobs"], &[])
        .header(CONTENT_TYPE, "application/wasm")
        .header(PUBLICATION_HEADER, BASE64.encode(signed))
        .header(IDEMPOTENCY_HEADER, key_or_random(args.idempotency_key.as_deref())?)
        .timeout(Duration::from_secs(120))
        .body(module);
    let job: JobView = client.json(request).await?;
    screen.show(&job, |job| format!("{}@{}", job.name, job.version))?;
    let (serial, size, publisher) = (job.serial, bytes(job.module_bytes), &job.publisher);
    screen.note(format_args!(
        "published by {publisher} as release {serial}: {size} sealed, sha256 {}",
        job.module.short()
    ));
    Ok(())
}

/// `manyhands submit`
///
/// # Errors
/// A file that cannot be read, any [`Client`] fault, and with `--wait` what [`watch::judge`] finds.
pub async fn submit(client: &Client, args: &Submit, screen: Screen) -> Result<()> {
    let mut query = vec![("job", args.job.name.to_string())];
    query.extend(args.job.version.as_ref().map(|version| ("version", version.to_string())));
    query.extend(args.verify.as_ref().map(|rule| ("verify", rule.clone())));
    query.extend(args.replicas.map(|replicas| ("replicas", replicas.to_string())));
    query.extend(args.replicas_max.map(|replicas_max| ("replicas_max", replicas_max.to_string())));
    query.extend(args.priority.map(|priority| ("priority", priority.to_string())));
    query.extend(args.no_reduce.then(|| ("reduce", false.to_string())));
    query.extend(args.dry_run.then(|| ("dry_run", true.to_string())));
    query.extend(declared(&args.declared)?);
    let key = key_or_random(args.idempotency_key.as_deref())?;
    let (content_type, body, fault_of_source) = upload(&args.inputs)?;
    let request = client
        .request(Method::POST, &["v1", "runs"], &query)
        .header(CONTENT_TYPE, content_type)
        .header(IDEMPOTENCY_HEADER, &key)
        .body(body);
    let answer = client.json::<RunView>(request).await;
    let run = answer.map_err(|fault| match fault_of_source.take() {
        // An upload that stops looks like a broken connection; the file is what broke.
        Some(cause) => cause,
        None if fault.exit == Exit::Unreachable && fault.help.is_none() => {
            fault.help(format!("whether the run exists is unknown; add `--idempotency-key {key}` to try again safely"))
        }
        None => fault,
    })?;
    if !args.wait {
        screen.note(format_args!(
            "{} of {} inputs submitted; follow it with `manyhands watch {}`",
            run.job,
            grouped(run.inputs),
            run.id
        ));
        return screen.show(&run, |run| run.id.to_string());
    }
    if !screen.json {
        screen.line(run.id)?;
    }
    let ended = watch::follow(client, run.id, args.timeout, screen).await?;
    watch::judge(client, &ended).await
}

/// The parameter that declares fields, if there are any.
fn declared(declared: &Declared) -> Result<Option<(&'static str, String)>> {
    let fields = declared.fields().map_err(|error| Fault::usage(error.to_string()))?;
    let json = |fields| serde_json::to_string(fields).map_err(|error| Fault::bug(error.to_string()));
    Some(&fields).filter(|fields| !fields.is_empty()).map(json).transpose().map(|json| Some(("sensitive", json?)))
}

/// `manyhands watch`
///
/// # Errors
/// What [`watch::follow`] and [`watch::judge`] find.
pub async fn watch(client: &Client, args: &Watch, screen: Screen) -> Result<()> {
    let run = client.run_id(args.run).await?;
    let ended = watch::follow(client, run, args.timeout, screen).await?;
    watch::judge(client, &ended).await
}

/// `manyhands results`
///
/// # Errors
/// Any [`Client`] fault; a failed unit among the results, after all of them were written.
pub async fn results(client: &Client, args: &Results, screen: Screen) -> Result<()> {
    let id = client.run_id(args.run).await?;
    let order = match args.order {
        Order::Input => "input",
        Order::Accepted => "accepted",
    };
    let format = match args.format {
        Format::Ndjson => "ndjson",
        Format::Frames => "frames",
    };
    let mut query = vec![("order", order.to_owned()), ("format", format.to_owned())];
    query.extend(args.which.map(|which| {
        let which = match which {
            Which::Inputs => "inputs",
            Which::Reduced => "reduced",
        };
        ("which", which.to_owned())
    }));
    let mut response =
        client.send(client.request(Method::GET, &["v1", "runs", &id.to_string(), "results"], &query)).await?;
    let mut sink = Sink::open(args.out.as_deref(), screen)?;
    let mut tally = Tally::default();
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => {
                if args.format == Format::Ndjson {
                    tally.feed(&piece);
                }
                sink.write(&piece)?;
            }
            Ok(None) => break,
            Err(error) => return Err(broken_off(client, id, args.format, &error).await),
        }
    }
    sink.finish("results are")?;
    tally.judge(id)
}

/// `manyhands unsent`
///
/// # Errors
/// Any [`Client`] fault, also of a run that is no dry run.
pub async fn unsent(client: &Client, args: &RunOnly, screen: Screen) -> Result<()> {
    let id = client.run_id(args.run).await?.to_string();
    let mut response = client.send(client.request(Method::GET, &["v1", "runs", &id, "unsent"], &[])).await?;
    let (mut rest, mut count) = (Vec::new(), 0_u64);
    while let Some(piece) = response.chunk().await.map_err(|error| client.broken(&error))? {
        rest.extend_from_slice(&piece);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let call: UnsentCall = serde_json::from_slice(&line)
                .map_err(|error| Fault::bug(format!("the coordinator's list has another form: {error}")))?;
            screen.show(&call, unsent_text)?;
            count += 1;
        }
    }
    screen.note(format_args!("{} calls were not sent, because {id} is a dry run", grouped(count)));
    Ok(())
}

fn unsent_text(call: &UnsentCall) -> String {
    let UnsentCall { unit, step, method, origin, path, target_bytes, body_bytes, canonical, .. } = call;
    let canonical = printable(canonical);
    format!("unit {unit}, step {step}: {method} {origin}{path}, {target_bytes} + {body_bytes} bytes: {canonical}")
}

/// `manyhands record`
///
/// # Errors
/// Any [`Client`] fault, also of a run that goes on, or a file that cannot be written.
pub async fn record(client: &Client, args: &Record, screen: Screen) -> Result<()> {
    let id = client.run_id(args.run).await?;
    let mut response =
        client.send(client.request(Method::GET, &["v1", "runs", &id.to_string(), "recording"], &[])).await?;
    let mut sink = Sink::open(Some(&args.file), screen)?;
    while let Some(piece) = response.chunk().await.map_err(|error| client.broken(&error))? {
        sink.write(&piece)?;
    }
    sink.finish("the recording is")
}

/// Why a stream of results did not reach its end.
async fn broken_off(client: &Client, id: RunId, format: Format, error: &reqwest::Error) -> Fault {
    let run: Option<RunView> = client.get(&["v1", "runs", &id.to_string()], &[]).await.ok();
    match run {
        // Frames have no place for a failure, so the coordinator can only stop there.
        Some(run) if format == Format::Frames && (run.units.failed > 0 || run.state == RunState::Cancelled) => {
            Fault::job(format!("{id} has units without an output, and frames cannot say so"))
                .help(format!("see `manyhands results {id} --format ndjson`"))
        }
        _ => client.broken(error).help("what was written is not complete; run the command again"),
    }
}

/// `manyhands why`
///
/// # Errors
/// Any [`Client`] fault.
pub async fn why(client: &Client, args: &crate::args::Why, screen: Screen) -> Result<()> {
    let id = client.run_id(args.run).await?;
    if let Some(unit) = args.unit {
        let view: UnitView = client.get(&["v1", "runs", &id.to_string(), "units", &unit.to_string()], &[]).await?;
        return screen.show(&view, unit_text);
    }
    let why: Why = client.get(&["v1", "runs", &id.to_string(), "why"], &[]).await?;
    screen.show(&why, why_text)
}

fn why_text(why: &Why) -> String {
    let mut lines = vec![watch::summary(&why.run)];
    for reason in &why.reasons {
        lines.push(format!("  {} × {}: {}", grouped(reason.units), reason.reason, printable(&reason.sentence)));
    }
    // When all units are in one state, its line above says as much as a list would.
    if why.reasons.len() > 1 {
        lines.extend(
            why.units.iter().take(10).map(|unit| format!("    unit {}: {}", unit.unit, printable(&unit.sentence))),
        );
        if why.units.len() > 10 {
            lines.push(format!(
                "    … `manyhands why {} UNIT` tells about one unit, --json about the first 100",
                why.run.id
            ));
        }
    }
    lines.join("\n")
}

fn unit_text(view: &UnitView) -> String {
    let mut lines = vec![format!("unit {} ({}): {}", view.unit, view.state, printable(&view.sentence))];
    for replica in &view.replicas {
        let agrees = match replica.agrees {
            Some(true) => "agrees",
            Some(false) => "DISSENTS",
            None => "reported",
        };
        let verdict = printable(&replica.verdict.to_string());
        lines.push(format!("  {agrees:8}  {}  {} fuel  {verdict}", replica.worker.short(), grouped(replica.fuel)));
    }
    lines.join("\n")
}

/// `manyhands runs`
///
/// # Errors
/// Any [`Client`] fault.
pub async fn runs(client: &Client, args: &Runs, screen: Screen) -> Result<()> {
    let mut list = RunList { runs: Vec::new(), next: None };
    loop {
        let missing = args.limit as usize - list.runs.len();
        let mut query = vec![("limit", missing.to_string())];
        query.extend(list.next.map(|after| ("after", after.to_string())));
        let page: RunList = client.get(&["v1", "runs"], &query).await?;
        let is_empty = page.runs.is_empty();
        list.runs.extend(page.runs);
        list.next = page.next;
        if is_empty || list.next.is_none() || list.runs.len() >= args.limit as usize {
            break;
        }
    }
    screen.show(&list, |list| {
        let now = now();
        let rows: Vec<_> = list.runs.iter().map(|run| run_row(run, now)).collect();
        table(["RUN", "JOB", "STATE", "DONE", "FAILED", "DISSENTS", "OWNER", "SUBMITTED"], &rows)
    })
}

fn run_row(run: &RunView, now: Timestamp) -> [String; 8] {
    [
        run.id.to_string(),
        format!("{}@{}", run.job, run.version),
        format!("{}{}", state(run.state), if run.dry_run { ", dry run" } else { "" }),
        format!("{}/{}", run.units.done, run.units.total),
        run.units.failed.to_string(),
        run.dissents.to_string(),
        printable(&run.owner),
        ago(run.submitted_at, now),
    ]
}

const fn state(state: RunState) -> &'static str {
    match state {
        RunState::Active => "active",
        RunState::Finished => "finished",
        RunState::Cancelled => "cancelled",
    }
}

/// `manyhands jobs`
///
/// # Errors
/// Any [`Client`] fault.
pub async fn jobs(client: &Client, screen: Screen) -> Result<()> {
    let list: JobList = client.get(&["v1", "jobs"], &[]).await?;
    screen.show(&list, |list| {
        let now = now();
        let row = |job: &JobView| {
            [
                format!("{}@{}", job.name, job.version),
                if job.reduces { "map, reduce" } else { "map" }.to_owned(),
                bytes(job.module_bytes),
                job.publisher.to_string(),
                ago(job.published_at, now),
                printable(&job.description),
            ]
        };
        let rows: Vec<_> = list.jobs.iter().map(row).collect();
        table(["JOB", "STEPS", "SIZE", "PUBLISHER", "PUBLISHED", "DESCRIPTION"], &rows)
    })
}

/// `manyhands workers`
///
/// # Errors
/// Any [`Client`] fault.
pub async fn workers(client: &Client, args: &Workers, screen: Screen) -> Result<()> {
    if let Some(command) = &args.command {
        let to = |method, worker: &WorkerId, what| {
            client.request(method, &["v1", "workers", &worker.to_string(), what], &[])
        };
        let request = match command {
            WorkersCommand::Trust { worker } => to(Method::PUT, worker, "trust"),
            WorkersCommand::Distrust { worker } => to(Method::DELETE, worker, "trust"),
            WorkersCommand::Pardon { worker, reason } => to(Method::POST, worker, "pardon")
                .header(IDEMPOTENCY_HEADER, random_key()?)
                .json(&NewPardon { reason: reason.clone() }),
        };
        client.send(request).await?;
        return Ok(());
    }
    if let Some(id) = args.worker {
        let detail: WorkerDetail = client.get(&["v1", "workers", &id.to_string()], &[]).await?;
        return screen.show(&detail, |WorkerDetail { worker, balance, exposure, requesters, faults, pardons }| {
            let row = |seen: &ExposureView| {
                let share = |units: u32| format!("{:.1} %", 100.0 * f64::from(units) / f64::from(seen.of.max(1)));
                let owner = seen.owner_units.map_or_else(String::new, share);
                [seen.run.to_string(), format!("{} of {}", seen.units, seen.of), share(seen.units), owner]
            };
            let rows: Vec<_> = exposure.iter().map(row).collect();
            let present = uptime(worker.uptime.as_ref());
            let seen = table(["SAW OF RUN", "UNITS", "SHARE", "ITS OWNER"], &rows);
            let mut text = format!("{id}: earned {balance} fuel; there {present} of the time\n{seen}");
            if let Some(owner) = &worker.owner {
                text += &format!("\nof {}", printable(owner));
            }
            if !requesters.is_empty() {
                let row = |seen: &RequesterExposureView| {
                    let share = 100.0 * f64::from(seen.leases) / seen.of.max(1) as f64;
                    [printable(&seen.requester), format!("{} of {}", seen.leases, seen.of), format!("{share:.1} %")]
                };
                let rows: Vec<_> = requesters.iter().map(row).collect();
                text += &format!("\n{}", table(["SAW OF REQUESTER", "LEASES", "SHARE"], &rows));
            }
            if !faults.is_empty() {
                let rows: Vec<_> = faults.iter().map(|fault| wrong(fault, now())).collect();
                text += &format!("\n{}", table(["WRONG IN RUN", "UNIT", "FOUND", "BY", "SAID", "ANSWER"], &rows));
            }
            for PardonView { by, at, reason } in pardons {
                let why = reason.as_ref().map_or_else(String::new, |reason| format!(": {}", printable(reason)));
                text += &format!("\npardoned by {} {}{why}", printable(by), ago(*at, now()));
            }
            text
        });
    }
    let list: WorkerList = client.get(&["v1", "workers"], &[]).await?;
    screen.show(&list, |list| {
        let row = |worker: &manyhands_api::WorkerView| {
            let state = match (worker.banned, worker.connected) {
                (true, _) => "banned",
                (false, true) => "connected",
                (false, false) => "away",
            };
            [
                worker.id.short(),
                state.to_owned(),
                printable(&worker.engine),
                format!("{}/{}", worker.leases, worker.slots),
                worker.agreed.to_string(),
                worker.dissents.to_string(),
                worker.lost.to_string(),
                uptime(worker.uptime.as_ref()),
                match worker.standing {
                    Standing::Stranger => format!("{} checks", worker.checks),
                    Standing::Established => format!("a record of {} checks", worker.checks),
                    Standing::Trusted => "the operator's own".to_owned(),
                },
            ]
        };
        let rows: Vec<_> = list.workers.iter().map(row).collect();
        table(["WORKER", "STATE", "ENGINE", "BUSY", "AGREED", "DISSENTS", "LOST", "UPTIME", "STANDING"], &rows)
    })
}

/// A word that was found wrong, as a row.
fn wrong(fault: &FaultView, now: Timestamp) -> [String; 6] {
    let by = match fault.judge {
        Judge::Quorum => "a quorum",
        Judge::Peers => "workers with a record",
        Judge::Operator => "the operator's machine",
    };
    let by = if fault.pardoned { format!("{by}; pardoned") } else { by.to_owned() };
    let (unit, found) = (fault.unit.to_string(), ago(fault.at, now));
    [fault.run.to_string(), unit, found, by, printable(&fault.said), printable(&fault.answer)]
}

/// `manyhands verification`
///
/// # Errors
/// Any [`Client`] fault.
pub async fn verification(client: &Client, screen: Screen) -> Result<()> {
    let view: VerificationView = client.get(&["v1", "verification"], &[]).await?;
    screen.show(&view, |view| {
        let VerificationView { rule, auditor, auditors, audits_under_way, audits_in_line, audits_done, notice } = view;
        let mut text = format!(
            "runs that do not say otherwise: {rule}\nthe operator's own machines ({auditor}): {auditors} connected, {audits_under_way} \
             units under way, {audits_in_line} waiting, {audits_done} done"
        );
        text.extend(notice.iter().map(|notice| format!("\n{}", printable(notice))));
        text
    })
}

/// `manyhands changed`
///
/// # Errors
/// Any [`Client`] fault.
pub async fn changed(client: &Client, args: &RunOnly, screen: Screen) -> Result<()> {
    let id = client.run_id(args.run).await?;
    let list: ChangedList = client.get(&["v1", "runs", &id.to_string(), "changed"], &[]).await?;
    screen.show(&list, |list| {
        let answer = |answer: &Option<AnswerView>| match answer {
            Some(AnswerView { ended, output: Some(output) }) => format!("{} {}", printable(ended), output.short()),
            Some(AnswerView { ended, output: None }) => printable(ended),
            None => "-".to_owned(),
        };
        let now = now();
        let row = |it: &ChangedView| [it.unit.to_string(), ago(it.at, now), answer(&it.was), answer(&it.is)];
        let rows: Vec<_> = list.changed.iter().map(row).collect();
        table(["UNIT", "CHANGED", "WAS", "IS"], &rows)
    })
}

/// In nines, or percent where they are fewer than one: of thirty days.
fn uptime(uptime: Option<&UptimeView>) -> String {
    uptime.and_then(|uptime| uptime.thirty_days).map_or_else(|| "–".to_owned(), |share| share.to_string())
}

/// `manyhands cancel` and `manyhands retry`
///
/// # Errors
/// Any [`Client`] fault.
pub async fn change(client: &Client, args: &RunOnly, verb: &str, screen: Screen) -> Result<()> {
    let id = client.run_id(args.run).await?;
    let run: RunView = client.post(&["v1", "runs", &id.to_string(), verb]).await?;
    screen.show(&run, watch::summary)
}

/// `manyhands forget`
///
/// # Errors
/// Any [`Client`] fault, also of a run that goes on.
pub async fn forget(client: &Client, args: &RunOnly, screen: Screen) -> Result<()> {
    let id = client.run_id(args.run).await?.to_string();
    client.send(client.request(Method::DELETE, &["v1", "runs", &id, "values"], &[])).await?;
    screen.note(format_args!(
        "{id}: the coordinator has its sensitive values no more. Its results show tokens from now on, and it cannot be tried again.\n\
         Old logs and backups of the coordinator hold them, encrypted, until its operator has rotated the vault's key"
    ));
    Ok(())
}

/// `manyhands sensitive`
///
/// # Errors
/// Any [`Client`] fault.
pub async fn sensitive(client: &Client, args: &RunOnly, screen: Screen) -> Result<()> {
    let id = client.run_id(args.run).await?.to_string();
    let sensitive: RunSensitive = client.get(&["v1", "runs", &id, "sensitive"], &[]).await?;
    if sensitive.fields.is_empty() {
        screen.note(format_args!("{id}: nothing is declared, so workers see all of its inputs"));
        return if screen.json { screen.json(&sensitive) } else { Ok(()) };
    }
    if !sensitive.declared.is_empty() {
        let places: Vec<String> = sensitive.declared.iter().map(|field| format!("`{}`", field.at)).collect();
        screen.note(format_args!("declared with the run: {}", printable(&places.join(", "))));
    }
    if let Some(at) = sensitive.forgotten_at {
        screen.note(format_args!("the values were removed {}", ago(at, now())));
    }
    screen.show(&sensitive, |sensitive| {
        let lines: Vec<String> = sensitive.page.trim_end().lines().map(printable).collect();
        lines.join("\n")
    })
}

/// `manyhands invoke`
///
/// # Errors
/// The job's verified failure, the time is up, or any [`Client`] fault.
pub async fn invoke(client: &Client, args: &Invoke, screen: Screen) -> Result<()> {
    if let (Some(name), Some(record)) = (&args.client, &args.record) {
        return exchange(client, args, name, record, screen).await;
    }
    let input = read_whole(&args.input)?;
    let mut query = vec![("timeout_ms", args.timeout.as_millis().to_string())];
    query.extend(args.job.version.as_ref().map(|version| ("version", version.to_string())));
    query.extend(args.verify.as_ref().map(|rule| ("verify", rule.clone())));
    query.extend(args.replicas.map(|replicas| ("replicas", replicas.to_string())));
    query.extend(declared(&args.declared)?);
    let request = client
        .request(Method::POST, &["v1", "jobs", args.job.name.as_str(), "invoke"], &query)
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(IDEMPOTENCY_HEADER, random_key()?)
        // The coordinator keeps the time; this is for one that died meanwhile.
        .timeout(args.timeout + Duration::from_secs(30))
        .body(input);
    let response = client.send(request).await?;
    let header = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.map(printable).unwrap_or_default()
    };
    let (run, fuel, replicas) = (header("manyhands-run"), header("manyhands-fuel"), header("manyhands-replicas"));
    let is_json = header("content-type").starts_with("application/json");
    let output = response.bytes().await.map_err(|error| client.broken(&error))?;
    screen.note(format_args!("{run}: {replicas} replicas agree, {fuel} fuel each"));
    if !screen.json {
        return if is_json { screen.line(String::from_utf8_lossy(&output)) } else { screen.bytes(&output) };
    }
    let json = is_json.then(|| serde_json::from_slice(&output)).transpose();
    let json: Option<Box<RawValue>> =
        json.map_err(|error| Fault::bug(format!("the coordinator says that this is JSON, and it is not: {error}")))?;
    let output_base64 = json.is_none().then(|| BASE64.encode(&output));
    screen.json(&Invoked { run, fuel: fuel.parse().ok(), replicas: replicas.parse().ok(), output: json, output_base64 })
}

/// `manyhands invoke --client NAME --record FILE`
async fn exchange(client: &Client, args: &Invoke, name: &str, file: &Path, screen: Screen) -> Result<()> {
    let record = match std::fs::read_to_string(file) {
        Ok(record) => Some(record.trim_end().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Fault::file("read", file, &error)),
    };
    let input = serde_json::from_slice(&read_whole(&args.input)?)
        .map_err(|error| Fault::usage(format!("the input is no JSON, which such a job reads: {error}")))?;
    let mut query = vec![("timeout_ms", args.timeout.as_millis().to_string())];
    query.extend(args.job.version.as_ref().map(|version| ("version", version.to_string())));
    query.extend(args.verify.as_ref().map(|rule| ("verify", rule.clone())));
    query.extend(args.replicas.map(|replicas| ("replicas", replicas.to_string())));
    let request = client
        .request(Method::POST, &["v1", "jobs", args.job.name.as_str(), "clients", name], &query)
        .timeout(args.timeout + Duration::from_secs(30))
        .json(&RecordRequest { record, input: Some(input) });
    let RecordAnswer { record, output } = client.json(request).await?;
    // Before anybody uses the output. If this fails, the file has the record before it, which gets the same answer again.
    write_secret(file, format!("{record}\n").as_bytes(), Replace::Yes)?;
    screen.note(format_args!("the next record is in {}", file.display()));
    if screen.json { screen.json(&output) } else { screen.line(output) }
}

/// What `manyhands invoke --json` prints.
#[derive(Serialize)]
struct Invoked {
    run: String,
    fuel: Option<u64>,
    replicas: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_base64: Option<String>,
}

/// `manyhands token`
///
/// # Errors
/// Any [`Client`] fault.
pub async fn token(client: &Client, command: &Token, screen: Screen) -> Result<()> {
    match command {
        Token::Create { name, role } => {
            let role = match role {
                RoleArg::Requester => Role::Requester,
                RoleArg::Developer => Role::Developer,
                RoleArg::Operator => Role::Operator,
            };
            let request = client
                .request(Method::POST, &["v1", "tokens"], &[])
                .header(IDEMPOTENCY_HEADER, random_key()?)
                .json(&NewToken { name: name.clone(), role });
            let created: CreatedToken = client.json(request).await?;
            screen.note(format_args!(
                "token {} for `{}`; its secret is shown this once:",
                created.id,
                printable(&created.name)
            ));
            screen.show(&created, |created| created.token.clone())
        }
        Token::List => {
            let list: TokenList = client.get(&["v1", "tokens"], &[]).await?;
            screen.show(&list, |list| {
                let now = now();
                let row = |token: &manyhands_api::TokenView| {
                    let role = match token.role {
                        Role::Requester => "requester",
                        Role::Developer => "developer",
                        Role::Operator => "operator",
                    };
                    [token.id.clone(), printable(&token.name), role.to_owned(), ago(token.created_at, now)]
                };
                let rows: Vec<_> = list.tokens.iter().map(row).collect();
                table(["TOKEN", "NAME", "ROLE", "CREATED"], &rows)
            })
        }
        Token::Revoke { id } => {
            client.send(client.request(Method::DELETE, &["v1", "tokens", id], &[])).await?;
            screen.note(format_args!("{id} is revoked"));
            Ok(())
        }
    }
}

/// `manyhands keys`
///
/// # Errors
/// Any [`Client`] fault.
pub async fn keys(client: &Client, command: &Keys, screen: Screen) -> Result<()> {
    let keys: KeysView = match command {
        Keys::Show => client.get(&["v1", "keys"], &[]).await?,
        Keys::Rotate => client.post(&["v1", "keys", "rotate"]).await?,
    };
    screen.show(&keys, |keys| {
        let revoked: Vec<String> = keys.revoked.iter().map(ToString::to_string).collect();
        let revoked = if revoked.is_empty() { "none".to_owned() } else { revoked.join(" ") };
        format!(
            "root     {}\nsigning  {}\nrevoked  {revoked}\ntrust    list version {}\njoin     {}",
            keys.root,
            keys.current,
            keys.trust_version,
            printable(&keys.join)
        )
    })
}

/// Where results go.
pub(crate) enum Sink {
    Stdout(Screen),
    /// Written beside its final place and moved there when complete.
    File {
        file: std::io::BufWriter<std::fs::File>,
        part: std::path::PathBuf,
        path: std::path::PathBuf,
        screen: Screen,
    },
}

impl Sink {
    pub(crate) fn open(path: Option<&Path>, screen: Screen) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::Stdout(screen)) };
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = std::path::PathBuf::from(part);
        let file = std::fs::File::create(&part).map_err(|error| Fault::file("write", &part, &error))?;
        Ok(Self::File { file: std::io::BufWriter::new(file), part, path: path.to_owned(), screen })
    }

    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<()> {
        match self {
            Self::Stdout(screen) => screen.bytes(piece),
            Self::File { file, part, .. } => file.write_all(piece).map_err(|error| Fault::file("write", part, &error)),
        }
    }

    /// `what` begins the sentence that says where it is.
    pub(crate) fn finish(self, what: &str) -> Result<()> {
        let Self::File { mut file, part, path, screen } = self else { return Ok(()) };
        file.flush().map_err(|error| Fault::file("write", &part, &error))?;
        std::fs::rename(&part, &path).map_err(|error| Fault::file("write", &path, &error))?;
        screen.note(format_args!("{what} in {}", path.display()));
        Ok(())
    }
}

/// Counts failures in a stream of result lines while it passes.
#[derive(Debug, Default)]
struct Tally {
    line: Vec<u8>,
    lines: u64,
    failed: u64,
    undecided: u64,
}

impl Tally {
    fn feed(&mut self, piece: &[u8]) {
        #[derive(Deserialize)]
        struct Status<'a> {
            #[serde(borrow)]
            status: std::borrow::Cow<'a, str>,
        }
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if !part.ends_with(b"\n") {
                continue;
            }
            if let Ok(Status { status }) = serde_json::from_slice(&self.line) {
                self.lines += 1;
                match &*status {
                    "ok" => {}
                    "undecided" => self.undecided += 1,
                    _ => self.failed += 1,
                }
            }
            self.line.clear();
        }
    }

    fn judge(&self, id: RunId) -> Result<()> {
        let of = |count| format!("{} of {} results of {id}", grouped(count), grouped(self.lines));
        if self.failed > 0 {
            Err(Fault::job(format!("{} are failures", of(self.failed + self.undecided))))
        } else if self.undecided > 0 {
            Err(Fault::new(Exit::Disagree, format!("{} found no agreement", of(self.undecided))))
        } else {
            Ok(())
        }
    }
}

/// Holds the fault of an upload's source, once there is one.
struct SourceFault(oneshot::Receiver<Fault>);

impl SourceFault {
    /// The fault, if there is one by now; does not wait.
    fn take(mut self) -> Option<Fault> {
        self.0.try_recv().ok()
    }
}

/// Opens the inputs as a body that is read while it is sent, in one of the two media types.
fn upload(inputs: &Inputs) -> Result<(&'static str, Body, SourceFault)> {
    let (pieces, body) = mpsc::channel::<std::io::Result<Bytes>>(2);
    let (report, fault) = oneshot::channel();
    let last_piece = pieces.clone();
    let (content_type, source): (_, Box<dyn FnOnce() -> Result<()> + Send>) = match &inputs.inputs {
        Some(path) => {
            let (file, path) = (open_file(path)?, path.clone());
            (NDJSON, Box::new(move || send_all(file, &path, &pieces)))
        }
        None => {
            let paths = inputs.input.clone();
            (FRAMES, Box::new(move || paths.iter().try_for_each(|path| send_frame(path, &pieces))))
        }
    };
    // A thread and not a task: reading a terminal or a pipe can take for ever, and must not keep the
    // process alive once the answer is there.
    std::thread::spawn(move || {
        if let Err(fault) = source() {
            // In this order: whoever sees the body break finds the reason. It has to break, or the
            // coordinator would take half of the inputs for the whole.
            let _ = report.send(fault);
            let _ = last_piece.blocking_send(Err(std::io::Error::other("the source of the upload broke")));
        }
    });
    let body = futures::stream::unfold(body, |mut body| async move { body.recv().await.map(|piece| (piece, body)) });
    Ok((content_type, Body::wrap_stream(body), SourceFault(fault)))
}

type Pieces = mpsc::Sender<std::io::Result<Bytes>>;

fn send_all(mut source: impl Read, path: &Path, pieces: &Pieces) -> Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match source.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                // Nobody listens any more: the coordinator has answered already.
                if pieces.blocking_send(Ok(Bytes::copy_from_slice(&piece[..length]))).is_err() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Fault::file("read", path, &error)),
        }
    }
}

fn send_frame(path: &Path, pieces: &Pieces) -> Result<()> {
    let input = read_whole(path)?;
    let mut frame = Vec::with_capacity(input.len() + 4);
    write_frame(&mut frame, &input).map_err(|error| Fault::file("read", path, &error))?;
    let _ = pieces.blocking_send(Ok(frame.into()));
    Ok(())
}

fn key_or_random(given: Option<&str>) -> Result<String> {
    match given {
        None => random_key(),
        Some(key) if !key.is_empty() && key.len() <= 255 && key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(key.to_owned())
        }
        Some(_) => Err(Fault::usage("an idempotency key has 1 to 255 visible characters")),
    }
}

pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// A day, in milliseconds.
pub(crate) const DAY_MS: u64 = 86_400_000;

/// How long ago something was, for people.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(then).as_secs();
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_in_passing_however_the_stream_is_cut() {
        let lines = "{\"unit\":0,\"status\":\"ok\"}\n{\"unit\":1,\"status\":\"undecided\"}\n";
        let id = RunId([1; 16]);
        for size in 1..lines.len() {
            let mut tally = Tally::default();
            lines.as_bytes().chunks(size).for_each(|piece| tally.feed(piece));
            assert_eq!(tally.judge(id).expect_err("one is undecided").exit, Exit::Disagree);
            tally.feed(b"{\"unit\":2,\"status\":\"trap\"}\n");
            let fault = tally.judge(id).expect_err("one failed");
            assert!(fault.exit == Exit::JobFailed && fault.message.starts_with("2 of 3"), "{fault}");
        }
    }

    #[test]
    fn an_idempotency_key_is_one_word() {
        assert_eq!(key_or_random(Some("abc")), Ok("abc".to_owned()));
        assert!(key_or_random(Some("a b")).is_err() && key_or_random(Some("")).is_err());
        assert_ne!(key_or_random(None), key_or_random(None));
    }

    #[test]
    fn times_are_told_as_people_do() {
        let now = Timestamp(1_000_000_000);
        for (seconds, expected) in [(5, "5 s ago"), (65, "1 min ago"), (7_300, "2 h ago"), (200_000, "2 d ago")] {
            assert_eq!(ago(Timestamp(now.0 - seconds * 1000), now), expected);
        }
    }
}
