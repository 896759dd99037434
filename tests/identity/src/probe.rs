//! Each float instruction on every engine, for all pairs of its operands' classes, against the oracle.

use manyhands_abi as abi;
use wasm_encoder::{
    BlockType, CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, GlobalSection,
    ImportSection, Instruction, MemorySection, MemoryType, Module, TypeSection, ValType,
};

use crate::operands;
use crate::ops::{Op, Ty};
use crate::team::{Expected, Task, Team, seal};

/// Pages of memory: operands from 0 on, results from [`RESULTS_AT`] on.
const PAGES: u64 = 6;
const RESULTS_AT: u32 = 3 << 16;
/// Cases of which operands are constants in the code, where engines may compute while they compile.
const CONSTANTS: usize = 256;
/// Those of one function.
const CONSTANTS_AT_ONCE: usize = 64;
/// More than any of these needs.
const FUEL: u64 = 1_000_000_000;

/// What was probed.
#[derive(Debug, Default)]
pub struct Report {
    /// Instructions.
    pub ops: usize,
    /// Results on one engine that were compared with the oracle.
    pub results: u64,
    /// A sentence each.
    pub differences: Vec<String>,
}

/// Probes all instructions. Modules that are not sealed are the control: there engines do differ.
///
/// # Errors
/// The sealer refuses a probe.
pub fn probe(team: &mut Team, ops: &[Op], sealed: bool) -> anyhow::Result<Report> {
    let mut report = Report { ops: ops.len(), ..Report::default() };
    for op in ops {
        let cases = operands::cases(op.params, op.lanes);
        let step = cases.len().div_ceil(CONSTANTS);
        let few: Vec<_> = cases.iter().copied().step_by(step).collect();
        for (form, module, tasks) in [
            ("loop", looped(op, !sealed), tasks(op, &cases)),
            ("constants", constants(op, &few, !sealed), vec![constant_task(op, &few)]),
        ] {
            if form == "constants" && op.traps() {
                continue;
            }
            report.results += if op.traps() {
                tasks.len()
            } else if form == "loop" {
                cases.len()
            } else {
                few.len()
            } as u64
                * team.members.len() as u64;
            let module = if sealed { seal(&module, PAGES << 16)?.1 } else { module };
            let checked = team.check(&module, &tasks, 1 << 20);
            report
                .differences
                .extend(checked.differences.into_iter().map(|text| format!("{}, {form}: {text}", op.name)));
        }
    }
    Ok(report)
}

fn bytes(ty: Ty, bits: u128) -> Vec<u8> {
    bits.to_le_bytes()[..ty.bytes()].to_vec()
}

fn input(op: &Op, (a, b): (u128, u128)) -> Vec<u8> {
    op.params.iter().zip([a, b]).flat_map(|(ty, bits)| bytes(*ty, bits)).collect()
}

fn results(op: &Op, cases: &[(u128, u128)]) -> Option<Expected> {
    let results: Option<Vec<_>> = cases.iter().map(|(a, b)| (op.meaning)(*a, *b)).collect();
    let output = |results: Vec<u128>| results.into_iter().flat_map(|bits| bytes(op.result, bits)).collect();
    Some(results.map_or(Expected::Word("trap"), |results| Expected::Output(output(results))))
}

/// All cases at once, or one by one where a trap would hide those behind it.
fn tasks(op: &Op, cases: &[(u128, u128)]) -> Vec<Task> {
    let task = |cases: &[(u128, u128)]| {
        let input = cases.iter().flat_map(|case| input(op, *case)).collect();
        Task::run(input, FUEL, results(op, cases))
    };
    if op.traps() { cases.chunks(1).map(task).collect() } else { vec![task(cases)] }
}

fn constant_task(op: &Op, cases: &[(u128, u128)]) -> Task {
    Task::run(Vec::new(), FUEL, results(op, cases))
}

const INPUT_LEN: u32 = 0;
const INPUT_READ: u32 = 1;
const OUTPUT_WRITE: u32 = 2;

/// Reads operands, loops over them, writes results.
fn looped(op: &Op, bare: bool) -> Vec<u8> {
    let (taken, given): (u32, u32) = (op.params.iter().map(|ty| ty.bytes() as u32).sum(), op.result.bytes() as u32);
    let mut function = Function::new([(3, ValType::I32)]);
    let (from, to, end) = (0, 1, 2);
    let mut push = |instruction| {
        function.instruction(&instruction);
    };
    let number = |number: u32| Instruction::I32Const(number.cast_signed());
    for instruction in [number(0), number(0), Instruction::Call(INPUT_LEN), Instruction::Call(INPUT_READ)] {
        push(instruction);
    }
    for instruction in [Instruction::Call(INPUT_LEN), Instruction::LocalSet(end), number(RESULTS_AT)] {
        push(instruction);
    }
    push(Instruction::LocalSet(to));
    push(Instruction::Loop(BlockType::Empty));
    push(Instruction::LocalGet(to));
    let mut offset = 0;
    for ty in op.params {
        push(Instruction::LocalGet(from));
        push(ty.load(offset));
        offset += ty.bytes() as u64;
    }
    push(op.code.clone());
    push(op.result.store(0));
    for (local, step) in [(to, given), (from, taken)] {
        push(Instruction::LocalGet(local));
        push(number(step));
        push(Instruction::I32Add);
        push(Instruction::LocalTee(local));
        if local == to {
            push(Instruction::Drop);
        }
    }
    push(Instruction::LocalGet(end));
    push(Instruction::I32Ne);
    push(Instruction::BrIf(0));
    push(Instruction::End);
    push(number(RESULTS_AT));
    push(Instruction::LocalGet(to));
    push(number(RESULTS_AT));
    push(Instruction::I32Sub);
    push(Instruction::Call(OUTPUT_WRITE));
    push(Instruction::End);
    module(&[function], bare)
}

/// The same with operands that are constants.
fn constants(op: &Op, cases: &[(u128, u128)], bare: bool) -> Vec<u8> {
    let given = op.result.bytes();
    let mut functions = Vec::new();
    for (chunk, cases) in cases.chunks(CONSTANTS_AT_ONCE).enumerate() {
        let mut function = Function::new([]);
        for (index, (a, b)) in cases.iter().enumerate() {
            let place = (chunk * CONSTANTS_AT_ONCE + index) * given;
            function.instruction(&Instruction::I32Const(place as i32));
            for (ty, bits) in op.params.iter().zip([a, b]) {
                function.instruction(&ty.constant(*bits));
            }
            function.instruction(&op.code).instruction(&op.result.store(RESULTS_AT.into()));
        }
        function.instruction(&Instruction::End);
        functions.push(function);
    }
    let mut run = Function::new([]);
    for index in 0..functions.len() as u32 {
        run.instruction(&Instruction::Call(3 + index));
    }
    run.instruction(&Instruction::I32Const(RESULTS_AT.cast_signed()));
    run.instruction(&Instruction::I32Const((cases.len() * given) as i32));
    run.instruction(&Instruction::Call(OUTPUT_WRITE)).instruction(&Instruction::End);
    functions.push(run);
    module(&functions, bare)
}

/// A module of functions without parameters, of which the last one is the job.
fn module(all: &[Function], bare: bool) -> Vec<u8> {
    let (mut types, mut imports, mut functions, mut code) =
        (TypeSection::new(), ImportSection::new(), FunctionSection::new(), CodeSection::new());
    for (index, import) in [abi::INPUT_LEN, abi::INPUT_READ, abi::OUTPUT_WRITE].into_iter().enumerate() {
        let known = abi::IMPORTS.iter().find(|known| known.name == import);
        let (params, results) = known.map_or((0, 0), |known| (known.params, known.results));
        types.ty().function(vec![ValType::I32; params], vec![ValType::I32; results]);
        imports.import(abi::NAMESPACE, import, EntityType::Function(index as u32));
    }
    types.ty().function([], []);
    for function in all {
        functions.function(3);
        code.function(function);
    }
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: PAGES,
        maximum: Some(PAGES),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let (mut globals, mut exports) = (GlobalSection::new(), ExportSection::new());
    exports.export(abi::MEMORY, ExportKind::Memory, 0).export(abi::RUN, ExportKind::Func, 2 + all.len() as u32);
    if bare {
        crate::bare::counters(&mut globals, &mut exports);
    }
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&memories);
    module.section(&globals).section(&exports).section(&code);
    module.finish()
}
