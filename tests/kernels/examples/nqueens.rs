//! The kernel `nqueens`.

manyhands_kernels::kernel!(order::nqueens);
