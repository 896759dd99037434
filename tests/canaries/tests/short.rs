//! A few of what `cargo xtask canaries` does with a million.

use manyhands_canaries::{Seen, World};

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
}

#[test]
fn a_value_that_nobody_declared_is_found() {
    for number in 0..50 {
        let leak = World::new(1, number, true).run().expect_err("it stands there as it is");
        assert_eq!(leak.place, "an input in canonical form", "record {number}");
    }
}
