//! Units of a run that its requester did not submit: their inputs are made up, and nobody needs their answers.
//!
//! They are queued, leased, weighed, audited and paid like any other, so that nobody can tell which they are. What they are not is counted:
//! a run ends with its own units, and what is left of its decoys is dropped.
//!
//! ```text
//! here            0 1 2 3 4 5 6 7 8 │ 9 10      inputs, then the reduction; decoys are numbered from 2³¹
//! for workers     0 1 d 2 3 4 d 5 6 d 7 8 │ 9 10      the numbers that leases say: each block has a decoy somewhere
//! ```

use core::ops::{Index, IndexMut};

use manyhands_model::{Digest, UnitId};
use serde::{Deserialize, Serialize};

use crate::unit::{Counts, State};

/// Those of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decoys {
    /// How many. At most as many as inputs.
    pub count: u32,
    /// Unknown to workers: where decoys stand among the numbers that they are told follows from it.
    pub seed: [u8; 32],
}

impl Decoys {
    /// The units that they are.
    pub fn indices(&self) -> impl Iterator<Item = u32> + use<> {
        UnitId::FIRST_DECOY..UnitId::FIRST_DECOY + self.count
    }
}

/// What workers are told a unit's number is. Inputs keep their order; decoys stand among them, one in each of as many blocks of about the
/// same length, at a place that is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    inputs: u32,
    /// Inputs and steps of the reduction.
    units: u32,
    decoys: Decoys,
}

impl Numbers {
    pub(crate) const fn new(inputs: u32, units: u32, decoys: Decoys) -> Self {
        Self { inputs, units, decoys }
    }

    /// The number that workers are told of a unit.
    pub fn told(&self, index: u32) -> u32 {
        let Decoys { count, .. } = self.decoys;
        if index >= UnitId::FIRST_DECOY {
            let block = index - UnitId::FIRST_DECOY;
            return self.begin(block) + self.place(block);
        }
        if count == 0 || index >= self.inputs {
            return index + count;
        }
        let block = last_block(index, count, self.inputs);
        let behind = index - first(block, self.inputs, count);
        self.begin(block) + behind + u32::from(behind >= self.place(block))
    }

    /// The unit of which workers are told this number; none if there is no such unit.
    pub fn meant(&self, told: u32) -> Option<u32> {
        let Decoys { count, .. } = self.decoys;
        let all = self.inputs + count;
        if count == 0 || told >= all {
            return told.checked_sub(count).filter(|index| *index < self.units);
        }
        let block = last_block(told, count, all);
        let behind = told - self.begin(block);
        let place = self.place(block);
        if behind == place {
            return Some(UnitId::FIRST_DECOY + block);
        }
        Some(first(block, self.inputs, count) + behind - u32::from(behind > place))
    }

    /// The number with which a block begins.
    fn begin(&self, block: u32) -> u32 {
        first(block, self.inputs + self.decoys.count, self.decoys.count)
    }

    /// Where in its block a decoy stands.
    fn place(&self, block: u32) -> u32 {
        let length = self.begin(block + 1) - self.begin(block);
        let drawn = Digest::of_parts([&b"manyhands:decoy\0"[..], &self.decoys.seed, &block.to_le_bytes()]);
        let drawn = drawn.0.first_chunk().copied().map_or(0, u64::from_le_bytes);
        // No place is more likely than another by more than one in 2³².
        ((u128::from(drawn) * u128::from(length)) >> 64) as u32
    }
}

/// Where the block begins, where `all` are divided into `blocks`.
const fn first(block: u32, all: u32, blocks: u32) -> u32 {
    (block as u64 * all as u64 / blocks as u64) as u32
}

/// The last block that begins at `at` or before it.
const fn last_block(at: u32, blocks: u32, all: u32) -> u32 {
    ((at as u64 + 1) * blocks as u64).div_ceil(all as u64) as u32 - 1
}

/// The units of a run: its own, and its decoys.
#[derive(Debug)]
pub(crate) struct Units {
    own: Vec<State>,
    decoys: Vec<State>,
}

impl Units {
    pub(crate) fn new(own: Vec<State>, decoys: Decoys) -> Self {
        Self { own, decoys: decoys.indices().map(|_| State::Fresh).collect() }
    }

    /// Those that its requester knows of, in order.
    pub(crate) fn own(&self) -> &[State] {
        &self.own
    }

    /// The others, in order.
    pub(crate) fn decoys(&mut self) -> impl Iterator<Item = (u32, &mut State)> {
        (UnitId::FIRST_DECOY..).zip(&mut self.decoys)
    }

    /// All, with their numbers.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut State)> {
        (0..).zip(&mut self.own).chain((UnitId::FIRST_DECOY..).zip(&mut self.decoys))
    }

    pub(crate) fn get(&self, index: u32) -> Option<&State> {
        match index.checked_sub(UnitId::FIRST_DECOY) {
            None => self.own.get(index as usize),
            Some(decoy) => self.decoys.get(decoy as usize),
        }
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut State> {
        match index.checked_sub(UnitId::FIRST_DECOY) {
            None => self.own.get_mut(index as usize),
            Some(decoy) => self.decoys.get_mut(decoy as usize),
        }
    }
}

impl Index<u32> for Units {
    type Output = State;

    fn index(&self, index: u32) -> &State {
        match index.checked_sub(UnitId::FIRST_DECOY) {
            None => &self.own[index as usize],
            Some(decoy) => &self.decoys[decoy as usize],
        }
    }
}

impl IndexMut<u32> for Units {
    fn index_mut(&mut self, index: u32) -> &mut State {
        match index.checked_sub(UnitId::FIRST_DECOY) {
            None => &mut self.own[index as usize],
            Some(decoy) => &mut self.decoys[decoy as usize],
        }
    }
}

/// How many units of a run are where, its decoys apart.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tallies {
    /// Of those that its requester knows of.
    pub(crate) own: Counts,
    decoys: Counts,
}

impl Tallies {
    pub(crate) fn of_own(own: Counts) -> Self {
        Self { own, decoys: Counts::default() }
    }

    /// Those among which this unit is counted.
    pub(crate) fn at(&mut self, index: u32) -> &mut Counts {
        if index >= UnitId::FIRST_DECOY { &mut self.decoys } else { &mut self.own }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn numbers(inputs: u32, steps: u32, count: u32) -> Numbers {
        Numbers::new(inputs, inputs + steps, Decoys { count, seed: [7; 32] })
    }

    #[test]
    fn every_unit_has_a_number_of_its_own_and_none_is_left_out() {
        for inputs in [1, 2, 3, 7, 49, 50, 51, 1_000] {
            for count in [0, 1, 2, 3, inputs / 2, inputs].into_iter().filter(|count| *count <= inputs) {
                for steps in [0, 1, 33] {
                    let numbers = numbers(inputs, steps, count);
                    let all = (0..inputs + steps).chain(UnitId::FIRST_DECOY..UnitId::FIRST_DECOY + count);
                    let told: BTreeSet<u32> = all
                        .map(|index| {
                            let told = numbers.told(index);
                            assert_eq!(numbers.meant(told), Some(index), "{numbers:?}");
                            told
                        })
                        .collect();
                    assert_eq!(told, (0..inputs + steps + count).collect(), "{numbers:?}");
                    for beyond in [inputs + steps + count, UnitId::FIRST_DECOY, u32::MAX] {
                        assert_eq!(numbers.meant(beyond), None, "{numbers:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn without_decoys_workers_are_told_what_is_so() {
        let numbers = numbers(50, 3, 0);
        assert!((0..53).all(|index| numbers.told(index) == index && numbers.meant(index) == Some(index)));
    }

    #[test]
    fn inputs_keep_their_order_and_decoys_stand_anywhere() {
        let numbers = numbers(98_000, 0, 2_000);
        let own: Vec<u32> = (0..98_000).map(|index| numbers.told(index)).collect();
        assert!(own.is_sorted());
        // Each of the fifty places of a block as often as another: forty times, give or take.
        let mut at = [0_u32; 50];
        for decoy in UnitId::FIRST_DECOY..UnitId::FIRST_DECOY + 2_000 {
            at[numbers.told(decoy) as usize % 50] += 1;
        }
        assert!(at.iter().all(|times| (15..70).contains(times)), "{at:?}");
        assert_ne!(
            numbers.told(UnitId::FIRST_DECOY),
            Numbers { decoys: Decoys { count: 2_000, seed: [8; 32] }, ..numbers }.told(UnitId::FIRST_DECOY)
        );
    }
}
