//! The simulator itself, in worlds so small that every test run can afford them: that it shows what is known of other people's
//! rules, and the same every time. The long form is `cargo xtask sim`.

use manyhands_scheduler::Level;
use manyhands_sim::{Adversary, Figures, Rule, Scene};

const ADAPTIVE: Rule = Rule::Earned(Level::Adaptive, 1_000_000);
const FULL: Rule = Rule::Earned(Level::Full, 10_000);

fn rules() -> Vec<Rule> {
    [manyhands_sim::rule::OTHERS, &[Rule::Fixed, ADAPTIVE, FULL]].concat()
}

fn scene(rule: Rule, hostile_percent: u32, adversary: &str) -> Scene {
    let adversary = adversary.parse().expect("a constant");
    Scene {
        seed: 1,
        workers: 100,
        units: 10_000,
        hostile_percent,
        adversary,
        visitors_percent: 0,
        assumed_percent: 30,
        long_runs: 0,
        restarts: 0,
        decoys_permille: 0,
        calls: false,
        rule,
    }
}

fn play(scene: &Scene) -> Figures {
    let figures = scene.play(&|_| ());
    eprintln!("{:.1e} @ {:.2}: {scene}", figures.wrong_share(), figures.replicas);
    figures
}

fn assert_about(what: &str, figure: f64, expected: f64, tolerance: f64) {
    assert!((figure / expected - 1.0).abs() <= tolerance, "{what}: {figure:.3e} instead of about {expected:.3e}");
}

/// The share of wrong answers and the replicas of a colluding tenth, in closed form: a unit errs where two or three of
/// three are theirs, 3p²(1-p) + p³, and two that agree take a third replica where they do not, 2 + 2p(1-p).
#[test]
fn a_plain_majority_errs_as_often_as_arithmetic_says() {
    let two = play(&scene(Rule::QuorumOfTwo, 10, "gang:0:1000"));
    assert_about("wrong", two.wrong_share(), 0.028, 0.25);
    assert_about("replicas", two.replicas, 2.18, 0.03);
    let three = play(&scene(Rule::TwoOfThree, 10, "gang:0:1000"));
    assert_about("wrong", three.wrong_share(), 0.028, 0.25);
    assert_about("replicas", three.replicas, 3.0, 0.03);
}

/// What others measured in worlds of their own: 3.6e-2 of the answers wrong at 1.10 replicas for hosts that are right ten times before they
/// collude, and nothing at 1.04 replicas where nobody cheats.
#[test]
fn boinc_trusts_those_who_behave_ten_times() {
    let gang = play(&scene(Rule::Boinc, 10, "gang:10:1000"));
    assert_about("wrong", gang.wrong_share(), 0.036, 0.6);
    assert_about("replicas", gang.replicas, 1.15, 0.1);
    let honest = play(&scene(Rule::Boinc, 0, "none"));
    assert_eq!(honest.wrong_once, 0);
    assert!(honest.replicas < 1.2, "{}", honest.replicas);
}

/// It aims at 1e-4. Quizzes for one worker show nothing of those who cheat only together, and once two are credible enough, f² of
/// the first two replicas are theirs.
#[test]
fn credibility_is_blind_for_those_who_know_that_they_share_a_unit() {
    let long = |adversary| play(&Scene { workers: 30, ..scene(Rule::Credibility, 30, adversary) });
    let (alone, together) = (long("gang:0:1000"), long("together:2:600"));
    assert!(alone.wrong_share() <= 1e-4, "{alone:?}");
    assert!(together.wrong_share() >= 1e-3, "{together:?}");
}

/// A classifier that learns from half of the workers what the others' leases look like can only guess which of them are checks. The
/// long form, over more leases: `cargo xtask sim --tells`.
#[test]
fn attack_34_nobody_tells_a_check_from_another_lease() {
    for rule in [ADAPTIVE, FULL] {
        let scene = Scene { workers: 24, units: 16_000, ..scene(rule, 0, "none") };
        let tells = scene.observe(&|_| ()).checks.expect("there are enough leases to learn from");
        assert!(tells.told > 0.1 && tells.asked > 2_000, "{tells:?}");
        assert!(tells.auc < 0.56, "{tells:?}");
    }
}

/// The same of decoys, many of them so that there is something to learn: whether a record was submitted or drawn of others, nobody tells. The
/// long form: `cargo xtask sim --tells --decoys 20`.
#[test]
fn attack_34_nobody_tells_a_decoy_from_an_input() {
    for rule in [ADAPTIVE, FULL] {
        let scene = Scene { workers: 24, units: 12_000, decoys_permille: 200, ..scene(rule, 0, "none") };
        let tells = scene.observe(&|_| ()).decoys.expect("there are enough leases to learn from");
        assert!((0.14..0.20).contains(&tells.told) && tells.asked > 4_000, "{tells:?}");
        assert!(tells.auc < 0.53, "{tells:?}");
    }
}

/// The same where each unit asks for a call and is executed again with the answer: neither what a decoy hears nor when tells. The long form:
/// `cargo xtask sim --tells --calls --decoys 20`.
#[test]
fn attack_34_nobody_tells_a_decoy_that_asks_for_a_call_from_a_unit() {
    let scene = Scene { workers: 24, units: 8_000, decoys_permille: 200, calls: true, ..scene(FULL, 0, "none") };
    let tells = scene.observe(&|_| ()).decoys.expect("there are enough leases to learn from");
    assert!((0.14..0.20).contains(&tells.told) && tells.asked > 4_000, "{tells:?}");
    assert!(tells.auc < 0.53, "{tells:?}");
}

/// Decoys cost what they take and harm nothing, also where the coordinator begins anew.
#[test]
fn with_decoys_answers_are_as_right_as_without() {
    for rule in [ADAPTIVE, FULL] {
        for (adversary, hostile) in [("none", 0), ("gang:10:1000", 30), ("hunter:100", 30)] {
            let scene = Scene { decoys_permille: 50, restarts: 5, ..scene(rule, hostile, adversary) };
            let figures = play(&scene);
            assert!(figures.wrong <= 10, "{adversary}: {figures:?}");
            assert_eq!((figures.undecided, figures.honest_banned), (0, 0), "{adversary}: {figures:?}");
        }
    }
}

/// Three in ten are hostile. Those who are worst for the others, and those who are worst for this, get one answer in a thousand wrong at most; more cannot be seen in
/// a world of ten thousand. Nobody who is honest is banned for it.
#[test]
fn earned_answers_hold_against_those_who_break_the_rules_of_others() {
    for adversary in
        ["gang:0:1000", "gang:10:1000", "sleeper:100", "hunter:100", "together:2:100", "runaway:110:1", "ghost:110:1"]
    {
        for rule in [ADAPTIVE, FULL] {
            let figures = play(&scene(rule, 30, adversary));
            assert!(figures.wrong <= 10, "{adversary}: {figures:?}");
            assert_eq!((figures.undecided, figures.honest_banned), (0, 0), "{adversary}: {figures:?}");
        }
    }
}

/// Three in ten who only say random bytes, never answer or answer too late take little from the others, and each of them little in all.
#[test]
fn attack_36_griefers_are_soon_left_alone() {
    for rule in [ADAPTIVE, FULL] {
        let honest = play(&scene(rule, 0, "none"));
        for adversary in ["liar:1000", "mute", "late"] {
            let grieved = play(&scene(rule, 30, adversary));
            let share = grieved.throughput / honest.throughput;
            assert!(share >= 0.6, "{adversary}: {share:.2} of the answers a second");
            assert!(grieved.in_vain_max <= 20, "{adversary}: {} leases", grieved.in_vain_max);
            assert!(grieved.own_runs <= 0.05, "{adversary}: {:.3} audits a unit", grieved.own_runs);
            assert_eq!((grieved.wrong, grieved.honest_banned), (0, 0), "{adversary}: {grieved:?}");
        }
    }
}

/// Nine in ten are pages that somebody looks at for a minute, and three in ten of them are closed in the middle of a unit.
#[test]
fn what_visitors_give_is_not_wasted() {
    for rule in [ADAPTIVE, FULL] {
        let figures = play(&Scene { visitors_percent: 90, ..scene(rule, 0, "none") });
        assert_eq!(figures.wrong_once, 0);
        assert!(figures.time_counted >= 0.9, "{figures:?}");
    }
}

/// The same, and half of the work is in units that take five minutes: visitors are given the others, and nine tenths of what is
/// donated still counts.
#[test]
fn visitors_are_given_what_they_can_finish() {
    for rule in [Rule::Fixed, ADAPTIVE] {
        let figures = play(&Scene { visitors_percent: 90, units: 2_000, long_runs: 4, ..scene(rule, 0, "none") });
        assert_eq!((figures.wrong_once, figures.undecided), (0, 0));
        assert!(figures.time_counted >= 0.9, "{figures:?}");
    }
}

/// Pages that are open for a minute do most of the work. Without them the runners of the same world bring 1.8 answers a second.
#[test]
fn visitors_are_useful() {
    for (rule, at_least) in [(ADAPTIVE, 6.0), (FULL, 4.0)] {
        let figures = play(&Scene { visitors_percent: 90, assumed_percent: 10, ..scene(rule, 0, "none") });
        assert_eq!((figures.wrong_once, figures.undecided), (0, 0));
        assert!(figures.throughput >= at_least, "{figures:?}");
        assert!(figures.time_counted >= 0.9, "{figures:?}");
    }
}

/// Its memory is gone seven times, and what is on the disk is enough: no answer is lost, and no more are wrong.
#[test]
fn a_coordinator_that_begins_anew_goes_on_where_it_was() {
    for (adversary, hostile) in [("none", 0), ("gang:10:1000", 30), ("sleeper:100", 30)] {
        for rule in [Rule::Fixed, ADAPTIVE, FULL] {
            let scene = scene(rule, hostile, adversary);
            let (once, often) = (play(&scene), play(&Scene { restarts: 7, ..scene }));
            assert_eq!(often.units, once.units);
            assert_eq!((often.undecided, often.honest_banned), (once.undecided, once.honest_banned), "{often:?}");
            assert!(often.replicas <= once.replicas * 1.1 + 0.1, "{once:?} {often:?}");
            if rule != Rule::Fixed {
                assert!(often.wrong <= 10, "{often:?}");
            }
        }
    }
}

#[test]
fn a_world_without_cheats_has_no_wrong_answer() {
    for rule in rules() {
        let figures = play(&scene(rule, 0, "none"));
        assert_eq!((figures.wrong_once, figures.undecided, figures.honest_banned), (0, 0, 0), "{rule}");
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    for rule in rules() {
        let scene = Scene { units: 2_000, ..scene(rule, 30, "together:2:10") };
        assert_eq!(play(&scene), play(&scene), "{rule}");
        assert_ne!(play(&Scene { seed: 2, ..scene }), play(&scene), "{rule}");
    }
}

#[test]
fn every_adversary_plays_to_the_end() {
    for adversary in manyhands_sim::adversary::ALL {
        for rule in rules() {
            let scene = scene(rule, 30, "none");
            let figures =
                play(&Scene { adversary: *adversary, workers: 20, units: 300, visitors_percent: 50, ..scene });
            assert!(figures.replicas >= 1.0, "{adversary}, {rule}");
        }
    }
}

#[test]
fn a_scene_is_written_as_the_command_that_shows_it_again() {
    let text = scene(Rule::Boinc, 10, "sleeper:10").to_string();
    assert_eq!(
        text,
        "cargo xtask sim --seed 1 --adversary sleeper:10 --hostile 10 --rule boinc --workers 100 --units 10000 --visitors 0 --assumed 30 --decoys 0"
    );
    let more = Scene { long_runs: 2, restarts: 3, calls: true, ..scene(Rule::Fixed, 10, "mute") }.to_string();
    assert!(more.ends_with("--assumed 30 --long-runs 2 --restarts 3 --decoys 0 --calls"), "{more}");
    assert_eq!("sleeper:10".parse(), Ok(Adversary::Sleeper { honest: 10 }));
}

/// Who says that a unit cost ten times what it did, and whose accomplices say so too, is paid that. Where answers are earned that is a wrong answer
/// like any other, so it is as seldom, and what was paid for it is taken back when one of them is caught. A fixed quorum never looks again.
#[test]
fn fuel_that_nobody_burnt_is_paid_as_seldom_as_answers_are_wrong() {
    let fixed = play(&scene(Rule::Fixed, 30, "inflator:10:1000"));
    assert!(fixed.overpaid > 0.2, "the control: {fixed:?}");
    for rule in [ADAPTIVE, FULL] {
        let figures = play(&scene(rule, 30, "inflator:10:1000"));
        // Ten times the share that may be wrong.
        assert!(figures.overpaid <= 1e-2, "{figures:?}");
        assert_eq!(figures.honest_banned, 0);
    }
}
