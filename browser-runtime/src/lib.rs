//! The browser's runtime: the worker's mind, for a Web Worker.
//!
//! [`Mind`] is the same mind that the native runner has, and JavaScript carries out what it asks for and decides nothing: see
//! `web/mind.js`, whose one `shell` it calls. Guests run in Web Workers of their own (`web/slot.js`), which this code
//! never enters; what they answer is read here.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::borrow::ToOwned as _;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::time::Duration;

use manyhands_javascript::{Unit, frame};
use manyhands_model::quantity::milliseconds;
use manyhands_model::{Digest, LeaseId, Limits, Timestamp, UnitId};
use manyhands_protocol::{Body, Done, SUBPROTOCOL, Settlement, decode, encode};
use manyhands_signing::{Claim, Claims as _, PublicKey, Signature};
use manyhands_worker::{
    Clock, Config, Effect, Event, Input, Key, Order, Pace, Parcel, Pause, Reason, Senses, Wishes, Worker,
};
use wasm_bindgen::prelude::*;

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

/// Nobody could read what a panic says, so nothing of it is kept: the shell sees a trap.
#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

// One shell for one mind: a shell for each would be handles to it, and what keeps those is code that browsers fetch.
#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = shell)]
    fn connect(subprotocol: &str);
    #[wasm_bindgen(js_namespace = shell)]
    fn disconnect();
    #[wasm_bindgen(js_namespace = shell)]
    fn send(frame: Vec<u8>);
    #[wasm_bindgen(js_namespace = shell)]
    fn fetch(module: &str, bytes: f64);
    #[wasm_bindgen(js_namespace = shell)]
    fn forget_module(module: &str);
    #[wasm_bindgen(js_namespace = shell)]
    fn execute(lease: &str, unit: &str, module: &str, request: Vec<u8>);
    #[wasm_bindgen(js_namespace = shell)]
    fn abort(lease: &str);
    #[wasm_bindgen(js_namespace = shell)]
    fn sign(number: f64, message: Vec<u8>);
    #[wasm_bindgen(js_namespace = shell)]
    fn check(number: f64, signer: Vec<u8>, signature: Vec<u8>, message: Vec<u8>);
    #[wasm_bindgen(js_namespace = shell)]
    fn save(parcel: &str, bytes: Vec<u8>);
    #[wasm_bindgen(js_namespace = shell)]
    fn forget(parcel: &str);
    #[wasm_bindgen(js_namespace = shell)]
    fn remember_trust(version: f64);
    /// What a volunteer might want to know: which event, about which unit, and two more words about it. Besides the mind's
    /// events there are `given_back` and `failed`, about a unit that was being executed and is not any more.
    #[wasm_bindgen(js_namespace = shell)]
    fn say(word: &str, unit: &str, text: &str, number: f64);
    /// The mind has ended: without a word when that was asked for, else by the word for why, and in a sentence.
    #[wasm_bindgen(js_namespace = shell)]
    fn end(word: &str, reason: &str);
    /// Milliseconds until [`Mind::time_passed`] is to be called; infinite for never.
    #[wasm_bindgen(js_namespace = shell)]
    fn wake(after: f64);

    #[wasm_bindgen(js_namespace = Date, js_name = now)]
    fn wall() -> f64;
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn monotonic() -> f64;
}

/// Why these bytes are not the module of that name, or do not pay for all they do. Asked before they are compiled.
// No function returns a `Result`: its error would be an object, and the code that hands over objects is fetched for that alone.
#[wasm_bindgen]
pub fn refusal(module: &str, bytes: &[u8]) -> Option<String> {
    let Ok(module) = module.parse() else { return Some("not the name of a module".to_owned()) };
    match Worker::accepts_module(module, bytes) {
        Ok(()) => manyhands_verifier::verify(bytes).err().map(|fault| fault.to_string()),
        Err(refusal) => Some(refusal.to_string()),
    }
}

/// A worker's mind.
#[wasm_bindgen]
pub struct Mind {
    /// Ends with its Web Worker and never before, so nothing of it is ever taken apart.
    worker: ManuallyDrop<Worker>,
    clock: Clock,
    left: Vec<Parcel>,
    /// What is being executed, and how much it may use.
    running: Vec<(LeaseId, UnitId, Limits)>,
    wishes: Wishes,
    senses: Senses,
    against: Option<Reason>,
}

#[wasm_bindgen]
impl Mind {
    /// A mind that has not started, for the coordinator whose root key has that fingerprint. `key` is the public half of
    /// a key that the shell has; `random` 32 bytes, for waiting times; `trust_version` the highest version of a trust list that
    /// was seen. Nothing if one of these is not what it should be.
    pub fn of(
        coordinator: &str,
        key: &[u8],
        engine: String,
        random: &[u8],
        trust_version: f64,
        slots: u16,
        permille: u16,
    ) -> Option<Self> {
        let worker = Worker::new(Config {
            pinned: coordinator.parse().ok()?,
            key: Key::Elsewhere(PublicKey(key.try_into().ok()?)),
            body: Body { engine, runtime: concat!("manyhands-browser ", env!("CARGO_PKG_VERSION")).to_owned() },
            pace: Pace { slots, permille },
            is_watched: true,
            trust_version: trust_version as u64,
            invitation: None,
            seed: random.try_into().ok()?,
        });
        let wishes = Wishes { on_battery: true, on_metered: true, while_hidden: true, hours: None };
        let (clock, left, senses) = Default::default();
        let worker = ManuallyDrop::new(worker);
        Some(Self { worker, clock, left, running: Vec::new(), wishes, senses, against: None })
    }

    /// A parcel that was saved under that name and not acknowledged. Whether it is whole; else it can be forgotten.
    pub fn left_over(&mut self, parcel: &str, bytes: &[u8]) -> bool {
        let Ok(mut done) = decode::<Done>(bytes) else { return false };
        // It was named after all that was signed, signature included: under this name it is what it was.
        done.reports.answer(parcel.parse() == Ok(done.reports.digest()));
        let parcel = Parcel::reopen(done);
        self.left.extend(parcel.clone());
        parcel.is_some()
    }

    /// Starts, with what was left over.
    pub fn start(&mut self) {
        let left = core::mem::take(&mut self.left);
        self.hear(Input::Start(left));
    }

    /// The connection is there.
    pub fn connected(&mut self) {
        self.hear(Input::Connected);
    }

    /// The connection is gone, or never came.
    pub fn disconnected(&mut self, reason: String) {
        self.hear(Input::Disconnected(reason));
    }

    /// A frame came. What cannot be read ends the connection, for the reason that is returned.
    pub fn frame(&mut self, bytes: &[u8]) -> Option<String> {
        match decode(bytes) {
            Ok(message) => {
                self.hear(Input::Frame(message));
                None
            }
            Err(error) => Some(error.to_string()),
        }
    }

    /// A module was accepted and compiled.
    pub fn module_ready(&mut self, module: &str) {
        self.about(module, Input::ModuleReady);
    }

    /// A module cannot be had.
    pub fn module_failed(&mut self, module: &str, reason: String) {
        self.about(module, |module| Input::ModuleFailed(module, reason));
    }

    /// An execution ended with this reply.
    pub fn executed(&mut self, lease: &str, reply: &[u8]) {
        let Some((lease, unit, limits)) = self.ended(lease) else { return };
        match frame::executed(&limits, reply) {
            Ok(executed) => {
                let result = Ok((executed.outcome, executed.output.into()));
                self.hear(Input::Executed { lease, result });
            }
            Err(error) => self.could_not(lease, unit, error.to_string()),
        }
    }

    /// An execution ended without one.
    pub fn failed(&mut self, lease: &str, reason: String) {
        if let Some((lease, unit, _)) = self.ended(lease) {
            self.could_not(lease, unit, reason);
        }
    }

    /// How far an execution is, 0 to 1000.
    pub fn progress(&mut self, lease: &str, permille: u16) {
        if let Ok(lease) = lease.parse() {
            self.hear(Input::Progress { lease, permille });
        }
    }

    /// What was to be signed under that number.
    pub fn signed(&mut self, number: f64, signature: &[u8]) {
        let input = match <[u8; 64]>::try_from(signature) {
            Ok(signature) => Input::Signed(number as u64, Signature::from(signature)),
            Err(_) => Input::NotSigned("a signature has 64 bytes".to_owned()),
        };
        self.hear(input);
    }

    /// Whether the signature fits about which that number was asked.
    pub fn checked(&mut self, number: f64, fits: bool) {
        self.hear(Input::Checked(number as u64, fits));
    }

    /// The key cannot be used, or no signature checked.
    pub fn not_signed(&mut self, reason: String) {
        self.hear(Input::NotSigned(reason));
    }

    /// A parcel is on the disk, or cannot be put there.
    pub fn saved(&mut self, parcel: &str, is_saved: bool) {
        self.about(parcel, if is_saved { Input::Saved } else { Input::NotSaved });
    }

    /// Use so many slots, each for so many thousandths of the time.
    pub fn pace(&mut self, slots: u16, permille: u16) {
        self.hear(Input::Pace(Pace { slots, permille }));
    }

    /// When the volunteer wants it to work: only between these minutes of the day, if they differ.
    pub fn wish(&mut self, on_battery: bool, on_metered: bool, while_hidden: bool, from: u16, to: u16) {
        self.wishes = Wishes { on_battery, on_metered, while_hidden, hours: (from != to).then_some((from, to)) };
        self.weigh();
    }

    /// How things are; `minute` is that of the day.
    pub fn sense(&mut self, on_battery: bool, on_metered: bool, is_hidden: bool, minute: u16) {
        self.senses = Senses { on_battery, on_metered, is_hidden, minute };
        self.weigh();
    }

    /// Give back what was begun, and end.
    pub fn stop(&mut self) {
        self.hear(Input::Stop);
    }

    /// The time that was asked for has come.
    pub fn time_passed(&mut self) {
        self.hear(Input::TimePassed);
    }

    fn weigh(&mut self) {
        let against = self.wishes.against(&self.senses);
        if core::mem::replace(&mut self.against, against) != against {
            self.hear(against.map_or(Input::Resume, |reason| Input::Pause(Pause::Unwanted(reason))));
        }
    }

    fn about(&mut self, digest: &str, input: impl FnOnce(Digest) -> Input) {
        if let Ok(digest) = digest.parse() {
            self.hear(input(digest));
        }
    }

    fn ended(&mut self, lease: &str) -> Option<(LeaseId, UnitId, Limits)> {
        self.no_longer(lease.parse().ok()?)
    }

    fn no_longer(&mut self, lease: LeaseId) -> Option<(LeaseId, UnitId, Limits)> {
        let at = self.running.iter().position(|(running, ..)| *running == lease)?;
        Some(self.running.remove(at))
    }

    fn could_not(&mut self, lease: LeaseId, unit: UnitId, reason: String) {
        say("failed", &unit.to_string(), &reason, 0.0);
        self.hear(Input::Executed { lease, result: Err(reason) });
    }

    fn hear(&mut self, input: Input) {
        let now = self.now();
        self.worker.handle(now, input);
        while let Some(effect) = self.worker.poll_effect() {
            self.perform(effect);
        }
        let until = self.worker.wake_at().map(|at| at.since(self.now()));
        wake(until.map_or(f64::INFINITY, |wait| milliseconds(wait) as f64));
    }

    fn now(&mut self) -> Timestamp {
        self.clock.now(Timestamp(wall() as u64), Duration::from_millis(monotonic() as u64))
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Connect => connect(SUBPROTOCOL),
            Effect::Disconnect => disconnect(),
            Effect::Send(message) => send(encode(&message)),
            Effect::FetchModule { module, bytes } => fetch(&module.to_string(), bytes as f64),
            Effect::ForgetModule(module) => forget_module(&module.to_string()),
            Effect::Execute(Order { lease, unit, module, entry, step, input, seed, limits }) => {
                self.running.push((lease, unit, limits));
                let request = frame::execute(&Unit { entry, step, input: &input, seed, limits });
                execute(&lease.to_string(), &unit.to_string(), &module.to_string(), request);
            }
            Effect::Abort(lease) => {
                if let Some((_, unit, _)) = self.no_longer(lease) {
                    say("given_back", &unit.to_string(), "", 0.0);
                }
                abort(&lease.to_string());
            }
            Effect::Sign(number, message) => sign(number as f64, message),
            Effect::Check(number, Claim { signer, message, signature }) => {
                check(number as f64, signer.0.to_vec(), signature.to_bytes().to_vec(), message);
            }
            Effect::Save(parcel) => save(&parcel.name().to_string(), encode(parcel.done())),
            Effect::Forget(parcel) => forget(&parcel.to_string()),
            Effect::RememberTrust(version) => remember_trust(version as f64),
            Effect::Say(event) => tell(&event),
            Effect::Finished => end("", ""),
            Effect::Fatal(reason) => end(reason.word(), &reason.to_string()),
        }
    }
}

fn tell(event: &Event) {
    let word = event.word();
    let tell = |unit: &str, text: &str, number: f64| say(word, unit, text, number);
    match event {
        Event::Joined | Event::Resumed => tell("", "", 0.0),
        Event::Recorded { unit } => tell(&unit.to_string(), "", 0.0),
        Event::Lost { reason, retry_in } => tell("", reason, milliseconds(*retry_in) as f64),
        Event::Started { unit, job } => tell(&unit.to_string(), &job.to_string(), 0.0),
        Event::ClockDiffers { by, ahead } => tell("", "", milliseconds(*by) as f64 * if *ahead { 1.0 } else { -1.0 }),
        Event::Executed { unit, outcome } => {
            tell(&unit.to_string(), outcome.verdict.word(), outcome.fuel.0 as f64);
        }
        Event::NotCounted { unit, reason } => tell(&unit.to_string(), reason, 0.0),
        Event::MachineFailed { reason } => tell("", reason, 0.0),
        Event::Refused(refusal) => tell("", &refusal.to_string(), 0.0),
        Event::TooLate { unit } => tell(&unit.to_string(), "", 0.0),
        Event::Resting { wait } => tell("", "", milliseconds(*wait) as f64),
        Event::Settled { unit, settlement } => match settlement {
            Settlement::Agreed { others } => tell(&unit.to_string(), "agreed", f64::from(*others)),
            Settlement::Contradicted => tell(&unit.to_string(), "contradicted", 0.0),
        },
        Event::Balance { fuel } => tell("", "", *fuel as f64),
        // It says so of each unit.
        Event::Contradicted { .. } => {}
        Event::Paused(why) => {
            let why = match why {
                Pause::Asked => "asked",
                Pause::Unwanted(Reason::Hours) => "hours",
                Pause::Unwanted(Reason::Battery) => "battery",
                Pause::Unwanted(Reason::Metered) => "metered",
                Pause::Unwanted(Reason::Hidden) => "hidden",
            };
            tell("", why, 0.0);
        }
        Event::Draining { units } => tell("", "", *units as f64),
        Event::Left { executed, .. } => tell("", "", *executed as f64),
    }
}
