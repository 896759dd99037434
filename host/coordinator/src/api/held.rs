//! Jobs that read and write a record which their client keeps. See `manyhands_held`.
//!
//! What is asked is written down before it is executed, and its answer before it is handed out, so whoever asks again, after whatever
//! crash, is answered by the same run. Nothing of a record is kept here but what its unit reads and writes, as of any unit: with tokens in the place
//! of what is sensitive, whose values go once the answer was received.

use std::time::Duration;

use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use manyhands_api::{RecordAnswer, RecordRequest};
use manyhands_held::seal::NONCE_BYTES;
use manyhands_held::{Became, ClientName, Exchange, Life, NotOpened, Place, RecordKey, Refused, Step, Written};
use manyhands_model::{RunId, UnitId, Version};
use manyhands_scheduler::{RunRecord, RunStatus};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::MutexGuard;
use tokio::time::Instant;
use utoipa::IntoParams;

use super::submit::{Agreed, JSON_DEPTH_MAX, Submission, Wish, agreed, depth, no_answer_yet};
use super::{jobs, runs};
use crate::app::{App, begun_at};
use crate::auth::Caller;
use crate::core::Stopping;
use crate::problem::{Answer, ApiError, Json, Kind, Path, Query};
use crate::records::{JobRecord, Records, Writes};
use crate::secrets::SecretsError;
use crate::vault::VaultError;

/// Which run it was.
const RUN: HeaderName = HeaderName::from_static("manyhands-run");

/// What begins is on the disk by then, unless that is full, or it never will be: the coordinator crashed before, or had no room for it.
/// It takes a thousandth of that.
const BEGUN_WITHIN: Duration = Duration::from_secs(5);

/// What to do without an answer.
const AGAIN: &str = "send the same again";

/// Goes on unless the job's inputs are made with records: made up by a requester, they would be worth nothing.
pub(super) fn none(job: &JobRecord) -> Answer<()> {
    let name = &job.manifest.name;
    if job.manifest.record_bytes == 0 {
        return Ok(());
    }
    let detail = format!("{name} works on records that its clients keep: ask at /v1/jobs/{name}/clients/CLIENT");
    Err(ApiError::new(Kind::Invalid, detail))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ExchangeQuery {
    /// Which version; the newest if none is named.
    #[param(value_type = Option<String>)]
    version: Option<Version>,
    /// When an outcome counts: `adaptive:1e-4`, `full:1e-6` or `audited`, where workers' words have to be earned, or `2of4`.
    #[param(value_type = Option<String>)]
    verify: Option<String>,
    /// Equal outcomes that make an answer, 1 to 16.
    replicas: Option<u8>,
    /// How long to wait, in milliseconds; 30,000 if nothing is said.
    timeout_ms: Option<u64>,
}

/// Executes a job on an input and a client's record, and hands out the next record with the verified answer. The same request again is
/// answered the same, until the next record is shown; without an input it is answered whatever was asked last.
#[utoipa::path(post, path = "/v1/jobs/{name}/clients/{client}", tag = "jobs", security(("bearer" = [])),
    params(("name" = String, Path), ("client" = String, Path), ExchangeQuery),
    request_body = RecordRequest,
    responses(
        (status = 200, body = RecordAnswer),
        (status = 204, description = "nothing was asked, and the record is the newest: the answer that it came with is received"),
        (status = 403, description = "the record was changed, or is another's", body = manyhands_api::Problem),
        (status = 409, description = "the record is not the newest", body = manyhands_api::Problem),
        (status = 422, description = "the job fails on this input", body = manyhands_api::Problem),
        (status = 504, description = "no answer yet; the run goes on", body = manyhands_api::Problem),
    ))]
pub(super) async fn exchange(
    State(app): State<App>,
    caller: Caller,
    Path((name, client)): Path<(String, String)>,
    Query(query): Query<ExchangeQuery>,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Response> {
    let most = app.settings.limits.invoke_timeout_ms_max;
    let patience = Duration::from_millis(query.timeout_ms.unwrap_or(30_000).min(most));
    let request: RecordRequest = serde_json::from_slice(&body?).map_err(|error| {
        let detail =
            format!("the body is no {{\"record\": TEXT, \"input\": JSON}}, of which either may be missing: {error}");
        ApiError::new(Kind::Malformed, detail)
    })?;
    let client = Client::of(&app, &caller, &name, &client)?;
    let shown = request.record.as_deref().map(|record| client.key.open(&client.place, record)).transpose()?;
    let (shown, content) = shown.map(|opened| (opened.stamp, opened.content)).unzip();
    let question = request.input.as_ref().map(|input| client.key.question(&client.place, input.get().as_bytes()));

    let alone = client.alone().await;
    let (life, since) = client.life().await?;
    let became = match life.run_in_doubt() {
        Some(run) => client.outcome(run).await?.became(),
        None => Became::Nothing,
    };
    let is_restored = app.blocking(move |records| records.is_in_doubt(since)).await?;
    match life.meet(shown.as_ref(), question, became, is_restored)? {
        Step::Acknowledged { received } => {
            client.received(received).await?;
            let settled = Life::settled(shown);
            if settled != life {
                let mut writes = Writes::default();
                writes.life(&client.place, &settled, since);
                app.blocking(move |records| records.commit(writes)).await?;
            }
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Step::Answer(run) => {
            drop(alone);
            let ended = runs::until(&app, run, |run| run.status != RunStatus::Active);
            match tokio::time::timeout(patience, ended).await {
                Ok(ended) => drop(ended?),
                Err(_) => return Err(no_answer_yet(run, patience, AGAIN)),
            }
            client.hand_out(run).await
        }
        Step::Begin { question, received } => {
            client.received(received).await?;
            let job = jobs::executable(&app, &name, query.version.as_ref())?;
            client.uses_records(&job)?;
            let fields = app.secrets.fields_of(&job);
            let wish = Wish::of_one(&app, job, fields, query.verify.as_deref(), query.replicas)?;
            let mut submission = Submission::new(&app, &caller, wish, None);
            let record = content.as_ref().map_or(Ok("null"), |content| core::str::from_utf8(content));
            let record = record.map_err(|_| NotOpened::Unreadable)?;
            let input = request.input.as_deref().map_or("null", RawValue::get);
            let (run, input) = submission.prepare(format!("{{\"record\":{record},\"input\":{input}}}").into()).await?;
            let exchange = Exchange { run: run.spec.id, question };
            // Before anybody works on it: else a crash in between would have it executed twice.
            let asked = Life::asked(shown, exchange);
            submission.flush_with(|writes| writes.life(&client.place, &asked, since)).await?;
            let input = app.records.content(input).await?;
            let asked = submission.begin(run, input, None).await?;
            // Whoever comes now finds it at the scheduler.
            drop(alone);
            submission.ended(asked, patience, AGAIN).await?;
            client.hand_out(exchange.run).await
        }
    }
}

/// Forgets a client: its records are worth nothing from then on, and it begins without one.
#[utoipa::path(delete, path = "/v1/jobs/{name}/clients/{client}", tag = "jobs", security(("bearer" = [])),
    params(("name" = String, Path), ("client" = String, Path)),
    responses((status = 204), (status = 404, body = manyhands_api::Problem), (status = 409, body = manyhands_api::Problem)))]
pub(super) async fn forget(
    State(app): State<App>,
    caller: Caller,
    Path((name, client)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let client = Client::of(&app, &caller, &name, &client)?;
    let _alone = client.alone().await;
    let (life, since) = client.life().await?;
    if life == Life::NEW {
        return Err(ApiError::not_found("record of this client for", name));
    }
    if let Life::Asked { exchange, .. } | Life::Answered { exchange, .. } = life {
        if let Outcome::Pending = client.outcome(exchange.run).await? {
            let detail = format!("{} works on this client's record; wait for it, or cancel it first", exchange.run);
            return Err(ApiError::new(Kind::Conflict, detail));
        }
        client.received(Some(exchange.run)).await?;
    }
    let place = client.place;
    let remove = move |records: &Records| {
        let mut writes = Writes::default();
        if records.doubt()?.is_some() {
            // Of a place of which nothing is known, any record would be believed.
            writes.life(&place, &Life::NEW, since);
        } else {
            writes.no_life(&place);
        }
        records.commit(writes)
    };
    app.blocking(remove).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A client of somebody's, for one job.
struct Client<'a> {
    app: &'a App,
    key: &'a RecordKey,
    place: Place,
}

/// What became of a run.
enum Outcome {
    /// Nobody knows of it.
    Lost,
    Pending,
    /// It will never have an answer.
    Failed(ApiError),
    /// It had one, of which nobody knows the values any more. It is not executed again: its calls were made.
    Removed,
    Answered(Box<Answered>),
}

/// What a job wrote.
struct Answered {
    record: Box<RawValue>,
    output: Box<RawValue>,
    fuel: u64,
    replicas: usize,
}

impl Outcome {
    const fn became(&self) -> Became {
        match self {
            Self::Lost | Self::Failed(_) => Became::Nothing,
            Self::Pending => Became::Pending,
            Self::Answered(_) | Self::Removed => Became::Answer,
        }
    }
}

impl<'a> Client<'a> {
    fn of(app: &'a App, caller: &Caller, job: &str, client: &str) -> Answer<Self> {
        let job = jobs::find(app, job, None)?;
        let client: ClientName =
            client.parse().map_err(|error| ApiError::new(Kind::Invalid, format!("{client:?}: {error}")))?;
        let key = app.vault.client_records().map_err(SecretsError::from)?;
        let place = key.place(&caller.name, &job.manifest.name, &client);
        Ok(Self { app, key, place })
    }

    /// The right to decide about this client's record, once nobody else has it.
    async fn alone(&self) -> MutexGuard<'a, ()> {
        let [share, ..] = self.place.0.0;
        let clients = &self.app.clients;
        clients[usize::from(share) % clients.len()].lock().await
    }

    async fn life(&self) -> Answer<(Life, Option<manyhands_state::Revision>)> {
        let place = self.place;
        self.app.blocking(move |records| records.life(&place)).await
    }

    fn uses_records(&self, job: &JobRecord) -> Answer<()> {
        if job.manifest.record_bytes > 0 {
            return Ok(());
        }
        let name = &job.manifest.name;
        let detail = format!("{name} uses no record of its clients (`record_bytes` in its manifest): invoke it");
        Err(ApiError::new(Kind::Invalid, detail))
    }

    /// Removes the values of a run whose answer arrived: its tokens stand for nothing any more. One that goes on again needs them.
    async fn received(&self, run: Option<RunId>) -> Answer<()> {
        let Some(run) = run else { return Ok(()) };
        let Some(RunRecord { spec, .. }) = self.app.blocking(move |records| records.run(run)).await? else {
            return Ok(());
        };
        if self.app.secrets.concern(run, spec.module)? {
            self.app.calls.forget(run).await?;
        }
        Ok(())
    }

    /// The run as it stands now. Between the scheduler, which forgets what has ended, and the disk there are moments in which it is nowhere.
    async fn begun(&self, run: RunId) -> Answer<Option<RunRecord>> {
        let mut feed = self.app.hub.follow(run);
        let age = self.app.clock.now().since(begun_at(run));
        let ends = Instant::now() + BEGUN_WITHIN.saturating_sub(age);
        loop {
            feed.mark_unchanged();
            let found = runs::current(self.app, run).await?;
            if found.is_some() || Instant::now() >= ends {
                return Ok(found);
            }
            if let Ok(Err(_)) = tokio::time::timeout_at(ends, feed.changed()).await {
                return Err(Stopping.into());
            }
        }
    }

    async fn outcome(&self, run: RunId) -> Answer<Outcome> {
        let Some(record) = self.begun(run).await? else {
            return Ok(if self.app.core.is_disk_full() { Outcome::Pending } else { Outcome::Lost });
        };
        if record.status == RunStatus::Active {
            return Ok(Outcome::Pending);
        }
        let unit = UnitId { run, index: 0 };
        let record = self.app.blocking(move |records| records.unit(unit)).await?.unwrap_or_default();
        let agreed = match agreed(self.app, unit, record).await {
            Ok(agreed) => agreed,
            Err(error) if matches!(error.kind, Kind::JobFailed | Kind::Conflict) => return Ok(Outcome::Failed(error)),
            Err(error) => return Err(error),
        };
        let read = match self.read(&agreed) {
            Ok(answered) => self.hides(&agreed).await?.map(|()| answered),
            Err(why) => Err(why),
        };
        // The mark is there before the first value is gone, so without it all of them were found.
        if self.app.blocking(move |records| records.forgotten(run)).await?.is_some() {
            return Ok(Outcome::Removed);
        }
        Ok(match read {
            Ok(answered) => Outcome::Answered(Box::new(answered)),
            Err(why) => Outcome::Failed(ApiError::new(Kind::JobFailed, why)),
        })
    }

    /// Goes on if workers would see nothing of the record that they did not see before, or says why it is no answer.
    async fn hides(&self, agreed: &Agreed) -> Answer<Result<(), String>> {
        let Agreed { spec, canonical, .. } = agreed;
        Ok(self.app.secrets.hides(spec, 0, canonical).await?.map_err(|why| why.to_string()))
    }

    /// What a job wrote, or why it is no answer.
    fn read(&self, agreed: &Agreed) -> Result<Answered, String> {
        let job = self.app.catalogue.module(agreed.spec.module);
        let most = job.map_or(0, |job| job.manifest.record_bytes);
        let Written { record, output } = Written::restored(&agreed.output, most).map_err(|why| why.to_string())?;
        // It has to go into an input again.
        if depth(record.get().as_bytes()) >= JSON_DEPTH_MAX {
            return Err(format!("the job wrote a record that is nested deeper than {} levels", JSON_DEPTH_MAX - 1));
        }
        Ok(Answered { record, output, fuel: agreed.fuel, replicas: agreed.replicas })
    }

    /// Writes that a run has answered, and answers.
    async fn hand_out(&self, run: RunId) -> Answer<Response> {
        let answered = match self.outcome(run).await? {
            Outcome::Answered(answered) => answered,
            Outcome::Failed(error) => return Err(error),
            Outcome::Removed => {
                let detail = "the values of this answer were removed; delete the client, and begin anew";
                return Err(ApiError::new(Kind::Conflict, detail));
            }
            Outcome::Lost | Outcome::Pending => {
                return Err(ApiError::new(Kind::Conflict, format!("{run} was tried again; send the same again")));
            }
        };
        let Self { app, key, place } = self;
        let content = answered.record.get().as_bytes();
        let _alone = self.alone().await;
        let (life, since) = self.life().await?;
        let next = life.answered(run, |number| key.stamp(place, number, content)).ok_or_else(|| {
            let detail =
                "somebody has gone on from this record meanwhile, or deleted the client; send the newest record";
            ApiError::new(Kind::RecordOutdated, detail)
        })?;
        if next != life {
            let (mut writes, next) = (Writes::default(), &next);
            writes.life(place, next, since);
            app.blocking(move |records| records.commit(writes)).await?;
        }
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| SecretsError::from(VaultError::from(error)))?;
        let number = next.newest().map_or(0, |stamp| stamp.number);
        let record = key.seal(place, number, content, nonce);
        let headers = [
            (RUN, run.to_string()),
            (HeaderName::from_static("manyhands-fuel"), answered.fuel.to_string()),
            (HeaderName::from_static("manyhands-replicas"), answered.replicas.to_string()),
        ];
        let mut response = (headers, Json(RecordAnswer { record, output: answered.output })).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

impl From<NotOpened> for ApiError {
    fn from(why: NotOpened) -> Self {
        let kind = match why {
            NotOpened::Unreadable => Kind::Malformed,
            NotOpened::Changed | NotOpened::Foreign => Kind::RecordUntrusted,
        };
        Self::new(kind, why.to_string())
    }
}

impl From<Refused> for ApiError {
    fn from(why: Refused) -> Self {
        Self::new(Kind::RecordOutdated, why.to_string())
    }
}
