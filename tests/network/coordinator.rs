//! The coordinator: the production scheduler in a shell like `host/coordinator`, on a disk that may be slow and in
//! a process that may end at any moment.
//!
//! As there, a *mind* feeds the scheduler and hands on batches, and a *hand* sends the leases of all waiting
//! batches, makes their records durable with one commit, and only then performs the other effects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use manyhands_abi::parts;
use manyhands_model::{Digest, JobName, LeaseId, Limits, RunId, Timestamp, UnitId, Verdict, Version, WorkerId};
use manyhands_protocol::{
    Challenge, ClientMessage, Done, Grant, Greeting, LEASES_MAX, Lease, Leases, REPORTS_BYTES_MAX, Receipt, Release,
    ServerMessage, Task, Ticket, Welcome, decode, encode,
};
use manyhands_scheduler::{
    Effect, Groups, Input, LeaseDraft, Policy, Record, RunRecord, RunStatus, Scheduler, UnitRecord, WorkerRecord,
};
use manyhands_signing::{Keypair, MacKey, PublicKey, Signed, TrustList, TrustedKey, Validity};

use crate::clock::Clock;

/// As in `host/coordinator`: how often a worker must say something, and how long it may take to say who it is.
const HEARTBEAT: Duration = Duration::from_secs(20);
const HELLO_TIME: Duration = Duration::from_secs(10);
/// The same: how long the trust list and releases have force, and when a list is signed anew.
const TRUST_VALID: Duration = Duration::from_secs(7 * 24 * 3600);
const TRUST_FRESH: Duration = Duration::from_secs(3600);
const RELEASE_VALID: Duration = Duration::from_secs(30 * 24 * 3600);
/// Batches that may wait for the hand; then the mind waits.
const BATCHES: usize = 16;

pub(crate) type LinkId = u64;

/// The coordinator's keys, durable from the moment that they change.
pub(crate) struct Keys {
    root: Keypair,
    pub(crate) signing: Keypair,
    /// Revoked keys, with the version of the first list that says so.
    pub(crate) revoked: Vec<(PublicKey, u64)>,
    version: u64,
}

/// What is on disk.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) runs: BTreeMap<RunId, RunRecord>,
    pub(crate) units: BTreeMap<UnitId, UnitRecord>,
    pub(crate) workers: BTreeMap<WorkerId, WorkerRecord>,
    pub(crate) inputs: BTreeMap<UnitId, Bytes>,
    pub(crate) outputs: BTreeMap<Digest, Bytes>,
    pub(crate) evidence: BTreeSet<(RunId, WorkerId)>,
}

/// One write of a commit.
#[expect(clippy::large_enum_variant, reason = "most are records, and none lives long")]
pub(crate) enum Write {
    Record(Record),
    Output(Bytes),
}

/// Something that the world does for the coordinator, or checks.
#[expect(clippy::large_enum_variant, reason = "most are messages, and none lives long")]
pub(crate) enum Act {
    Send(LinkId, ServerMessage),
    Close(LinkId),
    /// The mind wants to be woken after this long.
    Wake(Duration),
    /// Look at a connection again after this long.
    Watch(LinkId, Duration),
    /// These writes go to the disk; say [`Coordinator::committed`] when they are there.
    Commit(Vec<Write>),
    /// A lease goes out under the signing key of this moment.
    Granted(LeaseId, UnitId),
    /// A worker is told that its report is recorded.
    Acknowledged(WorkerId, LeaseId),
}

enum Session {
    /// Has not said who it is.
    Stranger { nonce: [u8; 32], until: i64 },
    /// With the key under which it was sent the release.
    Known { worker: WorkerId, heard: i64, released: Option<PublicKey> },
}

/// What the mind hands on.
#[derive(Default)]
struct Batch {
    leases: Vec<LeaseDraft>,
    outputs: Vec<Bytes>,
    effects: Vec<Effect>,
}

/// Everything that ends with the process.
struct Process {
    scheduler: Scheduler,
    inbox: VecDeque<(Input, Vec<Bytes>)>,
    batches: VecDeque<Batch>,
    /// What is to be performed once the commit under way is durable.
    committing: Option<Vec<Effect>>,
    sessions: BTreeMap<LinkId, Session>,
    current: BTreeMap<WorkerId, LinkId>,
    trust: Signed<TrustList>,
    trust_issued: Timestamp,
    nonces: u64,
    acts: Vec<Act>,
}

pub(crate) struct Coordinator {
    pub(crate) clock: Clock,
    pub(crate) disk: Disk,
    pub(crate) keys: Keys,
    pub(crate) module: Vec<u8>,
    /// Rises with each process, so that what an older one waited for is not heard.
    pub(crate) epoch: u64,
    /// Leaps of the clock after which the trust list was looked at.
    leaps: u32,
    process: Option<Process>,
}

impl Coordinator {
    pub(crate) fn new(module: Vec<u8>) -> Self {
        let keys = Keys {
            root: Keypair::from_seed(&[100; 32]),
            signing: Keypair::from_seed(&[101; 32]),
            revoked: Vec::new(),
            version: 0,
        };
        Self { clock: Clock::default(), disk: Disk::default(), keys, module, epoch: 0, leaps: 0, process: None }
    }

    pub(crate) fn root(&self) -> PublicKey {
        self.keys.root.public()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn open_units(&self) -> u64 {
        self.process.as_ref().map_or(0, |process| process.scheduler.open_units())
    }

    // ── The process ──

    /// Starts a process, from what is on disk.
    pub(crate) fn start(&mut self, t: u64, seed: [u8; 32]) -> Vec<Act> {
        self.epoch += 1;
        self.clock.start(t);
        let now = self.clock.now(t);
        let mut scheduler = Scheduler::new(Policy::default(), seed);
        for (id, record) in &self.disk.workers {
            scheduler.restore_worker(*id, *record);
        }
        for record in self.disk.runs.values().filter(|record| record.status == RunStatus::Active) {
            let id = record.spec.id;
            let has_input = |index| self.disk.inputs.contains_key(&UnitId { run: id, index });
            scheduler.restore_run(now, record.clone(), self.units(id), has_input);
        }
        let trust = self.keys.trust_list(now);
        self.process = Some(Process {
            scheduler,
            inbox: VecDeque::new(),
            batches: VecDeque::new(),
            committing: None,
            sessions: BTreeMap::new(),
            current: BTreeMap::new(),
            trust,
            trust_issued: now,
            nonces: 0,
            acts: Vec::new(),
        });
        self.think(t)
    }

    /// The process is gone, with everything that was not on disk.
    pub(crate) fn crash(&mut self) {
        self.process = None;
        self.epoch += 1;
    }

    fn units(&self, run: RunId) -> Vec<(u32, UnitRecord)> {
        let of_run = UnitId { run, index: 0 }..=UnitId { run, index: u32::MAX };
        self.disk.units.range(of_run).map(|(id, unit)| (id.index, unit.clone())).collect()
    }

    /// Tells the scheduler something, if there is a process to tell.
    pub(crate) fn tell(&mut self, t: u64, input: Input) -> Vec<Act> {
        if let Some(process) = &mut self.process {
            process.inbox.push_back((input, Vec::new()));
        }
        self.think(t)
    }

    /// A run and its inputs are submitted; they are on disk before the scheduler hears of them.
    pub(crate) fn submit(&mut self, t: u64, run: RunRecord, inputs: Vec<Bytes>) -> Vec<Act> {
        let spec = run.spec.clone();
        let units = (0..).map(|index| UnitId { run: spec.id, index });
        self.disk.inputs.extend(units.zip(inputs));
        self.disk.runs.insert(spec.id, run);
        self.tell(t, Input::Submitted(spec))
    }

    /// The owner of a run that has ended wants everything again that has no output.
    pub(crate) fn retry(&mut self, t: u64, run: RunId) -> Vec<Act> {
        let (now, units) = (self.clock.now(t), self.units(run));
        let Some(process) = &mut self.process else { return Vec::new() };
        let inputs = &self.disk.inputs;
        let has_input = |index| inputs.contains_key(&UnitId { run, index });
        process.scheduler.restore_run(now, self.disk.runs[&run].clone(), units, has_input);
        self.tell(t, Input::Retry(run))
    }

    /// Replaces the signing key.
    pub(crate) fn rotate(&mut self, t: u64, seed: [u8; 32]) -> Vec<Act> {
        let now = self.clock.now(t);
        let old = std::mem::replace(&mut self.keys.signing, Keypair::from_seed(&seed)).public();
        self.keys.revoked.push((old, self.keys.version.saturating_add(1).max(now.0)));
        self.renew(now);
        self.think(t)
    }

    /// Signs the trust list anew and tells everybody.
    fn renew(&mut self, now: Timestamp) {
        let list = self.keys.trust_list(now);
        let Some(process) = &mut self.process else { return };
        (process.trust, process.trust_issued) = (list.clone(), now);
        let links: Vec<LinkId> = process.current.values().copied().collect();
        process.acts.extend(links.into_iter().map(|link| Act::Send(link, ServerMessage::Trust(list.clone()))));
    }

    // ── Connections ──

    /// Somebody connected.
    pub(crate) fn accept(&mut self, t: u64, link: LinkId) -> Vec<Act> {
        let (now, root, monotonic) = (self.clock.now(t), self.root(), self.clock.monotonic(t));
        let Some(process) = &mut self.process else { return vec![Act::Close(link)] };
        process.nonces += 1;
        let nonce = Digest::of_parts([&self.epoch.to_le_bytes()[..], &process.nonces.to_le_bytes()]).0;
        let challenge = Challenge { nonce, root, trust: process.trust.clone(), now };
        process.sessions.insert(link, Session::Stranger { nonce, until: monotonic + HELLO_TIME.as_millis() as i64 });
        process.acts.push(Act::Send(link, ServerMessage::Challenge(challenge)));
        process.acts.push(Act::Watch(link, HELLO_TIME));
        self.think(t)
    }

    /// A connection is gone, or is given up.
    pub(crate) fn closed(&mut self, t: u64, link: LinkId) -> Vec<Act> {
        let Some(process) = &mut self.process else { return Vec::new() };
        if let Some(Session::Known { worker, .. }) = process.sessions.remove(&link)
            && process.current.get(&worker) == Some(&link)
        {
            process.current.remove(&worker);
            process.inbox.push_back((Input::Disconnected { worker }, Vec::new()));
        }
        self.think(t)
    }

    /// Whether a connection has been silent for too long.
    pub(crate) fn watch(&mut self, t: u64, link: LinkId) -> Vec<Act> {
        let monotonic = self.clock.monotonic(t);
        let Some(session) = self.process.as_ref().and_then(|process| process.sessions.get(&link)) else {
            return Vec::new();
        };
        let until = match session {
            Session::Stranger { until, .. } => *until,
            Session::Known { heard, .. } => heard + 3 * HEARTBEAT.as_millis() as i64,
        };
        match u64::try_from(until - monotonic) {
            Ok(left) if left > 0 => vec![Act::Watch(link, Duration::from_millis(left))],
            _ => self.hang_up(t, link),
        }
    }

    fn hang_up(&mut self, t: u64, link: LinkId) -> Vec<Act> {
        if let Some(process) = &mut self.process {
            process.acts.push(Act::Close(link));
        }
        self.closed(t, link)
    }

    fn refuse(&mut self, t: u64, link: LinkId, reason: &str, retry_after: Option<Duration>) -> Vec<Act> {
        if let Some(process) = &mut self.process {
            let reason = reason.to_owned();
            process.acts.push(Act::Send(link, ServerMessage::Refused { reason, retry_after }));
        }
        self.hang_up(t, link)
    }

    /// A frame arrived.
    pub(crate) fn frame(&mut self, t: u64, link: LinkId, frame: &[u8]) -> Vec<Act> {
        let monotonic = self.clock.monotonic(t);
        let root = self.root();
        let Some(process) = &mut self.process else { return Vec::new() };
        let message = match decode::<ClientMessage>(frame) {
            Ok(message) => message,
            Err(error) => return self.refuse(t, link, &error.to_string(), None),
        };
        match process.sessions.get_mut(&link) {
            None => Vec::new(),
            Some(Session::Stranger { nonce, .. }) => {
                let nonce = *nonce;
                let ClientMessage::Hello(hello) = message else {
                    return self.refuse(t, link, "expected a hello first", None);
                };
                let Ok(greeting) = hello.greeting.verify_any() else {
                    return self.refuse(t, link, "the greeting is not signed", None);
                };
                if *greeting != (Greeting { nonce, coordinator: root }) {
                    return self.refuse(t, link, "the greeting answers another challenge", None);
                }
                self.join(t, link, greeting.signer().into(), monotonic)
            }
            Some(Session::Known { worker, heard, .. }) => {
                *heard = monotonic;
                let worker = *worker;
                self.hear(t, link, worker, message)
            }
        }
    }

    fn join(&mut self, t: u64, link: LinkId, worker: WorkerId, monotonic: i64) -> Vec<Act> {
        let Some(process) = &mut self.process else { return Vec::new() };
        process.sessions.insert(link, Session::Known { worker, heard: monotonic, released: None });
        if let Some(older) = process.current.insert(worker, link) {
            process.sessions.remove(&older);
            let reason = "another connection of this worker took over".to_owned();
            process.acts.push(Act::Send(older, ServerMessage::Refused { reason, retry_after: None }));
            process.acts.push(Act::Close(older));
        }
        process.inbox.push_back((Input::Connected { worker, origin: Groups::default() }, Vec::new()));
        process.acts.push(Act::Send(link, ServerMessage::Welcome(Welcome { heartbeat: HEARTBEAT })));
        process.acts.push(Act::Watch(link, 3 * HEARTBEAT));
        self.think(t)
    }

    fn hear(&mut self, t: u64, link: LinkId, worker: WorkerId, message: ClientMessage) -> Vec<Act> {
        let input = match message {
            ClientMessage::Hello(_) => return self.refuse(t, link, "said hello twice", None),
            ClientMessage::Want(count) => Input::Wants { worker, count },
            ClientMessage::Done(done) => return self.reported(t, link, worker, done),
            ClientMessage::Failed { lease, .. } => Input::MachineFailed { worker, lease },
            ClientMessage::Progress { lease, permille } => Input::Progress { worker, lease, permille },
            ClientMessage::GiveBack(leases) => Input::GaveBack { worker, leases },
            ClientMessage::Ping => return vec![Act::Send(link, ServerMessage::Pong)],
        };
        self.tell(t, input)
    }

    fn reported(&mut self, t: u64, link: LinkId, worker: WorkerId, done: Done) -> Vec<Act> {
        let Done { reports: signed, outputs } = done;
        let said = match signed.verify(worker.into()) {
            Ok(said) => said.into_inner(),
            Err(error) => return self.refuse(t, link, &error.to_string(), Some(HELLO_TIME)),
        };
        let too_many = said.reports.len() > LEASES_MAX || said.reports.len() != outputs.len();
        if signed.bytes() > REPORTS_BYTES_MAX || too_many {
            return self.refuse(t, link, "reports and outputs do not fit together", None);
        }
        let tickets = self.keys.tickets();
        let Some(process) = &mut self.process else { return Vec::new() };
        let (mut reports, mut kept, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (report, output) in said.reports.into_iter().zip(outputs) {
            let Lease { id, task, ticket } = &report.lease;
            let known = tickets.knows(&encode(&(worker, said.run, said.module, id, task)), &ticket.0);
            if !known || !report.outcome.is_of(&output) {
                refused.push(*id);
                continue;
            }
            if report.outcome.verdict.is_ok() {
                kept.push(output);
            }
            reports.push(report.into());
        }
        if !refused.is_empty() {
            process.inbox.push_back((Input::GaveBack { worker, leases: refused.clone() }, Vec::new()));
            let refused = refused.into_iter().map(|lease| (lease, Receipt::Refused("no such lease".into())));
            process.acts.push(Act::Send(link, ServerMessage::Receipts(refused.collect())));
        }
        if !reports.is_empty() {
            let evidence = Bytes::from(encode(&signed));
            let input = Input::Reported { worker, run: said.run, module: said.module, reports, evidence };
            process.inbox.push_back((input, kept));
        }
        self.think(t)
    }

    // ── Mind and hand ──

    /// The mind takes what waits, and the hand what the mind handed on.
    fn think(&mut self, t: u64) -> Vec<Act> {
        let now = self.clock.now(t);
        if std::mem::replace(&mut self.leaps, self.clock.leaps) != self.clock.leaps {
            self.renew_if_old(now);
        }
        loop {
            let Some(process) = &mut self.process else { return Vec::new() };
            while process.batches.len() < BATCHES {
                let mut batch = Batch::default();
                if process.scheduler.wake_at().is_some_and(|at| at <= now) {
                    process.inbox.push_front((Input::TimePassed, Vec::new()));
                }
                for (input, outputs) in process.inbox.drain(..) {
                    process.scheduler.handle(now, input);
                    batch.outputs.extend(outputs);
                }
                while let Some(effect) = process.scheduler.poll_effect() {
                    match effect {
                        Effect::Grant(draft) => batch.leases.push(draft),
                        effect => batch.effects.push(effect),
                    }
                }
                if batch.leases.is_empty() && batch.effects.is_empty() {
                    break;
                }
                process.batches.push_back(batch);
            }
            if process.committing.is_some() || process.batches.is_empty() {
                // A mind that waits for the hand goes on by itself when the hand does.
                let waits = process.batches.len() >= BATCHES;
                let wake = process.scheduler.wake_at().filter(|_| !waits).map(|at| Act::Wake(at.since(now)));
                let mut acts = std::mem::take(&mut process.acts);
                acts.extend(wake);
                return acts;
            }
            self.work(now);
        }
    }

    /// The hand takes all batches that wait.
    fn work(&mut self, now: Timestamp) {
        let Some(process) = &mut self.process else { return };
        let (mut leases, mut writes, mut effects) = (BTreeMap::new(), Vec::new(), Vec::new());
        for batch in process.batches.drain(..) {
            for draft in batch.leases {
                leases.entry((draft.worker, draft.unit.run)).or_insert_with(Vec::new).push(draft);
            }
            writes.extend(batch.outputs.into_iter().map(Write::Output));
            for effect in batch.effects {
                match effect {
                    Effect::Record(record) => writes.push(Write::Record(record)),
                    effect => effects.push(effect),
                }
            }
        }
        // A run that has ended has all its units: its record comes after theirs.
        writes.sort_by_key(|write| match write {
            Write::Output(_) => 0,
            Write::Record(Record::Evidence(..)) => 1,
            Write::Record(Record::Unit(..) | Record::Paid(..)) => 2,
            Write::Record(Record::Worker(..)) => 3,
            Write::Record(Record::Run(_)) => 4,
        });
        let nothing_to_write = writes.is_empty();
        if !nothing_to_write {
            process.acts.push(Act::Commit(writes));
        }
        for ((worker, run), drafts) in leases {
            for drafts in drafts.chunks(LEASES_MAX) {
                self.grant(now, worker, run, drafts);
            }
        }
        if nothing_to_write {
            effects.into_iter().for_each(|effect| self.perform(effect));
        } else if let Some(process) = &mut self.process {
            process.committing = Some(effects);
        }
    }

    /// The commit under way is durable: whoever waited for it is told now. With `most`, the process ends after
    /// so many effects.
    pub(crate) fn committed(&mut self, t: u64, most: usize) -> Vec<Act> {
        let Some(effects) = self.process.as_mut().and_then(|process| process.committing.take()) else {
            return Vec::new();
        };
        effects.into_iter().take(most).for_each(|effect| self.perform(effect));
        self.think(t)
    }

    fn perform(&mut self, effect: Effect) {
        let Some(process) = &mut self.process else { return };
        match effect {
            Effect::Receipts { worker, receipts } => {
                for (lease, receipt) in &receipts {
                    if matches!(receipt, Receipt::Recorded | Receipt::AlreadyRecorded) {
                        process.acts.push(Act::Acknowledged(worker, *lease));
                    }
                }
                process.send(worker, ServerMessage::Receipts(receipts));
            }
            Effect::Withdraw { worker, leases } => process.send(worker, ServerMessage::Cancel(leases)),
            Effect::Assemble { unit, parts } => {
                let outputs: Option<Vec<&Bytes>> = parts.map(|index| self.disk.output(unit.run, index)).collect();
                let input = match outputs {
                    Some(outputs) => {
                        let frame = parts::encode(outputs.into_iter().map(|bytes| &bytes[..]));
                        self.disk.inputs.insert(unit, frame.into());
                        Input::InputReady(unit)
                    }
                    None => Input::InputImpossible(unit),
                };
                process.inbox.push_back((input, Vec::new()));
            }
            Effect::Record(_) | Effect::Grant(_) => unreachable!("taken out before"),
            _ => {}
        }
    }

    fn grant(&mut self, now: Timestamp, worker: WorkerId, run: RunId, drafts: &[LeaseDraft]) {
        let Some(process) = &mut self.process else { return };
        let Some(link) = process.current.get(&worker).copied() else { return };
        let spec = &self.disk.runs[&run].spec;
        let tickets = self.keys.tickets();
        let mut inputs = Vec::new();
        let lease = |draft: &LeaseDraft| {
            let input = self.disk.inputs[&draft.unit].clone();
            let task = Task {
                index: draft.unit.index,
                step: draft.step,
                entry: draft.entry,
                input: Digest::of(&input),
                seed: draft.seed,
            };
            let ticket = Ticket(tickets.code(&encode(&(worker, run, spec.module, draft.id, &task))));
            process.acts.push(Act::Granted(draft.id, draft.unit));
            inputs.push(input);
            Lease { id: draft.id, task, ticket }
        };
        let leases = drafts.iter().map(lease).collect();
        let issued_at = drafts.iter().map(|draft| draft.issued_at).min().unwrap_or_default();
        let expires_at = drafts.iter().map(|draft| draft.expires_at).min().unwrap_or_default();
        let leases = Leases {
            worker,
            run,
            job: spec.job.clone(),
            serial: spec.serial,
            module: spec.module,
            validity: Validity { issued_at, expires_at },
            leases,
        };
        let Some(Session::Known { released, .. }) = process.sessions.get_mut(&link) else { return };
        let key = self.keys.signing.public();
        let release = (released.replace(key) != Some(key)).then(|| self.keys.release(now, &self.module));
        let grant = Grant { leases: Signed::new(&self.keys.signing, &leases), release, inputs };
        process.acts.push(Act::Send(link, ServerMessage::Grant(grant)));
    }

    /// What happens every hour of a process's life.
    pub(crate) fn hour(&mut self, t: u64) -> Vec<Act> {
        let now = self.clock.now(t);
        self.renew_if_old(now);
        self.think(t)
    }

    fn renew_if_old(&mut self, now: Timestamp) {
        let issued = self.process.as_ref().map_or(now, |process| process.trust_issued);
        if now < issued || now >= issued.after(TRUST_FRESH) {
            self.renew(now);
        }
    }
}

impl Process {
    fn send(&mut self, worker: WorkerId, message: ServerMessage) {
        if let Some(link) = self.current.get(&worker) {
            self.acts.push(Act::Send(*link, message));
        }
    }
}

impl Disk {
    pub(crate) fn write(&mut self, write: Write) {
        match write {
            Write::Output(bytes) => drop(self.outputs.insert(Digest::of(&bytes), bytes)),
            Write::Record(Record::Run(run)) => drop(self.runs.insert(run.spec.id, *run)),
            Write::Record(Record::Unit(id, unit)) => drop(self.units.insert(id, unit)),
            Write::Record(Record::Evidence(run, worker, _)) => drop(self.evidence.insert((run, worker))),
            Write::Record(Record::Worker(id, worker)) => drop(self.workers.insert(id, worker)),
            // Accounts are the shell's.
            Write::Record(Record::Paid(..)) => {}
        }
    }

    /// The output of a unit, if it was accepted and is there.
    pub(crate) fn output(&self, run: RunId, index: u32) -> Option<&Bytes> {
        match &self.units.get(&UnitId { run, index })?.accepted.as_ref()?.verdict {
            Verdict::Ok { output, .. } => self.outputs.get(output),
            _ => None,
        }
    }
}

impl Keys {
    fn trust_list(&mut self, now: Timestamp) -> Signed<TrustList> {
        self.version = self.version.saturating_add(1).max(now.0);
        let revoked = self.revoked.iter().map(|(key, _)| TrustedKey { key: *key, revoked: true });
        let list = TrustList {
            version: self.version,
            validity: Validity { issued_at: now, expires_at: now.after(TRUST_VALID) },
            keys: revoked.chain([TrustedKey { key: self.signing.public(), revoked: false }]).collect(),
            floors: vec![],
            revoked_modules: Vec::new(),
        };
        Signed::new(&self.root, &list)
    }

    fn tickets(&self) -> MacKey {
        self.signing.mac_key("lease ticket v1")
    }

    fn release(&self, now: Timestamp, module: &[u8]) -> Signed<Release> {
        let release = Release {
            name: job(),
            version: Version::new(1, 0, 0),
            serial: 1,
            source: Digest::of(b"source"),
            module: Digest::of(module),
            module_bytes: module.len() as u64,
            publisher: self.root.public(),
            limits: Limits::default(),
            validity: Validity { issued_at: now, expires_at: now.after(RELEASE_VALID) },
        };
        Signed::new(&self.signing, &release)
    }
}

pub(crate) fn job() -> JobName {
    "job".parse().unwrap()
}
