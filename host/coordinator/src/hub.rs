//! Who listens: connected workers, and people who follow a run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use manyhands_model::{RunId, WorkerId};
use manyhands_protocol::{Body, ServerMessage};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// One worker's connection.
#[derive(Debug)]
pub struct Session {
    sender: mpsc::Sender<ServerMessage>,
    /// A newer connection of the same worker is there.
    pub taken_over: CancellationToken,
    /// It reads so slowly that messages were lost.
    pub too_slow: CancellationToken,
    /// What the worker says it is.
    pub body: Body,
    /// How many units it says it executes at once.
    pub slots: u16,
}

/// Everybody who listens. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Hub(Arc<Lines>);

#[derive(Debug, Default)]
struct Lines {
    workers: Mutex<BTreeMap<WorkerId, Arc<Session>>>,
    runs: Mutex<BTreeMap<RunId, watch::Sender<u64>>>,
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
        let (taken_over, too_slow) = (CancellationToken::new(), CancellationToken::new());
        let session = Arc::new(Session { sender, taken_over, too_slow, body, slots });
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

    /// Sends to a worker, if it is connected.
    pub fn send(&self, worker: WorkerId, message: ServerMessage) {
        let session = lock(&self.0.workers).get(&worker).cloned();
        if let Some(session) = session
            && session.sender.try_send(message).is_err()
        {
            session.too_slow.cancel();
        }
    }

    /// Sends to every connected worker.
    pub fn send_all(&self, message: &ServerMessage) {
        for worker in self.workers().keys() {
            self.send(*worker, message.clone());
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
}
