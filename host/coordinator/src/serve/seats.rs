//! Who may stay when not everybody can: seats for connections, and room for what they send.
//!
//! A limit for each address alone does not help against somebody with many addresses, and a limit on all
//! connections alone is what such a person wants to exhaust. So when something is short, it is taken back:
//!
//! | short | taken from |
//! |---|---|
//! | seats | whoever has kept the coordinator waiting longest, at the address with most who do |
//! | room for what arrives | whoever has most of it, at the address with most, if that is another one |
//!
//! An honest client that waits for the coordinator is never among them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use tokio::sync::{Semaphore, watch};

use crate::metrics::{Cut, Metrics, Refused};
use crate::settings::Limits;

/// A client that has waited for less keeps its seat: somebody who has just come could not yet say a word.
const GRACE: Duration = Duration::from_millis(100);
/// Where more than so many wait at one address, none of them has that grace: a crowd that comes faster than it
/// is cut off would otherwise keep every seat new.
const CROWD: usize = 4;
/// An address with more connections than so many has a crowd behind it.
const LARGE_CROWD: usize = 64;
/// So many are chosen at a time to give up their seats: choosing looks at everybody.
const CHOSEN_MAX: usize = 64;
/// Where nobody could be chosen, nobody is looked at again for so long.
const NOBODY: Duration = Duration::from_millis(10);
/// What is never counted as held: a usual request, or a worker's usual message. Unit: bytes.
pub(super) const FREE_BYTES: u64 = 8 << 10;
/// Room is taken in steps of this many bytes, so that it is seldom asked for.
pub(super) const STEP_BYTES: u64 = 64 << 10;
/// How fast all long messages together may come: 128 MiB/s. Somebody who sends one is alone within that; a thousand who
/// do are not let in between those with something short.
const STEP_TIME: Duration = Duration::from_micros(500);
/// How fast those of crowds may take each other's seats: 500 a second. Whoever is cut off comes back at once, and would keep
/// the coordinator busy with nothing else.
const CROWD_TIME: Duration = Duration::from_millis(2);
/// How much of the time in which nobody came may be made up for.
const BURST: Duration = Duration::from_millis(20);

/// Keeps things apart: one each so often.
struct Pace {
    every: Duration,
    /// When the next may happen, in nanoseconds since the server began.
    next: AtomicU64,
}

impl Pace {
    fn new(every: Duration) -> Self {
        Self { every, next: AtomicU64::new(0) }
    }

    /// How long to wait at `now`, counted from when the server began. Whoever asks has its place in the row.
    fn wait(&self, now: Duration) -> Duration {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let earliest = nanos(now.saturating_sub(BURST));
        let after = |next: u64| Some(next.max(earliest).saturating_add(nanos(self.every)));
        let next = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after);
        Duration::from_nanos(next.unwrap_or_default().max(earliest).saturating_sub(nanos(now)))
    }
}

/// Counts connections, in all and by address.
pub(super) struct Seats {
    began: Instant,
    lines: Mutex<Lines>,
    pub(super) taken_count: watch::Sender<u32>,
    /// Room for what arrived and was not dealt with, in steps.
    pub(super) room: Arc<Semaphore>,
    /// Room for what is kept for those who read it, in steps.
    pub(super) room_to_send: Arc<Semaphore>,
    total_max: u32,
    address_max: u32,
    next: AtomicU64,
    steps: Pace,
    crowds: Pace,
    metrics: Metrics,
}

impl Seats {
    pub(super) fn new(limits: &Limits, metrics: Metrics) -> Self {
        let steps = usize::try_from(limits.intake_bytes_max / STEP_BYTES).unwrap_or(usize::MAX);
        let room = || Arc::new(Semaphore::new(steps.min(Semaphore::MAX_PERMITS)));
        Self {
            began: Instant::now(),
            lines: Mutex::default(),
            taken_count: watch::Sender::new(0),
            room: room(),
            room_to_send: room(),
            total_max: limits.connections_max,
            address_max: limits.connections_per_address_max,
            next: AtomicU64::new(0),
            steps: Pace::new(STEP_TIME),
            crowds: Pace::new(CROWD_TIME),
            metrics,
        }
    }

    /// How long the next step of a long message has to wait.
    pub(super) fn wait_for_step(&self) -> Duration {
        self.steps.wait(self.began.elapsed())
    }

    /// How long the next of a crowd has to wait for a seat.
    pub(super) fn wait_for_crowd(&self) -> Duration {
        self.crowds.wait(self.began.elapsed())
    }

    /// Whether there is no seat left and the newcomer belongs to a crowd.
    pub(super) fn is_crowded_by(&self, peer: IpAddr) -> bool {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let here = lines.by_address.get(&neighbourhood(peer)).map_or(0, HashMap::len);
        here > LARGE_CROWD && (here >= self.address_max as usize || *self.taken_count.borrow() >= self.total_max)
    }

    pub(super) fn take(self: &Arc<Self>, peer: IpAddr) -> Result<Seat, Refused> {
        let address = neighbourhood(peer);
        // A std mutex: nothing awaits while it is held.
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let here = lines.by_address.get(&address);
        let dispensable = if here.map_or(0, HashMap::len) >= self.address_max as usize {
            Some((here.and_then(|here| self.waiting_too_long(here, 1).pop()), Refused::Address))
        } else if *self.taken_count.borrow() >= self.total_max {
            Some((self.most_dispensable(&mut lines), Refused::Total))
        } else {
            None
        };
        match dispensable {
            Some((Some((_, line)), _)) => {
                self.remove(&mut lines, &line);
                line.cut_off(Cut::Crowded);
            }
            Some((None, reason)) => {
                self.metrics.connection_refused(reason);
                return Err(reason);
            }
            None => {}
        }
        let line = Arc::new(Line {
            number: self.next.fetch_add(1, Ordering::Relaxed),
            address,
            began: self.began,
            idle_since: AtomicU64::new(0),
            stalled_since: AtomicU64::new(0),
            held_bytes: AtomicU64::new(0),
            web_socket: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            metrics: self.metrics.clone(),
        });
        line.idles();
        lines.by_address.entry(address).or_default().insert(line.number, Arc::clone(&line));
        self.taken_count.send_modify(|count| *count += 1);
        self.metrics.connection_opened();
        Ok(Seat { seats: Arc::clone(self), line })
    }

    /// Who keeps the coordinator waiting longest, at the address with most who do.
    fn most_dispensable(&self, lines: &mut Lines) -> Option<(u64, Arc<Line>)> {
        // Still waiting since then is still among those who wait longest.
        let chosen = |lines: &mut Lines| loop {
            let (since, line) = lines.chosen.pop()?;
            if line.waiting_since() == Some(since) && lines.has(&line) {
                return Some((since, line));
            }
        };
        let now = millis(self.began);
        if let Some(found) = chosen(lines) {
            return Some(found);
        }
        if now < lines.nobody_until {
            return None;
        }
        let waiting = |here: &&HashMap<u64, Arc<Line>>| here.values().filter(|line| line.waits()).count();
        let crowd = lines.by_address.values().max_by_key(waiting)?;
        lines.chosen = self.waiting_too_long(crowd, CHOSEN_MAX);
        if lines.chosen.is_empty() {
            lines.nobody_until = now + NOBODY.as_millis() as u64;
        }
        chosen(lines)
    }

    /// At most so many of those who have waited longest here, the longest last.
    fn waiting_too_long(&self, here: &HashMap<u64, Arc<Line>>, most: usize) -> Vec<(u64, Arc<Line>)> {
        let waiting = here.values().filter_map(|line| Some((line.waiting_since()?, line)));
        let mut waiting: Vec<(u64, &Arc<Line>)> = waiting.collect();
        if waiting.len() <= CROWD {
            let now = millis(self.began);
            waiting.retain(|(since, _)| since + GRACE.as_millis() as u64 <= now);
        }
        if waiting.len() > most {
            waiting.select_nth_unstable_by_key(most, |(since, _)| *since);
            waiting.truncate(most);
        }
        waiting.sort_unstable_by_key(|(since, _)| std::cmp::Reverse(*since));
        waiting.into_iter().map(|(since, line)| (since, Arc::clone(line))).collect()
    }

    /// Somebody needs room and there is none. Takes it from whoever has most at the address that has most,
    /// unless that is the address of the one who asks: then this one has to wait until there is room again.
    pub(super) fn make_room_for(&self, asking: &Line) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |here: &HashMap<u64, Arc<Line>>| here.values().map(|line| line.held_bytes()).sum::<u64>();
        let Some((address, here)) = lines.by_address.iter().max_by_key(|(_, here)| held(here)) else { return };
        let most = here.values().max_by_key(|line| line.held_bytes());
        if let Some(most) = most.filter(|most| *address != asking.address && most.held_bytes() > FREE_BYTES) {
            most.cut_off(Cut::Crowded);
        }
    }

    /// A line that lost its seat to another is not there any more when its connection ends.
    fn remove(&self, lines: &mut Lines, line: &Line) {
        if let Entry::Occupied(mut here) = lines.by_address.entry(line.address)
            && here.get_mut().remove(&line.number).is_some()
        {
            if here.get().is_empty() {
                here.remove();
            }
            self.taken_count.send_modify(|count| *count -= 1);
        }
    }
}

/// Everybody who has a seat.
#[derive(Default)]
struct Lines {
    by_address: HashMap<IpAddr, HashMap<u64, Arc<Line>>>,
    /// The next to give up their seats and since when they waited when they were chosen, the first one last.
    chosen: Vec<(u64, Arc<Line>)>,
    /// Until when it is known that there is nobody to choose, in milliseconds since the server began.
    nobody_until: u64,
}

impl Lines {
    fn has(&self, line: &Line) -> bool {
        self.by_address.get(&line.address).is_some_and(|here| here.contains_key(&line.number))
    }
}

/// Whom limits per address are about. An IPv6 client owns 2^64 addresses, so its network is meant.
pub(crate) fn neighbourhood(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address => address,
    }
}

fn millis(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The right to one connection, given back when dropped.
pub(super) struct Seat {
    pub(super) seats: Arc<Seats>,
    pub(super) line: Arc<Line>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut lines = self.seats.lines.lock().unwrap_or_else(PoisonError::into_inner);
        self.seats.remove(&mut lines, &self.line);
        self.seats.metrics.connection_closed();
    }
}

/// One connection, as others see it. What changes with every request is atomic, so that only coming,
/// going and shortage take the lock.
pub(super) struct Line {
    number: u64,
    address: IpAddr,
    began: Instant,
    /// Since when the client has nothing under way, in milliseconds since `began`; [`NOT`] while it has.
    idle_since: AtomicU64,
    /// Since when the client neither sends nor takes what it should.
    stalled_since: AtomicU64,
    held_bytes: AtomicU64,
    web_socket: AtomicBool,
    cut: AtomicBool,
    /// Whoever reads, to be told of `cut`.
    reader: AtomicWaker,
    metrics: Metrics,
}

const NOT: u64 = u64::MAX;

impl Line {
    /// Nothing is under way: the client may come with a request, or leave.
    pub(super) fn idles(&self) {
        self.stalled_since.store(NOT, Ordering::Relaxed);
        self.idle_since.store(millis(self.began), Ordering::Relaxed);
    }

    /// The client has said what it wants.
    pub(super) fn works(&self) {
        self.stalled_since.store(NOT, Ordering::Relaxed);
        self.idle_since.store(NOT, Ordering::Relaxed);
    }

    /// The client should send or take something, and does not.
    pub(super) fn stalls(&self) {
        let now = millis(self.began);
        let _stalled_already = self.stalled_since.compare_exchange(NOT, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The client goes on.
    pub(super) fn moves(&self) {
        self.stalled_since.store(NOT, Ordering::Relaxed);
    }

    /// Since when the coordinator waits for this client, if it does.
    fn waiting_since(&self) -> Option<u64> {
        let (idle, stalled) = (self.idle_since.load(Ordering::Relaxed), self.stalled_since.load(Ordering::Relaxed));
        Some(if idle == NOT { stalled } else { idle }).filter(|since| *since != NOT)
    }

    fn waits(&self) -> bool {
        self.waiting_since().is_some()
    }

    /// From now on it speaks WebSocket.
    pub(super) fn becomes_web_socket(&self) {
        self.web_socket.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_web_socket(&self) -> bool {
        self.web_socket.load(Ordering::Relaxed)
    }

    /// Bytes that arrived and may still be in memory.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// Counts what arrived.
    pub(super) fn holds(&self, bytes: u64) {
        self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whatever arrived so far is not in memory any more.
    pub(super) fn lets_go(&self) {
        self.held_bytes.store(0, Ordering::Relaxed);
    }

    /// That many bytes are not in memory any more.
    pub(super) fn lets_go_of(&self, bytes: u64) {
        let less = |held: u64| Some(held.saturating_sub(bytes));
        let _always = self.held_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Ends what it is reading: others need its place more.
    fn cut_off(&self, why: Cut) {
        if !self.cut.swap(true, Ordering::Relaxed) {
            self.metrics.connection_cut(why);
        }
        self.reader.wake();
    }

    /// Whether it was cut off. Whoever asks is woken when it is.
    pub(super) fn is_cut_off(&self, waker: &std::task::Waker) -> bool {
        self.reader.register(waker);
        self.cut.load(Ordering::Relaxed)
    }
}
