//! Stories of one worker, told by what it does.

use core::time::Duration;
use std::borrow::ToOwned as _;
use std::string::{String, ToString as _};
use std::vec::Vec;
use std::{format, vec};

use bytes::Bytes;
use manyhands_model::{Digest, Fuel, LeaseId, Limits, Outcome, RunId, Timestamp, UnitId, Verdict, WorkerId};
use manyhands_protocol::{
    Balance, Body, Challenge, ClientMessage, Entry, Grant, Invitation, LEASES_MAX, Lease, Leases, Receipt, Release,
    ServerMessage, Settlement, Task, Ticket, Welcome, decode, encode,
};
use manyhands_signing::{Keypair, Signed, TrustList, TrustedKey, Validity};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::{Config, Effect, Event, Input, Key, Pace, Parcel, Pause, Reason, Worker};

/// When the stories begin, on the coordinator's clock.
const START: u64 = 1_700_000_000_000;
const HEARTBEAT: u64 = 20;
/// How long a lease is valid.
const LEASE: u64 = 120;

/// A coordinator without a scheduler, and a worker.
struct World {
    root: Keypair,
    signing: Keypair,
    key: Keypair,
    worker: Worker,
    me: WorkerId,
    /// Milliseconds since the start.
    now: u64,
    /// Leases that it asked for and did not get yet.
    wanted: u16,
    /// Whether it left.
    finished: bool,
    /// Where the connection stands.
    line: Line,
    /// Parcels that it wants to have on disk.
    saving: Vec<Parcel>,
    /// Whether its shell sees at once whose signatures fit, where it is asked.
    checks: bool,
}

#[derive(Clone, Copy)]
enum Line {
    Down,
    Dialling,
    Introduced,
    Up,
}

impl World {
    fn new(slots: u16) -> Self {
        Self::with(slots, 0, [5; 32])
    }

    fn with(slots: u16, trust_version: u64, seed: [u8; 32]) -> Self {
        Self::with_key(slots, trust_version, seed, Key::Held)
    }

    fn with_key(slots: u16, trust_version: u64, seed: [u8; 32], hold: fn(Keypair) -> Key) -> Self {
        let (root, key) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[3; 32]));
        let me = key.public().into();
        let pinned = root.public().fingerprint();
        let body = Body { engine: "an engine".into(), runtime: "a runtime".into() };
        let (pace, is_watched) = (Pace::full(slots), true);
        let worker = Worker::new(Config {
            pinned,
            key: hold(Keypair::from_seed(&[3; 32])),
            body,
            pace,
            is_watched,
            trust_version,
            invitation: Some(Invitation("mhi_".into())),
            seed,
        });
        Self {
            root,
            signing: Keypair::from_seed(&[2; 32]),
            key,
            worker,
            me,
            now: 0,
            wanted: 0,
            finished: false,
            line: Line::Down,
            saving: Vec::new(),
            checks: true,
        }
    }

    /// A worker that was taken on, whose key is elsewhere.
    fn joined_elsewhere() -> Self {
        let mut world = Self::with_key(1, 0, [5; 32], |key| Key::Elsewhere(key.public()));
        world.tell(Input::Start(vec![]));
        world.tell(Input::Connected);
        let did = world.effects(Input::Frame(ServerMessage::Challenge(world.challenge())));
        let Some(Effect::Sign(number, message)) = did.last() else { panic!("{did:?}") };
        let signature = world.key.sign(message);
        world.tell(Input::Signed(*number, signature));
        world.hear(welcome());
        world
    }

    /// A worker that was taken on and has said what it wants.
    fn joined(slots: u16) -> Self {
        let mut world = Self::new(slots);
        world.tell(Input::Start(vec![]));
        world.join();
        world
    }

    fn join(&mut self) -> Vec<String> {
        self.tell(Input::Connected);
        let mut did = self.hear(ServerMessage::Challenge(self.challenge()));
        did.extend(self.hear(welcome()));
        did
    }

    /// Waits for the next try to connect, which succeeds.
    fn reconnect(&mut self) -> Vec<String> {
        while !self.sleep().1.contains(&"connect".to_owned()) {}
        self.join()
    }

    fn clock(&self) -> Timestamp {
        Timestamp(START + self.now)
    }

    /// What the worker does about `input`.
    fn effects(&mut self, input: Input) -> Vec<Effect> {
        self.worker.handle(self.clock(), input);
        let mut effects = Vec::new();
        while let Some(effect) = self.worker.poll_effect() {
            match effect {
                Effect::Check(number, claim) if self.checks => {
                    self.worker.handle(self.clock(), Input::Checked(number, claim.fits()));
                }
                effect => effects.push(effect),
            }
        }
        for effect in &effects {
            match effect {
                Effect::Send(ClientMessage::Want(count)) => self.wanted = *count,
                Effect::Finished | Effect::Fatal(_) => self.finished = true,
                Effect::Connect => self.line = Line::Dialling,
                Effect::Send(ClientMessage::Hello(_)) => self.line = Line::Introduced,
                Effect::Say(Event::Joined) => self.line = Line::Up,
                Effect::Say(Event::Lost { .. }) => self.line = Line::Down,
                Effect::Save(parcel) => self.saving.push(parcel.clone()),
                _ => {}
            }
        }
        effects
    }

    fn tell(&mut self, input: Input) -> Vec<String> {
        self.effects(input).iter().map(show).collect()
    }

    fn hear(&mut self, message: ServerMessage) -> Vec<String> {
        self.tell(Input::Frame(message))
    }

    fn wait(&mut self, seconds: u64) -> Vec<String> {
        self.now += seconds * 1000;
        self.tell(Input::TimePassed)
    }

    /// Waits as a shell would, and returns how long that was and what then happened.
    fn sleep(&mut self) -> (Duration, Vec<String>) {
        let until = self.worker.wake_at().expect("it wants to be woken");
        let slept = until.since(self.clock());
        self.now = until.0 - START;
        (slept, self.tell(Input::TimePassed))
    }

    fn validity(&self, seconds: u64) -> Validity {
        Validity { issued_at: self.clock(), expires_at: self.clock().after(Duration::from_secs(seconds)) }
    }

    fn trust(&self, version: u64, revoked: bool) -> TrustList {
        let keys = vec![TrustedKey { key: self.signing.public(), revoked }];
        let validity = self.validity(1_000_000);
        TrustList { version, validity, keys, floors: vec![], revoked_modules: vec![] }
    }

    fn challenge(&self) -> Challenge {
        self.challenge_of(7)
    }

    fn challenge_of(&self, version: u64) -> Challenge {
        let trust = Signed::new(&self.root, &self.trust(version, false));
        Challenge { nonce: [4; 32], root: self.root.public(), trust, now: self.clock() }
    }

    fn release(&self) -> Release {
        Release {
            name: "a-job".parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            serial: 3,
            source: Digest::of(b"source"),
            module: Digest::of(b"module"),
            module_bytes: 6,
            publisher: self.root.public(),
            limits: Limits::default(),
            validity: self.validity(1_000_000),
        }
    }

    fn leases(&self, numbers: &[u8]) -> Leases {
        Leases {
            worker: self.me,
            run: RunId([9; 16]),
            job: "a-job".parse().unwrap(),
            serial: 3,
            module: Digest::of(b"module"),
            validity: self.validity(LEASE),
            leases: numbers.iter().map(|number| lease(*number)).collect(),
        }
    }

    fn grant(&self, number: u8) -> Grant {
        self.grant_of(&self.leases(&[number]), &self.release())
    }

    fn grant_of(&self, leases: &Leases, release: &Release) -> Grant {
        let inputs = leases.leases.iter().map(|_| Bytes::from_static(b"input")).collect();
        let (leases, release) = (Signed::new(&self.signing, leases), Signed::new(&self.signing, release));
        Grant { leases, release: Some(release), inputs }
    }

    fn give(&mut self, number: u8) -> Vec<String> {
        self.give_all(&[number])
    }

    fn give_all(&mut self, numbers: &[u8]) -> Vec<String> {
        let grant = self.grant_of(&self.leases(numbers), &self.release());
        self.wanted = self.wanted.saturating_sub(u16::try_from(numbers.len()).unwrap());
        self.hear(ServerMessage::Grant(grant))
    }

    /// As [`World::give`], with the module ready.
    fn give_ready(&mut self, number: u8) -> Vec<String> {
        let mut did = self.give(number);
        did.extend(self.tell(Input::ModuleReady(Digest::of(b"module"))));
        did
    }

    fn execute(&mut self, number: u8) -> Vec<String> {
        self.tell(Input::Executed { lease: LeaseId([number; 16]), result: Ok(answer()) })
    }

    fn fail(&mut self, number: u8) -> Vec<String> {
        self.tell(Input::Executed { lease: LeaseId([number; 16]), result: Err("no memory".into()) })
    }

    /// Says that everything is on disk that was to be.
    fn saved(&mut self) -> Vec<String> {
        let saving = core::mem::take(&mut self.saving);
        saving.into_iter().flat_map(|parcel| self.tell(Input::Saved(parcel.name()))).collect()
    }

    fn receive(&mut self, number: u8, receipt: Receipt) -> Vec<String> {
        self.hear(ServerMessage::Receipts(vec![(LeaseId([number; 16]), receipt)]))
    }

    fn lose(&mut self) -> Vec<String> {
        self.tell(Input::Disconnected("cut".into()))
    }
}

fn lease(number: u8) -> Lease {
    let task = Task { index: number.into(), step: 0, entry: Entry::Run, input: Digest::of(b"input"), seed: [6; 32] };
    Lease { id: LeaseId([number; 16]), task, ticket: Ticket([7; 16]) }
}

/// The units of a parcel, as its reports name them.
fn numbers(parcel: &manyhands_protocol::Done) -> Vec<u32> {
    let reports = parcel.reports.verify_any().unwrap();
    reports.reports.iter().map(|report| report.lease.task.index).collect()
}

fn answer() -> (Outcome, Bytes) {
    let output = Bytes::from_static(b"output");
    let verdict = Verdict::Ok { output: Digest::of(&output), output_bytes: output.len() as u64 };
    (Outcome { verdict, fuel: Fuel(11) }, output)
}

fn welcome() -> ServerMessage {
    ServerMessage::Welcome(Welcome { heartbeat: Duration::from_secs(HEARTBEAT) })
}

/// One line for each effect; leases by their numbers.
fn show(effect: &Effect) -> String {
    let number = |lease: &LeaseId| lease.0[0];
    match effect {
        Effect::Connect => "connect".into(),
        Effect::Disconnect => "disconnect".into(),
        Effect::Send(message) => match message {
            ClientMessage::Hello(hello) => format!("> hello, {} slots", hello.slots),
            ClientMessage::Want(count) => format!("> want {count}"),
            ClientMessage::Done(done) => format!("> done {:?}", numbers(done)),
            ClientMessage::Failed { lease, reason } => format!("> failed {}: {reason}", number(lease)),
            ClientMessage::Progress { lease, permille } => format!("> progress {} {permille}", number(lease)),
            ClientMessage::GiveBack(leases) => format!("> back {:?}", leases.iter().map(number).collect::<Vec<_>>()),
            ClientMessage::Ping => "> ping".into(),
        },
        Effect::FetchModule { bytes, .. } => format!("fetch {bytes} bytes"),
        Effect::ForgetModule(_) => "forget the module".into(),
        Effect::Execute(order) => format!("execute {}", number(&order.lease)),
        Effect::Abort(lease) => format!("abort {}", number(lease)),
        Effect::Sign(number, _) => format!("sign {number}"),
        Effect::Check(number, _) => format!("check {number}"),
        Effect::Save(parcel) => format!("save {:?}", numbers(parcel.done())),
        Effect::Forget(_) => "forget".into(),
        Effect::RememberTrust(version) => format!("remember trust {version}"),
        Effect::Say(event) => format!("say {}", event.word()),
        Effect::Finished => "finished".into(),
        Effect::Fatal(reason) => format!("fatal: {reason}"),
    }
}

fn assert_one_has(lines: &[String], words: &str) {
    assert!(lines.iter().any(|line| line.contains(words)), "no `{words}` in {lines:?}");
}

#[test]
fn a_unit_goes_from_its_lease_to_its_receipt() {
    let mut world = World::new(1);
    assert_eq!(world.tell(Input::Start(vec![])), ["connect"]);
    assert_eq!(world.join(), ["remember trust 7", "> hello, 1 slots", "say joined", "> want 2"]);
    assert_eq!(world.give(1), ["fetch 6 bytes"]);
    assert_eq!(world.tell(Input::ModuleReady(Digest::of(b"module"))), ["say started", "execute 1"]);
    assert_eq!(world.give(2), [""; 0], "it waits for the slot");
    assert_eq!(world.execute(1), ["say executed", "say started", "execute 2", "> want 128"]);
    assert_eq!(world.execute(2)[..2], ["say executed", "> done [1, 2]"], "nothing else is under way");
    assert_eq!(world.receive(1, Receipt::Recorded), ["say recorded"]);
    assert_eq!(world.receive(2, Receipt::Recorded), ["say recorded"]);
    assert_eq!(world.receive(2, Receipt::Recorded), [""; 0], "once is enough");
}

#[test]
fn reports_name_their_leases_and_are_signed_by_the_worker() {
    let mut world = World::joined(1);
    world.give_ready(1);
    let effects = world.effects(Input::Executed { lease: LeaseId([1; 16]), result: Ok(answer()) });
    let sent = effects.iter().find_map(|effect| match effect {
        Effect::Send(ClientMessage::Done(done)) => Some(done),
        _ => None,
    });
    let Some(done) = sent else { panic!("{effects:?}") };
    let said = done.reports.verify(world.me.into()).unwrap();
    assert_eq!((said.run, said.module), (RunId([9; 16]), Digest::of(b"module")));
    assert_eq!((said.reports[0].outcome.clone(), done.outputs[0].clone()), answer());
    assert_eq!(said.reports[0].lease, lease(1));
}

#[test]
fn while_every_slot_is_busy_outcomes_are_signed_together() {
    let mut world = World::joined(1);
    let all: Vec<u8> = (1..=60).collect();
    world.give_ready(1);
    world.give_all(&all[1..]);
    let mut sent: Vec<String> = Vec::new();
    for number in &all[..20] {
        sent.extend(world.execute(*number).into_iter().filter(|line| line.starts_with("> done")));
    }
    assert_eq!(sent, [""; 0], "the slot is busy with the next one each time");
    let (slept, did) = world.sleep();
    assert_eq!((slept.as_millis(), did.len()), (4, 1), "{did:?}");
    assert!(did[0].starts_with("> done [1, 2, 3, "), "{did:?}");
}

#[test]
fn no_parcel_holds_more_than_the_protocol_allows() {
    for message in [0, 4096] {
        let mut world = World::joined(1);
        let all: Vec<u8> = (1..=200).collect();
        world.give_ready(1);
        all[1..].chunks(LEASES_MAX).for_each(|some| drop(world.give_all(some)));
        let mut reported = 0;
        for number in &all {
            let verdict = Verdict::Aborted { code: 1, message: "x".repeat(message) };
            let result = Ok((Outcome { verdict, fuel: Fuel(u64::MAX) }, Bytes::new()));
            for effect in world.effects(Input::Executed { lease: LeaseId([*number; 16]), result }) {
                let Effect::Send(ClientMessage::Done(done)) = effect else { continue };
                reported += done.outputs.len();
                assert!(done.outputs.len() <= LEASES_MAX);
                assert!(done.reports.bytes() <= manyhands_protocol::REPORTS_BYTES_MAX, "{}", done.reports.bytes());
            }
        }
        assert_eq!(reported, 200);
    }
}

// ── Whom it believes ──

#[test]
fn a_coordinator_with_another_key_is_not_greeted() {
    let mut world = World::new(1);
    world.tell(Input::Start(vec![]));
    let impostor = Keypair::from_seed(&[8; 32]);
    let trust = Signed::new(&impostor, &world.trust(7, false));
    let challenge = Challenge { root: impostor.public(), trust, ..world.challenge() };
    let did = world.hear(ServerMessage::Challenge(challenge));
    assert_eq!(did.len(), 2);
    assert_one_has(&did, "fatal: this is not the coordinator of the join link");

    // Nor one that shows the right root with a list that it did not sign.
    let mut world = World::new(1);
    world.tell(Input::Start(vec![]));
    let trust = Signed::new(&impostor, &world.trust(7, false));
    let did = world.hear(ServerMessage::Challenge(Challenge { trust, ..world.challenge() }));
    assert_one_has(&did, "fatal");
}

#[test]
fn an_older_trust_list_is_refused_even_after_a_restart() {
    let mut world = World::with(1, 8, [5; 32]);
    world.tell(Input::Start(vec![]));
    let did = world.hear(ServerMessage::Challenge(world.challenge()));
    assert_one_has(&did, "version 7 is older than version 8");

    // While it is connected as well; what it believes stays as it was.
    let mut world = World::joined(1);
    let older = Signed::new(&world.root, &world.trust(6, false));
    assert_eq!(world.hear(ServerMessage::Trust(older)), ["say refused"]);
    assert_one_has(&world.give_ready(1), "execute 1");
}

#[test]
fn a_wrong_clock_is_said_and_may_be_set_right() {
    let mut world = World::new(1);
    world.tell(Input::Start(vec![]));
    world.now = 3_600_000;
    let challenge = world.challenge();
    world.now = 0;
    let did = world.hear(ServerMessage::Challenge(challenge));
    assert_eq!(did, ["say clock_differs", "disconnect", "say lost"], "no end: the clock may be set right");
    assert_eq!(world.sleep().1, ["connect"]);
    world.now += 3_600_000;
    assert_one_has(&world.join(), "say joined");
}

#[test]
fn whatever_is_wrong_with_a_grant_it_is_given_back_and_not_executed() {
    type Spoil = fn(&World, &mut Leases, &mut Release, &mut Grant);
    let cases: &[(&str, Spoil)] = &[
        ("another worker", |_, lease, _, _| lease.worker = WorkerId([7; 32])),
        ("expired", |world, lease, _, _| lease.validity.expires_at = world.clock()),
        ("valid from", |world, lease, _, _| {
            lease.validity.issued_at = world.clock().after(Duration::from_secs(700));
        }),
        ("expired", |world, _, release, _| release.validity.expires_at = world.clock()),
        ("belong together", |_, _, release, _| release.serial += 1),
        ("without a release", |_, _, release, _| release.module = Digest::of(b"other")),
        ("belong together", |_, lease, _, _| lease.job = "other".parse().unwrap()),
        ("not the one that the lease names", |_, lease, _, _| lease.leases[0].task.input = Digest::of(b"other")),
        ("not the one that the lease names", |_, _, _, grant| grant.inputs = vec![Bytes::from_static(b"other")]),
        ("not the one that the lease names", |_, _, _, grant| grant.inputs.clear()),
        ("without a release", |_, _, _, grant| grant.release = None),
        ("not a key of this coordinator", |world, lease, _, grant| {
            grant.leases = Signed::new(&Keypair::from_seed(&[8; 32]), lease);
            grant.release = Some(Signed::new(&world.signing, &world.release()));
        }),
        ("not a key of this coordinator", |_, _, release, grant| {
            grant.release = Some(Signed::new(&Keypair::from_seed(&[8; 32]), release));
        }),
    ];
    for (index, (words, spoil)) in cases.iter().enumerate() {
        let mut world = World::joined(1);
        let (mut lease, mut release) = (world.leases(&[1]), world.release());
        let untouched = world.grant_of(&lease, &release);
        let mut grant = untouched.clone();
        spoil(&world, &mut lease, &mut release, &mut grant);
        if grant == untouched {
            grant = world.grant_of(&lease, &release);
        }
        let effects = world.effects(Input::Frame(ServerMessage::Grant(grant)));
        let said = |effect: &Effect| if let Effect::Say(event) = effect { Some(event.to_string()) } else { None };
        let refusals: Vec<String> = effects.iter().filter_map(said).collect();
        let did: Vec<String> = effects.iter().map(show).collect();
        assert!(did.iter().any(|line| line.starts_with("> failed 1: ") || line == "> back [1]"), "{words}: {did:?}");
        assert_one_has(&refusals, words);
        assert_one_has(&did, "say refused");
        assert!(
            !did.iter().any(|line| line.starts_with("fetch") || line.starts_with("execute")),
            "case {index}: {did:?}"
        );
    }
}

#[test]
fn flipping_any_one_bit_of_a_grant_is_refused() {
    let mut world = World::joined(1);
    let bytes = encode(&world.grant(1));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let Ok(grant) = decode::<Grant>(&flipped) else { continue };
        // Whoever removes the release has changed nothing that is signed; it is simply missing then.
        let did = world.hear(ServerMessage::Grant(grant));
        assert!(!did.iter().any(|line| line.starts_with("fetch") || line.starts_with("execute")), "bit {bit}: {did:?}");
    }
    assert_one_has(&world.give_ready(1), "execute 1");
}

#[test]
fn a_revoked_key_takes_its_leases_and_releases_along() {
    let mut world = World::joined(1);
    world.give_ready(1);
    world.give(2);
    let (old, new) = (Keypair::from_seed(&world.signing.seed()), Keypair::from_seed(&[20; 32]));
    let mut list = world.trust(8, true);
    list.keys.push(TrustedKey { key: new.public(), revoked: false });
    let did = world.hear(ServerMessage::Trust(Signed::new(&world.root, &list)));
    assert_eq!(did[..4], ["remember trust 8", "say refused", "abort 1", "> back [1, 2]"]);

    // The new key's lease does not bring the old key's release back.
    world.signing = new;
    let mut grant = world.grant(3);
    grant.release = Some(Signed::new(&old, &world.release()));
    assert_eq!(world.hear(ServerMessage::Grant(grant))[..2], ["> back [3]", "say refused"]);
    assert_one_has(&world.give(4), "execute 4");
}

#[test]
fn a_release_outlives_the_leases_that_it_came_with() {
    let mut world = World::joined(1);
    let leases =
        Leases { validity: Validity { issued_at: world.clock(), expires_at: world.clock() }, ..world.leases(&[1]) };
    let late = world.grant_of(&leases, &world.release());
    assert_eq!(
        world.hear(ServerMessage::Grant(late))[..2],
        ["> back [1]", "say refused"],
        "its time is over, which nobody failed at"
    );
    let mut grant = world.grant(2);
    grant.release = None;
    assert_one_has(&world.hear(ServerMessage::Grant(grant)), "fetch 6 bytes");
}

#[test]
fn without_its_release_it_connects_anew_to_get_it() {
    let mut world = World::joined(1);
    let mut grant = world.grant(1);
    grant.release = None;
    let did = world.hear(ServerMessage::Grant(grant));
    assert_eq!(did[did.len() - 2..], ["disconnect", "say lost"]);
}

#[test]
fn withdrawn_releases_and_modules_are_not_executed() {
    for by_floor in [true, false] {
        let mut world = World::joined(1);
        world.give_ready(1);
        let mut list = world.trust(8, false);
        if by_floor {
            list.floors.push(("a-job".parse().unwrap(), 4));
        } else {
            list.revoked_modules.push(Digest::of(b"module"));
        }
        let did = world.hear(ServerMessage::Trust(Signed::new(&world.root, &list)));
        assert_one_has(&did, "abort 1");
        assert_eq!(world.give(2)[..2], ["> back [2]", "say refused"]);
    }
}

#[test]
fn a_release_that_was_believed_once_still_ends_with_its_time() {
    let mut world = World::joined(1);
    let mut release = world.release();
    release.validity = world.validity(60);
    let grant = world.grant_of(&world.leases(&[1]), &release);
    world.hear(ServerMessage::Grant(grant.clone()));
    world.now += 59_000;
    world.hear(ServerMessage::Pong);
    world.now += 1_000;
    let again = Grant { leases: Signed::new(&world.signing, &world.leases(&[2])), ..grant };
    assert_eq!(world.hear(ServerMessage::Grant(again))[..2], ["> back [2]", "say refused"]);
}

// ── Finished work ──

#[test]
fn what_took_long_is_put_on_disk_at_once_and_sent_at_once() {
    let mut world = World::joined(1);
    world.give_ready(1);
    world.now += 1_000;
    assert_eq!(world.execute(1)[1..3], ["> done [1]", "save [1]"]);
    world.saved();
    assert_eq!(world.receive(1, Receipt::Recorded), ["forget", "say recorded"]);
}

#[test]
fn what_was_quick_is_put_on_disk_only_when_nobody_acknowledges_it() {
    let mut world = World::joined(1);
    world.give_ready(1);
    assert_eq!(world.execute(1)[1], "> done [1]");
    let (slept, did) = world.sleep();
    assert_eq!((slept.as_secs(), did), (2, vec!["save [1]".to_owned()]));
    assert_eq!(world.receive(1, Receipt::Recorded), ["say recorded"], "it is being written");
    assert_eq!(world.saved(), ["forget"]);
}

#[test]
fn what_is_not_acknowledged_is_sent_again_until_there_is_a_receipt() {
    let mut world = World::joined(1);
    world.give_ready(1);
    world.execute(1);
    for turn in 0..3 {
        let did = world.lose();
        assert_eq!(did.contains(&"save [1]".to_owned()), turn == 0, "{did:?}");
        assert_one_has(&world.reconnect(), "> done [1]");
    }
    world.saved();
    assert_eq!(world.receive(1, Receipt::AlreadyRecorded), ["forget", "say recorded"]);
    world.lose();
    assert!(!world.reconnect().contains(&"> done [1]".to_owned()));
}

#[test]
fn a_parcel_stays_until_all_of_it_is_acknowledged() {
    let mut world = World::joined(1);
    world.give_ready(1);
    world.give(2);
    world.execute(1);
    assert_one_has(&world.execute(2), "> done [1, 2]");
    world.receive(2, Receipt::Recorded);
    world.lose();
    assert_one_has(&world.reconnect(), "> done [1, 2]");
    world.receive(1, Receipt::Recorded);
    world.lose();
    assert!(!world.reconnect().iter().any(|line| line.contains("done")));
}

#[test]
fn what_was_left_over_is_sent_after_a_restart() {
    let mut world = World::joined(1);
    world.give_ready(1);
    world.execute(1);
    world.lose();
    let left: Vec<Parcel> =
        world.saving.iter().map(|parcel| Parcel::reopen(parcel.done().clone()).expect("whole")).collect();
    assert_eq!(left, world.saving);

    let mut world = World::new(1);
    world.tell(Input::Start(left));
    assert_one_has(&world.join(), "> done [1]");
    assert_eq!(world.receive(1, Receipt::Refused("too late".into())), ["forget", "say not_counted"]);
}

#[test]
fn a_full_disk_does_not_hold_anything_back() {
    let mut world = World::joined(1);
    world.give_ready(1);
    world.now += 5_000;
    assert_one_has(&world.execute(1), "> done [1]");
    let name = world.saving[0].name();
    assert_eq!(world.tell(Input::NotSaved(name)), [""; 0]);
    world.lose();
    assert_one_has(&world.reconnect(), "> done [1]");
}

#[test]
fn work_goes_on_while_the_connection_is_gone() {
    let mut world = World::joined(2);
    world.give_ready(1);
    world.give(2);
    assert_eq!(world.lose(), ["say lost"]);
    assert_eq!(world.execute(1), ["say executed", "save [1]"]);
    world.fail(2);
    let did = world.reconnect();
    assert_one_has(&did, "> failed 2: no memory");
    assert_one_has(&did, "> done [1]");
}

// ── How much it takes ──

#[test]
fn it_never_executes_more_than_it_has_slots() {
    let mut world = World::joined(2);
    world.give_ready(1);
    assert_one_has(&world.give(2), "execute 2");
    assert_eq!(world.give(3), [""; 0]);
    assert_one_has(&world.execute(2), "execute 3");
}

#[test]
fn a_request_that_is_under_way_is_not_repeated() {
    let mut world = World::joined(2);
    for number in 1..=4 {
        world.give_ready(number);
    }
    world.now += 10_000;
    let asks = |did: Vec<String>| did.into_iter().filter(|line| line.starts_with("> want")).collect::<Vec<_>>();
    assert_eq!(asks(world.execute(1)), ["> want 1"]);
    assert_eq!(asks(world.execute(2)), [""; 0], "the answer to the first may be on its way");
    assert_eq!(asks(world.give(5)), ["> want 1"]);
    assert_eq!(asks(world.execute(3)), [""; 0]);
    assert_eq!(asks(world.execute(4)), [""; 0]);
    assert_eq!(asks(world.execute(5)), ["> want 4"], "there is nothing to do");
}

#[test]
fn more_than_fits_is_given_back() {
    let mut world = World::joined(1);
    let room: Vec<Lease> = (0..2 * 129)
        .map(|index: u32| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&index.to_le_bytes());
            Lease { id: LeaseId(id), ..lease(1) }
        })
        .collect();
    for some in room.chunks(LEASES_MAX) {
        let leases = Leases { leases: some.to_vec(), ..world.leases(&[]) };
        let grant = world.grant_of(&leases, &world.release());
        assert!(!world.hear(ServerMessage::Grant(grant)).iter().any(|line| line.contains("back")));
    }
    assert_eq!(world.give_all(&[77, 78]), ["> back [77, 78]"]);
}

#[test]
fn short_units_are_asked_for_in_advance_and_long_ones_are_not() {
    let mut world = World::joined(1);
    world.give_ready(1);
    world.now += 50_000;
    assert_one_has(&world.execute(1), "> want 2");
    for number in 2..100 {
        world.give(number);
        world.now += 40;
        world.execute(number);
    }
    assert_eq!(world.wanted, 7, "six units of 40 ms fill a quarter of a second, and one more runs");
}

#[test]
fn a_machine_that_fails_at_everything_does_not_fail_at_every_unit_there_is() {
    let mut world = World::joined(1);
    world.give_ready(1);
    let mut failures = 0;
    while world.now < 3_600_000 {
        if world.wanted > 0 {
            world.give(1);
            let did = world.fail(1);
            assert_eq!(did[..2], ["> failed 1: no memory", "say machine_failed"]);
            failures += 1;
        }
        world.hear(ServerMessage::Pong);
        world.sleep();
    }
    assert!((10..80).contains(&failures), "{failures} in an hour");
    while world.wanted == 0 {
        world.hear(ServerMessage::Pong);
        world.sleep();
    }
    world.give(2);
    world.execute(2);
    assert!(world.wanted > 0, "one that is executed makes good for them");
}

#[test]
fn a_module_that_cannot_be_had_fails_its_units_and_no_others() {
    let mut world = World::joined(1);
    world.give(1);
    world.give(2);
    let did = world.tell(Input::ModuleFailed(Digest::of(b"module"), "404".into()));
    assert_eq!(did[..3], ["> failed 1: 404", "> failed 2: 404", "say machine_failed"]);
    world.wait(2);
    assert_one_has(&world.give(3), "fetch 6 bytes");
}

#[test]
fn only_so_many_modules_are_kept() {
    let mut world = World::joined(1);
    let mut forgotten = 0;
    for number in 1..=40 {
        let module = Digest::of(&[number]);
        let leases = Leases { module, ..world.leases(&[number]) };
        let grant = world.grant_of(&leases, &Release { module, ..world.release() });
        world.hear(ServerMessage::Grant(grant));
        let did = world.tell(Input::ModuleReady(module));
        forgotten += did.iter().filter(|line| *line == "forget the module").count();
        world.execute(number);
    }
    assert_eq!(forgotten, 40 - 32);
}

#[test]
fn hints_about_progress_are_passed_on_a_hundred_times_at_most() {
    let mut world = World::joined(1);
    world.give_ready(1);
    let mut sent = 0;
    for step in 0..100_000_u32 {
        let permille = u16::try_from(step * 7919 % 1500).unwrap();
        sent += world.tell(Input::Progress { lease: LeaseId([1; 16]), permille }).len();
    }
    assert!((1..=100).contains(&sent), "{sent}");
}

// ── When it stops ──

#[test]
fn a_cancelled_unit_is_aborted_and_its_late_outcome_counts_for_nothing() {
    let mut world = World::joined(1);
    world.give_ready(1);
    world.give(2);
    let did = world.hear(ServerMessage::Cancel(vec![LeaseId([1; 16]), LeaseId([77; 16])]));
    assert_eq!(did[..3], ["abort 1", "say started", "execute 2"]);
    assert_eq!(world.execute(1), [""; 0]);
}

#[test]
fn a_unit_past_its_deadline_is_aborted() {
    let mut world = World::joined(1);
    world.give_ready(1);
    while world.now < LEASE * 1000 - 1 {
        world.hear(ServerMessage::Pong);
        world.sleep();
    }
    assert_eq!(world.execute(1), [""; 0], "it was aborted");
}

#[test]
fn paused_it_finishes_what_runs_and_gives_the_rest_back() {
    let mut world = World::joined(1);
    world.give_ready(1);
    world.give(2);
    assert_eq!(world.tell(Input::Pause(Pause::Asked)), ["say paused", "> back [2]"]);
    assert_eq!(world.tell(Input::Pause(Pause::Asked)), [""; 0]);
    assert_eq!(world.give(3), ["> back [3]"], "it crossed the pause on the way");
    assert_eq!(world.execute(1), ["say executed", "> done [1]"]);
    assert_eq!(world.tell(Input::Resume), ["say resumed", "> want 129"]);
}

#[test]
fn unwanted_it_gives_back_what_runs_as_well() {
    let mut world = World::joined(1);
    world.give_ready(1);
    world.tell(Input::Pause(Pause::Asked));
    let did = world.tell(Input::Pause(Pause::Unwanted(Reason::Battery)));
    assert_eq!(did, ["say paused", "abort 1", "> back [1]"]);
    assert_eq!(world.tell(Input::Resume), ["say resumed", "> want 2"]);
}

#[test]
fn a_slot_rests_for_its_share_of_the_time() {
    let mut world = World::joined(1);
    world.tell(Input::Pace(Pace { slots: 1, permille: 250 }));
    world.give_ready(1);
    world.give(2);
    world.now += 1000;
    let did = world.execute(1);
    assert!(!did.iter().any(|line| line.starts_with("execute")), "{did:?}");
    world.now += 2999;
    assert!(!world.tell(Input::TimePassed).contains(&"execute 2".to_owned()));
    world.now += 1;
    assert_one_has(&world.tell(Input::TimePassed), "execute 2");
}

#[test]
fn short_rests_are_saved_up() {
    let mut world = World::joined(1);
    world.tell(Input::Pace(Pace { slots: 1, permille: 500 }));
    world.give_ready(1);
    for number in 1..=5 {
        world.give(number + 1);
        world.now += 10;
        let goes_on = world.execute(number).contains(&format!("execute {}", number + 1));
        assert_eq!(goes_on, number < 5, "after {number} units of 10 ms");
    }
    let worked = world.now;
    while !world.sleep().1.contains(&"execute 6".to_owned()) {}
    assert_eq!(world.now - worked, 50, "as long as it worked");
}

#[test]
fn who_wants_fewer_slots_has_them_at_once() {
    let mut world = World::joined(3);
    world.give_ready(1);
    for number in 2..=3 {
        world.now += 1;
        world.give(number);
    }
    assert_eq!(world.tell(Input::Pace(Pace::full(1))), ["abort 2", "abort 3", "> back [2, 3]"]);
    assert!(!world.give(4).contains(&"execute 4".to_owned()));
    assert_one_has(&world.execute(1), "execute 4");
}

#[test]
fn a_key_that_is_elsewhere_signs_when_it_can() {
    let mut world = World::with_key(1, 0, [5; 32], |key| Key::Elsewhere(key.public()));
    let dial = |world: &mut World| {
        world.tell(Input::Connected);
        world.effects(Input::Frame(ServerMessage::Challenge(world.challenge())))
    };
    world.tell(Input::Start(vec![]));
    let did = dial(&mut world);
    let [Effect::RememberTrust(7), Effect::Sign(1, message)] = &did[..] else { panic!("{did:?}") };
    let signature = world.key.sign(message);
    assert_eq!(world.lose(), ["say lost"]);
    assert_eq!(world.tell(Input::Signed(1, signature)), [""; 0], "that connection is gone");
    while !world.sleep().1.contains(&"connect".to_owned()) {}
    let did = dial(&mut world);
    let [Effect::Sign(2, message)] = &did[..] else { panic!("{did:?}") };
    let signature = world.key.sign(message);
    let effects = world.effects(Input::Signed(2, signature));
    let [Effect::Send(ClientMessage::Hello(hello))] = &effects[..] else { panic!("{effects:?}") };
    assert!(hello.greeting.verify(world.key.public()).is_ok());
    world.hear(welcome());
    world.give_ready(1);
    let did = world.effects(Input::Executed { lease: LeaseId([1; 16]), result: Ok(answer()) });
    let message = did.iter().find_map(|effect| match effect {
        Effect::Sign(3, message) => Some(message),
        Effect::Send(ClientMessage::Done(_)) => panic!("{did:?}"),
        _ => None,
    });
    let signature = world.key.sign(message.unwrap());
    assert!(!world.give(1).contains(&"execute 1".to_owned()), "it was executed");
    assert_eq!(world.tell(Input::Signed(4, signature)), [""; 0], "nobody asked for that");
    assert_eq!(world.tell(Input::Signed(3, signature)), ["> done [1]"]);
    assert_one_has(&world.tell(Input::NotSigned("gone".into())), "fatal: this worker's key cannot be used: gone");
}

#[test]
fn nothing_is_heard_before_signatures_are_checked_elsewhere() {
    let mut world = World::joined_elsewhere();
    world.checks = false;
    assert_eq!(world.give(1), ["check 2"], "the leases, and nothing else yet");
    assert_eq!(world.hear(ServerMessage::Cancel(vec![LeaseId([1; 16])])), [""; 0], "what comes later is heard later");
    assert_eq!(world.tell(Input::Checked(1, true)), [""; 0], "that was another question");
    assert_eq!(world.tell(Input::Checked(2, true)), ["check 3"], "the release");
    let did = world.tell(Input::Checked(3, true));
    assert_eq!(did, ["fetch 6 bytes", "> want 2"], "it was given and cancelled, in this order");
    assert_eq!(world.tell(Input::Checked(3, true)), [""; 0], "nobody asked again");
}

#[test]
fn attack_38_what_does_not_fit_elsewhere_is_not_executed() {
    let mut world = World::joined_elsewhere();
    world.checks = false;
    world.give(1);
    world.tell(Input::Checked(2, false));
    assert_one_has(&world.tell(Input::Checked(3, true)), "say refused");
    assert_eq!(world.tell(Input::ModuleReady(Digest::of(b"module"))), [""; 0]);

    let mut world = World::with_key(1, 0, [5; 32], |key| Key::Elsewhere(key.public()));
    world.checks = false;
    world.tell(Input::Start(vec![]));
    world.tell(Input::Connected);
    assert_eq!(world.hear(ServerMessage::Challenge(world.challenge())), ["check 1"]);
    world.hear(welcome());
    let did = world.tell(Input::Checked(1, false));
    assert_one_has(&did, "fatal: this is not the coordinator");
    assert_eq!(did.len(), 2, "nothing after it is heard: {did:?}");
}

#[test]
fn an_answer_about_another_connection_is_not_heard() {
    let mut world = World::with_key(1, 0, [5; 32], |key| Key::Elsewhere(key.public()));
    world.checks = false;
    world.tell(Input::Start(vec![]));
    world.tell(Input::Connected);
    assert_eq!(world.hear(ServerMessage::Challenge(world.challenge())), ["check 1"]);
    world.lose();
    assert_eq!(world.tell(Input::Checked(1, true)), [""; 0]);
    assert_eq!(world.hear(ServerMessage::Challenge(world.challenge())), [""; 0], "too late");
    while !world.sleep().1.contains(&"connect".to_owned()) {}
    world.tell(Input::Connected);
    assert_eq!(world.hear(ServerMessage::Challenge(world.challenge())), ["check 2"]);
    assert_eq!(world.tell(Input::Checked(1, true)), [""; 0]);
    assert_eq!(world.tell(Input::Checked(2, true)), ["remember trust 7", "sign 1"]);
}

#[test]
fn stopped_it_gives_back_everything_and_waits_for_nobody() {
    let mut world = World::joined(2);
    world.give_ready(1);
    world.give(2);
    let did = world.execute(1);
    assert_one_has(&did, "> done [1]");
    let did = world.tell(Input::Stop);
    assert_eq!(did[..4], ["> want 0", "abort 2", "> back [2]", "save [1]"]);
    assert_eq!(world.saved(), ["say left", "disconnect", "finished"], "without its receipt");
}

#[test]
fn who_stops_is_not_held_up_by_a_disk() {
    let mut world = World::joined(1);
    world.give_ready(1);
    world.execute(1);
    world.tell(Input::Stop);
    let (slept, did) = world.sleep();
    assert!(slept <= crate::STOP_TIME, "{slept:?}");
    assert_one_has(&did, "finished");
}

#[test]
fn who_watches_learns_what_became_of_units() {
    let mut world = World::joined(1);
    let unit = UnitId { run: RunId([9; 16]), index: 1 };
    let settled = ServerMessage::Settled(vec![(unit, Settlement::Agreed { others: 1 })]);
    let effects = world.effects(Input::Frame(settled));
    assert_eq!(effects, [Effect::Say(Event::Settled { unit, settlement: Settlement::Agreed { others: 1 } })]);
}

#[test]
fn what_was_earned_and_what_was_wrong_is_heard_when_it_is_news() {
    let mut world = World::joined(1);
    let mut hear = |fuel, contradicted| {
        world.effects(Input::Frame(ServerMessage::Balance(Balance { fuel, contradicted, settled: 900 })))
    };
    assert_eq!(hear(7, 0), [Effect::Say(Event::Balance { fuel: 7 })]);
    let contradicted = |contradicted| Effect::Say(Event::Contradicted { contradicted, settled: 900 });
    assert_eq!(hear(7, 2), [contradicted(2)], "that is news, and what it earned is not");
    assert_eq!(hear(9, 2), [Effect::Say(Event::Balance { fuel: 9 })]);
    assert_eq!(hear(9, 0), [], "it is forgotten");
    assert_eq!(hear(9, 1), [contradicted(1)], "and comes back");
}

#[test]
fn an_invitation_is_shown_until_it_has_let_the_worker_in() {
    let mut world = World::new(1);
    world.tell(Input::Start(vec![]));
    let shown = |world: &mut World| {
        world.tell(Input::Connected);
        let effects = world.effects(Input::Frame(ServerMessage::Challenge(world.challenge())));
        let hello = effects.into_iter().find_map(|effect| match effect {
            Effect::Send(ClientMessage::Hello(hello)) => Some(hello),
            _ => None,
        });
        hello.expect("a hello").invitation.is_some()
    };
    let again = |world: &mut World| {
        world.tell(Input::Disconnected("cut".into()));
        while !world.sleep().1.contains(&"connect".to_owned()) {}
    };
    assert!(shown(&mut world));
    again(&mut world);
    assert!(shown(&mut world), "nobody has welcomed it");
    world.hear(welcome());
    again(&mut world);
    assert!(!shown(&mut world));
}

#[test]
fn a_receipt_says_which_unit_it_is_for() {
    let mut world = World::joined(1);
    world.give_ready(1);
    world.give(2);
    world.execute(1);
    world.execute(2);
    let receipts = vec![(LeaseId([2; 16]), Receipt::Recorded), (LeaseId([1; 16]), Receipt::Refused("late".into()))];
    let effects = world.effects(Input::Frame(ServerMessage::Receipts(receipts)));
    let unit = |index| UnitId { run: RunId([9; 16]), index };
    let refused = Event::NotCounted { unit: unit(1), reason: "late".into() };
    assert_eq!(effects, [Effect::Say(Event::Recorded { unit: unit(2) }), Effect::Say(refused)]);
}

#[test]
fn drained_it_finishes_delivers_and_leaves() {
    let mut world = World::joined(1);
    world.give_ready(1);
    world.give(2);
    assert_eq!(world.tell(Input::Drain), ["say draining", "> back [2]"]);
    assert_eq!(world.execute(1), ["say executed", "> done [1]"]);
    let did = world.receive(1, Receipt::Recorded);
    assert_eq!(did, ["say recorded", "say left", "disconnect", "finished"]);
    assert_eq!(world.worker.wake_at(), None);
}

#[test]
fn an_idle_worker_leaves_at_once() {
    let mut world = World::joined(1);
    assert_eq!(world.tell(Input::Drain), ["say draining", "> want 0", "say left", "disconnect", "finished"]);
}

#[test]
fn without_a_connection_what_is_on_disk_waits_for_the_next_start() {
    let mut world = World::joined(1);
    world.give_ready(1);
    world.lose();
    world.tell(Input::Drain);
    assert_eq!(world.execute(1), ["say executed", "save [1]"], "not before it is saved");
    assert_eq!(world.saved(), ["say left", "disconnect", "finished"]);
}

#[test]
fn what_takes_too_long_to_finish_is_given_back() {
    let mut world = World::joined(1);
    world.give_ready(1);
    world.tell(Input::Drain);
    world.wait(19);
    world.hear(ServerMessage::Pong);
    let did = world.wait(11);
    assert_eq!(did[did.len() - 5..], ["abort 1", "> back [1]", "say left", "disconnect", "finished"]);
}

// ── The connection ──

#[test]
fn a_silent_coordinator_is_given_up_after_three_heartbeats() {
    let mut world = World::joined(1);
    assert_eq!(world.wait(20), ["> ping"]);
    world.hear(ServerMessage::Pong);
    assert_eq!(world.wait(20), ["> ping"]);
    assert_eq!(world.wait(20), ["> ping"]);
    assert_eq!(world.wait(20), ["disconnect", "say lost"]);
}

#[test]
fn a_coordinator_that_does_not_answer_is_given_up() {
    for greeted in [false, true] {
        let mut world = World::new(1);
        world.tell(Input::Start(vec![]));
        if greeted {
            world.hear(ServerMessage::Challenge(world.challenge()));
        }
        let (slept, did) = world.sleep();
        assert_eq!((slept.as_secs(), did), (20, vec!["disconnect".to_owned(), "say lost".to_owned()]));
    }
}

#[test]
fn waits_grow_to_a_minute_and_differ_from_worker_to_worker() {
    let waits = |seed: u8| -> Vec<u64> {
        let mut world = World::with(1, 0, [seed; 32]);
        world.tell(Input::Start(vec![]));
        (0..30)
            .map(|_| {
                world.lose();
                let (slept, did) = world.sleep();
                assert_eq!(did, ["connect"]);
                u64::try_from(slept.as_millis()).unwrap()
            })
            .collect()
    };
    let all: Vec<_> = (0..50).map(waits).collect();
    for waits in &all {
        for (failures, wait) in waits.iter().enumerate() {
            assert!((100..=(500 << failures.min(20)).min(60_000)).contains(wait), "{waits:?}");
        }
    }
    // Spread over the whole interval, so that no two of fifty come within the same few milliseconds.
    let mut last: Vec<_> = all.iter().map(|waits| waits[29]).collect();
    last.sort_unstable();
    assert!(last[5] < 20_000 && last[45] > 40_000, "{last:?}");
}

#[test]
fn who_was_taken_on_comes_back_soon() {
    let mut world = World::new(1);
    world.tell(Input::Start(vec![]));
    for _ in 0..20 {
        world.lose();
        world.sleep();
    }
    world.join();
    world.lose();
    assert!(world.sleep().0 <= Duration::from_millis(500));
}

#[test]
fn a_coordinator_without_room_says_when_to_come_again() {
    let mut world = World::new(1);
    world.tell(Input::Start(vec![]));
    let reason = "full".to_owned();
    let retry_after = Some(Duration::from_secs(30));
    assert_eq!(world.hear(ServerMessage::Refused { reason: reason.clone(), retry_after }), ["disconnect", "say lost"]);
    let (slept, _) = world.sleep();
    assert!((30..31).contains(&slept.as_secs()), "{slept:?}");
    let did = world.hear(ServerMessage::Refused { reason: reason.clone(), retry_after: Some(Duration::MAX) });
    assert_eq!(did, ["disconnect", "say lost"]);
    assert!(world.sleep().0 < Duration::from_secs(3700), "nobody sends it away for ever");
    let did = world.hear(ServerMessage::Refused { reason, retry_after: None });
    assert_eq!(did, ["disconnect", "fatal: the coordinator does not want this worker: full"]);
}

#[test]
fn what_is_said_before_the_challenge_is_not_heard() {
    let early = |world: &World| {
        [
            welcome(),
            ServerMessage::Receipts(vec![]),
            ServerMessage::Cancel(vec![]),
            ServerMessage::Grant(world.grant(1)),
        ]
    };
    for message in early(&World::new(1)) {
        let mut world = World::new(1);
        world.tell(Input::Start(vec![]));
        assert_eq!(world.hear(message), ["disconnect", "say lost"]);
    }
}

#[test]
fn a_clock_that_is_set_back_stops_nothing() {
    let mut world = World::joined(1);
    world.now = 10_000;
    world.hear(ServerMessage::Pong);
    let before = Timestamp(START - 86_400_000);
    world.worker.handle(before, Input::TimePassed);
    let wake = world.worker.wake_at().expect("it goes on");
    assert!(wake.since(before) <= Duration::from_secs(HEARTBEAT), "{wake:?}");
}

// ── Anything at all ──

/// Whatever comes, in whatever order: it does not panic, executes only what it was granted and no more than
/// it has slots, says nothing that is not saved, and never asks to be woken in the past.
#[test]
fn no_sequence_of_inputs_breaks_a_promise() {
    let (mut executed, mut delivered) = (0, 0);
    for seed in 0..300_u64 {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let mut world = World::new(1 + u16::try_from(seed % 3).unwrap());
        let mut promises = Promises { slots: 1 + seed as usize % 3, ..Promises::default() };
        let mut version = 7;
        for _ in 0..400 {
            world.now += u64::from(random.next_u32() % 8) * u64::from(random.next_u32() % 1_000);
            // Anything at all now and then, and between what a coordinator would say: noise alone gets nowhere.
            let input = if random.next_u32().is_multiple_of(16) {
                anything(&world, &mut random, &mut version)
            } else {
                something_likely(&world, &promises, &mut random, version)
            };
            if let Input::Saved(parcel) | Input::NotSaved(parcel) = input {
                promises.saving.retain(|saving| *saving != parcel);
            }
            if let Input::Executed { lease, .. } = input {
                promises.running.retain(|running| *running != lease);
                promises.executed.push(lease);
            }
            if let Input::Pace(pace) = input {
                promises.slots = pace.slots.into();
            }
            let effects = world.effects(input);
            promises.check(&effects, seed);
            executed += effects.iter().filter(|effect| matches!(effect, Effect::Execute(_))).count();
            delivered += effects.iter().filter(|effect| matches!(effect, Effect::Say(Event::Recorded { .. }))).count();
            if let Some(wake) = world.worker.wake_at() {
                assert!(wake > world.clock(), "seed {seed}: it would keep a processor busy");
            }
        }
        // Asked to leave it leaves, whatever was before.
        world.effects(Input::Drain);
        for _ in 0..200 {
            if world.worker.wake_at().is_some() {
                world.sleep();
            }
        }
        assert!(world.finished, "seed {seed}: it never leaves");
    }
    assert!(executed > 1_000 && delivered > 100, "{executed}, {delivered}: too little happens to show anything");
}

#[derive(Default)]
struct Promises {
    slots: usize,
    running: Vec<LeaseId>,
    saving: Vec<Digest>,
    executed: Vec<LeaseId>,
    sent: Vec<LeaseId>,
}

impl Promises {
    fn check(&mut self, effects: &[Effect], seed: u64) {
        for effect in effects {
            match effect {
                Effect::Execute(order) => {
                    assert_eq!(order.module, Digest::of(b"module"), "seed {seed}");
                    assert_eq!(Digest::of(&order.input), Digest::of(b"input"), "seed {seed}");
                    self.running.push(order.lease);
                    assert!(self.running.len() <= self.slots, "seed {seed}: {:?}", self.running);
                }
                Effect::Save(parcel) => self.saving.push(parcel.name()),
                Effect::Abort(lease) => {
                    assert!(self.running.contains(lease), "seed {seed}: aborts what does not run");
                    self.running.retain(|running| running != lease);
                }
                Effect::Send(ClientMessage::Done(done)) => {
                    for number in numbers(done) {
                        let lease = LeaseId([u8::try_from(number).unwrap(); 16]);
                        assert!(self.executed.contains(&lease), "seed {seed}: {lease} was not executed");
                        self.sent.push(lease);
                    }
                }
                Effect::Say(event @ Event::Left { .. }) => assert!(!event.to_string().is_empty()),
                _ => {}
            }
        }
    }
}

fn something_likely(world: &World, so_far: &Promises, random: &mut ChaCha20Rng, version: u64) -> Input {
    let number = u8::try_from(random.next_u32() % 200).unwrap();
    let frame = |message| Input::Frame(message);
    let mut one_of = |leases: &[LeaseId]| leases.get(random.next_u32() as usize % leases.len().max(1)).copied();
    match world.line {
        Line::Down => return Input::TimePassed,
        Line::Dialling => return frame(ServerMessage::Challenge(world.challenge_of(version))),
        Line::Introduced => return frame(welcome()),
        Line::Up => {}
    }
    let input = match number % 4 {
        0 => (world.wanted > 0).then(|| frame(ServerMessage::Grant(world.grant(number)))),
        1 => one_of(&so_far.running).map(|lease| Input::Executed { lease, result: Ok(answer()) }),
        2 => so_far.saving.first().copied().map(Input::Saved),
        _ => one_of(&so_far.sent).map(|lease| frame(ServerMessage::Receipts(vec![(lease, Receipt::Recorded)]))),
    };
    input.unwrap_or(Input::ModuleReady(Digest::of(b"module")))
}

fn anything(world: &World, random: &mut ChaCha20Rng, version: &mut u64) -> Input {
    let number = u8::try_from(random.next_u32() % 12).unwrap();
    let lease = LeaseId([number; 16]);
    let frame = |message| Input::Frame(message);
    match random.next_u32() % 33 {
        0 => Input::Start(vec![]),
        1 => Input::Connected,
        2 => Input::Disconnected("cut".into()),
        3 | 4 => frame(ServerMessage::Challenge(world.challenge_of(*version))),
        5 | 6 => frame(welcome()),
        7 => frame(ServerMessage::Refused {
            reason: "full".into(),
            retry_after: Some(Duration::from_millis(number.into())),
        }),
        8..=12 => {
            let leases = world.leases(&[number, number / 2]);
            frame(ServerMessage::Grant(world.grant_of(&leases, &world.release())))
        }
        13 => {
            let mut bytes = encode(&world.grant(number));
            let at = random.next_u32() as usize % bytes.len();
            bytes[at] = bytes[at].wrapping_add(1);
            decode(&bytes).map_or(Input::TimePassed, |grant| frame(ServerMessage::Grant(grant)))
        }
        14 => frame(ServerMessage::Receipts(vec![(lease, Receipt::Recorded)])),
        15 => frame(ServerMessage::Cancel(vec![lease])),
        16 => {
            *version += u64::from(random.next_u32() % 2);
            let revoked = random.next_u32().is_multiple_of(8);
            frame(ServerMessage::Trust(Signed::new(&world.root, &world.trust(*version, revoked))))
        }
        17 => frame(ServerMessage::Pong),
        18..=20 => Input::ModuleReady(Digest::of(b"module")),
        21 => Input::ModuleFailed(Digest::of(b"module"), "404".into()),
        22..=24 => Input::Executed { lease, result: Ok(answer()) },
        25 => Input::Executed { lease, result: Err("no memory".into()) },
        26 => Input::Saved(Digest::of(&[number])),
        27 => Input::NotSaved(Digest::of(&[number])),
        28 => {
            if number.is_multiple_of(2) {
                Input::Pause(Pause::Asked)
            } else {
                Input::Resume
            }
        }
        29 => Input::Pace(Pace { slots: 1 + u16::from(number % 2), permille: 100 * u16::from(number) }),
        30 => Input::Signed(u64::from(number), world.key.sign(b"anything")),
        31 => Input::Pause(Pause::Unwanted(Reason::Hidden)),
        _ => Input::TimePassed,
    }
}
