//! What is on the wire, as a server that parses nothing sees it, and what is made of what comes back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report, in its helpers too")]

mod support;

use std::io::{Read, Write};

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use manyhands_egress::{EgressError, Fault, Request, RequestError, Response, Sent, Why};
use proptest::prelude::*;
use support::{Server, call, egress, get, runtime};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn perform(server: &Server, request: Request) -> Result<Response, EgressError> {
    runtime().block_on(egress([server.origin()]).perform(request))
}

#[test]
fn a_request_is_these_bytes() {
    let server = Server::answering(OK);
    let request = Request::new(Method::POST, server.origin(), "/v1/messages/a%2Fb?to=x%40y.z&empty=").unwrap();
    let request = request
        .header(AUTHORIZATION, HeaderValue::from_static("Bearer key"))
        .and_then(|request| request.header(CONTENT_TYPE, HeaderValue::from_static("application/json")))
        .unwrap()
        .body(r#"{"to":"x@y.z"}"#);
    let response = perform(&server, request).unwrap();
    assert_eq!((response.status, &response.body[..]), (StatusCode::OK, &b"ok"[..]));

    let seen = String::from_utf8(server.seen()).unwrap();
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, r#"{"to":"x@y.z"}"#);
    let mut lines = head.split("\r\n");
    assert_eq!(lines.next(), Some("POST /v1/messages/a%2Fb?to=x%40y.z&empty= HTTP/1.1"));
    let mut fields = lines.collect::<Vec<_>>();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "accept-encoding: identity",
            "authorization: Bearer key",
            "connection: close",
            "content-length: 14",
            "content-type: application/json",
            &format!("host: {}", server.address),
            concat!("user-agent: manyhands/", env!("CARGO_PKG_VERSION")),
        ]
    );
}

#[test]
fn a_request_without_a_body_says_so_where_one_is_usual() {
    for (method, length) in [(Method::GET, false), (Method::DELETE, false), (Method::POST, true), (Method::PUT, true)] {
        let server = Server::answering(OK);
        perform(&server, Request::new(method.clone(), server.origin(), "/").unwrap()).unwrap();
        let seen = String::from_utf8(server.seen()).unwrap();
        assert_eq!(seen.contains("\r\ncontent-length: 0\r\n"), length, "{method}");
    }
}

#[test]
fn attack_5_fields_of_the_connection_are_not_the_callers() {
    for name in [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "accept-encoding",
        "content-encoding",
        "http2-settings",
        "proxy-authorization",
        "proxy-connection",
    ] {
        let name = HeaderName::try_from(name).unwrap();
        let added = get("https://api.example.com".parse().unwrap()).header(name.clone(), HeaderValue::from_static("x"));
        assert_eq!(added.err(), Some(RequestError::Header(name)));
    }
    let twice = get("https://api.example.com".parse().unwrap())
        .header(AUTHORIZATION, HeaderValue::from_static("one"))
        .and_then(|request| request.header(AUTHORIZATION, HeaderValue::from_static("two")));
    assert_eq!(twice.err(), Some(RequestError::Twice(AUTHORIZATION)));
}

#[test]
fn only_plain_methods_go_out() {
    for method in ["CONNECT", "TRACE", "OPTIONS", "get", "PURGE", "M-SEARCH"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let refused = Request::new(method, "https://api.example.com".parse().unwrap(), "/");
        assert_eq!(refused.err(), Some(RequestError::Method));
    }
}

#[test]
fn attack_4_paths_mean_the_same_to_everybody() {
    let make = |target: &str| Request::new(Method::GET, "https://api.example.com".parse().unwrap(), target);
    for target in [
        "",
        "a",
        "?a",
        "*",
        "http://evil.test/",
        "/a/../b",
        "/..",
        "/a/.",
        "/a/%2e%2e/b",
        "/a/%2E./b",
        "/a/.%2e",
        "/a/%2e",
        "/../?q",
        "/a b",
        "/a\\b",
        "/a#b",
        "/a?b#c",
        "/a\tb",
        "/a\r\nHost: evil.test",
        "/a HTTP/1.1\r\n\r\nGET /b",
        "/a\0",
        "/ä",
        "/a\"",
        "/a<b>",
        "/{id}",
        "/a|b",
        "/a^b",
        "/a`b",
        "/%",
        "/%2",
        "/%2g",
        "/a?%",
        "/a?b=\u{7f}",
        "/a?[]",
    ] {
        assert_eq!(make(target).err(), Some(RequestError::Target), "{target:?}");
    }
    for target in ["/", "/a/b.json", "/a..b/...", "/%2F%5c", "/a;v=1/@x:y", "/a?b=../..&c=?/d", "//a", "/~x!$&'()*+,="]
    {
        assert!(make(target).is_ok(), "{target:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    /// Whatever a value, a path and a body are made of: one request arrives, with one more field, and it is that.
    #[test]
    fn attack_5_one_request_arrives_whatever_is_in_it(
        value in proptest::collection::vec(prop_oneof![20 => 0x20..=0x7e_u8, 6 => 0x80..=0xff_u8, 1 => any::<u8>()], 0..24),
        target in "/([a-zA-Z0-9._~!$&'()*+,;=:@/?-]|%[0-9a-fA-F]{2}|[\\r\\n #%]){0,9}",
        body in proptest::sample::select(vec!["", "\r\n\r\nGET /two HTTP/1.1\r\n\r\n", "0\r\n\r\nPOST /"]),
    ) {
        let harmful = value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        let server = Server::answering(OK);
        let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
        prop_assert!(!harmful, "{:?}", value);
        let Ok(request) = Request::new(Method::POST, server.origin(), &target) else { return Ok(()) };
        let name = HeaderName::from_static("x-slot");
        perform(&server, request.header(name, value.clone()).unwrap().body(body)).unwrap();

        let seen = server.seen();
        let end = seen.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        prop_assert_eq!(&seen[end + 4..], body.as_bytes());
        let lines = seen[..end].split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect::<Vec<_>>();
        let first = format!("POST {target} HTTP/1.1");
        prop_assert_eq!(lines[0], first.as_bytes());
        prop_assert_eq!(lines.len(), 7, "request line, five fields of ours, one of theirs");
        prop_assert!(lines.contains(&&[b"x-slot: ", value.as_bytes()].concat()[..]));
        prop_assert_eq!(server.connections(), 1);
    }
}

#[test]
fn attack_43_no_answer_belongs_to_another_call() {
    // The first answer brings a second one with it, and offers to keep the connection.
    let server = Server::answering(
        "HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: 3\r\n\r\nourHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
    );
    let egress = egress([server.origin()]);
    runtime().block_on(async {
        for _ in 0..3 {
            assert_eq!(egress.perform(get(server.origin())).await.unwrap().body, "our");
        }
    });
    assert_eq!(server.connections(), 3);
    for _ in 0..3 {
        let seen = String::from_utf8(server.seen()).unwrap();
        assert_eq!(seen.matches("HTTP/1.1").count(), 1, "{seen}");
    }
}

#[test]
fn interim_answers_and_trailers_are_left_out() {
    let server = Server::answering(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </secret>\r\n\r\n\
         HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\ntrailer: x-echo\r\n\r\n2;e=1\r\nab\r\n1\r\nc\r\n0\r\nx-echo: secret\r\n\r\n",
    );
    let response = call(&server).unwrap();
    assert_eq!((response.status, &response.body[..]), (StatusCode::CREATED, &b"abc"[..]));
    assert!(!response.headers.contains_key("link") && !response.headers.contains_key("x-echo"));
}

#[test]
fn an_answer_that_is_cut_off_is_none() {
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789";
    let head = whole.find("\r\n\r\n").unwrap() + 4;
    for cut in 0..whole.len() {
        let error = call(&Server::answering(&whole[..cut])).expect_err("cut off");
        assert!(matches!(error.why, Why::Broken(_)), "{cut}: {error}");
        let expected = if cut < head { Sent::Perhaps } else { Sent::Answered(StatusCode::OK) };
        assert_eq!(error.sent, expected, "{cut}");
    }
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n";
    let error = call(&Server::answering(chunked)).expect_err("cut off");
    assert_eq!((error.sent, error.public()), (Sent::Answered(StatusCode::OK), Fault::Withheld));
}

#[test]
fn what_is_no_answer_is_unknown() {
    for answer in [
        "",
        "hello\r\n\r\n",
        "HTTP/0.9 200 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nname : x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nname: x\0y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nname: x\r\n folded\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let error = call(&Server::answering(answer)).expect_err(answer);
        assert!(matches!(error.why, Why::Broken(_)), "{answer:?}: {error}");
        assert_eq!((error.sent, error.public()), (Sent::Perhaps, Fault::Unknown), "{answer:?}");
    }
    let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let error = call(&Server::answering(switched)).expect_err("another protocol");
    assert!(matches!(error.why, Why::Switched), "{error}");
    assert_eq!(error.sent, Sent::Perhaps);
}

/// A body that says what it is encoded as.
fn encoded(coding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn attack_16_an_answer_that_is_encoded_all_the_same_is_decoded_or_withheld() {
    // Long enough that it is not merely stored.
    let secret = "sk_live_9aZ/b+Q=Tail51xk ".repeat(40);
    let plain = secret.as_bytes();
    for (coding, body) in [
        ("gzip", gzip(plain)),
        ("GZIP", gzip(plain)),
        ("x-gzip", gzip(plain)),
        ("identity, gzip", gzip(plain)),
        ("identity", plain.into()),
    ] {
        let response = call(&Server::answering(encoded(coding, &body))).unwrap();
        assert_eq!(response.body, plain, "{coding}");
        assert!(!response.headers.contains_key("content-encoding"));
    }
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::default());
    deflate.write_all(plain).unwrap();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(plain).unwrap();
    let mut brotli = Vec::new();
    brotli::CompressorReader::new(plain, 4096, 5, 22).read_to_end(&mut brotli).unwrap();
    for (coding, body) in [
        ("deflate", deflate.finish().unwrap()),
        ("deflate", zlib.finish().unwrap()),
        ("br", brotli),
        ("zstd", b"\x28\xb5\x2f\xfd".to_vec()),
        ("compress", plain.to_vec()),
        ("aws-chunked", plain.to_vec()),
        ("gzip, gzip", gzip(&gzip(plain))),
        ("gzip, br", gzip(plain)),
        ("sk_live_9aZ", plain.to_vec()),
    ] {
        let error = call(&Server::answering(encoded(coding, &body))).expect_err(coding);
        assert!(matches!(error.why, Why::Encoded), "{coding}: {error}");
        assert_eq!((error.sent, error.public()), (Sent::Answered(StatusCode::OK), Fault::Withheld));
    }
    // The same, two fields of it; and where chunks are made.
    for field in [
        "content-encoding: gzip\r\ncontent-encoding: gzip",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: gzip",
    ] {
        let error = call(&Server::answering(format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n0\r\n\r\n"))).expect_err(field);
        assert!(matches!(error.why, Why::Encoded), "{field}: {error}");
    }
    // An answer to HEAD speaks of a body that does not come.
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 100\r\n\r\n");
    let response = perform(&server, Request::new(Method::HEAD, server.origin(), "/").unwrap()).unwrap();
    assert_eq!(response.body, "");
}

#[test]
fn a_gzip_that_is_broken_is_withheld() {
    let body = gzip(&b"some text, and some more of the text ".repeat(20));
    let mut flipped = body.clone();
    // The check sum is in the last eight bytes.
    flipped[body.len() - 6] ^= 1;
    let mut trailing = body.clone();
    trailing.extend_from_slice(b"tail");
    let cuts = (1..body.len()).map(|cut| body[..cut].to_vec());
    for wrong in cuts.chain([flipped, trailing, b"no gzip at all".to_vec()]) {
        let error = call(&Server::answering(encoded("gzip", &wrong))).expect_err("broken");
        assert!(matches!(error.why, Why::Corrupt), "{} of {} bytes: {error}", wrong.len(), body.len());
    }
    let twice = [&body[..], &body].concat();
    assert_eq!(
        call(&Server::answering(encoded("gzip", &twice))).unwrap().body.len(),
        2 * 37 * 20,
        "members follow each other"
    );
}

#[test]
fn attack_42_nothing_secret_is_shown() {
    const SECRET: &str = "sk_live_9aZTail51xk";
    let secret = HeaderValue::from_static(SECRET);
    let answers = [
        format!("HTTP/1.1 200 {SECRET}\r\nset-cookie: {SECRET}\r\ncontent-length: 19\r\n\r\n{SECRET}"),
        format!("HTTP/1.1 200 OK\r\ncontent-encoding: {SECRET}\r\ncontent-length: 19\r\n\r\n{SECRET}"),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {SECRET}\r\n\r\n{SECRET}"),
        format!("HTTP/1.1 200 OK\r\ncontent-length: {SECRET}\r\n\r\n{SECRET}"),
        format!("HTTP/1.1 200 OK\r\n{SECRET} x: y\r\n\r\n{SECRET}"),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{SECRET}\r\n"),
        format!("{SECRET}\r\n\r\n"),
    ];
    for answer in answers {
        let server = Server::answering(answer.as_str());
        let make = || {
            Request::new(Method::POST, server.origin(), &format!("/{SECRET}?q={SECRET}"))
                .and_then(|request| request.header(AUTHORIZATION, secret.clone()))
                .unwrap()
                .body(SECRET)
        };
        let shown = match perform(&server, make()) {
            Ok(response) => format!("{response:?} {:?}", response.headers),
            Err(error) => format!("{error} {error:?} {:?}", error.public()),
        };
        let request = make();
        let shown = format!("{shown} {request:?}");
        assert!(!shown.contains(SECRET) && !shown.contains("sk_live"), "{answer:?}: {shown}");
        assert!(String::from_utf8(server.seen()).unwrap().matches(SECRET).count() == 4, "it was sent");
    }
    let refused = Request::new(Method::GET, "https://api.example.com".parse().unwrap(), &format!("/{SECRET}\r\n"));
    let refused = refused.expect_err("no path");
    assert!(!format!("{refused} {refused:?}").contains("sk_live"));
}
