//! Which addresses are public: the battery, what must stay reachable, and two independent opinions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http_acl::HttpAcl;
use manyhands_addresses::{Class, classify};
use proptest::prelude::*;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn attack_22_no_special_address_is_public() {
    let battery = include_str!("special.txt").lines().filter(|line| !line.starts_with('#'));
    let mut count = 0;
    for line in battery {
        let (text, name) = line.split_once(' ').expect("an address and a name");
        match classify(address(text)) {
            Class::Special(row) => assert_eq!(row.name, name.trim(), "{text}"),
            Class::Public => panic!("{text} is taken for public"),
        }
        count += 1;
    }
    assert!(count >= 55, "only {count} addresses");
}

#[test]
fn public_addresses_are_reachable() {
    for text in [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.3.0",
        "192.88.98.255",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "203.0.114.0",
        "223.255.255.255",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2003::1",
        "2606:4700:4700::1111",
        "2a00:1450:4001::200e",
        "3ffd:ffff::1",
        "3fff:1000::1",
        // DNS64: behind it are public addresses.
        "64:ff9b::1.1.1.1",
        "64:ff9b::8.8.8.8",
        // An ISATAP identifier of a public address, and what only resembles one.
        "2606:4700::5efe:8.8.8.8",
        "2606:4700::1:5efe:10.0.0.1",
    ] {
        assert_eq!(classify(address(text)), Class::Public, "{text}");
    }
}

#[test]
fn a_row_says_what_it_is_and_who_says_so() {
    let Class::Special(row) = classify(address("127.0.0.1")) else { panic!("loopback is special") };
    assert_eq!(row.to_string(), "127.0.0.0/8, loopback (RFC 1122)");
}

/// First and last address of what is not public IPv4, in their order.
const CLOSED_V4: &[(&str, &str)] = &[
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("168.63.129.16", "168.63.129.16"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.31.196.0", "192.31.196.255"),
    ("192.52.193.0", "192.52.193.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("192.175.48.0", "192.175.48.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "255.255.255.255"),
];

/// The same of IPv6, but for what carries IPv4.
const CLOSED_V6: &[(&str, &str)] = &[
    ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
    ("3ffe::", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
];

/// By intervals instead of by prefixes.
fn is_closed(of: IpAddr) -> bool {
    if let IpAddr::V6(v6) = of {
        let bits = v6.to_bits();
        let inner = IpAddr::V4(Ipv4Addr::from_bits(bits as u32));
        if bits >> 32 == 0x0064_ff9b_0000_0000_0000_0000_u128 {
            return is_closed(inner);
        }
        let identifier = (bits >> 32) as u32;
        if matches!(identifier, 0x5efe | 0x0100_5efe | 0x0200_5efe | 0x0300_5efe) && is_closed(inner) {
            return true;
        }
    }
    let closed = if of.is_ipv4() { CLOSED_V4 } else { CLOSED_V6 };
    closed.iter().any(|(first, last)| (address(first)..=address(last)).contains(&of))
}

/// Addresses near the borders of ranges, where mistakes are, and anywhere.
fn anywhere() -> impl Strategy<Value = IpAddr> {
    let closed = CLOSED_V4.iter().chain(CLOSED_V6).copied().collect::<Vec<_>>();
    let border =
        (proptest::sample::select(closed), any::<bool>(), -2_i64..=2).prop_map(|((first, last), start, step)| {
            match address(if start { first } else { last }) {
                IpAddr::V4(near) => IpAddr::V4(near.to_bits().wrapping_add(step as u32).into()),
                IpAddr::V6(near) => IpAddr::V6(near.to_bits().wrapping_add(step as u128).into()),
            }
        });
    let v4 = any::<u32>().prop_map(Ipv4Addr::from_bits);
    let v6 = prop_oneof![
        any::<u128>(),
        // Global unicast,
        any::<u128>().prop_map(|bits| bits & !(7 << 125) | 1 << 125),
        // the same with an ISATAP identifier,
        (any::<u128>(), 0_u128..4).prop_map(|(bits, flags)| {
            (bits & !(7 << 125) | 1 << 125) & !(0xffff_ffff << 32) | flags << 56 | 0x5efe << 32
        }),
        // and NAT64.
        any::<u32>().prop_map(|v4| 0x64_ff9b << 96 | u128::from(v4)),
    ];
    prop_oneof![border, v4.prop_map(IpAddr::V4), v6.prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) })]

    #[test]
    fn prefixes_and_intervals_agree(address in anywhere()) {
        prop_assert_eq!(matches!(classify(address), Class::Special(_)), is_closed(address), "{}", address);
    }

    /// What another library or the standard library would not let through, is not public here either.
    #[test]
    fn nothing_is_public_that_others_refuse(address in anywhere()) {
        if classify(address) == Class::Public {
            let others = HttpAcl::builder().ip_acl_default(true).non_global_ip_ranges(false).build();
            let nat64 = matches!(address, IpAddr::V6(v6) if v6.segments()[..2] == [0x64, 0xff9b]);
            prop_assert!(nat64 || others.is_ip_allowed(&address).is_allowed(), "{} is not global, says http-acl", address);
            let known = match address {
                IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || v4.is_documentation() || v4.is_broadcast(),
                IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
            };
            prop_assert!(!known && !address.is_loopback() && !address.is_multicast() && !address.is_unspecified());
        }
    }
}
