//! The clients of the model: what they ask, when they try again, and what they make of what
//! comes.

use super::*;

impl Model {
    pub(super) fn publish(&mut self, slot: u32) {
        if self.now >= self.end {
            return;
        }
        let gap = self.spread(300 * MS);
        self.after(gap, Event::Publish(slot));
        if self.clients[slot as usize].transport.is_none()
            || self.clients[slot as usize].pending.len() > 100
        {
            return;
        }
        let group = GroupId(self.rng.random_range(0..self.config.groups));
        let stream = StreamId {
            publisher: Slot(slot),
            group,
        };
        let client = &mut self.clients[slot as usize];
        let seq = client.seqs.entry(stream).or_insert(0);
        *seq += 1;
        let seq = *seq;
        let now = self.tap.stamp(self.now);
        if self.chance(0.1) {
            self.transmit(slot, stream, seq, None, Cause::First, 1, now, now);
            self.tap
                .settled(stream, seq, Outcome::FireAndForget, self.now);
            return;
        }
        let client = &mut self.clients[slot as usize];
        client.ack += 1;
        let ack_id = AckId(client.ack);
        client.pending.insert(
            (stream, seq),
            Pending {
                ack_id,
                intended: now,
                attempt: 1,
                epoch: client.epoch.unwrap(),
                waiting: true,
            },
        );
        self.transmit(slot, stream, seq, Some(ack_id), Cause::First, 1, now, now);
        if self.chance(0.03) {
            self.after(SEC, Event::Retry(slot, stream, seq, Cause::AfterTimeout));
        }
        // Some wait for less than what the hub has, some for longer.
        if self.config.fault == Some(Fault::LoseAck) {
            let wait = self.rng.random_range(SEC..20 * SEC);
            self.after(wait, Event::Retry(slot, stream, seq, Cause::AfterTimeout));
        }
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn transmit(
        &mut self,
        slot: u32,
        stream: StreamId,
        seq: u32,
        ack_id: Option<AckId>,
        cause: Cause,
        attempt: u8,
        intended: u64,
        now: u64,
    ) {
        let client = &mut self.clients[slot as usize];
        client.tx += 1;
        let identity = Identity {
            run: 7,
            publisher: Slot(slot),
            group: stream.group,
            seq,
            tx: client.tx,
            epoch: client.epoch.unwrap(),
            transport: client.ordinal,
            no_echo: self.tap.plan.slots[slot as usize].no_echo,
            cause,
            attempt,
            intended,
            lag_us: now - intended,
        };
        self.tap.transmitted(&identity, ack_id, now);
        self.up(slot, Up::Publish(identity, ack_id));
    }

    pub(super) fn retry(&mut self, slot: u32, stream: StreamId, seq: u32, cause: Cause) {
        let client = &mut self.clients[slot as usize];
        if client.transport.is_none() || client.recovering {
            return;
        }
        let Some(pending) = client.pending.get_mut(&(stream, seq)) else {
            return;
        };
        // A retry planned on one connection is void on the next, which has its own.
        if cause != Cause::NewConnection && Some(pending.epoch) != client.epoch {
            return;
        }
        if pending.attempt >= 6 {
            client.pending.remove(&(stream, seq));
            self.tap.settled(stream, seq, Outcome::Unknown, self.now);
            return;
        }
        let fresh = matches!(cause, Cause::FreshAckId | Cause::NewConnection);
        if fresh {
            client.ack += 1;
            pending.ack_id = AckId(client.ack);
        }
        pending.attempt += 1;
        pending.epoch = client.epoch.unwrap();
        pending.waiting = true;
        let (ack_id, attempt, intended) = (pending.ack_id, pending.attempt, pending.intended);
        let now = self.tap.stamp(self.now);
        self.transmit(
            slot,
            stream,
            seq,
            Some(ack_id),
            cause,
            attempt,
            intended,
            now,
        );
    }

    pub(super) fn drop_client(&mut self, slot: u32) {
        if self.now >= self.end {
            return;
        }
        let gap = self.spread(self.config.drops);
        self.after(gap, Event::Drop(slot));
        let client = &mut self.clients[slot as usize];
        let Some(at) = client.transport.take() else {
            return;
        };
        client.lost_at = self.now;
        client.recovering = true;
        self.transports[at].client_open = false;
        self.tap.lost(Slot(slot), self.now);
        let notice = self.rng.random_range(0..500 * MS);
        self.after(notice, Event::Notice(at));
        for pending in self.clients[slot as usize].pending.values_mut() {
            pending.waiting = false;
        }
        if self.tap.plan.slots[slot as usize].reliable {
            let away = match self.rng.random_range(0..10) {
                0 => 31 * SEC + self.rng.random_range(0..3 * SEC),
                1 => self.rng.random_range(0..25 * SEC),
                _ => self.rng.random_range(0..2 * SEC),
            };
            self.after(away, Event::Recover(slot));
        } else {
            self.give_up(slot, ConnectionEnd::NotRecoverable);
        }
    }

    pub(super) fn give_up(&mut self, slot: u32, end: ConnectionEnd) {
        self.tap.ended(Slot(slot), end, self.now);
        let client = &mut self.clients[slot as usize];
        client.recovering = false;
        client.joining.clear();
        client.leaving.clear();
        let wait = self.rng.random_range(0..2 * SEC);
        self.after(wait, Event::Connect(slot));
    }

    pub(super) fn wander(&mut self, slot: u32) {
        if self.now >= self.end || slot + 1 == self.config.slots {
            return;
        }
        let gap = self.spread(8 * SEC);
        self.after(gap, Event::Wander(slot));
        let client = &self.clients[slot as usize];
        if client.transport.is_none()
            || client.recovering
            || !client.joining.is_empty()
            || !client.leaving.is_empty()
        {
            return;
        }
        let group = GroupId(self.rng.random_range(0..self.config.groups));
        if self.clients[slot as usize].wanted.contains(&group) && !self.chance(0.2) {
            let client = &mut self.clients[slot as usize];
            client.wanted.remove(&group);
            client.ack += 1;
            let ack = client.ack;
            client.leaving.insert(group, ack);
            self.tap.leave_invoked(Slot(slot), group, ack, self.now);
            self.up(slot, Up::Leave(group, ack));
        } else {
            self.join(slot, group);
        }
    }

    /// Reads nothing for a while; what the hub sends waits.
    pub(super) fn stall(&mut self, slot: u32) {
        if self.now >= self.end {
            return;
        }
        let gap = self.spread(20 * SEC);
        self.after(gap, Event::Stall(slot));
        let until = self.now + self.rng.random_range(SEC..15 * SEC);
        if let Some(at) = self.clients[slot as usize].transport {
            self.tap.disturbed(Slot(slot), until, self.now);
            self.transports[at].down = self.transports[at].down.max(until);
        }
    }

    pub(super) fn join(&mut self, slot: u32, group: GroupId) {
        let client = &mut self.clients[slot as usize];
        client.wanted.insert(group);
        client.ack += 1;
        let ack = client.ack;
        client.joining.insert(group, ack);
        self.tap.join_invoked(Slot(slot), group, ack, self.now);
        self.up(slot, Up::Join(group, ack));
    }

    pub(super) fn sequence_ack(&mut self, slot: u32) {
        self.after(200 * MS, Event::SequenceAck(slot));
        let client = &mut self.clients[slot as usize];
        if client.transport.is_none() || client.recovering || client.max == client.max_acked {
            return;
        }
        client.max_acked = client.max;
        let max = client.max;
        self.tap.sequence_acked(Slot(slot), max, self.now);
        self.up(slot, Up::SequenceAck(max));
    }

    pub(super) fn at_client(&mut self, at: usize, frame: Down) {
        if !self.transports[at].client_open {
            return;
        }
        let slot = self.transports[at].slot;
        let s = Slot(slot);
        match frame {
            Down::Connected => {
                let client = &mut self.clients[slot as usize];
                let epoch = client.epoch.map_or(0, |epoch| epoch + 1);
                client.epoch = Some(epoch);
                client.ordinal = 0;
                client.max = 0;
                client.max_acked = 0;
                client.transport = Some(at);
                self.tap.connected(s, epoch, self.now);
                for group in self.clients[slot as usize].wanted.clone() {
                    self.join(slot, group);
                }
                self.resume(slot, true);
            }
            Down::Opened => {
                let client = &mut self.clients[slot as usize];
                client.ordinal += 1;
                client.transport = Some(at);
                client.recovering = false;
                let ordinal = client.ordinal;
                self.tap.recovery_opened(s, ordinal, self.now);
                self.tap.recovery_confirmed(s, self.now);
                for (group, ack) in self.clients[slot as usize].joining.clone() {
                    self.tap.join_invoked(s, group, ack, self.now);
                    self.up(slot, Up::Join(group, ack));
                }
                for (group, ack) in self.clients[slot as usize].leaving.clone() {
                    self.tap.request_sent(s, AckId(ack), self.now);
                    self.up(slot, Up::Leave(group, ack));
                }
                self.resume(slot, false);
            }
            Down::Data(id, identity) => {
                let client = &mut self.clients[slot as usize];
                client.max = client.max.max(id);
                self.tap.frame(s, id, &identity, self.now);
            }
            Down::Answer(stream, seq, ack_id, answer) => {
                self.tap.request_answered(s, ack_id, self.now);
                self.tap.heard(s, self.now);
                self.answer(slot, stream, seq, ack_id, answer)
            }
            Down::Joined(group, ack, success) => {
                self.tap.request_answered(s, AckId(ack), self.now);
                self.tap.heard(s, self.now);
                if self.clients[slot as usize].joining.get(&group) == Some(&ack) {
                    self.clients[slot as usize].joining.remove(&group);
                    self.tap.join_answered(s, group, ack, success, self.now);
                }
            }
            Down::Left(group, ack) => {
                self.tap.request_answered(s, AckId(ack), self.now);
                self.tap.heard(s, self.now);
                if self.clients[slot as usize].leaving.get(&group) == Some(&ack) {
                    self.clients[slot as usize].leaving.remove(&group);
                    self.tap.leave_answered(s, group, ack, self.now);
                }
            }
        }
    }

    /// Sends again what was not answered before the drop.
    pub(super) fn resume(&mut self, slot: u32, new: bool) {
        for ((stream, seq), _) in self.clients[slot as usize].pending.clone() {
            let cause = match (new, self.config.official) {
                (true, _) => Cause::NewConnection,
                (false, true) => Cause::FreshAckId,
                (false, false) => Cause::AfterRecovery,
            };
            if new && self.chance(0.3) {
                self.clients[slot as usize].pending.remove(&(stream, seq));
                self.tap.settled(stream, seq, Outcome::Unknown, self.now);
                continue;
            }
            let wait = self.rng.random_range(0..300 * MS);
            self.after(wait, Event::Retry(slot, stream, seq, cause));
        }
    }

    pub(super) fn answer(
        &mut self,
        slot: u32,
        stream: StreamId,
        seq: u32,
        ack_id: AckId,
        answer: Answer,
    ) {
        let Some(pending) = self.clients[slot as usize].pending.get(&(stream, seq)) else {
            return;
        };
        if pending.ack_id != ack_id || !pending.waiting {
            return;
        }
        self.tap.answered(stream, seq, ack_id, answer, self.now);
        let outcome = match answer {
            Answer::Success | Answer::Duplicate => Outcome::Ok,
            Answer::Forbidden | Answer::Refused => Outcome::Failed,
            Answer::Error => {
                let cause = match self.config.official {
                    true => Cause::FreshAckId,
                    false => Cause::AfterError,
                };
                let wait = self.rng.random_range(10 * MS..800 * MS);
                if let Some(pending) = self.clients[slot as usize].pending.get_mut(&(stream, seq)) {
                    pending.waiting = false;
                }
                self.after(wait, Event::Retry(slot, stream, seq, cause));
                return;
            }
        };
        self.clients[slot as usize].pending.remove(&(stream, seq));
        self.tap.settled(stream, seq, outcome, self.now);
    }
}
