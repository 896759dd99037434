//! Between values and workers: what is stored, compared and logged is a unit's canonical form, each worker gets a form of
//! its own, and only who submitted a run gets values back. See `manyhands_placeholder`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use manyhands_abi::INPUT_BYTES_MAX;
use manyhands_decoys::Pool;
use manyhands_held::Unusable;
use manyhands_held::written::hides;
use manyhands_model::sensitive::BadSensitive;
use manyhands_model::{Digest, Fuel, Outcome, RunId, SensitiveFields, UnitId, Verdict, WorkerId};
use manyhands_placeholder::{Form, Mint, Places, Scope, Source, UnitTokens, Untokenisable, Values, restore, tokenise};
use manyhands_protocol::Report;
use manyhands_scheduler::{RunSpec, Statement};
use manyhands_state::commit::COMMIT_BYTES_MAX;

use crate::catalogue::Catalogue;
use crate::problem::ApiError;
use crate::records::{JobRecord, RecordError, Records, Writes};
use crate::vault::{SEALED_BYTES_MAX, Vault, VaultError};

/// What a sealed value takes beside itself, at most: key, nonce, code, surrogate, and its place in the table.
const VALUE_OVERHEAD_BYTES: usize = 256;
/// Runs of which it is remembered whether fields were declared with them.
const REMEMBERED_MAX: usize = 10_000;
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
    /// Whether fields were declared with a run, for some of those that were asked about.
    declared: Mutex<BTreeMap<RunId, bool>>,
}

/// What is known of a job.
#[derive(Clone)]
struct Known {
    /// Where its inputs have values, if anywhere.
    places: Option<Arc<Places>>,
    /// Whether it may ask for calls, whose answers may hold tokens.
    calls: bool,
}

/// What is sensitive in the inputs of a run: what its job's manifest declares, and what its requester does besides.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// What the requester declares.
    own: SensitiveFields,
    /// Where the inputs have values, if anywhere.
    places: Option<Arc<Places>>,
}

impl Fields {
    /// What the requester declares.
    pub const fn own(&self) -> &SensitiveFields {
        &self.own
    }

    /// Whether inputs can be made up that look like others: what stands for a value has to be seen, to be replaced.
    pub fn can_be_made_up(&self) -> bool {
        !self.places.as_ref().is_some_and(|places| places.have_surrogates())
    }
}

impl Secrets {
    /// Over these.
    pub fn new(records: Records, catalogue: Arc<Catalogue>, vault: Arc<Vault>) -> Self {
        Self(Arc::new(Inner { records, catalogue, vault, jobs: Mutex::default(), declared: Mutex::default() }))
    }

    /// What is sensitive in the inputs of a run of this job, with which a requester declares `own`.
    ///
    /// # Errors
    /// [`BadSensitive`], the requester's to mend.
    pub fn fields(&self, job: &JobRecord, own: SensitiveFields) -> Result<Fields, BadSensitive> {
        if own.is_empty() {
            return Ok(self.fields_of(job));
        }
        let all = own.clone().before(&job.manifest.sensitive)?;
        Ok(Fields { own, places: Some(Arc::new(Places::new(&all))) })
    }

    /// What is sensitive in the inputs of this job's runs with which nothing more is declared.
    pub fn fields_of(&self, job: &JobRecord) -> Fields {
        Fields { own: SensitiveFields::default(), places: self.known(job.module).places }
    }

    /// What was declared with a run that begins is among `writes`.
    pub fn declare(&self, run: RunId, fields: &Fields, writes: &mut Writes) {
        if !fields.own.is_empty() {
            writes.fields(run, &fields.own);
        }
        self.remember(run, !fields.own.is_empty());
    }

    /// Whether units of this run may hold tokens.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn concern(&self, run: RunId, module: Digest) -> Result<bool, RecordError> {
        Ok(self.known(module).calls || self.in_inputs(run, module)?)
    }

    /// Whether inputs of this run may hold tokens.
    fn in_inputs(&self, run: RunId, module: Digest) -> Result<bool, RecordError> {
        if self.known(module).places.is_some() {
            return Ok(true);
        }
        let known = self.0.declared.lock().unwrap_or_else(PoisonError::into_inner).get(&run).copied();
        if let Some(declared) = known {
            return Ok(declared);
        }
        let declared = !self.0.records.fields(run)?.is_empty();
        self.remember(run, declared);
        Ok(declared)
    }

    fn remember(&self, run: RunId, declared: bool) {
        let mut known = self.0.declared.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            // Ids begin with a time, so it is the oldest.
            known.pop_first();
        }
        known.insert(run, declared);
    }

    fn known(&self, module: Digest) -> Known {
        let mut jobs = self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = jobs.get(&module) {
            return known.clone();
        }
        let Some(job) = self.0.catalogue.module(module) else { return Known { places: None, calls: false } };
        let JobRecord { manifest, .. } = &*job;
        let places = (!manifest.sensitive.is_empty()).then(|| Arc::new(Places::new(&manifest.sensitive)));
        let known = Known { places, calls: !manifest.verbs.is_empty() };
        jobs.insert(module, known.clone());
        known
    }

    /// An input in canonical form; its values are among `writes`, sealed.
    ///
    /// # Errors
    /// [`TakeError`].
    pub fn take_out(
        &self,
        fields: &Fields,
        scope: &Scope<'_>,
        input: Bytes,
        writes: &mut Writes,
    ) -> Result<Bytes, TakeError> {
        let Some(places) = &fields.places else { return Ok(input) };
        let vault = &self.0.vault;
        let tokenised = tokenise(&input, places, &vault.tokens()?.mint(scope), Source::Input)?;
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

    /// An input for a decoy, in canonical form: its tokens stand for nothing.
    ///
    /// # Errors
    /// [`VaultError`] when there is no key.
    pub fn make_up(
        &self,
        fields: &Fields,
        scope: &Scope<'_>,
        pool: &Pool<'_>,
        seed: [u8; 32],
    ) -> Result<Option<Vec<u8>>, VaultError> {
        let mint = match &fields.places {
            Some(_) => Some(self.0.vault.tokens()?.mint(scope)),
            None => None,
        };
        Ok(pool.draw(seed, mint.as_ref()))
    }

    /// What makes the tokens of a decoy, in answers that it is given: they stand for nothing.
    ///
    /// # Errors
    /// [`VaultError`] when there is no key.
    pub fn mint(&self, scope: &Scope<'_>) -> Result<Mint, VaultError> {
        Ok(self.0.vault.tokens()?.mint(scope))
    }

    /// Names an input with values among others of the same submission, so that it can be recognised and not guessed at. Without
    /// values, its digest will do.
    ///
    /// # Errors
    /// [`VaultError`] when there is no key.
    pub fn name(&self, fields: &Fields, input: &[u8]) -> Result<Option<Digest>, VaultError> {
        fields.places.as_ref().map(|_| self.0.vault.name(input)).transpose()
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

    /// What a worker said in canonical form, with what came out. Where the unit has tokens fuel is no part of the outcome: to
    /// compare other tokens may take another number of steps.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub async fn canonical(
        &self,
        module: Digest,
        (unit, step): (UnitId, u32),
        worker: WorkerId,
        Report { lease, outcome }: Report,
        output: Bytes,
    ) -> Result<(Statement, Bytes), SecretsError> {
        let may_hold = self.in_inputs(unit.run, module)? || (step > 0 && self.known(module).calls);
        let as_it_is = Statement { lease, outcome, claims: None };
        if !may_hold {
            return Ok((as_it_is, output));
        }
        let input = self.0.records.blocking(move |records| records.input(unit)).await?;
        let material = self.0.records.material(unit, step, &input).await?;
        let tokens = UnitTokens::of([&material[..]]);
        if tokens.is_empty() {
            return Ok((as_it_is, output));
        }
        let Statement { lease, outcome, .. } = as_it_is;
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
        let claims = Some(outcome.fuel);
        Ok((Statement { lease, outcome: Outcome { verdict, fuel: Fuel(0) }, claims }, output))
    }

    /// What the requester gets of an output in canonical form. What no value is known for stays a token.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub async fn restored(&self, spec: &RunSpec, index: u32, output: Bytes) -> Result<Bytes, SecretsError> {
        if !self.concern(spec.id, spec.module)? {
            return Ok(output);
        }
        if manyhands_placeholder::token::find(&output).next().is_none() && !self.draw(spec)? {
            return Ok(output);
        }
        let values = self.values(spec, index).await?;
        Ok(restore(&output, &values, INPUT_BYTES_MAX).map_or(output, Bytes::from))
    }

    /// Whether surrogates may stand for values of this run, which nothing tells from other text.
    fn draw(&self, spec: &RunSpec) -> Result<bool, RecordError> {
        if self.known(spec.module).places.is_some_and(|places| places.have_surrogates()) {
            return Ok(true);
        }
        Ok(self.in_inputs(spec.id, spec.module)? && self.0.records.fields(spec.id)?.iter().any(|field| field.surrogate))
    }

    /// Whether the record that a unit wrote, in canonical form, has values only where they are taken out of it when it comes in again.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub async fn hides(
        &self,
        spec: &RunSpec,
        index: u32,
        canonical: &[u8],
    ) -> Result<Result<(), Unusable>, SecretsError> {
        let values = self.values(spec, index).await?;
        let places = self.known(spec.module).places.unwrap_or_else(|| Arc::new(Places::new(&[])));
        Ok(hides(canonical, &values, &places))
    }

    /// The values that an output may hold.
    async fn values(&self, spec: &RunSpec, index: u32) -> Result<Values, SecretsError> {
        let run = spec.id;
        // What is combined holds tokens of all that it was combined of.
        let only = if spec.reduction().is_reduce(index) { None } else { Some(index) };
        let sealed = self.0.records.blocking(move |records| records.values(run, only)).await?;
        Ok(self.0.vault.unseal_all(&spec.owner, &spec.job, sealed)?.into_iter().collect())
    }
}
