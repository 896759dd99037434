//! Whom other coordinators have banned, where the operator of this one wants to act upon that; and whom this one has, for others.
//!
//! Nobody is believed unasked: an operator names the key whose lists count, and brings each list. A later list of the same key takes the
//! place of the one before, never an earlier one, and none counts beyond its time. Whom an operator here has pardoned comes in all the same.
//!
//! Of each key is remembered for good how late its lists were, even when none counts any more, and the latest of its trust lists: whoever has a
//! signing key that the issuer has revoked since has no trust list that names it and is as late.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use manyhands_api::{BlocklistList, BlocklistView};
use manyhands_audit::Event;
use manyhands_blocklist::{Charge, Draft, Entry, List, Seal, read};
use manyhands_model::{Timestamp, WorkerId};
use manyhands_scheduler::Fault;
use manyhands_signing::{Fingerprint, Validity};

use crate::app::App;
use crate::auth::{NAME_CHARS_MAX, is_name};
use crate::clock::DAY;
use crate::problem::{Answer, ApiError, Kind};
use crate::records::{BlocklistRecord, FaultRecord, Listed, RecordError, Records, SeenRecord, Writes};

/// Charges against one worker that an export names.
const CHARGES_MAX: usize = 3;
/// Words of one worker among which they are looked for.
const FAULTS_READ: usize = 1_000;
/// How far the issuer's clock may be ahead of this one's.
const SKEW_MAX: Duration = Duration::from_secs(3600);
/// The longest term of a list; whoever got hold of an issuer's key could make one that never ends.
const VALIDITY_MAX: Duration = DAY.saturating_mul(366);

/// Lists that count here.
pub struct Blocklists {
    // Follows the disk: changed only after a commit.
    known: RwLock<BTreeMap<Fingerprint, Subscription>>,
    /// Serialises changes, and exports, whose serials grow.
    changing: tokio::sync::Mutex<()>,
}

struct Subscription {
    record: BlocklistRecord,
    workers: BTreeMap<WorkerId, Listed>,
}

/// Why a worker is kept out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// What the operator calls the list.
    pub name: String,
    /// Whose it is.
    pub root: Fingerprint,
    /// What is known of the worker.
    pub listed: Listed,
}

impl Blocklists {
    /// As they are on the disk. Blocks; for the start.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn load(records: &Records) -> Result<Self, RecordError> {
        let mut known = BTreeMap::new();
        for (root, record) in records.blocklists()? {
            let workers = records.blocked(root, record.packs)?.into_iter().collect();
            known.insert(root, Subscription { record, workers });
        }
        Ok(Self { known: RwLock::new(known), changing: tokio::sync::Mutex::default() })
    }

    /// Which list keeps a worker out, if one does that holds now.
    pub fn of(&self, worker: WorkerId, now: Timestamp) -> Option<Blocked> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter(|(_, it)| it.record.validity.expires_at > now).find_map(|(root, it)| {
            let listed = *it.workers.get(&worker)?;
            Some(Blocked { name: it.record.name.clone(), root: *root, listed })
        })
    }

    /// All of them.
    pub fn list(&self, now: Timestamp) -> BlocklistList {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        BlocklistList { lists: known.iter().map(|(root, it)| view(*root, it, now)).collect() }
    }

    fn set(&self, root: Fingerprint, subscription: Option<Subscription>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match subscription {
            Some(subscription) => drop(known.insert(root, subscription)),
            None => drop(known.remove(&root)),
        }
    }
}

fn view(root: Fingerprint, it: &Subscription, now: Timestamp) -> BlocklistView {
    let BlocklistRecord { name, serial, validity, .. } = &it.record;
    BlocklistView {
        root,
        name: name.clone(),
        serial: *serial,
        issued_at: validity.issued_at,
        expires_at: validity.expires_at,
        holds: validity.expires_at > now,
        workers: it.workers.len() as u64,
        proven: it.workers.values().filter(|listed| listed.is_proven).count() as u64,
    }
}

/// Lets a list count from now on, in the place of the one of the same key before it; whom it names, and is connected, is sent away.
///
/// # Errors
/// [`Kind::Invalid`] for one that is not what that key signed, [`Kind::Conflict`] for one that is too old, or whose key may have been revoked, or what
/// the disk says.
pub async fn subscribe(
    app: &App,
    root: Fingerprint,
    name: Option<String>,
    text: bytes::Bytes,
    by: String,
) -> Answer<BlocklistView> {
    let name = name.unwrap_or_else(|| root.to_string());
    if !is_name(&name) {
        let detail = format!("`name` has to be 1 to {NAME_CHARS_MAX} printable characters without space at its ends");
        return Err(ApiError::new(Kind::Invalid, detail));
    }
    // Thousands of signatures may be on it.
    let list = tokio::task::spawn_blocking(move || read(&text, Some(root)).map(summed_up)).await;
    let list = list.map_err(|error| ApiError::internal(&error))?;
    let (Seal { serial, validity, .. }, trust_version, workers) =
        list.map_err(|broken| ApiError::new(Kind::Invalid, format!("the list is not what was signed: {broken}")))?;
    let _one_at_a_time = app.blocklists.changing.lock().await;
    let now = app.clock.now();
    let stale = |detail: String| Err(ApiError::new(Kind::Conflict, detail));
    let (was, seen) =
        app.blocking(move |records| Ok((records.blocklist(root)?, records.blocklist_seen(root)?))).await?;
    if serial < seen.serial {
        let last = seen.serial;
        return stale(format!("this is list {serial} of that key, and a later one was taken here before: {last}"));
    }
    if trust_version < seen.trust_version {
        return stale(format!(
            "it comes with version {trust_version} of its issuer's trust list, and version {} was seen here before: the key that signed it may have \
             been revoked since; ask its issuer for a list that is exported now",
            seen.trust_version
        ));
    }
    if Timestamp(serial) > now.after(SKEW_MAX) || validity.expires_at.since(validity.issued_at) > VALIDITY_MAX {
        let detail = "no coordinator makes such a list: its serial or its term is too long";
        return Err(ApiError::new(Kind::Invalid, detail));
    }
    if validity.expires_at <= now {
        return stale("the list has expired; ask its issuer for another".to_owned());
    }
    if validity.issued_at > now.after(SKEW_MAX) {
        return stale("the list is of the future; one of the two clocks is wrong".to_owned());
    }
    let record = BlocklistRecord { name, serial, validity, packs: 0 };
    let mut writes = Writes::default();
    let record = writes.blocklist(root, record, was.as_ref(), &workers);
    writes.blocklist_seen(root, &SeenRecord { serial, trust_version });
    let event = Event::BlocklistSubscribed { issuer: root.to_string(), serial, workers: workers.len() as u64, by };
    app.calls.decide(event, move |staged| *staged = writes).await?;
    let ids: Vec<WorkerId> = workers.keys().copied().collect();
    let subscription = Subscription { record, workers };
    let view = view(root, &subscription, now);
    app.blocklists.set(root, Some(subscription));
    tracing::info!(%root, serial, workers = ids.len(), "a block list counts from now on");
    // Those who come again are told why not.
    let connected: BTreeSet<WorkerId> = app.hub.workers().into_keys().collect();
    ids.into_iter().filter(|id| connected.contains(id)).for_each(|id| app.hub.reassign(id));
    Ok(view)
}

/// Who is on a list, and what is worth remembering of why.
fn summed_up(list: List) -> (Seal, u64, BTreeMap<WorkerId, Listed>) {
    let listed = |entry: &Entry| Listed {
        charges: u32::try_from(entry.charges.len()).unwrap_or(u32::MAX),
        is_proven: entry.is_proven(),
    };
    (list.seal, list.trust_version, list.entries.iter().map(|entry| (entry.worker, listed(entry))).collect())
}

/// Lets the list of that key count no more. An earlier one still cannot take its place.
///
/// # Errors
/// [`Kind::NotFound`], or what the disk says.
pub async fn unsubscribe(app: &App, root: Fingerprint, by: String) -> Answer<()> {
    let _one_at_a_time = app.blocklists.changing.lock().await;
    let was = app.blocking(move |records| records.blocklist(root)).await?;
    let Some(was) = was else { return Err(ApiError::not_found("block list of", root)) };
    let event = Event::BlocklistDropped { issuer: root.to_string(), by };
    app.calls.decide(event, |writes| writes.no_blocklist(root, &was)).await?;
    app.blocklists.set(root, None);
    Ok(())
}

/// Signs whom this coordinator has banned, for others. `with_evidence` shows workers' signed reports, in which digests of others' inputs
/// stand.
///
/// # Errors
/// Problems with the disk, or the signing key is being replaced at this moment.
pub async fn export(app: &App, days: u32, with_evidence: bool) -> Answer<Vec<u8>> {
    let _one_at_a_time = app.blocklists.changing.lock().await;
    let now = app.clock.now();
    let (draft, serial) = app
        .blocking(move |records| {
            let mut entries = Vec::new();
            for (worker, record) in records.workers()? {
                if record.banned {
                    let mut faults = records.faults(worker, FAULTS_READ)?;
                    // Of what was pardoned nobody is accused again.
                    faults.retain(|known| known.fault.era == record.era);
                    let faults = faults.into_iter().take(CHARGES_MAX);
                    let charges = faults.map(|fault| charge(records, worker, fault, with_evidence));
                    entries.push(Entry { worker, charges: charges.collect::<Result<_, _>>()? });
                }
            }
            // The last first: where they are too many, it is of those who were banned long ago that nothing is said.
            entries.sort_by_key(|entry: &Entry| Reverse(entry.charges.first().map(|charge| charge.found_at)));
            // A copy of the data that was put back does not make it smaller: time has passed since.
            let serial = records.blocklist_serial()?.max(now.0) + 1;
            let mut writes = Writes::default();
            writes.blocklist_serial(serial);
            records.commit(writes)?;
            let (banned, draft) = (entries.len() as u64, Draft::new(entries));
            if draft.workers() < banned {
                tracing::warn!(banned, workers = draft.workers(), "not all banned workers find room in the block list");
            }
            Ok((draft, serial))
        })
        .await?;
    let seal = draft.seal(serial, Validity { issued_at: now, expires_at: now.after(DAY.saturating_mul(days)) });
    Ok(draft.sealed(&app.authority.attest(&seal)?))
}

fn charge(
    records: &Records,
    worker: WorkerId,
    FaultRecord { at, fault }: FaultRecord,
    with_evidence: bool,
) -> Result<Charge, RecordError> {
    let Fault { unit, step, said, answer, judge, era: _ } = fault;
    // The number that its worker was told, and signed.
    let told = records.run(unit.run)?.map_or(unit.index, |run| run.spec.numbers().told(unit.index));
    let mut charge = Charge { run: unit.run, unit: told, step, found_at: at, said, answer, judge, evidence: None };
    if with_evidence {
        for reports in records.evidence(unit.run, worker)? {
            charge = charge.with(worker, &reports);
            if charge.evidence.is_some() {
                break;
            }
        }
    }
    Ok(charge)
}
