//! What work costs: table 2.
//!
//! Weights are whole numbers and belong to instructions alone, whatever an engine makes of them. The
//! same module sealed with another table is another module, so the table is part of what a signature
//! covers. `docs/sealing.md` says how the weights were found.
//!
//! An opcode of two bytes is one number here, prefix first, as in `0xfc0a` for `memory.copy`.

/// Which table this is.
pub const TABLE: u32 = 2;

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
/// A branch costs something always: that is why whoever goes round a loop pays. In a memory of 32-bit addresses, what has 32 bits is mostly an
/// address or a count, and what has 64 is data: so the one is dear to load, since others wait for it, and the other to compare, since nobody
/// can predict how that comes out.
pub const fn of(opcode: u16) -> u16 {
    match opcode {
        // unreachable, nop, block, loop, else, end, drop: engines give these no machine code, or fold them into others.
        0x00..=0x03 | 0x05 | 0x0b | 0x1a => 0,
        // local.get, local.set, local.tee
        0x20..=0x22 => 0,
        // i32.const, i64.const, f32.const, f64.const, v128.const
        0x41..=0x44 | 0xfd0c => 0,
        // if; br, return; br_if; br_table
        0x04 => 8,
        0x0c | 0x0f => 3,
        0x0d => 6,
        0x0e => 12,
        // call, call_indirect
        0x10 => 25,
        0x11 => 40,
        // i32.load; others of i32, of i64
        0x28 => 12,
        0x29 | 0x2c..=0x35 => 2,
        // Stores of i32; v128.store
        0x36 | 0x3a | 0x3b => 4,
        0xfd0b => 2,
        // select; globals
        0x1b | 0x23 | 0x24 => 2,
        // memory.grow
        0x40 => 10_000,
        // memory.init, memory.copy, memory.fill, table.init, table.copy
        0xfc08 | 0xfc0a | 0xfc0b | 0xfc0c | 0xfc0e => 100,
        // Comparisons of i32, of i64
        0x45..=0x4f => 4,
        0x50..=0x5a => 15,
        // Comparisons of f32, of f64, but for `ge`, by which the sealer asks whether a value is a NaN. Hardly ever one is.
        0x5b..=0x5f | 0x61..=0x65 => 13,
        // Products of i32, of i64; divisions and remainders of both
        0x6c | 0x7e => 4,
        0x6d..=0x70 => 45,
        0x7f..=0x82 => 50,
        // Bits of i64: counts, logic, shifts
        0x79..=0x7b | 0x83..=0x8a => 3,
        // div, sqrt of f32, of f64, of f32x4, of f64x2
        0x95 | 0xa3 | 0xfde7 | 0xfdf3 => 14,
        0x91 | 0x9f | 0xfde3 | 0xfdef => 20,
        // All other arithmetic of f32, of f64
        0x8b..=0xa6 => 2,
        // Between integers and floats, and between floats
        0xa8..=0xab | 0xae..=0xbb | 0xfc00..=0xfc07 => 4,
        0xfd5e | 0xfd5f | 0xfdfa | 0xfdfe | 0xfdff => 4,
        // min, max of f32x4, of f64x2, i64x2.mul, i8x16.popcnt, and conversions: engines make many instructions of each.
        0xfde8 | 0xfde9 | 0xfdf4 | 0xfdf5 | 0xfdd5 | 0xfd62 | 0xfdf8 | 0xfdf9 | 0xfdfb..=0xfdfd => 8,
        // Shifts of i8x16, i64x2.shr_s
        0xfd6b..=0xfd6d | 0xfdcc => 5,
        // any_true, all_true, bitmask; sums of pairs; i16x8.q15mulr_sat_s
        0xfd53 | 0xfd63 | 0xfd64 | 0xfd83 | 0xfd84 | 0xfda3 | 0xfda4 | 0xfdc3 | 0xfdc4 => 4,
        0xfd7c..=0xfd7f | 0xfd82 => 4,
        // Lanes put elsewhere, taken out, put in, loaded and stored alone; products of integers
        0xfd0d..=0xfd22 | 0xfd54..=0xfd5b => 3,
        0xfd95 | 0xfdb5 | 0xfdba | 0xfd9c..=0xfd9f | 0xfdbc..=0xfdbf | 0xfddc..=0xfddf => 3,
        // Vectors from memory; all else with vectors
        0xfd00..=0xfd0a | 0xfd5c | 0xfd5d => 1,
        0xfd23.. => 2,
        _ => 1,
    }
}

/// Whether the last argument of a host function is a length that is paid for as well.
pub fn host_has_length(name: &str) -> bool {
    use manyhands_abi::{ANSWER_READ, CALL, INPUT_READ, LOG, OUTPUT_WRITE};
    matches!(name, INPUT_READ | OUTPUT_WRITE | LOG | CALL | ANSWER_READ)
}
