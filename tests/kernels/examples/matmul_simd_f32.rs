//! The kernel `matmul_simd_f32`.

manyhands_kernels::kernel!(floats::matmul_simd_f32);
