//! Block lists of other coordinators.
//!
//! `how | bytes`. With an even `how` the bytes are a whole list. With an odd one they are lines, which get a seal that fits, because a fuzzer
//! finds everything but that.

use manyhands_blocklist::{Charge, Draft, Entry, List, Seal, read};
use manyhands_model::{Digest, Fuel, Judge, Outcome, Timestamp, Verdict};
use manyhands_protocol::encode;
use manyhands_signing::{Attested, Signed, Validity};

use crate::{example, promise};

const VALIDITY: Validity = Validity { issued_at: Timestamp(1_500), expires_at: Timestamp(9_000) };

fn attested(seal: &Seal) -> Attested<Seal> {
    let key = example::key();
    Attested::new(key.public(), Signed::new(&key, &example::trust()), Signed::new(&key, seal)).unwrap()
}

/// Runs the target.
pub fn run(bytes: &[u8]) -> bool {
    let [how, bytes @ ..] = bytes else { return false };
    let text = if how % 2 == 0 {
        bytes.to_vec()
    } else {
        let workers = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let seal = Seal { serial: 3, validity: VALIDITY, workers, digest: Digest::of(bytes) };
        [bytes, &attested(&seal).line(), b"\n"].concat()
    };
    let root = example::key().public().fingerprint();
    let Ok(list) = promise::bounded(text.len(), || read(&text, Some(root))) else { return false };
    let List { root: found, seal, trust_version: _, entries } = list;
    assert_eq!(found, root, "another coordinator's list is taken for this one's");
    for entry in &entries {
        for charge in &entry.charges {
            let proven = charge.check(entry.worker).expect("it was checked");
            assert_eq!(proven, charge.evidence.is_some(), "evidence proves nothing");
        }
    }
    let draft = Draft::new(entries);
    assert_eq!(draft.seal(seal.serial, seal.validity), seal, "another list came back");
    true
}

/// One with evidence, one without, and an empty list.
pub fn seeds() -> Vec<Vec<u8>> {
    let (reports, _) = example::reports();
    let worker = example::key().public().into();
    let report = &reports.reports[0];
    let answer = Outcome { verdict: Verdict::Trap, fuel: Fuel(1) };
    let charge = Charge {
        run: reports.run,
        unit: report.lease.task.index,
        step: report.lease.task.step,
        found_at: Timestamp(7),
        said: report.outcome.clone(),
        answer,
        judge: Judge::Operator,
        evidence: None,
    };
    let shown = charge.clone().with(worker, &encode(&Signed::new(&example::key(), &reports)));
    assert!(shown.evidence.is_some(), "the example's reports are evidence");
    let mut seeds = Vec::new();
    for charges in [vec![], vec![vec![charge]], vec![vec![shown]]] {
        let entries = || charges.iter().map(|charges| Entry { worker, charges: charges.clone() }).collect();
        let draft = Draft::new(entries());
        let seal = attested(&draft.seal(3, VALIDITY));
        let whole = draft.sealed(&seal);
        let lines = &whole[..whole.len() - seal.line().len() - 1];
        seeds.extend([[&[0], &*whole].concat(), [&[1], lines].concat()]);
    }
    seeds
}
