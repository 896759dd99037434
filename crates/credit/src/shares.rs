//! Who gets how much of what was burnt.

use manyhands_model::Fuel;

use crate::book::Amount;

/// What replicas are paid of their fuel, in thousandths. Fractions of a point are nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// The first one with the answer. 0 to 1000.
    pub first_permille: u16,
    /// Each of those that say the same after it. 0 to 1000.
    pub verifier_permille: u16,
}

impl Default for Shares {
    /// Each is paid its fuel.
    fn default() -> Self {
        Self { first_permille: 1000, verifier_permille: 1000 }
    }
}

impl Shares {
    /// What the replica is paid that was the `nth` to give the answer, from 0.
    pub fn paid(&self, nth: usize, fuel: Fuel) -> Amount {
        let permille = if nth == 0 { self.first_permille } else { self.verifier_permille };
        Amount(i128::from(fuel.0) * i128::from(permille) / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_others_are_paid_their_shares() {
        let shares = Shares { first_permille: 1000, verifier_permille: 333 };
        let paid = [0, 1, 2].map(|nth| shares.paid(nth, Fuel(1_001)).0);
        assert_eq!(paid, [1_001, 333, 333]);
        assert_eq!(Shares::default().paid(7, Fuel(u64::MAX)).0, i128::from(u64::MAX));
    }
}
