//! What the passes want to know of each function before they go into it, so that they leave alone what does not concern them.

use manyhands_verifier::calls::Calls;
use manyhands_verifier::module::Module;
use wasmparser::{BinaryReaderError, Operator};

use crate::nan;

/// Of each function that the module defines.
#[derive(Default)]
pub(crate) struct Survey {
    pub(crate) functions: Vec<Found>,
}

/// What was found in one function.
#[derive(Default)]
pub(crate) struct Found {
    /// Whether it grows the memory.
    pub(crate) grows: bool,
    /// Whether it makes floats whose bits engines may choose.
    pub(crate) floats: bool,
    /// What it calls: sorted and each once, until a pass puts other functions in their places.
    calls: Vec<Call>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Call {
    Function(u32),
    /// Through a table.
    Type(u32),
}

impl Survey {
    /// Of a module that was not looked into yet.
    pub(crate) fn of(module: &Module<'_>) -> Result<Self, BinaryReaderError> {
        let mut survey = Self::default();
        for body in &module.bodies {
            let mut found = Found::default();
            let mut reader = body.get_operators_reader()?;
            while !reader.eof() {
                found.note(&reader.read()?);
            }
            survey.add(found);
        }
        Ok(survey)
    }

    /// The next function.
    pub(crate) fn add(&mut self, mut found: Found) {
        found.calls.sort_unstable();
        found.calls.dedup();
        self.functions.push(found);
    }

    /// From now on, whatever grows the memory calls this function, the last one, instead.
    pub(crate) fn grow_by(&mut self, grower: u32) {
        for found in self.functions.iter_mut().filter(|found| found.grows) {
            found.grows = false;
            found.calls.push(Call::Function(grower));
        }
        self.functions.push(Found { grows: true, ..Found::default() });
    }

    /// From now on, the code of the function number `at` of those that are defined is the last one's, which it calls by its index.
    pub(crate) fn move_to(&mut self, at: usize, index: u32) {
        let calls = vec![Call::Function(index)];
        let moved = std::mem::replace(&mut self.functions[at], Found { calls, ..Found::default() });
        self.functions.push(moved);
    }

    /// For each function, imports first, whether it is called by its name.
    pub(crate) fn called(&self, functions: usize) -> Vec<bool> {
        let mut called = vec![false; functions];
        for call in self.functions.iter().flat_map(|found| &found.calls) {
            if let Call::Function(function) = call
                && let Some(called) = called.get_mut(*function as usize)
            {
                *called = true;
            }
        }
        called
    }

    /// Who calls whom.
    pub(crate) fn calls(&self, module: &Module<'_>) -> Calls {
        let mut calls = Calls::of(module);
        for (at, found) in self.functions.iter().enumerate() {
            for call in &found.calls {
                match call {
                    Call::Function(function) => calls.call(at, *function),
                    Call::Type(ty) => calls.call_indirect(at, *ty),
                }
            }
        }
        calls
    }
}

impl Found {
    /// One of its instructions.
    #[inline]
    pub(crate) fn note(&mut self, operator: &Operator<'_>) {
        let call = match operator {
            Operator::MemoryGrow { .. } => {
                self.grows = true;
                return;
            }
            Operator::Call { function_index } => Call::Function(*function_index),
            Operator::CallIndirect { type_index, .. } => Call::Type(*type_index),
            _ => {
                self.floats = self.floats || nan::makes_bits(operator);
                return;
            }
        };
        if self.calls.last() != Some(&call) {
            self.calls.push(call);
        }
    }

    /// Whether it calls any of these functions; others are called where they are.
    pub(crate) fn calls_any(&self, of: &[Option<u32>]) -> bool {
        self.calls.iter().any(
            |call| matches!(call, Call::Function(function) if of.get(*function as usize).is_some_and(Option::is_some)),
        )
    }

    /// Calls these functions instead of those.
    pub(crate) fn call_instead(&mut self, instead: &[Option<u32>]) {
        for call in &mut self.calls {
            if let Call::Function(function) = call
                && let Some(Some(other)) = instead.get(*function as usize)
            {
                *function = *other;
            }
        }
    }
}
