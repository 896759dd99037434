//! The modules, by what they try.
//!
//! Each is about as long as it is asked for ([`Case::make`]).

mod bytes;
mod calls;
mod control;
mod counts;
mod data;
mod draft;
mod floats;

/// What must become of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is refused, and these words are in the reason.
    Refused(&'static str),
    /// It is sealed.
    Sealed,
}

/// One module.
#[derive(Clone, Copy)]
pub struct Case {
    /// What people call it.
    pub name: &'static str,
    /// What must become of it.
    pub fate: Fate,
    /// Makes a module of about so many bytes, or a shorter one where more would only be more of the same.
    pub make: fn(usize) -> Vec<u8>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All of them.
pub fn all() -> Vec<Case> {
    [counts::CASES, control::CASES, calls::CASES, floats::CASES, data::CASES, bytes::CASES].concat()
}

/// What is said of modules that would grow without measure.
const TOO_LONG: &str = "sealed, it would be more than";

const fn sealed(name: &'static str, make: fn(usize) -> Vec<u8>) -> Case {
    Case { name, fate: Fate::Sealed, make }
}

const fn refused(name: &'static str, words: &'static str, make: fn(usize) -> Vec<u8>) -> Case {
    Case { name, fate: Fate::Refused(words), make }
}
