//! The kernel `mandelbrot`.

manyhands_kernels::kernel!(floats::mandelbrot);
