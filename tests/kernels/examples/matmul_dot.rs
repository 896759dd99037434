//! The kernel `matmul_dot`.

manyhands_kernels::kernel!(floats::matmul_dot);
