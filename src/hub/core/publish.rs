//! The fan-out: one published message to every member of its group.
//!
//! The part of the frame that all receivers share is encoded once; per receiver there is a
//! sequence id, a place in its queue and one in its transport's outbox. With faults armed
//! each delivery goes through `publish_faults.rs` instead.

use std::rc::Rc;

use super::arena::Key;
use super::outbox::Out;
use super::state::{Core, Unacked};
use crate::base::{AckId, Time};
use crate::wire::{Data, MessageFrom, UNACKED_BYTES_MAX, UNACKED_MESSAGES_MAX, json};

/// Messages that may wait for the transport of a session without sequence ids; beyond
/// this, or [`UNACKED_BYTES_MAX`], the client is too slow and its session ends. Assumed:
/// the service's own limit (close reason `SlowClient`) is not documented.
const UNNUMBERED_WAITING_MAX: usize = 10_000;

/// A publish that is to be executed.
#[derive(Clone, Copy)]
pub(crate) struct Publication<'a> {
    pub(crate) group: &'a str,
    pub(crate) data: &'a Data<'a>,
    /// The publishing session.
    pub(crate) publisher: Key,
    pub(crate) no_echo: bool,
    pub(crate) ack_id: Option<AckId>,
    pub(crate) now: Time,
}

impl Core {
    /// Executes a publish: queues it to every member of the group.
    pub(crate) fn publish(&mut self, publication: &Publication<'_>) {
        self.truth.publishes_executed += 1;
        let Some(publisher) = self.sessions.get(publication.publisher) else {
            return;
        };
        let user = publisher.user.clone();
        let Some(group) = self.groups.find(publisher.hub, publication.group) else {
            return;
        };
        let tail = self.tail(publication.group, user.as_deref(), publication.data);
        // The list is taken out for the time of the fan-out; memberships change only
        // after it, when the sessions found too full are ended.
        let members = self.groups.take_members(group);
        let faulty = !self.faults.is_empty();
        for &member in &members {
            if publication.no_echo && member == publication.publisher {
                continue;
            }
            self.truth.deliveries_owed += 1;
            if faulty {
                self.deliver_faulty(publication, user.as_deref(), member, &tail);
            } else {
                self.enqueue(member, &tail);
            }
        }
        if faulty {
            self.deliver_extra(publication, user.as_deref(), &members, &tail);
        }
        self.groups.give_back(group, members);
    }

    /// The shared part of a group message.
    pub(crate) fn tail(&mut self, group: &str, user: Option<&str>, data: &Data<'_>) -> Rc<[u8]> {
        self.scratch.clear();
        let from = MessageFrom::Group {
            group: group.into(),
            from_user_id: user.map(Into::into),
        };
        json::message_tail(&from, data, &mut self.scratch);
        self.scratch.as_slice().into()
    }

    /// Queues one data message to one session; returns its sequence id (0: unnumbered).
    /// A session that is too full gets nothing and is ended after the fan-out.
    pub(crate) fn enqueue(&mut self, key: Key, tail: &Rc<[u8]>) -> u64 {
        let Some(session) = self.sessions.get_mut(key) else {
            return 0;
        };
        let link = session.link;
        let mut sequence_id = 0;
        if session.subprotocol.is_reliable() {
            if session.unacked.len() >= UNACKED_MESSAGES_MAX
                || session.unacked_bytes + tail.len() > UNACKED_BYTES_MAX
            {
                self.overflowed.push(key);
                return 0;
            }
            session.last_id += 1;
            sequence_id = session.last_id;
            session.unacked_bytes += tail.len();
            session.unacked.push_back(Unacked {
                sequence_id,
                tail: tail.clone(),
            });
            self.truth.deliveries_numbered += 1;
        } else {
            if let Some(outbox) = link
                .and_then(|link| self.links.get(link))
                .map(|l| &l.outbox)
                && (outbox.len() >= UNNUMBERED_WAITING_MAX
                    || outbox.data_bytes() + tail.len() > UNACKED_BYTES_MAX)
            {
                self.overflowed.push(key);
                return 0;
            }
            self.truth.deliveries_unnumbered += 1;
        }
        if let Some(link) = link {
            self.send(
                link,
                Out::Data {
                    sequence_id,
                    tail: tail.clone(),
                },
            );
        }
        sequence_id
    }
}
