//! The kernel `copies`.

manyhands_kernels::kernel!(bytes::copies);
