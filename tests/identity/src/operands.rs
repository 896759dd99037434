//! What instructions are tried with: the numbers at which something changes, and every kind of NaN.

use crate::dice::Dice;
use crate::ops::Ty;

/// Operands of each kind.
pub const CLASSES: usize = 64;

/// NaNs of one width, without their signs: canonical, quiet and signalling with payloads.
const NANS32: [u32; 6] = [0x7fc0_0000, 0x7fc0_0001, 0x7fff_ffff, 0x7f80_0001, 0x7fa0_0000, 0x7fbf_ffff];

/// Magnitudes that every width of floats has.
const MAGNITUDES: [f64; 22] = [
    0.0,
    0.5,
    1.0,
    1.5,
    2.5,
    0.1,
    3.0,
    std::f64::consts::PI,
    4_194_304.5,
    8_388_607.5,
    16_777_217.0,
    2_147_483_520.0,
    2_147_483_647.0,
    2_147_483_648.0,
    4_294_967_040.0,
    4_294_967_296.0,
    9_223_371_487_098_961_920.0,
    9_223_372_036_854_775_808.0,
    18_446_742_974_197_923_840.0,
    18_446_744_073_709_551_616.0,
    1e30,
    f64::INFINITY,
];

/// The 64 classes of a scalar type, as bits.
pub fn classes(ty: Ty) -> Vec<u128> {
    let mut classes: Vec<u128> = match ty {
        Ty::F32 => {
            let bits = MAGNITUDES.iter().map(|number| (*number as f32).to_bits());
            // Denormal numbers, the smallest normal one, the largest, and the neighbours of one and of a half.
            let edges = [1, 0x007f_ffff, 0x0080_0000, 0x7f7f_ffff];
            signed(bits.chain(edges).chain(NANS32).map(u128::from), 31)
        }
        Ty::F64 => {
            let bits = MAGNITUDES.iter().map(|number| number.to_bits());
            let edges = [1, 0x000f_ffff_ffff_ffff, 0x0010_0000_0000_0000, 0x7fef_ffff_ffff_ffff];
            // The same NaNs, with payloads that reach into the bits that f32 does not have.
            let nans = NANS32.iter().map(|nan| {
                let payload = u64::from(nan & 0x003f_ffff);
                let spread = payload << 29 | payload;
                0x7ff0_0000_0000_0000 | u64::from(nan >> 22 & 1) << 51 | spread & 0x0007_ffff_ffff_ffff
            });
            signed(bits.chain(edges).chain(nans).map(u128::from), 63)
        }
        Ty::I32 | Ty::I64 | Ty::V128 => {
            // The highest bit is among them at either width.
            let step = ty.bytes().min(8) / 4;
            let powers = (step - 1..ty.bytes().min(8) * 8).step_by(step).map(|power| 1u128 << power);
            powers.flat_map(|power| [power, power - 1]).collect()
        }
    };
    let mask = mask(ty);
    let mut dice = Dice::new(0, ty.bytes() as u64);
    classes.truncate(CLASSES);
    while classes.len() < CLASSES {
        classes.push(dice.bits());
    }
    classes.iter().map(|bits| bits & mask).collect()
}

fn signed(bits: impl Iterator<Item = u128>, sign: u32) -> Vec<u128> {
    bits.flat_map(|bits| [bits, bits | 1 << sign]).collect()
}

/// The bits that a type has.
pub fn mask(ty: Ty) -> u128 {
    u128::MAX >> (128 - 8 * ty.bytes())
}

/// Pairs of operands of an instruction with these parameters, vectors filled with lanes: all pairs of classes.
pub fn cases(params: &[Ty], lanes: Ty) -> Vec<(u128, u128)> {
    let of = |ty: Option<&Ty>| ty.map_or(vec![0], |ty| classes(if *ty == Ty::V128 { lanes } else { *ty }));
    let (first, second) = (of(params.first()), of(params.get(1)));
    let pairs: Vec<_> = first.iter().flat_map(|a| second.iter().map(|b| (*a, *b))).collect();
    let bits = 8 * lanes.bytes();
    let vector = |ty: Option<&Ty>| ty == Some(&Ty::V128);
    if !vector(params.first()) && !vector(params.get(1)) {
        return pairs;
    }
    let join = |is_vector: bool, lanes: Vec<u128>| {
        if is_vector { lanes.iter().rev().fold(0, |all, lane| all << bits | lane) } else { lanes[0] }
    };
    // A vector holds several cases; where the other operand is none, one case each, whose neighbours vary.
    let step = if params.iter().all(|ty| *ty == Ty::V128) { 128 / bits } else { 1 };
    (0..pairs.len())
        .step_by(step)
        .map(|at| {
            let lanes: Vec<_> = (0..128 / bits).map(|lane| pairs[(at + lane) % pairs.len()]).collect();
            let (a, b) = lanes.into_iter().unzip();
            (join(vector(params.first()), a), join(vector(params.get(1)), b))
        })
        .collect()
}

/// An operand as programs meet them: often a class, sometimes anything.
pub fn any(dice: &mut Dice, ty: Ty) -> u128 {
    match ty {
        _ if dice.once_in(4) => dice.bits() & mask(ty),
        Ty::V128 => {
            let lanes = *dice.pick(&[Ty::F32, Ty::F64, Ty::I32]);
            let bits = 8 * lanes.bytes();
            (0..128 / bits).fold(0, |all, _| all << bits | any(dice, lanes))
        }
        ty => *dice.pick(&classes(ty)),
    }
}
