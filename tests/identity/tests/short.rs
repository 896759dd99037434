//! The short form of the proof, with fixed seeds, and its control: on modules that are not sealed engines do
//! differ, and this proof sees it.

#[path = "../../../crates/sealer/tests/weaker/mod.rs"]
mod weaker;

use std::path::PathBuf;

use manyhands_engines::{Failure, Kind};
use manyhands_identity::dice::Dice;
use manyhands_identity::program::{Program, SLOTS};
use manyhands_identity::proof::{Plan, prove};
use manyhands_identity::smith::{self, Job};
use manyhands_identity::team::{ENGINES, Expected, Task, Team};
use manyhands_identity::{jobs, operands, ops, probe, trial};
use manyhands_sealer::seal;
use manyhands_verifier::verify;

/// Whether Node is here. Without it these tests prove too little to be worth their time.
fn node_is_here() -> bool {
    match Kind::Node.open() {
        Err(missing @ Failure::Missing { .. }) => {
            eprintln!("LEFT OUT: {missing}");
            false
        }
        _ => true,
    }
}

#[test]
fn sealed_modules_do_the_same_on_every_engine() {
    if !node_is_here() {
        return;
    }
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("identity");
    let plan = Plan { modules: 240, first: 0, seed: 4, browser_share: None, folder };
    let tally = prove(&plan).expect("engines start");
    assert!(tally.differences.is_empty(), "{:#?}", tally.differences);
    // A proof that never meets something says nothing about it.
    assert_eq!(tally.modules, plan.modules);
    for verdict in ["ok", "trap", "aborted", "out_of_fuel", "out_of_stack"] {
        assert!(tally.verdicts.get(verdict).is_some_and(|count| *count >= 10), "{:?}", tally.verdicts);
    }
    assert!(tally.refused_growths >= 10, "{}", tally.refused_growths);
    assert!(tally.mutants >= 30 && tally.judged >= 100, "{} {}", tally.mutants, tally.judged);
}

#[test]
fn jobs_do_the_same_on_every_engine() {
    if !node_is_here() {
        return;
    }
    let subjects = jobs::written().expect("examples and cases build");
    assert!(subjects.iter().filter(|subject| subject.name.starts_with("jobs/")).count() >= 6);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("identity");
    let plan = trial::Plan { cases: 32, first: 0, seed: 4, browsers: false, folder };
    let tally = trial::prove(&subjects, &plan).expect("engines start");
    assert!(tally.differences.is_empty(), "{:#?}", tally.differences);
    assert_eq!(tally.cases, 32 * subjects.len() as u64);
    for verdict in ["ok", "trap", "aborted", "out_of_fuel", "out_of_stack", "called"] {
        assert!(tally.verdicts.get(verdict).is_some_and(|count| *count >= 10), "{:?}", tally.verdicts);
    }
    let trial::Tally { judged, answered, reduced, refused_growths, .. } = tally;
    assert!(judged >= 60 && answered >= 20 && reduced >= 10, "{judged} {answered} {reduced}");
    assert!(refused_growths >= 5, "{refused_growths}");
}

/// The control: what ends otherwise than somebody had written down is kept, with the command that shows it again.
#[test]
fn a_job_that_ends_otherwise_is_found() {
    let mut subjects = jobs::written().expect("examples and cases build");
    subjects.retain(|subject| subject.name.ends_with("primes.wat"));
    let sample = subjects[0].samples.iter_mut().find_map(|sample| sample.case.as_mut()).expect("a case");
    sample.fuel = sample.fuel.map(|fuel| manyhands_model::Fuel(fuel.0 + 1));
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("identity-control");
    let plan = trial::Plan { cases: subjects[0].samples.len(), first: 0, seed: 4, browsers: false, folder };
    if !node_is_here() {
        return;
    }
    let differences = trial::prove(&subjects, &plan).expect("engines start").differences;
    assert_eq!(differences.len(), 1, "{differences:#?}");
    let folder = differences[0].split(": ").next().expect("a folder");
    let report = std::fs::read_to_string(PathBuf::from(folder).join("report.txt")).expect("a report");
    let replay = "cargo xtask identity --no-probe --modules 0 --seed 4 --job jobs/primes/primes.wat --first-case ";
    assert!(report.starts_with(replay) && report.contains("fuel is"), "{report}");
}

#[test]
fn every_float_instruction_gives_the_bits_of_the_deterministic_profile() {
    if !node_is_here() {
        return;
    }
    let all = ops::all();
    let mut team = Team::open(&ENGINES).expect("engines start");
    let report = probe::probe(&mut team, &all, true).expect("probes can be sealed");
    assert_eq!(report.differences, Vec::<String>::new());
    assert!(report.ops > 130 && report.results > 500_000, "{} {}", report.ops, report.results);
}

#[test]
fn without_sealing_engines_differ_and_the_proof_sees_it() {
    if !node_is_here() {
        return;
    }
    let all = ops::all();
    let mut team = Team::open(&ENGINES).expect("engines start");
    let report = probe::probe(&mut team, &all, false).expect("nothing is sealed");
    for name in ["F32Add", "F64Div", "F64Sqrt", "F32x4Mul", "F64x2Min"] {
        assert!(report.differences.iter().any(|text| text.starts_with(&format!("{name},"))), "{name} never differs");
    }

    let mut differ = 0;
    for index in 0..40 {
        let dice = &mut Dice::new(4, index);
        let program = Program::random(&all, dice);
        let input: Vec<u8> = (0..SLOTS).flat_map(|_| operands::any(dice, ops::Ty::V128).to_le_bytes()).collect();
        let Ok(output) = program.interpret(&input) else { continue };
        let task = Task::run(input, 1, Some(Expected::Output(output)));
        differ += usize::from(!team.check(&program.module(true), &[task], 1 << 20).differences.is_empty());
    }
    assert!(differ > 0, "forty programs full of NaNs, and no engine shows one");
}

/// Programs have loops that count, and noise has none.
fn miscounts_are_refused(at_least: usize) {
    let all = ops::all();
    let mut count = 0;
    for index in 0.. {
        if count >= at_least {
            break;
        }
        let source = smith::with_manifest(Program::random(&all, &mut Dice::new(6, index)).module(false), 1 << 20);
        let Ok(sealed) = seal(&source) else { continue };
        for (what, weaker) in weaker::all(&sealed.bytes) {
            if what.starts_with(weaker::IN_LOOP) {
                count += 1;
                assert!(verify(&weaker).is_err(), "program {index} of seed 6: {what} was accepted");
            }
        }
    }
}

#[test]
fn whoever_miscounts_a_loop_is_refused() {
    miscounts_are_refused(600);
}

#[test]
#[ignore = "the long form"]
fn ten_thousand_who_miscount_a_loop_are_refused() {
    miscounts_are_refused(10_000);
}

/// Modules in which code behind endless loops was paid for that nobody reaches, so that a unit less was still enough.
const ENDLESS: [u64; 4] = [18, 44, 303, 368];

/// 600 of them with every other test, ten thousand and more with `--ignored`.
fn whoever_pays_less_is_refused(at_least: usize) {
    let mut count = 0;
    for index in ENDLESS.into_iter().chain(0..) {
        if count >= at_least {
            break;
        }
        let mut dice = Dice::new(5, index);
        let Ok(job) = Job::random(&mut dice, false) else { continue };
        let source = smith::with_manifest(job.module, job.memory_bytes);
        let Ok(sealed) = seal(&source) else { continue };
        for (what, weaker) in weaker::all(&sealed.bytes) {
            count += 1;
            assert!(verify(&weaker).is_err(), "module {index} of seed 5: {what} was accepted");
        }
    }
}

#[test]
fn whoever_pays_or_looks_less_is_refused() {
    whoever_pays_less_is_refused(600);
}

#[test]
#[ignore = "the long form"]
fn ten_thousand_who_pay_or_look_less_are_refused() {
    whoever_pays_less_is_refused(10_000);
}
