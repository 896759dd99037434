//! Stop means stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use manyhands_tests::browser::{Browser, Kind, Volunteer};
use manyhands_tests::{Coordinator, jobs, until};

use crate::{browser, in_each_browser};

in_each_browser! {
    nobody_computes_a_quarter_of_a_second_after_stop
}

/// Time from the click to the end of all computing.
const STOPPED: Duration = Duration::from_millis(250);
/// For how long nobody computes after that.
const QUIET: Duration = Duration::from_secs(2);
/// Processor time that a browser uses in that time when it does nothing.
const NOISE: Duration = Duration::from_millis(50);

/// Processor time of all the browser's processes, with the time on a clock since 1970.
type Sample = (Duration, Duration);

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970")
}

async fn nobody_computes_a_quarter_of_a_second_after_stop(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start().await;
    let job = jobs::spinner();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let page = Volunteer::open(&browser, &coordinator.url("/volunteer")).await;
    // Many minutes of work.
    let inputs: Vec<_> = (0..4).map(|start| jobs::spin(200_000, start).0).collect();
    coordinator.submit("spinner", &inputs).await.expect("submitted");
    page.start().await;
    let slots: u64 = browser.run("return Math.min(2, navigator.hardwareConcurrency)").await;
    let computing = async || {
        let text = page.text().await;
        (text.matches("computing\n").count() + usize::from(text.ends_with("computing")) >= slots as usize).then_some(())
    };
    until("every slot computes", computing).await;
    let meter = browser.meter();
    let before = meter.processor_time();
    until("it can be measured", async || (meter.processor_time() > before + QUIET / 4).then_some(())).await;
    assert!(coordinator.workers().await.iter().any(|worker| worker.leases >= slots));

    let samples = press_and_sample(&browser, &page).await;
    let clicked = Duration::from_millis(browser.run::<u64>("return clicked").await);
    let used_at = |at: Duration| samples.iter().find(|(when, _)| *when >= at).expect("it was sampled").1;
    let computed = used_at(clicked) - samples[0].1;
    let used = used_at(clicked + STOPPED + QUIET) - used_at(clicked + STOPPED);
    for quarter in 0..20 {
        let find = |at: Duration| samples.iter().find(|(when, _)| *when >= at).map(|(_, used)| *used);
        let at = |n: u32| find(clicked + STOPPED * n);
        if let (Some(from), Some(to)) = (at(quarter), at(quarter + 1)) {
            eprintln!("   {:?}: {:?}", STOPPED * quarter, to - from);
        }
    }
    eprintln!(
        "{kind:?}: {computed:?} of processor time before the click, {used:?} in the {QUIET:?} from {STOPPED:?} after it"
    );
    assert!(used <= NOISE, "{used:?} of processor time after Stop");
    // Not because they ran out: that takes a minute and more.
    let workers = coordinator.workers().await;
    assert!(workers.iter().all(|worker| worker.leases == 0 && worker.lost == 0), "{workers:?}");
    assert_eq!(page.state().await, "ready");
    assert!(page.text().await.contains("Stopped. What was begun was given back."));
}

/// Presses Stop, and samples from before that until nobody need have been quiet any more.
async fn press_and_sample(browser: &Browser, page: &Volunteer<'_>) -> Vec<Sample> {
    let over = Arc::new(AtomicBool::new(false));
    let (meter, told) = (browser.meter(), Arc::clone(&over));
    let sampling = tokio::task::spawn_blocking(move || {
        let mut samples: Vec<Sample> = Vec::new();
        let mut end = None;
        while end.is_none_or(|end| now() < end) {
            let when = now();
            samples.push((when, meter.processor_time()));
            if end.is_none() && told.load(Ordering::Relaxed) {
                end = Some(now() + STOPPED + QUIET + STOPPED * 6);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        samples
    });
    page.press().await;
    over.store(true, Ordering::Relaxed);
    sampling.await.expect("no panic")
}
