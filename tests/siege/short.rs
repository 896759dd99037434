//! Every attack with few sockets: refused clearly, nobody else is disturbed, everything is given back.

use std::time::Duration;

use manyhands_tests::Coordinator;

use crate::attack::{Besieger, Held, Prey, forget_peak, peak_mib};
use crate::honest::Honest;

/// How long honest clients are watched under each attack. What they wait is for the long form to judge.
const WINDOW: Duration = Duration::from_millis(1500);
/// The promise.
const MEMORY_MIB_MAX: f64 = 256.0;

/// Lays siege with one attack after the other: its name, its sockets, and what it has to meet.
async fn besiege(settings: &[&'static str], attacks: &[(&str, usize, &[&str])]) {
    let coordinator = Coordinator::start_with(settings).await;
    let honest = Honest::arrive(&coordinator).await;
    let prey = Prey::given(&coordinator).await;
    let before = Held::by(&coordinator).await;
    forget_peak(&coordinator);
    for (attack, sockets, meets) in attacks {
        let besieger = Besieger::begin(attack, *sockets, &coordinator, &prey).await;
        let window = honest.work(&coordinator, WINDOW).await;
        for what in *meets {
            besieger.meets(what).await;
        }
        let met = besieger.end().await;
        assert_eq!(window.failures, 0, "{attack}: {}; the attackers met {met:?}", window.why);
        before.again(&coordinator).await;
        for what in met.keys() {
            assert!(!what.starts_with("500"), "{attack}: the coordinator failed: {met:?}");
            assert!(!what.ends_with("without a document"), "{attack}: a refusal without a reason: {met:?}");
        }
    }
    let peak = peak_mib(&coordinator);
    assert!(peak < MEMORY_MIB_MAX, "the coordinator took {peak:.0} MiB");
}

/// Times so short that an attack meets them within a test.
const HASTY: &[&str] =
    &["limits.header_timeout_ms=500", "limits.body_idle_timeout_ms=500", "limits.write_idle_timeout_ms=500"];
/// So few seats that an attack takes all of them.
const SMALL: &[&str] = &["limits.connections_max=100", "limits.connections_per_address_max=100"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_26_whoever_is_slow_on_purpose_is_cut() {
    let attacks: &[(_, _, &[_])] = &[
        ("slow-heads", 300, &["closed without a word"]),
        ("slow-bodies", 300, &["408 body-timeout"]),
        ("idle", 300, &["200, then closed"]),
    ];
    besiege(HASTY, attacks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_house_has_room_for_whoever_does_not_keep_it_waiting() {
    besiege(
        SMALL,
        &[("slow-heads", 400, &[]), ("slow-bodies", 400, &[]), ("slow-frames", 400, &[]), ("idle", 400, &[])],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_27_noise_and_bombs_are_refused_for_what_they_are() {
    let frame = "refused: frame is not a message";
    let attacks: &[(_, _, &[_])] = &[
        ("noise", 48, &[frame, "400 malformed", "431 head-too-large", "401 unauthenticated"]),
        ("oversized", 24, &["413 too-large"]),
        ("bombs", 20, &[frame, "422 invalid"]),
        ("fragments", 20, &[]),
    ];
    besiege(&[], attacks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_24_memory_is_for_those_who_go_on() {
    let attacks: &[(_, _, &[_])] = &[
        ("hoarded-bodies", 60, &["503 crowded with retry-after"]),
        ("hoarded-frames", 60, &[]),
        ("hoarded-workers", 60, &[]),
        ("drips", 60, &[]),
        ("deaf", 100, &[]),
    ];
    besiege(&[], attacks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_31_floods_are_answered_and_nobody_else_waits() {
    let attacks: &[(_, _, &[_])] = &[
        ("flood", 8, &["401 unauthenticated", "404 not-found", "405 method-not-allowed"]),
        ("guess", 8, &["401 unauthenticated"]),
        ("pings", 4, &[]),
    ];
    besiege(&[], attacks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crowds_of_workers_are_told_to_come_back() {
    besiege(&["limits.workers_max=50"], &[("slow-workers", 100, &["all the workers it can take, come again later"])])
        .await;
}

#[tokio::test]
async fn two_coordinators_never_share_a_data_directory() {
    let first = Coordinator::start().await;
    // At another address, so that only the data directory stands in its way.
    let (code, said) = first.start_a_second().await;
    assert!(said.contains("in use by another process"), "{said}");
    assert_eq!(code, Some(69), "as documented: it cannot start");
    assert!(first.get::<manyhands_api::RunList>("/v1/runs").await.is_ok(), "the first goes on");
}
