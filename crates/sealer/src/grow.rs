//! Memory grows alike everywhere, and the cause of a stop has its place.
//!
//! `memory.grow` becomes a call of a function that refuses by itself what the job may not have. What the job may
//! have and an engine refuses all the same stops the module with a cause that is no verdict.

use manyhands_abi::{CAUSE, CAUSE_MEMORY};
use manyhands_verifier::module::Module;
use wasm_encoder::{
    BlockType, ConstExpr, Encode as _, ExportKind, Function, GlobalType, Instruction as I, MemoryType, ValType,
};
use wasmparser::Operator;

use crate::refusal::Refusal;
use crate::survey::Survey;
use crate::write::{Additions, Items, Splice};

/// Bytes of a page of linear memory.
const PAGE_BYTES: u64 = 64 << 10;

/// Adds the cause, and settles how memory grows.
pub(crate) fn pass(bytes: &[u8], survey: &mut Survey, memory_bytes: u64) -> Result<Vec<u8>, Refusal> {
    let module = Module::read(bytes).map_err(Refusal::malformed)?;
    let mut additions = Additions::default();
    let cause = module.globals.len() as u32;
    additions.globals.add(|out| {
        GlobalType { val_type: ValType::I32, mutable: true, shared: false }.encode(out);
        ConstExpr::i32_const(0).encode(out);
    });
    additions.exports.add(|out| {
        CAUSE.encode(out);
        ExportKind::Global.encode(out);
        cause.encode(out);
    });
    let granted = memory_bytes / PAGE_BYTES;
    let most = module.memory.map_or(0, |(memory, _)| memory.maximum.map_or(granted, |most| most.min(granted)));
    if let Some((memory, false)) = module.memory {
        let mut items = Items::default();
        items.add(|out| {
            let maximum = Some(most.max(memory.initial));
            let ty =
                MemoryType { minimum: memory.initial, maximum, memory64: false, shared: false, page_size_log2: None };
            ty.encode(out);
        });
        additions.memory = Some(items);
    }
    let grower = module.functions.len() as u32;
    for (body, found) in module.bodies.iter().zip(&survey.functions) {
        if !found.grows {
            additions.code.add(|out| body.as_bytes().encode(out));
            continue;
        }
        let mut splice = Splice::locals(bytes, body, &[])?;
        let mut reader = body.get_operators_reader().map_err(|error| Refusal::invalid(&error))?;
        while !reader.eof() {
            let (operator, offset) = reader.read_with_offset().map_err(|error| Refusal::invalid(&error))?;
            if matches!(operator, Operator::MemoryGrow { .. }) {
                splice.copy_to(offset);
                splice.put(&[I::Call(grower)]);
                splice.skip_to(reader.original_position());
            }
        }
        splice.finish(&mut additions.code);
    }
    if survey.functions.iter().any(|found| found.grows) {
        survey.grow_by(grower);
        let ty = type_of_grower(&module, &mut additions.types);
        additions.functions.add(|out| ty.encode(out));
        additions.code.add(|out| grower_body(most, cause).encode(out));
    }
    additions.write(bytes, &module.sections)
}

fn type_of_grower(module: &Module<'_>, types: &mut Items) -> u32 {
    const I32: &[wasmparser::ValType] = &[wasmparser::ValType::I32];
    let same = |ty: &wasmparser::FuncType| ty.params() == I32 && ty.results() == I32;
    let known = module.types.iter().position(same).map(|at| at as u32);
    known.unwrap_or_else(|| {
        types.add(|out| out.extend_from_slice(&[0x60, 1, 0x7f, 1, 0x7f]));
        module.types.len() as u32
    })
}

fn grower_body(most: u64, cause: u32) -> Function {
    const DELTA: u32 = 0;
    let mut function = Function::new([]);
    for instruction in [
        // Beyond what the job may have: refused here, before an engine is asked.
        I::MemorySize(0),
        I::I64ExtendI32U,
        I::LocalGet(DELTA),
        I::I64ExtendI32U,
        I::I64Add,
        I::I64Const(most as i64),
        I::I64GtU,
        I::If(BlockType::Empty),
        I::I32Const(-1),
        I::Return,
        I::End,
        I::LocalGet(DELTA),
        I::MemoryGrow(0),
        I::LocalTee(DELTA),
        I::I32Const(-1),
        I::I32Eq,
        I::If(BlockType::Empty),
        I::I32Const(CAUSE_MEMORY),
        I::GlobalSet(cause),
        I::Unreachable,
        I::End,
        I::LocalGet(DELTA),
        I::End,
    ] {
        function.instruction(&instruction);
    }
    function
}
