//! Instructions, as much of them as the verifier needs to know: their cost, what they do to the operand stack, and
//! for the few of which the verifier's sequences are made, which they are.

use wasmparser::{
    BinaryReaderError, BlockType, BrTable, FuncType, FunctionBody, Operator, ValType, VisitOperator, VisitSimdOperator,
};

use crate::cost;

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Which it is.
    pub kind: Kind,
    /// Its first byte in the module.
    pub offset: u32,
    /// What it costs, without what depends on a length or on what is called.
    pub cost: u16,
    /// Operands that it takes, if that depends on nothing else.
    pub takes: u8,
    /// Operands that it gives.
    pub gives: u8,
}

/// Which instruction it is, if that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One that only takes and gives operands.
    Plain,
    /// The same with vectors.
    Vector,
    /// One that jobs must not use.
    Forbidden,
    /// One whose last operand is a length.
    Length,
    /// `memory.grow`
    MemoryGrow,
    /// `unreachable`
    Unreachable,
    /// `block`
    Block(BlockType),
    /// `loop`
    Loop(BlockType),
    /// `if`
    If(BlockType),
    /// `else`
    Else,
    /// `end`
    End,
    /// `br`
    Br(u32),
    /// `br_if`
    BrIf(u32),
    /// `br_table`, and which one of those in [`Tokens::tables`]
    BrTable(u32),
    /// `return`
    Return,
    /// `call`
    Call(u32),
    /// `call_indirect`, and the type
    CallIndirect(u32),
    /// `global.get`
    GlobalGet(u32),
    /// `global.set`
    GlobalSet(u32),
    /// `local.get`
    LocalGet(u32),
    /// `local.set`
    LocalSet(u32),
    /// `local.tee`
    LocalTee(u32),
    /// `i32.const`
    I32Const(i32),
    /// `i64.const`
    I64Const(i64),
    /// `i32.add`
    I32Add,
    /// `i32.sub`
    I32Sub,
    /// `i32.mul`
    I32Mul,
    /// `i32.and`
    I32And,
    /// `i32.eq`
    I32Eq,
    /// `i32.ne`
    I32Ne,
    /// `i64.add`
    I64Add,
    /// `i64.sub`
    I64Sub,
    /// `i64.mul`
    I64Mul,
    /// `i64.and`
    I64And,
    /// `i64.shl`
    I64Shl,
    /// `i64.lt_s`
    I64LtS,
    /// `i64.ne`
    I64Ne,
    /// `i64.extend_i32_u`
    I64ExtendI32U,
}

impl Kind {
    #[inline(always)]
    fn of(operator: &Operator<'_>, is_vector: bool) -> Self {
        use Operator as O;
        match *operator {
            O::MemoryGrow { .. } => Self::MemoryGrow,
            O::Unreachable => Self::Unreachable,
            O::Block { blockty } => Self::Block(blockty),
            O::Loop { blockty } => Self::Loop(blockty),
            O::If { blockty } => Self::If(blockty),
            O::Else => Self::Else,
            O::End => Self::End,
            O::Br { relative_depth } => Self::Br(relative_depth),
            O::BrIf { relative_depth } => Self::BrIf(relative_depth),
            O::BrTable { .. } => Self::BrTable(0),
            O::Return => Self::Return,
            O::Call { function_index } => Self::Call(function_index),
            O::CallIndirect { type_index, .. } => Self::CallIndirect(type_index),
            O::GlobalGet { global_index } => Self::GlobalGet(global_index),
            O::GlobalSet { global_index } => Self::GlobalSet(global_index),
            O::LocalGet { local_index } => Self::LocalGet(local_index),
            O::LocalSet { local_index } => Self::LocalSet(local_index),
            O::LocalTee { local_index } => Self::LocalTee(local_index),
            O::I32Const { value } => Self::I32Const(value),
            O::I64Const { value } => Self::I64Const(value),
            O::I32Add => Self::I32Add,
            O::I32Sub => Self::I32Sub,
            O::I32Mul => Self::I32Mul,
            O::I32And => Self::I32And,
            O::I32Eq => Self::I32Eq,
            O::I32Ne => Self::I32Ne,
            O::I64Add => Self::I64Add,
            O::I64Sub => Self::I64Sub,
            O::I64Mul => Self::I64Mul,
            O::I64And => Self::I64And,
            O::I64Shl => Self::I64Shl,
            O::I64LtS => Self::I64LtS,
            O::I64Ne => Self::I64Ne,
            O::I64ExtendI32U => Self::I64ExtendI32U,
            _ if cost::has_length(operator) => Self::Length,
            _ if is_vector => Self::Vector,
            _ => Self::Plain,
        }
    }
}

/// The instructions of a function.
#[derive(Default)]
pub struct Tokens<'a> {
    /// All of them, the last `end` included.
    pub all: Vec<Token>,
    /// The targets of each `br_table`.
    pub tables: Vec<BrTable<'a>>,
    offset: u32,
}

impl<'a> Tokens<'a> {
    /// Reads a function.
    ///
    /// # Errors
    /// Those of the parser.
    pub fn read(body: &FunctionBody<'a>) -> Result<Self, BinaryReaderError> {
        Self::read_first(body, usize::MAX)
    }

    /// Reads the first instructions of a function, so many at most.
    ///
    /// # Errors
    /// Those of the parser.
    pub fn read_first(body: &FunctionBody<'a>, most: usize) -> Result<Self, BinaryReaderError> {
        let mut tokens = Self::default();
        tokens.all.reserve(most.min(body.range().len() / 2));
        let mut reader = body.get_operators_reader()?;
        while !reader.eof() && tokens.all.len() < most {
            tokens.offset = reader.original_position() as u32;
            reader.visit_operator(&mut tokens)?;
        }
        Ok(tokens)
    }

    /// Where a `br_table` goes: all its targets, the default last.
    pub fn targets(&self, table: u32) -> impl Iterator<Item = u32> + use<'_, 'a> {
        let table = self.tables.get(table as usize);
        // Reading has gone through all of them.
        table.into_iter().flat_map(|table| table.targets().map_while(Result::ok).chain([table.default()]))
    }

    #[inline(always)]
    fn push(&mut self, operator: Operator<'a>, (is_accepted, is_vector): (bool, bool), (takes, gives): (u8, u8)) {
        let mut kind = if is_accepted { Kind::of(&operator, is_vector) } else { Kind::Forbidden };
        let cost = cost::of(&operator) as u16;
        if let Operator::BrTable { targets } = operator {
            kind = Kind::BrTable(self.tables.len() as u32);
            self.tables.push(targets);
        }
        self.all.push(Token { kind, offset: self.offset, cost, takes, gives });
    }
}

/// Whether a proposal is accepted, and whether it is about vectors: WebAssembly 2.0 without references.
macro_rules! accepted {
    (mvp) => {
        (true, false)
    };
    (sign_extension) => {
        (true, false)
    };
    (saturating_float_to_int) => {
        (true, false)
    };
    (bulk_memory) => {
        (true, false)
    };
    (simd) => {
        (true, true)
    };
    ($other:ident) => {
        (false, false)
    };
}

macro_rules! arity {
    (arity custom) => {
        (0, 0)
    };
    (arity $takes:literal -> $gives:literal) => {
        ($takes, $gives)
    };
}

macro_rules! visit {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        $(
            #[inline]
            fn $visit(&mut self $($(, $arg: $argty)*)?) {
                self.push(Operator::$op $({ $($arg),* })?, accepted!($proposal), arity!($($ann)*));
            }
        )*
    };
}

impl<'a> VisitOperator<'a> for Tokens<'a> {
    type Output = ();

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = ()>> {
        Some(self)
    }

    wasmparser::for_each_visit_operator!(visit);
}

impl<'a> VisitSimdOperator<'a> for Tokens<'a> {
    wasmparser::for_each_visit_simd_operator!(visit);
}

impl Token {
    /// The token of an instruction on its own.
    pub fn of(operator: &Operator<'_>) -> Self {
        macro_rules! one {
            ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
                match operator {
                    $(Operator::$op { .. } => (accepted!($proposal), arity!($($ann)*)),)*
                    _ => ((false, false), (0, 0)),
                }
            };
        }
        let ((is_accepted, is_vector), (takes, gives)) = wasmparser::for_each_operator!(one);
        let kind = if is_accepted { Kind::of(operator, is_vector) } else { Kind::Forbidden };
        Self { kind, offset: 0, cost: cost::of(operator) as u16, takes, gives }
    }
}

/// Whether a function that begins like this takes the meter as its last parameter and gives it as its last result.
pub fn takes_meter(ty: Option<&FuncType>, code: &[Token]) -> bool {
    let Some((params, results)) = ty.map(|ty| (ty.params(), ty.results())) else { return false };
    if params.last() != Some(&ValType::I64) || results.last() != Some(&ValType::I64) {
        return false;
    }
    let blocks = code.iter().take(3).take_while(|token| matches!(token.kind, Kind::Block(_))).count();
    let mut begins = code[blocks..].iter().map(|token| token.kind);
    begins.next() == Some(Kind::LocalGet(params.len() as u32 - 1))
        && matches!(begins.next(), Some(Kind::I64Const(_)))
        && begins.next() == Some(Kind::I64Sub)
}
