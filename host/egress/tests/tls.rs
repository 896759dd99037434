//! Who is believed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report, in its helpers too")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::thread;

use http::StatusCode;
use manyhands_addresses::Origin;
use manyhands_egress::{Egress, EgressError, Request, Response, Sent, Settings, SettingsError, Why};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};
use support::{PATIENCE, Script, get, runtime};

/// An authority that nobody knows but who is told.
struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let (certificate, pem) = (certificate.der().clone(), certificate.pem());
        Self { certificate, pem, issuer: Issuer::new(params, key) }
    }

    fn certify(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()
    }
}

/// What one connection came to: what was said on it, and in which protocol; or nothing, when TLS failed.
struct Heard {
    bytes: Vec<u8>,
    protocol: Option<Vec<u8>>,
    server_name: Option<String>,
    handshake: Option<HandshakeKind>,
}

/// A server of one connection after the other, which says `answer` to the first bytes it gets.
fn serve(config: ServerConfig, answer: &'static str, polite: bool) -> (u16, mpsc::Receiver<Heard>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, heard) = mpsc::channel();
    let config = Arc::new(config);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = StreamOwned::new(connection, stream.unwrap());
            let mut bytes = vec![0; 4096];
            let count = tls.read(&mut bytes).unwrap_or(0);
            bytes.truncate(count);
            if count > 0 {
                tls.write_all(answer.as_bytes()).unwrap();
                if polite {
                    tls.conn.send_close_notify();
                }
                tls.flush().unwrap();
                let _closed = TcpStream::shutdown(&tls.sock, std::net::Shutdown::Write);
                let _reset = tls.read_to_end(&mut bytes);
            }
            let protocol = tls.conn.alpn_protocol().map(<[u8]>::to_vec);
            let server_name = tls.conn.server_name().map(ToString::to_string);
            let handshake = tls.conn.handshake_kind();
            let _over = tell.send(Heard { bytes, protocol, server_name, handshake });
        }
    });
    (port, heard)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Calls `https://host:port`, whose name is at this computer, which is allowed.
fn call(host: &str, port: u16, roots: Vec<CertificateDer<'static>>) -> Result<Response, EgressError> {
    let origin: Origin = format!("https://{host}:{port}").parse().unwrap();
    let settings = Settings { allowed: vec![origin.clone()], roots, ..Settings::default() };
    let egress = Egress::with_resolver(settings, Script::of([&["127.0.0.1"]])).unwrap();
    runtime().block_on(egress.perform(get(origin)))
}

fn untrusted(outcome: Result<Response, EgressError>, because: &str) {
    let error = outcome.expect_err("not to be trusted");
    assert!(matches!(error.why, Why::Tls(_)), "{error}");
    assert_eq!(error.sent, Sent::Never);
    assert!(error.to_string().contains(because), "{error}");
}

#[test]
fn an_authority_of_the_operators_is_believed() {
    let authority = Authority::new();
    let mut config = authority.certify("crm.internal.test", |_| ());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (port, heard) = serve(config, OK, true);
    let response = call("crm.internal.test", port, vec![authority.certificate]).unwrap();
    assert_eq!((response.status, &response.body[..]), (StatusCode::OK, &b"ok"[..]));
    let heard = heard.recv_timeout(PATIENCE).unwrap();
    let said = String::from_utf8(heard.bytes).unwrap();
    assert_eq!(said.matches("HTTP/1.1\r\n").count(), 1);
    assert!(said.contains(&format!("\r\nhost: crm.internal.test:{port}\r\n")));
    assert_eq!(heard.protocol.as_deref(), Some(&b"http/1.1"[..]), "HTTP/2 is not offered");
    assert_eq!(heard.server_name.as_deref(), Some("crm.internal.test"));
}

#[test]
fn nobody_elses_certificate_is_believed() {
    let authority = Authority::new();
    let roots = || vec![authority.certificate.clone()];
    let (port, heard) = serve(authority.certify("crm.internal.test", |_| ()), OK, true);
    untrusted(call("crm.internal.test", port, Vec::new()), "UnknownIssuer");
    untrusted(call("crm.internal.test", port, vec![Authority::new().certificate]), "");
    untrusted(call("other.internal.test", port, roots()), "not valid for name");
    untrusted(call("127.0.0.1", port, roots()), "not valid for name");
    for _ in 0..4 {
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap().bytes, b"", "nothing is said before trust");
    }
    let expired = authority.certify("crm.internal.test", |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    untrusted(call("crm.internal.test", serve(expired, OK, true).0, roots()), "expired");
    let another = authority.certify("*.test", |_| ());
    untrusted(call("crm.internal.test", serve(another, OK, true).0, roots()), "not valid for name");
}

/// What the operating system trusts is said to a process of its own, which is this test once more.
#[test]
fn the_operators_authorities_are_believed_beside_the_operating_systems() {
    const PORTS: &str = "MANYHANDS_TEST_PORTS";
    const ROOT: &str = "MANYHANDS_TEST_ROOT";
    if let (Ok(ports), Ok(root)) = (std::env::var(PORTS), std::env::var(ROOT)) {
        let root = CertificateDer::from_pem_file(root).unwrap();
        for port in ports.split(' ') {
            let port = port.parse().unwrap();
            assert_eq!(call("crm.internal.test", port, vec![root.clone()]).unwrap().body, "ok");
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (systems, operators) = (Authority::new(), Authority::new());
    let file = |name: &str, authority: &Authority| {
        let path = folder.path().join(name);
        std::fs::write(&path, &authority.pem).unwrap();
        path
    };
    let (port, _one) = serve(systems.certify("crm.internal.test", |_| ()), OK, true);
    let (other, _other) = serve(operators.certify("crm.internal.test", |_| ()), OK, true);
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "the_operators_authorities_are_believed_beside_the_operating_systems"]);
    again.env("SSL_CERT_FILE", file("system.pem", &systems)).env_remove("SSL_CERT_DIR");
    again.env(ROOT, file("operator.pem", &operators)).env(PORTS, format!("{port} {other}"));
    let output = again.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    // The control: neither is believed where it is not named.
    untrusted(call("crm.internal.test", port, vec![operators.certificate]), "");
    untrusted(call("crm.internal.test", other, Vec::new()), "UnknownIssuer");
}

#[test]
fn an_address_can_be_certified() {
    let authority = Authority::new();
    let (port, _heard) = serve(authority.certify("127.0.0.1", |_| ()), OK, true);
    assert_eq!(call("127.0.0.1", port, vec![authority.certificate]).unwrap().body, "ok");
}

#[test]
fn an_answer_that_somebody_cut_is_none() {
    const UNTIL_CLOSED: &str = "HTTP/1.1 200 OK\r\n\r\nnot all of it";
    let authority = Authority::new();
    let (port, _heard) = serve(authority.certify("crm.internal.test", |_| ()), UNTIL_CLOSED, true);
    assert_eq!(call("crm.internal.test", port, vec![authority.certificate.clone()]).unwrap().body, "not all of it");
    let (port, _heard) = serve(authority.certify("crm.internal.test", |_| ()), UNTIL_CLOSED, false);
    let error = call("crm.internal.test", port, vec![authority.certificate]).expect_err("cut");
    assert!(matches!(error.why, Why::Broken(_)), "{error}");
    assert_eq!(error.sent, Sent::Answered(StatusCode::OK));
}

#[test]
fn attack_43_tls_sessions_are_not_taken_up_again() {
    let authority = Authority::new();
    let (port, heard) = serve(authority.certify("crm.internal.test", |_| ()), OK, true);
    let origin: Origin = format!("https://crm.internal.test:{port}").parse().unwrap();
    let settings =
        Settings { allowed: vec![origin.clone()], roots: vec![authority.certificate], ..Settings::default() };
    let egress = Egress::with_resolver(settings, Script::of([&["127.0.0.1"]])).unwrap();
    for _ in 0..2 {
        let request = Request::new(http::Method::GET, origin.clone(), "/").unwrap();
        runtime().block_on(egress.perform(request)).unwrap();
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap().handshake, Some(HandshakeKind::Full));
    }
}

#[test]
fn attack_25_a_handshake_that_stalls_is_left() {
    let server = support::Server::with(|stream| stream.read(&mut [0]).map(drop));
    let origin: Origin = format!("https://{}", server.address).parse().unwrap();
    let limits = manyhands_egress::Limits { connect: std::time::Duration::from_millis(100), ..Default::default() };
    let request = get(origin.clone()).limits(limits);
    let error = runtime().block_on(support::egress([origin]).perform(request)).expect_err("no TLS");
    assert!(matches!(error.why, Why::TooSlow(manyhands_egress::Phase::Connect)), "{error}");
    assert_eq!(error.sent, Sent::Never);
}

#[test]
fn a_root_that_is_no_certificate_is_named() {
    let authority = Authority::new();
    let roots = vec![authority.certificate, CertificateDer::from(b"no certificate".to_vec())];
    let error = Egress::new(Settings { roots, ..Settings::default() }).err().expect("refused");
    assert!(matches!(error, SettingsError::Root { number: 2, .. }), "{error}");
}
