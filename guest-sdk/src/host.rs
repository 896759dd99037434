//! The border to the runtime: the imported functions in a sandbox, stand-ins everywhere else.

#[cfg(target_arch = "wasm32")]
mod guest;
#[cfg(target_arch = "wasm32")]
pub use guest::{abort, input, output};
#[cfg(target_arch = "wasm32")]
pub(crate) use guest::{call, log, progress, seed, with_seed};

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{abort, call, log, progress, seed, with_seed};
