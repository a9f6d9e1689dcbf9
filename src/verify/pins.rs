//! Evidence kept at detection: what an incident will need is copied while it is still
//! recorded, because losses are judged at the end of a run, hours after the fact.
//!
//! A receiver's shard notices that a delivery is overdue, keeps the receiver's story, and
//! asks the publisher's shard, with its next facts, to keep what it recorded of the message.
//! All of it is bounded: later incidents of a run with many do without.

use std::cell::Cell;

use rustc_hash::{FxHashMap, FxHashSet};

use super::facts::{Exception, Fate, StreamFacts};
use super::pairs::PairKey;
use super::recorder::PublishRecord;
use super::shard::Shard;
use crate::base::{Slot, Time};
use crate::payload::StreamId;

/// Messages that one shard asks to keep, in the whole run.
const PINS_MAX: usize = 256;
/// Messages kept by a publisher's shard for all others, in the whole run.
const KEPT_MAX: usize = 1024;
/// Stories of receivers kept, one for each pair, in the whole run.
const STORIES_MAX: usize = 64;

/// Members of a group of whom is asked whether they have what was refused with `Forbidden`.
const MEMBERS_LOOKED_AT: usize = 256;

/// Frames quoted on each side of a missing message.
const FRAMES_AROUND: usize = 5;

/// What one shard keeps, and asks others to keep.
#[derive(Debug, Default)]
pub(super) struct Pins {
    /// To be asked with the next facts.
    wanted: Vec<(StreamId, u32)>,
    asked: FxHashSet<(StreamId, u32)>,
    /// By pair: the message found overdue first, and the receiver's story then.
    stories: FxHashMap<(u32, StreamId), (u32, Vec<String>)>,
    /// By pair: the frame of a delivered message that should not have been, when its story
    /// was kept: its seq, when it came, and its sequence id.
    frames: FxHashMap<(u32, StreamId), (u32, Time, u64)>,
    /// What the publishers of this shard had recorded of single messages.
    kept: FxHashMap<(StreamId, u32), Vec<PublishRecord>>,
    /// Deliveries overdue when that was counted last, and when they were last looked for.
    pub(super) overdue: Cell<u64>,
    looked: u64,
}

impl Pins {
    /// Asks for a message to be kept.
    pub(super) fn want(&mut self, stream: StreamId, seq: u32) {
        if self.asked.len() < PINS_MAX && self.asked.insert((stream, seq)) {
            self.wanted.push((stream, seq));
        }
    }

    pub(super) fn has_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// What is to be asked of the others.
    pub(super) fn take_wanted(&mut self) -> Vec<(StreamId, u32)> {
        std::mem::take(&mut self.wanted)
    }

    /// What was kept, for the incidents of all shards.
    pub(super) fn take_kept(&mut self) -> FxHashMap<(StreamId, u32), Vec<PublishRecord>> {
        std::mem::take(&mut self.kept)
    }

    /// The story of a pair kept when one of `first ..= last` was found overdue.
    pub(super) fn story(&self, slot: u32, stream: StreamId, first: u32, last: u32) -> &[String] {
        match self.stories.get(&(slot, stream)) {
            Some((seq, lines)) if (first..=last).contains(seq) => lines,
            _ => &[],
        }
    }

    /// When the frame of such a message came, and under which sequence id.
    pub(super) fn frame(&self, slot: u32, stream: StreamId, seq: u32) -> Option<(Time, u64)> {
        let (of, at, id) = self.frames.get(&(slot, stream))?;
        (*of == seq).then_some((*at, *id))
    }

    pub(super) fn bytes(&self) -> u64 {
        let lines = self.stories.values().flat_map(|(_, lines)| lines);
        let stories: usize = lines.map(|line| line.len() + size_of::<String>()).sum();
        let records: usize = self.kept.values().map(Vec::len).sum();
        (stories + records * size_of::<PublishRecord>() + self.asked.len() * 16) as u64
    }
}

impl Shard {
    /// Keeps what the publishers of this shard recorded of messages that others ask about.
    pub(super) fn keep_pinned(&mut self, asked: &[(StreamId, u32)]) {
        for (stream, seq) in asked {
            let ours = self.slots.contains(&stream.publisher.0);
            if !ours || self.pins.kept.len() >= KEPT_MAX {
                continue;
            }
            let records = self.outbox.recorded(*stream, *seq);
            if !records.is_empty() {
                self.pins.kept.entry((*stream, *seq)).or_insert(records);
            }
        }
    }

    /// The frames before and after the place where a message is missing.
    fn frames_around(&self, slot: Slot, stream: StreamId, seq: u32, out: &mut Vec<String>) {
        let Some(index) = self.local(slot) else {
            return;
        };
        let newest: Vec<_> = self.recorder.newest(index).collect();
        let later = newest.iter().rposition(|frame| {
            frame.seq > seq
                && frame.publisher == stream.publisher.0
                && frame.group == stream.group.0
        });
        let Some(later) = later else { return };
        let from = later.saturating_sub(FRAMES_AROUND - 1);
        let to = (later + FRAMES_AROUND).min(newest.len() - 1);
        let around = newest[from..=to].iter().rev();
        out.extend(around.map(|frame| format!("around it: frame {frame}")));
    }

    /// Keeps the stories of deliveries found overdue since the last look.
    pub(super) fn pin_overdue(&mut self, now: Time) {
        let overdue = self.pins.overdue.get();
        if overdue <= self.pins.looked || self.pins.stories.len() >= STORIES_MAX {
            self.pins.looked = overdue;
            return;
        }
        self.pins.looked = overdue;
        let mut found: Vec<(u32, StreamId, u32)> = Vec::new();
        self.each_owed(now, &mut |key: PairKey, stream, piece, old| {
            let membership = &self.members[key.member() as usize];
            let slot = membership.slot.0;
            let id = StreamId {
                publisher: stream.publisher,
                group: membership.group,
            };
            let room = self.pins.stories.len() + found.len() < STORIES_MAX;
            let known = found.last().is_some_and(|(s, i, _)| (*s, *i) == (slot, id));
            if piece.first <= old && room && !known && !self.pins.stories.contains_key(&(slot, id))
            {
                found.push((slot, id, piece.first));
            }
        });
        for (slot, stream, seq) in found {
            let mut story = vec![format!("found overdue at {now}; the receiver then:")];
            self.frames_around(Slot(slot), stream, seq, &mut story);
            self.receiver_story(Slot(slot), true, &mut story);
            self.pins.stories.insert((slot, stream), (seq, story));
            self.pins.want(stream, seq);
        }
    }

    /// Keeps the stories of messages that reached somebody although, as facts just told,
    /// they were answered `Forbidden`: that is judged when their frames are long forgotten.
    pub(super) fn pin_forbidden(&mut self, told: &[StreamFacts]) {
        for facts in told {
            let refused = |exception: &&Exception| exception.fate == Fate::Forbidden;
            for exception in facts.exceptions.iter().filter(refused) {
                self.pin_delivered(facts.stream, exception.first, exception.last);
            }
        }
    }

    fn pin_delivered(&mut self, stream: StreamId, first: u32, last: u32) {
        let Some(group) = self.groups.get(stream.group.index()) else {
            return;
        };
        let Some(at) = group.find_stream(stream.publisher) else {
            return;
        };
        let mut found = Vec::new();
        for member in group.members.iter().take(MEMBERS_LOOKED_AT) {
            let membership = &self.members[*member as usize];
            let key = PairKey::new(*member, at);
            let pair = (membership.slot.0, stream);
            let room = self.pins.stories.len() + found.len() < STORIES_MAX;
            if room
                && !self.pins.stories.contains_key(&pair)
                && self.pairs.has(membership, key, first)
            {
                found.push(membership.slot);
            }
        }
        for slot in found {
            let index = (slot.0 - self.slots.start) as usize;
            let now = self.receivers[index]
                .conn
                .as_ref()
                .map_or(Time::ZERO, |conn| conn.heard);
            let mut story = vec![format!("found delivered by {now}; the receiver then:")];
            self.receiver_story(slot, true, &mut story);
            let of_it = self.recorder.newest(index).find(|frame| {
                frame.publisher == stream.publisher.0
                    && frame.group == stream.group.0
                    && (first..=last).contains(&frame.seq)
            });
            if let Some(frame) = of_it {
                let pair = (slot.0, stream);
                self.pins
                    .frames
                    .insert(pair, (frame.seq, frame.at, frame.id));
            }
            self.pins.stories.insert((slot.0, stream), (first, story));
            self.pins.want(stream, first);
        }
    }
}
