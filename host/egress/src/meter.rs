//! Notes when the first byte leaves, and ends a connection over which too much comes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Sent;

/// How far a call has come. It outlives the call, which may be dropped at any point.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    written: AtomicBool,
    /// 0: none yet.
    status: AtomicU16,
    over: AtomicBool,
}

impl Progress {
    pub(crate) fn sent(&self) -> Sent {
        match StatusCode::from_u16(self.status.load(Ordering::Relaxed)) {
            Ok(status) => Sent::Answered(status),
            Err(_) if self.written.load(Ordering::Relaxed) => Sent::Perhaps,
            Err(_) => Sent::Never,
        }
    }

    pub(crate) fn answered(&self, status: StatusCode) {
        self.status.store(status.as_u16(), Ordering::Relaxed);
    }

    /// Whether more came than may.
    pub(crate) fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// A connection whose bytes are counted.
pub(crate) struct Metered<S> {
    stream: S,
    /// Bytes that may still come.
    left: u64,
    progress: Arc<Progress>,
}

impl<S> Metered<S> {
    pub(crate) fn new(stream: S, wire_bytes_max: u64, progress: Arc<Progress>) -> Self {
        Self { stream, left: wire_bytes_max, progress }
    }

    /// Before the attempt, since one that fails may have sent something.
    fn note_write(&self) {
        self.progress.written.store(true, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        match self.left.checked_sub((buffer.filled().len() - before) as u64) {
            Some(left) => self.left = left,
            None => {
                self.progress.over.store(true, Ordering::Relaxed);
                return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.note_write();
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.note_write();
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
