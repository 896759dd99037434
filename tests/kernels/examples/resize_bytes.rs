//! The kernel `resize_bytes`.

manyhands_kernels::kernel!(floats::resize_bytes);
