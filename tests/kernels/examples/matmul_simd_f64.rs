//! The kernel `matmul_simd_f64`.

manyhands_kernels::kernel!(floats::matmul_simd_f64);
