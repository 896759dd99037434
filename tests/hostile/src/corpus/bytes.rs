//! What is no program but the way it is written down.

use manyhands_abi as abi;
use wasm_encoder::ValType;

use super::draft::{BODY_BYTES, Draft, UNIT, code, leb, manifest, section};
use super::{Case, refused, sealed};

const HEAD: &[u8] = b"\0asm\x01\0\0\0";
const CUSTOM: u8 = 0;
const CODE: u8 = 10;

pub(super) const CASES: &[Case] = &[
    sealed("a long custom section", |bytes| {
        with_custom(section(CUSTOM, &[&name("x")[..], &vec![0xff; bytes]].concat()))
    }),
    sealed("custom sections of nothing", |bytes| with_custom(section(CUSTOM, &[0]).repeat(bytes / 3))),
    sealed("names that are noise", |bytes| {
        let noise: Vec<u8> = (0..bytes as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        with_custom(section(CUSTOM, &[&name("name")[..], &noise].concat()))
    }),
    sealed("one name millions of times", |bytes| with_custom(names(bytes))),
    refused("one name millions of times, and a function that is refused", "locals; at most", |bytes| {
        let mut draft = Draft::new();
        draft.run(&[(50_000, ValType::I64)], |_| ());
        let mut module = draft.finish();
        module.extend(names(bytes));
        module
    }),
    refused("names for four billion functions, and a function that is refused", "locals; at most", |bytes| {
        let mut draft = Draft::new();
        draft.run(&[(50_000, ValType::I64)], |_| ());
        let mut module = draft.finish();
        let map: Vec<u8> =
            (0..(bytes / 7) as u64).flat_map(|function| [leb(function), leb(1), vec![b'f']].concat()).collect();
        let count = leb((bytes / 7) as u64);
        module.extend(section(CUSTOM, &[&name("name")[..], &section(1, &[count, map].concat())].concat()));
        module
    }),
    sealed("numbers in as many bytes as possible", |bytes| {
        // local.get 0, drop: the index in five bytes.
        let piece = [0x20, 0x80, 0x80, 0x80, 0x80, 0x00, 0x1a];
        Draft::new().giants(bytes, &[(1, ValType::I32)], &[], &piece, &[])
    }),
    refused("a number in too many bytes", "integer representation too long", |_| {
        let piece = [0x20, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 0x1a];
        Draft::new().giants(4096, &[(1, ValType::I32)], &[], &piece, &[])
    }),
    refused("a count of types that are not there", "types; at most", |_| headed(&section(1, &leb(u32::MAX.into())))),
    refused("a count of functions that are not there", "code section is absent", |_| {
        headed(&[section(1, &[1, 0x60, 0, 0]), section(3, &leb(u32::MAX.into()))].concat())
    }),
    refused("a count of bodies that are not there", "code", |_| {
        headed(&[section(1, &[1, 0x60, 0, 0]), section(3, &[1, 0]), section(CODE, &leb(u32::MAX.into()))].concat())
    }),
    refused("a count of branch targets that are not there", "br_table size", |_| {
        let mut draft = Draft::new();
        draft.raw(UNIT, &[&[0, 0x41, 0, 0x0e][..], &leb(u32::MAX.into())].concat());
        draft.run(&[], |_| ());
        draft.finish()
    }),
    refused("a count of segments that are not there", "data segments; at most", |_| {
        let mut module = Draft::new();
        module.run(&[], |_| ());
        let mut module = module.finish();
        module.extend(section(11, &leb(u32::MAX.into())));
        module
    }),
    refused("a section that is longer than the file", "end-of-file", |_| {
        headed(&[&[CUSTOM][..], &leb(u32::MAX.into()), b"x"].concat())
    }),
    refused("a file that is cut in a head", "end-of-file", |bytes| cut(bytes, |_| 9)),
    refused("a file that is cut in its code", "end-of-file", |bytes| cut(bytes, |whole| whole / 2)),
    refused("a file that is cut in its last byte", "end-of-file", |bytes| cut(bytes, |whole| whole - 1)),
    refused("two manifests", "there are two", |_| {
        let mut module = minimal();
        manifest(1 << 20, &mut module);
        module
    }),
    refused("a long manifest", "at most", |bytes| {
        [HEAD, &section(CUSTOM, &[&name(abi::MANIFEST_SECTION)[..], &vec![b' '; bytes]].concat())].concat()
    }),
    refused("a deep manifest", "not readable", |_| {
        [HEAD, &section(CUSTOM, &[&name(abi::MANIFEST_SECTION)[..], &[b'['; 16_000]].concat())].concat()
    }),
    refused("sections in the wrong order", "section out of order", |_| {
        let module = minimal();
        [&module[..], &section(1, &[0])].concat()
    }),
    refused("more than is accepted at all", "bytes long; at most", |_| {
        [minimal(), section(CUSTOM, &[&name("x")[..], &vec![0; abi::MODULE_BYTES_MAX]].concat())].concat()
    }),
];

fn minimal() -> Vec<u8> {
    let mut draft = Draft::new();
    draft.run(&[], |_| ());
    draft.finish()
}

fn with_custom(sections: Vec<u8>) -> Vec<u8> {
    [minimal(), sections].concat()
}

fn headed(sections: &[u8]) -> Vec<u8> {
    let mut module = [HEAD, sections].concat();
    manifest(1 << 20, &mut module);
    module
}

fn name(text: &str) -> Vec<u8> {
    [leb(text.len() as u64), text.as_bytes().to_vec()].concat()
}

/// A section that calls function 0 nothing, again and again.
fn names(bytes: usize) -> Vec<u8> {
    let count = bytes / 2;
    section(CUSTOM, &[&name("name")[..], &section(1, &[leb(count as u64), vec![0; 2 * count]].concat())].concat())
}

fn cut(bytes: usize, at: fn(usize) -> usize) -> Vec<u8> {
    let whole = Draft::new().giants(
        bytes.min(BODY_BYTES),
        &[],
        &[],
        &code(|to| {
            to.nop();
        }),
        &[],
    );
    // The manifest comes last.
    whole[..at(whole.len())].to_vec()
}
