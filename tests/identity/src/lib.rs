//! The proof that a sealed module gives the same bits, the same fuel and the same failure on every engine.
//!
//! - [`ops`] and [`operands`]: every float instruction, what it must give, and what it is tried with;
//! - [`probe`]: each of them on each engine, against that oracle;
//! - [`program`]: random float programs with control flow, against the same oracle;
//! - [`smith`]: random modules of every instruction, with recursion, growth and traps;
//! - [`mutant`]: the same module written otherwise;
//! - [`proof`]: executes all that on engines, compares, counts, and keeps whatever differs;
//! - [`jobs`]: examples, hand-written cases and kernels; [`spoil`], [`upstream`] and [`stack`]: what befalls them;
//! - [`trial`]: the proof over those.

pub mod bare;
pub mod dice;
pub mod jobs;
mod kept;
pub mod mutant;
pub mod operands;
pub mod ops;
pub mod probe;
pub mod program;
pub mod proof;
pub mod smith;
pub mod spoil;
pub mod stack;
pub mod team;
pub mod trial;
pub mod upstream;
