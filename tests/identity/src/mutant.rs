//! The same program written otherwise.

use manyhands_engines::Executed;
use wasm_mutate::WasmMutate;
use wasmparser::{Operator, Parser, Payload};

/// Fuel for a mutant, in multiples of its original's: it may do the same in more steps.
pub const FUEL_FACTOR: u64 = 16;
/// Changes on top of each other.
const GENERATIONS: u64 = 3;
/// Effort that a change may take, in the mutator's own unit.
const EFFORT: u64 = 200;

/// The module after some changes that keep its meaning; none where the mutator found nothing to change.
pub fn of(module: &[u8], seed: u64) -> Option<Vec<u8>> {
    let mut changed: Option<Vec<u8>> = None;
    for generation in 0..GENERATIONS {
        let before = changed.as_deref().unwrap_or(module).to_vec();
        let mut mutator = WasmMutate::default();
        mutator.preserve_semantics(true).seed(seed.wrapping_mul(GENERATIONS) + generation).fuel(EFFORT);
        let next = mutator.run(&before).ok().and_then(|mut mutants| mutants.next()?.ok());
        if let Some(next) = next.filter(|next| mistaken(next) == mistaken(&before)) {
            changed = Some(next);
        }
    }
    changed
}

/// How many instructions there are of those that the mutator is mistaken about. It takes `x + 0` and `x * 1` for `x`, and the other way round, which
/// differ for a negative zero and in the bits of a NaN; and `x | x` for `x` even if `x` calls, grows the memory or keeps something. A change
/// that leaves all these numbers alone keeps what a program means.
fn mistaken(module: &[u8]) -> Option<[usize; 7]> {
    let mut count = [0; 7];
    for payload in Parser::new(0).parse_all(module) {
        let Payload::CodeSectionEntry(body) = payload.ok()? else { continue };
        for operator in body.get_operators_reader().ok()? {
            let which = match operator.ok()? {
                Operator::F32Add => 0,
                Operator::F64Add => 1,
                Operator::F32Mul => 2,
                Operator::F64Mul => 3,
                Operator::MemoryGrow { .. } => 4,
                Operator::Call { .. } | Operator::CallIndirect { .. } => 5,
                Operator::LocalTee { .. } => 6,
                _ => continue,
            };
            count[which] += 1;
        }
    }
    Some(count)
}

/// Whether a mutant's execution can be compared with its original's, and what differs then.
pub fn compare(original: &Executed, mutant: &Executed) -> Option<Result<(), String>> {
    let (ours, theirs) = (&mutant.outcome.verdict, &original.outcome.verdict);
    // Where an original ends for lack of fuel or stack, another form of it may go on, and the other way round.
    let bounded = |word| matches!(word, "out_of_fuel" | "out_of_stack");
    if bounded(ours.word()) || bounded(theirs.word()) {
        return None;
    }
    // An output's digest is part of its verdict.
    Some(if ours == theirs { Ok(()) } else { Err(format!("mutant: {ours}, where its original has {theirs}")) })
}
