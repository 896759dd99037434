//! The oracle against examples from the specification, so that it is not merely what engines do.

use manyhands_identity::ops;

fn gives(name: &str, a: u128, b: u128) -> Option<u128> {
    let ops = ops::all();
    let op = ops.iter().find(|op| op.name == name).expect("an instruction of this name");
    (op.meaning)(a, b)
}

const NAN: u128 = 0x7fc0_0000;
const NAN64: u128 = 0x7ff8_0000_0000_0000;

#[test]
fn arithmetic_gives_the_positive_canonical_nan() {
    assert_eq!(gives("F32Add", 0xffff_ffff, 0x3f80_0000), Some(NAN));
    assert_eq!(gives("F64Div", 0, 1 << 63), Some(NAN64));
    assert_eq!(gives("F32Sqrt", 0xbf80_0000, 0), Some(NAN));
    assert_eq!(gives("F64Min", 0xfff0_0000_0000_0001, 0), Some(NAN64));
    assert_eq!(gives("F64PromoteF32", 0xff80_0001, 0), Some(NAN64));
    assert_eq!(gives("F32x4Nearest", 0xff80_0001 << 96 | 0x4020_0000, 0), Some(NAN << 96 | 0x4000_0000));
}

#[test]
fn what_moves_selects_or_changes_signs_keeps_every_bit() {
    assert_eq!(gives("F32Neg", 0x7f80_0001, 0), Some(0xff80_0001));
    assert_eq!(gives("F64Abs", 0xfff0_0000_0000_0001, 0), Some(0x7ff0_0000_0000_0001));
    assert_eq!(gives("F32Copysign", 0x3f80_0000, 0xffc0_0000), Some(0xbf80_0000));
    assert_eq!(gives("F32ReinterpretI32", 0xff80_0001, 0), Some(0xff80_0001));
    assert_eq!(gives("F64x2PMin", 0xfff0_0000_0000_0001, 0x3ff0_0000_0000_0000), Some(0xfff0_0000_0000_0001));
}

#[test]
fn zeros_ties_and_ranges() {
    assert_eq!(gives("F32Min", 0, 0x8000_0000), Some(0x8000_0000));
    assert_eq!(gives("F32Max", 0x8000_0000, 0), Some(0));
    assert_eq!(gives("F64Nearest", 2.5f64.to_bits().into(), 0), Some(2.0f64.to_bits().into()));
    assert_eq!(gives("F32Ceil", (-0.5f32).to_bits().into(), 0), Some(0x8000_0000));
    let int = |name, number: f64| gives(name, number.to_bits().into(), 0);
    assert_eq!(int("I32TruncF64S", -2_147_483_648.9), Some(0x8000_0000));
    assert_eq!(int("I32TruncF64S", -2_147_483_649.0), None);
    assert_eq!(int("I32TruncF64U", -0.9), Some(0));
    assert_eq!(int("I64TruncF64S", -9_223_372_036_854_775_808.0), Some(1 << 63));
    assert_eq!(int("I64TruncF64S", 9_223_372_036_854_775_808.0), None);
    assert_eq!(int("I64TruncF64U", 18_446_744_073_709_551_616.0), None);
    assert_eq!(int("I32TruncSatF64U", f64::NAN), Some(0));
}
