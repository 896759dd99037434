//! `besieger ATTACK IP:PORT SOCKETS [TOKEN [RUN]]`: attacks a coordinator until SIGTERM, then says what it met.
//!
//! Sockets come from sixteen addresses, 127.0.1.1 to 127.0.1.16, so that a limit for each address is not the
//! only defence. A life that ends begins again after a second: an attacker is not discouraged by being cut.
//! Standard output gets the line `ready` once every socket was tried, a line `met …` for each thing that is met
//! for the first time, and at the end one line of JSON: how often each was.

#![allow(clippy::print_stdout, reason = "standard output is what the test reads")]

mod lives;
mod wire;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use crate::lives::Life;

/// Addresses that sockets come from.
const SOURCES: usize = 16;
/// Connections that are being opened at the same time.
const OPENING_MAX: usize = 128;
/// An attacker's breath before it comes again.
const AGAIN: Duration = Duration::from_secs(1);

/// What all lives share.
struct Siege {
    target: SocketAddr,
    token: String,
    run: String,
    met: Mutex<BTreeMap<String, u64>>,
    opening: Semaphore,
    begun: AtomicUsize,
}

impl Siege {
    /// Opens socket `number` from its own address.
    async fn connect(&self, number: usize) -> std::io::Result<TcpStream> {
        let _permit = self.opening.acquire().await;
        let source = Ipv4Addr::new(127, 0, 1, u8::try_from(number % SOURCES).unwrap_or(0) + 1);
        let socket = TcpSocket::new_v4()?;
        // Ephemeral ports are chosen when the peer is known, so that each source has all of them.
        socket.set_reuseaddr(true)?;
        socket.bind((IpAddr::V4(source), 0).into())?;
        let stream = tokio::time::timeout(Duration::from_secs(5), socket.connect(self.target)).await??;
        // Closing then resets, and no port waits for a peer that was attacked.
        stream.set_zero_linger()?;
        Ok(stream)
    }

    /// Counts what was met, and says it the first time.
    fn meet(&self, what: String) {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if !met.contains_key(&what) {
            println!("met {what}");
        }
        *met.entry(what).or_default() += 1;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // Honest clients run on the same computer and shall not suffer from the attacker's own work.
    let _as_we_are = rustix::process::nice(19);
    // Where they are measured, it gets only the time that nobody else wants. Not in a test: others may want all of it.
    if std::env::var_os("MANYHANDS_SIEGE_ROUNDS").is_some() {
        let idle = ["--idle", "--pid", "0", &std::process::id().to_string()];
        let _as_we_are = std::process::Command::new("chrt").args(idle).status();
    }
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().unwrap_or_default();
    let (attack, address, sockets) = (next(), next(), next());
    let (Some(life), Ok(target), Ok(sockets)) = (Life::named(&attack), address.parse(), sockets.parse::<usize>())
    else {
        eprintln!("usage: besieger ATTACK IP:PORT SOCKETS [TOKEN [RUN]]; attacks: {}", Life::NAMES.join(", "));
        std::process::exit(2);
    };
    let siege = Arc::new(Siege {
        target,
        token: next(),
        run: next(),
        met: Mutex::default(),
        opening: Semaphore::new(OPENING_MAX),
        begun: AtomicUsize::new(0),
    });
    let mut stop = signal(SignalKind::terminate()).expect("signals can be awaited");
    let (all, ready) = tokio::sync::oneshot::channel();
    let all = Arc::new(Mutex::new(Some(all)));
    for number in 0..sockets {
        let (siege, all) = (Arc::clone(&siege), Arc::clone(&all));
        tokio::spawn(async move {
            for round in 0.. {
                let connected = siege.connect(number).await;
                if round == 0
                    && siege.begun.fetch_add(1, Ordering::Relaxed) + 1 == sockets
                    && let Some(all) = all.lock().unwrap_or_else(PoisonError::into_inner).take()
                {
                    let _stopped = all.send(());
                }
                let met = match connected {
                    Ok(stream) => life.live(&siege, stream, number, round).await,
                    Err(error) => Some(format!("not connected: {}", error.kind())),
                };
                met.into_iter().for_each(|met| siege.meet(met));
                tokio::time::sleep(AGAIN).await;
            }
        });
    }
    let announced = async {
        let _ready = ready.await;
        println!("ready");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = stop.recv() => {}
        () = announced => {}
    }
    let met = siege.met.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{}", serde_json::to_string(&*met).unwrap_or_default());
}
