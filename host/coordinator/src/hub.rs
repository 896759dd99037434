//! Who listens: connected workers, and people who follow a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use manyhands_model::{Digest, LeaseId, RunId, UnitId, WorkerId};
use manyhands_protocol::message::LIST_MAX;
use manyhands_protocol::{Body, ServerMessage};
use manyhands_scheduler::UnitRecord;
use manyhands_signing::{Signed, TrustList};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::core::NoRoom;

/// One worker's connection.
#[derive(Debug)]
pub struct Session {
    sender: mpsc::Sender<ServerMessage>,
    /// A newer connection of the same worker is there.
    pub taken_over: CancellationToken,
    /// It reads so slowly that messages were lost.
    pub too_slow: CancellationToken,
    /// It gets no more work, ever.
    pub banned: CancellationToken,
    /// What the worker says it is.
    pub body: Body,
    /// How many units it says it executes at once.
    pub slots: u16,
    /// Releases that it was sent.
    releases: Mutex<BTreeSet<Digest>>,
}

impl Session {
    /// Sends to the worker. One that reads so slowly that its queue is full is cut off; it connects anew and
    /// loses nothing.
    pub fn send(&self, message: ServerMessage) {
        if self.sender.try_send(message).is_err() {
            self.too_slow.cancel();
        }
    }

    /// Whether the worker has not been sent this release on this connection; from now on it has.
    pub fn is_new(&self, release: Digest) -> bool {
        lock(&self.releases).insert(release)
    }
}

/// Everybody who listens. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Hub(Arc<Lines>);

#[derive(Debug, Default)]
struct Lines {
    workers: Mutex<BTreeMap<WorkerId, Arc<Session>>>,
    runs: Mutex<BTreeMap<RunId, watch::Sender<u64>>>,
    answers: Mutex<BTreeMap<UnitId, oneshot::Sender<Result<UnitRecord, NoRoom>>>>,
}

/// Nothing panics while one of these locks is held, and nothing awaits.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// A worker connected. An older connection of the same worker ends. At most `queue` messages wait for
    /// it: one that reads so slowly is cut off, connects anew and loses nothing.
    pub fn join(
        &self,
        worker: WorkerId,
        body: Body,
        slots: u16,
        queue: usize,
    ) -> (Arc<Session>, mpsc::Receiver<ServerMessage>) {
        let (sender, receiver) = mpsc::channel(queue);
        let (taken_over, too_slow, banned) = Default::default();
        let session = Session { sender, taken_over, too_slow, banned, body, slots, releases: Mutex::default() };
        let session = Arc::new(session);
        if let Some(older) = lock(&self.0.workers).insert(worker, Arc::clone(&session)) {
            older.taken_over.cancel();
        }
        (session, receiver)
    }

    /// A connection is gone. Says whether it was the worker's current one.
    pub fn leave(&self, worker: WorkerId, session: &Arc<Session>) -> bool {
        let mut workers = lock(&self.0.workers);
        let current = workers.get(&worker).is_some_and(|current| Arc::ptr_eq(current, session));
        if current {
            workers.remove(&worker);
        }
        current
    }

    /// A worker's connection, if there is one.
    pub fn session(&self, worker: WorkerId) -> Option<Arc<Session>> {
        lock(&self.0.workers).get(&worker).cloned()
    }

    /// Sends to a worker, if it is connected.
    pub fn send(&self, worker: WorkerId, message: ServerMessage) {
        if let Some(session) = self.session(worker) {
            session.send(message);
        }
    }

    /// Tells a worker, if it is connected, that these need not be executed any more.
    pub fn cancel(&self, worker: WorkerId, leases: &[LeaseId]) {
        for some in leases.chunks(LIST_MAX) {
            self.send(worker, ServerMessage::Cancel(some.to_vec()));
        }
    }

    /// Ends the connection of a worker that gets no more work.
    pub fn ban(&self, worker: WorkerId) {
        if let Some(session) = self.session(worker) {
            session.banned.cancel();
        }
    }

    /// Tells every connected worker whom to believe from now on.
    pub fn trust(&self, list: &Signed<TrustList>) {
        for session in self.workers().values() {
            // What the worker believed under the older list, it may have dropped.
            lock(&session.releases).clear();
            session.send(ServerMessage::Trust(list.clone()));
        }
    }

    /// The connected workers.
    pub fn workers(&self) -> BTreeMap<WorkerId, Arc<Session>> {
        lock(&self.0.workers).clone()
    }

    /// How many workers are connected.
    pub fn connected(&self) -> usize {
        lock(&self.0.workers).len()
    }

    /// Changes whenever something about the run is durable that was not before.
    pub fn follow(&self, run: RunId) -> watch::Receiver<u64> {
        lock(&self.0.runs).entry(run).or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// Something about the run is durable that was not before.
    pub fn changed(&self, run: RunId) {
        let mut runs = lock(&self.0.runs);
        if let Some(feed) = runs.get(&run) {
            if feed.receiver_count() == 0 {
                runs.remove(&run);
            } else {
                feed.send_modify(|version| *version += 1);
            }
        }
    }

    /// Waits for the end of one unit.
    pub fn answer(&self, unit: UnitId) -> Answer {
        let (sender, receiver) = oneshot::channel();
        lock(&self.0.answers).insert(unit, sender);
        Answer { hub: self.clone(), unit, receiver }
    }

    /// A unit ended, on disk.
    pub fn ended(&self, unit: UnitId, record: &UnitRecord) {
        if let Some(waiting) = lock(&self.0.answers).remove(&unit) {
            // Whoever waited may have gone.
            let _gone = waiting.send(Ok(record.clone()));
        }
    }

    /// A unit will not be executed.
    pub fn refuse(&self, unit: UnitId, full: NoRoom) {
        if let Some(waiting) = lock(&self.0.answers).remove(&unit) {
            let _gone = waiting.send(Err(full));
        }
    }
}

/// Somebody waits for the end of one unit.
pub struct Answer {
    hub: Hub,
    unit: UnitId,
    receiver: oneshot::Receiver<Result<UnitRecord, NoRoom>>,
}

impl Answer {
    /// The unit as it ended; none if the coordinator stops.
    ///
    /// # Errors
    /// [`NoRoom`] for it.
    pub async fn wait(&mut self) -> Result<Option<UnitRecord>, NoRoom> {
        (&mut self.receiver).await.ok().transpose()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        lock(&self.hub.0.answers).remove(&self.unit);
    }
}
