//! A module as verifier and sealer see it.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use manyhands_abi::NAMESPACE;
use wasmparser::{BinaryReader, ExternalKind, FuncType, FunctionBody, MemoryType, ValType};

use crate::reader::{Malformed, Reader};

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
    /// Function types.
    pub types: Vec<FuncType>,
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
    /// Reads a module, without validating it. Nothing is read otherwise than any engine reads it: what jobs must not
    /// use is refused wherever it would change what follows.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut module = Self::default();
        let mut reader = Reader::new(bytes, 0);
        if reader.take(8)? != b"\0asm\x01\0\0\0" {
            return Reader::new(bytes, 0).fail("not a WebAssembly module of version 1");
        }
        while !reader.is_at_end() {
            let id = reader.u8()?;
            let mut section = reader.part()?;
            module.sections.push((id, section.offset()..reader.offset()));
            module.section(id, &mut section)?;
        }
        let mut is_tabled = vec![false; module.functions.len()];
        for function in &module.tabled {
            if let Some(is_tabled) = is_tabled.get_mut(*function as usize) {
                *is_tabled = true;
            }
        }
        module.tabled =
            (0..).zip(is_tabled).filter_map(|(function, is_tabled)| is_tabled.then_some(function)).collect();
        Ok(module)
    }

    fn section(&mut self, id: u8, section: &mut Reader<'a>) -> Result<(), Malformed> {
        match id {
            1 => self.types.append(&mut section.list(Reader::function_type)?),
            2 => {
                for _ in 0..section.u32()? {
                    self.import(section)?;
                }
            }
            3 => self.functions.append(&mut section.list(Reader::u32)?),
            // Later versions have tables that begin with functions, which could be called then; these are not read.
            4 => drop(section.list(table_type)?),
            5 => {
                for memory in section.list(memory_type)? {
                    self.memory.get_or_insert((memory, false));
                }
            }
            6 => self.globals.append(&mut section.list(|section| {
                let (ty, mutable) = global_type(section)?;
                Ok(Global { ty, mutable, start: constant(section)? })
            })?),
            7 => self.exports.append(&mut section.list(|section| {
                let name = section.name()?;
                let kind = match section.u8()? {
                    0 => ExternalKind::Func,
                    1 => ExternalKind::Table,
                    2 => ExternalKind::Memory,
                    3 => ExternalKind::Global,
                    _ => return section.fail("an export of what jobs must not have"),
                };
                Ok((name, kind, section.u32()?))
            })?),
            8 => {
                self.starts = true;
                section.u32()?;
            }
            9 => {
                for _ in 0..section.u32()? {
                    self.elements(section)?;
                }
            }
            10 => self.bodies.append(&mut section.list(|section| {
                let body = section.part()?;
                Ok(FunctionBody::new(BinaryReader::new(body.rest(), body.offset())))
            })?),
            // Data, and what people add, say nothing about work.
            0 | 11 | 12 => return Ok(()),
            _ => return section.fail("a section that jobs must not have"),
        }
        section.end()
    }

    fn import(&mut self, section: &mut Reader<'a>) -> Result<(), Malformed> {
        let (space, name) = (section.name()?, section.name()?);
        let kind = section.u8()?;
        if space != NAMESPACE || kind != 0 {
            self.foreign.get_or_insert(name);
        }
        match kind {
            0 => {
                self.imports.push(name);
                self.functions.push(section.u32()?);
            }
            1 => table_type(section)?,
            2 => {
                let memory = memory_type(section)?;
                self.memory.get_or_insert((memory, true));
            }
            3 => {
                let (ty, mutable) = global_type(section)?;
                self.globals.push(Global { ty, mutable, start: None });
            }
            _ => return section.fail("an import of what jobs must not have"),
        }
        Ok(())
    }

    /// One segment. Two bits say whether it is not put into a table by itself, and whether it says into which or of what
    /// kind it is. A third would say that it has expressions, of which not all name the function that they come to.
    fn elements(&mut self, section: &mut Reader<'a>) -> Result<(), Malformed> {
        let flags = section.u32()?;
        if flags > 3 {
            return section.fail("a segment that jobs must not have");
        }
        let (passive, explicit) = (flags & 1 != 0, flags & 2 != 0);
        if !passive {
            if explicit {
                section.u32()?;
            }
            constant(section)?;
        }
        if (passive || explicit) && section.u8()? != 0 {
            return section.fail("a segment that jobs must not have");
        }
        self.tabled.append(&mut section.list(Reader::u32)?);
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
        self.types.get(ty as usize)
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

/// What a constant expression comes to, if that is an integer and stands there. One instruction and its `end`: sums of
/// constants are for later versions of WebAssembly.
fn constant(section: &mut Reader<'_>) -> Result<Option<i64>, Malformed> {
    let mut integer = None;
    match section.u8()? {
        0x41 => integer = Some(section.i32()?.into()),
        0x42 => integer = Some(section.i64()?),
        // global.get
        0x23 => drop(section.u32()?),
        // f32.const, f64.const, v128.const
        0x43 => drop(section.take(4)?),
        0x44 => drop(section.take(8)?),
        0xfd if section.u32()? == 0x0c => drop(section.take(16)?),
        _ => return section.fail("a constant that jobs must not use"),
    }
    if section.u8()? == 0x0b { Ok(integer) } else { section.fail("a constant that is more than one") }
}

fn global_type(section: &mut Reader<'_>) -> Result<(ValType, bool), Malformed> {
    let ty = section.value_type()?;
    match section.u8()? {
        mutable @ (0 | 1) => Ok((ty, mutable == 1)),
        _ => section.fail("a global that jobs must not have"),
    }
}

fn table_type(section: &mut Reader<'_>) -> Result<(), Malformed> {
    // funcref
    if section.u8()? != 0x70 {
        return section.fail("a type that jobs must not use");
    }
    limits(section).map(drop)
}

fn memory_type(section: &mut Reader<'_>) -> Result<MemoryType, Malformed> {
    let (initial, maximum) = limits(section)?;
    Ok(MemoryType { memory64: false, shared: false, initial, maximum, page_size_log2: None })
}

fn limits(section: &mut Reader<'_>) -> Result<(u64, Option<u64>), Malformed> {
    let has_maximum = match section.u8()? {
        // Other bits stand for shared and 64-bit memories.
        flag @ (0 | 1) => flag == 1,
        _ => return section.fail("a memory or table that jobs must not have"),
    };
    let initial = section.u32()?.into();
    Ok((initial, if has_maximum { Some(section.u32()?.into()) } else { None }))
}
