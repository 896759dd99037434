//! The HTTP server below the router: who may connect, and how slow they may be.
//!
//! axum's own server has no header timeout and no limit on connections, so this one drives hyper itself.
//! Against each way of holding a connection without using it there is a limit:
//!
//! | a client that | is met by |
//! |---|---|
//! | opens connections without end | a seat for each, limited in all and per address; 503 beyond |
//! | sends its request head slowly, or idles | the header timeout |
//! | sends its body slowly | [`BodyIdle`]: 408, and the handler learns of it |
//! | takes its response slowly | the write timeout: the connection is cut |
//!
//! A connection keeps its seat after it became a WebSocket, because the seat travels inside the socket.

use std::collections::HashMap;
use std::future::Future as _;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use futures::FutureExt as _;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::metrics::{Metrics, Refused};
use crate::problem::{ApiError, Kind};
use crate::settings::Limits;

/// Refusals that are written at the same time. Beyond, a connection is closed without a word: being
/// polite must not cost more than serving.
const REFUSALS_MAX: usize = 64;
/// How long a refused client may take to read why.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// When a refused client may try again.
const REFUSAL_RETRY: Duration = Duration::from_secs(5);
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

impl Server {
    /// Serves until `stop` is cancelled; then takes no more connections, lets requests in flight finish for
    /// as long as `drain_timeout` allows, and cuts the rest.
    ///
    /// WebSockets belong to whoever upgraded them: close them on `stop`, the drain waits for them as well.
    pub async fn run(self) -> Drained {
        let Self { listener, router, limits, metrics, stop } = self;
        let limits = Arc::new(limits);
        let seats = Arc::new(Seats::new(&limits, metrics));
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        let (cut, tasks) = (CancellationToken::new(), TaskTracker::new());
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                // The client went away while it waited: nobody's fault.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections; is the limit on open files too low?");
                    sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            match seats.take(peer.ip()) {
                Ok(seat) => {
                    let connection = Connection { peer, limits: limits.clone(), router: router.clone() };
                    tasks.spawn(connection.serve(stream, seat, stop.clone(), cut.clone()));
                }
                Err(reason) => {
                    if let Ok(permit) = refusals.clone().try_acquire_owned() {
                        tasks.spawn(async move {
                            // A client that does not even listen to a refusal has nothing coming to it.
                            let _unheard = timeout(REFUSAL_TIMEOUT, refuse(stream, reason)).await;
                            drop(permit);
                        });
                    }
                }
            }
        }
        // From here on the operating system refuses connections.
        drop(listener);
        let mut taken = seats.taken_count.subscribe();
        let drained = timeout(limits.drain_timeout(), taken.wait_for(|taken| *taken == 0)).await.is_ok();
        let remaining = if drained { 0 } else { *seats.taken_count.borrow() };
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
}

impl Connection {
    async fn serve(self, stream: TcpStream, seat: Seat, stop: CancellationToken, cut: CancellationToken) {
        let Self { peer, limits, router } = self;
        // Answers are written whole, so waiting for more to send only delays them.
        let _best_effort = stream.set_nodelay(true);
        let io = TokioIo::new(Socket { stream, stall: Stall::new(limits.write_idle_timeout()), _seat: seat });
        let body_idle = limits.body_idle_timeout();
        let service = service_fn(move |request: Request<Incoming>| {
            let router = router.clone();
            async move { Ok::<_, std::convert::Infallible>(answer(router, request, peer, body_idle).await) }
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout())
            .max_header_size(usize::try_from(limits.header_bytes_max).unwrap_or(usize::MAX));
        let mut connection = pin!(builder.serve_connection(io, service).with_upgrades());
        let mut stopping = pin!(stop.cancelled().fuse());
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
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
async fn answer(router: Router, request: Request<Incoming>, peer: SocketAddr, body_idle: Duration) -> Response<Body> {
    let mut request = request.map(|body| Body::new(IdleBody { body, stall: Stall::new(body_idle) }));
    request.extensions_mut().insert(ConnectInfo(peer));
    match AssertUnwindSafe(router.oneshot(request)).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        // The panic hook has written message and place.
        Err(_) => ApiError::internal(&io::Error::other("a handler panicked")).into_response(),
    }
}

/// Says why a connection is not served, without reading what it wants.
async fn refuse(mut stream: TcpStream, reason: Refused) -> io::Result<()> {
    let whose = match reason {
        Refused::Total => "this coordinator serves as many connections as it can",
        Refused::Address => "there are as many connections from this address as one may have",
    };
    let detail = format!("{whose}; close some, or try again later");
    let error = ApiError::new(Kind::TooManyConnections, detail).retry_after(REFUSAL_RETRY);
    let body = serde_json::to_string(&error.document())?;
    let response = format!(
        "HTTP/1.1 {}\r\ncontent-type: {}\r\ncontent-length: {}\r\nretry-after: {}\r\nconnection: close\r\n\r\n{body}",
        error.kind.status(),
        crate::problem::PROBLEM_JSON,
        body.len(),
        REFUSAL_RETRY.as_secs(),
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with unread bytes would reset the connection, and the client might never see the response.
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

/// Counts connections, in all and by address.
struct Seats {
    taken: Mutex<HashMap<IpAddr, u32>>,
    taken_count: watch::Sender<u32>,
    total_max: u32,
    address_max: u32,
    metrics: Metrics,
}

impl Seats {
    fn new(limits: &Limits, metrics: Metrics) -> Self {
        Self {
            taken: Mutex::default(),
            taken_count: watch::Sender::new(0),
            total_max: limits.connections_max,
            address_max: limits.connections_per_address_max,
            metrics,
        }
    }

    fn take(self: &Arc<Self>, peer: IpAddr) -> Result<Seat, Refused> {
        let address = neighbourhood(peer);
        // A std mutex: nothing awaits while it is held.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let here = taken.get(&address).copied().unwrap_or(0);
        let refused = if *self.taken_count.borrow() >= self.total_max {
            Some(Refused::Total)
        } else {
            (here >= self.address_max).then_some(Refused::Address)
        };
        if let Some(reason) = refused {
            self.metrics.connection_refused(reason);
            return Err(reason);
        }
        taken.insert(address, here + 1);
        self.taken_count.send_modify(|count| *count += 1);
        self.metrics.connection_opened();
        Ok(Seat { seats: self.clone(), address })
    }
}

/// Whom the limit per address is about. An IPv6 client owns 2^64 addresses, so its network is meant.
fn neighbourhood(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address => address,
    }
}

/// The right to one connection, given back when dropped.
struct Seat {
    seats: Arc<Seats>,
    address: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = taken.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                taken.remove(&self.address);
            }
        }
        self.seats.metrics.connection_closed();
        self.seats.taken_count.send_modify(|count| *count -= 1);
    }
}

/// Notices when nothing moves for too long.
struct Stall {
    limit: Duration,
    /// Runs only while somebody waits.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    const fn new(limit: Duration) -> Self {
        Self { limit, timer: None }
    }

    fn moved(&mut self) {
        self.timer = None;
    }

    /// Ready once `limit` has passed since the first call after the last move.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        self.timer.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx)
    }
}

/// A client's socket, cut when the client takes nothing for too long.
struct Socket {
    stream: TcpStream,
    stall: Stall,
    _seat: Seat,
}

impl Socket {
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written {
            Poll::Pending => {
                ready!(self.stall.poll_stalled(cx));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its response")))
            }
            written => {
                self.stall.moved();
                written
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A request's body stopped coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no byte of the body came for {} ms; send it again, and faster", .after.as_millis())]
pub struct BodyIdle {
    /// How long was waited.
    pub after: Duration,
}

/// A request's body, given up when nothing comes for too long. Time counts only while the handler waits.
struct IdleBody {
    body: Incoming,
    stall: Stall,
}

impl http_body::Body for IdleBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => {
                ready!(self.stall.poll_stalled(cx));
                Poll::Ready(Some(Err(BodyIdle { after: self.stall.limit }.into())))
            }
            Poll::Ready(frame) => {
                self.stall.moved();
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
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
        assert!(answer.contains("/problems/body-timeout") && answer.contains("for 50 ms"), "{answer}");
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
        assert!(refusal.starts_with("HTTP/1.1 503 ") && refusal.contains("retry-after: 5"), "{refusal}");
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
        assert!(refusal.starts_with("HTTP/1.1 503 ") && refusal.contains("from this address"), "{refusal}");
        world.release.notify_one();
        assert!(read(first).await.ends_with("finished"));
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
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        assert!(world.get("/hello").await.contains("200 OK"), "others are served");
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
