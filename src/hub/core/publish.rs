//! The fan-out: one published message to every member of its group.
//!
//! The part of the frame that all receivers share is encoded once; per receiver there is a
//! sequence id, a place in its queue and one in its transport's outbox. With faults armed
//! each delivery goes through `publish_faults.rs` instead.

use std::rc::Rc;
use std::time::Duration;

use super::arena::Key;
use super::message::{Message, Tail};
use super::outbox::Out;
use super::state::{Core, Unacked};
use crate::base::{AckId, Time};
use crate::wire::{Data, Extras, MessageFrom, Metadata, UNACKED_BYTES_MAX, UNACKED_MESSAGES_MAX};

/// Messages that may wait for the transport of a session without sequence ids; beyond
/// this, or [`UNACKED_BYTES_MAX`], the client is too slow and its session ends. Assumed:
/// the service's own limit (close reason `SlowClient`) is not documented.
const UNNUMBERED_WAITING_MAX: usize = 10_000;

/// A publish that is to be executed.
#[derive(Clone, Copy)]
pub(crate) struct Publication<'a> {
    pub(crate) hub: Key,
    /// `None`: a server message, to connections whatever their groups.
    pub(crate) group: Option<&'a str>,
    pub(crate) data: &'a Data<'a>,
    pub(crate) metadata: &'a Metadata,
    pub(crate) expires: Time,
    /// The publishing session; `None`: the service.
    pub(crate) publisher: Option<Key>,
    pub(crate) no_echo: bool,
    pub(crate) ack_id: Option<AckId>,
    pub(crate) now: Time,
}

impl<'a> Publication<'a> {
    /// One without extras, publisher or ackId.
    pub(crate) fn plain(hub: Key, group: &'a str, data: &'a Data<'a>, now: Time) -> Self {
        Publication {
            hub,
            group: Some(group),
            data,
            metadata: Metadata::EMPTY,
            expires: Time::MAX,
            publisher: None,
            no_echo: false,
            ack_id: None,
            now,
        }
    }

    /// A message of the server to connections.
    pub(crate) fn of_server(hub: Key, data: &'a Data<'a>, now: Time) -> Self {
        Publication {
            group: None,
            ..Publication::plain(hub, "", data, now)
        }
    }

    /// The same with what a frame carried besides.
    pub(crate) fn with_extras(self, extras: Option<&'a Extras>) -> Self {
        match extras {
            None => self,
            Some(extras) => Publication {
                metadata: &extras.metadata,
                expires: expiry(extras.ttl_seconds.unwrap_or(0), self.now),
                ..self
            },
        }
    }

    /// The message that members get.
    pub(crate) fn message<'m>(&'m self, user: Option<&'m str>) -> Message<'m> {
        let from = match self.group {
            Some(group) => MessageFrom::Group {
                group: group.into(),
                from_user_id: user.map(Into::into),
            },
            None => MessageFrom::Server,
        };
        Message::new(from, self.data.reborrow(), self.metadata, self.expires)
    }
}

/// When a message published `now` with this lifetime expires; 0 s: never.
pub(crate) fn expiry(ttl_seconds: u16, now: Time) -> Time {
    match ttl_seconds {
        0 => Time::MAX,
        seconds => now + Duration::from_secs(seconds.into()),
    }
}

impl Core {
    /// Executes a publish: queues it to every member of the group.
    pub(crate) fn publish(&mut self, publication: &Publication<'_>) {
        let user = self.user_of(publication.publisher);
        let mut message = publication.message(user.as_deref());
        self.publish_message(publication, user.as_deref(), &mut message);
    }

    /// The group that it is published to, if it has members.
    pub(super) fn group_of(&self, publication: &Publication<'_>) -> Option<Key> {
        self.groups.find(publication.hub, publication.group?)
    }

    pub(crate) fn user_of(&self, publisher: Option<Key>) -> Option<Rc<str>> {
        self.sessions.get(publisher?)?.user.clone()
    }

    /// The same with a message that is made already.
    pub(crate) fn publish_message(
        &mut self,
        publication: &Publication<'_>,
        user: Option<&str>,
        message: &mut Message<'_>,
    ) {
        self.truth.publishes_executed += 1;
        self.restart_if_due(publication);
        let group = self.group_of(publication);
        let account = self.account_of(publication, group);
        self.truth.executed(account, false);
        let Some(group) = group else {
            return;
        };
        let before = self.truth.queued();
        // The list is taken out for the time of the fan-out; memberships change only
        // after it, when the sessions found too full are ended.
        let members = self.groups.take_members(group);
        self.fan_out(publication, user, &members, message);
        self.groups.give_back(group, members);
        self.truth.book(account, before);
    }

    /// The place of the account of the group that it is published to.
    pub(super) fn account_of(
        &mut self,
        publication: &Publication<'_>,
        group: Option<Key>,
    ) -> usize {
        if let Some(account) = group.and_then(|group| self.groups.account(group)) {
            return account;
        }
        let hub = self.groups.hub_name(publication.hub);
        let name = publication.group.unwrap_or_default();
        let account = self.truth.groups.place(&hub, name);
        if let Some(group) = group {
            self.groups.set_account(group, account);
        }
        account
    }

    /// Queues a message to these members, or connections, less the sender with noEcho.
    pub(crate) fn fan_out(
        &mut self,
        publication: &Publication<'_>,
        user: Option<&str>,
        members: &[Key],
        message: &mut Message<'_>,
    ) {
        let faulty = !self.faults.is_empty();
        for &member in members {
            if publication.no_echo && Some(member) == publication.publisher {
                continue;
            }
            self.truth.deliveries_owed += 1;
            if faulty {
                self.deliver_faulty(publication, user, member, message);
            } else {
                self.deliver(member, message);
            }
        }
        if faulty {
            self.deliver_extra(publication, user, members, message);
        }
    }

    /// Queues a message to one session; returns its sequence id (0: unnumbered).
    pub(crate) fn deliver(&mut self, key: Key, message: &mut Message<'_>) -> u64 {
        let Some(session) = self.sessions.get(key) else {
            return 0;
        };
        let encoding = session.dialect.encoding();
        let tail = message.tail(encoding, &mut self.scratch).clone();
        self.enqueue(key, &tail)
    }

    /// Queues one data message to one session; returns its sequence id (0: unnumbered).
    /// A session that is too full gets nothing and is ended after the fan-out.
    pub(crate) fn enqueue(&mut self, key: Key, tail: &Rc<Tail>) -> u64 {
        let Some(session) = self.sessions.get_mut(key) else {
            return 0;
        };
        let link = session.link;
        let mut sequence_id = 0;
        if session.dialect.is_reliable() {
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
