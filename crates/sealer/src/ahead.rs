//! What the cheapest way on costs, from each step of a function.

use std::collections::BTreeMap;

use manyhands_verifier::token::Kind;

use crate::outline::Outline;

/// Units for a way on, up to the end of the function or of the loop's iteration.
///
/// Those that end with a trap come after all others, since who is about to trap may pay for what would have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due(u64);

impl Due {
    const NOTHING: Self = Self(0);
    const DOOMED: Self = Self(1 << 63);

    pub(crate) fn is_doomed(self) -> bool {
        self >= Self::DOOMED
    }

    pub(crate) fn units(self) -> u64 {
        self.0 & !Self::DOOMED.0
    }

    fn more(self, units: u64) -> Self {
        Self(self.0 + units)
    }

    /// Without its first instruction.
    pub(crate) fn less(self, units: u64) -> Self {
        Self(self.0 - units)
    }

    /// Without so many units, or what there is of them.
    fn without(self, units: u64) -> Self {
        self.less(units.min(self.units()))
    }

    /// How much dearer it is than the cheapest.
    pub(crate) fn beyond(self, cheapest: Self) -> u64 {
        self.units().saturating_sub(cheapest.units())
    }

    /// For who leaves a loop: what comes then is paid for outside.
    fn outside(self) -> Self {
        if self.is_doomed() { Self::DOOMED } else { Self::NOTHING }
    }
}

/// A block, seen from its end.
struct Block {
    is_loop: bool,
    /// What comes after it.
    after: Due,
    /// What comes in the other arm of an `if`.
    otherwise: Due,
    /// What comes behind a loop, for those who leave it.
    exits: Due,
}

/// For each step what the cheapest way on costs, for who comes there from the step before. At a cut, so many
/// units fewer. One more stands behind the last.
pub(crate) fn ahead(outline: &Outline<'_, '_>, cuts: &BTreeMap<usize, u64>) -> Vec<Due> {
    let mut ahead = vec![Due::NOTHING; outline.len() + 1];
    let mut blocks: Vec<Block> = Vec::new();
    // Which of them are loops.
    let mut loops: Vec<usize> = Vec::new();
    let mut here = Due::NOTHING;
    for (at, step) in outline.steps().iter().enumerate().rev() {
        here = match step.kind {
            Kind::End => {
                let is_loop = matches!(outline.kind(outline.partner(at)), Kind::Loop(_));
                let after = here.without(cuts.get(&at).copied().unwrap_or(0));
                if is_loop {
                    loops.push(blocks.len());
                }
                let exits = if step.live { after } else { Due::DOOMED };
                blocks.push(Block { is_loop, after, otherwise: after, exits });
                if is_loop { after.outside() } else { after }
            }
            Kind::Else => match blocks.last_mut() {
                Some(block) => {
                    block.otherwise = here;
                    block.after
                }
                None => here,
            },
            Kind::If(_) => blocks.pop().map_or(here, |block| here.min(block.otherwise)),
            Kind::Block(_) => {
                blocks.pop();
                here
            }
            Kind::Loop(_) => {
                loops.pop();
                blocks.pop().map_or(here, |block| block.exits)
            }
            Kind::Br(relative_depth) => at_label(&mut blocks, &loops, relative_depth),
            Kind::BrIf(relative_depth) => here.min(at_label(&mut blocks, &loops, relative_depth)),
            Kind::BrTable(table) => {
                let depths = outline.targets(table);
                depths.map(|depth| at_label(&mut blocks, &loops, depth)).min().unwrap_or(here)
            }
            Kind::Return => {
                let outermost = blocks.len() as u32 - 1;
                at_label(&mut blocks, &loops, outermost)
            }
            Kind::Unreachable => Due::DOOMED,
            _ => here,
        };
        here = here.more(step.cost);
        ahead[at] = here;
    }
    ahead
}

/// What comes for who branches so many blocks out, as far as the innermost loop pays for it.
fn at_label(blocks: &mut [Block], loops: &[usize], depth: u32) -> Due {
    let Some(index) = blocks.len().checked_sub(depth as usize + 1) else { return Due::NOTHING };
    // Back to a loop's head the way ends.
    let due = if blocks[index].is_loop { Due::NOTHING } else { blocks[index].after };
    let first = loops.partition_point(|at| *at <= index);
    for (at, left) in loops[first..].iter().enumerate() {
        let exit = if at == 0 { due } else { due.outside() };
        blocks[*left].exits = blocks[*left].exits.min(exit);
    }
    if first < loops.len() { due.outside() } else { due }
}
