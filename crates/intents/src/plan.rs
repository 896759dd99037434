//! Everything that a job could ever ask of the outside, before it runs.
//!
//! A job cannot name a host, a header or a key, so its verbs are all there is. An operator reads them as a page and approves its
//! [`Plan::digest`]; what changes a request, its effect, what may stand in it or what a job hears of it changes the digest.

use core::fmt;
use std::collections::BTreeMap;

use manyhands_model::sensitive::BadSensitive;
use manyhands_model::template::{BadVerb, Body, Header, Node, Part, Template};
use manyhands_model::verb::{Budget, CallLimits, EffectClass, Projected, Shape, Slot};
use manyhands_model::{Class, Digest, JobName, Manifest, Name, SensitiveFields, Version};
use manyhands_placeholder::reveal::{Leak, LeakBudget};
use serde::Serialize;

use crate::catalogue::{Catalogue, Known};

/// Columns of the page.
const COLUMNS: usize = 80;
/// Where the second column begins.
const INDENT: usize = 14;
/// Days that can be written with four digits of a year.
const DAYS: f64 = 3_652_059.0;

/// What a job may do, as its manifest declares it. `Display` is the page for a terminal of 80 columns.
#[derive(Clone, Debug)]
pub struct Plan {
    job: JobName,
    version: Version,
    sensitive: SensitiveFields,
    /// What is shown of them: with those of a run, if it is about one.
    shown: SensitiveFields,
    catalogue: Catalogue,
}

impl Plan {
    /// The plan of a job.
    ///
    /// # Errors
    /// [`BadVerb`]; never for the manifest of a module that was sealed.
    pub fn of(manifest: &Manifest) -> Result<Self, BadVerb> {
        Ok(Self {
            job: manifest.name.clone(),
            version: manifest.version.clone(),
            sensitive: manifest.sensitive.clone(),
            shown: manifest.sensitive.clone(),
            catalogue: Catalogue::of(&manifest.verbs)?,
        })
    }

    /// The same in a run whose requester declares these fields: its page shows them as well. What is approved is the job's plan all the same.
    ///
    /// # Errors
    /// [`BadSensitive`], as a submission with them would be refused.
    pub fn with(self, own: SensitiveFields) -> Result<Self, BadSensitive> {
        let shown = own.before(&self.sensitive)?;
        Ok(Self { shown, ..self })
    }

    /// Its verbs.
    pub const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// What an approval is bound to: SHA-256 of the job's name, its verbs and its sensitive fields as JSON. Not of version and descriptions, so
    /// that a release that may do what the last one might needs no new approval.
    pub fn digest(&self) -> Digest {
        #[derive(Serialize)]
        struct Approved<'a> {
            job: &'a JobName,
            sensitive: &'a SensitiveFields,
            verbs: BTreeMap<&'a Name, Declared<'a>>,
        }
        #[derive(Serialize)]
        struct Declared<'a> {
            // What was read, and not what was written: sorted, whatever order the manifest has.
            request: &'a Template,
            slots: &'a BTreeMap<Name, Slot>,
            answer: &'a BTreeMap<Name, Projected>,
            effect: EffectClass,
            limits: CallLimits,
            budget: Budget,
        }
        let verbs = self.catalogue.iter().map(|(name, Known { verb, template, .. })| {
            let (slots, answer) = (&verb.slots, &verb.answer);
            let (effect, limits, budget) = (verb.effect, verb.limits, verb.budget);
            (name, Declared { request: template, slots, answer, effect, limits, budget })
        });
        let approved = Approved { job: &self.job, sensitive: &self.sensitive, verbs: verbs.collect() };
        // All keys are strings, so it can always be written.
        Digest::of(&serde_json::to_vec(&approved).unwrap_or_default())
    }

    /// How many bits a job can say to an upstream by one call of this verb: which verb, and what it writes into slots. The choice among the unit's
    /// tokens comes on top.
    pub fn said_bits(&self, known: &Known) -> f64 {
        let which = (self.catalogue.iter().count() as f64).log2();
        which + known.verb.slots.values().map(slot_bits).sum::<f64>()
    }

    /// How many bits of one answer workers can see: the status and every field that is shown as it is.
    pub fn heard_bits(&self, known: &Known) -> f64 {
        let success = 100_f64.log2();
        success + known.verb.answer.values().map(|field| shape_bits(&field.shape)).sum::<f64>()
    }
}

fn slot_bits(slot: &Slot) -> f64 {
    match slot {
        Slot::Token { .. } => 0.0,
        Slot::Id { bytes_max } => 6.0 * f64::from(*bytes_max),
        Slot::Integer { min, max } => range_bits(*min, *max),
        Slot::Enum { values } => (values.len() as f64).log2(),
        Slot::Date => DAYS.log2(),
        Slot::Text { bytes_max, .. } => 8.0 * f64::from(*bytes_max),
    }
}

fn shape_bits(shape: &Shape) -> f64 {
    match shape {
        Shape::Text { .. } => 0.0,
        Shape::Id { bytes_max } => 6.0 * f64::from(*bytes_max),
        Shape::Integer { min, max } => range_bits(*min, *max),
        Shape::Enum { values } => (values.len() as f64).log2(),
        Shape::Date => DAYS.log2(),
        Shape::Boolean => 1.0,
    }
}

fn range_bits(min: i64, max: i64) -> f64 {
    (max as f64 - min as f64 + 1.0).log2()
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut page = Page { f };
        page.line("job", &format!("{} {}", self.job, self.version))?;
        page.line("plan", &self.digest().to_string())?;
        let verbs = self.catalogue.iter().count();
        let calls = match verbs {
            0 => "none: this job never speaks to the outside".to_owned(),
            1 => "of 1 kind, and no other".to_owned(),
            _ => format!("of {verbs} kinds, and no others"),
        };
        page.line("calls", &calls)?;
        let leaks = LeakBudget::of(&self.shown);
        for Leak { at, class, reveal, bits, joinable, surrogate } in leaks.leaks() {
            let mut text = format!("{at}, {class}: workers see ");
            text += if *surrogate { "a surrogate, the same for all" } else { "a token" };
            if let Some(reveal) = reveal {
                text += &format!(" and its {reveal}, {bits:.1} bits");
            }
            text += if *joinable { ", and which values of a run are equal" } else { "" };
            page.line("sensitive", &text)?;
        }
        for (name, known) in self.catalogue.iter() {
            page.end()?;
            self.verb(&mut page, name, known)?;
        }
        Ok(())
    }
}

impl Plan {
    fn verb(&self, page: &mut Page<'_, '_>, name: &Name, known: &Known) -> fmt::Result {
        let Known { verb, template, .. } = known;
        page.line("verb", name.as_str())?;
        if !verb.description.is_empty() {
            page.line("", &verb.description)?;
        }
        let path: String = template.path.iter().map(|part| format!("/{}", shown(part))).collect();
        let path = if path.is_empty() { "/" } else { &path };
        page.line("request", &format!("{} {}{path}", template.method.word(), template.origin))?;
        for (key, part) in &template.query {
            page.line("  query", &format!("{key} = {}", shown(part)))?;
        }
        for (header, Header { before, hole }) in &template.headers {
            let hole = hole.as_ref().map(ToString::to_string).unwrap_or_default();
            page.line("  header", &format!("{header}: {before}{hole}"))?;
        }
        if let Some(header) = &template.idempotency_header {
            page.line("  header", &format!("{header}: the call's own key"))?;
        }
        match &template.body {
            Body::None => {}
            Body::Json(node) => {
                let mut json = String::new();
                write_node(node, &mut json);
                page.line("  json", &json)?;
            }
            Body::Form(pairs) => {
                for (key, part) in pairs {
                    page.line("  form", &format!("{key} = {}", shown(part)))?;
                }
            }
        }
        for (slot, takes) in &verb.slots {
            page.line(&format!("{{{slot}}}"), &slot_words(takes))?;
        }
        for secret in template.secrets() {
            page.line("secret", &format!("`{secret}`, bound to {}", template.origin))?;
        }
        page.line("effect", &format!("{}: {}", verb.effect.word(), effect_words(verb.effect)))?;
        page.line("hears", "the status")?;
        for (field, Projected { at, shape }) in &verb.answer {
            page.line("", &format!("{field}, from `{at}`: {}", shape_words(shape)))?;
        }
        let CallLimits { request_bytes, answer_bytes, total_ms } = verb.limits;
        page.line("limits", &format!("{request_bytes} bytes sent, {answer_bytes} bytes read, {total_ms} ms"))?;
        let Budget { per_run, per_day } = verb.budget;
        let per_day = per_day.map_or("no limit".to_owned(), |per_day| per_day.to_string());
        page.line("budget", &format!("{per_run} calls a run; in 24 hours: {per_day}"))?;
        let tokens = if verb.slots.values().any(takes_tokens) { ", and which tokens it sends" } else { "" };
        let said = self.said_bits(known);
        page.line("can say", &format!("{said:.1} bits a call by what it chooses{tokens}"))?;
        page.line("can show", &format!("{:.1} bits of each answer to workers", self.heard_bits(known)))
    }
}

fn takes_tokens(slot: &Slot) -> bool {
    match slot {
        Slot::Token { .. } => true,
        Slot::Text { classes, .. } => !classes.is_empty(),
        Slot::Id { .. } | Slot::Integer { .. } | Slot::Enum { .. } | Slot::Date => false,
    }
}

fn classes_words(classes: &[Class]) -> String {
    classes.iter().map(|class| class.word()).collect::<Vec<_>>().join(" or ")
}

fn slot_words(slot: &Slot) -> String {
    match slot {
        Slot::Token { classes } => format!("a token; its value ({}) is sent", classes_words(classes)),
        Slot::Id { bytes_max } => format!("an id of up to {bytes_max} characters"),
        Slot::Integer { min, max } => format!("a whole number from {min} to {max}"),
        Slot::Enum { values } => format!("one of {}", list(values)),
        Slot::Date => "a day".to_owned(),
        Slot::Text { bytes_max, classes } if classes.is_empty() => format!("text of up to {bytes_max} bytes"),
        Slot::Text { bytes_max, classes } => {
            format!("text of up to {bytes_max} bytes, in which values ({}) may be sent", classes_words(classes))
        }
    }
}

fn shape_words(shape: &Shape) -> String {
    match shape {
        Shape::Id { bytes_max } => format!("an id of up to {bytes_max} characters"),
        Shape::Integer { min, max } => format!("a whole number from {min} to {max}"),
        Shape::Boolean => "yes or no".to_owned(),
        Shape::Enum { values } => format!("one of {}", list(values)),
        Shape::Date => "a day".to_owned(),
        Shape::Text { class } => format!("a token for the text ({class})"),
    }
}

fn list(values: &[String]) -> String {
    values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(", ")
}

const fn effect_words(effect: EffectClass) -> &'static str {
    match effect {
        EffectClass::Safe => "changes nothing, and may be made again",
        EffectClass::Keyed => "made again with the same key, so that it counts once",
        EffectClass::AtMostOnce => "never made again; if its answer is lost, you are asked",
        EffectClass::Irreversible => "cannot be taken back; never made again; if its answer is lost, you are asked",
    }
}

fn shown(part: &Part) -> String {
    match part {
        Part::Fixed(text) => text.clone(),
        Part::Hole(hole) => hole.to_string(),
    }
}

fn quoted(text: &str) -> String {
    // A string can always be written.
    serde_json::to_string(text).unwrap_or_default()
}

/// JSON, with what is put in without quotes: so no fixed text looks like it.
fn write_node(node: &Node, to: &mut String) {
    match node {
        Node::Null => to.push_str("null"),
        Node::Bool(value) => to.push_str(if *value { "true" } else { "false" }),
        Node::Number(value) => to.push_str(&value.to_string()),
        Node::Text(Part::Fixed(text)) => to.push_str(&quoted(text)),
        Node::Text(Part::Hole(hole)) => to.push_str(&hole.to_string()),
        Node::List(nodes) => {
            to.push('[');
            for (at, node) in nodes.iter().enumerate() {
                to.push_str(if at > 0 { ", " } else { "" });
                write_node(node, to);
            }
            to.push(']');
        }
        Node::Object(members) => {
            to.push('{');
            for (at, (key, node)) in members.iter().enumerate() {
                to.push_str(if at > 0 { ", " } else { "" });
                to.push_str(&quoted(key));
                to.push_str(": ");
                write_node(node, to);
            }
            to.push('}');
        }
    }
}

/// Writes lines of two columns, the second folded at blanks where it can be.
struct Page<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
}

impl Page<'_, '_> {
    fn end(&mut self) -> fmt::Result {
        self.f.write_str("\n")
    }

    fn line(&mut self, label: &str, text: &str) -> fmt::Result {
        let mut label = label.to_owned();
        if label.len() >= INDENT {
            self.f.write_str(&label)?;
            self.end()?;
            label.clear();
        }
        // Nothing invisible, nothing that turns the direction, no line of the manifest's own making.
        let text: String = text.chars().flat_map(plain).collect();
        let mut rest = &text[..];
        loop {
            let width = COLUMNS - INDENT;
            let Some((over, _)) = rest.char_indices().nth(width) else {
                writeln!(self.f, "{label:INDENT$}{rest}")?;
                return Ok(());
            };
            let cut = rest[..over].rfind(' ').filter(|cut| *cut > 0).map_or(over, |cut| cut + 1);
            writeln!(self.f, "{label:INDENT$}{}", rest[..cut].trim_end())?;
            rest = &rest[cut..];
            label.clear();
        }
    }
}

fn plain(c: char) -> impl Iterator<Item = char> {
    let quote = matches!(c, '"' | '\'' | '\\');
    let escaped = (!quote).then(|| c.escape_debug());
    quote.then_some(c).into_iter().chain(escaped.into_iter().flatten())
}
