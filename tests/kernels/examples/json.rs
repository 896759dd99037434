//! The kernel `json`.

manyhands_kernels::kernel!(bytes::json);
