//! How long a job's replicas usually take.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use manyhands_model::Digest;

/// Replicas that are remembered of a job; few, so that a job whose inputs grow is soon known anew.
const RECENT: usize = 31;
/// Jobs that are remembered: people wait for few at a time.
const JOBS: usize = 256;

/// What is usual, by the job's module.
#[derive(Debug, Default)]
pub(crate) struct Usual(BTreeMap<Digest, VecDeque<Duration>>);

impl Usual {
    /// Notes that a replica took so long.
    pub(crate) fn note(&mut self, module: Digest, took: Duration) {
        if self.0.len() >= JOBS && !self.0.contains_key(&module) {
            self.0.pop_first();
        }
        let recent = self.0.entry(module).or_default();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(took);
    }

    /// The median of the latest replicas; none while nothing is known of the job.
    pub(crate) fn of(&self, module: &Digest) -> Option<Duration> {
        let recent = self.0.get(module)?;
        let mut sorted = [Duration::ZERO; RECENT];
        let sorted = sorted.get_mut(..recent.len())?;
        sorted.iter_mut().zip(recent).for_each(|(to, from)| *to = *from);
        let middle = sorted.len() / 2;
        Some(*sorted.select_nth_unstable(middle).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_slow_is_not_what_is_usual_and_old_ones_are_forgotten() {
        let (mut usual, job) = (Usual::default(), Digest::of(b"job"));
        assert_eq!(usual.of(&job), None);
        let mut note = |ms| {
            usual.note(job, Duration::from_millis(ms));
            usual.of(&job).map(|median| median.as_millis())
        };
        assert_eq!([900, 10, 12].map(&mut note), [Some(900), Some(900), Some(12)]);
        let later: Vec<_> = (0..RECENT).map(|_| note(500)).collect();
        assert_eq!(later.last(), Some(&Some(500)));
    }

    #[test]
    fn no_more_jobs_are_remembered_than_people_wait_for() {
        let mut usual = Usual::default();
        for job in 0..2 * JOBS {
            usual.note(Digest::of(&job.to_le_bytes()), Duration::ZERO);
        }
        assert_eq!(usual.0.len(), JOBS);
    }
}
