//! Sealed modules that pay less than they should, for those who want to see them refused. Included by path, from other crates' tests too.

use manyhands_verifier::module::Module;
use manyhands_verifier::token::{Kind, Token, Tokens, takes_meter};
use wasmparser::ExternalKind;

const NOP: u8 = 0x01;
const DROP: u8 = 0x1a;
const I64_EQ: u8 = 0x51;
/// One unit of fuel, above the bits of stack.
const UNIT: i64 = 1 << manyhands_abi::METER_STACK_BITS;

/// How changes are called in loops that are paid for as a whole.
pub(crate) const IN_LOOP: &str = "a loop ";

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
    if let Some((what, by)) = miscounted(tokens, at, local, bytes) {
        return vec![(what, at + 1, by)];
    }
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
    match four.map(|kind| kind.unwrap_or(Kind::Nothing)) {
        [_, Kind::LocalTee(to), Kind::I64Const(0), Kind::I64LtS] => to == local,
        [BELOW_ZERO, Kind::I64And, Kind::I64Const(0), Kind::I64Ne] => true,
        _ => false,
    }
}

/// `i64.const` of exactly this many bytes.
fn constant(value: i64, bytes: usize) -> Vec<u8> {
    with(0x42, value, bytes)
}

/// An instruction with a number, of exactly this many bytes.
fn with(code: u8, value: i64, bytes: usize) -> Vec<u8> {
    let last = bytes - 2;
    let number = (0..=last).map(|at| ((value >> (7 * at)) & 0x7f) as u8 | (if at < last { 0x80 } else { 0 }));
    [code].into_iter().chain(number).collect()
}

/// What could be written in a loop that is paid for as a whole, or where it is paid for, so that it goes round more often.
fn miscounted(tokens: &[Token], at: usize, local: u32, bytes: usize) -> Option<(&'static str, Vec<u8>)> {
    let kind = |at: usize| tokens[at].kind;
    let begins = |part: usize| at.checked_sub(part).filter(|at| counts(tokens, *at, local));
    let is_in =
        |part: usize| begins(part).is_some_and(|begin| part < COUNT || !matches!(kind(begin + COUNT), Kind::Loop(_)));
    if let Some(part) = (1..COUNT + 6).find(|part| is_in(*part)) {
        return Some(match (part, kind(at)) {
            (1 | 2, Kind::LocalGet(_)) => match kind(if part == 1 { at + 1 } else { at - 1 }) {
                Kind::LocalGet(other) => ("a loop counts with another local", with(0x20, other.into(), bytes)),
                _ => return None,
            },
            (1, Kind::I32Const(bound)) => ("a loop counts to another end", with(0x41, (bound ^ 1).into(), bytes)),
            (3, _) => ("a loop counts from the sum", vec![0x6a]),
            (4, Kind::I32Const(inverse)) => ("a loop takes steps for others", with(0x41, (inverse ^ 2).into(), bytes)),
            (5, _) => ("a loop does not divide by steps", vec![0x71]),
            (6, _) => ("a loop counts two steps less", with(0x41, 3, bytes)),
            (8, _) => ("a loop counts many as less than none", vec![0xac]),
            (9, _) => ("a loop counts a step less", constant(0, bytes)),
            (11, Kind::I64Const(each)) => ("a loop pays half for each", constant(each / 2, bytes)),
            (12, _) => ("a loop does not pay for each", vec![0x83]),
            (13, _) => ("a loop takes nothing off", vec![DROP]),
            (COUNT_AND_MORE, Kind::I32Const(mask)) => ("a loop passes the end", with(0x41, (mask >> 1).into(), bytes)),
            (part, Kind::BrIf(_)) if part > COUNT_AND_MORE => ("a loop goes on for ever", vec![DROP]),
            _ => return None,
        });
    }
    // The end of the loop, if such a one comes before it.
    let tail =
        (0..5).map(|steps| at + steps).find(|at| matches!(tokens.get(*at), Some(Token { kind: Kind::BrIf(0), .. })))?;
    if tokens.get(tail + 1)?.kind != Kind::End {
        return None;
    }
    let mut inside = 0_usize;
    let head = (0..at).rev().find(|at| match kind(*at) {
        Kind::End => {
            inside += 1;
            false
        }
        Kind::Block(_) | Kind::If(_) | Kind::Loop(_) if inside > 0 => {
            inside -= 1;
            false
        }
        Kind::Block(_) | Kind::If(_) | Kind::Loop(_) => true,
        _ => false,
    })?;
    let is_paid =
        [COUNT, COUNT + 6].iter().any(|steps| head.checked_sub(*steps).is_some_and(|at| counts(tokens, at, local)));
    match kind(at) {
        _ if !is_paid || !matches!(kind(head), Kind::Loop(_)) => None,
        Kind::LocalTee(_) => Some(("a loop does not keep its step", vec![NOP])),
        Kind::I32Ne => Some(("a loop compares otherwise", vec![0x49])),
        Kind::I32Add => Some(("a loop steps otherwise", vec![0x71])),
        Kind::I32Const(value) => Some(("a loop ends otherwise", with(0x41, (value ^ 1).into(), bytes))),
        _ => None,
    }
}

/// How many instructions pay for a loop as a whole, and where its rest is looked at after them.
const COUNT: usize = 18;
const COUNT_AND_MORE: usize = COUNT + 3;

/// Whether a loop is paid for as a whole here.
fn counts(tokens: &[Token], at: usize, local: u32) -> bool {
    let Some(all) = tokens.get(at..at + COUNT) else { return false };
    matches!(all[2].kind, Kind::LocalGet(_))
        && [3, 5, 7, 8, 10, 12, 13, 14].map(|at| all[at].kind)
            == [
                Kind::I32Sub,
                Kind::I32Mul,
                Kind::I32Sub,
                Kind::I64ExtendI32U,
                Kind::I64Add,
                Kind::I64Mul,
                Kind::I64Sub,
                Kind::LocalTee(local),
            ]
}
