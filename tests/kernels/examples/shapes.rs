//! The kernel `shapes`.

manyhands_kernels::kernel!(numbers::shapes);
