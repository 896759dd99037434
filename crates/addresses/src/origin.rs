use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use idna::AsciiDenyList;
use serde::{Serialize, Serializer};

/// A scheme, a host and a port, and nothing else that a URL may have.
///
/// There is one spelling of each origin: what [`FromStr`] takes is what [`Display`](fmt::Display) writes. Whatever some parser reads as one
/// host and another as a second (`\`, `@`, tabs, Unicode, percent signs, a final dot, `0x7f.1`, Punycode that stands for nothing) is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: Host,
    port: u16,
}

/// How an origin is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// In clear.
    Http,
    /// Within TLS.
    Https,
}

/// Whom an origin is at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A name, in lower case and without a final dot; international ones are in Punycode.
    Name(String),
    /// An address, which no resolver is asked for. An IPv4 one is never written as IPv6 (RFC 4291, section 2.5.5.2).
    Address(IpAddr),
}

/// Why a text is no origin. Shown to whoever wrote the manifest or the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// It begins otherwise.
    #[error("an origin begins with https:// or http://")]
    Scheme,
    /// What is between scheme and port is no host.
    #[error(
        "after the scheme comes a host name of letters, digits, hyphens and dots (international ones as xn--…), an IPv4 address of four \
         decimal numbers, or an IPv6 address in brackets; then a port at most, and no user, path or final slash"
    )]
    Host,
    /// What comes after the host is no port.
    #[error("the port is a number from 1 to 65535")]
    Port,
    /// It can be spelt otherwise, and that is how it is written.
    #[error("write it as {0}")]
    Spelling(Origin),
}

impl Origin {
    /// How it is spoken to.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whom it is at.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// TCP port, never 0.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as the field `Host` has them: the port only where it is not the scheme's own (RFC 9110, section 7.2).
    #[must_use]
    pub fn authority(&self) -> String {
        match self.port == self.scheme.port() {
            true => self.host.to_string(),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl Scheme {
    /// The port that need not be written.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let (scheme, authority) = match text.split_once("://") {
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("http", rest)) => (Scheme::Http, rest),
            _ => return Err(OriginError::Scheme),
        };
        // The last colon, unless it is one of an IPv6 address.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let host = host.parse()?;
        let port = match port {
            None => scheme.port(),
            Some(port) => port.parse().ok().filter(|&port| port != 0).ok_or(OriginError::Port)?,
        };
        let origin = Self { scheme, host, port };
        if origin.to_string() == text { Ok(origin) } else { Err(OriginError::Spelling(origin)) }
    }
}

impl FromStr for Host {
    type Err = OriginError;

    /// Takes any letter case, and IPv6 in any of its spellings; what an [`Origin`] takes is narrower.
    fn from_str(text: &str) -> Result<Self, OriginError> {
        if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            let address = inner.parse::<Ipv6Addr>().map_err(|_| OriginError::Host)?;
            return Ok(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        // Resolvers take more than four decimal numbers for an IPv4 address (inet_aton), so a name must not end in a number
        // of any kind (WHATWG URL, "ends in a number").
        let last = text.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X") {
            let address = text.parse::<Ipv4Addr>().map_err(|_| OriginError::Host)?;
            return Ok(Self::Address(address.into()));
        }
        if text.len() > NAME_BYTES_MAX || !text.split('.').all(is_label) {
            return Err(OriginError::Host);
        }
        // Only what is Punycode of a name can begin with `xn--` (UTS #46).
        let name = text.to_ascii_lowercase();
        match idna::domain_to_ascii_cow(name.as_bytes(), AsciiDenyList::URL) {
            Ok(read) if read == name => Ok(Self::Name(name)),
            _ => Err(OriginError::Host),
        }
    }
}

/// RFC 1035, section 2.3.4, without the length of the root.
const NAME_BYTES_MAX: usize = 253;
/// The same.
const LABEL_BYTES_MAX: usize = 63;

/// RFC 1123, section 2.1.
fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

impl Serialize for Origin {
    /// As it is written.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}
