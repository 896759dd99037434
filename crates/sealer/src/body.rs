//! A function's body as the passes see it: its instructions, where each begins, and where each block ends.

use wasmparser::{BinaryReaderError, FunctionBody, Operator, ValType};

/// One instruction.
pub(crate) struct Op<'a> {
    pub(crate) operator: Operator<'a>,
    /// Its first byte in the module.
    pub(crate) offset: usize,
}

/// A function that is defined in the module.
pub(crate) struct Body<'a> {
    /// Parameters, then declared locals.
    pub(crate) locals: Vec<ValType>,
    /// Instructions, the last `end` among them.
    pub(crate) ops: Vec<Op<'a>>,
    /// For each `block`, `loop`, `if` and `else`, where its `else` or `end` is; for others itself.
    pub(crate) partner: Vec<u32>,
    /// Whether each is ever reached, as far as its place tells.
    pub(crate) live: Vec<bool>,
}

impl<'a> Body<'a> {
    pub(crate) fn read(params: &[ValType], body: &FunctionBody<'a>) -> Result<Self, BinaryReaderError> {
        let mut locals = params.to_vec();
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            // The check has counted them.
            locals.extend(std::iter::repeat_n(ty, count as usize));
        }
        let mut ops = Vec::with_capacity(body.range().len() / 2);
        let mut partner = Vec::with_capacity(ops.capacity());
        let mut open: Vec<usize> = Vec::new();
        let mut reader = body.get_operators_reader()?;
        while !reader.eof() {
            let (operator, offset) = reader.read_with_offset()?;
            let at = ops.len();
            partner.push(at as u32);
            match operator {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => open.push(at),
                Operator::Else => {
                    if let Some(opened) = open.last_mut() {
                        partner[*opened] = at as u32;
                        *opened = at;
                    }
                }
                Operator::End => {
                    if let Some(opened) = open.pop() {
                        partner[opened] = at as u32;
                    }
                }
                _ => {}
            }
            ops.push(Op { operator, offset });
        }
        let live = reached(&ops);
        Ok(Self { locals, ops, partner, live })
    }

    /// Where the `else` or `end` of the block that begins at `at` is.
    pub(crate) fn partner(&self, at: usize) -> usize {
        self.partner[at] as usize
    }
}

/// Which instructions are reached: not those behind one that never goes on, up to where somebody branches to.
fn reached(ops: &[Op<'_>]) -> Vec<bool> {
    struct Block {
        is_loop: bool,
        /// Whether somebody branches to its end.
        joined: bool,
        /// Whether an `if` is reached that has no `else` so far.
        otherwise: bool,
    }
    let mut blocks = vec![Block { is_loop: false, joined: false, otherwise: false }];
    let mut live = true;
    let mut reached = Vec::with_capacity(ops.len());
    let join = |blocks: &mut Vec<Block>, depth: u32| {
        if let Some(at) = blocks.len().checked_sub(depth as usize + 1).filter(|at| !blocks[*at].is_loop) {
            blocks[at].joined = true;
        }
    };
    for op in ops {
        let was_live = live;
        match &op.operator {
            Operator::Block { .. } => blocks.push(Block { is_loop: false, joined: false, otherwise: false }),
            Operator::Loop { .. } => blocks.push(Block { is_loop: true, joined: false, otherwise: false }),
            Operator::If { .. } => blocks.push(Block { is_loop: false, joined: false, otherwise: live }),
            Operator::Else => {
                if let Some(block) = blocks.last_mut() {
                    block.joined |= live;
                    live = std::mem::take(&mut block.otherwise);
                }
            }
            Operator::End => {
                if let Some(block) = blocks.pop() {
                    live |= block.joined | block.otherwise;
                }
            }
            _ if !live => {}
            Operator::BrIf { relative_depth } => join(&mut blocks, *relative_depth),
            Operator::Br { relative_depth } => {
                join(&mut blocks, *relative_depth);
                live = false;
            }
            Operator::BrTable { targets } => {
                for depth in targets.targets().map_while(Result::ok).chain([targets.default()]) {
                    join(&mut blocks, depth);
                }
                live = false;
            }
            Operator::Return | Operator::Unreachable => live = false,
            _ => {}
        }
        // An `end` or `else` is where those meet who come by it.
        reached.push(if matches!(op.operator, Operator::End | Operator::Else) { live } else { was_live });
    }
    reached
}
