//! Units whose answer takes a browser and a native runner, whatever happens meanwhile.

use manyhands_tests::browser::{Kind, Volunteer};
use manyhands_tests::{Coordinator, Proxy, Runner, Weather, jobs, until};

use crate::{browser, in_each_browser};

in_each_browser! {
    a_browser_and_a_runner_come_to_the_same_answer
    a_closed_tab_loses_nothing
    browsers_come_back_to_a_coordinator_that_was_killed
    browsers_come_back_after_the_network_was_gone
}

async fn a_browser_and_a_runner_come_to_the_same_answer(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let page = Volunteer::open(&browser, &coordinator.url("/volunteer")).await;
    page.start().await;
    let inputs = jobs::texts(6);
    let run = coordinator.submit("hasher", &inputs).await.expect("submitted").id;
    until("the browser has computed all of them", async || (page.stats().await.recorded == 6).then_some(())).await;
    assert_eq!(coordinator.run(run).await.units.done, 0, "one worker is no quorum");
    assert_eq!(page.stats().await.verified, 0);

    let _runner = coordinator.runners(1).await;
    let answers: Vec<_> = inputs.iter().map(|input| jobs::hash(input)).collect();
    assert_eq!(coordinator.outputs(run).await, answers);
    until("the visitor reads of it", async || (page.stats().await.verified == 6).then_some(())).await;
    let verified = page.heard("verified").await;
    assert!(verified.iter().all(|told| told["others"] == 1 && told["job"] == "hasher"), "{verified:?}");
    page.says("your browser and one other got the same answer").await;
    let workers = coordinator.workers().await;
    assert!(workers.iter().all(|worker| worker.agreed == 6 && worker.dissents == 0), "{workers:?}");
    assert_eq!(workers.len(), 2);
}

/// A spinner's units, of some seconds each, that the page computes.
async fn computing(page: &Volunteer<'_>, coordinator: &Coordinator) -> (manyhands_model::RunId, Vec<Vec<u8>>) {
    let job = jobs::spinner();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let (inputs, answers): (Vec<_>, Vec<_>) = (1..=2).map(|start| jobs::spin(800, start)).unzip();
    page.start().await;
    let run = coordinator.submit("spinner", &inputs).await.expect("submitted").id;
    let begun = async || {
        let told = page.heard("unit").await;
        told.iter().any(|unit| unit["state"] == "computing" && unit["progress"].as_f64() > Some(0.0)).then_some(())
    };
    until("the browser is in the middle of a unit", begun).await;
    (run, answers)
}

async fn a_closed_tab_loses_nothing(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start().await;
    let other = browser.tabs().await.remove(0);
    let tab = browser.new_tab().await;
    let page = Volunteer::open(&browser, &coordinator.url("/volunteer")).await;
    let (run, answers) = computing(&page, &coordinator).await;
    browser.close_tab().await;
    browser.switch(&other).await;
    assert!(!browser.tabs().await.contains(&tab));
    let nothing_held = async || coordinator.workers().await.iter().all(|worker| worker.leases == 0).then_some(());
    until("what it had can be given to others", nothing_held).await;
    assert_eq!(coordinator.run(run).await.units.done, 0);
    let _runners = coordinator.runners(2).await;
    assert_eq!(coordinator.outputs(run).await, answers);
}

async fn browsers_come_back_to_a_coordinator_that_was_killed(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let mut coordinator = Coordinator::start().await;
    let page = Volunteer::open(&browser, &coordinator.url("/volunteer")).await;
    let (run, answers) = computing(&page, &coordinator).await;
    coordinator.kill();
    page.is("connecting").await;
    coordinator.restart().await;
    page.is("running").await;
    let _runner = coordinator.runners(1).await;
    assert_eq!(coordinator.outputs(run).await, answers);
    until("the visitor reads of it", async || (page.stats().await.verified == 2).then_some(())).await;
}

async fn browsers_come_back_after_the_network_was_gone(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start_with(&["limits.heartbeat_ms=1000"]).await;
    let proxy = Proxy::start(coordinator.address()).await;
    let page = Volunteer::open(&browser, &format!("http://{}/volunteer", proxy.address())).await;
    let (run, answers) = computing(&page, &coordinator).await;
    // Nothing arrives and nobody is told, as when a cable is pulled.
    proxy.set(Weather { closed: true, ..Weather::both(manyhands_tests::Line::Swallowed) });
    page.is("connecting").await;
    let gone = async || (coordinator.connected().await == 0).then_some(());
    until("the coordinator has noticed", gone).await;
    let runner = Runner::start(&coordinator.join());
    until("somebody else is there", async || (coordinator.connected().await == 1).then_some(())).await;
    proxy.set(Weather::default());
    proxy.reset();
    page.is("running").await;
    assert_eq!(coordinator.outputs(run).await, answers);
    until("the visitor reads of it", async || (page.stats().await.verified == 2).then_some(())).await;
    drop(runner);
}
