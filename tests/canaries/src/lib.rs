//! Jobs, records and APIs made up by a seed, with canaries where their values are: texts that can be known again wherever they turn up.
//!
//! A [`World`] is one record on its whole way: tokens are put in the place of its values, two workers get their forms, a job asks for
//! calls (sensibly and not), the calls are filled, and an API answers by repeating whatever it was told in any coding. Everything
//! that would leave towards a worker, a log or an unencrypted file ([`Place`]) is held against all canaries ([`Detector`]). Of some values a part is
//! shown on purpose: that part, beside its token, is left out of what is looked at, and nothing else.

mod detector;
mod verbs;
mod world;

pub use crate::detector::{Detector, all_forms};
pub use crate::world::{Leak, Place, Seen, World};
