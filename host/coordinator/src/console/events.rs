//! Tells pages what happens, as server-sent events.
//!
//! | event | data |
//! |---|---|
//! | `scene` | the whole live picture; its id is that of the last frame in it |
//! | `bars` | what changed in it since the frame before |
//! | `missed` | so many frames were lost on this listener; a `scene` follows |
//! | `changed` | something happened, and the page is worth fetching again; the listeners that were cut off so far |
//! | `bye` | the session has ended |
//!
//! A listener has a handful of events before it and the last minute of frames behind it. One that takes nothing for ten
//! seconds is cut off, and counted; its browser comes back by itself and says what it saw last.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::KEEP_ALIVE;
use super::live::{Listener, News};
use crate::app::App;
use crate::problem::{Answer, ApiError, Kind, Query};

/// How often is looked whether the session is open and anything happened.
const LOOK: Duration = Duration::from_secs(1);
/// A page is not to be fetched more often than that.
const CHANGED_EVERY: Duration = Duration::from_secs(2);
/// How long a listener may take to take one event.
const PATIENCE: Duration = Duration::from_secs(10);
/// Events that wait for one listener.
const EVENTS: usize = 4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// Whether the live picture is wanted.
    #[serde(default)]
    replicas: bool,
}

/// Somebody who listens does not any more.
struct Gone;

struct Teller {
    app: App,
    headers: HeaderMap,
    sender: mpsc::Sender<Result<Event, Infallible>>,
    /// Tells frames of this process from those of others.
    epoch: u64,
}

impl Teller {
    async fn tell(&self, event: Event) -> Result<(), Gone> {
        match timeout(PATIENCE, self.sender.send(Ok(event))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Gone),
            Err(_) => {
                self.app.monitor.live().drop_one();
                Err(Gone)
            }
        }
    }

    fn named(&self, name: &str, sequence: u64) -> Event {
        Event::default().event(name).id(format!("{:x}-{sequence}", self.epoch))
    }

    /// The number of the frame that the listener saw last, if it saw any of this process.
    fn seen(&self) -> Option<u64> {
        let id = self.headers.get("last-event-id")?.to_str().ok()?;
        let (epoch, sequence) = id.split_once('-')?;
        // Of another process: it missed whatever there was.
        if epoch != format!("{:x}", self.epoch) { Some(u64::MAX - 1) } else { sequence.parse().ok() }
    }

    /// Tells what is new in the picture.
    async fn news(&self, listener: &Listener, seen: &mut u64) -> Result<(), Gone> {
        match listener.since(*seen, self.app.clock.now()) {
            News::Frames(frames) => {
                for (number, frame) in frames {
                    self.tell(self.named("bars", number).data(&*frame)).await?;
                    *seen = number;
                }
            }
            News::Missed(frames, last, scene) => {
                self.tell(Event::default().event("missed").data(frames.to_string())).await?;
                self.tell(self.named("scene", last).data(&*scene)).await?;
                *seen = last;
            }
        }
        Ok(())
    }

    async fn run(self, mut picture: Option<Listener>) -> Result<(), Gone> {
        let monitor = &self.app.monitor;
        let mut seen = self.seen().unwrap_or_default();
        if let Some(listener) = picture.as_ref().filter(|_| self.seen().is_none()) {
            let (last, scene) = listener.everything(self.app.clock.now());
            self.tell(self.named("scene", last).data(&*scene)).await?;
            seen = last;
        }
        let (mut known, mut told) = (monitor.changes(), Instant::now());
        let mut look = tokio::time::interval(LOOK);
        loop {
            if let Some(listener) = &picture {
                self.news(listener, &mut seen).await?;
            }
            let frames = async {
                match &mut picture {
                    Some(listener) => listener.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.sender.closed() => return Err(Gone),
                () = self.app.stop.cancelled() => return Err(Gone),
                () = frames => {}
                _ = look.tick() => {
                    if !self.app.door.is_open(&self.headers, &self.app.tokens, self.app.clock.now()) {
                        return self.tell(Event::default().event("bye").data("the session has ended")).await;
                    }
                    let changes = monitor.changes();
                    if changes != known && told.elapsed() >= CHANGED_EVERY {
                        (known, told) = (changes, Instant::now());
                        let dropped = monitor.live().dropped();
                        self.tell(Event::default().event("changed").data(dropped.to_string())).await?;
                    }
                }
            }
        }
    }
}

/// Server-sent events for whoever is signed in.
pub(super) async fn events(State(app): State<App>, headers: HeaderMap, Query(wish): Query<Wish>) -> Answer<Response> {
    let now = app.clock.now();
    if !app.door.is_open(&headers, &app.tokens, now) {
        let detail = "the session has ended; sign in again with a link from `manyhands-coordinator console`";
        return Err(ApiError::new(Kind::Unauthenticated, detail));
    }
    let full = || {
        let detail = "as many pages follow the live picture as may; close one";
        ApiError::new(Kind::Unavailable, detail).retry_after(Duration::from_secs(30))
    };
    let picture = if wish.replicas { Some(app.monitor.live().listen().ok_or_else(full)?) } else { None };
    app.monitor.meet_workers();
    let (sender, receiver) = mpsc::channel(EVENTS);
    let epoch = app.clock.started_at().0;
    let teller = Teller { app, headers, sender, epoch };
    tokio::spawn(async move {
        let _gone = teller.run(picture).await;
    });
    let alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(alive).into_response())
}
