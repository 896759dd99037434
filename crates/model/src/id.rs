//! Names of things. Each kind has its own type, its own prefix in text and 16 or 32 bytes in binary.

use alloc::string::{String, ToString as _};
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::array;
use crate::digits::BASE32;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {article} {prefix} id: expected `{prefix}_` and {characters} of a-z and 2-7")]
pub struct ParseIdError {
    text: String,
    article: &'static str,
    prefix: &'static str,
    characters: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// What stands before the underscore in text.
            pub const PREFIX: &'static str = $prefix;

            /// The bytes, as they are stored and signed.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// The first characters of the text form: enough for a person, not for a machine.
            pub fn short(&self) -> String {
                self.to_string().chars().take($prefix.len() + 9).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{}", $prefix, BASE32.write(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(|rest| BASE32.read(rest))
                    .map(Self)
                    .ok_or_else(|| ParseIdError {
                        text: text.chars().take(80).collect(),
                        article: "a",
                        prefix: $prefix,
                        characters: ($bytes * 8usize).div_ceil(5),
                    })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = <alloc::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                    text.parse().map_err(de::Error::custom)
                } else {
                    array::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

id!(
    /// One submission: a job over one or many inputs. Never reused.
    RunId, "run", 16
);
id!(
    /// One permission to execute one replica. Never reused.
    LeaseId, "lease", 16
);
id!(
    /// An identity that executes replicas: an ed25519 public key.
    WorkerId, "worker", 32
);
id!(
    /// One call that a unit asks for. Whoever asks for the same again in another step or place has another.
    IntentId, "intent", 32
);

/// One input of a run, or one step of its reduction.
///
/// Units of a run are numbered from 0: first its inputs in the order in which they were submitted, then
/// the reduction, level by level. Its decoys, of which only the coordinator knows, are numbered from [`UnitId::FIRST_DECOY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnitId {
    /// The run that this unit belongs to.
    pub run: RunId,
    /// Its number in the run.
    pub index: u32,
}

impl UnitId {
    /// The number of a run's first decoy. No run has so many inputs.
    pub const FIRST_DECOY: u32 = 1 << 31;

    /// Whether its requester knows nothing of it, since its data is made up.
    pub const fn is_decoy(&self) -> bool {
        self.index >= Self::FIRST_DECOY
    }
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.index)
    }
}

#[cfg(test)]
mod tests {
    use std::prelude::v1::*;

    use super::*;

    #[test]
    fn an_id_survives_text_and_json() {
        let id = RunId([7; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        let json = serde_json::to_string(&id).expect("serialises");
        assert_eq!(serde_json::from_str::<RunId>(&json).expect("parses"), id);
        assert_eq!(postcard::to_allocvec(&id).expect("serialises"), vec![7; 16]);
    }

    #[test]
    fn a_foreign_text_is_refused_with_the_expected_form() {
        for text in ["", "run_", "worker_aaaa", "run_AAAAAAAAAAAAAAAAAAAAAAAAAA", "run_0000000000"] {
            let error = text.parse::<RunId>().expect_err("refused").to_string();
            assert!(error.contains("expected `run_` and 26"), "{error}");
        }
    }
}
