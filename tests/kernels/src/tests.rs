//! Kernels compute what their names say: facts that anybody can look up.

use crate::{bytes, floats, numbers, order};

#[test]
fn counts_are_the_known_ones() {
    assert_eq!(order::queens(8, 0, 0, 0), 92);
    assert_eq!(order::queens(9, 0, 0, 0), 352);
    assert_eq!(order::primes_below(500_000), 41_538);
    assert_eq!(numbers::fibonacci(20), 6765);
    assert_eq!(numbers::takeuchi(12, 8, 4), 5);
    assert_eq!(numbers::ack(2, 3), 9);
    assert_eq!(numbers::power(3, 200, 1_000_003), (0..200).fold(1, |power, _| power * 3 % 1_000_003));
    assert_eq!(bytes::edit_distance(b"kitten", b"sitting"), 3);
    assert_eq!(bytes::edit_distance(b"", b"work"), 4);
}

fn energy(bodies: &[[f64; 7]; 5]) -> f64 {
    let mut energy = 0.0;
    for (i, a) in bodies.iter().enumerate() {
        energy += 0.5 * a[6] * (a[3] * a[3] + a[4] * a[4] + a[5] * a[5]);
        for b in &bodies[i + 1..] {
            let d: f64 = (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum::<f64>().sqrt();
            energy -= 39.478_417_604_357_43 * a[6] * b[6] / d;
        }
    }
    energy
}

#[test]
fn planets_keep_their_energy() {
    let mut bodies = [[0.0; 7]; 5];
    // A body of one solar mass, and another that circles it once a year.
    bodies[0][6] = 1.0;
    bodies[1] = [1.0, 0.0, 0.0, 0.0, std::f64::consts::TAU, 0.0, 1e-6];
    for (number, body) in bodies.iter_mut().enumerate().skip(2) {
        body[0] = 1e6 * number as f64; // Too far away to matter.
    }
    let before = energy(&bodies);
    (0..1000).for_each(|_| floats::step(&mut bodies, 0.001));
    assert!((energy(&bodies) / before - 1.0).abs() < 1e-3);
    assert!((bodies[1][0] - 1.0).abs() < 0.01 && bodies[1][1].abs() < 0.05, "back after a year: {:?}", bodies[1]);
}

#[test]
fn vectors_give_the_bits_of_scalars() {
    assert_eq!(floats::matmul_simd_f64(2), floats::matmul_f64(2));
    assert_eq!(floats::matmul_simd_f32(2), floats::matmul_f32(2));
    assert_ne!(floats::matmul_f64(2), floats::matmul_f64(1));
}

#[test]
fn a_tone_has_one_line_in_its_spectrum() {
    let size = 64;
    let tone = |at: usize| [(std::f64::consts::TAU * 5.0 * at as f64 / size as f64).cos(), 0.0];
    let signal: Vec<[f64; 2]> = (0..size).map(tone).collect();
    let mut spectrum = signal.clone();
    floats::transform(&mut spectrum, &floats::turns(size), 1.0);
    for (line, [re, im]) in spectrum.iter().enumerate() {
        let expected = if line == 5 || line == size - 5 { 32.0 } else { 0.0 };
        assert!((re - expected).abs() < 1e-9 && im.abs() < 1e-9, "line {line}: {re} {im}");
    }
    floats::transform(&mut spectrum, &floats::turns(size), -1.0);
    for (back, signal) in spectrum.iter().zip(&signal) {
        assert!((back[0] / 64.0 - signal[0]).abs() < 1e-12);
    }
}

#[test]
fn a_picture_of_one_grey_stays_so() {
    assert!(floats::bilinear(&[77; 192 * 192], 100).iter().all(|pixel| *pixel == 77));
    let taps = floats::taps(100);
    let narrow = floats::shrink(&[77.0; 192 * 192], &taps);
    assert!(floats::shrink(&narrow, &taps).iter().all(|pixel| (pixel - 77.0).abs() < 0.01));
    let mut soft = [0; 192 * 192];
    floats::blur(&[77; 192 * 192], &mut soft);
    assert!(soft[..192 * 191].chunks(192).all(|row| row[..191].iter().all(|pixel| *pixel == 77)));
}

#[test]
fn what_escapes_and_what_converges() {
    assert_eq!(floats::escape(0.0, 0.0, 500), 500);
    assert_eq!(floats::escape(2.0, 2.0, 500), 1);
    assert!((floats::norm(100, 10) - 1.274_219_991).abs() < 1e-8);
}

/// The others check themselves while they run; here they only have to get to their end, and not to the same.
#[test]
fn rounds_change_the_answer() {
    for kernel in [
        bytes::deflate,
        bytes::json,
        bytes::json_values,
        bytes::regex,
        bytes::copies,
        bytes::words,
        order::sort,
        order::sort_strings,
        order::quicksort,
        order::mergesort,
        order::btree,
        order::hashmap,
        numbers::interpreter,
        numbers::shapes,
        crate::hashing::sha256,
    ] {
        assert_ne!(kernel(1), kernel(2));
    }
}
