//! Every instruction that works on floats, with what WebAssembly 3.0's deterministic profile says it gives.
//!
//! This is the oracle: plain Rust on bit patterns, written from the specification and sharing nothing with
//! the sealer. Arithmetic that gives a NaN gives the positive canonical one; instructions that only move,
//! select or change signs keep every bit.

use wasm_encoder::{Instruction, ValType};

/// The type of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ty {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// Vector.
    V128,
}

impl Ty {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::I32, Self::I64, Self::F32, Self::F64, Self::V128];

    /// The encoder's word for it.
    pub const fn val(self) -> ValType {
        match self {
            Self::I32 => ValType::I32,
            Self::I64 => ValType::I64,
            Self::F32 => ValType::F32,
            Self::F64 => ValType::F64,
            Self::V128 => ValType::V128,
        }
    }

    /// How many bytes it has in memory.
    pub const fn bytes(self) -> usize {
        match self {
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
            Self::V128 => 16,
        }
    }

    /// Loads it from the address on the stack, plus `offset`.
    pub fn load(self, offset: u64) -> Instruction<'static> {
        let place = wasm_encoder::MemArg { offset, align: 0, memory_index: 0 };
        match self {
            Self::I32 => Instruction::I32Load(place),
            Self::I64 => Instruction::I64Load(place),
            Self::F32 => Instruction::F32Load(place),
            Self::F64 => Instruction::F64Load(place),
            Self::V128 => Instruction::V128Load(place),
        }
    }

    /// Stores it at the address below it on the stack, plus `offset`.
    pub fn store(self, offset: u64) -> Instruction<'static> {
        let place = wasm_encoder::MemArg { offset, align: 0, memory_index: 0 };
        match self {
            Self::I32 => Instruction::I32Store(place),
            Self::I64 => Instruction::I64Store(place),
            Self::F32 => Instruction::F32Store(place),
            Self::F64 => Instruction::F64Store(place),
            Self::V128 => Instruction::V128Store(place),
        }
    }

    /// The constant with these bits.
    pub fn constant(self, bits: u128) -> Instruction<'static> {
        match self {
            Self::I32 => Instruction::I32Const(bits as i32),
            Self::I64 => Instruction::I64Const(bits as i64),
            Self::F32 => Instruction::F32Const(f32::from_bits(bits as u32).into()),
            Self::F64 => Instruction::F64Const(f64::from_bits(bits as u64).into()),
            Self::V128 => Instruction::V128Const(bits as i128),
        }
    }
}

/// The bits of the result for the bits of the operands, the second of which may be unused. `None` is a trap.
pub type Meaning = fn(u128, u128) -> Option<u128>;

/// One instruction.
#[derive(Clone, Debug)]
pub struct Op {
    /// Its name.
    pub name: String,
    /// Itself.
    pub code: Instruction<'static>,
    /// What it takes.
    pub params: &'static [Ty],
    /// What it gives.
    pub result: Ty,
    /// What the lanes of its vectors are.
    pub lanes: Ty,
    /// What it must give.
    pub meaning: Meaning,
}

impl Op {
    /// Whether it can trap.
    pub fn traps(&self) -> bool {
        self.name.contains("Trunc") && !self.name.contains("Sat") && matches!(self.result, Ty::I32 | Ty::I64)
    }
}

/// One width of floats: everything takes and gives bits.
macro_rules! width {
    ($name:ident, $float:ty, $bits:ty, $canonical:expr) => {
        mod $name {
            type F = $float;
            type B = $bits;
            const CANONICAL: B = $canonical;
            const SIGN: B = 1 << (B::BITS - 1);

            fn f(bits: B) -> F {
                F::from_bits(bits)
            }
            pub(super) fn canonical(value: F) -> B {
                if value.is_nan() { CANONICAL } else { value.to_bits() }
            }
            fn fill(yes: bool) -> B {
                if yes { B::MAX } else { 0 }
            }
            pub(super) fn add(a: B, b: B) -> B {
                canonical(f(a) + f(b))
            }
            pub(super) fn sub(a: B, b: B) -> B {
                canonical(f(a) - f(b))
            }
            pub(super) fn mul(a: B, b: B) -> B {
                canonical(f(a) * f(b))
            }
            pub(super) fn div(a: B, b: B) -> B {
                canonical(f(a) / f(b))
            }
            pub(super) fn min(a: B, b: B) -> B {
                match (f(a), f(b)) {
                    (x, y) if x.is_nan() || y.is_nan() => CANONICAL,
                    // Of two zeros the negative one.
                    (x, y) if x == y => a | b,
                    (x, y) => {
                        if x < y {
                            a
                        } else {
                            b
                        }
                    }
                }
            }
            pub(super) fn max(a: B, b: B) -> B {
                match (f(a), f(b)) {
                    (x, y) if x.is_nan() || y.is_nan() => CANONICAL,
                    (x, y) if x == y => a & b,
                    (x, y) => {
                        if x > y {
                            a
                        } else {
                            b
                        }
                    }
                }
            }
            pub(super) fn pmin(a: B, b: B) -> B {
                if f(b) < f(a) { b } else { a }
            }
            pub(super) fn pmax(a: B, b: B) -> B {
                if f(a) < f(b) { b } else { a }
            }
            pub(super) fn copysign(a: B, b: B) -> B {
                a & !SIGN | b & SIGN
            }
            pub(super) fn abs(a: B, _: B) -> B {
                a & !SIGN
            }
            pub(super) fn neg(a: B, _: B) -> B {
                a ^ SIGN
            }
            pub(super) fn sqrt(a: B, _: B) -> B {
                canonical(f(a).sqrt())
            }
            pub(super) fn ceil(a: B, _: B) -> B {
                canonical(f(a).ceil())
            }
            pub(super) fn floor(a: B, _: B) -> B {
                canonical(f(a).floor())
            }
            pub(super) fn trunc(a: B, _: B) -> B {
                canonical(f(a).trunc())
            }
            pub(super) fn nearest(a: B, _: B) -> B {
                canonical(f(a).round_ties_even())
            }
            pub(super) fn eq(a: B, b: B) -> B {
                fill(f(a) == f(b))
            }
            pub(super) fn ne(a: B, b: B) -> B {
                fill(f(a) != f(b))
            }
            pub(super) fn lt(a: B, b: B) -> B {
                fill(f(a) < f(b))
            }
            pub(super) fn gt(a: B, b: B) -> B {
                fill(f(a) > f(b))
            }
            pub(super) fn le(a: B, b: B) -> B {
                fill(f(a) <= f(b))
            }
            pub(super) fn ge(a: B, b: B) -> B {
                fill(f(a) >= f(b))
            }
        }
    };
}
width!(w32, f32, u32, 0x7fc0_0000);
width!(w64, f64, u64, 0x7ff8_0000_0000_0000);

fn lanes32(a: u128, b: u128, op: fn(u32, u32) -> u32) -> Option<u128> {
    Some((0..4).map(|lane| u128::from(op((a >> (32 * lane)) as u32, (b >> (32 * lane)) as u32)) << (32 * lane)).sum())
}

fn lanes64(a: u128, b: u128, op: fn(u64, u64) -> u64) -> Option<u128> {
    Some((0..2).map(|lane| u128::from(op((a >> (64 * lane)) as u64, (b >> (64 * lane)) as u64)) << (64 * lane)).sum())
}

/// The whole part of `value`, where it lies between `low` and `high`, both excluded.
fn whole(value: f64, low: f64, high: f64) -> Option<i128> {
    (value > low && value < high).then_some(value as i128)
}

const P31: f64 = 2_147_483_648.0;
const P63: f64 = 9_223_372_036_854_775_808.0;

fn low32(a: u128) -> f32 {
    f32::from_bits(a as u32)
}

fn low64(a: u128) -> f64 {
    f64::from_bits(a as u64)
}

/// All of them.
pub fn all() -> Vec<Op> {
    use Ty::{F32, F64, I32, I64, V128};
    let mut ops = Vec::new();
    let mut add = |code: Instruction<'static>, params: &'static [Ty], result, lanes, meaning: Meaning| {
        ops.push(Op { name: format!("{code:?}"), code, params, result, lanes, meaning });
    };
    macro_rules! both {
        ($params:ident: $($scalar32:ident $scalar64:ident $function:ident;)*) => {$(
            add(Instruction::$scalar32, params!($params F32), F32, F32, |a, b| {
                Some(w32::$function(a as u32, b as u32).into())
            });
            add(Instruction::$scalar64, params!($params F64), F64, F64, |a, b| {
                Some(w64::$function(a as u64, b as u64).into())
            });
        )*};
    }
    macro_rules! vectors {
        ($params:ident: $($simd32:ident $simd64:ident $function:ident;)*) => {$(
            add(Instruction::$simd32, params!($params V128), V128, F32, |a, b| lanes32(a, b, w32::$function));
            add(Instruction::$simd64, params!($params V128), V128, F64, |a, b| lanes64(a, b, w64::$function));
        )*};
    }
    macro_rules! compare {
        ($($scalar32:ident $scalar64:ident $function:ident;)*) => {$(
            add(Instruction::$scalar32, &[F32, F32], I32, F32, |a, b| {
                Some((w32::$function(a as u32, b as u32) & 1).into())
            });
            add(Instruction::$scalar64, &[F64, F64], I32, F64, |a, b| {
                Some((w64::$function(a as u64, b as u64) & 1).into())
            });
        )*};
    }
    macro_rules! params {
        (one $ty:ident) => {
            &[$ty]
        };
        (two $ty:ident) => {
            &[$ty, $ty]
        };
    }
    both! { two:
        F32Add F64Add add; F32Sub F64Sub sub; F32Mul F64Mul mul; F32Div F64Div div;
        F32Min F64Min min; F32Max F64Max max; F32Copysign F64Copysign copysign;
    }
    both! { one:
        F32Abs F64Abs abs; F32Neg F64Neg neg; F32Sqrt F64Sqrt sqrt; F32Ceil F64Ceil ceil; F32Floor F64Floor floor;
        F32Trunc F64Trunc trunc; F32Nearest F64Nearest nearest;
    }
    compare! {
        F32Eq F64Eq eq; F32Ne F64Ne ne; F32Lt F64Lt lt; F32Gt F64Gt gt; F32Le F64Le le; F32Ge F64Ge ge;
    }
    vectors! { two:
        F32x4Add F64x2Add add; F32x4Sub F64x2Sub sub; F32x4Mul F64x2Mul mul; F32x4Div F64x2Div div;
        F32x4Min F64x2Min min; F32x4Max F64x2Max max; F32x4PMin F64x2PMin pmin; F32x4PMax F64x2PMax pmax;
        F32x4Eq F64x2Eq eq; F32x4Ne F64x2Ne ne; F32x4Lt F64x2Lt lt; F32x4Gt F64x2Gt gt; F32x4Le F64x2Le le;
        F32x4Ge F64x2Ge ge;
    }
    vectors! { one:
        F32x4Abs F64x2Abs abs; F32x4Neg F64x2Neg neg; F32x4Sqrt F64x2Sqrt sqrt; F32x4Ceil F64x2Ceil ceil;
        F32x4Floor F64x2Floor floor; F32x4Trunc F64x2Trunc trunc; F32x4Nearest F64x2Nearest nearest;
    }

    // From one kind of number to the other.
    let add = &mut add;
    add(Instruction::F32DemoteF64, &[F64], F32, F64, |a, _| Some(w32::canonical(low64(a) as f32).into()));
    add(Instruction::F64PromoteF32, &[F32], F64, F32, |a, _| Some(w64::canonical(low32(a).into()).into()));
    add(Instruction::F32ConvertI32S, &[I32], F32, I32, |a, _| Some((a as i32 as f32).to_bits().into()));
    add(Instruction::F32ConvertI32U, &[I32], F32, I32, |a, _| Some((a as u32 as f32).to_bits().into()));
    add(Instruction::F32ConvertI64S, &[I64], F32, I64, |a, _| Some((a as i64 as f32).to_bits().into()));
    add(Instruction::F32ConvertI64U, &[I64], F32, I64, |a, _| Some((a as u64 as f32).to_bits().into()));
    add(Instruction::F64ConvertI32S, &[I32], F64, I32, |a, _| Some((a as i32 as f64).to_bits().into()));
    add(Instruction::F64ConvertI32U, &[I32], F64, I32, |a, _| Some((a as u32 as f64).to_bits().into()));
    add(Instruction::F64ConvertI64S, &[I64], F64, I64, |a, _| Some((a as i64 as f64).to_bits().into()));
    add(Instruction::F64ConvertI64U, &[I64], F64, I64, |a, _| Some((a as u64 as f64).to_bits().into()));
    add(Instruction::I32ReinterpretF32, &[F32], I32, F32, |a, _| Some(a));
    add(Instruction::I64ReinterpretF64, &[F64], I64, F64, |a, _| Some(a));
    add(Instruction::F32ReinterpretI32, &[I32], F32, F32, |a, _| Some(a));
    add(Instruction::F64ReinterpretI64, &[I64], F64, F64, |a, _| Some(a));

    add(Instruction::I32TruncSatF32S, &[F32], I32, F32, |a, _| Some((low32(a) as i32 as u32).into()));
    add(Instruction::I32TruncSatF32U, &[F32], I32, F32, |a, _| Some((low32(a) as u32).into()));
    add(Instruction::I32TruncSatF64S, &[F64], I32, F64, |a, _| Some((low64(a) as i32 as u32).into()));
    add(Instruction::I32TruncSatF64U, &[F64], I32, F64, |a, _| Some((low64(a) as u32).into()));
    add(Instruction::I64TruncSatF32S, &[F32], I64, F32, |a, _| Some((low32(a) as i64 as u64).into()));
    add(Instruction::I64TruncSatF32U, &[F32], I64, F32, |a, _| Some((low32(a) as u64).into()));
    add(Instruction::I64TruncSatF64S, &[F64], I64, F64, |a, _| Some((low64(a) as i64 as u64).into()));
    add(Instruction::I64TruncSatF64U, &[F64], I64, F64, |a, _| Some((low64(a) as u64).into()));

    // Every f32 is an f64, exactly. The first f64 below -2^31 that does not fit is -2^31 - 1; below -2^63 there
    // is none between that and the next one.
    add(Instruction::I32TruncF32S, &[F32], I32, F32, |a, _| {
        whole(low32(a).into(), -P31 - 1.0, P31).map(|n| (n as u32).into())
    });
    add(Instruction::I32TruncF32U, &[F32], I32, F32, |a, _| {
        whole(low32(a).into(), -1.0, 2.0 * P31).map(|n| (n as u32).into())
    });
    add(Instruction::I32TruncF64S, &[F64], I32, F64, |a, _| {
        whole(low64(a), -P31 - 1.0, P31).map(|n| (n as u32).into())
    });
    add(Instruction::I32TruncF64U, &[F64], I32, F64, |a, _| {
        whole(low64(a), -1.0, 2.0 * P31).map(|n| (n as u32).into())
    });
    add(Instruction::I64TruncF32S, &[F32], I64, F32, |a, _| {
        whole(low32(a).into(), (-P63).next_down(), P63).map(|n| (n as u64).into())
    });
    add(Instruction::I64TruncF32U, &[F32], I64, F32, |a, _| {
        whole(low32(a).into(), -1.0, 2.0 * P63).map(|n| (n as u64).into())
    });
    add(Instruction::I64TruncF64S, &[F64], I64, F64, |a, _| {
        whole(low64(a), (-P63).next_down(), P63).map(|n| (n as u64).into())
    });
    add(Instruction::I64TruncF64U, &[F64], I64, F64, |a, _| {
        whole(low64(a), -1.0, 2.0 * P63).map(|n| (n as u64).into())
    });

    add(Instruction::F32x4ConvertI32x4S, &[V128], V128, I32, |a, b| lanes32(a, b, |a, _| (a as i32 as f32).to_bits()));
    add(Instruction::F32x4ConvertI32x4U, &[V128], V128, I32, |a, b| lanes32(a, b, |a, _| (a as f32).to_bits()));
    add(Instruction::F64x2ConvertLowI32x4S, &[V128], V128, I32, |a, _| {
        Some(pair((a as i32 as f64).to_bits(), ((a >> 32) as i32 as f64).to_bits()))
    });
    add(Instruction::F64x2ConvertLowI32x4U, &[V128], V128, I32, |a, _| {
        Some(pair((a as u32 as f64).to_bits(), ((a >> 32) as u32 as f64).to_bits()))
    });
    add(Instruction::F64x2PromoteLowF32x4, &[V128], V128, F32, |a, _| {
        Some(pair(w64::canonical(low32(a).into()), w64::canonical(low32(a >> 32).into())))
    });
    add(Instruction::F32x4DemoteF64x2Zero, &[V128], V128, F64, |a, _| {
        let lane = |a| u64::from(w32::canonical(low64(a) as f32));
        Some((lane(a) | lane(a >> 64) << 32).into())
    });
    add(Instruction::I32x4TruncSatF32x4S, &[V128], V128, F32, |a, b| {
        lanes32(a, b, |a, _| f32::from_bits(a) as i32 as u32)
    });
    add(Instruction::I32x4TruncSatF32x4U, &[V128], V128, F32, |a, b| lanes32(a, b, |a, _| f32::from_bits(a) as u32));
    add(Instruction::I32x4TruncSatF64x2SZero, &[V128], V128, F64, |a, _| {
        let lane = |a| u64::from(low64(a) as i32 as u32);
        Some((lane(a) | lane(a >> 64) << 32).into())
    });
    add(Instruction::I32x4TruncSatF64x2UZero, &[V128], V128, F64, |a, _| {
        let lane = |a| u64::from(low64(a) as u32);
        Some((lane(a) | lane(a >> 64) << 32).into())
    });

    // What moves floats into and out of vectors, and looks at their bits.
    add(Instruction::F32x4Splat, &[F32], V128, F32, |a, _| lanes32(a * (1 << 96 | 1 << 64 | 1 << 32 | 1), 0, |a, _| a));
    add(Instruction::F64x2Splat, &[F64], V128, F64, |a, _| Some(pair(a as u64, a as u64)));
    add(Instruction::F32x4ExtractLane(2), &[V128], F32, F32, |a, _| Some((a >> 64) as u32 as u128));
    add(Instruction::F64x2ExtractLane(1), &[V128], F64, F64, |a, _| Some(a >> 64));
    add(Instruction::I32x4ExtractLane(1), &[V128], I32, F32, |a, _| Some((a >> 32) as u32 as u128));
    add(Instruction::I64x2ExtractLane(0), &[V128], I64, F64, |a, _| Some(a as u64 as u128));
    add(Instruction::F32x4ReplaceLane(1), &[V128, F32], V128, F32, |a, b| {
        Some(a & !(0xffff_ffff << 32) | u128::from(b as u32) << 32)
    });
    add(Instruction::F64x2ReplaceLane(0), &[V128, F64], V128, F64, |a, b| Some(pair(b as u64, (a >> 64) as u64)));
    add(Instruction::V128Xor, &[V128, V128], V128, F64, |a, b| Some(a ^ b));
    add(Instruction::V128And, &[V128, V128], V128, F32, |a, b| Some(a & b));
    add(Instruction::V128Not, &[V128], V128, F64, |a, _| Some(!a));
    add(Instruction::V128AnyTrue, &[V128], I32, F32, |a, _| Some((a != 0).into()));
    add(Instruction::I32x4Bitmask, &[V128], I32, F32, |a, _| {
        Some((0..4).map(|lane| (a >> (32 * lane + 31) & 1) << lane).sum())
    });
    add(Instruction::I64x2Bitmask, &[V128], I32, F64, |a, _| Some(a >> 63 & 1 | a >> 127 << 1));
    ops
}

fn pair(low: u64, high: u64) -> u128 {
    u128::from(low) | u128::from(high) << 64
}
