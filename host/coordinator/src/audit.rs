//! The audit log: who writes into it, and where it ends.
//!
//! What the log says is in `manyhands_audit`; here is that it says so in the same commit as what it tells of, and that one line follows the
//! other without a gap, however many want to write.

use std::ops::DerefMut;

pub use manyhands_audit::Event;
use manyhands_audit::{Answer as Said, Call, End, Head, SignedHead, Tail};
use manyhands_intents::{Fault, Heard, Outgoing, State};
use manyhands_model::{Digest, IntentId, Outcome, Timestamp};
use tracing::info;

use crate::app::App;
use crate::problem::Answer;
use crate::records::{CallRecord, RecordError, Records, Writes};

/// The right to write into the log. There is one, and who has it changes what the log tells of as well.
#[derive(Default)]
pub struct Ledger {
    /// Where the log ends; not known at first, and after a commit of which nobody knows how it ended.
    tail: Option<Tail>,
}

impl Ledger {
    /// Makes `writes` durable together with what the log says of them.
    ///
    /// # Errors
    /// Any [`RecordError`]; then neither is there, unless the disk failed in the middle.
    pub fn commit(
        &mut self,
        records: &Records,
        now: Timestamp,
        events: Vec<Event>,
        mut writes: Writes,
    ) -> Result<(), RecordError> {
        let mut scribe = Scribe::begin(self, records)?;
        events.into_iter().for_each(|event| scribe.write(now, event, &mut writes));
        records.commit(writes)?;
        scribe.end();
        Ok(())
    }
}

/// Writes lines into commits that somebody else makes. As long as it is there, nobody else writes into the log.
pub struct Scribe<L: DerefMut<Target = Ledger>> {
    ledger: L,
    tail: Tail,
}

impl<L: DerefMut<Target = Ledger>> Scribe<L> {
    /// Looks where the log ends.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn begin(mut ledger: L, records: &Records) -> Result<Self, RecordError> {
        let tail = match ledger.tail.take() {
            Some(tail) => tail,
            None => records.audit_tail()?,
        };
        Ok(Self { ledger, tail })
    }

    /// Adds a line to `writes`. They are to be committed in the order in which they were given.
    pub fn write(&mut self, now: Timestamp, event: Event, writes: &mut Writes) {
        let line = self.tail.append(now, event);
        writes.audit(&self.tail, line);
    }

    /// All of them are on the disk. Without this, whoever is next looks where the log ends.
    pub fn end(mut self) {
        self.ledger.tail = Some(self.tail);
    }
}

/// What the log says of an answer.
pub fn answer(outcome: &Outcome) -> Said {
    let output = outcome.verdict.content().map(|(digest, _)| digest);
    Said { ended: outcome.verdict.word().to_owned(), output }
}

/// What the log calls a call.
pub fn name(id: IntentId, call: &CallRecord) -> Call {
    Call { id, unit: call.unit, verb: call.intent.verb.clone() }
}

/// What the log says of a call that has come to stand where it does, under a plan that has this digest.
pub fn event(id: IntentId, call: &CallRecord, plan: impl FnOnce() -> Digest) -> Event {
    let (name, step) = (name(id, call), call.step);
    let end = match &call.state {
        State::Agreed | State::Waiting { .. } => End::Postponed,
        State::Claimed { attempts } => {
            let intent = Digest::of(&call.intent.canonical());
            let (start, claim) = (attempts.fence.start, attempts.fence.claim);
            return Event::Claimed { call: name, step, plan: plan(), intent, start, claim };
        }
        State::Unknown { .. } => End::Unknown,
        State::Refused(Fault::Budget) => End::OverBudget,
        State::Refused(Fault::TimedOut) => End::NeverSent,
        State::Refused(_) => End::Refused,
        State::Heard(Heard::Answer { status, .. } | Heard::Fault(Fault::Status(status))) => End::Answered(*status),
        State::Heard(Heard::Fault(fault)) => match fault {
            Fault::Withheld => End::Withheld,
            Fault::Unknown => End::LetGo,
            _ => End::TimedOut,
        },
    };
    Event::Ended { call: name, end }
}

/// What the log says of a call that is not sent, because its run is a dry run.
pub fn unsent(id: IntentId, call: &CallRecord, plan: Digest, outgoing: &Outgoing) -> Event {
    Event::Unsent {
        call: name(id, call),
        step: call.step,
        plan,
        intent: Digest::of(&call.intent.canonical()),
        origin: outgoing.origin.to_string(),
        body_bytes: outgoing.body.len() as u64,
    }
}

/// Signs where the log ends now.
///
/// # Errors
/// Problems with the disk, or the key is being replaced at this moment.
pub async fn head(app: &App) -> Answer<SignedHead> {
    let tail = app.blocking(Records::audit_tail).await?;
    app.authority.attest(&Head { tail, at: app.clock.now() })
}

/// Signs where the log ends, keeps that beside it, and says it in the coordinator's own log, which may be kept elsewhere. Nothing is done if
/// nothing was written since the last time.
///
/// # Errors
/// As [`head`].
pub async fn keep_head(app: &App) -> Answer<()> {
    let (tail, last) = app.blocking(|records| Ok((records.audit_tail()?, records.audit_head()?))).await?;
    if last == Some(tail.entries) || tail.entries == 0 {
        return Ok(());
    }
    let head = app.authority.attest(&Head { tail, at: app.clock.now() })?;
    app.blocking(move |records| {
        let mut writes = Writes::default();
        writes.audit_head(tail.entries, head.line());
        records.commit(writes)
    })
    .await?;
    info!(entries = tail.entries, digest = %tail.digest, "the audit log's head was signed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use manyhands_audit::Verifier;
    use manyhands_state::MemoryStore;
    use manyhands_store::Blobs;

    use super::*;
    use crate::authority::Authority;
    use crate::catalogue::Catalogue;
    use crate::census::Census;
    use crate::keys::{KeyStore, system_entropy};
    use crate::metrics::Metrics;
    use crate::problem::Kind;

    const NOW: Timestamp = Timestamp(1_000_000);

    struct World {
        dir: tempfile::TempDir,
        records: Records,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let blobs = Blobs::local(&dir.path().join("blobs")).unwrap();
            Self { records: Records::new(Arc::new(MemoryStore::new()), blobs, Metrics::new()), dir }
        }

        fn authority(&self) -> Authority {
            let keys = KeyStore::open_or_create(&self.dir.path().join("keys"), system_entropy, NOW).unwrap();
            let catalogue = Arc::new(Catalogue::load(&self.records).unwrap());
            Authority::new(keys, catalogue, NOW, BTreeMap::new()).unwrap()
        }

        fn tail(&self) -> Tail {
            self.records.audit_tail().unwrap()
        }

        /// The whole log, in pages of so many entries, and a head behind it.
        fn export(&self, authority: &Authority, page: usize) -> Vec<Vec<u8>> {
            let (mut lines, mut after) = (Vec::new(), 0);
            loop {
                let more = self.records.audit(after, page).unwrap();
                after += more.iter().filter(|line| !SignedHead::is_one(line)).count() as u64;
                if more.is_empty() {
                    break;
                }
                lines.extend(more);
            }
            lines.push(authority.attest(&Head { tail: self.tail(), at: NOW }).unwrap().line());
            lines
        }
    }

    fn events(numbers: std::ops::Range<u8>) -> Vec<Event> {
        numbers.map(|number| Event::PlanApproved { plan: Digest([number; 32]), by: "ann".into() }).collect()
    }

    #[test]
    fn what_is_not_committed_is_not_in_the_log_and_leaves_no_gap() {
        let (world, mut ledger) = (World::new(), Ledger::default());
        ledger.commit(&world.records, NOW, events(0..2), Writes::default()).unwrap();
        let before = world.tail();
        let mut refused = Writes::default();
        // There is such a line already.
        refused.audit(&Tail { entries: 1, ..before }, Vec::new());
        ledger.commit(&world.records, NOW, events(2..3), refused).unwrap_err();
        assert_eq!((world.tail(), before.entries), (before, 2));
        ledger.commit(&world.records, NOW, events(3..5), Writes::default()).unwrap();
        // After a restart.
        Ledger::default().commit(&world.records, NOW, events(5..7), Writes::default()).unwrap();

        let authority = world.authority();
        let mut head = Writes::default();
        head.audit_head(4, b"{\"head\":a head that somebody put there}".to_vec());
        for page in 1..8 {
            let lines = world.export(&authority, page);
            let mut verifier = Verifier::new(Some(authority.root().fingerprint()));
            lines.iter().for_each(|line| verifier.line(line).unwrap());
            assert_eq!(verifier.end().unwrap().entries, 6);
        }
        assert!(Census::take(&**world.records.store()).unwrap().problems.is_empty());
        world.records.commit(head).unwrap();
        for page in 1..8 {
            assert!(SignedHead::is_one(&world.export(&authority, page)[4]), "behind the entries that it is over");
        }
    }

    #[test]
    fn a_check_finds_an_entry_that_was_changed_on_the_disk() {
        let world = World::new();
        Ledger::default().commit(&world.records, NOW, events(0..5), Writes::default()).unwrap();
        let mut forged = Tail::default();
        forged.append(NOW, events(0..1).remove(0));
        let other = forged.append(NOW, events(7..8).remove(0));
        let mut writes = Writes::default();
        writes.audit(&forged, other);
        writes.0.expects.clear();
        // The line, and not where the log ends.
        writes.0.ops.truncate(1);
        world.records.commit(writes).unwrap();
        let census = Census::take(&**world.records.store()).unwrap();
        let places: Vec<_> = census.problems.iter().map(|problem| problem.place.as_str()).collect();
        assert_eq!((census.audit, places), (world.tail(), vec!["entry 3 of the audit log"]));
    }

    #[test]
    fn a_head_under_a_key_that_was_replaced_is_not_handed_out() {
        let world = World::new();
        let authority = world.authority();
        let head = Head { tail: Tail::default(), at: NOW };
        authority.attest(&head).unwrap();
        // Nobody has signed a list since.
        authority.keys().rotate().unwrap();
        assert_eq!(authority.attest(&head).unwrap_err().kind, Kind::Unavailable);
        authority.renew(NOW, BTreeMap::new()).unwrap();
        authority.attest(&head).unwrap();
    }
}
