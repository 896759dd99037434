//! The kernel `sort`.

manyhands_kernels::kernel!(order::sort);
