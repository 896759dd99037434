//! Firefox by WebDriver BiDi, which it speaks without a driver beside it. As much of it as stories need.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::wait::until;

/// Where Firefox writes the port that it took.
const ADDRESS: &str = "WebDriverBiDiServer.json";

/// A session with a browser.
pub(crate) struct Bidi(Mutex<Session>);

struct Session {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    number: u64,
    /// The tab that everything is about.
    tab: String,
}

impl Bidi {
    /// Talks to the browser that has this profile.
    pub(crate) async fn connect(profile: &Path) -> Self {
        let port = until("Firefox says where it listens", async || {
            let text = std::fs::read_to_string(profile.join(ADDRESS)).ok()?;
            serde_json::from_str::<Value>(&text).ok()?["ws_port"].as_u64()
        });
        let url = format!("ws://127.0.0.1:{}/session", port.await);
        // Screenshots are long.
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let (socket, _) = connect_async_with_config(&url, Some(config), true).await.expect("Firefox listens");
        let bidi = Self(Mutex::new(Session { socket, number: 0, tab: String::new() }));
        bidi.ask("session.new", json!({ "capabilities": {} })).await;
        let tab = bidi.tabs().await.remove(0);
        bidi.switch(tab).await;
        bidi
    }

    /// What the browser answers to a command.
    ///
    /// # Panics
    /// When it refuses.
    async fn ask(&self, method: &str, params: Value) -> Value {
        let mut session = self.0.lock().await;
        session.number += 1;
        let number = session.number;
        let command = json!({ "id": number, "method": method, "params": params }).to_string();
        session.socket.send(Message::text(command)).await.expect("Firefox listens");
        loop {
            let message = session.socket.next().await.expect("Firefox lives").expect("Firefox answers");
            let Ok(text) = message.to_text() else { continue };
            let Ok(mut answer) = serde_json::from_str::<Value>(text) else { continue };
            if answer["id"] == number {
                assert_eq!(answer["type"], "success", "{method}: {} {}", answer["error"], answer["message"]);
                return answer["result"].take();
            }
        }
    }

    async fn here(&self) -> String {
        self.0.lock().await.tab.clone()
    }

    pub(crate) async fn open(&self, url: &str) {
        let here = self.here().await;
        self.ask("browsingContext.navigate", json!({ "context": here, "url": url, "wait": "complete" })).await;
    }

    pub(crate) async fn before_pages(&self, script: &str) {
        self.ask("script.addPreloadScript", json!({ "functionDeclaration": format!("() => {{ {script} }}") })).await;
    }

    /// The text that a script's promise becomes.
    pub(crate) async fn evaluate(&self, script: &str) -> String {
        let target = json!({ "context": self.here().await });
        let params = json!({ "expression": script, "target": target, "awaitPromise": true });
        let answer = self.ask("script.evaluate", params).await;
        match answer["result"]["value"].as_str() {
            Some(text) => text.to_owned(),
            None => panic!("{script}: {answer}"),
        }
    }

    pub(crate) async fn click(&self, [x, y]: [i64; 2]) {
        let actions = json!([
            { "type": "pointerMove", "x": x, "y": y },
            { "type": "pointerDown", "button": 0 },
            { "type": "pointerUp", "button": 0 },
        ]);
        self.act(json!({ "type": "pointer", "id": "mouse", "actions": actions })).await;
    }

    pub(crate) async fn press(&self, key: char) {
        let actions = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        self.act(json!({ "type": "key", "id": "keyboard", "actions": actions })).await;
    }

    async fn act(&self, actions: Value) {
        let here = self.here().await;
        self.ask("input.performActions", json!({ "context": here, "actions": [actions] })).await;
    }

    pub(crate) async fn tabs(&self) -> Vec<String> {
        let tree = self.ask("browsingContext.getTree", json!({ "maxDepth": 0 })).await;
        let tabs = tree["contexts"].as_array().into_iter().flatten();
        tabs.filter_map(|tab| tab["context"].as_str().map(str::to_owned)).collect()
    }

    pub(crate) async fn new_tab(&self) -> String {
        let made = self.ask("browsingContext.create", json!({ "type": "tab" })).await;
        made["context"].as_str().expect("a tab has a name").to_owned()
    }

    pub(crate) async fn switch(&self, tab: String) {
        self.ask("browsingContext.activate", json!({ "context": &tab })).await;
        self.0.lock().await.tab = tab;
    }

    pub(crate) async fn close_tab(&self) {
        let here = self.here().await;
        self.ask("browsingContext.close", json!({ "context": here })).await;
    }

    pub(crate) async fn picture(&self) -> Vec<u8> {
        let here = self.here().await;
        let shot = self.ask("browsingContext.captureScreenshot", json!({ "context": here })).await;
        BASE64_STANDARD.decode(shot["data"].as_str().unwrap_or_default()).expect("a picture")
    }
}
