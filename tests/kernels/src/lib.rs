//! What `cargo xtask bench seal` measures: small real programs and kernels, each a job.
//!
//! A kernel is a function from a number of rounds to a checksum; a round takes a millisecond or a few. Each has an example
//! of its name, a module of its own that takes the rounds as its input (`u32`, little-endian) and answers
//! with the checksum (`u64`, little-endian). Which there are, and of what kind: `tests/bench/seal/corpus.rs`.

pub mod bytes;
pub mod floats;
pub mod hashing;
pub mod numbers;
pub mod order;
pub mod random;

/// Makes a job of a kernel.
#[macro_export]
macro_rules! kernel {
    ($($kernel:ident)::+) => {
        /// From rounds to a checksum.
        #[manyhands::job(codec = "raw")]
        pub fn kernel(rounds: [u8; 4]) -> [u8; 8] {
            $crate::$($kernel)::+(u32::from_le_bytes(rounds)).to_le_bytes()
        }
    };
}

#[cfg(test)]
mod tests;
