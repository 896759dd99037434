//! What work costs: table 1.
//!
//! Weights are whole numbers and belong to instructions alone, whatever an engine makes of them. The
//! same module sealed with another table is another module, so the table is part of what a signature
//! covers. `docs/sealing.md` says how the weights were found.

use wasmparser::Operator;

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
pub fn of(operator: &Operator<'_>) -> u64 {
    use Operator as O;
    match operator {
        // Engines give these no machine code, or fold them into others.
        O::Nop | O::Block { .. } | O::Loop { .. } | O::Else | O::End | O::Drop | O::Unreachable => 0,
        O::LocalGet { .. } | O::LocalSet { .. } | O::LocalTee { .. } => 0,
        O::I32Const { .. } | O::I64Const { .. } | O::F32Const { .. } | O::F64Const { .. } | O::V128Const { .. } => 0,
        O::If { .. } => 4,
        O::BrIf { .. } => 12,
        O::BrTable { .. } => 8,
        O::Call { .. } => 28,
        O::CallIndirect { .. } => 56,
        O::I32DivS | O::I32DivU | O::I32RemS | O::I32RemU => 40,
        O::I64DivS | O::I64DivU | O::I64RemS | O::I64RemU => 40,
        O::MemoryGrow { .. } => 10_000,
        O::MemoryCopy { .. } | O::MemoryFill { .. } | O::MemoryInit { .. } => 28,
        O::TableCopy { .. } | O::TableInit { .. } => 28,
        // Additions are often part of an address or of a branch; these hardly ever are.
        O::I32And | O::I32Or | O::I32Xor | O::I32Shl | O::I32ShrS | O::I32ShrU | O::I32Rotl | O::I32Rotr => 2,
        O::I64And | O::I64Or | O::I64Xor | O::I64Shl | O::I64ShrS | O::I64ShrU | O::I64Rotl | O::I64Rotr => 2,
        O::I32Clz | O::I32Ctz | O::I32Popcnt | O::I64Clz | O::I64Ctz | O::I64Popcnt => 2,
        O::I32Mul | O::I64Mul | O::Select => 2,
        O::F32Div | O::F64Div | O::F32Sqrt | O::F64Sqrt => 4,
        O::F32x4Div | O::F64x2Div | O::F32x4Sqrt | O::F64x2Sqrt => 4,
        O::F32Add | O::F32Sub | O::F32Mul | O::F32Min | O::F32Max | O::F32Abs | O::F32Neg | O::F32Copysign => 2,
        O::F64Add | O::F64Sub | O::F64Mul | O::F64Min | O::F64Max | O::F64Abs | O::F64Neg | O::F64Copysign => 2,
        O::F32Ceil | O::F32Floor | O::F32Trunc | O::F32Nearest => 2,
        O::F64Ceil | O::F64Floor | O::F64Trunc | O::F64Nearest => 2,
        O::F32Eq | O::F32Ne | O::F32Lt | O::F32Gt | O::F32Le | O::F32Ge => 2,
        O::F64Eq | O::F64Ne | O::F64Lt | O::F64Gt | O::F64Le | O::F64Ge => 2,
        O::F32x4Add | O::F32x4Sub | O::F32x4Mul | O::F32x4Min | O::F32x4Max | O::F32x4PMin | O::F32x4PMax => 3,
        O::F64x2Add | O::F64x2Sub | O::F64x2Mul | O::F64x2Min | O::F64x2Max | O::F64x2PMin | O::F64x2PMax => 3,
        O::F32x4Abs | O::F32x4Neg | O::F32x4Ceil | O::F32x4Floor | O::F32x4Trunc | O::F32x4Nearest => 3,
        O::F64x2Abs | O::F64x2Neg | O::F64x2Ceil | O::F64x2Floor | O::F64x2Trunc | O::F64x2Nearest => 3,
        O::F32x4Eq | O::F32x4Ne | O::F32x4Lt | O::F32x4Gt | O::F32x4Le | O::F32x4Ge => 3,
        O::F64x2Eq | O::F64x2Ne | O::F64x2Lt | O::F64x2Gt | O::F64x2Le | O::F64x2Ge => 3,
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
