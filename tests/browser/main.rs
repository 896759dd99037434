//! Browsers lend a hand: real ones, on the real page, together with real runners.
//!
//! Each story has a browser of its own with a fresh profile, one after the other: two would fight for the processors, and
//! the story of Stop counts what they use. Where a browser is not installed, its stories say that they are left out.

#![allow(clippy::panic, reason = "a test that cannot go on says why and ends")]

mod access;
mod attacker;
mod consent;
mod corpus;
mod embedding;
mod guests;
mod hostile;
mod quorum;
mod records;
mod stop;
mod tabs;

use std::ops::Deref;

use manyhands_tests::browser::{Browser, Kind};
use tokio::sync::{Mutex, MutexGuard};

/// A browser, and nobody else has one meanwhile.
struct Turn {
    // In this order: the next one starts when this one is gone.
    browser: Browser,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Turn {
    type Target = Browser;

    fn deref(&self) -> &Browser {
        &self.browser
    }
}

/// Waits for a turn and starts a browser, if it is installed.
async fn browser(kind: Kind) -> Option<Turn> {
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    Some(Turn { browser: Browser::start(kind).await?, _turn: turn })
}

/// The same story in each browser.
macro_rules! in_each_browser {
    ($($story:ident)*) => {$(
        mod $story {
            use manyhands_tests::browser::Kind;

            #[tokio::test]
            async fn in_chromium() {
                super::$story(Kind::Chromium).await;
            }

            #[tokio::test]
            async fn in_firefox() {
                super::$story(Kind::Firefox).await;
            }
        }
    )*};
}
use in_each_browser;
