//! The coordinator.

pub mod log;
pub mod settings;
