//! The same program written otherwise.

use manyhands_engines::Executed;
use wasm_mutate::WasmMutate;

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
        if let Some(next) = next {
            changed = Some(next);
        }
    }
    changed
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
