//! Accounts, and what moves between them.

use core::fmt;
use core::iter::Sum;
use core::ops::{Add, AddAssign, Neg};
use core::str::FromStr;
use std::collections::BTreeMap;

use manyhands_model::{Fuel, RunId, Timestamp, WorkerId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const HOUR_MS: u64 = 3_600_000;

/// Who gives and gets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// Whoever runs the coordinator: deposits come from here.
    Operator,
    /// Whose runs they are: the name of the token that submits them.
    Requester(String),
    /// Who executes them.
    Worker(WorkerId),
}

/// An amount of fuel that was given or got.
///
/// Unit: points of fuel. 2^63 payments of the most that a unit can burn fit in. JSON has it as a string of digits, since many of
/// its readers lose those after the sixteenth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub i128);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount that is accepted from outside. A book of such amounts does not overflow.
    pub const MAX: Self = Self(1 << 96);
}

impl From<Fuel> for Amount {
    fn from(fuel: Fuel) -> Self {
        Self(i128::from(fuel.0))
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Neg for Amount {
    type Output = Self;

    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not an amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an amount of fuel: expected a whole number between -2^96 and 2^96, such as 1000000")]
pub struct ParseAmountError(String);

impl FromStr for Amount {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, ParseAmountError> {
        let amount = text.parse().ok().map(Self);
        let amount = amount.filter(|amount| *amount <= Self::MAX && -*amount <= Self::MAX);
        // Whatever was written is at most as long as the request, and an error shows its beginning.
        amount.ok_or_else(|| ParseAmountError(text.chars().filter(|c| !c.is_control()).take(50).collect()))
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return i128::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        // A sum may be larger than what is accepted as one amount.
        text.parse().map(Self).map_err(|_| de::Error::custom("an amount of fuel is a string of digits"))
    }
}

/// An hour, by the coordinator's clock: the hours since 1970. JSON has it as the millisecond with which it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(pub u32);

impl Hour {
    /// The hour in which this moment is.
    pub fn of(at: Timestamp) -> Self {
        Self(u32::try_from(at.0 / HOUR_MS).unwrap_or(u32::MAX))
    }

    /// When it begins.
    pub fn begin(self) -> Timestamp {
        Timestamp(u64::from(self.0) * HOUR_MS)
    }
}

impl Serialize for Hour {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { self.begin().serialize(serializer) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Hour {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u32::deserialize(deserializer).map(Self);
        }
        let begin = Timestamp::deserialize(deserializer)?;
        let hour = Self::of(begin);
        if hour.begin() == begin { Ok(hour) } else { Err(de::Error::custom("no hour begins at this millisecond")) }
    }
}

/// What something was given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// For a budget that is paid in advance.
    Deposit,
    /// For replicas of a run's units.
    Run(RunId),
}

/// Where a line stands: all that an account gave and got for one thing in one hour is one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Whose.
    pub account: Account,
    /// When.
    pub hour: Hour,
    /// For what.
    pub subject: Subject,
}

/// What an account gave and got, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What it got, less what it gave.
    pub amount: Amount,
    /// Replicas that were paid for, less those of which that was taken back.
    pub replicas: i64,
}

impl AddAssign for Line {
    fn add_assign(&mut self, other: Self) {
        self.amount += other.amount;
        self.replicas = self.replicas.saturating_add(other.replicas);
    }
}

/// What is to be added to a book. Balanced, whatever is done with it: there is no way to add one side alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Postings(BTreeMap<Place, Line>);

impl Postings {
    /// One account gives another so much, for so many replicas. Both may be negative: then something is given back.
    pub fn transfer(&mut self, hour: Hour, subject: Subject, from: Account, to: Account, line: Line) {
        let given = Line { amount: -line.amount, ..line };
        for (account, line) in [(from, given), (to, line)] {
            *self.0.entry(Place { account, hour, subject }).or_default() += line;
        }
    }

    /// Whether there is nothing to be added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What to add where, in order.
    pub fn into_lines(self) -> impl Iterator<Item = (Place, Line)> {
        self.0.into_iter()
    }
}

/// Whether lines are those of a balanced book: for each thing and hour, they come to nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balanced(BTreeMap<(Hour, Subject), Amount>);

impl Balanced {
    /// Takes note of a line, in whatever order they come.
    pub fn note(&mut self, hour: Hour, subject: Subject, amount: Amount) {
        let sum = self.0.entry((hour, subject)).or_default();
        *sum += amount;
        if *sum == Amount::ZERO {
            self.0.remove(&(hour, subject));
        }
    }

    /// The first hour in which something does not come to nothing, for what, and to what it comes instead.
    pub fn first_off(&self) -> Option<(Hour, Subject, Amount)> {
        self.0.first_key_value().map(|((hour, subject), off)| (*hour, *subject, *off))
    }
}
