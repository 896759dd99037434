//! Where fuel is charged, and how much.
//!
//! A *site* is a place at which a sum is charged: the entry of the function, the head of a loop (once an iteration, or all of them together
//! before it), or a place inside. Who passes a site pays for the cheapest way on from there, up to the end of the function or of the
//! iteration: so much is executed for certain. Who takes a dearer way owes the difference. With a small allowance, all who pass the
//! site pay that as well; what is more is paid at a site of its own, behind the branch. So a module pays at least what it executes, and little
//! more.
//!
//! The end of a block may be a *cut*: some of what comes behind it is paid there, and by nobody before. That is so where some who meet would
//! have paid for it and others not.

use std::collections::BTreeMap;

use manyhands_verifier::cost;
use manyhands_verifier::token::Kind;

use crate::ahead::{Due, ahead};
use crate::body::Body;
use crate::counted::{Counted, counted};
use crate::outline::{Outline, is_control};
use crate::tighten::tighten;

/// What a site may charge for code that is executed only perhaps: this part of what is for certain, and so many units.
const ALLOWANCE_PART: u64 = 8;
const ALLOWANCE: u64 = 24;
/// In a loop it adds up with each iteration.
const ALLOWANCE_IN_LOOPS: u64 = 14;

/// The most sites that are remembered in case they may pay again where paths meet; each branch goes through them.
const PAYERS_MAX: usize = 16;

/// How far from a call something may be paid for at the call.
const CALL_AHEAD_MAX: usize = 12;

/// How often a function is gone through to find its cuts. With fewer of them somebody pays more, and nobody less.
const ROUNDS_MAX: usize = 4;

/// A place at which fuel is charged, before the instruction at `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    /// While it is planned, a step of the outline.
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
/// `costs` has the units of each instruction.
pub(crate) fn plan(body: &Body<'_>, costs: &[u64]) -> Vec<Site> {
    // Without ways that part, which small functions have not, there is nothing to plan.
    let last = body.tokens.all.len() - 1;
    if !body.tokens.all[..last].iter().any(|token| is_control(token.kind)) {
        let units = costs.iter().sum();
        return vec![Site { at: 0, head: false, counted: None, units, certain: units }];
    }
    let outline = Outline::of(body, costs);
    let mut cuts = BTreeMap::new();
    let mut sites = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let mut planner = Planner::of(&outline, &cuts);
        planner.function();
        sites = planner.sites;
        if planner.uneven.is_empty() {
            break;
        }
        for (end, units) in planner.uneven {
            *cuts.entry(end).or_default() += units;
        }
    }
    sites.sort_by_key(|site| site.at);
    tighten(&outline, &mut sites);
    sites.retain(|site| site.units > 0 || site.head || site.at == 0);
    for at in 0..sites.len() {
        // What else is charged in a loop is charged in some iterations only.
        let end = outline.partner(sites[at].at.saturating_sub(1));
        if sites[at].units > cost::COUNTED_MAX || sites.get(at + 1).is_some_and(|next| next.at < end) {
            sites[at].counted = None;
        }
    }
    sites.iter_mut().for_each(|site| site.at = outline.place(site.at));
    sites
}

/// The same, with nothing planned: each straight piece of code pays for itself, and for nothing else. So what is charged is what
/// is executed, and a plan can be compared with it.
pub(crate) fn count(body: &Body<'_>, costs: &[u64]) -> Vec<Site> {
    let site = |at, head| Site { at, head, counted: None, units: 0, certain: 0 };
    let mut sites = vec![site(0, false)];
    for (at, cost) in costs.iter().enumerate() {
        if let Some(piece) = sites.last_mut() {
            piece.units += cost;
        }
        match body.kind(at) {
            Kind::Loop(_) => sites.push(site(at + 1, body.live[at])),
            Kind::If(_) | Kind::Else | Kind::End | Kind::Br(_) | Kind::BrIf(_) | Kind::BrTable(_) => {
                sites.push(site(at + 1, false));
            }
            Kind::Return | Kind::Unreachable => sites.push(site(at + 1, false)),
            _ => {}
        }
    }
    sites.retain(|site| site.units > 0 || site.head || site.at == 0);
    sites
}

struct Planner<'a, 'b> {
    outline: &'b Outline<'a, 'b>,
    /// For each step, what the cheapest way on from there costs.
    ahead: Vec<Due>,
    sites: Vec<Site>,
    /// Of all open blocks, the function first.
    labels: Vec<Label>,
    /// Ends of blocks where some owe so much more than others, and none can pay it before.
    uneven: BTreeMap<usize, u64>,
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
    /// Labels outside to which somebody goes, in order.
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

impl<'a, 'b> Planner<'a, 'b> {
    fn of(outline: &'b Outline<'a, 'b>, cuts: &BTreeMap<usize, u64>) -> Self {
        let labels = vec![Label { end: outline.len() - 1, arrivals: None }];
        let ahead = ahead(outline, cuts);
        Self { outline, ahead, sites: Vec::new(), labels, uneven: BTreeMap::new() }
    }

    /// Goes through the function. Blocks may nest deeply, so what is open stands in a list and not on the stack.
    fn function(&mut self) {
        let mut region = self.region(0);
        let mut open: Vec<Open> = Vec::new();
        let mut at = 0;
        loop {
            let outline = self.outline;
            let partner = outline.partner(at);
            // Whether the next instruction is reached from this one.
            let mut reached = true;
            self.pay(&mut region, at);
            // What the cheapest way on costs, for who comes from here.
            let cheapest = self.ahead[at].less(outline.steps()[at].cost);
            match outline.kind(at) {
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
                    let otherwise = matches!(outline.kind(partner), Kind::Else).then_some(partner);
                    let end = otherwise.map_or(partner, |otherwise| outline.partner(otherwise));
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
                    let mut targets: Vec<u32> = outline.targets(table).collect();
                    targets.sort_unstable();
                    targets.dedup();
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
                if inner.left.iter().all(|label| self.ahead[self.labels[*label].end + 1].is_doomed()) {
                    let head = inner.payers.first().map(|payer| &mut self.sites[payer.site]);
                    let [begin, end] = [at, end].map(|at| self.outline.place(at));
                    head.into_iter().for_each(|head| head.counted = counted(self.outline.body, begin, end));
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
                    self.arrive(self.outline.partner(end), region);
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
            label.arrive(at, &region.payers, region.debt.and(self.ahead[label.end].beyond(cheapest)));
        } else if index < region.label
            && let Err(place) = region.left.binary_search(&index)
        {
            region.left.insert(place, index);
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
        region.debt = region.debt.and(self.ahead[label.end + 1].beyond(self.ahead[label.end]));
        reached || label.arrivals.is_some()
    }

    /// Somebody goes to the end of the innermost block.
    fn arrive(&mut self, at: usize, region: &Region) {
        if let Some(label) = self.labels.last_mut() {
            label.arrive(at, &region.payers, region.debt);
        }
    }

    /// Before anything is done at `at`, somebody pays for what is owed.
    fn pay(&mut self, region: &mut Region, at: usize) {
        if self.outline.steps()[at].cost == 0 || region.debt.most == 0 {
            return;
        }
        let debt = std::mem::take(&mut region.debt);
        // A region has a payer at least: its head.
        let Some(payer) = region.payers.last_mut() else { return };
        let call = self.call_ahead(at);
        let site = &mut self.sites[payer.site];
        let besides = if region.label > 0 { ALLOWANCE_IN_LOOPS } else { ALLOWANCE };
        let allowance = site.certain / ALLOWANCE_PART + besides;
        if payer.perhaps + debt.most <= allowance {
            payer.perhaps += debt.most;
            site.units = site.units.max(site.certain + payer.perhaps);
            return;
        }
        if debt.most > debt.least {
            self.uneven.insert(debt.met, debt.most - debt.least);
        }
        let place = match call {
            Some((call, units)) if payer.perhaps + units <= allowance => {
                payer.perhaps += units;
                site.units = site.units.max(site.certain + payer.perhaps);
                call
            }
            _ => at,
        };
        let site = self.site(place, false);
        if region.payers.len() == PAYERS_MAX {
            region.payers.pop();
        }
        region.payers.push(Payer { site, perhaps: 0 });
    }
}

impl Planner<'_, '_> {
    /// The next call, if nothing but a few instructions comes before it, and what those cost. The meter is at hand there in any case.
    fn call_ahead(&self, at: usize) -> Option<(usize, u64)> {
        let Outline { body, costs, .. } = self.outline;
        let mut units = 0;
        for place in (self.outline.place(at)..body.tokens.all.len()).take(CALL_AHEAD_MAX) {
            match body.kind(place) {
                // It is this step or the next.
                Kind::Call(_) | Kind::CallIndirect(_) => {
                    return Some((at + usize::from(place > self.outline.place(at)), units));
                }
                Kind::Plain | Kind::Vector | Kind::GlobalGet(_) => {}
                Kind::LocalGet(_) | Kind::LocalSet(_) | Kind::LocalTee(_) => {}
                Kind::I32Const(_) | Kind::I64Const(_) => {}
                Kind::I32Add | Kind::I32Sub | Kind::I64Add | Kind::I64Sub => {}
                _ => return None,
            }
            units += costs[place];
        }
        None
    }
}

impl Label {
    fn arrive(&mut self, at: usize, payers: &[Payer], debt: Debt) {
        let perhaps = payers.iter().map(|payer| payer.perhaps);
        match &mut self.arrivals {
            None => self.arrivals = Some(Arrivals { first: at, perhaps: perhaps.collect(), debt }),
            Some(arrivals) => {
                // Payers that both passed stand in the same places.
                arrivals.perhaps.truncate(payers.len());
                arrivals.perhaps.iter_mut().zip(perhaps).for_each(|(most, its)| *most = (*most).max(its));
                arrivals.debt = arrivals.debt.or(debt, self.end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use manyhands_verifier::module::Module;

    use super::*;

    #[test]
    fn an_exact_count_charges_each_straight_piece_at_its_beginning() {
        let text = "(module (func (param i32) (result i32)
            (block (br_if 0 (local.get 0))
              (drop (i32.mul (local.get 0) (local.get 0))))
            (loop (br_if 0 (i32.eqz (local.get 0))))
            (if (local.get 0) (then (drop (i32.div_u (local.get 0) (local.get 0)))) (else (return (i32.const 1))))
            (i32.add (local.get 0) (i32.const 1))))";
        let module = wat::parse_str(text).expect("the test's own text is WebAssembly");
        let module = Module::read(&module).expect("is read");
        let body = Body::read(&[wasmparser::ValType::I32], &module.bodies[0]).expect("is read");
        let costs: Vec<u64> = body.tokens.all.iter().map(|token| u64::from(token.cost)).collect();
        let pieces = count(&body, &costs).into_iter().map(|site| (body.kind(site.at), site.head, site.units));
        let (got, one) = (Kind::LocalGet(0), Kind::I32Const(1));
        let expected = [
            (body.kind(0), false, 6), // Up to the first branch.
            (got, false, 4),          // The product, for who did not take it.
            (got, true, 10),          // Each iteration.
            (got, false, 8),          // The `if`.
            (got, false, 45),         // Its first arm.
            (one, false, 3),          // Its second.
            (got, false, 1),          // The sum.
        ];
        assert_eq!(pieces.collect::<Vec<_>>(), expected);
    }
}
