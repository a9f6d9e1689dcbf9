//! The frames of newer clients: group streams, invocations; and those of simple clients.
//! Source: client-spec 3.6, the official JS client.

use std::time::Duration;

use serde_json::json;

use super::arena::Key;
use super::events::{Event, Reply};
use super::message::{Dialect, RawMode};
use super::publish::Publication;
use super::requests::Source;
use super::sessions::is_group_name;
use super::state::{Core, Timer};
use crate::base::Time;
use crate::wire::{Data, Metadata, Request, StreamError, close};

/// Live streams of one connection; a start beyond is refused.
pub(crate) const STREAMS_MAX: usize = 100;

/// A stream that a session publishes.
pub(crate) struct Stream {
    id: Box<str>,
    group: Box<str>,
    no_echo: bool,
    /// The number that the publisher must use next.
    expected: u64,
    idle_timeout: Duration,
    last_heard: Time,
}

/// Why a stream ended, as its subscribers are told.
struct Ending<'a> {
    name: &'static str,
    message: Option<&'a str>,
    code: Option<&'a str>,
}

impl Core {
    /// A frame that only newer clients send.
    pub(super) fn newer_frame(&mut self, from: Source, request: Request<'_>, now: Time) {
        self.truth.requests.newer += 1;
        match request {
            // The caller has taken these.
            Request::Basic { .. } => {}
            Request::StartStream {
                group,
                stream_id,
                idle_timeout,
                no_echo,
            } => {
                let stream = Stream {
                    id: stream_id.as_ref().into(),
                    group: group.as_ref().into(),
                    no_echo,
                    expected: 1,
                    idle_timeout,
                    last_heard: now,
                };
                self.start_stream(from, stream, now);
            }
            Request::StreamData {
                stream_id,
                sequence_id,
                data,
            } => self.stream_data(from, &stream_id, sequence_id, data.as_ref(), now),
            Request::EndStream { stream_id, error } => {
                self.end_stream(from, &stream_id, error, now);
            }
            Request::Invoke {
                invocation_id,
                event,
                data,
            } => {
                let event = Event {
                    name: &event,
                    data: &data,
                    metadata: Metadata::EMPTY,
                    reply: Reply::Invocation(invocation_id.as_ref().into()),
                };
                self.event(from, &event);
            }
            // The handler cannot be called back; its answer comes to a client that has
            // forgotten the invocation and passes over it.
            Request::CancelInvocation { .. } => {}
        }
    }

    fn stream(&mut self, session: Key, id: &str) -> Option<&mut Stream> {
        let session = self.sessions.get_mut(session)?;
        session.streams.iter_mut().find(|stream| *stream.id == *id)
    }

    fn stream_closed(&mut self, from: Source, id: &str, error: Option<(&str, &str)>) {
        let mut frame = json!({"type": "streamClosed", "streamId": id});
        if let Some((name, message)) = error {
            frame["error"] = json!({"name": name, "message": message});
        }
        self.send_json(from.link, frame.to_string().into_bytes());
    }

    fn stream_ack(&mut self, from: Source, id: &str, expected: u64) {
        let frame = json!({"type": "streamAck", "streamId": id, "expectedSequenceId": expected});
        self.send_json(from.link, frame.to_string().into_bytes());
    }

    fn start_stream(&mut self, from: Source, stream: Stream, now: Time) {
        let Some(session) = self.sessions.get_mut(from.session) else {
            return;
        };
        let id = stream.id.clone();
        let refused = if !is_group_name(&stream.group) {
            Some(("BadRequest", "not a group name"))
        } else if session.streams.iter().any(|other| other.id == id) {
            Some(("BadRequest", "a stream with this id is open"))
        } else if session.streams.len() >= STREAMS_MAX {
            Some(("BadRequest", "too many streams are open"))
        } else if !session.permissions.may_send(&stream.group) {
            Some(("Forbidden", "the connection has no role that allows this"))
        } else {
            None
        };
        if refused.is_some() {
            self.stream_closed(from, &id, refused);
            return;
        }
        let idle = now + stream.idle_timeout;
        session.streams.push(stream);
        self.watch_streams(from.session, idle);
        self.stream_ack(from, &id, 1);
    }

    fn stream_data(
        &mut self,
        from: Source,
        id: &str,
        sequence_id: Option<u64>,
        data: Option<&Data<'_>>,
        now: Time,
    ) {
        let Some(stream) = self.stream(from.session, id) else {
            self.stream_closed(from, id, Some(("StreamNotFound", "no such stream is open")));
            return;
        };
        stream.last_heard = now;
        let expected = stream.expected;
        let (Some(number), Some(data)) = (sequence_id, data) else {
            return;
        };
        if number > expected {
            let frame = json!({
                "type": "streamNack", "streamId": id, "expectedSequenceId": expected,
                "name": "InvalidSequenceId", "message": "a message of the stream is missing",
            });
            self.send_json(from.link, frame.to_string().into_bytes());
            return;
        }
        if number == expected {
            stream.expected += 1;
            let (group, no_echo) = (stream.group.clone(), stream.no_echo);
            let fields = json!({"streamId": id, "streamSequenceId": number});
            self.publish_part(from.session, &group, no_echo, data, &fields, now);
        }
        let expected = expected.max(number + 1);
        self.stream_ack(from, id, expected);
    }

    fn publish_part(
        &mut self,
        session: Key,
        group: &str,
        no_echo: bool,
        data: &Data<'_>,
        stream: &serde_json::Value,
        now: Time,
    ) {
        let Some(hub) = self.sessions.get(session).map(|session| session.hub) else {
            return;
        };
        let publication = Publication {
            publisher: Some(session),
            no_echo,
            ..Publication::plain(hub, group, data, now)
        };
        let user = self.user_of(Some(session));
        let mut message = publication
            .message(user.as_deref())
            .with_json_fields(format!(",\"stream\":{stream}"));
        self.publish_message(&publication, user.as_deref(), &mut message);
    }

    fn end_stream(&mut self, from: Source, id: &str, error: Option<StreamError<'_>>, now: Time) {
        let ending = error.as_ref().map(|error| Ending {
            name: "UserError",
            message: error.message.as_deref(),
            code: error.code.as_deref(),
        });
        if self.finish_stream(from.session, id, ending, now) {
            self.stream_closed(from, id, None);
        } else {
            self.stream_closed(from, id, Some(("StreamNotFound", "no such stream is open")));
        }
    }

    /// Ends a stream and tells its subscribers; whether there was one.
    fn finish_stream(
        &mut self,
        session: Key,
        id: &str,
        ending: Option<Ending<'_>>,
        now: Time,
    ) -> bool {
        let Some(state) = self.sessions.get_mut(session) else {
            return false;
        };
        let Some(at) = state.streams.iter().position(|stream| *stream.id == *id) else {
            return false;
        };
        let stream = state.streams.swap_remove(at);
        let mut fields = json!({
            "streamId": id, "streamSequenceId": stream.expected, "endOfStream": true,
        });
        if let Some(ending) = ending {
            fields["error"] = json!({"name": ending.name});
            if let Some(message) = ending.message {
                fields["error"]["message"] = message.into();
            }
            if let Some(code) = ending.code {
                fields["error"]["userErrorCode"] = code.into();
            }
        }
        // A message without data would make some clients fail.
        let nothing = Data::Text("".into());
        self.publish_part(
            session,
            &stream.group,
            stream.no_echo,
            &nothing,
            &fields,
            now,
        );
        true
    }

    /// Ends every stream of a session that is about to go.
    pub(super) fn cancel_streams(&mut self, session: Key, now: Time) {
        while let Some(id) = self
            .sessions
            .get(session)
            .and_then(|session| session.streams.last())
            .map(|stream| stream.id.clone())
        {
            let ending = Ending {
                name: "Cancelled",
                message: Some("the publisher is gone"),
                code: None,
            };
            self.finish_stream(session, &id, Some(ending), now);
        }
    }

    /// Sees to it that the streams of a session are looked at by `at`. One timer counts, the
    /// earliest; others find nothing to do.
    fn watch_streams(&mut self, key: Key, at: Time) {
        if let Some(session) = self.sessions.get_mut(key)
            && at < session.streams_idle_at
        {
            session.streams_idle_at = at;
            self.set_timer(at, Timer::StreamsIdle { session: key });
        }
    }

    /// Ends the streams of a session that were silent too long, and sets the next timer.
    pub(super) fn streams_idle(&mut self, key: Key, now: Time) {
        let Some(session) = self.sessions.get(key) else {
            return;
        };
        if now < session.streams_idle_at {
            return;
        }
        let link = session.link;
        let (mut idle, mut next): (Vec<Box<str>>, _) = (Vec::new(), None::<Time>);
        for stream in &session.streams {
            let at = stream.last_heard + stream.idle_timeout;
            if at <= now {
                idle.push(stream.id.clone());
            } else {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        if let Some(session) = self.sessions.get_mut(key) {
            session.streams_idle_at = Time::MAX;
        }
        for id in idle {
            let ending = Ending {
                name: "IdleTimeout",
                message: None,
                code: None,
            };
            self.finish_stream(key, &id, Some(ending), now);
            if let Some(link) = link {
                let from = Source { link, session: key };
                self.stream_closed(
                    from,
                    &id,
                    Some(("IdleTimeout", "the stream was silent too long")),
                );
            }
        }
        if let Some(next) = next {
            self.watch_streams(key, next);
        }
        self.end_overflowed();
    }

    /// One message of a simple client. Source: docs, client protocols.
    pub(crate) fn simple_frame(&mut self, link: Key, data: &Data<'_>, now: Time) {
        self.now = now;
        let Some(session) = self
            .links
            .get(link)
            .filter(|link| link.end.is_none())
            .map(|link| link.session)
        else {
            return;
        };
        let from = Source { link, session };
        let Some(Dialect::Raw(mode)) = self.sessions.get(session).map(|s| s.dialect.clone()) else {
            return;
        };
        match *mode {
            RawMode::SendEvent => {
                self.truth.requests.event += 1;
                let event = Event {
                    name: "message",
                    data,
                    metadata: Metadata::EMPTY,
                    reply: Reply::Simple,
                };
                self.event(from, &event);
            }
            RawMode::SendToGroup { group, no_echo } => {
                self.truth.requests.send_to_group += 1;
                let Some(hub) = self
                    .sessions
                    .get(session)
                    .filter(|session| session.permissions.may_send(&group))
                    .map(|session| session.hub)
                else {
                    self.truth.forbidden += 1;
                    self.violated(link, close::POLICY, "no role to send to this group");
                    return;
                };
                let publication = Publication {
                    publisher: Some(session),
                    no_echo,
                    ..Publication::plain(hub, &group, data, now)
                };
                self.send_to_group(from, &publication);
            }
        }
        self.end_overflowed();
    }
}
