//! `[package.metadata.manyhands]`: what a job's Cargo.toml says about the job.

use manyhands_model::template::templates;
use manyhands_model::{Limits, SensitiveFields, Verbs};
use serde::Deserialize;
use serde_json::Value;

use crate::fault::{Fault, Result};

/// Keys of `[package.metadata.manyhands]`.
const KEYS: &[&str] = &["description", "limits", "sensitive", "verbs"];
/// Keys of `[package.metadata.manyhands.limits]`; a test compares them with [`Limits`].
const LIMIT_KEYS: &[&str] = &["fuel", "memory_bytes", "output_bytes", "wall_ms"];

/// What stands there. All of it is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct JobMetadata {
    /// One sentence for those who lend their computers; else the package's description.
    pub description: Option<String>,
    /// What one execution may use.
    pub limits: Limits,
    /// Which fields of an input are sensitive.
    pub sensitive: SensitiveFields,
    /// What it may ask of the outside.
    pub verbs: Verbs,
}

impl JobMetadata {
    /// Reads the table from a package's metadata.
    ///
    /// # Errors
    /// A usage fault that names an unknown key with the nearest known one, a wrong type, or a limit out of range.
    pub fn read(package: &Value) -> Result<Self> {
        let Some(table) = package.get("manyhands") else { return Ok(Self::default()) };
        let place = "package.metadata.manyhands";
        check_keys(table, place, KEYS)?;
        if let Some(limits) = table.get("limits") {
            check_keys(limits, &format!("{place}.limits"), LIMIT_KEYS)?;
        }
        let metadata: Self = serde_json::from_value(table.clone())
            .map_err(|error| Fault::usage(format!("Cargo.toml: [{place}]: {error}")))?;
        metadata.limits.check().map_err(|error| Fault::usage(format!("Cargo.toml: [{place}.limits]: {error}")))?;
        templates(&metadata.verbs).map_err(|error| Fault::usage(format!("Cargo.toml: [{place}.verbs]: {error}")))?;
        Ok(metadata)
    }
}

fn check_keys(table: &Value, place: &str, known: &[&str]) -> Result<()> {
    let Some(table) = table.as_object() else {
        return Err(Fault::usage(format!("Cargo.toml: `{place}` must be a table")));
    };
    let Some(unknown) = table.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    let fault = Fault::usage(format!("Cargo.toml: [{place}] has no key `{unknown}`"));
    Err(fault.help(match nearest(unknown, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known keys: {}", known.join(", ")),
    }))
}

/// The known word that was probably meant.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known.iter().map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate));
    // Below 0.75 the words have little in common, and a wrong guess is worse than the list.
    scored.filter(|(score, _)| *score > 0.75).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use manyhands_model::Fuel;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_said_has_its_default() {
        assert_eq!(JobMetadata::read(&Value::Null).expect("reads"), JobMetadata::default());
        let some = JobMetadata::read(&json!({"manyhands": {"limits": {"fuel": 5}}})).expect("reads");
        assert_eq!(some.limits, Limits { fuel: Fuel(5), ..Limits::default() });
    }

    #[test]
    fn a_slip_of_the_keyboard_is_named_with_what_was_meant() {
        let fault = JobMetadata::read(&json!({"manyhands": {"limits": {"feul": 5}}})).expect_err("refused");
        assert_eq!(
            fault.to_string(),
            "error: Cargo.toml: [package.metadata.manyhands.limits] has no key `feul`\n  did you mean `fuel`?"
        );
        let fault = JobMetadata::read(&json!({"manyhands": {"describtion": "x"}})).expect_err("refused");
        assert_eq!(fault.help.as_deref(), Some("did you mean `description`?"));
        let fault = JobMetadata::read(&json!({"manyhands": {"xyz": 1}})).expect_err("refused");
        assert_eq!(fault.help.as_deref(), Some("known keys: description, limits, sensitive, verbs"));
    }

    #[test]
    fn a_limit_that_no_coordinator_grants_is_refused_here_already() {
        let fault = JobMetadata::read(&json!({"manyhands": {"limits": {"wall_ms": 0}}})).expect_err("refused");
        assert!(fault.message.contains("limits.wall_ms"), "{fault}");
    }

    #[test]
    fn sensitive_fields_are_read_and_checked() {
        let of =
            |class: &str| json!({"manyhands": {"sensitive": [{"at": "/email", "class": class, "reveal": "domain"}]}});
        assert_eq!(JobMetadata::read(&of("email")).expect("reads").sensitive.len(), 1);
        let fault = JobMetadata::read(&of("card")).expect_err("refused");
        assert!(fault.message.contains("`/email`: `card` has no `domain` to reveal; it has `last4`"), "{fault}");
    }

    #[test]
    fn the_known_limits_are_those_of_the_model() {
        let limits = serde_json::to_value(Limits::default()).expect("serialises");
        let mut keys: Vec<&str> = limits.as_object().expect("a table").keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, LIMIT_KEYS);
    }
}
