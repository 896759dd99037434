//! Which record of a client counts.
//!
//! ```text
//! Settled ──asked──▶ Asked ──answered──▶ Answered ──the new record is shown──▶ Settled, or Asked again
//!    ▲                 │
//!    └── nothing came ─┘
//! ```
//!
//! There is one line of records and never two: one request at a time is executed on the newest of them, and what it is answered
//! is the next. Whoever loses that answer has the record before it, and gets the same answer for it as often as it takes; nothing
//! else is done with it any more. So nobody who dislikes an answer can try for another one, and nobody is stranded without one. What is
//! shown is acknowledged.

use manyhands_model::{Digest, RunId};
use serde::{Deserialize, Serialize};

use crate::seal::Stamp;

/// What is remembered of a client's record for a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Life {
    /// Nothing was asked since the newest record was shown, if there is one.
    Settled {
        /// The record that counts.
        newest: Option<Stamp>,
    },
    /// Something was asked, and is being executed, or ended and nobody was told.
    Asked {
        /// The record that it is asked with.
        newest: Option<Stamp>,
        /// What.
        exchange: Exchange,
    },
    /// It was answered with a newer record, which nobody has shown yet.
    Answered {
        /// The record that was answered.
        newest: Stamp,
        /// The one that it was asked with.
        before: Option<Stamp>,
        /// What.
        exchange: Exchange,
    },
}

/// Something that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The run that answers it.
    pub run: RunId,
    /// What it is, by [`RecordKey::question`](crate::RecordKey::question).
    pub question: Digest,
}

/// What became of the run that was asked, where [`Life::run_in_doubt`] names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// It ended without an answer, or was lost before it was on the disk.
    Nothing,
    /// It goes on.
    Pending,
    /// It has an answer.
    Answer,
}

/// What is to be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Execute it. The answer of the run that is named was received.
    Begin {
        /// What is asked.
        question: Digest,
        /// Whose values nobody needs any more.
        received: Option<RunId>,
    },
    /// Answer with what this run says, once it has ended.
    Answer(RunId),
    /// Nothing is asked, and the client has the newest record. The answer of the run that is named was received.
    Acknowledged {
        /// Whose values nobody needs any more.
        received: Option<RunId>,
    },
}

/// Why nothing is done with a record. Shown to who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is older than it may be.
    #[error("record {shown} is older than record {newest}, which was handed out and shown since; send the newest one")]
    Older {
        /// Its number.
        shown: u64,
        /// The one that counts.
        newest: u64,
    },
    /// It was answered already, for another question.
    #[error("record {newest} was answered to this one; send this one without an input to be given it again")]
    Superseded {
        /// The answer's number.
        newest: u64,
    },
    /// No record is sent, and there is one.
    #[error("this client has record {newest}: send it. If it is lost for good, delete the client and begin anew")]
    Missing {
        /// The one that counts.
        newest: u64,
    },
    /// Its number is right, and what it holds is not.
    #[error("record {number} is not the one that was handed out last; it is of a time before the client was deleted")]
    OtherLine {
        /// Its number.
        number: u64,
    },
    /// It is newer than anything that was handed out, as far as is known.
    #[error("record {shown} is newer than any that is known here: was the client deleted? Then begin without a record")]
    Ahead {
        /// Its number.
        shown: u64,
    },
    /// Something else is being done with it.
    #[error(
        "another request with this record is being executed, or waits to be fetched: send the record without an input to be given its answer"
    )]
    Busy,
}

impl Life {
    /// Of a client of whom nothing is known.
    pub const NEW: Self = Self::Settled { newest: None };

    /// The record that counts.
    pub fn newest(&self) -> Option<&Stamp> {
        match self {
            Self::Settled { newest } | Self::Asked { newest, .. } => newest.as_ref(),
            Self::Answered { newest, .. } => Some(newest),
        }
    }

    /// The run of which has to be known what became of it.
    pub fn run_in_doubt(&self) -> Option<RunId> {
        match self {
            Self::Asked { exchange, .. } => Some(exchange.run),
            Self::Settled { .. } | Self::Answered { .. } => None,
        }
    }

    /// What is to be done with a request: a record, if one is sent, and a question, if one is asked. `is_restored` says that the
    /// coordinator's data was put back from a copy since this was written, and may have forgotten records that were handed out: then a newer
    /// one is believed.
    ///
    /// # Errors
    /// [`Refused`]; then nothing is changed.
    pub fn meet(
        &self,
        shown: Option<&Stamp>,
        question: Option<Digest>,
        became: Became,
        is_restored: bool,
    ) -> Result<Step, Refused> {
        let (number, newest) = (number(shown), number(self.newest()));
        if number > newest {
            return if is_restored { Ok(fresh(question, None)) } else { Err(Refused::Ahead { shown: number }) };
        }
        if number == newest {
            if shown != self.newest() {
                return Err(Refused::OtherLine { number });
            }
            return match self {
                Self::Settled { .. } => Ok(fresh(question, None)),
                Self::Answered { exchange, .. } => Ok(fresh(question, Some(exchange.run))),
                Self::Asked { exchange, .. } => match became {
                    Became::Nothing => Ok(fresh(question, None)),
                    Became::Pending | Became::Answer if exchange.is(question) => Ok(Step::Answer(exchange.run)),
                    Became::Pending | Became::Answer => Err(Refused::Busy),
                },
            };
        }
        match self {
            Self::Answered { before, exchange, .. } if shown == before.as_ref() => {
                if exchange.is(question) {
                    Ok(Step::Answer(exchange.run))
                } else {
                    Err(Refused::Superseded { newest })
                }
            }
            Self::Settled { .. } | Self::Asked { .. } | Self::Answered { .. } if shown.is_none() => {
                Err(Refused::Missing { newest })
            }
            Self::Settled { .. } | Self::Asked { .. } | Self::Answered { .. } => {
                Err(Refused::Older { shown: number, newest })
            }
        }
    }

    /// After [`Step::Begin`]: what was asked with the record that was shown.
    #[must_use]
    pub const fn asked(shown: Option<Stamp>, exchange: Exchange) -> Self {
        Self::Asked { newest: shown, exchange }
    }

    /// After [`Step::Acknowledged`].
    #[must_use]
    pub const fn settled(shown: Option<Stamp>) -> Self {
        Self::Settled { newest: shown }
    }

    /// Once the run has an answer, whose record has a stamp that follows from its number. A run that was opened again can end with another
    /// answer; nobody has shown the first one's record, so the other one's takes its place, under the next number. None if the answer is
    /// nobody's any more: somebody went on meanwhile, or the client was deleted.
    #[must_use]
    pub fn answered(&self, run: RunId, stamp: impl Fn(u64) -> Stamp) -> Option<Self> {
        match self {
            Self::Asked { newest, exchange } if exchange.run == run => {
                // A number that counts what was executed does not get that far.
                let newest_now = stamp(number(newest.as_ref()).saturating_add(1));
                Some(Self::Answered { newest: newest_now, before: *newest, exchange: *exchange })
            }
            Self::Answered { newest, before, exchange } if exchange.run == run => {
                let again = stamp(newest.number);
                let newest = if again == *newest { again } else { stamp(newest.number.saturating_add(1)) };
                Some(Self::Answered { newest, before: *before, exchange: *exchange })
            }
            Self::Settled { .. } | Self::Asked { .. } | Self::Answered { .. } => None,
        }
    }
}

impl Exchange {
    /// Whether this is what is asked; who asks nothing wants whatever there is.
    fn is(&self, question: Option<Digest>) -> bool {
        question.is_none_or(|question| question == self.question)
    }
}

fn number(stamp: Option<&Stamp>) -> u64 {
    stamp.map_or(0, |stamp| stamp.number)
}

/// What is to be done with the newest record.
fn fresh(question: Option<Digest>, received: Option<RunId>) -> Step {
    match question {
        Some(question) => Step::Begin { question, received },
        None => Step::Acknowledged { received },
    }
}
