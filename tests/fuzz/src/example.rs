//! Real statements and messages, always the same: what the seeds are made of.

use std::collections::BTreeMap;
use std::time::Duration;

use manyhands_model::{
    Digest, Fuel, JobName, LeaseId, Limits, Outcome, RunId, Timestamp, UnitId, Verdict, Version, WorkerId,
};
use manyhands_protocol::{
    Body, Challenge, ClientMessage, Entry, Grant, Greeting, Hello, Lease, Publication, Receipt, Release, Report,
    ServerMessage, Welcome,
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

pub(crate) fn lease() -> Lease {
    Lease {
        id: LeaseId([3; 16]),
        worker: WorkerId(key().public().0),
        unit: UnitId { run: RunId([4; 16]), index: 300 },
        entry: Entry::Run,
        job: job(),
        serial: 9,
        module: Digest::of(b"module"),
        input: Digest::of(b"input"),
        seed: [5; 32],
        validity: VALIDITY,
    }
}

fn verdicts() -> [Verdict; 5] {
    [
        Verdict::Ok { output: Digest::of(OUTPUT), output_bytes: OUTPUT.len() as u64 },
        Verdict::OutOfFuel,
        Verdict::OutOfStack,
        Verdict::Aborted { code: 1, message: "no such airport".into() },
        Verdict::Trap,
    ]
}

/// One for each verdict, the one with an output first.
pub(crate) fn reports() -> Vec<Report> {
    let report = |verdict| Report { lease: signed(&lease()), outcome: Outcome { verdict, fuel: Fuel(1_234_567) } };
    verdicts().into_iter().map(report).collect()
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
        floors: BTreeMap::from([(job(), 4)]),
        revoked_modules: vec![Digest::of(b"withdrawn")],
    }
}

pub(crate) fn client_messages() -> Vec<ClientMessage> {
    let lease = LeaseId([3; 16]);
    let body = Body { engine: "wasmtime 48".into(), runtime: "manyhands-runner 0.1.0".into() };
    let mut messages = vec![
        ClientMessage::Hello(Hello { greeting: signed(&greeting()), body, slots: 4 }),
        ClientMessage::Want(1_000),
        ClientMessage::Failed { lease, reason: "no memory".into() },
        ClientMessage::Progress { lease, permille: 500 },
        ClientMessage::GiveBack(vec![lease, LeaseId([9; 16])]),
        ClientMessage::Ping,
    ];
    messages.extend(reports().iter().map(|report| {
        let output = if report.outcome.verdict.is_ok() { OUTPUT.to_vec() } else { Vec::new() };
        ClientMessage::Done { lease, report: signed(report), output }
    }));
    messages
}

pub(crate) fn server_messages() -> Vec<ServerMessage> {
    let id = LeaseId([3; 16]);
    let grant = Grant { lease: signed(&lease()), release: Some(signed(&release())), input: b"input".to_vec() };
    let again = Grant { release: None, ..grant.clone() };
    let receipt = |receipt| ServerMessage::Receipt { lease: id, receipt };
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
        ServerMessage::Grants(vec![grant, again]),
        receipt(Receipt::Recorded),
        receipt(Receipt::AlreadyRecorded),
        receipt(Receipt::Refused("the run was cancelled".into())),
        ServerMessage::Cancel(vec![id]),
        ServerMessage::Trust(signed(&trust())),
        ServerMessage::Pong,
    ]
}
