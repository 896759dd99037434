//! Every attack with few sockets: refused clearly, nobody else is disturbed, everything is given back.

use std::time::Duration;

use manyhands_tests::Coordinator;

use crate::attack::{Besieger, Held, Met, Prey, forget_peak, peak_mib};
use crate::honest::{Honest, quantile_ms};

/// How long honest clients are watched under each attack.
const WINDOW: Duration = Duration::from_millis(1500);
/// What honest clients wait at most for most of their requests. Generous: this runs beside other tests.
const P90_MS_MAX: f64 = 2_000.0;
/// The promise.
const MEMORY_MIB_MAX: f64 = 256.0;

/// Lays siege with one attack after the other. Returns what each met.
async fn besiege(settings: &[&'static str], attacks: &[(&str, usize)]) -> Vec<Met> {
    let coordinator = Coordinator::start_with(settings).await;
    let honest = Honest::arrive(&coordinator).await;
    let prey = Prey::given(&coordinator).await;
    let before = Held::by(&coordinator).await;
    forget_peak(&coordinator);
    let mut all = Vec::new();
    for (attack, sockets) in attacks {
        let besieger = Besieger::begin(attack, *sockets, &coordinator, &prey).await;
        let window = honest.work(&coordinator, WINDOW).await;
        let met = besieger.end().await;
        assert_eq!(window.failures, 0, "{attack}: {}; the attackers met {met:?}", window.why);
        for (times, what) in [(&window.invoke, "invoke"), (&window.connect, "connect"), (&window.receipt, "receipt")] {
            let p90 = quantile_ms(times, 0.9);
            assert!(p90 < P90_MS_MAX, "{attack}: {what} takes {p90} ms");
        }
        before.again(&coordinator).await;
        for what in met.keys() {
            assert!(!what.starts_with("500"), "{attack}: the coordinator failed: {met:?}");
            assert!(!what.ends_with("without a document"), "{attack}: a refusal without a reason: {met:?}");
        }
        all.push(met);
    }
    let peak = peak_mib(&coordinator);
    assert!(peak < MEMORY_MIB_MAX, "the coordinator took {peak:.0} MiB");
    all
}

fn met(met: &Met, what: &str) {
    assert!(met.keys().any(|key| key.contains(what)), "no `{what}` in {met:?}");
}

/// Times so short that an attack meets them within a test.
const HASTY: &[&str] =
    &["limits.header_timeout_ms=500", "limits.body_idle_timeout_ms=500", "limits.write_idle_timeout_ms=500"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_26_whoever_is_slow_on_purpose_is_cut() {
    let met_by = besiege(HASTY, &[("slow-heads", 300), ("slow-bodies", 300), ("idle", 300)]).await;
    met(&met_by[0], "closed without a word");
    met(&met_by[1], "408 body-timeout");
    met(&met_by[2], "200, then closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_house_has_room_for_whoever_does_not_keep_it_waiting() {
    let attacks = [("slow-heads", 400), ("slow-bodies", 400), ("slow-frames", 400), ("idle", 400)];
    besiege(&["limits.connections_max=100", "limits.connections_per_address_max=100"], &attacks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_27_noise_and_bombs_are_refused_for_what_they_are() {
    let met_by = besiege(&[], &[("noise", 48), ("oversized", 24), ("bombs", 20), ("fragments", 20)]).await;
    met(&met_by[0], "refused: frame is not a message");
    met(&met_by[1], "413 too-large");
    met(&met_by[2], "422 invalid");
    met(&met_by[2], "refused: frame is not a message");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_24_memory_is_for_those_who_go_on() {
    let attacks = [("hoarded-bodies", 60), ("hoarded-frames", 60), ("hoarded-workers", 60), ("deaf", 100)];
    let met_by = besiege(&[], &attacks).await;
    met(&met_by[0], "503 crowded with retry-after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attack_31_floods_are_answered_and_nobody_else_waits() {
    let met_by = besiege(&[], &[("flood", 8), ("guess", 8), ("pings", 4)]).await;
    met(&met_by[0], "401 unauthenticated");
    met(&met_by[0], "404 not-found");
    met(&met_by[1], "401 unauthenticated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crowds_of_workers_are_told_to_come_back() {
    let met_by = besiege(&["limits.workers_max=50"], &[("slow-workers", 100)]).await;
    met(&met_by[0], "all the workers it can take, come again later");
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
