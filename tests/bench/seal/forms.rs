//! The forms of one kernel that are compared.

use manyhands_sealer::{Passes, rewrite, seal, strip};
use wasm_encoder::{CustomSection, Section as _};

use super::corpus::Kernel;

/// Modules that compute the same.
pub(crate) struct Forms {
    pub(crate) name: &'static str,
    /// Without what sealing leaves out, so that sizes compare.
    pub(crate) unsealed: Vec<u8>,
    /// The same with other bytes, so that no engine takes it for the other one.
    pub(crate) control: Vec<u8>,
    /// With fuel and stack.
    pub(crate) metered: Vec<u8>,
    /// With everything: what is published.
    pub(crate) sealed: Vec<u8>,
    /// The same, and charged for nothing that is not executed.
    pub(crate) exact: Vec<u8>,
}

impl Forms {
    /// # Panics
    /// When the sealer refuses the kernel.
    pub(crate) fn of(kernel: &Kernel) -> Self {
        let sealed = seal(&kernel.module).unwrap_or_else(|refusal| panic!("{}: {refusal}", kernel.name));
        let unsealed = strip::strip(&kernel.module).expect("a module");
        let mut control = unsealed.clone();
        CustomSection { name: "control".into(), data: (&[]).into() }.append_to(&mut control);
        let made = |passes: Passes| {
            let bytes = rewrite(&unsealed, sealed.manifest.limits.memory_bytes, &passes);
            bytes.unwrap_or_else(|refusal| panic!("{}: {refusal}", kernel.name))
        };
        Self {
            name: kernel.name,
            metered: made(Passes { nan: false, ..Passes::ALL }),
            exact: made(Passes { exact: true, ..Passes::ALL }),
            sealed: sealed.bytes,
            unsealed,
            control,
        }
    }
}
