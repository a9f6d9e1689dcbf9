//! Publishes: numbering, stamping, encoding.

use std::cell::Cell;

use crate::base::{AckId, Draws, GroupId, SequenceId, Slot, Time};
use crate::payload::{Identity, StreamId, Template};
use crate::protocol::{Control, Operation, Transmission, Transmit};
use crate::scenario::{Destination, Publish, Scenario, Sizes};
use crate::wire::{Upstream, codec};

use super::shared::Shared;

/// Stands for "no group" in the identity of an event.
pub(super) const NO_GROUP: GroupId = GroupId(0xff_ffff);

/// A publish on its way: what a session hands back with its outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub(super) group: GroupId,
    /// Its number in the stream; 0 until it is written for the first time.
    pub(super) seq: u32,
    /// Bytes of its payload, the same in every transmission.
    pub(super) size: u32,
    /// When the schedule wanted it sent.
    pub(super) intended: Time,
}

impl Message {
    pub(super) fn stream(&self, publisher: Slot) -> StreamId {
        StreamId {
            publisher,
            group: self.group,
        }
    }
}

/// A publisher's counters; they go on across connections.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    /// Transmissions so far.
    tx: u32,
    /// The last number given in each stream, by group.
    seqs: Vec<(GroupId, u32)>,
    /// Whose turn it is among the joined groups.
    turn: usize,
    /// Sizes and destinations, where they are random.
    draws: Option<Draws>,
    /// The last receipt, until the verifier is told: see [`Numbering::tell_receipt`].
    receipt: Cell<Option<(SequenceId, Time)>>,
}

impl Numbering {
    /// The counters of a new client.
    pub(super) fn new(scenario: &Scenario, slot: Slot) -> Self {
        let plan = scenario.pools[scenario.pool_of(slot)].publish.as_ref();
        let random = plan.is_some_and(|plan| {
            plan.sizes != Sizes::Fixed || matches!(plan.to, Destination::Random(_))
        });
        let draws = || scenario.seed.draws("message", u64::from(slot.0));
        Numbering {
            draws: random.then(draws),
            ..Numbering::default()
        }
    }

    /// A number from 0 to 1; 0 for clients whose messages leave nothing to chance.
    pub(super) fn draw(&mut self) -> f64 {
        self.draws.as_mut().map_or(0.0, Draws::fraction)
    }

    /// Tells the verifier of the last receipt. It must know before it hears anything else of
    /// the receiver, and need not before: what it keeps of a receiver is cold memory when a
    /// receipt falls due, and is wanted anyway for what comes next.
    pub(super) fn tell_receipt(&self, shared: &Shared, slot: Slot) {
        if let Some((id, at)) = self.receipt.take() {
            shared.shard.borrow_mut().sequence_acked(slot, id, at);
        }
    }

    pub(super) fn next_seq(&mut self, group: GroupId) -> u32 {
        match self.seqs.iter_mut().find(|(known, _)| *known == group) {
            Some((_, seq)) => {
                *seq += 1;
                *seq
            }
            None => {
                self.seqs.push((group, 1));
                1
            }
        }
    }

    /// What the next publish asks of the session; `None` when there is nowhere to send.
    pub(super) fn operation(
        &mut self,
        shared: &Shared,
        slot: Slot,
        joined: &[GroupId],
        plan: &Publish,
        intended: Time,
    ) -> Option<Operation<Message>> {
        let size = match plan.sizes {
            Sizes::Fixed => plan.payload.size,
            sizes => sizes.pick(plan.payload.size, self.draw(), self.draw()),
        };
        let mut content = Message {
            group: NO_GROUP,
            seq: 0,
            // At most a mebibyte.
            size: size as u32,
            intended,
        };
        content.group = match &plan.to {
            Destination::Group(group) => *group,
            Destination::Joined => {
                let group = *joined.get(self.turn % joined.len().max(1))?;
                self.turn = self.turn.wrapping_add(1);
                group
            }
            Destination::Random(groups) => {
                let nth = (self.draw() * groups.len() as f64) as usize;
                *groups.get(nth.min(groups.len() - 1))?
            }
            Destination::Event { name, reply } => {
                if *reply {
                    content.group = shared.audiences.connection(slot).unwrap_or(NO_GROUP);
                }
                return Some(Operation::Event {
                    event: name.as_str().into(),
                    content,
                });
            }
            // Servers publish these, clients never.
            Destination::Everybody | Destination::User(_) | Destination::Connection(_) => {
                return None;
            }
        };
        Some(Operation::Send {
            group: shared.groups[content.group.index()].clone(),
            no_echo: plan.no_echo,
            content,
        })
    }

    /// Encodes a frame into the shared scratch buffer and tells the verifier what it is.
    pub(super) fn encode(
        &mut self,
        shared: &Shared,
        slot: Slot,
        plan: Option<&Publish>,
        transmit: Transmit<'_, Message>,
        now: Time,
        write: impl FnOnce(&[u8]),
    ) {
        let subprotocol = shared.subprotocol_of(slot);
        let mut scratch = shared.scratch.borrow_mut();
        let scratch = &mut *scratch;
        scratch.frame.clear();
        match transmit {
            Transmit::Control(Control::Ping) => {
                codec::encode_upstream(subprotocol, &Upstream::Ping, &mut scratch.frame)
            }
            Transmit::Control(Control::SequenceAck(sequence_id)) => {
                self.receipt.set(Some((sequence_id, now)));
                let frame = Upstream::SequenceAck { sequence_id };
                codec::encode_upstream(subprotocol, &frame, &mut scratch.frame);
            }
            // A pool's client opens no stream and invokes nothing.
            Transmit::Newer(_) => return,
            Transmit::Request {
                operation,
                transmission,
            } => {
                let ack_id = transmission.ack_id;
                if let Some(id) = ack_id {
                    shared.shard.borrow_mut().request_sent(slot, id, now);
                }
                // Joins and leaves are always answered.
                let asked = ack_id.unwrap_or(AckId(0));
                let frame = match operation {
                    Operation::Join(group) => {
                        if let Some(id) = shared.group_id(group) {
                            shared.shard.borrow_mut().join_invoked(slot, id, asked, now);
                        }
                        Upstream::JoinGroup {
                            group: (&**group).into(),
                            ack_id,
                        }
                    }
                    Operation::Leave(group) => {
                        if let Some(id) = shared.group_id(group) {
                            shared
                                .shard
                                .borrow_mut()
                                .leave_invoked(slot, id, asked, now);
                        }
                        Upstream::LeaveGroup {
                            group: (&**group).into(),
                            ack_id,
                        }
                    }
                    Operation::Send {
                        group,
                        no_echo,
                        content,
                    } => {
                        // Only pools that publish send, so there is a plan.
                        let Some(plan) = plan else { return };
                        let identity =
                            self.stamp(shared, slot, content, &transmission, *no_echo, now);
                        shared
                            .shard
                            .borrow_mut()
                            .transmitted(&identity, ack_id, now);
                        let template = Template {
                            size: content.size as usize,
                            ..plan.payload
                        };
                        let data = template.write(&identity, &mut scratch.payload);
                        Upstream::SendToGroup {
                            group: (&**group).into(),
                            ack_id,
                            no_echo: *no_echo,
                            data,
                        }
                    }
                    Operation::Event { event, content } => {
                        let Some(plan) = plan else { return };
                        let identity = self.stamp(shared, slot, content, &transmission, false, now);
                        if content.group != NO_GROUP {
                            shared
                                .shard
                                .borrow_mut()
                                .transmitted(&identity, ack_id, now);
                        }
                        let template = Template {
                            size: content.size as usize,
                            ..plan.payload
                        };
                        let data = template.write(&identity, &mut scratch.payload);
                        Upstream::Event {
                            event: (&**event).into(),
                            ack_id,
                            data,
                        }
                    }
                };
                codec::encode_upstream(subprotocol, &frame, &mut scratch.frame);
            }
        }
        write(&scratch.frame);
    }

    fn stamp(
        &mut self,
        shared: &Shared,
        slot: Slot,
        message: &mut Message,
        transmission: &Transmission,
        no_echo: bool,
        now: Time,
    ) -> Identity {
        if message.seq == 0 {
            message.seq = self.next_seq(message.group);
        }
        self.tx += 1;
        Identity {
            run: shared.run,
            publisher: slot,
            group: message.group,
            seq: message.seq,
            tx: self.tx,
            epoch: transmission.epoch,
            transport: transmission.transport,
            no_echo,
            cause: transmission.cause,
            attempt: u8::try_from(transmission.attempt)
                .unwrap_or(u8::MAX)
                .min(15),
            intended: message.intended.as_micros() & ((1 << 40) - 1),
            lag_us: now.micros_since(message.intended),
        }
    }
}
