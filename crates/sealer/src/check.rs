//! What a module must and must not hold.
//!
//! The set of features is closed: whatever is not named here is refused, so that a new proposal in the
//! parser never becomes a new ability of jobs. The caps lie far below those of every engine (JS API
//! limits of the WebAssembly specification; V8's `br_table` limit of 65,520), so that no engine's own
//! limit is ever the first to be met.

use manyhands_abi::{CALL, CAUSE, COST_TABLE, IMPORTS, MEMORY, METER, MODULE_BYTES_MAX, NAMESPACE, REDUCE, RUN};
use manyhands_model::Manifest;
use wasmparser::{
    BlockType, CompositeInnerType, ConstExpr, DataKind, ElementItems, ElementKind, Encoding, Export, ExternalKind,
    FuncType, FunctionBody, Import, MemoryType, Operator, Parser, Payload, TypeRef, ValType, Validator, VisitOperator,
    VisitSimdOperator, WasmFeatures,
};

use crate::refusal::{Place, Refusal};
use crate::survey::{Found, Survey};

/// Longest body of one function, in bytes.
const BODY_BYTES_MAX: usize = 256 << 10;
/// Most functions, imports included.
const FUNCTIONS_MAX: u32 = 50_000;
/// Most imports. There are seven functions to import; V8 takes 100,000.
const IMPORTS_MAX: u32 = 1_000;
/// Most exports. V8 takes 100,000.
const EXPORTS_MAX: u32 = 10_000;
/// Most parameters of a function or block.
const PARAMS_MAX: usize = 100;
/// Most results of a function or block. An instruction of two bytes may move so many values, and every validator looks at each.
const RESULTS_MAX: usize = 20;
/// Most function types.
const TYPES_MAX: u32 = 50_000;
/// Most parameters and locals of a function.
const LOCALS_MAX: u64 = 1_000;
/// Most targets of a `br_table`.
const BR_TABLE_MAX: u32 = 10_000;
/// Deepest nesting of blocks. A `match` of a thousand arms takes as many.
const NESTING_MAX: u32 = 1_100;
/// Most globals.
const GLOBALS_MAX: u32 = 1_000;
/// Most data segments.
const DATA_SEGMENTS_MAX: u32 = 10_000;
/// Most element segments. The parser takes 100,000.
const ELEMENT_SEGMENTS_MAX: u32 = 10_000;
/// Most elements of a table.
const TABLE_ELEMENTS_MAX: u64 = 10_000;
/// Most elements of all element segments together. Some engines keep kilobytes for each.
const ELEMENTS_MAX: u64 = 100_000;
/// Most that [`Load::spread`] may be, of a function and of all together. Compilers that keep values in registers need up to
/// 150 bytes and some microseconds for each; real code has up to 400,000 and, in all, a million in a megabyte.
const SPREAD_MAX: u64 = 5_000_000;
const SPREAD_ALL_MAX: u64 = 15_000_000;
/// Most values that the calls of a function pass and get, and those of all together. Each is an instruction or two where it does
/// not fit into a register; real code has up to 1,000 and, in all, 60,000 in a megabyte.
const PASSED_MAX: u64 = 400_000;
const PASSED_ALL_MAX: u64 = 4_000_000;
/// Bytes of a page of linear memory.
const PAGE_BYTES: u64 = 64 << 10;

/// What current Rust and C compilers emit by default, and SIMD.
fn features() -> WasmFeatures {
    WasmFeatures::FLOATS
        | WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::CALL_INDIRECT_OVERLONG
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::SIMD
        // The types of tables; the instructions on references are refused below.
        | WasmFeatures::GC_TYPES
}

/// What was found in a module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether it exports the reduce step.
    pub reduces: bool,
    /// The host functions that it imports.
    pub imports: Vec<String>,
    /// How many functions it defines.
    pub functions: u32,
    /// Bytes of their code.
    pub code_bytes: u64,
    /// Bytes of linear memory that it starts with.
    pub memory_bytes: u64,
}

/// Refuses what is not worth parsing: too long, or something else altogether.
pub(crate) fn looks_like_a_module(module: &[u8]) -> Result<(), Refusal> {
    const CURE: &str = "give the .wasm file that `manyhands build` writes";
    if !module.starts_with(b"\0asm") {
        return Err(Refusal::new(Place::Module, "not WebAssembly", CURE));
    }
    if let Some(Ok(Payload::Version { encoding: Encoding::Component, .. })) = Parser::new(0).parse_all(module).next() {
        return Err(Refusal::new(Place::Module, "a component, not a core module", CURE));
    }
    if module.len() > MODULE_BYTES_MAX {
        let reason = format!("{} bytes long; at most {MODULE_BYTES_MAX} are accepted", module.len());
        return Err(Refusal::new(Place::Module, reason, "leave out what is not needed, or move data into the inputs"));
    }
    Ok(())
}

/// Checks a module against everything that this page names.
///
/// # Errors
/// [`Refusal`] for the first thing that is wrong.
pub(crate) fn check(module: &[u8], manifest: &Manifest) -> Result<(Report, Survey), Refusal> {
    let mut checker = Checker::default();
    // Shape first: its refusals say more than a validator's.
    for payload in Parser::new(0).parse_all(module) {
        checker.payload(&payload.map_err(|error| Refusal::invalid(&error))?)?;
    }
    validate(module)?;
    checker.finish(manifest)
}

/// Whether it is valid WebAssembly of the accepted features.
pub(crate) fn validate(module: &[u8]) -> Result<(), Refusal> {
    Validator::new_with_features(features()).validate_all(module).map_err(|error| Refusal::invalid(&error))?;
    Ok(())
}

/// What makes a function long to compile however short it is written.
#[derive(Clone, Copy, Default)]
struct Load {
    /// Its parameters and locals, and what its blocks take and give.
    values: u64,
    /// Its blocks and branches.
    blocks: u64,
    /// What its calls pass and get.
    passed: u64,
}

impl Load {
    /// Each value at each place where ways part or meet: compilers ask there where it is.
    fn spread(self) -> u64 {
        self.values * self.blocks
    }
}

#[derive(Default)]
struct Checker {
    report: Report,
    survey: Survey,
    types: Vec<Option<FuncType>>,
    /// Type of each function, imports first.
    functions: Vec<u32>,
    bodies: u32,
    /// Of all bodies until now: [`Load::spread`] and [`Load::passed`].
    spread: u64,
    passed: u64,
    imported: u32,
    memory: Option<MemoryType>,
    table_elements: u64,
    globals: Vec<ValType>,
    exports: Vec<(String, ExternalKind, u32)>,
}

impl Checker {
    fn payload(&mut self, payload: &Payload<'_>) -> Result<(), Refusal> {
        let invalid = |error: wasmparser::BinaryReaderError| Refusal::invalid(&error);
        match payload {
            Payload::TypeSection(section) => {
                if section.count() > TYPES_MAX {
                    return Err(too_many("types", section.count().into(), TYPES_MAX.into()));
                }
                for group in section.clone() {
                    for ty in group.map_err(invalid)?.into_types() {
                        let func = match ty.composite_type.inner {
                            CompositeInnerType::Func(func) => Some(func),
                            _ => None,
                        };
                        let (params, results) =
                            func.as_ref().map_or((0, 0), |func| (func.params().len(), func.results().len()));
                        for (what, there, most) in
                            [("parameters", params, PARAMS_MAX), ("results", results, RESULTS_MAX)]
                        {
                            if there > most {
                                let reason = format!("{there} {what}; at most {most} are accepted");
                                let place = Place::Type(self.types.len() as u32);
                                return Err(Refusal::new(place, reason, "pass them through memory"));
                            }
                        }
                        self.types.push(func);
                    }
                }
            }
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    self.import(&import.map_err(invalid)?)?;
                    if self.imported > IMPORTS_MAX {
                        return Err(too_many("imports", section.count().into(), IMPORTS_MAX.into()));
                    }
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section.clone() {
                    self.functions.push(ty.map_err(invalid)?);
                }
                if self.functions.len() as u64 > u64::from(FUNCTIONS_MAX) {
                    return Err(too_many("functions", self.functions.len() as u64, FUNCTIONS_MAX.into()));
                }
            }
            Payload::TableSection(section) => {
                for table in section.clone() {
                    let ty = table.map_err(invalid)?.ty;
                    if ty.initial > TABLE_ELEMENTS_MAX {
                        return Err(too_many("table elements", ty.initial, TABLE_ELEMENTS_MAX));
                    }
                    self.table_elements = ty.initial;
                }
            }
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    let memory = memory.map_err(invalid)?;
                    if memory.shared || memory.memory64 || memory.page_size_log2.is_some() {
                        let cure = "build for wasm32-unknown-unknown without atomics";
                        return Err(Refusal::new(Place::Module, "shared, 64-bit or odd-sized memory", cure));
                    }
                    if self.memory.replace(memory).is_some() {
                        return Err(Refusal::new(Place::Module, "two memories", "define one memory"));
                    }
                }
            }
            Payload::GlobalSection(section) => {
                if section.count() > GLOBALS_MAX {
                    return Err(too_many("globals", section.count().into(), GLOBALS_MAX.into()));
                }
                for global in section.clone() {
                    self.globals.push(global.map_err(invalid)?.ty.content_type);
                }
            }
            Payload::ExportSection(section) => {
                if section.count() > EXPORTS_MAX {
                    return Err(too_many("exports", section.count().into(), EXPORTS_MAX.into()));
                }
                for export in section.clone() {
                    let Export { name, kind, index } = export.map_err(invalid)?;
                    if [METER, CAUSE, COST_TABLE].contains(&name) {
                        let cure = "publish what `manyhands build` wrote, not what a coordinator made of it";
                        let reason = "a name that sealing gives: the module is sealed already";
                        return Err(Refusal::new(Place::Export(name.to_owned()), reason, cure));
                    }
                    self.exports.push((name.to_owned(), kind, index));
                }
            }
            Payload::StartSection { func, .. } => {
                let place = Place::function(*func);
                let cure = "run initialisers from the exported function, where fuel counts";
                return Err(Refusal::new(place, "a start function, which would run before fuel counts", cure));
            }
            Payload::ElementSection(section) => {
                if section.count() > ELEMENT_SEGMENTS_MAX {
                    return Err(too_many("element segments", section.count().into(), ELEMENT_SEGMENTS_MAX.into()));
                }
                let mut elements = 0;
                for (index, segment) in section.clone().into_iter().enumerate() {
                    let segment = segment.map_err(invalid)?;
                    let length = match &segment.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    };
                    elements += u64::from(length);
                    if elements > ELEMENTS_MAX {
                        return Err(too_many("elements of segments", elements, ELEMENTS_MAX));
                    }
                    if let ElementItems::Functions(items) = &segment.items {
                        for function in items.clone() {
                            self.may_be_called_indirectly(index, function.map_err(invalid)?)?;
                        }
                    }
                    if let ElementKind::Active { offset_expr, .. } = &segment.kind {
                        fits("element", index, offset_expr, length.into(), self.table_elements)?;
                    }
                }
            }
            Payload::DataSection(section) => {
                if section.count() > DATA_SEGMENTS_MAX {
                    return Err(too_many("data segments", section.count().into(), DATA_SEGMENTS_MAX.into()));
                }
                let bytes = self.memory.map_or(0, |memory| memory.initial.saturating_mul(PAGE_BYTES));
                for (index, segment) in section.clone().into_iter().enumerate() {
                    let segment = segment.map_err(invalid)?;
                    if let DataKind::Active { offset_expr, .. } = &segment.kind {
                        fits("data", index, offset_expr, segment.data.len() as u64, bytes)?;
                    }
                }
            }
            Payload::CodeSectionEntry(body) => self.body(body)?,
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, import: &Import<'_>) -> Result<(), Refusal> {
        let place = || Place::Import(format!("{}.{}", import.module, import.name));
        let TypeRef::Func(ty) = import.ty else {
            let cure = "define memories, tables and globals inside the module";
            return Err(Refusal::new(place(), "not a function", cure));
        };
        let known = IMPORTS.iter().find(|known| import.module == NAMESPACE && import.name == known.name);
        let Some(known) = known else {
            return Err(Refusal::new(
                place(),
                format!("unknown; jobs import nothing but the functions of `{NAMESPACE}`"),
                "remove what needs a clock, files, randomness, JavaScript or WASI",
            ));
        };
        let func = self.types.get(ty as usize).and_then(Option::as_ref);
        let all_i32 = |types: &[ValType], count| types.len() == count && types.iter().all(|ty| *ty == ValType::I32);
        if !func.is_some_and(|func| all_i32(func.params(), known.params) && all_i32(func.results(), known.results)) {
            let reason =
                format!("wrong type; expected {} i32 parameters and {} i32 results", known.params, known.results);
            return Err(Refusal::new(place(), reason, "see docs/abi.md"));
        }
        self.report.imports.push(import.name.to_owned());
        self.functions.push(ty);
        self.imported += 1;
        Ok(())
    }

    /// A host function is called by its name only, where what it costs is charged.
    fn may_be_called_indirectly(&self, segment: usize, function: u32) -> Result<(), Refusal> {
        if function >= self.imported {
            return Ok(());
        }
        let reason = format!("it holds the host function {function}, which can only be called directly");
        let place = Place::Segment { kind: "element", index: segment as u32 };
        Err(Refusal::new(place, reason, "put a function of the module's own there that calls it"))
    }

    fn function_type(&self, index: u32) -> Option<&FuncType> {
        self.types.get(*self.functions.get(index as usize)? as usize)?.as_ref()
    }

    fn body(&mut self, body: &FunctionBody<'_>) -> Result<(), Refusal> {
        let invalid = |error: wasmparser::BinaryReaderError| Refusal::invalid(&error);
        let index = self.imported + self.bodies;
        self.bodies += 1;
        let length = body.range().len();
        self.report.code_bytes += length as u64;
        if length > BODY_BYTES_MAX {
            return Err(too_much(index, "bytes", length as u64, BODY_BYTES_MAX as u64));
        }
        let mut locals = self.function_type(index).map_or(0, |func| func.params().len() as u64);
        for local in body.get_locals_reader().map_err(invalid)? {
            locals += u64::from(local.map_err(invalid)?.0);
        }
        if locals > LOCALS_MAX {
            return Err(too_much(index, "locals", locals, LOCALS_MAX));
        }
        let load = Load { values: locals, ..Load::default() };
        let mut look = Look { checker: self, index, at: 0, found: Found::default(), load, nesting: 0 };
        let mut operators = body.get_operators_reader().map_err(invalid)?;
        while !operators.eof() {
            look.at = operators.original_position();
            operators.visit_operator(&mut look).map_err(invalid)??;
        }
        let Look { found, load, .. } = look;
        self.survey.add(found);
        self.bear(index, load)
    }

    /// Adds what a function has to what there may be in all.
    fn bear(&mut self, index: u32, load: Load) -> Result<(), Refusal> {
        let spread = load.spread();
        if spread > SPREAD_MAX {
            let Load { values, blocks, .. } = load;
            let reason = format!(
                "{values} locals and values of blocks times {blocks} blocks and branches; their product may be at most {SPREAD_MAX}"
            );
            return Err(Refusal::new(Place::function(index), reason, "split the function"));
        }
        if load.passed > PASSED_MAX {
            return Err(too_much(index, "values passed by calls", load.passed, PASSED_MAX));
        }
        self.spread += spread;
        self.passed += load.passed;
        if self.spread > SPREAD_ALL_MAX {
            let reason = format!(
                "locals and values of blocks times blocks and branches of each function are {} in all; at most {SPREAD_ALL_MAX} are accepted",
                self.spread
            );
            return Err(Refusal::new(Place::Module, reason, "split the functions that have most of them"));
        }
        if self.passed > PASSED_ALL_MAX {
            return Err(too_many("values passed by calls", self.passed, PASSED_ALL_MAX));
        }
        Ok(())
    }

    fn finish(mut self, manifest: &Manifest) -> Result<(Report, Survey), Refusal> {
        let memory = self.memory.ok_or_else(|| {
            Refusal::new(Place::Export(MEMORY.to_owned()), "the module has no memory", "define and export one memory")
        })?;
        let bytes = memory.initial.saturating_mul(PAGE_BYTES);
        if bytes > manifest.limits.memory_bytes {
            let reason = format!("it starts with {bytes} bytes, the manifest grants {}", manifest.limits.memory_bytes);
            return Err(Refusal::new(
                Place::Export(MEMORY.to_owned()),
                reason,
                "raise `limits.memory_bytes` in Cargo.toml",
            ));
        }
        if manifest.verbs.is_empty() && self.report.imports.iter().any(|import| import == CALL) {
            let place = Place::Import(format!("{NAMESPACE}.{CALL}"));
            let cure = "declare in Cargo.toml what it calls, under `verbs`, or do not call";
            return Err(Refusal::new(place, "the module asks for calls, and its manifest declares no verbs", cure));
        }
        self.report.memory_bytes = bytes;
        self.report.functions = self.bodies;
        if !self.exports.iter().any(|(name, kind, _)| name == MEMORY && *kind == ExternalKind::Memory) {
            return Err(Refusal::new(Place::Export(MEMORY.to_owned()), "missing", "export the memory under this name"));
        }
        if !self.exports_entry(RUN)? {
            let cure = "mark one function with #[manyhands::job], and build a cdylib";
            return Err(Refusal::new(Place::Export(RUN.to_owned()), "missing", cure));
        }
        self.report.reduces = self.exports_entry(REDUCE)?;
        let float = |ty: &ValType| matches!(ty, ValType::F32 | ValType::F64 | ValType::V128);
        for (name, kind, index) in &self.exports {
            let floats = match kind {
                ExternalKind::Func => {
                    self.function_type(*index).is_some_and(|func| func.params().iter().chain(func.results()).any(float))
                }
                ExternalKind::Global => self.globals.get(*index as usize).is_some_and(float),
                _ => false,
            };
            if floats {
                let reason = "its type holds floats or vectors, whose bits may change at the border of an engine";
                return Err(Refusal::new(Place::Export(name.clone()), reason, "pass bytes through memory instead"));
            }
        }
        Ok((self.report, self.survey))
    }

    fn exports_entry(&self, name: &str) -> Result<bool, Refusal> {
        let Some((_, kind, index)) = self.exports.iter().find(|(export, ..)| export == name) else { return Ok(false) };
        let func = self.function_type(*index);
        let fits = func.is_some_and(|func| func.params().is_empty() && func.results().is_empty());
        if *kind == ExternalKind::Func && fits {
            Ok(true)
        } else {
            let reason = "not a function without parameters and results";
            Err(Refusal::new(Place::Export(name.to_owned()), reason, "see docs/abi.md"))
        }
    }
}

/// Looks at the instructions of one function, one after the other.
struct Look<'a> {
    checker: &'a Checker,
    index: u32,
    /// The first byte of the instruction.
    at: usize,
    found: Found,
    load: Load,
    /// Open blocks.
    nesting: u32,
}

impl Look<'_> {
    // Written once for each instruction, of which next to nothing is left then.
    #[inline(always)]
    fn see(&mut self, operator: &Operator<'_>) -> Result<(), Refusal> {
        let Self { checker, index, load, .. } = self;
        self.found.note(operator);
        match operator {
            Operator::Block { blockty } | Operator::Loop { blockty } | Operator::If { blockty } => {
                load.blocks += 1;
                load.values += match blockty {
                    BlockType::Empty => 0,
                    BlockType::Type(_) => 1,
                    BlockType::FuncType(ty) => width(checker.types.get(*ty as usize).and_then(Option::as_ref)),
                };
                self.nesting += 1;
                if self.nesting > NESTING_MAX {
                    return Err(too_much(*index, "nested blocks", self.nesting.into(), NESTING_MAX.into()));
                }
            }
            Operator::End => self.nesting = self.nesting.saturating_sub(1),
            Operator::BrTable { targets } if targets.len() > BR_TABLE_MAX => {
                return Err(too_much(*index, "branch targets", targets.len().into(), BR_TABLE_MAX.into()));
            }
            Operator::BrIf { .. } | Operator::BrTable { .. } => load.blocks += 1,
            Operator::Call { function_index } => load.passed += width(checker.function_type(*function_index)),
            Operator::CallIndirect { type_index, .. } => {
                load.passed += width(checker.types.get(*type_index as usize).and_then(Option::as_ref));
            }
            Operator::TableGrow { .. }
            | Operator::TableFill { .. }
            | Operator::TableSet { .. }
            | Operator::TableGet { .. }
            | Operator::TableSize { .. }
            | Operator::RefFunc { .. }
            | Operator::RefNull { .. }
            | Operator::RefIsNull => {
                let cure = "build without reference-type instructions, as compilers do by default";
                let place = Place::Function { index: *index, name: None, offset: Some(self.at) };
                return Err(Refusal::new(place, "an instruction that works with references or tables", cure));
            }
            _ => {}
        }
        Ok(())
    }
}

macro_rules! see {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        $(fn $visit(&mut self $($(, $arg: $argty)*)?) -> Self::Output {
            self.see(&Operator::$op $({ $($arg),* })?)
        })*
    };
}

impl<'a> VisitOperator<'a> for Look<'_> {
    type Output = Result<(), Refusal>;

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = Self::Output>> {
        Some(self)
    }

    wasmparser::for_each_visit_operator!(see);
}

impl<'a> VisitSimdOperator<'a> for Look<'_> {
    wasmparser::for_each_visit_simd_operator!(see);
}

/// How many values a function or block of this type takes and gives. Validation refuses types that are not there.
fn width(ty: Option<&FuncType>) -> u64 {
    ty.map_or(0, |ty| (ty.params().len() + ty.results().len()) as u64)
}

/// Whether an active segment lies inside. One that does not would trap before the first instruction.
fn fits(kind: &'static str, index: usize, offset: &ConstExpr<'_>, length: u64, room: u64) -> Result<(), Refusal> {
    let start = match offset.get_operators_reader().read() {
        Ok(Operator::I32Const { value }) => u64::from(value.cast_unsigned()),
        // Imported globals are refused, so what is valid is a constant.
        _ => 0,
    };
    if start + length > room {
        let reason = format!("it ends at {}, beyond the initial size of {room}", start + length);
        let place = Place::Segment { kind, index: index as u32 };
        return Err(Refusal::new(place, reason, "make the initial memory or table hold what is put there"));
    }
    Ok(())
}

fn too_many(what: &str, there: u64, most: u64) -> Refusal {
    let reason = format!("{there} {what}; at most {most} are accepted");
    Refusal::new(Place::Module, reason, "split the job, or leave out dependencies")
}

fn too_much(index: u32, what: &str, there: u64, most: u64) -> Refusal {
    let reason = format!("{there} {what}; at most {most} are accepted");
    Refusal::new(Place::function(index), reason, "split the function")
}
