//! Where fuel is charged, and how much.
//!
//! A *site* is a place at which a sum is charged: the entry of the function, the head of a loop (once an iteration), or a place
//! inside. Each instruction belongs to one site that is always passed before it in the same iteration, so nothing is executed
//! that was not paid for. What a site pays for is executed for certain, or with a small allowance only perhaps: code behind a
//! branch that leaves, or the dearer arm of an `if`. Where the allowance is used up, the code pays for itself at a site of its
//! own. So a module pays at least what it executes, and little more; without the allowance, exactly that.

use wasmparser::Operator;

use crate::body::Body;

/// What a site may charge for code that is executed only perhaps: a quarter of what is for certain, and this.
const ALLOWANCE: u64 = 2;

/// A place at which fuel is charged, before the instruction at `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) at: usize,
    /// Whether it is the head of a loop.
    pub(crate) head: bool,
    /// Units for what is executed after it for certain, and perhaps.
    certain: u64,
    waste: u64,
}

impl Site {
    pub(crate) fn units(&self) -> u64 {
        self.certain + self.waste
    }
}

/// The sites of a function, in the order of their places; the entry and heads of loops are there even if they charge nothing.
/// `costs` has the units of each instruction; `exact` leaves out the allowance.
pub(crate) fn plan(body: &Body<'_>, costs: &[u64], exact: bool) -> Vec<Site> {
    let end = body.ops.len() - 1;
    let mut planner = Planner {
        body,
        costs,
        exact,
        sites: Vec::new(),
        labels: vec![Label { end, is_loop: false, first_branch: None }],
    };
    planner.region(0, end);
    let mut sites = planner.sites;
    sites.sort_by_key(|site| site.at);
    sites
}

struct Planner<'a, 'b> {
    body: &'b Body<'a>,
    costs: &'b [u64],
    exact: bool,
    sites: Vec<Site>,
    /// Of all open blocks, the function first.
    labels: Vec<Label>,
}

struct Label {
    end: usize,
    is_loop: bool,
    /// The first branch to the end.
    first_branch: Option<usize>,
}

/// A site that may pay for what comes, since all that comes passes it.
#[derive(Clone, Copy)]
struct Payer {
    site: usize,
    /// Until there somebody who passed the site may be elsewhere; 0 if nobody is.
    until: usize,
}

/// The function, or the body of a loop, without the loops in it: what is executed at most once for each passing of its head.
struct Region {
    /// Each came where the one before could not pay. The first is the head.
    payers: Vec<Payer>,
    end: usize,
    /// The furthest place outside to which somebody leaves.
    left: usize,
}

impl Region {
    /// From here on until `target`, somebody may be elsewhere.
    fn leave(&mut self, target: usize) {
        let until = target.min(self.end);
        self.payers.iter_mut().for_each(|payer| payer.until = payer.until.max(until));
        if target > self.end {
            self.left = self.left.max(target);
        }
    }
}

impl Planner<'_, '_> {
    /// Plans the code from `from` to `end`, whose head is a site. Returns where it is left to, if that is outside, and whether
    /// its end is reached.
    fn region(&mut self, from: usize, end: usize) -> (usize, bool) {
        let site = self.site(from, from > 0);
        let mut region = Region { payers: vec![Payer { site, until: 0 }], end, left: 0 };
        let reached = self.sequence(&mut region, from, end);
        (region.left, reached)
    }

    fn site(&mut self, at: usize, head: bool) -> usize {
        self.sites.push(Site { at, head, certain: 0, waste: 0 });
        self.sites.len() - 1
    }

    /// Plans a row of instructions; whether its end is reached.
    fn sequence(&mut self, region: &mut Region, mut at: usize, stop: usize) -> bool {
        let body = self.body;
        while at < stop {
            self.pay(region, at, self.costs[at]);
            let partner = body.partner(at);
            match &body.ops[at].operator {
                Operator::Block { .. } => {
                    self.labels.push(Label { end: partner, is_loop: false, first_branch: None });
                    let reached = self.sequence(region, at + 1, partner);
                    if !self.join(region, reached) {
                        return false;
                    }
                    at = partner;
                }
                Operator::Loop { .. } => {
                    self.labels.push(Label { end: partner, is_loop: true, first_branch: None });
                    let (left, reached) = self.region(at + 1, partner);
                    self.labels.pop();
                    if left > 0 {
                        region.leave(left);
                    }
                    if !reached {
                        return false;
                    }
                    at = partner;
                }
                Operator::If { .. } => {
                    let Some(end) = self.arms(region, at, partner) else { return false };
                    at = end;
                }
                Operator::BrIf { relative_depth } => self.branch(region, at, *relative_depth),
                Operator::Br { relative_depth } => {
                    self.branch(region, at, *relative_depth);
                    return false;
                }
                Operator::BrTable { targets } => {
                    for depth in targets.targets().map_while(Result::ok).chain([targets.default()]) {
                        self.branch(region, at, depth);
                    }
                    return false;
                }
                Operator::Return => {
                    self.branch(region, at, self.labels.len() as u32 - 1);
                    return false;
                }
                // Who traps has paid for what would have come; that is not worth a site behind each check of a bound.
                Operator::Unreachable => return false,
                _ => {}
            }
            at += 1;
        }
        true
    }

    /// Somebody goes to the label that is so many blocks out.
    fn branch(&mut self, region: &mut Region, at: usize, depth: u32) {
        let Some(index) = self.labels.len().checked_sub(depth as usize + 1) else { return };
        let label = &mut self.labels[index];
        if !label.is_loop {
            label.first_branch.get_or_insert(at);
        }
        region.leave(label.end);
    }

    /// The end of a block: whoever left for it is here again. Whether anybody is.
    fn join(&mut self, region: &mut Region, reached: bool) -> bool {
        let Some(label) = self.labels.pop() else { return reached };
        if let Some(first) = label.first_branch {
            // Sites after the first branch were passed by only some of those who are here.
            let kept = region.payers.iter().take_while(|payer| self.sites[payer.site].at <= first).count();
            region.payers.truncate(kept.max(1));
        }
        region.payers.iter_mut().filter(|payer| payer.until <= label.end).for_each(|payer| payer.until = 0);
        // Behind one that pays for certain nobody needs another.
        if let Some(sure) = region.payers.iter().position(|payer| payer.until == 0) {
            region.payers.truncate(sure + 1);
        }
        reached || label.first_branch.is_some()
    }

    /// Both arms of the `if` at `at`; returns its end, if that is reached.
    fn arms(&mut self, region: &mut Region, at: usize, partner: usize) -> Option<usize> {
        let has_else = matches!(self.body.ops[partner].operator, Operator::Else);
        let end = if has_else { self.body.partner(partner) } else { partner };
        self.labels.push(Label { end, is_loop: false, first_branch: None });
        let payers = region.payers.len();
        let waste = |planner: &Self, region: &Region| -> Vec<u64> {
            region.payers.iter().take(payers).map(|payer| planner.sites[payer.site].waste).collect()
        };
        let before = waste(self, region);
        region.leave(end);
        let mut reached = self.sequence(region, at + 1, partner);
        region.payers.truncate(payers);
        if has_else {
            let then = waste(self, region);
            for (payer, before) in region.payers.iter().zip(&before) {
                self.sites[payer.site].waste = *before;
            }
            reached |= self.sequence(region, partner + 1, end);
            region.payers.truncate(payers);
            // One of the arms is executed: the site pays for the dearer one.
            for (payer, then) in region.payers.iter().zip(then) {
                let site = &mut self.sites[payer.site];
                site.waste = site.waste.max(then);
            }
        } else {
            reached = true;
        }
        self.join(region, reached).then_some(end)
    }

    /// Finds somebody who pays for the instruction at `at`.
    fn pay(&mut self, region: &mut Region, at: usize, units: u64) {
        if units == 0 {
            return;
        }
        // A region has a payer at least: its head.
        let Some(payer) = region.payers.last() else { return };
        let site = &mut self.sites[payer.site];
        if payer.until == 0 {
            site.certain += units;
        } else if !self.exact && site.waste + units <= site.certain / 4 + ALLOWANCE {
            site.waste += units;
        } else {
            let site = self.site(at, false);
            self.sites[site].certain = units;
            region.payers.push(Payer { site, until: 0 });
        }
    }
}
