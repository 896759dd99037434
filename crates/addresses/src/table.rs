//! The special-purpose addresses: IANA's registries for IPv4 and IPv6 (RFC 6890), multicast, what was withdrawn and what was never given
//! out, and the one public address that is a cloud's metadata service.
//!
//! Ranges that the registries call globally reachable (AS112, AMT) are rows as well: no API lives there.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses that are not the public internet.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    base: IpAddr,
    /// Leading bits that all addresses of the range have in common.
    bits: u32,
    /// What the range is for.
    pub name: &'static str,
    /// Who says so.
    pub source: &'static str,
}

impl Row {
    const fn v4(base: [u8; 4], bits: u32, name: &'static str, source: &'static str) -> Self {
        let [a, b, c, d] = base;
        Self { base: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), bits, name, source }
    }

    /// `leading` are the segments before `::`.
    const fn v6(leading: &[u16], bits: u32, name: &'static str, source: &'static str) -> Self {
        let mut base = 0_u128;
        let mut at = 0;
        while at < leading.len() {
            base |= (leading[at] as u128) << (112 - 16 * at);
            at += 1;
        }
        Self { base: IpAddr::V6(Ipv6Addr::from_bits(base)), bits, name, source }
    }

    /// Whether `address` is in the range. An IPv4 address is in no IPv6 range, and the other way round.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        // A shift by all bits, for a range of everything, would be no shift at all; there is no such row.
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => (base.to_bits() ^ address.to_bits()) >> (32 - self.bits) == 0,
            (IpAddr::V6(base), IpAddr::V6(address)) => (base.to_bits() ^ address.to_bits()) >> (128 - self.bits) == 0,
            _ => false,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, {} ({})", self.base, self.bits, self.name, self.source)
    }
}

/// The narrowest row that has `address`.
pub(crate) fn find(address: IpAddr) -> Option<&'static Row> {
    ROWS.iter().filter(|row| row.contains(address)).max_by_key(|row| row.bits)
}

const ROWS: &[Row] = &[
    Row::v4([0, 0, 0, 0], 8, "this network", "RFC 791"),
    Row::v4([10, 0, 0, 0], 8, "private use", "RFC 1918"),
    Row::v4([100, 64, 0, 0], 10, "shared behind a provider's NAT", "RFC 6598"),
    Row::v4([127, 0, 0, 0], 8, "loopback", "RFC 1122"),
    Row::v4([168, 63, 129, 16], 32, "metadata of Azure's virtual machines", "Microsoft"),
    Row::v4([169, 254, 0, 0], 16, "link-local, metadata of clouds", "RFC 3927"),
    Row::v4([172, 16, 0, 0], 12, "private use", "RFC 1918"),
    Row::v4([192, 0, 0, 0], 24, "IETF protocol assignments", "RFC 6890"),
    Row::v4([192, 0, 2, 0], 24, "documentation", "RFC 5737"),
    Row::v4([192, 31, 196, 0], 24, "AS112", "RFC 7535"),
    Row::v4([192, 52, 193, 0], 24, "automatic multicast tunnelling", "RFC 7450"),
    Row::v4([192, 88, 99, 0], 24, "6to4 relays, withdrawn", "RFC 7526"),
    Row::v4([192, 168, 0, 0], 16, "private use", "RFC 1918"),
    Row::v4([192, 175, 48, 0], 24, "AS112", "RFC 7534"),
    Row::v4([198, 18, 0, 0], 15, "benchmarking", "RFC 2544"),
    Row::v4([198, 51, 100, 0], 24, "documentation", "RFC 5737"),
    Row::v4([203, 0, 113, 0], 24, "documentation", "RFC 5737"),
    Row::v4([224, 0, 0, 0], 4, "multicast", "RFC 5771"),
    Row::v4([240, 0, 0, 0], 4, "reserved", "RFC 1112"),
    Row::v4([255, 255, 255, 255], 32, "broadcast", "RFC 919"),
    // All of IPv6 but 2000::/3, in three parts: nothing there was ever given to anybody.
    Row::v6(&[], 3, "not global unicast", "RFC 4291"),
    Row::v6(&[0x4000], 2, "not global unicast", "RFC 4291"),
    Row::v6(&[0x8000], 1, "not global unicast", "RFC 4291"),
    Row::v6(&[], 96, "IPv4-compatible, withdrawn", "RFC 4291"),
    Row::v6(&[], 128, "unspecified", "RFC 4291"),
    Row::v6(&[0, 0, 0, 0, 0, 0, 0, 1], 128, "loopback", "RFC 4291"),
    Row::v6(&[0, 0, 0, 0, 0, 0xffff], 96, "IPv4-mapped", "RFC 4291"),
    Row::v6(&[0, 0, 0, 0, 0xffff], 96, "IPv4-translated", "RFC 2765"),
    Row::v6(&[0x64, 0xff9b, 1], 48, "NAT64 within a network", "RFC 8215"),
    Row::v6(&[0x100], 64, "discarded", "RFC 6666"),
    Row::v6(&[0x100, 0, 0, 1], 64, "dummy prefix", "RFC 9780"),
    Row::v6(&[0x2001], 23, "IETF protocol assignments", "RFC 2928"),
    Row::v6(&[0x2001], 32, "Teredo", "RFC 4380"),
    Row::v6(&[0x2001, 2], 48, "benchmarking", "RFC 5180"),
    Row::v6(&[0x2001, 3], 32, "automatic multicast tunnelling", "RFC 7450"),
    Row::v6(&[0x2001, 4, 0x112], 48, "AS112", "RFC 7535"),
    Row::v6(&[0x2001, 0x10], 28, "ORCHID, withdrawn", "RFC 4843"),
    Row::v6(&[0x2001, 0x20], 28, "ORCHIDv2", "RFC 7343"),
    Row::v6(&[0x2001, 0x30], 28, "drone remote identifiers", "RFC 9374"),
    Row::v6(&[0x2001, 0xdb8], 32, "documentation", "RFC 3849"),
    Row::v6(&[0x2002], 16, "6to4", "RFC 3056"),
    Row::v6(&[0x2620, 0x4f, 0x8000], 48, "AS112", "RFC 7534"),
    Row::v6(&[0x3ffe], 16, "6bone, withdrawn", "RFC 3701"),
    Row::v6(&[0x3fff], 20, "documentation", "RFC 9637"),
    Row::v6(&[0x5f00], 16, "segment routing", "RFC 9602"),
    Row::v6(&[0xfc00], 7, "unique local", "RFC 4193"),
    Row::v6(&[0xfe80], 10, "link-local", "RFC 4291"),
    Row::v6(&[0xfec0], 10, "site-local, withdrawn", "RFC 3879"),
    Row::v6(&[0xff00], 8, "multicast", "RFC 4291"),
];
