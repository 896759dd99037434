//! The engines that there are, by the names that people type.

use core::fmt;
use core::str::FromStr;

use crate::{Engine, Failure, browser, node};

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// V8 as Node has it: a quick compiler first, the optimising one for what runs often.
    Node,
    /// V8's quick compiler alone.
    NodeLiftoff,
    /// V8's optimising compiler alone.
    NodeTurbofan,
    /// V8 in a worker of Chromium.
    Chromium,
    /// SpiderMonkey in a worker of Firefox.
    Firefox,
    /// wasmtime's optimising compiler, in this process.
    #[cfg(feature = "cranelift")]
    Cranelift,
    /// wasmtime's quick compiler, in this process.
    #[cfg(feature = "in-process")]
    Winch,
}

impl Kind {
    /// All that this build has.
    pub const ALL: &[Self] = &[
        #[cfg(feature = "cranelift")]
        Self::Cranelift,
        #[cfg(feature = "in-process")]
        Self::Winch,
        Self::NodeLiftoff,
        Self::NodeTurbofan,
        Self::Node,
        Self::Chromium,
        Self::Firefox,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::NodeLiftoff => "node-liftoff",
            Self::NodeTurbofan => "node-turbofan",
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
            #[cfg(feature = "cranelift")]
            Self::Cranelift => "cranelift",
            #[cfg(feature = "in-process")]
            Self::Winch => "winch",
        }
    }

    /// Starts the engine.
    ///
    /// # Errors
    /// [`Failure::Missing`] where its program is not installed, [`Failure::Gone`] where that does not start.
    pub fn open(self) -> Result<Box<dyn Engine>, Failure> {
        Ok(match self {
            Self::Node => Box::new(node::open(&[])?),
            Self::NodeLiftoff => Box::new(node::open(&["--liftoff-only"])?),
            Self::NodeTurbofan => Box::new(node::open(&["--no-liftoff"])?),
            Self::Chromium => Box::new(browser::open(browser::CHROMIUM)?),
            Self::Firefox => Box::new(browser::open(browser::FIREFOX)?),
            #[cfg(feature = "cranelift")]
            Self::Cranelift => Box::new(crate::native::Native::new(wasmtime::Strategy::Cranelift)?),
            #[cfg(feature = "in-process")]
            Self::Winch => Box::new(crate::native::Native::new(wasmtime::Strategy::Winch)?),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no engine has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no engine `{0}`")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name).ok_or_else(|| UnknownKind(name.to_owned()))
    }
}
