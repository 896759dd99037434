//! Where fuel is charged, and how much.
//!
//! A *site* is a place at which a sum is charged: the entry of the function, the head of a loop (once an iteration, or all of them together
//! before it), or a place inside. Who passes a site pays for the cheapest way on from there, up to the end of the function or of the
//! iteration: so much is executed for certain. Who takes a dearer way owes the difference. With a small allowance, all who pass the
//! site pay that as well; what is more is paid at a site of its own, behind the branch. So a module pays at least what it executes, and little
//! more; without the allowance, exactly that.
//!
//! The end of a block may be a *cut*: what comes behind it is paid for there, and by nobody before. That is so where some who meet have paid
//! for it and others have not.

use std::collections::BTreeSet;

use manyhands_verifier::cost;
use manyhands_verifier::token::Kind;

use crate::ahead::{Due, ahead};
use crate::body::Body;
use crate::counted::{Counted, counted};
use crate::tighten::tighten;

/// What a site may charge for code that is executed only perhaps: this part of what is for certain, and so many units.
const ALLOWANCE_PART: u64 = 8;
const ALLOWANCE: u64 = 24;
/// In a loop it adds up with each iteration.
const ALLOWANCE_IN_LOOPS: u64 = 14;

/// The most sites that are remembered in case they may pay again where paths meet; each branch goes through them.
const PAYERS_MAX: usize = 16;

/// How often a function is gone through to find its cuts. With fewer of them somebody pays more, and nobody less.
const ROUNDS_MAX: usize = 4;

/// A place at which fuel is charged, before the instruction at `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) at: usize,
    /// Whether it is the head of a loop.
    pub(crate) head: bool,
    /// How often that goes round, if it is known before. Then it is charged before the loop, with `units` for each iteration.
    pub(crate) counted: Option<Counted>,
    /// Units for what it pays for.
    pub(crate) units: u64,
    /// Units for what everybody executes who passes it.
    certain: u64,
}

/// The sites of a function, in the order of their places; the entry and heads of loops are there even if they charge nothing.
/// `costs` has the units of each instruction; `exact` leaves out the allowance.
pub(crate) fn plan(body: &Body<'_>, costs: &[u64], exact: bool) -> Vec<Site> {
    let mut cuts = BTreeSet::new();
    let mut sites = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let mut planner = Planner::of(body, costs, &cuts, exact);
        planner.function();
        sites = planner.sites;
        let known = cuts.len();
        cuts.append(&mut planner.uneven);
        if cuts.len() == known {
            break;
        }
    }
    sites.sort_by_key(|site| site.at);
    tighten(body, costs, &mut sites);
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

struct Planner<'a, 'b> {
    body: &'b Body<'a>,
    costs: &'b [u64],
    cuts: &'b BTreeSet<usize>,
    exact: bool,
    /// For each place, what the cheapest way on from there costs.
    ahead: Vec<Due>,
    sites: Vec<Site>,
    /// Of all open blocks, the function first.
    labels: Vec<Label>,
    /// Ends of blocks where some owe more than others, and none can pay it before.
    uneven: BTreeSet<usize>,
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
    /// What the dearest of them owes, and the cheapest.
    debt: Debt,
}

/// A site that pays for what comes, since all that comes passes it.
#[derive(Clone, Copy)]
struct Payer {
    site: usize,
    /// What it paid on the way here for what is executed only perhaps.
    perhaps: u64,
}

/// What those who come to a place owe: more than was charged for the cheapest way there.
#[derive(Clone, Copy, Default)]
struct Debt {
    most: u64,
    least: u64,
    /// The end of a block where some met who owed more than others.
    met: usize,
}

impl Debt {
    fn and(self, more: u64) -> Self {
        Self { most: self.most + more, least: self.least + more, ..self }
    }

    fn or(self, other: Self, met: usize) -> Self {
        let (most, least) = (self.most.max(other.most), self.least.min(other.least));
        let (was, is) = (self.most - self.least, most - least);
        Self { most, least, met: if is > was { met } else { self.met.max(other.met) } }
    }
}

/// The function, or the body of a loop, without the loops in it: what is executed at most once for each passing of its head.
struct Region {
    /// Each came where the one before did not pay. The first is the head.
    payers: Vec<Payer>,
    debt: Debt,
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
        /// Who pays for the other arm, and what is owed there.
        payers: Vec<Payer>,
        debt: Debt,
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
    fn perhaps(&self) -> Vec<u64> {
        self.payers.iter().map(|payer| payer.perhaps).collect()
    }
}

impl<'a, 'b> Planner<'a, 'b> {
    fn of(body: &'b Body<'a>, costs: &'b [u64], cuts: &'b BTreeSet<usize>, exact: bool) -> Self {
        let labels = vec![Label { end: body.len() - 1, arrivals: None }];
        let ahead = ahead(body, costs, cuts, exact);
        Self { body, costs, cuts, exact, ahead, sites: Vec::new(), labels, uneven: BTreeSet::new() }
    }

    /// Goes through the function. Blocks may nest deeply, so what is open stands in a list and not on the stack.
    fn function(&mut self) {
        let mut region = self.region(0);
        let mut open: Vec<Open> = Vec::new();
        let mut at = 0;
        loop {
            let body = self.body;
            let partner = body.partner(at);
            // Whether the next instruction is reached from this one.
            let mut reached = true;
            self.pay(&mut region, at);
            // What the cheapest way on costs, for who comes from here.
            let cheapest = self.ahead[at].less(self.costs[at]);
            match body.kind(at) {
                Kind::Block(_) => {
                    self.labels.push(Label { end: partner, arrivals: None });
                    open.push(Open::Block { end: partner });
                }
                Kind::Loop(_) => {
                    self.labels.push(Label { end: partner, arrivals: None });
                    let inner = self.region(at + 1);
                    open.push(Open::Loop { at, end: partner, outer: std::mem::replace(&mut region, inner) });
                }
                Kind::If(_) => {
                    let otherwise = matches!(body.kind(partner), Kind::Else).then_some(partner);
                    let end = otherwise.map_or(partner, |otherwise| body.partner(otherwise));
                    self.labels.push(Label { end, arrivals: None });
                    let (payers, debt) = (region.payers.clone(), region.debt);
                    let other = match otherwise {
                        Some(otherwise) => self.ahead[otherwise + 1],
                        None => self.ahead[end],
                    };
                    region.debt = debt.and(other.beyond(cheapest));
                    if otherwise.is_none() {
                        self.arrive(at, &region);
                    }
                    open.push(Open::Then { payers, debt: region.debt, otherwise, end });
                    region.debt = debt.and(self.ahead[at + 1].beyond(cheapest));
                }
                Kind::BrIf(relative_depth) => {
                    self.branch(&mut region, at, relative_depth, cheapest);
                    region.debt = region.debt.and(self.ahead[at + 1].beyond(cheapest));
                }
                Kind::Br(relative_depth) => {
                    self.branch(&mut region, at, relative_depth, cheapest);
                    reached = false;
                }
                Kind::BrTable(table) => {
                    // Nobody arrives twice.
                    let targets: BTreeSet<u32> = body.tokens.targets(table).collect();
                    for depth in targets {
                        self.branch(&mut region, at, depth, cheapest);
                    }
                    reached = false;
                }
                Kind::Return => {
                    self.branch(&mut region, at, self.labels.len() as u32 - 1, cheapest);
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
    fn region(&mut self, from: usize) -> Region {
        let site = self.site(from, from > 0);
        let payers = vec![Payer { site, perhaps: 0 }];
        Region { payers, debt: Debt::default(), label: self.labels.len() - 1, left: Vec::new() }
    }

    fn site(&mut self, at: usize, head: bool) -> usize {
        let certain = self.ahead[at].units();
        self.sites.push(Site { at, head, counted: None, units: certain, certain });
        self.sites.len() - 1
    }

    /// The innermost block, or the first arm of an `if`, comes to its end, `reached` by those inside. Whether what
    /// follows is reached; `None` at the end of the function.
    fn close(&mut self, region: &mut Region, open: &mut Vec<Open>, reached: bool) -> Option<bool> {
        match open.pop()? {
            Open::Loop { at, end, outer } => {
                let inner = std::mem::replace(region, outer);
                self.labels.pop();
                // Who leaves early would have paid too much, but for who traps then.
                if !self.exact && inner.left.iter().all(|label| self.ahead[self.labels[*label].end + 1].is_doomed()) {
                    let head = inner.payers.first().map(|payer| &mut self.sites[payer.site]);
                    head.into_iter().for_each(|head| head.counted = counted(self.body, at));
                }
                let cheapest = self.ahead[at];
                for label in inner.left {
                    self.go(region, at, label, cheapest);
                }
                region.debt = region.debt.and(self.ahead[end + 1].beyond(cheapest));
                Some(reached)
            }
            Open::Then { payers, debt, otherwise: Some(_), end } => {
                if reached {
                    self.arrive(self.body.partner(end), region);
                }
                // The other arm is as if this one were not there.
                (region.payers, region.debt) = (payers, debt);
                open.push(Open::Block { end });
                Some(true)
            }
            Open::Block { .. } | Open::Then { .. } => Some(self.join(region, reached)),
        }
    }

    /// Somebody goes to the label that is so many blocks out.
    fn branch(&mut self, region: &mut Region, at: usize, depth: u32, cheapest: Due) {
        if let Some(label) = self.labels.len().checked_sub(depth as usize + 1) {
            self.go(region, at, label, cheapest);
        }
    }

    fn go(&mut self, region: &mut Region, at: usize, index: usize, cheapest: Due) {
        let label = &mut self.labels[index];
        if index > region.label {
            label.arrive(at, region.perhaps(), region.debt.and(self.ahead[label.end].beyond(cheapest)));
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
            region.debt = if reached { region.debt.or(arrivals.debt, label.end) } else { arrivals.debt };
        }
        let joined = reached || label.arrivals.is_some();
        if self.cuts.contains(&label.end) && joined {
            region.debt = region.debt.and(self.ahead[label.end + 1].units());
        }
        joined
    }

    /// Somebody goes to the end of the innermost block.
    fn arrive(&mut self, at: usize, region: &Region) {
        if let Some(label) = self.labels.last_mut() {
            label.arrive(at, region.perhaps(), region.debt);
        }
    }

    /// Before anything is done at `at`, somebody pays for what is owed.
    fn pay(&mut self, region: &mut Region, at: usize) {
        if self.costs[at] == 0 || region.debt.most == 0 {
            return;
        }
        let debt = std::mem::take(&mut region.debt);
        // A region has a payer at least: its head.
        let Some(payer) = region.payers.last_mut() else { return };
        let site = &mut self.sites[payer.site];
        let besides = if region.label > 0 { ALLOWANCE_IN_LOOPS } else { ALLOWANCE };
        let allowance = site.certain / ALLOWANCE_PART + besides;
        if !self.exact && payer.perhaps + debt.most <= allowance {
            payer.perhaps += debt.most;
            site.units = site.units.max(site.certain + payer.perhaps);
            return;
        }
        if debt.most > debt.least {
            self.uneven.insert(debt.met);
        }
        let site = self.site(at, false);
        if region.payers.len() == PAYERS_MAX {
            region.payers.pop();
        }
        region.payers.push(Payer { site, perhaps: 0 });
    }
}

impl Label {
    fn arrive(&mut self, at: usize, perhaps: Vec<u64>, debt: Debt) {
        match &mut self.arrivals {
            None => self.arrivals = Some(Arrivals { first: at, perhaps, debt }),
            Some(arrivals) => {
                // Payers that both passed stand in the same places.
                arrivals.perhaps.truncate(perhaps.len());
                arrivals.perhaps.iter_mut().zip(perhaps).for_each(|(most, its)| *most = (*most).max(its));
                arrivals.debt = arrivals.debt.or(debt, self.end);
            }
        }
    }
}
