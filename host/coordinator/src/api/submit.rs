//! Submitting runs, and invoking a job like a function.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use manyhands_api::{FRAMES, IDEMPOTENCY_HEADER, NDJSON, RunView};
use manyhands_model::{Codec, Digest, RunId, SensitiveFields, Timestamp, UnitId, Version};
use manyhands_placeholder::Scope;
use manyhands_scheduler::{Counts, Decoys, End, Input, Quorum, Rule, RunRecord, RunSpec, RunStatus, UnitRecord};
use manyhands_state::commit::VALUE_BYTES_MAX;
use serde::Deserialize;
use utoipa::IntoParams;

use super::jobs;
use super::runs::view;
use crate::app::App;
use crate::auth::Caller;
use crate::core::{Event, Invoked};
use crate::inputs::{BadBody, Framing, Splitter};
use crate::problem::{Answer, ApiError, Json, Kind, Path, Query};
use crate::records::{Content, JobRecord, Pack, SubmitRecord, Writes};
use crate::secrets::{Fields, SecretsError, TakeError};
use crate::serve::Intake;
use crate::upkeep::Upload;

mod decoys;

/// Inputs are committed in groups of about this many bytes, so that memory does not grow with the run.
const GROUP_BYTES: usize = 1 << 20;
/// JSON up to here keeps one of the runtime's threads from others for a fraction of a millisecond. Unit: bytes.
const QUICK_BYTES: usize = 64 << 10;
/// What a requester declares, as JSON: it shares a record of the store. Unit: bytes.
const FIELDS_BYTES_MAX: usize = VALUE_BYTES_MAX / 2;
/// How deep JSON may be nested that a job is given: what serde_json reads, and with it most jobs (RFC 8259, section 9, allows such
/// a limit). Deeper, and it only keeps machines busy.
pub(super) const JSON_DEPTH_MAX: usize = 127;
/// How often whoever waits for the disk looks whether it is full.
const FULL_DISK_LOOK: Duration = Duration::from_millis(500);
/// Says that an answer was known (RFC 9211).
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const HIT: HeaderValue = HeaderValue::from_static("manyhands; hit");
/// When those who meet a full queue may come again.
const QUEUE_RETRY: Duration = Duration::from_secs(30);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct SubmitQuery {
    /// The job's name.
    job: String,
    /// Its version; the newest if none is named.
    #[param(value_type = Option<String>)]
    version: Option<Version>,
    /// When an outcome counts: `adaptive:1e-4`, `full:1e-6` or `audited`, where workers' words have to be earned, or `2of4`.
    #[param(value_type = Option<String>)]
    verify: Option<String>,
    /// Equal outcomes that make an answer, 1 to 16; not with `verify`.
    replicas: Option<u8>,
    /// Outcomes after which a unit without an answer fails, 1 to 16; not with `verify`.
    replicas_max: Option<u8>,
    /// Higher goes first among the owner's runs.
    priority: Option<i8>,
    /// Whether outputs are reduced to one; by default if the job can.
    reduce: Option<bool>,
    /// Whether the same submission, if it was answered before, is to be answered with that run instead of being executed.
    reuse: Option<bool>,
    /// Whether to do everything but send the calls that the job asks for, which then hears the fault `dry_run`.
    dry_run: Option<bool>,
    /// Fields of the inputs that workers must not see, besides those of the job's manifest: a list of JSON like the
    /// manifest's `sensitive`.
    sensitive: Option<String>,
}

/// Submits a run. The body holds its inputs, one a line or framed; it may be long and is taken as it
/// arrives. Answered once everything is on disk. With `reuse`, one that was answered before is not executed again, if the job makes no
/// calls, has no sensitive fields and reads no seed: `cache-status` says so.
#[utoipa::path(post, path = "/v1/runs", tag = "runs", security(("bearer" = [])),
    params(SubmitQuery, ("idempotency-key" = Option<String>, Header)),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses(
        (status = 201, body = RunView),
        (status = 200, description = "the same was submitted before: with this idempotency key, or to be used again", body = RunView),
        (status = 404, body = manyhands_api::Problem),
        (status = 422, body = manyhands_api::Problem),
        (status = 429, body = manyhands_api::Problem),
    ))]
pub(super) async fn submit(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<SubmitQuery>,
    headers: HeaderMap,
    intake: Option<Extension<Intake>>,
    body: Body,
) -> Answer<(StatusCode, Option<[(HeaderName, HeaderValue); 1]>, Json<RunView>)> {
    let job = jobs::executable(&app, &query.job, query.version.as_ref())?;
    super::held::none(&job)?;
    let rule = rule(&app, &job, query.verify.as_deref(), (query.replicas, query.replicas_max))?;
    let reduce = query.reduce.unwrap_or(job.reduces);
    if reduce && !job.reduces {
        let detail = format!("{} has no reduce step: it does not export `manyhands_reduce`", job.manifest.name);
        return Err(ApiError::new(Kind::Invalid, detail));
    }
    let framing = framing(&headers)?;
    let (priority, is_dry) = (query.priority.unwrap_or(0), query.dry_run.unwrap_or(false));
    let fields = fields(&app, &job, query.sensitive.as_deref())?;
    let reuses = query.reuse.unwrap_or(false);
    let wish = Wish { job, fields, rule, reduce, priority, is_dry, reuses };
    let once = Once::of(&app, &caller, &headers)?;
    let taken = Submission::new(&app, &caller, wish, intake).take(body, framing, once).await?;
    let (status, record) = match &taken {
        Taken::New(record) => (StatusCode::CREATED, record),
        Taken::Repeated(record) | Taken::Known(record) => (StatusCode::OK, record),
    };
    let known = matches!(taken, Taken::Known(_)).then_some([(CACHE_STATUS, HIT)]);
    Ok((status, known, Json(view(&app, record))))
}

/// What somebody wants to have run, without the inputs.
pub(super) struct Wish {
    job: Arc<JobRecord>,
    fields: Fields,
    rule: Rule,
    reduce: bool,
    priority: i8,
    is_dry: bool,
    /// Whether what was answered before will do.
    reuses: bool,
}

/// The run of a submission.
enum Taken {
    New(RunRecord),
    /// The first one under its idempotency key.
    Repeated(RunRecord),
    /// The one that answered the same before.
    Known(RunRecord),
}

impl Wish {
    /// One unit, for which somebody waits.
    pub(super) fn of_one(
        app: &App,
        job: Arc<JobRecord>,
        fields: Fields,
        verify: Option<&str>,
        replicas: Option<u8>,
    ) -> Answer<Self> {
        let rule = rule(app, &job, verify, (replicas, None))?;
        Ok(Self { fields, rule, reduce: false, priority: i8::MAX, is_dry: false, reuses: false, job })
    }
}

/// What is sensitive, as the requester says it on top of the manifest.
fn fields(app: &App, job: &JobRecord, own: Option<&str>) -> Answer<Fields> {
    let invalid = |why: &dyn std::fmt::Display| ApiError::new(Kind::Invalid, format!("sensitive: {why}"));
    if own.is_some_and(|json| json.len() > FIELDS_BYTES_MAX) {
        let why = format!("longer than {FIELDS_BYTES_MAX} bytes; name what the places have in common with a wildcard");
        return Err(invalid(&why));
    }
    let own: SensitiveFields = match own {
        Some(json) => serde_json::from_str(json).map_err(|error| invalid(&error))?,
        None => SensitiveFields::default(),
    };
    if !own.is_empty() && job.manifest.codec != Codec::Json {
        let detail = format!("inputs of `{}` are not JSON, so nothing in them has a place", job.manifest.name);
        return Err(invalid(&detail));
    }
    app.secrets.fields(job, own).map_err(|error| invalid(&error))
}

/// When an outcome counts, by what somebody asks for, or what is usual here; never less than the job's calls take.
fn rule(app: &App, job: &JobRecord, verify: Option<&str>, replicas: (Option<u8>, Option<u8>)) -> Answer<Rule> {
    let (scheduling, verification) = (&app.settings.scheduling, &app.settings.verification);
    let floor = verification.floor(job.manifest.verbs.values().map(|verb| verb.effect));
    let invalid = |error: &dyn std::fmt::Display| ApiError::new(Kind::Invalid, error.to_string());
    let wanted = match (verify, replicas) {
        (None, (None, None)) => {
            return Ok(floor.raise(verification.rule.0.unwrap_or(Rule::Fixed(scheduling.quorum()))));
        }
        (Some(text), (None, None)) => text.parse().map_err(|error| invalid(&format!("verify: {error}")))?,
        (Some(_), _) => return Err(invalid(&"`verify` says when an outcome counts, so `replicas` cannot as well")),
        (None, (agree, most)) => {
            let agree = agree.unwrap_or(scheduling.replicas);
            let quorum = Quorum { agree, most: most.unwrap_or(scheduling.replicas_max.max(agree)) };
            if !quorum.is_possible() {
                let Quorum { agree, most } = quorum;
                return Err(invalid(&format!(
                    "replicas is {agree} and replicas_max is {most}: expected 1 <= replicas <= replicas_max <= 16"
                )));
            }
            Rule::Fixed(quorum)
        }
    };
    floor.admit(wanted).map_err(|error| invalid(&error))
}

fn framing(headers: &HeaderMap) -> Answer<Framing> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or(NDJSON);
    match kind.split(';').next().unwrap_or_default().trim() {
        NDJSON | "application/jsonl" => Ok(Framing::Lines),
        FRAMES => Ok(Framing::Frames),
        other => {
            let detail = format!("the body is `{other}`; send inputs as `{NDJSON}` or `{FRAMES}`");
            Err(ApiError::new(Kind::UnsupportedMediaType, detail))
        }
    }
}

/// A submission's idempotency key, held while the submission arrives.
struct Once {
    app: App,
    key: Digest,
}

impl Once {
    fn of(app: &App, caller: &Caller, headers: &HeaderMap) -> Answer<Option<Self>> {
        let Some(key) = headers.get(IDEMPOTENCY_HEADER) else { return Ok(None) };
        if key.is_empty() || key.len() > 255 {
            let detail = format!("header {IDEMPOTENCY_HEADER}: expected 1 to 255 characters");
            return Err(ApiError::new(Kind::Malformed, detail));
        }
        let key = Digest::of_parts([caller.token.as_bytes(), &[0], key.as_bytes()]);
        if !app.submitting.lock().unwrap_or_else(PoisonError::into_inner).insert(key) {
            let detail = "a submission with this idempotency key is arriving at this moment";
            return Err(ApiError::new(Kind::RequestInFlight, detail).retry_after(Duration::from_secs(1)));
        }
        Ok(Some(Self { app: app.clone(), key }))
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        self.app.submitting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// A run while its inputs arrive.
pub(super) struct Submission<'a> {
    app: &'a App,
    wish: Wish,
    owner: String,
    id: RunId,
    now: Timestamp,
    inputs: u32,
    /// Names all inputs so far and what is to be done with them.
    fingerprint: Digest,
    /// Inputs that are not among `writes` yet.
    pack: Pack,
    writes: Writes,
    /// Told what is on disk, so that a long body does not count as a whole.
    intake: Intake,
    /// Whether anything is on disk that has to go if the submission breaks off.
    written: bool,
    /// Keeps its blobs, which no record names yet, from being removed.
    _upload: Upload,
}

impl<'a> Submission<'a> {
    pub(super) fn new(app: &'a App, caller: &Caller, wish: Wish, intake: Option<Extension<Intake>>) -> Self {
        let now = app.clock.now();
        let options = [u8::from(wish.reduce), wish.priority.to_le_bytes()[0], u8::from(wish.is_dry)];
        // The same inputs under other fields are another submission. It can always be written.
        let own = serde_json::to_vec(wish.fields.own()).unwrap_or_default();
        Self {
            fingerprint: Digest::of_parts([&wish.job.module.0[..], &options, wish.rule.to_string().as_bytes(), &own]),
            id: app.new_run_id(now),
            owner: caller.name.clone(),
            inputs: 0,
            pack: Pack::new(0),
            writes: Writes::default(),
            intake: intake.map(|Extension(intake)| intake).unwrap_or_default(),
            written: false,
            _upload: app.uploads.begin(),
            app,
            wish,
            now,
        }
    }

    async fn take(mut self, body: Body, framing: Framing, once: Option<Once>) -> Answer<Taken> {
        let before = match &once {
            Some(once) => {
                let key = once.key;
                self.app.blocking(move |records| records.submission(key)).await?
            }
            None => None,
        };
        let result = match self.read(body, framing, before.is_none()).await {
            Ok(()) => match before {
                None => self.finish(once).await,
                Some(before) => self.repeat(before).await.map(Taken::Repeated),
            },
            Err(error) => Err(error),
        };
        if !matches!(result, Ok(Taken::New(_))) && self.written {
            let id = self.id;
            if let Err(error) = self.app.blocking(move |records| records.remove_inputs(id)).await {
                tracing::warn!(%error, "inputs of a broken submission stay until the next start");
            }
        }
        result
    }

    async fn read(&mut self, body: Body, framing: Framing, keep: bool) -> Answer<()> {
        let limits = &self.app.settings.limits;
        let mut splitter = Splitter::new(framing, usize::try_from(limits.input_bytes_max).unwrap_or(usize::MAX));
        let mut stream = body.into_data_stream();
        let mut length = 0u64;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| ApiError::of_body(&error))?;
            length += chunk.len() as u64;
            if length > limits.run_body_bytes_max {
                let detail = format!("a submission's body may have {} bytes; split the run", limits.run_body_bytes_max);
                return Err(ApiError::new(Kind::TooLarge, detail));
            }
            splitter.push(&chunk);
            while let Some(input) = splitter.next_input().map_err(bad_body)? {
                self.input(input, keep).await?;
            }
        }
        if let Some(input) = splitter.finish().map_err(bad_body)? {
            self.input(input, keep).await?;
        }
        if self.inputs == 0 {
            let detail = "the body holds no input; a run needs at least one";
            return Err(ApiError::new(Kind::Invalid, detail));
        }
        Ok(())
    }

    async fn input(&mut self, input: Bytes, keep: bool) -> Answer<()> {
        let number = u64::from(self.inputs) + 1;
        self.check(&input).await?.map_err(|why| ApiError::new(Kind::Invalid, format!("input {number}: {why}")))?;
        let most = self.app.settings.limits.units_per_run_max;
        if number > most {
            return Err(ApiError::new(Kind::TooLarge, format!("a run may have {most} inputs; split it")));
        }
        let name = self.app.secrets.name(&self.wish.fields, &input).map_err(SecretsError::from)?;
        if keep {
            let length = input.len();
            let input = self.take_out(self.inputs, input)?;
            let content = self.app.records.content(input).await?;
            if content.inline.is_none() {
                self.intake.dealt_with(length);
            }
            self.name(name.unwrap_or(content.digest));
            self.pack.inputs.push(content);
            if self.pack.is_full() {
                self.close_pack();
                if self.writes.0.bytes() > GROUP_BYTES {
                    self.flush().await?;
                }
            }
        } else {
            self.name(name.unwrap_or_else(|| Digest::of(&input)));
            self.intake.dealt_with_all();
        }
        self.inputs += 1;
        Ok(())
    }

    fn name(&mut self, input: Digest) {
        self.fingerprint = Digest::of_parts([&self.fingerprint.0[..], &input.0]);
    }

    /// An input in canonical form. Its values become durable before it, or with it.
    fn take_out(&mut self, index: u32, input: Bytes) -> Answer<Bytes> {
        let Wish { job, fields, .. } = &self.wish;
        let scope = Scope { tenant: &self.owner, job: &job.manifest.name, unit: UnitId { run: self.id, index } };
        self.app.secrets.take_out(fields, &scope, input, &mut self.writes).map_err(|error| match error {
            TakeError::Input(_) | TakeError::Long(_) | TakeError::Many => {
                ApiError::new(Kind::Invalid, format!("input {}: {error}", u64::from(index) + 1))
            }
            TakeError::Vault(error) => SecretsError::from(error).into(),
        })
    }

    fn close_pack(&mut self) {
        let next = Pack::new(self.pack.end());
        let pack = std::mem::replace(&mut self.pack, next);
        if !pack.inputs.is_empty() {
            self.writes.inputs(self.id, &pack);
        }
    }

    async fn flush(&mut self) -> Answer<()> {
        self.written = true;
        let writes = std::mem::take(&mut self.writes);
        let written = self.app.blocking(move |records| records.commit(writes)).await;
        self.intake.dealt_with_all();
        written
    }

    /// Makes the run durable, then known to the scheduler; unless the one that answered the same before will do.
    async fn finish(&mut self, once: Option<Once>) -> Answer<Taken> {
        let question = match self.may_repeat() {
            true => self.app.questions.of_run(&self.wish.job, &self.owner, self.fingerprint).await?,
            false => None,
        };
        if let Some(question) = question.filter(|_| self.wish.reuses)
            && let Some(known) = self.app.questions.run(question).await?
        {
            if let Some(once) = &once {
                let (mut writes, record) =
                    (Writes::default(), SubmitRecord { run: known.spec.id, fingerprint: self.fingerprint });
                writes.submission(once.key, &record);
                self.app.blocking(move |records| records.commit(writes)).await?;
            }
            self.app.metrics.repeated();
            return Ok(Taken::Known(known));
        }
        let (room, units) = (self.app.room(), u64::from(self.inputs));
        self.app.core.ask(move |scheduler, _| room.fits(scheduler, units)).await??;
        let decoys = self.make_up().await?;
        let record = self.record(decoys)?;
        self.close_pack();
        self.app.secrets.declare(self.id, &self.wish.fields, &mut self.writes);
        self.writes.owner(&record);
        self.writes.run(&record);
        if let Some(question) = question {
            self.writes.asked(question, self.id);
        }
        if let Some(once) = &once {
            self.writes.submission(once.key, &SubmitRecord { run: self.id, fingerprint: self.fingerprint });
        }
        self.flush().await?;
        // From here on the run exists, whatever happens.
        self.written = false;
        self.app.core.tell(Input::Submitted(record.spec.clone())).await?;
        self.cancel_if_revoked().await?;
        Ok(Taken::New(record))
    }

    /// It may have been revoked while the run arrived, and whoever revoked it may not have seen the run.
    async fn cancel_if_revoked(&self) -> Answer<()> {
        if self.app.catalogue.is_revoked(&self.wish.job.module) {
            self.app.core.tell(Input::Cancel(self.id)).await?;
        }
        Ok(())
    }

    /// Begins a run of one unit. It becomes durable together with its end, or soon: until its requester is
    /// answered, nobody was told of it. Where the same was asked before and is not to be executed `anew`, the unit that
    /// answered is found instead.
    async fn invoke(&mut self, input: Bytes, anew: bool) -> Answer<Begun> {
        let (run, input) = self.prepare(input).await?;
        if !self.writes.0.ops.is_empty() {
            // Before anybody gets a token that stands for nothing.
            self.flush().await?;
        }
        let input = self.app.records.content(input).await?;
        let question = match self.may_repeat() {
            true => self.app.questions.name(&self.wish.job, &self.owner, input.digest).await?,
            false => None,
        };
        if let Some(question) = question.filter(|_| !anew)
            && let Some((unit, record)) = self.app.questions.answer(question, self.wish.rule).await?
        {
            self.app.metrics.repeated();
            return Ok(Begun::Known(unit, record));
        }
        Ok(Begun::Asked(self.begin(run, input, question).await?))
    }

    /// A run of one unit as it begins, and its input in canonical form, whose values have yet to become durable.
    pub(super) async fn prepare(&mut self, input: Bytes) -> Answer<(RunRecord, Bytes)> {
        let most = self.app.settings.limits.input_bytes_max;
        if input.len() as u64 > most {
            return Err(ApiError::new(Kind::TooLarge, format!("an input may have {most} bytes")));
        }
        self.check(&input).await?.map_err(|why| ApiError::new(Kind::Invalid, why))?;
        self.inputs = 1;
        let run = self.record(Decoys::default())?;
        let input = self.take_out(0, input)?;
        self.app.secrets.declare(self.id, &self.wish.fields, &mut self.writes);
        Ok((run, input))
    }

    /// Makes what was prepared durable, together with `more`.
    pub(super) async fn flush_with(&mut self, more: impl FnOnce(&mut Writes)) -> Answer<()> {
        more(&mut self.writes);
        self.flush().await
    }

    /// Hands a run of one unit to the scheduler.
    pub(super) async fn begin(&self, run: RunRecord, input: Content, question: Option<Digest>) -> Answer<Asked> {
        let unit = UnitId { run: self.id, index: 0 };
        let answer = self.app.hub.answer(unit);
        self.app.core.send(Event::Invoked(Box::new(Invoked { run, input, question }))).await?;
        self.cancel_if_revoked().await?;
        Ok(Asked { unit, answer })
    }

    /// Waits for the end of what was begun, and not longer than its requester does, who is told what to do `then`.
    pub(super) async fn ended(
        &self,
        Asked { unit, mut answer }: Asked,
        patience: Duration,
        then: &str,
    ) -> Answer<UnitRecord> {
        let app = self.app;
        tokio::select! {
            ended = answer.wait() => match ended {
                Ok(ended) => Ok(ended.ok_or(crate::core::Stopping)?),
                Err(refused) => {
                    self.forget().await;
                    Err(refused.into())
                }
            },
            begun = begun(app, unit.run, patience) => {
                begun?;
                Err(no_answer_yet(unit.run, patience, then))
            }
            () = app.stop.cancelled() => Err(crate::core::Stopping.into()),
        }
    }

    /// Whether somebody may be answered with what came of the same before: not with what was declared, which is the run's own.
    fn may_repeat(&self) -> bool {
        self.wish.fields.own().is_empty()
    }

    /// Removes the values of a run that will not be. What cannot be removed now is at the next start.
    async fn forget(&self) {
        if self.written {
            let run = self.id;
            if let Err(error) = self.app.records.blocking(move |records| records.remove_secrets(run)).await {
                tracing::warn!(%run, %error, "the values of a run that was refused could not be removed");
            }
        }
    }

    /// Checks what can be checked without executing the job.
    async fn check(&self, input: &Bytes) -> Answer<Result<(), String>> {
        let codec = self.wish.job.manifest.codec;
        if codec != Codec::Json || input.len() <= QUICK_BYTES {
            return Ok(check_input(codec, input));
        }
        let input = input.clone();
        self.app.blocking(move |_| Ok(check_input(codec, &input))).await
    }

    /// The run as it begins.
    fn record(&self, decoys: Decoys) -> Answer<RunRecord> {
        if self.app.core.is_disk_full() {
            return Err(disk_full());
        }
        let JobRecord { manifest, serial, module, .. } = &*self.wish.job;
        let spec = RunSpec {
            id: self.id,
            owner: self.owner.clone(),
            job: manifest.name.clone(),
            version: manifest.version.clone(),
            serial: *serial,
            module: *module,
            wall_ms: manifest.limits.wall_ms,
            rule: self.wish.rule,
            priority: self.wish.priority,
            reduce: self.wish.reduce,
            inputs: self.inputs,
            submitted_at: self.now,
            is_dry: self.wish.is_dry,
            decoys,
        };
        let counts = Counts { waiting: spec.reduction().units(), ..Counts::default() };
        Ok(RunRecord { spec, status: RunStatus::Active, counts, dissents: 0, finished_at: None })
    }

    async fn repeat(&self, before: SubmitRecord) -> Answer<RunRecord> {
        if before.fingerprint != self.fingerprint {
            let detail = "this idempotency key was used for another submission; use a new key";
            return Err(ApiError::new(Kind::KeyReused, detail));
        }
        super::runs::current(self.app, before.run).await?.ok_or_else(|| ApiError::not_found("run", before.run))
    }
}

fn bad_body(error: BadBody) -> ApiError {
    let kind = match error {
        BadBody::TooLong { .. } => Kind::TooLarge,
        BadBody::CutOff { .. } => Kind::Malformed,
    };
    ApiError::new(kind, error.to_string())
}

pub(super) fn disk_full() -> ApiError {
    ApiError::new(Kind::StorageFull, "the coordinator's disk is full").retry_after(QUEUE_RETRY)
}

/// What is wrong with an input, if anything is.
fn check_input(codec: Codec, input: &[u8]) -> Result<(), String> {
    match codec {
        Codec::Json => match serde_json::from_slice::<serde::de::IgnoredAny>(input) {
            Ok(_) if depth(input) > JSON_DEPTH_MAX => {
                Err(format!("JSON that is nested deeper than {JSON_DEPTH_MAX} levels, which no job is given"))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(format!("not JSON, which this job reads: {error}")),
        },
        Codec::Postcard | Codec::Raw => Ok(()),
    }
}

/// How deep the arrays and objects of some JSON are nested.
pub(super) fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string) = (0_usize, 0, false);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => drop(bytes.next()),
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct InvokeQuery {
    /// Which version; the newest if none is named.
    #[param(value_type = Option<String>)]
    version: Option<Version>,
    /// When an outcome counts: `adaptive:1e-4`, `full:1e-6` or `audited`, where workers' words have to be earned, or `2of4`.
    #[param(value_type = Option<String>)]
    verify: Option<String>,
    /// Equal outcomes that make an answer, 1 to 16; not with `verify`.
    replicas: Option<u8>,
    /// How long to wait, in milliseconds; 30,000 if nothing is said.
    timeout_ms: Option<u64>,
    /// Fields of the input that workers must not see, besides those of the job's manifest: a list of JSON like the
    /// manifest's `sensitive`.
    sensitive: Option<String>,
}

/// A unit about which workers are being asked.
pub(super) struct Asked {
    unit: UnitId,
    answer: crate::hub::Answer,
}

/// What became of an invocation so far.
enum Begun {
    /// Workers are being asked.
    Asked(Asked),
    /// They were asked the same before.
    Known(UnitId, UnitRecord),
}

/// Executes a job on one input and waits for the verified answer. What was asked before is not executed again, if the job
/// makes no calls, has no sensitive fields and reads no seed: `cache-status` says so, and `manyhands-run` which run it was.
#[utoipa::path(post, path = "/v1/jobs/{name}/invoke", tag = "jobs", security(("bearer" = [])),
    params(
        ("name" = String, Path), InvokeQuery, ("idempotency-key" = Option<String>, Header),
        ("cache-control" = Option<String>, Header, description = "`no-cache`: execute it, also if the same was asked before"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "the output"),
        (status = 422, description = "the job fails on this input", body = manyhands_api::Problem),
        (status = 504, description = "no answer yet; the run goes on", body = manyhands_api::Problem),
    ))]
pub(super) async fn invoke(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(query): Query<InvokeQuery>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Response> {
    let body = body?;
    let most = app.settings.limits.invoke_timeout_ms_max;
    let patience = Duration::from_millis(query.timeout_ms.unwrap_or(30_000).min(most));
    let job = jobs::executable(&app, &name, query.version.as_ref())?;
    super::held::none(&job)?;
    let codec = job.manifest.codec;
    let fields = fields(&app, &job, query.sensitive.as_deref())?;
    let wish = Wish::of_one(&app, job, fields, query.verify.as_deref(), query.replicas)?;
    let mut submission = Submission::new(&app, &caller, wish, None);
    match submission.invoke(body, wants_no_cache(&headers)).await? {
        Begun::Asked(asked) => {
            let unit = asked.unit;
            let record = submission.ended(asked, patience, "ask for its results").await?;
            respond(&app, &caller, unit, codec, record).await
        }
        Begun::Known(unit, record) => {
            let mut response = respond(&app, &caller, unit, codec, record).await?;
            response.headers_mut().insert(CACHE_STATUS, HIT);
            Ok(response)
        }
    }
}

/// Says that a run goes on, and how to come back to it.
pub(super) fn no_answer_yet(run: RunId, patience: Duration, then: &str) -> ApiError {
    let detail = format!("no verified answer within {} ms; {run} goes on: {then}", patience.as_millis());
    ApiError::new(Kind::Timeout, detail).retry_after(Duration::from_secs(5))
}

/// Whether a request asks for an answer of its own (RFC 9111, 5.2.1).
fn wants_no_cache(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|directive| directive.trim().eq_ignore_ascii_case("no-cache"))
}

/// Waits for so long, and then until the run is on the disk: it goes on whatever happens. On a full disk nobody knows when
/// that will be.
async fn begun(app: &App, run: RunId, patience: Duration) -> Answer<()> {
    tokio::time::sleep(patience).await;
    let mut feed = app.hub.follow(run);
    while app.blocking(move |records| records.run(run)).await?.is_none() {
        if app.core.is_disk_full() {
            return Err(disk_full());
        }
        let _changed = tokio::time::timeout(FULL_DISK_LOOK, feed.changed()).await;
    }
    Ok(())
}

/// What workers agreed on.
pub(super) struct Agreed {
    pub(super) spec: RunSpec,
    /// With tokens.
    pub(super) canonical: Bytes,
    /// With values in their place.
    pub(super) output: Bytes,
    pub(super) fuel: u64,
    pub(super) replicas: usize,
}

/// The output of a unit that has ended.
pub(super) async fn agreed(app: &App, unit: UnitId, record: UnitRecord) -> Answer<Agreed> {
    let (fuel, replicas) = (record.paid_for().0, record.agreeing().count());
    let accepted = match (record.end, record.accepted) {
        (Some(End::Done | End::Failed), Some(accepted)) => accepted,
        (end, _) => {
            let reason = manyhands_scheduler::Reason::Ended(end.unwrap_or(End::Undecided));
            return Err(ApiError::new(Kind::Conflict, format!("{}: {reason}", unit.run)));
        }
    };
    let manyhands_model::Verdict::Ok { output, .. } = accepted.verdict else {
        return Err(ApiError::new(Kind::JobFailed, accepted.verdict.to_string()));
    };
    let bytes = app.records.output(output).await?;
    let spec = app.blocking(move |records| records.run(unit.run)).await?.map(|run| run.spec);
    let spec = spec.ok_or_else(|| ApiError::not_found("run", unit.run))?;
    let output = app.secrets.restored(&spec, unit.index, bytes.clone()).await?;
    Ok(Agreed { spec, canonical: bytes, output, fuel, replicas })
}

async fn respond(app: &App, caller: &Caller, unit: UnitId, codec: Codec, record: UnitRecord) -> Answer<Response> {
    let Agreed { spec, output, fuel, replicas, .. } = agreed(app, unit, record).await?;
    let kind = if codec == Codec::Json { "application/json" } else { "application/octet-stream" };
    let headers = [
        ("content-type", kind.to_owned()),
        ("manyhands-fuel", fuel.to_string()),
        ("manyhands-replicas", replicas.to_string()),
    ];
    // Where everybody's answers are shared, the run may be another's, whose name is of no use.
    let run = caller.sees(&spec.owner).then(|| [("manyhands-run", unit.run.to_string())]);
    Ok((headers, run.map(AppendHeaders), output).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_an_answer_of_their_own_is_understood() {
        let wants = |values: &[&'static str]| {
            let header = |value: &&'static str| (header::CACHE_CONTROL, HeaderValue::from_static(value));
            wants_no_cache(&values.iter().map(header).collect())
        };
        assert!(wants(&["no-cache"]) && wants(&["max-age=0, No-Cache"]) && wants(&["max-age=5", "no-cache"]));
        assert!(!wants(&[]) && !wants(&["max-age=0"]) && !wants(&["no-cached"]));
    }

    #[test]
    fn json_is_as_deep_as_serde_json_reads_it() {
        for (json, levels) in [("1", 0), ("[]", 1), (r#"{"a": [1, {}], "b": []}"#, 3), (r#"["[[\"[[\\", "]"]"#, 1)] {
            assert_eq!(depth(json.as_bytes()), levels, "{json}");
        }
        let nested = |levels: usize| ["[".repeat(levels), "]".repeat(levels)].concat();
        for levels in [1, JSON_DEPTH_MAX, JSON_DEPTH_MAX + 1, 60_000] {
            let read = serde_json::from_str::<serde_json::Value>(&nested(levels));
            assert_eq!(check_input(Codec::Json, nested(levels).as_bytes()).is_ok(), read.is_ok(), "{levels}");
        }
        assert_eq!(check_input(Codec::Raw, nested(200).as_bytes()), Ok(()));
    }
}
