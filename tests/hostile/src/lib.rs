//! Modules that mean harm: to the coordinator that seals them, and to the volunteers who verify and compile what came of it.
//!
//! - [`corpus`]: the modules, made by a few lines each, and what must become of them;
//! - [`child`]: processes that seal, or compile, one module and tell what it took;
//! - [`trial`]: every module in such processes, and whether all promises were kept.

pub mod child;
pub mod corpus;
pub mod trial;
