//! The volunteer's page, as a person sees and uses it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::Browser;
use crate::wait::until;

/// The element.
pub const ELEMENT: &str = "document.querySelector('manyhands-volunteer')";
/// Its one large button: Start, then Stop.
pub const BUTTON: &str = "document.querySelector('manyhands-volunteer').shadowRoot.querySelector('button.main')";
/// How long something may take to be said.
const READING: Duration = Duration::from_secs(60);
/// Notes what the element tells the page, and when the mouse was pressed.
const WATCH: &str = "
    globalThis.heard = [];
    for (const name of ['start', 'unit', 'verified', 'pause', 'error']) {
        document.addEventListener(name, (event) => {
            if (event.target.localName === 'manyhands-volunteer') heard.push({ name, at: Date.now(), ...event.detail });
        }, true);
    }
    document.addEventListener('click', () => { globalThis.clicked = Date.now(); }, true);";

/// What the element counts.
#[derive(Debug, Deserialize)]
pub struct Stats {
    /// Units that it executed.
    pub executed: u64,
    /// Of which the coordinator has the outcome on disk.
    pub recorded: u64,
    /// Whose answer is what this browser came to.
    pub verified: u64,
    /// Whose answer is something else.
    pub contradicted: u64,
}

/// A page with the element on it.
pub struct Volunteer<'a> {
    /// Where it is open.
    pub browser: &'a Browser,
}

impl<'a> Volunteer<'a> {
    /// Opens a page and waits for the card.
    pub async fn open(browser: &'a Browser, url: &str) -> Self {
        browser.before_pages(WATCH).await;
        browser.open(url).await;
        let new = Self { browser };
        new.is("ready").await;
        new
    }

    /// How the element is, in its own word.
    pub async fn state(&self) -> String {
        self.browser.run(&format!("return {ELEMENT}?.state ?? ''")).await
    }

    /// Waits until it is in this state.
    pub async fn is(&self, state: &str) {
        let look = async || (self.state().await == state).then_some(());
        until(&format!("the page is {state}"), look).await;
    }

    /// Everything that can be read.
    pub async fn text(&self) -> String {
        self.browser.run(&format!("return {ELEMENT}.shadowRoot.querySelector('section').innerText")).await
    }

    /// Waits until these words can be read.
    ///
    /// # Panics
    /// When they cannot, with what can.
    pub async fn says(&self, words: &str) {
        let read = until(words, async || self.text().await.contains(words).then_some(()));
        if tokio::time::timeout(READING, read).await.is_err() {
            panic!("the page does not say `{words}`, but:\n{}", self.text().await);
        }
    }

    /// What the element has counted.
    pub async fn stats(&self) -> Stats {
        self.browser.run(&format!("return {ELEMENT}.stats")).await
    }

    /// What was told of this kind so far.
    pub async fn heard(&self, name: &str) -> Vec<Value> {
        self.browser.run(&format!("return heard.filter((told) => told.name === '{name}')")).await
    }

    /// Moves the sliders: so many slots, if there are as many processors, and all of the time.
    pub async fn full(&self, slots: u32) {
        let _moved: Value = self
            .browser
            .run(&format!(
                "const sliders = {ELEMENT}.shadowRoot.querySelectorAll('input[type=range]');
                 [{slots}, 1000].forEach((value, at) => {{
                     sliders[at].value = value;
                     for (const name of ['input', 'change']) sliders[at].dispatchEvent(new Event(name, {{ bubbles: true }}));
                 }});"
            ))
            .await;
    }

    /// Presses the large button.
    pub async fn press(&self) {
        self.browser.click(BUTTON).await;
    }

    /// Starts, and waits until it is connected.
    pub async fn start(&self) {
        self.full(2).await;
        self.press().await;
        self.is("running").await;
    }
}
