//! The kernel `ackermann`.

manyhands_kernels::kernel!(numbers::ackermann);
