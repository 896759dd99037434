//! The kernel `resize_lanczos`.

manyhands_kernels::kernel!(floats::resize_lanczos);
