//! How often is often enough.

use manyhands_intents::{Day, Exhausted, give_back, reserve};
use manyhands_model::Timestamp;
use manyhands_model::verb::Budget;
use proptest::prelude::*;

const HOUR: u64 = 3_600_000;

#[test]
fn a_run_has_its_share_and_no_more() {
    let budget = Budget { per_run: 2, per_day: None };
    let (mut run, mut day) = (0, Day::default());
    let now = Timestamp(5);
    let first = reserve(&budget, &mut run, &mut day, now).expect("the first");
    reserve(&budget, &mut run, &mut day, now).expect("the second");
    assert_eq!(reserve(&budget, &mut run, &mut day, now), Err(Exhausted::Run(2)));
    // What was never made is given back.
    give_back(&first, &mut run, &mut day);
    assert_eq!((run, day.used(now)), (1, 1));
    reserve(&budget, &mut run, &mut day, now).expect("another second");
}

#[test]
fn a_day_s_share_comes_back_when_it_is_a_day_ago() {
    let budget = Budget { per_run: 10, per_day: Some(1) };
    let (mut run, mut day) = (0, Day::default());
    let at = Timestamp(100 * HOUR + 60_000);
    reserve(&budget, &mut run, &mut day, at).expect("the first");
    let exhausted = reserve(&budget, &mut run, &mut day, at).expect_err("the second");
    assert_eq!(exhausted, Exhausted::Day { per_day: 1, wait_s: 25 * 3_600 - 60 });
    assert!(reserve(&budget, &mut run, &mut day, Timestamp(125 * HOUR - 1)).is_err());
    assert!(reserve(&budget, &mut run, &mut day, Timestamp(125 * HOUR)).is_ok());
}

#[test]
fn a_clock_that_was_a_year_ahead_stops_nobody_for_a_year() {
    let budget = Budget { per_run: 10, per_day: Some(2) };
    let (mut run, mut day) = (0, Day::default());
    let at = |hour: u64| Timestamp(hour * HOUR);
    reserve(&budget, &mut run, &mut day, at(10_000)).expect("the first, by a clock that is wrong");
    reserve(&budget, &mut run, &mut day, at(1_000)).expect("the second");
    assert!(reserve(&budget, &mut run, &mut day, at(1_000)).is_err(), "both count from now on");
    assert!(reserve(&budget, &mut run, &mut day, at(1_024)).is_err());
    assert!(reserve(&budget, &mut run, &mut day, at(1_025)).is_ok());
}

proptest! {
    /// Attack 30 and 31: whatever the clock does and whatever is given back, no run and no 24 hours have more than their share.
    #[test]
    fn attack_31_no_24_hours_have_more_than_their_share(
        steps in prop::collection::vec((0..40 * HOUR, 0..10_u8, any::<bool>()), 1..200),
        per_day in 1..6_u64,
    ) {
        let budget = Budget { per_run: 60, per_day: Some(per_day) };
        let (mut run, mut day, mut now, mut latest) = (0, Day::default(), 1_000 * HOUR, 0);
        let mut made: Vec<u64> = Vec::new();
        for (step, kind, back) in steps {
            // Mostly a little later, at times much later or earlier.
            now = match kind { 0 => now + step, 1 => now.saturating_sub(step / 40), _ => now + step / 40 };
            latest = latest.max(now);
            let before = (run, day.clone());
            match reserve(&budget, &mut run, &mut day, Timestamp(now)) {
                Ok(reservation) if back => {
                    give_back(&reservation, &mut run, &mut day);
                    prop_assert_eq!(run, before.0);
                }
                // A clock that is put back a little was right before.
                Ok(_) => made.push(latest),
                Err(_) => prop_assert_eq!((run, day.used(Timestamp(now))), (before.0, before.1.used(Timestamp(now)))),
            }
            let bytes = postcard::to_allocvec(&day).expect("writes");
            prop_assert_eq!(&postcard::from_bytes::<Day>(&bytes).expect("reads"), &day);
        }
        prop_assert!(made.len() as u64 == run && run <= budget.per_run);
        for (number, first) in made.iter().enumerate() {
            let within = made[number..].iter().filter(|at| **at - first < 24 * HOUR).count();
            prop_assert!(within as u64 <= per_day, "{within} calls from {first} on");
        }
    }
}
