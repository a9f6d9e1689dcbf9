//! Frames that no application would get: replays, repeated ids, spoilt payloads (S1, S3,
//! I1). Each fault is counted once: a spoilt message is not also lost.

use super::connection::Sight;
use super::frame::Step;
use super::kinds::{Permitted, Unknown, Violation};
use super::ledger::Property;
use super::pairs::{Arrival, PairKey, Placed};
use super::placing::AHEAD;
use super::shard::Shard;
use crate::base::{Slot, Time};
use crate::payload::Identity;

/// Corrupted frames that a replay is compared with; one beyond that is counted each time.
const CORRUPT_MAX: usize = 65_536;

impl Shard {
    /// Step 4: a frame that is not fresh must hold what the receiver has.
    pub(super) fn replayed(&mut self, step: &Step<'_>, identity: &Identity) {
        if self.is_digest() {
            self.recorder.file();
        }
        let known = self.knows(step, identity);
        match (step.sight, known) {
            (Sight::Replay, true) => {
                self.permitted.add(Permitted::ReplayOverlap, 1);
                self.frames.replay += 1;
            }
            (_, true) => {
                self.frames.replay += 1;
                self.repeated(step.slot, step.id, step.now);
            }
            (Sight::Replay, false) if self.was_corrupt(step) => {
                // What was spoilt on its way comes whole now; the client drops it all the same.
                self.permitted.add(Permitted::ReplayOverlap, 1);
                self.frames.replay += 1;
            }
            (sight, false) => {
                if sight == Sight::Replay {
                    let (slot, epoch, transport) = (step.slot, step.epoch, step.transport);
                    let (stream, seq, id) = (identity.stream(), identity.seq, step.id);
                    let name = self.message_name(stream, seq);
                    self.recovery_broken(slot, epoch, transport, step.now, || {
                        format!("replayed {name}, never seen before, under the old sequenceId {id}")
                    });
                } else {
                    self.violations.add(Violation::SequenceReused, 1);
                    self.about(step, Some(identity), Violation::SequenceReused, || {
                        "a new message under an old sequenceId: the client must drop it".into()
                    });
                }
                if !self.spoil(step, identity, true) && self.is_digest() {
                    // No pair holds it: it explains what is missing here.
                    let bad = self.bad.entry((step.slot.0, step.epoch)).or_default();
                    bad.corrupted += 1;
                }
            }
        }
        self.exercised.add(Property::S3, 1);
    }

    /// A message of the receiver's own of a stream that it is spared: it is owed none of
    /// them, though some retry may have forgotten to ask.
    pub(super) fn is_spared(&self, step: &Step<'_>, identity: &Identity) -> bool {
        identity.publisher == step.slot
            && (identity.no_echo || self.plan.slots[step.slot.index()].no_echo)
    }

    /// Whether the receiver has this message, or it is of a kind that no pair holds.
    fn knows(&self, step: &Step<'_>, identity: &Identity) -> bool {
        if self.is_spared(step, identity) {
            return true;
        }
        let Some(member) = self.receivers[step.index].member(identity.group) else {
            return true;
        };
        let membership = &self.members[member as usize];
        if membership.may(step.epoch).is_none() && membership.left_at(step.epoch).is_none() {
            return true;
        }
        if self.is_digest() {
            return self.remembers(step, identity);
        }
        let Some(stream) = self.groups[identity.group.index()].find_stream(identity.publisher)
        else {
            return false;
        };
        self.pairs
            .has(membership, PairKey::new(member, stream), identity.seq)
            || self.waiting.iter().any(|w| {
                w.member == member
                    && w.identity.stream() == identity.stream()
                    && w.identity.seq == identity.seq
            })
    }

    /// Whether the frame recorded under this sequence id held the same message; also when
    /// none is recorded any more.
    fn remembers(&self, step: &Step<'_>, identity: &Identity) -> bool {
        // The newest record is this frame itself.
        let older = self.recorder.newest(step.index).skip(1);
        let mut same_id = older.filter(|r| r.id == step.id && r.epoch == step.epoch);
        same_id.all(|record| record.seq == 0 || record.is(identity))
    }

    /// Puts a spoilt message into its pair, if it is what the pair waits for, so that it is
    /// counted once: as what spoilt it, not as lost too. `sound`: its identity is whole.
    fn spoil(&mut self, step: &Step<'_>, identity: &Identity, sound: bool) -> bool {
        let placed = self.spoil_pair(step, identity, sound);
        if placed {
            self.frames.spoilt += 1;
        } else {
            self.frames.unplaced += 1;
        }
        placed
    }

    fn spoil_pair(&mut self, step: &Step<'_>, identity: &Identity, sound: bool) -> bool {
        let Some(member) = self.receivers[step.index].member(identity.group) else {
            return false;
        };
        if self.is_digest() {
            return false;
        }
        let group = &mut self.groups[identity.group.index()];
        let stream = group.stream_of(identity.publisher);
        let streams = group.streams.len();
        let (horizon, known) = {
            let stream = &group.streams[stream as usize];
            (stream.horizon, stream.invoked)
        };
        if stream as usize >= self.members[member as usize].tracked() {
            self.grow(member, streams);
        }
        let membership = &mut self.members[member as usize];
        let key = PairKey::new(member, stream);
        let Some((window, must)) = membership.may(step.epoch).map(|w| (w.ordinal, w.must())) else {
            return false;
        };
        // What cannot be relied on must at least name what the pair waits for.
        let believed = match sound {
            true => identity.seq <= known.saturating_add(AHEAD),
            false => self.pairs.awaits(membership, key, identity.seq),
        };
        if identity.seq <= horizon || !believed || self.pairs.has(membership, key, identity.seq) {
            return false;
        }
        let arrival = Arrival {
            at: step.now,
            epoch: step.epoch,
            transport: step.transport,
            window,
            must,
            sound,
            id: step.id,
        };
        if self.pairs.place(membership, key, identity, &arrival) == Placed::Blind {
            return false;
        }
        self.pairs.faulted.insert((key, identity.seq));
        true
    }

    pub(super) fn repeated(&mut self, slot: Slot, id: u64, now: Time) {
        self.violations.add(Violation::SequenceRepeated, 1);
        let text = format!("slot {slot} got sequenceId {id} again on the same transport");
        self.about_slot(Violation::SequenceRepeated, slot, now, text);
    }

    /// A payload that is not of ours at all, as far as can be seen.
    pub(super) fn shapeless(&mut self, step: &Step<'_>) {
        if !matches!(step.sight, Sight::Fresh { .. }) {
            self.frames.replay += 1;
            if step.sight == Sight::Stale {
                self.repeated(step.slot, step.id, step.now);
            }
        } else if self.plan.exclusive {
            // Invented, or one of ours beyond recognition: decided at the end, when it is
            // known whether one of ours is missing here.
            self.frames.fabricated += 1;
            self.bad
                .entry((step.slot.0, step.epoch))
                .or_default()
                .shapeless += 1;
            self.about(step, None, Violation::Fabricated, || {
                "a payload without an identity of this run".into()
            });
        } else {
            self.frames.foreign += 1;
            self.unknown.add(Unknown::Foreign, 1);
        }
    }

    /// Whether the frame of this sequence id was counted as corrupted when it first came.
    fn was_corrupt(&self, step: &Step<'_>) -> bool {
        let frame = (step.slot.0, step.epoch, step.id);
        step.id != 0 && self.corrupt_ids.contains(&frame)
    }

    /// A payload of ours that changed on the way.
    pub(super) fn corrupted(&mut self, step: &Step<'_>, fields: Option<Identity>) {
        if self.was_corrupt(step) {
            // Counted when it first came.
            self.frames.replay += 1;
            return match step.sight {
                Sight::Replay => self.permitted.add(Permitted::ReplayOverlap, 1),
                _ => self.repeated(step.slot, step.id, step.now),
            };
        }
        if step.id != 0 && self.corrupt_ids.len() < CORRUPT_MAX {
            self.corrupt_ids.insert((step.slot.0, step.epoch, step.id));
        }
        self.violations.add(Violation::Corrupted, 1);
        self.about(step, fields.as_ref(), Violation::Corrupted, || {
            format!(
                "the CRC does not fit {} payload bytes",
                step.message.data.as_bytes().len()
            )
        });
        if !matches!(step.sight, Sight::Fresh { .. }) {
            self.frames.replay += 1;
            return;
        }
        let believable = fields.filter(|identity| self.invented(identity).is_none());
        let placed = match &believable {
            Some(identity) => self.spoil(step, identity, false),
            None => {
                self.frames.unplaced += 1;
                false
            }
        };
        if !placed {
            self.bad
                .entry((step.slot.0, step.epoch))
                .or_default()
                .corrupted += 1;
        }
    }
}
