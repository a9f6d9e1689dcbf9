//! Group streams, the hub's side: numbered parts of one publisher, accepted once and in
//! order, fanned out like any publish. Source: client-spec 3.6.
//!
//! Stream state belongs to the publishing session: it outlives the transport, so that the
//! publisher can go on after a recovery, and ends with the session.

use std::time::Duration;

use super::arena::Key;
use super::events::{Event, Reply};
use super::publish::Publication;
use super::requests::Source;
use super::sessions::is_group_name;
use super::state::{Core, Timer};
use crate::base::Time;
use crate::wire::{
    AckError, Data, Downstream, Metadata, Request, StreamAnswer, StreamError, StreamFault,
    StreamPart,
};

/// Live streams of one connection; a start beyond is refused and counted. Assumed: the
/// service documents no limit.
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

/// Why the hub refuses or closes a stream: name and text. Source: client-spec 3.6.4.
type Refusal = (&'static str, &'static str);

const NOT_FOUND: Refusal = ("StreamNotFound", "no such stream is open");
const FORBIDDEN: Refusal = ("Forbidden", "the connection has no role that allows this");
const IDLE: Refusal = ("IdleTimeout", "the stream was silent too long");

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
                self.start_stream(from, stream);
            }
            Request::StreamData {
                stream_id,
                sequence_id,
                data,
            } => self.stream_data(from, &stream_id, sequence_id.zip(data), now),
            Request::EndStream { stream_id, error } => self.end_stream(from, &stream_id, error),
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
            Request::CancelInvocation { invocation_id } => {
                self.cancel_invocation(from, &invocation_id);
            }
        }
    }

    fn stream(&mut self, session: Key, id: &str) -> Option<&mut Stream> {
        let session = self.sessions.get_mut(session)?;
        session.streams.iter_mut().find(|stream| *stream.id == *id)
    }

    fn answer_stream(&mut self, link: Key, answer: StreamAnswer<'_>) {
        self.send_frame(link, &Downstream::Stream(answer));
    }

    fn stream_closed(&mut self, link: Key, id: &str, refusal: Option<Refusal>) {
        let error = refusal.map(|(name, message)| AckError {
            name: name.into(),
            message: message.into(),
        });
        let stream_id = id.into();
        self.answer_stream(link, StreamAnswer::Closed { stream_id, error });
    }

    fn start_stream(&mut self, from: Source, stream: Stream) {
        let Some(session) = self.sessions.get_mut(from.session) else {
            return;
        };
        let refused = if !is_group_name(&stream.group) {
            Some(("BadRequest", "not a group name"))
        } else if session.streams.iter().any(|other| other.id == stream.id) {
            Some(("BadRequest", "a stream with this id is open"))
        } else if session.streams.len() >= STREAMS_MAX {
            Some(("BadRequest", "too many streams are open"))
        } else if !session.permissions.may_send(&stream.group) {
            Some(FORBIDDEN)
        } else {
            None
        };
        let id = stream.id.clone();
        if refused.is_some() {
            self.truth.streams.refused += 1;
            self.stream_closed(from.link, &id, refused);
            return;
        }
        self.truth.streams.opened += 1;
        let idle = stream.last_heard + stream.idle_timeout;
        session.streams.push(stream);
        self.watch_streams(from.session, idle);
        let stream_id = (&*id).into();
        let answer = StreamAnswer::Ack {
            stream_id,
            expected: 1,
        };
        self.answer_stream(from.link, answer);
    }

    /// A part, or without one a keep-alive.
    fn stream_data(&mut self, from: Source, id: &str, part: Option<(u64, Data<'_>)>, now: Time) {
        let Some(stream) = self.stream(from.session, id) else {
            self.stream_closed(from.link, id, Some(NOT_FOUND));
            return;
        };
        stream.last_heard = now;
        let Some((number, data)) = part else { return };
        let expected = stream.expected;
        let group = stream.group.clone();
        let allowed = |core: &Core| {
            let session = core.sessions.get(from.session);
            session.is_some_and(|session| session.permissions.may_send(&group))
        };
        if number > expected {
            self.truth.streams.nacked += 1;
            let answer = StreamAnswer::Nack {
                stream_id: id.into(),
                expected,
                name: "InvalidSequenceId".into(),
                message: Some("a message of the stream is missing".into()),
            };
            self.answer_stream(from.link, answer);
        } else if number < expected {
            self.truth.streams.repeated += 1;
            let stream_id = id.into();
            self.answer_stream(
                from.link,
                StreamAnswer::Ack {
                    stream_id,
                    expected,
                },
            );
        } else if !allowed(self) {
            // The role was taken back while the stream was open.
            let fault = fault(FORBIDDEN.0, Some(FORBIDDEN.1), None);
            self.finish_stream(from.session, id, Some(fault));
            self.stream_closed(from.link, id, Some(FORBIDDEN));
        } else {
            self.truth.streams.parts += 1;
            self.publish_part(from.session, id, &data, false, None);
            let (stream_id, expected) = (id.into(), expected + 1);
            self.answer_stream(
                from.link,
                StreamAnswer::Ack {
                    stream_id,
                    expected,
                },
            );
        }
    }

    /// Publishes the stream's next part, and counts it.
    fn publish_part(
        &mut self,
        session: Key,
        id: &str,
        data: &Data<'_>,
        end_of_stream: bool,
        error: Option<StreamFault<'_>>,
    ) {
        let Some(hub) = self.sessions.get(session).map(|session| session.hub) else {
            return;
        };
        let Some(stream) = self.stream(session, id) else {
            return;
        };
        let (group, no_echo, number) = (stream.group.clone(), stream.no_echo, stream.expected);
        stream.expected += 1;
        let publication = Publication {
            publisher: Some(session),
            no_echo,
            ..Publication::plain(hub, &group, data, self.now)
        };
        let user = self.user_of(Some(session));
        let part = StreamPart {
            stream_id: id.into(),
            number,
            end_of_stream,
            error,
        };
        let mut message = publication.message(user.as_deref()).with_stream(part);
        self.publish_message(&publication, user.as_deref(), &mut message);
    }

    fn end_stream(&mut self, from: Source, id: &str, error: Option<StreamError<'_>>) {
        let error = error.as_ref().map(|error| {
            let (message, code) = (error.message.as_deref(), error.code.as_deref());
            fault("UserError", message, code)
        });
        let found = self.finish_stream(from.session, id, error);
        self.stream_closed(from.link, id, (!found).then_some(NOT_FOUND));
    }

    /// Ends a stream and tells its subscribers; whether there was one.
    fn finish_stream(&mut self, session: Key, id: &str, error: Option<StreamFault<'_>>) -> bool {
        if self.stream(session, id).is_none() {
            return false;
        }
        self.truth.streams.ended += 1;
        // A message without data would make some clients fail.
        let nothing = Data::Text("".into());
        self.publish_part(session, id, &nothing, true, error);
        if let Some(session) = self.sessions.get_mut(session) {
            session.streams.retain(|stream| *stream.id != *id);
        }
        true
    }

    /// Ends every stream of a session that is about to go.
    pub(super) fn cancel_streams(&mut self, session: Key) {
        while let Some(id) = self
            .sessions
            .get(session)
            .and_then(|session| session.streams.last())
            .map(|stream| stream.id.clone())
        {
            let error = fault("Cancelled", Some("the publisher is gone"), None);
            self.finish_stream(session, &id, Some(error));
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
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if now < session.streams_idle_at {
            return;
        }
        session.streams_idle_at = Time::MAX;
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
        for id in idle {
            self.truth.streams.idle += 1;
            self.finish_stream(key, &id, Some(fault(IDLE.0, Some(IDLE.1), None)));
            if let Some(link) = link {
                self.stream_closed(link, &id, Some(IDLE));
            }
        }
        if let Some(next) = next {
            self.watch_streams(key, next);
        }
        self.end_overflowed();
    }
}

fn fault<'a>(
    name: &'static str,
    message: Option<&'a str>,
    code: Option<&'a str>,
) -> StreamFault<'a> {
    StreamFault {
        name: name.into(),
        message: message.map(Into::into),
        code: code.map(Into::into),
    }
}
