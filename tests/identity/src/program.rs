//! Random programs over floats, with everything that a NaN can pass on its way from an addition to where its
//! bits are seen: locals, globals, branches with values, loops, calls, tables of functions. The interpreter
//! here is the oracle; it canonicalises at once and knows nothing of cleverer ways.

use manyhands_abi as abi;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ElementSection, Elements, EntityType, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, ImportSection, Instruction, MemorySection, MemoryType, Module, RefType,
    TableSection, TableType, TypeSection, ValType,
};

use crate::dice::Dice;
use crate::operands;
use crate::ops::{Op, Ty};

/// Places of 16 bytes in memory that programs read and write.
pub const SLOTS: u32 = 16;
const SLOT_BYTES: u32 = 16;
/// Where globals are put before the output is written.
const GLOBALS_AT: u32 = SLOTS * SLOT_BYTES;
/// Evaluated expressions after which a program is too long to be worth its time.
const STEPS_MAX: u32 = 200_000;
/// Types that values have: mostly floats.
const TYPES: [Ty; 8] = [Ty::F32, Ty::F64, Ty::V128, Ty::F32, Ty::F64, Ty::V128, Ty::I32, Ty::I64];

enum Expr {
    Const(Ty, u128),
    Local(u32),
    Tee(u32, Box<Expr>),
    Global(u32),
    Load(Ty, u32),
    Op(usize, Vec<Expr>),
    /// `select`: both values are computed.
    Select {
        condition: Box<Expr>,
        yes: Box<Expr>,
        no: Box<Expr>,
    },
    /// `if` with a result.
    If {
        ty: Ty,
        condition: Box<Expr>,
        yes: Box<Expr>,
        no: Box<Expr>,
    },
    /// A block that `br_if` leaves with `early`, or that ends with `late`.
    Block {
        ty: Ty,
        early: Box<Expr>,
        condition: Box<Expr>,
        late: Box<Expr>,
    },
    Call {
        function: usize,
        indirect: bool,
        arguments: Vec<Expr>,
    },
}

enum Statement {
    Set(u32, Expr),
    SetGlobal(u32, Expr),
    Store(Ty, u32, Expr),
    If(Expr, Vec<Statement>, Vec<Statement>),
    /// So many times, or until the condition holds after the body. The counter goes on by `step` from `start`.
    Loop {
        counter: u32,
        start: u32,
        step: u32,
        times: u32,
        body: Vec<Statement>,
        until: Option<Expr>,
    },
    /// The function ends here if the condition holds.
    ReturnIf(Expr, Expr),
}

struct Routine {
    params: Vec<Ty>,
    /// Parameters, variables, then counters of loops.
    locals: Vec<Ty>,
    result: Ty,
    body: Vec<Statement>,
    value: Expr,
}

/// A program.
pub struct Program<'a> {
    ops: &'a [Op],
    globals: Vec<(Ty, u128)>,
    routines: Vec<Routine>,
}

// ---- making one

struct Maker<'a, 'd> {
    ops: &'a [Op],
    dice: &'d mut Dice,
    globals: Vec<(Ty, u128)>,
    routines: Vec<Routine>,
    /// Types of the locals of the routine in the making that it may use.
    variables: Vec<Ty>,
    counters: u32,
    calls: u32,
}

impl<'a> Program<'a> {
    /// A program of these instructions.
    pub fn random(ops: &'a [Op], dice: &mut Dice) -> Self {
        let count = 1 + dice.below(4);
        let globals = (0..2 + dice.below(4)).map(|_| {
            let ty = *dice.pick(&TYPES);
            (ty, operands::any(dice, ty))
        });
        let globals = globals.collect();
        let mut maker =
            Maker { ops, dice, globals, routines: Vec::new(), variables: Vec::new(), counters: 0, calls: 0 };
        for _ in 0..count {
            let routine = maker.routine();
            maker.routines.push(routine);
        }
        Self { ops, globals: maker.globals, routines: maker.routines }
    }
}

impl Maker<'_, '_> {
    fn ty(&mut self) -> Ty {
        *self.dice.pick(&TYPES)
    }

    fn routine(&mut self) -> Routine {
        let params: Vec<Ty> = (0..1 + self.dice.below(4)).map(|_| self.ty()).collect();
        let variables = 2 + self.dice.below(5);
        self.variables = params.clone();
        for _ in 0..variables {
            let ty = self.ty();
            self.variables.push(ty);
        }
        (self.counters, self.calls) = (0, 2);
        let result = self.ty();
        let count = 2 + self.dice.below(6);
        let body = self.statements(result, count, 2);
        let value = self.expr(result, 4);
        let mut locals = self.variables.clone();
        locals.extend((0..self.counters).map(|_| Ty::I32));
        Routine { params, locals, result, body, value }
    }

    fn statements(&mut self, result: Ty, count: usize, depth: usize) -> Vec<Statement> {
        (0..count).map(|_| self.statement(result, depth)).collect()
    }

    fn statement(&mut self, result: Ty, depth: usize) -> Statement {
        match self.dice.below(if depth == 0 { 7 } else { 10 }) {
            0..3 => {
                let local = self.dice.below(self.variables.len());
                Statement::Set(local as u32, self.expr(self.variables[local], 4))
            }
            3 => {
                let global = self.dice.below(self.globals.len());
                Statement::SetGlobal(global as u32, self.expr(self.globals[global].0, 3))
            }
            4..6 => {
                let ty = self.ty();
                Statement::Store(ty, self.dice.below(SLOTS as usize) as u32, self.expr(ty, 4))
            }
            6 => Statement::ReturnIf(self.expr(Ty::I32, 2), self.expr(result, 3)),
            7 => {
                let (yes, no) = (1 + self.dice.below(3), self.dice.below(3));
                Statement::If(
                    self.expr(Ty::I32, 3),
                    self.statements(result, yes, depth - 1),
                    self.statements(result, no, depth - 1),
                )
            }
            _ => {
                // Counters come after all variables, whose number is fixed by now.
                let counter = self.variables.len() as u32 + self.counters;
                self.counters += 1;
                let (times, count) = (1 + self.dice.below(5) as u32, 1 + self.dice.below(3));
                let body = self.statements(result, count, depth - 1);
                // Those that nobody leaves early can be paid for as a whole, also if the counter passes zero.
                let until = self.dice.once_in(2).then(|| self.expr(Ty::I32, 2));
                let step = *self.dice.pick(&[1, 1, u32::MAX, 8, 24, 6_u32.wrapping_neg(), 1 << 16, 1 << 17]);
                let start = if self.dice.once_in(2) { 0 } else { step.wrapping_neg().wrapping_mul(times) };
                Statement::Loop { counter, start, step, times, body, until }
            }
        }
    }

    fn boxed(&mut self, ty: Ty, depth: usize) -> Box<Expr> {
        Box::new(self.expr(ty, depth))
    }

    fn expr(&mut self, ty: Ty, depth: usize) -> Expr {
        if depth == 0 || self.dice.once_in(6) {
            return self.leaf(ty);
        }
        match self.dice.below(16) {
            0 => {
                let (yes, no) = (self.boxed(ty, depth - 1), self.boxed(ty, depth - 1));
                Expr::Select { condition: self.boxed(Ty::I32, depth - 1), yes, no }
            }
            1 => {
                let condition = self.boxed(Ty::I32, depth - 1);
                Expr::If { ty, condition, yes: self.boxed(ty, depth - 1), no: self.boxed(ty, depth - 1) }
            }
            2 => {
                let (early, condition) = (self.boxed(ty, depth - 1), self.boxed(Ty::I32, depth - 1));
                Expr::Block { ty, early, condition, late: self.boxed(ty, depth - 1) }
            }
            3 => match self.local(ty) {
                Some(local) => Expr::Tee(local, self.boxed(ty, depth - 1)),
                None => self.leaf(ty),
            },
            4 if self.calls > 0 => {
                let fits = |routine: &Routine| routine.result == ty;
                let callees: Vec<_> = (0..self.routines.len()).filter(|index| fits(&self.routines[*index])).collect();
                if callees.is_empty() {
                    return self.leaf(ty);
                }
                self.calls -= 1;
                let function = *self.dice.pick(&callees);
                let params = self.routines[function].params.clone();
                let arguments = params.into_iter().map(|param| self.expr(param, depth - 1)).collect();
                Expr::Call { function, indirect: self.dice.once_in(3), arguments }
            }
            _ => {
                let ops: Vec<_> = (0..self.ops.len()).filter(|index| self.ops[*index].result == ty).collect();
                let mut index = *self.dice.pick(&ops);
                // A trap ends everything, so only few programs should have one.
                while self.ops[index].traps() && !self.dice.once_in(40) {
                    index = *self.dice.pick(&ops);
                }
                let arguments = self.ops[index].params.iter().map(|param| self.expr(*param, depth - 1)).collect();
                Expr::Op(index, arguments)
            }
        }
    }

    fn local(&mut self, ty: Ty) -> Option<u32> {
        let fitting: Vec<_> = (0..self.variables.len()).filter(|index| self.variables[*index] == ty).collect();
        (!fitting.is_empty()).then(|| *self.dice.pick(&fitting) as u32)
    }

    fn leaf(&mut self, ty: Ty) -> Expr {
        let global = self.globals.iter().position(|(of, _)| *of == ty);
        match (self.dice.below(5), self.local(ty), global) {
            (0..3, Some(local), _) => Expr::Local(local),
            (3, _, Some(global)) => Expr::Global(global as u32),
            (4, ..) => Expr::Const(ty, operands::any(self.dice, ty)),
            _ => Expr::Load(ty, self.dice.below(SLOTS as usize) as u32),
        }
    }
}

// ---- what it must give

/// A program that cannot be told the end of: it trapped, or takes too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// A WebAssembly trap.
    Trap,
    /// Not worth its time.
    TooLong,
}

struct Machine<'a> {
    program: &'a Program<'a>,
    slots: Vec<u128>,
    globals: Vec<u128>,
    steps: u32,
}

impl Program<'_> {
    /// The output for an input of [`SLOTS`] times 16 bytes.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn interpret(&self, input: &[u8]) -> Result<Vec<u8>, Stopped> {
        let slots = input.chunks_exact(SLOT_BYTES as usize);
        let slots = slots.map(|slot| u128::from_le_bytes(slot.try_into().unwrap_or_default())).collect();
        let globals = self.globals.iter().map(|(_, bits)| *bits).collect();
        let mut machine = Machine { program: self, slots, globals, steps: 0 };
        let main = self.routines.len() - 1;
        let arguments = self.routines[main].params.iter().enumerate();
        let arguments = arguments.map(|(slot, ty)| machine.slots[slot] & operands::mask(*ty)).collect();
        let result = machine.call(main, arguments)?;
        machine.store(self.routines[main].result, 0, result);
        let all = machine.slots.iter().chain(&machine.globals);
        Ok(all.flat_map(|bits| bits.to_le_bytes()).collect())
    }
}

/// A routine's value when it returned early.
type Flow = Result<Option<u128>, Stopped>;

impl Machine<'_> {
    fn store(&mut self, ty: Ty, slot: u32, bits: u128) {
        let place = &mut self.slots[slot as usize];
        *place = *place & !operands::mask(ty) | bits;
    }

    fn call(&mut self, function: usize, mut locals: Vec<u128>) -> Result<u128, Stopped> {
        let routine = &self.program.routines[function];
        locals.resize(routine.locals.len(), 0);
        match self.run(&routine.body, &mut locals)? {
            Some(early) => Ok(early),
            None => self.eval(&routine.value, &mut locals),
        }
    }

    fn run(&mut self, body: &[Statement], locals: &mut Vec<u128>) -> Flow {
        for statement in body {
            match statement {
                Statement::Set(local, expr) => locals[*local as usize] = self.eval(expr, locals)?,
                Statement::SetGlobal(global, expr) => self.globals[*global as usize] = self.eval(expr, locals)?,
                Statement::Store(ty, slot, expr) => {
                    let bits = self.eval(expr, locals)?;
                    self.store(*ty, *slot, bits);
                }
                Statement::If(condition, yes, no) => {
                    let chosen = if self.eval(condition, locals)? != 0 { yes } else { no };
                    if let Some(early) = self.run(chosen, locals)? {
                        return Ok(Some(early));
                    }
                }
                Statement::Loop { times, body, until, .. } => {
                    for _ in 0..*times {
                        if let Some(early) = self.run(body, locals)? {
                            return Ok(Some(early));
                        }
                        if let Some(until) = until
                            && self.eval(until, locals)? != 0
                        {
                            break;
                        }
                    }
                }
                Statement::ReturnIf(condition, value) => {
                    // The value is on the stack before the condition decides.
                    let value = self.eval(value, locals)?;
                    if self.eval(condition, locals)? != 0 {
                        return Ok(Some(value));
                    }
                }
            }
        }
        Ok(None)
    }

    fn eval(&mut self, expr: &Expr, locals: &mut Vec<u128>) -> Result<u128, Stopped> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(Stopped::TooLong);
        }
        Ok(match expr {
            Expr::Const(_, bits) => *bits,
            Expr::Local(local) => locals[*local as usize],
            Expr::Tee(local, value) => {
                let bits = self.eval(value, locals)?;
                locals[*local as usize] = bits;
                bits
            }
            Expr::Global(global) => self.globals[*global as usize],
            Expr::Load(ty, slot) => self.slots[*slot as usize] & operands::mask(*ty),
            Expr::Op(index, arguments) => {
                let first = self.eval(&arguments[0], locals)?;
                let second = arguments.get(1).map_or(Ok(0), |argument| self.eval(argument, locals))?;
                (self.program.ops[*index].meaning)(first, second).ok_or(Stopped::Trap)?
            }
            Expr::Select { condition, yes, no } => {
                let (yes, no) = (self.eval(yes, locals)?, self.eval(no, locals)?);
                if self.eval(condition, locals)? != 0 { yes } else { no }
            }
            Expr::If { condition, yes, no, .. } => {
                let chosen = if self.eval(condition, locals)? != 0 { yes } else { no };
                self.eval(chosen, locals)?
            }
            Expr::Block { early, condition, late, .. } => {
                let early = self.eval(early, locals)?;
                if self.eval(condition, locals)? != 0 { early } else { self.eval(late, locals)? }
            }
            Expr::Call { function, arguments, .. } => {
                let arguments: Result<_, _> = arguments.iter().map(|argument| self.eval(argument, locals)).collect();
                self.call(*function, arguments?)?
            }
        })
    }
}

// ---- writing it as a module

/// Functions that are imported before those of the program.
const IMPORTED: u32 = 2;
const INPUT_READ: u32 = 0;
const OUTPUT_WRITE: u32 = 1;

impl Program<'_> {
    /// The module, without a manifest. A `bare` one has a meter that counts nothing, so that engines can execute
    /// it as it is.
    pub fn module(&self, bare: bool) -> Vec<u8> {
        let (mut types, mut imports, mut functions, mut code) =
            (TypeSection::new(), ImportSection::new(), FunctionSection::new(), CodeSection::new());
        types.ty().function([ValType::I32; 3], []);
        types.ty().function([ValType::I32; 2], []);
        types.ty().function([], []);
        imports.import(abi::NAMESPACE, abi::INPUT_READ, EntityType::Function(0));
        imports.import(abi::NAMESPACE, abi::OUTPUT_WRITE, EntityType::Function(1));
        for (index, routine) in self.routines.iter().enumerate() {
            types.ty().function(routine.params.iter().map(|ty| ty.val()), [routine.result.val()]);
            functions.function(3 + index as u32);
            code.function(&self.routine(routine));
        }
        functions.function(2);
        code.function(&self.driver());

        let count = self.routines.len() as u32;
        let mut tables = TableSection::new();
        tables.table(TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: count.into(),
            maximum: Some(count.into()),
            shared: false,
        });
        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: 1,
            maximum: Some(1),
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        let mut globals = GlobalSection::new();
        for (ty, bits) in &self.globals {
            let init = ConstExpr::extended([ty.constant(*bits)]);
            globals.global(GlobalType { val_type: ty.val(), mutable: true, shared: false }, &init);
        }
        let mut exports = ExportSection::new();
        exports.export(abi::MEMORY, ExportKind::Memory, 0).export(abi::RUN, ExportKind::Func, IMPORTED + count);
        if bare {
            crate::bare::counters(&mut globals, &mut exports);
        }
        let mut elements = ElementSection::new();
        let all: Vec<u32> = (IMPORTED..IMPORTED + count).collect();
        elements.active(None, &ConstExpr::i32_const(0), Elements::Functions(all.into()));

        let mut module = Module::new();
        module.section(&types).section(&imports).section(&functions).section(&tables).section(&memories);
        module.section(&globals).section(&exports).section(&elements).section(&code);
        module.finish()
    }

    fn driver(&self) -> Function {
        let mut function = Function::new([]);
        let mut sink = Sink { program: self, function: &mut function, depth: 0 };
        let bytes = SLOTS * SLOT_BYTES;
        sink.i32s([0, 0, bytes]).push(Instruction::Call(INPUT_READ));
        let main = self.routines.len() - 1;
        sink.i32s([0]);
        for (slot, ty) in self.routines[main].params.iter().enumerate() {
            sink.i32s([slot as u32 * SLOT_BYTES]).push(ty.load(0));
        }
        sink.push(Instruction::Call(IMPORTED + main as u32)).push(self.routines[main].result.store(0));
        for (index, (ty, _)) in self.globals.iter().enumerate() {
            sink.i32s([GLOBALS_AT + index as u32 * SLOT_BYTES]).push(Instruction::GlobalGet(index as u32));
            sink.push(ty.store(0));
        }
        sink.i32s([0, GLOBALS_AT + self.globals.len() as u32 * SLOT_BYTES]).push(Instruction::Call(OUTPUT_WRITE));
        sink.push(Instruction::End);
        function
    }

    fn routine(&self, routine: &Routine) -> Function {
        let own = &routine.locals[routine.params.len()..];
        let mut function = Function::new(own.iter().map(|ty| (1, ty.val())));
        let mut sink = Sink { program: self, function: &mut function, depth: 0 };
        sink.statements(&routine.body);
        sink.expr(&routine.value);
        sink.push(Instruction::End);
        function
    }
}

struct Sink<'a> {
    program: &'a Program<'a>,
    function: &'a mut Function,
    /// Blocks that are open.
    depth: u32,
}

impl Sink<'_> {
    fn push(&mut self, instruction: Instruction<'_>) -> &mut Self {
        match instruction {
            Instruction::Block(_) | Instruction::Loop(_) | Instruction::If(_) => self.depth += 1,
            Instruction::End => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.function.instruction(&instruction);
        self
    }

    fn i32s<const N: usize>(&mut self, numbers: [u32; N]) -> &mut Self {
        for number in numbers {
            self.push(Instruction::I32Const(number.cast_signed()));
        }
        self
    }

    fn statements(&mut self, body: &[Statement]) {
        body.iter().for_each(|statement| self.statement(statement));
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Set(local, expr) => {
                self.expr(expr).push(Instruction::LocalSet(*local));
            }
            Statement::SetGlobal(global, expr) => {
                self.expr(expr).push(Instruction::GlobalSet(*global));
            }
            Statement::Store(ty, slot, expr) => {
                self.i32s([slot * SLOT_BYTES]).expr(expr).push(ty.store(0));
            }
            Statement::If(condition, yes, no) => {
                self.expr(condition).push(Instruction::If(BlockType::Empty)).statements(yes);
                if !no.is_empty() {
                    self.push(Instruction::Else).statements(no);
                }
                self.push(Instruction::End);
            }
            Statement::Loop { counter, start, step, times, body, until } => {
                self.i32s([*start]).push(Instruction::LocalSet(*counter));
                self.push(Instruction::Block(BlockType::Empty)).push(Instruction::Loop(BlockType::Empty));
                self.statements(body);
                if let Some(until) = until {
                    self.expr(until).push(Instruction::BrIf(1));
                }
                self.push(Instruction::LocalGet(*counter)).i32s([*step]).push(Instruction::I32Add);
                self.push(Instruction::LocalTee(*counter));
                let bound = start.wrapping_add(step.wrapping_mul(*times));
                if bound != 0 {
                    self.i32s([bound]).push(Instruction::I32Ne);
                }
                self.push(Instruction::BrIf(0)).push(Instruction::End).push(Instruction::End);
            }
            Statement::ReturnIf(condition, value) => {
                // Its label is the function's own.
                let outermost = self.depth;
                self.expr(value).expr(condition).push(Instruction::BrIf(outermost)).push(Instruction::Drop);
            }
        }
    }

    fn expr(&mut self, expr: &Expr) -> &mut Self {
        match expr {
            Expr::Const(ty, bits) => self.push(ty.constant(*bits)),
            Expr::Local(local) => self.push(Instruction::LocalGet(*local)),
            Expr::Tee(local, value) => self.expr(value).push(Instruction::LocalTee(*local)),
            Expr::Global(global) => self.push(Instruction::GlobalGet(*global)),
            Expr::Load(ty, slot) => self.i32s([slot * SLOT_BYTES]).push(ty.load(0)),
            Expr::Op(index, arguments) => {
                for argument in arguments {
                    self.expr(argument);
                }
                self.push(self.program.ops[*index].code.clone())
            }
            Expr::Select { condition, yes, no } => self.expr(yes).expr(no).expr(condition).push(Instruction::Select),
            Expr::If { ty, condition, yes, no } => {
                self.expr(condition).push(Instruction::If(BlockType::Result(ty.val()))).expr(yes);
                self.push(Instruction::Else).expr(no).push(Instruction::End)
            }
            Expr::Block { ty, early, condition, late } => {
                self.push(Instruction::Block(BlockType::Result(ty.val()))).expr(early).expr(condition);
                self.push(Instruction::BrIf(0)).push(Instruction::Drop).expr(late).push(Instruction::End)
            }
            Expr::Call { function, indirect, arguments } => {
                for argument in arguments {
                    self.expr(argument);
                }
                let index = *function as u32;
                if *indirect {
                    self.i32s([index]).push(Instruction::CallIndirect { type_index: 3 + index, table_index: 0 })
                } else {
                    self.push(Instruction::Call(IMPORTED + index))
                }
            }
        }
    }
}
