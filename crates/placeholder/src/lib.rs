//! Tokens stand for sensitive values, so that those stay at home.
//!
//! [`tokenise()`] takes the sensitive values out of a JSON text and puts [`Token`]s in: its *canonical form*, which is what is stored,
//! compared, hashed and logged. Each worker gets a [`Form`] of its own, with other tokens of the same length; what it answers is put
//! back into canonical form before it is compared, and [`restore()`] puts the values into what the requester gets.
//!
//! Nothing is stored here: [`Taken`] values are handed out, to be encrypted and stored elsewhere. There is no randomness either: a token
//! is a keyed function of where its value stands, so that the same input has the same canonical form whenever it is made.
//!
//! Start at [`token`], then [`mint`] (how tokens follow from keys), [`mod@tokenise`] and [`form`]. [`json`] is the one reader
//! of JSON texts, [`places`] finds the declared values in them.

mod exposed;
pub mod form;
pub mod json;
pub mod mint;
pub mod places;
pub mod restore;
pub mod reveal;
mod surrogate;
pub mod token;
pub mod tokenise;
pub mod value;

pub use crate::exposed::{Exposed, stays_hidden};
pub use crate::form::{Back, Foreign, Form, UnitTokens};
pub use crate::json::{NotJson, Str};
pub use crate::mint::{Mint, Occurrence, Scope, Source, TokenKey};
pub use crate::places::{Open, Places, in_the_open};
pub use crate::restore::{Unrestorable, Values, restore};
pub use crate::reveal::LeakBudget;
pub use crate::token::Token;
pub use crate::tokenise::{Taken, Tokenised, Untokenisable, tokenise};
pub use crate::value::Value;
