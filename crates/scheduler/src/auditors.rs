//! The operator's own machines: which of them executes which unit, when [`Effect::Audit`](crate::Effect::Audit) asks for it.
//!
//! What they say is the verdict, so there is nothing to weigh: one after the other, to whoever has room. Nothing is forgotten
//! for the lack of a machine; without one, everything waits.

use std::collections::{BTreeMap, VecDeque};

use manyhands_model::{LeaseId, Timestamp, UnitId, WorkerId};

/// Machines that may fail on one unit before it is given up.
const FAILURES_MAX: u8 = 3;

/// A unit that is to be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The unit.
    pub unit: UnitId,
    /// Which step of it.
    pub step: u32,
}

struct Waiting {
    audit: Audit,
    failures: u8,
}

struct Out {
    waiting: Waiting,
    machine: WorkerId,
    /// None until it is known.
    expires_at: Option<Timestamp>,
}

/// Machines, and what is to be done.
#[derive(Default)]
pub struct Auditors {
    line: VecDeque<Waiting>,
    // As few as the policy lets be under way.
    out: BTreeMap<LeaseId, Out>,
    /// How much more each of the connected wants.
    machines: BTreeMap<WorkerId, u16>,
}

impl Auditors {
    /// A unit is to be executed.
    pub fn ask(&mut self, audit: Audit) {
        self.line.push_back(Waiting { audit, failures: 0 });
    }

    /// A machine connected, perhaps anew. What it was given stays its own.
    pub fn connected(&mut self, machine: WorkerId) {
        self.machines.insert(machine, 0);
    }

    /// It is gone: what it was given is for others. If it comes back with an answer, that counts.
    pub fn gone(&mut self, machine: WorkerId) {
        self.machines.remove(&machine);
        self.take_back(|_, out| out.machine == machine);
    }

    /// It has room for so many; replaces what it said before.
    pub fn wants(&mut self, machine: WorkerId, count: u16) {
        if let Some(wants) = self.machines.get_mut(&machine) {
            *wants = count;
        }
    }

    /// The next to be given out, under this lease, and to whom.
    pub fn give(&mut self, lease: LeaseId) -> Option<(WorkerId, Audit)> {
        let (machine, wants) =
            self.machines.iter_mut().max_by_key(|(_, wants)| **wants).filter(|(_, wants)| **wants > 0)?;
        let waiting = self.line.pop_front()?;
        *wants -= 1;
        let (machine, audit) = (*machine, waiting.audit);
        self.out.insert(lease, Out { waiting, machine, expires_at: None });
        Some((machine, audit))
    }

    /// Until when a machine may keep what it was given.
    pub fn until(&mut self, lease: LeaseId, expires_at: Timestamp) {
        if let Some(out) = self.out.get_mut(&lease) {
            out.expires_at = Some(expires_at);
        }
    }

    /// A machine says what came out of a unit, under whichever lease. Says whether that was still to be found out.
    pub fn done(&mut self, audit: Audit) -> bool {
        let before = self.line.len() + self.out.len();
        self.line.retain(|waiting| waiting.audit != audit);
        self.out.retain(|_, out| out.waiting.audit != audit);
        self.line.len() + self.out.len() < before
    }

    /// A machine failed, or will not execute it after all, or it cannot be given to any. Says which unit is given up, if that
    /// happened too often.
    pub fn failed(&mut self, lease: LeaseId) -> Option<Audit> {
        let mut waiting = self.out.remove(&lease)?.waiting;
        waiting.failures += 1;
        if waiting.failures >= FAILURES_MAX {
            return Some(waiting.audit);
        }
        self.line.push_front(waiting);
        None
    }

    /// It cannot be given to anybody now, which is nobody's fault.
    pub fn put_back(&mut self, lease: LeaseId) {
        if let Some(out) = self.out.remove(&lease) {
            self.line.push_front(out.waiting);
        }
    }

    /// Takes back what machines kept for too long; says under which leases, and from whom.
    pub fn expire(&mut self, now: Timestamp) -> Vec<(WorkerId, LeaseId)> {
        self.take_back(|_, out| out.expires_at.is_some_and(|at| at <= now))
    }

    /// When to look for that.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.out.values().filter_map(|out| out.expires_at).min()
    }

    /// How many a machine was given.
    pub fn given(&self, machine: WorkerId) -> usize {
        self.out.values().filter(|out| out.machine == machine).count()
    }

    /// Machines that are connected.
    pub fn machines(&self) -> usize {
        self.machines.len()
    }

    /// Units that nobody executes yet.
    pub fn waiting(&self) -> usize {
        self.line.len()
    }

    fn take_back(&mut self, is_lost: impl Fn(&LeaseId, &Out) -> bool) -> Vec<(WorkerId, LeaseId)> {
        let lost: Vec<(LeaseId, Out)> = self.out.extract_if(.., |lease, out| is_lost(lease, out)).collect();
        let whose = lost.iter().map(|(lease, out)| (out.machine, *lease)).collect();
        lost.into_iter().for_each(|(_, out)| self.line.push_front(out.waiting));
        whose
    }
}

#[cfg(test)]
mod tests {
    use manyhands_model::RunId;

    use super::*;

    const MINE: WorkerId = WorkerId([1; 32]);
    const OTHER: WorkerId = WorkerId([2; 32]);

    fn audit(index: u32) -> Audit {
        Audit { unit: UnitId { run: RunId([7; 16]), index }, step: 0 }
    }

    fn lease(number: u8) -> LeaseId {
        LeaseId([number; 16])
    }

    fn asked(count: u32) -> Auditors {
        let mut auditors = Auditors::default();
        (0..count).for_each(|index| auditors.ask(audit(index)));
        auditors.connected(MINE);
        auditors
    }

    #[test]
    fn without_a_machine_everything_waits_and_then_goes_in_order() {
        let mut auditors = asked(2);
        assert_eq!(auditors.give(lease(1)), None, "it has not asked for anything");
        auditors.wants(OTHER, 9);
        assert_eq!(auditors.give(lease(1)), None, "that one is not connected");
        auditors.wants(MINE, 1);
        assert_eq!(auditors.give(lease(1)), Some((MINE, audit(0))));
        assert_eq!((auditors.give(lease(2)), auditors.waiting()), (None, 1));
    }

    #[test]
    fn what_a_machine_had_that_is_gone_goes_to_another_and_either_may_say_it() {
        let mut auditors = asked(1);
        auditors.wants(MINE, 1);
        auditors.give(lease(1));
        auditors.gone(MINE);
        auditors.connected(OTHER);
        auditors.wants(OTHER, 1);
        assert_eq!(auditors.give(lease(2)), Some((OTHER, audit(0))));
        assert!(auditors.done(audit(0)), "whoever comes first");
        assert!(!auditors.done(audit(0)));
        assert_eq!((auditors.given(OTHER), auditors.waiting(), auditors.failed(lease(2))), (0, 0, None));
    }

    #[test]
    fn who_keeps_a_unit_too_long_loses_it_and_who_fails_too_often_ends_it() {
        let mut auditors = asked(1);
        auditors.wants(MINE, 9);
        auditors.give(lease(0));
        assert_eq!(auditors.wake_at(), None);
        auditors.until(lease(0), Timestamp(5));
        assert_eq!((auditors.wake_at(), auditors.expire(Timestamp(4))), (Some(Timestamp(5)), vec![]));
        assert_eq!(auditors.expire(Timestamp(5)), [(MINE, lease(0))]);
        auditors.give(lease(1));
        auditors.gone(MINE);
        auditors.connected(MINE);
        auditors.wants(MINE, 9);
        let fails: Vec<_> = (2..5)
            .map(|number| {
                auditors.give(lease(number));
                auditors.failed(lease(number))
            })
            .collect();
        assert_eq!(fails, [None, None, Some(audit(0))], "what ran out or was lost with a connection was no failure");
        assert_eq!(auditors.waiting(), 0);
    }
}
