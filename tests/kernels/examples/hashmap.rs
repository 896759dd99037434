//! The kernel `hashmap`.

manyhands_kernels::kernel!(order::hashmap);
