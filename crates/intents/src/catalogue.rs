//! A job's verbs, read once and ready to be called.

use std::collections::BTreeMap;

use manyhands_model::template::{BadVerb, templates};
use manyhands_model::{Name, Template, Verb, Verbs};

use crate::answer::Wanted;

/// All verbs of a job.
#[derive(Clone, Debug, Default)]
pub struct Catalogue(BTreeMap<Name, Known>);

/// One of them.
#[derive(Clone, Debug)]
pub struct Known {
    /// What the manifest says.
    pub verb: Verb,
    /// The request with its holes.
    pub template: Template,
    /// Where in an answer its fields are.
    pub(crate) wanted: Wanted,
}

impl Catalogue {
    /// Reads the verbs of a manifest.
    ///
    /// # Errors
    /// [`BadVerb`]; never for the manifest of a module that was sealed.
    pub fn of(verbs: &Verbs) -> Result<Self, BadVerb> {
        let known = templates(verbs)?.into_iter().zip(verbs.values()).map(|((name, template), verb)| {
            let wanted = Wanted::of(&verb.answer);
            (name, Known { verb: verb.clone(), template, wanted })
        });
        Ok(Self(known.collect()))
    }

    /// The verb of this name.
    pub fn get(&self, name: &str) -> Option<&Known> {
        self.0.get(name)
    }

    /// The verb of this name, and the name.
    pub(crate) fn entry(&self, name: &str) -> Option<(&Name, &Known)> {
        self.0.get_key_value(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Known)> {
        self.0.iter()
    }
}
