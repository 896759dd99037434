//! Instructions, as much of them as the verifier needs to know: their cost, what they do to the operand stack, and
//! for the few of which the verifier's sequences are made, which they are.
//!
//! The set is closed: WebAssembly 2.0 without references. What an opcode of any other proposal is followed by is not known here, so
//! nothing behind one can be read. `tests/parser.rs` compares all of this with a parser of somebody else's.

use alloc::vec::Vec;

use wasmparser::{BlockType, FuncType, FunctionBody, Operator, ValType};

use crate::cost;
use crate::reader::{Malformed, Reader};

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
    /// What stands behind the last one.
    Nothing,
    /// One that only takes and gives operands.
    Plain,
    /// The same with vectors.
    Vector,
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
    /// `br_table`, whose targets are [`Tokens::targets`]
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

/// What an opcode costs, takes and gives, if jobs may use it.
type Row = Option<(u16, u8, u8)>;

/// By the second byte, for opcodes of one byte and for those that begin with `0xfc` and with `0xfd`.
static ROWS: [[Row; 256]; 3] = [rows(0), rows(0xfc00), rows(0xfd00)];

const fn rows(first: u16) -> [Row; 256] {
    let mut rows = [None; 256];
    let mut low = 0;
    while low < 256 {
        let opcode = first | low;
        if let Some((takes, gives)) = arity(opcode) {
            rows[low as usize] = Some((cost::of(opcode), takes, gives));
        }
        low += 1;
    }
    rows
}

/// How many operands an opcode takes and gives, if that depends on nothing else; `None` if jobs must not use it.
const fn arity(opcode: u16) -> Option<(u8, u8)> {
    Some(match opcode {
        // What opens, ends and leaves blocks, and calls.
        0x00..=0x05 | 0x0b..=0x11 => (0, 0),
        // drop, select
        0x1a => (1, 0),
        0x1b => (3, 1),
        // get, set and tee of locals, get and set of globals
        0x20 | 0x23 => (0, 1),
        0x21 | 0x24 => (1, 0),
        0x22 => (1, 1),
        // Loads, stores, memory.size, memory.grow, constants
        0x28..=0x35 => (1, 1),
        0x36..=0x3e => (2, 0),
        0x3f => (0, 1),
        0x40 => (1, 1),
        0x41..=0x44 => (0, 1),
        // eqz; clz to popcnt; abs to sqrt; conversions and sign extensions
        0x45 | 0x50 | 0x67..=0x69 | 0x79..=0x7b | 0x8b..=0x91 | 0x99..=0x9f | 0xa7..=0xc4 => (1, 1),
        // What else is between comparisons and conversions.
        0x46..=0xa6 => (2, 1),
        // Saturating conversions
        0xfc00..=0xfc07 => (1, 1),
        // memory.init, memory.copy, memory.fill, table.init, table.copy
        0xfc08 | 0xfc0a | 0xfc0b | 0xfc0c | 0xfc0e => (3, 0),
        // data.drop, elem.drop
        0xfc09 | 0xfc0d => (0, 0),
        // Numbers that no instruction has.
        0xfd9a | 0xfda2 | 0xfda5 | 0xfda6 | 0xfdaf | 0xfdb0 | 0xfdb2..=0xfdb4 | 0xfdbb => return None,
        0xfdc2 | 0xfdc5 | 0xfdc6 | 0xfdcf | 0xfdd0 | 0xfdd2..=0xfdd4 | 0xfde2 | 0xfdee => return None,
        // Loads, stores, v128.const
        0xfd00..=0xfd0a | 0xfd5c | 0xfd5d => (1, 1),
        0xfd0b | 0xfd58..=0xfd5b => (2, 0),
        0xfd0c => (0, 1),
        // Splats, lanes that are taken out, v128.not, v128.any_true
        0xfd0f..=0xfd16 | 0xfd18 | 0xfd19 | 0xfd1b | 0xfd1d | 0xfd1f | 0xfd21 | 0xfd4d | 0xfd53 => (1, 1),
        // v128.bitselect
        0xfd52 => (3, 1),
        // Conversions between floats; abs, neg, popcnt, all_true, bitmask; rounding; pairwise sums
        0xfd5e..=0xfd64 | 0xfd67..=0xfd6a | 0xfd74 | 0xfd75 | 0xfd7a | 0xfd7c..=0xfd7f | 0xfd94 => (1, 1),
        // abs, neg, all_true, bitmask, and the extensions of i16x8, i32x4, i64x2
        0xfd80 | 0xfd81 | 0xfd83 | 0xfd84 | 0xfd87..=0xfd8a => (1, 1),
        0xfda0 | 0xfda1 | 0xfda3 | 0xfda4 | 0xfda7..=0xfdaa => (1, 1),
        0xfdc0 | 0xfdc1 | 0xfdc3 | 0xfdc4 | 0xfdc7..=0xfdca => (1, 1),
        // abs, neg, sqrt of floats; conversions
        0xfde0 | 0xfde1 | 0xfde3 | 0xfdec | 0xfded | 0xfdef | 0xfdf8..=0xfdff => (1, 1),
        // What else works with vectors.
        0xfd0d..=0xfdff => (2, 1),
        _ => return None,
    })
}

/// The instructions of a function.
#[derive(Default)]
pub struct Tokens<'a> {
    /// All of them, the last `end` included.
    pub all: Vec<Token>,
    /// How many locals are declared before them.
    pub locals: u32,
    /// Whether any of those is a vector.
    pub vectors: bool,
    /// What follows each `br_table`: one target less than there are, then the targets.
    tables: Vec<Reader<'a>>,
    /// For each open block, whether it is an `if` that may have an `else`.
    open: Vec<bool>,
}

impl<'a> Tokens<'a> {
    /// Reads a function.
    ///
    /// # Errors
    /// [`Malformed`], also for instructions that jobs must not use.
    pub fn read(body: &FunctionBody<'a>) -> Result<Self, Malformed> {
        Self::read_first(body, usize::MAX)
    }

    /// Reads the first instructions of a function, so many at most.
    ///
    /// # Errors
    /// As those of [`Tokens::read`].
    pub fn read_first(body: &FunctionBody<'a>, most: usize) -> Result<Self, Malformed> {
        let mut tokens = Self::default();
        tokens.restart(body, most)?;
        Ok(tokens)
    }

    /// Reads another function, with the memory that is there.
    ///
    /// # Errors
    /// As those of [`Tokens::read`].
    pub fn read_again(&mut self, body: &FunctionBody<'a>) -> Result<(), Malformed> {
        self.restart(body, usize::MAX)
    }

    fn restart(&mut self, body: &FunctionBody<'a>, most: usize) -> Result<(), Malformed> {
        self.all.clear();
        self.tables.clear();
        self.open.clear();
        self.open.push(false);
        (self.locals, self.vectors) = (0, false);
        let mut reader = Reader::new(body.as_bytes(), body.range().start);
        for _ in 0..reader.u32()? {
            match self.locals.checked_add(reader.u32()?) {
                Some(locals) => self.locals = locals,
                None => return reader.fail("more locals than can be counted"),
            }
            self.vectors |= reader.value_type()? == ValType::V128;
        }
        self.all.reserve(most.min(body.range().len() / 2));
        while !reader.is_at_end() && self.all.len() < most {
            let token = self.one(&mut reader)?;
            self.all.push(token);
        }
        Ok(())
    }

    /// Where a `br_table` goes: all its targets, the default last.
    pub fn targets(&self, table: u32) -> impl Iterator<Item = u32> + use<'a> {
        let mut table = self.tables.get(table as usize).copied();
        let count = table.as_mut().and_then(|table| table.u32().ok());
        // Reading has gone through all of them.
        let next = move |_| table.as_mut()?.u32().ok();
        (0..count.map_or(0, |count| u64::from(count) + 1)).map_while(next)
    }

    #[inline(always)]
    fn one(&mut self, reader: &mut Reader<'a>) -> Result<Token, Malformed> {
        let at = *reader;
        if self.open.is_empty() {
            return at.fail("code goes on behind its end");
        }
        let first = reader.u8()?;
        let (number, rows) = match first {
            0xfc => (reader.u32()?, &ROWS[1]),
            0xfd => (reader.u32()?, &ROWS[2]),
            _ => (first.into(), &ROWS[0]),
        };
        let Some((cost, takes, gives)) = rows.get(number as usize).copied().flatten() else {
            return at.fail("an instruction that jobs must not use");
        };
        let kind = match first {
            0xfc => bulk(number, reader)?,
            0xfd => vector(number, reader)?,
            _ => self.kind(first, reader)?,
        };
        Ok(Token { kind, offset: at.offset() as u32, cost, takes, gives })
    }

    /// Reads what follows an opcode of one byte.
    #[inline(always)]
    fn kind(&mut self, opcode: u8, reader: &mut Reader<'a>) -> Result<Kind, Malformed> {
        Ok(match opcode {
            0x00 => Kind::Unreachable,
            0x02 => {
                self.open.push(false);
                Kind::Block(reader.block_type()?)
            }
            0x03 => {
                self.open.push(false);
                Kind::Loop(reader.block_type()?)
            }
            0x04 => {
                self.open.push(true);
                Kind::If(reader.block_type()?)
            }
            0x05 => {
                match self.open.last_mut() {
                    Some(may_have_else) if *may_have_else => *may_have_else = false,
                    _ => return reader.fail("an `else` without an `if`"),
                }
                Kind::Else
            }
            0x0b => {
                self.open.pop();
                Kind::End
            }
            0x0c => Kind::Br(reader.u32()?),
            0x0d => Kind::BrIf(reader.u32()?),
            0x0e => self.table(reader)?,
            0x0f => Kind::Return,
            0x10 => Kind::Call(reader.u32()?),
            0x11 => {
                let ty = reader.u32()?;
                reader.u32()?;
                Kind::CallIndirect(ty)
            }
            0x20 => Kind::LocalGet(reader.u32()?),
            0x21 => Kind::LocalSet(reader.u32()?),
            0x22 => Kind::LocalTee(reader.u32()?),
            0x23 => Kind::GlobalGet(reader.u32()?),
            0x24 => Kind::GlobalSet(reader.u32()?),
            0x28..=0x3e => {
                memory_place(reader)?;
                Kind::Plain
            }
            0x3f | 0x40 => {
                if reader.u8()? != 0 {
                    return reader.fail("a second memory");
                }
                if opcode == 0x40 { Kind::MemoryGrow } else { Kind::Plain }
            }
            0x41 => Kind::I32Const(reader.i32()?),
            0x42 => Kind::I64Const(reader.i64()?),
            0x43 => {
                reader.take(4)?;
                Kind::Plain
            }
            0x44 => {
                reader.take(8)?;
                Kind::Plain
            }
            0x46 => Kind::I32Eq,
            0x47 => Kind::I32Ne,
            0x52 => Kind::I64Ne,
            0x53 => Kind::I64LtS,
            0x6a => Kind::I32Add,
            0x6b => Kind::I32Sub,
            0x6c => Kind::I32Mul,
            0x71 => Kind::I32And,
            0x7c => Kind::I64Add,
            0x7d => Kind::I64Sub,
            0x7e => Kind::I64Mul,
            0x83 => Kind::I64And,
            0x86 => Kind::I64Shl,
            0xad => Kind::I64ExtendI32U,
            _ => Kind::Plain,
        })
    }

    fn table(&mut self, reader: &mut Reader<'a>) -> Result<Kind, Malformed> {
        self.tables.push(*reader);
        // The default comes after those that are counted.
        for _ in 0..=u64::from(reader.u32()?) {
            reader.u32()?;
        }
        Ok(Kind::BrTable(self.tables.len() as u32 - 1))
    }
}

/// Reads what follows `0xfc` and this number.
fn bulk(number: u32, reader: &mut Reader<'_>) -> Result<Kind, Malformed> {
    // Segments, memories and tables.
    let indices = match number {
        0x08 | 0x0a | 0x0c | 0x0e => 2,
        0x09 | 0x0b | 0x0d => 1,
        _ => 0,
    };
    for _ in 0..indices {
        reader.u32()?;
    }
    Ok(if matches!(number, 0x08 | 0x0a | 0x0b | 0x0c | 0x0e) { Kind::Length } else { Kind::Plain })
}

/// Reads what follows `0xfd` and this number.
fn vector(number: u32, reader: &mut Reader<'_>) -> Result<Kind, Malformed> {
    if matches!(number, 0x00..=0x0b | 0x54..=0x5d) {
        memory_place(reader)?;
    }
    // v128.const and the lanes of i8x16.shuffle; the lane that others work with.
    reader.take(match number {
        0x0c | 0x0d => 16,
        0x15..=0x22 | 0x54..=0x5b => 1,
        _ => 0,
    })?;
    Ok(Kind::Vector)
}

/// Reads alignment and offset of an access to memory.
#[inline]
fn memory_place(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    // Larger ones name another memory.
    if reader.u32()? >= 32 {
        return reader.fail("an alignment that is none");
    }
    reader.u32()?;
    Ok(())
}

/// How many operands an instruction takes and gives, if that depends on nothing else, for those who have it from the parser.
pub fn arity_of(operator: &Operator<'_>) -> (u8, u8) {
    macro_rules! counts {
        (arity custom) => {
            (0, 0)
        };
        (arity $takes:literal -> $gives:literal) => {
            ($takes, $gives)
        };
    }
    macro_rules! one {
        ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
            match operator {
                $(Operator::$op { .. } => counts!($($ann)*),)*
                _ => (0, 0),
            }
        };
    }
    wasmparser::for_each_operator!(one)
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
