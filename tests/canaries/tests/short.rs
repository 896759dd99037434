//! A few of what `cargo xtask canaries` does with a million.

use manyhands_canaries::{Place, Seen, World};

#[test]
fn attack_42_no_value_leaves_in_any_coding() {
    let mut seen = Seen::default();
    for number in 0..300 {
        match World::new(1, number, false).run() {
            Ok(one) => seen += one,
            Err(leak) => panic!("record {number}: {leak:#?}"),
        }
    }
    // It looked at everything that there is to see.
    assert!(seen.filled > 100 && seen.refused > 100 && seen.heard > 100 && seen.withheld > 100, "{seen:?}");
    assert!(seen.values > 1_000 && seen.texts > 5_000, "{seen:?}");
    // And at values where they belong: on their way out, and the parts that are shown on purpose.
    assert!(seen.sent > 100 && seen.revealed > 100, "{seen:?}");
}

#[test]
fn a_value_that_nobody_declared_is_found() {
    for number in 0..50 {
        let leak = World::new(1, number, true).run().expect_err("it stands there as it is");
        assert_eq!(leak.place, Place::Canonical, "record {number}");
    }
}

/// Wherever is looked, in whatever coding: there it is found.
#[test]
fn a_value_is_found_in_every_place_and_every_coding() {
    for place in Place::ALL {
        let found = (0..1_000).find_map(|number| World::new(1, number, false).plants(place));
        let found = found.unwrap_or_else(|| panic!("no record comes by: {}", place.words()));
        assert!(found.len() >= 20, "{}: {found:?}", place.words());
        assert!(found.iter().all(|(_, is_found)| *is_found), "{}: {found:?}", place.words());
    }
}
