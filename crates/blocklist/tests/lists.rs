//! Lists as they are written, and as somebody else would like them to be.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use manyhands_blocklist::{Broken, Charge, Draft, Entry, Forged, LINES_BYTES_MAX, List, Seal, WORKERS_MAX, read};
use manyhands_model::{Digest, Fuel, Judge, LeaseId, Outcome, RunId, Timestamp, Verdict, WorkerId};
use manyhands_protocol::{Entry as Function, Lease, Report, Reports, Task, Ticket, encode};
use manyhands_signing::{Attested, BadAttestation, Keypair, Signed, TrustList, TrustedKey, Validity};

const NOW: Timestamp = Timestamp(1_000_000);

fn key(number: u8) -> Keypair {
    Keypair::from_seed(&[number; 32])
}

fn until(at: u64) -> Validity {
    Validity { issued_at: NOW, expires_at: Timestamp(at) }
}

fn outcome(text: &str) -> Outcome {
    let verdict = Verdict::Ok { output: Digest::of(text.as_bytes()), output_bytes: text.len() as u64 };
    Outcome { verdict, fuel: Fuel(7) }
}

/// What a worker signed about unit 3 of run 9, and about another unit.
fn reports(worker: &Keypair, said: &Outcome) -> Vec<u8> {
    let report = |index, outcome: &Outcome| Report {
        lease: Lease {
            id: LeaseId([1; 16]),
            task: Task { index, step: 0, entry: Function::Run, input: Digest([2; 32]), seed: [3; 32] },
            ticket: Ticket([4; 16]),
        },
        outcome: outcome.clone(),
    };
    let reports = vec![report(2, &outcome("another")), report(3, said)];
    encode(&Signed::new(worker, &Reports { run: RunId([9; 16]), module: Digest([5; 32]), reports }))
}

fn charge() -> Charge {
    let (said, answer) = (outcome("a lie"), outcome("the truth"));
    let (run, judge) = (RunId([9; 16]), Judge::Operator);
    Charge { run, unit: 3, step: 0, found_at: Timestamp(7), said, answer, judge, evidence: None }
}

fn id(worker: &Keypair) -> WorkerId {
    worker.public().into()
}

fn proven(worker: &Keypair) -> Entry {
    let charge = charge().with(id(worker), &reports(worker, &outcome("a lie")));
    Entry { worker: id(worker), charges: vec![charge] }
}

/// Signed by key 2 of the coordinator whose root key is key 1.
fn signed(draft: Draft, change: impl FnOnce(&mut Seal)) -> Vec<u8> {
    let (root, signing) = (key(1), key(2));
    let keys = vec![TrustedKey { key: signing.public(), revoked: false }];
    let validity = Validity { issued_at: Timestamp(0), expires_at: Timestamp(2_000_000) };
    let trust = TrustList { version: 1, validity, keys, floors: vec![], revoked_modules: vec![] };
    let mut seal = draft.seal(4, until(5_000_000));
    change(&mut seal);
    draft.sealed(&Attested::new(root.public(), Signed::new(&root, &trust), Signed::new(&signing, &seal)).unwrap())
}

fn list() -> Vec<u8> {
    let doubtful = Entry { worker: WorkerId([200; 32]), charges: vec![charge()] };
    signed(Draft::new(vec![doubtful, proven(&key(7)), proven(&key(8)), proven(&key(7))]), |_| {})
}

#[test]
fn what_was_written_is_read() {
    let text = list();
    let List { root, seal, trust_version, entries } = read(&text, Some(key(1).public().fingerprint())).unwrap();
    assert_eq!((root, seal.serial, seal.validity), (key(1).public().fingerprint(), 4, until(5_000_000)));
    assert_eq!(trust_version, 1);
    let proven = entries.iter().filter(|entry| entry.is_proven()).count();
    assert_eq!((entries.len(), seal.workers, proven), (3, 3, 2), "each once");
    assert!(entries.is_sorted_by_key(|entry| entry.worker));
    assert_eq!(read(&signed(Draft::new(vec![]), |_| {}), None).unwrap().entries, []);
}

#[test]
fn whatever_is_changed_is_found() {
    let text = list();
    for at in 0..text.len() {
        let mut changed = text.clone();
        changed[at] ^= 1;
        assert!(read(&changed, None).is_err(), "byte {at}");
    }
    for end in 0..text.len() {
        assert!(read(&text[..end], None).is_err(), "{end} bytes");
    }
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let with = |order: &[usize]| order.iter().flat_map(|at| lines[*at].to_vec()).collect::<Vec<u8>>();
    assert!(read(&with(&[0, 1, 2, 3]), None).is_ok());
    for order in [&[1, 0, 2, 3][..], &[0, 1, 3], &[0, 0, 1, 2, 3], &[0, 1, 2, 3, 3], &[0, 1, 2], &[3], &[]] {
        assert!(read(&with(order), None).is_err(), "{order:?}");
    }
}

#[test]
fn only_the_coordinator_that_was_named_can_sign() {
    let (found, expected) = (key(1).public().fingerprint(), key(3).public().fingerprint());
    assert_eq!(read(&list(), Some(expected)), Err(Broken::BadSeal(BadAttestation::OtherRoot { expected, found })));
}

#[test]
fn evidence_that_is_none_is_refused_though_the_issuer_signed_it() {
    let (liar, honest) = (key(7), key(8));
    let lie = reports(&liar, &outcome("a lie"));
    // Of another's report, another answer, another unit and another run nothing is shown in the first place.
    assert_eq!(charge().with(id(&honest), &lie).evidence, None);
    assert_eq!(charge().with(id(&liar), &reports(&liar, &outcome("the truth"))).evidence, None);
    for other in
        [Charge { unit: 4, ..charge() }, Charge { step: 1, ..charge() }, Charge { run: RunId([8; 16]), ..charge() }]
    {
        assert_eq!(other.with(id(&liar), &lie).evidence, None);
    }
    assert_eq!(charge().with(id(&liar), b"noise").evidence, None);
    let shown = charge().with(id(&liar), &lie);
    assert_eq!(shown.check(id(&liar)), Ok(true));
    let forged = [
        Entry { worker: id(&honest), charges: vec![shown.clone()] },
        Entry { worker: id(&liar), charges: vec![Charge { unit: 2, ..shown.clone() }] },
        Entry { worker: id(&liar), charges: vec![Charge { evidence: Some("?".into()), ..shown.clone() }] },
        Entry { worker: id(&liar), charges: vec![Charge { answer: shown.said.clone(), ..shown }] },
    ];
    for entry in forged {
        let refused = read(&signed(Draft::new(vec![entry]), |_| {}), None);
        assert_eq!(refused, Err(Broken::Forged { line: 1, why: Forged }));
    }
}

#[test]
fn a_seal_that_counts_wrongly_is_refused() {
    let draft = || Draft::new(vec![proven(&key(7))]);
    for workers in [0, 2] {
        assert_eq!(read(&signed(draft(), |seal| seal.workers = workers), None), Err(Broken::NotWhatWasSigned));
    }
    let workers = WORKERS_MAX as u64 + 1;
    assert_eq!(read(&signed(draft(), |seal| seal.workers = workers), None), Err(Broken::TooMany));
    assert_eq!(read(&signed(draft(), |seal| seal.digest = Digest([0; 32])), None), Err(Broken::NotWhatWasSigned));
}

#[test]
fn what_no_coordinator_takes_is_refused_before_it_is_read() {
    let long = [&vec![b'x'; LINES_BYTES_MAX], &b"\n"[..], &list()].concat();
    assert_eq!(read(&long, None), Err(Broken::TooLong));
}
