//! HTTP and WebSocket by hand, because a library would not let us break them.

use std::io;

use manyhands_protocol::{Body, ClientMessage, Greeting, Hello, SUBPROTOCOL, ServerMessage, decode, encode};
use manyhands_signing::Signed;
use manyhands_tests::Worker;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest answer that is looked at.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// WebSocket opcodes.
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const BINARY: u8 = 2;
pub(crate) const PING: u8 = 9;

/// The head of a request.
pub(crate) fn head(method: &str, path: &str, token: &str, more: &str) -> String {
    let bearer = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    format!("{method} {path} HTTP/1.1\r\nhost: besieged\r\n{bearer}{more}\r\n")
}

/// Reads one answer and says it in a few words: status, problem, when to come again.
pub(crate) async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = field(head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return describe(head, body);
            }
        }
        match stream.read_buf(&mut bytes).await {
            Ok(1..) if bytes.len() < ANSWER_BYTES_MAX => {}
            _ if bytes.is_empty() => return "closed without a word".into(),
            _ => return "an answer that breaks off".into(),
        }
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn describe(head: &str, body: &str) -> String {
    let status = head.split(' ').nth(1).unwrap_or_default();
    let problem: Option<manyhands_api::Problem> = serde_json::from_str(body).ok();
    let kind = match &problem {
        Some(problem) => problem.kind.trim_start_matches("/problems/"),
        None if status.starts_with(['4', '5']) => "without a document",
        None => "",
    };
    // The wait is spread, so its number would make many kinds of one.
    let again = if field(head, "retry-after").is_some() { "with retry-after" } else { "" };
    [status, kind, again].join(" ").trim_end().to_owned()
}

/// One WebSocket frame, masked with zeros, whose head may declare more than there is.
pub(crate) fn frame(last: bool, opcode: u8, declared: usize, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![opcode | if last { 0x80 } else { 0 }];
    match declared {
        0..126 => frame.push(0x80 | u8::try_from(declared).unwrap_or(0)),
        126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(declared).unwrap_or(0).to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((declared as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// A whole message.
pub(crate) fn message(message: &ClientMessage) -> Vec<u8> {
    let bytes = encode(message);
    frame(true, BINARY, bytes.len(), &bytes)
}

/// Opens a WebSocket as workers do.
///
/// # Errors
/// What was answered instead.
pub(crate) async fn upgrade(stream: &mut TcpStream) -> Result<(), String> {
    let more = format!(
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: {SUBPROTOCOL}\r\n"
    );
    let lost = |error: io::Error| format!("lost: {}", error.kind());
    stream.write_all(head("GET", "/v1/worker", "", &more).as_bytes()).await.map_err(lost)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(_) if answer.is_empty() => return Err("closed without a word".into()),
            Err(_) => return Err("an answer that breaks off".into()),
        }
    }
    if answer.starts_with(b"HTTP/1.1 101 ") {
        return Ok(());
    }
    let head = String::from_utf8_lossy(&answer).into_owned();
    let length = field(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    let _cut = stream.read_exact(&mut body).await;
    Err(describe(&head, &String::from_utf8_lossy(&body)))
}

/// The next message from the coordinator, but a refusal.
///
/// # Errors
/// How it ended: a refusal, or a closed line.
pub(crate) async fn hear(stream: &mut TcpStream) -> Result<ServerMessage, String> {
    unless_refused(hear_all(stream).await?)
}

fn unless_refused(message: ServerMessage) -> Result<ServerMessage, String> {
    match message {
        ServerMessage::Refused { reason, retry_after } => {
            let again = if retry_after.is_some() { ", come again later" } else { "" };
            Err(format!("refused: {reason}{again}"))
        }
        message => Ok(message),
    }
}

/// The next message from the coordinator.
///
/// # Errors
/// How it ended.
pub(crate) async fn hear_all(stream: &mut TcpStream) -> Result<ServerMessage, String> {
    loop {
        let closed = |_| "closed without a word".to_owned();
        let (first, second) = (stream.read_u8().await.map_err(closed)?, stream.read_u8().await.map_err(closed)?);
        let length = match second & 0x7f {
            126 => stream.read_u16().await.map_err(closed)?.into(),
            127 => stream.read_u64().await.map_err(closed)?,
            short => short.into(),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap_or(0).min(64 << 20)];
        stream.read_exact(&mut payload).await.map_err(closed)?;
        match first & 0x0f {
            BINARY => return decode(&payload).map_err(|error| error.to_string()),
            8 => return Err("a close frame".into()),
            _ => {}
        }
    }
}

/// Introduces itself as a worker, with a key of its own. Returns what is said to that.
///
/// # Errors
/// How it ended.
pub(crate) async fn introduce(stream: &mut TcpStream) -> Result<ServerMessage, String> {
    upgrade(stream).await?;
    let challenge = match hear_all(stream).await? {
        ServerMessage::Challenge(challenge) => challenge,
        other => return Ok(other),
    };
    let greeting = Greeting { nonce: challenge.nonce, coordinator: challenge.root };
    let body = Body { engine: "none".into(), runtime: "besieger".into() };
    let greeting = Signed::new(&Worker::new_key(), &greeting);
    let hello = Hello { greeting, body, slots: 64, is_watched: true, invitation: None };
    let sent = stream.write_all(&message(&ClientMessage::Hello(hello))).await;
    sent.map_err(|error| format!("lost: {}", error.kind()))?;
    hear_all(stream).await
}

/// Becomes a worker.
///
/// # Errors
/// How it ended.
pub(crate) async fn greet(stream: &mut TcpStream) -> Result<(), String> {
    match unless_refused(introduce(stream).await?)? {
        ServerMessage::Welcome(_) => Ok(()),
        other => Err(format!("expected a welcome, got {other:?}")),
    }
}
