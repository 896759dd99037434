//! A function's body as the passes see it: its instructions, and which of them are ever reached.

use manyhands_verifier::Malformed;
use manyhands_verifier::token::{Kind, Tokens};
use wasmparser::{FunctionBody, ValType};

/// A function that is defined in the module.
#[derive(Default)]
pub(crate) struct Body<'a> {
    /// How many parameters and declared locals it has.
    pub(crate) locals: u32,
    /// Whether any of them is a vector.
    pub(crate) vectors: bool,
    /// Instructions, the last `end` among them.
    pub(crate) tokens: Tokens<'a>,
    /// Whether each is ever reached, as far as its place tells.
    pub(crate) live: Vec<bool>,
    /// Blocks that are open while it is read.
    blocks: Vec<Block>,
}

struct Block {
    is_loop: bool,
    /// Whether somebody branches to its end.
    joined: bool,
    /// Whether an `if` is reached that has no `else` so far.
    otherwise: bool,
}

impl<'a> Body<'a> {
    #[cfg(test)]
    pub(crate) fn read(params: &[ValType], body: &FunctionBody<'a>) -> Result<Self, Malformed> {
        let mut read = Self::default();
        read.read_again(params, body)?;
        Ok(read)
    }

    /// Reads another function, with the memory that is there.
    pub(crate) fn read_again(&mut self, params: &[ValType], body: &FunctionBody<'a>) -> Result<(), Malformed> {
        self.tokens.read_again(body)?;
        // The check has counted them.
        self.locals = params.len() as u32 + self.tokens.locals;
        self.vectors = self.tokens.vectors || params.contains(&ValType::V128);
        self.reach();
        Ok(())
    }

    /// The instruction at `at`.
    pub(crate) fn kind(&self, at: usize) -> Kind {
        self.tokens.all[at].kind
    }

    /// Finds which instructions are reached: not those behind one that never goes on, up to where somebody branches to.
    fn reach(&mut self) {
        let Self { tokens, live: reached, blocks, .. } = self;
        blocks.clear();
        blocks.push(Block { is_loop: false, joined: false, otherwise: false });
        reached.clear();
        reached.reserve(tokens.all.len());
        let mut live = true;
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
                Kind::BrIf(relative_depth) => join(blocks, relative_depth),
                Kind::Br(relative_depth) => {
                    join(blocks, relative_depth);
                    live = false;
                }
                Kind::BrTable(table) => {
                    for depth in tokens.targets(table) {
                        join(blocks, depth);
                    }
                    live = false;
                }
                Kind::Return | Kind::Unreachable => live = false,
                _ => {}
            }
            // An `end` or `else` is where those meet who come by it.
            reached.push(if matches!(token.kind, Kind::End | Kind::Else) { live } else { was_live });
        }
    }
}
