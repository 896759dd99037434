//! Whatever is done to a log is found, and where.

use manyhands_audit::{Answer, Broken, Call, End, Event, Found, Head, Report, SignedHead, Tail, Verifier};
use manyhands_model::{Digest, IntentId, Judge, RunId, Timestamp, UnitId, WorkerId};
use manyhands_signing::{BadAttestation, Keypair, Signed, TrustList, TrustedKey, Untrusted, Validity};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

struct Coordinator {
    root: Keypair,
    signing: Keypair,
}

impl Coordinator {
    fn new(seed: u8) -> Self {
        Self { root: Keypair::from_seed(&[seed; 32]), signing: Keypair::from_seed(&[seed + 1; 32]) }
    }

    fn trust(&self, revoked: bool) -> Signed<TrustList> {
        let list = TrustList {
            version: 1,
            validity: Validity { issued_at: NOW, expires_at: Timestamp(NOW.0 + 1_000_000) },
            keys: vec![TrustedKey { key: self.signing.public(), revoked }],
            floors: Vec::new(),
            revoked_modules: Vec::new(),
        };
        Signed::new(&self.root, &list)
    }

    fn head(&self, tail: Tail) -> Vec<u8> {
        let head = Signed::new(&self.signing, &Head { tail, at: Timestamp(NOW.0 + 5) });
        SignedHead::new(self.root.public(), self.trust(false), head).expect("it is believed").line()
    }
}

fn events() -> Vec<Event> {
    let unit = UnitId { run: RunId([3; 16]), index: 7 };
    let call = Call { id: IntentId([9; 32]), unit, verb: "send".parse().expect("a name") };
    let (plan, intent, by) = (Digest::of(b"plan"), Digest::of(b"intent"), || "ann".to_owned());
    let (name, origin) = (|| "crm_key".parse().expect("a name"), "https://crm.example.com".to_owned());
    vec![
        Event::PlanApproved { plan, by: by() },
        Event::SecretSet { name: name(), origin: origin.clone(), by: by() },
        Event::Claimed { call: call.clone(), step: 0, plan, intent, start: 1, claim: 0 },
        Event::Ended { call: call.clone(), end: End::Unknown },
        Event::Settled { call: call.clone(), found: Found::NotMade, by: by() },
        Event::Ended { call: call.clone(), end: End::Answered(200) },
        Event::Unsent { call, step: 1, plan, intent, origin, body_bytes: 12 },
        Event::WorkerTrusted { worker: WorkerId([3; 32]), by: by() },
        Event::WorkerDistrusted { worker: WorkerId([3; 32]), by: by() },
        Event::WorkerCaught { worker: WorkerId([3; 32]), unit, by: Judge::Operator, banned: true },
        Event::WorkerPardoned { worker: WorkerId([3; 32]), reason: Some("bad memory, replaced".into()), by: by() },
        Event::InvitationCreated {
            invitation: "inv_".into(),
            owner: Some("ann".into()),
            uses: 2,
            expires_at: Some(NOW),
            by: by(),
        },
        Event::InvitationRevoked { invitation: "inv_".into(), used: 1, by: by() },
        Event::BlocklistSubscribed { issuer: "key_".into(), serial: 4, workers: 2, by: by() },
        Event::BlocklistDropped { issuer: "key_".into(), by: by() },
        Event::ResultChanged {
            unit: UnitId { run: RunId([4; 16]), index: 9 },
            was: Some(Answer { ended: "ok".to_owned(), output: Some(Digest([5; 32])) }),
            is: None,
        },
        // A name that JSON has to escape.
        Event::SecretRemoved { name: name(), by: "ö\"\\\u{1}".to_owned() },
        Event::PlanWithdrawn { plan, by: by() },
        Event::VaultRotated { key: 3, by: by() },
        Event::OlderDataAccepted { before: NOW, starts: 2 },
        Event::Deposited { requester: "ann".into(), amount: "1000".into(), by: by() },
    ]
}

/// How many there are.
fn all() -> u64 {
    events().len() as u64
}

/// An exported log: its lines, and a head after each `every` entries and at the end.
fn export(by: &Coordinator, events: Vec<Event>, every: usize) -> Vec<Vec<u8>> {
    let (mut tail, mut lines) = (Tail::default(), Vec::new());
    let count = events.len();
    for (at, event) in (1..).zip(events) {
        lines.push(tail.append(NOW, event));
        if at % every == 0 || at == count {
            lines.push(by.head(tail));
        }
    }
    lines
}

fn check<L: AsRef<[u8]>>(mut verifier: Verifier, lines: &[L]) -> Result<Report, Broken> {
    lines.iter().try_for_each(|line| verifier.line(line.as_ref()))?;
    verifier.end()
}

/// The head behind the last line.
fn kept(lines: &[Vec<u8>]) -> SignedHead {
    SignedHead::read(lines.last().expect("a head"), None).expect("it is believed")
}

fn refused<L: AsRef<[u8]>>(lines: &[L], kept: &SignedHead) -> Broken {
    check(Verifier::of(kept.clone()), lines).expect_err("it was changed")
}

#[test]
fn a_log_that_nobody_touched_is_believed() {
    let coordinator = Coordinator::new(1);
    let lines = export(&coordinator, events(), 4);
    let root = coordinator.root.public().fingerprint();
    let report = Ok(Report { entries: all(), root, signed_at: Timestamp(NOW.0 + 5) });
    for verifier in [Verifier::new(None), Verifier::new(Some(root)), Verifier::of(kept(&lines))] {
        assert_eq!(check(verifier, &lines), report);
    }
    let empty = [coordinator.head(Tail::default())];
    assert_eq!(check(Verifier::of(kept(&empty)), &empty).map(|report| report.entries), Ok(0));
    // It has grown since somebody kept a head.
    let old = SignedHead::read(&lines[4], None).expect("it is believed");
    assert_eq!((old.said().tail.entries, check(Verifier::of(old), &lines)), (4, report));
}

#[test]
fn every_changed_byte_is_found() {
    let coordinator = Coordinator::new(1);
    let lines = export(&coordinator, events(), 4);
    let kept = kept(&lines);
    let mut entry = 0;
    for (at, line) in lines.iter().enumerate() {
        entry += u64::from(!SignedHead::is_one(line));
        for byte in 0..line.len() {
            let mut changed = lines.clone();
            changed[at][byte] ^= 1 << (byte % 8);
            let broken = refused(&changed, &kept);
            let alone = check(Verifier::new(None), &changed).expect_err("also without a head");
            assert_eq!(alone.entry(), broken.entry());
            // What breaks the link to the entry before may have been done to that one. What breaks only the signature may have been done
            // to any since the last.
            let signed = entry.saturating_sub(1) / 4 * 4;
            let first = (signed + 1).min(entry.saturating_sub(1));
            let place = format!("line {at}, byte {byte}: {broken}, and entry {entry} was changed");
            assert!((first..=entry + 1).contains(&broken.entry()), "{place}");
            if let Broken::NotWhatWasSigned { entry: from, to } = alone {
                assert_eq!((from, to), (signed + 1, entry), "{place}");
            }
        }
    }
}

#[test]
fn what_is_removed_repeated_or_reordered_is_found() {
    let coordinator = Coordinator::new(1);
    let lines = export(&coordinator, events(), 4);
    let kept = kept(&lines);
    let last = lines.len() - 1;
    for at in 0..last {
        let is_head = SignedHead::is_one(&lines[at]);
        let mut without = lines.clone();
        without.remove(at);
        // A head between is a help and no part of the chain.
        assert_eq!(check(Verifier::of(kept.clone()), &without).is_ok(), is_head, "{at}");
        let mut twice = lines.clone();
        twice.insert(at, lines[at].clone());
        assert_eq!(check(Verifier::of(kept.clone()), &twice).is_ok(), is_head, "{at}");
        let mut swapped = lines.clone();
        swapped.swap(at, at + 1);
        refused(&swapped, &kept);
    }
    assert_eq!(refused(&lines[1..], &kept), Broken::OutOfTurn { entry: 1, found: 2 });
    let joined = [lines[..1].to_vec(), vec![lines[1..3].concat()], lines[3..].to_vec()].concat();
    assert_eq!(refused(&joined, &kept), Broken::NotAnEntry { entry: 2 });
}

#[test]
fn what_is_cut_off_is_found_with_a_head() {
    let coordinator = Coordinator::new(1);
    let lines = export(&coordinator, events(), 4);
    let kept = kept(&lines);
    for length in 0..lines.len() - 1 {
        let entries = lines[..length].iter().filter(|line| !SignedHead::is_one(line)).count() as u64;
        let broken = refused(&lines[..length], &kept);
        let expected = if entries == all() {
            Broken::Unsigned { entry: all() }
        } else {
            Broken::CutOff { entry: entries + 1, kept: all() }
        };
        assert_eq!(broken, expected);
    }
    // Without the kept one, a log that ends at an older head is as good as any.
    assert_eq!(check(Verifier::new(None), &lines[..5]).map(|report| report.entries), Ok(4));
    assert_eq!(check(Verifier::new(None), &lines[..6]), Err(Broken::Unsigned { entry: 5 }));
}

#[test]
fn a_chain_that_was_made_anew_is_not_the_one_that_was_signed() {
    let coordinator = Coordinator::new(1);
    let lines = export(&coordinator, events(), 100);
    let mut forged = events();
    forged.remove(2);
    let mut again = export(&coordinator, forged, 100);
    let kept = kept(&lines);
    // Signed again by who has the key: only the kept head tells.
    assert!(check(Verifier::new(None), &again).is_ok());
    assert_eq!(refused(&again, &kept), Broken::CutOff { entry: all(), kept: all() });
    let mut longer = events();
    longer[2] = longer[3].clone();
    assert_eq!(refused(&export(&coordinator, longer, 100), &kept), Broken::NotWhatWasKept { entry: 1, to: all() });
    // Without the key, an old head has to do.
    *again.last_mut().expect("a head") = lines.last().expect("a head").clone();
    assert_eq!(check(Verifier::new(None), &again), Err(Broken::Misplaced { entry: all(), found: all() }));
}

#[test]
fn only_the_coordinators_own_key_signs() {
    let (coordinator, stranger) = (Coordinator::new(1), Coordinator::new(11));
    let lines = export(&stranger, events(), 100);
    let root = coordinator.root.public().fingerprint();
    let found = stranger.root.public().fingerprint();
    let broken = check(Verifier::new(Some(root)), &lines).expect_err("a stranger's");
    assert_eq!(broken, Broken::BadHead { entry: all() + 1, why: BadAttestation::OtherRoot { expected: root, found } });

    let head = |trust| {
        let head = Signed::new(&coordinator.signing, &Head { tail: Tail::default(), at: NOW });
        SignedHead::new(coordinator.root.public(), trust, head)
    };
    assert!(head(coordinator.trust(false)).is_ok());
    let revoked = head(coordinator.trust(true)).expect_err("revoked");
    assert!(matches!(revoked, Untrusted::RevokedKey { .. }), "{revoked}");
    let others = head(stranger.trust(false)).expect_err("another's list");
    assert!(matches!(others, Untrusted::WrongSigner { .. }), "{others}");
}

/// Whoever reads the log without this crate reads it so.
#[test]
fn a_line_is_written_in_one_way_and_hashed_as_it_stands_there() {
    let mut tail = Tail::default();
    let line = tail.append(NOW, events().swap_remove(3));
    let text = String::from_utf8(line.clone()).expect("text");
    assert_eq!(
        text,
        format!(
            "{{\"n\":1,\"at\":1800000000000,\"before\":\"{}\",\"event\":{{\"ended\":{{\"call\":{{\"id\":\"{}\",\
             \"unit\":{{\"run\":\"{}\",\"index\":7}},\"verb\":\"send\"}},\"end\":\"unknown\"}}}}}}",
            Digest::of(b"manyhands audit log v1"),
            IntentId([9; 32]),
            RunId([3; 16]),
        )
    );
    assert_eq!(tail, Tail { entries: 1, digest: Digest::of(&line) });
    for other in [
        text.replace("{\"n\"", "{ \"n\""),
        text.replace("\"n\":1", "\"n\":1.0"),
        text.replace("\"event", "\"more\":1,\"event"),
    ] {
        let mut verifier = Verifier::new(None);
        assert_eq!(verifier.line(other.as_bytes()), Err(Broken::NotAnEntry { entry: 1 }), "{other}");
    }
}
