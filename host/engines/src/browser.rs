//! Browsers: without a window, with a fresh profile, executing in a dedicated worker as a volunteer's tab would.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use crate::Failure;
use crate::http::Server;
use crate::talk::{Process, Remote, Talk, find};

/// How a browser is found and started.
#[derive(Clone, Copy)]
pub(crate) struct Browser {
    name: &'static str,
    programs: &'static [&'static str],
    cure: &'static str,
    /// Prepares the profile and says how to open a page with it.
    arguments: fn(profile: &Path) -> std::io::Result<Vec<OsString>>,
}

pub(crate) const CHROMIUM: Browser = Browser {
    name: "Chromium",
    programs: &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
    cure: "`apt install chromium`",
    arguments: |profile| Ok(chromium_arguments(profile)),
};

/// How Chromium is started without a window, with this profile: it asks nobody anything, and shows nothing but the page.
pub fn chromium_arguments(profile: &Path) -> Vec<OsString> {
    let mut folder = OsString::from("--user-data-dir=");
    folder.push(profile);
    let fixed = [
        "--headless=new",
        "--no-first-run",
        "--no-default-browser-check",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
        "--disable-extensions",
        "--disable-gpu",
        "--disable-sync",
        "--mute-audio",
    ];
    // Its sandbox refuses to work for root. It shows pages of ours only.
    let root = rustix::process::geteuid().is_root().then_some("--no-sandbox");
    fixed.into_iter().chain(root).map(OsString::from).chain([folder]).collect()
}

pub(crate) const FIREFOX: Browser = Browser {
    name: "Firefox",
    programs: &["firefox", "firefox-esr"],
    cure: "`apt install firefox-esr`",
    arguments: |profile| {
        // It asks nobody anything, and shows nothing but the page.
        let settings = [
            r#"("app.update.enabled", false)"#,
            r#"("browser.aboutwelcome.enabled", false)"#,
            r#"("browser.shell.checkDefaultBrowser", false)"#,
            r#"("browser.startup.homepage_override.mstone", "ignore")"#,
            r#"("datareporting.policy.dataSubmissionEnabled", false)"#,
            r#"("dom.min_background_timeout_value", 0)"#,
            r#"("network.captive-portal-service.enabled", false)"#,
            r#"("network.connectivity-service.enabled", false)"#,
            r#"("toolkit.telemetry.enabled", false)"#,
        ];
        let lines: String = settings.iter().map(|setting| format!("user_pref{setting};\n")).collect();
        fs::write(profile.join("user.js"), lines)?;
        Ok(vec!["--headless".into(), "--no-remote".into(), "--profile".into(), profile.into()])
    },
};

/// Starts a browser.
pub(crate) fn open(browser: Browser) -> Result<Remote, Failure> {
    let Browser { name, programs, cure, arguments } = browser;
    Remote::new(move || {
        let gone = |error: std::io::Error| Failure::Gone(error.to_string());
        let program = find(programs).ok_or(Failure::Missing { name, cure })?;
        let profile = tempfile::Builder::new().prefix("manyhands-").tempdir().map_err(gone)?;
        let (requests, asked) = channel();
        let (answer, replies) = channel();
        let server = Server::start(asked, answer).map_err(gone)?;
        let mut command = Command::new(program);
        command.args(arguments(profile.path()).map_err(gone)?).arg(&server.url);
        // Browsers complain of much that is none of our business.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::start(&mut command)?;
        Ok(Talk { requests, replies, process, _keep: Box::new((server, profile)) })
    })
}
