//! The kernel `blur_simd`.

manyhands_kernels::kernel!(floats::blur_simd);
