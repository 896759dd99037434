//! The kernel `fft`.

manyhands_kernels::kernel!(floats::fft);
