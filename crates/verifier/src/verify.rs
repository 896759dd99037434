//! Whether a sealed module pays for everything it does.
//!
//! One pass over each function, which follows how much has been paid for and not yet been done. At each instruction that
//! must not be less than it costs, on every path that leads there: where paths meet, the poorest counts; each iteration of
//! a loop pays for itself; and at the head of each loop, at the entry of each function that calls
//! others, and wherever a length is paid for, it is looked at whether anything is left. A loop that counts may be paid for as a
//! whole before it, where it can be seen that it goes round as often as that. So however the module was made, it stops after as
//! much work as its fuel is worth. Nothing but these few sequences of instructions may touch the meter.
//!
//! Stack is checked over the whole module: every cycle of calls has a function that counts, for as much as the
//! deepest row of calls takes that begins with it.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use manyhands_abi::{
    CAUSE, CAUSE_FUEL, CAUSE_MEMORY, CAUSE_STACK, COST_TABLE, IMPORTS, METER, METER_STACK_BITS, NAMESPACE, REDUCE, RUN,
};
use wasmparser::{BlockType, ExternalKind, ValType};

use crate::calls::{Calls, Through};
use crate::cost;
use crate::frame::{self, Operands};
use crate::module::Module;
use crate::reader::Malformed;
use crate::token::{Kind, Token, Tokens, takes_meter};

/// The most functions in a row of which each is paid for by the one before.
const ROW_MAX: u32 = 16;
/// The highest bit of each half of a meter, which is set when it went below zero.
const BELOW_ZERO: i64 = i64::MIN | 1 << (METER_STACK_BITS - 1);
const STACK_MASK: i64 = (1 << METER_STACK_BITS) - 1;

/// Why a module is not executed. Whoever sealed it is to blame, or whoever changed it since.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// The function, imports first, if it is one's.
    pub function: Option<u32>,
    /// The byte of the module at which it was noticed.
    pub offset: usize,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a well-sealed module: ")?;
        if let Some(function) = self.function {
            write!(f, "function {function}, ")?;
        }
        write!(f, "offset {:#x}: {}", self.offset, self.reason)
    }
}

impl From<Malformed> for Box<Fault> {
    fn from(Malformed { offset, reason }: Malformed) -> Self {
        Self::new(Fault { function: None, offset, reason: reason.to_owned() })
    }
}

/// Verifies a module. It says nothing about what an engine's validation says; both are needed.
///
/// # Errors
/// [`Fault`]: the first thing that is not as it should be.
pub fn verify(bytes: &[u8]) -> Result<(), Fault> {
    checked(bytes).map_err(|fault| *fault)
}

/// A fault is one word on its way, since nearly nothing has one.
type Checked<T = ()> = Result<T, Box<Fault>>;

fn checked(bytes: &[u8]) -> Checked {
    let module = Module::read(bytes)?;
    let (meter, cause, stack) = border(&module)?;
    let mut verifier = Verifier {
        calls: Calls::of(&module),
        through: Vec::new(),
        known: vec![Known::Nothing; module.bodies.len()],
        meters: Vec::with_capacity(module.bodies.len()),
        frames: vec![0; module.bodies.len()],
        stacks: vec![0; module.bodies.len()],
        meter,
        cause,
        suffix: suffix(cause),
        read: Tokens::default(),
        module: &module,
    };
    for at in 0..module.bodies.len() {
        verifier.meters.push(verifier.meter_of(at)?);
    }
    verifier.tabled()?;
    for at in 0..module.bodies.len() {
        verifier.function(at, 0)?;
    }
    verifier.exports()?;
    verifier.stack(stack)
}

/// Checks imports and exports; returns the meter's and the cause's index and the stack that is there.
fn border(module: &Module<'_>) -> Checked<(u32, u32, u64)> {
    let fault = |reason: String| Box::new(Fault { function: None, offset: 0, reason });
    if let Some(name) = module.foreign {
        return Err(fault(format!("it imports `{name}`, which is no function of `{NAMESPACE}`")));
    }
    if let Some(unknown) = module.imports.iter().find(|name| !IMPORTS.iter().any(|known| known.name == **name)) {
        return Err(fault(format!("it imports `{unknown}`, which no runtime has")));
    }
    if module.starts {
        return Err(fault("it has a start function".to_owned()));
    }
    let global = |name: &str, ty| {
        let index = module.export(name, ExternalKind::Global)?;
        let global = module.globals.get(index as usize)?;
        (global.ty == ty && global.mutable).then_some((index, global.start?))
    };
    let (Some((meter, stack)), Some((cause, 0))) = (global(METER, ValType::I64), global(CAUSE, ValType::I32)) else {
        return Err(fault(format!("it does not export `{METER}` and `{CAUSE}` as it should")));
    };
    let table = module.export(COST_TABLE, ExternalKind::Global).and_then(|index| module.globals.get(index as usize));
    match table.filter(|table| !table.mutable && table.ty == ValType::I32).and_then(|table| table.start) {
        Some(number) if number == i64::from(cost::TABLE) => {}
        Some(number) => {
            let known = cost::TABLE;
            let cure = "bring the runtime to the version of the coordinator that sealed it";
            return Err(fault(format!(
                "it counts fuel by cost table {number}, and this runtime knows table {known}; {cure}"
            )));
        }
        None => return Err(fault(format!("it does not export `{COST_TABLE}` as it should"))),
    }
    match u64::try_from(stack) {
        Ok(stack) if stack <= frame::BUDGET => Ok((meter, cause, stack)),
        _ => Err(fault(format!("it starts with {stack} units of stack, more than there are"))),
    }
}

fn outsider(function: u32) -> Box<Fault> {
    let reason = "it can be called from outside and does not pay for itself".to_owned();
    Box::new(Fault { function: Some(function), offset: 0, reason })
}

/// How the code of a function ends that looks at its meter.
fn suffix(cause: u32) -> Vec<u8> {
    let mut bytes = vec![0x24];
    let mut rest = cause;
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        bytes.push(if rest > 0 { low | 0x80 } else { low });
        if rest == 0 {
            break;
        }
    }
    bytes.extend([0x00, 0x0b]);
    bytes
}

/// Where a function finds the meter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meter {
    /// In its last parameter; its last result gives it back.
    Passed,
    /// In the global.
    Global,
    /// Nowhere: whoever calls it pays.
    Nowhere,
}

/// What is known of a function.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    /// It is being gone through.
    Open,
    /// It pays for itself.
    Pays,
    /// Whoever calls it pays this for it.
    Costs(u64),
}

struct Verifier<'a> {
    module: &'a Module<'a>,
    calls: Calls,
    /// For each type, what a call through a table costs; nothing is there before it is known.
    through: Vec<Through>,
    known: Vec<Known>,
    meters: Vec<Meter>,
    frames: Vec<u64>,
    /// What each function counts.
    stacks: Vec<u64>,
    meter: u32,
    cause: u32,
    suffix: Vec<u8>,
    /// The function that was read last: its memory is the next one's.
    read: Tokens<'a>,
}

impl Verifier<'_> {
    /// Tells by how a function begins and ends where it finds the meter. If that is mistaken, the rest will not fit.
    fn meter_of(&self, at: usize) -> Checked<Meter> {
        let code = &self.module.bodies[at];
        let begins = Tokens::read_first(code, 6)?.all;
        let ty = self.module.type_of(self.module.imported() + at as u32);
        Ok(match begins.first().map(|token| token.kind) {
            _ if takes_meter(ty, &begins) => Meter::Passed,
            Some(Kind::GlobalGet(global)) if global == self.meter => Meter::Global,
            Some(Kind::Block(_)) if code.as_bytes().ends_with(&self.suffix) => Meter::Global,
            _ => Meter::Nowhere,
        })
    }

    /// Functions that are called from outside pay for themselves.
    fn exports(&self) -> Checked {
        for (_, kind, function) in &self.module.exports {
            if *kind != ExternalKind::Func {
                continue;
            }
            let at = function.checked_sub(self.module.imported()).unwrap_or(u32::MAX) as usize;
            match (self.meters.get(at), self.known.get(at)) {
                (Some(Meter::Global), _) | (Some(Meter::Nowhere), Some(Known::Costs(0))) => {}
                _ => return Err(outsider(*function)),
            }
        }
        Ok(())
    }

    /// Functions that are called through a table pay for themselves, or call nobody, and whoever may call them pays for the dearest.
    fn tabled(&mut self) -> Checked {
        for function in &self.module.tabled {
            let at = function.checked_sub(self.module.imported()).unwrap_or(u32::MAX) as usize;
            match self.meters.get(at) {
                Some(Meter::Global) => {}
                Some(Meter::Nowhere) => drop(self.function(at, 0)?),
                _ => return Err(outsider(*function)),
            }
        }
        self.through = self.calls.through(|at| match self.known[at] {
            Known::Costs(units) => Some(units),
            _ => None,
        });
        Ok(())
    }

    fn stack(&self, there: u64) -> Checked {
        let fault = |at: usize, reason: &str| {
            let function = Some(self.module.imported() + at as u32);
            Box::new(Fault { function, offset: self.module.bodies[at].range().start, reason: reason.to_owned() })
        };
        let heads: Vec<bool> = self.stacks.iter().map(|stack| *stack > 0).collect();
        let chains = self
            .calls
            .chains(&heads, &self.frames)
            .ok_or_else(|| fault(0, "functions call each other in a circle and none counts stack"))?;
        for (at, chain) in chains.iter().enumerate() {
            if heads[at] && self.stacks[at] < (*chain).min(frame::BUDGET + 1) {
                return Err(fault(at, "it counts less stack than it takes"));
            }
        }
        for name in [RUN, REDUCE] {
            let entry = self.module.export(name, ExternalKind::Func);
            let Some(at) = entry.and_then(|index| index.checked_sub(self.module.imported())) else { continue };
            let at = at as usize;
            if !heads[at] && chains[at] + there > frame::BUDGET {
                return Err(fault(at, "more stack is handed out than there is"));
            }
        }
        Ok(())
    }

    /// Goes through a function, if that was not done.
    fn function(&mut self, at: usize, row: u32) -> Checked<Known> {
        match self.known[at] {
            Known::Nothing => {}
            known => return Ok(known),
        }
        let code = &self.module.bodies[at];
        let function = self.module.imported() + at as u32;
        let located = |fault: Box<Fault>| Box::new(Fault { function: Some(function), ..*fault });
        self.known[at] = Known::Open;
        let ty = self.module.type_of(function);
        let mut tokens = core::mem::take(&mut self.read);
        tokens.read_again(code).map_err(|error| located(error.into()))?;
        let locals = ty.map_or(0, |ty| ty.params().len() as u64) + u64::from(tokens.locals);
        let mut vectors = tokens.vectors || ty.is_some_and(|ty| ty.params().contains(&ValType::V128));
        let looks = code.as_bytes().ends_with(&self.suffix);
        let meter = self.meters[at];
        let params = ty.map_or(0, |ty| ty.params().len());
        let results = ty.map_or(0, |ty| ty.results().len()) - usize::from(meter == Meter::Passed);
        if meter != Meter::Nowhere {
            // Whoever calls it need not wait for what is found in it.
            self.known[at] = Known::Pays;
        }
        let mut scan = Scan {
            tokens: &tokens,
            next: 0,
            verifier: self,
            operands: Operands::of(results),
            blocks: Vec::new(),
            loops: Vec::new(),
            counted: None,
            live: Some(State { paid: 0, global: meter == Meter::Global, local: meter == Meter::Passed }),
            meter,
            pays: meter != Meter::Nowhere,
            poorest: 0,
            meter_local: (meter == Meter::Passed).then(|| params as u32 - 1),
            looked_at_entry: false,
            charged: 0,
            length_paid: false,
            dry: false,
            stack: 0,
            at,
            row,
        };
        scan.body(looks).map_err(located)?;
        let (owed, stack) = (scan.poorest.unsigned_abs(), scan.stack);
        vectors |= scan.operands.vectors;
        let most = scan.operands.most;
        self.frames[at] = frame::units(locals, most, vectors);
        self.stacks[at] = stack;
        if meter == Meter::Nowhere {
            self.known[at] = Known::Costs(owed);
        }
        self.read = tokens;
        Ok(self.known[at])
    }
}

/// What is true whenever a place in a function is reached.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    /// Units that were paid for and not used.
    paid: i64,
    /// Whether the global has the newest meter.
    global: bool,
    /// Whether the local has.
    local: bool,
}

impl State {
    fn and(self, other: Self) -> Self {
        Self { paid: self.paid.min(other.paid), global: self.global && other.global, local: self.local && other.local }
    }
}

struct Block {
    /// For a loop, what was paid before it. Inside, nothing of that is used, and what is left over inside is nobody's outside.
    before: Option<i64>,
    /// For an `if`, what is true when its condition is not.
    otherwise: Option<State>,
    /// What is true when somebody branches to its end.
    exit: Option<State>,
}

/// A loop that is paid for as a whole: it ends when a local, which makes one step in each iteration, is what does not change.
struct Counted {
    /// Which of the open blocks it is.
    at: usize,
    /// Units for one iteration.
    units: u64,
    local: u32,
    /// A constant, or another local.
    bound: Kind,
    /// The odd number whose product with the step must be 2 to the power of `zeros`.
    inverse: i32,
    zeros: u32,
    /// The one instruction that may go back to its head.
    back: Option<usize>,
}

struct Scan<'a, 'b, 'm> {
    tokens: &'a Tokens<'m>,
    next: usize,
    verifier: &'b mut Verifier<'m>,
    operands: Operands,
    blocks: Vec<Block>,
    /// Which of them are loops.
    loops: Vec<usize>,
    /// The innermost loop, if it is paid for as a whole. There is no other in it.
    counted: Option<Counted>,
    /// What is true here; `None` where nobody comes.
    live: Option<State>,
    meter: Meter,
    pays: bool,
    /// The least that was ever paid in advance; below zero if somebody else pays.
    poorest: i64,
    meter_local: Option<u32>,
    looked_at_entry: bool,
    /// Units that it charges in all places together.
    charged: u64,
    /// Whether the length on the stack was paid for.
    length_paid: bool,
    /// Whether it has a place to which those go who have nothing left: out of all its blocks.
    dry: bool,
    stack: u64,
    at: usize,
    row: u32,
}

impl<'a> Scan<'a, '_, '_> {
    fn fault<T>(&self, reason: &str) -> Checked<T> {
        let at = self.next.min(self.tokens.all.len().saturating_sub(1));
        let offset = self.tokens.all.get(at).map_or(0, |token| token.offset as usize);
        Err(Box::new(Fault { function: None, offset, reason: reason.to_owned() }))
    }

    /// What comes after so many other instructions.
    fn ahead<const COUNT: usize>(&self, skip: usize) -> [Kind; COUNT] {
        self.from(self.next + skip)
    }

    /// Instructions in a row. Behind the last one come some that are allowed nowhere.
    fn from<const COUNT: usize>(&self, at: usize) -> [Kind; COUNT] {
        let mut kinds = [Kind::Nothing; COUNT];
        self.copy(at, &mut kinds);
        kinds
    }

    fn copy(&self, at: usize, kinds: &mut [Kind]) {
        for (kind, token) in kinds.iter_mut().zip(self.tokens.all.get(at..).unwrap_or_default()) {
            *kind = token.kind;
        }
    }

    fn is_over(&self) -> bool {
        self.next >= self.tokens.all.len()
    }

    fn body(&mut self, looks: bool) -> Checked {
        let looks = looks && self.pays;
        if looks {
            let [Kind::Block(BlockType::Empty), Kind::Block(_)] = self.ahead(0) else {
                return self.fault("two blocks should hold its code");
            };
            self.next = 2;
            self.dry = true;
            if let [Kind::Block(_), source, Kind::I64Const(charge)] = self.ahead(0)
                && source == self.source()
                && charge & STACK_MASK != 0
            {
                // Who takes stack has one more. A block of the function's own never begins with its meter.
                self.next = 3;
            }
        } else if self.meter == Meter::Passed {
            let [Kind::Block(_)] = self.ahead(0) else { return self.fault("a block should hold its code") };
            self.next = 1;
        }
        self.blocks.push(Block { before: None, otherwise: None, exit: None });
        if self.pays {
            self.entry()?;
        }
        while !self.blocks.is_empty() {
            if self.is_over() {
                return self.fault("its code ends too early");
            }
            self.instruction()?;
        }
        if self.charged > cost::UNSEEN_MAX && !self.looked_at_entry {
            return self.fault("it charges much and did not look at its entry whether anything is left");
        }
        if looks || self.meter == Meter::Passed { self.end() } else { Ok(()) }
    }

    /// Where the meter is at the function's entry.
    fn source(&self) -> Kind {
        match self.meter_local {
            Some(local) => Kind::LocalGet(local),
            None => Kind::GlobalGet(self.verifier.meter),
        }
    }

    /// What comes before a function's own code. What is not here is charged like anything else.
    fn entry(&mut self) -> Checked {
        let [source, Kind::I64Const(charge)] = self.ahead(0) else { return Ok(()) };
        if source != self.source() || charge & STACK_MASK == 0 {
            return Ok(());
        }
        let [
            Kind::I64Sub,
            Kind::LocalTee(local_index),
            Kind::I64Const(BELOW_ZERO),
            Kind::I64And,
            Kind::I64Const(0),
            Kind::I64Ne,
            Kind::BrIf(2),
        ] = self.ahead(2)
        else {
            return self.fault("it takes stack and does not look whether any is left");
        };
        if !self.dry || !self.may_hold(local_index) {
            return self.fault("it takes stack and has nowhere to go");
        }
        self.pay(charge & !STACK_MASK)?;
        self.stack = (charge & STACK_MASK) as u64;
        if self.stack > frame::BUDGET + 1 {
            return self.fault("it takes more stack than is ever there");
        }
        self.meter_local = Some(local_index);
        self.looked_at_entry = true;
        self.next += 9;
        self.know(false, true);
        Ok(())
    }

    fn pay(&mut self, charge: i64) -> Checked {
        let units = charge >> METER_STACK_BITS;
        if charge < 0 || charge & STACK_MASK != 0 || units.unsigned_abs() > cost::CHARGE_MAX {
            return self.fault("it pays a sum that is none");
        }
        self.charged = self.charged.saturating_add(units.unsigned_abs());
        if self.charged > cost::CHARGED_MAX {
            return self.fault("it charges more than a meter holds");
        }
        if let Some(live) = &mut self.live {
            live.paid = live.paid.saturating_add(units);
        }
        Ok(())
    }

    fn know(&mut self, global: bool, local: bool) {
        if let Some(live) = &mut self.live {
            (live.global, live.local) = (global, local);
        }
    }

    /// One instruction, or one of the sequences that work with the meter.
    fn instruction(&mut self) -> Checked {
        let Some(token) = self.tokens.all.get(self.next) else { return Ok(()) };
        let Some(state) = self.live else { return self.dead(token) };
        match token.kind {
            // Most of all instructions, without asking again what they are.
            Kind::Plain => {
                self.length_paid = false;
                self.spend(state, token.cost.into())?;
                self.operands.plain(token);
                self.next += 1;
                Ok(())
            }
            Kind::GlobalGet(global_index) if global_index == self.verifier.meter => self.sequence(state),
            Kind::LocalGet(local_index) if Some(local_index) == self.meter_local => self.sequence(state),
            Kind::LocalTee(local_index) if self.is_length(local_index, state) => self.length(state, local_index),
            Kind::LocalSet(local_index) | Kind::LocalTee(local_index) if Some(local_index) == self.meter_local => {
                self.fault("it writes to the local that holds the meter")
            }
            Kind::LocalSet(local_index) | Kind::LocalTee(local_index) if self.counts_with(local_index) => {
                self.step(state, token)
            }
            Kind::GlobalSet(global_index) if global_index == self.verifier.meter => {
                self.fault("it writes to the meter")
            }
            Kind::GlobalSet(global_index) if global_index == self.verifier.cause => {
                self.fault("it writes to the cause")
            }
            Kind::I32Const(CAUSE_MEMORY) if self.is_memory_refused() => {
                self.next += 2;
                Ok(())
            }
            _ => self.own(state, token),
        }
    }

    fn is_memory_refused(&self) -> bool {
        self.ahead(1) == [Kind::GlobalSet(self.verifier.cause), Kind::Unreachable]
    }

    /// Whether what follows stops if memory was refused.
    fn tells_refusal(&self) -> bool {
        matches!(
            self.ahead(1),
            [
                Kind::LocalTee(_),
                Kind::I32Const(-1),
                Kind::I32Eq,
                Kind::If(_),
                Kind::I32Const(CAUSE_MEMORY),
                Kind::GlobalSet(global_index),
                Kind::Unreachable,
            ] if global_index == self.verifier.cause
        )
    }

    /// Code that is never reached, which may hold anything.
    fn dead(&mut self, token: &Token) -> Checked {
        let was_inside = self.operands.inside_dead();
        self.operands.step(self.verifier.module, token);
        self.next += 1;
        if was_inside == Some(0) {
            match token.kind {
                Kind::End => self.close(),
                Kind::Else => self.otherwise()?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A sequence that begins with the meter: something is paid, or it is written back or read again.
    fn sequence(&mut self, state: State) -> Checked {
        if !self.pays {
            return self.fault("it works with a meter that others pay for");
        }
        if self.counted.is_some() {
            return self.fault("it works with the meter in a loop that is paid for");
        }
        let [from, sequence @ ..] = self.ahead::<4>(0);
        if self.is_newest(from, state) != Some(true) {
            return self.fault("it takes a meter that is not the newest");
        }
        let from_global = matches!(from, Kind::GlobalGet(_));
        match sequence {
            [bound @ (Kind::LocalGet(_) | Kind::I32Const(_)), Kind::LocalGet(local), Kind::I32Sub] => {
                self.count(bound, local)
            }
            [Kind::Call(function), Kind::LocalSet(local), _] if self.may_hold(local) => {
                self.passes(state, function, local)
            }
            [Kind::I64Const(charge), Kind::I64Sub, to] => {
                self.pay(charge)?;
                self.next += 3;
                match to {
                    Kind::GlobalSet(global_index) if global_index == self.verifier.meter => {
                        self.next += 1;
                        self.know(true, false);
                        Ok(())
                    }
                    Kind::LocalSet(local_index) if self.may_hold(local_index) => {
                        self.meter_local = Some(local_index);
                        self.next += 1;
                        self.know(false, true);
                        Ok(())
                    }
                    Kind::LocalTee(local_index) if self.may_hold(local_index) => {
                        self.meter_local = Some(local_index);
                        // The first thing that a function does.
                        self.looked_at_entry |= self.next == 5 && self.dry;
                        self.look()
                    }
                    _ => self.fault("it pays and does not say so"),
                }
            }
            [Kind::LocalSet(local_index), ..] if from_global && self.may_hold(local_index) => {
                self.meter_local = Some(local_index);
                self.next += 2;
                self.know(true, true);
                Ok(())
            }
            [Kind::GlobalSet(global_index), ..] if !from_global && global_index == self.verifier.meter => {
                self.next += 2;
                self.know(true, true);
                Ok(())
            }
            _ => self.fault("it does something with the meter that is not known"),
        }
    }

    /// A call that passes the meter, and gets it back.
    fn passes(&mut self, state: State, function: u32, local: u32) -> Checked {
        let module = self.verifier.module;
        let called = function.checked_sub(module.imported()).map(|at| at as usize);
        if called.and_then(|at| self.verifier.meters.get(at)) != Some(&Meter::Passed) {
            return self.fault("it passes the meter to a function that does not take it");
        }
        if !self.looked_at_entry {
            return self.fault("it calls others and did not look whether anything is left");
        }
        let at = self.at;
        self.verifier.calls.call(at, function);
        let Some(call) = self.tokens.all.get(self.next + 1) else { return self.fault("a call is missing") };
        self.spend(State { global: false, local: true, ..state }, call.cost.into())?;
        // The meter is nobody's operand.
        self.operands.call(module.type_of(function), 1);
        self.meter_local = Some(local);
        self.length_paid = false;
        self.next += 3;
        Ok(())
    }

    /// The loop that comes next is paid for as a whole: for as many steps as lead from `local` to `bound`. If all is multiplied by
    /// the inverse, a step is a power of two, so their number is a division by that; modulo 2³², and 2³² instead of none. It
    /// must leave no rest, or the steps would never meet the bound.
    fn count(&mut self, bound: Kind, local: u32) -> Checked {
        let [
            Kind::I32Const(inverse),
            Kind::I32Mul,
            Kind::I32Const(1),
            Kind::I32Sub,
            Kind::I64ExtendI32U,
            Kind::I64Const(1),
            Kind::I64Add,
            Kind::I64Const(each),
            Kind::I64Mul,
            Kind::I64Sub,
            Kind::LocalTee(meter),
        ] = self.ahead(4)
        else {
            return self.fault("it does not count a loop as it should");
        };
        if !self.may_hold(meter) {
            return self.fault("it keeps the meter in another local");
        }
        self.meter_local = Some(meter);
        self.next += 14;
        self.look()?;
        let dry = Kind::BrIf(self.blocks.len() as u32);
        let zeros = match self.ahead(0) {
            [from, what, Kind::I32Sub, Kind::I32Const(mask), Kind::I32And, to]
                if [from, what, to] == [bound, Kind::LocalGet(local), dry]
                    && mask > 0
                    && mask & mask.wrapping_add(1) == 0 =>
            {
                self.next += 6;
                mask.trailing_ones()
            }
            _ => 0,
        };
        let units = each as u64 >> METER_STACK_BITS.saturating_sub(zeros);
        let is_sum = zeros <= METER_STACK_BITS && units << (METER_STACK_BITS - zeros) == each as u64;
        // What is stepped does not stay.
        let stays = bound != Kind::LocalGet(local);
        let comes = matches!(self.ahead(0), [Kind::Loop(_)]);
        if !is_sum || units > cost::COUNTED_MAX || inverse & 1 == 0 || !stays || !comes {
            return self.fault("it does not count a loop as it should");
        }
        self.counted = Some(Counted { at: self.blocks.len(), units, local, bound, inverse, zeros, back: None });
        Ok(())
    }

    /// Whether a loop that is paid for ends when it does because of this local.
    fn counts_with(&self, local: u32) -> bool {
        self.counted.as_ref().is_some_and(|counted| counted.local == local || counted.bound == Kind::LocalGet(local))
    }

    /// The end of a loop that is paid for, and the only place where it may write to what it counts with: one step, and back to its
    /// head unless that was the last. Behind an earlier end it could make a second step, and pass its bound.
    fn step(&mut self, state: State, token: &Token) -> Checked {
        let next = self.next;
        let [other, from, by, Kind::I32Add, to] = self.from(next.saturating_sub(4)) else {
            return self.fault("it writes to what a loop counts with");
        };
        let tail = self.ahead(1);
        let depth = self.blocks.len();
        if let Some(Counted { at, local, bound, inverse, zeros, back, .. }) = &mut self.counted {
            *back = match tail {
                [Kind::I32Ne, Kind::BrIf(0), Kind::End, _] if other == *bound => Some(next + 2),
                [other, Kind::I32Ne, Kind::BrIf(0), Kind::End] if other == *bound => Some(next + 3),
                [Kind::BrIf(0), Kind::End, ..] if Kind::I32Const(0) == *bound => Some(next + 1),
                _ => None,
            };
            let is_step = matches!(by, Kind::I32Const(step) if step.wrapping_mul(*inverse) == 1 << *zeros);
            let is_local = [from, to] == [Kind::LocalGet(*local), Kind::LocalTee(*local)];
            if !is_local || !is_step || back.is_none() || depth != *at + 1 {
                return self.fault("it writes to what a loop counts with");
            }
        }
        self.own(state, token)
    }

    fn spend(&mut self, mut state: State, units: u64) -> Checked {
        state.paid = state.paid.saturating_sub(i64::try_from(units).unwrap_or(i64::MAX));
        self.poorest = self.poorest.min(state.paid);
        self.live = Some(state);
        if self.pays && state.paid < 0 {
            return self.fault("it does what it has not paid for");
        }
        Ok(())
    }

    fn may_hold(&self, local: u32) -> bool {
        self.meter_local.is_none_or(|known| known == local)
    }

    /// Looks whether any fuel is left of what is being kept in the local.
    fn look(&mut self) -> Checked {
        let [Kind::I64Const(0), Kind::I64LtS, Kind::BrIf(relative_depth)] = self.ahead(1) else {
            return self.fault("it pays and does not look whether anything is left");
        };
        if !self.dry || relative_depth as usize != self.blocks.len() {
            return self.fault("it goes on when nothing is left");
        }
        self.next += 4;
        self.know(false, true);
        Ok(())
    }

    fn is_length(&self, local: u32, state: State) -> bool {
        let [from, length @ ..] = self.ahead::<3>(1);
        length == [Kind::LocalGet(local), Kind::I64ExtendI32U] && self.is_newest(from, state).is_some()
    }

    /// Whether what takes the meter from somewhere takes the newest; `None` if it does not take it.
    fn is_newest(&self, from: Kind, state: State) -> Option<bool> {
        match from {
            Kind::GlobalGet(global) if global == self.verifier.meter => Some(state.global),
            Kind::LocalGet(local) if Some(local) == self.meter_local => Some(state.local),
            _ => None,
        }
    }

    /// A length is kept, and paid for.
    fn length(&mut self, state: State, local: u32) -> Checked {
        const UNIT: i64 = -(cost::LENGTH_PER_UNIT as i64);
        const SHIFT: i64 = METER_STACK_BITS as i64 - cost::LENGTH_PER_UNIT.ilog2() as i64;
        let [from] = self.ahead(1);
        if Some(local) == self.meter_local || self.counted.is_some() || self.is_newest(from, state) != Some(true) {
            return self.fault("it takes a meter that is not the newest");
        }
        let [
            Kind::I64Const(UNIT),
            Kind::I64And,
            Kind::I64Const(SHIFT),
            Kind::I64Shl,
            Kind::I64Sub,
            Kind::LocalTee(local_index),
        ] = self.ahead(4)
        else {
            return self.fault("it does not pay for a length as it should");
        };
        if !self.may_hold(local_index) || local_index == local {
            return self.fault("it keeps the meter in another local");
        }
        self.meter_local = Some(local_index);
        self.next += 9;
        self.look()?;
        self.length_paid = true;
        Ok(())
    }

    /// One of the function's own instructions.
    fn own(&mut self, state: State, token: &Token) -> Checked {
        let length_paid = core::mem::take(&mut self.length_paid);
        let mut units = u64::from(token.cost);
        let mut after = state;
        match token.kind {
            Kind::Call(function_index) => match function_index.checked_sub(self.verifier.module.imported()) {
                None => {
                    units = cost::HOST_CALL;
                    let name = self.verifier.module.imports.get(function_index as usize);
                    if name.is_some_and(|name| cost::host_has_length(name)) && !length_paid {
                        return self.fault("it calls a host function and does not pay for the length");
                    }
                    if !self.pays || !state.global {
                        return self.fault("it calls a host function and does not say before what it used");
                    }
                }
                Some(_) if self.verifier.through.is_empty() => {
                    return self.fault("it is called through a table, calls others and does not pay for itself");
                }
                Some(called) => {
                    let at = self.at;
                    self.verifier.calls.call(at, function_index);
                    match self.callee(called as usize)? {
                        Known::Costs(owed) => units += owed,
                        _ => after = self.calls(state)?,
                    }
                }
            },
            Kind::CallIndirect(type_index) => {
                let at = self.at;
                self.verifier.calls.call_indirect(at, type_index);
                match self.verifier.through.get(type_index as usize) {
                    Some(Through { units: theirs, pays }) => {
                        units += theirs;
                        if *pays {
                            after = self.calls(state)?;
                        }
                    }
                    None => {
                        return self.fault("it is called through a table, calls others and does not pay for itself");
                    }
                }
            }
            Kind::MemoryGrow if !self.tells_refusal() => {
                return self.fault("it grows memory and does not tell a refusal by the machine");
            }
            Kind::Length if !length_paid => {
                return self.fault("it does not pay for a length");
            }
            _ => {}
        }
        self.spend(after, units)?;
        let after = self.live.unwrap_or(after);
        self.control(after, token)?;
        if !matches!(token.kind, Kind::Loop(_)) {
            self.next += 1;
        }
        Ok(())
    }

    /// What a call of this function costs whoever calls it.
    fn callee(&mut self, at: usize) -> Checked<Known> {
        match self.verifier.known.get(at) {
            Some(Known::Nothing) if self.row < ROW_MAX => self.verifier.function(at, self.row + 1),
            Some(Known::Pays) => Ok(Known::Pays),
            Some(Known::Costs(owed)) => Ok(Known::Costs(*owed)),
            _ => self.fault("it calls functions that do not pay for themselves, too many in a row"),
        }
    }

    /// A call of a function that pays for itself.
    fn calls(&mut self, state: State) -> Checked<State> {
        if !self.pays {
            return self.fault("it calls others and does not pay for itself");
        }
        if !self.looked_at_entry {
            return self.fault("it calls others and did not look whether anything is left");
        }
        if !state.global {
            return self.fault("it calls others and does not say before what it used");
        }
        Ok(State { local: false, ..state })
    }

    fn control(&mut self, state: State, token: &Token) -> Checked {
        match token.kind {
            // Most of all instructions.
            Kind::Plain | Kind::LocalGet(_) | Kind::I32Const(_) => {}
            Kind::End => {
                self.operands.step(self.verifier.module, token);
                self.close();
                return Ok(());
            }
            Kind::Else => {
                self.operands.step(self.verifier.module, token);
                return self.otherwise();
            }
            Kind::Block(_) => self.blocks.push(Block { before: None, otherwise: None, exit: None }),
            Kind::If(_) => self.blocks.push(Block { before: None, otherwise: Some(state), exit: None }),
            Kind::Loop(_) => {
                if !self.pays || !state.local {
                    return self.fault("a loop whose meter is not at hand");
                }
                let counted = match &self.counted {
                    Some(counted) if counted.at != self.blocks.len() => {
                        return self.fault("a loop in one that is paid for");
                    }
                    counted => counted.as_ref().map(|counted| counted.units as i64),
                };
                self.loops.push(self.blocks.len());
                self.blocks.push(Block { before: Some(state.paid), otherwise: None, exit: None });
                self.live = Some(State { paid: counted.unwrap_or(0), global: false, local: true });
                self.operands.step(self.verifier.module, token);
                self.next += 1;
                let pays = matches!(self.ahead(0), [from, Kind::I64Const(_), Kind::I64Sub, Kind::LocalTee(_)] if from == self.source());
                return if pays || counted.is_some() {
                    Ok(())
                } else {
                    self.fault("a loop that does not look whether anything is left")
                };
            }
            Kind::Br(relative_depth) => {
                self.branch(state, relative_depth)?;
                self.live = None;
            }
            Kind::BrIf(relative_depth) => self.branch(state, relative_depth)?,
            Kind::BrTable(table) => {
                let tokens = self.tokens;
                for depth in tokens.targets(table) {
                    self.branch(state, depth)?;
                }
                self.live = None;
            }
            Kind::Return => {
                if self.dry || self.meter == Meter::Passed {
                    return self.fault("it returns and does not say what it used");
                }
                self.live = None;
            }
            Kind::Unreachable => self.live = None,
            _ => {}
        }
        self.operands.step(self.verifier.module, token);
        Ok(())
    }

    fn branch(&mut self, state: State, depth: u32) -> Checked {
        let Some(at) = self.blocks.len().checked_sub(depth as usize + 1) else {
            return self.fault("it branches out of its code");
        };
        if self.blocks[at].before.is_some() {
            // Back to its head, where nothing need be left over.
            if self.counted.as_ref().is_some_and(|counted| counted.at == at && counted.back != Some(self.next)) {
                return self.fault("it goes round a loop that is paid for, and does not count that");
            }
            return if state.local { Ok(()) } else { self.fault("a loop that goes round without its meter") };
        }
        // Who leaves loops has what was paid before the outermost of them.
        let left = self.loops.get(self.loops.partition_point(|inside| *inside < at));
        let state = match left.and_then(|left| self.blocks[*left].before) {
            Some(paid) => State { paid, ..state },
            None => state,
        };
        let exit = &mut self.blocks[at].exit;
        *exit = Some(exit.map_or(state, |exit| exit.and(state)));
        Ok(())
    }

    fn close(&mut self) {
        let Some(block) = self.blocks.pop() else { return };
        if block.before.is_some() {
            self.loops.pop();
            // No other loop is in one that is paid for.
            self.counted = None;
        }
        if let (Some(live), Some(paid)) = (&mut self.live, block.before) {
            live.paid = paid;
        }
        let ends = [self.live, block.exit, block.otherwise];
        self.live = ends.into_iter().flatten().reduce(State::and);
        if self.live.is_none() {
            self.operands.kill();
        }
    }

    fn otherwise(&mut self) -> Checked {
        let live = self.live;
        let Some(block) = self.blocks.last_mut() else { return self.fault("an `else` without an `if`") };
        if let Some(state) = live {
            block.exit = Some(block.exit.map_or(state, |exit| exit.and(state)));
        }
        self.live = block.otherwise.take();
        Ok(())
    }

    /// The end of a function that looks or that was passed the meter: what is left is given back, and what ran out is said.
    fn end(&mut self) -> Checked {
        // Where nobody comes, everything is true.
        self.leave(self.live.unwrap_or(State { paid: 0, global: true, local: true }))?;
        if !self.dry {
            let ends = self.ahead(0) == [Kind::End];
            self.next += 1;
            return if ends { self.ended() } else { self.fault("it does not end as it should") };
        }
        let [Kind::Return, Kind::End, cause] = self.ahead(0) else {
            return self.fault("it does not end as it should");
        };
        if cause != Kind::I32Const(CAUSE_FUEL) {
            return self.fault("it does not say what ran out");
        }
        self.next += 3;
        self.says()?;
        if self.stack == 0 {
            return self.ended();
        }
        // Who took stack knows in which local the meter is.
        let newest = Kind::LocalGet(self.meter_local.unwrap_or(u32::MAX));
        let [whose, to, Kind::I32Const(CAUSE_STACK), which, Kind::I64Const(0), Kind::I64LtS, Kind::I32Sub] =
            self.ahead(0)
        else {
            return self.fault("it does not say what ran out");
        };
        if [whose, to, which] != [newest, Kind::GlobalSet(self.verifier.meter), newest] {
            return self.fault("it does not say what it used");
        }
        self.next += 7;
        self.says()?;
        self.ended()
    }

    /// The cause is on the stack: it is kept, and that is the end of the block.
    fn says(&mut self) -> Checked {
        if self.ahead(0) != [Kind::GlobalSet(self.verifier.cause), Kind::Unreachable, Kind::End] {
            return self.fault("it does not end as it should");
        }
        self.next += 3;
        Ok(())
    }

    fn ended(&mut self) -> Checked {
        if self.is_over() { Ok(()) } else { self.fault("it does not end as it should") }
    }

    /// Whoever leaves has given the stack back, and hands the newest meter over.
    fn leave(&mut self, state: State) -> Checked {
        let [from] = self.ahead(0);
        match self.is_newest(from, state) {
            Some(true) => {}
            Some(false) => return self.fault("it takes a meter that is not the newest"),
            None if self.stack == 0 && self.meter == Meter::Global && state.global => return Ok(()),
            None => return self.fault("it does not say what it used"),
        }
        self.next += 1;
        if self.stack > 0 {
            // Units of stack fit into the bits that hold them.
            if self.ahead(0) != [Kind::I64Const(self.stack as i64), Kind::I64Add] {
                return self.fault("it does not give back the stack that it took");
            }
            self.next += 2;
        }
        if self.meter != Meter::Passed {
            if self.ahead(0) != [Kind::GlobalSet(self.verifier.meter)] {
                return self.fault("it does not say what it used");
            }
            self.next += 1;
        }
        Ok(())
    }
}
