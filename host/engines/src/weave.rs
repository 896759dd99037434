//! The same module with something woven in that tells what it does: the events of all its functions, each instruction of one call,
//! or the fuel of each function. For people who look for a difference; nobody signs or verifies such a module.
//!
//! What it tells goes out through an import of its own, `trace`, a number at a time. Nothing else of the module can tell that it is
//! there: no memory is used and no fuel. An *event* is a call of a function with its arguments, its return with its results, or a value
//! that it stores. Events are counted, and mixed into a hash; a [`Window`] says which of them are told, and how much.

use manyhands_abi::{CAUSE, METER, METER_STACK_BITS, NAMESPACE, REDUCE, RUN};
use manyhands_verifier::module::Module as Known;
use manyhands_verifier::token::{Tokens, arity_of, takes_meter};
use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, EntityType, Function, FunctionSection, GlobalSection, GlobalType, ImportSection,
    InstructionSink, Module, SectionId, TypeSection, ValType,
};
use wasmparser::{ExternalKind, FunctionBody, Operator, Parser, ValidPayload, Validator};

/// The import that takes a number.
pub const TRACE: &str = "trace";
/// Level of the log lines in which engines hand on what was told.
pub const TRACE_LEVEL: u8 = 5;
/// Numbers that an engine takes in one execution.
pub const TRACE_MAX: usize = 1 << 19;

/// Leading bits of the numbers of events at which [`Window::Leading`] tells the hash.
const LEADING: i64 = 6;

/// What is woven in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weave<'a> {
    /// All functions' events.
    Events(Window),
    /// Every value that one call of a function makes, in order. Functions are counted with the imports of the module as it was.
    Inside {
        /// The function.
        function: u32,
        /// Which of its calls, from 1.
        call: u64,
        /// Which values.
        window: Window,
    },
    /// Fuel: at the end of the job's function, for each function its own, with what it calls, and how often it was called.
    Fuel {
        /// For each function that is defined, whether its caller pays for it.
        free: &'a [bool],
    },
}

/// Which events are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The hash, ever more seldom: where all but the first bits of the event's number are zero.
    Leading,
    /// The hash, after each `step` events from `from` to `to`.
    Every {
        /// Told after this event first.
        from: u64,
        /// And after none beyond this one.
        to: u64,
        /// How far apart.
        step: u64,
    },
    /// All there is of the events after `from`, up to `to`.
    Full {
        /// The last that is not told.
        from: u64,
        /// The last that is.
        to: u64,
    },
}

/// What kind of event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A function is called.
    Call = 1,
    /// It returns.
    Return = 2,
    /// It writes a value to memory or to a global.
    Store = 3,
    /// An instruction made a value.
    Value = 4,
}

impl EventKind {
    /// By its number.
    pub fn of(number: u64) -> Option<Self> {
        [Self::Call, Self::Return, Self::Store, Self::Value].into_iter().find(|kind| *kind as u64 == number)
    }
}

/// The module with something woven in.
///
/// # Errors
/// It is no module that sealing could have written.
pub fn weave(sealed: &[u8], what: &Weave<'_>) -> Result<Vec<u8>, String> {
    let known = Known::read(sealed).map_err(|error| error.to_string())?;
    let global = |name| known.export(name, ExternalKind::Global).ok_or_else(|| format!("it does not export `{name}`"));
    let (meter, cause) = (global(METER)?, global(CAUSE)?);
    let mut wide = Vec::new();
    for function in &known.functions {
        let results = known.type_at(*function).map_or(&[][..], |ty| ty.results());
        if results.len() > 1 && !wide.contains(&results) {
            wide.push(results);
        }
    }
    let values = match what {
        Weave::Inside { function, .. } => values(sealed, *function)?,
        _ => Vec::new(),
    };
    let mut weaver = Weaver { known: &known, what: *what, meter, cause, wide, values, imported: false, at: 0 };
    let mut module = Module::new();
    weaver.parse_core_module(&mut module, Parser::new(0), sealed).map_err(|error| error.to_string())?;
    Ok(module.finish())
}

/// For each instruction of a function, the type of the value that it makes, if it makes one.
///
/// # Errors
/// Why the module is not valid.
pub fn values(module: &[u8], function: u32) -> Result<Vec<Option<ValType>>, String> {
    let imported = Known::read(module).map_err(|error| error.to_string())?.imported();
    made(module, imported, function).map_err(|error| error.to_string())
}

fn made(module: &[u8], imported: u32, function: u32) -> Result<Vec<Option<ValType>>, wasmparser::BinaryReaderError> {
    let mut validator = Validator::new();
    let mut index = imported;
    for payload in Parser::new(0).parse_all(module) {
        let ValidPayload::Func(func, body) = validator.payload(&payload?)? else { continue };
        if index != function {
            index += 1;
            continue;
        }
        let mut validator = func.into_validator(Default::default());
        let mut reader = body.get_binary_reader();
        validator.read_locals(&mut reader)?;
        let mut made = Vec::new();
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset()?;
            validator.op(offset, &operator)?;
            let top = validator.get_operand_type(0).flatten().and_then(|ty| ValType::try_from(ty).ok());
            made.push(top.filter(|_| makes_a_value(&operator)));
        }
        return Ok(made);
    }
    Ok(Vec::new())
}

/// Not those that only move one, nor those after whose end somebody may come from elsewhere.
fn makes_a_value(operator: &Operator<'_>) -> bool {
    use Operator as O;
    match operator {
        O::LocalGet { .. } | O::LocalTee { .. } | O::GlobalGet { .. } | O::I32Const { .. } | O::I64Const { .. } => {
            false
        }
        O::Call { .. } | O::CallIndirect { .. } => true,
        _ => arity_of(operator).1 == 1,
    }
}

struct Weaver<'a, 'b> {
    known: &'b Known<'a>,
    what: Weave<'b>,
    meter: u32,
    cause: u32,
    /// Results of which a block needs a type of its own.
    wide: Vec<&'b [wasmparser::ValType]>,
    /// Of the function that is looked into.
    values: Vec<Option<ValType>>,
    /// Whether `trace` is imported by now.
    imported: bool,
    /// The body that comes next.
    at: usize,
}

/// Globals that are added, after the module's own.
#[derive(Clone, Copy)]
enum Extra {
    Count,
    Hash,
    /// The function that is being executed, and which call of it.
    Function,
    Call,
    /// Fuel that those took who were called by the function that is being executed.
    Below,
}
const EXTRAS: u32 = 5;

/// Locals that are added to a function, after its own.
struct Locals {
    call: u32,
    caller: u32,
    callers_call: u32,
    /// One for each type.
    scratch: u32,
    results: u32,
}

impl Weaver<'_, '_> {
    fn trace(&self) -> u32 {
        self.known.imported()
    }

    /// Mixes a number into the hash, and tells it if that is wanted.
    fn mix(&self) -> u32 {
        self.known.functions.len() as u32 + 1
    }

    /// Ends an event.
    fn close(&self) -> u32 {
        self.mix() + 1
    }

    fn added_type(&self, number: u32) -> u32 {
        self.known.types.len() as u32 + number
    }

    fn extra(&self, extra: Extra) -> u32 {
        self.known.globals.len() as u32 + extra as u32
    }

    /// Global number `which` of a defined function.
    fn of_function(&self, at: usize, which: u32) -> u32 {
        self.known.globals.len() as u32 + EXTRAS + at as u32 * self.a_function() + which
    }

    /// How many globals each function has: its calls, or its calls, own fuel, all fuel, and how many of its calls are open.
    fn a_function(&self) -> u32 {
        if matches!(self.what, Weave::Fuel { .. }) { 4 } else { 1 }
    }

    fn import(&mut self, imports: &mut ImportSection) {
        imports.import(NAMESPACE, TRACE, EntityType::Function(self.added_type(0)));
        self.imported = true;
    }

    fn window(&self) -> Window {
        match self.what {
            Weave::Events(window) | Weave::Inside { window, .. } => window,
            Weave::Fuel { .. } => Window::Leading,
        }
    }

    fn write_mix(&self) -> Function {
        let mut function = Function::new([]);
        let mut to = function.instructions();
        let hash = self.extra(Extra::Hash);
        to.global_get(hash).local_get(0).i64_xor().i64_const(0x9e37_79b9_7f4a_7c15_u64.cast_signed()).i64_mul();
        to.i64_const(29).i64_rotl().global_set(hash);
        if let Window::Full { from, to: last } = self.window() {
            let count = self.extra(Extra::Count);
            to.global_get(count).i64_const(from.cast_signed()).i64_sub();
            to.i64_const(last.saturating_sub(from).cast_signed()).i64_lt_u();
            to.if_(BlockType::Empty).local_get(0).call(self.trace()).end();
        }
        to.end();
        function
    }

    fn write_close(&self) -> Function {
        let mut function = Function::new([(1, ValType::I64)]);
        let mut to = function.instructions();
        let count = self.extra(Extra::Count);
        to.global_get(count).i64_const(1).i64_add().local_tee(0).global_set(count);
        match self.window() {
            Window::Full { .. } => {
                to.end();
                return function;
            }
            Window::Leading => {
                // Of the bits behind the first few none is set; the mask is 2^(64 - LEADING - leading zeros) - 1.
                to.local_get(0).i64_const(1).i64_const(64 - LEADING).local_get(0).i64_clz().i64_sub().local_tee(0);
                to.i64_const(0).local_get(0).i64_const(0).i64_gt_s().select().i64_shl().i64_const(1).i64_sub();
                to.i64_and().i64_eqz();
            }
            Window::Every { from, to: last, step } => {
                let past = |to: &mut InstructionSink<'_>| {
                    to.local_get(0).i64_const(from.cast_signed()).i64_sub();
                };
                past(&mut to);
                to.i64_const(last.saturating_sub(from).cast_signed()).i64_le_u();
                past(&mut to);
                to.i64_const(step.cast_signed()).i64_rem_u().i64_eqz().i32_and();
            }
        }
        to.if_(BlockType::Empty).global_get(self.extra(Extra::Hash)).call(self.trace()).end().end();
        function
    }

    /// Mixes what is in a local.
    fn mix_local(&self, to: &mut InstructionSink<'_>, local: u32, ty: ValType) {
        match ty {
            ValType::I32 => to.local_get(local).i64_extend_i32_u(),
            ValType::I64 => to.local_get(local),
            ValType::F32 => to.local_get(local).i32_reinterpret_f32().i64_extend_i32_u(),
            ValType::F64 => to.local_get(local).i64_reinterpret_f64(),
            _ => to.local_get(local).i64x2_extract_lane(0).call(self.mix()).local_get(local).i64x2_extract_lane(1),
        };
        to.call(self.mix());
    }

    /// Begins an event; `ty` is the place of the type of what is stored.
    fn event(&self, to: &mut InstructionSink<'_>, kind: EventKind, at: usize, ty: u32, locals: &Locals) {
        let header = i64::from(ty) << 40 | (kind as i64) << 32 | i64::from(self.known.imported() + at as u32);
        to.i64_const(header).call(self.mix()).local_get(locals.call).call(self.mix());
    }

    fn begin(&self, to: &mut InstructionSink<'_>, at: usize, params: &[ValType], locals: &Locals) {
        let (calls, current, call) = (self.of_function(at, 0), self.extra(Extra::Function), self.extra(Extra::Call));
        to.global_get(calls).i64_const(1).i64_add().local_tee(locals.call).global_set(calls);
        to.global_get(current).local_set(locals.caller).global_get(call).local_set(locals.callers_call);
        if matches!(self.what, Weave::Events(_)) {
            self.event(to, EventKind::Call, at, 0, locals);
            to.local_get(locals.caller).call(self.mix()).local_get(locals.callers_call).call(self.mix());
            to.global_get(self.meter).call(self.mix());
            params.iter().zip(0..).for_each(|(ty, param)| self.mix_local(to, param, *ty));
            to.call(self.close());
        }
        to.i64_const(i64::from(self.known.imported()) + at as i64).global_set(current);
        to.local_get(locals.call).global_set(call);
    }

    fn end(&self, to: &mut InstructionSink<'_>, at: usize, results: &[ValType], locals: &Locals) {
        (0..results.len() as u32).rev().for_each(|result| {
            to.local_set(locals.results + result);
        });
        if matches!(self.what, Weave::Events(_)) {
            self.event(to, EventKind::Return, at, 0, locals);
            to.global_get(self.meter).call(self.mix());
            results.iter().zip(locals.results..).for_each(|(ty, result)| self.mix_local(to, result, *ty));
            to.call(self.close());
        }
        to.local_get(locals.caller).global_set(self.extra(Extra::Function));
        to.local_get(locals.callers_call).global_set(self.extra(Extra::Call));
        (0..results.len() as u32).for_each(|result| {
            to.local_get(locals.results + result);
        });
    }

    /// The value on the stack is about to be stored.
    fn store(&self, to: &mut InstructionSink<'_>, at: usize, ty: ValType, locals: &Locals) {
        let scratch = locals.scratch + place(ty);
        to.local_tee(scratch);
        self.event(to, EventKind::Store, at, place(ty), locals);
        self.mix_local(to, scratch, ty);
        to.call(self.close());
    }

    /// The value on the stack was made by instruction number `number` of the call that is looked into.
    fn value(&self, to: &mut InstructionSink<'_>, number: usize, ty: ValType, locals: &Locals) {
        let Weave::Inside { call, .. } = self.what else { return };
        let scratch = locals.scratch + place(ty);
        to.local_tee(scratch);
        to.local_get(locals.call).i64_const(call.cast_signed()).i64_eq().if_(BlockType::Empty);
        to.i64_const((EventKind::Value as i64) << 32 | number as i64).call(self.mix());
        self.mix_local(to, scratch, ty);
        to.call(self.close()).end();
    }

    /// Puts the fuel that is left on the stack: from the local that passes the meter, or from the global.
    fn fuel(&self, to: &mut InstructionSink<'_>, passed: Option<u32>) {
        match passed {
            Some(local) => to.local_get(local),
            None => to.global_get(self.meter),
        };
        to.i64_const(METER_STACK_BITS.into()).i64_shr_s();
    }

    fn begin_fuel(&self, to: &mut InstructionSink<'_>, at: usize, passed: Option<u32>, locals: &Locals) {
        let (calls, open, below) = (self.of_function(at, 0), self.of_function(at, 3), self.extra(Extra::Below));
        to.global_get(calls).i64_const(1).i64_add().global_set(calls);
        if self.pays(at) {
            to.global_get(open).i64_const(1).i64_add().global_set(open);
            self.fuel(to, passed);
            to.local_set(locals.call).global_get(below).local_set(locals.caller).i64_const(0).global_set(below);
        }
    }

    fn end_fuel(&self, to: &mut InstructionSink<'_>, at: usize, results: &[ValType], passes: bool, locals: &Locals) {
        (0..results.len() as u32).rev().for_each(|result| {
            to.local_set(locals.results + result);
        });
        if self.pays(at) {
            let [own, all, open] = [1, 2, 3].map(|which| self.of_function(at, which));
            let below = self.extra(Extra::Below);
            to.local_get(locals.call);
            self.fuel(to, passes.then(|| locals.results + results.len() as u32 - 1));
            to.i64_sub().local_tee(locals.call).global_get(below).i64_sub().global_get(own).i64_add().global_set(own);
            to.global_get(open).i64_const(1).i64_sub().global_set(open);
            // What calls itself has its fuel counted once, by the call that began it.
            to.global_get(open).i64_eqz().if_(BlockType::Empty);
            to.global_get(all).local_get(locals.call).i64_add().global_set(all).end();
            to.local_get(locals.caller).local_get(locals.call).i64_add().global_set(below);
        }
        let function = self.known.imported() + at as u32;
        if [RUN, REDUCE].iter().any(|name| self.known.export(name, ExternalKind::Func) == Some(function)) {
            for at in 0..self.known.bodies.len() {
                for which in 0..3 {
                    to.global_get(self.of_function(at, which)).call(self.trace());
                }
            }
        }
        (0..results.len() as u32).for_each(|result| {
            to.local_get(locals.results + result);
        });
    }

    fn pays(&self, at: usize) -> bool {
        matches!(self.what, Weave::Fuel { free } if !free.get(at).copied().unwrap_or(true))
    }

    /// The type of the value that an instruction is about to store.
    fn stored(&self, operator: &Operator<'_>) -> Option<ValType> {
        use Operator as O;
        Some(match operator {
            O::I32Store { .. } | O::I32Store8 { .. } | O::I32Store16 { .. } => ValType::I32,
            O::I64Store { .. } | O::I64Store8 { .. } | O::I64Store16 { .. } | O::I64Store32 { .. } => ValType::I64,
            O::F32Store { .. } => ValType::F32,
            O::F64Store { .. } => ValType::F64,
            O::V128Store { .. } => ValType::V128,
            // The meter is told with calls and returns.
            O::GlobalSet { global_index } if ![self.meter, self.cause].contains(global_index) => {
                ValType::try_from(self.known.globals.get(*global_index as usize)?.ty).ok()?
            }
            _ => return None,
        })
    }

    fn body(&mut self, body: &FunctionBody<'_>) -> Result<Function, Error> {
        let at = self.at;
        let function = self.known.imported() + at as u32;
        let ty = self.known.type_of(function);
        let types = |types: &[wasmparser::ValType]| -> Vec<ValType> {
            types.iter().filter_map(|ty| ValType::try_from(*ty).ok()).collect()
        };
        let (params, results) = ty.map_or((Vec::new(), Vec::new()), |ty| (types(ty.params()), types(ty.results())));
        let mut own = params.len() as u32;
        let mut declared = Vec::new();
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            own += count;
            declared.push((count, self.val_type(ty)?));
        }
        let locals = Locals { call: own, caller: own + 1, callers_call: own + 2, scratch: own + 3, results: own + 8 };
        declared.extend([(3, ValType::I64), (1, ValType::I32), (1, ValType::I64), (1, ValType::F32)]);
        declared.extend([(1, ValType::F64), (1, ValType::V128)]);
        declared.extend(results.iter().map(|ty| (1, *ty)));
        let mut woven = Function::new(declared);
        let is_fuel = matches!(self.what, Weave::Fuel { .. });
        // What the verifier cannot read is no sealed module, and takes no meter.
        let begins = Tokens::read_first(body, 5).unwrap_or_default().all;
        let passes = is_fuel && takes_meter(ty, &begins);
        if is_fuel {
            self.begin_fuel(&mut woven.instructions(), at, passes.then(|| params.len() as u32 - 1), &locals);
        } else {
            self.begin(&mut woven.instructions(), at, &params, &locals);
        }
        let block = match results[..] {
            [] => BlockType::Empty,
            [one] => BlockType::Result(one),
            _ => {
                let wide = self.wide.iter().position(|wide| ty.is_some_and(|ty| ty.results() == *wide)).unwrap_or(0);
                BlockType::FunctionType(self.added_type(2 + wide as u32))
            }
        };
        woven.instructions().block(block);
        let inside = matches!(self.what, Weave::Inside { function: looked_at, .. } if looked_at == function);
        let mut nesting = 0;
        for (number, operator) in body.get_operators_reader()?.into_iter().enumerate() {
            let operator = operator?;
            if let (Weave::Events(_), Some(ty)) = (self.what, self.stored(&operator)) {
                self.store(&mut woven.instructions(), at, ty, &locals);
            }
            match operator {
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => nesting += 1,
                Operator::End => nesting -= 1,
                _ => {}
            }
            match operator {
                // The function's own end is that of the block around its code.
                Operator::Return => drop(woven.instructions().br(nesting as u32)),
                operator => drop(woven.instruction(&self.instruction(operator)?)),
            }
            if let (true, Some(Some(ty))) = (inside, self.values.get(number)) {
                self.value(&mut woven.instructions(), number, *ty, &locals);
            }
        }
        let mut to = woven.instructions();
        if is_fuel {
            self.end_fuel(&mut to, at, &results, passes, &locals);
        } else {
            self.end(&mut to, at, &results, &locals);
        }
        to.end();
        Ok(woven)
    }
}

fn place(ty: ValType) -> u32 {
    match ty {
        ValType::I32 => 0,
        ValType::I64 => 1,
        ValType::F32 => 2,
        ValType::F64 => 3,
        _ => 4,
    }
}

impl Reencode for Weaver<'_, '_> {
    type Error = core::convert::Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error> {
        Ok(if function < self.known.imported() { function } else { function + 1 })
    }

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: wasmparser::TypeSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_type_section(self, types, section)?;
        types.ty().function([ValType::I64], []);
        types.ty().function([], []);
        for wide in &self.wide {
            let results: Vec<ValType> = wide.iter().filter_map(|ty| ValType::try_from(*ty).ok()).collect();
            types.ty().function([], results);
        }
        Ok(())
    }

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: wasmparser::ImportSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_import_section(self, imports, section)?;
        self.import(imports);
        Ok(())
    }

    fn intersperse_section_hook(
        &mut self,
        module: &mut Module,
        _after: Option<SectionId>,
        before: Option<SectionId>,
    ) -> Result<(), Error> {
        let comes_first = matches!(before, Some(SectionId::Type | SectionId::Import | SectionId::Custom));
        if !self.imported && !comes_first {
            let mut imports = ImportSection::new();
            self.import(&mut imports);
            module.section(&imports);
        }
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: wasmparser::FunctionSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_function_section(self, functions, section)?;
        functions.function(self.added_type(0)).function(self.added_type(1));
        Ok(())
    }

    fn parse_global_section(
        &mut self,
        globals: &mut GlobalSection,
        section: wasmparser::GlobalSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_global_section(self, globals, section)?;
        for _ in 0..EXTRAS + self.known.bodies.len() as u32 * self.a_function() {
            let ty = GlobalType { val_type: ValType::I64, mutable: true, shared: false };
            globals.global(ty, &ConstExpr::i64_const(0));
        }
        Ok(())
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Result<(), Error> {
        code.function(&self.body(&body)?);
        self.at += 1;
        if self.at == self.known.bodies.len() {
            code.function(&self.write_mix()).function(&self.write_close());
        }
        Ok(())
    }
}
