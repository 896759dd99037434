//! What a runtime needs to trust a sealed module.
//!
//! - [`ending`]: what an execution's end means, read from what the module itself wrote.
//!
//! Absent on purpose: engines, and the sealer. Whoever lends a computer runs this and need not believe
//! whoever sealed the module.

pub mod ending;
