//! Order and search: sorting, tables, backtracking, a sieve.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;

use crate::random::{Random, checksum};

const SORTED: usize = 24 << 10;

fn numbers(seed: u64) -> Vec<u64> {
    let mut random = Random(seed);
    (0..SORTED).map(|_| random.bits() >> random.below(40)).collect()
}

fn sorted(rounds: u32, seed: u64, sort: impl Fn(&mut Vec<u64>)) -> u64 {
    let numbers = numbers(seed);
    let mut sum = 0;
    for round in 0..rounds {
        let mut numbers: Vec<u64> = numbers.iter().map(|number| number.rotate_left(round)).collect();
        sort(&mut numbers);
        assert!(numbers.is_sorted(), "sorting sorts");
        sum = checksum(std::iter::once(sum).chain(numbers.into_iter().step_by(64)));
    }
    sum
}

/// The standard library's `sort_unstable`.
pub fn sort(rounds: u32) -> u64 {
    sorted(rounds, 10, |numbers| numbers.sort_unstable())
}

/// The standard library's stable sort, of strings.
pub fn sort_strings(rounds: u32) -> u64 {
    let mut random = Random(11);
    let lines: Vec<String> = (0..2000).map(|_| random.text(24)).collect();
    let mut sum = 0;
    for round in 0..rounds {
        let mut lines: Vec<&str> = lines.iter().map(|line| &line[round as usize % 4..]).collect();
        lines.sort();
        sum = checksum(std::iter::once(sum).chain(lines.into_iter().map(|line| line.len() as u64)));
    }
    sum
}

/// Quicksort by hand: recursive, the middle as pivot, and a partition without branches that nobody could predict.
pub fn quicksort(rounds: u32) -> u64 {
    sorted(rounds, 12, |numbers| quick(numbers))
}

fn quick(numbers: &mut [u64]) {
    let [_, .., _] = numbers else { return };
    let last = numbers.len() - 1;
    numbers.swap(numbers.len() / 2, last);
    let pivot = numbers[last];
    let mut low = 0;
    for at in 0..last {
        numbers.swap(at, low);
        low += usize::from(numbers[low] < pivot);
    }
    numbers.swap(low, last);
    let (left, right) = numbers.split_at_mut(low);
    quick(left);
    quick(&mut right[1..]);
}

/// Merge sort by hand, from short runs to long ones.
pub fn mergesort(rounds: u32) -> u64 {
    sorted(rounds, 13, |numbers| {
        let mut other = numbers.clone();
        let mut width = 1;
        while width < numbers.len() {
            for (from, to) in numbers.chunks(2 * width).zip(other.chunks_mut(2 * width)) {
                merge(from, width.min(from.len()), to);
            }
            std::mem::swap(numbers, &mut other);
            width *= 2;
        }
    })
}

fn merge(from: &[u64], middle: usize, to: &mut [u64]) {
    let (mut left, mut right) = (0, middle);
    for place in to {
        let take_left = right == from.len() || (left < middle && from[left] <= from[right]);
        let at = if take_left { &mut left } else { &mut right };
        *place = from[*at];
        *at += 1;
    }
}

/// Insertions, look-ups, removals and walks in a B-tree.
pub fn btree(rounds: u32) -> u64 {
    let mut random = Random(14);
    let mut map = BTreeMap::new();
    let mut sum = 0;
    for _ in 0..rounds {
        for turn in 0..6000 {
            let key = random.bits() >> 50;
            match turn % 4 {
                0 => sum ^= map.remove(&key).unwrap_or(1),
                1 => sum = map.range(key..).take(4).fold(sum, |sum: u64, (key, value)| sum.wrapping_add(key ^ value)),
                _ => sum = sum.wrapping_add(map.insert(key, sum).unwrap_or(2)),
            }
        }
    }
    checksum([sum, map.len() as u64])
}

/// The same in a hash map with the standard library's hasher.
pub fn hashmap(rounds: u32) -> u64 {
    let mut random = Random(15);
    let mut map = HashMap::new();
    let mut sum = 0_u64;
    for _ in 0..rounds {
        for turn in 0..16_000 {
            let key = random.bits() >> 50;
            match turn % 4 {
                0 => sum ^= map.remove(&key).unwrap_or(1),
                1 => sum = sum.wrapping_add(map.get(&key).copied().unwrap_or(3)),
                _ => sum = sum.wrapping_add(map.insert(key, sum).unwrap_or(2)),
            }
        }
    }
    checksum([sum, map.len() as u64])
}

/// Ways to place eight queens, and nine.
pub fn nqueens(rounds: u32) -> u64 {
    let mut sum = 0;
    for _ in 0..rounds {
        sum = checksum([sum, queens(black_box(8), 0, 0, 0), queens(black_box(9), 0, 0, 0)]);
    }
    sum
}

pub(crate) fn queens(width: u32, columns: u32, left: u32, right: u32) -> u64 {
    let all = (1 << width) - 1;
    if columns == all {
        return 1;
    }
    let mut free = all & !(columns | left | right);
    let mut ways = 0;
    while free != 0 {
        let queen = free & free.wrapping_neg();
        free ^= queen;
        ways += queens(width, columns | queen, (left | queen) << 1, (right | queen) >> 1);
    }
    ways
}

/// Primes below half a million.
pub fn sieve(rounds: u32) -> u64 {
    let mut sum = 0;
    for _ in 0..rounds {
        sum = checksum([sum, primes_below(black_box(500_000))]);
    }
    sum
}

pub(crate) fn primes_below(end: usize) -> u64 {
    let mut prime = vec![true; end];
    let mut count = 0;
    for number in 2..end {
        if prime[number] {
            count += 1;
            prime.iter_mut().skip(number * number).step_by(number).for_each(|multiple| *multiple = false);
        }
    }
    count
}
