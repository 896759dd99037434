//! The shape of a run: inputs, and above them the tree that reduces their outputs to one.
//!
//! ```text
//! units      0 1 2 … 31 | 32 … 63 | 64      inputs, in the order of submission
//!             ╲  │   ╱     ╲ ╱      │
//!                65         66      67       first level, at most 32 parts each
//!                  ╲        │      ╱
//!                          68                the run's result
//! ```
//! Neighbours are combined and order is kept, so the reduce function has to be associative and need not
//! be commutative.

use core::ops::Range;

/// The levels of a reduction over some number of inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduction {
    /// First unit of each level, and one past the last unit of the run.
    bounds: Vec<u32>,
}

impl Reduction {
    /// Parts that one step combines.
    pub const FAN_IN: u32 = manyhands_abi::REDUCE_FAN_IN as u32;

    /// No reduction: the inputs alone.
    pub fn none(inputs: u32) -> Self {
        Self { bounds: vec![0, inputs] }
    }

    /// Reduces to one unit. A single input gets one step as well, so that a run's result always comes
    /// from the reduce function.
    pub fn tree(inputs: u32) -> Self {
        let mut bounds = vec![0, inputs];
        let mut width = inputs;
        loop {
            width = width.div_ceil(Self::FAN_IN);
            bounds.push(bounds[bounds.len() - 1] + width);
            if width <= 1 {
                return Self { bounds };
            }
        }
    }

    /// All units of the run.
    pub fn units(&self) -> u32 {
        self.bounds[self.bounds.len() - 1]
    }

    /// How many of them are inputs.
    pub fn inputs(&self) -> u32 {
        self.bounds[1]
    }

    /// Whether this unit combines others.
    pub fn is_reduce(&self, unit: u32) -> bool {
        (self.inputs()..self.units()).contains(&unit)
    }

    /// The unit whose output is the run's, if the run reduces.
    pub fn root(&self) -> Option<u32> {
        (self.bounds.len() > 2).then(|| self.units() - 1)
    }

    /// The units that `unit` combines; empty for an input.
    pub fn parts(&self, unit: u32) -> Range<u32> {
        let level = self.level(unit);
        if level == 0 {
            return 0..0;
        }
        let first = self.bounds[level - 1] + (unit - self.bounds[level]) * Self::FAN_IN;
        first..(first + Self::FAN_IN).min(self.bounds[level])
    }

    /// The unit that combines `unit` with others; none for the last one or without a reduction.
    pub fn parent(&self, unit: u32) -> Option<u32> {
        let level = self.level(unit);
        (level + 2 < self.bounds.len()).then(|| self.bounds[level + 1] + (unit - self.bounds[level]) / Self::FAN_IN)
    }

    fn level(&self, unit: u32) -> usize {
        self.bounds.partition_point(|first| *first <= unit).saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_but_the_last_has_one_parent_that_names_it_among_its_parts() {
        for inputs in [1, 2, 31, 32, 33, 1024, 1025, 40_000] {
            let tree = Reduction::tree(inputs);
            for unit in 0..tree.units() - 1 {
                let parent = tree.parent(unit).expect("a parent");
                assert!(tree.parts(parent).contains(&unit), "{inputs} inputs, unit {unit}");
            }
            let root = tree.root().expect("a root");
            assert_eq!((root, tree.parent(root)), (tree.units() - 1, None));
            let parts: u32 = (inputs..tree.units()).map(|unit| tree.parts(unit).len() as u32).sum();
            assert_eq!(parts, tree.units() - 1, "every unit is combined once");
        }
    }

    #[test]
    fn without_a_reduction_there_are_only_inputs() {
        let flat = Reduction::none(5);
        assert_eq!((flat.units(), flat.root(), flat.parent(3), flat.parts(3)), (5, None, None, 0..0));
    }
}
