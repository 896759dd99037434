//! The page from which a browser's worker fetches its requests. As much of HTTP/1.1 as browsers need for that.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::HEXLOWER;

use crate::script;

const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>Manyhands</title>
<script type="module">new Worker("engine.mjs", { type: "module" });</script>"#;
/// The page's own scripts, its own server and WebAssembly; nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; connect-src 'self'";
/// Longest head of a request.
const HEAD_BYTES_MAX: u64 = 64 << 10;
/// Longest reply: the largest output with its log and message.
const BODY_BYTES_MAX: u64 = 32 << 20;

/// A server on this machine. It ends when this is dropped.
pub(crate) struct Server {
    /// Where the page is. Nobody else can guess it.
    pub(crate) url: String,
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// First part of every path.
    secret: String,
    ended: AtomicBool,
    /// Whether a worker has asked for its first request.
    begun: AtomicBool,
    asked: Mutex<Receiver<Vec<u8>>>,
    answer: Mutex<Sender<io::Result<Vec<u8>>>>,
}

impl Server {
    pub(crate) fn start(asked: Receiver<Vec<u8>>, answer: Sender<io::Result<Vec<u8>>>) -> io::Result<Self> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let secret = HEXLOWER.encode(&secret);
        let url = format!("http://{address}/{secret}/");
        let shared = Arc::new(Shared {
            secret,
            ended: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            asked: Mutex::new(asked),
            answer: Mutex::new(answer),
        });
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if theirs.ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(connection) = connection else { continue };
                let shared = Arc::clone(&theirs);
                // Whoever hangs up ends its thread; a browser opens a handful.
                std::thread::spawn(move || while let Ok(true) = shared.serve(&connection) {});
            }
        });
        Ok(Self { url, address, shared })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes whoever waits for the next connection.
        let _woken = TcpStream::connect(self.address);
    }
}

struct Request {
    method: String,
    path: String,
    body: Vec<u8>,
}

impl Shared {
    /// Answers one request. False when there is none.
    fn serve(&self, connection: &TcpStream) -> io::Result<bool> {
        connection.set_nodelay(true)?;
        let Some(Request { method, path, body }) = read(connection)? else { return Ok(false) };
        let path = path.strip_prefix('/').and_then(|path| path.strip_prefix(self.secret.as_str()));
        match (method.as_str(), path) {
            ("GET", Some("/")) => respond(connection, "200 OK", "text/html", PAGE.as_bytes())?,
            ("GET", Some("/engine.mjs")) => respond(connection, "200 OK", "text/javascript", script().as_bytes())?,
            ("POST", Some("/turn")) => match self.turn(body) {
                Some(request) => respond(connection, "200 OK", "application/octet-stream", &request)?,
                None => respond(connection, "410 Gone", "text/plain", b"")?,
            },
            _ => respond(connection, "404 Not Found", "text/plain", b"")?,
        }
        Ok(true)
    }

    /// Passes a reply on, and waits for the next request.
    fn turn(&self, reply: Vec<u8>) -> Option<Vec<u8>> {
        // The first one answers nothing.
        if self.begun.swap(true, Ordering::Relaxed) {
            self.answer.lock().unwrap_or_else(PoisonError::into_inner).send(Ok(reply)).ok()?;
        }
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }
}

fn read(connection: &TcpStream) -> io::Result<Option<Request>> {
    let mut reader = BufReader::new(connection);
    let mut head = reader.by_ref().take(HEAD_BYTES_MAX);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(None) };
    let mut length = 0;
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_ascii();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = Vec::new();
    reader.take(BODY_BYTES_MAX.min(length)).read_to_end(&mut body)?;
    Ok((body.len() as u64 == length).then_some(Request { method, path, body }))
}

fn respond(mut connection: &TcpStream, status: &str, kind: &str, body: &[u8]) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\ncache-control: no-store\r\n\
         content-security-policy: {POLICY}\r\n\r\n"
    );
    connection.write_all(&[head.as_bytes(), body].concat())
}
