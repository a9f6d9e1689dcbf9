//! What one source told, whatever the group: when last, and at which times its streams are
//! sampled. A group of which it told nothing new need not be looked at.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::Time;

/// How often the streams of a source are sampled.
pub(super) const SAMPLE_STEP: Duration = Duration::from_secs(1);
/// How many samples are remembered: a little more than what is folded late.
pub(super) const SAMPLES_KEPT: usize = 66;

/// A source as all groups of a shard see it. Samples are numbered from 0; a stream notes
/// from which one on it stood where.
#[derive(Debug, Default)]
pub(super) struct Told {
    last_at: Option<Time>,
    /// The times of the last samples, oldest first.
    samples: VecDeque<Time>,
    next: u32,
}

impl Told {
    /// Up to when the source has told of its publishers; `None` until it speaks.
    pub(super) fn last_at(&self) -> Option<Time> {
        self.last_at
    }

    /// Whether the source has told anything of its publishers.
    pub(super) fn has_spoken(&self) -> bool {
        self.last_at.is_some()
    }

    /// Everything that the source told at `at` is applied.
    pub(super) fn applied(&mut self, at: Time) {
        self.last_at = Some(at);
        let last = self.samples.back();
        if last.is_some_and(|last| *last + SAMPLE_STEP > at) {
            return;
        }
        self.samples.push_back(at);
        self.next = self.next.saturating_add(1);
        if self.samples.len() > SAMPLES_KEPT {
            self.samples.pop_front();
        }
    }

    /// The number of the sample that is still to come.
    pub(super) fn next_sample(&self) -> u32 {
        self.next
    }

    /// The number of the oldest sample that is kept.
    pub(super) fn oldest_sample(&self) -> u32 {
        // At most `SAMPLES_KEPT` are kept.
        self.next - self.samples.len() as u32
    }

    /// The last sample at or before `time`, of those that are kept.
    pub(super) fn sample_before(&self, time: Time) -> Option<u32> {
        let upto = self.samples.partition_point(|at| *at <= time);
        Some(self.oldest_sample() + upto.checked_sub(1)? as u32)
    }

    /// When the sample of this number was; of one no longer kept, when the oldest was.
    /// `None` of one to come.
    pub(super) fn sampled_at(&self, sample: u32) -> Option<Time> {
        let at = sample.saturating_sub(self.oldest_sample());
        self.samples.get(at as usize).copied()
    }

    pub(super) fn bytes(&self) -> u64 {
        (self.samples.len() * 8) as u64
    }
}

/// Up to when all sources have told; `None` when nobody has spoken.
pub(super) fn heard_from_all(told: &[Told]) -> Option<Time> {
    told.iter().filter_map(Told::last_at).min()
}
