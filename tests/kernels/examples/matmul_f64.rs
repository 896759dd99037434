//! The kernel `matmul_f64`.

manyhands_kernels::kernel!(floats::matmul_f64);
