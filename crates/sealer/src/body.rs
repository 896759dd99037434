//! A function's body as the passes see it: its instructions, where each begins, and where each block ends.

use manyhands_verifier::Malformed;
use manyhands_verifier::token::{Kind, Token, Tokens};
use wasmparser::{FunctionBody, ValType};

/// A function that is defined in the module.
pub(crate) struct Body<'a> {
    /// How many parameters and declared locals it has.
    pub(crate) locals: u32,
    /// Whether any of them is a vector.
    pub(crate) vectors: bool,
    /// Instructions, the last `end` among them.
    pub(crate) tokens: Tokens<'a>,
    /// For each `block`, `loop`, `if` and `else`, where its `else` or `end` is; for each `end`, where its block begins; for others
    /// itself.
    pub(crate) partner: Vec<u32>,
    /// Whether each is ever reached, as far as its place tells.
    pub(crate) live: Vec<bool>,
}

impl<'a> Body<'a> {
    pub(crate) fn read(params: &[ValType], body: &FunctionBody<'a>) -> Result<Self, Malformed> {
        let tokens = Tokens::read(body)?;
        // The check has counted them.
        let locals = params.len() as u32 + tokens.locals;
        let vectors = tokens.vectors || params.contains(&ValType::V128);
        let (partner, live) = (partners(&tokens.all), reached(&tokens));
        Ok(Self { locals, vectors, tokens, partner, live })
    }

    /// Where the `else` or `end` of the block that begins at `at` is, or where the block begins that ends there.
    pub(crate) fn partner(&self, at: usize) -> usize {
        self.partner[at] as usize
    }

    /// The instruction at `at`.
    pub(crate) fn kind(&self, at: usize) -> Kind {
        self.tokens.all[at].kind
    }

    /// How many instructions there are.
    pub(crate) fn len(&self) -> usize {
        self.tokens.all.len()
    }
}

fn partners(tokens: &[Token]) -> Vec<u32> {
    let mut partners: Vec<u32> = (0..tokens.len() as u32).collect();
    // Where each open block begins, and its last arm.
    let mut open: Vec<(usize, usize)> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Block(_) | Kind::Loop(_) | Kind::If(_) => open.push((at, at)),
            Kind::Else => {
                if let Some((_, arm)) = open.last_mut() {
                    partners[*arm] = at as u32;
                    *arm = at;
                }
            }
            Kind::End => {
                if let Some((begin, arm)) = open.pop() {
                    partners[arm] = at as u32;
                    partners[at] = begin as u32;
                }
            }
            _ => {}
        }
    }
    partners
}

/// Which instructions are reached: not those behind one that never goes on, up to where somebody branches to.
fn reached(tokens: &Tokens<'_>) -> Vec<bool> {
    struct Block {
        is_loop: bool,
        /// Whether somebody branches to its end.
        joined: bool,
        /// Whether an `if` is reached that has no `else` so far.
        otherwise: bool,
    }
    let mut blocks = vec![Block { is_loop: false, joined: false, otherwise: false }];
    let mut live = true;
    let mut reached = Vec::with_capacity(tokens.all.len());
    let join = |blocks: &mut Vec<Block>, depth: u32| {
        if let Some(at) = blocks.len().checked_sub(depth as usize + 1).filter(|at| !blocks[*at].is_loop) {
            blocks[at].joined = true;
        }
    };
    for token in &tokens.all {
        let was_live = live;
        match token.kind {
            Kind::Block(_) => blocks.push(Block { is_loop: false, joined: false, otherwise: false }),
            Kind::Loop(_) => blocks.push(Block { is_loop: true, joined: false, otherwise: false }),
            Kind::If(_) => blocks.push(Block { is_loop: false, joined: false, otherwise: live }),
            Kind::Else => {
                if let Some(block) = blocks.last_mut() {
                    block.joined |= live;
                    live = std::mem::take(&mut block.otherwise);
                }
            }
            Kind::End => {
                if let Some(block) = blocks.pop() {
                    live |= block.joined | block.otherwise;
                }
            }
            _ if !live => {}
            Kind::BrIf(relative_depth) => join(&mut blocks, relative_depth),
            Kind::Br(relative_depth) => {
                join(&mut blocks, relative_depth);
                live = false;
            }
            Kind::BrTable(table) => {
                for depth in tokens.targets(table) {
                    join(&mut blocks, depth);
                }
                live = false;
            }
            Kind::Return | Kind::Unreachable => live = false,
            _ => {}
        }
        // An `end` or `else` is where those meet who come by it.
        reached.push(if matches!(token.kind, Kind::End | Kind::Else) { live } else { was_live });
    }
    reached
}
