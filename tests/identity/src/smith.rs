//! Random modules of every instruction that a job may use, made jobs by a driver that calls their functions as
//! the input says and writes down all that can be seen afterwards.
//!
//! ```text
//! input:  u32 calls, 12 bytes nothing, then for each call 16 bytes (the function in the first one) and
//!         8 arguments of 16 bytes
//! output: 16 bytes for each result of each call; 8 bytes hash of the memory, u32 pages, u32 refused growths;
//!         16 bytes for each global
//! ```
//!
//! What random code seldom does is added by hand: recursion to a depth that the input says, growth, bulk
//! instructions, long loops, aborts, long outputs.

use anyhow::{Context as _, anyhow};
use arbitrary::Unstructured;
use manyhands_abi as abi;
use wasm_encoder::reencode::{Reencode, utils};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, CustomSection, DataCountSection, DataSection, ElementSection, Elements,
    EntityType, ExportKind, ExportSection, Function, FunctionSection, GlobalSection, GlobalType, ImportSection,
    InstructionSink, MemArg, MemorySection, MemoryType, Module, RefType, TableSection, TableType, TypeSection, ValType,
};
use wasm_smith::{Config, MemoryOffsetChoices};
use wasmparser::{CompositeInnerType, Parser, Payload};

use crate::dice::Dice;
use crate::operands;
use crate::ops::Ty;

/// Bytes of an argument, a result or a global.
const VALUE: u32 = 16;
/// Arguments of a call in the input; a function with more gets some of them twice.
const ARGUMENTS: u32 = 8;
const CALL_BYTES: u32 = 16 + ARGUMENTS * VALUE;
/// Where the driver puts a call, what comes back, and globals. Random code may write there as well.
const CALL_AT: u32 = 16;
const RESULTS_AT: u32 = 256;
const GLOBALS_AT: u32 = 1024;
/// Bytes of choices for the module generator.
const CHOICES: usize = 4096;
const PAGE_BYTES: u64 = 65536;
/// The driver's imports come before all others.
const IMPORTED: u32 = 3;
const INPUT_READ: u32 = 0;
const OUTPUT_WRITE: u32 = 1;
const ABORT: u32 = 2;

/// A module that can be sealed, and what is known about it.
pub struct Job {
    /// The module, without a manifest.
    pub module: Vec<u8>,
    /// Most memory that its manifest should grant.
    pub memory_bytes: u64,
    /// How many globals the driver writes down at the end of its output.
    pub globals: usize,
    params: Vec<Vec<Ty>>,
    /// Functions from here on are those that were added by hand.
    added: usize,
}

impl Job {
    /// Any module. A `bare` one can be executed without being sealed.
    ///
    /// # Errors
    /// The generator made something that is no job; another seed will do.
    pub fn random(dice: &mut Dice, bare: bool) -> anyhow::Result<Self> {
        let traps = dice.once_in(2);
        let own_table = dice.once_in(2);
        let config = config(dice, traps, own_table);
        let choices = dice.bytes(CHOICES);
        let smith = wasm_smith::Module::new(config, &mut Unstructured::new(&choices))?.to_bytes();
        let mut parts = Parts::read(&smith, dice)?;
        let added = parts.callable.len();
        parts.add_by_hand(dice, own_table);
        parts.add_driver();
        let params = parts.callable.iter().map(|(_, ty)| ty.params.clone()).collect();
        let memory_bytes = PAGE_BYTES * (parts.pages + dice.below(6) as u64);
        let globals = parts.mutable.len();
        Ok(Self { module: parts.finish(bare), memory_bytes, globals, params, added })
    }

    /// An input for it: up to three calls with arguments at which things happen.
    pub fn input(&self, dice: &mut Dice) -> Vec<u8> {
        let calls = 1 + dice.below(3);
        let mut input = (calls as u128).to_le_bytes().to_vec();
        for _ in 0..calls {
            let by_hand = dice.once_in(3);
            let from = if by_hand { self.added } else { 0 };
            let function = from + dice.below(self.params.len() - from);
            input.extend((function as u128).to_le_bytes());
            for argument in 0..ARGUMENTS as usize {
                let bits = match self.params[function].get(argument) {
                    None => 0,
                    Some(Ty::I32) if !dice.once_in(4) => {
                        *dice.pick(&[0, 1, 2, 7, 40, 300, 1000, 2500, 20_000, 1 << 20])
                    }
                    Some(ty) => operands::any(dice, *ty),
                };
                input.extend(bits.to_le_bytes());
            }
        }
        input
    }
}

fn config(dice: &mut Dice, traps: bool, own_table: bool) -> Config {
    let calls_host = dice.once_in(8);
    Config {
        allow_start_export: false,
        disallow_traps: !traps,
        exceptions_enabled: false,
        gc_enabled: false,
        reference_types_enabled: false,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        memory64_enabled: false,
        extended_const_enabled: false,
        simd_enabled: !dice.once_in(4),
        max_exports: 0,
        min_funcs: 3,
        max_funcs: 3 + dice.below(8),
        max_instructions: 40 + dice.below(200),
        max_types: 8,
        max_globals: 8,
        max_data_segments: 3,
        max_element_segments: 3,
        max_elements: 12,
        min_memories: 1,
        max_memory32_bytes: 2 * PAGE_BYTES,
        min_tables: u32::from(!own_table),
        max_tables: usize::from(!own_table),
        max_table_elements: 20,
        memory_offset_choices: MemoryOffsetChoices(90, 9, 1),
        available_imports: calls_host.then(imports),
        max_imports: if calls_host { 6 } else { 0 },
        ..Config::default()
    }
}

/// The host functions, for random code to call.
fn imports() -> Vec<u8> {
    let (mut types, mut imports) = (TypeSection::new(), ImportSection::new());
    for (index, import) in abi::IMPORTS.iter().enumerate() {
        types.ty().function(vec![ValType::I32; import.params], vec![ValType::I32; import.results]);
        imports.import(abi::NAMESPACE, import.name, EntityType::Function(index as u32));
    }
    let mut module = Module::new();
    module.section(&types).section(&imports);
    module.finish()
}

fn of(ty: wasmparser::ValType) -> Ty {
    match ty {
        wasmparser::ValType::I64 => Ty::I64,
        wasmparser::ValType::F32 => Ty::F32,
        wasmparser::ValType::F64 => Ty::F64,
        wasmparser::ValType::V128 => Ty::V128,
        _ => Ty::I32,
    }
}

/// The type of a function.
#[derive(Clone)]
struct Signature {
    params: Vec<Ty>,
    results: Vec<Ty>,
}

/// Functions move up by the driver's imports, types by their types.
struct Shift {
    types: u32,
}

impl Reencode for Shift {
    type Error = core::convert::Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, wasm_encoder::reencode::Error<Self::Error>> {
        Ok(function + IMPORTED)
    }

    fn type_index(&mut self, ty: u32) -> Result<u32, wasm_encoder::reencode::Error<Self::Error>> {
        Ok(ty + self.types)
    }
}

/// A module in the making.
#[derive(Default)]
struct Parts {
    types: TypeSection,
    imports: ImportSection,
    functions: FunctionSection,
    tables: TableSection,
    memories: MemorySection,
    globals: GlobalSection,
    elements: ElementSection,
    data_count: Option<DataCountSection>,
    code: CodeSection,
    data: DataSection,
    pages: u64,
    /// Types of the mutable globals that are written down.
    mutable: Vec<(u32, Ty)>,
    /// Type of each type index.
    signatures: Vec<Signature>,
    /// Index of the next function.
    next: u32,
    /// What the driver can call.
    callable: Vec<(u32, Signature)>,
    main: u32,
}

impl Parts {
    fn read(smith: &[u8], dice: &mut Dice) -> anyhow::Result<Self> {
        let mut parts = Self::default();
        let reads = parts.signature(&[Ty::I32; 3], &[]);
        let writes = parts.signature(&[Ty::I32; 2], &[]);
        parts.imports.import(abi::NAMESPACE, abi::INPUT_READ, EntityType::Function(reads));
        parts.imports.import(abi::NAMESPACE, abi::OUTPUT_WRITE, EntityType::Function(writes));
        parts.imports.import(abi::NAMESPACE, abi::ABORT, EntityType::Function(reads));
        parts.next = IMPORTED;
        let shift = &mut Shift { types: parts.types.len() };
        let mut table_elements = 0;
        let failed = |error| anyhow!("{error:?}");
        for payload in Parser::new(0).parse_all(smith) {
            match payload? {
                Payload::TypeSection(section) => {
                    for group in section.clone() {
                        for ty in group?.into_types() {
                            let CompositeInnerType::Func(ty) = ty.composite_type.inner else { continue };
                            let tys = |types: &[wasmparser::ValType]| types.iter().map(|ty| of(*ty)).collect();
                            parts.signatures.push(Signature { params: tys(ty.params()), results: tys(ty.results()) });
                        }
                    }
                    utils::parse_type_section(shift, &mut parts.types, section).map_err(failed)?;
                }
                Payload::ImportSection(section) => {
                    let before = parts.imports.len();
                    utils::parse_import_section(shift, &mut parts.imports, section).map_err(failed)?;
                    parts.next += parts.imports.len() - before;
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        let ty = ty? + shift.types;
                        parts.declare(ty);
                    }
                }
                Payload::TableSection(section) => {
                    for table in section.clone() {
                        table_elements = table?.ty.initial;
                    }
                    utils::parse_table_section(shift, &mut parts.tables, section).map_err(failed)?;
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        let memory = memory?;
                        // The driver needs a page; a maximum that is missing is the manifest's affair.
                        parts.pages = memory.initial.max(1);
                        let maximum = (!dice.once_in(3)).then(|| parts.pages + dice.below(8) as u64);
                        parts.memories.memory(MemoryType {
                            minimum: parts.pages,
                            maximum,
                            memory64: false,
                            shared: false,
                            page_size_log2: None,
                        });
                    }
                }
                Payload::GlobalSection(section) => {
                    for (index, global) in section.clone().into_iter().enumerate() {
                        let ty = global?.ty;
                        if ty.mutable {
                            parts.mutable.push((index as u32, of(ty.content_type)));
                        }
                    }
                    utils::parse_global_section(shift, &mut parts.globals, section).map_err(failed)?;
                }
                Payload::ElementSection(section) => {
                    for segment in section {
                        let mut segment = segment?;
                        if let wasmparser::ElementKind::Active { offset_expr, .. } = &segment.kind {
                            let length = match &segment.items {
                                wasmparser::ElementItems::Functions(items) => items.count(),
                                wasmparser::ElementItems::Expressions(_, items) => items.count(),
                            };
                            // What would not fit would be refused.
                            if start(offset_expr) + u64::from(length) > table_elements {
                                segment.kind = wasmparser::ElementKind::Passive;
                            }
                        }
                        utils::parse_element(shift, &mut parts.elements, segment).map_err(failed)?;
                    }
                }
                Payload::DataCountSection { count, .. } => parts.data_count = Some(DataCountSection { count }),
                Payload::CodeSectionEntry(body) => {
                    utils::parse_function_body(shift, &mut parts.code, body).map_err(failed)?;
                }
                Payload::DataSection(section) => {
                    for segment in section {
                        let mut segment = segment?;
                        if let wasmparser::DataKind::Active { offset_expr, .. } = &segment.kind
                            && start(offset_expr) + segment.data.len() as u64 > parts.pages * PAGE_BYTES
                        {
                            segment.kind = wasmparser::DataKind::Passive;
                        }
                        utils::parse_data(shift, &mut parts.data, segment).map_err(failed)?;
                    }
                }
                _ => {}
            }
        }
        (parts.pages > 0).then_some(parts).context("no memory")
    }

    fn signature(&mut self, params: &[Ty], results: &[Ty]) -> u32 {
        self.types.ty().function(params.iter().map(|ty| ty.val()), results.iter().map(|ty| ty.val()));
        self.signatures.push(Signature { params: params.to_vec(), results: results.to_vec() });
        self.types.len() - 1
    }

    /// A function of this type, which the driver can call.
    fn declare(&mut self, ty: u32) -> u32 {
        self.functions.function(ty);
        self.callable.push((self.next, self.signatures[ty as usize].clone()));
        self.next += 1;
        self.next - 1
    }

    fn add_by_hand(&mut self, dice: &mut Dice, own_table: bool) {
        let refused = self.globals.len();
        let counter = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        self.globals.global(counter, &ConstExpr::i32_const(0));

        let grows = self.signature(&[Ty::I32], &[Ty::I32]);
        self.declare(grows);
        self.code.function(&grow(refused));
        let bulk_type = self.signature(&[Ty::I32; 3], &[]);
        self.declare(bulk_type);
        self.code.function(&bulk());
        self.declare(grows);
        self.code.function(&churn());
        self.declare(bulk_type);
        self.code.function(&give_up());
        let say_type = self.signature(&[Ty::I32; 2], &[]);
        self.declare(say_type);
        self.code.function(&say());

        let deep_type = self.signature(&[Ty::I32, Ty::F64, Ty::V128], &[Ty::F64]);
        let deep_function = self.declare(deep_type);
        self.code.function(&deep(deep_function, dice.below(60) as u32));
        // Two that call each other, with frames of different sizes.
        let (ping, pong) = (self.declare(grows), self.declare(grows));
        let (small, large) = (dice.below(4) as u32, dice.below(120) as u32);
        self.code.function(&turn(small, |to| to.call(pong)));
        self.code.function(&turn(large, |to| to.call(ping)));
        if own_table {
            let (there, back) = (self.declare(grows), self.declare(grows));
            self.code.function(&turn(1, |to| to.i32_const(1).call_indirect(0, grows)));
            self.code.function(&turn(9, |to| to.i32_const(0).call_indirect(0, grows)));
            let limits = TableType {
                element_type: RefType::FUNCREF,
                table64: false,
                minimum: 4,
                maximum: Some(4),
                shared: false,
            };
            self.tables.table(limits);
            self.elements.active(None, &ConstExpr::i32_const(0), Elements::Functions([there, back].as_slice().into()));
        }
    }

    fn add_driver(&mut self) {
        let ty = self.signature(&[], &[]);
        self.functions.function(ty);
        self.main = self.next;
        self.code.function(&self.driver());
    }

    fn driver(&self) -> Function {
        const LEFT: u32 = 0;
        const OFFSET: u32 = 1;
        const AT: u32 = 2;
        const HASH: u32 = 3;
        const SCRATCH: u32 = 4;
        let scratch = |ty: Ty| SCRATCH + Ty::ALL.iter().position(|other| *other == ty).unwrap_or(0) as u32;
        let mut locals = vec![(3, ValType::I32), (1, ValType::I64)];
        locals.extend(Ty::ALL.map(|ty| (1, ty.val())));
        let mut function = Function::new(locals);
        let mut to = function.instructions();
        let number = |number: u32| number.cast_signed();

        to.i32_const(0).i32_const(0).i32_const(16).call(INPUT_READ);
        to.i32_const(0).i32_load(at(0)).local_set(LEFT);
        to.i32_const(16).local_set(OFFSET);
        to.block(BlockType::Empty).loop_(BlockType::Empty);
        to.local_get(LEFT).i32_eqz().br_if(1);
        to.i32_const(number(CALL_AT)).local_get(OFFSET).i32_const(number(CALL_BYTES)).call(INPUT_READ);
        // One block for each function, left by the table of branches.
        let count = self.callable.len() as u32;
        for _ in 0..=count {
            to.block(BlockType::Empty);
        }
        let targets: Vec<u32> = (0..count).collect();
        to.i32_const(number(CALL_AT)).i32_load(at(0)).br_table(targets, count);
        to.end();
        for (index, (function, ty)) in self.callable.iter().enumerate() {
            for (param, ty) in ty.params.iter().enumerate() {
                let place = CALL_AT + 16 + param as u32 % ARGUMENTS * VALUE;
                load(to.i32_const(number(place)), *ty);
            }
            to.call(*function);
            for (result, ty) in ty.results.iter().enumerate().rev() {
                let place = RESULTS_AT + result as u32 * VALUE;
                to.local_set(scratch(*ty)).i32_const(number(place)).local_get(scratch(*ty));
                store(&mut to, *ty);
            }
            let bytes = ty.results.len() as u32 * VALUE;
            to.i32_const(number(RESULTS_AT)).i32_const(number(bytes)).call(OUTPUT_WRITE);
            to.br(count - 1 - index as u32).end();
        }
        to.local_get(OFFSET).i32_const(number(CALL_BYTES)).i32_add().local_set(OFFSET);
        to.local_get(LEFT).i32_const(1).i32_sub().local_set(LEFT);
        to.br(0).end().end();

        // All of the memory, before the driver writes to it again.
        to.loop_(BlockType::Empty);
        to.local_get(HASH).local_get(AT).i64_load(at(0)).i64_xor();
        to.i64_const(0x9e37_79b9_7f4a_7c15_u64.cast_signed()).i64_mul().i64_const(29).i64_rotl().local_set(HASH);
        to.local_get(AT).i32_const(8).i32_add().local_tee(AT);
        to.memory_size(0).i32_const(16).i32_shl().i32_ne().br_if(0).end();
        to.i32_const(number(RESULTS_AT)).local_get(HASH).i64_store(at(0));
        to.i32_const(number(RESULTS_AT)).memory_size(0).i32_store(at(8));
        to.i32_const(number(RESULTS_AT)).global_get(self.refused()).i32_store(at(12));
        to.i32_const(number(RESULTS_AT)).i32_const(16).call(OUTPUT_WRITE);
        for (index, (global, ty)) in self.mutable.iter().enumerate() {
            let place = GLOBALS_AT + index as u32 * VALUE;
            store(to.i32_const(number(place)).global_get(*global), *ty);
        }
        to.i32_const(number(GLOBALS_AT)).i32_const(number(self.mutable.len() as u32 * VALUE)).call(OUTPUT_WRITE);
        to.end();
        function
    }

    /// The global that counts refused growths.
    fn refused(&self) -> u32 {
        self.globals.len() - 1
    }

    fn finish(mut self, bare: bool) -> Vec<u8> {
        let mut exports = ExportSection::new();
        exports.export(abi::MEMORY, ExportKind::Memory, 0).export(abi::RUN, ExportKind::Func, self.main);
        if bare {
            crate::bare::counters(&mut self.globals, &mut exports);
        }
        let mut module = Module::new();
        module.section(&self.types).section(&self.imports).section(&self.functions).section(&self.tables);
        module.section(&self.memories).section(&self.globals).section(&exports).section(&self.elements);
        if let Some(count) = &self.data_count {
            module.section(count);
        }
        module.section(&self.code).section(&self.data);
        module.finish()
    }
}

/// Where an active segment begins.
fn start(offset: &wasmparser::ConstExpr<'_>) -> u64 {
    match offset.get_operators_reader().read() {
        Ok(wasmparser::Operator::I32Const { value }) => value.cast_unsigned().into(),
        _ => u64::MAX >> 1,
    }
}

fn at(offset: u64) -> MemArg {
    MemArg { offset, align: 0, memory_index: 0 }
}

fn load(to: &mut InstructionSink<'_>, ty: Ty) {
    match ty {
        Ty::I32 => to.i32_load(at(0)),
        Ty::I64 => to.i64_load(at(0)),
        Ty::F32 => to.f32_load(at(0)),
        Ty::F64 => to.f64_load(at(0)),
        Ty::V128 => to.v128_load(at(0)),
    };
}

fn store(to: &mut InstructionSink<'_>, ty: Ty) {
    match ty {
        Ty::I32 => to.i32_store(at(0)),
        Ty::I64 => to.i64_store(at(0)),
        Ty::F32 => to.f32_store(at(0)),
        Ty::F64 => to.f64_store(at(0)),
        Ty::V128 => to.v128_store(at(0)),
    };
}

/// Asks for memory, counts refusals, and writes to the last byte of what it got.
fn grow(refused: u32) -> Function {
    let mut function = Function::new([]);
    let mut to = function.instructions();
    to.local_get(0).memory_grow(0).local_tee(0).i32_const(-1).i32_eq().if_(BlockType::Empty);
    to.global_get(refused).i32_const(1).i32_add().global_set(refused);
    to.else_();
    to.memory_size(0).i32_const(16).i32_shl().i32_const(1).i32_sub().local_get(0).i32_store8(at(0));
    to.end().local_get(0).end();
    function
}

/// Fills and copies as it is told, out of bounds as well.
fn bulk() -> Function {
    let mut function = Function::new([]);
    let mut to = function.instructions();
    to.local_get(0).local_get(1).local_get(2).memory_fill(0);
    to.local_get(1).local_get(0).local_get(2).memory_copy(0, 0).end();
    function
}

/// Aborts with what it is told, out of bounds as well.
fn give_up() -> Function {
    let mut function = Function::new([]);
    function.instructions().local_get(0).local_get(1).local_get(2).call(ABORT).end();
    function
}

/// Writes so much that it may be too much.
fn say() -> Function {
    let mut function = Function::new([]);
    function.instructions().local_get(0).local_get(1).call(OUTPUT_WRITE).end();
    function
}

/// A loop as long as it is told, with floats that overflow.
fn churn() -> Function {
    let mut function = Function::new([(1, ValType::F64)]);
    let mut to = function.instructions();
    to.block(BlockType::Empty).loop_(BlockType::Empty).local_get(0).i32_eqz().br_if(1);
    to.local_get(1).f64_const(1e300_f64.into()).f64_add().f64_const(1.5.into()).f64_mul().local_tee(1);
    to.local_get(1).f64_sub().f64_const(3.0.into()).f64_add().local_set(1);
    to.local_get(0).i32_const(1).i32_sub().local_set(0).br(0).end().end();
    to.local_get(1).i64_reinterpret_f64().i32_wrap_i64().end();
    function
}

/// Calls itself as often as it is told, with `live` locals that it needs afterwards.
fn deep(own: u32, live: u32) -> Function {
    let mut function = Function::new([(live, ValType::I64), (1, ValType::F64)]);
    let mut to = function.instructions();
    let result = 3 + live;
    to.local_get(0).i32_eqz().if_(BlockType::Empty).local_get(1).return_().end();
    for local in 0..live {
        to.local_get(0).i64_extend_i32_u().i64_const(i64::from(local)).i64_mul().local_set(3 + local);
    }
    to.local_get(0).i32_const(1).i32_sub().local_get(1).f64_sqrt().f64_neg();
    to.local_get(2).local_get(2).f64x2_mul().call(own).local_set(result);
    for local in 0..live {
        to.local_get(result).local_get(3 + local).f64_convert_i64_s().f64_add().local_set(result);
    }
    to.local_get(result).local_get(2).f64x2_extract_lane(0).f64_copysign().end();
    function
}

/// Passes one less on with `call`, and has `live` locals that it needs afterwards.
fn turn(live: u32, call: impl for<'a, 'b> Fn(&'a mut InstructionSink<'b>) -> &'a mut InstructionSink<'b>) -> Function {
    let mut function = Function::new([(live, ValType::I32)]);
    let mut to = function.instructions();
    to.local_get(0).i32_eqz().if_(BlockType::Empty).i32_const(1).return_().end();
    for local in 1..=live {
        to.local_get(0).i32_const(local.cast_signed()).i32_mul().local_set(local);
    }
    to.local_get(0).i32_const(1).i32_sub();
    call(&mut to);
    for local in 1..=live {
        to.local_get(local).i32_xor();
    }
    to.end();
    function
}

/// The module with a manifest that grants so much memory.
pub fn with_manifest(mut module: Vec<u8>, memory_bytes: u64) -> Vec<u8> {
    use wasm_encoder::Section as _;
    let manifest = serde_json::json!({
        "name": "identity", "version": "1.0.0", "abi": abi::VERSION, "codec": "raw",
        "limits": { "memory_bytes": memory_bytes },
        // Random code may ask for calls, which only a job with verbs may.
        "verbs": { "ask": {
            "method": "GET", "origin": "https://api.example.com", "path": "/", "effect": "safe", "budget": { "per_run": 1 },
        } },
    });
    let text = manifest.to_string();
    let section = CustomSection { name: abi::MANIFEST_SECTION.into(), data: text.as_bytes().into() };
    section.append_to(&mut module);
    module
}
