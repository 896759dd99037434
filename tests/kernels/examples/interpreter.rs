//! The kernel `interpreter`.

manyhands_kernels::kernel!(numbers::interpreter);
