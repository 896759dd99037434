//! Memory, and what is put there.

use wasm_encoder::{ConstExpr, ValType};

use super::draft::{Draft, code};
use super::{Case, refused, sealed};

const PAGE_BYTES: u64 = 64 << 10;
const GIB: u64 = 1 << 30;

pub(super) const CASES: &[Case] = &[
    sealed("a gigabyte of memory by ten thousand bytes", |_| {
        let mut draft = Draft::new();
        (draft.memory_bytes, draft.pages) = (GIB, GIB / PAGE_BYTES);
        draft.run(&[], |_| ());
        for segment in 0..10_000i32 {
            draft.data.active(0, &ConstExpr::i32_const(segment * ((GIB / 10_000) as i32)), *b"x");
        }
        draft.finish()
    }),
    sealed("segments over each other", |bytes| {
        let mut draft = Draft::new();
        draft.run(&[], |_| ());
        let length = (bytes / 10_000).max(1);
        (0..10_000).for_each(|_| {
            draft.data.active(0, &ConstExpr::i32_const(0), vec![7; length]);
        });
        draft.finish()
    }),
    sealed("one long segment", |bytes| {
        let mut draft = Draft::new();
        draft.pages = (bytes as u64).div_ceil(PAGE_BYTES);
        draft.run(&[], |_| ());
        draft.data.active(0, &ConstExpr::i32_const(0), vec![7; bytes]);
        draft.finish()
    }),
    sealed("copies of a long segment", |bytes| {
        let mut draft = Draft::new();
        (draft.pages, draft.memory_bytes) = (1_000, 64 << 20);
        let half = bytes / 2;
        draft.data.passive(vec![7; half]);
        let piece = code(|to| {
            to.i32_const(0).i32_const(0).i32_const(half as i32).memory_init(0, 0);
        });
        draft.giants(half, &[], &[], &piece, &[])
    }),
    sealed("fills, copies and growth", |bytes| {
        let piece = code(|to| {
            to.local_get(0).local_get(0).local_get(0).memory_fill(0);
            to.local_get(0).local_get(0).local_get(0).memory_copy(0, 0);
            to.local_get(0).memory_grow(0).drop();
        });
        Draft::new().giants(bytes, &[(1, ValType::I32)], &[], &piece, &[])
    }),
    refused("more memory than the manifest grants", "the manifest grants", |_| {
        let mut draft = Draft::new();
        draft.pages = 65_536;
        draft.run(&[], |_| ());
        draft.finish()
    }),
    refused("a segment beyond the memory", "beyond the initial size", |_| {
        let mut draft = Draft::new();
        draft.run(&[], |_| ());
        draft.data.active(0, &ConstExpr::i32_const(-1), *b"xx");
        draft.finish()
    }),
];
