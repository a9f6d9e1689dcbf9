//! Into the pair: what a delivery that may be there does to the tables (step 5).

use super::duplicate::Waiting;
use super::incident::Subject;
use super::judge::Bucket;
use super::kinds::{Permitted, Violation};
use super::membership::Membership;
use super::order::Order;
use super::pairs::{Arrival, PairKey, Placed};
use super::shard::Shard;
use crate::base::Slot;
use crate::payload::Identity;

/// How far above the last known seq of another shard's stream a message is believed at
/// once: facts lag by 250 ms, and no publisher sends this much in a few seconds.
pub(super) const AHEAD: u32 = 65_536;
/// Messages further ahead that are set aside until facts tell; more are inconclusive.
const WAITING_MAX: usize = 65_536;
/// Tables grow by this many streams at a time.
const GROWTH: usize = 16;

impl Shard {
    /// Step 5. True when the receiver did not have the message.
    pub(super) fn place_delivery(
        &mut self,
        member: u32,
        identity: &Identity,
        arrival: &Arrival,
    ) -> bool {
        let group = &mut self.groups[identity.group.index()];
        let stream = group.stream_of(identity.publisher);
        let known = group.streams[stream as usize].invoked;
        let horizon = group.streams[stream as usize].horizon;
        let streams = group.streams.len();
        let ours = self.slots.contains(&identity.publisher.0);
        if !ours && identity.seq > known.saturating_add(AHEAD) {
            self.set_aside(member, identity, arrival);
            return false;
        }
        if self.is_digest() {
            let fresh = self.take_digested(member, stream, identity, arrival);
            if fresh {
                self.measure(member, identity, arrival);
            }
            return fresh;
        }
        let key = PairKey::new(member, stream);
        if stream as usize >= self.members[member as usize].tracked() {
            self.grow(member, streams);
        }
        let membership = &mut self.members[member as usize];
        match self.pairs.place(membership, key, identity, arrival) {
            Placed::First => self.frames.first += 1,
            Placed::Fill(order) => {
                self.frames.fill += 1;
                if identity.seq <= horizon {
                    self.found_again(member, identity, stream);
                }
                self.judge_order(self.members[member as usize].slot, identity, order, arrival);
            }
            Placed::Again => {
                self.frames.again += 1;
                return self.again(key, identity, arrival, horizon);
            }
            Placed::Blind => {
                self.frames.blind += 1;
                return true;
            }
        }
        self.measure(member, identity, arrival);
        true
    }

    /// What is measured of a delivery and judged by nothing.
    fn measure(&mut self, member: u32, identity: &Identity, arrival: &Arrival) {
        let late_after = self.plan.late_after.as_micros();
        let intended = identity.unwrap_intended(arrival.at.as_micros());
        if u128::from(arrival.at.as_micros().saturating_sub(intended)) > late_after {
            self.measured.late += 1;
        }
        let membership = &self.members[member as usize];
        if membership.observed {
            self.note(membership.slot, identity, arrival);
        }
    }

    /// A message counted as open below the horizon has come after all.
    fn found_again(&mut self, member: u32, identity: &Identity, stream: u32) {
        let pool = self.plan.pool_of(self.members[member as usize].slot);
        self.ledgers[identity.group.index()].add(Bucket::Delivered, 1);
        self.pools[pool].add(Bucket::Delivered, 1);
        let stream = &mut self.groups[identity.group.index()].streams[stream as usize];
        let seq = identity.seq;
        if let Some(at) = stream
            .unreached
            .iter()
            .position(|(a, b)| *a <= seq && seq <= *b)
        {
            let (first, last) = stream.unreached.remove(at);
            if seq < last {
                stream.unreached.insert(at, (seq + 1, last));
            }
            if first < seq {
                stream.unreached.insert(at, (first, seq - 1));
            }
        }
    }

    fn judge_order(&mut self, slot: Slot, identity: &Identity, order: Order, arrival: &Arrival) {
        match order {
            Order::Fine => {}
            Order::ByRetry => self.permitted.add(Permitted::ReorderedByRetry, 1),
            Order::Reordered { overtaken_by } => {
                self.violations.add(Violation::Reordered, 1);
                let subject = Subject {
                    receiver: Some(slot.0),
                    stream: Some(identity.stream()),
                    seq: Some(identity.seq),
                    frame: Some((arrival.at, arrival.id)),
                    ..Subject::default()
                };
                let text = format!(
                    "slot {slot} got {} after seq {overtaken_by} of the same publisher transport",
                    self.message_name(identity.stream(), identity.seq)
                );
                let evidence = vec![format!(
                    "sent as tx {} on epoch {} transport {}, cause {:?}; arrived {} under sequenceId {}",
                    identity.tx,
                    identity.epoch,
                    identity.transport,
                    identity.cause,
                    arrival.at,
                    arrival.id
                )];
                self.incident(Violation::Reordered, subject, arrival.at, text, evidence);
            }
        }
    }

    /// Makes room for the streams of a group, unless the budget refuses.
    pub(super) fn grow(&mut self, member: u32, streams: usize) {
        let membership = &self.members[member as usize];
        let wanted = streams.next_multiple_of(GROWTH);
        let more = Membership::bytes_for(wanted) - Membership::bytes_for(membership.tracked());
        if membership.blind
            || self.pressure >= 2
            || self.bytes_now.saturating_add(more) > self.plan.memory_budget
        {
            self.no_room |= !membership.blind;
            self.members[member as usize].blind = true;
            return;
        }
        self.bytes_now += more;
        self.bytes_peak = self.bytes_peak.max(self.bytes_now);
        self.pairs_held += (wanted - membership.tracked()) as u64;
        let membership = &mut self.members[member as usize];
        let group = membership.group;
        membership.grow(wanted, &self.groups[group.index()]);
    }

    fn set_aside(&mut self, member: u32, identity: &Identity, arrival: &Arrival) {
        self.frames.set_aside += 1;
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push(Waiting {
                member,
                identity: *identity,
                arrival: *arrival,
            });
        } else {
            self.misuse.note(|| {
                format!("more than {WAITING_MAX} messages were numbered beyond what was sent")
            });
        }
    }

    /// Places what was set aside, as far as facts now cover it.
    pub(super) fn place_waiting(&mut self) {
        let mut at = 0;
        while at < self.waiting.len() {
            let Waiting {
                member,
                identity,
                arrival,
            } = self.waiting[at];
            let group = &self.groups[identity.group.index()];
            let known = group
                .find_stream(identity.publisher)
                .map_or(0, |stream| group.streams[stream as usize].invoked);
            if identity.seq <= known.saturating_add(AHEAD) {
                self.waiting.swap_remove(at);
                self.frames.set_aside -= 1;
                self.place_delivery(member, &identity, &arrival);
            } else {
                at += 1;
            }
        }
    }
}
