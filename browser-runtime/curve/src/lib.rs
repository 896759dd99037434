//! Ed25519 for browsers that have none, or not on pages that came over plain HTTP.
//!
//! It is `manyhands_signing`, as the runner has it, in a Web Worker of its own (`web/curve.js`), and fetched where it is needed only.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::vec::Vec;

use manyhands_signing::{Claim, Keypair, PublicKey};
use wasm_bindgen::prelude::*;

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

/// Nobody could read what a panic says, so nothing of it is kept.
#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

/// The public half of a key, by its 32 secret bytes; nothing if they are not 32.
#[wasm_bindgen]
pub fn public_key(secret: &[u8]) -> Option<Vec<u8>> {
    Some(keypair(secret)?.public().0.to_vec())
}

/// The 64 bytes of a signature over `message`; nothing if the secret ones are not 32.
#[wasm_bindgen]
pub fn sign(secret: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    Some(keypair(secret)?.sign(message).to_bytes().to_vec())
}

/// Whether `signature` is `signer`'s over `message`; no if they have not their lengths.
#[wasm_bindgen]
pub fn verify(signer: &[u8], signature: &[u8], message: Vec<u8>) -> bool {
    let (Ok(signer), Ok(signature)) = (signer.try_into(), <[u8; 64]>::try_from(signature)) else { return false };
    Claim { signer: PublicKey(signer), message, signature: signature.into() }.fits()
}

fn keypair(secret: &[u8]) -> Option<Keypair> {
    secret.try_into().ok().map(Keypair::from_seed)
}
