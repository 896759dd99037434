//! The kernel `mergesort`.

manyhands_kernels::kernel!(order::mergesort);
