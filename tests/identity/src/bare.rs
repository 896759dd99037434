//! What engines need to execute a module that nobody sealed: the control of this proof, which has to find that
//! engines differ on such modules.

use manyhands_abi as abi;
use wasm_encoder::{ConstExpr, ExportKind, ExportSection, GlobalSection, GlobalType, ValType};

/// Adds a meter and a cause that nothing ever changes.
pub fn counters(globals: &mut GlobalSection, exports: &mut ExportSection) {
    let mutable = |val_type| GlobalType { val_type, mutable: true, shared: false };
    exports.export(abi::METER, ExportKind::Global, globals.len());
    globals.global(mutable(ValType::I64), &ConstExpr::i64_const(0));
    exports.export(abi::CAUSE, ExportKind::Global, globals.len());
    globals.global(mutable(ValType::I32), &ConstExpr::i32_const(0));
}
