//! The published jobs, in memory: few, and needed with every lease.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use manyhands_api::JobView;
use manyhands_model::{Digest, JobName, Manifest, Version};

use crate::records::{JobRecord, RecordError, Records};

/// A published job.
#[derive(Debug)]
pub struct Job {
    /// What it declares.
    pub manifest: Manifest,
    /// What is kept of it.
    pub record: JobRecord,
}

impl Job {
    /// As the HTTP API shows it.
    pub fn view(&self) -> JobView {
        let Self { manifest, record } = self;
        JobView {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            serial: record.serial,
            description: manifest.description.clone(),
            codec: manifest.codec,
            reduces: record.reduces,
            limits: manifest.limits,
            source: record.source,
            module: record.module,
            module_bytes: record.module_bytes,
            publisher: record.publisher().fingerprint(),
            published_at: record.published_at,
        }
    }
}

/// All published jobs.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Releases of each job, oldest first.
    jobs: RwLock<BTreeMap<JobName, Vec<Arc<Job>>>>,
}

impl Catalogue {
    /// Reads all jobs.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn load(records: &Records) -> Result<Self, RecordError> {
        let catalogue = Self::default();
        for record in records.jobs()? {
            catalogue.add(Job { manifest: record.manifest()?, record });
        }
        Ok(catalogue)
    }

    /// Adds a release, the newest of its job.
    pub fn add(&self, job: Job) -> Arc<Job> {
        let job = Arc::new(job);
        let mut jobs = self.jobs.write().unwrap_or_else(PoisonError::into_inner);
        jobs.entry(job.manifest.name.clone()).or_default().push(Arc::clone(&job));
        job
    }

    /// All releases of a job, oldest first.
    pub fn releases(&self, name: &JobName) -> Vec<Arc<Job>> {
        self.jobs.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    /// One version of a job; the newest if none is named.
    pub fn find(&self, name: &JobName, version: Option<&Version>) -> Option<Arc<Job>> {
        let fits = |job: &Arc<Job>| version.is_none_or(|version| job.manifest.version == *version);
        self.releases(name).into_iter().rev().find(fits)
    }

    /// The newest release of every job.
    pub fn newest(&self) -> Vec<Arc<Job>> {
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner);
        jobs.values().filter_map(|releases| releases.last().cloned()).collect()
    }

    /// Whether some release is this sealed module.
    pub fn has_module(&self, module: Digest) -> bool {
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner);
        jobs.values().flatten().any(|job| job.record.module == module)
    }

    /// The highest serial given out so far.
    pub fn last_serial(&self) -> u64 {
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner);
        jobs.values().flatten().map(|job| job.record.serial).max().unwrap_or(0)
    }
}
