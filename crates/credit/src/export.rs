//! What was earned in closed hours, for others to settle from: a line of JSON for each line of the book, and a seal behind them.
//!
//! The seal is signed and holds the SHA-256 of everything before it, so `head -n -1 FILE | sha256sum` and a reader of JSON are enough to look at
//! an export by hand. Lines stand in order, each place once, and hours are whole: whoever has the file can see that it is
//! balanced.

use std::collections::BTreeMap;

use manyhands_model::{Digest, Timestamp};
use manyhands_signing::{Attest, Attested, BadAttestation, Dated, Fingerprint, Statement, Validity};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::book::{Account, Amount, Balanced, Hour, Line, Place, Subject};

/// A line of a book as it is exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Whose.
    pub account: Account,
    /// The millisecond since 1970 with which the hour began.
    pub hour: Hour,
    /// For what.
    pub subject: Subject,
    /// What the account got, less what it gave. Unit: points of fuel.
    pub amount: Amount,
    /// Replicas that were paid for, less those of which that was taken back.
    pub replicas: i64,
}

impl From<(Place, Line)> for Entry {
    fn from((Place { account, hour, subject }, Line { amount, replicas }): (Place, Line)) -> Self {
        Self { account, hour, subject, amount, replicas }
    }
}

impl Entry {
    /// The one way to write it, without a line break.
    pub fn line(&self) -> Vec<u8> {
        // Numbers and texts can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The entry of a line, if it is written in the one way.
    pub fn read(line: &[u8]) -> Option<Self> {
        let entry: Self = serde_json::from_slice(line).ok()?;
        (entry.line() == line).then_some(entry)
    }
}

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The first hour.
    pub from: Hour,
    /// The hour after the last.
    pub to: Hour,
    /// How many lines there are.
    pub lines: u64,
    /// SHA-256 of all of them, with their line breaks.
    pub digest: Digest,
    /// When it was signed.
    pub at: Timestamp,
}

impl Statement for Seal {
    const DOMAIN: &'static str = "manyhands credit export v1";
}

impl Dated for Seal {
    /// It never loses its force: it says what was.
    fn validity(&self) -> Validity {
        Validity { issued_at: self.at, expires_at: Timestamp(u64::MAX) }
    }
}

/// Puts a seal together while the lines pass.
#[derive(Clone, Debug, Default)]
pub struct Sealer {
    hash: Sha256,
    lines: u64,
}

impl Sealer {
    /// Takes the next line, which comes without its line break.
    pub fn line(&mut self, line: &[u8]) {
        self.hash.update(line);
        self.hash.update(b"\n");
        self.lines += 1;
    }

    /// What is to be signed.
    pub fn seal(self, from: Hour, to: Hour, at: Timestamp) -> Seal {
        Seal { from, to, lines: self.lines, digest: Digest(self.hash.finalize().into()), at }
    }
}

/// A seal with all that it takes to believe it. One line of JSON, `{"seal":{…}}`.
pub type SignedSeal = Attested<Seal>;

impl Attest for Seal {
    const NAME: &'static str = "seal";

    fn shown(&self) -> impl Serialize {
        self
    }
}

/// Checks an export from its first line to its seal.
#[derive(Debug, Default)]
pub struct Verifier {
    root: Option<Fingerprint>,
    sealer: Sealer,
    last: Option<Place>,
    hours: Option<(Hour, Hour)>,
    balanced: Balanced,
    totals: BTreeMap<Account, Line>,
    signed: Option<SignedSeal>,
}

/// What is certain of an export that is as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The first hour.
    pub from: Hour,
    /// The hour after the last.
    pub to: Hour,
    /// How many lines it has.
    pub lines: u64,
    /// Whose it is: compare it with the join link, or with `manyhands keys show`.
    pub root: Fingerprint,
    /// When it was signed.
    pub signed_at: Timestamp,
    /// What each account got in these hours, less what it gave.
    pub totals: BTreeMap<Account, Line>,
}

/// Where an export is not what was written, or was never right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A line that is no entry, or is not written in the one way.
    #[error("line {line}: no entry stands there, or it was changed")]
    NotAnEntry {
        /// From 1.
        line: u64,
    },
    /// A line that belongs before the one before it, or is that again.
    #[error("line {line}: it is out of its turn, or stands there twice")]
    OutOfTurn {
        /// From 1.
        line: u64,
    },
    /// Something behind the seal.
    #[error("line {line}: nothing may stand behind the seal")]
    BehindTheSeal {
        /// From 1.
        line: u64,
    },
    /// The seal is none, or nobody signed it who may.
    #[error("line {line}: {why}")]
    BadSeal {
        /// From 1.
        line: u64,
        /// Why.
        why: BadAttestation,
    },
    /// What was signed is something else.
    #[error("one of the lines before the seal was changed, or some are missing: these are not what was signed")]
    NotWhatWasSigned,
    /// A line of another hour than the seal says.
    #[error("a line is of an hour that the seal does not cover")]
    OtherHours,
    /// What was signed is not balanced: the coordinator's fault.
    #[error("not balanced: in the hour that begins {} ms after 1970 {subject:?} comes to {off} and not to 0; ask the operator", hour.begin().0)]
    Unbalanced {
        /// The first such hour.
        hour: Hour,
        /// For what.
        subject: Subject,
        /// To what it comes.
        off: Amount,
    },
    /// The end is missing.
    #[error("the seal is missing: the end was cut off, or the export is not complete; fetch it again")]
    Unsealed,
}

impl Verifier {
    /// Of an export that may be anybody's, or has to be the one of the coordinator with this root key.
    pub fn new(root: Option<Fingerprint>) -> Self {
        Self { root, ..Self::default() }
    }

    /// Checks the next line, which comes without its line break.
    ///
    /// # Errors
    /// [`Broken`]; what comes after proves nothing.
    pub fn line(&mut self, line: &[u8]) -> Result<(), Broken> {
        let number = self.sealer.lines + 1;
        if self.signed.is_some() {
            return Err(Broken::BehindTheSeal { line: number + 1 });
        }
        if SignedSeal::is_one(line) {
            let sealed = SignedSeal::read(line, self.root);
            self.signed = Some(sealed.map_err(|why| Broken::BadSeal { line: number, why })?);
            return Ok(());
        }
        let entry = Entry::read(line).ok_or(Broken::NotAnEntry { line: number })?;
        let Entry { account, hour, subject, amount, replicas } = entry;
        let (first, last) = self.hours.unwrap_or((hour, hour));
        self.hours = Some((first.min(hour), last.max(hour)));
        self.balanced.note(hour, subject, amount);
        *self.totals.entry(account.clone()).or_default() += Line { amount, replicas };
        let place = Place { account, hour, subject };
        if self.last.as_ref().is_some_and(|last| *last >= place) {
            return Err(Broken::OutOfTurn { line: number });
        }
        self.last = Some(place);
        self.sealer.line(line);
        Ok(())
    }

    /// What is certain, now that all lines were checked.
    ///
    /// # Errors
    /// [`Broken`], where that shows only at the end.
    pub fn end(self) -> Result<Report, Broken> {
        let signed = self.signed.ok_or(Broken::Unsealed)?;
        let (root, Seal { from, to, lines, at, .. }) = (signed.root(), *signed.said());
        if self.sealer.seal(from, to, at) != *signed.said() {
            return Err(Broken::NotWhatWasSigned);
        }
        if self.hours.is_some_and(|(first, last)| first < from || last >= to) {
            return Err(Broken::OtherHours);
        }
        match self.balanced.first_off() {
            Some((hour, subject, off)) => Err(Broken::Unbalanced { hour, subject, off }),
            None => Ok(Report { from, to, lines, root, signed_at: at, totals: self.totals }),
        }
    }
}
