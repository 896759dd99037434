//! Those who cheat: each a small strategy behind one trait.
//!
//! They are given every advantage that a real one could have. Whoever is found out is back at once under a new identity with an
//! address, an account and a token of its own; all of one gang talk to each other without delay, know which units they
//! share and how the rules work, and nobody else is in their way.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use std::collections::BTreeMap;

use manyhands_model::UnitId;

use crate::random::Random;

/// What a cheat may tell the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What came out.
    Truth,
    /// Something that nobody else says.
    Noise,
    /// What the whole gang says of this unit.
    Shared,
    /// The right output, and that it cost ten times as much.
    Inflated,
}

/// What it does when it has executed a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Reports.
    Tell(Answer),
    /// Waits, and decides then.
    Wait(Duration),
    /// Says nothing and keeps the lease.
    Silence,
    /// Reports nothing, lets the identity go and comes back with another.
    Vanish,
    /// The same, but the old identity stays connected and asks for nothing: a connection costs next to nothing.
    Abandon,
    /// The same, but the old identity goes on with as little as it takes not to be silent.
    Keep,
}

/// What a cheat knows when it has executed a replica, or has waited.
#[derive(Debug)]
pub struct View<'a> {
    /// Which unit it is.
    pub unit: UnitId,
    /// How long the lease lasts.
    pub left: Duration,
    /// Whether it has waited with this one before.
    pub waited: bool,
    /// Reports under this identity that had become answers when it got the lease.
    pub agreed: u32,
    /// What its friends know.
    pub gang: &'a mut Gang,
    /// Its dice.
    pub random: &'a mut Random,
}

/// How a cheat behaves. One exists for each identity.
pub trait Strategy: fmt::Debug {
    /// What it does with a replica that it has executed.
    fn act(&mut self, view: View<'_>) -> Act;

    /// Whether it leaves an identity behind that was contradicted, before more can be held against it.
    fn is_shy(&self) -> bool {
        true
    }

    /// Whether it asks for work, and gives back what it does not want, until it has a unit of which a friend has just lied.
    fn picks(&self, _agreed: u32) -> bool {
        false
    }
}

/// What a gang knows together.
#[derive(Debug, Default)]
pub struct Gang {
    units: BTreeMap<UnitId, Known>,
    /// The unit of the highest number that any of them was given.
    frontier: Option<UnitId>,
}

/// What a gang knows of a unit.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// How many of them were given it.
    holders: u32,
    /// Whether nobody had been given it when the first of them was, as far as they can tell.
    fresh: bool,
    /// What one of them said of it; the others say the same.
    said: Option<Answer>,
}

impl Gang {
    /// One of them was given a replica; of the stream of work, or of something that only looks like it. Says as well whether units are begun
    /// in order.
    pub fn granted(&mut self, unit: UnitId, is_work: bool, in_order: bool) {
        // Where numbers tell nothing, whatever none of them has seen may be new.
        let fresh = !in_order || self.frontier.is_none_or(|frontier| unit > frontier);
        let known = self.units.entry(unit).or_insert(Known { fresh, ..Known::default() });
        known.holders += 1;
        if is_work {
            self.frontier = self.frontier.max(Some(unit));
        }
    }

    /// Whether they have told the lie that they share about a unit.
    pub fn has_lied(&self, unit: UnitId) -> bool {
        self.units.get(&unit).is_some_and(|known| known.said == Some(Answer::Shared))
    }

    fn known(&mut self, unit: UnitId) -> &mut Known {
        self.units.entry(unit).or_default()
    }

    /// What they say of a unit: what the first of them decided.
    fn say(&mut self, unit: UnitId, answer: Answer) -> Answer {
        *self.known(unit).said.get_or_insert(answer)
    }
}

/// Who cheats, and how. Written as its name with its numbers after colons, as in `together:2:100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adversary {
    /// Nobody.
    None,
    /// Tells a lie of its own in so many of a thousand units, and truth else.
    Liar {
        /// So many. From 1 to 1000.
        permille: u32,
    },
    /// Honest until so many of its reports became answers, then lies.
    Sleeper {
        /// So many.
        honest: u32,
    },
    /// Honest until so many of its reports became answers, then says what its gang says, which is a lie in so many of a thousand units.
    Gang {
        /// So many answers.
        honest: u32,
        /// So many units; all of them decide alike.
        permille: u32,
    },
    /// The same, but what it says is right, and that it cost more than it did: work is credited by what it cost.
    Inflator {
        /// So many answers.
        honest: u32,
        /// So many units.
        permille: u32,
    },
    /// The same, but lies only where so many of the gang hold the unit, and waits for them as long as it dares.
    Together {
        /// So many.
        holders: u32,
        /// So many answers.
        honest: u32,
    },
    /// Honest until so many of its reports became answers, then lies about units that nobody can have had before: a second replica, a quiz and an audit
    /// look at what has been seen.
    Hunter {
        /// So many.
        honest: u32,
    },
    /// Honest until so many of its reports became answers, then lies so often, and leaves before anybody looks.
    Runaway {
        /// So many answers.
        honest: u32,
        /// So often.
        lies: u32,
    },
    /// The same, but it keeps up the connections of those that it has left behind.
    Ghost {
        /// So many answers.
        honest: u32,
        /// So often.
        lies: u32,
    },
    /// Honest until so many of its reports became answers, then lies once and leaves; whereupon all its friends ask for work at once, and give
    /// back whatever is another unit. They do so again in the moment when the unit is asked once more.
    Picker {
        /// So many.
        honest: u32,
    },
    /// Honest until so many of its reports became answers, then lies once and goes on as somebody else; but whoever it was before says
    /// the truth now and then, so as not to be silent.
    Keeper {
        /// So many.
        honest: u32,
    },
    /// Takes leases and never says anything.
    Mute,
    /// Says the truth when it is too late.
    Late,
}

/// All of them, with the numbers that the tables have.
pub const ALL: &[Adversary] = &[
    Adversary::Liar { permille: 1000 },
    Adversary::Liar { permille: 100 },
    Adversary::Liar { permille: 10 },
    Adversary::Sleeper { honest: 10 },
    Adversary::Sleeper { honest: 100 },
    Adversary::Sleeper { honest: 1000 },
    Adversary::Gang { honest: 0, permille: 1000 },
    Adversary::Gang { honest: 10, permille: 1000 },
    Adversary::Gang { honest: 100, permille: 1000 },
    Adversary::Gang { honest: 0, permille: 30 },
    Adversary::Inflator { honest: 10, permille: 1000 },
    Adversary::Together { holders: 2, honest: 0 },
    Adversary::Together { holders: 2, honest: 300 },
    Adversary::Hunter { honest: 10 },
    Adversary::Hunter { honest: 110 },
    Adversary::Runaway { honest: 110, lies: 1 },
    Adversary::Runaway { honest: 110, lies: 5 },
    Adversary::Ghost { honest: 110, lies: 1 },
    Adversary::Keeper { honest: 110 },
    Adversary::Picker { honest: 110 },
    Adversary::Mute,
    Adversary::Late,
];

impl Adversary {
    /// How a new identity of this kind behaves; nothing for the honest.
    pub fn strategy(self) -> Option<Box<dyn Strategy>> {
        match self {
            Self::None => None,
            Self::Liar { permille } => Some(Box::new(Liar { permille })),
            Self::Sleeper { honest } => Some(Box::new(Sleeper { honest })),
            Self::Gang { honest, permille } => {
                Some(Box::new(Member { honest, permille, holders: 1, lie: Answer::Shared }))
            }
            Self::Inflator { honest, permille } => {
                Some(Box::new(Member { honest, permille, holders: 1, lie: Answer::Inflated }))
            }
            Self::Together { holders, honest } => {
                Some(Box::new(Member { honest, permille: 1000, holders, lie: Answer::Shared }))
            }
            Self::Hunter { honest } => Some(Box::new(Hunter { honest })),
            Self::Runaway { honest, lies } => Some(Box::new(Runaway { honest, lies, end: Act::Vanish })),
            Self::Ghost { honest, lies } => Some(Box::new(Runaway { honest, lies, end: Act::Abandon })),
            Self::Picker { honest } => {
                Some(Box::new(Picker { liar: Runaway { honest, lies: 1, end: Act::Vanish }, leads: None }))
            }
            Self::Keeper { honest } => Some(Box::new(Runaway { honest, lies: 1, end: Act::Keep })),
            Self::Mute => Some(Box::new(Mute)),
            Self::Late => Some(Box::new(Late)),
        }
    }

    /// Whether nothing that it does is of use.
    pub const fn is_never_right(self) -> bool {
        self.is_griefer() || matches!(self, Self::Gang { honest: 0, permille: 1000 } | Self::Sleeper { honest: 0 })
    }

    /// Whether its members ask for the units of which others have lied.
    pub const fn picks(self) -> bool {
        matches!(self, Self::Picker { .. })
    }

    /// Whether all that it does is to be in the way.
    pub const fn is_griefer(self) -> bool {
        matches!(self, Self::Mute | Self::Late | Self::Liar { permille: 1000 })
    }
}

impl fmt::Display for Adversary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "none"),
            Self::Liar { permille } => write!(f, "liar:{permille}"),
            Self::Sleeper { honest } => write!(f, "sleeper:{honest}"),
            Self::Gang { honest, permille } => write!(f, "gang:{honest}:{permille}"),
            Self::Inflator { honest, permille } => write!(f, "inflator:{honest}:{permille}"),
            Self::Together { holders, honest } => write!(f, "together:{holders}:{honest}"),
            Self::Hunter { honest } => write!(f, "hunter:{honest}"),
            Self::Runaway { honest, lies } => write!(f, "runaway:{honest}:{lies}"),
            Self::Ghost { honest, lies } => write!(f, "ghost:{honest}:{lies}"),
            Self::Keeper { honest } => write!(f, "keeper:{honest}"),
            Self::Picker { honest } => write!(f, "picker:{honest}"),
            Self::Mute => write!(f, "mute"),
            Self::Late => write!(f, "late"),
        }
    }
}

/// Why a text names no adversary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no adversary `{0}`; there are none, liar:PERMILLE, sleeper:HONEST, gang:HONEST:PERMILLE, inflator:HONEST:PERMILLE, \
     together:HOLDERS:HONEST, hunter:HONEST, runaway:HONEST:LIES, ghost:HONEST:LIES, keeper:HONEST, picker:HONEST, mute and late"
)]
pub struct NoAdversary(String);

impl FromStr for Adversary {
    type Err = NoAdversary;

    fn from_str(text: &str) -> Result<Self, NoAdversary> {
        let unknown = || NoAdversary(text.to_owned());
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let numbers: Vec<u32> = parts.map(str::parse).collect::<Result<_, _>>().map_err(|_| unknown())?;
        match (name, numbers.as_slice()) {
            ("none", []) => Ok(Self::None),
            ("liar", &[permille @ 1..=1000]) => Ok(Self::Liar { permille }),
            ("sleeper", &[honest]) => Ok(Self::Sleeper { honest }),
            ("gang", &[honest, permille @ 1..=1000]) => Ok(Self::Gang { honest, permille }),
            ("inflator", &[honest, permille @ 1..=1000]) => Ok(Self::Inflator { honest, permille }),
            ("together", &[holders, honest]) if holders > 0 => Ok(Self::Together { holders, honest }),
            ("hunter", &[honest]) => Ok(Self::Hunter { honest }),
            ("runaway", &[honest, lies]) => Ok(Self::Runaway { honest, lies }),
            ("ghost", &[honest, lies]) => Ok(Self::Ghost { honest, lies }),
            ("keeper", &[honest]) => Ok(Self::Keeper { honest }),
            ("picker", &[honest]) => Ok(Self::Picker { honest }),
            ("mute", []) => Ok(Self::Mute),
            ("late", []) => Ok(Self::Late),
            _ => Err(unknown()),
        }
    }
}

fn permille(permille: u32) -> f64 {
    f64::from(permille) / 1000.0
}

#[derive(Debug)]
struct Liar {
    permille: u32,
}

impl Strategy for Liar {
    fn act(&mut self, view: View<'_>) -> Act {
        Act::Tell(if view.random.chance(permille(self.permille)) { Answer::Noise } else { Answer::Truth })
    }

    fn is_shy(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct Sleeper {
    honest: u32,
}

impl Strategy for Sleeper {
    fn act(&mut self, view: View<'_>) -> Act {
        Act::Tell(if view.agreed < self.honest { Answer::Truth } else { Answer::Noise })
    }
}

#[derive(Debug)]
struct Member {
    honest: u32,
    permille: u32,
    holders: u32,
    lie: Answer,
}

impl Strategy for Member {
    fn act(&mut self, view: View<'_>) -> Act {
        let View { unit, gang, random, .. } = view;
        if view.agreed < self.honest {
            return Act::Tell(gang.say(unit, Answer::Truth));
        }
        let known = *gang.known(unit);
        if let Some(said) = known.said {
            return Act::Tell(said);
        }
        if known.holders >= self.holders {
            let answer = if random.chance(permille(self.permille)) { self.lie } else { Answer::Truth };
            return Act::Tell(gang.say(unit, answer));
        }
        // Another one may be given it yet; a lease that runs out would be held against this one.
        if !view.waited && view.left > Duration::from_secs(10) {
            return Act::Wait(view.left / 2);
        }
        Act::Tell(gang.say(unit, Answer::Truth))
    }

    fn is_shy(&self) -> bool {
        // Whoever earned nothing has nothing to save.
        self.honest > 0
    }
}

#[derive(Debug)]
struct Hunter {
    honest: u32,
}

impl Strategy for Hunter {
    fn act(&mut self, view: View<'_>) -> Act {
        let View { unit, gang, .. } = view;
        let lies = view.agreed >= self.honest && gang.known(unit).fresh;
        Act::Tell(gang.say(unit, if lies { Answer::Shared } else { Answer::Truth }))
    }
}

#[derive(Debug)]
struct Runaway {
    honest: u32,
    /// What it still wants to say.
    lies: u32,
    /// What it does then.
    end: Act,
}

impl Strategy for Runaway {
    fn act(&mut self, view: View<'_>) -> Act {
        let View { unit, gang, .. } = view;
        if view.agreed < self.honest {
            return Act::Tell(gang.say(unit, Answer::Truth));
        }
        let known = *gang.known(unit);
        if known.fresh && known.said.is_none() {
            let Some(lies) = self.lies.checked_sub(1) else { return self.end };
            self.lies = lies;
            return Act::Tell(gang.say(unit, Answer::Shared));
        }
        Act::Tell(gang.say(unit, Answer::Truth))
    }
}

#[derive(Debug)]
struct Picker {
    liar: Runaway,
    /// Whether it lies first; the others only confirm, and so keep what they have earned for longer.
    leads: Option<bool>,
}

/// So many of a hundred lie first.
const LEADERS_PERCENT: u32 = 20;

impl Strategy for Picker {
    fn act(&mut self, view: View<'_>) -> Act {
        if *self.leads.get_or_insert_with(|| view.random.chance(f64::from(LEADERS_PERCENT) / 100.0)) {
            return self.liar.act(view);
        }
        Act::Tell(view.gang.say(view.unit, Answer::Truth))
    }

    fn picks(&self, agreed: u32) -> bool {
        agreed >= self.liar.honest
    }
}

#[derive(Debug)]
struct Mute;

impl Strategy for Mute {
    fn act(&mut self, _: View<'_>) -> Act {
        Act::Silence
    }

    fn is_shy(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct Late;

impl Strategy for Late {
    fn act(&mut self, view: View<'_>) -> Act {
        if view.waited { Act::Tell(Answer::Truth) } else { Act::Wait(view.left + Duration::from_secs(1)) }
    }

    fn is_shy(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for adversary in ALL {
            assert_eq!(adversary.to_string().parse(), Ok(*adversary));
        }
        for wrong in ["", "liar", "liar:0", "liar:1001", "liar:1:2", "gang:1", "mute:1", "sleeper:-1", "together:0:1"] {
            assert!(wrong.parse::<Adversary>().is_err(), "{wrong}");
        }
    }
}
