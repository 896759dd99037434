//! What work costs: table 1.
//!
//! Weights are whole numbers and belong to instructions alone, whatever an engine makes of them. The
//! same module sealed with another table is another module, so the table is part of what a signature
//! covers. `docs/sealing.md` says how the weights were found.
//!
//! An opcode of two bytes is one number here, prefix first, as in `0xfc0a` for `memory.copy`.

/// Which table this is.
pub const TABLE: u32 = 1;

/// Units for calling a host function.
pub const HOST_CALL: u64 = 200;

/// Bytes (or elements of a table) for which an instruction that takes a length costs one unit more.
pub const LENGTH_PER_UNIT: u64 = 2;

/// The most units that are charged in one place. Far less than a meter holds, so that it cannot go round between two looks.
pub const CHARGE_MAX: u64 = 1 << 28;

/// The most units for one iteration of a loop that is paid for as a whole: 2³² of them are half of what a meter holds.
pub const COUNTED_MAX: u64 = 1 << 14;

/// The most units that a function may charge in all its places together. More than the largest body costs, and far less than a
/// meter holds: it cannot go round in many places either.
pub const CHARGED_MAX: u64 = 1 << 36;

/// The most units that a function may charge in all its places together if it does not look at its entry whether any are left: whoever
/// calls it may do so often before it looks itself.
pub const UNSEEN_MAX: u64 = 1 << 22;

/// Units for one instruction that is executed, without what depends on a length.
///
/// A branch costs something always: that is why whoever goes round a loop pays.
pub const fn of(opcode: u16) -> u16 {
    match opcode {
        // unreachable, nop, block, loop, else, end, drop: engines give these no machine code, or fold them into others.
        0x00..=0x03 | 0x05 | 0x0b | 0x1a => 0,
        // local.get, local.set, local.tee
        0x20..=0x22 => 0,
        // i32.const, i64.const, f32.const, f64.const, v128.const
        0x41..=0x44 | 0xfd0c => 0,
        // if
        0x04 => 4,
        // br_if
        0x0d => 12,
        // br_table
        0x0e => 8,
        // call
        0x10 => 28,
        // call_indirect
        0x11 => 56,
        // Divisions and remainders of i32, of i64
        0x6d..=0x70 | 0x7f..=0x82 => 40,
        // memory.grow
        0x40 => 10_000,
        // memory.init, memory.copy, memory.fill, table.init, table.copy
        0xfc08 | 0xfc0a | 0xfc0b | 0xfc0c | 0xfc0e => 28,
        // and, or, xor, shl, shr_s, shr_u, rotl, rotr of i32, of i64: additions are often part of an address or of a branch, these
        // hardly ever are.
        0x71..=0x78 | 0x83..=0x8a => 2,
        // clz, ctz, popcnt of i32, of i64
        0x67..=0x69 | 0x79..=0x7b => 2,
        // i32.mul, i64.mul, select
        0x6c | 0x7e | 0x1b => 2,
        // div, sqrt of f32, of f64
        0x95 | 0x91 | 0xa3 | 0x9f => 4,
        // div, sqrt of f32x4, of f64x2
        0xfde7 | 0xfde3 | 0xfdf3 | 0xfdef => 4,
        // abs to nearest of f32, of f64; add to copysign of f32, of f64; comparisons of both
        0x8b..=0x90 | 0x99..=0x9e | 0x92..=0x98 | 0xa0..=0xa6 | 0x5b..=0x66 => 2,
        // abs, neg, add to pmax of f32x4, of f64x2
        0xfde0 | 0xfde1 | 0xfde4..=0xfdeb | 0xfdec | 0xfded | 0xfdf0..=0xfdf7 => 3,
        // ceil, floor, trunc, nearest of f32x4, of f64x2; comparisons of both
        0xfd67..=0xfd6a | 0xfd74 | 0xfd75 | 0xfd7a | 0xfd94 | 0xfd41..=0xfd4c => 3,
        _ => 1,
    }
}

/// Whether the last argument of a host function is a length that is paid for as well.
pub fn host_has_length(name: &str) -> bool {
    use manyhands_abi::{ANSWER_READ, CALL, INPUT_READ, LOG, OUTPUT_WRITE};
    matches!(name, INPUT_READ | OUTPUT_WRITE | LOG | CALL | ANSWER_READ)
}
