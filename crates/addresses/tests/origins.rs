//! One spelling for each origin.

use manyhands_addresses::{Host, Origin, OriginError, Scheme};
use proptest::prelude::*;

#[test]
fn an_origin_is_scheme_host_and_port() {
    let origin: Origin = "https://api.example.com".parse().unwrap();
    assert_eq!((origin.scheme(), origin.port()), (Scheme::Https, 443));
    assert_eq!(origin.host(), &Host::Name("api.example.com".into()));
    assert_eq!(origin.authority(), "api.example.com");

    let origin: Origin = "http://[2001:db8::1]:8080".parse().unwrap();
    assert_eq!((origin.scheme(), origin.port()), (Scheme::Http, 8080));
    assert_eq!(origin.host(), &Host::Address("2001:db8::1".parse().unwrap()));
    assert_eq!(origin.authority(), "[2001:db8::1]:8080");
}

#[test]
fn what_can_be_spelt_otherwise_is_told_how() {
    for (written, meant) in [
        ("https://API.Example.com", "https://api.example.com"),
        ("https://api.example.com:443", "https://api.example.com"),
        ("http://api.example.com:80", "http://api.example.com"),
        ("https://api.example.com:08443", "https://api.example.com:8443"),
        ("https://api.example.com:+8443", "https://api.example.com:8443"),
        ("https://[2001:0DB8:0:0::1]", "https://[2001:db8::1]"),
        ("https://[::ffff:7f00:1]", "https://127.0.0.1"),
        ("https://[::ffff:127.0.0.1]:8443", "https://127.0.0.1:8443"),
        ("https://XN--bcher-kva.example", "https://xn--bcher-kva.example"),
    ] {
        assert_eq!(written.parse::<Origin>(), Err(OriginError::Spelling(meant.parse().unwrap())), "{written}");
    }
}

/// Forms that parsers disagree about, for an allowed `api.example.com` and an attacker's `evil.test`.
#[test]
fn attack_3_what_parsers_disagree_about_is_no_origin() {
    for text in [
        r"https://evil.test\@api.example.com",
        r"https://api.example.com\@evil.test",
        "https://user@api.example.com",
        "https://user:password@api.example.com",
        "https://evil.test#@api.example.com",
        "https://evil.test?@api.example.com",
        "https://api.example.com.",
        "https://api%2eexample.com",
        "https://api\u{3002}example\u{3002}com",
        "https://\u{ff41}pi.example.com",
        "https://api.exam\u{ad}ple.com",
        "https://api.exa\tmple.com",
        "https://api.exa\nmple.com",
        "https://api.example.com\r\nHost: evil.test",
        "https://api.example.com\0",
        " https://api.example.com",
        "https://api.example.com ",
        "https://api.example.com/",
        "https://api.example.com/a/../..",
        "https://api.example.com/a/%2e%2e/",
        "https://api.example.com//evil.test",
        "https:api.example.com",
        "https:/api.example.com",
        "https:///api.example.com",
        "//api.example.com",
        "api.example.com",
        "HTTPS://api.example.com",
        "ftp://api.example.com",
        "file:///etc/passwd",
        "unix:///run/socket",
        "https://",
        "https://.",
        "https://.example.com",
        "https://api..example.com",
        "https://*.example.com",
        "https://xn--a.example",
        "https://xn--.example",
        "https://xn--api-.example",
        "https://-api.example.com",
        "https://api-.example.com",
        "https://api_x.example.com",
        "https://api.example.com:",
        "https://api.example.com:0",
        "https://api.example.com:65536",
        "https://api.example.com:443:443",
        "https://api.example.com:https",
        "https://[fe80::1%25eth0]",
        "https://[fe80::1%eth0]",
        "https://[api.example.com]",
        "https://[127.0.0.1]",
        "https://[::1",
        "https://::1",
        "https://[::1]evil.test",
        "https://[v1.fe80]",
    ] {
        let verdict = text.parse::<Origin>();
        assert!(
            matches!(verdict, Err(OriginError::Scheme | OriginError::Host | OriginError::Port)),
            "{text:?}: {verdict:?}"
        );
    }
    let long = format!("https://{}.com", "a".repeat(64));
    assert_eq!(long.parse::<Origin>(), Err(OriginError::Host));
    let long = format!("https://{}com", "abcdefg.".repeat(32));
    assert_eq!(long.parse::<Origin>(), Err(OriginError::Host));
}

/// What `inet_aton` and browsers take for 127.0.0.1 and others, and a resolver may as well.
#[test]
fn attack_22_numbers_are_four_decimal_ones() {
    for host in [
        "2130706433",
        "0x7f000001",
        "0X7F.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.01",
        "127.1",
        "127.0.1",
        "0x7f.1",
        "127.0.0.0x1",
        "127.0.0.1.5",
        "256.0.0.1",
        "api.example.0x7f",
        "api.example.1",
        "0x",
    ] {
        assert_eq!(format!("http://{host}").parse::<Origin>(), Err(OriginError::Host), "{host}");
    }
    let origin: Origin = "http://127.0.0.1".parse().unwrap();
    assert_eq!(origin.host(), &Host::Address("127.0.0.1".parse().unwrap()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    /// Whatever is taken is written as it was read.
    #[test]
    fn an_origin_has_one_spelling(text in r"(https?|HTTP)://(\[[0-9a-f:.]{1,12}\]|[a-zA-Z0-9.x-]{1,12}|[ -~]{0,9})(:[0-9]{0,6})?") {
        match text.parse::<Origin>() {
            Ok(origin) => prop_assert_eq!(origin.to_string(), text),
            Err(OriginError::Spelling(origin)) => prop_assert_eq!(origin.to_string().parse(), Ok(origin)),
            Err(_) => {}
        }
    }
}
