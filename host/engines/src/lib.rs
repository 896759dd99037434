//! Executes sealed modules on other engines than the runner's own, to see that they agree.
//!
//! An [`Engine`] loads a module and executes units of it, each in a fresh instance; how it ended is read by
//! [`manyhands_verifier::ending`], as every runtime must. [`Kind::open`] starts one: Node and browsers are
//! child processes that live as long as the engine, and talk in the frames of [`manyhands_javascript::frame`].
//!
//! Absent on purpose: the sandbox. Nothing here may execute a stranger's module.

mod browser;
mod difference;
pub mod divergence;
mod http;
mod kind;
#[cfg(feature = "cranelift")]
pub mod native;
mod node;
pub mod spent;
mod talk;
pub mod weave;

pub use crate::browser::chromium_arguments;
pub use crate::difference::{difference, first_byte};
pub use crate::kind::{Kind, UnknownKind};
pub use manyhands_javascript::{Executed, Unit};

use manyhands_javascript::{SCRIPT, Unanswered};
use manyhands_verifier::ending::NoOutcome;

/// Why there is nothing to compare. Never the module's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The program is not installed.
    #[error("{name} is not installed; {cure}")]
    Missing {
        /// Which.
        name: &'static str,
        /// How to get it.
        cure: &'static str,
    },
    /// The engine does not take the module. It takes every module that is sealed.
    #[error("the engine refuses the module: {0}")]
    Refused(String),
    /// The execution has no outcome.
    #[error("{cause}: {said}")]
    NoOutcome {
        /// Why.
        cause: NoOutcome,
        /// What the engine said, for people.
        said: String,
    },
    /// It took longer than it may, and the engine was ended.
    #[error("no answer within {0} seconds")]
    Overtime(u64),
    /// The engine's process ended, or talks nonsense.
    #[error("the engine is gone: {0}")]
    Gone(String),
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Unreadable => Self::Gone(unanswered.to_string()),
            Unanswered::NoOutcome { cause, said } => Self::NoOutcome { cause, said },
        }
    }
}

/// What an engine behind pipes or a page executes.
pub(crate) fn script() -> String {
    [SCRIPT, include_str!("serve.mjs")].concat()
}

/// One engine. After any [`Failure`] it can be used again; a process that ended is started anew.
pub trait Engine: Send {
    /// Compiles the module that the next units are of.
    ///
    /// # Errors
    /// [`Failure`].
    fn load(&mut self, sealed: &[u8]) -> Result<(), Failure>;

    /// Executes a unit of the loaded module in a fresh instance.
    ///
    /// # Errors
    /// [`Failure`].
    fn execute(&mut self, unit: &Unit<'_>) -> Result<Executed, Failure>;
}
