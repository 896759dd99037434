//! Whom a call reaches, and whom it cannot.
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report, in its helpers too")]

mod support;

use std::process::Command;
use std::time::Duration;

use http::StatusCode;
use manyhands_addresses::{Class, Origin, OriginError, classify};
use manyhands_egress::{Egress, EgressError, Fault, Limits, Phase, Sent, Settings, Why};
use socket2::{Domain, Socket, Type};
use support::{Script, Server, call, egress, get, runtime};

fn origin(text: &str) -> Origin {
    text.parse().unwrap()
}

fn refused(egress: &Egress, origin: Origin) -> EgressError {
    let error = runtime().block_on(egress.perform(get(origin))).expect_err("it is refused");
    assert_eq!(error.sent, Sent::Never, "{error}");
    error
}

fn battery() -> impl Iterator<Item = &'static str> {
    let lines = include_str!("../../../crates/addresses/tests/special.txt").lines();
    lines.filter(|line| !line.starts_with('#')).map(|line| line.split(' ').next().unwrap())
}

#[test]
fn attack_22_no_special_address_is_reached_by_literal() {
    let script = Script::of([]);
    let egress = Egress::with_resolver(Settings::default(), script.clone()).unwrap();
    for text in battery() {
        let address = text.parse::<std::net::IpAddr>().unwrap();
        let host = if address.is_ipv4() { address.to_string() } else { format!("[{address}]") };
        // IPv4 within IPv6 is no origin as it stands, and no way around as what it means.
        let (address, origin) = match format!("https://{host}").parse() {
            Ok(origin) => (address, origin),
            Err(OriginError::Spelling(_)) if classify(address.to_canonical()) == Class::Public => continue,
            Err(OriginError::Spelling(origin)) => (address.to_canonical(), origin),
            Err(error) => panic!("{text}: {error}"),
        };
        let error = refused(&egress, origin);
        let Why::Special { address: refused, row } = error.why else { panic!("{text}: {error}") };
        assert_eq!((refused, Class::Special(row)), (address, classify(address)));
    }
    assert_eq!(script.asked(), 0, "a literal is nobody's to look up");
}

#[test]
fn attack_22_no_special_address_is_reached_by_name() {
    let script = Script::of([]);
    let egress = Egress::with_resolver(Settings::default(), script.clone()).unwrap();
    for text in battery() {
        // Alone, and before or after addresses that would be fine: A, AAAA and mixed answers, whatever names led to them.
        for answer in [
            &[text][..],
            &[text, "93.184.215.14"],
            &["93.184.215.14", text],
            &["2606:4700::1111", "93.184.215.14", text],
        ] {
            script.say(answer);
            let error = refused(&egress, origin("https://api.example.com"));
            assert!(matches!(error.why, Why::Special { .. }), "{answer:?}: {error}");
        }
    }
}

#[test]
fn attack_21_the_address_that_was_vetted_is_the_one_that_is_dialled() {
    // One port, two servers: the name is at the first when it is looked up, and at the second ever after.
    let first = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst");
    let port = first.address.port();
    let second = Server::at(&format!("127.0.0.2:{port}"), |_| Ok(()));
    let name = origin(&format!("http://rebinding.test:{port}"));
    let script = Script::of([&["127.0.0.1"], &["127.0.0.2"]]);
    let settings = Settings { allowed: vec![name.clone()], ..Settings::default() };
    let egress = Egress::with_resolver(settings, script.clone()).unwrap();

    let response = runtime().block_on(egress.perform(get(name))).unwrap();
    assert_eq!(response.body, "first");
    assert_eq!((script.asked(), first.connections(), second.connections()), (1, 1, 0));

    // A name that was public before is judged again at each call.
    let server = Server::answering("");
    let name = origin(&format!("https://flips.test:{}", server.address.port()));
    let script = Script::of([&["127.0.0.1"], &["93.184.215.14", "127.0.0.1"]]);
    let egress = Egress::with_resolver(Settings::default(), script.clone()).unwrap();
    for _ in 0..3 {
        assert!(matches!(refused(&egress, name.clone()).why, Why::Special { .. }));
    }
    assert_eq!((script.asked(), server.connections()), (3, 0));
}

#[test]
fn attack_21_a_connection_that_ends_elsewhere_says_nothing() {
    // Linux takes the unspecified address for loopback.
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let odd = origin(&format!("http://0.0.0.0:{}", server.address.port()));
    let error = refused(&egress([odd.clone()]), odd);
    assert!(matches!(error.why, Why::Peer { .. }), "{error}");
    assert_eq!(server.seen(), b"", "nothing was sent");
}

#[test]
fn attack_19_a_redirect_is_an_answer() {
    let second = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    for status in [300, 301, 302, 303, 307, 308] {
        let location = second.origin();
        let first = Server::answering(format!(
            "HTTP/1.1 {status} Elsewhere\r\nlocation: {location}/\r\nrefresh: 0; url={location}\r\ncontent-length: 4\r\n\r\nbody"
        ));
        // Even where both are allowed.
        let egress = egress([first.origin(), second.origin()]);
        let response = runtime().block_on(egress.perform(get(first.origin()))).unwrap();
        assert_eq!(response.status.as_u16(), status);
        assert_eq!(response.headers["location"], format!("{location}/"));
        assert_eq!(response.body, "body");
    }
    assert_eq!(second.connections(), 0);
}

#[test]
fn attack_23_own_listeners_are_not_reached() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let port = server.address.port();
    let settings = Settings { own: vec![server.address, "93.184.215.14:443".parse().unwrap()], ..Settings::default() };
    for (host, answer) in [("127.0.0.1", &[][..]), ("localhost", &["127.0.0.1"]), ("own.test", &["127.0.0.1"])] {
        let egress = Egress::with_resolver(settings.clone(), Script::of([answer])).unwrap();
        refused(&egress, origin(&format!("https://{host}:{port}")));
        refused(&egress, origin(&format!("http://{host}:{port}")));
    }
    assert_eq!(server.connections(), 0);
    // A public one, by literal and by name.
    let egress = Egress::with_resolver(settings, Script::of([&["93.184.215.14"]])).unwrap();
    for host in ["93.184.215.14", "own.test"] {
        assert!(matches!(refused(&egress, origin(&format!("https://{host}"))).why, Why::Own(_)));
    }
    assert_eq!(call(&server).unwrap().status, StatusCode::OK, "what is allowed by name is reached");
}

#[test]
fn attack_23_only_what_is_allowed_is_allowed() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let port = server.address.port();
    let script = Script::of([&["127.0.0.1"]]);
    let settings = Settings { allowed: vec![server.origin()], ..Settings::default() };
    let egress = Egress::with_resolver(settings, script.clone()).unwrap();
    for other in [
        format!("https://127.0.0.1:{port}"),
        "http://127.0.0.1".into(),
        format!("http://localhost:{port}"),
        format!("http://127.0.0.2:{port}"),
    ] {
        refused(&egress, origin(&other));
    }
    // In clear, nothing is even looked up.
    let before = script.asked();
    assert!(matches!(refused(&egress, origin("http://api.example.com")).why, Why::Clear));
    assert_eq!((script.asked(), server.connections()), (before, 0));
}

/// The variables are set for a process of its own, which is this test once more.
#[test]
fn attack_23_proxies_of_the_environment_are_ignored() {
    const TARGET: &str = "MANYHANDS_TEST_TARGET";
    if let Ok(target) = std::env::var(TARGET) {
        let target = origin(&target);
        let settings = Settings { allowed: vec![target.clone()], ..Settings::default() };
        let response = runtime().block_on(Egress::new(settings).unwrap().perform(get(target))).unwrap();
        assert_eq!(response.body, "target");
        return;
    }
    let target = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\ntarget");
    let proxy = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nproxy");
    let mut again = Command::new(std::env::current_exe().unwrap());
    again
        .args(["--exact", "attack_23_proxies_of_the_environment_are_ignored"])
        .env(TARGET, target.origin().to_string());
    for variable in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        again.env(variable, proxy.origin().to_string());
    }
    again.env_remove("no_proxy").env_remove("NO_PROXY");
    let output = again.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!((target.connections(), proxy.connections()), (1, 0));
}

#[test]
fn an_address_that_takes_no_connection_leaves_the_others_their_turn() {
    let server = Server::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let name = origin(&format!("http://two.test:{}", server.address.port()));
    let settings = Settings { allowed: vec![name.clone()], ..Settings::default() };
    let egress = Egress::with_resolver(settings, Script::of([&["127.0.0.3", "127.0.0.1"]])).unwrap();
    assert_eq!(runtime().block_on(egress.perform(get(name))).unwrap().status, StatusCode::NO_CONTENT);
}

#[test]
fn attack_25_an_address_that_is_silent_leaves_the_others_their_time() {
    let server = Server::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let silent = "127.0.0.4:0".parse::<std::net::SocketAddr>().unwrap();
    let silent = std::net::SocketAddr::new(silent.ip(), server.address.port());
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&silent.into()).unwrap();
    socket.listen(0).unwrap();
    // Nobody takes these, so the queue fills, and Linux lets whoever comes then wait.
    let mut queue = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&silent, Duration::from_millis(500)) {
        queue.push(stream);
    }
    let name = origin(&format!("http://two.test:{}", server.address.port()));
    let settings = Settings { allowed: vec![name.clone()], ..Settings::default() };
    let limits = Limits { connect: Duration::from_millis(800), ..Limits::default() };
    let script = Script::of([&["127.0.0.4", "127.0.0.1"]]);
    let egress = Egress::with_resolver(settings, script.clone()).unwrap();
    let call = |name| runtime().block_on(egress.perform(get(name).limits(limits)));
    assert_eq!(call(name.clone()).unwrap().status, StatusCode::NO_CONTENT);
    script.say(&["127.0.0.4"]);
    let error = call(name).expect_err("nobody else");
    assert!(matches!(error.why, Why::TooSlow(Phase::Connect)), "{error}");
    assert_eq!(error.sent, Sent::Never);
}

#[test]
fn the_system_resolver_finds_this_computer() {
    let server = Server::answering("HTTP/1.1 204 No Content\r\n\r\n");
    let name = origin(&format!("http://localhost:{}", server.address.port()));
    let settings = Settings { allowed: vec![name.clone()], ..Settings::default() };
    let egress = Egress::new(settings).unwrap();
    assert_eq!(runtime().block_on(egress.perform(get(name.clone()))).unwrap().status, StatusCode::NO_CONTENT);
    assert!(matches!(
        refused(&Egress::new(Settings::default()).unwrap(), origin("https://localhost")).why,
        Why::Special { .. }
    ));
}

/// Nobody who answers, nobody who may be asked, nobody at all: a worker sees one word.
#[test]
fn attack_18_workers_cannot_tell_refusals_apart() {
    let port = {
        // Closed again: nobody listens there.
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    };
    let closed = origin(&format!("http://127.0.0.1:{port}"));
    let not_tls = Server::answering("HTTP/1.1 200 OK\r\n\r\n");
    let not_tls = origin(&format!("https://127.0.0.1:{}", not_tls.address.port()));
    let settings = Settings { allowed: vec![closed.clone(), not_tls.clone()], ..Settings::default() };
    let nothing: &[&str] = &[];
    for (script, origin) in [
        (Script::of([]), closed),
        (Script::of([]), not_tls),
        (Script::of([]), origin("https://missing.test")),
        (Script::of([nothing]), origin("https://empty.test")),
        (Script::of([&["10.0.0.1"]]), origin("https://private.test")),
        (Script::of([]), origin("http://clear.test")),
    ] {
        let egress = Egress::with_resolver(settings.clone(), script).unwrap();
        let error = refused(&egress, origin);
        assert_eq!(error.public(), Fault::Refused, "{error}");
    }
}

#[test]
fn attack_25_a_resolver_that_is_silent_is_not_waited_for() {
    struct Silent;
    impl manyhands_egress::Resolve for Silent {
        fn resolve<'a>(&'a self, _: &'a str) -> futures::future::BoxFuture<'a, std::io::Result<Vec<std::net::IpAddr>>> {
            Box::pin(std::future::pending())
        }
    }
    let egress = Egress::with_resolver(Settings::default(), std::sync::Arc::new(Silent)).unwrap();
    let limits = Limits { connect: Duration::from_millis(50), ..Limits::default() };
    let request = get(origin("https://api.example.com")).limits(limits);
    let error = runtime().block_on(egress.perform(request)).expect_err("no name");
    assert!(matches!(error.why, Why::TooSlow(Phase::Connect)), "{error}");
    assert_eq!((error.sent, error.public()), (Sent::Never, Fault::TimedOut));
}
