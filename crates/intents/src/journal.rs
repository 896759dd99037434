//! The life of an intent: one effect, however often things crash.
//!
//! ```text
//! Agreed ──claim──▶ Claimed ──may have been made, must not be twice──▶ Unknown
//!  │                ▲  │ │                                             │    │
//!  │              claim│ │                                             │    │
//!  │                │  │ └──answered, tried often enough──▶ Heard ◀────┘    │
//!  │                │  ▼ may be made again                  made, let go    │
//!  │               Waiting ◀──────────────────────────────────────not made──┘
//!  │                 │
//!  └─────refused─────┴──▶ Refused (nothing was ever sent)
//! ```
//! What was put back from a copy goes from Agreed or Waiting to Waiting, where its key is known for certain, else to Unknown.
//!
//! **What must be on disk before the first byte goes out is the claim**, and nothing else. A claim without an outcome then means
//! that the call may have been made, whatever the process did before it died. A second mark between connecting and sending would
//! let a restart say *never sent* of those that died in between. It would cost every call another write, to save an operator's look
//! at a few after a crash; so there is none, and a claim is best made when everything else is ready. The outcome must be on disk before the
//! job hears it. Between these two, any number of crashes is as good as one.
//!
//! **A fence** grows with every start of whoever makes calls, and with every claim. An outcome counts only for the claim with its very fence, so
//! what comes late or twice changes nothing. A claim of an earlier start ends as *perhaps sent*; who starts must be certain that none of
//! those sends any more.
//!
//! States are values and [`State::next`] is a pure function; the caller writes the new state before it acts on it.

use core::time::Duration;

use manyhands_model::Timestamp;
use manyhands_model::verb::EffectClass;
use serde::{Deserialize, Serialize};

use crate::answer::{Fault, Heard};

/// How often a call is tried, if it may be made again.
const ATTEMPTS_MAX: u32 = 5;
/// How long after the first attempt the same idempotency key may be used: servers may forget one after 24 hours (Stripe's API reference,
/// "Idempotent requests"), and an hour is for what clocks differ and attempts take.
const KEY_WINDOW: Duration = Duration::from_secs(23 * 60 * 60);
/// How long a claim may be sent after it was made. Who was suspended in between may not know how much has changed.
const SEND_WITHIN: Duration = Duration::from_secs(60);
/// Wait after the first attempt; each time four times as long.
const BACKOFF: Duration = Duration::from_secs(1);

/// One claim. No two are equal, and later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// Which start of whoever makes calls.
    pub start: u64,
    /// Which claim since then.
    pub claim: u64,
}

/// How far the attempts got that are over. Only certainty counts as less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reach {
    /// Not a byte was sent.
    Never,
    /// The upstream answered that it did nothing.
    Declined,
    /// The upstream may have done what was asked.
    InDoubt,
}

/// The attempts until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// How many, a present one included.
    pub made: u32,
    /// When the first began that sent anything.
    pub first_at: Timestamp,
    /// The last one's claim.
    pub fence: Fence,
    /// When that was.
    pub claimed_at: Timestamp,
    /// How far those that are over got at most.
    pub reach: Reach,
}

/// Where an intent is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Replicas agree on it; nobody tries it.
    Agreed,
    /// It was tried, and nothing is lost by trying again; or nothing was made of it, as the operator found.
    Waiting {
        /// Until now.
        attempts: Attempts,
        /// Not before.
        due: Timestamp,
    },
    /// Somebody makes the call, or died over it.
    Claimed {
        /// With this one.
        attempts: Attempts,
    },
    /// Nobody knows whether it was made, and it must not be made twice. The operator is to find out.
    Unknown {
        /// Until now.
        attempts: Attempts,
        /// Since when.
        since: Timestamp,
    },
    /// It is over, and nothing was ever sent, but for what the operator found not to have been made: its share of the budget may be given
    /// back.
    Refused(Fault),
    /// It is over, and this is what the job hears.
    Heard(Heard),
}

/// What happens to an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody is going to make the call, once this is on disk and if [`State::may_send`] says so: where the key of an earlier attempt
    /// may be forgotten by now, this leads to [`State::Unknown`].
    Claim(Fence),
    /// It must not be made: the budget, the plan or its slots do not allow it.
    Refuse(Fault),
    /// An attempt is over.
    Over(Fence, Outcome),
    /// This state was put back from a copy: since `asked_at` the call may have been made, and nothing here knows of it. The fence is a new one,
    /// so that it shows who was told.
    Forgotten {
        /// When the call can have been made at the earliest.
        asked_at: Timestamp,
        /// Greater than all before it.
        fence: Fence,
    },
    /// The operator found that it was made, and what came of it.
    Made(Heard),
    /// The operator found that it was not made; it is tried afresh.
    NotMade,
    /// Nobody will find out, or the job shall not wait for it: it hears `unknown`.
    LetGo,
}

/// How one attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a whole answer.
    Answered {
        /// Of it.
        status: u16,
        /// What the job may hear of it.
        heard: Heard,
    },
    /// Before a byte of the request went out; it may be different another time.
    NeverSent,
    /// Before a byte of the request went out, and it will be the same every time.
    Refused(Fault),
    /// Without an answer, perhaps after the call had been made: a lost connection, or no answer in time.
    PerhapsSent,
}

/// Why an event changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unchanged {
    /// It is over, and stays what it is.
    #[error("the intent is over")]
    Over,
    /// Somebody has it.
    #[error("the intent is claimed already")]
    Claimed,
    /// Not before its time.
    #[error("the intent waits until its next attempt is due")]
    NotDue,
    /// Another start's claim, or no claim at all.
    #[error("the outcome belongs to no claim that counts")]
    Stale,
    /// Nothing to settle.
    #[error("nothing about the intent is unknown")]
    Known,
    /// An operator is to settle it first.
    #[error("nobody knows whether the call was made; settle that first")]
    Unknown,
}

/// What a whole answer says about whether the call was made.
enum Verdict {
    /// It was dealt with.
    Final,
    /// It was not, and may be another time.
    Again,
    /// Whoever answered does not know.
    Doubtful,
}

/// RFC 9110, section 15; RFC 6585, section 4; RFC 8470, section 5.2.
fn verdict(status: u16, attempts: u32, effect: EffectClass) -> Verdict {
    match status {
        408 | 425 | 429 | 503 => Verdict::Again,
        // A gateway that got no answer itself, or none that it understood.
        502 | 504 => Verdict::Doubtful,
        // An earlier attempt with the same key is still being worked on.
        409 if attempts > 1 && effect == EffectClass::Keyed => Verdict::Again,
        _ => Verdict::Final,
    }
}

impl State {
    /// The state after `event` at `now`, for a call with this effect. Pure: same arguments, same answer.
    ///
    /// # Errors
    /// [`Unchanged`]: the event does not concern this state, which stays as it is.
    pub fn next(&self, event: &Event, effect: EffectClass, now: Timestamp) -> Result<Self, Unchanged> {
        use Event::{Claim, Forgotten, LetGo, Made, NotMade, Over, Refuse};
        use State::{Agreed, Claimed, Heard as Hears, Refused, Unknown, Waiting};
        match (self, event) {
            (Refused(_) | Hears(_), _) => Err(Unchanged::Over),

            (Agreed, Claim(fence)) => {
                let attempts = Attempts { made: 1, first_at: now, fence: *fence, claimed_at: now, reach: Reach::Never };
                Ok(Claimed { attempts })
            }
            (Waiting { due, .. }, Claim(_)) if now < *due => Err(Unchanged::NotDue),
            (Waiting { attempts, .. }, Claim(fence)) if *fence <= attempts.fence => Err(Unchanged::Stale),
            (Waiting { attempts, .. }, Claim(_)) if !attempts.key_is_known(effect, now) => {
                Ok(Unknown { attempts: *attempts, since: now })
            }
            (Waiting { attempts, .. }, Claim(fence)) => {
                let made = attempts.made + 1;
                let first_at = if attempts.reach == Reach::Never { now } else { attempts.first_at };
                Ok(Claimed { attempts: Attempts { made, first_at, fence: *fence, claimed_at: now, ..*attempts } })
            }

            (Agreed, Refuse(fault)) => Ok(Refused(*fault)),
            (Waiting { attempts, .. }, Refuse(fault)) => Ok(attempts.give_up(effect, *fault, now)),

            (Claimed { attempts }, Over(fence, outcome)) if attempts.fence == *fence => {
                Ok(attempts.over(outcome, effect, now))
            }
            (Agreed | Waiting { .. }, Forgotten { asked_at, fence }) => {
                let made = if let Waiting { attempts, .. } = self { attempts.made } else { 0 };
                let reach = Reach::InDoubt;
                let attempts = Attempts { made, first_at: *asked_at, fence: *fence, claimed_at: now, reach };
                Ok(if effect.may_repeat() && attempts.key_is_known(effect, now) {
                    Waiting { attempts, due: now }
                } else {
                    Unknown { attempts, since: now }
                })
            }

            (Unknown { .. }, Made(heard)) => Ok(Hears(heard.clone())),
            // Afresh, but for the fence: an earlier claim must not come after all.
            (Unknown { attempts, .. }, NotMade) => {
                Ok(Waiting { attempts: Attempts { made: 0, reach: Reach::Never, ..*attempts }, due: now })
            }
            (Unknown { .. }, LetGo) => Ok(Hears(Heard::Fault(Fault::Unknown))),

            (Claimed { .. }, Claim(_) | Refuse(_)) => Err(Unchanged::Claimed),
            (Unknown { .. }, Claim(_) | Refuse(_)) => Err(Unchanged::Unknown),
            (Agreed | Waiting { .. } | Claimed { .. } | Unknown { .. }, Over(..)) => Err(Unchanged::Stale),
            // What is claimed ends as one that was perhaps sent.
            (Claimed { .. } | Unknown { .. }, Forgotten { .. }) => Err(Unchanged::Known),
            (Agreed | Waiting { .. } | Claimed { .. }, Made(_) | NotMade | LetGo) => Err(Unchanged::Known),
        }
    }

    /// Whether the call may be sent under this claim, which is on disk. To be asked right before the first byte; if not, it was
    /// [`Outcome::NeverSent`].
    pub fn may_send(&self, fence: Fence, now: Timestamp) -> bool {
        matches!(self, Self::Claimed { attempts } if attempts.fence == fence && now.since(attempts.claimed_at) < SEND_WITHIN)
    }

    /// The last attempt's fence, if there was one.
    pub const fn fence(&self) -> Option<Fence> {
        match self {
            Self::Claimed { attempts } | Self::Waiting { attempts, .. } | Self::Unknown { attempts, .. } => {
                Some(attempts.fence)
            }
            Self::Agreed | Self::Refused(_) | Self::Heard(_) => None,
        }
    }

    /// From when on it may be claimed, if it may be.
    pub const fn due(&self) -> Option<Timestamp> {
        match self {
            Self::Agreed => Some(Timestamp(0)),
            Self::Waiting { due, .. } => Some(*due),
            Self::Claimed { .. } | Self::Unknown { .. } | Self::Refused(_) | Self::Heard(_) => None,
        }
    }

    /// What the job hears, once it is certain.
    pub fn heard(&self) -> Option<Heard> {
        match self {
            Self::Refused(fault) => Some(Heard::Fault(*fault)),
            Self::Heard(heard) => Some(heard.clone()),
            Self::Agreed | Self::Waiting { .. } | Self::Claimed { .. } | Self::Unknown { .. } => None,
        }
    }
}

impl Attempts {
    /// The state after an attempt that ended so.
    fn over(&self, outcome: &Outcome, effect: EffectClass, now: Timestamp) -> State {
        let to = |reach| Self { reach: self.reach.max(reach), ..*self };
        let (attempts, end) = match outcome {
            Outcome::Answered { status, heard } => match verdict(*status, self.made, effect) {
                // Who keeps the gate answers before anybody looks for what the key did the last time.
                Verdict::Final if matches!(status, 401 | 403) => {
                    return to(Reach::Declined).end(effect, heard.clone(), now);
                }
                Verdict::Final => return State::Heard(heard.clone()),
                Verdict::Again => (to(Reach::Declined), heard.clone()),
                Verdict::Doubtful => (to(Reach::InDoubt), heard.clone()),
            },
            Outcome::Refused(fault) => return self.give_up(effect, *fault, now),
            Outcome::NeverSent => (*self, Heard::Fault(Fault::TimedOut)),
            Outcome::PerhapsSent => (to(Reach::InDoubt), Heard::Fault(Fault::TimedOut)),
        };
        if attempts.made < ATTEMPTS_MAX && (attempts.reach == Reach::Never || effect.may_repeat()) {
            let due = now.after(BACKOFF * 4_u32.pow(attempts.made - 1));
            return State::Waiting { attempts, due };
        }
        attempts.end(effect, end, now)
    }

    fn give_up(&self, effect: EffectClass, fault: Fault, now: Timestamp) -> State {
        self.end(effect, Heard::Fault(fault), now)
    }

    /// The end, unless something may have been done that nobody knows of.
    fn end(&self, effect: EffectClass, heard: Heard, now: Timestamp) -> State {
        match (self.reach, heard) {
            (Reach::Never, Heard::Fault(fault)) => State::Refused(fault),
            (Reach::InDoubt, _) if effect != EffectClass::Safe => State::Unknown { attempts: *self, since: now },
            (_, heard) => State::Heard(heard),
        }
    }

    /// Whether the upstream still knows the key of what it may have done.
    fn key_is_known(&self, effect: EffectClass, now: Timestamp) -> bool {
        self.reach != Reach::InDoubt || effect == EffectClass::Safe || now.since(self.first_at) < KEY_WINDOW
    }
}
