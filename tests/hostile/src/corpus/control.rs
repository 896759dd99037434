//! Blocks and branches.

use wasm_encoder::{BlockType, ValType};

use super::draft::{BLOCK, BODY_BYTES, Draft, END, NO_LOCALS, SPREAD, SPREAD_ALL, UNIT, WIDE, code, drops, zeros};
use super::{Case, TOO_LONG, refused, sealed};

/// Deepest nesting that is accepted.
const DEEP: usize = 1_100;
/// Deepest nesting whose every block is left for all those around it within one function.
const CROSSED: usize = 250;
/// Most targets of a table of branches.
const TARGETS: usize = 10_000;
const I32: &[(u32, ValType)] = &[(1, ValType::I32)];

pub(super) const CASES: &[Case] = &[
    sealed("deep blocks", |bytes| deep(bytes, BLOCK, END)),
    refused("deep loops", TOO_LONG, |bytes| {
        let open = code(|to| {
            to.loop_(BlockType::Empty);
        });
        deep(bytes, &open, END)
    }),
    sealed("deep ifs", |bytes| deep(bytes, &open_if(), END)),
    sealed("deep ifs with two arms", |bytes| {
        let close = code(|to| {
            to.else_().local_get(0).drop().end();
        });
        deep(bytes, &open_if(), &close)
    }),
    refused("blocks that are too deep", "nested blocks; at most", |bytes| {
        let over = DEEP + 1;
        Draft::new().giants(bytes, &[], &[], &[BLOCK.repeat(over), END.repeat(over)].concat(), &[])
    }),
    refused("blocks that are far too deep", "nested blocks; at most", |_| {
        let far = 50_000;
        Draft::new().giants(200_000, &[], &[], &[BLOCK.repeat(far), END.repeat(far)].concat(), &[])
    }),
    refused("loops, one after the other", TOO_LONG, |bytes| {
        Draft::new().giants(
            bytes,
            &[],
            &[],
            &code(|to| {
                to.loop_(BlockType::Empty).end();
            }),
            &[],
        )
    }),
    sealed("loops that are left for everywhere", |bytes| {
        // A piece is about twice the square of its depth long.
        let crossed = CROSSED.min((bytes / 3).isqrt());
        let open = code(|to| {
            for depth in 0..crossed as u32 {
                to.loop_(BlockType::Empty);
                (0..=depth).for_each(|out| {
                    to.local_get(0).br_if(out);
                });
            }
        });
        Draft::new().giants(bytes, I32, &[], &[open, END.repeat(crossed)].concat(), &[])
    }),
    sealed("branches with dear code between", |bytes| Draft::new().giants(bytes, I64_I32, BLOCK, &dear_branch(), END)),
    sealed("branches to many labels with dear code between", |bytes| {
        let piece: Vec<u8> = (0..200).flat_map(dear_branch_to).collect();
        Draft::new().giants(bytes, I64_I32, &BLOCK.repeat(200), &piece, &END.repeat(200))
    }),
    sealed("dear branches, then tables of branches", |bytes| {
        // Half of the body makes places to charge at, half goes through all of them.
        let before = [BLOCK.repeat(2), until_half_full(bytes, &dear_branch_to(1))].concat();
        let piece = code(|to| {
            to.block(BlockType::Empty).local_get(1).br_table(vec![0; 1_000], 0).end();
        });
        Draft::new().giants(bytes, I64_I32, &before, &piece, &END.repeat(2))
    }),
    sealed("dear branches, then ifs", |bytes| {
        let before = [BLOCK.to_vec(), until_half_full(bytes, &dear_branch())].concat();
        let piece = code(|to| {
            to.local_get(1).if_(BlockType::Empty).else_().end();
        });
        Draft::new().giants(bytes, I64_I32, &before, &piece, END)
    }),
    sealed("giant tables of branches", |bytes| Draft::new().giants(bytes, I32, &[], &table(TARGETS), &[])),
    refused("tables of branches that are too long", "branch targets; at most", |_| {
        Draft::new().giants(0x10000, I32, &[], &table(TARGETS + 1), &[])
    }),
    sealed("tables of branches to deep labels", |bytes| {
        let jump = code(|to| {
            to.local_get(0).br_table((0..TARGETS).map(|target| (target % DEEP) as u32).collect::<Vec<_>>(), 0);
        });
        Draft::new().giants(bytes, I32, &[], &[BLOCK.repeat(DEEP), jump, END.repeat(DEEP)].concat(), &[])
    }),
    sealed("wide tables of branches", |bytes| {
        let mut draft = Draft::new();
        let open = draft.open_wide();
        let jump = code(|to| {
            to.local_get(0).br_table(vec![0; TARGETS], 0).end();
        });
        draft.giants(bytes, I32, &[], &[open, zeros(WIDE), jump, drops(WIDE)].concat(), &[])
    }),
    refused("wide blocks", "their product may be at most", |bytes| {
        let mut draft = Draft::new();
        let piece = wide_block(&mut draft);
        draft.giants(bytes, &[], &zeros(WIDE), &piece, &drops(WIDE))
    }),
    sealed("as many wide blocks as are accepted", |_| {
        let mut draft = Draft::new();
        let piece = wide_block(&mut draft);
        // Each has twice as many values as it takes.
        let blocks = (SPREAD / (2 * WIDE)).isqrt() - 1;
        draft.copies(SPREAD_ALL / SPREAD, &[NO_LOCALS, &zeros(WIDE), &piece.repeat(blocks), &drops(WIDE)].concat())
    }),
    sealed("as many blocks that give a value as are accepted", |_| {
        let piece = code(|to| {
            to.block(BlockType::Result(ValType::I64)).i64_const(0).end().drop();
        });
        Draft::new().copies(SPREAD_ALL / SPREAD, &[NO_LOCALS, &piece.repeat(SPREAD.isqrt() - 1)].concat())
    }),
    sealed("as many loops that pass a value on as are accepted", |_| {
        let mut draft = Draft::new();
        let on = BlockType::FunctionType(draft.wide(1, 1));
        let piece = code(|to| {
            to.loop_(on).i64_const(1).i64_add().local_get(0).br_if(0).end();
        });
        // Two values, a loop and a branch.
        let loops = SPREAD.isqrt() / 2 - 1;
        draft.copies(SPREAD_ALL / SPREAD, &[&[1, 1, 0x7f], &zeros(1)[..], &piece.repeat(loops), &drops(1)].concat())
    }),
    sealed("wide branches", |bytes| {
        let mut draft = Draft::new();
        let before = [draft.open_wide(), zeros(WIDE)].concat();
        let piece = code(|to| {
            to.local_get(0).br_if(0);
        });
        draft.giants(bytes, I32, &before, &piece, &[END, &drops(WIDE)].concat())
    }),
    sealed("code that is never reached", |bytes| {
        let mut draft = Draft::new();
        let narrow = draft.wide(1, 0);
        let called = draft.function(narrow, &[], |_| ());
        let unreachable = code(|to| {
            to.unreachable();
        });
        let piece = code(|to| {
            to.call(called);
        });
        draft.giants(bytes, &[], &unreachable, &piece, &unreachable)
    }),
    sealed("deep expressions", |bytes| {
        let pairs = 1_000;
        let piece = code(|to| {
            (0..=pairs).for_each(|_| {
                to.local_get(0);
            });
            (0..pairs).for_each(|_| {
                to.i32_add();
            });
            to.drop();
        });
        Draft::new().giants(bytes, I32, &[], &piece, &[])
    }),
    refused("more operands than there is stack", "of stack; at most", |_| {
        let mut draft = Draft::new();
        draft.run(I32, |to| {
            (0..60_000).for_each(|_| {
                to.local_get(0);
            });
            (0..60_000).for_each(|_| {
                to.drop();
            });
        });
        draft.finish()
    }),
    sealed("values that live long, and branches everywhere", |bytes| {
        // In four functions as long as may be, that is nearly as much as is accepted.
        living(bytes.min(4 * BODY_BYTES), 240)
    }),
    sealed("as many values that live long in a function as are accepted", |_| living(95_000, 900)),
    refused("too many values that live long in a function", "their product may be at most", |_| {
        living(BODY_BYTES, 900)
    }),
    refused("too many values that live long in all", "in all; at most", |_| living(4 * BODY_BYTES, 300)),
    sealed("a machine of states", |bytes| {
        // As compilers make them of `goto`: a loop, and a table of branches over all its blocks.
        let piece = code(|to| {
            to.loop_(BlockType::Empty);
            (0..200).for_each(|_| {
                to.block(BlockType::Empty);
            });
            to.local_get(0).br_table((0..200).collect::<Vec<_>>(), 0);
            for state in 0..200u32 {
                to.end().local_get(0).i32_const(3).i32_div_u().local_tee(0).br_if(199 - state);
            }
            to.end();
        });
        Draft::new().giants(bytes, I32, &[], &piece, &[])
    }),
    sealed("a function for each way out", |bytes| {
        let mut draft = Draft::new();
        for _ in 0..(bytes / 20).clamp(1, 49_000) {
            draft.function(UNIT, I32, |to| {
                to.loop_(BlockType::Empty).local_get(0).br_if(0).local_get(0).br_if(1).end();
            });
        }
        draft.run(&[], |_| ());
        draft.finish()
    }),
];

const I64_I32: &[(u32, ValType)] = &[(1, ValType::I64), (1, ValType::I32)];

/// As deep as is accepted, again and again.
fn deep(bytes: usize, open: &[u8], close: &[u8]) -> Vec<u8> {
    Draft::new().giants(bytes, I32, &[], &[open.repeat(DEEP), close.repeat(DEEP)].concat(), &[])
}

/// A block that takes and gives as many values as there may be.
fn wide_block(draft: &mut Draft) -> Vec<u8> {
    let wide = draft.wide(WIDE, WIDE);
    code(|to| {
        to.block(BlockType::FunctionType(wide)).end();
    })
}

/// Locals that are all needed to the end, in loops that are left and begun anew for everywhere.
fn living(bytes: usize, locals: u32) -> Vec<u8> {
    let loops = code(|to| {
        (0..100).for_each(|_| {
            to.loop_(BlockType::Empty);
        });
    });
    let piece = code(|to| {
        for step in 0..900 {
            let [a, b, c, d] = [7, 13, 31, 17].map(|factor| step * factor % locals);
            to.local_get(b).local_get(c).local_get(d).i64_mul().i64_add().local_set(a);
            to.local_get(b).i64_eqz().br_if(step % 200);
        }
    });
    let open = [BLOCK.repeat(100), loops].concat();
    Draft::new().giants(bytes, &[(locals, ValType::I64)], &open, &piece, &END.repeat(200))
}

fn open_if() -> Vec<u8> {
    code(|to| {
        to.local_get(0).if_(BlockType::Empty);
    })
}

/// A piece again and again, in half of a function that is one of [`Draft::giants`].
fn until_half_full(bytes: usize, piece: &[u8]) -> Vec<u8> {
    piece.repeat(BODY_BYTES.min(bytes.max(4096)) / 2 / piece.len())
}

/// Work that is worth a charge of its own, behind a branch.
fn dear_branch() -> Vec<u8> {
    dear_branch_to(0)
}

fn dear_branch_to(label: u32) -> Vec<u8> {
    code(|to| {
        to.local_get(0).local_get(0).i64_div_u().local_set(0);
        to.local_get(0).local_get(0).i64_div_u().local_set(0);
        to.local_get(1).br_if(label);
    })
}

fn table(targets: usize) -> Vec<u8> {
    code(|to| {
        to.block(BlockType::Empty).local_get(0).br_table(vec![0; targets], 0).end();
    })
}
