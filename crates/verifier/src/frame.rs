//! How much stack a call takes.
//!
//! The unit is 16 bytes of a model: 64 bytes for a call, 24 for each parameter, local and operand, and twice
//! as much in functions that use vectors. Real frames differ by engine and tier; measured over the worst of them,
//! [`BUDGET`] of this unit is at most one megabyte, the stack that a browser's worker has.

use alloc::vec::Vec;

use wasmparser::{BlockType, FuncType, ValType};

use crate::module::Module;
use crate::token::{Kind, Token};

/// Bytes of one unit.
pub const UNIT_BYTES: u64 = 16;
/// What all calls together may take, in units: 256 KiB.
pub const BUDGET: u64 = (256 << 10) / UNIT_BYTES;

/// Units for a call of a function with so many parameters and locals, and so many operands at most.
pub fn units(locals: u64, operands: u64, vectors: bool) -> u64 {
    let slot = if vectors { 48 } else { 24 };
    (64 + slot * (locals + operands)).div_ceil(UNIT_BYTES)
}

/// Follows how many operands there are, instruction by instruction of a valid function.
#[derive(Default)]
pub struct Operands {
    blocks: Vec<Block>,
    height: u64,
    /// Code that is never executed, and for how many blocks inside.
    dead: Option<u32>,
    /// The most there were.
    pub most: u64,
    /// Whether any instruction works with vectors.
    pub vectors: bool,
}

struct Block {
    below: u64,
    params: u64,
    results: u64,
}

impl Operands {
    /// At the beginning of a function with so many results.
    pub fn of(results: usize) -> Self {
        let mut operands = Self::default();
        operands.restart(results);
        operands
    }

    /// The same, with the memory that is there.
    pub fn restart(&mut self, results: usize) {
        self.blocks.clear();
        self.blocks.push(Block { below: 0, params: 0, results: results as u64 });
        (self.height, self.dead, self.most, self.vectors) = (0, None, 0, false);
    }

    /// In code that is never executed, how many blocks inside it are open.
    pub fn inside_dead(&self) -> Option<u32> {
        self.dead
    }

    /// What comes is never executed, whatever it looks like.
    pub fn kill(&mut self) {
        self.dead.get_or_insert(0);
    }

    /// Takes the effect of one instruction.
    #[inline]
    pub fn step(&mut self, module: &Module<'_>, token: &Token) {
        if let Some(inside) = &mut self.dead {
            match token.kind {
                Kind::Block(_) | Kind::Loop(_) | Kind::If(_) => {
                    *inside += 1;
                    return;
                }
                Kind::End if *inside > 0 => {
                    *inside -= 1;
                    return;
                }
                Kind::End | Kind::Else if *inside == 0 => self.dead = None,
                _ => return,
            }
        }
        match token.kind {
            Kind::Block(ty) | Kind::Loop(ty) => self.open(module, ty),
            Kind::If(ty) => {
                self.height = self.height.saturating_sub(1);
                self.open(module, ty);
            }
            Kind::Else => {
                if let Some(block) = self.blocks.last() {
                    self.height = block.below + block.params;
                }
            }
            Kind::End => {
                if let Some(block) = self.blocks.pop() {
                    self.height = block.below + block.results;
                }
            }
            Kind::Br(_) | Kind::BrTable(_) | Kind::Return | Kind::Unreachable => self.dead = Some(0),
            Kind::BrIf(_) => self.height = self.height.saturating_sub(1),
            Kind::Call(function) => self.call(module.type_of(function), 0),
            Kind::CallIndirect(ty) => {
                let (takes, gives) = arity(module.type_at(ty));
                self.replace(takes + 1, gives);
            }
            kind => {
                self.replace(token.takes.into(), token.gives.into());
                self.vectors |= kind == Kind::Vector;
            }
        }
        self.most = self.most.max(self.height);
    }

    /// Takes the effect of an instruction that is reached and only takes and gives operands.
    #[inline]
    pub fn plain(&mut self, token: &Token) {
        self.replace(token.takes.into(), token.gives.into());
        self.most = self.most.max(self.height);
    }

    /// Takes the effect of a call of a function of this type, but for so many parameters and results.
    pub fn call(&mut self, ty: Option<&FuncType>, without: u64) {
        let (takes, gives) = arity(ty);
        self.replace(takes.saturating_sub(without), gives.saturating_sub(without));
        self.most = self.most.max(self.height);
    }

    fn open(&mut self, module: &Module<'_>, ty: BlockType) {
        let (params, results) = match ty {
            BlockType::Empty => (0, 0),
            BlockType::Type(_) => (0, 1),
            BlockType::FuncType(ty) => arity(module.type_at(ty)),
        };
        self.blocks.push(Block { below: self.height.saturating_sub(params), params, results });
    }

    fn replace(&mut self, takes: u64, gives: u64) {
        self.height = self.height.saturating_sub(takes) + gives;
    }
}

fn arity(ty: Option<&FuncType>) -> (u64, u64) {
    ty.map_or((0, 0), |ty| (ty.params().len() as u64, ty.results().len() as u64))
}

/// Whether a type is a vector's.
pub fn is_vector(ty: ValType) -> bool {
    ty == ValType::V128
}
