//! The kernel `json_values`.

manyhands_kernels::kernel!(bytes::json_values);
