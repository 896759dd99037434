//! Too much of something, or just not too much.

use manyhands_abi as abi;
use wasm_encoder::{Elements, ExportKind, ValType};

use super::draft::{BODY_BYTES, Draft, UNIT, code, leb};
use super::{Case, refused, sealed};

pub(super) const CASES: &[Case] = &[
    sealed("many small functions", |bytes| small_functions((bytes / 6).min(49_999))),
    refused("too many functions", "functions; at most", |_| small_functions(50_000)),
    sealed("giant functions", |bytes| {
        let add = code(|to| {
            to.local_get(0).i32_const(1).i32_add().local_set(0);
        });
        Draft::new().giants(bytes, &[(1, ValType::I32)], &[], &add, &[])
    }),
    refused("a function that is too long", "bytes; at most", |bytes| {
        let mut draft = Draft::new();
        draft.run(&[], |to| {
            (0..bytes.max(BODY_BYTES + 64)).for_each(|_| {
                to.nop();
            })
        });
        draft.finish()
    }),
    refused("50,000 locals", "locals; at most", |_| locals(1, 50_000)),
    sealed("a thousand locals in every function", |bytes| locals((bytes / 12).clamp(1, 49_999), 1_000)),
    refused("four billion locals", "too many locals", |_| {
        let mut draft = Draft::new();
        let groups: Vec<u8> = (0..16).flat_map(|_| [leb(u32::MAX.into()), vec![0x7e]].concat()).collect();
        let run = draft.raw(UNIT, &[&leb(16)[..], &groups].concat());
        draft.exports.export(abi::RUN, ExportKind::Func, run);
        draft.finish()
    }),
    sealed("groups of no locals", |bytes| {
        let mut draft = Draft::new();
        let groups = (BODY_BYTES / 2).min(bytes / 2);
        let body = [leb(groups as u64), [0, 0x7e].repeat(groups)].concat();
        for _ in 0..bytes.div_ceil(BODY_BYTES) {
            draft.raw(UNIT, &body);
        }
        draft.run(&[], |_| ());
        draft.finish()
    }),
    sealed("types with a hundred parameters", |bytes| {
        let mut draft = Draft::new();
        for number in 0..(bytes / 370).clamp(1, 49_999) {
            // Each is another one.
            let types: Vec<ValType> =
                (0..100).map(|bit| if number >> (bit % 20) & 1 == 0 { ValType::I32 } else { ValType::I64 }).collect();
            let ty = draft.ty(&types, &types[..20]);
            draft.function(ty, &[], |to| {
                (0..20).for_each(|param| {
                    to.local_get(param);
                })
            });
        }
        draft.run(&[], |_| ());
        draft.finish()
    }),
    refused("too many types", "types; at most", |_| {
        let mut draft = Draft::new();
        (0..50_000).for_each(|_| {
            draft.ty(&[], &[]);
        });
        draft.run(&[], |_| ());
        draft.finish()
    }),
    refused("too many parameters", "parameters; at most", |_| {
        let mut draft = Draft::new();
        draft.wide(1_000, 0);
        draft.run(&[], |_| ());
        draft.finish()
    }),
    refused("too many results", "results; at most", |_| {
        let mut draft = Draft::new();
        draft.wide(0, 1_000);
        draft.run(&[], |_| ());
        draft.finish()
    }),
    sealed("ten thousand exports", |_| exports(10_000)),
    refused("too many exports", "exports; at most", |bytes| exports((bytes / 8).max(60_000))),
    refused("too many imports", "imports; at most", |bytes| {
        let mut draft = Draft::new();
        let ty = draft.ty(&[ValType::I32], &[]);
        for _ in 0..(bytes / 25).max(60_000) {
            draft.import(abi::PROGRESS, ty);
        }
        draft.run(&[], |_| ());
        draft.finish()
    }),
    sealed("a thousand globals", |_| globals(1_000)),
    refused("too many globals", "globals; at most", |_| globals(1_001)),
    refused("too many table elements", "table elements; at most", |_| {
        let mut draft = Draft::new();
        let run = draft.run(&[], |_| ());
        draft.table(&vec![run; 10_001]);
        draft.finish()
    }),
    refused("too many element segments", "element segments; at most", |bytes| {
        let mut draft = Draft::new();
        draft.run(&[], |_| ());
        for _ in 0..(bytes / 3).max(60_000) {
            draft.elements.passive(Elements::Functions([].as_slice().into()));
        }
        draft.finish()
    }),
    sealed("long element segments", |_| elements(100_000)),
    refused("too many elements of segments", "elements of segments; at most", |_| elements(100_001)),
    refused("too many data segments", "data segments; at most", |_| {
        let mut draft = Draft::new();
        draft.run(&[], |_| ());
        (0..10_001).for_each(|_| {
            draft.data.passive([]);
        });
        draft.finish()
    }),
];

/// In segments of ten thousand.
fn elements(mut count: usize) -> Vec<u8> {
    let mut draft = Draft::new();
    let run = draft.run(&[], |_| ());
    while count > 0 {
        let there = count.min(10_000);
        draft.elements.passive(Elements::Functions(vec![run; there].into()));
        count -= there;
    }
    draft.finish()
}

fn small_functions(count: usize) -> Vec<u8> {
    let mut draft = Draft::new();
    let ty = draft.ty(&[], &[ValType::I32]);
    (0..count).for_each(|_| {
        draft.function(ty, &[], |to| {
            to.i32_const(7);
        });
    });
    draft.run(&[], |_| ());
    draft.finish()
}

fn locals(functions: usize, count: u32) -> Vec<u8> {
    let mut draft = Draft::new();
    (0..functions).for_each(|_| {
        draft.function(UNIT, &[(count, ValType::I64)], |to| {
            to.nop();
        });
    });
    draft.run(&[], |_| ());
    draft.finish()
}

fn globals(count: usize) -> Vec<u8> {
    let mut draft = Draft::new();
    (0..count).for_each(|_| {
        draft.global();
    });
    draft.run(&[], |_| ());
    draft.finish()
}

fn exports(count: usize) -> Vec<u8> {
    let mut draft = Draft::new();
    let run = draft.run(&[], |_| ());
    // The memory and the job's own function are two.
    for number in 2..count {
        draft.exports.export(&format!("{number:x}"), ExportKind::Func, run);
    }
    draft.finish()
}
