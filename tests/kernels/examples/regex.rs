//! The kernel `regex`.

manyhands_kernels::kernel!(bytes::regex);
