//! The kernel `sha256`.

manyhands_kernels::kernel!(hashing::sha256);
