//! A module as verifier and sealer see it.

use std::ops::Range;

use manyhands_abi::NAMESPACE;
use wasmparser::{
    BinaryReaderError, CompositeInnerType, ElementItems, ExternalKind, FuncType, FunctionBody, MemoryType, Operator,
    Parser, Payload, TypeRef, ValType,
};

/// A global.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Global {
    /// Its type.
    pub ty: ValType,
    /// Whether it can be written to.
    pub mutable: bool,
    /// What it starts with, if that is an integer constant.
    pub start: Option<i64>,
}

/// What is known of a module without looking into its functions.
#[derive(Default)]
pub struct Module<'a> {
    /// Function types; `None` for others.
    pub types: Vec<Option<FuncType>>,
    /// Names of imported functions.
    pub imports: Vec<&'a str>,
    /// Type of each function, imports first.
    pub functions: Vec<u32>,
    /// Functions in element segments, in order and each once: what `call_indirect` may reach.
    pub tabled: Vec<u32>,
    /// Exports: name, kind, index.
    pub exports: Vec<(&'a str, ExternalKind, u32)>,
    /// The first import that is no function of the runtime's.
    pub foreign: Option<&'a str>,
    /// Whether it has a start function.
    pub starts: bool,
    /// Globals, imports first.
    pub globals: Vec<Global>,
    /// The first memory, and whether it is imported.
    pub memory: Option<(MemoryType, bool)>,
    /// Bodies of the functions that are not imported.
    pub bodies: Vec<FunctionBody<'a>>,
    /// Every section: its id and where its contents are.
    pub sections: Vec<(u8, Range<usize>)>,
}

impl<'a> Module<'a> {
    /// Reads a module, without validating it.
    ///
    /// # Errors
    /// Those of the parser.
    pub fn read(bytes: &'a [u8]) -> Result<Self, BinaryReaderError> {
        let mut module = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            if let Some(section) = payload.as_section() {
                module.sections.push(section);
            }
            module.payload(payload)?;
        }
        module.tabled.sort_unstable();
        module.tabled.dedup();
        Ok(module)
    }

    fn payload(&mut self, payload: Payload<'a>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section {
                    self.types.extend(group?.into_types().map(|ty| match ty.composite_type.inner {
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
                        ElementItems::Expressions(_, items) => {
                            for expression in items {
                                if let Operator::RefFunc { function_index } =
                                    expression?.get_operators_reader().read()?
                                {
                                    self.tabled.push(function_index);
                                }
                            }
                        }
                    }
                }
            }
            Payload::StartSection { .. } => self.starts = true,
            Payload::CodeSectionEntry(body) => self.bodies.push(body),
            _ => {}
        }
        Ok(())
    }

    /// How many functions are imported.
    pub fn imported(&self) -> u32 {
        self.imports.len() as u32
    }

    /// The type of a function.
    pub fn type_of(&self, function: u32) -> Option<&FuncType> {
        self.type_at(*self.functions.get(function as usize)?)
    }

    /// A function type.
    pub fn type_at(&self, ty: u32) -> Option<&FuncType> {
        self.types.get(ty as usize)?.as_ref()
    }

    /// The index of an export of this kind.
    pub fn export(&self, name: &str, kind: ExternalKind) -> Option<u32> {
        self.exports.iter().find(|(export, its, _)| *export == name && *its == kind).map(|(_, _, index)| *index)
    }

    /// Functions that can be called otherwise than by name: from outside, or through a table. A function may come several times.
    pub fn entries(&self) -> impl Iterator<Item = u32> + '_ {
        let exported =
            self.exports.iter().filter(|(_, kind, _)| *kind == ExternalKind::Func).map(|(_, _, index)| *index);
        exported.chain(self.tabled.iter().copied())
    }

    /// For each function, whether it is one of [`Module::entries`].
    pub fn is_entry(&self) -> Vec<bool> {
        let mut is_entry = vec![false; self.functions.len()];
        for function in self.entries() {
            if let Some(is_entry) = is_entry.get_mut(function as usize) {
                *is_entry = true;
            }
        }
        is_entry
    }
}
