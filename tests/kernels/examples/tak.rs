//! The kernel `tak`.

manyhands_kernels::kernel!(numbers::tak);
