//! The production scheduler under attack, in virtual time.
//!
//! A [`Scene`] says who works, who cheats and by which rule an outcome counts; [`Scene::play`] lets it happen and returns [`Figures`].
//! The scheduler is the one that coordinators run; nothing of it is modelled. The same scene always comes to the
//! same end.
//!
//! Start reading at [`adversary`] (who cheats, and how), [`rule`] (what is compared) and [`promise`] (what has to come of it); `world` is the shell around the
//! scheduler, `baseline` the rules of others.

pub mod adversary;
pub mod promise;
pub mod rule;

mod baseline;
mod calls;
mod figures;
mod inputs;
mod random;
mod scene;
mod tells;
mod world;

pub use crate::adversary::Adversary;
pub use crate::figures::Figures;
pub use crate::promise::{Limit, Quantity};
pub use crate::rule::{Promise, Rule};
pub use crate::scene::Scene;
pub use crate::tells::{Observed, Tells};
