use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::table::{self, Row};

/// What an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Anybody's computer on the internet.
    Public,
    /// Something else: this computer, its network, a group of computers, or nobody.
    Special(&'static Row),
}

/// Says what `address` is.
///
/// IPv4 in IPv6 is unwrapped where the whole may be public: behind the well-known prefix of NAT64, which networks without IPv4 reach all of
/// it by (DNS64), and in ISATAP's interface identifiers. What carries IPv4 otherwise (mapped, compatible, translated, 6to4, Teredo) is
/// special whatever it carries: no name on the internet needs it.
#[must_use]
pub fn classify(address: IpAddr) -> Class {
    if let IpAddr::V6(address) = address
        && let Some(inner) = behind_nat64(address)
    {
        return classify(inner.into());
    }
    if let Some(row) = table::find(address) {
        return Class::Special(row);
    }
    match address {
        IpAddr::V6(address) => isatap(address).map_or(Class::Public, |inner| classify(inner.into())),
        IpAddr::V4(_) => Class::Public,
    }
}

/// What a translator makes of `64:ff9b::/96` (RFC 6052, section 2.1).
fn behind_nat64(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [0x64, 0xff9b, 0, 0, 0, 0, ..] = address.segments() else { return None };
    Some(last_four_octets(address))
}

/// Where a router for ISATAP takes what is sent to this interface identifier (RFC 5214, section 6.1).
fn isatap(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [_, _, _, _, organisation, 0x5efe, ..] = address.segments() else { return None };
    // Two bits say whether the identifier is universal and whether it is a group's; the router looks at neither.
    (organisation & !0x0300 == 0).then(|| last_four_octets(address))
}

fn last_four_octets(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}
