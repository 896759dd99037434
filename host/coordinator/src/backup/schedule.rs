//! Makes backups by itself while the coordinator runs, and lets the old ones go.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Backup, BackupError, Directory, Listed, Source, list, retention};
use crate::app::App;

/// How often is looked whether a backup is due.
const LOOK: Duration = Duration::from_secs(60);
/// A backup that failed is tried again after this time at the earliest: each try writes everything.
const RETRY: Duration = Duration::from_secs(600);

/// Makes a backup whenever one is due, until the coordinator stops. A failure is a warning and a number,
/// and stops nothing.
pub async fn run(app: App) {
    let Some(dir) = app.settings.backup.dir.clone() else {
        info!("no backups are made; set `backup.dir` to have them");
        return;
    };
    let mut look = tokio::time::interval(LOOK);
    let mut not_before = Instant::now();
    while app.stop.run_until_cancelled(look.tick()).await.is_some() {
        if not_before > Instant::now() || !due(&app, &dir).await {
            continue;
        }
        match make(&app, dir.clone(), true, true).await {
            Ok(_) | Err(BackupError::Stopped) => {}
            Err(error) => {
                warn!(%error, "no backup was made; trying again in {} minutes", RETRY.as_secs() / 60);
                not_before = Instant::now() + RETRY;
            }
        }
    }
}

async fn due(app: &App, dir: &Path) -> bool {
    let (path, now) = (dir.to_owned(), app.clock.now());
    let every = u64::try_from(app.settings.backup.every().as_millis()).unwrap_or(u64::MAX);
    let listed = tokio::task::spawn_blocking(move || list(&path)).await;
    match listed.map_err(std::io::Error::other) {
        Ok(Ok(backups)) => {
            let taken: Vec<_> = backups.iter().filter_map(Listed::taken).collect();
            if let Some(newest) = taken.last() {
                app.metrics.backup_found(UNIX_EPOCH + Duration::from_millis(newest.at.0));
            }
            retention::due(&taken, now, every)
        }
        Ok(Err(error)) => {
            warn!(%error, "the directory of backups cannot be read");
            true
        }
        Err(error) => {
            warn!(%error, "the directory of backups cannot be read");
            false
        }
    }
}

/// Makes a backup of the running coordinator in `dir`, as soon as nothing else looks after the data, and
/// lets expired ones go if it is the directory that is `kept` in order.
///
/// # Errors
/// Any [`BackupError`].
pub async fn make(app: &App, dir: PathBuf, with_keys: bool, kept: bool) -> Result<Backup, BackupError> {
    let alone = app.upkeep.clone().lock_owned().await;
    let (owned, runtime, began) = (app.clone(), Handle::current(), Instant::now());
    let work = move || {
        // Held to the end of the work, also if nobody waits for it any more.
        let _alone = alone;
        let app = owned;
        let directory = Directory::open(&dir, &app.settings.data_dir)?;
        let backup = directory.take(
            Source {
                store: &app.store,
                blobs: app.records.blobs(),
                keys: with_keys.then(|| app.authority.keys()),
                data_dir: &app.settings.data_dir,
                now: app.clock.now(),
                stop: &app.stop,
            },
            &runtime,
        )?;
        // From here on the backup is older than the data, whatever becomes of the rest.
        if let Err(error) = app.vault.grow() {
            warn!(%error, "the vault cannot tell this backup from the data; it can in a minute");
        }
        if kept {
            for removed in directory.prune(app.settings.backup.keep())? {
                info!(backup = removed, "an old backup was removed");
            }
        }
        Ok(backup)
    };
    let made = match tokio::task::spawn_blocking(work).await {
        Ok(made) => made,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    match &made {
        Ok(Backup { path, manifest }) => {
            if kept {
                app.metrics.backup_made(SystemTime::now());
            }
            info!(
                path = %path.display(),
                revision = manifest.revision,
                records = manifest.records,
                blobs = manifest.blobs,
                seconds = began.elapsed().as_secs_f32(),
                "a backup was made, and restored to verify it"
            );
        }
        Err(error) if kept && !matches!(error, BackupError::Stopped) => app.metrics.backup_failed(),
        Err(_) => {}
    }
    made
}
