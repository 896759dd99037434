//! The kernel `words`.

manyhands_kernels::kernel!(bytes::words);
