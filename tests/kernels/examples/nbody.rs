//! The kernel `nbody`.

manyhands_kernels::kernel!(floats::nbody);
