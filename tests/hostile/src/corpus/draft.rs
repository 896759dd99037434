//! A module in the making.

use std::ops::Range;

use manyhands_abi as abi;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, CustomSection, DataCountSection, DataSection, ElementSection, Elements,
    EntityType, ExportKind, ExportSection, Function, FunctionSection, GlobalSection, GlobalType, ImportSection,
    InstructionSink, MemorySection, MemoryType, Module, RefType, Section as _, TableSection, TableType, TypeSection,
    ValType,
};

/// Longest body of a function that is accepted, with room for its head.
pub(crate) const BODY_BYTES: usize = (256 << 10) - 64;
/// Most results that are accepted.
pub(crate) const WIDE: usize = 20;
/// Most locals and values of blocks, times blocks and branches, that are accepted: in a function, and in all.
pub(crate) const SPREAD: usize = 5_000_000;
pub(crate) const SPREAD_ALL: usize = 15_000_000;
/// The type without parameters and results.
pub(crate) const UNIT: u32 = 0;
/// The instruction that opens a block without parameters and results.
pub(crate) const BLOCK: &[u8] = &[0x02, 0x40];
/// The instruction that ends a block.
pub(crate) const END: &[u8] = &[0x0b];
/// How a body begins that has no locals.
pub(crate) const NO_LOCALS: &[u8] = &[0];

pub(crate) struct Draft {
    pub(crate) types: TypeSection,
    pub(crate) imports: ImportSection,
    pub(crate) functions: FunctionSection,
    pub(crate) tables: TableSection,
    pub(crate) globals: GlobalSection,
    pub(crate) exports: ExportSection,
    pub(crate) elements: ElementSection,
    pub(crate) code: CodeSection,
    pub(crate) data: DataSection,
    pub(crate) pages: u64,
    pub(crate) memory_bytes: u64,
}

impl Draft {
    pub(crate) fn new() -> Self {
        let mut types = TypeSection::new();
        types.ty().function([], []);
        let mut exports = ExportSection::new();
        exports.export(abi::MEMORY, ExportKind::Memory, 0);
        Self {
            types,
            exports,
            imports: ImportSection::new(),
            functions: FunctionSection::new(),
            tables: TableSection::new(),
            globals: GlobalSection::new(),
            elements: ElementSection::new(),
            code: CodeSection::new(),
            data: DataSection::new(),
            pages: 1,
            memory_bytes: 64 << 20,
        }
    }

    pub(crate) fn ty(&mut self, params: &[ValType], results: &[ValType]) -> u32 {
        self.types.ty().function(params.iter().copied(), results.iter().copied());
        self.types.len() - 1
    }

    /// A type with so many `i64` as parameters and as results.
    pub(crate) fn wide(&mut self, params: usize, results: usize) -> u32 {
        self.ty(&vec![ValType::I64; params], &vec![ValType::I64; results])
    }

    /// What opens a block that leaves as many values as there may be.
    pub(crate) fn open_wide(&mut self) -> Vec<u8> {
        let wide = self.wide(0, WIDE);
        code(|to| {
            to.block(BlockType::FunctionType(wide));
        })
    }

    pub(crate) fn import(&mut self, name: &str, ty: u32) -> u32 {
        self.imports.import(abi::NAMESPACE, name, EntityType::Function(ty));
        self.imports.len() - 1
    }

    /// The index of the function that is added next.
    pub(crate) fn next(&self) -> u32 {
        self.imports.len() + self.functions.len()
    }

    pub(crate) fn function(
        &mut self,
        ty: u32,
        locals: &[(u32, ValType)],
        code: impl FnOnce(&mut InstructionSink<'_>),
    ) -> u32 {
        let mut function = Function::new(locals.iter().copied());
        code(&mut function.instructions());
        function.instructions().end();
        self.functions.function(ty);
        self.code.function(&function);
        self.next() - 1
    }

    /// A function whose locals and code, without its last `end`, are these bytes.
    pub(crate) fn raw(&mut self, ty: u32, body: &[u8]) -> u32 {
        self.functions.function(ty);
        self.code.raw(&[body, END].concat());
        self.next() - 1
    }

    /// The job's own function.
    pub(crate) fn run(&mut self, locals: &[(u32, ValType)], code: impl FnOnce(&mut InstructionSink<'_>)) -> u32 {
        let run = self.function(UNIT, locals, code);
        self.exports.export(abi::RUN, ExportKind::Func, run);
        run
    }

    /// Functions that repeat a piece of code until each is as long as it may be and all are as long as `bytes`; all are called.
    pub(crate) fn giants(
        mut self,
        bytes: usize,
        locals: &[(u32, ValType)],
        before: &[u8],
        piece: &[u8],
        after: &[u8],
    ) -> Vec<u8> {
        let heads: Vec<u8> =
            locals.iter().flat_map(|(count, ty)| [leb(u64::from(*count)), vec![byte(*ty)]].concat()).collect();
        let first = self.next();
        for _ in 0..bytes.div_ceil(BODY_BYTES).max(1) {
            let room = BODY_BYTES.min(bytes.max(4096)) - heads.len() - before.len() - after.len();
            let body =
                [&leb(locals.len() as u64)[..], &heads, before, &piece.repeat(room / piece.len()), after].concat();
            self.raw(UNIT, &body);
        }
        let last = self.next();
        self.run_all(first..last);
        self.finish()
    }

    /// So many functions with these locals and code; all are called.
    pub(crate) fn copies(mut self, count: usize, body: &[u8]) -> Vec<u8> {
        let first = self.next();
        for _ in 0..count {
            self.raw(UNIT, body);
        }
        let last = self.next();
        self.run_all(first..last);
        self.finish()
    }

    /// The job's own function, which calls these.
    fn run_all(&mut self, functions: Range<u32>) {
        self.run(&[], |to| {
            functions.for_each(|function| {
                to.call(function);
            })
        });
    }

    pub(crate) fn table(&mut self, functions: &[u32]) {
        self.tables.table(TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: functions.len() as u64,
            maximum: None,
            shared: false,
        });
        self.elements.active(None, &ConstExpr::i32_const(0), Elements::Functions(functions.into()));
    }

    pub(crate) fn global(&mut self) -> u32 {
        self.globals
            .global(GlobalType { val_type: ValType::I64, mutable: true, shared: false }, &ConstExpr::i64_const(0));
        self.globals.len() - 1
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let mut module = Module::new();
        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: self.pages,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        module.section(&self.types);
        if !self.imports.is_empty() {
            module.section(&self.imports);
        }
        module.section(&self.functions);
        if !self.tables.is_empty() {
            module.section(&self.tables);
        }
        module.section(&memories);
        if !self.globals.is_empty() {
            module.section(&self.globals);
        }
        module.section(&self.exports);
        if !self.elements.is_empty() {
            module.section(&self.elements);
        }
        if !self.data.is_empty() {
            module.section(&DataCountSection { count: self.data.len() });
        }
        module.section(&self.code);
        if !self.data.is_empty() {
            module.section(&self.data);
        }
        let mut bytes = module.finish();
        manifest(self.memory_bytes, &mut bytes);
        bytes
    }
}

/// Adds the manifest of a job that may have so much memory.
pub(crate) fn manifest(memory_bytes: u64, module: &mut Vec<u8>) {
    let text = format!(
        r#"{{"name":"hostile","version":"1.0.0","abi":{},"codec":"raw","limits":{{"memory_bytes":{memory_bytes}}}}}"#,
        abi::VERSION
    );
    CustomSection { name: abi::MANIFEST_SECTION.into(), data: text.as_bytes().into() }.append_to(module);
}

/// An unsigned number.
pub(crate) fn leb(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A section with this id.
pub(crate) fn section(id: u8, data: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(data.len() as u64), data].concat()
}

/// Instructions as bytes.
pub(crate) fn code(write: impl FnOnce(&mut InstructionSink<'_>)) -> Vec<u8> {
    let mut function = Function::new_with_locals_types([]);
    write(&mut function.instructions());
    // Its first byte says that there are no locals.
    function.into_raw_body()[1..].to_vec()
}

/// So many numbers, of type `i64`.
pub(crate) fn zeros(count: usize) -> Vec<u8> {
    [0x42, 0].repeat(count)
}

/// What drops so many values.
pub(crate) fn drops(count: usize) -> Vec<u8> {
    [0x1a].repeat(count)
}

fn byte(ty: ValType) -> u8 {
    match ty {
        ValType::I32 => 0x7f,
        ValType::I64 => 0x7e,
        ValType::F32 => 0x7d,
        ValType::F64 => 0x7c,
        _ => 0x7b,
    }
}
