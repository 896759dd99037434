//! Whose calls are made next.
//!
//! Calls that are too many are made later, and none of them fails for it: budgets say how many there may be, this says how
//! soon. Each requester has a row. Who is first in it waits until the requester's bucket and the job's have what its unit
//! asks for; so a job that many requesters run serves them in turn, however long the row behind one of them is. And of an
//! API that takes its time, nobody takes all the places for calls under way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Bucket, Rate};
use crate::metrics::{Delayed, Metrics};
use crate::settings::Throttling;

/// Requests of one requester that are dealt with at once: enough for every place that calls under way have, and as many that come next.
const REQUESTS_MAX: usize = 256;

/// By name. Names are those of tokens and of jobs, so there are no more than operators and publishers have made.
type Named<T> = Mutex<BTreeMap<String, Arc<T>>>;

/// A bucket for which whoever wants something of it waits in a row.
type Row = tokio::sync::Mutex<Bucket>;

struct Requester {
    row: Row,
    under_way: Arc<Semaphore>,
    /// Places for requests that are dealt with.
    inside: Arc<Semaphore>,
}

/// How time passes. In tests, when they say so.
pub trait Time: Send + Sync {
    /// How much has passed since some moment.
    fn now(&self) -> Duration;
    /// Lets so much pass.
    fn pass(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// Time as it is, since this was made.
pub struct Passing(Instant);

impl Time for Passing {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// Turns of those who make calls.
pub struct Turns<T = Passing> {
    time: T,
    metrics: Metrics,
    under_way_max: usize,
    of_requesters: Option<Rate>,
    of_jobs: Option<Rate>,
    requesters: Named<Requester>,
    jobs: Named<Row>,
}

/// The right to make some calls, given back when dropped.
#[derive(Debug)]
pub struct Turn {
    _under_way: OwnedSemaphorePermit,
}

impl Turns {
    /// At most so many calls of one requester are under way at once; no unit may ask for more.
    pub fn new(settings: &Throttling, under_way_max: usize, metrics: Metrics) -> Self {
        Self::over(Passing(Instant::now()), settings, under_way_max, metrics)
    }
}

impl<T: Time> Turns<T> {
    fn over(time: T, settings: &Throttling, under_way_max: usize, metrics: Metrics) -> Self {
        let rate = |per_second| Rate::new(per_second, settings.burst_seconds);
        Self {
            time,
            metrics,
            under_way_max,
            of_requesters: rate(settings.requester_calls_per_second),
            of_jobs: rate(settings.job_calls_per_second),
            requesters: Mutex::default(),
            jobs: Mutex::default(),
        }
    }

    /// Waits for a place among the requests of this requester that are dealt with: of those before it, nothing is in memory but that they
    /// wait. It is given back when dropped.
    pub async fn enter(&self, requester: &str) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        Arc::clone(&self.of(requester).inside).acquire_owned().await.ok()
    }

    fn of(&self, requester: &str) -> Arc<Requester> {
        named(&self.requesters, requester, || Requester {
            row: Row::default(),
            under_way: Arc::new(Semaphore::new(self.under_way_max)),
            inside: Arc::new(Semaphore::new(REQUESTS_MAX)),
        })
    }

    /// Waits until so many calls may be made. None if they are not `wanted` any more when their turn comes.
    ///
    /// # Errors
    /// What `wanted` fails with.
    pub async fn take<E>(
        &self,
        requester: &str,
        job: &str,
        calls: u32,
        wanted: impl Future<Output = Result<bool, E>>,
    ) -> Result<Option<Turn>, E> {
        let requester = self.of(requester);
        let job = named(&self.jobs, job, Row::default);
        // Nobody closes it.
        let Ok(under_way) = Arc::clone(&requester.under_way).acquire_many_owned(calls).await else { return Ok(None) };
        let mut of_requester = requester.row.lock().await;
        // A row of those whom nobody wants any more is gone through at once.
        if !wanted.await? {
            return Ok(None);
        }
        let mut is_delayed = false;
        for _ in 0..calls {
            is_delayed |= self.one(&mut of_requester, self.of_requesters).await;
        }
        // Only now: who waits for a requester's own turn keeps nobody else in the job's row waiting.
        let mut of_job = job.lock().await;
        for _ in 0..calls {
            is_delayed |= self.one(&mut of_job, self.of_jobs).await;
        }
        if is_delayed {
            self.metrics.delayed(Delayed::Calls);
        }
        Ok(Some(Turn { _under_way: under_way }))
    }

    /// Waits for one. Says whether it had to.
    async fn one(&self, bucket: &mut Bucket, rate: Option<Rate>) -> bool {
        let Some(rate) = rate else { return false };
        let mut is_delayed = false;
        while let Err(wait) = bucket.take(rate, self.time.now()) {
            is_delayed = true;
            self.time.pass(wait).await;
        }
        is_delayed
    }
}

fn named<T>(all: &Named<T>, name: &str, new: impl FnOnce() -> T) -> Arc<T> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.get(name) {
        return Arc::clone(known);
    }
    Arc::clone(all.entry(name.to_owned()).or_insert_with(|| Arc::new(new())))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::sync::oneshot;

    use super::*;

    /// Time that stands still until it is moved on, and wakes whoever waits on the way.
    #[derive(Default)]
    struct Still(Mutex<Clock>);

    #[derive(Default)]
    struct Clock {
        now: Duration,
        waiting: Vec<(Duration, oneshot::Sender<()>)>,
    }

    impl Time for Still {
        fn now(&self) -> Duration {
            self.0.lock().unwrap().now
        }

        async fn pass(&self, time: Duration) {
            let (wake, woken) = oneshot::channel();
            {
                let mut clock = self.0.lock().unwrap();
                let at = clock.now + time;
                clock.waiting.push((at, wake));
            }
            woken.await.unwrap();
        }
    }

    /// Some who ask for calls, and in which order they may make them.
    struct World {
        turns: Arc<Turns<Still>>,
        order: Arc<Mutex<Vec<&'static str>>>,
    }

    impl World {
        fn new(requester: u32, job: u32) -> Self {
            let settings = Throttling {
                requester_calls_per_second: requester,
                job_calls_per_second: job,
                burst_seconds: 1,
                ..Throttling::default()
            };
            let turns = Turns::over(Still::default(), &settings, 64, Metrics::new());
            Self { turns: Arc::new(turns), order: Arc::default() }
        }

        /// Some units of `requester` ask for so many calls of `job` each.
        async fn ask(&self, units: usize, requester: &'static str, job: &'static str, calls: u32) {
            for _ in 0..units {
                let (turns, order) = (Arc::clone(&self.turns), Arc::clone(&self.order));
                tokio::spawn(async move {
                    let turn = turns.take(requester, job, calls, wanted(true)).await.unwrap();
                    order.lock().unwrap().push(requester);
                    drop(turn);
                });
            }
            self.settle().await;
        }

        /// Lets everybody go as far as they get at this moment.
        async fn settle(&self) {
            // All of them are tasks of this thread, and one wakes the next.
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
        }

        async fn pass(&self, time: Duration) {
            let end = self.turns.time.now() + time;
            loop {
                let next = {
                    let mut clock = self.turns.time.0.lock().unwrap();
                    clock.waiting.sort_by_key(|(at, _)| *at);
                    let is_due = clock.waiting.first().is_some_and(|(at, _)| *at <= end);
                    let next = is_due.then(|| clock.waiting.remove(0));
                    clock.now = next.as_ref().map_or(end, |(at, _)| *at);
                    next
                };
                let Some((_, wake)) = next else { return };
                wake.send(()).unwrap();
                self.settle().await;
            }
        }

        fn order(&self) -> Vec<&'static str> {
            self.order.lock().unwrap().clone()
        }
    }

    async fn wanted(wanted: bool) -> Result<bool, Infallible> {
        Ok(wanted)
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn calls_beyond_the_rate_wait_and_none_is_lost() {
        let world = World::new(10, 0);
        world.ask(60, "mallory", "letters", 1).await;
        for passed in 1..=5 {
            assert_eq!(world.order().len(), 10 * passed, "ten at once, and ten a second");
            world.pass(seconds(1)).await;
        }
        assert_eq!(world.order().len(), 60);
        let page = world.turns.metrics.text();
        assert!(page.contains(r#"manyhands_delayed_total{what="calls"} 50"#), "{page}");
    }

    #[tokio::test]
    async fn whoever_floods_a_job_stands_in_their_own_row() {
        // The job is slower than its requesters may be.
        let world = World::new(100, 10);
        world.ask(60, "mallory", "letters", 1).await;
        world.ask(3, "ada", "letters", 1).await;
        world.ask(1, "bob", "reports", 1).await;
        assert_eq!(world.order().last(), Some(&"bob"), "another job, and at once");
        world.pass(seconds(60)).await;
        let order = world.order();
        assert_eq!(order.len(), 64);
        let of_ada: Vec<_> = (0..64).filter(|at| order[*at] == "ada").collect();
        assert_eq!(of_ada, [12, 14, 16], "in turn with mallory: {order:?}");
    }

    #[tokio::test]
    async fn a_unit_that_asks_for_more_than_a_burst_waits_for_all_of_it() {
        let world = World::new(10, 0);
        world.ask(1, "ada", "letters", 64).await;
        world.pass(Duration::from_millis(5_399)).await;
        assert_eq!(world.order().len(), 0, "ten at once, and fifty-four more");
        world.pass(Duration::from_millis(1)).await;
        assert_eq!(world.order().len(), 1);
    }

    #[tokio::test]
    async fn a_row_of_what_nobody_wants_any_more_keeps_nobody_waiting() {
        let World { turns, .. } = World::new(1, 0);
        assert!(turns.take("ada", "letters", 1, wanted(true)).await.unwrap().is_some());
        for _ in 0..1_000 {
            assert!(turns.take("ada", "letters", 1, wanted(false)).await.unwrap().is_none());
        }
        let unreadable = async { Err::<bool, _>("unreadable") };
        assert_eq!(turns.take("ada", "letters", 1, unreadable).await.err(), Some("unreadable"));
        let mut last = Box::pin(turns.take("ada", "letters", 1, wanted(true)));
        assert!(futures::poll!(&mut last).is_pending(), "the rate holds");
        assert_eq!(turns.time.0.lock().unwrap().waiting[0].0, seconds(1), "and nobody is before it");
    }

    #[tokio::test]
    async fn of_each_requester_so_many_requests_are_in_memory_and_others_come_when_they_go() {
        let World { turns, .. } = World::new(0, 0);
        let mut inside = Vec::new();
        for _ in 0..REQUESTS_MAX {
            inside.push(turns.enter("mallory").await.unwrap());
        }
        let mut next = Box::pin(turns.enter("mallory"));
        assert!(futures::poll!(&mut next).is_pending());
        assert!(turns.enter("ada").await.is_some());
        inside.pop();
        assert!(next.await.is_some());
    }

    #[tokio::test]
    async fn nobody_has_more_calls_under_way_than_their_share() {
        let World { turns, .. } = World::new(0, 0);
        let first = turns.take("mallory", "slow", 64, wanted(true)).await.unwrap();
        let mut second = Box::pin(turns.take("mallory", "slow", 1, wanted(true)));
        assert!(futures::poll!(&mut second).is_pending());
        assert!(turns.take("ada", "slow", 64, wanted(true)).await.unwrap().is_some());
        drop(first);
        assert!(second.await.unwrap().is_some());
    }
}
