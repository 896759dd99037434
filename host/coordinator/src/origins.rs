//! Where workers come from, for those who count voices: who shares a stretch of the address space, an invitation or an owner is one voice.
//!
//! Nothing of an address is kept but a keyed hash of its beginning, in memory, under a key that ends with the process.

use std::net::IpAddr;

use axum::http::HeaderMap;
use manyhands_model::Digest;
use manyhands_protocol::Body;
use manyhands_scheduler::groups::{Group, Groups, Kind};

use crate::console;
use crate::invitations::Membership;
use crate::settings::Verification;

/// Longest list of addresses that is looked at. Unit: bytes.
const FORWARDED_BYTES_MAX: usize = 4096;

/// Puts workers into groups.
pub struct Origins {
    key: [u8; 32],
    ipv4_bits: u8,
    ipv6_bits: u8,
    proxies: Vec<IpAddr>,
}

impl Origins {
    /// As the operator set it; `key` comes from the operating system.
    pub fn new(settings: &Verification, key: [u8; 32]) -> Self {
        let Verification { ipv4_bits, ipv6_bits, proxies, .. } = settings;
        Self { key, ipv4_bits: *ipv4_bits, ipv6_bits: *ipv6_bits, proxies: proxies.0.clone() }
    }

    /// Where a request comes from whose connection is from `peer`. Only what a proxy of the operator's wrote is believed: the last
    /// address that is none of these.
    pub fn address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut address = peer.to_canonical();
        // A line that nobody reads ends it: what stands before it is not the proxy's.
        let lines = headers.get_all("x-forwarded-for").iter().rev().map_while(|line| line.to_str().ok());
        let hops = lines.take_while(|line| line.len() <= FORWARDED_BYTES_MAX).flat_map(|line| line.rsplit(','));
        for hop in hops {
            if !self.proxies.contains(&address) {
                break;
            }
            let Ok(next) = hop.trim().parse::<IpAddr>() else { break };
            address = next.to_canonical();
        }
        address
    }

    /// What a worker there shares with others, and with those who came with the same invitation, or one for the same owner.
    pub fn of(&self, address: IpAddr, body: &Body, membership: Option<&Membership>) -> Groups {
        let kind = if console::Kind::of(body) == console::Kind::Browser { Kind::Visitor } else { Kind::Runner };
        Groups {
            owner: membership.and_then(|it| self.group(&[b"owner", it.owner.as_ref()?.as_bytes()])),
            prefix: self.prefix(address),
            token: membership.and_then(|it| self.group(&[b"invitation", it.invitation.as_bytes()])),
            engine: self.engine(&body.engine),
            kind,
            trusted: false,
        }
    }

    /// The family: its name without its version. A worker may lie; then its replicas are mixed less well, and that is all.
    fn engine(&self, engine: &str) -> Option<Group> {
        let family = engine.split_whitespace().next()?;
        self.group(&[b"engine", family.as_bytes()])
    }

    fn prefix(&self, address: IpAddr) -> Option<Group> {
        let (bits, most, named) = match address.to_canonical() {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32, self.ipv4_bits),
            IpAddr::V6(address) => (address.to_bits(), 128, self.ipv6_bits),
        };
        if named == 0 {
            return None;
        }
        let beginning = bits >> (most - u32::from(named).min(most));
        self.group(&[&most.to_le_bytes(), &beginning.to_le_bytes()])
    }

    fn group(&self, what: &[&[u8]]) -> Option<Group> {
        let parts = [&b"manyhands:group\0"[..], &self.key].into_iter().chain(what.iter().copied());
        let Digest(digest) = Digest::of_parts(parts);
        digest.first_chunk().map(|group| Group(u64::from_le_bytes(*group)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Proxies;

    fn origins(proxies: &[&str]) -> Origins {
        let proxies = Proxies(proxies.iter().map(|proxy| proxy.parse().unwrap()).collect());
        Origins::new(&Verification { proxies, ..Verification::default() }, [1; 32])
    }

    #[test]
    fn neighbours_are_one_voice_and_others_are_not() {
        let origins = origins(&[]);
        let prefix = |address: &str| origins.prefix(address.parse().unwrap());
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.254", true),
            ("192.0.2.1", "192.0.3.1", false),
            ("192.0.2.1", "::ffff:192.0.2.9", true),
            ("2001:db8:1::1", "2001:db8:1:ffff::1", true),
            ("2001:db8:1::1", "2001:db8:2::1", false),
            // Whose bits look alike.
            ("0.0.1.0", "::1:0:0:0:0:0", false),
        ] {
            assert_eq!(prefix(one) == prefix(other), same, "{one} and {other}");
        }
        assert_ne!(prefix("192.0.2.1"), Origins { key: [2; 32], ..origins }.prefix("192.0.2.1".parse().unwrap()));
        let silent = Origins { ipv4_bits: 0, ..self::origins(&[]) };
        assert_eq!(silent.prefix("192.0.2.1".parse().unwrap()), None);
    }

    #[test]
    fn whoever_shares_an_invitation_or_an_owner_is_one_voice_wherever_it_is() {
        let origins = origins(&[]);
        let body = Body { engine: "wasmtime 48".into(), runtime: "manyhands-runner".into() };
        let from = |last: u8, invited: Option<(u8, Option<&str>)>| {
            let membership = invited.map(|(number, owner)| Membership {
                invitation: Digest([number; 32]),
                id: String::new(),
                owner: owner.map(str::to_owned),
            });
            origins.of(IpAddr::from([192, 0, last, 1]), &body, membership.as_ref())
        };
        let (ann, bob) = (Some("ann"), Some("bob"));
        for (one, other, same) in [
            (None, None, false),
            (Some((1, None)), Some((1, None)), true),
            (Some((1, None)), Some((2, None)), false),
            (Some((1, ann)), Some((2, ann)), true),
            (Some((1, ann)), Some((2, bob)), false),
            (Some((1, ann)), None, false),
        ] {
            assert_eq!(from(1, one).is_one_voice_with(&from(2, other)), same, "{one:?} and {other:?}");
        }
    }

    #[test]
    fn only_what_the_operators_proxies_say_is_believed() {
        let forwarded = |lines: &[&'static str]| {
            HeaderMap::from_iter(lines.iter().map(|line| ("x-forwarded-for".parse().unwrap(), line.parse().unwrap())))
        };
        let origins = origins(&["127.0.0.1", "10.0.0.2"]);
        for (peer, lines, expected) in [
            ("127.0.0.1", &[][..], "127.0.0.1"),
            ("127.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            ("::ffff:127.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            // The client wrote the first one.
            ("127.0.0.1", &["198.51.100.7, 192.0.2.1"], "192.0.2.1"),
            ("127.0.0.1", &["198.51.100.7", "192.0.2.1"], "192.0.2.1"),
            ("127.0.0.1", &["198.51.100.7, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            ("127.0.0.1", &["192.0.2.1, nonsense"], "127.0.0.1"),
            ("203.0.113.5", &["192.0.2.1"], "203.0.113.5"),
        ] {
            let found = origins.address(peer.parse().unwrap(), &forwarded(lines));
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        }
        // Rubbish behind what a client wrote does not make it the proxy's word.
        let rubbish = "1".repeat(FORWARDED_BYTES_MAX + 1);
        let lines = ["192.0.2.1", &rubbish].map(|line| ("x-forwarded-for".parse().unwrap(), line.parse().unwrap()));
        let proxy = "127.0.0.1".parse().unwrap();
        assert_eq!(origins.address(proxy, &HeaderMap::from_iter(lines)), proxy);
    }
}
