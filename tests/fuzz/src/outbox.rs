//! The files in which a runner keeps its reports.
//!
//! `how | bytes`. With an even `how` the bytes are a whole file. With an odd one they are `length: u16 | payload
//! of the report | output`, and the report gets a signature that fits.

use std::cell::LazyCell;
use std::fs;

use manyhands_model::LeaseId;
use manyhands_protocol::Report;
use manyhands_runner::outbox::Outbox;
use manyhands_signing::{Signed, Statement as _};
use manyhands_worker::Saved;
use tempfile::TempDir;

use crate::{example, promise, statement};

const LEASE: LeaseId = LeaseId([3; 16]);

thread_local! {
    static DIRS: LazyCell<[TempDir; 2]> = LazyCell::new(|| [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()]);
}

/// Runs the target.
pub fn run(bytes: &[u8]) -> bool {
    let [how, bytes @ ..] = bytes else { return false };
    let file = if how % 2 == 0 {
        bytes.to_vec()
    } else {
        let Some((length, rest)) = bytes.split_first_chunk() else { return false };
        let Some((payload, output)) = rest.split_at_checked(u16::from_le_bytes(*length).into()) else { return false };
        [statement::sign(Report::DOMAIN, payload), postcard::to_allocvec(output).unwrap()].concat()
    };
    DIRS.with(|dirs| {
        let [dir, other] = dirs.each_ref().map(TempDir::path);
        let path = dir.join(LEASE.to_string());
        fs::write(&path, &file).unwrap();
        let (outbox, left) = promise::bounded(file.len(), || Outbox::open(dir)).unwrap();
        let aside = path.with_extension("unreadable");
        let [saved] = &*left else {
            assert!(left.is_empty() && !path.exists(), "a file is neither a report nor set aside");
            assert_eq!(fs::read(&aside).unwrap(), file, "what is set aside was changed");
            fs::remove_file(&aside).unwrap();
            return false;
        };
        assert!(saved.lease == LEASE && saved.report.verify_any().is_ok(), "a report that nobody signed");
        let (copy, _) = Outbox::open(other).unwrap();
        copy.save(saved).unwrap();
        assert_eq!(Outbox::open(other).unwrap().1, left, "another report came back");
        outbox.forget(LEASE).unwrap();
        copy.forget(LEASE).unwrap();
        true
    })
}

/// A report of each verdict, as the outbox writes it and as a payload.
pub fn seeds() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let (outbox, _) = Outbox::open(dir.path()).unwrap();
    let mut seeds = Vec::new();
    for report in example::reports() {
        let output = if report.outcome.verdict.is_ok() { example::OUTPUT } else { &[] };
        let payload = postcard::to_allocvec(&report).unwrap();
        seeds.push([&[1], &(payload.len() as u16).to_le_bytes()[..], &payload, output].concat());
        let report = Signed::new(&example::key(), &report);
        outbox.save(&Saved { lease: LEASE, report, output: output.to_vec() }).unwrap();
        seeds.push([&[0], &*fs::read(dir.path().join(LEASE.to_string())).unwrap()].concat());
    }
    seeds
}
