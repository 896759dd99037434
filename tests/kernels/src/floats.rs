//! Floats: planets, matrices, spectra, pictures. Those with `simd` in their name are the same source with
//! vectors of 128 bits, which the compiler finds by itself.

use crate::random::{Random, checksum};

/// The Sun and four planets: position, velocity and mass, in astronomical units, years and solar masses.
const PLANETS: [[f64; 7]; 5] = [
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
    [4.841, -1.160, -0.1036, 0.6063, 2.812, -0.02522, 0.000_954_8],
    [8.343, 4.125, -0.4035, -1.011, 1.825, 0.008_416, 0.000_285_9],
    [12.894, -15.111, -0.2233, 1.083, 0.8687, -0.010_83, 0.000_043_66],
    [15.379, -25.919, 0.1793, 0.9791, 0.5947, -0.034_76, 0.000_051_51],
];

/// Five bodies that attract each other.
pub fn nbody(rounds: u32) -> u64 {
    let mut bodies = PLANETS;
    for _ in 0..rounds {
        for _ in 0..5000 {
            step(&mut bodies, 0.001);
        }
    }
    checksum(bodies.as_flattened().iter().map(|value| value.to_bits()))
}

pub(crate) fn step(bodies: &mut [[f64; 7]; 5], dt: f64) {
    // Four times pi squared: the constant of gravity in these units.
    const GRAVITY: f64 = 39.478_417_604_357_43;
    for i in 0..5 {
        for j in i + 1..5 {
            let d: [f64; 3] = std::array::from_fn(|axis| bodies[i][axis] - bodies[j][axis]);
            let square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
            let pull = GRAVITY * dt / (square * square.sqrt());
            let (mass, other) = (bodies[i][6], bodies[j][6]);
            for axis in 0..3 {
                bodies[i][3 + axis] -= d[axis] * other * pull;
                bodies[j][3 + axis] += d[axis] * mass * pull;
            }
        }
    }
    for body in bodies {
        for axis in 0..3 {
            body[axis] += dt * body[3 + axis];
        }
    }
}

const SIDE: usize = 96;

macro_rules! matmul {
    ($name:ident, $multiply:ident, $float:ty, $doc:literal $(, $feature:literal)?) => {
        #[doc = $doc]
        pub fn $name(rounds: u32) -> u64 {
            let mut random = Random(30);
            let mut matrix = || (0..SIDE * SIDE).map(|_| random.unit() as $float - 0.5).collect::<Vec<_>>();
            let (mut a, b) = (matrix(), matrix());
            let mut c = vec![0.0; SIDE * SIDE];
            for _ in 0..rounds {
                for _ in 0..2 {
                    $multiply(&a, &b, &mut c);
                    std::mem::swap(&mut a, &mut c);
                }
            }
            checksum(a.into_iter().map(|value| value.to_bits().into()))
        }

        // Row by row, so that the inner loop walks both matrices in order of their memory.
        $(#[cfg_attr(target_arch = "wasm32", target_feature(enable = $feature))])?
        pub(crate) fn $multiply(a: &[$float], b: &[$float], c: &mut [$float]) {
            for (a, c) in a.chunks_exact(SIDE).zip(c.chunks_exact_mut(SIDE)) {
                c.fill(0.0);
                for (a, b) in a.iter().zip(b.chunks_exact(SIDE)) {
                    for (c, b) in c.iter_mut().zip(b) {
                        *c += a * b;
                    }
                }
            }
        }
    };
}

matmul!(matmul_f64, multiply_f64, f64, "Multiplies matrices of doubles.");
matmul!(matmul_f32, multiply_f32, f32, "Multiplies matrices of singles.");
matmul!(matmul_simd_f64, multiply_simd_f64, f64, "Multiplies matrices of doubles, two at a time.", "simd128");
matmul!(matmul_simd_f32, multiply_simd_f32, f32, "Multiplies matrices of singles, four at a time.", "simd128");

/// Multiplies matrices by dot products, each of which stays in a register.
pub fn matmul_dot(rounds: u32) -> u64 {
    let mut random = Random(31);
    let mut matrix = || (0..SIDE * SIDE).map(|_| random.unit() - 0.5).collect::<Vec<_>>();
    let (mut a, b) = (matrix(), matrix());
    for _ in 0..rounds {
        let product = |at: usize| {
            let (row, column) = (&a[at / SIDE * SIDE..][..SIDE], &b[at % SIDE * SIDE..][..SIDE]);
            row.iter().zip(column).map(|(a, b)| a * b).sum()
        };
        a = (0..SIDE * SIDE).map(product).collect();
    }
    checksum(a.into_iter().map(f64::to_bits))
}

/// A fast Fourier transform of 4096 complex numbers, and back.
pub fn fft(rounds: u32) -> u64 {
    let mut random = Random(32);
    let mut signal: Vec<[f64; 2]> = (0..4096).map(|_| [random.unit(), 0.0]).collect();
    let turns = turns(signal.len());
    for _ in 0..rounds {
        transform(&mut signal, &turns, 1.0);
        transform(&mut signal, &turns, -1.0);
        let size = signal.len() as f64;
        signal.as_flattened_mut().iter_mut().for_each(|value| *value /= size);
    }
    checksum(signal.as_flattened().iter().map(|value| value.to_bits()))
}

/// The roots of one.
pub(crate) fn turns(size: usize) -> Vec<[f64; 2]> {
    let angle = |at: usize| -std::f64::consts::TAU * at as f64 / size as f64;
    (0..size / 2).map(|at| [angle(at).cos(), angle(at).sin()]).collect()
}

pub(crate) fn transform(signal: &mut [[f64; 2]], turns: &[[f64; 2]], direction: f64) {
    let size = signal.len();
    let bits = size.trailing_zeros();
    for at in 0..size {
        let other = at.reverse_bits() >> (usize::BITS - bits);
        if at < other {
            signal.swap(at, other);
        }
    }
    let mut half = 1;
    while half < size {
        let stride = size / (2 * half);
        for block in signal.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for ((low, high), turn) in low.iter_mut().zip(high).zip(turns.iter().step_by(stride)) {
                let (re, im) = (turn[0], turn[1] * direction);
                let turned = [high[0] * re - high[1] * im, high[0] * im + high[1] * re];
                *high = [low[0] - turned[0], low[1] - turned[1]];
                *low = [low[0] + turned[0], low[1] + turned[1]];
            }
        }
        half *= 2;
    }
}

const PICTURE: usize = 192;

/// Shrinks a grey picture of bytes with linear interpolation in integers.
pub fn resize_bytes(rounds: u32) -> u64 {
    let mut random = Random(33);
    let picture: Vec<u8> = (0..PICTURE * PICTURE).map(|_| random.bits() as u8).collect();
    let mut sum = 0;
    for round in 0..rounds {
        for size in 0..12 {
            let small = bilinear(&picture, 100 + size * 4 + round as usize % 3);
            sum = checksum([sum, small.into_iter().map(u64::from).sum()]);
        }
    }
    sum
}

pub(crate) fn bilinear(picture: &[u8], side: usize) -> Vec<u8> {
    let step = ((PICTURE - 1) << 8) / side;
    let mut small = Vec::with_capacity(side * side);
    for row in 0..side {
        let (y, fy) = (row * step / 256, (row * step % 256) as u32);
        let (upper, lower) = (&picture[y * PICTURE..][..PICTURE], &picture[(y + 1) * PICTURE..][..PICTURE]);
        for column in 0..side {
            let (x, fx) = (column * step / 256, (column * step % 256) as u32);
            let mix = |row: &[u8]| u32::from(row[x]) * (256 - fx) + u32::from(row[x + 1]) * fx;
            small.push(((mix(upper) * (256 - fy) + mix(lower) * fy) >> 16) as u8);
        }
    }
    small
}

/// Shrinks a picture of singles with Lanczos' kernel, rows first, then columns.
pub fn resize_lanczos(rounds: u32) -> u64 {
    let mut random = Random(34);
    let picture: Vec<f32> = (0..PICTURE * PICTURE).map(|_| random.unit() as f32 * 255.0).collect();
    let mut sum = 0;
    for round in 0..rounds {
        let side = 120 + round as usize % 3;
        let taps = taps(side);
        let narrow = shrink(&picture, &taps);
        let small = shrink(&narrow, &taps);
        sum = checksum(std::iter::once(sum).chain(small.into_iter().map(|value| value.to_bits().into())));
    }
    sum
}

/// For each pixel of the small picture: where its window begins, and the weights.
pub(crate) fn taps(side: usize) -> Vec<(usize, Vec<f32>)> {
    let scale = PICTURE as f32 / side as f32;
    let sinc = |x: f32| if x == 0.0 { 1.0 } else { (std::f32::consts::PI * x).sin() / (std::f32::consts::PI * x) };
    let tap = |at: usize| {
        let middle = (at as f32 + 0.5) * scale;
        let from = (middle - 3.0 * scale).max(0.0) as usize;
        let to = ((middle + 3.0 * scale) as usize).min(PICTURE - 1);
        let distance = |pixel: usize| (pixel as f32 + 0.5 - middle) / scale;
        let weight = |x: f32| if x.abs() < 3.0 { sinc(x) * sinc(x / 3.0) } else { 0.0 };
        let mut weights: Vec<f32> = (from..=to).map(|pixel| weight(distance(pixel))).collect();
        let sum: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        (from, weights)
    };
    (0..side).map(tap).collect()
}

/// Shrinks each row of [`PICTURE`] pixels, and lays the result out column by column.
pub(crate) fn shrink(picture: &[f32], taps: &[(usize, Vec<f32>)]) -> Vec<f32> {
    let rows = picture.len() / PICTURE;
    let mut small = Vec::with_capacity(taps.len() * rows);
    for (from, weights) in taps {
        for row in picture.chunks_exact(PICTURE) {
            small.push(row[*from..].iter().zip(weights).map(|(pixel, weight)| pixel * weight).sum());
        }
    }
    small
}

/// Softens a picture of bytes, sixteen at a time.
pub fn blur_simd(rounds: u32) -> u64 {
    let mut random = Random(35);
    let mut picture: Vec<u8> = (0..PICTURE * PICTURE).map(|_| random.bits() as u8).collect();
    let mut soft = picture.clone();
    for _ in 0..rounds {
        for _ in 0..40 {
            blur(&picture, &mut soft);
            std::mem::swap(&mut picture, &mut soft);
        }
    }
    checksum(picture.into_iter().map(u64::from))
}

#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
pub(crate) fn blur(picture: &[u8], soft: &mut [u8]) {
    let windows = picture.chunks_exact(PICTURE).zip(picture[PICTURE..].chunks_exact(PICTURE));
    for ((upper, lower), soft) in windows.zip(soft.chunks_exact_mut(PICTURE)) {
        let pixels = upper.iter().zip(&upper[1..]).zip(lower.iter().zip(&lower[1..]));
        for (soft, ((a, b), (c, d))) in soft.iter_mut().zip(pixels) {
            let sum = u16::from(*a) + u16::from(*b) + u16::from(*c) + u16::from(*d);
            *soft = ((sum + 2) >> 2) as u8;
        }
    }
}

/// Escape times of points around the Mandelbrot set.
pub fn mandelbrot(rounds: u32) -> u64 {
    let mut sum = 0;
    for _ in 0..rounds {
        for row in 0..48 {
            for column in 0..64 {
                let (re, im) = (f64::from(column) / 20.0 - 2.4, f64::from(row) / 20.0 - 1.2);
                sum = checksum([sum, escape(re, im, 200).into()]);
            }
        }
    }
    sum
}

pub(crate) fn escape(re: f64, im: f64, steps: u32) -> u32 {
    let (mut x, mut y) = (0.0_f64, 0.0_f64);
    for step in 0..steps {
        let (xx, yy) = (x * x, y * y);
        if xx + yy > 4.0 {
            return step;
        }
        (x, y) = (xx - yy + re, 2.0 * x * y + im);
    }
    steps
}

/// The norm of an endless matrix, of which a square of 120 is looked at.
pub fn spectral_norm(rounds: u32) -> u64 {
    let mut sum = 0;
    for round in 0..rounds {
        sum = checksum([sum, norm(120 + round as usize % 2, 4).to_bits()]);
    }
    sum
}

pub(crate) fn norm(size: usize, steps: u32) -> f64 {
    let entry = |i: usize, j: usize| 1.0 / (((i + j) * (i + j + 1) / 2 + i + 1) as f64);
    let times = |v: &[f64]| -> Vec<f64> {
        (0..size).map(|i| v.iter().enumerate().map(|(j, value)| entry(i, j) * value).sum()).collect()
    };
    let transposed = |v: &[f64]| -> Vec<f64> {
        (0..size).map(|i| v.iter().enumerate().map(|(j, value)| entry(j, i) * value).sum()).collect()
    };
    let mut u = vec![1.0; size];
    let mut v = u.clone();
    for _ in 0..steps {
        v = transposed(&times(&u));
        u = transposed(&times(&v));
    }
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    (dot(&u, &v) / dot(&v, &v)).sqrt()
}
