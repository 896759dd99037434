//! Real statements and messages, always the same: what the seeds are made of.

use std::time::Duration;

use bytes::Bytes;
use manyhands_model::{
    Digest, Fuel, JobName, LeaseId, Limits, Outcome, RunId, Timestamp, UnitId, Verdict, Version, WorkerId,
};
use manyhands_protocol::{
    Balance, Body, Challenge, ClientMessage, Done, Entry, Grant, Greeting, Hello, Invitation, Lease, Leases,
    Publication, Receipt, Release, Report, Reports, ServerMessage, Settlement, Task, Ticket, Welcome,
};
use manyhands_signing::{Keypair, Signed, TrustList, TrustedKey, Validity};

pub(crate) const OUTPUT: &[u8] = b"[1,2,3]";

/// Whoever signs in these examples.
pub(crate) fn key() -> Keypair {
    Keypair::from_seed(&[7; 32])
}

fn signed<T: manyhands_signing::Statement>(statement: &T) -> Signed<T> {
    Signed::new(&key(), statement)
}

fn job() -> JobName {
    "nearest-airport".parse().unwrap()
}

const VALIDITY: Validity = Validity { issued_at: Timestamp(1_000), expires_at: Timestamp(2_000) };

pub(crate) fn publication() -> Publication {
    Publication { name: job(), version: Version::new(1, 2, 3), module: Digest::of(b"source"), issued_at: Timestamp(1) }
}

pub(crate) fn release() -> Release {
    Release {
        name: job(),
        version: Version::new(1, 2, 3),
        serial: 9,
        source: Digest::of(b"source"),
        module: Digest::of(b"module"),
        module_bytes: 6,
        publisher: key().public(),
        limits: Limits::default(),
        validity: VALIDITY,
    }
}

fn lease(index: u32) -> Lease {
    let task = Task { index, step: 0, entry: Entry::Run, input: Digest::of(b"input"), seed: [5; 32] };
    Lease { id: LeaseId([index as u8; 16]), task, ticket: Ticket([6; 16]) }
}

pub(crate) fn leases() -> Leases {
    Leases {
        worker: WorkerId(key().public().0),
        run: RunId([4; 16]),
        job: job(),
        serial: 9,
        module: Digest::of(b"module"),
        validity: VALIDITY,
        leases: vec![lease(3), lease(300)],
    }
}

/// One report for each verdict, and the outputs.
pub(crate) fn reports() -> (Reports, Vec<Bytes>) {
    let verdicts = [
        Verdict::Ok { output: Digest::of(OUTPUT), output_bytes: OUTPUT.len() as u64 },
        Verdict::OutOfFuel,
        Verdict::OutOfStack,
        Verdict::Aborted { code: 1, message: "no such airport".into() },
        Verdict::Trap,
    ];
    let outputs = verdicts.iter().map(|verdict| if verdict.is_ok() { OUTPUT } else { &[] }.into()).collect();
    let report = |(index, verdict)| Report { lease: lease(index), outcome: Outcome { verdict, fuel: Fuel(1_234_567) } };
    let reports = (0..).zip(verdicts).map(report).collect();
    (Reports { run: RunId([4; 16]), module: Digest::of(b"module"), reports }, outputs)
}

/// What a worker sends of those.
pub(crate) fn done() -> Done {
    let (reports, outputs) = reports();
    Done { reports: signed(&reports), outputs }
}

pub(crate) fn greeting() -> Greeting {
    Greeting { nonce: [1; 32], coordinator: key().public() }
}

pub(crate) fn trust() -> TrustList {
    TrustList {
        version: 77,
        validity: VALIDITY,
        keys: vec![
            TrustedKey { key: key().public(), revoked: false },
            TrustedKey { key: Keypair::from_seed(&[8; 32]).public(), revoked: true },
        ],
        floors: vec![(job(), 4)],
        revoked_modules: vec![Digest::of(b"withdrawn")],
    }
}

pub(crate) fn client_messages() -> Vec<ClientMessage> {
    let lease = LeaseId([3; 16]);
    let body = Body { engine: "wasmtime 48".into(), runtime: "manyhands-runner 0.1.0".into() };
    let invitation = Some(Invitation("mhi_7777".into()));
    vec![
        ClientMessage::Hello(Hello { greeting: signed(&greeting()), body, slots: 4, is_watched: true, invitation }),
        ClientMessage::Want(1_000),
        ClientMessage::Done(done()),
        ClientMessage::Failed { lease, reason: "no memory".into() },
        ClientMessage::Progress { lease, permille: 500 },
        ClientMessage::GiveBack(vec![lease, LeaseId([9; 16])]),
        ClientMessage::Ping,
    ]
}

pub(crate) fn server_messages() -> Vec<ServerMessage> {
    let (id, unit) = (LeaseId([3; 16]), UnitId { run: RunId([1; 16]), index: 3 });
    let inputs = vec![Bytes::from_static(b"input"), Bytes::new()];
    let grant = Grant { leases: signed(&leases()), release: Some(signed(&release())), inputs };
    let again = Grant { release: None, ..grant.clone() };
    let receipts = [Receipt::Recorded, Receipt::AlreadyRecorded, Receipt::Refused("the run was cancelled".into())];
    vec![
        ServerMessage::Challenge(Challenge {
            nonce: [1; 32],
            root: key().public(),
            trust: signed(&trust()),
            now: Timestamp(1_500),
        }),
        ServerMessage::Welcome(Welcome { heartbeat: Duration::from_secs(20) }),
        ServerMessage::Refused { reason: "full".into(), retry_after: Some(Duration::from_millis(1_500)) },
        ServerMessage::Refused { reason: "banned".into(), retry_after: None },
        ServerMessage::Grant(grant),
        ServerMessage::Grant(again),
        ServerMessage::Receipts(receipts.map(|receipt| (id, receipt)).into()),
        ServerMessage::Cancel(vec![id]),
        ServerMessage::Trust(signed(&trust())),
        ServerMessage::Settled(vec![(unit, Settlement::Agreed { others: 1 }), (unit, Settlement::Contradicted)]),
        ServerMessage::Pong,
        ServerMessage::Balance(Balance { fuel: 1_000_000, contradicted: 2, settled: 1_000 }),
    ]
}
