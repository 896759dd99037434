//! The kernel `modpow`.

manyhands_kernels::kernel!(numbers::modpow);
