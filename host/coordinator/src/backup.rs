//! Copies.
pub mod retention;
