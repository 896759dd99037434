//! Bytes and text: compression, JSON, regular expressions, edit distance, plain copies.

use std::collections::BTreeMap;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::random::{Random, checksum};

/// Compresses text to DEFLATE and back.
pub fn deflate(rounds: u32) -> u64 {
    let text = Random(2).text(48 << 10).into_bytes();
    let mut sum = 0;
    for _ in 0..rounds {
        let packed = miniz_oxide::deflate::compress_to_vec(&text, 6);
        let unpacked = miniz_oxide::inflate::decompress_to_vec(&packed).unwrap_or_default();
        assert!(unpacked == text, "what was compressed comes back");
        sum = checksum([sum, packed.len() as u64, packed.into_iter().map(u64::from).sum()]);
    }
    sum
}

#[derive(Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: String,
    lines: Vec<Line>,
    note: Option<String>,
    labels: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    article: String,
    price: f64,
    count: i32,
}

/// Parses orders as typed values, changes them, and writes them again.
pub fn json(rounds: u32) -> u64 {
    let mut random = Random(3);
    let orders: Vec<Order> = (0..60).map(|_| order(&mut random)).collect();
    let mut text = serde_json::to_string(&orders).unwrap_or_default();
    for _ in 0..rounds {
        for _ in 0..4 {
            let mut orders: Vec<Order> = serde_json::from_str(&text).unwrap_or_default();
            assert!(orders.len() == 60, "what was written can be read");
            for order in &mut orders {
                order.id = order.id.rotate_left(1);
                for line in &mut order.lines {
                    line.price += 0.25;
                }
            }
            text = serde_json::to_string(&orders).unwrap_or_default();
        }
    }
    checksum(text.into_bytes().into_iter().map(u64::from))
}

fn order(random: &mut Random) -> Order {
    let lines = (0..=random.below(6))
        .map(|_| Line { article: random.text(12), price: random.unit() * 100.0, count: random.below(9) as i32 - 1 })
        .collect();
    let labels = (0..random.below(4)).map(|_| (random.text(6), random.text(20))).collect();
    let note = (random.below(3) == 0).then(|| "\"quoted\" and\tbroken\u{e9}\n".to_owned());
    Order { id: random.bits(), customer: random.text(18), lines, note, labels }
}

/// Parses into values of any shape and walks them.
pub fn json_values(rounds: u32) -> u64 {
    let mut random = Random(4);
    let orders: Vec<Order> = (0..60).map(|_| order(&mut random)).collect();
    let text = serde_json::to_string_pretty(&orders).unwrap_or_default();
    let mut sum = 0;
    for _ in 0..rounds {
        for _ in 0..3 {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            sum = checksum([sum, leaves(&value)]);
        }
    }
    sum
}

fn leaves(value: &serde_json::Value) -> u64 {
    use serde_json::Value;
    match value {
        Value::Array(values) => values.iter().map(leaves).sum(),
        Value::Object(fields) => fields.values().map(leaves).sum(),
        Value::String(text) => text.len() as u64,
        Value::Number(number) => number.as_f64().map_or(0, f64::to_bits) >> 40,
        Value::Null | Value::Bool(_) => 1,
    }
}

/// Finds dates, prices and addresses in text.
///
/// # Panics
/// Never: the expressions are fixed.
#[expect(clippy::expect_used, reason = "the expressions are fixed, and a test runs them")]
pub fn regex(rounds: u32) -> u64 {
    let text = Random(5).text(24 << 10);
    let date = Regex::new(r"(\d{4})-(\d{2})-(\d{2})").expect("an expression");
    let address = Regex::new(r"\b[a-z.]+@[a-z]+(?:\.[a-z]+)+\b").expect("an expression");
    let words = Regex::new(r"(?i)\b(?:KEEPER|tide|l[a-z]*t)\b\s+\w+").expect("an expression");
    let mut sum = 0;
    for _ in 0..rounds {
        for captures in date.captures_iter(&text) {
            sum = checksum([sum, captures[1].parse().unwrap_or(0), captures[3].parse().unwrap_or(0)]);
        }
        for found in address.find_iter(&text).chain(words.find_iter(&text)) {
            sum = checksum([sum, found.start() as u64, found.end() as u64]);
        }
    }
    sum
}

/// Edit distance of two texts, with one row of the table.
pub fn levenshtein(rounds: u32) -> u64 {
    let mut random = Random(6);
    let (left, right) = (random.text(900).into_bytes(), random.text(900).into_bytes());
    let mut sum = 0;
    for round in 0..rounds {
        sum = checksum([sum, edit_distance(&left[round as usize % 7..], &right) as u64]);
    }
    sum
}

pub(crate) fn edit_distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// Copies and fills blocks of all sizes: `memory.copy` and `memory.fill`.
pub fn copies(rounds: u32) -> u64 {
    let mut random = Random(7);
    let mut buffer = random.text(256 << 10).into_bytes();
    let half = buffer.len() / 2;
    for _ in 0..rounds {
        for _ in 0..1000 {
            let bytes = 1 << random.below(16);
            let (from, to) = (random.below(half - bytes), half + random.below(half - bytes));
            buffer.copy_within(from..from + bytes, to);
            let at = random.below(half - bytes / 2);
            buffer[at..at + bytes / 4].fill(bytes as u8);
        }
    }
    checksum(buffer.chunks(8).map(|bytes| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))))
}

/// Counts words in a table and sorts them.
pub fn words(rounds: u32) -> u64 {
    let text = Random(8).text(48 << 10);
    let mut sum = 0;
    for _ in 0..rounds {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for (at, word) in text.split_whitespace().enumerate() {
            let word: String = word.chars().filter(|letter| letter.is_alphanumeric()).collect();
            *counts.entry(word.to_uppercase()).or_default() += at as u64;
        }
        sum = checksum(std::iter::once(sum).chain(counts.into_values()));
    }
    sum
}
