//! The kernel `deflate`.

manyhands_kernels::kernel!(bytes::deflate);
