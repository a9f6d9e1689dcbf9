//! Liveness (L1): a receiver that is owed something and whose connection has fallen silent.
//!
//! One fault, counted once per connection: the messages that it took along are not also
//! counted as lost. What was lost while deliveries went on is `judge`'s business.

use std::time::Duration;

use rustc_hash::FxHashMap;

use super::connection::Link;
use super::incident::Subject;
use super::kinds::Violation;
use super::outcome::Suspect;
use super::shard::Shard;
use crate::base::{Slot, Time};

/// What is owed must span this much time by the samples of facts, which are a second
/// apart: the last message or two of a run that never came are losses, no stall.
const STALL_SPAN: Duration = Duration::from_secs(2);
/// Streams named in an incident.
const STREAMS_NAMED: usize = 8;

/// A connection that fell silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stall {
    slot: u32,
    /// When the first and the last message that it waits for had been acked, at the latest.
    first: Time,
    last: Time,
}

impl Shard {
    /// Marks the losses that a silent connection explains: it is attached, nothing of what
    /// it misses was overtaken, and no data frame came since the first of it was acked.
    pub(super) fn find_stalls(&self, suspects: &mut [Suspect]) -> Vec<Stall> {
        let mut owed: FxHashMap<u32, Stall> = FxHashMap::default();
        for suspect in suspects
            .iter()
            .filter(|suspect| self.may_be_stalled(suspect))
        {
            let group = &self.groups[suspect.stream.group.index()];
            let Some(stream) = group.find_stream(suspect.stream.publisher) else {
                continue;
            };
            let stream = &group.streams[stream as usize];
            let at = |seq| group.settled_at(stream, &self.told, seq);
            let (Some(first), Some(last)) = (at(suspect.first), at(suspect.last)) else {
                continue;
            };
            let stall = owed.entry(suspect.slot).or_insert(Stall {
                slot: suspect.slot,
                first,
                last,
            });
            stall.first = stall.first.min(first);
            stall.last = stall.last.max(last);
        }
        owed.retain(|slot, stall| {
            let conn = self
                .local(Slot(*slot))
                .and_then(|at| self.receivers[at].conn.as_ref());
            conn.is_some_and(|conn| conn.data_at <= stall.first)
                && stall.last.since(stall.first) >= STALL_SPAN
        });
        for suspect in suspects.iter_mut() {
            suspect.stalled = owed.contains_key(&suspect.slot) && self.may_be_stalled(suspect);
        }
        let mut stalls: Vec<_> = owed.into_values().collect();
        stalls.sort_unstable_by_key(|stall| stall.slot);
        stalls
    }

    /// A plain loss at the end of its pair, on a connection that is up.
    fn may_be_stalled(&self, suspect: &Suspect) -> bool {
        let conn = self
            .local(Slot(suspect.slot))
            .and_then(|at| self.receivers[at].conn.as_ref());
        suspect.kind == Some(Violation::Lost)
            && suspect.recovery.is_none()
            && suspect.overtaken.is_none()
            && conn.is_some_and(|conn| conn.link == Link::Up && conn.epoch == suspect.epoch)
    }

    /// The incident of a stall: who waits for what, of whom, since when.
    pub(super) fn stall_incident(&mut self, stall: &Stall, suspects: &[Suspect], now: Time) {
        let mine = |suspect: &&Suspect| suspect.stalled && suspect.slot == stall.slot;
        let Some(conn) = self
            .local(Slot(stall.slot))
            .and_then(|at| self.receivers[at].conn.as_ref())
        else {
            return;
        };
        let owed: u64 = suspects.iter().filter(mine).map(Suspect::len).sum();
        let text = format!(
            "slot {} waits for {owed} messages on connection {}: no data since {}, the first of them was acked by {}, the last by {}; not seen within the drain of {:?}",
            stall.slot, conn.id, conn.data_at, stall.first, stall.last, self.plan.drain
        );
        let mut evidence = vec![format!(
            "the connection is up: last frame of any kind {}, last data frame {}",
            conn.heard, conn.data_at
        )];
        let mut first = None;
        for (nth, suspect) in suspects.iter().filter(mine).enumerate() {
            first = first.or(Some((suspect.stream, suspect.first)));
            if nth < STREAMS_NAMED {
                evidence.push(format!(
                    "waits for {}{}",
                    self.message_name(suspect.stream, suspect.first),
                    match suspect.len() {
                        1 => String::new(),
                        n => format!(" and the {} after it", n - 1),
                    }
                ));
            }
        }
        let streams = suspects.iter().filter(mine).count();
        if streams > STREAMS_NAMED {
            evidence.push(format!("and {} streams more", streams - STREAMS_NAMED));
        }
        let mut told = false;
        if let Some((stream, seq)) = first {
            let story = self.pins.story(stall.slot, stream, seq, u32::MAX);
            told = !story.is_empty();
            evidence.extend_from_slice(story);
            evidence.push(format!("and at the end, {now}:"));
        }
        let subject = Subject {
            receiver: Some(stall.slot),
            stream: first.map(|(stream, _)| stream),
            seq: first.map(|(_, seq)| seq),
            told,
            ..Subject::default()
        };
        self.incident(Violation::Stalled, subject, now, text, evidence);
    }
}
