//! The events of receivers: connections, memberships, recoveries.
//!
//! Stamps: what the client does is stamped before it is written, what the hub does after it
//! was read. Read `connection` and `membership` for the states behind.

use super::connection::{Connection, Link, Recovery};
use super::events::{ConnectionEnd, LossCause};
use super::facts::MemberChange;
use super::group::MEMBERSHIP_GRACE;
use super::judge::Bucket;
use super::ledger::{Ledger, Property};
use super::membership::{Membership, WindowEnd};
use super::recorder::Control;
use super::shard::Shard;
use crate::base::{AckId, GroupId, SequenceId, Slot, Time};

/// Recoveries remembered whose queue must have been over the hub's limit; losses laid to
/// more of them count as broken recoveries.
const OVERFULL_MAX: usize = 65_536;

impl Shard {
    /// The `connected` frame of a *new* connection of `slot`, its `epoch`-th (from 0).
    pub fn connected(&mut self, slot: Slot, epoch: u16, connection_id: &str, now: Time) {
        let Some(index) = self.local(slot) else {
            return;
        };
        self.note_member(slot, now, MemberChange::Connected(epoch));
        if self.receivers[index].conn.is_some() {
            self.end_connection(index, ConnectionEnd::WindowPassed, now);
        }
        let receiver = &mut self.receivers[index];
        receiver.stopped = false;
        receiver.conn = Some(Connection::new(epoch, connection_id, now));
        let id = connection_id.into();
        receiver
            .control
            .push((now, Control::Connected { epoch, id }));
        self.hear(index, slot, epoch, now);
    }

    /// A new connection belongs to its slot's audiences from its `connected` frame on.
    fn hear(&mut self, index: usize, slot: Slot, epoch: u16, now: Time) {
        let plan = self.plan.clone();
        let hears = plan.slot(slot).map_or(&[][..], |slot| &slot.hears);
        for group in hears.iter().filter(|group| plan.is_audience(**group)) {
            let member = self.membership(index, slot, *group);
            let membership = &mut self.members[member as usize];
            membership.open(epoch, now, false);
            if let Some(window) = membership.latest_mut() {
                window.joined = Some(now);
            }
            self.ask_before(*group, now);
            self.ask_after(*group, now);
            self.ask_after(*group, now + MEMBERSHIP_GRACE);
        }
    }

    /// A join is about to be sent (again), under this ackId.
    pub fn join_invoked(&mut self, slot: Slot, group: GroupId, ack_id: AckId, now: Time) {
        let Some((index, epoch)) = self.on_connection(slot) else {
            return;
        };
        self.note_member(slot, now, MemberChange::JoinInvoked(group, ack_id));
        if group.index() >= self.plan.groups.len() {
            self.misuse
                .note(|| format!("slot {slot} joins group#{group}, which is not in the plan"));
            return;
        }
        self.receivers[index]
            .control
            .push((now, Control::JoinInvoked(group)));
        let member = self.membership(index, slot, group);
        let membership = &mut self.members[member as usize];
        match membership
            .latest_mut()
            .filter(|w| w.epoch == epoch && w.ended.is_none() && w.leave_invoked.is_none())
        {
            Some(window) => window.resent = true,
            None => {
                let stale = membership.is_stale(epoch, ack_id);
                membership.open(epoch, now, stale);
                self.ask_before(group, now);
            }
        }
    }

    /// The answer to a join; `Duplicate` to one that was sent again counts as success. Not
    /// when a leave was asked for since it was first sent: then it owes nothing.
    pub fn join_answered(
        &mut self,
        slot: Slot,
        group: GroupId,
        ack_id: AckId,
        success: bool,
        now: Time,
    ) {
        let Some((index, epoch)) = self.on_connection(slot) else {
            return;
        };
        self.note_member(
            slot,
            now,
            MemberChange::JoinAnswered(group, ack_id, success),
        );
        self.receivers[index]
            .control
            .push((now, Control::JoinAnswered(group, success)));
        let Some(member) = self.receivers[index].member(group) else {
            return;
        };
        let membership = &mut self.members[member as usize];
        if membership.is_stale(epoch, ack_id) {
            return;
        }
        let Some(window) = membership
            .latest_mut()
            .filter(|w| w.epoch == epoch && w.ended.is_none() && w.joined.is_none())
        else {
            return;
        };
        if success {
            window.joined = Some(now);
            self.ask_after(group, now);
            self.ask_after(group, now + MEMBERSHIP_GRACE);
        } else if !window.resent {
            window.ended = Some((now, WindowEnd::Refused));
            self.ask_after(group, now);
        }
    }

    /// A leave is about to be sent (again), under this ackId.
    pub fn leave_invoked(&mut self, slot: Slot, group: GroupId, ack_id: AckId, now: Time) {
        let Some((index, epoch)) = self.on_connection(slot) else {
            return;
        };
        self.note_member(slot, now, MemberChange::LeaveInvoked(group, ack_id));
        self.receivers[index]
            .control
            .push((now, Control::LeaveInvoked(group)));
        let Some(member) = self.receivers[index].member(group) else {
            return;
        };
        let membership = &mut self.members[member as usize];
        membership.asks_to_leave(epoch, ack_id);
        if let Some(window) = membership
            .latest_mut()
            .filter(|w| w.epoch == epoch && w.ended.is_none() && w.leave_invoked.is_none())
        {
            window.leave_invoked = Some(now);
            self.ask_before(group, now);
        }
    }

    /// The answer to a leave. After a refusal the receiver may still get messages.
    pub fn leave_answered(
        &mut self,
        slot: Slot,
        group: GroupId,
        ack_id: AckId,
        success: bool,
        now: Time,
    ) {
        let Some((index, epoch)) = self.on_connection(slot) else {
            return;
        };
        self.note_member(
            slot,
            now,
            MemberChange::LeaveAnswered(group, ack_id, success),
        );
        self.receivers[index]
            .control
            .push((now, Control::LeaveAnswered(group, success)));
        let Some(member) = self.receivers[index].member(group) else {
            return;
        };
        if success && let Some(window) = self.members[member as usize].left_by(epoch, ack_id) {
            window.ended = Some((now, WindowEnd::Left));
            self.ask_after(group, now);
            self.exercised.add(Property::D5b, 1);
        }
    }

    /// A transport ended. Frames read from it later must not be handed in.
    pub fn transport_lost(&mut self, slot: Slot, cause: LossCause, code: Option<u16>, now: Time) {
        let Some((index, _)) = self.on_connection(slot) else {
            return;
        };
        self.requests_over(slot, now);
        let receiver = &mut self.receivers[index];
        receiver
            .control
            .push((now, Control::TransportLost(cause, code)));
        let sent = receiver.sent_to(&self.groups);
        if let Some(conn) = &mut receiver.conn {
            if conn.link == Link::Up {
                conn.sent_before = sent;
            }
            conn.lost(code, now);
        }
        for (group, _) in self.receivers[index].members.clone() {
            self.ask_before(group, now);
        }
    }

    /// The WebSocket of a recovery is open; `transport` is its ordinal on the connection.
    /// The hub may still refuse.
    pub fn recovery_opened(&mut self, slot: Slot, transport: u16, now: Time) {
        let Some((index, _)) = self.on_connection(slot) else {
            return;
        };
        self.requests_over(slot, now);
        let receiver = &mut self.receivers[index];
        receiver
            .control
            .push((now, Control::RecoveryOpened(transport)));
        let sent = receiver.sent_to(&self.groups);
        if let Some(conn) = &mut receiver.conn {
            if conn.link == Link::Up {
                conn.sent_before = sent;
            }
            conn.opened(transport, now);
        }
        // For the case that the loss itself was not told.
        for (group, _) in self.receivers[index].members.clone() {
            self.ask_before(group, now);
        }
    }

    /// The first frame or pong on a recovery's transport: the session is back.
    pub fn recovery_confirmed(&mut self, slot: Slot, now: Time) {
        if let Some((index, _)) = self.on_connection(slot) {
            self.confirm(index, now);
        }
    }

    /// The hub refused a recovery (101, then close 1008).
    pub fn recovery_refused(&mut self, slot: Slot, now: Time) {
        let Some((index, _)) = self.on_connection(slot) else {
            return;
        };
        let receiver = &mut self.receivers[index];
        receiver.control.push((now, Control::RecoveryRefused));
        if let Some(conn) = &mut receiver.conn {
            conn.link = Link::Lost;
            conn.refused = Some(now);
        }
        self.exercised.add(Property::R2, 1);
    }

    /// A `connected` frame after a recovery: it must name the same connection.
    pub fn recovered_connection_id(&mut self, slot: Slot, connection_id: &str, now: Time) {
        let Some((index, epoch)) = self.on_connection(slot) else {
            return;
        };
        self.confirm(index, now);
        let Some(conn) = &self.receivers[index].conn else {
            return;
        };
        if &*conn.id != connection_id {
            let (was, transport) = (conn.id.clone(), conn.transport);
            self.receivers[index]
                .control
                .push((now, Control::Renamed(connection_id.into())));
            self.recovery_broken(slot, epoch, transport, now, || {
                format!("the recovery of connection {was} gave connection {connection_id}")
            });
        }
    }

    /// The connection is over; its group memberships are gone with it.
    pub fn connection_ended(&mut self, slot: Slot, end: ConnectionEnd, now: Time) {
        if let Some((index, _)) = self.on_connection(slot) {
            self.note_member(slot, now, MemberChange::Ended(end));
            self.end_connection(index, end, now);
        }
    }

    /// Any frame was read on the slot's transport (an ack, a pong): it lives.
    pub fn heard(&mut self, slot: Slot, now: Time) {
        if let Some(index) = self.local(slot)
            && let Some(conn) = &mut self.receivers[index].conn
        {
            conn.alive(now);
        }
    }

    /// A sequence ack was sent.
    pub fn sequence_acked(&mut self, slot: Slot, id: SequenceId, _now: Time) {
        if let Some(index) = self.local(slot)
            && let Some(conn) = &mut self.receivers[index].conn
        {
            conn.sequence_acked(id.0);
        }
    }

    fn on_connection(&mut self, slot: Slot) -> Option<(usize, u16)> {
        let index = self.local(slot)?;
        let conn = self.receivers[index].conn.as_ref()?;
        Some((index, conn.epoch))
    }

    fn membership(&mut self, index: usize, slot: Slot, group: GroupId) -> u32 {
        let receiver = &mut self.receivers[index];
        match receiver
            .members
            .binary_search_by_key(&group, |(group, _)| *group)
        {
            Ok(at) => receiver.members[at].1,
            Err(at) => {
                // At most 2^24 slots and 2^24 groups, of which memory holds far fewer.
                let member = self.members.len() as u32;
                self.members.push(Membership::new(slot, group));
                receiver.members.insert(at, (group, member));
                self.groups[group.index()].members.push(member);
                self.observe_member(index, member);
                self.book_before_its_time(slot, group);
                member
            }
        }
    }

    /// What a group had folded before a receiver first asked to be a member is judged by no
    /// fold to come: it was addressed to it all the same, by the count of the publishers.
    fn book_before_its_time(&mut self, slot: Slot, group: GroupId) {
        let spared = self.plan.slots[slot.index()].no_echo;
        let mut before = Ledger::default();
        for stream in &self.groups[group.index()].streams {
            let folded = u64::from(stream.horizon);
            match spared && stream.publisher == slot {
                true => before.no_echo += folded,
                false => before.add(Bucket::NotMember, folded),
            }
        }
        self.ledgers[group.index()].merge(&before);
        let pool = self.plan.pool_of(slot);
        self.pools[pool].merge(&before);
    }

    pub(super) fn confirm(&mut self, index: usize, now: Time) {
        let receiver = &mut self.receivers[index];
        let sent = receiver.sent_to(&self.groups);
        let Some(conn) = receiver.conn.as_mut().filter(|c| c.link == Link::Opened) else {
            return;
        };
        let away = sent.saturating_sub(conn.sent_before);
        let (held, overfull) = conn.holding(away);
        if overfull && self.overfull.len() < OVERFULL_MAX {
            // Slots of the shard are slots of the plan, by construction of the ranges.
            let slot = self.slots.start + index as u32;
            self.overfull.insert((slot, conn.epoch, conn.transport));
        }
        conn.link = Link::Up;
        conn.alive(now);
        conn.refused = None;
        receiver.recoveries.push(Recovery {
            epoch: conn.epoch,
            transport: conn.transport,
            lost_at: conn.lost_at,
            confirmed_at: now,
            held,
        });
        let transport = conn.transport;
        receiver
            .control
            .push((now, Control::RecoveryConfirmed(transport)));
        for (group, member) in receiver.members.clone() {
            self.ask_after(group, now);
            let silent = &mut self.members[member as usize].silent_since;
            silent.get_or_insert(transport);
        }
        self.exercised.add(Property::R1, 1);
    }
}
