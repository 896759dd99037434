//! New jobs, built and tested as their authors do it: with cargo, the SDK of this checkout, and nothing from the network.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Bytes of the sealed module of a job that takes bytes and gives bytes.
const RAW_BYTES_MAX: u64 = 12 << 10;
/// Bytes of the sealed module of a new job as it is: with JSON.
const JSON_BYTES_MAX: u64 = 40 << 10;

/// A new job's crate. Always in the same folder for the same test, and of the test's name: what cargo builds is named after it, and
/// all of them share one folder for that.
struct Crate {
    folder: PathBuf,
}

impl Crate {
    fn new(test: &str) -> Self {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("jobs").join(test);
        if parent.exists() {
            std::fs::remove_dir_all(&parent).expect("removed");
        }
        std::fs::create_dir_all(&parent).expect("created");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let sdk = root.join("guest-sdk");
        let made = Command::new(env!("CARGO_BIN_EXE_manyhands"))
            .args(["new", test, "--sdk-path"])
            .arg(sdk)
            .current_dir(&parent)
            .output();
        assert!(made.expect("starts").status.success());
        let folder = parent.join(test);
        // The versions that this checkout was built with are here already.
        std::fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).expect("copied");
        Self { folder }
    }

    fn replace(&self, file: &str, from: &str, to: &str) {
        let path = self.folder.join(file);
        let text = std::fs::read_to_string(&path).expect("read");
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replace(from, to)).expect("written");
    }

    fn says(&self, words: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_manyhands"))
            .args(words.split(' '))
            .current_dir(&self.folder)
            .env("CARGO_NET_OFFLINE", "true")
            // One for all of them and all times, so that only what changed is built.
            .env("CARGO_TARGET_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/scaffold"))
            .output()
            .expect("starts")
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_new_jobs_tests_pass_in_the_sandbox() {
    let job = Crate::new("passing");
    let output = job.says("test --lib");
    let said = stdout(&output);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("test tests::people_are_greeted_by_name ... ok ("), "{said}");
    assert!(said.contains("test result: ok. 2 passed; 0 failed;"), "{said}");
}

/// Tests of every kind, most of which fail, and what allocators have to bear.
const TESTS: &str = r#"
    #[test] fn fine() { manyhands::info!("not shown"); }
    #[test] fn wrong() { manyhands::warn!("shown"); assert_eq!(1 + 1, 3, "arithmetic"); }
    #[test] #[should_panic(expected = "no cake")] fn panics() { panic!("there is no cake"); }
    #[test] #[should_panic(expected = "no tea")] fn panics_otherwise() { panic!("there is no cake"); }
    #[test] #[should_panic] fn does_not_panic() {}
    #[test] #[ignore = "slow"] fn ignored() { panic!("ran"); }
    #[test] fn number() -> Result<(), std::num::ParseIntError> { "x".parse::<u32>().map(drop) }
    #[test] fn deep() { fn down(n: u64) -> u64 { if n == 0 { 0 } else { std::hint::black_box(down(n - 1)) + 1 } } down(u64::MAX); }
    #[test] fn seeded() { manyhands::testing::with_seed([7; 32], || assert_eq!(manyhands::seed(), [7; 32])); assert_eq!(manyhands::seed(), [0; 32]); }
    #[test] fn memory_is_what_was_written_to_it() {
        let mut state = 1u64;
        let mut next = || { state ^= state << 13; state ^= state >> 7; state ^= state << 17; state };
        let mut blocks: Vec<Vec<u8>> = Vec::new();
        for round in 0..20_000 {
            let at = next() as usize % 64;
            let length = next() as usize % (1 << (next() % 16));
            match blocks.get_mut(at) {
                Some(block) if round % 3 == 0 => { let fill = block.first().copied().unwrap_or(9); block.resize(length, fill); }
                Some(block) => { assert!(block.iter().all(|byte| *byte == block[0])); *block = vec![next() as u8; length]; }
                None => blocks.push(vec![next() as u8; length]),
            }
        }
        assert!(blocks.iter().all(|block| block.iter().all(|byte| *byte == block[0])));
    }
"#;

#[test]
fn every_kind_of_end_is_told_with_its_place() {
    let job = Crate::new("failing");
    job.replace("src/lib.rs", "    use super::*;\n", &format!("    use super::*;\n{TESTS}"));
    let output = job.says("test --lib");
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for line in [
        "test tests::fine ... ok (",
        "test tests::seeded ... ok (",
        "test tests::memory_is_what_was_written_to_it ... ok (",
        "test tests::wrong ... FAILED (",
        "test tests::panics - should panic ... ok (",
        "test tests::panics_otherwise - should panic ... FAILED (",
        "test tests::does_not_panic - should panic ... FAILED (",
        "test tests::ignored ... ignored, slow",
        "test tests::number ... FAILED (",
        "test tests::deep ... FAILED (",
        "---- tests::wrong ----\nwarning: shown\nsrc/lib.rs:",
        "assertion `left == right` failed: arithmetic\n  left: 2\n right: 3",
        "it panicked, but not with \"no tea\"",
        "Error: ParseIntError { kind: InvalidDigit }",
        "the job recursed too deeply",
        "test result: FAILED. 6 passed; 5 failed; 1 ignored; 0 measured; 0 filtered out; ",
    ] {
        assert!(said.contains(line), "{line:?} is missing in\n{said}");
    }
    assert!(!said.contains("not shown"), "{said}");

    let output = job.says("test --lib -- --exact tests::fine --nocapture");
    let said = stdout(&output);
    assert!(output.status.success() && said.contains("    info: not shown"), "{output:?}");
    assert!(said.contains("1 passed; 0 failed; 0 ignored; 0 measured; 11 filtered out"), "{said}");
    let output = job.says("test --lib -- --ignored");
    assert!(stdout(&output).contains("0 passed; 1 failed; 0 ignored; 0 measured; 11 filtered out"), "{output:?}");
}

#[test]
fn tests_with_rusts_own_harness_are_refused_with_what_to_do() {
    let job = Crate::new("harness");
    job.replace("Cargo.toml", "test = { package", "unused = { package");
    let output = job.says("test --lib");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("test = { package = \"manyhands-test\""), "{said}");
}

#[test]
fn hello_world_is_small() {
    let job = Crate::new("hello");
    let bytes = sealed_bytes(&job);
    assert!(bytes <= JSON_BYTES_MAX, "{bytes} bytes sealed; at most {JSON_BYTES_MAX}");
    std::fs::write(
        job.folder.join("src/lib.rs"),
        "#[manyhands::job(codec = \"raw\")] pub fn hello(name: &[u8]) -> Vec<u8> { [b\"Hello, \", name, b\"!\"].concat() }",
    )
    .expect("written");
    let bytes = sealed_bytes(&job);
    assert!(bytes <= RAW_BYTES_MAX, "{bytes} bytes sealed; at most {RAW_BYTES_MAX}");
}

fn sealed_bytes(job: &Crate) -> u64 {
    let built = job.says("build --json");
    assert!(built.status.success(), "{built:?}");
    let built: serde_json::Value = serde_json::from_slice(&built.stdout).expect("JSON");
    let checked = job.says(&format!("check {} --json", built["path"].as_str().expect("a path")));
    let checked: serde_json::Value = serde_json::from_slice(&checked.stdout).expect("JSON");
    checked["module_bytes"].as_u64().expect("a number")
}
