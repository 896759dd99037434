//! The published jobs, in memory: few, and needed with every lease.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use manyhands_model::{Digest, JobName, Version};

use crate::records::{JobRecord, RecordError, Records};
use crate::revocations;

/// All published jobs.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Releases of each job, oldest first.
    jobs: RwLock<BTreeMap<JobName, Vec<Arc<JobRecord>>>>,
    /// Sealed modules that must not be executed any more.
    revoked: RwLock<BTreeSet<Digest>>,
}

impl Catalogue {
    /// Reads all jobs.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn load(records: &Records) -> Result<Self, RecordError> {
        let catalogue = Self::default();
        for record in records.jobs()? {
            catalogue.add(record);
        }
        *catalogue.revoked.write().unwrap_or_else(PoisonError::into_inner) = revocations::load(&**records.store())?;
        Ok(catalogue)
    }

    /// Adds a release, the newest of its job.
    pub fn add(&self, job: JobRecord) -> Arc<JobRecord> {
        let job = Arc::new(job);
        let mut jobs = self.jobs.write().unwrap_or_else(PoisonError::into_inner);
        jobs.entry(job.manifest.name.clone()).or_default().push(Arc::clone(&job));
        job
    }

    /// All releases of a job, oldest first.
    pub fn releases(&self, name: &JobName) -> Vec<Arc<JobRecord>> {
        self.jobs.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    /// One version of a job; if none is named, the newest that is not revoked.
    pub fn find(&self, name: &JobName, version: Option<&Version>) -> Option<Arc<JobRecord>> {
        let fits = |job: &Arc<JobRecord>| match version {
            Some(version) => job.manifest.version == *version,
            None => !self.is_revoked(&job.module),
        };
        self.releases(name).into_iter().rev().find(fits)
    }

    /// Remembers that a sealed module must not be executed any more.
    pub fn revoke(&self, module: Digest) {
        self.revoked.write().unwrap_or_else(PoisonError::into_inner).insert(module);
    }

    /// Whether a sealed module must not be executed any more.
    pub fn is_revoked(&self, module: &Digest) -> bool {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).contains(module)
    }

    /// All revoked modules, in the order of their digests.
    pub fn revoked(&self) -> Vec<Digest> {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// The newest release of every job.
    pub fn newest(&self) -> Vec<Arc<JobRecord>> {
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner);
        jobs.values().filter_map(|releases| releases.last().cloned()).collect()
    }

    /// A release of this sealed module.
    pub fn module(&self, module: Digest) -> Option<Arc<JobRecord>> {
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner);
        jobs.values().flatten().find(|job| job.module == module).cloned()
    }

    /// The highest serial given out so far.
    pub fn last_serial(&self) -> u64 {
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner);
        jobs.values().flatten().map(|job| job.serial).max().unwrap_or(0)
    }
}
