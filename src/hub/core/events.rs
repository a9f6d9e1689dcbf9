//! User events: to nobody, to the built-in echo, or upstream, and what comes back.
//!
//! Calls upstream leave the core as [`Call`]s that the shell carries out; the answer comes
//! back through [`Core::answered`]. The events of one connection go one after another.

use std::collections::VecDeque;
use std::rc::Rc;

use super::arena::Key;
use super::cookies::{Remembered, Said};
use super::outbox::{End, Nack};
use super::publish::Publication;
use super::requests::Source;
use super::sessions::connection_text;
use super::state::{Core, Session};
use crate::base::{AckId, Time};
use crate::hub::config::EventHandler;
use crate::wire::{Data, Metadata, Subprotocol, close};

const BAD_EVENT: &Nack = &Nack {
    name: "BadRequest",
    message: "an event name is a letter followed by at most 127 letters, digits, '_', '.' or '-'",
};
const NO_HANDLER: &Nack = &Nack {
    name: "InternalServerError",
    message: "no event handler takes this event",
};
const HANDLER_FAILED: &Nack = &Nack {
    name: "InternalServerError",
    message: "the event handler failed",
};
const TOO_MANY: &Nack = &Nack {
    name: "InternalServerError",
    message: "too many events of this connection wait for the event handler",
};
const PENDING: &Nack = &Nack {
    name: "BadRequest",
    message: "an invocation with this id is pending",
};
/// Events of one connection that may wait for the handler; more are refused.
pub(crate) const WAITING_EVENTS_MAX: usize = 1000;

/// A user event.
pub(crate) struct Event<'a> {
    pub(crate) name: &'a str,
    pub(crate) data: &'a Data<'a>,
    pub(crate) metadata: &'a Metadata,
    pub(crate) reply: Reply,
}

/// How the sender of an event wants to hear of its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    /// An ack, if there is an id; a message with the handler's answer before it.
    Ack(Option<AckId>),
    /// An `invokeResponse` with the handler's answer.
    Invocation(Box<str>),
    /// A simple client: the answer's payload, or close 1011.
    Simple,
}

/// What a call upstream is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum CallKind {
    Connected,
    Disconnected {
        reason: Box<str>,
    },
    /// A member of a group from now on; the body says of which.
    Joined,
    /// No member any more.
    Left,
    User {
        name: Box<str>,
    },
}

/// The connection that a call upstream speaks of.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) id: u128,
    pub(crate) hub: Rc<str>,
    pub(crate) user: Option<Rc<str>>,
    pub(crate) subprotocol: Option<Subprotocol>,
    /// What the handler wants to be reminded of.
    pub(crate) remembered: Remembered,
    /// The call's number on this connection; `connect` had 0.
    pub(crate) number: u64,
}

/// A call that the shell shall make.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) kind: CallKind,
    pub(crate) caller: Caller,
    pub(crate) data: Data<'static>,
    pub(crate) metadata: Metadata,
    /// Whom to give the answer to; `None`: it does not matter.
    pub(crate) ticket: Option<Ticket>,
}

/// Who waits for a call's answer.
#[derive(Debug)]
pub(crate) struct Ticket {
    session: Key,
    reply: Option<(Source, Reply)>,
}

/// What the handler answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) data: Option<Data<'static>>,
    pub(crate) said: Said,
}

/// What a session needs to have its events handled upstream.
#[derive(Default)]
pub(crate) struct Handled {
    remembered: Remembered,
    calls: u64,
    running: bool,
    /// The invocation that is being answered, if its answer is still wanted.
    pub(super) invoking: Option<Box<str>>,
    pub(super) waiting: VecDeque<Waiting>,
}

/// An event that waits for those before it.
pub(super) struct Waiting {
    kind: CallKind,
    data: Data<'static>,
    metadata: Metadata,
    pub(super) reply: Option<(Source, Reply)>,
}

/// Event names. Source: the official emulator.
fn is_event_name(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

impl Core {
    /// A user event, for whoever handles events here.
    pub(super) fn event(&mut self, from: Source, event: &Event<'_>) {
        if let Reply::Ack(ack_id) = event.reply {
            let named = is_event_name(event.name).then_some(()).ok_or(BAD_EVENT);
            if self.is_answered(from, ack_id, named, true) {
                return;
            }
        } else if !is_event_name(event.name) {
            self.truth.bad_requests += 1;
            self.failed(from, &event.reply, BAD_EVENT);
            return;
        } else if self.is_pending(from.session, &event.reply) {
            self.truth.bad_requests += 1;
            self.failed(from, &event.reply, PENDING);
            return;
        }
        if self.settings.upstream.is_some() {
            self.queue_event(from, event);
            return;
        }
        match self.settings.handler {
            EventHandler::None => {
                self.truth.events_unhandled += 1;
                self.failed(from, &event.reply, NO_HANDLER);
            }
            EventHandler::Echo => {
                self.truth.events_handled += 1;
                let answer = Some(event.data.reborrow());
                self.executed(from, &event.reply, answer);
            }
        }
    }

    fn queue_event(&mut self, from: Source, event: &Event<'_>) {
        let Some(handled) = self.handled(from.session) else {
            return;
        };
        if handled.waiting.len() >= WAITING_EVENTS_MAX {
            self.truth.events_unhandled += 1;
            self.failed(from, &event.reply, TOO_MANY);
            return;
        }
        handled.waiting.push_back(Waiting {
            kind: CallKind::User {
                name: event.name.into(),
            },
            data: event.data.reborrow().into_owned(),
            metadata: event.metadata.clone(),
            reply: Some((from, event.reply.clone())),
        });
        self.call_next(from.session);
    }

    pub(super) fn handled(&mut self, session: Key) -> Option<&mut Handled> {
        let session = self.sessions.get_mut(session)?;
        Some(session.handled.get_or_insert_default())
    }

    /// Hands the next waiting event of a session to the shell, unless one is under way.
    fn call_next(&mut self, key: Key) {
        let Some(handled) = self.handled(key).filter(|handled| !handled.running) else {
            return;
        };
        let Some(next) = handled.waiting.pop_front() else {
            return;
        };
        handled.running = true;
        if let Some((_, Reply::Invocation(id))) = &next.reply {
            handled.invoking = Some(id.clone());
        }
        let ticket = Ticket {
            session: key,
            reply: next.reply,
        };
        self.call(key, next.kind, next.data, next.metadata, Some(ticket));
    }

    fn call(
        &mut self,
        key: Key,
        kind: CallKind,
        data: Data<'static>,
        metadata: Metadata,
        ticket: Option<Ticket>,
    ) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let caller = caller(session, self.groups.hub_name(session.hub));
        self.calls.push(Call {
            kind,
            caller,
            data,
            metadata,
            ticket,
        });
    }

    /// Tells the handler that a session has begun; its other events wait for that.
    pub(super) fn tell_connected(&mut self, key: Key, remembered: Remembered) {
        let Some(told) = self.settings.upstream else {
            return;
        };
        if let Some(handled) = self.handled(key) {
            handled.remembered = remembered;
            handled.running = told.connected;
            if !told.connected {
                return;
            }
            let ticket = Ticket {
                session: key,
                reply: None,
            };
            let data = Data::Json("{}".into());
            self.call(
                key,
                CallKind::Connected,
                data,
                Metadata::default(),
                Some(ticket),
            );
        }
    }

    /// Tells the handler that a session is over.
    pub(super) fn tell_disconnected(&mut self, key: Key, reason: &str) {
        if self.settings.upstream.is_some_and(|told| told.disconnected) {
            let body = serde_json::json!({ "reason": reason }).to_string();
            let kind = CallKind::Disconnected {
                reason: reason.into(),
            };
            self.call(
                key,
                kind,
                Data::Json(body.into()),
                Metadata::default(),
                None,
            );
        }
    }

    /// Tells the handler that a session has become a member of a group, if it wants to know;
    /// behind the session's events that wait already.
    pub(super) fn tell_joined(&mut self, key: Key, group: &str) {
        if self.settings.upstream.is_some_and(|told| told.joined) {
            self.queue_of_group(key, CallKind::Joined, group);
        }
    }

    /// The same of a session that has left a group but goes on.
    pub(super) fn tell_left(&mut self, key: Key, group: &str) {
        if self.settings.upstream.is_some_and(|told| told.left) {
            self.queue_of_group(key, CallKind::Left, group);
        }
    }

    fn queue_of_group(&mut self, key: Key, kind: CallKind, group: &str) {
        let Some(handled) = self.handled(key) else {
            return;
        };
        if handled.waiting.len() >= WAITING_EVENTS_MAX {
            self.truth.events_unhandled += 1;
            return;
        }
        handled.waiting.push_back(Waiting {
            kind,
            data: of_group(group),
            metadata: Metadata::default(),
            reply: None,
        });
        self.call_next(key);
    }

    /// Tells the handler that a session that is about to end leaves all its groups.
    pub(super) fn tell_left_all(&mut self, key: Key) {
        if !self.settings.upstream.is_some_and(|told| told.left) {
            return;
        }
        let groups: Vec<Rc<str>> = self
            .sessions
            .get(key)
            .map(|session| session.groups.iter())
            .into_iter()
            .flatten()
            .filter_map(|membership| self.groups.name(membership.group).cloned())
            .collect();
        for group in groups {
            self.call(
                key,
                CallKind::Left,
                of_group(&group),
                Metadata::default(),
                None,
            );
        }
    }

    /// Moves the calls that wait to be made into `calls`.
    pub(crate) fn take_calls(&mut self, calls: &mut Vec<Call>) {
        calls.append(&mut self.calls);
    }

    /// The handler has answered a call, or failed.
    pub(crate) fn answered(&mut self, ticket: Ticket, answer: Result<Answer, ()>, now: Time) {
        self.now = now;
        let Ticket { session, reply } = ticket;
        let Some(handled) = self.handled(session) else {
            return;
        };
        handled.running = false;
        let invoking = handled.invoking.take();
        let reply = reply.filter(|(_, reply)| match reply {
            Reply::Invocation(id) => invoking.as_ref() == Some(id),
            Reply::Ack(_) | Reply::Simple => true,
        });
        match (answer, reply) {
            (Ok(answer), reply) => {
                let dropped = handled.remembered.update(&answer.said);
                self.truth.cookies_dropped += dropped;
                if let Some((from, reply)) = reply {
                    self.truth.events_handled += 1;
                    self.executed(from, &reply, answer.data);
                }
            }
            (Err(()), Some((from, reply))) => {
                self.truth.events_failed += 1;
                self.failed(from, &reply, HANDLER_FAILED);
            }
            (Err(()), None) => self.truth.events_failed += 1,
        }
        self.call_next(session);
        self.end_overflowed();
    }

    /// The event was executed: the answer goes out before the ack.
    fn executed(&mut self, from: Source, reply: &Reply, answer: Option<Data<'_>>) {
        match reply {
            Reply::Ack(ack_id) => {
                self.send_server_message(from.session, answer);
                self.succeed(from, *ack_id);
            }
            Reply::Simple => self.send_server_message(from.session, answer),
            Reply::Invocation(id) => self.respond(from, id, Ok(answer)),
        }
    }

    fn send_server_message(&mut self, session: Key, data: Option<Data<'_>>) {
        let hub = self.sessions.get(session).map(|session| session.hub);
        if let (Some(data), Some(hub)) = (data, hub) {
            let publication = Publication::of_server(hub, &data, self.now);
            let mut message = publication.message(None);
            self.truth.answers_owed += 1;
            self.fan_out(&publication, None, &[session], &mut message);
        }
    }

    /// The event was not executed.
    fn failed(&mut self, from: Source, reply: &Reply, nack: &'static Nack) {
        match reply {
            Reply::Ack(ack_id) => self.nack(from, *ack_id, nack),
            Reply::Simple => {
                self.remove_session(from.session, nack.message);
                let end = End::Close {
                    code: close::INTERNAL,
                    reason: nack.message.into(),
                };
                self.end_link(from.link, end);
            }
            Reply::Invocation(id) => self.respond(from, id, Err(nack)),
        }
    }
}

/// The body of an event about a group.
fn of_group(group: &str) -> Data<'static> {
    let body = serde_json::json!({ "group": group }).to_string();
    Data::Json(body.into())
}

/// Who a call is about; counts the call.
fn caller(session: &mut Session, hub: Rc<str>) -> Caller {
    let handled = session.handled.get_or_insert_default();
    handled.calls += 1;
    Caller {
        id: session.id,
        hub,
        user: session.user.clone(),
        subprotocol: session.dialect.subprotocol(),
        remembered: handled.remembered.clone(),
        number: handled.calls,
    }
}

impl Caller {
    /// The connectionId.
    pub(crate) fn connection(&self) -> String {
        connection_text(self.id)
    }
}
