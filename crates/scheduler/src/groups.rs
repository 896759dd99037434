//! Who may be one person behind several identities.
//!
//! An identity costs nothing, so it is no voice. What costs something is what identities share: an account, a stretch of
//! the address space, an invitation. Workers that share one of these are one voice, and no unit has two replicas of one voice.

use std::collections::BTreeMap;

/// Something that several identities may have in common: a keyed hash, so that a dump of the scheduler's memory names
/// no address and no account. 64 bits: a chance collision makes one voice of two, and is otherwise harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group(pub u64);

/// What a worker's body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A program that somebody installed; it stays for hours.
    #[default]
    Runner,
    /// A page that somebody looks at; half of them are gone after a minute.
    Visitor,
}

/// What the shell knows of where a worker comes from. The default shares nothing with anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// The account that it belongs to.
    pub owner: Option<Group>,
    /// The /24 of its IPv4 address, or the /48 of its IPv6 address.
    pub prefix: Option<Group>,
    /// The invitation that it came with; none for one that is public, since that would make one voice of everybody.
    pub token: Option<Group>,
    /// The family of its engine. Not a voice: engines that err alike are no accomplices. But a unit's replicas go to
    /// different families where both are there, so that what is wrong with one of them is seen.
    pub engine: Option<Group>,
    /// Its body.
    pub kind: Kind,
    /// Whether it is the operator's own: its word is the coordinator's.
    pub trusted: bool,
}

impl Groups {
    /// Whether the two count as one voice. The operator's own machines share everything and may all be heard: their
    /// word needs no second.
    pub fn is_one_voice_with(&self, other: &Self) -> bool {
        let same = |mine: Option<Group>, theirs: Option<Group>| mine.is_some() && mine == theirs;
        same(self.owner, other.owner) || same(self.prefix, other.prefix) || same(self.token, other.token)
    }
}

/// How many independent voices some workers are at most.
#[derive(Debug, Default)]
pub(crate) struct Voices {
    /// By what workers may share: those of whom it is not known, and how many share each.
    owners: Shared,
    prefixes: Shared,
    tokens: Shared,
}

#[derive(Debug, Default)]
struct Shared {
    alone: usize,
    groups: BTreeMap<Group, usize>,
}

impl Shared {
    fn join(&mut self, group: Option<Group>) {
        match group {
            None => self.alone += 1,
            Some(group) => *self.groups.entry(group).or_default() += 1,
        }
    }

    fn leave(&mut self, group: Option<Group>) {
        let Some(group) = group else { return self.alone -= 1 };
        if let Some(count) = self.groups.get_mut(&group) {
            *count -= 1;
            if *count == 0 {
                self.groups.remove(&group);
            }
        }
    }

    fn count(&self) -> usize {
        self.alone + self.groups.len()
    }
}

impl Voices {
    pub(crate) fn join(&mut self, origin: &Groups) {
        self.owners.join(origin.owner);
        self.prefixes.join(origin.prefix);
        self.tokens.join(origin.token);
    }

    /// One that has joined, from there.
    pub(crate) fn leave(&mut self, origin: &Groups) {
        self.owners.leave(origin.owner);
        self.prefixes.leave(origin.prefix);
        self.tokens.leave(origin.token);
    }

    pub(crate) fn count(&self) -> usize {
        self.owners.count().min(self.prefixes.count()).min(self.tokens.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_behind_one_address_are_one_voice() {
        let mut voices = Voices::default();
        let from = |prefix| Groups { prefix, ..Groups::default() };
        let farm = from(Some(Group(1)));
        (0..100).for_each(|_| voices.join(&farm));
        assert_eq!(voices.count(), 1);
        for prefix in [None, None, Some(Group(2))] {
            voices.join(&from(prefix));
        }
        assert_eq!(voices.count(), 4);
        (0..100).for_each(|_| voices.leave(&farm));
        voices.leave(&from(None));
        assert_eq!(voices.count(), 2);
    }

    #[test]
    fn whatever_two_share_makes_them_one_voice_but_for_what_is_not_known() {
        let (none, one, two) = (None, Some(Group(1)), Some(Group(2)));
        let from = |(owner, prefix, token)| Groups { owner, prefix, token, engine: one, ..Groups::default() };
        let table = [
            ((none, none, none), (none, none, none), false),
            ((one, none, none), (one, none, none), true),
            ((one, one, none), (two, one, none), true),
            ((one, one, one), (two, two, one), true),
            ((one, two, none), (two, one, none), false),
            ((one, none, none), (none, one, one), false),
        ];
        for (mine, theirs, expected) in table {
            assert_eq!(from(mine).is_one_voice_with(&from(theirs)), expected, "{mine:?} and {theirs:?}");
            assert_eq!(from(theirs).is_one_voice_with(&from(mine)), expected, "{theirs:?} and {mine:?}");
        }
    }
}
