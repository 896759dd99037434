//! Every file that fuzzing found worth keeping, through the same functions, without a fuzzer.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use manyhands_fuzz::{TARGETS, Target, corpora};

/// All corpora together: what everybody downloads. Unit: bytes.
const CORPORA_BYTES_MAX: u64 = 300 << 10;
/// One input takes microseconds; nothing but an endless loop takes this long.
const INPUT_TIME_MAX: Duration = Duration::from_secs(10);

fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let dir = corpora().join(target.name);
    let files = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let read = |file: fs::DirEntry| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap());
    let mut corpus: Vec<_> = files.map(|file| read(file.unwrap())).collect();
    corpus.sort();
    corpus
}

#[test]
fn what_fuzzing_found_keeps_every_promise() {
    let mut failed = Vec::new();
    for target in TARGETS {
        for (file, bytes) in corpus(target) {
            let began = Instant::now();
            let kept = catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes))).is_ok();
            if !kept || began.elapsed() > INPUT_TIME_MAX {
                failed.push(format!("cargo xtask fuzz {} --input tests/fuzz/corpora/{0}/{file}", target.name));
            }
        }
    }
    assert!(failed.is_empty(), "replay with\n{}", failed.join("\n"));
}

#[test]
fn seeds_are_real_messages_and_the_corpora_hold_todays() {
    for target in TARGETS {
        let corpus = corpus(target);
        for (number, seed) in (target.seeds)().iter().enumerate() {
            assert!((target.run)(seed), "seed {number} of {} means nothing", target.name);
            assert!(
                corpus.iter().any(|(_, bytes)| bytes == seed),
                "seed {number} of {} is not in its corpus; run `cargo xtask fuzz --seed-corpora`",
                target.name
            );
        }
    }
}

#[test]
fn no_seed_survives_being_cut_or_flipped_with_a_broken_promise() {
    for target in TARGETS.iter().filter(|target| !target.name.starts_with("store")) {
        for seed in (target.seeds)() {
            let step = seed.len() / 64 + 1;
            for at in (0..seed.len()).step_by(step) {
                (target.run)(&seed[..at]);
                let mut flipped = seed.clone();
                flipped[at] ^= 0x41;
                (target.run)(&flipped);
            }
        }
    }
}

#[test]
fn corpora_are_small_and_belong_to_somebody() {
    let mut bytes = 0;
    for folder in fs::read_dir(corpora()).unwrap() {
        let folder = folder.unwrap();
        let name = folder.file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|target| target.name == name), "no target `{name}` any more; remove its corpus");
        bytes += fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>();
    }
    assert!(bytes <= CORPORA_BYTES_MAX, "{bytes} bytes of corpora; run `cargo xtask fuzz --minimise`");
}
