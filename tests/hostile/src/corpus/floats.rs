//! Floats, whose NaNs are settled wherever somebody looks.

use wasm_encoder::{BlockType, ValType};

use super::draft::{Draft, SPREAD_ALL, WIDE, code, drops};
use super::{Case, TOO_LONG, refused, sealed};

const F64: &[(u32, ValType)] = &[(1, ValType::F64)];

pub(super) const CASES: &[Case] = &[
    refused("roots that are looked at", TOO_LONG, |bytes| {
        let before = code(|to| {
            to.local_get(0);
        });
        let piece = code(|to| {
            to.f64_sqrt().i64_reinterpret_f64().f64_reinterpret_i64();
        });
        Draft::new().giants(bytes, F64, &before, &piece, &drops(1))
    }),
    refused("vectors that are looked at", TOO_LONG, |bytes| {
        let before = code(|to| {
            to.local_get(0);
        });
        let piece = code(|to| {
            to.f64x2_sqrt().f32x4_sqrt();
        });
        Draft::new().giants(bytes, &[(1, ValType::V128)], &before, &piece, &drops(1))
    }),
    sealed("locals that learn of each other one at a time", |bytes| {
        let locals = 1_000u32;
        let piece = code(|to| {
            to.local_get(0).f64_sqrt().local_set(0);
            (1..locals).rev().for_each(|local| {
                to.local_get(local - 1).local_set(local);
            });
            to.local_get(locals - 1).i64_reinterpret_f64().drop();
        });
        Draft::new().giants(bytes, &[(locals, ValType::F64)], &[], &piece, &[])
    }),
    refused("floats carried by wide blocks", TOO_LONG, |_| {
        let mut draft = Draft::new();
        let wide = draft.ty(&[ValType::F64; WIDE], &[ValType::F64; WIDE]);
        let values = code(|to| {
            (0..WIDE).for_each(|_| {
                to.local_get(0).f64_sqrt();
            })
        });
        let piece = code(|to| {
            to.block(BlockType::FunctionType(wide)).f64_sqrt().end();
        });
        // So short that there may be many of them.
        let blocks = 50;
        let values_and_blocks = (1 + blocks * 2 * WIDE) * blocks;
        let body = [&[1, 1, 0x7c], &values[..], &piece.repeat(blocks), &drops(WIDE)].concat();
        draft.copies(SPREAD_ALL / values_and_blocks, &body)
    }),
    sealed("floats in loops in loops", |bytes| {
        let piece = code(|to| {
            (0..200).for_each(|_| {
                to.loop_(BlockType::Empty).local_get(0).f64_sqrt().local_set(0);
            });
            (0..200).for_each(|_| {
                to.local_get(0).local_get(0).f64_lt().br_if(0).end();
            });
        });
        Draft::new().giants(bytes, F64, &[], &piece, &[])
    }),
    sealed("a thousand vectors", |bytes| {
        let locals = 1_000u32;
        let piece = code(|to| {
            (1..locals).for_each(|local| {
                to.local_get(local).local_get(local - 1).f32x4_mul().local_set(local - 1);
            });
        });
        Draft::new().giants(bytes, &[(locals, ValType::V128)], &[], &piece, &[])
    }),
];
