//! A client's bytes on their way in and out, with what may be asked of somebody who keeps others waiting.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::PollSemaphore;

use super::seats::{FREE_BYTES, Line, STEP_BYTES, Seat};
use crate::metrics::{Cut, Metrics};
use crate::problem::{ApiError, Kind};
use crate::settings::Limits;

/// How long somebody may wait for room.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);
/// A read counts for so much at least in a long message: a short one is as much work. No more than what a WebSocket reads at
/// once, which would then take twice as long. Unit: bytes.
const READ_BYTES_MIN: u64 = 8 << 10;
/// What a timer cannot be more exact than.
const TICK: Duration = Duration::from_millis(1);
/// The first byte of every message that answers something, as RFC 6455 frames it: final, binary.
const BINARY_FRAME: u8 = 0x82;

/// The coordinator holds as much as it may of what others are sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the coordinator is receiving as much at once as it can hold; send it again in a while")]
pub struct Crowded;

/// A request's body, or the client's taking of its response, is too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body came too slowly: {bytes} bytes, then {} ms without enough more; send it again, and faster", .after.as_millis())]
pub struct BodyIdle {
    /// What had come.
    pub bytes: u64,
    /// How long was waited in the end.
    pub after: Duration,
}

/// Measures how long one side of a connection makes the other wait.
///
/// Two limits: no single wait may be longer than `idle`, and all waits together no longer than what the
/// bytes that moved would have taken at the lowest rate. The first alone would be kept by a byte now and then.
pub(super) struct Patience {
    idle: Duration,
    bytes_per_second_min: u64,
    bytes: u64,
    waited: Duration,
    /// Since when, and until when at most; runs only while somebody waits.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Patience {
    pub(super) const fn new(idle: Duration, bytes_per_second_min: u64) -> Self {
        Self { idle, bytes_per_second_min, bytes: 0, waited: Duration::ZERO, waiting: None }
    }

    fn moved(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if let Some((since, _)) = self.waiting.take() {
            self.waited += since.elapsed();
        }
    }

    /// Ready once patience is at its end; with it, how long the last wait was.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        let (since, timer) = self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            let earned = self.bytes.checked_div(self.bytes_per_second_min).map(Duration::from_secs);
            let left = earned.map_or(self.idle, |earned| (self.idle + earned).saturating_sub(self.waited));
            (now, Box::pin(sleep_until(now + left.min(self.idle))))
        });
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(since.elapsed())
    }
}

/// A client's socket, cut when the client takes nothing for too long or its place is needed.
pub(super) struct Socket {
    stream: TcpStream,
    writing: Patience,
    room: PollSemaphore,
    /// Room that this connection has, and how many bytes that is.
    taken: Option<OwnedSemaphorePermit>,
    waiting_for_room: Patience,
    /// When the next step of a long message may come.
    step: Option<Pin<Box<Sleep>>>,
    /// What may be read before that; less than nothing where one read brought more. Unit: bytes.
    left: i64,
    /// What is said instead of an answer that says nothing.
    last_words: Option<Bytes>,
    metrics: Metrics,
    seat: Seat,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, limits: &Limits, metrics: Metrics, seat: Seat) -> Self {
        Self {
            stream,
            writing: Patience::new(limits.write_idle_timeout(), limits.bytes_per_second_min),
            room: PollSemaphore::new(Arc::clone(&seat.seats.room)),
            taken: None,
            waiting_for_room: Patience::new(ROOM_TIMEOUT, 0),
            step: None,
            left: 0,
            last_words: None,
            metrics,
            seat,
        }
    }

    /// Ready once the next bytes have room, an error if they get none.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let line = &self.seat.line;
        if line.is_cut_off(cx.waker()) {
            return Poll::Ready(Err(io::Error::other(Crowded)));
        }
        let held = line.held_bytes();
        if held <= FREE_BYTES {
            self.taken = None;
            self.left = STEP_BYTES.cast_signed();
            self.needs_no_room();
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_turn(cx));
        let have = self.taken.as_ref().map_or(0, |taken| taken.num_permits() as u64 * STEP_BYTES);
        if held < FREE_BYTES + have {
            self.needs_no_room();
            return Poll::Ready(Ok(()));
        }
        let Poll::Ready(step) = self.room.poll_acquire(cx) else {
            if self.waiting_for_room.waiting.is_none() {
                self.seat.seats.make_room_for(&self.seat.line);
            }
            let _waited = ready!(self.waiting_for_room.poll_ended(cx));
            self.metrics.connection_cut(Cut::Crowded);
            return Poll::Ready(Err(io::Error::other(Crowded)));
        };
        self.waiting_for_room.moved(0);
        match (&mut self.taken, step) {
            (Some(taken), Some(step)) => taken.merge(step),
            (taken, step) => *taken = step,
        }
        Poll::Ready(Ok(()))
    }

    /// What it held was let go of while it waited for room.
    fn needs_no_room(&mut self) {
        if self.waiting_for_room.waiting.is_some() {
            self.waiting_for_room.moved(0);
            // Or it would be given what nobody takes.
            self.room = PollSemaphore::new(Arc::clone(&self.seat.seats.room));
        }
    }

    /// Ready once it is this long message's turn.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.left <= 0 {
            if self.step.is_none() {
                // A timer takes a millisecond at least.
                let wait = self.seat.seats.wait_for_step();
                self.step = (wait >= TICK).then(|| Box::pin(sleep(wait)));
            }
            if let Some(step) = &mut self.step {
                ready!(step.as_mut().poll(cx));
            }
            self.step = None;
            self.left += STEP_BYTES.cast_signed();
        }
        Poll::Ready(())
    }

    /// hyper answers a head that it cannot read by itself, with a status alone. Says the rest.
    fn replace(&mut self, answer: &[u8]) -> bool {
        let Some(error) = unreadable(answer) else { return false };
        self.last_words = Some(error.into_last_words());
        true
    }

    /// Ready once the last words, if there are any, are said.
    fn poll_last_words(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(words) = self.last_words.as_mut().filter(|words| !words.is_empty()) {
            let said = ready!(Pin::new(&mut self.stream).poll_write(cx, words))?;
            words.advance(said);
        }
        Poll::Ready(Ok(()))
    }

    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        first: Option<u8>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => {
                self.seat.line.stalls();
                let _waited = ready!(self.writing.poll_ended(cx));
                self.metrics.connection_cut(Cut::Response);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not take its response")))
            }
            Poll::Ready(written) => {
                self.seat.line.moves();
                self.writing.moved(*written.as_ref().unwrap_or(&0));
                // A WebSocket's messages are answered one after the other, and an answer means that what
                // was asked is not held any more.
                if first == Some(BINARY_FRAME) && self.seat.line.is_web_socket() {
                    self.seat.line.lets_go();
                }
                Poll::Ready(written)
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_room(cx))?;
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        let bytes = (buf.filled().len() - before) as u64;
        self.left -= bytes.max(READ_BYTES_MIN).cast_signed();
        self.seat.line.holds(bytes);
        Poll::Ready(read)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.replace(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(cx, written, buf.first().copied())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_last_words(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_last_words(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs
            && self.replace(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(cx, written, bufs.first().and_then(|buf| buf.first().copied()))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The problem behind an answer of hyper's own. The router's answers with these statuses always have a body.
fn unreadable(answer: &[u8]) -> Option<ApiError> {
    let status = answer.strip_prefix(b"HTTP/1.1 ")?.first_chunk::<3>()?;
    let (kind, detail) = match status {
        b"400" => (Kind::Malformed, "this is not an HTTP/1.1 request; send one"),
        b"414" => (Kind::UriTooLong, "the request's URI is too long; shorten it"),
        b"431" => (
            Kind::HeadTooLarge,
            "the request's head is longer than `limits.header_bytes_max`; send fewer or shorter headers",
        ),
        _ => return None,
    };
    let empty = answer.windows(19).any(|field| field.eq_ignore_ascii_case(b"content-length: 0\r\n"));
    empty.then(|| ApiError::new(kind, detail))
}

/// A request's body, given up when it comes too slowly. Time counts only while the handler waits.
pub(super) struct IdleBody {
    body: Incoming,
    patience: Patience,
    line: Arc<Line>,
    metrics: Metrics,
}

impl IdleBody {
    pub(super) fn new(body: Incoming, limits: &Limits, line: Arc<Line>, metrics: Metrics) -> Self {
        let patience = Patience::new(limits.body_idle_timeout(), limits.bytes_per_second_min);
        Self { body, patience, line, metrics }
    }
}

impl http_body::Body for IdleBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => {
                self.line.stalls();
                let after = ready!(self.patience.poll_ended(cx));
                self.metrics.connection_cut(Cut::Body);
                Poll::Ready(Some(Err(BodyIdle { bytes: self.patience.bytes, after }.into())))
            }
            Poll::Ready(frame) => {
                self.line.moves();
                let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
                self.patience.moved(bytes);
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
