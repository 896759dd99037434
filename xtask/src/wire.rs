//! Hears everything that a coordinator says to its workers, so that one can look for what should not be in it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Bytes that are passed on at once.
const CHUNK_BYTES: usize = 64 << 10;
/// What tokens begin with.
const TOKEN: &[u8] = b"dtk1";

/// What was said on each connection. Neither end compresses or encrypts: messages are there as they are.
type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

/// Passes connections on to a coordinator and keeps what it says. They end when this is dropped.
pub(crate) struct Wire {
    address: SocketAddr,
    heard: Heard,
    listening: JoinHandle<()>,
}

/// What was found in all that was said.
#[derive(Default)]
pub(crate) struct Found {
    /// All of it, in bytes.
    pub(crate) bytes: usize,
    /// How often one of the texts was there that were looked for.
    pub(crate) texts: usize,
    /// How often a token was.
    pub(crate) tokens: usize,
}

impl Wire {
    /// Listens at a free port for what is meant for `coordinator`.
    pub(crate) async fn tap(coordinator: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let heard = Heard::default();
        let listening = tokio::spawn(listen(listener, coordinator, Arc::clone(&heard)));
        Ok(Self { address, heard, listening })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Looks for texts of at least two bytes, and for tokens.
    pub(crate) fn find<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> Found {
        // By their first two bytes: it is much to look through, and this program is seldom optimised.
        let mut known: Vec<Vec<&[u8]>> = vec![Vec::new(); 1 << 16];
        let place = |pair: [u8; 2]| usize::from(u16::from_le_bytes(pair));
        for text in texts.into_iter().map(str::as_bytes).chain([TOKEN]) {
            known[place([text[0], text[1]])].push(text);
        }
        let mut found = Found::default();
        for said in self.heard.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            found.bytes += said.len();
            for at in 0..said.len().saturating_sub(1) {
                for text in known[place([said[at], said[at + 1]])].iter().filter(|text| said[at..].starts_with(text)) {
                    *(if *text == TOKEN { &mut found.tokens } else { &mut found.texts }) += 1;
                }
            }
        }
        found
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(listener: TcpListener, coordinator: SocketAddr, heard: Heard) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            Ok((near, _)) = listener.accept() => {
                if let Ok(far) = TcpStream::connect(coordinator).await {
                    open.spawn(pass_on(near, far, Arc::clone(&heard)));
                }
            }
            Some(_) = open.join_next() => {}
        }
    }
}

/// Until either end closes the connection.
async fn pass_on(near: TcpStream, far: TcpStream, heard: Heard) {
    let number = {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push(Vec::new());
        heard.len() - 1
    };
    let ((mut worker_says, mut to_worker), (mut coordinator_says, mut to_coordinator)) =
        (near.into_split(), far.into_split());
    let up = async {
        let _ended = tokio::io::copy(&mut worker_says, &mut to_coordinator).await;
        let _gone = to_coordinator.shutdown().await;
    };
    let down = async {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(bytes @ 1..) = coordinator_says.read(&mut chunk).await {
            heard.lock().unwrap_or_else(PoisonError::into_inner)[number].extend_from_slice(&chunk[..bytes]);
            if to_worker.write_all(&chunk[..bytes]).await.is_err() {
                break;
            }
        }
        let _gone = to_worker.shutdown().await;
    };
    tokio::join!(up, down);
}
