//! No site charges what another has charged already.
//!
//! A site that pays for one arm of a branch leaves something over for who takes the other, so a site that comes later there may
//! charge less. Going backwards, it is found how much must have been paid at each site; going forwards, how much was. A site
//! then charges the difference, and none could charge a unit less. What is over at the end of a loop's iteration is nobody's.

use manyhands_verifier::token::Kind;

use crate::outline::Outline;
use crate::plan::Site;

pub(crate) fn tighten(outline: &Outline<'_, '_>, sites: &mut [Site]) {
    let needs = needs(outline, sites);
    lower(outline, sites, &needs);
}

/// A block, seen from its end.
struct Ahead {
    is_loop: bool,
    /// What must have been paid after it.
    after: u64,
    /// What must have been paid before the other arm.
    other: Option<u64>,
    /// What must have been paid before a loop, for those who leave it for places further out.
    exits: u64,
}

/// For each site, what must have been paid once it is passed.
fn needs(outline: &Outline<'_, '_>, sites: &[Site]) -> Vec<u64> {
    let mut needs = vec![0; sites.len()];
    let mut left = sites.len();
    let mut blocks: Vec<Ahead> = Vec::new();
    // Which of them are loops.
    let mut loops: Vec<usize> = Vec::new();
    let mut need: u64 = 0;
    for (at, step) in outline.steps().iter().enumerate().rev() {
        match step.kind {
            Kind::End => {
                let is_loop = matches!(outline.kind(outline.partner(at)), Kind::Loop(_));
                if is_loop {
                    loops.push(blocks.len());
                }
                // Nobody pays for what follows a loop that is never left at its end.
                let after = if is_loop && !step.live { 0 } else { need };
                blocks.push(Ahead { is_loop, after, other: None, exits: 0 });
                if is_loop {
                    need = 0;
                }
            }
            Kind::Else => {
                if let Some(block) = blocks.last_mut() {
                    block.other = Some(need);
                    need = block.after;
                }
            }
            Kind::If(_) => {
                if let Some(block) = blocks.pop() {
                    need = need.max(block.other.unwrap_or(block.after));
                }
            }
            Kind::Block(_) => drop(blocks.pop()),
            Kind::Loop(_) => {
                if let Some(block) = blocks.pop() {
                    loops.pop();
                    need = block.after.max(block.exits);
                }
            }
            // Nor for where nobody ever branches from.
            Kind::Br(_) | Kind::BrIf(_) | Kind::BrTable(_) | Kind::Return if !step.live => {}
            Kind::Br(relative_depth) => need = at_label(&mut blocks, &loops, relative_depth),
            Kind::BrIf(relative_depth) => need = need.max(at_label(&mut blocks, &loops, relative_depth)),
            Kind::BrTable(table) => {
                let depths = outline.targets(table);
                need = depths.map(|depth| at_label(&mut blocks, &loops, depth)).max().unwrap_or(0);
            }
            Kind::Return => {
                let outermost = blocks.len() as u32 - 1;
                need = at_label(&mut blocks, &loops, outermost);
            }
            Kind::Unreachable => need = 0,
            _ => {}
        }
        need += step.cost;
        if left > 0 && sites[left - 1].at == at {
            left -= 1;
            needs[left] = need;
            need = need.saturating_sub(sites[left].units);
        }
    }
    needs
}

/// What must have been paid by whoever branches so many blocks out, of what is paid inside the innermost loop.
fn at_label(blocks: &mut [Ahead], loops: &[usize], depth: u32) -> u64 {
    let Some(index) = blocks.len().checked_sub(depth as usize + 1) else { return 0 };
    // Back to a loop's head nothing is owed.
    let need = if blocks[index].is_loop { 0 } else { blocks[index].after };
    match outermost(loops, index) {
        None => need,
        Some(left) => {
            blocks[left].exits = blocks[left].exits.max(need);
            0
        }
    }
}

/// The outermost of the loops inside the block that is left, or that one is gone back in, if any is.
fn outermost(loops: &[usize], block: usize) -> Option<usize> {
    loops.get(loops.partition_point(|at| *at <= block)).copied()
}

/// A block, seen from its beginning.
struct Behind {
    is_loop: bool,
    /// What was paid by the poorest who branched to its end.
    arrived: Option<u64>,
    /// What was paid before a loop, or before the other arm of an `if`.
    before: Option<u64>,
    is_if: bool,
}

fn lower(outline: &Outline<'_, '_>, sites: &mut [Site], needs: &[u64]) {
    let mut sites = sites.iter_mut().zip(needs).peekable();
    let mut blocks = vec![Behind { is_loop: false, arrived: None, before: None, is_if: false }];
    let mut loops: Vec<usize> = Vec::new();
    let mut paid = Some(0_u64);
    for (at, step) in outline.steps().iter().enumerate() {
        if let Some((site, need)) = sites.next_if(|(site, _)| site.at == at) {
            site.units = site.units.min(need.saturating_sub(paid.unwrap_or(0)));
            paid = paid.map(|paid| paid + site.units);
        }
        paid = paid.map(|paid| paid.saturating_sub(step.cost));
        match step.kind {
            Kind::Block(_) => {
                blocks.push(Behind { is_loop: false, arrived: None, before: None, is_if: false });
            }
            Kind::If(_) => blocks.push(Behind { is_loop: false, arrived: None, before: paid, is_if: true }),
            Kind::Loop(_) => {
                loops.push(blocks.len());
                blocks.push(Behind { is_loop: true, arrived: None, before: paid, is_if: false });
                paid = paid.map(|_| 0);
            }
            Kind::Else => {
                if let Some(block) = blocks.last_mut() {
                    block.arrived = poorest(block.arrived, paid);
                    paid = block.before.take();
                    block.is_if = false;
                }
            }
            Kind::End => {
                let Some(block) = blocks.pop() else { return };
                if block.is_loop {
                    loops.pop();
                }
                paid = match (block.is_loop, paid) {
                    (true, reached) => reached.and(block.before),
                    (false, _) if block.is_if => poorest(poorest(block.arrived, paid), block.before),
                    (false, _) => poorest(block.arrived, paid),
                };
            }
            Kind::Br(relative_depth) => {
                arrive(&mut blocks, &loops, relative_depth, paid);
                paid = None;
            }
            Kind::BrIf(relative_depth) => arrive(&mut blocks, &loops, relative_depth, paid),
            Kind::BrTable(table) => {
                for depth in outline.targets(table) {
                    arrive(&mut blocks, &loops, depth, paid);
                }
                paid = None;
            }
            Kind::Return | Kind::Unreachable => paid = None,
            _ => {}
        }
    }
}

/// Somebody branches so many blocks out.
fn arrive(blocks: &mut [Behind], loops: &[usize], depth: u32, paid: Option<u64>) {
    let Some(index) = blocks.len().checked_sub(depth as usize + 1) else { return };
    if blocks[index].is_loop {
        return;
    }
    // Whoever leaves loops has what was paid before the outermost of them.
    let paid = match outermost(loops, index) {
        Some(left) => paid.and(blocks[left].before),
        None => paid,
    };
    blocks[index].arrived = poorest(blocks[index].arrived, paid);
}

fn poorest(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
