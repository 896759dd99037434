//! The HTTP server below the router: who may connect, and how slow they may be.
//!
//! axum's own server has no header timeout and no limit on connections, so this one drives hyper itself.
//! Against each way of holding a connection without using it there is a limit:
//!
//! | a client that | is met by |
//! |---|---|
//! | opens connections without end | a seat for each, limited in all (503) and per address (429) |
//! | comes back as soon as it is cut off | waiting for its turn, if many come from the same address |
//! | keeps the coordinator waiting while others want in | giving its seat to them |
//! | sends its request head slowly, or idles | the header timeout |
//! | sends its body slowly | [`BodyIdle`]: 408, and the handler learns of it |
//! | sends long messages | taking turns with others who do, below a rate for all of them |
//! | sends more than can be held | waiting for room, then [`Crowded`]: 503 |
//! | takes its response slowly | the write timeout: the connection is cut |
//!
//! A connection keeps its seat after it became a WebSocket, because the seat travels inside the socket.

mod seats;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use futures::FutureExt as _;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

pub(crate) use self::seats::neighbourhood;
pub use self::socket::{BodyIdle, Crowded};

use self::seats::{Line, Seat, Seats};
use self::socket::{IdleBody, Socket};
use crate::metrics::{Cut, Metrics, Refused};
use crate::problem::{ApiError, Kind};
use crate::settings::Limits;

/// Refusals that are written at the same time. Beyond, a connection is closed without a word: being
/// polite must not cost more than serving.
const REFUSALS_MAX: usize = 64;
/// How long a refused client may take to read why.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How many of crowds may wait for seats, at most 16 s: a runner has patience for 20. Each takes a file descriptor and about a KiB.
const WAITING_MAX: usize = 8192;
/// When a refused client may try again at the earliest; each is told a time of its own.
const REFUSAL_RETRY: Duration = Duration::from_secs(5);
/// Over how long the returns of refused clients are spread.
const REFUSAL_SPREAD: Duration = Duration::from_secs(15);
/// How much of an answer the operating system takes beyond what it can send at once. Unit: bytes.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 128 << 10;
/// Most that is read at once, and so what a fast client costs beside what it sends. Unit: bytes.
const READ_BYTES_MAX: usize = 32 << 10;
/// A WebSocket is as dispensable as an idle client until it is this old: by then, a worker has greeted and
/// everybody else was sent away.
const PROBATION: Duration = Duration::from_secs(12);
/// Rest after the operating system had no file descriptor for another connection.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// What a server needs.
#[derive(Debug)]
pub struct Server {
    /// Where clients come in.
    pub listener: TcpListener,
    /// What they find. Handlers see their peer as `ConnectInfo<SocketAddr>`.
    pub router: Router,
    /// What they may do.
    pub limits: Limits,
    /// Where they are counted.
    pub metrics: Metrics,
    /// Cancelled when the server shall end.
    pub stop: CancellationToken,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still busy when time was up. Zero is a clean end.
    pub cut: u32,
}

/// File descriptors that a server takes with all its seats taken, and others waiting for them.
pub fn descriptors_max(limits: &Limits) -> u64 {
    u64::from(limits.connections_max) + WAITING_MAX as u64 + REFUSALS_MAX as u64
}

impl Server {
    /// Serves until `stop` is cancelled; then takes no more connections, lets requests in flight finish for
    /// as long as `drain_timeout` allows, and cuts the rest.
    ///
    /// WebSockets belong to whoever upgraded them: close them on `stop`, the drain waits for them as well.
    pub async fn run(self) -> Drained {
        let Self { listener, router, limits, metrics, stop } = self;
        let limits = Arc::new(limits);
        let seats = Arc::new(Seats::new(&limits, metrics.clone()));
        let (refusals, waiting) = (Arc::new(Semaphore::new(REFUSALS_MAX)), Arc::new(Semaphore::new(WAITING_MAX)));
        let (cut, tasks) = (CancellationToken::new(), TaskTracker::new());
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                // The client went away while it waited: nobody's fault.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    metrics.accept_failed();
                    tracing::warn!(%error, "cannot accept connections; is the limit on open files too low?");
                    sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            let wait = match seats.is_crowded_by(peer.ip()) {
                false => None,
                true => match waiting.clone().try_acquire_owned() {
                    Ok(wait) => Some(wait),
                    // Not even a place to wait.
                    Err(_) => continue,
                },
            };
            let (limits, metrics, refusals) = (limits.clone(), metrics.clone(), refusals.clone());
            let connection = Connection { peer, limits, router: router.clone(), metrics };
            let (seats, stop, cut) = (seats.clone(), stop.clone(), cut.clone());
            tasks.spawn(async move {
                if wait.is_some() {
                    let _stopped = stop.run_until_cancelled(sleep(seats.wait_for_crowd())).await;
                    drop(wait);
                    if has_left(&stream) {
                        return;
                    }
                }
                match seats.take(peer.ip()) {
                    Ok(seat) => connection.serve(stream, seat, stop, cut).await,
                    Err(reason) => {
                        if let Ok(_place) = refusals.try_acquire() {
                            // A client that does not even listen to a refusal has nothing coming to it.
                            let _unheard = timeout(REFUSAL_TIMEOUT, refuse(stream, reason)).await;
                        }
                    }
                }
            });
        }
        // From here on the operating system refuses connections.
        drop(listener);
        let mut taken = seats.taken_count.subscribe();
        let drained = timeout(limits.drain_timeout(), taken.wait_for(|taken| *taken == 0)).await.is_ok();
        let remaining = if drained { 0 } else { *seats.taken_count.borrow() };
        (0..remaining).for_each(|_| metrics.connection_cut(Cut::Stop));
        cut.cancel();
        tasks.close();
        tasks.wait().await;
        Drained { cut: remaining }
    }
}

/// One client's connection.
struct Connection {
    peer: SocketAddr,
    limits: Arc<Limits>,
    router: Router,
    metrics: Metrics,
}

impl Connection {
    async fn serve(self, stream: TcpStream, seat: Seat, stop: CancellationToken, cut: CancellationToken) {
        let Self { peer, limits, router, metrics } = self;
        // Answers are written whole, so waiting for more to send only delays them.
        let _best_effort = stream.set_nodelay(true);
        // More than the client's window and this would only lie in the kernel, for somebody who may never read it.
        #[cfg(target_os = "linux")]
        let _best_effort = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
        let line = seat.line.clone();
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout())
            .max_header_size(usize::try_from(limits.header_bytes_max).unwrap_or(usize::MAX))
            .max_buf_size(READ_BYTES_MAX.max(usize::try_from(limits.header_bytes_max).unwrap_or(usize::MAX)));
        let counted = metrics.clone();
        let room_to_send = Arc::clone(&seat.seats.room_to_send);
        let io = TokioIo::new(Socket::new(stream, &limits, metrics.clone(), seat));
        let service = service_fn(move |request: Request<Incoming>| {
            let (router, line) = (router.clone(), line.clone());
            let body = |body| Body::new(IdleBody::new(body, &limits, line.clone(), metrics.clone()));
            let mut request = request.map(body);
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(Intake(Some((line.clone(), room_to_send.clone()))));
            async move { Ok::<_, std::convert::Infallible>(answer(router, request, line).await) }
        });
        let mut connection = pin!(builder.serve_connection(io, service).with_upgrades());
        let mut stopping = pin!(stop.cancelled().fuse());
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        if error.is_timeout() {
                            counted.connection_cut(Cut::Head);
                        }
                        tracing::debug!(%peer, %error, "a connection ended early");
                    }
                    return;
                }
                () = &mut stopping => connection.as_mut().graceful_shutdown(),
                () = cut.cancelled() => return,
            }
        }
    }
}

/// Asks the router. A panic in a handler is one failed request, not a lost connection.
async fn answer(router: Router, request: Request<Body>, line: Arc<Line>) -> Response<Body> {
    line.works();
    let response = match AssertUnwindSafe(router.oneshot(request)).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        // The panic hook has written message and place.
        Err(_) => ApiError::internal(&io::Error::other("a handler panicked")).into_response(),
    };
    line.lets_go();
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        line.becomes_web_socket();
        line.idles();
        tokio::spawn(async move {
            sleep(PROBATION).await;
            line.works();
        });
        return response;
    }
    response.map(|body| Body::new(UntilSent { body, line }))
}

/// What a request brings in and takes out, for handlers that do so piece by piece: what they have dealt with
/// makes room for others.
#[derive(Clone, Default)]
pub struct Intake(Option<(Arc<Line>, Arc<Semaphore>)>);

impl Intake {
    /// Waits until so much may be kept in memory for a reader, who may be slow. Hold it until that is read.
    pub async fn room_to_send(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let (_, room) = self.0.as_ref().filter(|_| bytes > seats::STEP_BYTES)?;
        let steps = u32::try_from(bytes.div_ceil(seats::STEP_BYTES)).unwrap_or(u32::MAX);
        // Nobody closes it.
        Arc::clone(room).acquire_many_owned(steps).await.ok()
    }

    /// That many bytes of the body are not in memory any more.
    pub fn dealt_with(&self, bytes: usize) {
        if let Some((line, _)) = &self.0 {
            line.lets_go_of(bytes as u64);
        }
    }

    /// Nothing of what came so far is in memory any more.
    pub fn dealt_with_all(&self) {
        if let Some((line, _)) = &self.0 {
            line.lets_go();
        }
    }
}

/// A response's body. When it is gone, its client has nothing under way.
struct UntilSent {
    body: Body,
    line: Arc<Line>,
}

impl Drop for UntilSent {
    fn drop(&mut self) {
        self.line.idles();
    }
}

impl http_body::Body for UntilSent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether the client has hung up without a word.
fn has_left(stream: &TcpStream) -> bool {
    matches!(stream.peek(&mut [0]).now_or_never(), Some(Ok(0) | Err(_)))
}

/// Says why a connection is not served, without reading what it wants.
async fn refuse(mut stream: TcpStream, reason: Refused) -> io::Result<()> {
    let (kind, whose) = match reason {
        Refused::Total => (Kind::TooManyConnections, "this coordinator serves as many connections as it can"),
        Refused::Address => {
            (Kind::TooManyFromAddress, "there are as many connections from this address as one may have")
        }
    };
    let detail = format!("{whose}; close some, or try again later");
    let error = ApiError::new(kind, detail).retry_after(next_return());
    stream.write_all(&error.into_last_words()).await?;
    stream.shutdown().await?;
    // Closing with unread bytes would reset the connection, and the client might never see the response.
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

/// When the next refused client may come again: evenly spread, so that a crowd does not come back as one.
fn next_return() -> Duration {
    static REFUSED: AtomicU64 = AtomicU64::new(0);
    // The golden ratio's multiples, without their whole part, fill an interval without gaps or clusters.
    let turn = REFUSED.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let seconds = REFUSAL_SPREAD.as_secs() + 1;
    REFUSAL_RETRY + Duration::from_secs(u64::try_from((u128::from(turn) * u128::from(seconds)) >> 64).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use axum::extract::WebSocketUpgrade;
    use axum::extract::ws::Message;
    use axum::routing::{get, post};
    use futures::{StreamExt as _, stream};
    use tokio::sync::{Notify, mpsc};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::problem;

    /// A server with short patience, and the strings by which a story pulls its handlers.
    struct World {
        address: SocketAddr,
        stop: CancellationToken,
        ended: JoinHandle<Drained>,
        metrics: Metrics,
        release: Arc<Notify>,
        /// What handlers noticed.
        noticed: mpsc::UnboundedReceiver<&'static str>,
    }

    /// Tells when the response that holds it is dropped.
    struct Dropped(mpsc::UnboundedSender<&'static str>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            let _nobody_listens = self.0.send("dropped");
        }
    }

    const LONG: u64 = 600_000;

    /// Every limit long, so that a story meets only the one it shortens.
    fn patient() -> Limits {
        Limits {
            header_timeout_ms: LONG,
            body_idle_timeout_ms: LONG,
            bytes_per_second_min: 0,
            write_idle_timeout_ms: LONG,
            drain_timeout_ms: LONG,
            ..Limits::default()
        }
    }

    impl World {
        async fn new(limits: Limits) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (stop, metrics, release) = (CancellationToken::new(), Metrics::new(), Arc::new(Notify::new()));
            let (notice, noticed) = mpsc::unbounded_channel();
            let waiting = {
                let (notice, release) = (notice.clone(), release.clone());
                async move || {
                    notice.send("waiting").unwrap();
                    release.notified().await;
                    "finished"
                }
            };
            let endless = async move || {
                let dropped = Dropped(notice);
                Body::from_stream(stream::repeat(Bytes::from_static(&[b'x'; 65536])).map(move |bytes| {
                    let _held = &dropped;
                    Ok::<_, io::Error>(bytes)
                }))
            };
            let echo = async |upgrade: WebSocketUpgrade| {
                upgrade.on_upgrade(async |mut socket| {
                    while let Some(Ok(message @ Message::Binary(_))) = socket.recv().await {
                        socket.send(message).await.unwrap();
                    }
                })
            };
            let router = Router::new()
                .route("/hello", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string()))
                .route("/waiting", get(waiting))
                .route("/endless", get(endless))
                .route("/body", post(async |body: Result<Bytes, _>| body.map_err(ApiError::from)))
                .route("/panic", get(async || -> &'static str { panic!("on purpose") }))
                .route("/echo", get(echo))
                .fallback(problem::not_found);
            let server = Server { listener, router, limits, metrics: metrics.clone(), stop: stop.clone() };
            Self { address, stop, ended: tokio::spawn(server.run()), metrics, release, noticed }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        async fn send(&self, text: &str) -> TcpStream {
            let mut stream = self.connect().await;
            stream.write_all(text.as_bytes()).await.unwrap();
            stream
        }

        /// One whole exchange on a connection of its own.
        async fn get(&self, path: &str) -> String {
            read(self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await).await
        }
    }

    /// Everything until the server closes; a reset counts as closing.
    async fn read(mut stream: TcpStream) -> String {
        let (mut text, mut part) = (Vec::new(), [0; 4096]);
        while let Ok(length @ 1..) = stream.read(&mut part).await {
            text.extend_from_slice(&part[..length]);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn a_request_is_answered_and_knows_its_peer() {
        let world = World::new(patient()).await;
        let answer = world.get("/hello").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("127.0.0.1"), "{answer}");
    }

    #[tokio::test]
    async fn a_head_that_dribbles_in_is_cut() {
        let world = World::new(Limits { header_timeout_ms: 50, ..patient() }).await;
        let mut stream = world.send("GET /hello HTTP/1.1\r\nhost: x\r\n").await;
        // A byte at a time for ever: each is progress, and none of them helps.
        let dribble = async {
            while stream.write_all(b"a: b\r\n").await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        dribble.await;
        assert!(world.get("/hello").await.contains("200 OK"), "others are served");
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_closed() {
        let world = World::new(Limits { header_timeout_ms: 50, ..patient() }).await;
        let stream = world.connect().await;
        assert_eq!(read(stream).await, "");
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_is_given_up_with_a_problem() {
        let world = World::new(Limits { body_idle_timeout_ms: 50, ..patient() }).await;
        let stream = world.send("POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc").await;
        let answer = read(stream).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("/problems/body-timeout") && answer.contains("3 bytes, then 5"), "{answer}");
    }

    #[tokio::test]
    async fn a_body_that_ends_early_is_its_senders_fault() {
        let world = World::new(patient()).await;
        let mut stream = world.send("POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc").await;
        stream.shutdown().await.unwrap();
        let answer = read(stream).await;
        assert!(answer.is_empty() || answer.contains("/problems/malformed"), "{answer}");
        assert!(world.get("/hello").await.contains("200 OK"), "others are served");
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_is_cut() {
        let mut world = World::new(Limits { write_idle_timeout_ms: 50, ..patient() }).await;
        let stream = world.send("GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(world.noticed.recv().await, Some("dropped"));
        assert!(world.get("/hello").await.contains("200 OK"), "others are served");
        drop(stream);
    }

    #[tokio::test]
    async fn one_connection_too_many_is_told_so_and_the_others_go_on() {
        let mut world = World::new(Limits { connections_max: 1, ..patient() }).await;
        let first = world.send("GET /waiting HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert_eq!(world.noticed.recv().await, Some("waiting"));
        let refusal = world.get("/hello").await;
        assert!(refusal.starts_with("HTTP/1.1 503 ") && refusal.contains("retry-after: "), "{refusal}");
        assert!(refusal.contains("/problems/too-many-connections"), "{refusal}");
        world.release.notify_one();
        assert!(read(first).await.ends_with("finished"));
        assert!(world.metrics.text().contains(r#"connections_refused_total{reason="total"} 1"#));
    }

    #[tokio::test]
    async fn an_address_has_its_own_limit() {
        let mut world = World::new(Limits { connections_per_address_max: 1, ..patient() }).await;
        let first = world.send("GET /waiting HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert_eq!(world.noticed.recv().await, Some("waiting"));
        let refusal = world.get("/hello").await;
        assert!(refusal.starts_with("HTTP/1.1 429 ") && refusal.contains("from this address"), "{refusal}");
        world.release.notify_one();
        assert!(read(first).await.ends_with("finished"));
    }

    #[tokio::test]
    async fn whoever_idles_gives_its_seat_to_whoever_comes() {
        let world = World::new(Limits { connections_max: 1, ..patient() }).await;
        let idle = world.connect().await;
        // Only while the idle one is new is anybody refused for it.
        while !world.get("/hello").await.contains("200 OK") {}
        assert_eq!(read(idle).await, "", "its connection is closed");
        assert!(world.metrics.text().contains(r#"connections_cut_total{reason="crowded"} 1"#));
    }

    #[tokio::test]
    async fn a_body_that_comes_a_byte_at_a_time_is_given_up() {
        let world = World::new(Limits { body_idle_timeout_ms: 100, bytes_per_second_min: 1000, ..patient() }).await;
        let stream = world.send("POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n").await;
        let (reading, mut writing) = stream.into_split();
        // Each byte is in time, and all of them together are not.
        let dribble = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(10));
            while writing.write_all(b"x").await.is_ok() {
                pace.tick().await;
            }
        });
        let mut answer = String::new();
        let _reset = tokio::io::BufReader::new(reading).read_to_string(&mut answer).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        dribble.abort();
    }

    #[tokio::test]
    async fn whoever_holds_most_makes_room_for_others() {
        let world = World::new(Limits { intake_bytes_max: 1 << 20, ..patient() }).await;
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut hoarder = socket.connect(world.address).await.unwrap();
        let head = "POST /body HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1000000\r\n\r\n";
        // All but the last byte.
        hoarder.write_all(&[head.as_bytes(), &[b'x'; 999_999]].concat()).await.unwrap();
        let hoarding = tokio::spawn(read(hoarder));
        let mut honest = world.send(head).await;
        honest.write_all(&[b'x'; 1_000_000]).await.unwrap();
        assert!(read(honest).await.starts_with("HTTP/1.1 200 "), "the honest one is served");
        let refusal = hoarding.await.unwrap();
        assert!(refusal.starts_with("HTTP/1.1 503 ") && refusal.contains("/problems/crowded"), "{refusal}");
        assert!(refusal.contains("retry-after: "), "{refusal}");
    }

    #[test]
    fn refused_clients_come_back_one_after_the_other() {
        let times: Vec<_> = (0..1600).map(|_| next_return().as_secs()).collect();
        for second in 5..=20 {
            let here = times.iter().filter(|time| **time == second).count();
            assert!((90..=110).contains(&here), "{here} of 1600 come after {second} s");
        }
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let address = |text: &str| neighbourhood(text.parse().unwrap());
        assert_eq!(address("2001:db8:1:2::1"), address("2001:db8:1:2:ffff::9"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
    }

    #[tokio::test]
    async fn a_head_that_is_too_long_is_refused() {
        let world = World::new(patient()).await;
        let answer = world.get(&format!("/{}", "a".repeat(40_000))).await;
        assert!(answer.starts_with("HTTP/1.1 431 ") && answer.contains("/problems/head-too-large"), "{answer}");
        assert!(world.get("/hello").await.contains("200 OK"), "others are served");
    }

    #[tokio::test]
    async fn what_is_not_http_is_refused_with_a_problem() {
        let world = World::new(patient()).await;
        let answer = read(world.send("\x16\x03\x01 hello\r\n\r\n").await).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("/problems/malformed"), "{answer}");
    }

    #[tokio::test]
    async fn a_panic_is_one_failed_request() {
        let world = World::new(patient()).await;
        let answer = world.get("/panic").await;
        assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("/problems/internal"), "{answer}");
        assert!(!answer.contains("on purpose"), "{answer}");
    }

    #[tokio::test]
    async fn stopping_lets_a_request_in_flight_finish() {
        let mut world = World::new(patient()).await;
        let first = world.send("GET /waiting HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(world.noticed.recv().await, Some("waiting"));
        let idle = world.connect().await;
        world.stop.cancel();
        assert_eq!(read(idle).await, "", "an idle connection is closed at once");
        world.release.notify_one();
        assert!(read(first).await.ends_with("finished"));
        assert_eq!(world.ended.await.unwrap(), Drained { cut: 0 });
        assert!(TcpStream::connect(world.address).await.is_err(), "the door is closed");
    }

    #[tokio::test]
    async fn stopping_does_not_wait_for_ever() {
        let mut world = World::new(Limits { drain_timeout_ms: 50, ..patient() }).await;
        let first = world.send("GET /waiting HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(world.noticed.recv().await, Some("waiting"));
        world.stop.cancel();
        assert_eq!(world.ended.await.unwrap(), Drained { cut: 1 });
        assert_eq!(read(first).await, "");
    }

    #[tokio::test]
    async fn a_web_socket_works_and_keeps_its_seat() {
        let world = World::new(Limits { connections_max: 1, ..patient() }).await;
        let mut socket = world
            .send(
                "GET /echo HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        // A final binary frame of two bytes, masked with zeros; it comes back without a mask.
        socket.write_all(&[0x82, 0x82, 0, 0, 0, 0, b'h', b'i']).await.unwrap();
        let mut echo = [0; 4];
        socket.read_exact(&mut echo).await.unwrap();
        assert_eq!(echo, [0x82, 0x02, b'h', b'i']);
        assert!(world.get("/hello").await.starts_with("HTTP/1.1 503 "));
        drop(socket);
        while !world.get("/hello").await.contains("200 OK") {}
    }
}
