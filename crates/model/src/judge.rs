//! Who says that something is so.

use serde::{Deserialize, Serialize};

/// Who says that a worker's word is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// As many workers as a fixed rule asks for.
    Quorum,
    /// Workers with a record, which ban nobody.
    Peers,
    /// The operator's own machine, which executed the unit as well.
    Operator,
}

impl Judge {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Quorum, Self::Peers, Self::Operator];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Quorum => "quorum",
            Self::Peers => "peers",
            Self::Operator => "operator",
        }
    }
}
