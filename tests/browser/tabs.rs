//! One worker for each browser, however many tabs ask for it.

use manyhands_tests::browser::{ELEMENT, Kind, Volunteer};
use manyhands_tests::{Coordinator, jobs, until};

use crate::{browser, in_each_browser};

in_each_browser! {
    of_ten_tabs_one_computes
}

const TABS: usize = 10;

async fn of_ten_tabs_one_computes(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start().await;
    let job = jobs::hasher();
    coordinator.publish(&job.module, &job.manifest).await.expect("published");
    let mut tabs = browser.tabs().await;
    while tabs.len() < TABS {
        tabs.push(browser.new_tab().await);
    }
    for (number, tab) in tabs.iter().enumerate() {
        browser.switch(tab).await;
        let page = Volunteer::open(&browser, &coordinator.url("/volunteer")).await;
        page.press().await;
        page.is(if number == 0 { "running" } else { "waiting" }).await;
        if number > 0 {
            assert!(page.text().await.contains("Another tab of this browser is helping already"));
        }
    }
    assert_eq!(coordinator.connected().await, 1);

    browser.switch(&tabs[0]).await;
    browser.close_tab().await;
    let states = async || {
        let mut states = Vec::new();
        for tab in &tabs[1..] {
            browser.switch(tab).await;
            states.push(browser.run::<String>(&format!("return {ELEMENT}.state")).await);
        }
        states
    };
    let taken_over = async || {
        let states = states().await;
        states.iter().any(|state| state == "running").then_some(states)
    };
    let states = until("another tab goes on", taken_over).await;
    assert_eq!(states.iter().filter(|state| *state == "waiting").count(), TABS - 2, "{states:?}");
    assert_eq!(coordinator.connected().await, 1);
    let _runner = coordinator.runners(1).await;
    let inputs = jobs::texts(4);
    let run = coordinator.submit("hasher", &inputs).await.expect("submitted").id;
    let answers: Vec<_> = inputs.iter().map(|input| jobs::hash(input)).collect();
    assert_eq!(coordinator.outputs(run).await, answers);
    let workers = coordinator.workers().await;
    assert_eq!(workers.len(), 2, "all tabs are one worker: {workers:?}");
}
