//! Between values and workers: what is stored, compared and logged is a unit's canonical form, each worker gets a form of
//! its own, and only who submitted a run gets values back. See `manyhands_placeholder`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use manyhands_abi::INPUT_BYTES_MAX;
use manyhands_model::{Digest, Fuel, Outcome, UnitId, Verdict, WorkerId};
use manyhands_placeholder::{Form, Places, Scope, Source, UnitTokens, Untokenisable, Values, restore, tokenise};
use manyhands_scheduler::RunSpec;
use manyhands_state::commit::COMMIT_BYTES_MAX;

use crate::catalogue::Catalogue;
use crate::problem::ApiError;
use crate::records::{JobRecord, RecordError, Records, Writes};
use crate::vault::{SEALED_BYTES_MAX, Vault, VaultError};

/// What a sealed value takes beside itself, at most: key, nonce, code, surrogate, and its place in the table.
const VALUE_OVERHEAD_BYTES: usize = 256;
/// All sealed values of an input, which become durable at once. Unit: bytes.
const INPUT_VALUES_BYTES_MAX: usize = COMMIT_BYTES_MAX * 3 / 4;

/// Why there is no other form of something. The coordinator's fault.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The records cannot be read.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// The vault has no key.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<SecretsError> for ApiError {
    fn from(error: SecretsError) -> Self {
        match error {
            SecretsError::Records(error) | SecretsError::Vault(VaultError::Records(error)) => error.into(),
            SecretsError::Vault(error) => Self::internal(&error),
        }
    }
}

/// Why an input's values cannot be taken out.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The requester's to mend.
    #[error(transparent)]
    Input(#[from] Untokenisable),
    /// One is too long to be kept.
    #[error("a sensitive value of {0} bytes is too long; it may have {SEALED_BYTES_MAX}")]
    Long(usize),
    /// Together they are too much to be kept.
    #[error("the sensitive values of one input are too many, or too long together; divide the input")]
    Many,
    /// The coordinator's.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Puts tokens in the place of values, and back. Cheap to clone.
#[derive(Clone)]
pub struct Secrets(Arc<Inner>);

struct Inner {
    records: Records,
    catalogue: Arc<Catalogue>,
    vault: Arc<Vault>,
    jobs: Mutex<BTreeMap<Digest, Known>>,
}

/// What is known of a job.
#[derive(Clone)]
struct Known {
    /// Where its inputs have values, if anywhere.
    places: Option<Arc<Places>>,
    /// Whether its units may hold tokens, from their inputs or from answers to calls.
    has_tokens: bool,
}

impl Secrets {
    /// Over these.
    pub fn new(records: Records, catalogue: Arc<Catalogue>, vault: Arc<Vault>) -> Self {
        Self(Arc::new(Inner { records, catalogue, vault, jobs: Mutex::default() }))
    }

    /// Whether units of this sealed module may hold tokens.
    pub fn concern(&self, module: Digest) -> bool {
        self.known(module).has_tokens
    }

    fn known(&self, module: Digest) -> Known {
        let mut jobs = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = jobs.get(&module) {
            return known.clone();
        }
        let Some(job) = self.0.catalogue.module(module) else { return Known { places: None, has_tokens: false } };
        let JobRecord { manifest, .. } = &*job;
        let places = (!manifest.sensitive.is_empty()).then(|| Arc::new(Places::new(&manifest.sensitive)));
        let known = Known { has_tokens: places.is_some() || !manifest.verbs.is_empty(), places };
        jobs.insert(module, known.clone());
        known
    }

    /// An input in canonical form; its values are among `writes`, sealed.
    ///
    /// # Errors
    /// [`TakeError`].
    pub fn take_out(
        &self,
        module: Digest,
        scope: &Scope<'_>,
        input: Bytes,
        writes: &mut Writes,
    ) -> Result<Bytes, TakeError> {
        let Some(places) = self.known(module).places else { return Ok(input) };
        let vault = &self.0.vault;
        let tokenised = tokenise(&input, &places, &vault.tokens()?.mint(scope), Source::Input)?;
        let lengths = tokenised.taken.iter().map(|taken| taken.value.json().len());
        if let Some(length) = lengths.clone().find(|length| *length > SEALED_BYTES_MAX) {
            return Err(TakeError::Long(length));
        }
        if lengths.map(|length| length + VALUE_OVERHEAD_BYTES).sum::<usize>() > INPUT_VALUES_BYTES_MAX {
            return Err(TakeError::Many);
        }
        for taken in &tokenised.taken {
            writes.value(scope.unit, &taken.token, vault.seal(scope, taken)?);
        }
        Ok(tokenised.text.into())
    }

    /// Names an input with values among others of the same submission, so that it can be recognised and not guessed at. Without
    /// values, its digest will do.
    ///
    /// # Errors
    /// [`VaultError`] when there is no key.
    pub fn name(&self, module: Digest, input: &[u8]) -> Result<Option<Digest>, VaultError> {
        if self.known(module).places.is_some() { self.0.vault.name(input).map(Some) } else { Ok(None) }
    }

    /// What a worker gets of a text in canonical form.
    ///
    /// # Errors
    /// [`VaultError`] when there is no key.
    pub fn form(&self, unit: UnitId, worker: WorkerId, canonical: Bytes) -> Result<Bytes, VaultError> {
        if manyhands_placeholder::token::find(&canonical).next().is_none() {
            return Ok(canonical);
        }
        Ok(Form::new(self.0.vault.tokens()?, unit, worker).worker(canonical.to_vec()).into())
    }

    /// An outcome in canonical form, with what came out. Where the unit has tokens fuel does not count: to
    /// compare other tokens may take another number of steps.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub async fn canonical(
        &self,
        module: Digest,
        (unit, step): (UnitId, u32),
        worker: WorkerId,
        outcome: Outcome,
        output: Bytes,
    ) -> Result<(Outcome, Bytes), SecretsError> {
        let known = self.known(module);
        if !known.has_tokens || (step == 0 && known.places.is_none()) {
            return Ok((outcome, output));
        }
        let input = self.0.records.blocking(move |records| records.input(unit)).await?;
        let material = self.0.records.material(unit, step, &input).await?;
        let tokens = UnitTokens::of([&material[..]]);
        if tokens.is_empty() {
            return Ok((outcome, output));
        }
        let back = Form::new(self.0.vault.tokens()?, unit, worker).back(&tokens);
        // What holds a token of somebody else's is left as it is: nobody agrees with it who has none of those.
        let output = back.canonical(output.to_vec()).map_or(output, Bytes::from);
        let (digest, bytes) = (Digest::of(&output), output.len() as u64);
        let verdict = match outcome.verdict {
            Verdict::Ok { .. } => Verdict::Ok { output: digest, output_bytes: bytes },
            Verdict::Called { .. } => Verdict::Called { calls: digest, calls_bytes: bytes },
            Verdict::Aborted { code, message } => {
                let canonical = back.canonical(message.clone().into_bytes()).ok();
                let message = canonical.and_then(|text| String::from_utf8(text).ok()).unwrap_or(message);
                Verdict::Aborted { code, message }
            }
            verdict @ (Verdict::OutOfFuel | Verdict::OutOfStack | Verdict::Trap) => verdict,
        };
        Ok((Outcome { verdict, fuel: Fuel(0) }, output))
    }

    /// What the requester gets of an output in canonical form. What no value is known for stays a token.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub async fn restored(&self, spec: &RunSpec, index: u32, output: Bytes) -> Result<Bytes, SecretsError> {
        if !self.concern(spec.module) || manyhands_placeholder::token::find(&output).next().is_none() {
            return Ok(output);
        }
        // What is combined holds tokens of all that it was combined of.
        let only = if spec.reduction().is_reduce(index) { None } else { Some(index) };
        let values = self.values(spec, only).await?;
        Ok(restore(&output, &values, INPUT_BYTES_MAX).map_or(output, Bytes::from))
    }

    /// The values of one unit, or of all.
    async fn values(&self, spec: &RunSpec, index: Option<u32>) -> Result<Values, SecretsError> {
        let run = spec.id;
        let sealed = self.0.records.blocking(move |records| records.values(run, index)).await?;
        Ok(self.0.vault.unseal_all(&spec.owner, &spec.job, sealed)?.into_iter().collect())
    }
}
