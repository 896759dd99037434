//! Where fuel is charged, and how much.
//!
//! A *site* is a place at which a sum is charged: the entry of the function, the head of a loop (once an iteration, or all of them together
//! before it), or a place inside. Each instruction belongs to one site that is always passed before it in the same iteration, so nothing is executed
//! that was not paid for. What a site pays for is executed for certain, or with a small allowance only perhaps: code behind a
//! branch that leaves, or the dearer arm of an `if`. Where the allowance is used up, the code pays for itself at a site of its
//! own. So a module pays at least what it executes, and little more; without the allowance, exactly that.

use std::collections::BTreeSet;

use manyhands_verifier::cost;
use manyhands_verifier::token::Kind;

use crate::body::Body;
use crate::counted::{Counted, counted};
use crate::tighten::tighten;

/// What a site in a loop may charge for code that is executed only perhaps: a quarter of what is for certain, and this. It
/// adds up with each iteration.
const ALLOWANCE_IN_LOOPS: u64 = 14;
/// What another site may: half of what is for certain, and this.
const ALLOWANCE: u64 = 24;

/// The most sites that are remembered in case they may pay again where paths meet; each branch goes through them.
const PAYERS_MAX: usize = 16;

/// A place at which fuel is charged, before the instruction at `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) at: usize,
    /// Whether it is the head of a loop.
    pub(crate) head: bool,
    /// How often that goes round, if it is known before. Then it is charged before the loop, with `units` for each iteration.
    pub(crate) counted: Option<Counted>,
    /// Units for what it pays for on the dearest path.
    pub(crate) units: u64,
    /// Units for what everybody executes who passes it.
    certain: u64,
}

/// The sites of a function, in the order of their places; the entry and heads of loops are there even if they charge nothing.
/// `costs` has the units of each instruction; `exact` leaves out the allowance.
pub(crate) fn plan(body: &Body<'_>, costs: &[u64], exact: bool) -> Vec<Site> {
    let end = body.len() - 1;
    let labels = vec![Label { end, arrivals: None }];
    let mut planner = Planner { body, costs, exact, doomed: doomed(body), sites: Vec::new(), labels };
    planner.function();
    let mut sites = planner.sites;
    sites.sort_by_key(|site| site.at);
    if !exact {
        tighten(body, costs, &mut sites);
    }
    sites.retain(|site| site.units > 0 || site.head || site.at == 0);
    for at in 0..sites.len() {
        // What else is charged in a loop is charged in some iterations only.
        let end = body.partner(sites[at].at.saturating_sub(1));
        if sites[at].units > cost::COUNTED_MAX || sites.get(at + 1).is_some_and(|next| next.at < end) {
            sites[at].counted = None;
        }
    }
    sites
}

/// For each place, whether whoever comes there traps, whatever happens.
fn doomed(body: &Body<'_>) -> Vec<bool> {
    /// A block, seen from its end.
    struct Ahead {
        /// Whether whoever branches to it is doomed.
        label: bool,
        /// Whether whoever comes to its end is.
        after: bool,
        /// Whether whoever comes to its `else` is.
        otherwise: bool,
    }
    let mut doomed = vec![false; body.len()];
    let mut blocks: Vec<Ahead> = Vec::new();
    let mut here = false;
    for (at, token) in body.tokens.all.iter().enumerate().rev() {
        let at_label = |depth: u32| blocks.iter().rev().nth(depth as usize).is_some_and(|block| block.label);
        here = match token.kind {
            Kind::End => {
                let is_loop = matches!(body.kind(body.partner(at)), Kind::Loop(_));
                blocks.push(Ahead { label: here && !is_loop, after: here, otherwise: here });
                here
            }
            Kind::Else => match blocks.last_mut() {
                Some(block) => {
                    block.otherwise = here;
                    block.after
                }
                None => false,
            },
            Kind::If(_) => blocks.pop().is_some_and(|block| block.otherwise) && here,
            Kind::Block(_) | Kind::Loop(_) => {
                blocks.pop();
                here
            }
            Kind::Br(relative_depth) => at_label(relative_depth),
            Kind::BrIf(relative_depth) => here && at_label(relative_depth),
            Kind::BrTable(table) => body.tokens.targets(table).all(at_label),
            Kind::Return => false,
            Kind::Unreachable => true,
            _ => here,
        };
        doomed[at] = here;
    }
    doomed
}

struct Planner<'a, 'b> {
    body: &'b Body<'a>,
    costs: &'b [u64],
    exact: bool,
    /// For each place, whether whoever comes there traps.
    doomed: Vec<bool>,
    sites: Vec<Site>,
    /// Of all open blocks, the function first.
    labels: Vec<Label>,
}

struct Label {
    end: usize,
    arrivals: Option<Arrivals>,
}

/// Those who go to the end of a block.
struct Arrivals {
    /// Where the first of them left.
    first: usize,
    /// What each payer paid, of what is executed only perhaps, for the dearest of them.
    perhaps: Vec<u64>,
}

/// A site that may pay for what comes, since all that comes passes it.
#[derive(Clone, Copy)]
struct Payer {
    site: usize,
    /// Until there somebody who passed the site may be elsewhere; 0 if nobody is.
    until: usize,
    /// What it paid on the way here for what is executed only perhaps.
    perhaps: u64,
}

/// The function, or the body of a loop, without the loops in it: what is executed at most once for each passing of its head.
struct Region {
    /// Each came where the one before could not pay. The first is the head.
    payers: Vec<Payer>,
    end: usize,
    /// Its own label.
    label: usize,
    /// Labels outside to which somebody goes.
    left: Vec<usize>,
}

/// A block that is open.
enum Open {
    /// A plain one, or the last arm of an `if`.
    Block {
        end: usize,
    },
    Loop {
        at: usize,
        end: usize,
        outer: Region,
    },
    /// The first arm of an `if`.
    Then {
        /// Who might have paid before it.
        before: Vec<Payer>,
        /// Where the other arm begins, if there is one.
        otherwise: Option<usize>,
        end: usize,
    },
}

impl Open {
    /// The `end` or `else` at which it is closed.
    fn closes(&self) -> usize {
        match self {
            Self::Block { end } | Self::Loop { end, .. } => *end,
            Self::Then { otherwise, end, .. } => otherwise.unwrap_or(*end),
        }
    }
}

impl Region {
    /// From here on until `target`, somebody may be elsewhere.
    fn leave(&mut self, target: usize) {
        let until = target.min(self.end);
        self.payers.iter_mut().for_each(|payer| payer.until = payer.until.max(until));
    }

    fn perhaps(&self) -> Vec<u64> {
        self.payers.iter().map(|payer| payer.perhaps).collect()
    }
}

impl Planner<'_, '_> {
    /// Goes through the function. Blocks may nest deeply, so what is open stands in a list and not on the stack.
    fn function(&mut self) {
        let mut region = self.region(0, self.body.len() - 1);
        let mut open: Vec<Open> = Vec::new();
        let mut at = 0;
        loop {
            let body = self.body;
            let partner = body.partner(at);
            // Whether the next instruction is reached from this one.
            let mut reached = true;
            self.pay(&mut region, at, self.costs[at]);
            match body.kind(at) {
                Kind::Block(_) => {
                    self.labels.push(Label { end: partner, arrivals: None });
                    open.push(Open::Block { end: partner });
                }
                Kind::Loop(_) => {
                    self.labels.push(Label { end: partner, arrivals: None });
                    let inner = self.region(at + 1, partner);
                    open.push(Open::Loop { at, end: partner, outer: std::mem::replace(&mut region, inner) });
                }
                Kind::If(_) => {
                    let otherwise = matches!(body.kind(partner), Kind::Else).then_some(partner);
                    let end = otherwise.map_or(partner, |otherwise| body.partner(otherwise));
                    self.labels.push(Label { end, arrivals: None });
                    region.leave(end);
                    let before = region.payers.clone();
                    if otherwise.is_none() {
                        self.arrive(at, &region);
                    }
                    open.push(Open::Then { before, otherwise, end });
                }
                Kind::BrIf(relative_depth) => self.branch(&mut region, at, relative_depth),
                Kind::Br(relative_depth) => {
                    self.branch(&mut region, at, relative_depth);
                    reached = false;
                }
                Kind::BrTable(table) => {
                    // Nobody arrives twice.
                    let targets: BTreeSet<u32> = body.tokens.targets(table).collect();
                    for depth in targets {
                        self.branch(&mut region, at, depth);
                    }
                    reached = false;
                }
                Kind::Return => {
                    self.branch(&mut region, at, self.labels.len() as u32 - 1);
                    reached = false;
                }
                Kind::Unreachable => reached = false,
                Kind::Else | Kind::End => {
                    reached = match self.close(&mut region, &mut open, true) {
                        Some(reached) => reached,
                        None => return,
                    };
                }
                _ => {}
            }
            // What nobody reaches is passed over, up to where somebody comes again.
            while !reached {
                at = match open.last() {
                    Some(block) => block.closes(),
                    None => return,
                };
                reached = match self.close(&mut region, &mut open, false) {
                    Some(reached) => reached,
                    None => return,
                };
            }
            at += 1;
        }
    }

    /// A part of the function that begins here, whose label is the innermost.
    fn region(&mut self, from: usize, end: usize) -> Region {
        let site = self.site(from, from > 0);
        let payers = vec![Payer { site, until: 0, perhaps: 0 }];
        Region { payers, end, label: self.labels.len() - 1, left: Vec::new() }
    }

    fn site(&mut self, at: usize, head: bool) -> usize {
        self.sites.push(Site { at, head, counted: None, units: 0, certain: 0 });
        self.sites.len() - 1
    }

    /// The innermost block, or the first arm of an `if`, comes to its end, `reached` by those inside. Whether what
    /// follows is reached; `None` at the end of the function.
    fn close(&mut self, region: &mut Region, open: &mut Vec<Open>, reached: bool) -> Option<bool> {
        match open.pop()? {
            Open::Loop { at, outer, .. } => {
                let inner = std::mem::replace(region, outer);
                self.labels.pop();
                // Who leaves early would have paid too much, but for who traps then.
                if !self.exact && inner.left.iter().all(|label| self.doomed[self.labels[*label].end]) {
                    let head = inner.payers.first().map(|payer| &mut self.sites[payer.site]);
                    head.into_iter().for_each(|head| head.counted = counted(self.body, at));
                }
                for label in inner.left {
                    self.go(region, at, label);
                }
                Some(reached)
            }
            Open::Then { before, otherwise: Some(at), end } => {
                if reached {
                    self.arrive(at, region);
                }
                // The other arm is as if this one were not there, but for those who left.
                let left = before.iter().zip(&region.payers).map(|(before, payer)| before.until.max(payer.until));
                region.payers = before.iter().zip(left).map(|(before, until)| Payer { until, ..*before }).collect();
                open.push(Open::Block { end });
                Some(true)
            }
            Open::Block { .. } | Open::Then { .. } => Some(self.join(region, reached)),
        }
    }

    /// Somebody goes to the label that is so many blocks out.
    fn branch(&mut self, region: &mut Region, at: usize, depth: u32) {
        if let Some(label) = self.labels.len().checked_sub(depth as usize + 1) {
            self.go(region, at, label);
        }
    }

    fn go(&mut self, region: &mut Region, at: usize, index: usize) {
        let label = &mut self.labels[index];
        // Who traps has paid for what would have come; that is not worth a site behind each check of a bound.
        if !self.doomed[label.end] {
            region.leave(label.end);
        }
        if index > region.label {
            label.arrive(at, region.perhaps());
        } else if index < region.label && !region.left.contains(&index) {
            region.left.push(index);
        }
    }

    /// The end of a block: whoever left for it is here again. Whether anybody is.
    fn join(&mut self, region: &mut Region, reached: bool) -> bool {
        let Some(label) = self.labels.pop() else { return reached };
        if let Some(arrivals) = &label.arrivals {
            // Sites after the first who left were passed by only some of those who are here.
            let kept = region.payers.iter().take_while(|payer| self.sites[payer.site].at <= arrivals.first).count();
            region.payers.truncate(kept.max(1));
            for (payer, perhaps) in region.payers.iter_mut().zip(&arrivals.perhaps) {
                payer.perhaps = if reached { payer.perhaps.max(*perhaps) } else { *perhaps };
            }
        }
        region.payers.iter_mut().filter(|payer| payer.until <= label.end).for_each(|payer| payer.until = 0);
        // Behind one that pays for certain nobody needs another.
        if let Some(sure) = region.payers.iter().position(|payer| payer.until == 0) {
            region.payers.truncate(sure + 1);
        }
        reached || label.arrivals.is_some()
    }

    /// Somebody goes to the end of the innermost block.
    fn arrive(&mut self, at: usize, region: &Region) {
        if let Some(label) = self.labels.last_mut() {
            label.arrive(at, region.perhaps());
        }
    }

    /// Finds somebody who pays for the instruction at `at`.
    fn pay(&mut self, region: &mut Region, at: usize, units: u64) {
        if units == 0 {
            return;
        }
        // A region has a payer at least: its head.
        let Some(payer) = region.payers.last_mut() else { return };
        let site = &mut self.sites[payer.site];
        let in_loop = region.label > 0;
        let allowance = if in_loop { site.certain / 4 + ALLOWANCE_IN_LOOPS } else { site.certain / 2 + ALLOWANCE };
        if payer.until == 0 {
            site.certain += units;
        } else if !self.exact && payer.perhaps + units <= allowance {
            payer.perhaps += units;
        } else {
            let site = self.site(at, false);
            self.sites[site].certain = units;
            self.sites[site].units = units;
            if region.payers.len() == PAYERS_MAX {
                region.payers.pop();
            }
            region.payers.push(Payer { site, until: 0, perhaps: 0 });
            return;
        }
        site.units = site.units.max(site.certain + payer.perhaps);
    }
}

impl Label {
    fn arrive(&mut self, at: usize, perhaps: Vec<u64>) {
        match &mut self.arrivals {
            None => self.arrivals = Some(Arrivals { first: at, perhaps }),
            Some(arrivals) => {
                // Payers that both passed stand in the same places.
                arrivals.perhaps.truncate(perhaps.len());
                arrivals.perhaps.iter_mut().zip(perhaps).for_each(|(most, its)| *most = (*most).max(its));
            }
        }
    }
}
