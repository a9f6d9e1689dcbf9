//! A group as the receivers of a shard see it: its streams, what their publishers told of
//! them, and the checkpoints that turn a membership's times into sequence numbers.
//!
//! A checkpoint says where every stream of one source stood at one time. It is kept only
//! when some membership needs it: the *first at or after* a join ack (everything above its
//! `invoked` was surely sent after the ack), the *last at or before* a leave (everything up
//! to its `settled` was surely acked before it). One checkpoint serves all receivers.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::facts::{Exception, StreamFacts};
use crate::base::{Slot, Time};

/// A membership must be visible on every node this long after its ack; until then a loss
/// before the first delivery is a loss at join (D2), later it is a plain loss (D1).
pub(super) const MEMBERSHIP_GRACE: Duration = Duration::from_secs(10);
/// How often the `settled` of a source's streams is remembered with its time.
const SAMPLE_STEP: Duration = Duration::from_secs(1);
/// How many of those are remembered: a little more than what is folded late.
const SAMPLES_KEPT: usize = 66;
/// Ranges remembered per stream that no receiver of this shard got. A lie of an ack that lies
/// further back is counted as losses instead.
pub(super) const UNREACHED_MAX: usize = 64;
/// No source has spoken for the stream yet.
const NO_SOURCE: u16 = u16::MAX;

/// A group as one shard's receivers see it.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) streams: Vec<Stream>,
    by_publisher: FxHashMap<u32, u32>,
    /// Memberships of this shard's receivers.
    pub(super) members: Vec<u32>,
    /// Messages sent to the group, as far as facts told.
    pub(super) sent: u64,
    sources: Vec<SourceView>,
    /// Times whose first checkpoint at or after must be kept.
    afters: BTreeSet<Time>,
    /// Times whose last checkpoint at or before must be kept.
    befores: BTreeSet<Time>,
}

/// A stream as its receivers see it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) publisher: Slot,
    source: u16,
    local: u32,
    pub(super) invoked: u32,
    pub(super) settled: u32,
    /// Above the horizon, in order.
    pub(super) exceptions: Vec<Exception>,
    /// (first seq, epoch), in order.
    pub(super) epochs: Vec<(u32, u16)>,
    /// Everything up to here is judged and folded into counters.
    pub(super) horizon: u32,
    /// Ranges up to the horizon that no receiver of this shard got.
    pub(super) unreached: Vec<(u32, u32)>,
    /// `settled` at the last samples of its source.
    history: VecDeque<u32>,
}

#[derive(Debug, Default)]
struct SourceView {
    last_at: Option<Time>,
    /// Streams of this source, in the order in which it first named them.
    streams: Vec<u32>,
    checkpoints: Vec<Checkpoint>,
    /// When the streams were sampled last, oldest first.
    samples: VecDeque<Time>,
}

/// Where the streams of one source stood at one time: (invoked, settled) each.
#[derive(Debug)]
pub(super) struct Checkpoint {
    at: Time,
    values: Box<[(u32, u32)]>,
}

/// The outcome of a look-up by time, for one source.
#[derive(Clone, Copy, Debug)]
pub(super) enum Snapshot<'a> {
    /// There is none yet.
    None,
    /// Where the streams stand now.
    Current,
    /// Where they stood.
    At(&'a Checkpoint),
}

impl Stream {
    fn new(publisher: Slot) -> Self {
        Stream {
            publisher,
            source: NO_SOURCE,
            local: 0,
            invoked: 0,
            settled: 0,
            exceptions: Vec::new(),
            epochs: Vec::new(),
            horizon: 0,
            unreached: Vec::new(),
            history: VecDeque::new(),
        }
    }

    /// The exceptions that touch `first ..= last`.
    pub(super) fn exceptions_in(&self, first: u32, last: u32) -> &[Exception] {
        let start = self.exceptions.partition_point(|e| e.last < first);
        let len = self.exceptions[start..].partition_point(|e| e.first <= last);
        &self.exceptions[start..start + len]
    }

    /// The publisher's connection at the first transmission of `seq`, and the last seq of
    /// which the same is true.
    pub(super) fn epoch_of(&self, seq: u32) -> (u16, u32) {
        let after = self.epochs.partition_point(|(first, _)| *first <= seq);
        let epoch = after.checked_sub(1).map_or(0, |at| self.epochs[at].1);
        let last = self.epochs.get(after).map_or(u32::MAX, |next| next.0 - 1);
        (epoch, last)
    }

    /// Notes that no receiver judged so far has `first ..= last`.
    pub(super) fn note_unreached(&mut self, first: u32, last: u32) {
        match self.unreached.last_mut() {
            Some(range) if range.1 + 1 == first => range.1 = last,
            _ => self.unreached.push((first, last)),
        }
        if self.unreached.len() > UNREACHED_MAX {
            self.unreached.remove(0);
        }
    }

    /// Forgets what only concerns seqs up to the horizon.
    pub(super) fn forget_below_horizon(&mut self) {
        let done = self.exceptions.partition_point(|e| e.last <= self.horizon);
        self.exceptions.drain(..done);
        let kept = self
            .epochs
            .partition_point(|(first, _)| *first <= self.horizon + 1);
        self.epochs.drain(..kept.saturating_sub(1));
    }
}

impl Group {
    /// The stream of `publisher`, made when it is new.
    pub(super) fn stream_of(&mut self, publisher: Slot) -> u32 {
        *self.by_publisher.entry(publisher.0).or_insert_with(|| {
            self.streams.push(Stream::new(publisher));
            // At most 2^24 slots.
            (self.streams.len() - 1) as u32
        })
    }

    /// The stream of `publisher`, if it has one.
    pub(super) fn find_stream(&self, publisher: Slot) -> Option<u32> {
        self.by_publisher.get(&publisher.0).copied()
    }

    /// Asks for the first checkpoint at or after `time`.
    pub(super) fn need_after(&mut self, time: Time) {
        self.afters.insert(time);
        // Facts of that time may have been applied already: then the present state serves.
        for source in 0..self.sources.len() {
            if self.sources[source].last_at.is_some_and(|at| at >= time)
                && matches!(self.after(source, time), Snapshot::None)
            {
                self.keep(source);
            }
        }
    }

    /// Asks for the last checkpoint at or before `time`.
    pub(super) fn need_before(&mut self, time: Time) {
        self.befores.insert(time);
    }

    /// Applies what `source` told at `at`.
    pub(super) fn apply<'f>(
        &mut self,
        source: usize,
        at: Time,
        facts: impl Iterator<Item = &'f StreamFacts>,
    ) {
        if self.sources.len() <= source {
            self.sources.resize_with(source + 1, SourceView::default);
        }
        let before = self.sources[source].last_at;
        if let Some(before) = before
            && self.befores.range(before..at).next().is_some()
        {
            self.keep(source);
        }
        for facts in facts {
            self.apply_stream(source, facts);
        }
        self.sources[source].last_at = Some(at);
        self.sample(source, at);
        let needed = match before {
            Some(before) => self
                .afters
                .range((
                    std::ops::Bound::Excluded(before),
                    std::ops::Bound::Included(at),
                ))
                .next()
                .is_some(),
            // The source's first word: times before it may have been forgotten.
            None => !self.members.is_empty(),
        };
        if needed {
            self.keep(source);
        }
    }

    fn apply_stream(&mut self, source: usize, facts: &StreamFacts) {
        let index = self.stream_of(facts.stream.publisher);
        let stream = &mut self.streams[index as usize];
        if stream.source == NO_SOURCE {
            // Sources are shards of this process or workers: far fewer than 2^16.
            stream.source = source as u16;
            stream.local = self.sources[source].streams.len() as u32;
            self.sources[source].streams.push(index);
        }
        self.sent += u64::from(facts.invoked.saturating_sub(stream.invoked));
        stream.invoked = stream.invoked.max(facts.invoked);
        stream.settled = stream.settled.max(facts.settled);
        stream.exceptions.extend_from_slice(&facts.exceptions);
        stream.epochs.extend_from_slice(&facts.epochs);
    }

    /// Remembers where the streams of a source stand, once a second.
    fn sample(&mut self, source: usize, at: Time) {
        let view = &mut self.sources[source];
        let due = view
            .samples
            .back()
            .is_none_or(|last| *last + SAMPLE_STEP <= at);
        if view.streams.is_empty() || !due {
            return;
        }
        view.samples.push_back(at);
        if view.samples.len() > SAMPLES_KEPT {
            view.samples.pop_front();
        }
        for index in &view.streams {
            let stream = &mut self.streams[*index as usize];
            stream.history.push_back(stream.settled);
            if stream.history.len() > view.samples.len() {
                stream.history.pop_front();
            }
        }
    }

    /// The `settled` of `age` ago, or of a little before.
    pub(super) fn settled_before(&self, stream: &Stream, now: Time, age: Duration) -> u32 {
        let Some(source) = self.source_of(stream) else {
            return 0;
        };
        let samples = &self.sources[source].samples;
        let before = now.saturating_sub(age);
        let upto = samples.partition_point(|at| *at <= before);
        // A stream that began later has fewer samples than its source.
        upto.checked_sub(samples.len() - stream.history.len() + 1)
            .and_then(|at| stream.history.get(at).copied())
            .unwrap_or(0)
    }

    /// The first sample at which `seq` was settled; the last word of the source when it was
    /// settled after the last sample. A sample may come a second late, and what is older
    /// than the samples kept gets the oldest of them.
    pub(super) fn settled_at(&self, stream: &Stream, seq: u32) -> Option<Time> {
        let view = &self.sources[self.source_of(stream)?];
        let at = stream.history.partition_point(|settled| *settled < seq);
        let began = view.samples.len() - stream.history.len();
        view.samples.get(began + at).copied().or(view.last_at)
    }

    /// Keeps the present state of `source` as a checkpoint of its last facts.
    fn keep(&mut self, source: usize) {
        let view = &self.sources[source];
        let Some(at) = view.last_at else { return };
        if view.checkpoints.last().is_some_and(|last| last.at == at) {
            return;
        }
        let values = view
            .streams
            .iter()
            .map(|index| {
                let stream = &self.streams[*index as usize];
                (stream.invoked, stream.settled)
            })
            .collect();
        self.sources[source]
            .checkpoints
            .push(Checkpoint { at, values });
    }

    /// Forgets requests that all sources have answered, and checkpoints before the one that
    /// a membership of `oldest` needs.
    pub(super) fn forget_before(&mut self, oldest: Time) {
        let answered = self
            .sources
            .iter()
            .filter_map(|source| source.last_at)
            .min()
            // Nobody has spoken: a source's first word makes a checkpoint unasked.
            .unwrap_or(Time::MAX);
        self.afters = self.afters.split_off(&answered);
        self.befores = self.befores.split_off(&answered);
        for source in &mut self.sources {
            let older = source.checkpoints.partition_point(|c| c.at <= oldest);
            source.checkpoints.drain(..older.saturating_sub(1));
        }
    }

    /// Whether a source has told anything of its publishers.
    pub(super) fn has_spoken(&self, source: usize) -> bool {
        self.sources[source].last_at.is_some()
    }

    pub(super) fn source_count(&self) -> usize {
        self.sources.len()
    }

    /// The first checkpoint of `source` at or after `time`.
    pub(super) fn after(&self, source: usize, time: Time) -> Snapshot<'_> {
        let checkpoints = &self.sources[source].checkpoints;
        match checkpoints.get(checkpoints.partition_point(|c| c.at < time)) {
            Some(checkpoint) => Snapshot::At(checkpoint),
            None => Snapshot::None,
        }
    }

    /// The last checkpoint of `source` at or before `time`.
    pub(super) fn before(&self, source: usize, time: Time) -> Snapshot<'_> {
        let view = &self.sources[source];
        if view.last_at.is_some_and(|at| at <= time) {
            return Snapshot::Current;
        }
        let after = view.checkpoints.partition_point(|c| c.at <= time);
        match after.checked_sub(1) {
            Some(at) => Snapshot::At(&view.checkpoints[at]),
            None => Snapshot::None,
        }
    }

    /// The newest checkpoint of `source`, with its time.
    pub(super) fn newest(&self, source: usize) -> Option<(Time, Snapshot<'_>)> {
        let newest = self.sources[source].checkpoints.last()?;
        Some((newest.at, Snapshot::At(newest)))
    }

    /// The source of a stream; `None` until one has spoken for it.
    pub(super) fn source_of(&self, stream: &Stream) -> Option<usize> {
        (stream.source != NO_SOURCE).then_some(usize::from(stream.source))
    }

    pub(super) fn bytes(&self) -> u64 {
        let checkpoints: usize = self
            .sources
            .iter()
            .flat_map(|source| &source.checkpoints)
            .map(|checkpoint| 40 + checkpoint.values.len() * 8)
            .sum();
        let streams: usize = self
            .streams
            .iter()
            .map(|stream| {
                size_of::<Stream>()
                    + stream.exceptions.len() * size_of::<Exception>()
                    + stream.epochs.len() * 8
                    + stream.history.len() * 4
                    + stream.unreached.len() * 8
            })
            .sum();
        let samples: usize = self.sources.iter().map(|s| s.samples.len() * 8).sum();
        let asked = (self.afters.len() + self.befores.len()) * 16;
        (checkpoints + streams + samples + self.members.len() * 4 + asked) as u64
    }
}

impl Snapshot<'_> {
    /// Tells snapshots of one source apart.
    pub(super) fn identity(self) -> u64 {
        match self {
            Snapshot::None => 0,
            Snapshot::Current => 1,
            Snapshot::At(checkpoint) => checkpoint.at.as_micros() + 2,
        }
    }

    /// (invoked, settled) of the stream at that time; `None` when there is no such time yet.
    pub(super) fn of(self, stream: &Stream) -> Option<(u32, u32)> {
        match self {
            Snapshot::None => None,
            Snapshot::Current => Some((stream.invoked, stream.settled)),
            // A stream that the source had not named then had not begun.
            Snapshot::At(checkpoint) => Some(
                checkpoint
                    .values
                    .get(stream.local as usize)
                    .copied()
                    .unwrap_or((0, 0)),
            ),
        }
    }
}
