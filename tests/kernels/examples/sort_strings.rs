//! The kernel `sort_strings`.

manyhands_kernels::kernel!(order::sort_strings);
