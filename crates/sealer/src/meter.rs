//! Fuel and stack: every function pays before it works, and calls that may go round are counted.
//!
//! The *meter* holds the fuel that is left above 16 bits of the stack that is left, so one subtraction takes both. What a
//! function charges is planned in [`crate::plan`].
//!
//! - A function that is executed from its beginning to its end whatever happens, or nearly so, charges nothing: whoever calls
//!   it pays for it (*free*).
//! - So does one that is called through a table, calls nobody and costs little: its callers pay for the dearest that they may meet.
//! - Others that are called by name take the meter as their last parameter and give it back as their last result, so it stays
//!   in a register.
//! - Those that are called from outside or through a table have the type that they have, and find the meter in a global. Whoever
//!   may call them, or the runtime, writes it there before. A function that is called in both ways was split before; see
//!   [`crate::split`].
//! - It is looked at whether anything is left at the heads of loops, at the entry of functions that call others, and where
//!   a length was paid for. Between two such places there is no more work than fits into a module.
//! - A loop that counts is paid for as a whole before it, and its iterations do nothing about the meter; see [`crate::counted`].
//! - Stack is taken by one function on each cycle of calls, for the deepest row of calls that begins with it. The rest of the
//!   calls nest only so deeply, whatever happens; that is checked here, and set aside.
//!
//! A function that looks has its code in two blocks, and one that takes stack in three:
//!
//! ```wat
//! (block $short
//!   (block $dry
//!     (block $body (result …) …)  ;; `return` is a branch to its end
//!     ;; gives the meter back, and the stack that it took
//!     return)
//!   ;; says that no fuel is left, and needs no meter for that, so an engine need not have it at hand
//!   unreachable)
//! ;; says which of both ran out at the entry
//! unreachable
//! ```

use std::collections::BTreeMap;

use manyhands_abi::{CAUSE_FUEL, CAUSE_STACK, COST_TABLE, METER, METER_STACK_BITS};
use manyhands_verifier::calls::{Calls, Through};
use manyhands_verifier::cost;
use manyhands_verifier::frame::{self, Operands};
use manyhands_verifier::module::Module;
use manyhands_verifier::token::{Kind, Token, takes_meter};
use wasm_encoder::{BlockType, ConstExpr, Encode as _, ExportKind, GlobalType, Instruction as I, ValType};
use wasmparser::ExternalKind;

use crate::Passes;
use crate::body::Body;
use crate::counted::Counted;
use crate::outline::is_control;
use crate::plan::{Site, count, plan};
use crate::refusal::{Place, Refusal};
use crate::survey::Survey;
use crate::write::{Additions, Items, Splice};

/// The most units that a function may cost whose caller pays for it.
const FREE_UNITS_MAX: u64 = 3_000;
/// The most units that a function may cost that is called through a table and for which its callers pay, whichever they call.
const FREE_IN_TABLE_UNITS_MAX: u64 = 56;
/// The most functions in a row of which each is paid for by the one before.
const FREE_ROW_MAX: u32 = 8;

/// What the pass did to one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metered {
    /// The function, imports first.
    pub function: u32,
    /// Units for one call that meets no loop and no call.
    pub entry: u64,
    /// How many loops are charged, in each iteration or before them.
    pub heads: u32,
    /// How many places are charged besides.
    pub others: u32,
    /// Whether whoever calls it pays.
    pub free: bool,
    /// Units of stack that it counts.
    pub stack: u64,
    /// Bytes of its body before this pass, with what other passes wrote into it.
    pub before: u32,
    /// And after.
    pub after: u32,
}

/// What is known of a function before it is written.
struct Plan {
    sites: Vec<Site>,
    traits: Traits,
    /// Whether it can be called from outside or through a table.
    is_known: bool,
    free: Option<Free>,
    frame: u64,
    /// Units of stack to take at the entry.
    stack: u64,
}

/// What is known of all functions.
#[derive(Clone, Copy)]
struct Plans<'a> {
    functions: &'a [Plan],
    /// For each type, what a call through a table costs.
    through: &'a [Through],
}

#[derive(Clone, Copy)]
struct Free {
    units: u64,
    row: u32,
}

/// What a function does, as far as its meter is concerned.
#[derive(Clone, Copy, Default)]
struct Traits {
    loops: bool,
    /// It calls something that charges.
    calls: bool,
    lengths: bool,
    /// It charges so much that its callers' looking is not enough.
    charges_much: bool,
    /// It calls the runtime, which may end it and look at its meter.
    hosts: bool,
    /// It calls something that is free; how long a row that makes.
    row: u32,
}

impl Traits {
    /// Whether it is looked at whether anything is left.
    fn looks(self) -> bool {
        self.loops || self.lengths || self.looks_at_entry()
    }

    fn looks_at_entry(self) -> bool {
        self.calls || self.charges_much
    }
}

impl Plan {
    fn looks(&self) -> bool {
        self.traits.looks() || self.stack > 0
    }

    /// Whether it takes the meter as a parameter.
    fn takes_meter(&self) -> bool {
        !self.is_known && self.free.is_none()
    }
}

/// Writes fuel and stack into a module, whose code may have `most` bytes then.
///
/// # Errors
/// [`Refusal`] when calls nest too deeply without any recursion, and when the code becomes too long.
pub(crate) fn pass(
    bytes: &[u8],
    survey: &Survey,
    passes: &Passes,
    most: usize,
) -> Result<(Vec<u8>, Vec<Metered>), Refusal> {
    let Passes { fuel, stack, exact, .. } = *passes;
    let module = Module::read(bytes).map_err(Refusal::malformed)?;
    let calls = survey.calls(&module);
    let (heads, order) = calls.heads();
    let known = module.is_entry();
    let mut planner = Planner {
        module: &module,
        heads: &heads,
        known,
        plans: Vec::new(),
        through: Vec::new(),
        // Their callers pay for the dearest that may be meant.
        leaves: if exact { vec![false; module.bodies.len()] } else { leaves(&module, &calls) },
        charges: fuel,
        exact,
        body: Body::default(),
        costs: Vec::new(),
        operands: Operands::default(),
    };
    planner.plans.resize_with(module.bodies.len(), || None);
    for at in 0..module.bodies.len() {
        if planner.leaves[at] {
            planner.plan(at)?;
        }
    }
    planner.through = calls.through(|at| planner.plans[at].as_ref()?.free.map(|free| free.units));
    for at in order {
        if planner.plans[at].is_none() {
            planner.plan(at)?;
        }
    }
    let (through, body) = (planner.through, planner.body);
    let mut plans: Vec<Plan> = planner.plans.into_iter().flatten().collect();
    if !fuel && !stack {
        for plan in &mut plans {
            (plan.traits, plan.free) = (Traits::default(), Some(Free { units: 0, row: 0 }));
        }
    }
    let root = if stack { take_stack(&module, &calls, &heads, &mut plans)? } else { 0 };
    write(bytes, &module, Plans { functions: &plans, through: &through }, body, frame::BUDGET - root, most)
}

/// Decides what each head takes; returns what calls take that no head counts.
fn take_stack(module: &Module<'_>, calls: &Calls, heads: &[bool], plans: &mut [Plan]) -> Result<u64, Refusal> {
    let frames: Vec<u64> = plans.iter().map(|plan| plan.frame).collect();
    // There is a head on every cycle.
    let chains = calls.chains(heads, &frames).unwrap_or_default();
    let mut root = 0;
    for (at, chain) in chains.iter().enumerate() {
        if heads[at] {
            // More than there is at all stops it as surely.
            plans[at].stack = (*chain).min(frame::BUDGET + 1);
        }
    }
    for (_, kind, index) in &module.exports {
        let defined = (*kind == ExternalKind::Func).then(|| index.checked_sub(module.imported())).flatten();
        let Some(at) = defined.map(|at| at as usize).filter(|at| !heads[*at]) else { continue };
        if chains[at] > frame::BUDGET {
            let (bytes, most) = (chains[at] * frame::UNIT_BYTES, frame::BUDGET * frame::UNIT_BYTES);
            let reason = format!("it and what it calls take {bytes} bytes of stack; at most {most} are there");
            return Err(Refusal::new(Place::function(*index), reason, "split large functions, or keep data in memory"));
        }
        root = root.max(chains[at]);
    }
    Ok(root)
}

/// For each function that is defined, whether it is only called through a table, and calls nobody.
fn leaves(module: &Module<'_>, calls: &Calls) -> Vec<bool> {
    let mut leaves = vec![false; module.bodies.len()];
    let defined = |function: u32| function.checked_sub(module.imported()).map(|at| at as usize);
    for at in module.tabled.iter().filter_map(|function| defined(*function)) {
        leaves[at] = calls.is_leaf(at);
    }
    for (_, kind, function) in &module.exports {
        if let (ExternalKind::Func, Some(at)) = (kind, defined(*function)) {
            leaves[at] = false;
        }
    }
    leaves
}

struct Planner<'a> {
    module: &'a Module<'a>,
    heads: &'a [bool],
    /// For each function, whether it can be called from outside or through a table.
    known: Vec<bool>,
    plans: Vec<Option<Plan>>,
    /// For each type, what a call through a table costs.
    through: Vec<Through>,
    /// For each function, whether it is only called through a table, and calls nobody.
    leaves: Vec<bool>,
    charges: bool,
    exact: bool,
    /// The function that was read last, the units of its instructions, and its operands: their memory is the next one's.
    body: Body<'a>,
    costs: Vec<u64>,
    operands: Operands,
}

impl Planner<'_> {
    fn plan(&mut self, at: usize) -> Result<(), Refusal> {
        let function = self.module.imported() + at as u32;
        let mut body = std::mem::take(&mut self.body);
        read(self.module, at, &mut body)?;
        let (mut costs, mut operands) = (std::mem::take(&mut self.costs), std::mem::take(&mut self.operands));
        costs.clear();
        costs.reserve(body.tokens.all.len());
        operands.restart(results(self.module, function));
        let mut traits = Traits::default();
        for (token, live) in body.tokens.all.iter().zip(&body.live) {
            operands.step(self.module, token);
            costs.push(if *live { self.cost(token, &mut traits) } else { 0 });
            if !live {
                operands.kill();
            }
        }
        let mut sites = if self.exact { count(&body, &costs) } else { plan(&body, &costs) };
        if !self.charges {
            sites.clear();
        }
        if sites.iter().any(|site| site.units > cost::CHARGE_MAX) {
            return Err(Refusal::new(
                Place::function(function),
                "it does too much at once to be paid for",
                "split the function",
            ));
        }
        traits.charges_much = sites.iter().map(|site| site.units).sum::<u64>() > cost::UNSEEN_MAX;
        let is_known = self.known[function as usize];
        let units = match sites[..] {
            [] => Some(0),
            [entry] => Some(entry.units),
            _ => None,
        };
        let may_be_free = !traits.looks() && !traits.hosts && !self.heads[at] && traits.row < FREE_ROW_MAX;
        let most = if is_known { FREE_IN_TABLE_UNITS_MAX } else { FREE_UNITS_MAX };
        let may_be_free = may_be_free && (!is_known || self.leaves[at]);
        let free = units.filter(|units| may_be_free && *units <= most);
        let free = free.map(|units| Free { units, row: traits.row + 1 });
        // A head has a local to look at what is left.
        let holds_meter = free.is_none() && (!is_known || traits.looks() || self.heads[at]);
        let more = u64::from(holds_meter) + u64::from(traits.lengths);
        let vectors = operands.vectors || body.vectors;
        let frame = frame::units(u64::from(body.locals) + more, operands.most, vectors);
        self.plans[at] = Some(Plan { sites, traits, is_known, free, frame, stack: 0 });
        (self.body, self.costs, self.operands) = (body, costs, operands);
        Ok(())
    }

    fn cost(&self, token: &Token, traits: &mut Traits) -> u64 {
        let units = u64::from(token.cost);
        match token.kind {
            Kind::Loop(_) => traits.loops = true,
            Kind::CallIndirect(ty) => {
                let Through { units: theirs, pays } = self.through[ty as usize];
                traits.calls |= pays;
                traits.row = traits.row.max(1);
                return units + theirs;
            }
            // Whoever writes the cause stops.
            Kind::GlobalSet(global_index) if global_index == cause_of(self.module) => return 0,
            Kind::Call(function_index) => {
                let Some(called) = function_index.checked_sub(self.module.imported()) else {
                    traits.hosts = true;
                    traits.lengths |= cost::host_has_length(self.module.imports[function_index as usize]);
                    return cost::HOST_CALL;
                };
                // Callees come before their callers, but for those that are on a cycle with them.
                match self.plans[called as usize].as_ref().and_then(|plan| plan.free) {
                    Some(free) => {
                        traits.row = traits.row.max(free.row);
                        return units + free.units;
                    }
                    None => traits.calls = true,
                }
            }
            Kind::Length => traits.lengths = true,
            _ => {}
        }
        units
    }
}

fn read<'a>(module: &Module<'a>, at: usize, body: &mut Body<'a>) -> Result<(), Refusal> {
    let params = module.type_of(module.imported() + at as u32).map_or(&[][..], |ty| ty.params());
    body.read_again(params, &module.bodies[at]).map_err(Refusal::malformed)
}

/// The cause is the last global, since it was just added; see [`crate::grow`].
fn cause_of(module: &Module<'_>) -> u32 {
    (module.globals.len() as u32).saturating_sub(1)
}

fn results(module: &Module<'_>, function: u32) -> usize {
    module.type_of(function).map_or(0, |ty| ty.results().len())
}

fn write<'a>(
    bytes: &[u8],
    module: &Module<'a>,
    plans: Plans<'_>,
    mut body: Body<'a>,
    stack: u64,
    most: usize,
) -> Result<(Vec<u8>, Vec<Metered>), Refusal> {
    let mut additions = Additions::default();
    let cause = cause_of(module);
    let meter = module.globals.len() as u32;
    additions.globals.add(|out| {
        GlobalType { val_type: ValType::I64, mutable: true, shared: false }.encode(out);
        ConstExpr::i64_const(stack as i64).encode(out);
    });
    additions.globals.add(|out| {
        GlobalType { val_type: ValType::I32, mutable: false, shared: false }.encode(out);
        ConstExpr::i32_const(cost::TABLE as i32).encode(out);
    });
    for (name, global) in [(METER, meter), (COST_TABLE, meter + 1)] {
        additions.exports.add(|out| {
            name.encode(out);
            ExportKind::Global.encode(out);
            global.encode(out);
        });
    }
    let mut types = Types::of(module);
    let mut metered = Vec::with_capacity(plans.functions.len());
    let mut type_of_function = Vec::with_capacity(plans.functions.len());
    for (at, plan) in plans.functions.iter().enumerate() {
        let function = module.imported() + at as u32;
        read(module, at, &mut body)?;
        let code = &module.bodies[at];
        let before = additions.code.len();
        let ty = if plan.takes_meter() {
            let with_meter = |types: Vec<ValType>| [types, vec![ValType::I64]].concat();
            let (params, results) = types.of_function(function);
            types.index(&with_meter(params), &with_meter(results))
        } else {
            module.functions[function as usize]
        };
        type_of_function.push(ty);
        let mut locals = Vec::new();
        if plan.looks() && !plan.takes_meter() {
            locals.push(ValType::I64);
        }
        if plan.traits.lengths {
            locals.push(ValType::I32);
        }
        let mut splice = Splice::locals(bytes, code, &locals)?;
        if plan.free.is_none() {
            let block = types.block(&types.of_function(function).1);
            splice = Writer::function(splice, plans, module, at, &body, (meter, cause), block);
        } else {
            if takes_meter(module.type_of(function), &body.tokens.all) {
                // Or it would be taken for one that takes the meter.
                splice.put(&[I::Nop]);
            }
            for (index, _) in body.live.iter().enumerate().filter(|(_, live)| !**live) {
                unreached(&mut splice, module, plans, &body, index);
            }
        }
        splice.finish(&mut additions.code);
        additions.not_too_long(most)?;
        let entry = plan.sites.first().map_or(0, |site| site.units);
        let heads = plan.sites.iter().filter(|site| site.head).count() as u32;
        metered.push(Metered {
            function,
            entry,
            heads,
            others: (plan.sites.len() as u32).saturating_sub(heads + 1),
            free: plan.free.is_some(),
            stack: plan.stack,
            before: code.range().len() as u32,
            after: (additions.code.len() - before) as u32,
        });
    }
    additions.types = types.added;
    let mut functions = Items::default();
    type_of_function.into_iter().for_each(|ty| functions.add(|out| ty.encode(out)));
    additions.all_functions = Some(functions);
    Ok((additions.write(bytes, &module.sections)?, metered))
}

/// The module's types, and those that are added.
struct Types<'a> {
    module: &'a Module<'a>,
    known: BTreeMap<(Vec<u8>, Vec<u8>), u32>,
    added: Items,
}

impl<'a> Types<'a> {
    fn of(module: &'a Module<'a>) -> Self {
        let mut known = BTreeMap::new();
        for (index, ty) in module.types.iter().enumerate() {
            known.entry((encoded(&val_types(ty.params())), encoded(&val_types(ty.results())))).or_insert(index as u32);
        }
        Self { module, known, added: Items::default() }
    }

    fn of_function(&self, function: u32) -> (Vec<ValType>, Vec<ValType>) {
        let ty = self.module.type_of(function);
        ty.map_or((Vec::new(), Vec::new()), |ty| (val_types(ty.params()), val_types(ty.results())))
    }

    fn index(&mut self, params: &[ValType], results: &[ValType]) -> u32 {
        let next = self.module.types.len() as u32 + self.added.count();
        let index = *self.known.entry((encoded(params), encoded(results))).or_insert(next);
        if index == next {
            self.added.add(|out| {
                out.push(0x60);
                params.encode(out);
                results.encode(out);
            });
        }
        index
    }

    /// The type of a block that gives what a function gives.
    fn block(&mut self, results: &[ValType]) -> BlockType {
        match results {
            [] => BlockType::Empty,
            [one] => BlockType::Result(*one),
            many => BlockType::FunctionType(self.index(&[], many)),
        }
    }
}

fn encoded(types: &[ValType]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(types.len());
    types.iter().for_each(|ty| ty.encode(&mut bytes));
    bytes
}

fn val_types(types: &[wasmparser::ValType]) -> Vec<ValType> {
    types.iter().filter_map(|ty| val_type(*ty)).collect()
}

/// References are in no function's type; the check has seen to that.
fn val_type(ty: wasmparser::ValType) -> Option<ValType> {
    use wasmparser::ValType as T;
    Some(match ty {
        T::I32 => ValType::I32,
        T::I64 => ValType::I64,
        T::F32 => ValType::F32,
        T::F64 => ValType::F64,
        T::V128 => ValType::V128,
        T::Ref(_) => return None,
    })
}

/// What is never reached must be valid all the same: a call passes some meter.
fn unreached(splice: &mut Splice<'_>, module: &Module<'_>, plans: Plans<'_>, body: &Body<'_>, at: usize) {
    let (Kind::Call(function), Some(next)) = (body.kind(at), body.tokens.all.get(at + 1)) else { return };
    let called = function.checked_sub(module.imported());
    if called.is_some_and(|called| plans.functions[called as usize].takes_meter()) {
        splice.copy_to(body.tokens.all[at].offset as usize);
        splice.put(&[I::I64Const(0)]);
        splice.copy_to(next.offset as usize);
        splice.put(&[I::Drop]);
    }
}

/// Whether an instruction has nothing to do with the meter, with locals that may have moved, or with blocks.
fn is_plain(kind: Kind) -> bool {
    let moves = matches!(kind, Kind::LocalGet(_) | Kind::LocalSet(_) | Kind::LocalTee(_));
    let pays = matches!(kind, Kind::Call(_) | Kind::CallIndirect(_) | Kind::Length);
    !moves && !pays && !is_control(kind)
}

/// Whether the instruction is reached from the one before it.
fn came_before(body: &Body<'_>, at: usize) -> bool {
    let never_goes_on = matches!(body.kind(at - 1), Kind::Br(_) | Kind::BrTable(_) | Kind::Return | Kind::Unreachable);
    body.live[at - 1] && !never_goes_on
}

/// Who has the newest meter: the global, the local, or both.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Newest {
    Global,
    Local,
    Both,
}

struct Writer<'a> {
    splice: Splice<'a>,
    meter: u32,
    /// The local that holds the meter, and the one that holds a length.
    local: u32,
    length: u32,
    /// Whether a local holds the meter.
    caches: bool,
    looks: bool,
    /// Whether that local is a parameter; those behind it have moved.
    takes_meter: bool,
    newest: Newest,
    /// Open blocks, without those that are added.
    nesting: u32,
    /// Whether somebody branches to the end.
    left: bool,
}

impl<'a> Writer<'a> {
    fn function(
        splice: Splice<'a>,
        plans: Plans<'_>,
        module: &Module<'_>,
        at: usize,
        body: &Body<'_>,
        (meter, cause): (u32, u32),
        block: BlockType,
    ) -> Splice<'a> {
        let plan = &plans.functions[at];
        let (looks, takes_meter) = (plan.looks(), plan.takes_meter());
        let params = module.type_of(module.imported() + at as u32).map_or(0, |ty| ty.params().len() as u32);
        let mut writer = Writer {
            splice,
            meter,
            local: if takes_meter { params } else { body.locals },
            length: body.locals + 1,
            caches: looks || takes_meter,
            looks,
            takes_meter,
            newest: if takes_meter { Newest::Local } else { Newest::Global },
            nesting: 0,
            left: false,
        };
        if plan.stack > 0 {
            writer.splice.put(&[I::Block(BlockType::Empty)]);
        }
        if looks {
            writer.splice.put(&[I::Block(BlockType::Empty)]);
        }
        if writer.caches {
            writer.splice.put(&[I::Block(block)]);
        }
        writer.entry(plan);
        writer.code(module, at, plans, body);
        if writer.caches {
            writer.end(plan.stack, cause);
        }
        writer.splice
    }

    fn entry(&mut self, plan: &Plan) {
        let units = plan.sites.first().map_or(0, |site| site.units);
        let checks = plan.traits.looks_at_entry() || plan.stack > 0;
        if units == 0 && !checks && !self.takes_meter {
            return;
        }
        let charge = (units << METER_STACK_BITS) + plan.stack;
        self.newest_on_stack();
        self.splice.put(&[I::I64Const(charge as i64), I::I64Sub]);
        if plan.stack > 0 {
            // The highest bit of each half, which is set when it went below zero.
            const BELOW_ZERO: i64 = i64::MIN | 1 << (METER_STACK_BITS - 1);
            self.splice.put(&[
                I::LocalTee(self.local),
                I::I64Const(BELOW_ZERO),
                I::I64And,
                I::I64Const(0),
                I::I64Ne,
                I::BrIf(2),
            ]);
            self.newest = Newest::Local;
        } else {
            self.keep(checks);
        }
    }

    /// Keeps what is on the stack as the meter, where it has its place.
    fn keep(&mut self, looks: bool) {
        if looks {
            self.look();
        } else if self.caches {
            self.splice.put(&[I::LocalSet(self.local)]);
        } else {
            self.splice.put(&[I::GlobalSet(self.meter)]);
            return;
        }
        self.newest = Newest::Local;
    }

    /// Keeps what is on the stack as the meter, and leaves if no fuel is left.
    fn look(&mut self) {
        self.splice.put(&[I::LocalTee(self.local), I::I64Const(0), I::I64LtS, I::BrIf(self.nesting + 1)]);
    }

    fn newest_on_stack(&mut self) {
        self.splice.put(&[match self.newest {
            Newest::Global => I::GlobalGet(self.meter),
            Newest::Local | Newest::Both => I::LocalGet(self.local),
        }]);
    }

    fn write_back(&mut self) {
        if self.newest == Newest::Local {
            self.splice.put(&[I::LocalGet(self.local), I::GlobalSet(self.meter)]);
            self.newest = Newest::Both;
        }
    }

    fn read_again(&mut self) {
        if self.newest == Newest::Global {
            self.splice.put(&[I::GlobalGet(self.meter), I::LocalSet(self.local)]);
            self.newest = Newest::Both;
        }
    }

    fn code(&mut self, module: &Module<'_>, at: usize, plans: Plans<'_>, body: &Body<'_>) {
        let mut sites = plans.functions[at].sites.iter().skip(1).peekable();
        for (index, token) in body.tokens.all.iter().enumerate() {
            let offset = token.offset as usize;
            if is_plain(token.kind) && sites.peek().is_none_or(|site| site.at > index) {
                continue;
            }
            if !body.live[index] {
                unreached(&mut self.splice, module, plans, body, index);
                if let (Kind::Return, true, Some(next)) = (token.kind, self.takes_meter, body.tokens.all.get(index + 1))
                {
                    // It would have to give back a meter as well.
                    self.splice.copy_to(offset);
                    self.splice.put(&[I::Unreachable]);
                    self.splice.skip_to(next.offset as usize);
                }
                self.moved(token.kind, offset, body, index);
                self.nest(token.kind);
                continue;
            }
            if index > 0 && !came_before(body, index) && self.caches {
                // Whoever comes here branched, and whoever branches has the newest.
                self.newest = Newest::Local;
            }
            if let Some(site) = sites.next_if(|site| site.at == index) {
                self.splice.copy_to(offset);
                self.charge(site);
            }
            if self.caches {
                self.splice.copy_to(offset);
                self.meet(module, plans, token.kind, body, index);
            }
            if let Some(Site { counted: Some(counted), units, .. }) =
                sites.next_if(|site| site.at == index + 1 && site.counted.is_some())
            {
                self.count(*counted, *units);
            }
            self.moved(token.kind, offset, body, index);
            self.nest(token.kind);
        }
    }

    /// Locals behind the parameter that is added have moved.
    fn moved(&mut self, kind: Kind, offset: usize, body: &Body<'_>, at: usize) {
        let moved = match kind {
            Kind::LocalGet(local) if local >= self.local => I::LocalGet(local + 1),
            Kind::LocalSet(local) if local >= self.local => I::LocalSet(local + 1),
            Kind::LocalTee(local) if local >= self.local => I::LocalTee(local + 1),
            _ => return,
        };
        if let (true, Some(next)) = (self.takes_meter, body.tokens.all.get(at + 1)) {
            self.splice.copy_to(offset);
            self.splice.put(&[moved]);
            self.splice.skip_to(next.offset as usize);
        }
    }

    fn nest(&mut self, kind: Kind) {
        match kind {
            Kind::Block(_) | Kind::Loop(_) | Kind::If(_) => self.nesting += 1,
            Kind::End => self.nesting = self.nesting.saturating_sub(1),
            _ => {}
        }
    }

    fn charge(&mut self, site: &Site) {
        if site.units == 0 && !site.head {
            return;
        }
        self.newest_on_stack();
        self.splice.put(&[I::I64Const((site.units << METER_STACK_BITS) as i64), I::I64Sub]);
        self.keep(site.head);
    }

    /// Charges for all iterations of the loop that follows, and leaves if there is not so much, or if it would never end.
    fn count(&mut self, counted: Counted, units: u64) {
        let local_get = |local: u32| I::LocalGet(local + u32::from(self.takes_meter && local >= self.local));
        let bound = match counted.bound {
            Kind::LocalGet(local) => local_get(local),
            Kind::I32Const(value) => I::I32Const(value),
            _ => return,
        };
        let difference = [bound, local_get(counted.local), I::I32Sub];
        let zeros = counted.zeros();
        self.newest_on_stack();
        self.splice.put(&difference);
        // From 1 to 2³² of the smallest steps, of which a power of two make one of the loop's.
        self.splice.put(&[I::I32Const(counted.inverse()), I::I32Mul]);
        self.splice.put(&[I::I32Const(1), I::I32Sub, I::I64ExtendI32U, I::I64Const(1), I::I64Add]);
        self.splice.put(&[I::I64Const((units << (METER_STACK_BITS - zeros)) as i64), I::I64Mul, I::I64Sub]);
        self.look();
        if zeros > 0 {
            self.splice.put(&difference);
            self.splice.put(&[I::I32Const((1 << zeros) - 1), I::I32And, I::BrIf(self.nesting + 1)]);
        }
    }

    /// What must be done about the meter before one of the function's own instructions.
    fn meet(&mut self, module: &Module<'_>, plans: Plans<'_>, kind: Kind, body: &Body<'_>, at: usize) {
        let goes_to_end = |depth: u32| depth == self.nesting;
        self.left |= match kind {
            Kind::Return => true,
            Kind::Br(relative_depth) | Kind::BrIf(relative_depth) => goes_to_end(relative_depth),
            Kind::BrTable(table) => body.tokens.targets(table).any(goes_to_end),
            _ => false,
        };
        if let (Kind::Return, Some(next)) = (kind, body.tokens.all.get(at + 1)) {
            self.read_again();
            self.splice.put(&[I::Br(self.nesting)]);
            self.splice.skip_to(next.offset as usize);
            return;
        }
        match kind {
            Kind::Loop(_) | Kind::If(_) | Kind::Br(_) | Kind::BrIf(_) | Kind::BrTable(_) => self.read_again(),
            Kind::End if self.nesting == 0 && !self.left => {}
            Kind::End | Kind::Else => {
                self.read_again();
                self.newest = Newest::Local;
            }
            // Whoever has said why it stops is asked nothing more.
            Kind::Unreachable if at > 0 && body.kind(at - 1) == Kind::GlobalSet(cause_of(module)) => {}
            Kind::Unreachable => self.write_back(),
            Kind::CallIndirect(ty) if plans.through[ty as usize].pays => {
                self.write_back();
                self.newest = Newest::Global;
            }
            Kind::Call(function_index) => match function_index.checked_sub(module.imported()) {
                None => {
                    if cost::host_has_length(module.imports[function_index as usize]) {
                        self.length();
                    }
                    self.write_back();
                }
                Some(called) if plans.functions[called as usize].takes_meter() => {
                    self.newest_on_stack();
                    if let Some(next) = body.tokens.all.get(at + 1) {
                        self.splice.copy_to(next.offset as usize);
                    }
                    self.splice.put(&[I::LocalSet(self.local)]);
                    self.newest = Newest::Local;
                }
                Some(called) if plans.functions[called as usize].free.is_none() => {
                    self.write_back();
                    self.newest = Newest::Global;
                }
                Some(_) => {}
            },
            Kind::Length => self.length(),
            _ => {}
        }
        if matches!(kind, Kind::Loop(_)) {
            self.newest = Newest::Local;
        }
    }

    /// Charges for the length that is on the stack.
    fn length(&mut self) {
        const SHIFT: i64 = METER_STACK_BITS as i64 - cost::LENGTH_PER_UNIT.ilog2() as i64;
        self.splice.put(&[I::LocalTee(self.length)]);
        self.newest_on_stack();
        self.splice.put(&[
            I::LocalGet(self.length),
            I::I64ExtendI32U,
            I::I64Const(-(cost::LENGTH_PER_UNIT as i64)),
            I::I64And,
            I::I64Const(SHIFT),
            I::I64Shl,
            I::I64Sub,
        ]);
        self.look();
        self.newest = Newest::Local;
    }

    /// After the end of the function's own code: gives back what it holds, and says what ran out.
    fn end(&mut self, stack: u64, cause: u32) {
        self.splice.copy_to_end();
        let from_local = self.left || self.newest != Newest::Global;
        let has_newest = !self.takes_meter && !self.left && self.newest != Newest::Local;
        if !has_newest || stack > 0 {
            self.splice.put(&[if from_local { I::LocalGet(self.local) } else { I::GlobalGet(self.meter) }]);
            if stack > 0 {
                self.splice.put(&[I::I64Const(stack as i64), I::I64Add]);
            }
            if !self.takes_meter {
                self.splice.put(&[I::GlobalSet(self.meter)]);
            }
        }
        if !self.looks {
            self.splice.put(&[I::End]);
            return;
        }
        let says = [I::GlobalSet(cause), I::Unreachable, I::End];
        self.splice.put(&[I::Return, I::End, I::I32Const(CAUSE_FUEL)]);
        self.splice.put(&says);
        if stack > 0 {
            // What was used until then, for whoever asks how far it came.
            self.splice.put(&[
                I::LocalGet(self.local),
                I::GlobalSet(self.meter),
                I::I32Const(CAUSE_STACK),
                I::LocalGet(self.local),
                I::I64Const(0),
                I::I64LtS,
                I::I32Sub,
            ]);
            self.splice.put(&says);
        }
    }
}
