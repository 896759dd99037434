//! What the words about a unit amount to, where they have to be earned. The model stands above [`trust`](crate::trust).

use manyhands_model::Outcome;

use crate::audit::{Draw, Need};
use crate::trust::{CROWD_MAX, Crowd, Level, Newcomers, Standing, Trust, VOICES_MAX};

/// One replica, in the order in which they were reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voice<'a> {
    pub(crate) outcome: &'a Outcome,
    pub(crate) standing: Standing,
    /// Units that its identity has cost.
    pub(crate) credit: u32,
    /// See [`Replica::is_echo`](crate::Replica::is_echo).
    pub(crate) is_echo: bool,
}

/// Who should execute it next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ask {
    /// Nobody.
    Nobody,
    /// Somebody with a record, as whoever begins a unit.
    #[default]
    Established,
    /// Somebody without one, if any are there: they decide by their number.
    Crowd,
    /// Anybody.
    Anybody,
}

/// What the words amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// What this replica says is the answer.
    Accepted {
        by: usize,
        /// Whether it rests on that replica's word, and not on the operator's.
        vouched: bool,
    },
    /// Another replica is needed.
    Wanted(Ask),
    /// The operator's own machine has to say.
    Audit(Need),
    /// Nothing comes of it.
    Hopeless,
}

/// Strangers that may stand for the operator's machine once that has done its share: more would cost too much.
const STRANGERS_MAX: usize = 6;

/// What else matters.
pub(crate) struct Court<'a> {
    pub(crate) trust: &'a Trust,
    pub(crate) level: Level,
    /// The target, as a share.
    pub(crate) wrong: f64,
    /// Whether the operator's machine can execute this unit.
    pub(crate) can_audit: bool,
    /// Whether it was asked to, and could not.
    pub(crate) is_given_up: bool,
    /// Whether it may settle a dispute, and stand for those who are not there: whether that is within the budgets.
    pub(crate) may_settle: bool,
    pub(crate) may_stand_in: bool,
    /// Whether too few workers with a record are there to lean on.
    pub(crate) is_thin: bool,
    /// Whether nobody is left to be asked at all, and the operator's machine executes nothing.
    pub(crate) is_alone: bool,
    /// What those without a record are worth at present.
    pub(crate) newcomers: Newcomers,
    /// The share of the voices after an anchor that may be theirs.
    pub(crate) heard: f64,
    /// How they may decide by their number, where there are so many of them that it can be said how many are hostile.
    pub(crate) crowd: Option<Crowd>,
    /// Whether some of them have nothing to do.
    pub(crate) has_strangers: bool,
    /// Why it is asked, if it had an answer before.
    pub(crate) again: Option<Again<'a>>,
}

/// Why a unit is asked that had an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Again<'a> {
    /// Whoever it rested on has been silent for long. If it was a lie, it was the one for which an identity is given up, and a gang that
    /// is asked again knows that. So one voice more is needed than the first time.
    Silent,
    /// Whoever it rested on was caught, in all likelihood at something else; this was the answer. One with a record who says the same is
    /// enough, if those who said so then have not been caught with it.
    Caught(&'a Outcome),
}

impl Court<'_> {
    /// Weighs independent voices. Pure: the same words in the same order, the same finding.
    pub(crate) fn weigh(&self, voices: &[Voice<'_>], draw: impl Fn(Draw, &Outcome) -> f64) -> Finding {
        if let Some(by) = voices.iter().position(|voice| voice.standing == Standing::Trusted) {
            return Finding::Accepted { by, vouched: false };
        }
        let Some(first) = voices.first() else { return Finding::Wanted(Ask::default()) };
        if self.level == Level::Audited && self.can_audit {
            return Finding::Audit(Need::Rule);
        }
        let agreed = voices.iter().all(|voice| voice.outcome == first.outcome);
        if voices.len() >= usize::from(VOICES_MAX) && !agreed {
            return if self.can_audit { Finding::Audit(Need::Dispute) } else { Finding::Hopeless };
        }
        // Where nobody is left to be asked instead, an echo is better than nothing.
        let echoes = voices.iter().take_while(|voice| voice.is_echo && !self.is_alone).count();
        let (echoes, voices) = voices.split_at(echoes);
        match self.weigh_anew(echoes, voices, agreed, draw) {
            Finding::Accepted { by, vouched } => Finding::Accepted { by: echoes.len() + by, vouched },
            other => other,
        }
    }

    /// The same, where echoes contradict, and support nothing.
    fn weigh_anew(
        &self,
        echoes: &[Voice<'_>],
        voices: &[Voice<'_>],
        agreed: bool,
        draw: impl Fn(Draw, &Outcome) -> f64,
    ) -> Finding {
        let established = |outcome: &Outcome| {
            let count = |voice: &&Voice<'_>| voice.outcome == outcome && voice.standing == Standing::Established;
            voices.iter().filter(count).count()
        };
        // The first of those on which most people with a record agree.
        let best = voices.iter().map(|voice| established(voice.outcome)).max().unwrap_or(0);
        let anchor =
            voices.iter().position(|it| it.standing == Standing::Established && established(it.outcome) == best);
        let Some((by, anchor)) = anchor.and_then(|at| Some((at, voices.get(at)?))) else {
            return self.strangers(voices, agreed, draw);
        };
        let is_confirmed = matches!(self.again, Some(Again::Caught(was)) if was == anchor.outcome);
        if is_confirmed && agreed && !echoes.is_empty() && self.level != Level::Audited {
            return Finding::Accepted { by, vouched: true };
        }
        let with = |voice: &&Voice<'_>| voice.outcome == anchor.outcome;
        let against = echoes.iter().chain(voices).filter(|voice| !with(voice));
        let (mut contradictions, mut doubts) = (0, 0);
        for voice in against {
            if voice.standing == Standing::Established { contradictions += 1 } else { doubts = 1 }
        }
        // Strangers who dispute are outvoted: they are many, and would use up what the operator's machine can do.
        if contradictions > 0 && self.can_audit && self.may_settle {
            return Finding::Audit(Need::Dispute);
        }
        let counts = |voice: &&Voice<'_>| with(voice) && self.hears(voice.standing);
        let after = voices.iter().skip(by + 1).filter(counts).count();
        let needed = if self.level == Level::Audited {
            // Nobody knows who spoke first among so many.
            self.trust.voices_alone(Standing::Established, self.wrong) - 1
        } else {
            self.trust.voices_after(self.level, self.wrong, anchor.credit, draw(Draw::Voices, anchor.outcome))
        };
        let needed = needed + u8::from(!self.is_alone && matches!(self.again, Some(Again::Silent)));
        let is_certain = agreed || established(anchor.outcome) > contradictions;
        if is_certain && after >= usize::from(needed).max(doubts) + contradictions {
            let is_tried = self.level == Level::Adaptive
                && after == 0
                && self.has_strangers
                && draw(Draw::Trial, anchor.outcome) < self.newcomers.tried(self.trust);
            if is_tried {
                return Finding::Wanted(Ask::Anybody);
            }
            return Finding::Accepted { by, vouched: true };
        }
        if self.is_thin && self.can_audit && self.crowd.is_none() {
            return Finding::Audit(Need::Alone);
        }
        let number = u8::try_from(after).unwrap_or(u8::MAX);
        // Strangers come when they like.
        let with_record = !agreed || self.again.is_some() || draw(Draw::Stranger(number), anchor.outcome) >= self.heard;
        let with_record = with_record && !self.is_thin || !self.hears(Standing::Stranger);
        if with_record { self.established() } else { Finding::Wanted(Ask::Anybody) }
    }

    /// Somebody with a record is wanted; where the operator's machine was needed and there are hardly any, nobody waits for them.
    fn established(&self) -> Finding {
        let in_vain = self.level == Level::Audited && self.is_given_up && self.is_thin;
        if in_vain { Finding::Hopeless } else { Finding::Wanted(Ask::Established) }
    }

    /// Whether the word of such a worker counts: those who have no record do not speak in the place of the operator's machine.
    fn hears(&self, standing: Standing) -> bool {
        self.level != Level::Audited || standing >= Standing::Established
    }

    /// Nobody with a record has said anything.
    fn strangers(&self, voices: &[Voice<'_>], agreed: bool, draw: impl Fn(Draw, &Outcome) -> f64) -> Finding {
        if !self.hears(Standing::Stranger) {
            return self.established();
        }
        let may_crowd = voices.len() < CROWD_MAX && (self.again.is_none() || self.is_thin);
        if let Some(crowd) = self.crowd.filter(|_| may_crowd) {
            if voices.is_empty() {
                return Finding::Wanted(Ask::Crowd);
            }
            let with = |voice: &Voice<'_>| voices.iter().filter(|other| other.outcome == voice.outcome).count();
            let most = voices.iter().map(with).max().unwrap_or(0);
            let Some(by) = voices.iter().position(|voice| with(voice) == most) else { return Finding::Hopeless };
            let against = voices.len() - most;
            let needed = match voices.first() {
                Some(first) if agreed => crowd.unanimous(self.wrong, draw(Draw::Voices, first.outcome)),
                _ => against + crowd.ahead(self.wrong),
            };
            return if most >= needed { Finding::Accepted { by, vouched: false } } else { Finding::Wanted(Ask::Crowd) };
        }
        if !self.is_thin {
            return Finding::Wanted(Ask::Established);
        }
        let needed = usize::from(self.trust.voices_alone(Standing::Stranger, self.wrong));
        if self.can_audit && (self.may_stand_in || needed > STRANGERS_MAX) {
            return Finding::Audit(Need::Alone);
        }
        if agreed && voices.len() >= needed {
            return Finding::Accepted { by: 0, vouched: true };
        }
        Finding::Wanted(Ask::Anybody)
    }
}
