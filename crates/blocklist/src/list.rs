//! The list, and what is signed of it.

use std::collections::BTreeMap;

use manyhands_model::Digest;
use manyhands_signing::{Attest, Attested, BadAttestation, Dated, Fingerprint, Statement, Validity};
use serde::{Deserialize, Serialize};

use crate::entry::{Entry, Forged};

/// Workers on a list, at most.
pub const WORKERS_MAX: usize = 100_000;
/// Bytes of their lines, at most: what one request may hold, less the seal.
pub const LINES_BYTES_MAX: usize = (16 << 20) - (64 << 10);

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Which of its issuer's lists it is: a later one has a higher number.
    pub serial: u64,
    /// When it was made, and until when it may be acted upon.
    pub validity: Validity,
    /// How many workers are on it.
    pub workers: u64,
    /// SHA-256 of their lines, with the line breaks.
    pub digest: Digest,
}

impl Statement for Seal {
    const DOMAIN: &'static str = "manyhands block list v1";
}

impl Dated for Seal {
    fn validity(&self) -> Validity {
        self.validity
    }
}

impl Attest for Seal {
    const NAME: &'static str = "blocklist";

    fn shown(&self) -> impl Serialize {
        *self
    }
}

/// A list as it is before it is signed.
pub struct Draft {
    text: Vec<u8>,
    workers: u64,
}

impl Draft {
    /// Of these workers, each once; the first of them, the most important first, that find room in [`WORKERS_MAX`] and [`LINES_BYTES_MAX`].
    pub fn new(entries: Vec<Entry>) -> Self {
        let (mut lines, mut bytes) = (BTreeMap::new(), 0);
        for entry in entries {
            let line = entry.line();
            if lines.len() == WORKERS_MAX || bytes + line.len() >= LINES_BYTES_MAX {
                break;
            }
            bytes += line.len() + 1;
            lines.entry(entry.worker).or_insert(line);
        }
        let workers = lines.len() as u64;
        Self { text: lines.into_values().flat_map(|line| line.into_iter().chain(*b"\n")).collect(), workers }
    }

    /// How many workers are on it.
    pub const fn workers(&self) -> u64 {
        self.workers
    }

    /// What is to be signed.
    pub fn seal(&self, serial: u64, validity: Validity) -> Seal {
        Seal { serial, validity, workers: self.workers, digest: Digest::of(&self.text) }
    }

    /// The whole list, once that is signed.
    pub fn sealed(self, seal: &Attested<Seal>) -> Vec<u8> {
        [self.text, seal.line(), b"\n".to_vec()].concat()
    }
}

/// A list that is as its issuer signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Whose it is: the root key that the issuer's join link names.
    pub root: Fingerprint,
    /// What was signed.
    pub seal: Seal,
    /// Version of the trust list by which the seal's key counted.
    pub trust_version: u64,
    /// The workers, by id.
    pub entries: Vec<Entry>,
}

/// Where a list is not what was signed, or was never right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A line that is no entry, or is not written in the one way.
    #[error("line {line}: no worker stands there, or it was changed")]
    NotAnEntry {
        /// From 1.
        line: usize,
    },
    /// A line that belongs before the one before it, or is that again.
    #[error("line {line}: it is out of its turn, or stands there twice")]
    OutOfTurn {
        /// From 1.
        line: usize,
    },
    /// Evidence that is none, which its issuer signed all the same.
    #[error("line {line}: {why}; ask whose list it is")]
    Forged {
        /// From 1.
        line: usize,
        /// Why.
        why: Forged,
    },
    /// More than there may be.
    #[error("more than {WORKERS_MAX} workers are on it")]
    TooMany,
    /// Longer than any coordinator makes or takes one.
    #[error("its lines are longer than {LINES_BYTES_MAX} bytes together; no coordinator takes so much")]
    TooLong,
    /// The end is missing, or something stands behind it.
    #[error("it does not end with a line: the end was cut off")]
    CutOff,
    /// Its last line is no seal of whoever should have signed.
    #[error("its last line: {0}")]
    BadSeal(#[from] BadAttestation),
    /// What was signed is something else.
    #[error("a line was changed, or some are missing: these are not what was signed")]
    NotWhatWasSigned,
}

/// Reads a list that anybody may have signed, or the coordinator with this root key has to have. Whether it may be acted upon now, and whether it
/// is later than the one before, is for the caller to see: [`Seal`] says both.
///
/// # Errors
/// [`Broken`].
pub fn read(text: &[u8], root: Option<Fingerprint>) -> Result<List, Broken> {
    let text = text.strip_suffix(b"\n").ok_or(Broken::CutOff)?;
    let (lines, last) = match text.iter().rposition(|byte| *byte == b'\n') {
        Some(at) => text.split_at(at + 1),
        None => text.split_at(0),
    };
    if lines.len() > LINES_BYTES_MAX {
        return Err(Broken::TooLong);
    }
    // Before the lines: whoever did not sign has nothing read.
    let sealed: Attested<Seal> = Attested::read(last, root)?;
    let seal = *sealed.said();
    if seal.workers > WORKERS_MAX as u64 {
        return Err(Broken::TooMany);
    }
    if seal.digest != Digest::of(lines) {
        return Err(Broken::NotWhatWasSigned);
    }
    let mut entries: Vec<Entry> = Vec::new();
    let lines = lines.strip_suffix(b"\n").map(|lines| lines.split(|byte| *byte == b'\n'));
    for (at, line) in lines.into_iter().flatten().enumerate() {
        let number = at + 1;
        let entry = Entry::read(line).ok_or(Broken::NotAnEntry { line: number })?;
        if entries.last().is_some_and(|last| last.worker >= entry.worker) {
            return Err(Broken::OutOfTurn { line: number });
        }
        for charge in &entry.charges {
            charge.check(entry.worker).map_err(|why| Broken::Forged { line: number, why })?;
        }
        if entries.len() as u64 == seal.workers {
            return Err(Broken::NotWhatWasSigned);
        }
        entries.push(entry);
    }
    if entries.len() as u64 != seal.workers {
        return Err(Broken::NotWhatWasSigned);
    }
    Ok(List { root: sealed.root(), seal, trust_version: sealed.trust_version(), entries })
}
