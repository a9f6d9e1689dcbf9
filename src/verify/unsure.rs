//! How far publishes came of which nobody knows whether they were executed: to all, some or
//! none of those that a successful one would have been owed to. Source: verification 5, M3.
//!
//! A receiver is asked about such a message once, when its pair is judged for good. What is
//! kept is two bits for each message, in ranges, because only all shards together can tell.

use rustc_hash::FxHashMap;

use super::facts::Fate;
use super::group::{Group, Stream};
use super::outcome::Measured;
use crate::payload::StreamId;

/// Ranges kept by one shard; messages of more are only counted.
const RANGES_MAX: usize = 65_536;

/// Somebody who would have been owed the message has it; has it not.
pub(super) const GOT: u8 = 1;
pub(super) const MISSED: u8 = 2;
/// Nobody asked for an answer.
const UNACKED: u8 = 4;

/// Messages `first ..= last` of a stream, and what is known of each of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) bits: u8,
}

/// What one shard's receivers know of all streams.
#[derive(Debug, Default)]
pub(super) struct Unsure {
    streams: FxHashMap<StreamId, Vec<Range>>,
    ranges: usize,
    /// Messages for which there was no room.
    untold: u64,
}

impl Unsure {
    /// Adds what has been judged of a stream. Ranges come in order.
    pub(super) fn add(&mut self, stream: StreamId, ranges: &[Range]) {
        // What nobody was to have is nothing to tell of.
        for range in ranges
            .iter()
            .filter(|range| range.bits & (GOT | MISSED) != 0)
        {
            let known = self.streams.entry(stream).or_default();
            match known.last_mut() {
                Some(last) if last.last + 1 == range.first && last.bits == range.bits => {
                    last.last = range.last;
                }
                _ if self.ranges >= RANGES_MAX => self.untold += range.len(),
                _ => {
                    known.push(*range);
                    self.ranges += 1;
                }
            }
        }
    }

    /// Counts messages of which it is not told how far they came.
    pub(super) fn leave_out(&mut self, ranges: &[Range]) {
        self.untold += ranges.iter().map(Range::len).sum::<u64>();
    }

    pub(super) fn bytes(&self) -> u64 {
        (self.ranges * size_of::<Range>() + self.streams.len() * 48) as u64
    }
}

impl Range {
    fn len(&self) -> u64 {
        u64::from(self.last - self.first) + 1
    }
}

/// By stream, the messages without a known outcome of those up to `targets` that are not
/// judged yet: nobody is known to have or to miss them.
pub(super) fn candidates(group: &Group, targets: &[u32]) -> Vec<Vec<Range>> {
    let streams = group.streams.iter().zip(targets);
    streams.map(|(stream, to)| of_stream(stream, *to)).collect()
}

fn of_stream(stream: &Stream, to: u32) -> Vec<Range> {
    let from = stream.horizon + 1;
    let settled = stream.exceptions_in(from, to).iter().filter_map(|e| {
        Some(Range {
            first: e.first.max(from),
            last: e.last.min(to),
            bits: match e.fate {
                Fate::Unknown => 0,
                Fate::FireAndForget => UNACKED,
                Fate::Ok | Fate::Failed | Fate::Forbidden => return None,
            },
        })
    });
    let mut ranges: Vec<Range> = settled.collect();
    // Without an outcome at the end.
    let first = from.max(stream.settled + 1);
    if first <= to {
        ranges.push(Range {
            first,
            last: to,
            bits: 0,
        });
    }
    ranges
}

/// Sets a bit of `first ..= last`, which lie in one of the ranges.
pub(super) fn mark(ranges: &mut Vec<Range>, first: u32, last: u32, bit: u8) {
    let mut at = ranges.partition_point(|range| range.last < first);
    while let Some(range) = ranges.get(at).copied().filter(|r| r.first <= last) {
        if range.bits & bit == 0 {
            let (from, to) = (range.first.max(first), range.last.min(last));
            let part = |first, last, bits| Range { first, last, bits };
            let parts = [
                (range.first < from).then(|| part(range.first, from.wrapping_sub(1), range.bits)),
                Some(part(from, to, range.bits | bit)),
                (to < range.last).then(|| part(to.wrapping_add(1), range.last, range.bits)),
            ];
            let before = ranges.len();
            ranges.splice(at..=at, parts.into_iter().flatten());
            at += ranges.len() - before;
        }
        at += 1;
    }
}

/// Adds up what all shards know.
pub(super) fn told<'s>(shards: impl Iterator<Item = &'s Unsure>, into: &mut Measured) {
    let mut streams: FxHashMap<StreamId, Vec<Range>> = FxHashMap::default();
    for shard in shards {
        into.unknown_untold += shard.untold;
        for (stream, ranges) in &shard.streams {
            streams.entry(*stream).or_default().extend(ranges);
        }
    }
    for ranges in streams.values() {
        for Range { first, last, bits } in together(ranges) {
            let n = u64::from(last - first) + 1;
            let (unknown, unacked) = match bits & (GOT | MISSED) {
                GOT => (&mut into.unknown_to_all, &mut into.unacked_to_all),
                MISSED => (&mut into.unknown_to_none, &mut into.unacked_to_none),
                _ => (&mut into.unknown_to_some, &mut into.unacked_to_some),
            };
            match bits & UNACKED {
                0 => *unknown += n,
                _ => *unacked += n,
            }
        }
    }
}

/// The union of ranges of several shards, each with the bits of all that cover it.
fn together(ranges: &[Range]) -> Vec<Range> {
    const BITS: [u8; 3] = [GOT, MISSED, UNACKED];
    let mut edges: Vec<(u32, i32, u8)> = ranges
        .iter()
        .flat_map(|r| [(r.first, 1, r.bits), (r.last + 1, -1, r.bits)])
        .collect();
    edges.sort_unstable();
    let (mut open, mut counts, mut since) = (0, [0; BITS.len()], 0);
    let mut out = Vec::new();
    for (at, step, bits) in edges {
        if open > 0 && at > since {
            let set = BITS.iter().zip(counts).filter(|(_, n)| *n > 0);
            out.push(Range {
                first: since,
                last: at - 1,
                bits: set.fold(0, |all, (bit, _)| all | bit),
            });
        }
        open += step;
        for (count, bit) in counts.iter_mut().zip(BITS) {
            *count += step * i32::from(bits & bit != 0);
        }
        since = at;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u32, last: u32, bits: u8) -> Range {
        Range { first, last, bits }
    }

    #[test]
    fn a_mark_splits_what_it_covers_in_part_and_nothing_else() {
        let mut ranges = vec![range(3, 9, 0), range(20, 20, UNACKED)];
        mark(&mut ranges, 5, 6, GOT);
        mark(&mut ranges, 6, 9, MISSED);
        mark(&mut ranges, 1, 2, GOT);
        mark(&mut ranges, 20, 20, GOT);
        assert_eq!(
            ranges,
            [
                range(3, 4, 0),
                range(5, 5, GOT),
                range(6, 6, GOT | MISSED),
                range(7, 9, MISSED),
                range(20, 20, GOT | UNACKED),
            ]
        );
    }

    #[test]
    fn what_one_thread_got_and_another_missed_came_to_some() {
        let stream = StreamId {
            publisher: crate::base::Slot(1),
            group: crate::base::GroupId(0),
        };
        let shard = |ranges: &[Range]| {
            let mut shard = Unsure::default();
            shard.add(stream, ranges);
            shard
        };
        let shards = [
            shard(&[range(1, 4, GOT), range(5, 6, 0), range(9, 9, GOT | UNACKED)]),
            shard(&[range(3, 4, MISSED), range(5, 5, MISSED), range(6, 6, 0)]),
        ];
        let mut measured = Measured::default();
        told(shards.iter(), &mut measured);
        let Measured {
            unknown_to_all: all,
            unknown_to_some: some,
            unknown_to_none: none,
            unacked_to_all: unacked,
            ..
        } = measured;
        assert_eq!((all, some, none, unacked), (2, 2, 1, 1));
    }

    #[test]
    fn more_ranges_than_there_is_room_for_are_counted_and_not_kept() {
        let stream = StreamId {
            publisher: crate::base::Slot(1),
            group: crate::base::GroupId(0),
        };
        let mut shard = Unsure::default();
        let apart = (0..RANGES_MAX as u32 + 5).map(|n| range(2 * n + 1, 2 * n + 1, GOT));
        shard.add(stream, &apart.collect::<Vec<_>>());
        assert_eq!((shard.ranges, shard.untold), (RANGES_MAX, 5));
        let mut measured = Measured::default();
        told([shard].iter(), &mut measured);
        assert_eq!(measured.unknown_to_all, RANGES_MAX as u64);
        assert_eq!(measured.unknown_untold, 5);
    }
}
