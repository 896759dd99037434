//! The bits of a NaN are those of WebAssembly's deterministic profile (core specification 3.0, appendix "Profiles"): what
//! arithmetic makes is canonical and positive.
//!
//! Engines may choose other bits, but nobody can tell before the bits are looked at. So a value is left as the engine made it
//! while it only flows into arithmetic that asks whether it is a NaN and not which one; it is made canonical where it was
//! produced if something looks at its bits: a store, a reinterpretation, a sign that is copied, a call, a vector's lanes of another
//! shape. Nothing else is touched: what was loaded keeps its bits.
//!
//! Each value is followed with the set of ways in which its bits may be settled ([`Ways`]). Instructions that only move a value
//! leave the set alone; where two values meet, in a local or a `select`, the ways that both allow remain. If none does, the value
//! is settled before.

use wasm_encoder::{BlockType, Encode as _, Ieee32, Ieee64, Instruction as I, ValType};
use wasmparser::{Operator, ValType as Type};

use manyhands_verifier::module::Module;
use manyhands_verifier::token::arity_of;

use crate::refusal::Refusal;
use crate::survey::Survey;
use crate::write::{Additions, Splice};

/// How often a function is gone through to learn about its locals, before what is still in doubt is settled at once.
const ROUNDS_MAX: usize = 6;

const CANONICAL_32: u32 = 0x7fc0_0000;
const CANONICAL_64: u64 = 0x7ff8_0000_0000_0000;

/// In which ways a value can be settled. Each is right by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ways(u8);

impl Ways {
    /// The bits are right as they are.
    const DONE: Self = Self(1);
    /// If it is a NaN, it is the canonical one of 32 bits, or the same with a sign.
    const F32: Self = Self(2);
    const F32_NEGATIVE: Self = Self(4);
    /// The same for 64 bits.
    const F64: Self = Self(8);
    const F64_NEGATIVE: Self = Self(16);
    /// Each lane that is a NaN is the canonical one, for four lanes and for two.
    const F32X4: Self = Self(32);
    const F64X2: Self = Self(64);
    /// It is no NaN, however one looks at it.
    const ANY: Self = Self(127);

    fn allows(self, way: Self) -> bool {
        self.0 & way.0 != 0
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn is_none(self) -> bool {
        self.0 == 0
    }

    fn if_allows(self, way: Self, then: Self) -> Self {
        if self.allows(way) { then } else { Self(0) }
    }
}

/// A function's instructions, with the first byte of each, and the types of its parameters and locals.
struct Code<'a> {
    ops: Vec<(Operator<'a>, usize)>,
    locals: Vec<Type>,
}

impl<'a> Code<'a> {
    fn read(params: &[Type], body: &wasmparser::FunctionBody<'a>) -> Result<Self, wasmparser::BinaryReaderError> {
        let mut locals = params.to_vec();
        for group in body.get_locals_reader()? {
            let (count, ty) = group?;
            // The check has counted them.
            locals.extend(std::iter::repeat_n(ty, count as usize));
        }
        let ops = body.get_operators_reader()?.into_iter_with_offsets().collect::<Result<_, _>>()?;
        Ok(Self { ops, locals })
    }
}

/// A value on the operand stack.
#[derive(Clone, Copy)]
struct Value {
    ways: Ways,
    /// The instruction after which it is on top.
    origin: usize,
}

/// Settles what must be settled in all functions, whose code may have `most` bytes then.
pub(crate) fn pass(bytes: &[u8], survey: &Survey, most: usize) -> Result<Vec<u8>, Refusal> {
    let invalid = |error: wasmparser::BinaryReaderError| Refusal::invalid(&error);
    let module = Module::read(bytes).map_err(Refusal::malformed)?;
    let mut additions = Additions::default();
    for (at, (body, found)) in module.bodies.iter().zip(&survey.functions).enumerate() {
        if !found.floats {
            additions.code.add(|out| body.as_bytes().encode(out));
            continue;
        }
        let ty = module.type_of(module.imported() + at as u32);
        let params = ty.map_or(&[][..], |ty| ty.params());
        let code = Code::read(params, body).map_err(invalid)?;
        let fixes = Analysis::of(&module, &code, params.len(), ty).run();
        write(bytes, body, &code, fixes)?.finish(&mut additions.code);
        additions.not_too_long(most)?;
    }
    additions.write(bytes, &module.sections)
}

/// Whether an instruction makes a value whose bits may need to be settled.
pub(crate) fn makes_bits(operator: &Operator<'_>) -> bool {
    matches!(effect(operator), Effect::Makes { way, .. } if way != Ways::ANY && way != Ways::DONE)
}

fn write<'a>(
    bytes: &'a [u8],
    body: &wasmparser::FunctionBody<'_>,
    code: &Code<'_>,
    fixes: Vec<(usize, Ways)>,
) -> Result<Splice<'a>, Refusal> {
    let shape = |ways: Ways| match () {
        () if ways.allows(Ways::F32.or(Ways::F32_NEGATIVE)) => ValType::F32,
        () if ways.allows(Ways::F64.or(Ways::F64_NEGATIVE)) => ValType::F64,
        () => ValType::V128,
    };
    let mut locals: Vec<ValType> = Vec::new();
    for (_, ways) in &fixes {
        if !locals.contains(&shape(*ways)) {
            locals.push(shape(*ways));
        }
    }
    let mut splice = Splice::locals(bytes, body, &locals)?;
    for (at, ways) in fixes {
        let Some((_, next)) = code.ops.get(at + 1) else { continue };
        splice.copy_to(*next);
        let ty = shape(ways);
        let local = code.locals.len() + locals.iter().position(|local| *local == ty).unwrap_or(0);
        splice.put(&settled(ways, local as u32));
    }
    Ok(splice)
}

/// Settles the value on top of the stack.
fn settled(ways: Ways, local: u32) -> Vec<I<'static>> {
    // A comparison that a NaN fails and nothing else: one jump, where `ne` takes two.
    let scalar = |is_number, canonical| {
        vec![
            I::LocalSet(local),
            I::Block(BlockType::Empty),
            I::LocalGet(local),
            I::LocalGet(local),
            is_number,
            I::BrIf(0),
            canonical,
            I::LocalSet(local),
            I::End,
            I::LocalGet(local),
        ]
    };
    let vector = |canonical: u128, equals| {
        vec![
            I::LocalTee(local),
            I::V128Const(canonical.cast_signed()),
            I::LocalGet(local),
            I::LocalGet(local),
            equals,
            I::V128Bitselect,
        ]
    };
    let f32 = |sign: u32| scalar(I::F32Ge, I::F32Const(Ieee32::new(CANONICAL_32 | sign << 31)));
    let f64 = |sign: u64| scalar(I::F64Ge, I::F64Const(Ieee64::new(CANONICAL_64 | sign << 63)));
    match () {
        () if ways.allows(Ways::F32) => f32(0),
        () if ways.allows(Ways::F32_NEGATIVE) => f32(1),
        () if ways.allows(Ways::F64) => f64(0),
        () if ways.allows(Ways::F64_NEGATIVE) => f64(1),
        () if ways.allows(Ways::F32X4) => {
            vector(u128::from(CANONICAL_32) * 0x1_0000_0001_0000_0001_0000_0001, I::F32x4Eq)
        }
        () => vector(u128::from(CANONICAL_64) << 64 | u128::from(CANONICAL_64), I::F64x2Eq),
    }
}

/// What an instruction without control does to bits.
enum Effect {
    /// It asks nothing of the bits of `takes` values but that they can be settled in the way `of` (or are), and makes
    /// one that can be settled as `way`. If it `keeps`, it makes a NaN only of a NaN.
    Makes { takes: usize, of: Ways, way: Ways, keeps: bool },
    /// It looks at the bits, or at nothing.
    Looks,
    /// One of its own.
    Special,
}

fn effect(operator: &Operator<'_>) -> Effect {
    use Operator as O;
    const F32: Ways = Ways(Ways::DONE.0 | Ways::F32.0 | Ways::F32_NEGATIVE.0);
    const F64: Ways = Ways(Ways::DONE.0 | Ways::F64.0 | Ways::F64_NEGATIVE.0);
    const F32X4: Ways = Ways(Ways::DONE.0 | Ways::F32X4.0);
    const F64X2: Ways = Ways(Ways::DONE.0 | Ways::F64X2.0);
    let makes = |takes, of, way, keeps| Effect::Makes { takes, of, way, keeps };
    // What comes out is an integer, a truth value or a float that cannot be a NaN.
    let asks = |takes, of| Effect::Makes { takes, of, way: Ways::ANY, keeps: false };
    match operator {
        O::F32Add | O::F32Sub | O::F32Mul | O::F32Div => makes(2, F32, Ways::F32, false),
        O::F64Add | O::F64Sub | O::F64Mul | O::F64Div => makes(2, F64, Ways::F64, false),
        O::F32Min | O::F32Max => makes(2, F32, Ways::F32, true),
        O::F64Min | O::F64Max => makes(2, F64, Ways::F64, true),
        O::F32Sqrt => makes(1, F32, Ways::F32, false),
        O::F64Sqrt => makes(1, F64, Ways::F64, false),
        O::F32Ceil | O::F32Floor | O::F32Trunc | O::F32Nearest => makes(1, F32, Ways::F32, true),
        O::F64Ceil | O::F64Floor | O::F64Trunc | O::F64Nearest => makes(1, F64, Ways::F64, true),
        O::F32DemoteF64 => makes(1, F64, Ways::F32, true),
        O::F64PromoteF32 => makes(1, F32, Ways::F64, true),
        O::F32Eq | O::F32Ne | O::F32Lt | O::F32Gt | O::F32Le | O::F32Ge => asks(2, F32),
        O::F64Eq | O::F64Ne | O::F64Lt | O::F64Gt | O::F64Le | O::F64Ge => asks(2, F64),
        O::I32TruncF32S | O::I32TruncF32U | O::I64TruncF32S | O::I64TruncF32U => asks(1, F32),
        O::I32TruncF64S | O::I32TruncF64U | O::I64TruncF64S | O::I64TruncF64U => asks(1, F64),
        O::I32TruncSatF32S | O::I32TruncSatF32U | O::I64TruncSatF32S | O::I64TruncSatF32U => asks(1, F32),
        O::I32TruncSatF64S | O::I32TruncSatF64U | O::I64TruncSatF64S | O::I64TruncSatF64U => asks(1, F64),
        O::F32ConvertI32S | O::F32ConvertI32U | O::F32ConvertI64S | O::F32ConvertI64U => asks(1, Ways::ANY),
        O::F64ConvertI32S | O::F64ConvertI32U | O::F64ConvertI64S | O::F64ConvertI64U => asks(1, Ways::ANY),
        O::F32x4Add | O::F32x4Sub | O::F32x4Mul | O::F32x4Div => makes(2, F32X4, Ways::F32X4, false),
        O::F64x2Add | O::F64x2Sub | O::F64x2Mul | O::F64x2Div => makes(2, F64X2, Ways::F64X2, false),
        O::F32x4Min | O::F32x4Max => makes(2, F32X4, Ways::F32X4, true),
        O::F64x2Min | O::F64x2Max => makes(2, F64X2, Ways::F64X2, true),
        O::F32x4Sqrt => makes(1, F32X4, Ways::F32X4, false),
        O::F64x2Sqrt => makes(1, F64X2, Ways::F64X2, false),
        O::F32x4Ceil | O::F32x4Floor | O::F32x4Trunc | O::F32x4Nearest => makes(1, F32X4, Ways::F32X4, true),
        O::F64x2Ceil | O::F64x2Floor | O::F64x2Trunc | O::F64x2Nearest => makes(1, F64X2, Ways::F64X2, true),
        O::F32x4DemoteF64x2Zero => makes(1, F64X2, Ways::F32X4, true),
        O::F64x2PromoteLowF32x4 => makes(1, F32X4, Ways::F64X2, true),
        O::I32x4TruncSatF32x4S | O::I32x4TruncSatF32x4U => compares(1, F32X4),
        O::I32x4TruncSatF64x2SZero | O::I32x4TruncSatF64x2UZero => compares(1, F64X2),
        O::F32x4Eq | O::F32x4Ne | O::F32x4Lt | O::F32x4Gt | O::F32x4Le | O::F32x4Ge => compares(2, F32X4),
        O::F64x2Eq | O::F64x2Ne | O::F64x2Lt | O::F64x2Gt | O::F64x2Le | O::F64x2Ge => compares(2, F64X2),
        O::LocalGet { .. }
        | O::LocalSet { .. }
        | O::LocalTee { .. }
        | O::Drop
        | O::Select
        | O::TypedSelect { .. }
        | O::TypedSelectMulti { .. }
        | O::F32Const { .. }
        | O::F64Const { .. }
        | O::V128Const { .. }
        | O::F32Neg
        | O::F64Neg
        | O::F32Abs
        | O::F64Abs
        | O::F32x4Abs
        | O::F64x2Abs
        | O::F32x4Splat
        | O::F64x2Splat
        | O::F32x4ExtractLane { .. }
        | O::F64x2ExtractLane { .. }
        | O::F32x4ReplaceLane { .. }
        | O::F64x2ReplaceLane { .. }
        | O::F32x4PMin
        | O::F32x4PMax
        | O::F64x2PMin
        | O::F64x2PMax
        | O::F32x4ConvertI32x4S
        | O::F32x4ConvertI32x4U
        | O::F64x2ConvertLowI32x4S
        | O::F64x2ConvertLowI32x4U => Effect::Special,
        _ => Effect::Looks,
    }
}

/// What comes out are bits that everybody agrees on, though they may look like a NaN.
fn compares(takes: usize, of: Ways) -> Effect {
    Effect::Makes { takes, of, way: Ways::DONE, keeps: false }
}

struct Frame {
    /// Values below.
    below: usize,
    params: usize,
    results: usize,
    is_loop: bool,
}

struct Analysis<'a, 'b> {
    module: &'a Module<'b>,
    body: &'a Code<'b>,
    params: usize,
    results: usize,
    /// In which ways what is in a local can be settled.
    locals: Vec<Ways>,
    changed: bool,
    values: Vec<Value>,
    frames: Vec<Frame>,
    fixes: Vec<(usize, Ways)>,
}

impl<'a, 'b> Analysis<'a, 'b> {
    fn of(module: &'a Module<'b>, body: &'a Code<'b>, params: usize, ty: Option<&wasmparser::FuncType>) -> Self {
        // Arguments are settled by the caller; other locals begin as zero.
        let locals = (0..body.locals.len()).map(|local| if local < params { Ways::DONE } else { Ways::ANY }).collect();
        Self {
            module,
            body,
            params,
            results: ty.map_or(0, |ty| ty.results().len()),
            locals,
            changed: false,
            values: Vec::new(),
            frames: Vec::new(),
            fixes: Vec::new(),
        }
    }

    /// After which instructions what is on top must be settled, and how.
    fn run(mut self) -> Vec<(usize, Ways)> {
        for round in 0.. {
            self.changed = false;
            self.once();
            if !self.changed {
                break;
            }
            if round == ROUNDS_MAX {
                // A value that is settled before it is kept is always right.
                let floats = self.body.locals.iter().enumerate().skip(self.params);
                for (local, _) in floats.filter(|(_, ty)| matches!(ty, Type::F32 | Type::F64 | Type::V128)) {
                    self.locals[local] = Ways::DONE;
                }
            }
        }
        self.fixes.sort_unstable_by_key(|(at, _)| *at);
        self.fixes
    }

    fn once(&mut self) {
        self.values.clear();
        self.fixes.clear();
        self.frames.clear();
        self.frames.push(Frame { below: 0, params: 0, results: self.results, is_loop: false });
        let body = self.body;
        let mut dead: Option<u32> = None;
        for (at, (operator, _)) in body.ops.iter().enumerate() {
            if let Some(inside) = &mut dead {
                match operator {
                    Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => *inside += 1,
                    Operator::End if *inside > 0 => *inside -= 1,
                    Operator::End | Operator::Else if *inside == 0 => {
                        dead = None;
                        // As if its values had come.
                        if let Some(frame) = self.frames.last() {
                            self.values.truncate(frame.below);
                            let results = frame.results;
                            self.push(results, Ways::DONE, at);
                        }
                    }
                    _ => {}
                }
                if dead.is_some() {
                    continue;
                }
            }
            self.step(at, operator);
            if matches!(
                operator,
                Operator::Br { .. } | Operator::BrTable { .. } | Operator::Return | Operator::Unreachable
            ) {
                dead = Some(0);
            }
        }
    }

    fn step(&mut self, at: usize, operator: &Operator<'_>) {
        use Operator as O;
        match operator {
            O::Block { blockty } => self.open(at, *blockty, false),
            O::Loop { blockty } => self.open(at, *blockty, true),
            O::If { blockty } => {
                self.pop();
                self.open(at, *blockty, false);
            }
            O::Else => {
                let Some(frame) = self.frames.last() else { return };
                let (below, params, results) = (frame.below, frame.params, frame.results);
                self.look(results);
                self.values.truncate(below);
                self.push(params, Ways::DONE, at);
            }
            O::End => {
                let Some(frame) = self.frames.pop() else { return };
                self.look(frame.results);
                self.values.truncate(frame.below);
                self.push(frame.results, Ways::DONE, at);
            }
            O::Br { relative_depth } => self.look(self.carried(*relative_depth)),
            O::BrIf { relative_depth } => {
                self.pop();
                self.look(self.carried(*relative_depth));
            }
            O::BrTable { targets } => {
                self.pop();
                self.look(self.carried(targets.default()));
            }
            O::Return => self.look(self.results),
            O::Unreachable => {}
            O::Call { function_index } => {
                let ty = self.module.type_of(*function_index);
                let (takes, gives) = ty.map_or((0, 0), |ty| (ty.params().len(), ty.results().len()));
                self.looks(at, takes, gives);
            }
            O::CallIndirect { type_index, .. } => {
                let ty = self.module.type_at(*type_index);
                let (takes, gives) = ty.map_or((0, 0), |ty| (ty.params().len(), ty.results().len()));
                self.looks(at, takes + 1, gives);
            }
            _ => match effect(operator) {
                Effect::Makes { takes, of, way, keeps } => {
                    let mut is_number = keeps;
                    for _ in 0..takes {
                        let value = self.pop();
                        if value.ways.and(of).is_none() {
                            self.settle(value);
                        }
                        is_number &= value.ways == Ways::ANY;
                    }
                    self.push(1, if is_number { Ways::ANY } else { way }, at);
                }
                Effect::Looks => {
                    let (takes, gives) = arity_of(operator);
                    self.looks(at, takes.into(), gives.into());
                }
                Effect::Special => self.special(at, operator),
            },
        }
    }

    fn special(&mut self, at: usize, operator: &Operator<'_>) {
        use Operator as O;
        let ways = match operator {
            O::LocalGet { local_index } => self.locals[*local_index as usize],
            O::LocalSet { local_index } => {
                let value = self.pop();
                self.keep(*local_index, value);
                return;
            }
            O::LocalTee { local_index } => {
                let value = self.pop();
                // What stays on the stack was settled as well, if it had to be.
                let ways = if self.keep(*local_index, value) { value.ways.or(Ways::DONE) } else { value.ways };
                self.values.push(Value { ways, origin: at });
                return;
            }
            O::Drop => {
                self.pop();
                return;
            }
            O::Select | O::TypedSelect { .. } | O::TypedSelectMulti { .. } => {
                self.pop();
                self.meet(Ways::ANY)
            }
            O::F32x4PMin | O::F32x4PMax => self.meet(Ways::DONE.or(Ways::F32X4)),
            O::F64x2PMin | O::F64x2PMax => self.meet(Ways::DONE.or(Ways::F64X2)),
            O::F32Const { value } if !f32::from_bits(value.bits()).is_nan() => Ways::ANY,
            O::F64Const { value } if !f64::from_bits(value.bits()).is_nan() => Ways::ANY,
            O::F32Const { .. } | O::F64Const { .. } => Ways::DONE,
            O::V128Const { value } => {
                let bits = u128::from_le_bytes(*value.bytes());
                let nan_32 = (0..4).any(|lane| f32::from_bits((bits >> (32 * lane)) as u32).is_nan());
                let nan_64 = (0..2).any(|lane| f64::from_bits((bits >> (64 * lane)) as u64).is_nan());
                let or = |nan: bool, way| if nan { Ways(0) } else { way };
                Ways::DONE.or(or(nan_32, Ways::F32X4)).or(or(nan_64, Ways::F64X2))
            }
            O::F32Neg => {
                let ways = self.pop().ways;
                turned(ways, Ways::F32, Ways::F32_NEGATIVE)
            }
            O::F64Neg => {
                let ways = self.pop().ways;
                turned(ways, Ways::F64, Ways::F64_NEGATIVE)
            }
            O::F32Abs => {
                let ways = self.pop().ways;
                ways.and(Ways::DONE).or(ways.if_allows(Ways::F32.or(Ways::F32_NEGATIVE), Ways::F32))
            }
            O::F64Abs => {
                let ways = self.pop().ways;
                ways.and(Ways::DONE).or(ways.if_allows(Ways::F64.or(Ways::F64_NEGATIVE), Ways::F64))
            }
            O::F32x4Abs => self.only(Ways::DONE.or(Ways::F32X4)),
            O::F64x2Abs => self.only(Ways::DONE.or(Ways::F64X2)),
            O::F32x4Splat => {
                let ways = self.only(Ways::DONE.or(Ways::F32));
                ways.and(Ways::DONE).or(ways.if_allows(Ways::F32, Ways::F32X4))
            }
            O::F64x2Splat => {
                let ways = self.only(Ways::DONE.or(Ways::F64));
                ways.and(Ways::DONE).or(ways.if_allows(Ways::F64, Ways::F64X2))
            }
            O::F32x4ExtractLane { .. } => {
                let ways = self.only(Ways::DONE.or(Ways::F32X4));
                ways.and(Ways::DONE).or(ways.if_allows(Ways::F32X4, Ways::F32))
            }
            O::F64x2ExtractLane { .. } => {
                let ways = self.only(Ways::DONE.or(Ways::F64X2));
                ways.and(Ways::DONE).or(ways.if_allows(Ways::F64X2, Ways::F64))
            }
            O::F32x4ReplaceLane { .. } => self.replace(Ways::F32, Ways::F32X4),
            O::F64x2ReplaceLane { .. } => self.replace(Ways::F64, Ways::F64X2),
            O::F32x4ConvertI32x4S | O::F32x4ConvertI32x4U => {
                self.looks(at, 1, 0);
                Ways::DONE.or(Ways::F32X4)
            }
            _ => {
                self.looks(at, 1, 0);
                Ways::DONE.or(Ways::F64X2)
            }
        };
        self.push(1, ways, at);
    }

    /// Takes a value whose ways are of `wanted`, settled if it has none of them.
    fn only(&mut self, wanted: Ways) -> Ways {
        let value = self.pop();
        let ways = value.ways.and(wanted);
        if ways.is_none() {
            self.settle(value);
            return Ways::DONE;
        }
        ways
    }

    /// Takes two values of which one, or lanes of both, go on.
    fn meet(&mut self, wanted: Ways) -> Ways {
        let (second, first) = (self.pop(), self.pop());
        let ways = first.ways.and(second.ways).and(wanted);
        if ways.is_none() {
            self.settle(first);
            self.settle(second);
            return Ways::DONE;
        }
        ways
    }

    /// Takes a vector and what becomes one of its lanes.
    fn replace(&mut self, scalar: Ways, vector: Ways) -> Ways {
        let (lane, lanes) = (self.pop(), self.pop());
        let of_lane = lane.ways.and(Ways::DONE).or(lane.ways.if_allows(scalar, vector));
        let ways = of_lane.and(lanes.ways);
        if ways.is_none() {
            self.settle(lane);
            self.settle(lanes);
            return Ways::DONE;
        }
        ways
    }

    /// Puts a value into a local; whether it had to be settled.
    fn keep(&mut self, local: u32, value: Value) -> bool {
        let known = &mut self.locals[local as usize];
        let both = known.and(value.ways);
        if both.is_none() {
            self.changed |= *known != Ways::DONE;
            *known = Ways::DONE;
            if !value.ways.allows(Ways::DONE) {
                self.settle(value);
                return true;
            }
            return false;
        }
        self.changed |= *known != both;
        *known = both;
        false
    }

    fn settle(&mut self, value: Value) {
        if !value.ways.allows(Ways::DONE) {
            self.fixes.push((value.origin, value.ways));
        }
    }

    /// The upper values are looked at, and stay.
    fn look(&mut self, count: usize) {
        let from = self.values.len().saturating_sub(count);
        for at in from..self.values.len() {
            let value = self.values[at];
            self.settle(value);
            self.values[at].ways = value.ways.or(Ways::DONE);
        }
    }

    fn looks(&mut self, at: usize, takes: usize, gives: usize) {
        for _ in 0..takes {
            let value = self.pop();
            self.settle(value);
        }
        self.push(gives, Ways::DONE, at);
    }

    fn open(&mut self, at: usize, ty: wasmparser::BlockType, is_loop: bool) {
        let (params, results) = match ty {
            wasmparser::BlockType::Empty => (0, 0),
            wasmparser::BlockType::Type(_) => (0, 1),
            wasmparser::BlockType::FuncType(ty) => {
                self.module.type_at(ty).map_or((0, 0), |ty| (ty.params().len(), ty.results().len()))
            }
        };
        self.look(params);
        let below = self.values.len().saturating_sub(params);
        self.values.truncate(below);
        self.push(params, Ways::DONE, at);
        self.frames.push(Frame { below, params, results, is_loop });
    }

    /// How many values go with a branch.
    fn carried(&self, depth: u32) -> usize {
        let frame = self.frames.len().checked_sub(depth as usize + 1).and_then(|at| self.frames.get(at));
        frame.map_or(0, |frame| if frame.is_loop { frame.params } else { frame.results })
    }

    fn push(&mut self, count: usize, ways: Ways, origin: usize) {
        self.values.extend(std::iter::repeat_n(Value { ways, origin }, count));
    }

    fn pop(&mut self) -> Value {
        self.values.pop().unwrap_or(Value { ways: Ways::DONE, origin: 0 })
    }
}

/// The ways of a value whose sign is turned.
fn turned(ways: Ways, positive: Ways, negative: Ways) -> Ways {
    ways.and(Ways::DONE)
        .or(ways.if_allows(positive, negative))
        .or(ways.if_allows(negative, positive))
        .or(if ways == Ways::ANY { Ways::ANY } else { Ways(0) })
}
