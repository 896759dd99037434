//! What is simulated.

use core::fmt;

use crate::adversary::Adversary;
use crate::figures::Figures;
use crate::rule::Rule;
use crate::tells::Observed;
use crate::world::{RUNS, World};

/// A world: the same one always comes to the same end. Written as the command that shows it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scene {
    /// Of all chance in it.
    pub seed: u64,
    /// How many computers there are, whatever identities they use. From 1 to 1,000,000.
    pub workers: u32,
    /// How many units there are; rounded up so that all runs have equally many. From 1 to 100,000,000.
    pub units: u32,
    /// How many of a hundred computers are hostile. From 0 to 100.
    pub hostile_percent: u32,
    /// What those do.
    pub adversary: Adversary,
    /// How many of a hundred honest computers are visitors: half of them leave within a minute, and nobody sees them again. From 0 to
    /// 100.
    pub visitors_percent: u32,
    /// How many of a hundred the coordinator takes for hostile. From 1 to 99.
    pub assumed_percent: u32,
    /// How many of the eight runs are of a job whose units take sixty times as long. From 0 to 8.
    pub long_runs: u32,
    /// How often the coordinator loses its memory and begins again with what is on its disk; only with rules of ours.
    pub restarts: u32,
    /// Of a thousand inputs, how many are made up besides; only where words have to be earned. From 0 to 1,000.
    pub decoys_permille: u32,
    /// Whether each unit asks for a call, and is executed again with its answer; only with rules of ours.
    pub calls: bool,
    /// When an outcome counts.
    pub rule: Rule,
}

impl Scene {
    pub(crate) const fn units_per_run(&self) -> u32 {
        self.units.div_ceil(RUNS)
    }

    /// The same with nobody who cheats, of whom as many are assumed to.
    #[must_use]
    pub const fn without_cheats(self) -> Self {
        Self { hostile_percent: 0, adversary: Adversary::None, ..self }
    }

    /// Lets it happen. `progress` is told how many more units have ended.
    ///
    /// # Panics
    /// If the scheduler breaks a promise: units that are stuck, a worker that counts twice. The message holds the command that shows
    /// it again.
    pub fn play(&self, progress: &dyn Fn(u64)) -> Figures {
        World::new(self).run(progress)
    }

    /// Lets it happen, and says what workers could tell of their leases before they answered.
    ///
    /// # Panics
    /// As [`Scene::play`].
    pub fn observe(&self, progress: &dyn Fn(u64)) -> Observed {
        World::new(self).observed(progress)
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, workers, units, hostile_percent, adversary, visitors_percent, assumed_percent, .. } = self;
        let Self { long_runs, restarts, decoys_permille, calls, rule, .. } = self;
        write!(f, "cargo xtask sim --seed {seed} --adversary {adversary} --hostile {hostile_percent} --rule {rule}")?;
        write!(f, " --workers {workers} --units {units} --visitors {visitors_percent} --assumed {assumed_percent}")?;
        if *long_runs > 0 {
            write!(f, " --long-runs {long_runs}")?;
        }
        if *restarts > 0 {
            write!(f, " --restarts {restarts}")?;
        }
        write!(f, " --decoys {decoys_permille}{}", if *calls { " --calls" } else { "" })
    }
}
