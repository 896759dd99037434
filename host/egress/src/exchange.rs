//! What is said: one request, one answer, and the connection is gone.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::body::Body;
use crate::meter::{Metered, Progress};
use crate::{Excess, Limits, Phase, Request, Why};

/// An answer, whatever its status: a redirect is one as well. Trailers and interim answers are left out.
pub struct Response {
    /// Status, 200 and above.
    pub status: StatusCode,
    /// Fields, with those of the connection and without the coding of the body. Their values are never shown.
    pub headers: HeaderMap,
    /// Body, decoded.
    pub body: Bytes,
}

/// A connection in both directions.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A head is read into a buffer as a whole; hyper has none that is smaller.
const BUFFER_BYTES_MIN: usize = 8 << 10;

pub(crate) async fn exchange(stream: impl Stream, request: Request, progress: &Arc<Progress>) -> Result<Response, Why> {
    let limits = request.limits;
    let broken = |why: hyper::Error| match () {
        () if progress.over() => Why::TooMuch(Excess::Wire),
        () if why.is_parse_too_large() => Why::TooMuch(Excess::Head),
        () => Why::Broken(why),
    };
    let stream = Metered::new(stream, limits.wire_bytes_max, Arc::clone(progress));
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(limits.headers_max.into())
        .max_buf_size(limits.head_bytes_max.max(BUFFER_BYTES_MIN))
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let answer = async {
        let head = timeout(limits.first_byte, sender.send_request(request.into_http())).await;
        let head = head.map_err(|_| Why::TooSlow(Phase::FirstByte))?.map_err(broken)?;
        if head.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Why::Switched);
        }
        progress.answered(head.status());
        receive(head, &limits, broken).await
    };
    let mut answer = pin!(answer);
    // Not a task of its own: whoever stops waiting for the answer ends the connection.
    tokio::select! {
        answer = &mut answer => answer,
        // Its errors reach whoever waits for the answer.
        _ = connection => answer.await,
    }
}

async fn receive(
    head: http::Response<Incoming>,
    limits: &Limits,
    broken: impl Fn(hyper::Error) -> Why,
) -> Result<Response, Why> {
    let (mut head, mut incoming) = head.into_parts();
    let head_bytes: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if head_bytes > limits.head_bytes_max {
        return Err(Why::TooMuch(Excess::Head));
    }
    let mut body = Body::new(&head.headers, limits)?;
    while let Some(frame) = incoming.frame().await {
        if let Ok(data) = frame.map_err(&broken)?.into_data() {
            body.push(&data)?;
        }
    }
    head.headers.remove(header::CONTENT_ENCODING);
    head.headers.values_mut().for_each(|value| value.set_sensitive(true));
    Ok(Response { status: head.status, headers: head.headers, body: body.finish()? })
}

/// Without what may be secret.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}
