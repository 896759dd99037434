//! Who was invited by whom: what makes one voice of several workers, and lets them in where the operator takes nobody else.
//!
//! An invitation is 256 random bits, of which only the SHA-256 is kept, as of a token. A worker shows it when it first connects; from then
//! on the coordinator knows with which one it came, and for whom. Whoever tries to guess one is held up like whoever guesses tokens: each
//! try is a connection, which the address has to answer for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError, RwLock};

use data_encoding::BASE32_NOPAD;
use manyhands_api::{CreatedInvitation, InvitationList, InvitationView, NewInvitation};
use manyhands_audit::Event;
use manyhands_model::{Digest, Timestamp, WorkerId};
use manyhands_protocol::Invitation;

use crate::app::App;
use crate::auth::{NAME_CHARS_MAX, Secret, is_name};
use crate::clock::DAY;
use crate::problem::{Answer, ApiError, Kind};
use crate::records::{InvitationRecord, RecordError, Records, Writes};

/// Before every invitation, so that people and scanners for leaked secrets know one when they see it.
pub const PREFIX: &str = "mhi_";
/// Most invitations that are kept, used-up ones included; all of them are in memory.
const INVITATIONS_MAX: usize = 10_000;
/// Workers that one invitation is for.
const USES: std::ops::RangeInclusive<u32> = 1..=10_000;
/// For how long it may be used for the first time. Unit: days.
const DAYS: std::ops::RangeInclusive<u32> = 1..=3_650;

/// Why a worker is not let in. Shown to whoever runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Uninvited {
    /// It shows none.
    #[error("this coordinator takes invited workers only")]
    Needed,
    /// There is none of these letters.
    #[error("this coordinator knows no such invitation; was it copied whole, and is it another coordinator's?")]
    Unknown,
    /// It was taken back.
    #[error("the invitation of this worker was revoked")]
    Revoked,
    /// It had to be used before.
    #[error("the invitation has expired")]
    Expired,
    /// Others came with it.
    #[error("the invitation has been used by as many workers as it is for")]
    UsedUp,
}

/// Why nobody is let in.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// The worker's fault.
    #[error(transparent)]
    Uninvited(#[from] Uninvited),
    /// The coordinator's.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// With which invitation a worker came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The invitation's digest.
    pub invitation: Digest,
    /// Names it, where people read that.
    pub id: String,
    /// Whom it was for, if that was said.
    pub owner: Option<String>,
}

/// All invitations.
pub struct Invitations {
    records: Records,
    // Follows the disk: changed only after a commit.
    known: RwLock<Known>,
    /// Serialises changes.
    changing: Mutex<()>,
}

#[derive(Default)]
struct Known {
    invitations: BTreeMap<Digest, InvitationRecord>,
    /// By invitation, who came with it.
    workers: BTreeMap<Digest, BTreeSet<WorkerId>>,
    members: BTreeMap<WorkerId, Digest>,
}

impl Known {
    fn used(&self, invitation: &Digest) -> u32 {
        self.workers.get(invitation).map_or(0, |workers| u32::try_from(workers.len()).unwrap_or(u32::MAX))
    }

    fn join(&mut self, worker: WorkerId, invitation: Digest) {
        if let Some(workers) = self.members.insert(worker, invitation).and_then(|was| self.workers.get_mut(&was)) {
            workers.remove(&worker);
        }
        self.workers.entry(invitation).or_default().insert(worker);
    }

    fn membership(&self, worker: WorkerId) -> Option<(Membership, &InvitationRecord)> {
        let invitation = *self.members.get(&worker)?;
        let record = self.invitations.get(&invitation)?;
        Some((Membership { invitation, id: id_of(&invitation), owner: record.owner.clone() }, record))
    }

    /// Which invitation a worker joins with that shows this.
    fn usable(&self, shown: &Invitation, now: Timestamp) -> Result<Digest, Uninvited> {
        let secret = Secret::parse(PREFIX, shown.0.trim()).ok_or(Uninvited::Unknown)?;
        let (digest, record) = self.invitations.get_key_value(&secret.digest()).ok_or(Uninvited::Unknown)?;
        match record {
            InvitationRecord { revoked_at: Some(_), .. } => Err(Uninvited::Revoked),
            InvitationRecord { expires_at: Some(at), .. } if *at <= now => Err(Uninvited::Expired),
            InvitationRecord { uses, .. } if self.used(digest) >= *uses => Err(Uninvited::UsedUp),
            _ => Ok(*digest),
        }
    }
}

impl Invitations {
    /// As they are on the disk. Blocks; for the start.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn load(records: &Records) -> Result<Self, RecordError> {
        let mut known = Known { invitations: records.invitations()?.into_iter().collect(), ..Known::default() };
        for (worker, invitation) in records.invited()? {
            known.join(worker, invitation);
        }
        Ok(Self { records: records.clone(), known: RwLock::new(known), changing: Mutex::default() })
    }

    /// With which invitation a worker came, whether or not that still holds.
    pub fn of(&self, worker: WorkerId) -> Option<Membership> {
        self.read(|known| known.membership(worker).map(|(membership, _)| membership))
    }

    /// Lets a worker in that proved who it is, and notes with which invitation it came: the first that holds. Where none `is_needed`, one
    /// that shows none may come as well. Blocks where it is new.
    ///
    /// # Errors
    /// [`NotAdmitted`].
    pub fn admit(
        &self,
        worker: WorkerId,
        shown: Option<&Invitation>,
        is_needed: bool,
        now: Timestamp,
    ) -> Result<Option<Membership>, NotAdmitted> {
        let known = self.read(|known| {
            let known = known.membership(worker);
            known.map(|(membership, record)| (membership, record.revoked_at.is_some()))
        });
        match (known, shown) {
            (Some((membership, false)), _) => Ok(Some(membership)),
            (Some((_, true)), None) if is_needed => Err(Uninvited::Revoked.into()),
            // Who came with the same one is the same voice still.
            (Some((membership, true)), None) => Ok(Some(membership)),
            (None, None) if is_needed => Err(Uninvited::Needed.into()),
            (None, None) => Ok(None),
            (_, Some(shown)) => {
                let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
                let invitation = self.read(|known| known.usable(shown, now))?;
                let mut writes = Writes::default();
                writes.invited(worker, invitation);
                self.records.commit(writes)?;
                self.write(|known| known.join(worker, invitation));
                Ok(self.of(worker))
            }
        }
    }

    /// Creates an invitation. Its secret is in the answer and nowhere else. `log` makes it durable together with what the audit log says of it;
    /// `by` is who asked. Blocks.
    ///
    /// # Errors
    /// [`Kind::Invalid`], [`Kind::Conflict`] when there are too many, or what the disk says.
    pub fn create(
        &self,
        new: NewInvitation,
        now: Timestamp,
        by: String,
        log: impl FnOnce(Event, Writes) -> Result<(), RecordError>,
    ) -> Answer<CreatedInvitation> {
        let NewInvitation { owner, uses, days } = new;
        if owner.as_ref().is_some_and(|owner| !is_name(owner)) {
            let detail =
                format!("`owner` has to be 1 to {NAME_CHARS_MAX} printable characters without space at its ends");
            return Err(ApiError::new(Kind::Invalid, detail));
        }
        let uses = uses.unwrap_or(1);
        for (name, value, range) in [("uses", Some(uses), USES), ("days", days, DAYS)] {
            if value.is_some_and(|value| !range.contains(&value)) {
                let detail = format!("`{name}` has to be {} to {}", range.start(), range.end());
                return Err(ApiError::new(Kind::Invalid, detail));
            }
        }
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.read(|known| known.invitations.len()) >= INVITATIONS_MAX {
            let detail =
                format!("there are {INVITATIONS_MAX} invitations, and no more are kept; revoke some that nobody used");
            return Err(ApiError::new(Kind::Conflict, detail));
        }
        let secret = Secret::draw(PREFIX).map_err(|error| ApiError::internal(&error))?;
        let (digest, expires_at) = (secret.digest(), days.map(|days| now.after(DAY.saturating_mul(days))));
        let record = InvitationRecord { owner: owner.clone(), uses, created_at: now, expires_at, revoked_at: None };
        let mut writes = Writes::default();
        writes.invitation(digest, &record);
        let event = Event::InvitationCreated { invitation: id_of(&digest), owner: owner.clone(), uses, expires_at, by };
        log(event, writes)?;
        self.write(|known| known.invitations.insert(digest, record));
        Ok(CreatedInvitation { id: id_of(&digest), owner, uses, expires_at, invitation: secret.expose().to_owned() })
    }

    /// Takes an invitation back: nobody comes with it any more, and it says who came. One that nobody used is forgotten. `log` and `by` are as
    /// above. Blocks.
    ///
    /// # Errors
    /// [`Kind::NotFound`], or what the disk says.
    pub fn revoke(
        &self,
        id: &str,
        now: Timestamp,
        by: String,
        log: impl FnOnce(Event, Writes) -> Result<(), RecordError>,
    ) -> Answer<BTreeSet<WorkerId>> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.read(|known| {
            let found = known.invitations.iter().find(|(digest, _)| id_of(digest) == id);
            found.map(|(digest, record)| (*digest, record.clone(), known.workers.get(digest).cloned()))
        });
        let Some((digest, record, workers)) = found else { return Err(ApiError::not_found("invitation", id)) };
        let workers = workers.unwrap_or_default();
        if record.revoked_at.is_some() {
            return Ok(workers);
        }
        let mut writes = Writes::default();
        let used = u32::try_from(workers.len()).unwrap_or(u32::MAX);
        let event = Event::InvitationRevoked { invitation: id_of(&digest), used, by };
        if workers.is_empty() {
            writes.no_invitation(digest);
            log(event, writes)?;
            self.write(|known| known.invitations.remove(&digest));
        } else {
            let record = InvitationRecord { revoked_at: Some(now), ..record };
            writes.invitation(digest, &record);
            log(event, writes)?;
            self.write(|known| known.invitations.insert(digest, record));
        }
        Ok(workers)
    }

    /// All invitations without their secrets, oldest first.
    pub fn list(&self) -> InvitationList {
        let mut invitations: Vec<InvitationView> = self.read(|known| {
            let view = |(digest, record): (&Digest, &InvitationRecord)| InvitationView {
                id: id_of(digest),
                owner: record.owner.clone(),
                uses: record.uses,
                used: known.used(digest),
                created_at: record.created_at,
                expires_at: record.expires_at,
                revoked_at: record.revoked_at,
            };
            known.invitations.iter().map(view).collect()
        });
        invitations.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        InvitationList { invitations }
    }

    fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Changes invitations on a thread where blocking is fine, and goes on to the end even when the client hangs up.
///
/// # Errors
/// Those of `change`.
pub async fn change<T: Send + 'static>(
    app: &App,
    change: impl FnOnce(&App) -> Answer<T> + Send + 'static,
) -> Answer<T> {
    let app = app.clone();
    let changed = tokio::task::spawn_blocking(move || change(&app)).await;
    changed.unwrap_or_else(|error| Err(ApiError::internal(&error)))
}

/// Names an invitation by 80 bits of its digest, of which nobody can guess its 256 bits.
fn id_of(digest: &Digest) -> String {
    format!("inv_{}", BASE32_NOPAD.encode(&digest.as_bytes()[..10]).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use manyhands_audit::Entry;
    use manyhands_state::MemoryStore;
    use manyhands_store::Blobs;

    use super::*;
    use crate::audit::Ledger;
    use crate::metrics::Metrics;

    const NOW: Timestamp = Timestamp(1_000_000);

    struct World {
        _dir: tempfile::TempDir,
        records: Records,
        invitations: Invitations,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let records = Records::new(Arc::new(MemoryStore::new()), Blobs::local(dir.path()).unwrap(), Metrics::new());
            Self { invitations: Invitations::load(&records).unwrap(), records, _dir: dir }
        }

        fn create(&self, owner: Option<&str>, uses: u32, days: Option<u32>) -> (String, Invitation) {
            let new = NewInvitation { owner: owner.map(str::to_owned), uses: Some(uses), days };
            let created = self.invitations.create(new, NOW, "ann".into(), self.log()).unwrap();
            (created.id, Invitation(created.invitation))
        }

        /// As the coordinator does it.
        fn log(&self) -> impl FnOnce(Event, Writes) -> Result<(), RecordError> {
            |event, writes| Ledger::default().commit(&self.records, NOW, vec![event], writes)
        }

        fn revoke(&self, id: &str) -> Answer<BTreeSet<WorkerId>> {
            self.invitations.revoke(id, NOW, "bob".into(), self.log())
        }

        /// What the audit log says.
        fn events(&self) -> Vec<Event> {
            let lines = self.records.audit(0, usize::MAX).unwrap();
            lines.iter().map(|line| Entry::read(line).unwrap().event).collect()
        }

        fn admit(&self, who: u8, shown: Option<&Invitation>, is_needed: bool) -> Result<Option<Membership>, Uninvited> {
            self.admit_at(NOW, who, shown, is_needed)
        }

        fn admit_at(
            &self,
            now: Timestamp,
            who: u8,
            shown: Option<&Invitation>,
            is_needed: bool,
        ) -> Result<Option<Membership>, Uninvited> {
            self.invitations.admit(worker(who), shown, is_needed, now).map_err(|error| match error {
                NotAdmitted::Uninvited(why) => why,
                NotAdmitted::Record(error) => panic!("{error}"),
            })
        }
    }

    fn worker(number: u8) -> WorkerId {
        WorkerId([number; 32])
    }

    #[test]
    fn who_came_with_an_invitation_needs_it_no_more_and_a_restart_knows_that() {
        let mut world = World::new();
        let (id, invitation) = world.create(Some("ann"), 2, None);
        assert_eq!(world.admit(1, None, true), Err(Uninvited::Needed));
        assert_eq!(world.admit(9, None, false), Ok(None));
        let ann = world.admit(1, Some(&invitation), true).unwrap().expect("a membership");
        assert_eq!((ann.owner.as_deref(), &ann.id), (Some("ann"), &id));
        for _ in 0..2 {
            assert_eq!(world.admit(1, None, true), Ok(Some(ann.clone())));
            world.invitations = Invitations::load(&world.records).unwrap();
        }
        assert_eq!(world.admit(2, Some(&invitation), true), Ok(Some(ann.clone())));
        assert_eq!(world.admit(3, Some(&invitation), true), Err(Uninvited::UsedUp));
        assert_eq!(world.admit(2, Some(&invitation), true), Ok(Some(ann)), "it has its place");
        assert_eq!(world.invitations.list().invitations[0].used, 2);
    }

    #[test]
    fn what_does_not_hold_lets_nobody_in_and_whoever_shows_it_is_told_why() {
        let world = World::new();
        let (id, invitation) = world.create(None, 5, Some(1));
        let spoilt = |Invitation(text): &Invitation| {
            let other = if &text[4..6] == "zz" { "aa" } else { "zz" };
            Invitation(format!("{}{other}{}", &text[..4], &text[6..]))
        };
        for bad in ["", "mhi_", "mht_aaaa", &"x".repeat(1_000_000), &spoilt(&invitation).0] {
            let bad = Invitation(bad.to_owned());
            for is_needed in [true, false] {
                assert_eq!(world.admit(1, Some(&bad), is_needed), Err(Uninvited::Unknown));
            }
        }
        let tomorrow = NOW.after(DAY);
        assert_eq!(world.admit_at(tomorrow, 1, Some(&invitation), true), Err(Uninvited::Expired));
        let first = world.admit(1, Some(&invitation), true).unwrap();
        assert_eq!(world.admit_at(tomorrow, 1, None, true), Ok(first.clone()), "it came in time");
        assert_eq!(world.revoke(&id).unwrap(), BTreeSet::from([worker(1)]));
        assert_eq!(world.admit(2, Some(&invitation), true), Err(Uninvited::Revoked));
        assert_eq!(world.admit(1, None, true), Err(Uninvited::Revoked));
        assert_eq!(world.admit(1, None, false), Ok(first), "where all may come it stays the voice that it was");
        let (_, another) = world.create(Some("bob"), 1, None);
        assert_eq!(world.admit(1, Some(&another), true).unwrap().unwrap().owner.as_deref(), Some("bob"));
        let list = world.invitations.list().invitations;
        assert!(list.iter().all(|it| it.used == u32::from(it.id != id)), "it has left the first: {list:?}");
        assert_eq!(world.revoke("inv_nobody").unwrap_err().kind, Kind::NotFound);
    }

    #[test]
    fn what_nobody_used_is_forgotten_when_it_is_revoked() {
        let world = World::new();
        let (id, invitation) = world.create(None, 1, None);
        assert!(world.revoke(&id).unwrap().is_empty());
        assert!(world.invitations.list().invitations.is_empty());
        assert_eq!(world.admit(1, Some(&invitation), true), Err(Uninvited::Unknown));
    }

    #[test]
    fn the_audit_log_says_who_invited_whom_and_who_took_it_back_each_once() {
        let world = World::new();
        let (used, invitation) = world.create(Some("ann"), 2, Some(1));
        let (unused, _) = world.create(None, 1, None);
        world.admit(1, Some(&invitation), true).unwrap();
        for id in [&used, &used, &unused] {
            world.revoke(id).unwrap();
        }
        world.revoke(&unused).unwrap_err();
        let created = |invitation: &str, owner: Option<&str>, uses, expires_at| Event::InvitationCreated {
            invitation: invitation.to_owned(),
            owner: owner.map(str::to_owned),
            uses,
            expires_at,
            by: "ann".into(),
        };
        let revoked = |invitation: &str, used| Event::InvitationRevoked {
            invitation: invitation.to_owned(),
            used,
            by: "bob".into(),
        };
        let expected = [
            created(&used, Some("ann"), 2, Some(NOW.after(DAY))),
            created(&unused, None, 1, None),
            revoked(&used, 1),
            revoked(&unused, 0),
        ];
        assert_eq!(world.events(), expected);
        // What cannot be logged has not happened.
        let full = |_, _| Err(RecordError::Missing("the disk".into()));
        let new = NewInvitation { owner: None, uses: None, days: None };
        world.invitations.create(new, NOW, "ann".into(), full).unwrap_err();
        assert_eq!(world.invitations.list().invitations.len(), 1);
    }

    #[test]
    fn a_secret_is_neither_stored_nor_printed() {
        let world = World::new();
        let (_, invitation) = world.create(Some("ann"), 1, None);
        world.admit(1, Some(&invitation), true).unwrap();
        let secret = invitation.0.strip_prefix(PREFIX).unwrap();
        for (key, record) in world.records.store().scan(manyhands_state::Table::Meta, &[], None, 10).unwrap() {
            let stored = [key, record.value].concat();
            assert!(!stored.windows(20).any(|window| secret.as_bytes().starts_with(window)));
        }
        assert_eq!(format!("{invitation:?}"), "Invitation(..)");
        assert!(!format!("{:?}", world.invitations.list()).contains(&secret[..20]));
    }

    #[test]
    fn an_invitation_is_for_some_workers_and_some_days() {
        let world = World::new();
        let new = |owner: Option<&str>, uses, days| NewInvitation { owner: owner.map(str::to_owned), uses, days };
        for (new, word) in [
            (new(Some(""), None, None), "owner"),
            (new(Some(" ann"), None, None), "owner"),
            (new(Some("a\nb"), None, None), "owner"),
            (new(None, Some(0), None), "uses"),
            (new(None, Some(10_001), None), "uses"),
            (new(None, None, Some(0)), "days"),
            (new(None, None, Some(u32::MAX)), "days"),
        ] {
            let refused = world.invitations.create(new, NOW, "ann".into(), world.log()).unwrap_err();
            assert_eq!(refused.kind, Kind::Invalid);
            assert!(refused.detail.contains(word), "{}", refused.detail);
        }
        assert!(world.invitations.list().invitations.is_empty() && world.events().is_empty());
        let new = new(None, None, Some(30));
        let created = world.invitations.create(new, NOW, "ann".into(), world.log()).unwrap();
        assert_eq!((created.uses, created.expires_at), (1, Some(NOW.after(30 * DAY))));
    }
}
