//! One worker's connection: greets it, checks what it says, and passes it on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use manyhands_model::{Digest, Fuel, LeaseId, Limits, RunId, UnitId, Verdict, WorkerId};
use manyhands_protocol::{
    Challenge, ClientMessage, Done, FRAME_BYTES_MAX, Greeting, Hello, LEASES_MAX, REPORTS_BYTES_MAX, Receipt, Report,
    ServerMessage, Welcome, decode, encode,
};
use manyhands_scheduler::{Input, Statement};
use manyhands_signing::Untrusted;
use tokio::time::timeout;
use tracing::{debug, info};

use crate::app::App;
use crate::auditing::Said;
use crate::blocklists::Blocked;
use crate::core::{Event, Stopping};
use crate::hub::{Full, Outbox, Session};
use crate::invitations::{Membership, NotAdmitted, Uninvited};
use crate::metrics::{Delayed, ReportResult, WorkerLeft, WorkerRefused};
use crate::records::RecordError;
use crate::secrets::SecretsError;
use crate::settings::Join;

/// Time for a worker to prove who it is.
const HELLO_TIME: Duration = Duration::from_secs(10);
/// Time for a worker to take one frame.
const SEND_TIME: Duration = Duration::from_secs(30);
/// When those who are refused may come again: so long at least, and twice as long at most, so that they do not come
/// back together.
const RETRY: Duration = Duration::from_secs(30);
/// The same for those who lost a frame.
const RETRY_SOON: Duration = Duration::from_secs(2);
/// How long one has to wait before it is told that there is no room; its seat is for others meanwhile, if they need it.
const FULL_WAIT: Duration = Duration::from_secs(5);
/// Messages that a new one may send at once.
const MESSAGES_AT_FIRST: f64 = 100.0;
/// Messages that it may send for each grant: of up to 64 leases, a hundred hints of progress and what ends it for each.
const MESSAGES_PER_GRANT: f64 = 64.0 * 104.0;
/// Messages that it may ever send at once.
const MESSAGES_AT_ONCE: f64 = 2.0 * MESSAGES_PER_GRANT;
/// Longest text a worker can put into the log.
const TEXT_CHARS_MAX: usize = 200;

/// Why a connection ends.
enum Leave {
    /// Without a word.
    Quietly(WorkerLeft),
    /// With a reason that the worker is told, and when it may come again.
    Refused(WorkerLeft, String, Option<Duration>),
}

impl From<Stopping> for Leave {
    fn from(stopping: Stopping) -> Self {
        Self::Refused(WorkerLeft::Coordinator, stopping.to_string(), Some(RETRY_SOON))
    }
}

/// It may be the fault of what is between us, so the worker may come again.
fn protocol(reason: impl Into<String>) -> Leave {
    Leave::Refused(WorkerLeft::Protocol, reason.into(), Some(HELLO_TIME))
}

/// What a volunteer is told whose worker gets no more work.
fn banned(app: &App, worker: WorkerId) -> Leave {
    let operator = operator(app);
    let reason = format!(
        "this worker's answers contradicted verified ones too often, so it gets no more work. Test the computer's memory, and end any \
         overclocking; then ask {operator} to pardon the worker {worker}, and start it again"
    );
    Leave::Refused(WorkerLeft::Protocol, reason, None)
}

/// Whom volunteers may ask.
fn operator(app: &App) -> &str {
    match app.settings.volunteers.contact.as_str() {
        "" => "whoever gave you the coordinator's link",
        contact => contact,
    }
}

/// What a worker is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Desk {
    /// Whatever the scheduler gives it.
    Work,
    /// It is the operator's own, and says what is so.
    Audits,
}

/// Talks to one worker until it leaves.
pub async fn serve(app: App, mut socket: WebSocket, address: IpAddr) {
    let (id, hello, membership) = match greet(&app, &mut socket).await {
        Ok(greeted) => greeted,
        Err((why, leave)) => {
            app.metrics.worker_refused(why);
            return part(&app, socket, leave).await;
        }
    };
    let queue = app.settings.limits.worker_queue_max as usize;
    let (session, outbox) = match app.hub.join(id, hello, queue, most(&app, id)).map_err(full) {
        Ok(joined) => joined,
        Err((why, leave)) => {
            app.metrics.worker_refused(why);
            return part(&app, socket, leave).await;
        }
    };
    app.metrics.worker_joined();
    // Whoever was listed or uninvited since could not be sent away before it was in the hub.
    let leave = look_again(&app, id).await.err();
    let desk = if app.auditing.is_trusted(id) { Desk::Audits } else { Desk::Work };
    debug!(worker = %id, ?desk, engine = %session.body.engine, slots = session.slots, "worker connected");
    let leave = match leave {
        Some((_, leave)) => leave,
        None => match talk(&app, &mut socket, (id, desk, address), (&session, membership), outbox).await {
            Ok(()) => Leave::Quietly(WorkerLeft::Closed),
            Err(leave) => leave,
        },
    };
    // A newer connection of the same worker may have taken over; then it is still there.
    let (Leave::Quietly(why) | Leave::Refused(why, ..)) = &leave;
    if app.hub.leave(id, &session) {
        let gone =
            if *why == WorkerLeft::Away { Input::Left { worker: id } } else { Input::Disconnected { worker: id } };
        match desk {
            Desk::Work => drop(app.core.tell(gone).await),
            Desk::Audits => app.auditing.hear(id, Said::Gone),
        }
    }
    app.metrics.worker_left(*why);
    debug!(worker = %id, ?why, "worker left");
    part(&app, socket, leave).await;
}

async fn part(app: &App, mut socket: WebSocket, leave: Leave) {
    if let Leave::Refused(_, reason, retry_after) = leave {
        debug!(reason, "worker refused");
        let mut share = [0; 2];
        app.random(&mut share);
        let share = f64::from(u16::from_le_bytes(share)) / f64::from(u16::MAX);
        let retry_after = retry_after.map(|after| after.mul_f64(1.0 + share));
        let _gone = send(&mut socket, &ServerMessage::Refused { reason, retry_after }).await;
    }
    let _gone = timeout(SEND_TIME, socket.send(Message::Close(None::<CloseFrame>))).await;
}

async fn greet(
    app: &App,
    socket: &mut WebSocket,
) -> Result<(WorkerId, Hello, Option<Membership>), (WorkerRefused, Leave)> {
    let badly = |leave| (WorkerRefused::Greeting, leave);
    let (nonce, hello) = introduce(app, socket).await.map_err(badly)?;
    // Before anything that costs: whoever claims to be somebody else is found out below.
    let claimed = hello.greeting.signer().into();
    if let Err(none) = app.hub.room_for(claimed, most(app, claimed)) {
        // Not every worker waits for as long as it is told to.
        let _stopped = app.stop.run_until_cancelled(tokio::time::sleep(FULL_WAIT)).await;
        return Err(full(none));
    }
    let (worker, hello) = recognise(app, &nonce, hello).map_err(badly)?;
    if let Err(wait) = app.throttle.worker(worker) {
        let reason = "this worker connects more often than it may; what it has finished can wait".to_owned();
        return Err((WorkerRefused::Throttled, Leave::Refused(WorkerLeft::Protocol, reason, Some(wait))));
    }
    match app.core.ask(move |scheduler, _| scheduler.is_banned(worker)).await {
        Ok(false) => {}
        Ok(true) => return Err((WorkerRefused::Banned, banned(app, worker))),
        Err(stopping) => return Err((WorkerRefused::Full, stopping.into())),
    }
    unless_blocked(app, worker).await?;
    let membership = admit(app, worker, &hello).await?;
    Ok((worker, hello, membership))
}

/// Refuses whom has become unwelcome since it was let in.
async fn look_again(app: &App, worker: WorkerId) -> Result<(), (WorkerRefused, Leave)> {
    unless_blocked(app, worker).await?;
    if app.settings.workers.join == Join::Invited && !app.auditing.is_trusted(worker) {
        app.invitations.admit(worker, None, true, app.clock.now()).map_err(|why| match why {
            NotAdmitted::Uninvited(why) => uninvited(app, &why),
            NotAdmitted::Record(error) => (WorkerRefused::Full, cannot_keep("an invitation", &error)),
        })?;
    }
    Ok(())
}

fn uninvited(app: &App, why: &Uninvited) -> (WorkerRefused, Leave) {
    let operator = operator(app);
    let reason = format!("{why}. Ask {operator} for an invitation, and start the runner with `--invitation FILE`");
    (WorkerRefused::Uninvited, Leave::Refused(WorkerLeft::Protocol, reason, None))
}

/// Refuses whom a block list names that counts here, unless an operator has pardoned it.
async fn unless_blocked(app: &App, worker: WorkerId) -> Result<(), (WorkerRefused, Leave)> {
    let Some(Blocked { name, root, listed }) = app.blocklists.of(worker, app.clock.now()) else { return Ok(()) };
    if app.auditing.is_trusted(worker) {
        return Ok(());
    }
    match app.records.blocking(move |records| records.is_pardoned(worker)).await {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        Err(error) => return Err((WorkerRefused::Full, cannot_keep("whom an operator pardoned", &error))),
    }
    // A list that names itself by its key says it once.
    let of = if name == root.to_string() { String::new() } else { format!(" of {root}") };
    let proof = if listed.is_proven { ", one of them with its signature under it" } else { "" };
    let reason = format!(
        "this worker is on the block list {name}{of}, for {} wrong answers there{proof}. Test the computer's memory, and end any overclocking; \
         then ask {} to pardon the worker {worker}, and start it again",
        listed.charges,
        operator(app)
    );
    Err((WorkerRefused::Blocked, Leave::Refused(WorkerLeft::Protocol, reason, None)))
}

/// Looks with which invitation a worker comes, and whether it needs one.
async fn admit(app: &App, worker: WorkerId, hello: &Hello) -> Result<Option<Membership>, (WorkerRefused, Leave)> {
    if app.auditing.is_trusted(worker) {
        return Ok(None);
    }
    let (asked, shown, now) = (app.clone(), hello.invitation.clone(), app.clock.now());
    let is_needed = app.settings.workers.join == Join::Invited;
    let admit = move || asked.invitations.admit(worker, shown.as_ref(), is_needed, now);
    // Only what is shown may have to be written down.
    let admitted = if hello.invitation.is_some() { tokio::task::spawn_blocking(admit).await } else { Ok(admit()) };
    match admitted {
        Ok(Ok(membership)) => Ok(membership),
        Ok(Err(NotAdmitted::Uninvited(why))) => Err(uninvited(app, &why)),
        Ok(Err(NotAdmitted::Record(error))) => Err((WorkerRefused::Full, cannot_keep("an invitation", &error))),
        Err(error) => Err((WorkerRefused::Full, cannot_keep("an invitation", &error))),
    }
}

/// It is the coordinator's fault, and may be over soon.
fn cannot_keep(what: &str, error: &dyn std::fmt::Display) -> Leave {
    tracing::error!(%error, "{what} cannot be kept");
    Leave::Refused(WorkerLeft::Coordinator, format!("the coordinator cannot keep {what} now"), Some(RETRY))
}

/// How many workers there may be for this one to be let in: no flood keeps the operator's own machine out.
fn most(app: &App, worker: WorkerId) -> usize {
    if app.auditing.is_trusted(worker) { usize::MAX } else { app.settings.limits.workers_max as usize }
}

fn full(full: Full) -> (WorkerRefused, Leave) {
    (WorkerRefused::Full, Leave::Refused(WorkerLeft::Coordinator, full.to_string(), Some(RETRY)))
}

/// Asks a worker who it is. What it says is not verified yet.
async fn introduce(app: &App, socket: &mut WebSocket) -> Result<([u8; 32], Hello), Leave> {
    let mut nonce = [0; 32];
    app.random(&mut nonce);
    let now = app.clock.now();
    let challenge = Challenge { nonce, root: app.authority.root(), trust: app.authority.trust(), now };
    send(socket, &ServerMessage::Challenge(challenge)).await?;
    let silent = |_| Leave::Quietly(WorkerLeft::Silent);
    let message = timeout(HELLO_TIME, receive(socket)).await.map_err(silent)??;
    match message {
        Some(ClientMessage::Hello(hello)) => Ok((nonce, hello)),
        _ => Err(protocol("expected a hello first")),
    }
}

fn recognise(app: &App, nonce: &[u8; 32], mut hello: Hello) -> Result<(WorkerId, Hello), Leave> {
    let greeting = hello.greeting.verify_any().map_err(|error| protocol(error.to_string()))?;
    if *greeting != (Greeting { nonce: *nonce, coordinator: app.authority.root() }) {
        return Err(protocol("the greeting answers another challenge"));
    }
    let cut = |text: &str| text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect::<String>();
    (hello.body.engine, hello.body.runtime) = (cut(&hello.body.engine), cut(&hello.body.runtime));
    Ok((greeting.signer().into(), hello))
}

async fn talk(
    app: &App,
    socket: &mut WebSocket,
    (worker, desk, address): (WorkerId, Desk, IpAddr),
    (session, membership): (&Arc<Session>, Option<Membership>),
    mut outbox: Outbox,
) -> Result<(), Leave> {
    let heartbeat = app.settings.limits.heartbeat();
    match desk {
        // It may have been at the other desk before, and taken over that connection.
        Desk::Work => {
            app.auditing.hear(worker, Said::Gone);
            let origin = app.origins.of(address, &session.body, membership.as_ref());
            app.core.tell(Input::Connected { worker, origin }).await?;
        }
        Desk::Audits => {
            app.core.tell(Input::Disconnected { worker }).await?;
            app.auditing.hear(worker, Said::Connected);
        }
    }
    send(socket, &ServerMessage::Welcome(Welcome { heartbeat })).await?;
    let mut last_heard = tokio::time::Instant::now();
    // One that says more is heard more slowly, and nothing of it is lost: it finds that the connection takes no more.
    let per_second = f64::from(app.settings.throttling.worker_messages_per_second);
    let mut allowance = MESSAGES_AT_FIRST;
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return Err(Stopping.into()),
            () = session.taken_over.cancelled() => {
                let reason = "another connection of this worker took over".to_owned();
                return Err(Leave::Refused(WorkerLeft::Replaced, reason, None));
            }
            () = session.banned.cancelled() => return Err(banned(app, worker)),
            () = session.reassigned.cancelled() => {
                let reason = "the operator has changed what this worker is for; it may come again".to_owned();
                return Err(Leave::Refused(WorkerLeft::Coordinator, reason, Some(RETRY_SOON)));
            }
            () = session.too_slow.cancelled() => {
                let reason = "this connection is too slow for its work".to_owned();
                return Err(Leave::Refused(WorkerLeft::Slow, reason, Some(RETRY)));
            }
            () = tokio::time::sleep_until(last_heard + 3 * heartbeat) => {
                return Err(Leave::Quietly(WorkerLeft::Silent));
            }
            message = outbox.next() => match message {
                Some(message) => {
                    if matches!(message, ServerMessage::Grant(_)) {
                        allowance = (allowance + MESSAGES_PER_GRANT).min(MESSAGES_AT_ONCE);
                    }
                    send(socket, &message).await?;
                }
                None => return Ok(()),
            },
            message = receive(socket) => {
                let now = tokio::time::Instant::now();
                let earned = (now - last_heard).as_secs_f64() * per_second;
                allowance = (allowance + earned).min(MESSAGES_AT_ONCE) - 1.0;
                last_heard = now;
                if let Some(message) = message? {
                    hear(app, socket, (worker, desk), message).await?;
                }
                if allowance < 0.0 {
                    app.metrics.delayed(Delayed::Message);
                    tokio::time::sleep(Duration::from_secs_f64(-allowance / per_second)).await;
                }
            }
        }
    }
}

async fn hear(
    app: &App,
    socket: &mut WebSocket,
    (worker, desk): (WorkerId, Desk),
    message: ClientMessage,
) -> Result<(), Leave> {
    match message {
        ClientMessage::Want(count) if desk == Desk::Audits => app.auditing.hear(worker, Said::Wants(count)),
        ClientMessage::Progress { .. } if desk == Desk::Audits => {}
        ClientMessage::Hello(_) => return Err(protocol("said hello twice")),
        ClientMessage::Want(count) => app.core.tell(Input::Wants { worker, count }).await?,
        ClientMessage::Done(done) => reported(app, socket, (worker, desk), done).await?,
        ClientMessage::Failed { lease, reason } => {
            let reason: String = reason.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect();
            info!(%worker, %lease, reason, "a worker's machine failed");
            app.metrics.report(ReportResult::Failed);
            match desk {
                Desk::Work => app.core.tell(Input::MachineFailed { worker, lease }).await?,
                Desk::Audits => not_executed(app, [lease]).await?,
            }
        }
        ClientMessage::Progress { lease, permille } => {
            app.core.tell(Input::Progress { worker, lease, permille }).await?;
        }
        ClientMessage::GiveBack(leases) => gave_back(app, (worker, desk), leases).await?,
        ClientMessage::Ping => send(socket, &ServerMessage::Pong).await?,
    }
    Ok(())
}

async fn gave_back(app: &App, (worker, desk): (WorkerId, Desk), leases: Vec<LeaseId>) -> Result<(), Stopping> {
    match desk {
        Desk::Work => app.core.tell(Input::GaveBack { worker, leases }).await,
        Desk::Audits => not_executed(app, leases).await,
    }
}

/// The operator's own machine did not execute these.
async fn not_executed(app: &App, leases: impl IntoIterator<Item = LeaseId>) -> Result<(), Stopping> {
    for given_up in app.auditing.failed(leases) {
        app.core.tell(given_up).await?;
    }
    Ok(())
}

/// Passes on what is right about some reports, and refuses what is not.
async fn reported(
    app: &App,
    socket: &mut WebSocket,
    (worker, desk): (WorkerId, Desk),
    done: Done,
) -> Result<(), Leave> {
    let Done { reports: signed, outputs } = done;
    if signed.bytes() > REPORTS_BYTES_MAX {
        return Err(protocol("these reports are longer than the protocol allows"));
    }
    // What is not signed by this worker names nobody and nothing. It may have been spoilt on the way.
    let unsigned = |error: Untrusted| Leave::Refused(WorkerLeft::Protocol, error.to_string(), Some(RETRY_SOON));
    let said = signed.verify(worker.into()).map_err(unsigned)?.into_inner();
    if said.reports.len() > LEASES_MAX || said.reports.len() != outputs.len() {
        return Err(protocol("reports and outputs do not fit together"));
    }
    let tickets = app.authority.tickets();
    let limits = app.catalogue.module(said.module).map(|job| job.manifest.limits);
    let (mut reports, mut contents, mut refused) = (Vec::with_capacity(outputs.len()), Vec::new(), Vec::new());
    for (report, output) in said.reports.into_iter().zip(outputs) {
        let known = tickets.know(worker, (said.run, said.module), &report.lease);
        let checked = if known { check(&report, &output, limits) } else { Err(UNKNOWN_LEASE.to_owned()) };
        if let Err(reason) = checked {
            refused.push((report.lease.id, reason));
            continue;
        }
        let lease = report.lease.id;
        let (statement, output) = match canonical(app, (said.run, said.module), worker, report, output).await {
            Ok(canonical) => canonical,
            // A restore may have taken back what the worker was given.
            Err(SecretsError::Records(RecordError::Missing(_))) => {
                refused.push((lease, UNKNOWN_UNIT.to_owned()));
                continue;
            }
            Err(error) => return Err(cannot_keep("an output", &error)),
        };
        let mut content = None;
        if statement.outcome.verdict.content().is_some() {
            content = Some(app.records.content(output).await.map_err(|error| cannot_keep("an output", &error))?);
        }
        if desk == Desk::Audits && !app.auditing.is_trusted(worker) {
            refused.push((lease, "the operator does not trust this machine any more".to_owned()));
            continue;
        }
        if desk == Desk::Audits {
            let input = app.auditing.done(UnitId { run: said.run, index: statement.lease.task.index }, statement);
            app.core.send(Event::Audited { lease: (worker, lease), input, output: content }).await?;
            continue;
        }
        contents.extend(content);
        reports.push(statement);
    }
    if !refused.is_empty() {
        refuse(app, socket, (worker, desk), refused).await?;
    }
    if !reports.is_empty() {
        let evidence = Bytes::from(encode(&signed));
        let input = Input::Reported { worker, run: said.run, module: said.module, reports, evidence };
        app.core.send(Event::Reported(input, contents)).await?;
    }
    Ok(())
}

/// A report as the coordinator reads it: of the unit that its worker means, and with an outcome in canonical form.
async fn canonical(
    app: &App,
    (run, module): (RunId, Digest),
    worker: WorkerId,
    mut report: Report,
    output: Bytes,
) -> Result<(Statement, Bytes), SecretsError> {
    let unit = app.numbering.meant(run, report.lease.task.index)?;
    report.lease.task.index = unit.index;
    let place = (unit, report.lease.task.step);
    app.secrets.canonical(module, place, worker, report, output).await
}

const UNKNOWN_UNIT: &str =
    "this coordinator does not know what the unit read at this step; was it restored from a backup?";
const UNKNOWN_LEASE: &str = "this coordinator gave no such lease to this worker, or its key was replaced since";

async fn refuse(
    app: &App,
    socket: &mut WebSocket,
    (worker, desk): (WorkerId, Desk),
    refused: Vec<(LeaseId, String)>,
) -> Result<(), Leave> {
    for (lease, reason) in &refused {
        debug!(%worker, %lease, reason, "report refused");
        app.metrics.report(ReportResult::Refused);
    }
    // Whatever it was, this worker is done with it: somebody else may have the unit at once.
    let leases = refused.iter().map(|(lease, _)| *lease).collect();
    gave_back(app, (worker, desk), leases).await?;
    let receipts = refused.into_iter().map(|(lease, reason)| (lease, Receipt::Refused(reason)));
    send(socket, &ServerMessage::Receipts(receipts.collect())).await
}

/// Checks what can be known of a report without any memory: that the output is the one that was signed, and that no execution of the
/// job could have gone beyond what it says.
fn check(report: &Report, output: &[u8], limits: Option<Limits>) -> Result<(), String> {
    if !report.outcome.is_of(output) {
        return Err("the output is not the one that was signed".into());
    }
    let (output_bytes_max, fuel_max) = limits.map_or((0, Fuel(0)), |limits| (limits.output_bytes, limits.fuel));
    // Whoever agrees is paid for it.
    if report.outcome.fuel > fuel_max {
        return Err(format!("it says that it burnt more than the {} fuel that the job may", fuel_max.0));
    }
    match &report.outcome.verdict {
        Verdict::Ok { output_bytes, .. } if *output_bytes > output_bytes_max => {
            Err(format!("the output is longer than the {output_bytes_max} bytes that the job may write"))
        }
        Verdict::Called { calls_bytes, .. } if *calls_bytes > manyhands_abi::CALLS_BYTES_MAX as u64 => {
            Err("the request for calls is longer than a runtime takes".into())
        }
        Verdict::Aborted { message, .. } if message.len() > manyhands_abi::ABORT_MESSAGE_BYTES_MAX => {
            Err("the message is longer than a runtime keeps".into())
        }
        Verdict::Ok { .. } | Verdict::Aborted { .. } | Verdict::Called { .. } => Ok(()),
        Verdict::OutOfFuel | Verdict::OutOfStack | Verdict::Trap => Ok(()),
    }
}

async fn send(socket: &mut WebSocket, message: &ServerMessage) -> Result<(), Leave> {
    let frame = Message::Binary(Bytes::from(encode(message)));
    match timeout(SEND_TIME, socket.send(frame)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Leave::Quietly(WorkerLeft::Closed)),
        Err(_) => Err(Leave::Quietly(WorkerLeft::Slow)),
    }
}

/// The next message; none if it is one of WebSocket's own.
async fn receive(socket: &mut WebSocket) -> Result<Option<ClientMessage>, Leave> {
    match socket.recv().await {
        Some(Ok(Message::Binary(frame))) => decode(&frame).map(Some).map_err(|error| protocol(error.to_string())),
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
        Some(Ok(Message::Text(_))) => Err(protocol("expected binary frames")),
        // What browsers say when a page is closed or left (RFC 6455, 7.4.1).
        Some(Ok(Message::Close(Some(frame)))) if frame.code == close_code::AWAY => {
            Err(Leave::Quietly(WorkerLeft::Away))
        }
        Some(Ok(Message::Close(_))) | None => Err(Leave::Quietly(WorkerLeft::Closed)),
        Some(Err(error)) => {
            debug!(%error, bytes_max = FRAME_BYTES_MAX, "a worker's frame cannot be read");
            Err(Leave::Quietly(WorkerLeft::Closed))
        }
    }
}
