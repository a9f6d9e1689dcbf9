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
use super::told::{Told, heard_from_all};
use crate::base::{Slot, Time};

/// A membership must be visible on every node this long after its ack; until then a loss
/// before the first delivery is a loss at join (D2), later it is a plain loss (D1).
pub(super) const MEMBERSHIP_GRACE: Duration = Duration::from_secs(10);
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
    /// From which sample of its source on `settled` was what; see [`Told`].
    history: VecDeque<(u32, u32)>,
}

#[derive(Debug, Default)]
struct SourceView {
    /// Streams of this source, in the order in which it first named them.
    streams: Vec<u32>,
    checkpoints: Vec<Checkpoint>,
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

    /// All up to `settled` have their outcome. Before the next sample of the source only the
    /// last word counts; an entry that no sample kept can ask for goes.
    fn settle(&mut self, settled: u32, told: &Told) {
        if settled <= self.settled {
            return;
        }
        self.settled = settled;
        match self.history.back_mut() {
            Some((from, last)) if *from == told.next_sample() => *last = settled,
            _ => self.history.push_back((told.next_sample(), settled)),
        }
        while self
            .history
            .get(1)
            .is_some_and(|(from, _)| *from <= told.oldest_sample())
        {
            self.history.pop_front();
        }
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
    pub(super) fn need_after(&mut self, time: Time, told: &[Told]) {
        self.afters.insert(time);
        // Facts of that time may have been applied already: then the present state serves.
        for (source, told) in told.iter().enumerate() {
            if let Some(at) = told.last_at().filter(|at| *at >= time)
                && matches!(self.after(source, time), Snapshot::None)
            {
                self.keep(source, at);
            }
        }
    }

    /// Asks for the last checkpoint at or before `time`.
    pub(super) fn need_before(&mut self, time: Time) {
        self.befores.insert(time);
    }

    /// Whether a checkpoint is asked for that no source has passed yet: then every word of
    /// every source matters.
    pub(super) fn asks(&self, told: &[Told]) -> bool {
        let newest = self.afters.last().max(self.befores.last());
        let heard = heard_from_all(told).unwrap_or(Time::ZERO);
        newest.is_some_and(|newest| *newest >= heard)
    }

    /// Applies what `source` told at `at`; `told` is what it had told before.
    pub(super) fn apply<'f>(
        &mut self,
        source: usize,
        told: &Told,
        at: Time,
        facts: impl Iterator<Item = &'f StreamFacts>,
    ) {
        let before = told.last_at();
        if let Some(before) = before
            && self.befores.range(before..at).next().is_some()
        {
            self.keep(source, before);
        }
        for facts in facts {
            self.apply_stream(source, told, facts);
        }
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
            self.keep(source, at);
        }
    }

    fn view_of(&mut self, source: usize) -> &mut SourceView {
        if self.sources.len() <= source {
            self.sources.resize_with(source + 1, SourceView::default);
        }
        &mut self.sources[source]
    }

    fn apply_stream(&mut self, source: usize, told: &Told, facts: &StreamFacts) {
        let index = self.stream_of(facts.stream.publisher);
        if self.streams[index as usize].source == NO_SOURCE {
            let named = &mut self.view_of(source).streams;
            let local = named.len() as u32;
            named.push(index);
            let stream = &mut self.streams[index as usize];
            // Sources are shards of this process or workers: far fewer than 2^16.
            (stream.source, stream.local) = (source as u16, local);
        }
        let stream = &mut self.streams[index as usize];
        self.sent += u64::from(facts.invoked.saturating_sub(stream.invoked));
        stream.invoked = stream.invoked.max(facts.invoked);
        stream.settle(facts.settled, told);
        stream.exceptions.extend_from_slice(&facts.exceptions);
        stream.epochs.extend_from_slice(&facts.epochs);
    }

    /// The `settled` of `age` ago, or of a little before.
    pub(super) fn settled_before(
        &self,
        stream: &Stream,
        told: &[Told],
        now: Time,
        age: Duration,
    ) -> u32 {
        let Some(told) = self.source_of(stream).and_then(|source| told.get(source)) else {
            return 0;
        };
        let Some(sample) = told.sample_before(now.saturating_sub(age)) else {
            return 0;
        };
        let known = stream.history.partition_point(|(from, _)| *from <= sample);
        let value = known.checked_sub(1).and_then(|at| stream.history.get(at));
        value.map_or(0, |(_, settled)| *settled)
    }

    /// The first sample at which `seq` was settled; the last word of the source when it was
    /// settled after the last sample. A sample may come a second late, and what is older
    /// than the samples kept gets the oldest of them.
    pub(super) fn settled_at(&self, stream: &Stream, told: &[Told], seq: u32) -> Option<Time> {
        let told = told.get(self.source_of(stream)?)?;
        let at = stream
            .history
            .partition_point(|(_, settled)| *settled < seq);
        let sample = stream.history.get(at).map(|(from, _)| *from);
        sample
            .and_then(|from| told.sampled_at(from))
            .or(told.last_at())
    }

    /// Keeps the present state of `source`, which is that of `at`, as a checkpoint.
    fn keep(&mut self, source: usize, at: Time) {
        let view = self.view_of(source);
        if view.checkpoints.last().is_some_and(|last| last.at == at) {
            return;
        }
        let view = &self.sources[source];
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
    pub(super) fn forget_before(&mut self, oldest: Time, told: &[Told]) {
        // Nobody has spoken: a source's first word makes a checkpoint unasked.
        let answered = heard_from_all(told).unwrap_or(Time::MAX);
        self.afters = self.afters.split_off(&answered);
        self.befores = self.befores.split_off(&answered);
        for source in &mut self.sources {
            let older = source.checkpoints.partition_point(|c| c.at <= oldest);
            source.checkpoints.drain(..older.saturating_sub(1));
        }
    }

    /// The checkpoints of a source; none where it has told nothing that this group kept.
    fn checkpoints(&self, source: usize) -> &[Checkpoint] {
        let view = self.sources.get(source);
        view.map_or(&[], |view| &view.checkpoints)
    }

    /// The first checkpoint of `source` at or after `time`.
    pub(super) fn after(&self, source: usize, time: Time) -> Snapshot<'_> {
        let checkpoints = self.checkpoints(source);
        match checkpoints.get(checkpoints.partition_point(|c| c.at < time)) {
            Some(checkpoint) => Snapshot::At(checkpoint),
            None => Snapshot::None,
        }
    }

    /// The last checkpoint of `source` at or before `time`.
    pub(super) fn before(&self, source: usize, told: &[Told], time: Time) -> Snapshot<'_> {
        let last_at = told.get(source).and_then(Told::last_at);
        if last_at.is_some_and(|at| at <= time) {
            return Snapshot::Current;
        }
        let checkpoints = self.checkpoints(source);
        let after = checkpoints.partition_point(|c| c.at <= time);
        match after.checked_sub(1) {
            Some(at) => Snapshot::At(&checkpoints[at]),
            None => Snapshot::None,
        }
    }

    /// The newest checkpoint of `source`, with its time.
    pub(super) fn newest(&self, source: usize) -> Option<(Time, Snapshot<'_>)> {
        let newest = self.checkpoints(source).last()?;
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
                    + stream.history.len() * 8
                    + stream.unreached.len() * 8
            })
            .sum();
        let asked = (self.afters.len() + self.befores.len()) * 16;
        (checkpoints + streams + self.members.len() * 4 + asked) as u64
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::told::{SAMPLE_STEP, SAMPLES_KEPT};
    use super::*;
    use crate::base::GroupId;
    use crate::payload::StreamId;

    fn facts(publisher: u32, settled: u32) -> StreamFacts {
        let stream = StreamId {
            publisher: Slot(publisher),
            group: GroupId(0),
        };
        StreamFacts {
            stream,
            invoked: settled,
            settled,
            exceptions: Vec::new(),
            epochs: Vec::new(),
        }
    }

    proptest! {
        /// Against a table of every sample of every stream: how far a stream was some time
        /// ago, and when a message of it was settled.
        #[test]
        fn what_is_noted_at_changes_tells_what_every_sample_would(
            words in prop::collection::vec((1u64..900, 0u32..3, 0u32..4), 1..400),
            asked in prop::collection::vec((0u64..80_000, 1u32..500), 20),
        ) {
            let mut group = Group::default();
            let mut told = [Told::default()];
            let mut settled = [0, 0];
            // The time of each sample, and where both streams stood.
            let mut samples: Vec<(Time, [u32; 2])> = Vec::new();
            let mut at = Time::ZERO;
            for (pause_ms, publisher, more) in words {
                at += Duration::from_millis(pause_ms);
                // A third publisher: nothing is told of either.
                if let Some(settled) = settled.get_mut(publisher as usize) {
                    *settled += more;
                    let facts = facts(publisher, *settled);
                    group.apply(0, &told[0], at, std::iter::once(&facts));
                }
                told[0].applied(at);
                if samples.last().is_none_or(|(last, _)| *last + SAMPLE_STEP <= at) {
                    samples.push((at, settled));
                }
            }
            let kept = &samples[samples.len().saturating_sub(SAMPLES_KEPT)..];
            for publisher in 0..2 {
                let Some(stream) = group.find_stream(Slot(publisher)) else {
                    continue;
                };
                let stream = &group.streams[stream as usize];
                let own = |(_, settled): &(Time, [u32; 2])| settled[publisher as usize];
                for (age_ms, seq) in &asked {
                    let before = at.saturating_sub(Duration::from_millis(*age_ms));
                    let newest = kept.iter().rfind(|(time, _)| *time <= before);
                    let age = Duration::from_millis(*age_ms);
                    prop_assert_eq!(
                        group.settled_before(stream, &told, at, age),
                        newest.map_or(0, own)
                    );
                    if *seq <= stream.settled {
                        let first = kept.iter().find(|sample| own(sample) >= *seq);
                        prop_assert_eq!(
                            group.settled_at(stream, &told, *seq),
                            Some(first.map_or(at, |(time, _)| *time))
                        );
                    }
                }
                prop_assert!(stream.history.len() <= SAMPLES_KEPT + 1);
            }
        }
    }

    #[test]
    fn a_group_asks_until_every_source_has_told_of_a_later_time() {
        let at = Time::from_millis;
        let mut group = Group::default();
        let mut told = [Told::default(), Told::default()];
        assert!(!group.asks(&told));
        group.need_before(at(500));
        assert!(group.asks(&told), "nobody has spoken");
        told[0].applied(at(501));
        told[1].applied(at(500));
        assert!(group.asks(&told), "the last word of one is not past it");
        told[1].applied(at(501));
        assert!(!group.asks(&told));
        group.need_after(at(900), &told);
        assert!(group.asks(&told));
    }
}
