//! Coordinators that nobody should trust. Their keys are in order, and then they do something that nobody may.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use manyhands_model::{Digest, LeaseId, Limits, RunId, Timestamp, Version, WorkerId};
use manyhands_protocol::{
    Challenge, ClientMessage, Entry, Grant, Lease, Leases, Release, SUBPROTOCOL, ServerMessage, Task, Ticket, Welcome,
    decode, encode,
};
use manyhands_signing::{Keypair, Signed, TrustList, TrustedKey, Validity};
use manyhands_tests::browser::{Kind, Volunteer};
use manyhands_tests::{Coordinator, Page, Site, Worker, jobs};
use serde_json::{Value, json};

use crate::{browser, in_each_browser};

in_each_browser! {
    attack_38_nothing_of_a_hostile_coordinator_is_executed
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trick {
    /// Leases that somebody else signed.
    Forged,
    /// A release that somebody else signed.
    ForgedRelease,
    /// A lease for another worker.
    ForAnother,
    /// A trust list that somebody else signed, so that nothing else can be believed.
    AnotherRoot,
    /// A module that is longer than its release says.
    TooLong,
    /// A module that is not the one which the release names.
    NotNamed,
    /// A module that is signed and was never sealed.
    NotSealed,
    /// A module that is none.
    NoModule,
    /// Frames that are no messages.
    Noise,
    /// A frame of a gigabyte.
    Flood,
    /// Not a word.
    Silence,
    /// Not a word more than the protocol asks for, and then none.
    Mute,
    /// Every connection ends at once.
    HangsUp,
}

const FLOOD_BYTES: usize = 1 << 30;

struct Villain {
    trick: Trick,
    root: Keypair,
    signer: Keypair,
    /// What the release names, and what is served for it.
    module: Vec<u8>,
    files: Vec<(String, String, Bytes)>,
    heard: Mutex<Vec<ClientMessage>>,
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Villain {
    /// A villain with the files of an honest coordinator.
    async fn start(trick: Trick, coordinator: &Coordinator) -> (Arc<Self>, Site) {
        let job = jobs::hasher();
        let sealed = manyhands_sealer::seal(&job.module).expect("it seals").bytes;
        let module = match trick {
            Trick::NotSealed => job.module,
            Trick::NoModule => b"\0asm and nothing more".to_vec(),
            _ => sealed,
        };
        let mut files = Vec::new();
        let read = async |path: &str| {
            let answer = coordinator.anonymous(reqwest::Method::GET, path).send().await.expect("an answer");
            let kind = answer.headers()["content-type"].to_str().expect("text").to_owned();
            (path.to_owned(), kind, answer.bytes().await.expect("all of it"))
        };
        let embed = read("/embed.js").await;
        let text = String::from_utf8_lossy(&embed.2).into_owned();
        let assets = text.lines().find_map(|line| line.strip_prefix("const ASSETS = ")?.strip_suffix(';'));
        let assets: Value = serde_json::from_str(assets.expect("the list of files")).expect("JSON");
        for file in ["mind", "pool", "slot", "runtime"] {
            files.push(read(assets[file]["path"].as_str().expect("a path")).await);
        }
        files.push(embed);
        let heard = Mutex::default();
        let villain =
            Arc::new(Self { trick, root: Worker::new_key(), signer: Worker::new_key(), module, files, heard });
        let html = "<script type=module src=/embed.js></script><manyhands-volunteer></manyhands-volunteer>";
        let page = Page { html: html.to_owned(), policy: None };
        let routes = Router::new()
            .route("/volunteer", get(async || page))
            .route("/v1/card", get(card))
            .route("/v1/worker", get(worker))
            .route("/v1/modules/{digest}", get(module_bytes))
            .fallback(file)
            .with_state(Arc::clone(&villain));
        (villain, Site::start(routes).await)
    }

    fn heard(&self) -> Vec<ClientMessage> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn validity() -> Validity {
        Validity { issued_at: now(), expires_at: now().after(Duration::from_secs(600)) }
    }

    fn challenge(&self) -> Challenge {
        let key = TrustedKey { key: self.signer.public(), revoked: false };
        let list = TrustList {
            version: 1,
            validity: Self::validity(),
            keys: vec![key],
            floors: Default::default(),
            revoked_modules: Vec::new(),
        };
        let signer = if self.trick == Trick::AnotherRoot { &self.signer } else { &self.root };
        Challenge { nonce: [7; 32], root: self.root.public(), trust: Signed::new(signer, &list), now: now() }
    }

    fn grant(&self, worker: WorkerId, number: u8) -> Grant {
        let (stranger, validity) = (Worker::new_key(), Self::validity());
        let (job, input) = (jobs::hasher().manifest.name, Bytes::from_static(b"an input"));
        let module = Digest::of(&self.module);
        let task = Task { index: 0, step: 0, entry: Entry::Run, input: Digest::of(&input), seed: [0; 32] };
        let leases = Leases {
            worker: if self.trick == Trick::ForAnother { stranger.public().into() } else { worker },
            run: RunId([1; 16]),
            job: job.clone(),
            serial: 1,
            module,
            validity,
            leases: vec![Lease { id: LeaseId([number; 16]), task, ticket: Ticket([0; 16]) }],
        };
        let release = Release {
            name: job,
            version: Version::new(1, 0, 0),
            serial: 1,
            source: module,
            module,
            module_bytes: self.module.len() as u64,
            publisher: self.signer.public(),
            limits: Limits::default(),
            validity,
        };
        let by = |trick| if self.trick == trick { &stranger } else { &self.signer };
        Grant {
            leases: Signed::new(by(Trick::Forged), &leases),
            release: Some(Signed::new(by(Trick::ForgedRelease), &release)),
            inputs: vec![input],
        }
    }
}

async fn card(State(villain): State<Arc<Villain>>) -> Response {
    let card = json!({
        "name": "A villain", "about": "", "contact": "", "fingerprint": villain.root.public().fingerprint().to_string(),
        "volunteers": { "connected": 0 }, "workers": 0, "jobs": [], "runtime_bytes": 1, "version": "0.1.0",
    });
    ([("content-type", "application/json")], card.to_string()).into_response()
}

async fn file(State(villain): State<Arc<Villain>>, uri: axum::http::Uri) -> Response {
    match villain.files.iter().find(|(path, ..)| path == uri.path()) {
        Some((_, kind, body)) => {
            let headers = [("content-type", kind.clone()), ("access-control-allow-origin", "*".to_owned())];
            (headers, body.clone()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn module_bytes(State(villain): State<Arc<Villain>>, Path(_): Path<String>) -> Response {
    let mut bytes = villain.module.clone();
    match villain.trick {
        Trick::TooLong => bytes.extend(vec![0; 64 << 20]),
        Trick::NotNamed => bytes[100] ^= 1,
        _ => {}
    }
    bytes.into_response()
}

async fn worker(State(villain): State<Arc<Villain>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.protocols([SUBPROTOCOL]).on_upgrade(async move |socket| drop(talk(&villain, socket).await))
}

/// Follows the protocol until it does not. Ends with the connection.
async fn talk(villain: &Villain, mut socket: WebSocket) -> Result<(), axum::Error> {
    let mut worker = None;
    let say = |message: ServerMessage| Message::Binary(encode(&message).into());
    if villain.trick == Trick::HangsUp {
        return Ok(());
    }
    if villain.trick != Trick::Silence {
        socket.send(say(ServerMessage::Challenge(villain.challenge()))).await?;
    }
    let mut grants = 0;
    while let Some(message) = socket.recv().await {
        let Message::Binary(frame) = message? else { continue };
        let message = decode::<ClientMessage>(&frame).expect("the browser follows the protocol");
        villain.heard.lock().unwrap_or_else(PoisonError::into_inner).push(message.clone());
        match (message, worker) {
            (ClientMessage::Hello(hello), _) => {
                worker = Some(WorkerId::from(hello.greeting.signer()));
                // Soon gone, if it is not heard of: three times that.
                let heartbeat = Duration::from_secs(if villain.trick == Trick::Mute { 1 } else { 5 });
                socket.send(say(ServerMessage::Welcome(Welcome { heartbeat }))).await?;
            }
            (ClientMessage::Want(_), Some(worker)) => match villain.trick {
                Trick::Mute => {}
                Trick::Flood => socket.send(Message::Binary(vec![0; FLOOD_BYTES].into())).await?,
                Trick::Noise => {
                    for length in 0..200_usize {
                        let noise: Vec<u8> = (0..length).map(|at| (at * 167 + length * 31) as u8).collect();
                        socket.send(Message::Binary(noise.into())).await?;
                    }
                }
                _ => {
                    grants += 1;
                    socket.send(say(ServerMessage::Grant(villain.grant(worker, grants)))).await?;
                }
            },
            _ => {}
        }
    }
    Ok(())
}

async fn attack_38_nothing_of_a_hostile_coordinator_is_executed(kind: Kind) {
    let Some(browser) = browser(kind).await else { return };
    let coordinator = Coordinator::start().await;
    let tricks = [
        Trick::Forged,
        Trick::ForgedRelease,
        Trick::ForAnother,
        Trick::AnotherRoot,
        Trick::TooLong,
        Trick::NotNamed,
        Trick::NotSealed,
        Trick::NoModule,
        Trick::Noise,
        Trick::Flood,
        Trick::Silence,
        Trick::Mute,
        Trick::HangsUp,
    ];
    for trick in tricks {
        let (villain, site) = Villain::start(trick, &coordinator).await;
        let page = Volunteer::open(&browser, &format!("{}/volunteer", site.origin())).await;
        page.press().await;
        // What the visitor reads of it.
        let words = match trick {
            Trick::Forged | Trick::ForgedRelease | Trick::ForAnother => "A unit was refused and not computed.",
            Trick::AnotherRoot => "This coordinator cannot prove who it is",
            Trick::TooLong | Trick::NotNamed | Trick::NotSealed | Trick::NoModule => {
                "A unit could not be computed here."
            }
            Trick::Noise | Trick::Flood | Trick::Mute => "The connection is lost",
            Trick::Silence => "Connecting to",
            Trick::HangsUp => "no lasting connection comes about",
        };
        page.says(words).await;
        if !matches!(trick, Trick::AnotherRoot | Trick::Silence | Trick::HangsUp) {
            assert!(!villain.heard().is_empty(), "{trick:?}");
        }
        let begun = page.heard("unit").await;
        assert!(!begun.iter().any(|unit| unit["state"] == "computing"), "{trick:?}: {begun:?}");
        assert!(!villain.heard().iter().any(|said| matches!(said, ClientMessage::Done(_))), "{trick:?}");
        // The page is as usable as ever.
        if page.state().await != "failed" {
            page.press().await;
            page.is("ready").await;
        }
    }
}
