//! Same module, same sealed bytes, whatever machine the sealer runs on: it is compiled to WebAssembly, sealed by itself and executed
//! on other engines, and must write there what it writes here.

use std::path::Path;
use std::process::Command;

use manyhands_engines::Kind;
use manyhands_identity::dice::Dice;
use manyhands_identity::smith::{self, Job};
use manyhands_identity::team::{ENGINES, Expected, Task, Team};
use manyhands_sealer::seal;

/// Bytes of memory and units of fuel that sealing a megabyte takes at most.
const MEMORY_BYTES: u64 = 256 << 20;
const FUEL: u64 = 50_000_000_000;

/// The sealer as a module with a manifest.
fn the_sealer() -> Vec<u8> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seals");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(workspace).args(["build", "--quiet", "--release", "--package", "manyhands-seals"]);
    cargo.args(["--target", "wasm32-unknown-unknown", "--target-dir"]).arg(&target);
    // Quick to build; the panic must not unwind, as in every job.
    cargo.args(["--config", "profile.release.panic=\"abort\"", "--config", "profile.release.opt-level=1"]);
    cargo.args(["--config", "profile.release.lto=false", "--config", "profile.release.codegen-units=16"]);
    assert!(cargo.status().is_ok_and(|status| status.success()), "the sealer does not build for WebAssembly");
    let module = std::fs::read(target.join("wasm32-unknown-unknown/release/manyhands_seals.wasm")).expect("was built");
    smith::with_manifest(module, MEMORY_BYTES)
}

#[test]
fn the_sealer_writes_the_same_bytes_when_it_runs_as_webassembly() {
    let source = the_sealer();
    let sealer = seal(&source).expect("the sealer can be sealed");
    // Where Node is missing, those in this process.
    let engines = if Kind::Node.open().is_ok() { &ENGINES[..] } else { &ENGINES[..2] };
    let mut team = Team::open(engines).expect("engines start");
    // Itself, and modules of all kinds.
    let mut modules = vec![source];
    for index in 0..12 {
        let Ok(job) = Job::random(&mut Dice::new(6, index), false) else { continue };
        modules.push(smith::with_manifest(job.module, job.memory_bytes));
    }
    let tasks: Vec<Task> = modules
        .into_iter()
        .map(|module| {
            let expected = match seal(&module) {
                Ok(sealed) => sealed.bytes,
                Err(refusal) => refusal.to_string().into_bytes(),
            };
            Task::run(module, FUEL, Some(Expected::Output(expected)))
        })
        .collect();
    let report = team.check(&sealer.bytes, &tasks, 8 << 20);
    assert_eq!(report.differences, Vec::<String>::new());
}
