//! The corpus in its short form: smaller modules, and more time for whoever builds without optimisation.

use std::path::Path;

use manyhands_hostile::{corpus, trial};

#[test]
fn hostile_modules_are_refused_or_sealed_within_limits() {
    let program = Path::new(env!("CARGO_BIN_EXE_manyhands-hostile"));
    let time = trial::Time { ms_a_mb: 500.0, ms_besides: 200.0 };
    let plan = trial::Plan { bytes: 100_000, time, compile: false };
    let tried: Vec<_> =
        corpus::all().iter().map(|case| trial::one(program, case, &plan).expect("a folder for modules")).collect();
    let broken: Vec<_> = tried.iter().filter(|tried| !tried.broken.is_empty()).collect();
    assert!(broken.is_empty(), "{broken:#?}\n{}", trial::table(&tried).join("\n"));
    // A corpus that is refused altogether says nothing about sealing, and the other way round.
    let refused =
        tried.iter().filter_map(|tried| tried.sealing.as_ref()).filter(|found| found.refusal.is_some()).count();
    assert!(refused >= 40 && tried.len() - refused >= 40, "{refused} of {} are refused", tried.len());
}

#[test]
fn no_beginning_of_a_module_is_taken_for_one() {
    for case in corpus::all().iter().filter(|case| case.name == "a machine of states") {
        let module = (case.make)(2_000);
        assert!(manyhands_sealer::seal(&module).is_ok());
        for cut in 0..module.len() {
            assert!(manyhands_sealer::seal(&module[..cut]).is_err(), "its first {cut} bytes are sealed");
        }
    }
}
