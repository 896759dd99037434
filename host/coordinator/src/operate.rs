//! Backup, restore, check and compact: of a running coordinator through its API, else on the data directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use manyhands_api::{BackupView, CheckView, CompactView, NewBackup};
use manyhands_coordinator::backup::{self, Directory, Source, date};
use manyhands_coordinator::keys::KeyStore;
use manyhands_coordinator::metrics::Metrics;
use manyhands_coordinator::records::Records;
use manyhands_coordinator::settings::Settings;
use manyhands_coordinator::upkeep::{self, Arriving};
use manyhands_coordinator::vault::Vault;
use manyhands_model::Timestamp;
use manyhands_store::{Blobs, OpenError, Options, SledStore};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::exit::{Exit, Fault};
use crate::{remark, say};

/// The data, and who has it.
enum Data {
    /// The running coordinator.
    Running(Client),
    /// Nobody else, from now on.
    Stopped { store: SledStore, blobs: Blobs },
}

impl Data {
    fn of(settings: &Settings) -> anyhow::Result<Self> {
        let dir = &settings.data_dir;
        let state = dir.join("state");
        if !state.is_dir() {
            let message =
                format!("{}: no coordinator ever kept its data here; name the place with --data-dir", dir.display());
            return Err(Fault::new(Exit::NoInput, message).into());
        }
        // The state's lock tells.
        match SledStore::open(&state, Options::default()) {
            Ok((store, opened)) => {
                for repair in &opened.repairs {
                    remark(&format!("repaired: {repair}"));
                }
                Ok(Self::Stopped { store, blobs: Blobs::local(&dir.join("blobs"))? })
            }
            Err(OpenError::InUse { .. }) => Ok(Self::Running(Client::of(settings)?)),
            Err(error) => Err(error.into()),
        }
    }
}

fn now() -> Timestamp {
    Timestamp(0).after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Makes a backup and prints its path; everything else goes to standard error, for the sake of scripts.
pub(crate) fn backup(
    settings: &Settings,
    to: Option<PathBuf>,
    without_keys: bool,
    runtime: &Runtime,
) -> anyhow::Result<()> {
    let to = to.map(|to| std::path::absolute(&to).with_context(|| to.display().to_string())).transpose()?;
    let made: BackupView = match Data::of(settings)? {
        Data::Running(client) => {
            let new = NewBackup { to: to.map(|to| to.display().to_string()), without_keys };
            runtime.block_on(client.post("/v1/backups", Some(&new)))?
        }
        Data::Stopped { store, blobs } => {
            let data_dir = &settings.data_dir;
            let keys = if without_keys { None } else { Some(KeyStore::verify(&data_dir.join("keys"))?) };
            let kept = to.is_none();
            let directory = Directory::open(&directory(settings, to)?, data_dir)?;
            let stop = CancellationToken::new();
            let keys = keys.as_ref();
            let source = Source { store: &store, blobs: &blobs, keys, data_dir, now: now(), stop: &stop };
            let made = directory.take(source, runtime.handle())?;
            if kept {
                directory.prune(settings.backup.keep())?;
            }
            made.manifest.view(&made.path)
        }
    };
    say(&made.path)?;
    remark(&format!("{}; restored into a scratch directory, opened and found right", holds(&made)));
    remark(match made.root {
        Some(_) => "it holds the coordinator's keys: guard it like the data directory",
        None => "it holds no keys: without a copy of them elsewhere, volunteers need new join links after a restore",
    });
    Ok(())
}

fn directory(settings: &Settings, named: Option<PathBuf>) -> Result<PathBuf, Fault> {
    named.or_else(|| settings.backup.dir.clone()).ok_or_else(|| {
        Fault::new(Exit::Usage, "there is no directory for backups: set `backup.dir`, or name one on the command line")
    })
}

fn holds(backup: &BackupView) -> String {
    let BackupView { revision, records, jobs, runs, active_runs, blobs, bytes, .. } = backup;
    format!(
        "revision {revision} of {}: {jobs} jobs, {runs} runs ({active_runs} active), {records} records, {blobs} blobs, {}",
        date(backup.taken_at),
        size(*bytes)
    )
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    let units = ["KB", "MB", "GB", "TB"];
    let exponent = (bytes.max(1).ilog10() / 3).min(4);
    match exponent {
        0 => format!("{bytes} bytes"),
        _ => format!("{:.1} {}", bytes as f64 / 1000_f64.powi(exponent.cast_signed()), units[exponent as usize - 1]),
    }
}

/// Lists the backups in a directory.
pub(crate) fn backups(settings: &Settings, dir: Option<PathBuf>) -> anyhow::Result<()> {
    let dir = directory(settings, dir)?;
    for listed in backup::list(&dir)? {
        let about = match &listed.manifest {
            Ok(manifest) => holds(&manifest.view(&listed.path)),
            Err(error) => format!("unusable: {error}"),
        };
        say(&format!("{}  {about}", listed.path.display()))?;
    }
    Ok(())
}

/// Restores a backup and says what that means.
pub(crate) fn restore(settings: &Settings, from: &Path) -> anyhow::Result<()> {
    let data_dir = &settings.data_dir;
    let manifest = backup::restore(from, data_dir, now())?;
    say(&format!("restored {} into {}", holds(&manifest.view(from)), data_dir.display()))?;
    remark(&format!("What happened since {} is gone:", date(manifest.taken_at)));
    remark("  runs submitted since: submit them again; results that workers still hold for them are refused");
    remark("  what was revoked since, tokens and jobs, is in force again: revoke it again");
    remark(match manifest.root {
        Some(_) => {
            "The signing key is a new one, in case the old one was revoked since; units that were being \
             executed are given out again. Workers need no new join link."
        }
        None => {
            "The backup holds no keys: put the directory `keys` back before the first start, or the coordinator \
             makes new ones and volunteers need new join links."
        }
    });
    if settings.vault_key().exists() {
        remark(
            "The vault's keys are newer than this data: before the first start, run `manyhands-coordinator vault accept-older-data`.",
        );
    }
    remark("Never let the old coordinator run beside this one: both would answer for the same workers.");
    Ok(())
}

/// Goes on with data that was put back from a copy.
pub(crate) fn accept_older_data(settings: &Settings) -> anyhow::Result<()> {
    let (store, blobs) = match Data::of(settings)? {
        Data::Stopped { store, blobs } => (store, blobs),
        Data::Running(_) => {
            return Err(Fault::new(
                Exit::Unavailable,
                "the coordinator runs, so it has accepted its data; stop it first",
            )
            .into());
        }
    };
    let records = Records::new(Arc::new(store), blobs, Metrics::new());
    Vault::new(settings.vault_key(), records).accept_older_data(now())?;
    say("the data is accepted as it is")?;
    remark(
        "Calls of its runs that may have been made since, and must not be made twice, will be listed under /v1/calls/unknown.",
    );
    Ok(())
}

/// Checks everything and lists what is wrong.
pub(crate) fn check(settings: &Settings, runtime: &Runtime) -> anyhow::Result<()> {
    let found: CheckView = match Data::of(settings)? {
        Data::Running(client) => runtime.block_on(client.post("/v1/check", None::<&()>))?,
        Data::Stopped { store, blobs } => {
            upkeep::check(&store, &blobs, &settings.data_dir.join("keys"), runtime.handle())?
        }
    };
    for problem in &found.problems {
        say(&format!("{}: {}; {}", problem.place, problem.what, problem.cure))?;
    }
    let CheckView { revision, records, blobs, orphans, orphan_bytes, problems } = found;
    say(&format!("revision {revision}: {records} records and {blobs} blobs are right"))?;
    if orphans > 0 {
        say(&format!(
            "{orphans} blobs ({}) are named by no record; `compact` removes what is a day old",
            size(orphan_bytes)
        ))?;
    }
    match problems.len() {
        0 => say("no damage"),
        damage => Err(Fault::new(Exit::Damage, format!("{damage} places are damaged")).into()),
    }
}

/// Makes the data smaller and says by how much.
pub(crate) fn compact(settings: &Settings, runtime: &Runtime) -> anyhow::Result<()> {
    let done: CompactView = match Data::of(settings)? {
        Data::Running(client) => runtime.block_on(client.post("/v1/compact", None::<&()>))?,
        Data::Stopped { store, blobs } => upkeep::compact(&store, &blobs, Arriving::Nothing, runtime.handle())?,
    };
    let CompactView { state_bytes_before, state_bytes_after, blobs_removed, blob_bytes_removed, orphans_kept } = done;
    say(&format!("state: {} before, {} now", size(state_bytes_before), size(state_bytes_after)))?;
    say(&format!("blobs: {blobs_removed} removed that no record named ({})", size(blob_bytes_removed)))?;
    if orphans_kept > 0 {
        say(&format!("{orphans_kept} more are named by no record and are kept: they may belong to what is arriving"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 999, 1000, 1_234_567, u64::MAX].map(size);
        assert_eq!(sizes, ["0 bytes", "999 bytes", "1.0 KB", "1.2 MB", "18446744.1 TB"]);
    }
}
