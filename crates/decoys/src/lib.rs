//! Makes up inputs that look like those of a run.
//!
//! A [`Pool`] knows some inputs of a run, all of them JSON in canonical form, and draws others. Which keys an object has, in which order and with which blanks, is one real
//! input's; each value in it is drawn from what the pool has at that place, whatever stands beside it. So values, lengths, types and
//! missing keys are as frequent as in the run, and what hangs together there does not: whoever knows how fields of a record determine
//! each other can tell.
//!
//! Sensitive values are not here, since a canonical form has tokens in their place; what is drawn has fresh tokens, which stand for nothing.
//!
//! The same pool and the same seed give the same input. Start at [`pool`], then [`answers`]: what decoys hear that ask for calls.

pub mod answers;
pub mod pool;
mod tree;

pub use crate::pool::Pool;
