//! The join link: where the coordinator is, and which key it has.

use std::str::FromStr;

use manyhands_signing::Fingerprint;

/// `http(s)://HOST[:PORT][/PATH]/join#key_…`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinLink {
    /// The coordinator's address, without a slash at its end.
    pub base: String,
    /// Its root key.
    pub fingerprint: Fingerprint,
}

/// Why a text is not a join link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a join link: {why}. It looks like https://HOST/join#key_… and comes from the coordinator's operator; put it in quotes, because of the #"
)]
pub struct BadLink {
    text: String,
    why: &'static str,
}

impl FromStr for JoinLink {
    type Err = BadLink;

    fn from_str(text: &str) -> Result<Self, BadLink> {
        let bad = |why| BadLink { text: text.chars().take(100).collect(), why };
        let (url, fingerprint) = text.split_once('#').ok_or_else(|| bad("the part after # is missing"))?;
        let fingerprint = fingerprint.parse().map_err(|_| bad("the part after # is no key fingerprint"))?;
        let base =
            url.trim_end_matches('/').strip_suffix("/join").ok_or_else(|| bad("the path does not end with /join"))?;
        let host = base.strip_prefix("http://").or_else(|| base.strip_prefix("https://"));
        match host {
            Some(host) if !host.is_empty() && !host.starts_with('/') && !host.contains(['@', ' ', '?']) => {}
            Some(_) => return Err(bad("the host is missing or unusable")),
            None => return Err(bad("it begins with neither http:// nor https://")),
        }
        Ok(Self { base: base.to_owned(), fingerprint })
    }
}

impl JoinLink {
    /// Where workers connect.
    pub fn socket(&self) -> String {
        // Both begin with http: ws goes with http, wss with https.
        format!("ws{}/v1/worker", self.base.strip_prefix("http").unwrap_or(&self.base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manyhands_signing::Keypair;

    #[test]
    fn a_link_names_socket_and_key() {
        let key = Keypair::from_seed(&[1; 32]).public().fingerprint();
        let link: JoinLink = format!("https://work.example/hands/join#{key}").parse().unwrap();
        assert_eq!(link.socket(), "wss://work.example/hands/v1/worker");
        let link: JoinLink = format!("http://127.0.0.1:6174/join#{key}").parse().unwrap();
        assert_eq!((link.socket().as_str(), link.fingerprint), ("ws://127.0.0.1:6174/v1/worker", key));
    }

    #[test]
    fn what_is_no_link_is_refused_with_its_reason() {
        let key = Keypair::from_seed(&[1; 32]).public().fingerprint();
        for (text, why) in [
            ("http://a/join".to_owned(), "after # is missing"),
            ("http://a/join#key_x".to_owned(), "no key fingerprint"),
            (format!("http://a/#{key}"), "does not end with /join"),
            (format!("ftp://a/join#{key}"), "neither http"),
            (format!("http://u@a/join#{key}"), "host"),
            (format!("http:///join#{key}"), "host"),
        ] {
            let said = text.parse::<JoinLink>().expect_err(&text).to_string();
            assert!(said.contains(why), "{said}");
        }
    }
}
