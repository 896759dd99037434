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
        Ok(Self { locals, ops, partner })
    }

    /// Where the `else` or `end` of the block that begins at `at` is.
    pub(crate) fn partner(&self, at: usize) -> usize {
        self.partner[at] as usize
    }
}
