//! The outside world: servers that say what they are told, and a resolver with a script.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use manyhands_addresses::Origin;
use manyhands_egress::{Egress, EgressError, Request, Resolve, Response, Settings};

/// Long enough for anything that happens at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a port of its own. Its threads end with the test's process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// What each connection sent, when it has ended.
    seen: mpsc::Receiver<(SocketAddr, Vec<u8>)>,
    /// Who connected, in their order.
    callers: Arc<Mutex<Vec<SocketAddr>>>,
    /// Connections of the test's own.
    probes: Mutex<Vec<SocketAddr>>,
}

impl Server {
    /// Answers the first request of each connection with `answer`, closes its half, and goes on listening to what comes.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::with(move |stream| stream.write_all(&answer))
    }

    /// Lets `speak` write after the first request of each connection.
    pub(crate) fn with(speak: impl Fn(&mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::at("127.0.0.1:0", speak)
    }

    pub(crate) fn at(address: &str, speak: impl Fn(&mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, seen) = mpsc::channel();
        let callers = Arc::new(Mutex::new(Vec::new()));
        let (speak, called) = (Arc::new(speak), Arc::clone(&callers));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let caller = stream.peer_addr().unwrap();
                called.lock().unwrap().push(caller);
                let (speak, tell) = (Arc::clone(&speak), tell.clone());
                thread::spawn(move || {
                    let mut bytes = Vec::new();
                    read_request(&mut stream, &mut bytes);
                    if !bytes.is_empty() {
                        // Whoever has enough closes the connection while more is said.
                        let _ended = speak(&mut stream);
                        let _closed = stream.shutdown(std::net::Shutdown::Write);
                        let _reset = stream.read_to_end(&mut bytes);
                    }
                    let _over = tell.send((caller, bytes));
                });
            }
        });
        Self { address, seen, callers, probes: Mutex::default() }
    }

    /// Everything that the next connection sent.
    pub(crate) fn seen(&self) -> Vec<u8> {
        loop {
            let (caller, bytes) = self.seen.recv_timeout(PATIENCE).expect("a connection ends");
            if !self.probes.lock().unwrap().contains(&caller) {
                return bytes;
            }
        }
    }

    /// How many connections there were. Connections are taken in their order, so this waits for one of its own.
    pub(crate) fn connections(&self) -> usize {
        let stream = TcpStream::connect(self.address).unwrap();
        let own = stream.local_addr().unwrap();
        self.probes.lock().unwrap().push(own);
        loop {
            let mut callers = self.callers.lock().unwrap();
            if let Some(at) = callers.iter().position(|caller| *caller == own) {
                callers.remove(at);
                return callers.len();
            }
            drop(callers);
            thread::yield_now();
        }
    }

    pub(crate) fn origin(&self) -> Origin {
        format!("http://{}", self.address).parse().unwrap()
    }
}

/// Up to the end of the head and of the body that it announces; or what comes first of something that is no HTTP.
fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) {
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return;
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
        }
        if !bytes[0].is_ascii_uppercase() {
            return;
        }
    }
}

/// Says what it was told to, the last of it for ever, and remembers what it was asked.
#[derive(Default)]
pub(crate) struct Script {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Script {
    pub(crate) fn of<const N: usize>(answers: [&[&str]; N]) -> Arc<Self> {
        let script = Self::default();
        answers.iter().for_each(|answer| script.answers.lock().unwrap().push_back(addresses(answer)));
        Arc::new(script)
    }

    /// This from now on.
    pub(crate) fn say(&self, answer: &[&str]) {
        *self.answers.lock().unwrap() = VecDeque::from([addresses(answer)]);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

impl Resolve for Script {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.asked.lock().unwrap().push(name.to_owned());
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        async move { answer.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)) }.boxed()
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A way out that leads to these origins and to the public internet.
pub(crate) fn egress<const N: usize>(allowed: [Origin; N]) -> Egress {
    Egress::with_resolver(Settings { allowed: allowed.into(), ..Settings::default() }, Script::of([])).unwrap()
}

pub(crate) fn get(origin: Origin) -> Request {
    Request::new(http::Method::GET, origin, "/").unwrap()
}

/// A GET of `/` on the server, which is allowed by name.
pub(crate) fn call(server: &Server) -> Result<Response, EgressError> {
    runtime().block_on(egress([server.origin()]).perform(get(server.origin())))
}
