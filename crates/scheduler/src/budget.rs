//! What owners may still use up.

use std::collections::BTreeMap;
use std::sync::Arc;

use manyhands_credit::Amount;

/// Whose runs stop when what was paid in advance is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Budgets {
    /// Nobody's.
    Off,
    /// Those of owners for whom something was ever deposited.
    #[default]
    Deposited,
    /// Everybody's: nothing is executed for an owner without a deposit.
    All,
}

/// What each owner has left.
#[derive(Debug, Default)]
pub(crate) struct Funds(BTreeMap<Arc<str>, Fund>);

#[derive(Clone, Copy, Debug, Default)]
struct Fund {
    balance: Amount,
    has_deposited: bool,
}

impl Funds {
    /// Takes note that an owner has so much more, or less.
    pub(crate) fn add(&mut self, owner: &str, amount: Amount, is_deposit: bool) {
        let fund = match self.0.get_mut(owner) {
            Some(fund) => fund,
            None => self.0.entry(Arc::from(owner)).or_default(),
        };
        fund.balance += amount;
        fund.has_deposited |= is_deposit;
    }

    /// What an owner has left that pays in advance; none for one that does not.
    pub(crate) fn left(&self, owner: &str, budgets: Budgets) -> Option<Amount> {
        let fund = self.0.get(owner).copied().unwrap_or_default();
        match budgets {
            Budgets::Off => None,
            Budgets::Deposited => fund.has_deposited.then_some(fund.balance),
            Budgets::All => Some(fund.balance),
        }
    }
}
