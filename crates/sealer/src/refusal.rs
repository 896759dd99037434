//! Why a module cannot be published: where, why, and the cure.

use core::fmt;

use manyhands_verifier::Malformed;
use wasmparser::BinaryReaderError;

/// For who built with more than jobs may use.
const PLAIN_TARGET: &str = "build for wasm32-unknown-unknown with the target's own features, as `manyhands build` does; threads, relaxed SIMD, reference types, exceptions, GC, tail calls, several or 64-bit memories are not accepted";

/// Where in a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    Module,
    /// A byte of the file, from 0.
    Offset(usize),
    /// A function.
    Function {
        /// Its index, imports first.
        index: u32,
        /// Its name, if the module has names.
        name: Option<String>,
        /// The byte of the file that is meant, if one is.
        offset: Option<usize>,
    },
    /// A function type, by its index.
    Type(u32),
    /// A data or element segment.
    Segment {
        /// `data` or `element`.
        kind: &'static str,
        /// Its index.
        index: u32,
    },
    /// An import.
    Import(String),
    /// An export.
    Export(String),
    /// A custom section.
    Section(&'static str),
}

impl Place {
    /// The function of this index.
    pub(crate) fn function(index: u32) -> Self {
        Self::Function { index, name: None, offset: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module => f.write_str("module"),
            Self::Offset(offset) => write!(f, "offset {offset:#x}"),
            Self::Function { index, name, offset } => {
                write!(f, "function {index}")?;
                if let Some(name) = name {
                    write!(f, " `{name}`")?;
                }
                offset.map_or(Ok(()), |offset| write!(f, " at offset {offset:#x}"))
            }
            Self::Type(index) => write!(f, "type {index}"),
            Self::Segment { kind, index } => write!(f, "{kind} segment {index}"),
            Self::Import(name) => write!(f, "import `{name}`"),
            Self::Export(name) => write!(f, "export `{name}`"),
            Self::Section(name) => write!(f, "custom section `{name}`"),
        }
    }
}

/// Why a module cannot be published. The publisher's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}; {cure}")]
pub struct Refusal {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub reason: String,
    /// What would help.
    pub cure: &'static str,
}

impl Refusal {
    pub(crate) fn new(place: Place, reason: impl Into<String>, cure: &'static str) -> Self {
        Self { place, reason: reason.into(), cure }
    }

    /// What was written is not what runtimes take: a fault of this crate.
    pub(crate) fn not_verified(fault: &manyhands_verifier::Fault) -> Self {
        let place = fault.function.map_or(Place::Module, Place::function);
        Self::new(
            place,
            format!("sealing it went wrong: {fault}"),
            "this is a fault of the sealer; report it with the module",
        )
    }

    /// The verifier reads less than the validator takes.
    pub(crate) fn malformed(Malformed { offset, reason }: Malformed) -> Self {
        Self::new(Place::Offset(offset), reason, PLAIN_TARGET)
    }

    /// The parser's or the validator's own refusal.
    pub(crate) fn invalid(error: &BinaryReaderError) -> Self {
        let reason = error.message().lines().next().unwrap_or("not WebAssembly").to_owned();
        // The parser's texts are all there is to tell these apart by, and only the cure depends on it.
        let cure =
            if reason.contains("enabled") || reason.contains("without the") || reason.contains("multiple memories") {
                PLAIN_TARGET
            } else if reason.contains("end-of-file") {
                "the file is cut short; copy or build it again"
            } else {
                "what wrote this module wrote it wrongly; build it again with `manyhands build`"
            };
        Self::new(Place::Offset(error.offset()), reason, cure)
    }
}
