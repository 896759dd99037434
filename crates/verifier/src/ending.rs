//! How an execution ended, as every runtime must read it.
//!
//! A sealed module exports two globals. Its *meter*, an `i64`, holds the fuel that is left above
//! [`METER_STACK_BITS`] bits with the stack that is left; a runtime adds the fuel before it calls the
//! module. Its *cause*, an `i32`, is zero until the module stops itself. Both are ordinary WebAssembly
//! state, so they are equal on every engine; no engine's message is ever read.

use manyhands_abi::{CAUSE_FUEL, CAUSE_MEMORY, CAUSE_STACK, METER_STACK_BITS};
use manyhands_model::{Fuel, Outcome, Verdict};

/// How the call of the exported function came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// With a verdict that the runtime knows: the function returned, or a host function aborted.
    Known(Verdict),
    /// With a trap of the module's own.
    Trapped,
    /// With whatever the engine alone answers for: its own stack, its memory, its end.
    Engine,
}

/// Why an execution has no outcome. Never compared; only a reason to try elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoOutcome {
    /// The engine refused memory that the job may use.
    #[error("this machine has no memory left that the job may use")]
    Memory,
    /// The engine's own stack, or the engine itself, gave way.
    #[error("the engine gave up")]
    Engine,
}

/// What the meter must hold before the call, from what it holds in a fresh instance.
pub fn granted(fresh: i64, fuel: Fuel) -> i64 {
    fresh.wrapping_add((fuel.0 as i64) << METER_STACK_BITS)
}

/// The outcome of an execution to which `fuel` was granted, from how it stopped and both globals then.
///
/// # Errors
/// [`NoOutcome`] when the machine and not the module is to blame.
pub fn outcome(fuel: Fuel, stop: Stop, meter: i64, cause: i32) -> Result<Outcome, NoOutcome> {
    let verdict = match (cause, stop) {
        (_, Stop::Engine) => return Err(NoOutcome::Engine),
        (CAUSE_MEMORY, _) => return Err(NoOutcome::Memory),
        // Fuel is checked late, but never too late to count.
        (CAUSE_FUEL, _) => Verdict::OutOfFuel,
        (CAUSE_STACK, _) => Verdict::OutOfStack,
        _ if meter < 0 => Verdict::OutOfFuel,
        (_, Stop::Known(verdict)) => verdict,
        (_, Stop::Trapped) => Verdict::Trap,
    };
    let left = u64::try_from(meter >> METER_STACK_BITS).unwrap_or(0);
    let used = match verdict {
        // How far below zero it went is nobody's gain.
        Verdict::OutOfFuel => fuel,
        _ => Fuel(fuel.0.saturating_sub(left)),
    };
    Ok(Outcome { verdict, fuel: used })
}

#[cfg(test)]
mod tests {
    use std::prelude::v1::*;

    use super::*;

    const FRESH: i64 = 16_000;

    #[test]
    fn fuel_used_is_what_was_granted_less_what_is_left() {
        let meter = granted(FRESH, Fuel(40));
        let ended = outcome(Fuel(100), Stop::Trapped, meter, 0).expect("an outcome");
        assert_eq!(ended, Outcome { verdict: Verdict::Trap, fuel: Fuel(60) });
    }

    #[test]
    fn who_went_below_zero_is_out_of_fuel_however_it_ended() {
        let returned = Stop::Known(Verdict::Ok { output: manyhands_model::Digest([0; 32]), output_bytes: 0 });
        for (stop, meter, cause) in [(returned, -1, 0), (Stop::Trapped, -70_000, 0), (Stop::Trapped, 5, CAUSE_FUEL)] {
            let ended = outcome(Fuel(100), stop, meter, cause).expect("an outcome");
            assert_eq!(ended, Outcome { verdict: Verdict::OutOfFuel, fuel: Fuel(100) });
        }
    }

    #[test]
    fn what_the_machine_did_is_no_outcome() {
        assert_eq!(outcome(Fuel(1), Stop::Engine, -1, CAUSE_FUEL), Err(NoOutcome::Engine));
        assert_eq!(outcome(Fuel(1), Stop::Trapped, 0, CAUSE_MEMORY), Err(NoOutcome::Memory));
        let ended = outcome(Fuel(100), Stop::Trapped, granted(FRESH, Fuel(1)), CAUSE_STACK).expect("an outcome");
        assert_eq!(ended.verdict, Verdict::OutOfStack);
    }
}
