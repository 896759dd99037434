//! A network between a worker and its coordinator, as bad as a test likes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Most bytes that are passed on at once.
const CHUNK_BYTES: usize = 16 << 10;

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Line {
    /// They arrive.
    #[default]
    Good,
    /// They arrive so much later.
    Slow(Duration),
    /// They are taken and never arrive; nor does the end of the connection.
    Swallowed,
    /// They are not even taken.
    Stuck,
    /// Half of the next chunk arrives, then both ends see the end of the connection.
    CutInside,
}

/// What happens on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// From the worker to the coordinator.
    pub up: Line,
    /// From the coordinator to the worker.
    pub down: Line,
    /// Whether new connections are closed at once.
    pub closed: bool,
}

impl Weather {
    /// The same in both directions.
    pub const fn both(line: Line) -> Self {
        Self { up: line, down: line, closed: false }
    }
}

/// Passes connections on to one address, in the weather that it is told. Everything ends when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    shared: Arc<Shared>,
    listening: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Those that are open, by the order in which they came.
    open: Mutex<BTreeMap<u64, Connection>>,
    /// When somebody connected.
    attempts: Mutex<Vec<Instant>>,
}

struct Connection {
    /// Set to true, ends it with a RST.
    reset: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens at a free port for what is meant for `target`.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (weather, sky) = watch::channel(Weather::default());
        let shared = Arc::<Shared>::default();
        let listening = tokio::spawn(listen(listener, target, sky, Arc::clone(&shared)));
        Self { address, weather, shared, listening }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, for open connections and new ones.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Ends all open connections with a RST, even those on which nothing moves.
    pub fn reset(&self) {
        for connection in self.shared.open().values() {
            connection.reset.send_replace(true);
        }
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.shared.open().len()
    }

    /// When connections were made, or refused.
    pub fn attempts(&self) -> Vec<Instant> {
        self.shared.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        for connection in self.shared.open().values() {
            connection.task.abort();
        }
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Connection>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn listen(listener: TcpListener, target: SocketAddr, sky: watch::Receiver<Weather>, shared: Arc<Shared>) {
    for number in 0.. {
        let Ok((near, _)) = listener.accept().await else { continue };
        shared.attempts.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        if sky.borrow().closed {
            continue;
        }
        let (reset, told) = watch::channel(false);
        let (sky, done) = (sky.clone(), Arc::clone(&shared));
        // Held while the task starts, so that it cannot leave the list before it is on it.
        let mut open = shared.open();
        let task = tokio::spawn(async move {
            if let Ok(far) = TcpStream::connect(target).await {
                pass_on(near, far, sky, told).await;
            }
            done.open().remove(&number);
        });
        open.insert(number, Connection { reset, task });
    }
}

async fn pass_on(near: TcpStream, far: TcpStream, sky: watch::Receiver<Weather>, mut reset: watch::Receiver<bool>) {
    for socket in [&near, &far] {
        let _slower = socket.set_nodelay(true);
    }
    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
    let mut halves = (Way { from: from_near, to: to_far }, Way { from: from_far, to: to_near });
    let is_reset = {
        let up = halves.0.pump(sky.clone(), |weather| weather.up);
        let down = halves.1.pump(sky, |weather| weather.down);
        tokio::select! {
            // One direction that ended ends the other: neither HTTP nor a WebSocket goes on half closed.
            () = up => false,
            () = down => false,
            told = reset.wait_for(|reset| *reset) => told.is_ok(),
        }
    };
    if is_reset {
        for half in [&halves.0.to, &halves.1.to] {
            let _closes_gently = half.as_ref().set_zero_linger();
        }
    }
}

/// One direction of one connection.
struct Way {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
}

impl Way {
    /// Moves bytes until the connection ends in this direction.
    async fn pump(&mut self, mut sky: watch::Receiver<Weather>, mine: impl Fn(&Weather) -> Line) {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            if sky.wait_for(|weather| mine(weather) != Line::Stuck).await.is_err() {
                return;
            }
            let read = self.from.read(&mut chunk).await;
            let line = mine(&sky.borrow_and_update());
            let count = match (read, line) {
                // Whoever is cut off does not hear of the end either.
                (Ok(0) | Err(_), Line::Swallowed | Line::Stuck) => return std::future::pending().await,
                (Ok(0) | Err(_), Line::Good | Line::Slow(_) | Line::CutInside) => return,
                (Ok(count), _) => count,
            };
            let wanted = match line {
                Line::Swallowed => continue,
                Line::Good | Line::Stuck => count,
                Line::CutInside => count / 2,
                Line::Slow(wait) => {
                    tokio::time::sleep(wait).await;
                    count
                }
            };
            if self.to.write_all(&chunk[..wanted]).await.is_err() || line == Line::CutInside {
                return;
            }
        }
    }
}
