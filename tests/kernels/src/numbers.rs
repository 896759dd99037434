//! Arithmetic without floats: recursion, division, an interpreter, calls through tables.

use std::hint::black_box;

use crate::random::{Random, checksum};

/// Fibonacci numbers by their definition.
pub fn fib(rounds: u32) -> u64 {
    (0..rounds).fold(0, |sum, round| checksum([sum, fibonacci(black_box(25 + round % 2))]))
}

pub(crate) fn fibonacci(n: u32) -> u64 {
    if n < 2 { n.into() } else { fibonacci(n - 1) + fibonacci(n - 2) }
}

/// Takeuchi's function: recursion in its own arguments.
pub fn tak(rounds: u32) -> u64 {
    (0..rounds).fold(0, |sum, round| checksum([sum, takeuchi(black_box(17 + (round % 2) as i32), 10, 4) as u64]))
}

pub(crate) fn takeuchi(x: i32, y: i32, z: i32) -> i32 {
    if y >= x { z } else { takeuchi(takeuchi(x - 1, y, z), takeuchi(y - 1, z, x), takeuchi(z - 1, x, y)) }
}

/// Ackermann's function: deep recursion.
pub fn ackermann(rounds: u32) -> u64 {
    (0..rounds).fold(0, |sum, round| checksum([sum, ack(3, black_box(6 + u64::from(round % 2)))]))
}

pub(crate) fn ack(m: u64, n: u64) -> u64 {
    match (m, n) {
        (0, n) => n + 1,
        (m, 0) => ack(m - 1, 1),
        (m, n) => ack(m - 1, ack(m, n - 1)),
    }
}

/// Powers modulo odd numbers of 32 bits: multiplication and remainder.
pub fn modpow(rounds: u32) -> u64 {
    let mut random = Random(20);
    let mut sum = 0;
    for _ in 0..rounds {
        for _ in 0..2000 {
            let modulus = (random.bits() >> 32) | 1;
            sum = checksum([sum, power(random.bits() % modulus, random.bits() >> 32, modulus)]);
        }
    }
    sum
}

pub(crate) fn power(mut base: u64, mut exponent: u64, modulus: u64) -> u64 {
    let mut result = 1 % modulus;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * base % modulus;
        }
        base = base * base % modulus;
        exponent >>= 1;
    }
    result
}

/// What the little machine of [`interpreter`] can do.
#[derive(Clone, Copy)]
enum Op {
    Set(u8, i64),
    Add(u8, u8),
    Mul(u8, u8),
    Xor(u8, u8),
    Shift(u8, u8),
    Load(u8, u8),
    Store(u8, u8),
    Less(u8, u8),
    Skip,
    Back(u16),
    Swap(u8, u8),
    End,
}

/// Runs a program for a machine with eight registers: one large `match` in a loop.
pub fn interpreter(rounds: u32) -> u64 {
    let program = [
        Op::Set(0, 0),
        Op::Set(1, 1),
        Op::Set(2, 0x9E37_79B9),
        Op::Set(3, 40_000),
        Op::Set(6, 13),
        Op::Mul(4, 2),
        Op::Add(4, 0),
        Op::Xor(5, 4),
        Op::Shift(5, 6),
        Op::Store(0, 5),
        Op::Load(7, 4),
        Op::Xor(4, 7),
        Op::Swap(4, 5),
        Op::Add(0, 1),
        Op::Less(0, 3),
        Op::Skip,
        Op::Back(11),
        Op::End,
    ];
    let mut sum = 0;
    for round in 0..rounds {
        let mut registers = [round as i64 + 1; 8];
        let mut memory = [0_i64; 256];
        execute(&program, &mut registers, &mut memory);
        sum = checksum([sum, registers[4] as u64, registers[5] as u64]);
    }
    sum
}

fn execute(program: &[Op], registers: &mut [i64; 8], memory: &mut [i64; 256]) {
    let mut at = 0;
    let mut flag = false;
    loop {
        let r = |register: u8| usize::from(register & 7);
        match program[at] {
            Op::Set(to, value) => registers[r(to)] = value,
            Op::Add(to, by) => registers[r(to)] = registers[r(to)].wrapping_add(registers[r(by)]),
            Op::Mul(to, by) => registers[r(to)] = registers[r(to)].wrapping_mul(registers[r(by)]),
            Op::Xor(to, by) => registers[r(to)] ^= registers[r(by)],
            Op::Shift(to, by) => registers[r(to)] = registers[r(to)].rotate_left(registers[r(by)] as u32 & 63),
            Op::Load(to, from) => registers[r(to)] = memory[registers[r(from)] as u8 as usize],
            Op::Store(to, from) => memory[registers[r(to)] as u8 as usize] = registers[r(from)],
            Op::Less(left, right) => flag = registers[r(left)] < registers[r(right)],
            Op::Skip if flag => {}
            Op::Skip => at += 1,
            Op::Back(by) => {
                at -= usize::from(by);
                continue;
            }
            Op::Swap(left, right) => registers.swap(r(left), r(right)),
            Op::End => return,
        }
        at += 1;
    }
}

trait Shape {
    fn area(&self, scale: i64) -> i64;
}
struct Square(i64);
struct Strip(i64, i64);
struct Corner(i64, i64, i64);

impl Shape for Square {
    fn area(&self, scale: i64) -> i64 {
        self.0.wrapping_mul(self.0).wrapping_mul(scale)
    }
}
impl Shape for Strip {
    fn area(&self, scale: i64) -> i64 {
        self.0.wrapping_mul(self.1) ^ scale
    }
}
impl Shape for Corner {
    fn area(&self, scale: i64) -> i64 {
        self.0.wrapping_mul(self.1).wrapping_sub(self.2).wrapping_add(scale)
    }
}

/// Methods of trait objects: calls through the table, to functions of a few instructions.
pub fn shapes(rounds: u32) -> u64 {
    let mut random = Random(21);
    let shapes: Vec<Box<dyn Shape>> = (0..1000)
        .map(|at| {
            let (a, b, c) = (random.bits() as i64 >> 40, random.bits() as i64 >> 40, random.bits() as i64 >> 40);
            match at % 3 {
                0 => Box::new(Square(a)) as Box<dyn Shape>,
                1 => Box::new(Strip(a, b)),
                _ => Box::new(Corner(a, b, c)),
            }
        })
        .collect();
    let mut sum = 0_i64;
    for _ in 0..rounds {
        for scale in 0..200 {
            sum = shapes.iter().fold(sum, |sum, shape| sum.wrapping_add(shape.area(scale)));
        }
    }
    checksum([sum as u64])
}
