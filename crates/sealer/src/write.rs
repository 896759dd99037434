//! Writes a module again, with something added.
//!
//! What nobody changes is copied byte for byte, and what is added comes last in its section, so that no index moves.

use std::ops::Range;

use wasm_encoder::{Encode as _, Instruction, ValType};
use wasmparser::FunctionBody;

use crate::GROWTH_MAX;
use crate::refusal::{Place, Refusal};

/// Sections by the order in which they must stand.
const ORDER: [u8; 12] = [TYPES, 2, FUNCTIONS, 4, MEMORY, GLOBALS, EXPORTS, 8, 9, 12, CODE, 11];
const TYPES: u8 = 1;
const FUNCTIONS: u8 = 3;
const MEMORY: u8 = 5;
const GLOBALS: u8 = 6;
const EXPORTS: u8 = 7;
const CODE: u8 = 10;

/// Items for the end of a section.
#[derive(Default)]
pub(crate) struct Items {
    count: u32,
    bytes: Vec<u8>,
}

impl Items {
    pub(crate) fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.count += 1;
        write(&mut self.bytes);
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// In bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// What is added to a module.
#[derive(Default)]
pub(crate) struct Additions {
    pub(crate) types: Items,
    pub(crate) functions: Items,
    pub(crate) globals: Items,
    pub(crate) exports: Items,
    /// All types of functions that are defined, if they are others now.
    pub(crate) all_functions: Option<Items>,
    /// All of the memory section's items, if they are others now.
    pub(crate) memory: Option<Items>,
    /// All bodies, with their lengths.
    pub(crate) code: Items,
}

impl Additions {
    /// Volunteers download and compile what is written, so nobody makes much of little.
    pub(crate) fn not_too_long(&self, most: usize) -> Result<(), Refusal> {
        if self.code.bytes.len() <= most {
            return Ok(());
        }
        let reason = format!("sealed, it would be more than {GROWTH_MAX} times as long; real code grows by a quarter");
        Err(Refusal::new(Place::Module, reason, "this looks like code that nobody needs; if it is real, report it"))
    }

    /// The module with its additions.
    pub(crate) fn write(self, module: &[u8], sections: &[(u8, Range<usize>)]) -> Result<Vec<u8>, Refusal> {
        let mut out = Vec::with_capacity(module.len() * 5 / 4);
        out.extend_from_slice(b"\0asm\x01\0\0\0");
        let mut pending: Vec<(u8, &Items)> = vec![
            (TYPES, &self.types),
            (FUNCTIONS, &self.functions),
            (GLOBALS, &self.globals),
            (EXPORTS, &self.exports),
        ];
        let rank = |id: u8| ORDER.iter().position(|other| *other == id);
        for (id, range) in sections {
            // New sections stand before those that must come after them.
            pending.retain(|(new, items)| {
                let now = rank(*id).is_some_and(|rank_of| rank(*new) < Some(rank_of));
                if now && items.count > 0 {
                    append(*new, 0, &[], items, &mut out);
                }
                !now
            });
            let added = pending.iter().position(|(new, _)| new == id).map(|at| pending.remove(at).1);
            match (*id, &self.memory, added) {
                (CODE, ..) => append(CODE, 0, &[], &self.code, &mut out),
                (MEMORY, Some(memory), _) => append(MEMORY, 0, &[], memory, &mut out),
                (FUNCTIONS, ..) if self.all_functions.is_some() => {
                    self.all_functions.iter().for_each(|functions| append(FUNCTIONS, 0, &[], functions, &mut out));
                }
                (_, _, Some(items)) if items.count > 0 => {
                    let mut reader = wasmparser::BinaryReader::new(&module[range.clone()], range.start);
                    let count = reader.read_var_u32().map_err(|error| Refusal::invalid(&error))?;
                    let rest = &module[reader.original_position()..range.end];
                    append(*id, count, rest, items, &mut out);
                }
                _ => encode(*id, &module[range.clone()], &mut out),
            }
        }
        for (id, items) in pending {
            if items.count > 0 {
                append(id, 0, &[], items, &mut out);
            }
        }
        Ok(out)
    }
}

fn append(id: u8, count: u32, before: &[u8], items: &Items, out: &mut Vec<u8>) {
    let mut counted = Vec::new();
    (count + items.count).encode(&mut counted);
    out.push(id);
    (counted.len() + before.len() + items.bytes.len()).encode(out);
    for part in [&counted, before, &items.bytes] {
        out.extend_from_slice(part);
    }
}

fn encode(id: u8, data: &[u8], out: &mut Vec<u8>) {
    out.push(id);
    data.encode(out);
}

/// A function's body, written again with something between its instructions.
pub(crate) struct Splice<'a> {
    module: &'a [u8],
    copied: usize,
    end: usize,
    out: Vec<u8>,
}

impl<'a> Splice<'a> {
    /// Its locals, and more of them; nothing of its code yet.
    pub(crate) fn locals(module: &'a [u8], body: &FunctionBody<'_>, more: &[ValType]) -> Result<Self, Refusal> {
        let invalid = |error: wasmparser::BinaryReaderError| Refusal::invalid(&error);
        let range = body.range();
        let mut groups = body.get_binary_reader();
        let count = groups.read_var_u32().map_err(invalid)?;
        let first = groups.original_position();
        let code = body.get_operators_reader().map_err(invalid)?.original_position();
        let mut out = Vec::with_capacity(range.len() * 5 / 4);
        (count + more.len() as u32).encode(&mut out);
        out.extend_from_slice(&module[first..code]);
        for ty in more {
            1_u32.encode(&mut out);
            ty.encode(&mut out);
        }
        Ok(Self { module, copied: code, end: range.end, out })
    }

    /// Copies everything before this byte of the module.
    pub(crate) fn copy_to(&mut self, offset: usize) {
        self.out.extend_from_slice(&self.module[self.copied..offset]);
        self.copied = offset;
    }

    /// Copies the rest.
    pub(crate) fn copy_to_end(&mut self) {
        self.copy_to(self.end);
    }

    /// Leaves out everything before this byte.
    pub(crate) fn skip_to(&mut self, offset: usize) {
        self.copied = offset;
    }

    pub(crate) fn put(&mut self, instructions: &[Instruction<'_>]) {
        instructions.iter().for_each(|instruction| instruction.encode(&mut self.out));
    }

    /// The body with its length.
    pub(crate) fn finish(mut self, code: &mut Items) {
        self.copy_to_end();
        code.add(|bytes| self.out.as_slice().encode(bytes));
    }
}
