//! What a job sees that asks for calls or reads sensitive values: tokens, made as the coordinator makes them, and answers of an upstream that
//! is made up from a seed, heard as the coordinator hears them.

use manyhands_intents::{Catalogue, Fault, Heard, Intent, Known, Live, admit, answer::answers, hear};
use manyhands_model::template::pointer;
use manyhands_model::verb::Shape;
use manyhands_model::{Class, Manifest, RunId, UnitId, WorkerId};
use manyhands_placeholder::{
    Form, Occurrence, Places, Scope, Source, Taken, Token, TokenKey, UnitTokens, Value, Values, tokenise,
};
use serde_json::{Map, json};

use crate::dice::Dice;
use crate::spoil::spoil;

/// Faults that are heard without an answer.
const FAULTS: &[Fault] = &[Fault::Budget, Fault::TimedOut, Fault::Unknown, Fault::DryRun];
/// Statuses of answers that are not those of success.
const STATUSES: &[u16] = &[199, 301, 404, 429, 500];

/// One unit, as one worker sees it.
pub struct Seen<'a> {
    manifest: &'a Manifest,
    catalogue: Catalogue,
    key: TokenKey,
    unit: UnitId,
    form: Form,
    values: Values,
    taken: Vec<(Token, Value)>,
    /// The input and the answers, in canonical form.
    texts: Vec<Vec<u8>>,
}

impl<'a> Seen<'a> {
    /// A unit with this input and these answers. An input that has no canonical form is seen as it is: a coordinator would refuse it.
    ///
    /// # Errors
    /// The manifest's verbs are none.
    pub fn new(manifest: &'a Manifest, input: Vec<u8>, answers: Vec<Vec<u8>>, dice: &mut Dice) -> anyhow::Result<Self> {
        let half = |dice: &mut Dice| dice.bits().to_le_bytes();
        let two = |dice: &mut Dice| {
            let mut both = [0; 32];
            both[..16].copy_from_slice(&half(dice));
            both[16..].copy_from_slice(&half(dice));
            both
        };
        let key = TokenKey::derive(&two(dice), 0);
        let unit = UnitId { run: RunId(half(dice)), index: dice.below(1000) as u32 };
        let form = Form::new(&key, unit, WorkerId(two(dice)));
        let catalogue = Catalogue::of(&manifest.verbs)?;
        let (values, taken) = (Values::default(), Vec::new());
        let mut seen = Self { manifest, catalogue, key, unit, form, values, taken, texts: Vec::new() };
        let input = match manifest.sensitive.is_empty() {
            true => input,
            false => seen.tokenised(input),
        };
        seen.texts.push(input);
        seen.texts.extend(answers);
        Ok(seen)
    }

    fn tokenised(&mut self, input: Vec<u8>) -> Vec<u8> {
        let places = Places::new(&self.manifest.sensitive);
        let mint = self.key.mint(&self.scope());
        let Ok(tokenised) = tokenise(&input, &places, &mint, Source::Input) else { return input };
        self.taken.extend(tokenised.taken.iter().map(|taken| (taken.token, taken.value.clone())));
        self.values.extend(tokenised.taken);
        tokenised.text
    }

    fn scope(&self) -> Scope<'a> {
        Scope { tenant: "", job: &self.manifest.name, unit: self.unit }
    }

    fn has_tokens(&self) -> bool {
        !self.manifest.sensitive.is_empty() || !self.manifest.verbs.is_empty()
    }

    /// How many answers there are.
    pub fn step(&self) -> u32 {
        self.texts.len() as u32 - 1
    }

    /// What the job reads.
    pub fn input(&self) -> Vec<u8> {
        let seen: Vec<Vec<u8>> = match self.has_tokens() {
            true => self.texts.iter().map(|text| self.form.worker(text.clone())).collect(),
            false => self.texts.clone(),
        };
        match seen.as_slice() {
            [input] => input.clone(),
            _ => manyhands_abi::parts::encode(seen.iter().map(Vec::as_slice)),
        }
    }

    /// Answers a request, so that the job can be executed again. False if there is no answer: the request has tokens that nobody gave the job.
    pub fn answer(&mut self, request: Vec<u8>, dice: &mut Dice) -> bool {
        let own = UnitTokens::of(self.texts.iter().map(Vec::as_slice));
        let request = match self.has_tokens() {
            true => self.form.back(&own).canonical(request).ok(),
            false => Some(request),
        };
        let Some(request) = request else { return false };
        let heard: Vec<Heard> = match admit(&request, &self.catalogue, &self.values) {
            Err(_) => vec![Heard::Fault(Fault::Refused)],
            Ok(calls) => calls
                .into_iter()
                .map(|call| match call {
                    Ok(intent) => self.hear(&intent, dice),
                    Err(_) => Heard::Fault(Fault::Refused),
                })
                .collect(),
        };
        let mut answers = answers(&heard);
        if dice.once_in(8) {
            spoil(&mut answers, dice);
        }
        self.texts.push(answers);
        true
    }

    fn hear(&mut self, intent: &Intent, dice: &mut Dice) -> Heard {
        let Some(known) = self.catalogue.get(intent.verb.as_str()) else { return Heard::Fault(Fault::Refused) };
        let (status, mut body) = match dice.below(12) {
            0 => return Heard::Fault(*dice.pick(FAULTS)),
            1 => (*dice.pick(STATUSES), Vec::new()),
            _ => (200, body(known, dice)),
        };
        if dice.once_in(12) {
            spoil(&mut body, dice);
        }
        let source = Source::Answer { step: self.step(), call: intent.ordinal };
        let mint = self.key.mint(&Scope { tenant: "", job: &self.manifest.name, unit: self.unit });
        let texts: Vec<_> = self.taken.iter().map(|(_, value)| value.text()).collect();
        let live = Live::of(texts.iter().map(|text| text.as_str()));
        let (taken, mut index) = (&mut self.taken, 0);
        let tokenise = |class: Class, text: &str| {
            let same = taken.iter().find(|(token, value)| token.class() == class && *value.text() == text);
            if let Some((token, _)) = same {
                return *token;
            }
            let token = mint.fresh(class, Occurrence { source, index });
            index += 1;
            taken.push((token, Value::of_text(text)));
            token
        };
        let heard = hear(known, status, &body, |text| live.shows(text), tokenise);
        let all =
            self.taken.iter().map(|(token, value)| Taken { token: *token, surrogate: None, value: value.clone() });
        self.values.extend(all);
        heard
    }
}

/// An answer with all that the verb declares.
fn body(known: &Known, dice: &mut Dice) -> Vec<u8> {
    let mut body = json!({});
    for projected in known.verb.answer.values() {
        let value = match &projected.shape {
            Shape::Id { .. } => json!(format!("m-{}", dice.below(100_000))),
            Shape::Integer { min, max } => {
                let drawn = min.saturating_add((dice.bits() as u32).into());
                json!(*dice.pick(&[*min, *max, drawn.min(*max), min.saturating_sub(1)]))
            }
            Shape::Boolean => json!(dice.once_in(2)),
            Shape::Enum { values } => json!(dice.pick(values)),
            Shape::Date => {
                json!(format!("20{:02}-{:02}-{:02}", dice.below(99), 1 + dice.below(12), 1 + dice.below(28)))
            }
            Shape::Text { .. } => json!(format!("The company № {}", dice.below(1000))),
        };
        let mut place = &mut body;
        for step in pointer(&projected.at).unwrap_or_default() {
            if !place.is_object() {
                *place = Map::new().into();
            }
            place = &mut place[step];
        }
        *place = value;
    }
    body.to_string().into_bytes()
}
