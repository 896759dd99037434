//! A visitor: opens a coordinator's page in a browser, presses Start, and stays.
//!
//! `visitor URL`. Where Chromium or its driver is not installed it says so and ends with 69.

use std::process::ExitCode;

use manyhands_tests::browser::{Browser, Kind};
use manyhands_tests::until;

const CARD: &str = "document.querySelector('manyhands-volunteer')";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(url) = std::env::args().nth(1) else {
        eprintln!("usage: visitor URL");
        return ExitCode::from(2);
    };
    let Some(browser) = Browser::start(Kind::Chromium).await else { return ExitCode::from(69) };
    browser.open(&format!("{url}/volunteer")).await;
    let is = async |state: &str| browser.run::<String>(&format!("return {CARD}.state;")).await == state;
    until("the card is ready", async || is("ready").await.then_some(())).await;
    browser.click(&format!("{CARD}.shadowRoot.querySelector('button.main')")).await;
    until("it helps", async || is("running").await.then_some(())).await;
    eprintln!("the visitor's browser helps");
    // Until somebody ends it.
    std::future::pending().await
}
