//! Rules as people write them, and the least that calls of the outside take.

use core::fmt;
use core::str::FromStr;

use manyhands_model::verb::EffectClass;

use crate::trust::{Level, Rule};
use crate::unit::Quorum;

/// Most outcomes that a fixed rule may ask for.
const FIXED_MAX: u8 = 16;
/// Targets that can be asked for, in thousand-millionths: more may be wrong in no use that there is, and less cannot be told apart.
const WRONG_PPB: core::ops::RangeInclusive<u32> = 1..=100_000_000;

/// Why a text is no rule. Shown to whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no rule `{0}`; {RULES}")]
pub struct BadRule(String);

/// What can be written for a rule.
pub const RULES: &str = "expected `2of4` (two equal outcomes of at most four, up to 16), or `adaptive`, `full` or `audited`, perhaps with the \
                         share of the answers that may be wrong, 1e-9 to 0.1, as in `adaptive:1e-4`";

impl Level {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Full => "full",
            Self::Audited => "audited",
        }
    }

    /// Units of a thousand million that may be wrong where nobody says how many.
    const fn usual_ppb(self) -> u32 {
        match self {
            Self::Adaptive => 100_000,
            Self::Full | Self::Audited => 1_000,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(Quorum { agree, most }) => write!(f, "{agree}of{most}"),
            Self::Earned { level, wrong_ppb } => write!(f, "{}:{:e}", level.word(), f64::from(*wrong_ppb) / 1e9),
        }
    }
}

impl FromStr for Rule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let bad = || BadRule(text.chars().filter(|c| !c.is_control()).take(40).collect());
        if let Some((agree, most)) = text.split_once("of") {
            let quorum = agree.parse().ok().zip(most.parse().ok()).map(|(agree, most)| Quorum { agree, most });
            return quorum.filter(Quorum::is_possible).map(Self::Fixed).ok_or_else(bad);
        }
        let (word, share) = text.split_once(':').map_or((text, None), |(word, share)| (word, Some(share)));
        let levels = [Level::Adaptive, Level::Full, Level::Audited];
        let level = levels.into_iter().find(|level| level.word() == word).ok_or_else(bad)?;
        let wrong_ppb = match share {
            None => level.usual_ppb(),
            Some(share) => ppb(share).ok_or_else(bad)?,
        };
        Ok(Self::Earned { level, wrong_ppb })
    }
}

/// A share in thousand-millionths.
fn ppb(share: &str) -> Option<u32> {
    let ppb = (share.parse::<f64>().ok()? * 1e9).round();
    let (least, most) = (f64::from(*WRONG_PPB.start()), f64::from(*WRONG_PPB.end()));
    (least..=most).contains(&ppb).then_some(ppb as u32)
}

impl Quorum {
    /// Whether outcomes can come to this.
    pub const fn is_possible(&self) -> bool {
        1 <= self.agree && self.agree <= self.most && self.most <= FIXED_MAX
    }
}

/// How much stands behind a call before it is made, by what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Floor {
    /// Nothing is called: any rule will do.
    None,
    /// Two that agree, one of them with a record where words are earned: what a call asks for tells its origin something, so no single
    /// worker has one made.
    Agreed,
    /// It cannot be taken back: the operator's own machine, or so many workers with a record that a target of them all being accomplices is met.
    Proven,
}

/// A rule that is less than a job's calls take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this job may ask for calls, and no single worker is to have one made: {wanted} is less than these take; ask for {least} or more"
)]
pub struct TooLittle {
    wanted: Rule,
    least: Rule,
}

impl Floor {
    /// What a job takes whose verbs have these effects. `irreversible` is what it takes for those that cannot be taken back.
    pub fn of(effects: impl IntoIterator<Item = EffectClass>, irreversible: Self) -> Self {
        let floor = |effect| match effect {
            EffectClass::Safe | EffectClass::Keyed | EffectClass::AtMostOnce => Self::Agreed,
            EffectClass::Irreversible => irreversible,
        };
        effects.into_iter().map(floor).max().unwrap_or(Self::None)
    }

    /// This rule if it is enough, else the least beyond it that is.
    pub fn raise(self, rule: Rule) -> Rule {
        match (self, rule) {
            (Self::None, _) => rule,
            (Self::Agreed, Rule::Fixed(Quorum { agree, most })) => {
                Rule::Fixed(Quorum { agree: agree.max(2), most: most.max(2) })
            }
            (Self::Agreed, Rule::Earned { level, wrong_ppb }) => {
                Rule::Earned { level: level.max(Level::Full), wrong_ppb }
            }
            (Self::Proven, Rule::Earned { wrong_ppb, .. }) => Rule::Earned { level: Level::Audited, wrong_ppb },
            (Self::Proven, Rule::Fixed(_)) => {
                Rule::Earned { level: Level::Audited, wrong_ppb: Level::Audited.usual_ppb() }
            }
        }
    }

    /// What somebody asked for.
    ///
    /// # Errors
    /// [`TooLittle`] where it is.
    pub fn admit(self, wanted: Rule) -> Result<Rule, TooLittle> {
        let least = self.raise(wanted);
        if least == wanted { Ok(wanted) } else { Err(TooLittle { wanted, least }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_as_it_is_written() {
        for (text, shown) in [
            ("2of4", "2of4"),
            ("16of16", "16of16"),
            ("adaptive", "adaptive:1e-4"),
            ("adaptive:0.00025", "adaptive:2.5e-4"),
            ("full", "full:1e-6"),
            ("full:1e-9", "full:1e-9"),
            ("audited", "audited:1e-6"),
            ("audited:0.1", "audited:1e-1"),
        ] {
            let rule: Rule = text.parse().unwrap();
            assert_eq!(rule.to_string(), shown);
            assert_eq!(shown.parse(), Ok(rule));
        }
    }

    #[test]
    fn what_is_no_rule_is_refused_with_what_would_be_one() {
        let refused = [
            "",
            "2",
            "of",
            "0of2",
            "3of2",
            "2of17",
            "2of",
            "-1of2",
            "300of2",
            "majority",
            "adaptive:",
            "adaptive:0",
            "adaptive:1e-10",
            "adaptive:0.2",
            "adaptive:-1e-4",
            "full:NaN",
            "full:inf",
            "Full",
            "full:1e-6:1",
            " full",
        ];
        for text in refused {
            let error = text.parse::<Rule>().expect_err(text);
            assert!(error.to_string().contains("adaptive:1e-4"), "{error}");
        }
        let long = "x\n".repeat(5_000).parse::<Rule>().expect_err("long");
        assert!(long.to_string().len() < 400 && !long.to_string().contains('\n'), "{long}");
    }

    #[test]
    fn the_worst_that_a_job_may_do_decides_how_much_it_takes() {
        use EffectClass::{AtMostOnce, Irreversible, Keyed, Safe};
        let floor = |effects: &[EffectClass]| Floor::of(effects.iter().copied(), Floor::Proven);
        assert_eq!([floor(&[]), floor(&[Safe]), floor(&[Keyed])], [Floor::None, Floor::Agreed, Floor::Agreed]);
        assert_eq!([floor(&[AtMostOnce]), floor(&[Safe, Irreversible])], [Floor::Agreed, Floor::Proven]);
        assert_eq!(Floor::of([Irreversible], Floor::Agreed), Floor::Agreed);
        let raised = |floor: Floor| {
            ["1of1", "1of4", "3of4", "adaptive:1e-3", "full:1e-5", "audited:1e-6"]
                .map(|rule| floor.raise(rule.parse().unwrap()).to_string())
        };
        assert_eq!(raised(Floor::None), ["1of1", "1of4", "3of4", "adaptive:1e-3", "full:1e-5", "audited:1e-6"]);
        assert_eq!(raised(Floor::Agreed), ["2of2", "2of4", "3of4", "full:1e-3", "full:1e-5", "audited:1e-6"]);
        let audited = ["audited:1e-6", "audited:1e-6", "audited:1e-6", "audited:1e-3", "audited:1e-5", "audited:1e-6"];
        assert_eq!(raised(Floor::Proven), audited);
        for floor in [Floor::None, Floor::Agreed, Floor::Proven] {
            for rule in raised(floor) {
                let rule = rule.parse().unwrap();
                assert_eq!(floor.admit(rule), Ok(rule), "once raised is enough");
            }
        }
        let refused = Floor::Agreed.admit("adaptive".parse().unwrap()).unwrap_err();
        assert!(refused.to_string().contains("ask for full:1e-4"), "{refused}");
    }
}
