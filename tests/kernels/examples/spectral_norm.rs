//! The kernel `spectral_norm`.

manyhands_kernels::kernel!(floats::spectral_norm);
