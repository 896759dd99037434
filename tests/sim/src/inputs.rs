//! What units read: records that are made up for the world, and decoys that the production code draws of them.
//!
//! How long a unit takes follows from its input, as it does in life.

use manyhands_decoys::Pool;
use manyhands_model::UnitId;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// Records of which a decoy is drawn.
const POOL: usize = 64;

/// What is seen of an input, by name.
pub(crate) const SEEN: [&str; 8] = [
    "the input's length",
    "what takes it long",
    "its kind",
    "its number",
    "how many tags it has",
    "its first tag",
    "whether it has a note",
    "the note's length",
];

/// A unit's input: one record, whose fields have nothing to do with each other.
pub(crate) fn of(unit: UnitId) -> String {
    let mut random = ChaCha8Rng::seed_from_u64(u64::from(unit.index) << 32 | u64::from(unit.run.0[3]));
    let mut below = |most: u32| random.next_u32() % most;
    let size = (mixed(unit) * 65536.0) as u32;
    // Some are rare.
    let kind = ["order", "order", "order", "order", "return", "return", "gift", "fraud"][below(8) as usize];
    let number = 100_000 + below(900_000);
    let tags: Vec<String> = (0..below(5)).map(|_| format!("\"t{}\"", below(20))).collect();
    let note = if below(3) == 0 { format!(",\"note\":\"{}\"", "x".repeat(below(60) as usize)) } else { String::new() };
    format!("{{\"size\":{size},\"kind\":\"{kind}\",\"number\":{number},\"tags\":[{}]{note}}}", tags.join(","))
}

/// A decoy's input: drawn of some of its run's own, of which there are so many.
pub(crate) fn of_decoy(unit: UnitId, inputs: u32) -> String {
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(unit.run.as_bytes());
    seed[16..20].copy_from_slice(&unit.index.to_le_bytes());
    let mut random = ChaCha8Rng::from_seed(seed);
    let pool: Vec<String> = (0..POOL).map(|_| of(UnitId { index: random.next_u32() % inputs, ..unit })).collect();
    let pool = Pool::new(pool.iter().map(String::as_bytes)).expect("JSON");
    let drawn = pool.draw(seed, None).expect("fields can be mixed");
    String::from_utf8(drawn).expect("JSON")
}

/// From 0 up to 1: where between the least and the most a unit's work is, which its input says.
pub(crate) fn mixed(unit: UnitId) -> f64 {
    let mixed = (unit.index ^ (unit.index >> 7)).wrapping_mul(0x9E37_79B1) >> 16;
    f64::from(mixed) / 65536.0
}

/// The same of an input.
pub(crate) fn work(input: &str) -> f64 {
    read(input)["size"].as_f64().unwrap_or_default() / 65536.0
}

#[expect(clippy::cast_possible_truncation, reason = "features")]
pub(crate) fn seen(input: &str) -> [f32; SEEN.len()] {
    let record = read(input);
    let letters = |text: &serde_json::Value| text.as_str().unwrap_or_default().bytes().map(u32::from).sum::<u32>();
    let tags = record["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
    let note = record["note"].as_str();
    [
        input.len() as f32,
        record["size"].as_f64().unwrap_or_default() as f32,
        letters(&record["kind"]) as f32,
        record["number"].as_f64().unwrap_or_default() as f32,
        tags.len() as f32,
        tags.first().map_or(-1.0, |tag| letters(tag) as f32),
        f32::from(u8::from(note.is_some())),
        note.map_or(-1.0, |note| note.len() as f32),
    ]
}

fn read(input: &str) -> serde_json::Value {
    serde_json::from_str(input).expect("JSON")
}
