//! What a job says about itself.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Fuel;
#[cfg(feature = "manifest")]
use crate::{SensitiveFields, Verbs};

/// A job's version: SemVer 2.0, ordered. A published version is never replaced.
pub type Version = semver::Version;

/// A job's name: 1 to 64 of a-z, 0-9 and `-`, starting with a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobName(String);

/// Why a text is not a job's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a job name: use 1 to 64 of a-z, 0-9 and `-`, starting with a letter")]
pub struct BadJobName(String);

impl JobName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobName {
    type Err = BadJobName;

    fn from_str(text: &str) -> Result<Self, BadJobName> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for JobName {
    type Error = BadJobName;

    fn try_from(text: String) -> Result<Self, BadJobName> {
        let starts_well = text.starts_with(|first: char| first.is_ascii_lowercase());
        let all_good = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if starts_well && all_good && text.len() <= 64 {
            Ok(Self(text))
        } else {
            Err(BadJobName(text.chars().take(80).collect()))
        }
    }
}

impl From<JobName> for String {
    fn from(name: JobName) -> Self {
        name.0
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a job's inputs and outputs are written down. The coordinator never looks inside; tools do, to
/// show people something readable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// JSON text (RFC 8259).
    #[default]
    Json,
    /// Postcard 1.0 bytes.
    Postcard,
    /// Bytes that only the job understands.
    Raw,
}

/// What one execution may use. Beyond any of these it ends; what it did until then counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Deterministic work. Default 100 billion, a few seconds on an ordinary machine.
    pub fuel: Fuel,
    /// Linear memory in bytes; growth beyond it is refused to the guest. Default 64 MiB, at most 1 GiB.
    pub memory_bytes: u64,
    /// Output in bytes. Default 1 MiB, at most 16 MiB.
    pub output_bytes: u64,
    /// Time on a clock, in milliseconds. Default 60,000, at most 3,600,000. Machine-dependent, so
    /// running over it is never a verdict: the replica is tried elsewhere.
    pub wall_ms: u64,
}

impl Limits {
    /// The most that any job may ask for.
    pub const MAX: Self =
        Self { fuel: Fuel(100_000_000_000_000), memory_bytes: 1 << 30, output_bytes: 16 << 20, wall_ms: 3_600_000 };

    /// [`Limits::wall_ms`] as a duration.
    pub const fn wall(&self) -> Duration {
        Duration::from_millis(self.wall_ms)
    }

    /// Checks that every limit is above zero and at most [`Limits::MAX`].
    ///
    /// # Errors
    /// The first limit that is not, with its range.
    pub fn check(&self) -> Result<(), LimitOutOfRange> {
        let of = |name, value, max| {
            if value == 0 || value > max { Err(LimitOutOfRange { name, value, max }) } else { Ok(()) }
        };
        of("fuel", self.fuel.0, Self::MAX.fuel.0)?;
        of("memory_bytes", self.memory_bytes, Self::MAX.memory_bytes)?;
        of("output_bytes", self.output_bytes, Self::MAX.output_bytes)?;
        of("wall_ms", self.wall_ms, Self::MAX.wall_ms)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { fuel: Fuel(100_000_000_000), memory_bytes: 64 << 20, output_bytes: 1 << 20, wall_ms: 60_000 }
    }
}

/// A limit in a manifest that no coordinator grants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("manifest: `limits.{name}` is {value}; it must be from 1 to {max}")]
pub struct LimitOutOfRange {
    name: &'static str,
    value: u64,
    max: u64,
}

/// What a job declares. Travels as JSON in the module's custom section `manyhands.manifest`, so a job is
/// one file.
#[cfg(feature = "manifest")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The job's name. A name belongs to the publisher who used it first.
    pub name: JobName,
    /// Its version. Publishing needs one higher than all before.
    pub version: Version,
    /// The guest ABI that it was built for, `manyhands_abi::VERSION`.
    pub abi: u32,
    /// One sentence for those who lend their computers.
    #[serde(default)]
    pub description: String,
    /// How inputs and outputs are written down.
    #[serde(default)]
    pub codec: Codec,
    /// What one execution may use.
    #[serde(default)]
    pub limits: Limits,
    /// Which fields of an input are sensitive. For [`Codec::Json`] only: elsewhere nobody could find them.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub sensitive: SensitiveFields,
    /// What it may ask of the outside, by name.
    #[serde(default, skip_serializing_if = "Verbs::is_empty")]
    pub verbs: Verbs,
    /// How long the record may be that each client keeps for it, as JSON; 0 if it uses none. At most [`RECORD_BYTES_MAX`]. Then
    /// its input is `{"record": …, "input": …}` and its output `{"record": …, "output": …}`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub record_bytes: u32,
}

/// The longest record that a job may have its clients keep. Unit: bytes of JSON, before it is sealed.
#[cfg(feature = "manifest")]
pub const RECORD_BYTES_MAX: u32 = 1 << 20;

#[cfg(feature = "manifest")]
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
fn is_zero(bytes: &u32) -> bool {
    *bytes == 0
}

#[cfg(test)]
mod tests {
    use std::prelude::v1::*;

    use super::*;

    #[test]
    fn a_short_manifest_gets_the_defaults() {
        let manifest: Manifest =
            serde_json::from_str(r#"{"name":"a","version":"0.1.0","abi":1,"limits":{"fuel":5}}"#).expect("parses");
        assert_eq!(manifest.limits, Limits { fuel: Fuel(5), ..Limits::default() });
        assert_eq!(manifest.codec, Codec::Json);
    }

    /// Signatures and digests are over what stands there.
    #[test]
    fn a_manifest_without_sensitive_fields_or_verbs_does_not_speak_of_them() {
        let json = r#"{"name":"a","version":"0.1.0","abi":1,"description":"","codec":"raw","limits":{"fuel":5,"memory_bytes":1,"output_bytes":1,"wall_ms":1}}"#;
        let manifest: Manifest = serde_json::from_str(json).expect("parses");
        assert_eq!(serde_json::to_string(&manifest).expect("writes"), json);
    }

    #[test]
    fn bad_names_and_unknown_keys_are_refused() {
        for name in ["", "A", "1a", "a_b", &"a".repeat(65)] {
            assert!(name.parse::<JobName>().is_err(), "{name}");
        }
        assert!(serde_json::from_str::<Manifest>(r#"{"name":"a","version":"1.0.0","abi":1,"fule":5}"#).is_err());
    }

    #[test]
    fn limits_out_of_range_are_named() {
        assert_eq!(Limits::default().check(), Ok(()));
        let zero = Limits { fuel: Fuel(0), ..Limits::default() };
        assert!(zero.check().expect_err("zero").to_string().contains("limits.fuel"));
        let huge = Limits { memory_bytes: 2 << 30, ..Limits::default() };
        assert!(huge.check().expect_err("huge").to_string().contains("memory_bytes"));
    }
}
