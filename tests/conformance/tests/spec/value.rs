//! Values of scripts and of the engine.

use wasmtime::{Ref, Val};
use wast::WastArg;
use wast::core::{AbstractHeapType, HeapType, NanPattern, V128Const, V128Pattern, WastArgCore, WastRetCore};
use wast::token::{F32, F64};

/// The engine's value of an argument; none where this engine was built without its type.
pub(crate) fn argument(argument: &WastArg<'_>) -> Option<Val> {
    let WastArg::Core(argument) = argument else { return None };
    Some(match argument {
        WastArgCore::I32(value) => Val::I32(*value),
        WastArgCore::I64(value) => Val::I64(*value),
        WastArgCore::F32(value) => Val::F32(value.bits),
        WastArgCore::F64(value) => Val::F64(value.bits),
        WastArgCore::V128(value) => Val::V128(u128::from_le_bytes(value.to_le_bytes()).into()),
        WastArgCore::RefNull(HeapType::Abstract { ty: AbstractHeapType::Func, .. }) => Val::FuncRef(None),
        WastArgCore::RefNull(_) | WastArgCore::RefExtern(_) | WastArgCore::RefHost(_) => return None,
    })
}

/// Whether a value is what the script expects; none where this engine was built without its type.
pub(crate) fn is_as_expected(value: &Val, expected: &WastRetCore<'_>) -> Option<bool> {
    Some(match (value, expected) {
        (Val::I32(value), WastRetCore::I32(expected)) => value == expected,
        (Val::I64(value), WastRetCore::I64(expected)) => value == expected,
        (Val::F32(bits), WastRetCore::F32(pattern)) => f32_fits(*bits, pattern),
        (Val::F64(bits), WastRetCore::F64(pattern)) => f64_fits(*bits, pattern),
        (Val::V128(value), WastRetCore::V128(pattern)) => v128_fits(value.as_u128().to_le_bytes(), pattern),
        (Val::FuncRef(value), WastRetCore::RefNull(_)) => value.is_none(),
        (Val::FuncRef(value), WastRetCore::RefFunc(_)) => value.is_some(),
        (value, WastRetCore::Either(cases)) => {
            return cases.iter().try_fold(false, |any, case| Some(any || is_as_expected(value, case)?));
        }
        (value, _) if value.ref_().is_some_and(|reference| !matches!(reference, Ref::Func(_))) => return None,
        _ => false,
    })
}

fn f32_fits(bits: u32, pattern: &NanPattern<F32>) -> bool {
    // Either sign: a rewritten module settles bits where they are observed, and that is not here.
    match pattern {
        NanPattern::CanonicalNan => bits & 0x7fff_ffff == 0x7fc0_0000,
        NanPattern::ArithmeticNan => bits & 0x7fc0_0000 == 0x7fc0_0000,
        NanPattern::Value(value) => bits == value.bits,
    }
}

fn f64_fits(bits: u64, pattern: &NanPattern<F64>) -> bool {
    match pattern {
        NanPattern::CanonicalNan => bits & 0x7fff_ffff_ffff_ffff == 0x7ff8_0000_0000_0000,
        NanPattern::ArithmeticNan => bits & 0x7ff8_0000_0000_0000 == 0x7ff8_0000_0000_0000,
        NanPattern::Value(value) => bits == value.bits,
    }
}

fn v128_fits(bytes: [u8; 16], pattern: &V128Pattern) -> bool {
    let exact = |expected: V128Const| bytes == expected.to_le_bytes();
    match pattern {
        V128Pattern::I8x16(lanes) => exact(V128Const::I8x16(*lanes)),
        V128Pattern::I16x8(lanes) => exact(V128Const::I16x8(*lanes)),
        V128Pattern::I32x4(lanes) => exact(V128Const::I32x4(*lanes)),
        V128Pattern::I64x2(lanes) => exact(V128Const::I64x2(*lanes)),
        V128Pattern::F32x4(lanes) => {
            let (values, _) = bytes.as_chunks::<4>();
            values.iter().zip(lanes).all(|(value, lane)| f32_fits(u32::from_le_bytes(*value), lane))
        }
        V128Pattern::F64x2(lanes) => {
            let (values, _) = bytes.as_chunks::<8>();
            values.iter().zip(lanes).all(|(value, lane)| f64_fits(u64::from_le_bytes(*value), lane))
        }
    }
}
