//! What work costs: table 1.
//!
//! Weights are whole numbers and belong to instructions alone, whatever an engine makes of them. The
//! same module sealed with another table is another module, so the table is part of what a signature
//! covers. `docs/sealing.md` says how the weights were found.

use wasmparser::Operator;

/// Which table this is.
pub const TABLE: u32 = 1;

/// Units for calling a host function.
pub const HOST_CALL: u64 = 50;

/// Bytes (or elements of a table) for which an instruction that takes a length costs one unit more.
pub const LENGTH_PER_UNIT: u64 = 8;

/// The most units that are charged in one place. Far less than a meter holds, so that it cannot go round between two looks.
pub const CHARGE_MAX: u64 = 1 << 28;

/// The most units that a function may charge in all its places together if it does not look at its entry whether any are left: whoever
/// calls it may do so often before it looks itself.
pub const UNSEEN_MAX: u64 = 1 << 20;

/// Units for one instruction that is executed, without what depends on a length.
///
/// A branch costs something always: that is why whoever goes round a loop pays.
pub fn of(operator: &Operator<'_>) -> u64 {
    use Operator as O;
    match operator {
        // Engines give these no machine code, or fold them into others.
        O::Nop | O::Block { .. } | O::Loop { .. } | O::Else | O::End | O::Drop | O::Unreachable => 0,
        O::LocalGet { .. } | O::LocalSet { .. } | O::LocalTee { .. } => 0,
        O::I32Const { .. } | O::I64Const { .. } | O::F32Const { .. } | O::F64Const { .. } | O::V128Const { .. } => 0,
        O::I32DivS | O::I32DivU | O::I32RemS | O::I32RemU => 10,
        O::I64DivS | O::I64DivU | O::I64RemS | O::I64RemU => 16,
        O::F32Div | O::F64Div | O::F32Sqrt | O::F64Sqrt => 8,
        O::F32x4Div | O::F64x2Div | O::F32x4Sqrt | O::F64x2Sqrt => 12,
        O::Call { .. } => 6,
        O::CallIndirect { .. } => 12,
        O::BrTable { .. } => 4,
        O::MemoryGrow { .. } => 1_000,
        O::MemoryCopy { .. } | O::MemoryFill { .. } | O::MemoryInit { .. } => 20,
        O::TableCopy { .. } | O::TableInit { .. } => 20,
        _ => 1,
    }
}

/// Whether the last operand is a length that is paid for as well.
pub fn has_length(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::MemoryCopy { .. }
            | Operator::MemoryFill { .. }
            | Operator::MemoryInit { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
    )
}

/// Whether the last argument of a host function is a length that is paid for as well.
pub fn host_has_length(name: &str) -> bool {
    matches!(name, manyhands_abi::INPUT_READ | manyhands_abi::OUTPUT_WRITE | manyhands_abi::LOG)
}
