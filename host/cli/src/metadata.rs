//! `[package.metadata.manyhands]`: what a job's Cargo.toml says about the job.

use manyhands_model::sensitive::{Step, To};
use manyhands_model::template::templates;
use manyhands_model::{Limits, Place, Sensitive, SensitiveFields, Verbs};
use serde::Deserialize;
use serde_json::Value;

use crate::fault::{Fault, Result};

/// Keys of `[package.metadata.manyhands]`.
const KEYS: &[&str] = &["description", "limits", "record_bytes", "sensitive", "verbs"];
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
    /// How long a record its clients keep for it.
    pub record_bytes: u32,
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

/// What the types of a job's input say of its sensitive fields, and what its manifest says besides.
///
/// # Errors
/// Two of them do not agree about a place, or all of them together are too many.
pub(crate) fn both(types: &[Sensitive], manifest: &SensitiveFields) -> Result<SensitiveFields> {
    const TYPES: &str = "the job's types";
    const MANIFEST: &str = "the manifest's own lines";
    let mut fields: Vec<(&Sensitive, &str)> = Vec::new();
    let said = types.iter().map(|field| (field, TYPES)).chain(manifest.iter().map(|field| (field, MANIFEST)));
    for (field, by) in said {
        // The types may speak of one place twice, for two variants.
        match fields.iter().find(|(known, _)| is_same(&known.at, &field.at)) {
            None => fields.push((field, by)),
            Some((known, _)) if (Sensitive { at: known.at.clone(), ..field.clone() }) == **known => {}
            Some((known, first)) => {
                let shown = |field: &Sensitive| serde_json::to_string(field).unwrap_or_default();
                let (one, two) = (shown(known), shown(field));
                let message = format!("one place is declared as two things: {first} say {one}, {by} say {two}");
                return Err(Fault::usage(message).help("leave one of them out, or make them say the same"));
            }
        }
    }
    let fields: Vec<Sensitive> = fields.into_iter().map(|(field, _)| field.clone()).collect();
    fields.try_into().map_err(|error| Fault::usage(format!("sensitive fields: {error}")))
}

/// Whether both are one place, whichever way it is written.
fn is_same(one: &Place, other: &Place) -> bool {
    let same = |(one, other): (&Step, &Step)| {
        let to = match (&one.to, &other.to) {
            (To::Token(token), To::Name(name)) | (To::Name(name), To::Token(token)) => token == name,
            (To::Token(token), To::Index(index)) | (To::Index(index), To::Token(token)) => *token == index.to_string(),
            (one, other) => one == other,
        };
        one.descends == other.descends && to
    };
    one.steps().len() == other.steps().len() && one.steps().iter().zip(other.steps()).all(same)
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
        assert_eq!(fault.help.as_deref(), Some("known keys: description, limits, record_bytes, sensitive, verbs"));
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

    fn fields(list: Value) -> Vec<Sensitive> {
        serde_json::from_value(list).expect("fields")
    }

    #[test]
    fn what_types_and_manifest_say_is_one_list() {
        let types = fields(json!([
            { "at": "$.a", "class": "email" }, { "at": "$.list[0]", "class": "name" }, { "at": "$.a", "class": "email" },
        ]));
        let manifest = fields(json!([
            { "at": "/list/0", "class": "name" }, { "at": "/a", "class": "email" }, { "at": "$..note", "class": "text" },
        ]));
        let both = both(&types, &manifest.try_into().expect("fit")).expect("they agree");
        let places: Vec<String> = both.iter().map(|field| field.at.to_string()).collect();
        assert_eq!(places, ["$.a", "$.list[0]", "$..note"]);
    }

    #[test]
    fn a_place_that_is_two_things_is_named_with_who_says_so() {
        let email = || fields(json!([{ "at": "$.a", "class": "email" }]));
        for (types, manifest, first, second) in [
            (email(), json!([{ "at": "/a", "class": "phone" }]), "types", "manifest"),
            (email(), json!([{ "at": "/a", "class": "email", "reveal": "domain" }]), "types", "manifest"),
            ([email(), fields(json!([{ "at": "$.a", "class": "name" }]))].concat(), json!([]), "types", "types"),
        ] {
            let fault = both(&types, &fields(manifest).try_into().expect("fit")).expect_err("refused");
            let (one, two) = fault.message.split_once(" say {").expect("both are named");
            assert!(one.contains(first) && two.contains(second) && fault.message.contains("$.a"), "{fault}");
        }
        let fault =
            both(&fields(json!([{ "at": "$.a", "class": "name", "reveal": "year" }])), &SensitiveFields::default());
        assert!(fault.expect_err("refused").message.contains("has no `year`"));
    }

    #[test]
    fn the_known_limits_are_those_of_the_model() {
        let limits = serde_json::to_value(Limits::default()).expect("serialises");
        let mut keys: Vec<&str> = limits.as_object().expect("a table").keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, LIMIT_KEYS);
    }
}
