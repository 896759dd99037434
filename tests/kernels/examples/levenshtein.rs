//! The kernel `levenshtein`.

manyhands_kernels::kernel!(bytes::levenshtein);
