//! Modules and instructions as a parser of somebody else's reads them.

use std::ops::Range;

use manyhands_abi::NAMESPACE;
use manyhands_verifier::module::{Global, Module};
use manyhands_verifier::token::{Kind, Token};
use wasmparser::{
    BinaryReader, BinaryReaderError, BlockType, CompositeInnerType, ElementItems, ExternalKind, FuncType, FunctionBody,
    MemoryType, Operator, OperatorsReader, Parser, Payload, TypeRef, ValType, WasmFeatures,
};

/// What jobs may use; the sealer's check has the same list.
pub(crate) fn features() -> WasmFeatures {
    WasmFeatures::FLOATS
        | WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::CALL_INDIRECT_OVERLONG
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::SIMD
        | WasmFeatures::GC_TYPES
}

/// A function as the parser reads it.
#[derive(Default)]
pub(crate) struct Code {
    pub(crate) tokens: Vec<Token>,
    pub(crate) names: Vec<&'static str>,
    pub(crate) tables: Vec<Vec<u32>>,
    /// Where what cannot be read begins, or what jobs must not use.
    pub(crate) refused: Option<Refused>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Malformed,
    Forbidden { offset: usize },
}

pub(crate) fn code(body: &FunctionBody<'_>) -> Code {
    let mut code = Code::default();
    if read(body, &mut code).is_err() {
        code.refused = Some(Refused::Malformed);
    }
    code
}

fn read(body: &FunctionBody<'_>, code: &mut Code) -> Result<(), BinaryReaderError> {
    let reader = BinaryReader::new_features(body.as_bytes(), body.range().start, features());
    let function = FunctionBody::new(reader);
    for group in function.get_locals_reader()? {
        if !is_known(group?.1) {
            code.refused = Some(Refused::Malformed);
            return Ok(());
        }
    }
    let mut reader = OperatorsReader::new(function.get_binary_reader_for_operators()?);
    while !reader.eof() {
        let (operator, offset) = reader.read_with_offset()?;
        let (name, is_accepted, is_vector, (takes, gives)) = known(&operator);
        if !is_accepted {
            code.refused = Some(Refused::Forbidden { offset });
            return Ok(());
        }
        let mut kind = kind(&operator, is_vector);
        if let Kind::Block(BlockType::Type(ty)) | Kind::Loop(BlockType::Type(ty)) | Kind::If(BlockType::Type(ty)) = kind
            && !is_known(ty)
        {
            code.refused = Some(Refused::Malformed);
            return Ok(());
        }
        if let Operator::BrTable { targets } = &operator {
            kind = Kind::BrTable(code.tables.len() as u32);
            let others: Result<Vec<u32>, _> = targets.targets().collect();
            code.tables.push([others?, vec![targets.default()]].concat());
        }
        code.names.push(name);
        code.tokens.push(Token { kind, offset: offset as u32, cost: cost(&operator) as u16, takes, gives });
    }
    Ok(())
}

/// Whether a type is one of WebAssembly 2.0 that refers to nothing, which are all that the verifier's reader knows.
fn is_known(ty: ValType) -> bool {
    [ValType::I32, ValType::I64, ValType::F32, ValType::F64, ValType::V128].contains(&ty)
}

macro_rules! accepted {
    (mvp) => {
        true
    };
    (sign_extension) => {
        true
    };
    (saturating_float_to_int) => {
        true
    };
    (bulk_memory) => {
        true
    };
    (simd) => {
        true
    };
    ($other:ident) => {
        false
    };
}

macro_rules! arity {
    (arity custom) => {
        (0, 0)
    };
    (arity $takes:literal -> $gives:literal) => {
        ($takes, $gives)
    };
}

/// Its name, whether jobs may use it, whether it works with vectors, and how many operands it takes and gives.
fn known(operator: &Operator<'_>) -> (&'static str, bool, bool, (u8, u8)) {
    macro_rules! one {
        ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
            match operator {
                $(Operator::$op { .. } => (
                    stringify!($op), accepted!($proposal), stringify!($proposal) == "simd", arity!($($ann)*)
                ),)*
                _ => ("", false, false, (0, 0)),
            }
        };
    }
    wasmparser::for_each_operator!(one)
}

/// The names of all instructions that jobs may use.
pub(crate) fn names() -> Vec<&'static str> {
    macro_rules! all {
        ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
            [$((stringify!($op), accepted!($proposal))),*]
        };
    }
    let all = wasmparser::for_each_operator!(all);
    all.into_iter().filter_map(|(name, is_accepted)| is_accepted.then_some(name)).collect()
}

fn kind(operator: &Operator<'_>, is_vector: bool) -> Kind {
    use Operator as O;
    match *operator {
        O::MemoryGrow { .. } => Kind::MemoryGrow,
        O::Unreachable => Kind::Unreachable,
        O::Block { blockty } => Kind::Block(blockty),
        O::Loop { blockty } => Kind::Loop(blockty),
        O::If { blockty } => Kind::If(blockty),
        O::Else => Kind::Else,
        O::End => Kind::End,
        O::Br { relative_depth } => Kind::Br(relative_depth),
        O::BrIf { relative_depth } => Kind::BrIf(relative_depth),
        O::Return => Kind::Return,
        O::Call { function_index } => Kind::Call(function_index),
        O::CallIndirect { type_index, .. } => Kind::CallIndirect(type_index),
        O::GlobalGet { global_index } => Kind::GlobalGet(global_index),
        O::GlobalSet { global_index } => Kind::GlobalSet(global_index),
        O::LocalGet { local_index } => Kind::LocalGet(local_index),
        O::LocalSet { local_index } => Kind::LocalSet(local_index),
        O::LocalTee { local_index } => Kind::LocalTee(local_index),
        O::I32Const { value } => Kind::I32Const(value),
        O::I64Const { value } => Kind::I64Const(value),
        O::I32Add => Kind::I32Add,
        O::I32Sub => Kind::I32Sub,
        O::I32Mul => Kind::I32Mul,
        O::I32And => Kind::I32And,
        O::I32Eq => Kind::I32Eq,
        O::I32Ne => Kind::I32Ne,
        O::I64Add => Kind::I64Add,
        O::I64Sub => Kind::I64Sub,
        O::I64Mul => Kind::I64Mul,
        O::I64And => Kind::I64And,
        O::I64Shl => Kind::I64Shl,
        O::I64LtS => Kind::I64LtS,
        O::I64Ne => Kind::I64Ne,
        O::I64ExtendI32U => Kind::I64ExtendI32U,
        _ if has_length(operator) => Kind::Length,
        _ if is_vector => Kind::Vector,
        _ => Kind::Plain,
    }
}

/// Table 2, by name.
fn cost(operator: &Operator<'_>) -> u64 {
    use Operator as O;
    match operator {
        O::Nop | O::Block { .. } | O::Loop { .. } | O::Else | O::End | O::Drop | O::Unreachable => 0,
        O::LocalGet { .. } | O::LocalSet { .. } | O::LocalTee { .. } => 0,
        O::I32Const { .. } | O::I64Const { .. } | O::F32Const { .. } | O::F64Const { .. } | O::V128Const { .. } => 0,
        O::If { .. } => 8,
        O::Br { .. } | O::Return => 3,
        O::BrIf { .. } => 6,
        O::BrTable { .. } => 12,
        O::Call { .. } => 25,
        O::CallIndirect { .. } => 40,
        O::Select | O::GlobalGet { .. } | O::GlobalSet { .. } => 2,
        O::I32Load { .. } => 12,
        O::I32Load8S { .. } | O::I32Load8U { .. } | O::I32Load16S { .. } | O::I32Load16U { .. } => 2,
        O::I64Load { .. } | O::I64Load8S { .. } | O::I64Load8U { .. } | O::I64Load16S { .. } => 2,
        O::I64Load16U { .. } | O::I64Load32S { .. } | O::I64Load32U { .. } => 2,
        O::I32Store { .. } | O::I32Store8 { .. } | O::I32Store16 { .. } => 4,
        O::MemoryGrow { .. } => 10_000,
        _ if has_length(operator) => 100,
        O::I32Eqz | O::I32Eq | O::I32Ne | O::I32LtS | O::I32LtU | O::I32GtS | O::I32GtU => 4,
        O::I32LeS | O::I32LeU | O::I32GeS | O::I32GeU => 4,
        O::I64Eqz | O::I64Eq | O::I64Ne | O::I64LtS | O::I64LtU | O::I64GtS | O::I64GtU => 15,
        O::I64LeS | O::I64LeU | O::I64GeS | O::I64GeU => 15,
        O::F32Eq | O::F32Ne | O::F32Lt | O::F32Gt | O::F32Le => 13,
        O::F64Eq | O::F64Ne | O::F64Lt | O::F64Gt | O::F64Le => 13,
        O::I32Mul | O::I64Mul => 4,
        O::I32DivS | O::I32DivU | O::I32RemS | O::I32RemU => 45,
        O::I64DivS | O::I64DivU | O::I64RemS | O::I64RemU => 50,
        O::I64And | O::I64Or | O::I64Xor | O::I64Shl | O::I64ShrS | O::I64ShrU | O::I64Rotl | O::I64Rotr => 3,
        O::I64Clz | O::I64Ctz | O::I64Popcnt => 3,
        O::F32Div | O::F64Div | O::F32x4Div | O::F64x2Div => 14,
        O::F32Sqrt | O::F64Sqrt | O::F32x4Sqrt | O::F64x2Sqrt => 20,
        O::F32Add | O::F32Sub | O::F32Mul | O::F32Min | O::F32Max | O::F32Abs | O::F32Neg | O::F32Copysign => 2,
        O::F64Add | O::F64Sub | O::F64Mul | O::F64Min | O::F64Max | O::F64Abs | O::F64Neg | O::F64Copysign => 2,
        O::F32Ceil | O::F32Floor | O::F32Trunc | O::F32Nearest => 2,
        O::F64Ceil | O::F64Floor | O::F64Trunc | O::F64Nearest => 2,
        O::I32TruncF32S | O::I32TruncF32U | O::I32TruncF64S | O::I32TruncF64U => 4,
        O::I64TruncF32S | O::I64TruncF32U | O::I64TruncF64S | O::I64TruncF64U => 4,
        O::I32TruncSatF32S | O::I32TruncSatF32U | O::I32TruncSatF64S | O::I32TruncSatF64U => 4,
        O::I64TruncSatF32S | O::I64TruncSatF32U | O::I64TruncSatF64S | O::I64TruncSatF64U => 4,
        O::F32ConvertI32S | O::F32ConvertI32U | O::F32ConvertI64S | O::F32ConvertI64U | O::F32DemoteF64 => 4,
        O::F64ConvertI32S | O::F64ConvertI32U | O::F64ConvertI64S | O::F64ConvertI64U | O::F64PromoteF32 => 4,
        O::F32x4DemoteF64x2Zero | O::F64x2PromoteLowF32x4 | O::F32x4ConvertI32x4S => 4,
        O::F64x2ConvertLowI32x4S | O::F64x2ConvertLowI32x4U => 4,
        O::F32x4Min | O::F32x4Max | O::F64x2Min | O::F64x2Max | O::I64x2Mul | O::I8x16Popcnt => 8,
        O::I32x4TruncSatF32x4S | O::I32x4TruncSatF32x4U | O::F32x4ConvertI32x4U => 8,
        O::I32x4TruncSatF64x2SZero | O::I32x4TruncSatF64x2UZero => 8,
        O::I8x16Shl | O::I8x16ShrS | O::I8x16ShrU | O::I64x2ShrS => 5,
        O::V128AnyTrue | O::I8x16AllTrue | O::I16x8AllTrue | O::I32x4AllTrue | O::I64x2AllTrue => 4,
        O::I8x16Bitmask | O::I16x8Bitmask | O::I32x4Bitmask | O::I64x2Bitmask => 4,
        O::I16x8ExtAddPairwiseI8x16S | O::I16x8ExtAddPairwiseI8x16U => 4,
        O::I32x4ExtAddPairwiseI16x8S | O::I32x4ExtAddPairwiseI16x8U | O::I16x8Q15MulrSatS => 4,
        O::I8x16Shuffle { .. } | O::I8x16Swizzle => 3,
        O::I8x16Splat | O::I16x8Splat | O::I32x4Splat | O::I64x2Splat | O::F32x4Splat | O::F64x2Splat => 3,
        O::I8x16ExtractLaneS { .. } | O::I8x16ExtractLaneU { .. } | O::I8x16ReplaceLane { .. } => 3,
        O::I16x8ExtractLaneS { .. } | O::I16x8ExtractLaneU { .. } | O::I16x8ReplaceLane { .. } => 3,
        O::I32x4ExtractLane { .. } | O::I32x4ReplaceLane { .. } | O::I64x2ExtractLane { .. } => 3,
        O::I64x2ReplaceLane { .. } | O::F32x4ExtractLane { .. } | O::F32x4ReplaceLane { .. } => 3,
        O::F64x2ExtractLane { .. } | O::F64x2ReplaceLane { .. } => 3,
        O::V128Load8Lane { .. } | O::V128Load16Lane { .. } | O::V128Load32Lane { .. } | O::V128Load64Lane { .. } => 3,
        O::V128Store8Lane { .. } | O::V128Store16Lane { .. } | O::V128Store32Lane { .. } => 3,
        O::V128Store64Lane { .. } | O::I16x8Mul | O::I32x4Mul | O::I32x4DotI16x8S => 3,
        O::I16x8ExtMulLowI8x16S | O::I16x8ExtMulHighI8x16S | O::I16x8ExtMulLowI8x16U => 3,
        O::I16x8ExtMulHighI8x16U | O::I32x4ExtMulLowI16x8S | O::I32x4ExtMulHighI16x8S => 3,
        O::I32x4ExtMulLowI16x8U | O::I32x4ExtMulHighI16x8U | O::I64x2ExtMulLowI32x4S => 3,
        O::I64x2ExtMulHighI32x4S | O::I64x2ExtMulLowI32x4U | O::I64x2ExtMulHighI32x4U => 3,
        O::V128Load { .. } | O::V128Load8x8S { .. } | O::V128Load8x8U { .. } | O::V128Load16x4S { .. } => 1,
        O::V128Load16x4U { .. } | O::V128Load32x2S { .. } | O::V128Load32x2U { .. } => 1,
        O::V128Load8Splat { .. } | O::V128Load16Splat { .. } | O::V128Load32Splat { .. } => 1,
        O::V128Load64Splat { .. } | O::V128Load32Zero { .. } | O::V128Load64Zero { .. } => 1,
        _ if known(operator).2 => 2,
        _ => 1,
    }
}

fn has_length(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::MemoryCopy { .. }
            | Operator::MemoryFill { .. }
            | Operator::MemoryInit { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
    )
}

/// All that [`Module`] knows, so that it can be compared.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Known<'a> {
    types: Vec<FuncType>,
    imports: Vec<&'a str>,
    functions: Vec<u32>,
    tabled: Vec<u32>,
    exports: Vec<(&'a str, ExternalKind, u32)>,
    foreign: Option<&'a str>,
    starts: bool,
    globals: Vec<Global>,
    memory: Option<(MemoryType, bool)>,
    bodies: Vec<Range<usize>>,
    sections: Vec<(u8, Range<usize>)>,
}

impl<'a> From<Module<'a>> for Known<'a> {
    fn from(module: Module<'a>) -> Self {
        let Module { types, imports, functions, tabled, exports, foreign, .. } = module;
        let Module { starts, globals, memory, bodies, sections, .. } = module;
        let bodies = bodies.iter().map(FunctionBody::range).collect();
        Self { types, imports, functions, tabled, exports, foreign, starts, globals, memory, bodies, sections }
    }
}

impl<'a> Known<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, BinaryReaderError> {
        let mut known = Self::default();
        let mut parser = Parser::new(0);
        parser.set_features(features());
        for payload in parser.parse_all(bytes) {
            let payload = payload?;
            known.sections.extend(payload.as_section());
            known.payload(payload)?;
        }
        known.tabled.sort_unstable();
        known.tabled.dedup();
        // Those that there are.
        known.tabled.retain(|function| (*function as usize) < known.functions.len());
        Ok(known)
    }

    fn payload(&mut self, payload: Payload<'a>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section {
                    self.types.extend(group?.into_types().filter_map(|ty| match ty.composite_type.inner {
                        CompositeInnerType::Func(ty) => Some(ty),
                        _ => None,
                    }));
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    if import.module != NAMESPACE || !matches!(import.ty, TypeRef::Func(_)) {
                        self.foreign.get_or_insert(import.name);
                    }
                    match import.ty {
                        TypeRef::Func(ty) => {
                            self.imports.push(import.name);
                            self.functions.push(ty);
                        }
                        TypeRef::Global(ty) => {
                            self.globals.push(Global { ty: ty.content_type, mutable: ty.mutable, start: None });
                        }
                        TypeRef::Memory(ty) => drop(self.memory.get_or_insert((ty, true))),
                        _ => {}
                    }
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    self.functions.push(ty?);
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    let memory = memory?;
                    self.memory.get_or_insert((memory, false));
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    let global = global?;
                    let start = match global.init_expr.get_operators_reader().read()? {
                        Operator::I32Const { value } => Some(value.into()),
                        Operator::I64Const { value } => Some(value),
                        _ => None,
                    };
                    self.globals.push(Global { ty: global.ty.content_type, mutable: global.ty.mutable, start });
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    self.exports.push((export.name, export.kind, export.index));
                }
            }
            Payload::ElementSection(section) => {
                for segment in section {
                    match segment?.items {
                        ElementItems::Functions(items) => {
                            for function in items {
                                self.tabled.push(function?);
                            }
                        }
                        ElementItems::Expressions(..) => panic!("it may hold functions that nobody names"),
                    }
                }
            }
            Payload::StartSection { .. } => self.starts = true,
            Payload::CodeSectionEntry(body) => self.bodies.push(body.range()),
            _ => {}
        }
        Ok(())
    }
}
