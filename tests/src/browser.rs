//! Real browsers, without a window, driven as a person drives them.
//!
//! Chromium by WebDriver and its `chromedriver`, Firefox by WebDriver BiDi, which needs nothing beside it. Clicks and
//! keys are the browser's own, so pages trust them.

mod bidi;
mod group;
mod page;
mod slot;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Once;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::{ChromiumLikeCapabilities as _, DesiredCapabilities, WebDriver, WindowHandle};

use self::bidi::Bidi;
pub use self::group::Meter;
use self::group::{Group, find};
pub use self::page::{BUTTON, ELEMENT, Stats, Volunteer};
pub use self::slot::Slot;
use crate::wait::{PATIENCE, until};

/// How they are installed.
const CURE: &str = "`apt-get install chromium chromium-driver firefox-esr`";

/// A host that leads to this computer, like `127.0.0.1`, but whose pages no browser takes for secure when they come over plain HTTP.
pub const INSECURE_HOST: &str = "volunteer.test";

/// Which browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With V8.
    Chromium,
    /// With SpiderMonkey.
    Firefox,
}

enum Hands {
    Driver(WebDriver),
    Bidi(Box<Bidi>),
}

/// A browser with a fresh profile. It ends with this value, and with this process.
pub struct Browser {
    kind: Kind,
    hands: Hands,
    // In this order: nobody writes into the profile any more when it is removed.
    group: Group,
    _profile: TempDir,
}

/// The name of a tab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tab(String);

impl Browser {
    /// Starts one; none where it is not installed, which is said.
    ///
    /// # Panics
    /// When it is there and does not start.
    pub async fn start(kind: Kind) -> Option<Self> {
        static TLS: Once = Once::new();
        TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let needed: &[&[&str]] = match kind {
            Kind::Chromium => &[&["chromedriver"], &["chromium", "chromium-browser", "google-chrome"]],
            Kind::Firefox => &[&["firefox-esr", "firefox"]],
        };
        let programs: Option<Vec<_>> = needed.iter().map(|names| find(names)).collect();
        let Some(programs) = programs else {
            eprintln!("LEFT OUT: {kind:?} is not installed; {CURE} brings it");
            return None;
        };
        let profile = tempfile::Builder::new().prefix("manyhands-").tempdir().expect("a temporary folder");
        let (hands, group) = match kind {
            Kind::Chromium => chromium(&programs[0], &programs[1], profile.path()).await,
            Kind::Firefox => firefox(&programs[0], profile.path()).await,
        };
        Some(Self { kind, hands, group, _profile: profile })
    }

    /// Which it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Opens a page and waits until it is loaded.
    pub async fn open(&self, url: &str) {
        match &self.hands {
            Hands::Driver(driver) => driver.goto(url).await.expect("the page opens"),
            Hands::Bidi(bidi) => bidi.open(url).await,
        }
    }

    /// Has this script run in every page that is opened in this tab from now on, before the page's own.
    pub async fn before_pages(&self, script: &str) {
        match &self.hands {
            Hands::Driver(_) => {
                self.command("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
            }
            Hands::Bidi(bidi) => bidi.before_pages(script).await,
        }
    }

    /// What the body of an asynchronous function returns in the page, by way of JSON.
    ///
    /// # Panics
    /// When it throws.
    pub async fn run<T: DeserializeOwned>(&self, body: &str) -> T {
        let script = format!("(async () => JSON.stringify(await (async () => {{ {body} }})()) ?? 'null')()");
        let text = match &self.hands {
            Hands::Driver(driver) => {
                let answer = driver.execute(format!("return {script}"), Vec::new()).await;
                let answer = answer.unwrap_or_else(|error| panic!("{body}: {error}"));
                answer.json().as_str().expect("a text").to_owned()
            }
            Hands::Bidi(bidi) => bidi.evaluate(&script).await,
        };
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{body}: {error}: {text}"))
    }

    /// Clicks in the middle of the element that this expression names.
    pub async fn click(&self, element: &str) {
        // What moves while the pointer is on its way is missed, and people press again.
        let reached = "return globalThis.reached !== false";
        until("the click reaches it", async || {
            let place: [f64; 2] = self
                .run(&format!(
                    "const element = {element}; element.scrollIntoView({{ block: 'center' }});
                     globalThis.reached = false;
                     element.addEventListener('click', () => globalThis.reached = true, {{ capture: true, once: true }});
                     const {{ x, y, width, height }} = element.getBoundingClientRect(); return [x + width / 2, y + height / 2];"
                ))
                .await;
            let [x, y] = place.map(|at| at as i64);
            match &self.hands {
                Hands::Driver(driver) => {
                    let clicked = driver.action_chain_with_delay(None, None).move_to(x, y).click().perform().await;
                    clicked.expect("the mouse clicks");
                }
                Hands::Bidi(bidi) => bidi.click([x, y]).await,
            }
            self.run::<bool>(reached).await.then_some(())
        })
        .await;
    }

    /// Presses a key, by the character that WebDriver gives it (WebDriver, 17.4.2).
    pub async fn press(&self, key: char) {
        match &self.hands {
            Hands::Driver(driver) => {
                let chain = driver.action_chain_with_delay(None, None).key_down(key).key_up(key);
                chain.perform().await.expect("the key is pressed");
            }
            Hands::Bidi(bidi) => bidi.press(key).await,
        }
    }

    /// The tabs that are open.
    pub async fn tabs(&self) -> Vec<Tab> {
        match &self.hands {
            Hands::Driver(driver) => {
                let windows = driver.windows().await.expect("windows");
                windows.iter().map(|window| Tab(window.to_string())).collect()
            }
            Hands::Bidi(bidi) => bidi.tabs().await.into_iter().map(Tab).collect(),
        }
    }

    /// Opens a tab and goes there.
    pub async fn new_tab(&self) -> Tab {
        let tab = match &self.hands {
            Hands::Driver(driver) => Tab(driver.new_tab().await.expect("a tab").to_string()),
            Hands::Bidi(bidi) => Tab(bidi.new_tab().await),
        };
        self.switch(&tab).await;
        tab
    }

    /// Goes to a tab.
    pub async fn switch(&self, tab: &Tab) {
        match &self.hands {
            Hands::Driver(driver) => {
                driver.switch_to_window(WindowHandle::from(tab.0.clone())).await.expect("the tab is there");
            }
            Hands::Bidi(bidi) => bidi.switch(tab.0.clone()).await,
        }
    }

    /// Closes the tab that it is in, and is in none until [`Self::switch`].
    pub async fn close_tab(&self) {
        match &self.hands {
            Hands::Driver(driver) => driver.close_window().await.expect("it closes"),
            Hands::Bidi(bidi) => bidi.close_tab().await,
        }
    }

    /// What is to be seen, as PNG.
    pub async fn picture(&self) -> Vec<u8> {
        match &self.hands {
            Hands::Driver(driver) => driver.screenshot_as_png().await.expect("a picture"),
            Hands::Bidi(bidi) => bidi.picture().await,
        }
    }

    /// A command of Chromium's own protocol.
    ///
    /// # Panics
    /// When this is another browser.
    pub async fn command(&self, name: &str, parameters: Value) -> Value {
        match &self.hands {
            Hands::Driver(driver) => {
                let answer = driver.cdp().send_raw(name, parameters).await;
                answer.unwrap_or_else(|error| panic!("{name}: {error}"))
            }
            Hands::Bidi(_) => panic!("{name}: only Chromium has it"),
        }
    }

    /// Reads what its processes use.
    pub fn meter(&self) -> Meter {
        self.group.meter()
    }
}

async fn chromium(driver: &Path, program: &Path, profile: &Path) -> (Hands, Group) {
    let mut command = Command::new(driver);
    command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut group = Group::start(&mut command).expect("chromedriver starts");
    let stdout = group.child().stdout.take().expect("it was asked for");
    let port = tokio::task::spawn_blocking(move || {
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let port =
            lines.find_map(|line| line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok());
        // Read to its end, so that it never waits for somebody to read.
        std::thread::spawn(move || lines.for_each(drop));
        port
    });
    let port: u16 = port.await.expect("no panic").expect("chromedriver says where it listens");
    let mut wanted = DesiredCapabilities::chrome();
    let insecure = format!("--host-resolver-rules=MAP {INSECURE_HOST} 127.0.0.1");
    let arguments = manyhands_engines::chromium_arguments(profile);
    let arguments = arguments.iter().map(|argument| argument.to_str().expect("a temporary folder has a plain name"));
    for argument in arguments.chain(["--hide-scrollbars", "--window-size=1440,900", &insecure]) {
        wanted.add_arg(argument).expect("an argument");
    }
    wanted.set_binary(&program.display().to_string()).expect("a path");
    let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), wanted).await.expect("Chromium starts");
    // It need not be asked to end: its group is.
    driver.clone().leak().expect("it has only begun");
    driver.set_script_timeout(PATIENCE).await.expect("a limit");
    (Hands::Driver(driver), group)
}

async fn firefox(program: &Path, profile: &Path) -> (Hands, Group) {
    // It asks nobody anything, shows nothing but the page, and has a light theme and one language.
    let settings = [
        ("app.update.enabled", json!(false)),
        ("browser.aboutwelcome.enabled", json!(false)),
        ("browser.shell.checkDefaultBrowser", json!(false)),
        ("browser.startup.homepage_override.mstone", json!("ignore")),
        ("browser.tabs.warnOnClose", json!(false)),
        ("datareporting.policy.dataSubmissionEnabled", json!(false)),
        ("dom.ipc.processPrelaunch.enabled", json!(false)),
        ("network.captive-portal-service.enabled", json!(false)),
        ("network.connectivity-service.enabled", json!(false)),
        ("network.dns.localDomains", json!(INSECURE_HOST)),
        ("remote.active-protocols", json!(1)),
        ("toolkit.telemetry.enabled", json!(false)),
    ];
    let lines: String = settings.iter().map(|(name, value)| format!("user_pref(\"{name}\", {value});\n")).collect();
    std::fs::write(profile.join("user.js"), lines).expect("the profile can be written");
    let mut command = Command::new(program);
    command.args(["--headless", "--no-remote", "--remote-debugging-port=0", "--profile"]).arg(profile);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let group = Group::start(&mut command).expect("Firefox starts");
    (Hands::Bidi(Box::new(Bidi::connect(profile).await)), group)
}
