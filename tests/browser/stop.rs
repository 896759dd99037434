//! Stop means stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use manyhands_tests::browser::{Kind, Meter, Volunteer};
use manyhands_tests::{Coordinator, jobs, until};

use crate::{browser, in_each_browser};

in_each_browser! {
    stop_means_stop
}

/// Time from the click to the end of all computing.
const STOPPED: Duration = Duration::from_millis(250);
/// For how long nobody computes after that.
const QUIET: Duration = Duration::from_secs(2);
/// How late a sample may come.
const LATE: Duration = Duration::from_millis(500);

/// Processor time that a browser may use in that time for itself: it collects what was left, and draws the page. One slot that goes on
/// uses more than three times as much before Chromium ends it, and Firefox's seven times.
const NOISE: Duration = Duration::from_millis(300);

/// Processor time of all the browser's processes, with the time on a clock since 1970.
type Sample = (Duration, Duration);

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970")
}

async fn stop_means_stop(kind: Kind) {
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

    let samples = press_and_sample(&page, browser.meter()).await;
    let clicked = Duration::from_millis(browser.run::<u64>("return clicked").await);
    let used_at = |at: Duration| samples.iter().find(|(when, _)| *when >= at).expect("it was sampled").1;
    let computed = used_at(clicked) - samples[0].1;
    let quiet_from = clicked + STOPPED;
    let ending = used_at(quiet_from) - used_at(clicked);
    let used = used_at(quiet_from + QUIET) - used_at(quiet_from);
    eprintln!(
        "{kind:?}: processor time is {computed:?} until the click, {ending:?} in the {STOPPED:?} after it, {used:?} in the {QUIET:?} then"
    );
    assert!(used <= NOISE, "{used:?} of processor time after Stop");
    // Not because they ran out: that takes a minute and more.
    let workers = coordinator.workers().await;
    assert!(workers.iter().all(|worker| worker.leases == 0 && worker.lost == 0), "{workers:?}");
    assert_eq!(page.state().await, "ready");
    assert!(page.text().await.contains("Stopped. What was begun was given back."));
}

/// Presses Stop, and samples from before that until nobody need have been quiet any more.
async fn press_and_sample(page: &Volunteer<'_>, meter: Meter) -> Vec<Sample> {
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let sampling = tokio::task::spawn_blocking(move || {
        let mut samples: Vec<Sample> = Vec::new();
        let mut end = None;
        while end.is_none_or(|end| now() < end) {
            let when = now();
            samples.push((when, meter.processor_time()));
            if end.is_none() && told.load(Ordering::Relaxed) {
                end = Some(now() + STOPPED + QUIET + LATE);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        samples
    });
    page.press().await;
    over.store(true, Ordering::Relaxed);
    sampling.await.expect("no panic")
}
