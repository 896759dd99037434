//! A volunteer's computer: the production worker in a shell like `host/runner`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use manyhands_model::{Digest, LeaseId, Timestamp};
use manyhands_protocol::{Body, ClientMessage, Done, decode, encode};
use manyhands_signing::{Keypair, PublicKey};
use manyhands_worker::{Config, Effect, Event, Input, Key, Order, Pace, Parcel, Worker};

use crate::clock::Clock;
use crate::coordinator::LinkId;

/// What survives the process.
#[derive(Default)]
pub(crate) struct Disk {
    /// Saved parcels, as the outbox writes them.
    pub(crate) parcels: BTreeMap<Digest, Vec<u8>>,
    pub(crate) trust_version: u64,
}

/// Something that the world does for a machine, or checks.
pub(crate) enum Act {
    Dial,
    Send(LinkId, ClientMessage),
    HangUp(LinkId),
    Fetch(Digest),
    Execute(Order),
    Save(Parcel),
    Forget(Digest),
    Wake(Duration),
    /// The process ended, for this reason.
    Ended(String),
    Say(Event),
}

struct Process {
    worker: Worker,
    link: Option<LinkId>,
    executing: BTreeSet<LeaseId>,
}

pub(crate) struct Machine {
    seed: [u8; 32],
    slots: u16,
    /// Those in the same league tell the same lies.
    pub(crate) league: Option<u64>,
    pub(crate) clock: Clock,
    pub(crate) disk: Disk,
    pub(crate) epoch: u64,
    /// Leases of which the coordinator said what became of them.
    pub(crate) answered: BTreeSet<LeaseId>,
    process: Option<Process>,
}

impl Machine {
    pub(crate) fn new(number: u8, slots: u16, league: Option<u64>) -> Self {
        let seed = [number + 1; 32];
        Self {
            seed,
            slots,
            league,
            clock: Clock::default(),
            disk: Disk::default(),
            epoch: 0,
            answered: BTreeSet::new(),
            process: None,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn link(&self) -> Option<LinkId> {
        self.process.as_ref()?.link
    }

    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        self.process.as_ref()?.worker.wake_at()
    }

    /// Starts a process with what is on disk.
    pub(crate) fn start(&mut self, t: u64, root: PublicKey, random: [u8; 32]) -> Vec<Act> {
        self.epoch += 1;
        self.clock.start(t);
        let worker = Worker::new(Config {
            pinned: root.fingerprint(),
            key: Key::Held(Keypair::from_seed(&self.seed)),
            body: Body { engine: "test".into(), runtime: "test".into() },
            pace: Pace::full(self.slots),
            is_watched: false,
            trust_version: self.disk.trust_version,
            invitation: None,
            seed: random,
        });
        self.process = Some(Process { worker, link: None, executing: BTreeSet::new() });
        let reopen = |file: &Vec<u8>| Parcel::reopen(decode::<Done>(file).ok()?);
        // What is damaged is set aside.
        self.disk.parcels.retain(|_, file| reopen(file).is_some());
        let left = self.disk.parcels.values().filter_map(reopen).collect();
        self.tell(t, Input::Start(left))
    }

    pub(crate) fn crash(&mut self) {
        self.process = None;
        self.epoch += 1;
    }

    /// The connection that is dialled, or none any more.
    pub(crate) fn use_link(&mut self, link: Option<LinkId>) {
        if let Some(process) = &mut self.process {
            process.link = link;
        }
    }

    /// Whether an execution goes on, which then ends.
    pub(crate) fn finish(&mut self, lease: LeaseId) -> bool {
        self.process.as_mut().is_some_and(|process| process.executing.remove(&lease))
    }

    /// Tells the worker something and returns what it asks for.
    pub(crate) fn tell(&mut self, t: u64, input: Input) -> Vec<Act> {
        let now = self.clock.now(t);
        let Some(process) = &mut self.process else { return Vec::new() };
        process.worker.handle(now, input);
        let mut acts = Vec::new();
        while let Some(effect) = process.worker.poll_effect() {
            match effect {
                Effect::Connect => {
                    acts.extend(process.link.take().map(Act::HangUp));
                    acts.push(Act::Dial);
                }
                Effect::Disconnect => acts.extend(process.link.take().map(Act::HangUp)),
                Effect::Send(message) => acts.extend(process.link.map(|link| Act::Send(link, message))),
                Effect::FetchModule { module, .. } => acts.push(Act::Fetch(module)),
                Effect::ForgetModule(_) => {}
                Effect::Execute(order) => {
                    process.executing.insert(order.lease);
                    acts.push(Act::Execute(order));
                }
                Effect::Abort(lease) => drop(process.executing.remove(&lease)),
                // Its key is at hand.
                Effect::Sign(..) | Effect::Check(..) => {}
                Effect::Save(parcel) => acts.push(Act::Save(parcel)),
                Effect::Forget(parcel) => acts.push(Act::Forget(parcel)),
                Effect::RememberTrust(version) => self.disk.trust_version = version,
                Effect::Say(event) => acts.push(Act::Say(event)),
                Effect::Finished => acts.push(Act::Ended("finished".into())),
                Effect::Fatal(reason) => acts.push(Act::Ended(reason.to_string())),
            }
        }
        acts.extend(process.worker.wake_at().map(|at| Act::Wake(at.since(now))));
        acts
    }

    /// The file of a parcel.
    pub(crate) fn file(parcel: &Parcel) -> Vec<u8> {
        encode(parcel.done())
    }
}
