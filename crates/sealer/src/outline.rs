//! A function as far as its ways are concerned: where they part and meet, and what straight code between costs.
//!
//! Most instructions of a function neither branch nor begin or end a block. Whoever plans goes through the function several
//! times, so a row of these is one step here.

use manyhands_verifier::token::Kind;

use crate::body::Body;

/// The steps of a function.
pub(crate) struct Outline<'a, 'b> {
    pub(crate) body: &'b Body<'a>,
    /// The units of each instruction.
    pub(crate) costs: &'b [u64],
    steps: Vec<Step>,
}

/// An instruction of control, or a row of others. Who owes something pays it before the first that costs anything, or before a call, so
/// a row begins with each of these.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    /// The instruction, or the first of the row.
    pub(crate) kind: Kind,
    /// Its place in the function.
    pub(crate) place: u32,
    /// For each `block`, `loop`, `if` and `else`, the step of its `else` or `end`; for each `end`, the one with which its block begins; for
    /// others itself.
    partner: u32,
    /// Whether it is ever reached.
    pub(crate) live: bool,
    /// Units of all of it.
    pub(crate) cost: u64,
}

/// Whether an instruction begins, ends or leaves a block, or is the last.
pub(crate) fn is_control(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Block(_)
            | Kind::Loop(_)
            | Kind::If(_)
            | Kind::Else
            | Kind::End
            | Kind::Br(_)
            | Kind::BrIf(_)
            | Kind::BrTable(_)
            | Kind::Return
            | Kind::Unreachable
    )
}

impl<'a, 'b> Outline<'a, 'b> {
    /// The outline of a function whose instructions have these costs.
    pub(crate) fn of(body: &'b Body<'a>, costs: &'b [u64]) -> Self {
        let mut steps: Vec<Step> = Vec::new();
        // Where each open block begins, and its last arm.
        let mut open: Vec<(usize, usize)> = Vec::new();
        // Whether the last step is a row that may go on.
        let mut row = false;
        for ((place, token), (cost, live)) in body.tokens.all.iter().enumerate().zip(costs.iter().zip(&body.live)) {
            let at = steps.len();
            let mut partner = at;
            let was_row = std::mem::replace(&mut row, false);
            match token.kind {
                Kind::Block(_) | Kind::Loop(_) | Kind::If(_) => open.push((at, at)),
                Kind::Else => {
                    if let Some((_, arm)) = open.last_mut() {
                        steps[*arm].partner = at as u32;
                        *arm = at;
                    }
                }
                Kind::End => {
                    if let Some((begin, arm)) = open.pop() {
                        steps[arm].partner = at as u32;
                        partner = begin;
                    }
                }
                kind if is_control(kind) => {}
                kind => {
                    row = true;
                    let begins = matches!(kind, Kind::Call(_) | Kind::CallIndirect(_));
                    if let Some(last) =
                        steps.last_mut().filter(|last| was_row && !begins && (last.cost > 0 || *cost == 0))
                    {
                        last.cost += cost;
                        continue;
                    }
                }
            }
            steps.push(Step {
                kind: token.kind,
                place: place as u32,
                partner: partner as u32,
                live: *live,
                cost: *cost,
            });
        }
        Self { body, costs, steps }
    }

    /// All steps, the last `end` among them.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Where the `else` or `end` of the block that begins at `at` is, or where the block begins that ends there.
    pub(crate) fn partner(&self, at: usize) -> usize {
        self.steps[at].partner as usize
    }

    /// The instruction at `at`, or the first of the row.
    pub(crate) fn kind(&self, at: usize) -> Kind {
        self.steps[at].kind
    }

    /// The place in the function of what is at `at`.
    pub(crate) fn place(&self, at: usize) -> usize {
        self.steps[at].place as usize
    }

    /// How many steps there are.
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Where a `br_table` goes.
    pub(crate) fn targets(&self, table: u32) -> impl Iterator<Item = u32> + use<'a> {
        self.body.tokens.targets(table)
    }
}
