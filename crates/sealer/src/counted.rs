//! Loops of which it is known before how often they go round.
//!
//! Compilers write most of their innermost loops in one form: each iteration adds the same to a local at its end, and goes round
//! until that is what another local or a constant is, which does not change. Such a loop is paid for as a whole before it, so
//! its iterations do nothing about the meter.

use manyhands_abi::METER_STACK_BITS;
use manyhands_verifier::token::Kind;

use crate::body::Body;

/// How often a loop goes round: until `local` is `bound`, by a `step` in each iteration.
///
/// That is the least number that makes `number * step == bound - local`, modulo 2³². With an odd number *inverse* of which the product
/// with the step is a power of two, it is `(bound - local) * inverse` divided by that power, and all of 2³² instead of none. If
/// that leaves a rest, the loop never ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) local: u32,
    /// Not zero, and no multiple of more than 2 to the power of the bits by which the fuel in a meter is shifted.
    pub(crate) step: i32,
    /// A constant, or another local.
    pub(crate) bound: Kind,
}

impl Counted {
    /// The exponent of the power of two.
    pub(crate) fn zeros(self) -> u32 {
        self.step.trailing_zeros()
    }

    /// The odd number.
    pub(crate) fn inverse(self) -> i32 {
        let odd = self.step >> self.zeros();
        // Three of its bits are right, and then twice as many each time.
        (0..4).fold(odd, |inverse, _| inverse.wrapping_mul(2_i32.wrapping_sub(odd.wrapping_mul(inverse))))
    }
}

/// What the loop from `at` to `end` counts, if that is known before and nothing in it has to do with the meter.
pub(crate) fn counted(body: &Body<'_>, at: usize, end: usize) -> Option<Counted> {
    let (counted, step) = tail(body, at, end)?;
    let mut depth = 0;
    for inside in at + 1..end {
        match body.kind(inside) {
            Kind::Block(_) | Kind::If(_) => depth += 1,
            Kind::End => depth -= 1,
            Kind::Loop(_) | Kind::Call(_) | Kind::CallIndirect(_) | Kind::Length | Kind::Unreachable => return None,
            Kind::LocalSet(local) | Kind::LocalTee(local)
                if inside != step && (local == counted.local || counted.bound == Kind::LocalGet(local)) =>
            {
                return None;
            }
            // It goes round at its end only.
            Kind::Br(to) | Kind::BrIf(to) if to == depth && inside + 1 != end => return None,
            Kind::BrTable(table) if body.tokens.targets(table).any(|to| to == depth) => return None,
            _ => {}
        }
    }
    Some(counted)
}

/// What is counted at the end of a loop, and where it is written.
fn tail(body: &Body<'_>, at: usize, end: usize) -> Option<(Counted, usize)> {
    let before = |steps: usize| end.checked_sub(steps).filter(|place| *place > at).map(|place| body.kind(place));
    if before(1)? != Kind::BrIf(0) || !body.live[end - 1] {
        return None;
    }
    let (bound, tee) = match (before(2)?, before(3)?) {
        (Kind::I32Ne, Kind::LocalTee(_)) => (before(7)?, 3),
        (Kind::I32Ne, bound) => (bound, 4),
        _ => (Kind::I32Const(0), 2),
    };
    let [Kind::LocalGet(from), Kind::I32Const(step), Kind::I32Add, Kind::LocalTee(local)] =
        [before(tee + 3)?, before(tee + 2)?, before(tee + 1)?, before(tee)?]
    else {
        return None;
    };
    let is_bound = matches!(bound, Kind::I32Const(_)) || matches!(bound, Kind::LocalGet(other) if other != local);
    // The zeros of zero are too many as well.
    let is_step = step.trailing_zeros() <= METER_STACK_BITS;
    (from == local && is_bound && is_step).then_some((Counted { local, step, bound }, end - tee))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_its_inverse() {
        for odd in (-70_001..70_001).step_by(2).chain([i32::MAX, i32::MIN + 1, 0x5555_5555]) {
            for zeros in [0, 1, 9, 16] {
                let step = odd << zeros;
                let counted = Counted { local: 0, step, bound: Kind::I32Const(0) };
                assert_eq!(step.wrapping_mul(counted.inverse()), 1 << zeros, "step {step}");
            }
        }
    }
}
