//! For operators: backups, checks and compaction of a coordinator that runs.

use std::path::PathBuf;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use manyhands_api::{BackupView, CheckView, CompactView, NewBackup, Role};
use tokio::runtime::Handle;

use crate::app::App;
use crate::auth::Caller;
use crate::backup::{Backup, BackupError, schedule};
use crate::problem::{Answer, ApiError, Json, Kind};
use crate::upkeep::{self, UpkeepError};

/// When whoever meets another backup, check or compaction may come again.
const BUSY_RETRY: Duration = Duration::from_secs(10);

/// Makes a backup and answers when it was restored and found right, which takes as long as it takes.
#[utoipa::path(post, path = "/v1/backups", tag = "operators", security(("bearer" = [])),
    params(("idempotency-key" = Option<String>, Header)), request_body = NewBackup,
    responses(
        (status = 201, body = BackupView),
        (status = 409, description = "the data is being looked after already", body = manyhands_api::Problem),
        (status = 422, body = manyhands_api::Problem),
        (status = 507, body = manyhands_api::Problem),
    ))]
pub(super) async fn create_backup(
    State(app): State<App>,
    caller: Caller,
    Json(new): Json<NewBackup>,
) -> Answer<(StatusCode, Json<BackupView>)> {
    caller.need(Role::Operator)?;
    let kept = new.to.is_none();
    let dir = match new.to.map(PathBuf::from).or_else(|| app.settings.backup.dir.clone()) {
        Some(dir) if dir.is_absolute() => dir,
        Some(dir) => {
            let detail = format!("`{}` does not begin at the root; name a directory that does", dir.display());
            return Err(ApiError::new(Kind::Invalid, detail));
        }
        None => {
            let detail = "there is no directory for backups: set `backup.dir`, or name one";
            return Err(ApiError::new(Kind::Invalid, detail));
        }
    };
    drop(alone(&app)?);
    let Backup { path, manifest } = schedule::make(&app, dir, !new.without_keys, kept).await.map_err(problem)?;
    Ok((StatusCode::CREATED, Json(manifest.view(&path))))
}

/// Reads every record, every blob that a record names, and the keys.
#[utoipa::path(post, path = "/v1/check", tag = "operators", security(("bearer" = [])),
    responses((status = 200, body = CheckView), (status = 409, body = manyhands_api::Problem)))]
pub(super) async fn check(State(app): State<App>, caller: Caller) -> Answer<Json<CheckView>> {
    caller.need(Role::Operator)?;
    let keys = app.settings.data_dir.join("keys");
    look_after(&app, move |app, runtime| upkeep::check(&app.store, app.records.blobs(), &keys, runtime)).await
}

/// Writes the state anew without what is not needed any more, and removes blobs that no record names.
#[utoipa::path(post, path = "/v1/compact", tag = "operators", security(("bearer" = [])),
    responses((status = 200, body = CompactView), (status = 409, body = manyhands_api::Problem)))]
pub(super) async fn compact(State(app): State<App>, caller: Caller) -> Answer<Json<CompactView>> {
    caller.need(Role::Operator)?;
    look_after(&app, |app, runtime| upkeep::compact(&app.store, app.records.blobs(), app.uploads.arriving(), runtime))
        .await
}

async fn look_after<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&App, &Handle) -> Result<T, UpkeepError> + Send + 'static,
) -> Answer<Json<T>> {
    let alone = alone(app)?;
    let (app, runtime) = (app.clone(), Handle::current());
    let work = move || {
        // Held to the end of the work, also if nobody waits for it any more.
        let _alone = alone;
        work(&app, &runtime)
    };
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::internal(&error))?;
    done.map(Json).map_err(|error| failed(&error))
}

fn alone(app: &App) -> Answer<tokio::sync::OwnedMutexGuard<()>> {
    app.upkeep.clone().try_lock_owned().map_err(|_| {
        let detail = "a backup, check or compaction is going on; try again when it is done";
        ApiError::new(Kind::Conflict, detail).retry_after(BUSY_RETRY)
    })
}

fn problem(error: BackupError) -> ApiError {
    match &error {
        BackupError::Busy(_) => ApiError::new(Kind::Conflict, error.to_string()).retry_after(BUSY_RETRY),
        error if error.is_bad_place() => ApiError::new(Kind::Invalid, error.to_string()),
        BackupError::Stopped => crate::core::Stopping.into(),
        error if error.is_full() => ApiError::new(Kind::StorageFull, error.to_string()),
        error => failed(error),
    }
}

/// The caller is the operator, so the cause is for them: no incident to look up in a log.
fn failed(error: &dyn std::error::Error) -> ApiError {
    tracing::error!(%error, "the data could not be looked after");
    ApiError::new(Kind::Internal, error.to_string())
}
