//! Fuel and stack: every function pays before it works, and calls that may go round are counted.
//!
//! One global, the *meter*, holds the fuel that is left above 16 bits of the stack that is left, so one subtraction takes
//! both and one global is written. What a function charges is planned in [`crate::plan`].
//!
//! - A function that is executed from its beginning to its end whatever happens, or nearly so, charges nothing: whoever calls
//!   it pays for it (*free*).
//! - A function with loops keeps the meter in a local, and writes it back where somebody else may look: before calls and at
//!   its end.
//! - It is looked at whether anything is left at the heads of loops, at the entry of functions that call others, and where
//!   a length was paid for. Between two such places there is no more work than fits into a module.
//! - Stack is taken by one function on each cycle of calls, for the deepest row of calls that begins with it. The rest of the
//!   calls nest only so deeply, whatever happens; that is checked here, and set aside.
//!
//! A function that looks has its code in two blocks:
//!
//! ```wat
//! (block $dry
//!   (block $body (result …) …)  ;; `return` is a branch to its end
//!   ;; writes the meter back and gives the stack back
//!   return)
//! ;; says what ran out
//! unreachable
//! ```

use manyhands_abi::{CAUSE_FUEL, CAUSE_STACK, METER, METER_STACK_BITS};
use manyhands_verifier::calls::Calls;
use manyhands_verifier::cost;
use manyhands_verifier::frame::{self, Operands};
use manyhands_verifier::module::Module;
use manyhands_verifier::token::{Kind, Token, Tokens};
use wasm_encoder::{BlockType, ConstExpr, Encode as _, ExportKind, GlobalType, Instruction as I, ValType};
use wasmparser::ExternalKind;

use crate::body::Body;
use crate::plan::{Site, plan};
use crate::refusal::{Place, Refusal};
use crate::write::{Additions, Items, Splice};

/// The most units that a function may cost whose caller pays for it.
const FREE_UNITS_MAX: u64 = 1_000;
/// The most functions in a row of which each is paid for by the one before.
const FREE_ROW_MAX: u32 = 8;

/// What the pass did to one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metered {
    /// The function, imports first.
    pub function: u32,
    /// Units for one call that meets no loop and no call.
    pub entry: u64,
    /// How many heads of loops are charged.
    pub heads: u32,
    /// How many places are charged besides.
    pub others: u32,
    /// Whether whoever calls it pays.
    pub free: bool,
    /// Units of stack that it counts.
    pub stack: u64,
    /// Bytes of its body before.
    pub before: u32,
    /// And after.
    pub after: u32,
}

/// What is known of a function before it is written.
struct Plan {
    sites: Vec<Site>,
    traits: Traits,
    free: Option<Free>,
    frame: u64,
    /// Units of stack to take at the entry.
    stack: u64,
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
    /// It calls the runtime, which may end it and look at its meter.
    hosts: bool,
    /// It calls something that is free; how long a row that makes.
    row: u32,
}

impl Traits {
    /// Whether the meter is kept in a local.
    fn caches(self) -> bool {
        self.loops || self.lengths
    }

    /// Whether it is looked at whether anything is left.
    fn looks(self) -> bool {
        self.caches() || self.calls
    }
}

impl Plan {
    fn looks(&self) -> bool {
        self.traits.looks() || self.stack > 0
    }
}

/// Writes fuel and stack into a module.
///
/// # Errors
/// [`Refusal`] when calls nest too deeply without any recursion.
pub(crate) fn pass(bytes: &[u8], fuel: bool, stack: bool, exact: bool) -> Result<(Vec<u8>, Vec<Metered>), Refusal> {
    let module = Module::read(bytes).map_err(|error| Refusal::invalid(&error))?;
    let mut calls = Calls::of(&module);
    for (at, body) in module.bodies.iter().enumerate() {
        for token in Tokens::read(body).map_err(|error| Refusal::invalid(&error))?.all {
            match token.kind {
                Kind::Call(function_index) => calls.call(at, function_index),
                Kind::CallIndirect(type_index) => calls.call_indirect(at, type_index),
                _ => {}
            }
        }
    }
    let (heads, order) = calls.heads();
    let mut planner = Planner { module: &module, heads: &heads, plans: Vec::new(), charges: fuel, exact };
    planner.plans.resize_with(module.bodies.len(), || None);
    for at in order {
        planner.plan(at)?;
    }
    let mut plans: Vec<Plan> = planner.plans.into_iter().flatten().collect();
    let root = if stack { take_stack(&module, &calls, &heads, &mut plans)? } else { 0 };
    write(bytes, &module, &plans, frame::BUDGET - root)
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

struct Planner<'a> {
    module: &'a Module<'a>,
    heads: &'a [bool],
    plans: Vec<Option<Plan>>,
    charges: bool,
    exact: bool,
}

impl Planner<'_> {
    fn plan(&mut self, at: usize) -> Result<(), Refusal> {
        let function = self.module.imported() + at as u32;
        let body = read(self.module, at)?;
        let (mut traits, mut operands) = (Traits::default(), Operands::of(results(self.module, function)));
        let mut costs = Vec::with_capacity(body.len());
        for (token, live) in body.tokens.all.iter().zip(&body.live) {
            operands.step(self.module, token);
            costs.push(if *live { self.cost(token, &mut traits) } else { 0 });
            if !live {
                operands.kill();
            }
        }
        let mut sites = plan(&body, &costs, self.exact);
        if !self.charges {
            sites.clear();
            traits = Traits::default();
        }
        let is_known = self.module.tabled.binary_search(&function).is_ok()
            || self.module.exports.iter().any(|(_, kind, index)| *kind == ExternalKind::Func && *index == function);
        let [entry] = sites[..] else { return self.keep(at, sites, traits, None, &body, &operands) };
        let units = entry.units;
        let is_free = !traits.looks()
            && !traits.hosts
            && !self.heads[at]
            && !is_known
            && units <= FREE_UNITS_MAX
            && traits.row < FREE_ROW_MAX;
        let free = is_free.then_some(Free { units, row: traits.row + 1 });
        self.keep(at, sites, traits, free, &body, &operands)
    }

    fn keep(
        &mut self,
        at: usize,
        sites: Vec<Site>,
        traits: Traits,
        free: Option<Free>,
        body: &Body<'_>,
        operands: &Operands,
    ) -> Result<(), Refusal> {
        // A head has a local to look at what is left.
        let looks = traits.looks() || self.heads[at];
        let vectors = operands.vectors || body.vectors;
        let more = u64::from(looks) + u64::from(traits.lengths);
        let frame = frame::units(u64::from(body.locals) + more, operands.most, vectors);
        self.plans[at] = Some(Plan { sites, traits, free, frame, stack: 0 });
        Ok(())
    }

    fn cost(&self, token: &Token, traits: &mut Traits) -> u64 {
        let units = u64::from(token.cost);
        match token.kind {
            Kind::Loop(_) => traits.loops = true,
            Kind::CallIndirect(_) => traits.calls = true,
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

fn read<'a>(module: &Module<'a>, at: usize) -> Result<Body<'a>, Refusal> {
    let params = module.type_of(module.imported() + at as u32).map_or(&[][..], |ty| ty.params());
    Body::read(params, &module.bodies[at]).map_err(|error| Refusal::invalid(&error))
}

/// The cause is the last global, since it was just added; see [`crate::grow`].
fn cause_of(module: &Module<'_>) -> u32 {
    (module.globals.len() as u32).saturating_sub(1)
}

fn results(module: &Module<'_>, function: u32) -> usize {
    module.type_of(function).map_or(0, |ty| ty.results().len())
}

fn write(bytes: &[u8], module: &Module<'_>, plans: &[Plan], stack: u64) -> Result<(Vec<u8>, Vec<Metered>), Refusal> {
    let mut additions = Additions::default();
    let cause = cause_of(module);
    let meter = module.globals.len() as u32;
    additions.globals.add(|out| {
        GlobalType { val_type: ValType::I64, mutable: true, shared: false }.encode(out);
        ConstExpr::i64_const(stack as i64).encode(out);
    });
    additions.exports.add(|out| {
        METER.encode(out);
        ExportKind::Global.encode(out);
        meter.encode(out);
    });
    let mut metered = Vec::with_capacity(plans.len());
    for (at, plan) in plans.iter().enumerate() {
        let function = module.imported() + at as u32;
        let body = read(module, at)?;
        let code = &module.bodies[at];
        let before = additions.code.len();
        let mut locals = Vec::new();
        if plan.looks() {
            locals.push(ValType::I64);
        }
        if plan.traits.lengths {
            locals.push(ValType::I32);
        }
        let mut splice = Splice::locals(bytes, code, &locals)?;
        if plan.free.is_none() {
            let blocks =
                if plan.looks() { block_type(module, function, &mut additions.types) } else { BlockType::Empty };
            splice = Writer::function(splice, plans, module, at, &body, (meter, cause), blocks);
        }
        splice.finish(&mut additions.code);
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
    Ok((additions.write(bytes, &module.sections)?, metered))
}

/// The type of a block that gives what a function gives.
fn block_type(module: &Module<'_>, function: u32, types: &mut Items) -> BlockType {
    let Some(ty) = module.type_of(function) else { return BlockType::Empty };
    match ty.results() {
        [] => BlockType::Empty,
        [one] => val_type(*one).map_or(BlockType::Empty, BlockType::Result),
        many => {
            let same = |ty: &Option<wasmparser::FuncType>| {
                ty.as_ref().is_some_and(|ty| ty.params().is_empty() && ty.results() == many)
            };
            let known = module.types.iter().position(same).map(|at| at as u32);
            // A new one for each function that needs it: few functions have several results.
            BlockType::FunctionType(known.unwrap_or_else(|| {
                types.add(|out| {
                    out.push(0x60);
                    0_u32.encode(out);
                    many.len().encode(out);
                    many.iter().filter_map(|ty| val_type(*ty)).for_each(|ty| ty.encode(out));
                });
                module.types.len() as u32 + types.count() - 1
            }))
        }
    }
}

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
    caches: bool,
    looks: bool,
    newest: Newest,
    /// Open blocks, without the two that are added.
    nesting: u32,
    /// Whether somebody branches to the end.
    left: bool,
}

impl<'a> Writer<'a> {
    fn function(
        splice: Splice<'a>,
        plans: &[Plan],
        module: &Module<'_>,
        at: usize,
        body: &Body<'_>,
        (meter, cause): (u32, u32),
        blocks: BlockType,
    ) -> Splice<'a> {
        let plan = &plans[at];
        let local = body.locals;
        let mut writer = Writer {
            splice,
            meter,
            local,
            length: local + 1,
            caches: plan.traits.caches(),
            looks: plan.looks(),
            newest: Newest::Global,
            nesting: 0,
            left: false,
        };
        if writer.looks {
            writer.splice.put(&[I::Block(BlockType::Empty), I::Block(blocks)]);
        }
        writer.entry(plan);
        writer.code(module, at, plans, body);
        if writer.looks {
            writer.end(plan.stack, cause);
        }
        writer.splice
    }

    fn entry(&mut self, plan: &Plan) {
        let units = plan.sites.first().map_or(0, |site| site.units);
        let checks = plan.traits.calls || plan.stack > 0;
        if units == 0 && !checks {
            return;
        }
        let charge = (units << METER_STACK_BITS) + plan.stack;
        self.splice.put(&[I::GlobalGet(self.meter), I::I64Const(charge as i64), I::I64Sub]);
        if plan.stack > 0 {
            // The highest bit of each half, which is set when it went below zero.
            const BELOW_ZERO: i64 = i64::MIN | 1 << (METER_STACK_BITS - 1);
            self.splice.put(&[
                I::LocalTee(self.local),
                I::I64Const(BELOW_ZERO),
                I::I64And,
                I::I64Const(0),
                I::I64Ne,
                I::BrIf(1),
            ]);
        } else if checks {
            self.look();
        } else if self.caches {
            self.splice.put(&[I::LocalSet(self.local)]);
        } else {
            self.splice.put(&[I::GlobalSet(self.meter)]);
            return;
        }
        self.newest = Newest::Local;
        if !self.caches {
            self.write_back();
            self.newest = Newest::Global;
        }
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

    fn code(&mut self, module: &Module<'_>, at: usize, plans: &[Plan], body: &Body<'_>) {
        let mut sites = plans[at].sites.iter().skip(1).peekable();
        for (index, token) in body.tokens.all.iter().enumerate() {
            let offset = token.offset as usize;
            if !body.live[index] {
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
            if self.looks {
                self.splice.copy_to(offset);
                self.meet(module, plans, token.kind, body, index);
            }
            self.nest(token.kind);
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
        if site.head {
            self.look();
        } else if self.caches {
            self.splice.put(&[I::LocalSet(self.local)]);
        } else {
            self.splice.put(&[I::GlobalSet(self.meter)]);
            return;
        }
        self.newest = Newest::Local;
    }

    /// What must be done about the meter before one of the function's own instructions.
    fn meet(&mut self, module: &Module<'_>, plans: &[Plan], kind: Kind, body: &Body<'_>, at: usize) {
        let goes_to_end = |depth: u32| depth == self.nesting;
        self.left |= match kind {
            Kind::Return => true,
            Kind::Br(relative_depth) | Kind::BrIf(relative_depth) => goes_to_end(relative_depth),
            Kind::BrTable(table) => body.tokens.targets(table).any(goes_to_end),
            _ => false,
        };
        if let (Kind::Return, Some(next)) = (kind, body.tokens.all.get(at + 1)) {
            if self.caches {
                self.read_again();
            }
            self.splice.put(&[I::Br(self.nesting)]);
            self.splice.skip_to(next.offset as usize);
            return;
        }
        if !self.caches {
            return;
        }
        match kind {
            Kind::Loop(_) | Kind::If(_) | Kind::Br(_) | Kind::BrIf(_) | Kind::BrTable(_) => self.read_again(),
            Kind::End if self.nesting == 0 && !self.left => {}
            Kind::End | Kind::Else => {
                self.read_again();
                self.newest = Newest::Local;
            }
            Kind::Unreachable => self.write_back(),
            Kind::CallIndirect(_) => {
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
                Some(called) if plans[called as usize].free.is_none() => {
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
        let from_local = self.caches && (self.left || self.newest == Newest::Local);
        if stack > 0 {
            let newest = if from_local { I::LocalGet(self.local) } else { I::GlobalGet(self.meter) };
            self.splice.put(&[newest, I::I64Const(stack as i64), I::I64Add, I::GlobalSet(self.meter)]);
        } else if from_local {
            self.splice.put(&[I::LocalGet(self.local), I::GlobalSet(self.meter)]);
        }
        self.splice.put(&[I::Return, I::End]);
        if stack > 0 {
            self.splice.put(&[I::I32Const(CAUSE_STACK), I::LocalGet(self.local), I::I64Const(0), I::I64LtS, I::I32Sub]);
        } else {
            self.splice.put(&[I::I32Const(CAUSE_FUEL)]);
        }
        self.splice.put(&[I::GlobalSet(cause), I::Unreachable, I::End]);
    }
}
