//! The life of one unit.
//!
//! ```text
//!            parts done          lease                 quorum
//! Blocked ───────────────▶ Open ───────▶ Open, leased ────────▶ Ended(Done | Failed)
//!    │                      ▲  ◀───────────────┤
//!    │ a part ended badly   │   expiry, machine failure, dissent
//!    ▼                      │                  │ replicas_max outcomes, no quorum
//! Ended(Skipped)            └── retry ── Ended(Undecided | Failed | Skipped | Cancelled)
//!
//!                quorum on a request for calls          answered
//! Open, leased ────────────────────────────────▶ Calling ────────▶ Open, one step further
//! ```
//!
//! An ended unit of an active or an ended run is opened again when the word on which it rests turns out to be worth
//! nothing: Ended(Done | Failed) ──recall──▶ Open, with what others said.
//!
//! | state ↓ · event → | lease asked | outcome arrives | lease ends without one | parts done | answered | cancel | retry |
//! |---|---|---|---|---|---|---|---|
//! | Blocked | – | refused | – | Open | – | Cancelled | – |
//! | Open | Open, leased | counted: Open, Calling or Ended | Open, wanted again | – | – | Cancelled | – |
//! | Calling | – | refused: has gone on | – | – | Open | Cancelled | – |
//! | Ended(Done) | – | refused: has its answer | – | – | – | – | – |
//! | Ended(other) | – | refused: has ended | – | – | – | – | Open or Blocked |

use manyhands_model::{Fuel, LeaseId, Outcome};
use serde::{Deserialize, Serialize};

use crate::queue::Place;
use crate::record::Era;
use crate::roster::WorkerNo;
use crate::trust::Rule;
use crate::weigh::Ask;

/// The rule by which outcomes become the answer: so many equal ones, among at most so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// Equal outcomes from different workers that make an answer. At least 1.
    pub agree: u8,
    /// Outcomes after which a unit without an answer ends undecided. At least `agree`.
    pub most: u8,
}

/// How a unit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Workers agreed on an output.
    Done,
    /// Workers agreed that the job fails on this input.
    Failed,
    /// The most replicas reported and too few agreed, or too many machines failed.
    Undecided,
    /// A unit whose output it needs did not end with one.
    Skipped,
    /// The run was cancelled first.
    Cancelled,
}

/// What the votes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally<'a> {
    /// This outcome is the answer.
    Agreed(&'a Outcome),
    /// No outcome can be, any more.
    Hopeless,
    /// So many more replicas would do, if they agree with the largest group.
    Needs(u8),
}

impl Quorum {
    /// Counts the votes. Pure: same reports, same answer, in whatever order they came.
    pub(crate) fn tally<'a>(&self, reports: &'a [Word]) -> Tally<'a> {
        let votes = |outcome: &Outcome| reports.iter().filter(|word| word.outcome == *outcome).count();
        let best = reports.iter().map(|word| (votes(&word.outcome), &word.outcome)).max_by_key(|best| best.0);
        let (count, outcome) = match best {
            None => return Tally::Needs(self.agree),
            Some(best) => best,
        };
        let missing = usize::from(self.agree).saturating_sub(count);
        if missing == 0 {
            Tally::Agreed(outcome)
        } else if reports.len() + missing > usize::from(self.most) {
            Tally::Hopeless
        } else {
            Tally::Needs(u8::try_from(missing).unwrap_or(u8::MAX))
        }
    }
}

/// One worker's word about a unit that has not ended.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    /// Who.
    pub(crate) by: WorkerNo,
    /// In which era of its own it was given the unit.
    pub(crate) era: Era,
    /// What came out.
    pub(crate) outcome: Outcome,
    /// What it says that this took, where the outcome does not.
    pub(crate) claims: Option<Fuel>,
    /// See [`Replica::is_echo`](crate::Replica::is_echo).
    pub(crate) is_echo: bool,
}

/// A unit that has not ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Open {
    /// How many of its requests for calls have been answered.
    pub(crate) step: u32,
    pub(crate) reports: Vec<Word>,
    pub(crate) leases: Vec<(LeaseId, WorkerNo)>,
    /// How many of the leases have been out for too long, if somebody waits for the answer.
    pub(crate) late: usize,
    /// Whether it stands among the units that want a spare replica.
    pub(crate) wants_spare: bool,
    pub(crate) machine_failures: u8,
    /// The worker whose machine failed last: others go first.
    pub(crate) failed_last: Option<WorkerNo>,
    /// Where it stands in its run's queue, if it does.
    pub(crate) queued: Option<Place>,
    /// Who should execute it next, where words have to be earned.
    pub(crate) ask: Ask,
    /// Who was drawn to execute it next, and has not come for it.
    pub(crate) drawn: Option<WorkerNo>,
    /// What the operator's machine says.
    pub(crate) audited: Option<Outcome>,
    /// What it took there, where the outcome does not say it.
    pub(crate) audit_claims: Option<Fuel>,
    /// Whether that machine cannot execute it.
    pub(crate) unauditable: bool,
    /// The answer that it had before it was opened again.
    pub(crate) recalled: Option<Outcome>,
    /// Whether it was opened again only since somebody has been silent for long, as far as is known. The same answer again is then enough
    /// for good, or idle workers would ask each other for ever.
    pub(crate) asked_again: bool,
}

impl Open {
    /// Whether this worker has had its say, or is about to.
    pub(crate) fn knows(&self, worker: WorkerNo) -> bool {
        self.workers().any(|other| other == worker)
    }

    /// Those who have had their say, or are about to.
    pub(crate) fn workers(&self) -> impl Iterator<Item = WorkerNo> + '_ {
        let leased = self.leases.iter().map(|(_, worker)| *worker);
        self.reports.iter().map(|word| word.by).chain(leased)
    }

    /// Whether it had an answer that rested on a word that is worth nothing.
    pub(crate) fn is_asked_again(&self) -> bool {
        self.recalled.is_some() || self.asked_again
    }

    /// Leases to be given out now.
    pub(crate) fn wanted(&self, rule: Rule) -> usize {
        match rule {
            Rule::Fixed(quorum) => self.needed(quorum).saturating_sub(self.leases.len()),
            // One after the other, so that nobody knows who will come after it.
            Rule::Earned { .. } => usize::from(self.ask != Ask::Nobody && self.leases.is_empty()),
        }
    }

    fn needed(&self, quorum: Quorum) -> usize {
        match quorum.tally(&self.reports) {
            Tally::Needs(more) => usize::from(more),
            Tally::Agreed(_) | Tally::Hopeless => 0,
        }
    }

    /// Leases to be given out now because others are late: one for each, so that no more are out than twice what
    /// the quorum takes, however many of them are late.
    pub(crate) fn spares(&self, rule: Rule) -> usize {
        let (needed, most) = match rule {
            Rule::Fixed(quorum) => (self.needed(quorum), 2 * usize::from(quorum.agree)),
            Rule::Earned { .. } => (usize::from(self.ask != Ask::Nobody), 2),
        };
        let in_time = self.leases.len() - self.late;
        needed.saturating_sub(in_time).min(most.saturating_sub(self.leases.len()))
    }
}

/// Where a unit stands.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// A reduce step that waits for so many parts, and then for its input to be put together.
    Blocked {
        /// Parts without an output.
        missing: u32,
    },
    /// Boxed: most units of a large run have ended or not begun.
    Open(Box<Open>),
    /// No replica was ever leased.
    Fresh,
    /// Workers agreed on its request for calls, the `step`-th from 0, and the coordinator makes them.
    Calling {
        step: u32,
    },
    Ended(End),
}

/// How many units are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Not ended and not leased.
    pub waiting: u32,
    /// Leased to at least one worker.
    pub running: u32,
    /// Ended with an output.
    pub done: u32,
    /// Ended otherwise, but not by a cancellation.
    pub failed: u32,
    /// Cancelled.
    pub cancelled: u32,
}

impl Counts {
    pub(crate) fn of(&mut self, state: &State) -> &mut u32 {
        match state {
            State::Open(open) if !open.leases.is_empty() => &mut self.running,
            State::Blocked { .. } | State::Fresh | State::Calling { .. } | State::Open(_) => &mut self.waiting,
            State::Ended(End::Done) => &mut self.done,
            State::Ended(End::Cancelled) => &mut self.cancelled,
            State::Ended(End::Failed | End::Undecided | End::Skipped) => &mut self.failed,
        }
    }

    /// Units that have not ended.
    pub const fn open(&self) -> u32 {
        self.waiting + self.running
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manyhands_model::Verdict;

    fn votes(letters: &str) -> Vec<Word> {
        let outcome = |letter: u8| Outcome { verdict: Verdict::Trap, fuel: Fuel(u64::from(letter)) };
        letters
            .bytes()
            .enumerate()
            .map(|(i, letter)| {
                let (by, era) = (WorkerNo::new(i as u32), Era::default());
                Word { by, era, outcome: outcome(letter), claims: None, is_echo: false }
            })
            .collect()
    }

    #[test]
    fn two_of_up_to_four_as_a_table() {
        let quorum = Quorum { agree: 2, most: 4 };
        let line = |letters: &str| match quorum.tally(&votes(letters)) {
            Tally::Agreed(outcome) => format!("{letters} agreed {}", char::from(outcome.fuel.0 as u8)),
            Tally::Hopeless => format!("{letters} hopeless"),
            Tally::Needs(more) => format!("{letters} needs {more}"),
        };
        let table = ["", "a", "aa", "ab", "aba", "abb", "abc", "abca", "abcd"].map(line).join("\n");
        assert_eq!(
            table,
            " needs 2\na needs 1\naa agreed a\nab needs 1\naba agreed a\nabb agreed b\nabc needs 1\nabca agreed a\nabcd hopeless"
        );
    }

    #[test]
    fn three_of_four_is_hopeless_as_soon_as_it_is() {
        let quorum = Quorum { agree: 3, most: 4 };
        assert_eq!(quorum.tally(&votes("ab")), Tally::Needs(2));
        assert_eq!(quorum.tally(&votes("aabb")), Tally::Hopeless);
        assert_eq!(quorum.tally(&votes("abc")), Tally::Hopeless);
    }
}
