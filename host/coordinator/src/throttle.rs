//! Who comes too often is told when to come again, or waits.
//!
//! Everybody has a token bucket: it holds what may come at once, fills up at a rate, and whoever comes takes one out.
//!
//! | who | whose bucket | when it is empty |
//! |---|---|---|
//! | a request with a known token | the token's, at its role's rate | 429, and when to come again |
//! | any other request, a connecting worker's too | the address's, of IPv6 the network's | the same |
//! | a worker that proved who it is | its key's | told when to come again; it keeps what it has finished |
//! | what a connected worker says | its connection's; see `workers.rs` | heard later |
//! | the calls of a unit | the requester's and the job's; see [`turns`] | they wait their turn |
//!
//! Who has a token answers for it alone: whatever else comes from the same address, or through the same proxy, does not
//! concern them. What is remembered is bounded. Where somebody has more addresses than that, those are forgotten first
//! that were quiet for longest; each had its share before.

pub mod turns;

use std::borrow::Borrow;
use std::hash::{Hash, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use lru::LruCache;
use manyhands_api::Role;
use manyhands_model::WorkerId;
use tracing::info;

use crate::app::App;
use crate::auth::{Caller, TOKENS_MAX};
use crate::metrics::{Metrics, Throttled};
use crate::problem::{Answer, ApiError, Kind};
use crate::serve::neighbourhood;
use crate::settings::Throttling;

/// Asked by whoever looks after the process, and cheaper to answer than to refuse.
const FREE: &[&str] = &["/livez", "/readyz"];
/// How often the log has a line about the same one.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// How often it has one about anybody: there is no end of addresses.
const LINES: Rate = Rate { every: Duration::from_secs(1), ahead: Duration::from_secs(60) };

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    every: Duration,
    /// How much earlier than at an even pace.
    ahead: Duration,
}

impl Rate {
    /// So often a second, and `burst_seconds` seconds' worth at once; none where nothing is limited, which 0 means.
    pub fn new(per_second: u32, burst_seconds: u32) -> Option<Self> {
        let every = Duration::from_secs(1).checked_div(per_second)?;
        Some(Self { every, ahead: Duration::from_secs(burst_seconds.max(1).into()) - every })
    }
}

/// A token bucket. All there is to know of one is when the next would come at an even pace: the generic cell rate
/// algorithm, as virtual scheduling (ITU-T I.371, Annex A).
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket(Duration);

impl Bucket {
    /// Takes one out at `now`, counted from a moment that stays the same.
    ///
    /// # Errors
    /// There is none; how long until there is. Nothing has changed then.
    pub fn take(&mut self, rate: Rate, now: Duration) -> Result<(), Duration> {
        let due = self.0.max(now);
        match (due - now).checked_sub(rate.ahead) {
            None | Some(Duration::ZERO) => {
                self.0 = due + rate.every;
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }
}

/// There was none in somebody's bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Empty {
    /// Until there is one.
    wait: Duration,
    /// How often that happened since the log told of it, if it is to tell of it now.
    tell: Option<u64>,
}

/// The buckets of those who came last.
struct Buckets<K> {
    rate: Option<Rate>,
    most: usize,
    // A std mutex: nothing awaits while it is held.
    known: Mutex<Known<K>>,
}

struct Known<K> {
    // The standard library's hasher: strangers choose the keys.
    guests: LruCache<K, Guest, RandomState>,
    lines: Bucket,
}

/// What is remembered of one.
#[derive(Default)]
struct Guest {
    bucket: Bucket,
    /// How often it was empty since the log told of it.
    unheard: u64,
    /// When the log told of it.
    told: Option<Duration>,
}

impl<K: Hash + Eq> Buckets<K> {
    fn new(rate: Option<Rate>, most: usize) -> Self {
        // Without a capacity, which would be taken at once.
        let guests = LruCache::unbounded_with_hasher(RandomState::new());
        Self { rate, most, known: Mutex::new(Known { guests, lines: Bucket::default() }) }
    }

    fn take<Q>(&self, key: &Q, now: Duration) -> Result<(), Empty>
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + Hash + Eq + ?Sized,
    {
        let Some(rate) = self.rate else { return Ok(()) };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { guests, lines } = &mut *known;
        let guest = guests.get_or_insert_mut_ref(key, Guest::default);
        let taken = guest.bucket.take(rate, now).map_err(|wait| {
            guest.unheard += 1;
            let is_due = guest.told.is_none_or(|told| told + TOLD_EVERY <= now);
            let tell = (is_due && lines.take(LINES, now).is_ok()).then(|| {
                guest.told = Some(now);
                std::mem::take(&mut guest.unheard)
            });
            Empty { wait, tell }
        });
        if guests.len() > self.most {
            guests.pop_lru();
        }
        taken
    }
}

/// Everybody's buckets.
pub struct Throttle {
    began: Instant,
    metrics: Metrics,
    addresses: Buckets<IpAddr>,
    requesters: Buckets<String>,
    developers: Buckets<String>,
    operators: Buckets<String>,
    workers: Buckets<WorkerId>,
}

impl Throttle {
    /// All full.
    pub fn new(settings: &Throttling, metrics: Metrics) -> Self {
        let rate = |per_second| Rate::new(per_second, settings.burst_seconds);
        let most = settings.remembered_max as usize;
        // There are no more tokens than that, so none is ever forgotten.
        let of_tokens = |per_second| Buckets::new(rate(per_second), TOKENS_MAX);
        Self {
            began: Instant::now(),
            metrics,
            addresses: Buckets::new(rate(settings.address_per_second), most),
            requesters: of_tokens(settings.requester_per_second),
            developers: of_tokens(settings.developer_per_second),
            operators: of_tokens(settings.operator_per_second),
            workers: Buckets::new(rate(settings.worker_connections_per_second), most),
        }
    }

    fn request(&self, caller: Option<&Caller>, peer: IpAddr, now: Duration) -> Answer<()> {
        let (taken, who) = match caller {
            None => (self.addresses.take(&neighbourhood(peer), now), Throttled::Address),
            Some(Caller { token, role, .. }) => {
                let (buckets, who) = match role {
                    Role::Requester => (&self.requesters, Throttled::Requester),
                    Role::Developer => (&self.developers, Throttled::Developer),
                    Role::Operator => (&self.operators, Throttled::Operator),
                };
                (buckets.take(token.as_str(), now), who)
            }
        };
        let Err(Empty { wait, tell }) = taken else { return Ok(()) };
        self.metrics.throttled(who);
        if let Some(refused) = tell {
            match caller {
                Some(caller) => info!(token = caller.token, name = caller.name, refused, "a token is used too often"),
                None => info!(address = %neighbourhood(peer), refused, "too many requests without a token"),
            }
        }
        let detail = match caller {
            Some(_) => "this token is used more often than it may be; an operator sets how often that is",
            None => "there are more requests without a known token from this address than one may send",
        };
        Err(ApiError::new(Kind::TooManyRequests, detail).retry_after(wait))
    }

    /// A worker that proved who it is connects.
    ///
    /// # Errors
    /// It does so too often; how long it has to wait.
    pub fn worker(&self, worker: WorkerId) -> Result<(), Duration> {
        self.workers.take(&worker, self.began.elapsed()).map_err(|Empty { wait, tell }| {
            self.metrics.throttled(Throttled::Worker);
            if let Some(refused) = tell {
                info!(%worker, refused, "a worker connects too often");
            }
            wait
        })
    }
}

/// The layer around all routes: `from_fn_with_state(app, throttle::admit)`.
///
/// # Errors
/// [`Kind::TooManyRequests`].
pub async fn admit(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Answer<Response> {
    if !FREE.contains(&request.uri().path()) {
        // Who it is that asks; whether they may is for each handler to say.
        let caller = app.tokens.caller(request.headers()).ok();
        app.throttle.request(caller.as_ref(), peer.ip(), app.throttle.began.elapsed())?;
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn caller(token: &str, role: Role) -> Caller {
        Caller { token: token.into(), name: "ada".into(), role }
    }

    fn throttle(settings: &Throttling) -> (Throttle, Metrics) {
        let metrics = Metrics::new();
        (Throttle::new(settings, metrics.clone()), metrics)
    }

    /// How many of `tries` get through at `now`.
    fn passed(tries: usize, mut once: impl FnMut() -> bool) -> usize {
        (0..tries).filter(|_| once()).count()
    }

    #[test]
    fn a_burst_passes_and_then_a_steady_rate_whatever_is_tried() {
        for (per_second, burst_seconds) in [(1, 1), (3, 1), (5, 2), (7, 10), (200, 10), (20_000, 1)] {
            let rate = Rate::new(per_second, burst_seconds).unwrap();
            let mut bucket = Bucket::default();
            let at_once = (per_second * burst_seconds) as usize;
            let mut take = |now, tries| passed(tries, || bucket.take(rate, now).is_ok());
            assert_eq!(take(seconds(9), 2 * at_once), at_once, "{per_second} a second, {burst_seconds} s");
            // Ten times what may come: in the long run, no more than may.
            let tries = 10 * per_second as usize;
            let later: usize = (10..20).map(|second| take(seconds(second), tries.max(2))).sum();
            assert_eq!(later, 10 * per_second as usize, "{per_second} a second");
            assert_eq!(take(seconds(9_999), 2 * at_once), at_once, "it does not overflow");
        }
        assert_eq!(Rate::new(0, 10), None);
    }

    #[test]
    fn whoever_waits_as_long_as_told_gets_through_and_nobody_before() {
        let rate = Rate::new(3, 2).unwrap();
        let mut bucket = Bucket::default();
        let mut now = seconds(1);
        for _ in 0..100 {
            if let Err(wait) = bucket.take(rate, now) {
                assert!(wait > Duration::ZERO && wait <= rate.every, "{wait:?}");
                let early = now + wait - Duration::from_nanos(1);
                assert!(bucket.take(rate, early).is_err(), "{wait:?} is not too long");
                now += wait;
                assert_eq!(bucket.take(rate, now), Ok(()));
            }
        }
    }

    #[test]
    fn a_flood_is_refused_and_nobody_else() {
        let settings = Throttling { requester_per_second: 5, burst_seconds: 2, ..Throttling::default() };
        let (throttle, metrics) = throttle(&settings);
        let (here, now) = (IpAddr::from([192, 0, 2, 1]), seconds(3));
        let (mallory, ada) = (caller("tok_mallory", Role::Requester), caller("tok_ada", Role::Requester));
        assert_eq!(passed(100, || throttle.request(Some(&mallory), here, now).is_ok()), 10);
        let refused = throttle.request(Some(&mallory), here, now).unwrap_err();
        assert_eq!((refused.kind, refused.retry_after), (Kind::TooManyRequests, Some(Duration::from_millis(200))));
        assert!(!refused.to_string().contains("tok_"), "{refused}");
        // From the same address, as behind a proxy: another token, an operator, and somebody without one.
        assert_eq!(passed(10, || throttle.request(Some(&ada), here, now).is_ok()), 10);
        assert_eq!(throttle.request(Some(&caller("tok_root", Role::Operator)), here, now), Ok(()));
        assert_eq!(throttle.request(None, here, now), Ok(()));
        let page = metrics.text();
        assert!(page.contains(r#"manyhands_throttled_total{who="requester"} 91"#), "{page}");
        assert!(page.contains(r#"manyhands_throttled_total{who="address"} 0"#) && !page.contains("tok_"), "{page}");
    }

    #[test]
    fn who_has_no_token_answers_with_their_network() {
        let settings = Throttling { address_per_second: 1, burst_seconds: 3, ..Throttling::default() };
        let (throttle, _) = throttle(&settings);
        let ask = |address: &str| throttle.request(None, address.parse().unwrap(), seconds(1)).is_ok();
        for one in ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"] {
            assert!(ask(one), "{one}");
        }
        assert!(!ask("192.0.2.1") && ask("192.0.2.2"));
        for one in ["2001:db8:0:1::1", "2001:db8:0:1:ffff::", "2001:db8:0:1::2"] {
            assert!(ask(one), "{one}");
        }
        assert!(!ask("2001:db8:0:1::3") && ask("2001:db8:0:2::1"));
    }

    #[test]
    fn zero_is_no_limit() {
        let (throttle, _) = throttle(&Throttling { developer_per_second: 0, ..Throttling::default() });
        let (here, bob) = (IpAddr::from([192, 0, 2, 1]), caller("tok_bob", Role::Developer));
        assert_eq!(passed(99_999, || throttle.request(Some(&bob), here, seconds(1)).is_ok()), 99_999);
    }

    #[test]
    fn many_addresses_take_no_more_memory_and_free_nobody_who_goes_on() {
        let buckets = Buckets::new(Rate::new(1, 1), 1_024);
        let busy = u128::MAX;
        assert!(buckets.take(&busy, seconds(1)).is_ok());
        for stranger in 0..100_000u128 {
            assert!(buckets.take(&stranger, seconds(1)).is_ok(), "{stranger} comes for the first time");
            if stranger % 1_000 == 0 {
                assert!(buckets.take(&busy, seconds(1)).is_err(), "it is remembered, because it goes on");
            }
            assert!(buckets.known.lock().unwrap().guests.len() <= 1_024);
        }
    }

    #[test]
    fn the_log_tells_once_a_minute_of_one_and_once_a_second_of_all() {
        let buckets = Buckets::new(Rate::new(1, 1), 1_024);
        let tell = |key: u128, now| buckets.take(&key, now).err().and_then(|empty| empty.tell);
        assert_eq!(tell(1, seconds(1)), None, "it got through");
        assert_eq!(tell(1, seconds(1)), Some(1));
        for _ in 0..500 {
            assert_eq!(tell(1, seconds(60)), None, "not within the minute");
        }
        assert_eq!(tell(1, seconds(61)), None, "it got through");
        assert_eq!(tell(1, seconds(61)), Some(500), "all of them");
        // A thousand others at the same time.
        let lines = (100..1_100).filter(|stranger| {
            assert!(buckets.take(stranger, seconds(121)).is_ok());
            tell(*stranger, seconds(121)).is_some()
        });
        assert_eq!(lines.count(), 61);
    }
}
