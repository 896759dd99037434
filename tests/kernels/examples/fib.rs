//! The kernel `fib`.

manyhands_kernels::kernel!(numbers::fib);
