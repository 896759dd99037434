//! The kernel `matmul_f32`.

manyhands_kernels::kernel!(floats::matmul_f32);
