//! Sealed modules that pay less than they should, for those who want to see them refused. Included by path, from other crates' tests too.

use manyhands_verifier::module::Module;
use manyhands_verifier::token::{Kind, Token, Tokens, takes_meter};
use wasmparser::ExternalKind;

const NOP: u8 = 0x01;
const DROP: u8 = 0x1a;
const I64_EQ: u8 = 0x51;
/// One unit of fuel, above the bits of stack.
const UNIT: i64 = 1 << manyhands_abi::METER_STACK_BITS;

/// All single changes after which a sealed module pays less, looks less or says less and is still valid, and what each is.
///
/// # Panics
/// When what is given is no sealed module.
pub(crate) fn all(sealed: &[u8]) -> Vec<(String, Vec<u8>)> {
    let module = Module::read(sealed).expect("parses");
    let global = |name| module.export(name, ExternalKind::Global).expect("is exported");
    let (meter, cause) = (global(manyhands_abi::METER), global(manyhands_abi::CAUSE));
    let mut changed = Vec::new();
    for (function, body) in (module.imported()..).zip(&module.bodies) {
        let tokens = Tokens::read(body).expect("parses").all;
        let passed = takes_meter(module.type_of(function), &tokens);
        let Some(local) = local_of(&tokens, meter, passed) else { continue };
        for at in 0..tokens.len() {
            let is_newest = |kind: Kind| kind == Kind::GlobalGet(meter) || kind == Kind::LocalGet(local);
            for (what, upto, by) in weaker(&tokens, at, local, (meter, cause), is_newest) {
                let from = tokens[at].offset as usize;
                let to = tokens.get(upto).map_or(body.range().end, |token| token.offset as usize);
                let mut bytes = sealed.to_vec();
                bytes[from..to].fill(NOP);
                bytes[from..from + by.len()].copy_from_slice(&by);
                // Another block may want other values; an engine would not take such a module.
                if wasmparser::validate(&bytes).is_ok() {
                    changed.push((format!("{what} at {from:#x}"), bytes));
                }
            }
        }
    }
    changed
}

/// The local that holds the meter, if the function works with it at all.
fn local_of(tokens: &[Token], meter: u32, passed: bool) -> Option<u32> {
    tokens.windows(4).find_map(|four| match [four[0].kind, four[1].kind, four[2].kind, four[3].kind] {
        [Kind::GlobalGet(global), Kind::I64Const(_), Kind::I64Sub, to] if global == meter => match to {
            Kind::LocalSet(local) | Kind::LocalTee(local) => Some(local),
            // None holds it, and no instruction names such a local.
            _ => Some(u32::MAX),
        },
        [Kind::LocalGet(local), Kind::I64Const(_), Kind::I64Sub, _] if passed => Some(local),
        [Kind::GlobalGet(global), Kind::LocalSet(local), ..] if global == meter => Some(local),
        _ => None,
    })
}

/// What could be written instead of the instruction at `at`, up to which other one.
fn weaker(
    tokens: &[Token],
    at: usize,
    local: u32,
    (meter, cause): (u32, u32),
    is_newest: impl Fn(Kind) -> bool,
) -> Vec<(&'static str, usize, Vec<u8>)> {
    let kind = |at: usize| tokens.get(at).map(|token| token.kind);
    let before = |steps: usize| at.checked_sub(steps).and_then(kind);
    let bytes = tokens.get(at + 1).map_or(1, |next| next.offset as usize - tokens[at].offset as usize);
    let paid = before(1).is_some_and(&is_newest);
    match (tokens[at].kind, kind(at + 1)) {
        (Kind::I64Const(value), Some(Kind::I64Sub)) if paid && value > 0 => {
            let (units, stack) = (value / UNIT, value % UNIT);
            let mut less = Vec::new();
            if units > 0 {
                less.push(("pays a unit less", at + 1, constant(value - UNIT, bytes)));
                less.push(("pays half", at + 1, constant(units / 2 * UNIT + stack, bytes)));
                less.push(("pays nothing", at + 1, constant(stack, bytes)));
                less.push(("takes nothing off", at + 2, [&constant(value, bytes)[..], &[DROP]].concat()));
            }
            if stack > 0 {
                less.push(("takes a unit of stack less", at + 1, constant(value - 1, bytes)));
                less.push(("takes no stack", at + 1, constant(value - stack, bytes)));
            }
            less
        }
        (Kind::I64Const(value), Some(Kind::I64Add)) if paid => {
            vec![("gives back more stack", at + 1, constant(value + 1, bytes))]
        }
        (Kind::I64LtS, _) if before(2) == Some(Kind::LocalTee(local)) && before(1) == Some(Kind::I64Const(0)) => {
            vec![("looks wrongly", at + 1, vec![I64_EQ])]
        }
        (Kind::BrIf(_), _) if looks([before(4), before(3), before(2), before(1)], local) => {
            vec![("does not look", at + 1, vec![DROP]), ("goes elsewhere", at + 1, vec![0x0d, 0])]
        }
        (Kind::GlobalSet(global), _) if [meter, cause].contains(&global) => vec![("does not say", at + 1, vec![DROP])],
        (Kind::LocalSet(to), _) if to == local && before(1) == Some(Kind::GlobalGet(meter)) => {
            vec![("does not read again", at + 1, vec![DROP])]
        }
        (Kind::LocalSet(to), _) if to == local && matches!(before(1), Some(Kind::Call(_))) => {
            vec![("does not take back", at + 1, vec![DROP])]
        }
        _ => Vec::new(),
    }
}

/// Whether these four before it look at what is left, of fuel or of both.
fn looks(four: [Option<Kind>; 4], local: u32) -> bool {
    const BELOW_ZERO: Kind = Kind::I64Const(i64::MIN | (UNIT / 2));
    match four.map(|kind| kind.unwrap_or(Kind::Forbidden)) {
        [_, Kind::LocalTee(to), Kind::I64Const(0), Kind::I64LtS] => to == local,
        [BELOW_ZERO, Kind::I64And, Kind::I64Const(0), Kind::I64Ne] => true,
        _ => false,
    }
}

/// `i64.const` of exactly this many bytes.
fn constant(value: i64, bytes: usize) -> Vec<u8> {
    let last = bytes - 2;
    let number = (0..=last).map(|at| ((value >> (7 * at)) & 0x7f) as u8 | (if at < last { 0x80 } else { 0 }));
    [0x42].into_iter().chain(number).collect()
}
