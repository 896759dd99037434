//! What the state holds, and which blobs it names: the one place that knows where records name blobs.

use manyhands_audit::{Entry, Tail};
use manyhands_credit::{Attendance, Balanced, Hour, Line, Presence};
use manyhands_decoys::answers::Over;
use manyhands_held::Life;
use manyhands_model::{Digest, WorkerId};
use manyhands_scheduler::{RunRecord, RunStatus, UnitRecord, WorkerRecord};
use manyhands_state::{Key, Problem, ReadError, StateStore, Table};
use serde::de::DeserializeOwned;

use crate::console::history;
use crate::records::{
    self, AnswersRecord, BalanceRecord, BlocklistRecord, ChangedRecord, Content, FaultRecord, InvitationRecord,
    JobRecord, Listed, PardonRecord, SeenRecord, SubmitRecord,
};

/// Records read at once.
const PAGE: usize = 1_000;

/// Everything there is, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Records of all kinds.
    pub records: u64,
    /// Releases of published jobs.
    pub jobs: u64,
    /// Runs.
    pub runs: u64,
    /// Those of them that go on.
    pub active_runs: u64,
    /// Units on which somebody has reported.
    pub units: u64,
    /// Workers.
    pub workers: u64,
    /// Where the audit log ends.
    pub audit: Tail,
    /// Every blob that a record names, once, in order.
    pub blobs: Vec<Digest>,
    /// Records that are not what they should be.
    pub problems: Vec<Problem>,
    /// The hour of the ledger into which is written: what is in earlier ones never changes.
    present: Hour,
    balanced: Balanced,
}

impl Census {
    /// Reads every record. While commits go on it is of no single moment, but then: each blob that a record
    /// named when this began, and no deletion took away, is in it. Blocks.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn take(store: &dyn StateStore) -> Result<Self, ReadError> {
        let mut census = Self::default();
        let mut outputs = Vec::new();
        // Short outputs, which are records and no blobs. Their table comes after that of the units, so those
        // of every unit that was met are found.
        let mut short = Vec::new();
        for &table in Table::ALL {
            let mut after: Option<Vec<u8>> = None;
            loop {
                let page = store.scan(table, &[], after.as_deref(), PAGE)?;
                census.records += page.len() as u64;
                for (key, record) in &page {
                    if census.count(table, key, &record.value, &mut outputs, &mut short).is_none() {
                        census.problems.push(Problem {
                            place: Key::new(table, key).to_string(),
                            what: "not a record that this version of the coordinator can read".to_owned(),
                            cure: "use the version that wrote it, or restore a backup",
                        });
                    }
                }
                match page.into_iter().next_back() {
                    Some((last, _)) => after = Some(last),
                    None => break,
                }
            }
        }
        if let Some((hour, subject, off)) = census.balanced.first_off() {
            census.problems.push(Problem {
                place: format!("the ledger, the hour that begins {} ms after 1970, {subject:?}", hour.begin().0),
                what: format!("not balanced: it comes to {off}, and not to 0, so a line was changed or is missing"),
                cure: "restore a backup, or settle by the last export that is right",
            });
        }
        outputs.sort_unstable();
        outputs.dedup();
        short.sort_unstable();
        outputs.retain(|output| short.binary_search(output).is_err());
        census.blobs.append(&mut outputs);
        census.blobs.sort_unstable();
        census.blobs.dedup();
        Ok(census)
    }

    /// Counts one record; `None` if it cannot be read.
    fn count(
        &mut self,
        table: Table,
        key: &[u8],
        value: &[u8],
        outputs: &mut Vec<Digest>,
        short: &mut Vec<Digest>,
    ) -> Option<()> {
        match table {
            Table::Jobs => {
                let job: JobRecord = read(value)?;
                self.jobs += 1;
                self.blobs.extend([job.source, job.module]);
            }
            Table::Runs => {
                let run: RunRecord = read(value)?;
                self.runs += 1;
                self.active_runs += u64::from(run.status == RunStatus::Active);
            }
            Table::Units => {
                let unit: UnitRecord = read(value)?;
                self.units += 1;
                let replicas = unit.replicas.iter().map(|replica| &replica.outcome);
                let said = unit.accepted.iter().chain(&unit.audited).chain(&unit.recalled).chain(replicas);
                let begin = outputs.len();
                for outcome in said {
                    if let Some((output, _)) = outcome.verdict.content()
                        // Most replicas say the same.
                        && !outputs[begin..].contains(&output)
                    {
                        outputs.push(output);
                    }
                }
            }
            Table::Inputs => {
                let inputs: Vec<Content> = read(value)?;
                self.blobs.extend(inputs.iter().filter(|input| input.inline.is_none()).map(|input| input.digest));
            }
            Table::Results => {
                if let Some(digest) = key.strip_prefix(b"o") {
                    short.push(Digest(digest.try_into().ok()?));
                } else if key.starts_with(b"c") {
                    let AnswersRecord { request, answers } = read(value)?;
                    outputs.extend(request.verdict.content().map(|(request, _)| request));
                    self.blobs.extend(answers.inline.is_none().then_some(answers.digest));
                } else if key.starts_with(b"h") {
                    read::<Over>(value)?;
                } else if key.starts_with(b"x") {
                    // What somebody was handed can be looked at for as long as it is named.
                    let ChangedRecord { was, .. } = read(value)?;
                    outputs.extend(was.and_then(|was| Some(was.verdict.content()?.0)));
                }
            }
            Table::Workers => {
                read::<WorkerRecord>(value)?;
                self.workers += 1;
            }
            Table::Meta if key.starts_with(b"submit") => {
                read::<SubmitRecord>(value)?;
            }
            Table::Meta if key.starts_with(records::AUDIT) => {
                let entry = Entry::read(value)?;
                if !entry.follows(&self.audit) {
                    self.problems.push(Problem {
                        place: format!("entry {} of the audit log", entry.n),
                        what: "it does not follow the one before it: one of the two was changed, or some are missing"
                            .to_owned(),
                        cure: "export the log, and compare it with a head that was kept elsewhere",
                    });
                }
                self.audit = entry.tail();
            }
            Table::Meta if key == records::UPTIME => {
                read::<Attendance>(value)?;
            }
            Table::Meta if key.starts_with(records::UPTIME_OF) => {
                read::<Presence>(value)?;
            }
            Table::Meta if key == records::HOUR => self.present = read(value)?,
            Table::Meta if key.starts_with(records::BALANCE) => {
                read::<BalanceRecord>(value)?;
            }
            Table::Meta if key.starts_with(records::LINE) => {
                let (hour, subject) = records::line_place(key)?;
                let line: Line = read(value)?;
                // Its key comes after that of the present hour, of which some lines may be older than others.
                if hour < self.present {
                    self.balanced.note(hour, subject, line.amount);
                }
            }
            Table::Meta if key.starts_with(records::FAULT) => {
                read::<FaultRecord>(value)?;
            }
            Table::Meta if key.starts_with(records::PARDON) => {
                read::<PardonRecord>(value)?;
            }
            Table::Meta if key.starts_with(records::BLOCKLIST) => {
                read::<BlocklistRecord>(value)?;
            }
            Table::Meta if key.starts_with(records::BLOCKLIST_SEEN) => {
                read::<SeenRecord>(value)?;
            }
            Table::Meta if key.starts_with(records::BLOCKED) => {
                read::<Vec<(WorkerId, Listed)>>(value)?;
            }
            Table::Meta if key.starts_with(records::INVITATION) => {
                read::<InvitationRecord>(value)?;
            }
            Table::Meta if key.starts_with(records::INVITED) => {
                read::<Digest>(value)?;
            }
            Table::Meta if key.starts_with(history::KEY) => {
                read::<history::Stored>(value)?;
            }
            Table::Meta if key.starts_with(b"held") => {
                read::<Life>(value)?;
            }
            Table::Tokens | Table::Idempotency | Table::Meta => {}
        }
        Some(())
    }
}

fn read<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    postcard::from_bytes(value).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use manyhands_model::{Fuel, Outcome, RunId, UnitId, Verdict, WorkerId};
    use manyhands_scheduler::{End, Era, Replica};
    use manyhands_state::{Commit, MemoryStore};

    use super::*;
    use crate::records::{Pack, Writes};

    fn unit(accepted: Option<&[u8]>, said: &[&[u8]]) -> UnitRecord {
        let outcome = |bytes: &[u8]| {
            let verdict = Verdict::Ok { output: Digest::of(bytes), output_bytes: bytes.len() as u64 };
            Outcome { verdict, fuel: Fuel(1) }
        };
        let replica = |(worker, bytes): (usize, &&[u8])| Replica {
            worker: WorkerId([worker as u8; 32]),
            era: Era::default(),
            outcome: outcome(bytes),
            claims: None,
            is_echo: false,
        };
        UnitRecord {
            step: 0,
            end: accepted.map(|_| End::Done),
            accepted: accepted.map(outcome),
            replicas: said.iter().enumerate().map(replica).collect(),
            ..UnitRecord::default()
        }
    }

    #[test]
    fn every_blob_that_a_record_names_is_found_once() {
        let store = MemoryStore::new();
        let at = |index| UnitId { run: RunId([1; 16]), index };
        let mut writes = Writes::default();
        let content = |bytes: &[u8], inline: bool| Content {
            digest: Digest::of(bytes),
            inline: inline.then(|| bytes.to_vec().into()),
        };
        let inputs = vec![content(b"short input", true), content(b"long input", false)];
        writes.inputs(at(0).run, &Pack { first: 0, inputs });
        writes.unit(at(0), &unit(Some(b"short"), &[b"short", b"short", b"long dissent"]));
        writes.unit(at(1), &unit(Some(b"long"), &[b"long", b"long"]));
        writes.unit(at(2), &unit(None, &[b"long vote", b"long"]));
        writes.output(Digest::of(b"short"), &Bytes::from_static(b"short"));
        store.commit(writes.0).unwrap();

        let census = Census::take(&store).unwrap();
        let mut expected: Vec<_> =
            [&b"long input"[..], b"long dissent", b"long", b"long vote"].map(Digest::of).to_vec();
        expected.sort_unstable();
        assert_eq!(census.blobs, expected);
        assert_eq!((census.units, census.problems), (3, vec![]));
    }

    #[test]
    fn a_record_that_cannot_be_read_is_named() {
        let store = MemoryStore::new();
        store.commit(Commit::new().put((Table::Runs, "r"), b"?".to_vec())).unwrap();
        let census = Census::take(&store).unwrap();
        assert_eq!((census.records, census.problems.len()), (1, 1));
        assert!(census.problems[0].place.contains("runs"), "{}", census.problems[0]);
    }
}
