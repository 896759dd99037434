//! Where an execution's fuel went, function by function.

use crate::weave::{TRACE_LEVEL, Weave, weave};
use crate::{Engine, Executed, Failure, Unit};

/// What one function did in one execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// How often it was called.
    pub calls: u64,
    /// Fuel that it paid itself, for its own code and for functions that its callers pay for.
    pub own: u64,
    /// That, and what those paid whom it called.
    pub all: u64,
}

/// Executes a unit and counts, for each function that is defined in the sealed module. `free` says which are paid for by their
/// callers. An execution that does not return tells nothing of its functions.
///
/// # Errors
/// Those of the engine, and [`Failure::Refused`] for a module into which nothing can be woven.
pub fn spent(
    engine: &mut dyn Engine,
    sealed: &[u8],
    free: &[bool],
    unit: &Unit<'_>,
) -> Result<(Executed, Option<Vec<Spent>>), Failure> {
    engine.load(&weave(sealed, &Weave::Fuel { free }).map_err(Failure::Refused)?)?;
    let mut executed = engine.execute(unit)?;
    let number =
        |(level, text): &(u8, String)| (*level == TRACE_LEVEL).then(|| u64::from_str_radix(text, 16).ok()).flatten();
    let numbers: Vec<u64> = executed.logs.iter().filter_map(number).collect();
    executed.logs.retain(|(level, _)| *level != TRACE_LEVEL);
    // The job's function may call itself; who returns last tells all of it.
    let last = numbers.len().checked_sub(3 * free.len()).filter(|_| executed.outcome.verdict.is_ok());
    let counts = last.map(|last| {
        let functions = numbers[last..].as_chunks().0;
        functions.iter().map(|[calls, own, all]| Spent { calls: *calls, own: *own, all: *all }).collect()
    });
    Ok((executed, counts))
}
