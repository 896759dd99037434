//! How long a call may take, how much may come back, and how much memory that costs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report, in its helpers too")]

mod support;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use http::StatusCode;
use manyhands_egress::{EgressError, Excess, Fault, Limits, Phase, Response, Sent, Why};
use support::{Server, egress, get, runtime};

fn within(server: &Server, limits: Limits) -> Result<Response, EgressError> {
    runtime().block_on(egress([server.origin()]).perform(get(server.origin()).limits(limits)))
}

const MOMENT: Duration = Duration::from_millis(200);
/// What a busy computer may add to a time limit.
const SLACK: Duration = Duration::from_secs(3);
/// The pace of a server that means harm: each byte comes long before any limit.
const PACE: Duration = Duration::from_millis(10);

/// Writes a head, and then bytes for ever, one at a time.
fn dribble(head: &'static str, byte: u8) -> Server {
    Server::with(move |stream| {
        stream.write_all(head.as_bytes())?;
        loop {
            stream.write_all(&[byte])?;
            sleep(PACE);
        }
    })
}

#[test]
fn attack_25_a_server_that_says_nothing_is_left() {
    let server = Server::with(|stream| stream.read(&mut [0]).map(drop));
    let start = Instant::now();
    let error = within(&server, Limits { first_byte: MOMENT, ..Limits::default() }).expect_err("no answer");
    assert!(matches!(error.why, Why::TooSlow(Phase::FirstByte)), "{error}");
    assert_eq!((error.sent, error.public()), (Sent::Perhaps, Fault::TimedOut));
    assert!((MOMENT..MOMENT + SLACK).contains(&start.elapsed()));
    server.seen();
}

#[test]
fn attack_25_a_byte_now_and_then_buys_no_time() {
    let (head, body) = ("HTTP/1.1 200 OK\r\nx-slow: ", "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5000\r\n";
    for (head, byte, sent) in [
        (head, b'x', Sent::Perhaps),
        (body, b'x', Sent::Answered(StatusCode::OK)),
        (chunks, b'x', Sent::Answered(StatusCode::OK)),
        ("HTTP/1.1 200 OK\r\n\r\n", b'x', Sent::Answered(StatusCode::OK)),
    ] {
        let server = dribble(head, byte);
        let start = Instant::now();
        let error = within(&server, Limits { total: MOMENT, ..Limits::default() }).expect_err("too slow");
        assert!(matches!(error.why, Why::TooSlow(Phase::Total)), "{error}");
        assert_eq!(error.sent, sent);
        assert!((MOMENT..MOMENT + SLACK).contains(&start.elapsed()));
        // The connection is gone, or the server would write for ever.
        server.seen();
    }
    let server = dribble(head, b'x');
    let error = within(&server, Limits { first_byte: MOMENT, ..Limits::default() }).expect_err("too slow");
    assert!(matches!(error.why, Why::TooSlow(Phase::FirstByte)), "{error}");
}

#[test]
fn attack_25_a_server_that_reads_nothing_is_left() {
    // The request is longer than what the operating system keeps for a connection that nobody reads.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let origin: manyhands_addresses::Origin = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let request = manyhands_egress::Request::new(http::Method::POST, origin.clone(), "/").unwrap();
    let request = request.body(vec![0; 64 << 20]).limits(Limits { first_byte: MOMENT, ..Limits::default() });
    let error = runtime().block_on(egress([origin]).perform(request)).expect_err("never read");
    assert!(matches!(error.why, Why::TooSlow(Phase::FirstByte)), "{error}");
    assert_eq!(error.sent, Sent::Perhaps);
}

#[test]
fn a_call_that_is_dropped_ends_its_connection() {
    let server = Server::with(|stream| stream.read(&mut [0]).map(drop));
    runtime().block_on(async {
        let egress = egress([server.origin()]);
        let call = egress.perform(get(server.origin()));
        assert!(tokio::time::timeout(MOMENT, call).await.is_err());
    });
    assert!(server.seen().ends_with(b"\r\n\r\n"), "the connection has ended, and one request was on it");
}

#[test]
fn limits_may_be_as_large_as_they_can_be_written() {
    let (long, many) = (Duration::MAX, usize::MAX);
    let limits = Limits {
        connect: long,
        first_byte: long,
        total: long,
        head_bytes_max: many,
        headers_max: u16::MAX,
        wire_bytes_max: u64::MAX,
        decoded_bytes_max: many,
        expansion_max: many,
    };
    let body = gzipped(|to| to.write_all(b"hello"));
    assert_eq!(within(&encoded("gzip", &body), limits).unwrap().body, "hello");
    let none = Limits {
        decoded_bytes_max: 0,
        headers_max: 0,
        head_bytes_max: 0,
        expansion_max: 0,
        wire_bytes_max: 0,
        ..limits
    };
    assert!(matches!(within(&encoded("gzip", &body), none).unwrap_err().why, Why::TooMuch(_)));
}

/// Writes `head` once and `more` for ever.
fn flood(head: impl Into<Vec<u8>>, more: impl Into<Vec<u8>>) -> Server {
    let (head, more) = (head.into(), more.into());
    Server::with(move |stream: &mut TcpStream| {
        stream.write_all(&head)?;
        loop {
            stream.write_all(&more)?;
        }
    })
}

/// What a call may keep in memory besides the answer: buffers for a head and some reads, and what HTTP and gzip have for themselves.
const OWN_BYTES: u64 = 160 << 10;

/// What a call comes to, and the most memory that it has at a time, in bytes.
fn measured(server: &Server, limits: Limits) -> (Result<Response, EgressError>, u64) {
    let runtime = runtime();
    let egress = egress([server.origin()]);
    let mut outcome = None;
    let used = allocation_counter::measure(|| {
        outcome = Some(runtime.block_on(egress.perform(get(server.origin()).limits(limits))));
    });
    (outcome.unwrap(), used.bytes_max)
}

/// Which limit a call runs into, and that its memory is bounded by it.
fn excess(server: &Server, limits: Limits) -> Excess {
    let (outcome, used) = measured(server, limits);
    let error = outcome.expect_err("too much");
    // A body that grows is in two places while it moves.
    let allowed = 2 * limits.decoded_bytes_max as u64 + limits.head_bytes_max as u64 + OWN_BYTES;
    assert!(used <= allowed, "{error}: {used} bytes of {allowed}");
    let Why::TooMuch(excess) = error.why else { panic!("{error}") };
    excess
}

#[test]
fn attack_24_heads_end_somewhere() {
    let limits = Limits::default();
    let ok = "HTTP/1.1 200 OK\r\n";
    assert_eq!(excess(&flood(ok, "x: y\r\n"), limits), Excess::Head);
    assert_eq!(excess(&flood(format!("{ok}x: "), [b'y'; 4096]), limits), Excess::Head);
    assert_eq!(excess(&flood(ok, [b'x'; 4096]), limits), Excess::Head);
    assert_eq!(excess(&flood("HTTP/1.1 200 ", [b'O'; 4096]), limits), Excess::Head);
    assert_eq!(excess(&flood("", "HTTP/1.1 100 Continue\r\n\r\n"), limits), Excess::Wire);
    let interim = format!("HTTP/1.1 103 Early Hints\r\nx: {}\r\n\r\n", "y".repeat(1000));
    assert_eq!(excess(&flood("", interim), limits), Excess::Wire);

    // As many fields as there may be, and one more.
    for (count, fine) in [(limits.headers_max - 1, true), (limits.headers_max, false)] {
        let server = Server::answering(format!("{ok}{}content-length: 0\r\n\r\n", "x: y\r\n".repeat(count.into())));
        assert_eq!(within(&server, limits).is_ok(), fine, "{count}");
    }
    // As many bytes of them, to the byte; and more than fit the smallest buffer.
    for (bytes, head_bytes_max, fine) in
        [(1000, 1000, true), (1000, 999, false), (20_000, 20_100, true), (20_000, 19_999, false)]
    {
        let value = "y".repeat(bytes - "content-length".len() - "0".len() - "x".len());
        let server = Server::answering(format!("{ok}content-length: 0\r\nx: {value}\r\n\r\n"));
        assert_eq!(within(&server, Limits { head_bytes_max, ..limits }).is_ok(), fine, "{bytes} of {head_bytes_max}");
    }
}

#[test]
fn attack_24_bodies_end_somewhere() {
    let limits = Limits { decoded_bytes_max: 100_000, wire_bytes_max: 150_000, ..Limits::default() };
    let ok = "HTTP/1.1 200 OK\r\n";
    let chunked = format!("{ok}transfer-encoding: chunked\r\n\r\n");
    assert_eq!(excess(&flood(format!("{ok}\r\n"), [b'x'; 5000]), limits), Excess::Decoded);
    assert_eq!(
        excess(&flood(format!("{ok}content-length: 999999999999\r\n\r\n"), [b'x'; 5000]), limits),
        Excess::Decoded
    );
    assert_eq!(
        excess(&flood(chunked.as_str(), "100\r\n".to_owned() + &"x".repeat(256) + "\r\n"), limits),
        Excess::Decoded
    );
    // Chunks of one byte are framed by six.
    assert_eq!(excess(&flood(chunked.as_str(), "1\r\nx\r\n"), limits), Excess::Wire);

    // To the byte.
    for (length, fine) in [(100_000, true), (100_001, false)] {
        let server = Server::answering(format!("{ok}content-length: {length}\r\n\r\n{}", "x".repeat(length)));
        assert_eq!(within(&server, limits).is_ok(), fine, "{length}");
    }
    // Heads, frames and all.
    let answer = format!("{ok}content-length: 5\r\n\r\nhello");
    for (max, fine) in [(answer.len() as u64, true), (answer.len() as u64 - 1, false)] {
        let server = Server::answering(answer.as_str());
        assert_eq!(within(&server, Limits { wire_bytes_max: max, ..limits }).is_ok(), fine, "{max}");
    }
}

#[test]
fn attack_24_what_surrounds_chunks_ends_somewhere() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for (head, more) in [
        // Trailers, extensions, and a length that never ends.
        (format!("{chunked}0\r\n"), "x: y\r\n".to_owned()),
        (format!("{chunked}0\r\nx: "), "y".repeat(1000)),
        (format!("{chunked}1;"), "e".repeat(1000)),
        (chunked.to_owned(), "1;e=eeeeeeeeeeeeeeeeeeeee\r\nx\r\n".to_owned()),
        (chunked.to_owned(), "0".repeat(1000)),
    ] {
        let server = flood(head.as_str(), more);
        let start = Instant::now();
        let error = within(&server, Limits::default()).expect_err("endless");
        assert!(matches!(error.why, Why::Broken(_) | Why::TooMuch(_)), "{error}");
        assert_eq!(error.public(), Fault::Withheld);
        assert!(start.elapsed() < SLACK);
    }
}

fn zeros(mut to: impl Write, mebibytes: usize) -> io::Result<()> {
    (0..mebibytes).try_for_each(|_| to.write_all(&[0; 1 << 20]))
}

fn gzipped(fill: impl FnOnce(&mut GzEncoder<Vec<u8>>) -> io::Result<()>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    fill(&mut encoder).unwrap();
    encoder.finish().unwrap()
}

fn encoded(coding: &str, body: &[u8]) -> Server {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n", body.len());
    Server::answering([head.as_bytes(), body].concat())
}

#[test]
fn attack_24_bombs_do_not_go_off() {
    let bomb = gzipped(|to| zeros(to, 64));
    assert!(bomb.len() * 1000 < 64 << 20, "a thousand to one: {}", bomb.len());
    let limits = Limits { decoded_bytes_max: 256 << 10, ..Limits::default() };
    assert_eq!(excess(&encoded("gzip", &bomb), Limits { expansion_max: 5000, ..limits }), Excess::Decoded);
    assert_eq!(excess(&encoded("gzip", &bomb), Limits { decoded_bytes_max: 64 << 20, ..limits }), Excess::Expansion);
    // One that is small enough for the limit of bytes.
    let small = gzipped(|to| zeros(to, 1));
    assert_eq!(excess(&encoded("gzip", &small), Limits { decoded_bytes_max: 2 << 20, ..limits }), Excess::Expansion);
    // Many members, none of which is much.
    let many = gzipped(|to| to.write_all(&[0; 10_000])).repeat(100);
    assert_eq!(excess(&encoded("gzip", &many), limits), Excess::Decoded);
    // A field of gzip's own header without an end.
    let name = [&b"\x1f\x8b\x08\x08\0\0\0\0\0\xff"[..], &[b'n'; 300_000]].concat();
    let (outcome, used) = measured(&encoded("gzip", &name), limits);
    assert!(matches!(outcome.unwrap_err().why, Why::Corrupt));
    assert!(used <= 2 * (64 << 10) + OWN_BYTES, "{used}");
}

/// Codings that are not taken cost what their head costs, whatever is in them.
#[test]
fn attack_24_other_bombs_are_not_touched() {
    let nested = gzipped(|to| to.write_all(&gzipped(|to| zeros(to, 64))));
    let mut brotli = Vec::new();
    brotli::CompressorReader::new(io::repeat(0).take(64 << 20), 1 << 16, 5, 22).read_to_end(&mut brotli).unwrap();
    let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), Compression::best());
    zeros(&mut deflate, 64).unwrap();
    // RFC 8878: a frame of a window of 128 KiB, and 512 blocks that each repeat one byte 128 Ki times.
    let (window, block) = (7 << 3, (128 << 10) << 3 | 1 << 1);
    let mut zstd = vec![0x28, 0xb5, 0x2f, 0xfd, 0, window];
    (0..512_u32).for_each(|_| zstd.extend_from_slice(&[block as u8, (block >> 8) as u8, (block >> 16) as u8, 0]));
    for (coding, body) in
        [("gzip, gzip", nested), ("br", brotli), ("deflate", deflate.finish().unwrap()), ("zstd", zstd)]
    {
        assert!(body.len() * 900 < 64 << 20, "{coding}: {}", body.len());
        let (outcome, used) = measured(&encoded(coding, &body), Limits::default());
        assert!(matches!(outcome.unwrap_err().why, Why::Encoded));
        assert!(used <= OWN_BYTES, "{coding}: {used}");
    }
}
