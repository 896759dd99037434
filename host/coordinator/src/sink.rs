//! What decoys hear of the calls that they ask for: nothing leaves, and nobody who executes one can tell.
//!
//! A decoy's request is read and held against the verbs as any other (`desk.rs`), so what is wrong with it is found as it would be for a unit that was submitted. What would be sent then is not: what is
//! heard of it is drawn of what was heard of the same verb's calls for units of the same run, and comes as long after the request as it did there. See `manyhands_decoys::answers`.
//!
//! There is no way from here to the outside, to a secret, to a budget, to the journal of calls or to the audit log. As long as too few calls of a verb are over, a request waits, as for an upstream that
//! takes its time; when the run's own units have all ended, nobody waits for its decoys any more. The answers are written when they are drawn, before their time has come: after a crash they are the
//! same or, if they were not written, drawn anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use manyhands_decoys::answers::{Over, adopt, draw};
use manyhands_intents::{Field, Heard, Intent};
use manyhands_model::{Digest, Name, RunId, Timestamp, UnitId};
use manyhands_placeholder::{Mint, Scope, Source, UnitTokens};
use manyhands_scheduler::Input;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use tokio::sync::Notify;

use crate::desk::{Answerer, CallsError, Decoy, Desk, Made, Request, admitted};
use crate::records::{RecordError, Records};
use crate::secrets::Secrets;

/// How soon a request is looked at again for which too few calls are over; and no later than after a quarter of the time that it has waited, so that what it
/// is told at last comes hardly later than it might.
const LOOK_SOON: Duration = Duration::from_millis(50);
/// Texts in which tokens are looked for, together: it takes some forty times as much memory. Unit: bytes.
const TEXTS_BYTES_MAX: usize = 256 << 10;

/// Answers decoys. Cheap to clone.
#[derive(Clone)]
pub struct Sink(Arc<Inner>);

struct Inner {
    desk: Desk,
    secrets: Secrets,
    random: Mutex<ChaCha20Rng>,
    /// Nothing that anybody does makes an answer come sooner.
    never: Notify,
}

impl Sink {
    /// Over these. `seed` comes from the operating system.
    pub fn new(desk: Desk, secrets: Secrets, seed: [u8; 32]) -> Self {
        let random = Mutex::new(ChaCha20Rng::from_seed(seed));
        Self(Arc::new(Inner { desk, secrets, random, never: Notify::new() }))
    }

    /// Answers a request, then tells what the scheduler is to hear of it, if anything.
    pub fn begin<F: Future<Output = ()> + Send>(
        &self,
        unit: Decoy,
        request: (u32, Digest),
        tell: impl FnOnce(Input) -> F + Send + 'static,
    ) {
        self.0.desk.begin(self, unit, request, tell);
    }

    fn seed(&self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.0.random.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut seed);
        seed
    }

    /// What is heard of a call, and how long that takes; nothing if too few are over.
    async fn draw(&self, own: &Own<'_>, over: &[Over], ordinal: u32) -> Result<Option<(Heard, Duration)>, CallsError> {
        let Some(Over { unit, step, mut heard, took }) = draw(over, self.seed()) else { return Ok(None) };
        if let Heard::Answer { fields, .. } = &heard
            && fields.values().any(|field| matches!(field, Field::Token(_)))
        {
            let theirs = self.texts(unit, step).await?;
            let texts = [&theirs[..], own.texts].map(|texts| texts.iter().map(|text| &text[..]).collect::<Vec<_>>());
            let [theirs, own_texts] = &texts;
            let bytes: usize = texts.iter().flatten().map(|text| text.len()).sum();
            let source = Source::Answer { step: own.step, call: ordinal };
            // What is too long to be looked at shares no token with its answers.
            let (theirs, own_texts) =
                if bytes <= TEXTS_BYTES_MAX { (&theirs[..], &own_texts[..]) } else { (&[][..], &[][..]) };
            adopt(&mut heard, theirs, own_texts, &own.mint, source);
        }
        Ok(Some((heard, took)))
    }

    /// What another unit of the run had read when it asked.
    async fn texts(&self, unit: UnitId, step: u32) -> Result<Vec<bytes::Bytes>, RecordError> {
        let records = self.0.desk.records();
        let input = records.blocking(move |records| records.input(unit)).await?;
        records.texts(unit, step, &input).await
    }

    /// What was heard of calls of these verbs.
    async fn over(&self, run: RunId, calls: &[&Intent]) -> Result<BTreeMap<Name, Vec<Over>>, RecordError> {
        let mut verbs: Vec<Name> = calls.iter().map(|call| call.verb.clone()).collect();
        verbs.sort_unstable();
        verbs.dedup();
        let read = move |records: &Records| {
            verbs.into_iter().map(|verb| Ok((verb.clone(), records.over(run, &verb)?))).collect()
        };
        self.0.desk.records().blocking(read).await
    }

    fn later(&self, begun: Timestamp) -> Made {
        let now = self.0.desk.now();
        Made::Waits(now.after(LOOK_SOON.max(now.since(begun) / 4)))
    }
}

/// The decoy that asks.
struct Own<'a> {
    step: u32,
    /// What it has read.
    texts: &'a [bytes::Bytes],
    mint: Mint,
}

impl Answerer for Sink {
    type Unit = Decoy;

    async fn make(&self, request: Request<Decoy>) -> Result<Made, CallsError> {
        let Request { unit, step, begun, .. } = request;
        let desk = &self.0.desk;
        let asked = match desk.find(request).await? {
            Ok(asked) => asked,
            Err(made) => return Ok(made),
        };
        let texts = desk.read(request, &asked).await?;
        let tokens = UnitTokens::of(texts.read.iter().map(|text| &text[..]));
        let (calls, read_bytes) = admitted(request, &texts, &asked.plan, &tokens);
        let fit: Vec<&Intent> = calls.iter().flatten().collect();
        let (unit, spec) = (UnitId::from(unit), &asked.run.spec);
        let over = self.over(unit.run, &fit).await?;
        let mint = self.0.secrets.mint(&Scope { tenant: &spec.owner, job: &spec.job, unit })?;
        let own = Own { step, texts: &texts.read, mint };
        let (mut heard, mut took) = (Vec::with_capacity(calls.len()), Duration::ZERO);
        for (ordinal, call) in (0..).zip(&calls) {
            heard.push(match call {
                Err(fault) => Heard::Fault(*fault),
                Ok(intent) => {
                    let over = over.get(&intent.verb).map_or(&[][..], Vec::as_slice);
                    let Some((heard, after)) = self.draw(&own, over, ordinal).await? else {
                        return Ok(self.later(begun));
                    };
                    took = took.max(after);
                    heard
                }
            });
        }
        drop(own);
        drop(texts);
        // Answers of other units are written once their calls are over, which takes a moment as well.
        let before = desk.now();
        desk.write(request, asked, read_bytes, &heard).await?;
        Ok(Made::Waits(begun.after(took + desk.now().since(before))))
    }

    fn settled(&self) -> &Notify {
        &self.0.never
    }
}
