//! Carries out what the worker's mind asks for: connects, fetches, executes, saves.
//!
//! Every decision is the mind's. If this loop grows an `if` about leases, move it inward.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::{SinkExt as _, StreamExt as _};
use manyhands_abi::MODULE_BYTES_MAX;
use manyhands_model::{Digest, LeaseId, Timestamp};
use manyhands_protocol::{ClientMessage, FRAME_BYTES_MAX, SUBPROTOCOL, ServerMessage, decode, encode};
use manyhands_worker::{Clock, Effect, Event, Input, Order, Parcel, Pause, Worker};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::cache::Cache;
use crate::engine::Execution;
use crate::identity::DataDir;
use crate::link::JoinLink;
use crate::outbox::Outbox;
use crate::sandbox::{Compiled, Program, Slot, compile};

/// Time for a connection to be made.
const CONNECT_TIME: Duration = Duration::from_secs(20);
/// Time for a module to be fetched and compiled.
const FETCH_TIME: Duration = Duration::from_secs(300);
/// Time for what was sent last to arrive before a connection that is given up is cut.
const CLOSE_TIME: Duration = Duration::from_secs(3);
/// Messages that wait for a slow network.
const OUTGOING: usize = 1024;

/// What somebody outside asks of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Take no new work, or take it again.
    TogglePause,
    /// Finish what was begun, then end.
    Drain,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything is finished.
    Drained,
    /// It cannot go on, for this reason.
    Fatal(String),
}

/// What a session needs.
pub struct Session {
    /// Where the coordinator is.
    pub link: JoinLink,
    /// The mind.
    pub worker: Worker,
    /// The runner's directory.
    pub data: DataDir,
    /// Finished work on disk.
    pub outbox: Outbox,
    /// Machine code on disk.
    pub cache: Arc<Cache>,
    /// The executable whose children execute.
    pub program: Program,
    /// How many.
    pub slots: u16,
    /// Hears what a volunteer might want to know.
    pub say: Box<dyn FnMut(&Event) + Send>,
}

/// The time, smoothed.
struct Now {
    clock: Clock,
    started: Instant,
}

impl Now {
    fn now(&mut self) -> Timestamp {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.clock.now(Timestamp(0).after(wall), self.started.elapsed())
    }
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// What the tasks of a session tell its loop.
struct Hands {
    link: JoinLink,
    http: reqwest::Client,
    cache: Arc<Cache>,
    program: Program,
    tell: mpsc::UnboundedSender<Told>,
    modules: BTreeMap<Digest, Compiled>,
    idle: Vec<Slot>,
    executing: BTreeMap<LeaseId, AbortHandle>,
    /// The connection's number, so that what an older one says is not heard.
    connection: u64,
    outgoing: Option<(mpsc::Sender<ClientMessage>, JoinHandle<()>)>,
    /// The connection that was given up last, while it sends what waits.
    closing: Option<JoinHandle<()>>,
}

enum Told {
    /// About the connection of that number.
    Link(u64, Input),
    Worker(Input),
    Fetched(Result<Compiled, (Digest, String)>),
    Idle(LeaseId, Slot, Input),
}

impl Session {
    /// Works until there is nothing left to do.
    pub async fn run(self, mut commands: mpsc::Receiver<Command>, left: Vec<Parcel>) -> End {
        let Self { link, mut worker, data, outbox, cache, program, slots, mut say } = self;
        let (tell, mut told) = mpsc::unbounded_channel();
        let coordinator = link.fingerprint.to_string();
        // A module comes from the coordinator itself, whatever it says about other places.
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).connect_timeout(CONNECT_TIME);
        let http = match http.build() {
            Ok(http) => http,
            Err(error) => return End::Fatal(format!("modules cannot be fetched: {error}")),
        };
        let mut hands = Hands {
            http,
            idle: (0..slots).map(|_| Slot::new(program.clone())).collect(),
            link,
            cache,
            program,
            tell,
            modules: BTreeMap::new(),
            executing: BTreeMap::new(),
            connection: 0,
            outgoing: None,
            closing: None,
        };
        let mut clock = Now { clock: Clock::default(), started: Instant::now() };
        let mut paused = false;
        worker.handle(clock.now(), Input::Start(left));
        loop {
            while let Some(effect) = worker.poll_effect() {
                match effect {
                    Effect::Connect => hands.connect(),
                    Effect::Disconnect => hands.disconnect(),
                    Effect::Send(message) => hands.send(message),
                    Effect::FetchModule { module, bytes } => hands.fetch(module, bytes),
                    Effect::ForgetModule(module) => drop(hands.modules.remove(&module)),
                    Effect::Execute(order) => hands.execute(order),
                    Effect::Abort(lease) => hands.abort(lease),
                    Effect::Save(parcel) => {
                        let (outbox, tell) = (outbox.clone(), hands.tell.clone());
                        tokio::task::spawn_blocking(move || {
                            let input = match outbox.save(&parcel) {
                                Ok(()) => Input::Saved(parcel.name()),
                                Err(error) => {
                                    tracing::warn!(%error, "results cannot be saved here; they are lost if this computer stops now");
                                    Input::NotSaved(parcel.name())
                                }
                            };
                            drop(tell.send(Told::Worker(input)));
                        });
                    }
                    Effect::Forget(parcel) => {
                        if let Err(error) = outbox.forget(parcel) {
                            tracing::warn!(%error, "acknowledged results cannot be removed; they will be sent again");
                        }
                    }
                    Effect::RememberTrust(version) => {
                        if let Err(error) = data.remember_trust(&coordinator, version) {
                            tracing::warn!(%error, "the version of the trust list cannot be remembered");
                        }
                    }
                    Effect::Say(event) => say(&event),
                    Effect::Finished => {
                        hands.finish().await;
                        return End::Drained;
                    }
                    // Its key is at hand.
                    Effect::Sign(..) | Effect::Check(..) => {}
                    Effect::Fatal(reason) => return End::Fatal(reason.to_string()),
                }
            }
            let wait = worker.wake_at().map(|at| at.since(clock.now()));
            let input = tokio::select! {
                told = told.recv() => match told.and_then(|told| hands.hear(told)) {
                    Some(input) => input,
                    None => continue,
                },
                command = commands.recv() => match command {
                    Some(Command::TogglePause) => {
                        paused = !paused;
                        if paused { Input::Pause(Pause::Asked) } else { Input::Resume }
                    }
                    Some(Command::Drain) | None => Input::Drain,
                },
                () = sleep(wait) => Input::TimePassed,
            };
            worker.handle(clock.now(), input);
        }
    }
}

impl Hands {
    /// What the mind should hear of what a task told.
    fn hear(&mut self, told: Told) -> Option<Input> {
        match told {
            Told::Link(connection, input) => (connection == self.connection).then_some(input),
            Told::Worker(input) => Some(input),
            Told::Fetched(Ok(compiled)) => {
                let module = compiled.module;
                self.modules.insert(module, compiled);
                Some(Input::ModuleReady(module))
            }
            Told::Fetched(Err((module, reason))) => Some(Input::ModuleFailed(module, reason)),
            Told::Idle(lease, slot, input) => {
                // After an abort its slot was replaced already.
                self.executing.remove(&lease)?;
                self.idle.push(slot);
                Some(input)
            }
        }
    }

    fn connect(&mut self) {
        self.disconnect();
        self.connection += 1;
        let (sender, receiver) = mpsc::channel(OUTGOING);
        let (url, tell, number) = (self.link.socket(), self.tell.clone(), self.connection);
        let talking = tokio::spawn(async move {
            let reason = match talk(&url, receiver, |input| drop(tell.send(Told::Link(number, input)))).await {
                Ok(()) => "the coordinator closed the connection".to_owned(),
                Err(error) => error.to_string(),
            };
            drop(tell.send(Told::Link(number, Input::Disconnected(reason))));
        });
        self.outgoing = Some((sender, talking));
    }

    fn disconnect(&mut self) {
        self.connection += 1;
        // Dropping the sender lets the task send what waits, and close.
        let Some((_, talking)) = self.outgoing.take() else { return };
        let cut = talking.abort_handle();
        tokio::spawn(async move {
            tokio::time::sleep(CLOSE_TIME).await;
            cut.abort();
        });
        self.closing = Some(talking);
    }

    fn send(&mut self, message: ClientMessage) {
        if let Some((sender, talking)) = &self.outgoing
            && sender.try_send(message).is_err()
        {
            talking.abort();
            let reason = "the network is too slow".to_owned();
            drop(self.tell.send(Told::Link(self.connection, Input::Disconnected(reason))));
        }
    }

    /// Lets the connection close, so that what was sent last arrives.
    async fn finish(&mut self) {
        if let Some(closing) = self.closing.take() {
            let _in_time = tokio::time::timeout(CLOSE_TIME, closing).await;
        }
    }

    fn fetch(&mut self, module: Digest, bytes: u64) {
        let (http, cache, program) = (self.http.clone(), Arc::clone(&self.cache), self.program.clone());
        let (url, tell) = (format!("{}/v1/modules/{module}", self.link.base), self.tell.clone());
        tokio::spawn(async move {
            let fetched = tokio::time::timeout(FETCH_TIME, ready(&http, &url, &cache, &program, module, bytes)).await;
            let result = fetched.unwrap_or_else(|_| Err("fetching the module took too long".into()));
            drop(tell.send(Told::Fetched(result.map_err(|reason| (module, reason)))));
        });
    }

    fn execute(&mut self, order: Order) {
        let Order { lease, unit: _, module, entry, step, input, seed, limits } = order;
        let (Some(compiled), tell) = (self.modules.get(&module).cloned(), self.tell.clone()) else {
            let result = Err("the module is not ready".to_owned());
            drop(self.tell.send(Told::Worker(Input::Executed { lease, result })));
            return;
        };
        let mut slot = self.idle.pop().unwrap_or_else(|| Slot::new(self.program.clone()));
        let executing = tokio::spawn(async move {
            let hints = tell.clone();
            let mut last = 0;
            let mut progress = move |permille: u16| {
                // Only what grows: the child may be in the guest's hands, and these wait in memory.
                if permille > last {
                    last = permille;
                    drop(hints.send(Told::Worker(Input::Progress { lease, permille })));
                }
            };
            let execution = Execution { entry, step, input, seed, limits };
            let result = slot.execute(&compiled, execution, &mut progress).await;
            let result = result.map(|done| (done.outcome, done.output.into())).map_err(|error| error.to_string());
            drop(tell.send(Told::Idle(lease, slot, Input::Executed { lease, result })));
        });
        self.executing.insert(lease, executing.abort_handle());
    }

    fn abort(&mut self, lease: LeaseId) {
        if let Some(executing) = self.executing.remove(&lease) {
            // Drops the slot, which kills its process.
            executing.abort();
            self.idle.push(Slot::new(self.program.clone()));
        }
    }
}

/// A module from the cache, or fetched, checked and compiled.
async fn ready(
    http: &reqwest::Client,
    url: &str,
    cache: &Arc<Cache>,
    program: &Program,
    module: Digest,
    bytes: u64,
) -> Result<Compiled, String> {
    let look = Arc::clone(cache);
    let cached = tokio::task::spawn_blocking(move || look.get(module)).await.unwrap_or_default();
    if let Some(code) = cached {
        return Ok(Compiled { module, code: code.into() });
    }
    let wrong = |error: reqwest::Error| format!("fetching the module failed: {error}");
    let mut response = http.get(url).send().await.and_then(reqwest::Response::error_for_status).map_err(wrong)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(wrong)? {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > bytes.min(MODULE_BYTES_MAX as u64) {
            return Err("the module is longer than its release says".into());
        }
    }
    Worker::accepts_module(module, &body).map_err(|refusal| refusal.to_string())?;
    let code: Arc<[u8]> = compile(program, body).await.map_err(|error| error.to_string())?.into();
    let (keep, kept) = (Arc::clone(cache), Arc::clone(&code));
    tokio::task::spawn_blocking(move || {
        if let Err(error) = keep.put(module, &kept) {
            tracing::warn!(%error, "a compiled module cannot be kept; it will be compiled again");
        }
    });
    Ok(Compiled { module, code })
}

async fn talk(
    url: &str,
    mut outgoing: mpsc::Receiver<ClientMessage>,
    tell: impl Fn(Input),
) -> Result<(), tungstenite::Error> {
    let mut request = url.into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL));
    let config =
        WebSocketConfig::default().max_message_size(Some(FRAME_BYTES_MAX)).max_frame_size(Some(FRAME_BYTES_MAX));
    let connecting = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
    let (socket, _) = match tokio::time::timeout(CONNECT_TIME, connecting).await {
        Ok(connected) => connected?,
        Err(_) => return Err(tungstenite::Error::Io(std::io::ErrorKind::TimedOut.into())),
    };
    tell(Input::Connected);
    // Both ways at once: two sides that only send would wait for each other for ever.
    let (mut sink, mut frames) = socket.split();
    let say = async {
        while let Some(message) = outgoing.recv().await {
            sink.send(Message::binary(encode(&message))).await?;
        }
        sink.close().await
    };
    let hear = async {
        while let Some(frame) = frames.next().await {
            match frame? {
                Message::Binary(bytes) => match decode::<ServerMessage>(&bytes) {
                    Ok(message) => tell(Input::Frame(message)),
                    Err(error) => return Err(tungstenite::Error::Io(std::io::Error::other(error))),
                },
                Message::Close(_) => break,
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        Ok(())
    };
    tokio::select! {
        said = say => said,
        heard = hear => heard,
    }
}
