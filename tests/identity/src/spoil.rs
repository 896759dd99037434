//! Inputs that nobody meant: some still say something, most are refused by the job, and what it does then is to be the same everywhere.

use manyhands_decoys::Pool;

use crate::dice::Dice;

/// Numbers at which readers and sums go wrong.
const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "-1",
    "1e308",
    "1e309",
    "5e-324",
    "-0.0",
    "0.1",
    "NaN",
    "1e",
    "255",
    "256",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775808",
    "18446744073709551615",
    "340282350000000000000000000000000000000",
];
/// Bytes that readers of JSON tell apart, and some that are no text.
const BYTES: &[u8] = b"\"\\{}[],:0-e. \n\0\x7f\x80\xc3\xe2\xff";
/// How deep what is nested is.
const DEPTHS: &[usize] = &[1, 20, 127, 128, 200, 5_000];
/// No input is made longer than this. Unit: bytes.
const BYTES_MAX: usize = 64 << 10;

/// One or a few changes of a text.
pub fn spoil(text: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..1 + dice.below(3) {
        once(text, dice);
    }
    text.truncate(BYTES_MAX);
}

/// An input whose parts are those of these, where they are JSON and enough; else one of them.
pub fn drawn(samples: &[&[u8]], dice: &mut Dice) -> Vec<u8> {
    let seed = [dice.bits(), dice.bits()].map(u128::to_le_bytes).concat();
    let pool = Pool::new(samples.iter().copied()).ok();
    let drawn = pool.zip(seed.try_into().ok()).and_then(|(pool, seed)| pool.draw(seed, None));
    drawn.unwrap_or_else(|| dice.pick(samples).to_vec())
}

fn once(text: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(text.len() + 1);
    let span = |dice: &mut Dice, text: &[u8]| at..text.len().min(at + 1 + dice.below(16));
    match dice.below(9) {
        0 if at < text.len() => text[at] ^= 1 << dice.below(8),
        1 if at < text.len() => text[at] = *dice.pick(BYTES),
        2 => text.truncate(at),
        3 => drop(text.drain(span(dice, text))),
        4 => {
            let twice = text[span(dice, text)].to_vec();
            text.splice(at..at, twice);
        }
        5 => text.insert(at, *dice.pick(BYTES)),
        6 | 7 => {
            let digits: Vec<usize> = (0..text.len()).filter(|at| text[*at].is_ascii_digit()).collect();
            if !digits.is_empty() {
                let from = *dice.pick(&digits);
                let number = text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                text.splice(from..from + number, dice.pick(NUMBERS).bytes());
            }
        }
        8 => {
            let depth = *dice.pick(DEPTHS);
            let (open, close) = *dice.pick(&[("[", "]"), (r#"{"a":"#, "}"), ("[", "")]);
            let nested = [open.repeat(depth), "1".into(), close.repeat(depth)].concat();
            text.splice(at..at, nested.into_bytes());
        }
        _ => text.extend(dice.bytes(4)),
    }
}
