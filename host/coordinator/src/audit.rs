//! The audit log: who writes into it, and where it ends.
//!
//! What the log says is in `manyhands_audit`; here is that it says so in the same commit as what it tells of, and that one line follows the
//! other without a gap, however many want to write.

use std::time::Duration;

pub use manyhands_audit::Event;
use manyhands_audit::{Call, End, Head, SignedHead, Tail};
use manyhands_intents::{Fault, Heard, State};
use manyhands_model::{Digest, IntentId, Timestamp};
use tracing::{info, warn};

use crate::app::App;
use crate::authority::Authority;
use crate::problem::{Answer, ApiError, Kind};
use crate::records::{CallRecord, RecordError, Records, Writes};

/// When whoever meets a key that is being replaced may come again.
const RETRY: Duration = Duration::from_secs(1);

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
        let mut tail = match self.tail.take() {
            Some(tail) => tail,
            None => records.audit_tail()?,
        };
        for event in events {
            let line = tail.append(now, event);
            writes.audit(&tail, line);
        }
        records.commit(writes)?;
        self.tail = Some(tail);
        Ok(())
    }
}

/// What the log calls a call.
pub fn name(id: IntentId, call: &CallRecord) -> Call {
    Call { id, unit: call.unit, verb: call.intent.verb.clone() }
}

/// What the log says of a call that has come to stand where it does.
pub fn event(id: IntentId, call: &CallRecord, plan: Digest) -> Event {
    let (name, step) = (name(id, call), call.step);
    let end = match &call.state {
        State::Agreed | State::Waiting { .. } => End::Postponed,
        State::Claimed { attempts } => {
            let intent = Digest::of(&call.intent.canonical());
            let (start, claim) = (attempts.fence.start, attempts.fence.claim);
            return Event::Claimed { call: name, step, plan, intent, start, claim };
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

/// Signs where the log ends now.
///
/// # Errors
/// Problems with the disk, or the key is being replaced at this moment.
pub async fn head(app: &App) -> Answer<SignedHead> {
    let tail = app.blocking(Records::audit_tail).await?;
    sign(&app.authority, Head { tail, at: app.clock.now() })
}

fn sign(authority: &Authority, head: Head) -> Answer<SignedHead> {
    // In this order: a list is never older than the key that it is to name, but for a moment while that is replaced.
    let signed = authority.sign(&head);
    SignedHead::new(authority.root(), authority.trust(), signed).map_err(|error| {
        warn!(%error, "the audit log's head cannot be signed now");
        ApiError::new(Kind::Unavailable, "the signing key is being replaced; try again").retry_after(RETRY)
    })
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
    let head = sign(&app.authority, Head { tail, at: app.clock.now() })?;
    app.blocking(move |records| {
        let mut writes = Writes::default();
        writes.audit_head(tail.entries, head.line());
        records.commit(writes)
    })
    .await?;
    info!(entries = tail.entries, digest = %tail.digest, "the audit log's head was signed");
    Ok(())
}
