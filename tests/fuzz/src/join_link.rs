//! Join links, which people paste from wherever they found them.

use axum::http::Uri;
use manyhands_runner::link::JoinLink;

use crate::{example, promise};

/// Runs the target.
pub fn run(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let link = match promise::bounded(bytes.len(), || text.parse::<JoinLink>()) {
        Ok(link) => link,
        Err(error) => {
            assert!(error.to_string().contains("join link"), "refused without the reason: {error}");
            return false;
        }
    };
    let written = format!("{}/join#{}", link.base, link.fingerprint);
    assert_eq!(written.parse().as_ref(), Ok(&link), "another link came back");
    let socket = link.socket();
    assert_eq!(socket.starts_with("wss://"), text.starts_with("https://"), "encryption is lost on the way: {socket}");
    // What the runner dials is what its owner read in the link.
    if let Ok(uri) = socket.parse::<Uri>() {
        let authority = uri.authority().unwrap().as_str();
        assert!(!authority.contains('@'), "{socket} hides another host");
        assert!(text.split('/').nth(2) == Some(authority), "{socket} is not where {text} leads");
        assert!(uri.path().ends_with("/v1/worker") && uri.query().is_none(), "{socket} is not a worker's door");
    }
    true
}

/// With and without a port, a path, encryption.
pub fn seeds() -> Vec<Vec<u8>> {
    let bases = ["http://127.0.0.1:6174", "https://work.example/hands", "http://[::1]:80", "https://work.example/a/b/"];
    let key = example::key().public().fingerprint();
    bases.iter().map(|base| format!("{base}/join#{key}").into_bytes()).collect()
}
