//! Guest code never shares a process with the worker's key and socket.
//!
//! The runner starts its own executable again, with a hidden first argument, as a child that talks over
//! its standard input and output only. Before the child sees a byte of any module it locks itself down
//! ([`lockdown`]). Two kinds of children: a *compiler* compiles one module and ends, and never runs guest
//! code; a *slot* executes one unit after the other.
//!
//! [`parent`] starts children and holds them to their limits; [`child`] is what they do.

pub mod child;
pub mod lockdown;
pub mod parent;
mod wire;

pub use crate::sandbox::child::run_if_child;
pub use crate::sandbox::lockdown::Lockdown;
pub use crate::sandbox::parent::{Compiled, Program, Slot, compile};

/// The hidden first argument that makes an executable a child.
pub const CHILD_ARGUMENT: &str = "__sandbox";
