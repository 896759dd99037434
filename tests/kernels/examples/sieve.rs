//! The kernel `sieve`.

manyhands_kernels::kernel!(order::sieve);
