//! Where two engines first do different things in one unit: the call, and the instruction in it.
//!
//! Only asked when their outcomes differ. Both execute the module with something woven in ([`crate::weave`]), again and again: first
//! they tell a hash of all that happened, ever more seldom; between the last that is equal and the first that is not they tell
//! more, until all there is to tell of a few hundred events fits. So it takes little memory however long the unit is.

use manyhands_verifier::module::Module;
use wasm_encoder::ValType;

use crate::weave::{EventKind, TRACE_LEVEL, Weave, Window, values, weave};
use crate::{Engine, Failure, Unit};

/// Events that are told in full, at most.
const FULL: u64 = 256;
/// Checkpoints of one execution that looks closer.
const CHECKPOINTS: u64 = 512;

/// What happened in one engine at the place where they part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What kind.
    pub kind: EventKind,
    /// The function: the one that is called, returns or stores. Indices are those of the module that was executed.
    pub function: u32,
    /// Which of its calls, from 1.
    pub call: u64,
    /// If it is called: by which function, and in which of that one's calls. The job's own function is called by nobody.
    pub caller: Option<(u32, u64)>,
    /// The meter then.
    pub meter: Option<i64>,
    /// Arguments, results or what is stored, with the bits of floats.
    pub values: Vec<Bits>,
}

/// A value, bit by bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Its type.
    pub ty: ValType,
    /// Its bits.
    pub bits: u128,
}

impl core::fmt::Display for Bits {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.ty {
            ValType::I32 => write!(f, "i32 {}", self.bits as u32 as i32),
            ValType::I64 => write!(f, "i64 {}", self.bits as u64 as i64),
            ValType::F32 => write!(f, "f32 {:?} ({:#010x})", f32::from_bits(self.bits as u32), self.bits),
            ValType::F64 => write!(f, "f64 {:?} ({:#018x})", f64::from_bits(self.bits as u64), self.bits),
            _ => write!(f, "v128 {:#034x}", self.bits),
        }
    }
}

/// The first instruction that made different values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The instruction's number in its function, from 0.
    pub instruction: usize,
    /// What it made on both engines; none where the other engine came to another instruction.
    pub values: [Option<Bits>; 2],
}

/// Where two engines part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The function in which that happens, and which call of it.
    pub function: u32,
    /// From 1.
    pub call: u64,
    /// How many calls, returns and stores were the same before.
    pub same: u64,
    /// What is seen of it first, on both engines; none on one that had ended by then.
    pub events: [Option<Event>; 2],
    /// The instruction, if one of that call is found.
    pub made: Option<Made>,
}

/// Finds where two engines part. `None` if they do the same when they are watched, or only their ends differ.
///
/// # Errors
/// Those of the engines, and [`Failure::Refused`] for a module into which nothing can be woven.
pub fn find(engines: [&mut dyn Engine; 2], sealed: &[u8], unit: &Unit<'_>) -> Result<Option<Divergence>, Failure> {
    let mut pair = Pair { engines, sealed, unit };
    let module = Module::read(sealed).map_err(|error| Failure::Refused(error.to_string()))?;
    let found = pair.narrow(&Weave::Events, &|numbers| events(&module, numbers))?;
    let Some((same, events)) = found else { return Ok(None) };
    let Some(first) = events.iter().flatten().next() else { return Ok(None) };
    // Arguments that differ were made by the caller.
    let (function, call) = match (first.kind, first.caller) {
        (EventKind::Call, Some(caller)) => caller,
        _ => (first.function, first.call),
    };
    let types = values(sealed, function).map_err(Failure::Refused)?;
    let inside = pair.narrow(&|window| Weave::Inside { function, call, window }, &|numbers| made(&types, numbers))?;
    let made = inside.and_then(|(_, [ours, theirs])| {
        let instruction = ours.or(theirs)?.0;
        let value = |made: Option<(usize, Bits)>| made.filter(|made| made.0 == instruction).map(|made| made.1);
        Some(Made { instruction, values: [value(ours), value(theirs)] })
    });
    Ok(Some(Divergence { function, call, same, events, made }))
}

/// How many events are equal, and the first of each that is not.
type First<T> = Option<(u64, [Option<T>; 2])>;

struct Pair<'a, 'b> {
    engines: [&'a mut dyn Engine; 2],
    sealed: &'b [u8],
    unit: &'b Unit<'b>,
}

impl Pair<'_, '_> {
    fn narrow<'w, T: Clone + PartialEq>(
        &mut self,
        what: &dyn Fn(Window) -> Weave<'w>,
        read: &dyn Fn(&[u64]) -> Vec<T>,
    ) -> Result<First<T>, Failure> {
        let told = self.told(&what(Window::Leading))?;
        let (mut from, mut to) = part(&told, leading());
        while to - from > FULL {
            let step = (to - from).div_ceil(CHECKPOINTS).max(2);
            let told = self.told(&what(Window::Every { from, to, step }))?;
            let counts = (from..=to).step_by(step as usize).chain([to]);
            // An event whose hash is told is the last that is known to be equal.
            let (last, first) = part(&told, counts.skip_while(|count| *count == from && from == 0));
            (from, to) = (last.max(from), first.min(to));
        }
        let [ours, theirs] = self.told(&what(Window::Full { from, to }))?.map(|numbers| read(&numbers));
        let equal = ours.iter().zip(&theirs).take_while(|(ours, theirs)| ours == theirs).count();
        let first = [ours.get(equal).cloned(), theirs.get(equal).cloned()];
        let differs = first.iter().any(Option::is_some);
        Ok(differs.then_some((from + equal as u64, first)))
    }

    /// The numbers that both tell.
    fn told(&mut self, what: &Weave<'_>) -> Result<[Vec<u64>; 2], Failure> {
        let woven = weave(self.sealed, what).map_err(Failure::Refused)?;
        let mut told = [Vec::new(), Vec::new()];
        for (engine, told) in self.engines.iter_mut().zip(&mut told) {
            engine.load(&woven)?;
            let executed = engine.execute(self.unit)?;
            let lines = executed.logs.iter().filter(|(level, _)| *level == TRACE_LEVEL);
            *told = lines.filter_map(|(_, text)| u64::from_str_radix(text, 16).ok()).collect();
        }
        Ok(told)
    }
}

/// The counts of events at which [`Window::Leading`] tells a hash: those below 64, and 32 of each order of magnitude.
fn leading() -> impl Iterator<Item = u64> {
    (1..64).chain((1..58).flat_map(|shift| (32..64).map(move |first| first << shift)))
}

/// The last count at which both told the same and the first at which they did not.
fn part(told: &[Vec<u64>; 2], mut counts: impl Iterator<Item = u64>) -> (u64, u64) {
    let equal = told[0].iter().zip(&told[1]).take_while(|(ours, theirs)| ours == theirs).count();
    let last = if equal == 0 { 0 } else { counts.by_ref().nth(equal - 1).unwrap_or(0) };
    (last, counts.next().unwrap_or(u64::MAX))
}

/// Reads numbers one after the other.
struct Numbers<'a>(core::slice::Iter<'a, u64>);

impl Numbers<'_> {
    fn next(&mut self) -> Option<u64> {
        self.0.next().copied()
    }

    fn bits(&mut self, ty: ValType) -> Option<Bits> {
        let low = u128::from(self.next()?);
        let high = if ty == ValType::V128 { u128::from(self.next()?) } else { 0 };
        Some(Bits { ty, bits: high << 64 | low })
    }
}

/// Events as they were told. A last one that was cut short is left out.
fn events(module: &Module<'_>, numbers: &[u64]) -> Vec<Event> {
    let mut numbers = Numbers(numbers.iter());
    core::iter::from_fn(|| event(module, &mut numbers)).collect()
}

fn event(module: &Module<'_>, numbers: &mut Numbers<'_>) -> Option<Event> {
    let head = numbers.next()?;
    let (kind, function) = (EventKind::of(head >> 32 & 0xff)?, head as u32);
    let call = numbers.next()?;
    let caller = match kind {
        EventKind::Call => Some((numbers.next()? as u32, numbers.next()?)),
        _ => None,
    };
    let meter = match kind {
        EventKind::Call | EventKind::Return => Some(numbers.next()? as i64),
        _ => None,
    };
    let ty = module.type_of(function);
    let types: Vec<ValType> = match kind {
        EventKind::Call => types(ty.map_or(&[][..], |ty| ty.params())),
        EventKind::Return => types(ty.map_or(&[][..], |ty| ty.results())),
        _ => types(&[stored((head >> 40) as u8)?]),
    };
    let values = types.into_iter().map(|ty| numbers.bits(ty)).collect::<Option<_>>()?;
    let caller = caller.filter(|(_, call)| *call > 0);
    Some(Event { kind, function, call, caller, meter, values })
}

fn types(types: &[wasmparser::ValType]) -> Vec<ValType> {
    types.iter().filter_map(|ty| ValType::try_from(*ty).ok()).collect()
}

/// The type of what is stored, by its place among those of [`crate::weave`].
fn stored(place: u8) -> Option<wasmparser::ValType> {
    use wasmparser::ValType as T;
    [T::I32, T::I64, T::F32, T::F64, T::V128].get(usize::from(place)).copied()
}

/// Values that instructions made, with their numbers.
fn made(types: &[Option<ValType>], numbers: &[u64]) -> Vec<(usize, Bits)> {
    let mut numbers = Numbers(numbers.iter());
    let next = || {
        let instruction = numbers.next()? as u32 as usize;
        Some((instruction, numbers.bits((*types.get(instruction)?)?)?))
    };
    core::iter::from_fn(next).collect()
}
