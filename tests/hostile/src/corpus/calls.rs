//! Calls, by name and through tables.

use manyhands_abi as abi;
use wasm_encoder::{ExportKind, ValType};

use super::draft::{Draft, NO_LOCALS, UNIT, WIDE, code, drops, zeros};
use super::{Case, TOO_LONG, refused, sealed};

/// Most exports that are accepted, besides the memory and the job's own function.
const EXPORTS: usize = 9_998;

/// Most values that calls pass and get: in a function, and in all.
const PASSED: usize = 400_000;
const PASSED_ALL: usize = 4_000_000;

pub(super) const CASES: &[Case] = &[
    sealed("recursion through a table", |_| {
        let mut draft = Draft::new();
        let run = draft.run(&[], |to| {
            to.i32_const(0).call_indirect(0, UNIT);
        });
        draft.table(&vec![run; 10_000]);
        draft.finish()
    }),
    sealed("everybody calls everybody through a table", |bytes| {
        let mut draft = Draft::new();
        let calls = 100;
        let functions: Vec<u32> = (0..(bytes / 700).clamp(1, 9_999))
            .map(|number| {
                let ty = draft.ty(&[], &[]);
                draft.function(ty, &[], |to| {
                    (0..calls).for_each(|call| {
                        to.i32_const(call).call_indirect(0, (number as u32).div_ceil(2));
                    });
                })
            })
            .collect();
        draft.run(&[], |to| {
            to.i32_const(0).call_indirect(0, UNIT);
        });
        draft.table(&functions);
        draft.finish()
    }),
    sealed("everybody calls everybody by name", |bytes| {
        let mut draft = Draft::new();
        let count = (bytes / 3).isqrt() as u32;
        for _ in 0..count {
            draft.function(UNIT, &[], |to| {
                (0..count).for_each(|function| {
                    to.call(function);
                })
            });
        }
        draft.run(&[], |to| {
            to.call(0);
        });
        draft.finish()
    }),
    refused("a row of calls that is too long", "of stack; at most", |_| chain(49_000, 1)),
    refused("a long row of calls", TOO_LONG, |_| chain(2_000, 1)),
    sealed("rows of calls of small functions", |bytes| {
        let mut draft = Draft::new();
        let mut ends = Vec::new();
        for _ in 0..(bytes / 8 / 30).clamp(1, 6_000) {
            let first = draft.function(UNIT, &[], |to| {
                to.i32_const(1).drop();
            });
            for above in first..first + 7 {
                draft.function(UNIT, &[], |to| {
                    to.call(above).call(above).call(above);
                });
            }
            ends.push(first + 7);
        }
        draft.run(&[], |to| {
            ends.iter().for_each(|function| {
                to.call(*function);
            })
        });
        draft.finish()
    }),
    sealed("calls of one small function", |bytes| {
        let mut draft = Draft::new();
        let leaf = draft.function(UNIT, &[], |to| {
            to.i32_const(1).drop();
        });
        draft.giants(
            bytes,
            &[],
            &[],
            &code(|to| {
                to.call(leaf);
            }),
            &[],
        )
    }),
    sealed("calls of a function that pays for itself", |bytes| {
        let mut draft = Draft::new();
        let pays = draft.function(UNIT, &[(1, ValType::I32)], |to| {
            to.loop_(wasm_encoder::BlockType::Empty).local_get(0).br_if(0).end();
        });
        draft.giants(
            bytes,
            &[],
            &[],
            &code(|to| {
                to.call(pays);
            }),
            &[],
        )
    }),
    refused("wide calls", "values passed by calls; at most", |bytes| {
        let (draft, piece) = wide_call();
        draft.giants(bytes, &[], &zeros(WIDE - 1), &piece, &drops(WIDE - 1))
    }),
    sealed("as many wide calls as are accepted", |_| wide_calls(PASSED_ALL / PASSED)),
    refused("wide calls in too many functions", "values passed by calls; at most", |_| {
        wide_calls(PASSED_ALL / PASSED + 1)
    }),
    sealed("wide functions that are called by name and from outside", |bytes| {
        let mut draft = Draft::new();
        let wide = draft.wide(WIDE, WIDE);
        let count = (bytes / 60).clamp(1, 9_000) as u32;
        for number in 0..count {
            let function = draft.function(wide, &[], |to| {
                (0..WIDE as u32).for_each(|param| {
                    to.local_get(param);
                })
            });
            draft.exports.export(&number.to_string(), ExportKind::Func, function);
        }
        draft.run(&[], |to| {
            (0..WIDE).for_each(|_| {
                to.i64_const(0);
            });
            (0..count).for_each(|function| {
                to.call(function);
            });
            (0..WIDE).for_each(|_| {
                to.drop();
            });
        });
        draft.finish()
    }),
    sealed("functions that are called by name and from outside", |bytes| {
        let mut draft = Draft::new();
        let count = (bytes / 20).clamp(1, EXPORTS) as u32;
        let first = draft.next();
        for number in 0..count {
            let function = draft.function(UNIT, &[], |to| {
                to.i32_const(1).drop();
            });
            draft.exports.export(&format!("{number:x}"), ExportKind::Func, function);
        }
        draft.run(&[], |to| {
            (first..first + count).for_each(|function| {
                to.call(function);
            })
        });
        draft.finish()
    }),
    refused("calls of the runtime", TOO_LONG, |bytes| {
        let mut draft = Draft::new();
        let ty = draft.ty(&[ValType::I32, ValType::I32], &[]);
        let write = draft.import(abi::OUTPUT_WRITE, ty);
        draft.giants(
            bytes,
            &[],
            &[],
            &code(|to| {
                to.i32_const(0).i32_const(0).call(write);
            }),
            &[],
        )
    }),
];

/// A function that pays for itself and moves as many values as it may, and a call of it.
fn wide_call() -> (Draft, Vec<u8>) {
    let mut draft = Draft::new();
    let wide = draft.wide(WIDE - 1, WIDE - 1);
    let called = draft.function(wide, &[(1, ValType::I32)], |to| {
        to.loop_(wasm_encoder::BlockType::Empty).local_get(WIDE as u32 - 1).br_if(0).end();
        (0..WIDE as u32 - 1).for_each(|param| {
            to.local_get(param);
        });
    });
    let piece = code(|to| {
        to.call(called);
    });
    (draft, piece)
}

/// So many functions, each with as many wide calls as are accepted.
fn wide_calls(functions: usize) -> Vec<u8> {
    let (draft, piece) = wide_call();
    let calls = piece.repeat(PASSED / (2 * (WIDE - 1)));
    draft.copies(functions, &[NO_LOCALS, &zeros(WIDE - 1), &calls, &drops(WIDE - 1)].concat())
}

/// Functions of which each calls the one before.
fn chain(functions: usize, calls: usize) -> Vec<u8> {
    let mut draft = Draft::new();
    let mut last = draft.function(UNIT, &[], |to| {
        to.nop();
    });
    for _ in 0..functions {
        last = draft.function(UNIT, &[], |to| {
            (0..calls).for_each(|_| {
                to.call(last);
            })
        });
    }
    draft.run(&[], |to| {
        to.call(last);
    });
    draft.finish()
}
