//! A lint for inputs: what looks like sensitive data, where it stands, and how to declare it.
//!
//! It finds what authors forget, and is not what protects anybody: protected is what a manifest declares. A false alarm teaches people to look
//! away, so it is silent where it is in doubt: it misses names in prose, national numbers without a telling field, and whatever hides on purpose.
//!
//! [`look()`] reads a JSON text and tells [`Finding`]s, never a value. What a value looks like by itself is in `text`, what the name of its
//! field says in `name`; `way` is how one gets there.

mod digits;
mod look;
mod name;
mod text;
mod way;

pub use crate::look::{FINDINGS_MAX, Finding, Why, look};
