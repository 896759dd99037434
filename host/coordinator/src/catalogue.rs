//! The published jobs, in memory: few, and needed with every lease.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use manyhands_model::{Digest, JobName, Version};

use crate::records::{JobRecord, RecordError, Records};

/// All published jobs.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Releases of each job, oldest first.
    jobs: RwLock<BTreeMap<JobName, Vec<Arc<JobRecord>>>>,
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

    /// One version of a job; the newest if none is named.
    pub fn find(&self, name: &JobName, version: Option<&Version>) -> Option<Arc<JobRecord>> {
        let fits = |job: &Arc<JobRecord>| version.is_none_or(|version| job.manifest.version == *version);
        self.releases(name).into_iter().rev().find(fits)
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
