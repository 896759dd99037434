//! The kernel `quicksort`.

manyhands_kernels::kernel!(order::quicksort);
