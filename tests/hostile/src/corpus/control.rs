//! Blocks and branches.

use wasm_encoder::{BlockType, InstructionSink, ValType};

use super::draft::{Draft, UNIT, WIDE, code};
use super::{Case, TOO_LONG, refused, sealed};

/// Deepest nesting that is accepted.
const DEEP: usize = 250;
/// Most targets of a table of branches.
const TARGETS: usize = 10_000;
const I32: &[(u32, ValType)] = &[(1, ValType::I32)];

pub(super) const CASES: &[Case] = &[
    sealed("deep blocks", |bytes| {
        deep(bytes, |to| {
            to.block(BlockType::Empty);
        })
    }),
    refused("deep loops", TOO_LONG, |bytes| {
        deep(bytes, |to| {
            to.loop_(BlockType::Empty);
        })
    }),
    sealed("deep ifs", |bytes| {
        deep(bytes, |to| {
            to.local_get(0).if_(BlockType::Empty);
        })
    }),
    sealed("deep ifs with two arms", |bytes| {
        let open = code(|to| {
            to.local_get(0).if_(BlockType::Empty);
        })
        .repeat(DEEP);
        let close = code(|to| {
            to.else_().local_get(0).drop().end();
        })
        .repeat(DEEP);
        Draft::new().giants(bytes, I32, &[], &[open, close].concat(), &[])
    }),
    refused("blocks that are too deep", "nested blocks; at most", |_| {
        let mut draft = Draft::new();
        draft.run(&[], |to| {
            (0..50_000).for_each(|_| {
                to.block(BlockType::Empty);
            });
            (0..50_000).for_each(|_| {
                to.end();
            });
        });
        draft.finish()
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
        let piece = code(|to| {
            for depth in 0..DEEP as u32 {
                to.loop_(BlockType::Empty);
                (0..=depth).for_each(|out| {
                    to.local_get(0).br_if(out);
                });
            }
            (0..DEEP).for_each(|_| {
                to.end();
            });
        });
        Draft::new().giants(bytes, I32, &[], &piece, &[])
    }),
    sealed("branches with dear code between", |bytes| {
        let (open, close) = (
            code(|to| {
                to.block(BlockType::Empty);
            }),
            code(|to| {
                to.end();
            }),
        );
        Draft::new().giants(bytes, I64_I32, &open, &dear_branch(), &close)
    }),
    sealed("branches to many labels with dear code between", |bytes| {
        let (open, close) = (
            code(|to| {
                to.block(BlockType::Empty);
            }),
            code(|to| {
                to.end();
            }),
        );
        let piece: Vec<u8> = (0..200).flat_map(dear_branch_to).collect();
        Draft::new().giants(bytes, I64_I32, &open.repeat(200), &piece, &close.repeat(200))
    }),
    sealed("dear branches, then tables of branches", |bytes| {
        // Half of the body makes places to charge at, half goes through all of them.
        let room = super::draft::BODY_BYTES.min(bytes.max(4096));
        let before: Vec<u8> = code(|to| {
            to.block(BlockType::Empty).block(BlockType::Empty);
        })
        .into_iter()
        .chain(dear_branch_to(1).repeat(room / 2 / dear_branch_to(1).len()))
        .collect();
        let piece = code(|to| {
            to.block(BlockType::Empty).local_get(1).br_table(vec![0; 1_000], 0).end();
        });
        Draft::new().giants(
            bytes,
            I64_I32,
            &before,
            &piece,
            &code(|to| {
                to.end().end();
            }),
        )
    }),
    sealed("dear branches, then ifs", |bytes| {
        let room = super::draft::BODY_BYTES.min(bytes.max(4096));
        let before: Vec<u8> = code(|to| {
            to.block(BlockType::Empty);
        })
        .into_iter()
        .chain(dear_branch().repeat(room / 2 / dear_branch().len()))
        .collect();
        let piece = code(|to| {
            to.local_get(1).if_(BlockType::Empty).else_().end();
        });
        Draft::new().giants(
            bytes,
            I64_I32,
            &before,
            &piece,
            &code(|to| {
                to.end();
            }),
        )
    }),
    sealed("giant tables of branches", |bytes| Draft::new().giants(bytes, I32, &[], &table(TARGETS), &[])),
    refused("tables of branches that are too long", "branch targets; at most", |_| {
        Draft::new().giants(0x10000, I32, &[], &table(TARGETS + 1), &[])
    }),
    sealed("tables of branches to deep labels", |bytes| {
        let piece = code(|to| {
            (0..DEEP).for_each(|_| {
                to.block(BlockType::Empty);
            });
            to.local_get(0).br_table((0..TARGETS).map(|target| (target % DEEP) as u32).collect::<Vec<_>>(), 0);
            (0..DEEP).for_each(|_| {
                to.end();
            });
        });
        Draft::new().giants(bytes, I32, &[], &piece, &[])
    }),
    sealed("wide tables of branches", |bytes| {
        let mut draft = Draft::new();
        let wide = draft.wide(0, WIDE);
        let piece = code(|to| {
            to.block(BlockType::FunctionType(wide));
            (0..WIDE).for_each(|_| {
                to.i64_const(0);
            });
            to.local_get(0).br_table(vec![0; TARGETS], 0).end();
            (0..WIDE).for_each(|_| {
                to.drop();
            });
        });
        draft.giants(bytes, I32, &[], &piece, &[])
    }),
    sealed("wide blocks", |bytes| {
        let mut draft = Draft::new();
        let wide = draft.wide(WIDE, WIDE);
        let values = code(|to| {
            (0..WIDE).for_each(|_| {
                to.i64_const(0);
            })
        });
        let drops = code(|to| {
            (0..WIDE).for_each(|_| {
                to.drop();
            })
        });
        draft.giants(
            bytes,
            &[],
            &values,
            &code(|to| {
                to.block(BlockType::FunctionType(wide)).end();
            }),
            &drops,
        )
    }),
    sealed("wide branches", |bytes| {
        let mut draft = Draft::new();
        let wide = draft.wide(0, WIDE);
        let before = code(|to| {
            to.block(BlockType::FunctionType(wide));
            (0..WIDE).for_each(|_| {
                to.i64_const(0);
            });
        });
        let after = code(|to| {
            to.end();
            (0..WIDE).for_each(|_| {
                to.drop();
            });
        });
        draft.giants(
            bytes,
            I32,
            &before,
            &code(|to| {
                to.local_get(0).br_if(0);
            }),
            &after,
        )
    }),
    sealed("code that is never reached", |bytes| {
        let mut draft = Draft::new();
        let wide = draft.wide(WIDE, WIDE);
        let called = draft.function(wide, &[], |to| {
            (0..WIDE as u32).for_each(|param| {
                to.local_get(param);
            })
        });
        let before = code(|to| {
            to.unreachable();
        });
        let after = code(|to| {
            to.unreachable();
        });
        draft.giants(
            bytes,
            &[],
            &before,
            &code(|to| {
                to.call(called);
            }),
            &after,
        )
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
        let locals = 900u32;
        let open = code(|to| {
            (0..100).for_each(|_| {
                to.block(BlockType::Empty);
            });
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
        Draft::new().giants(
            bytes,
            &[(locals, ValType::I64)],
            &open,
            &piece,
            &code(|to| {
                (0..200).for_each(|_| {
                    to.end();
                })
            }),
        )
    }),
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

fn deep(bytes: usize, open: fn(&mut InstructionSink<'_>)) -> Vec<u8> {
    let piece = [
        code(open).repeat(DEEP),
        code(|to| {
            to.end();
        })
        .repeat(DEEP),
    ]
    .concat();
    Draft::new().giants(bytes, I32, &[], &piece, &[])
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
