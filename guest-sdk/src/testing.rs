//! For a job's tests: what the runtime would supply.

use manyhands_abi::token::{BYTES, CHECK, CLASS, DIGITS, PAYLOAD, PREFIX, check};

use crate::Sensitive;
use crate::token::{Class, Joinable, Token};

/// Runs `test` with [`seed`](crate::seed) returning `seed` on this thread.
pub fn with_seed<T>(seed: [u8; manyhands_abi::SEED_BYTES], test: impl FnOnce() -> T) -> T {
    crate::host::with_seed(seed, test)
}

/// Runs `test` with an API of the test's own: what it says to a verb and its slots, as JSON text, is what
/// [`call`](crate::call) returns on this thread.
pub fn with_calls<T>(
    api: impl FnMut(&str, &str) -> Result<String, crate::Fault> + 'static,
    test: impl FnOnce() -> T,
) -> T {
    crate::call::with_calls(Box::new(api), test)
}

/// A token that stands for `value` in a test: equal values have equal ones. In a run nobody would know it.
pub fn token<C: Class>(value: &str) -> Token<C> {
    let mut token = [0; BYTES];
    token[..CLASS].copy_from_slice(PREFIX);
    token[CLASS] = C::LETTER;
    // FNV-1a, whose state goes on after the value's end; it hides nothing, and need not.
    let step = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut state = value.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    for digit in &mut token[PAYLOAD..CHECK] {
        state = step(state, 0);
        *digit = DIGITS[(state >> 59) as usize];
    }
    let check = check(&token);
    token[CHECK..].copy_from_slice(&check);
    Token::of(token)
}

/// As [`token`], for fields in which equal values have equal tokens.
pub fn joinable<C: Class>(value: &str) -> Joinable<C> {
    Joinable::of(token(value))
}

/// What the manifest of a job with this input says of its sensitive fields, as JSON text; nothing if there is none.
///
/// # Panics
/// When it is longer than 32 KiB.
pub fn sensitive<T: Sensitive + ?Sized>() -> String {
    let list = crate::sensitive::list::<{ 32 << 10 }>(T::SHAPE);
    let text = list.text.get(..list.bytes);
    assert!(text.is_some(), "a list of {} bytes; at most 32 KiB can be shown", list.bytes);
    String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
}
