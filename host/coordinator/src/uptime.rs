//! How long workers were there: looked at every few seconds, and written down every minute.
//!
//! What the coordinator's own time is measured against is written in the same commit, so a crash takes the same minute from both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use manyhands_credit::{Attendance, Presence, Uptime};
use manyhands_model::{Timestamp, WorkerId};
use tracing::warn;

use crate::app::App;
use crate::records::{RecordError, Records, Writes};

/// How often somebody looks who is there.
const LOOK: Duration = Duration::from_secs(5);
/// Workers that are away and remembered: beyond, those are forgotten first that were there for the shortest time. An identity costs nothing.
const REMEMBERED: usize = 100_000;
/// Workers in one commit: some 300 bytes each, far less than it may have.
const COMMIT: usize = 10_000;
/// After so many looks what was seen is written down.
const LOOKS: u32 = 12;

/// Who was there for how long.
pub struct Uptimes(Mutex<Seen>);

struct Seen {
    counted: Attendance,
    /// See [`REMEMBERED`].
    most: usize,
    workers: BTreeMap<WorkerId, Presence>,
    /// Of whom the disk does not know all yet, or knows more than is remembered.
    unwritten: BTreeSet<WorkerId>,
}

impl Seen {
    /// Forgets some of those who are away, once there are an eighth more than may be; so each is looked at a few times at most.
    fn forget(&mut self, there: &BTreeSet<WorkerId>) {
        if self.workers.len() <= there.len() + self.most + self.most / 8 {
            return;
        }
        let away = self.workers.iter().filter(|(worker, _)| !there.contains(worker));
        let mut away: Vec<_> = away.map(|(worker, presence)| (presence.weight(), *worker)).collect();
        let Some(beyond) = away.len().checked_sub(self.most).filter(|beyond| *beyond > 0) else { return };
        away.select_nth_unstable(beyond - 1);
        for (_, worker) in away.into_iter().take(beyond) {
            self.workers.remove(&worker);
            self.unwritten.insert(worker);
        }
    }
}

/// How long one of them was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attended {
    /// When it was first there.
    pub since: Timestamp,
    /// The share of the time since then; none while nothing was counted.
    pub ever: Option<Uptime>,
    /// The same of the last thirty days.
    pub lately: Option<Uptime>,
}

impl Uptimes {
    /// As it is on the disk.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn load(records: &Records) -> Result<Self, RecordError> {
        Self::load_most(records, REMEMBERED)
    }

    fn load_most(records: &Records, most: usize) -> Result<Self, RecordError> {
        let (counted, workers) = (records.attendance()?, records.presences()?);
        let seen = Seen { counted, most, workers: workers.into_iter().collect(), unwritten: BTreeSet::new() };
        Ok(Self(Mutex::new(seen)))
    }

    /// How long a worker was there; none if nobody has looked yet since it came.
    pub fn of(&self, worker: WorkerId, now: Timestamp) -> Option<Attended> {
        let seen = self.seen();
        let presence = seen.workers.get(&worker)?;
        let (ever, lately) = (presence.ever(&seen.counted), presence.lately(now, &seen.counted));
        Some(Attended { since: presence.since, ever, lately })
    }

    /// These were there at `now`, so long after somebody looked last.
    fn look(&self, now: Timestamp, passed: Duration, there: impl IntoIterator<Item = WorkerId>) {
        let mut seen = self.seen();
        let there: BTreeSet<WorkerId> = there.into_iter().collect();
        let Seen { counted, workers, unwritten, .. } = &mut *seen;
        // Longer than that, this process was not carried out and saw nobody.
        let passed = u32::try_from(passed.min(2 * LOOK).as_millis()).unwrap_or(u32::MAX);
        let before = counted.clone();
        counted.add(now, passed);
        for worker in &there {
            workers.entry(*worker).or_insert_with(|| Presence::new(now, &before)).add(now, passed);
            unwritten.insert(*worker);
        }
        seen.forget(&there);
    }

    /// What is not on the disk yet, in as many commits as it takes, and of whom each tells. Whoever is in a later one that a crash takes away has
    /// been away for a minute.
    fn write(&self) -> Vec<(Writes, Vec<WorkerId>)> {
        let mut seen = self.seen();
        let unwritten: Vec<WorkerId> = std::mem::take(&mut seen.unwritten).into_iter().collect();
        // Time passes also where nobody is.
        let nobody = unwritten.is_empty().then_some(&[][..]);
        let commits = unwritten.chunks(COMMIT).chain(nobody).map(|workers| {
            let mut writes = Writes::default();
            writes.attendance(&seen.counted);
            for worker in workers {
                match seen.workers.get(worker) {
                    Some(presence) => writes.presence(*worker, presence),
                    None => writes.no_presence(*worker),
                }
            }
            (writes, workers.to_vec())
        });
        commits.collect()
    }

    /// Nothing panics while it is held, and nothing awaits.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks who is there until the coordinator stops.
pub async fn keep(app: App) {
    let (mut every, mut looks, mut last) = (tokio::time::interval(LOOK), 0, Instant::now());
    loop {
        let is_stopping = app.stop.run_until_cancelled(every.tick()).await.is_none();
        let looked = Instant::now();
        app.uptimes.look(app.clock.now(), looked - last, app.hub.workers().into_keys());
        last = looked;
        looks += 1;
        if looks >= LOOKS || is_stopping {
            looks = 0;
            for (writes, unwritten) in app.uptimes.write() {
                if let Err(error) = app.blocking(move |records| records.commit(writes)).await {
                    warn!(%error, "how long workers were there is not written down; trying again in a minute");
                    app.uptimes.seen().unwritten.extend(unwritten);
                }
            }
        }
        if is_stopping {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use manyhands_state::MemoryStore;
    use manyhands_store::Blobs;

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn a_flood_of_identities_takes_no_room_and_nobodys_place_who_stays() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(Arc::new(MemoryStore::new()), Blobs::local(dir.path()).unwrap(), Metrics::new());
        let uptimes = Uptimes::load_most(&records, 16).unwrap();
        let identity = |number: u64| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            WorkerId(id)
        };
        let (steady, seldom) = (identity(u64::MAX), identity(u64::MAX - 1));
        let at = |look: u64| Timestamp(5_000 * look);
        for look in 1..=1_000 {
            let others = [Some(steady), Some(seldom).filter(|_| look % 100 < 5)].into_iter().flatten();
            uptimes.look(at(look), LOOK, others.chain([identity(look)]));
            assert!(uptimes.seen().workers.len() <= 16 + 2 + 3, "at {look}");
            if look % 12 == 0 {
                uptimes.write().into_iter().for_each(|(writes, _)| records.commit(writes).unwrap());
            }
        }
        uptimes.write().into_iter().for_each(|(writes, _)| records.commit(writes).unwrap());
        let known = records.presences().unwrap();
        assert_eq!(known.len(), uptimes.seen().workers.len(), "the disk forgets as well");
        let of = |uptimes: &Uptimes, worker| uptimes.of(worker, at(1_000)).and_then(|it| it.ever);
        let again = Uptimes::load_most(&records, 16).unwrap();
        for uptimes in [&uptimes, &again] {
            assert_eq!(of(uptimes, steady), Some(Uptime(1_000_000)));
            assert_eq!(of(uptimes, seldom), Some(Uptime(50_000)), "of all the time that was counted since it came");
            assert_eq!(of(uptimes, identity(1)), None);
        }
    }

    #[test]
    fn what_was_seen_is_known_after_a_restart_and_the_time_between_counts_for_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(Arc::new(MemoryStore::new()), Blobs::local(dir.path()).unwrap(), Metrics::new());
        let (steady, flighty) = (WorkerId([1; 32]), WorkerId([2; 32]));
        let at = |second: u64| Timestamp(1_000 * second);
        let uptimes = Uptimes::load(&records).unwrap();
        for look in 1..=4 {
            let there = [Some(steady), Some(flighty).filter(|_| look == 1)];
            uptimes.look(at(5 * look), LOOK, there.into_iter().flatten());
        }
        uptimes.write().into_iter().for_each(|(writes, _)| records.commit(writes).unwrap());
        // This is seen and not written, for nobody.
        uptimes.look(at(25), LOOK, [flighty]);

        let uptimes = Uptimes::load(&records).unwrap();
        let of = |worker| uptimes.of(worker, at(90_000)).map(|it| (it.since, it.ever, it.lately));
        assert_eq!(of(steady), Some((at(5), Some(Uptime(1_000_000)), Some(Uptime(1_000_000)))));
        assert_eq!(of(flighty), Some((at(5), Some(Uptime(250_000)), Some(Uptime(250_000)))));
        assert_eq!(of(WorkerId([3; 32])), None);
        // A computer that slept saw nobody.
        uptimes.look(at(90_000), Duration::from_secs(80_000), [steady]);
        assert_eq!(of(flighty).and_then(|of| of.1), Some(Uptime(166_666)));
    }
}
