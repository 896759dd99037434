//! Publishing and listing jobs.

use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use data_encoding::BASE64;
use manyhands_api::{JobList, JobView, PUBLICATION_HEADER, RevokedView, Role};
use manyhands_model::{Digest, JobName, Version};
use manyhands_protocol::{Publication, decode};
use manyhands_sealer::Sealed;
use manyhands_signing::{Signed, Verified};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Answer, ApiError, Json, Kind, Path, Query};
use crate::records::{JobRecord, Writes};
use crate::revocations::{self, Revocation};

/// All published jobs, the newest version of each.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", security(("bearer" = [])), responses((status = 200, body = JobList)))]
pub(super) async fn list(State(app): State<App>, _caller: Caller) -> Json<JobList> {
    Json(JobList { jobs: app.catalogue.newest().iter().map(|job| job.view()).collect() })
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ShowQuery {
    /// Which version; the newest if none is named.
    #[param(value_type = Option<String>)]
    pub(super) version: Option<Version>,
}

/// One job.
#[utoipa::path(get, path = "/v1/jobs/{name}", tag = "jobs", security(("bearer" = [])),
    params(("name" = String, Path), ShowQuery),
    responses((status = 200, body = JobView), (status = 404, body = manyhands_api::Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    _caller: Caller,
    Path(name): Path<String>,
    Query(query): Query<ShowQuery>,
) -> Answer<Json<JobView>> {
    Ok(Json(find(&app, &name, query.version.as_ref())?.view()))
}

/// The job of that name, or a problem.
pub(super) fn find(app: &App, name: &str, version: Option<&Version>) -> Answer<std::sync::Arc<JobRecord>> {
    let name: JobName = name.parse().map_err(|error| ApiError::new(Kind::Invalid, format!("{error}")))?;
    app.catalogue.find(&name, version).ok_or_else(|| match version {
        Some(version) => ApiError::not_found("published job", format!("{name} {version}")),
        None if app.catalogue.releases(&name).is_empty() => ApiError::not_found("published job", &name),
        None => ApiError::new(Kind::Conflict, format!("every version of {name} was revoked; publish a newer one")),
    })
}

/// The same, unless it must not be executed any more.
pub(super) fn executable(app: &App, name: &str, version: Option<&Version>) -> Answer<std::sync::Arc<JobRecord>> {
    let job = find(app, name, version)?;
    not_revoked(app, &job.manifest.name, &job.manifest.version, &job.module)?;
    Ok(job)
}

/// Goes on unless the module must not be executed any more.
pub(super) fn not_revoked(app: &App, name: &JobName, version: &Version, module: &Digest) -> Answer<()> {
    if !app.catalogue.is_revoked(module) {
        return Ok(());
    }
    let detail = format!("{name} {version} was revoked by an operator; publish and use a newer version");
    Err(ApiError::new(Kind::Conflict, detail))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeQuery {
    /// Which version.
    #[param(value_type = String)]
    version: Version,
}

/// Revokes a version of a job for good: no worker executes it any more, and its active runs are cancelled.
#[utoipa::path(post, path = "/v1/jobs/{name}/revoke", tag = "jobs", security(("bearer" = [])),
    params(("name" = String, Path), RevokeQuery, ("idempotency-key" = Option<String>, Header)),
    responses((status = 200, body = RevokedView), (status = 404, body = manyhands_api::Problem)))]
pub(super) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Query(query): Query<RevokeQuery>,
) -> Answer<Json<RevokedView>> {
    caller.need(Role::Operator)?;
    let job = find(&app, &name, Some(&query.version))?;
    let (module, at) = (job.module, app.clock.now());
    let revocation = Revocation { name: job.manifest.name.clone(), version: query.version, at };
    app.blocking(move |records| revocations::add(&**records.store(), module, &revocation)).await?;
    app.catalogue.revoke(module);
    app.renew_trust().await?;
    // From here on no submission of it gets by. One that did before is active already, or cancels itself.
    let runs_cancelled = super::runs::cancel_revoked(&app).await?;
    tracing::info!(job = %job.manifest.name, version = %job.manifest.version, runs_cancelled, "job revoked");
    let JobRecord { manifest, .. } = &*job;
    Ok(Json(RevokedView { name: manifest.name.clone(), version: manifest.version.clone(), module, runs_cancelled }))
}

/// The sealed module: what workers execute. Public, immutable, named by its digest.
#[utoipa::path(get, path = "/v1/modules/{digest}", tag = "jobs", params(("digest" = String, Path)),
    responses((status = 200, content_type = "application/wasm"), (status = 404, body = manyhands_api::Problem)))]
pub(super) async fn module(State(app): State<App>, Path(digest): Path<String>) -> Answer<Response> {
    let digest: Digest = digest.parse().map_err(|error| ApiError::new(Kind::Invalid, format!("{error}")))?;
    // Only modules: other blobs are inputs and outputs, which are nobody else's business.
    if app.catalogue.module(digest).is_none() {
        return Err(ApiError::not_found("module", digest));
    }
    let bytes = app.records.read(&digest).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/wasm".to_owned()),
        // Browsers on other people's pages execute it as well.
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*".to_owned()),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable".to_owned()),
        (header::ETAG, format!("\"{digest}\"")),
    ];
    Ok((headers, bytes).into_response())
}

/// Publishes a version of a job: the body is the module, a header holds the publisher's signature.
#[utoipa::path(post, path = "/v1/jobs", tag = "jobs", security(("bearer" = [])),
    params(
        ("manyhands-publication" = String, Header, description = "base64 of the postcard bytes of Signed<Publication>"),
        ("idempotency-key" = Option<String>, Header),
    ),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses(
        (status = 201, body = JobView),
        (status = 200, description = "the same was published before", body = JobView),
        (status = 403, body = manyhands_api::Problem),
        (status = 409, body = manyhands_api::Problem),
        (status = 422, body = manyhands_api::Problem),
    ))]
pub(super) async fn publish(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    module: Result<Bytes, BytesRejection>,
) -> Answer<(StatusCode, Json<JobView>)> {
    caller.need(Role::Developer)?;
    let module = module?;
    let most = app.settings.limits.module_bytes_max;
    if module.len() as u64 > most {
        return Err(ApiError::new(
            Kind::TooLarge,
            format!("the module has {} bytes; at most {most} are taken", module.len()),
        ));
    }
    let signed = publication(&headers)?;
    let said = signed.verify_any().map_err(|error| ApiError::new(Kind::Untrusted, error.to_string()))?;
    if said.module != Digest::of(&module) {
        let detail = "the publication was signed for another module: its SHA-256 differs from the body's";
        return Err(ApiError::new(Kind::Untrusted, detail));
    }
    // One at a time: sealing takes processor time, and a name goes to the first.
    let _publishing = app.publishing.lock().await;
    let (sealed, module) = seal(module).await?;
    if (&sealed.manifest.name, &sealed.manifest.version) != (&said.name, &said.version) {
        let manifest = format!("{} {}", sealed.manifest.name, sealed.manifest.version);
        let detail =
            format!("the publication is for {} {}, the module's manifest says {manifest}", said.name, said.version);
        return Err(ApiError::new(Kind::Untrusted, detail));
    }
    if let Some(same) = precedent(&app, &said)? {
        return Ok((StatusCode::OK, Json(same.view())));
    }
    let job = keep(&app, signed, sealed, module).await?;
    app.renew_trust().await?;
    tracing::info!(job = %said.name, version = %said.version, publisher = %said.signer(), "job published");
    Ok((StatusCode::CREATED, Json(job.view())))
}

fn publication(headers: &HeaderMap) -> Answer<Signed<Publication>> {
    let malformed = |detail: &str| ApiError::new(Kind::Malformed, format!("header {PUBLICATION_HEADER}: {detail}"));
    let header =
        headers.get(PUBLICATION_HEADER).ok_or_else(|| malformed("missing; publish with `manyhands publish`"))?;
    let bytes = BASE64.decode(header.as_bytes()).map_err(|_| malformed("not base64"))?;
    decode(&bytes).map_err(|_| malformed("not a signed publication of this version"))
}

async fn seal(module: Bytes) -> Answer<(Sealed, Bytes)> {
    let sealing = tokio::task::spawn_blocking(move || (manyhands_sealer::seal(&module), module));
    let (sealed, module) = sealing.await.map_err(|error| ApiError::internal(&error))?;
    Ok((sealed.map_err(|refusal| ApiError::new(Kind::ModuleRefused, refusal.to_string()))?, module))
}

/// What was published under this name before: the same release, or a reason against a new one.
fn precedent(app: &App, said: &Verified<Publication>) -> Answer<Option<std::sync::Arc<JobRecord>>> {
    let releases = app.catalogue.releases(&said.name);
    if let Some(other) = releases.iter().find(|job| job.publisher() != said.signer()) {
        let detail = format!(
            "the name `{}` belongs to the publisher {}; you signed as {}: choose another name",
            said.name,
            other.publisher(),
            said.signer()
        );
        return Err(ApiError::new(Kind::Forbidden, detail));
    }
    if let Some(same) = releases.iter().find(|job| job.manifest.version == said.version) {
        if same.source == said.module {
            not_revoked(app, &said.name, &said.version, &same.module)?;
            return Ok(Some(std::sync::Arc::clone(same)));
        }
        let detail = format!("{} {} has other content; raise the version in Cargo.toml", said.name, said.version);
        return Err(ApiError::new(Kind::VersionExists, detail));
    }
    match releases.iter().map(|job| &job.manifest.version).max() {
        Some(newest) if *newest > said.version => {
            let detail =
                format!("{} {} is older than the published {newest}; raise the version", said.name, said.version);
            Err(ApiError::new(Kind::Conflict, detail))
        }
        _ => Ok(None),
    }
}

async fn keep(
    app: &App,
    publication: Signed<Publication>,
    sealed: Sealed,
    source: Bytes,
) -> Answer<std::sync::Arc<JobRecord>> {
    let module_bytes = sealed.bytes.len() as u64;
    let job = JobRecord {
        source: app.records.blob(source).await?,
        module: app.records.blob(sealed.bytes).await?,
        manifest: sealed.manifest,
        serial: app.catalogue.last_serial() + 1,
        module_bytes,
        reduces: sealed.reduces,
        publication,
        published_at: app.clock.now(),
    };
    let mut writes = Writes::default();
    writes.job(&job);
    app.blocking(move |records| records.commit(writes)).await?;
    Ok(app.catalogue.add(job))
}
