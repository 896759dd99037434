//! SHA-256, with the crate that everybody uses.

use sha2::{Digest as _, Sha256};

use crate::random::{Random, checksum};

/// Digests half a MiB a round.
pub fn sha256(rounds: u32) -> u64 {
    let text = Random(1).text(64 << 10);
    let mut chain = [0; 32];
    for _ in 0..rounds {
        for _ in 0..8 {
            chain = Sha256::new().chain_update(chain).chain_update(&text).finalize().into();
        }
    }
    checksum(chain.map(u64::from))
}
