//! Who listens: connected workers, and people who follow a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use manyhands_model::{Digest, LeaseId, RunId, UnitId, WorkerId};
use manyhands_protocol::message::LIST_MAX;
use manyhands_protocol::{Balance, Body, Hello, ServerMessage, Settlement};
use manyhands_scheduler::UnitRecord;
use manyhands_signing::{Signed, TrustList};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::core::NoRoom;

/// Inputs that wait for one worker to read them, in bytes; it gets no more until there are fewer. Many short ones for
/// a fast worker, and a long one never waits for another.
const INPUT_BYTES: usize = 4 << 20;

/// One worker's connection.
#[derive(Debug)]
pub struct Session {
    sender: mpsc::Sender<ServerMessage>,
    /// Bytes of inputs that the worker has not read.
    unread: watch::Sender<usize>,
    /// Whoever holds it may queue inputs next.
    turn: tokio::sync::Mutex<()>,
    /// A newer connection of the same worker is there.
    pub taken_over: CancellationToken,
    /// It reads so slowly that messages were lost.
    pub too_slow: CancellationToken,
    /// It gets no more work, ever.
    pub banned: CancellationToken,
    /// It is for something else from now on.
    pub reassigned: CancellationToken,
    /// What the worker says it is.
    pub body: Body,
    /// How many units it says it executes at once.
    pub slots: u16,
    /// Whether somebody watches it, who wants to know what became of its units.
    is_watched: bool,
    /// As it was told it last.
    balance: Mutex<Balance>,
    /// Releases that it was sent.
    releases: Mutex<BTreeSet<Digest>>,
}

impl Session {
    /// Sends to the worker. One that reads so slowly that its queue is full is cut off; it connects anew and
    /// loses nothing.
    pub fn send(&self, message: ServerMessage) {
        self.unread.send_if_modified(|unread| add(unread, input_bytes(&message)));
        if self.sender.try_send(message).is_err() {
            self.too_slow.cancel();
        }
    }

    /// Whether inputs may be queued without waiting for a [`Session::turn`].
    pub fn has_room(&self) -> bool {
        *self.unread.borrow() < INPUT_BYTES
    }

    /// Waits until the worker has read so much that inputs may be queued; whoever waits as well waits until this is
    /// dropped. None once the connection has ended.
    pub async fn turn(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let turn = async {
            let turn = self.turn.lock().await;
            self.unread.subscribe().wait_for(|unread| *unread < INPUT_BYTES).await.ok().map(|_| turn)
        };
        tokio::select! {
            turn = turn => turn,
            () = self.sender.closed() => None,
        }
    }

    /// Whether somebody watches the worker.
    pub const fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Tells the worker what it has earned and whether it should be looked at, unless it was told so last time.
    pub fn tell_balance(&self, balance: Balance) {
        let was = std::mem::replace(&mut *lock(&self.balance), balance);
        if (was.fuel, was.contradicted) != (balance.fuel, balance.contradicted) {
            self.send(ServerMessage::Balance(balance));
        }
    }

    /// Whether the worker has not been sent this release on this connection; from now on it has.
    pub fn is_new(&self, release: Digest) -> bool {
        lock(&self.releases).insert(release)
    }
}

/// Bytes of inputs in a message; nothing else is long.
fn input_bytes(message: &ServerMessage) -> usize {
    match message {
        ServerMessage::Grant(grant) => grant.inputs.iter().map(Bytes::len).sum(),
        ServerMessage::Challenge(_)
        | ServerMessage::Welcome(_)
        | ServerMessage::Refused { .. }
        | ServerMessage::Receipts(_)
        | ServerMessage::Cancel(_)
        | ServerMessage::Trust(_)
        | ServerMessage::Settled(_)
        | ServerMessage::Balance(_)
        | ServerMessage::Pong => 0,
    }
}

fn add(unread: &mut usize, bytes: usize) -> bool {
    *unread += bytes;
    bytes > 0
}

/// What waits for one worker.
pub struct Outbox {
    session: Arc<Session>,
    messages: mpsc::Receiver<ServerMessage>,
    /// Bytes of inputs in the message that was taken last.
    taken: usize,
}

impl Outbox {
    /// The next message, as soon as there is one. Taking it says that the one before is sent. Loses nothing when it is
    /// dropped early.
    pub async fn next(&mut self) -> Option<ServerMessage> {
        let sent = std::mem::take(&mut self.taken);
        self.session.unread.send_if_modified(|unread| {
            *unread -= sent;
            sent > 0
        });
        let message = self.messages.recv().await?;
        self.taken = input_bytes(&message);
        Some(message)
    }
}

/// As many workers are connected as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the coordinator has all the workers it can take")]
pub struct Full;

/// Everybody who listens. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Hub(Arc<Lines>);

#[derive(Debug, Default)]
struct Lines {
    workers: Mutex<Workers>,
    runs: Mutex<BTreeMap<RunId, watch::Sender<u64>>>,
    answers: Mutex<BTreeMap<UnitId, oneshot::Sender<Result<UnitRecord, NoRoom>>>>,
}

#[derive(Debug, Default)]
struct Workers {
    sessions: BTreeMap<WorkerId, Arc<Session>>,
    /// How many of those are watched.
    watched: usize,
    turnover: Turnover,
}

impl Workers {
    /// One that is connected already needs no other place.
    fn room_for(&self, worker: WorkerId, most: usize) -> Result<(), Full> {
        if self.sessions.len() >= most && !self.sessions.contains_key(&worker) { Err(Full) } else { Ok(()) }
    }
}

/// How many workers came and left since the coordinator began. One whose newer connection takes over stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turnover {
    /// They proved who they are.
    pub came: u64,
    /// Their connections ended.
    pub left: u64,
}

/// Nothing panics while one of these locks is held, and nothing awaits.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// A worker connected. An older connection of the same worker ends. At most `queue` messages wait for
    /// it: one that reads so slowly is cut off, connects anew and loses nothing.
    ///
    /// # Errors
    /// [`Full`] when `most` others are connected.
    pub fn join(
        &self,
        worker: WorkerId,
        hello: Hello,
        queue: usize,
        most: usize,
    ) -> Result<(Arc<Session>, Outbox), Full> {
        let Hello { greeting: _, body, slots, is_watched, invitation: _ } = hello;
        let mut workers = lock(&self.0.workers);
        workers.room_for(worker, most)?;
        let (sender, messages) = mpsc::channel(queue);
        let (taken_over, too_slow, banned, reassigned) = Default::default();
        let (unread, turn, balance, releases) = Default::default();
        let session = Session {
            sender,
            unread,
            turn,
            taken_over,
            too_slow,
            banned,
            reassigned,
            body,
            slots,
            is_watched,
            balance,
            releases,
        };
        let session = Arc::new(session);
        workers.watched += usize::from(is_watched);
        match workers.sessions.insert(worker, Arc::clone(&session)) {
            Some(older) => {
                workers.watched -= usize::from(older.is_watched);
                older.taken_over.cancel();
            }
            None => workers.turnover.came += 1,
        }
        let outbox = Outbox { session: Arc::clone(&session), messages, taken: 0 };
        Ok((session, outbox))
    }

    /// Whether a worker may join at this moment.
    ///
    /// # Errors
    /// [`Full`] when `most` others are connected.
    pub fn room_for(&self, worker: WorkerId, most: usize) -> Result<(), Full> {
        lock(&self.0.workers).room_for(worker, most)
    }

    /// A connection is gone. Says whether it was the worker's current one.
    pub fn leave(&self, worker: WorkerId, session: &Arc<Session>) -> bool {
        let mut workers = lock(&self.0.workers);
        let current = workers.sessions.get(&worker).is_some_and(|current| Arc::ptr_eq(current, session));
        if current {
            workers.sessions.remove(&worker);
            workers.watched -= usize::from(session.is_watched);
            workers.turnover.left += 1;
        }
        current
    }

    /// A worker's connection, if there is one.
    pub fn session(&self, worker: WorkerId) -> Option<Arc<Session>> {
        lock(&self.0.workers).sessions.get(&worker).cloned()
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

    /// Whether anybody wants to know what becomes of units.
    pub fn are_any_watched(&self) -> bool {
        lock(&self.0.workers).watched > 0
    }

    /// Tells a worker, if it is connected and watched, what became of units.
    pub fn settled(&self, worker: WorkerId, units: &[(UnitId, Settlement)]) {
        if let Some(session) = self.session(worker).filter(|session| session.is_watched) {
            units.chunks(LIST_MAX).for_each(|some| session.send(ServerMessage::Settled(some.to_vec())));
        }
    }

    /// Ends the connection of a worker that is for something else from now on; it connects anew.
    pub fn reassign(&self, worker: WorkerId) {
        if let Some(session) = self.session(worker) {
            session.reassigned.cancel();
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
        lock(&self.0.workers).sessions.clone()
    }

    /// How many workers are connected.
    pub fn connected(&self) -> usize {
        lock(&self.0.workers).sessions.len()
    }

    /// How many workers came and left so far.
    pub fn turnover(&self) -> Turnover {
        lock(&self.0.workers).turnover
    }

    /// Changes whenever something about the run is durable that was not before.
    pub fn follow(&self, run: RunId) -> watch::Receiver<u64> {
        let mut runs = lock(&self.0.runs);
        // Of a run that has ended nothing changes any more.
        runs.retain(|_, feed| feed.receiver_count() > 0);
        runs.entry(run).or_insert_with(|| watch::channel(0).0).subscribe()
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

#[cfg(test)]
mod tests {
    use futures::poll;
    use manyhands_model::Timestamp;
    use manyhands_protocol::{Grant, Greeting};
    use manyhands_signing::Keypair;

    use super::*;

    fn worker(index: u8) -> WorkerId {
        WorkerId([index; 32])
    }

    fn join(hub: &Hub, index: u8, most: usize) -> Result<(Arc<Session>, Outbox), Full> {
        hub.join(worker(index), hello(false), 8, most)
    }

    fn hello(is_watched: bool) -> Hello {
        let key = Keypair::from_seed(&[1; 32]);
        let greeting = Signed::new(&key, &Greeting { nonce: [0; 32], coordinator: key.public() });
        let body = Body { engine: String::new(), runtime: String::new() };
        Hello { greeting, body, slots: 1, is_watched, invitation: None }
    }

    #[tokio::test]
    async fn only_who_is_watched_hears_what_became_of_units() {
        let hub = Hub::default();
        let (_session, mut deaf) = join(&hub, 1, 9).unwrap();
        assert!(!hub.are_any_watched());
        let (_older, _outbox) = hub.join(worker(2), hello(true), 8, 9).unwrap();
        let (session, mut outbox) = hub.join(worker(2), hello(true), 8, 9).unwrap();
        assert!(hub.are_any_watched());
        let unit = UnitId { run: RunId([1; 16]), index: 3 };
        let units = vec![(unit, Settlement::Agreed { others: 1 })];
        hub.settled(worker(1), &units);
        hub.settled(worker(2), &units);
        assert_eq!(outbox.next().await, Some(ServerMessage::Settled(units)));
        assert!(poll!(Box::pin(deaf.next())).is_pending());
        assert!(hub.leave(worker(2), &session) && !hub.are_any_watched());
    }

    #[tokio::test]
    async fn what_was_earned_is_told_when_it_has_changed() {
        let hub = Hub::default();
        let (session, mut outbox) = join(&hub, 1, 9).unwrap();
        let balance = |(fuel, contradicted, settled)| Balance { fuel, contradicted, settled };
        let told = [(0, 0, 1), (7, 0, 2), (7, 0, 3), (7, 1, 4), (5, 1, 5)].map(balance);
        told.into_iter().for_each(|balance| session.tell_balance(balance));
        for at in [1, 3, 4] {
            assert_eq!(outbox.next().await, Some(ServerMessage::Balance(told[at])));
        }
        assert!(poll!(Box::pin(outbox.next())).is_pending());
    }

    fn grant(bytes: usize) -> ServerMessage {
        let leases = manyhands_protocol::Leases {
            worker: worker(1),
            run: RunId([0; 16]),
            job: "job".parse().unwrap(),
            serial: 1,
            module: Digest::of(b"module"),
            validity: manyhands_signing::Validity { issued_at: Timestamp(0), expires_at: Timestamp(1) },
            leases: Vec::new(),
        };
        let leases = Signed::new(&Keypair::from_seed(&[1; 32]), &leases);
        ServerMessage::Grant(Grant { leases, release: None, inputs: vec![vec![0; bytes].into()] })
    }

    #[test]
    fn a_place_is_for_one_worker_and_it_may_come_back_to_it() {
        let hub = Hub::default();
        let (older, _outbox) = join(&hub, 1, 1).unwrap();
        assert_eq!(join(&hub, 2, 1).err(), Some(Full));
        let (newer, _outbox) = join(&hub, 1, 1).unwrap();
        assert!(older.taken_over.is_cancelled() && !newer.taken_over.is_cancelled());
        assert!(!hub.leave(worker(1), &older), "the newer one stays");
        assert_eq!(join(&hub, 2, 1).err(), Some(Full));
        assert_eq!(hub.turnover(), Turnover { came: 1, left: 0 });
        assert!(hub.leave(worker(1), &newer));
        join(&hub, 2, 1).unwrap();
        assert_eq!(hub.turnover(), Turnover { came: 2, left: 1 });
    }

    #[tokio::test]
    async fn whoever_reads_nothing_gets_no_more_inputs_and_whoever_reads_gets_all() {
        let hub = Hub::default();
        let (session, mut outbox) = join(&hub, 1, 1).unwrap();
        session.send(grant(INPUT_BYTES - 1));
        drop(session.turn().await.expect("there is room"));
        session.send(grant(1));
        assert!(!session.has_room());
        let waiting = async {
            let turn = session.turn().await.expect("it reads on");
            session.send(grant(INPUT_BYTES));
            drop(turn);
            drop(session.turn().await.expect("it reads on"));
        };
        let mut waiting = Box::pin(waiting);
        assert!(poll!(&mut waiting).is_pending(), "nothing was read");
        outbox.next().await.expect("the first");
        assert!(poll!(&mut waiting).is_pending(), "the first is not sent yet");
        outbox.next().await.expect("the second");
        assert!(poll!(&mut waiting).is_pending(), "what came meanwhile is not read");
        outbox.next().await.expect("the third");
        assert!(poll!(&mut waiting).is_pending(), "the third is not sent yet");
        assert!(poll!(Box::pin(outbox.next())).is_pending(), "there is no more");
        waiting.await;
        assert!(!session.too_slow.is_cancelled());
    }

    #[tokio::test]
    async fn nobody_waits_for_a_connection_that_has_ended() {
        let hub = Hub::default();
        let (session, outbox) = join(&hub, 1, 1).unwrap();
        session.send(grant(INPUT_BYTES));
        let (turn, ()) = tokio::join!(session.turn(), async { drop(outbox) });
        assert!(turn.is_none());
    }
}
