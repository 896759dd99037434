//! The kernel `btree`.

manyhands_kernels::kernel!(order::btree);
