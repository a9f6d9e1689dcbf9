//! The words of group streams and invocations between a session and the shell around it.
//!
//! What they do is in [`super::stream`] and [`super::invoke`]; what the wire calls them in
//! [`crate::wire::request`]. Bounds: [`STREAMS_MAX`], [`PARTS_MAX`], [`INVOCATIONS_MAX`];
//! what happened at them is in [`NewerCounts`].

use std::sync::Arc;
use std::time::Duration;

use crate::wire::{Data, Request, StreamError};

/// Streams that one session may publish at a time; more are refused. The embedded hub takes
/// 100; the service documents no limit.
pub const STREAMS_MAX: usize = 64;
/// Parts of one stream that wait for their acknowledgement; further ones are turned away
/// until some are accepted. Source of the duty to have a bound: client-spec 3.6.6.
pub const PARTS_MAX: usize = 128;
/// Invocations of one session without an answer; more are refused.
pub const INVOCATIONS_MAX: usize = 256;
/// How long a stream may wait for any receipt before it is given up. The wish for such a
/// limit is client-spec 3.6.6, the value that of the official clients' ack timeouts.
pub const STREAM_PROGRESS: Duration = Duration::from_secs(30);

/// Names an invocation; never reused by a session. On the wire: the number as text, as the
/// official JS client counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InvocationId(pub u64);

/// A stream to open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamOptions {
    /// Names it; not empty, unique among the session's open streams. A UUID is recommended.
    /// Source: client-spec 3.6.1.
    pub stream_id: Arc<str>,
    /// The group.
    pub group: Arc<str>,
    /// How long it may be silent before the hub closes it, above 0. The session keeps it
    /// alive at a third of this. 300 s by default on the service.
    pub idle_timeout: Duration,
    /// Spare this connection its own stream.
    pub no_echo: bool,
}

/// Why a stream was not opened or does not take a part now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StreamRefused {
    /// Streams are opened on a live connection only.
    #[error("not connected")]
    NotConnected,
    /// [`STREAMS_MAX`] are open.
    #[error("64 streams are open; end some of them")]
    TooMany,
    /// Empty, or of a stream that is open.
    #[error("the stream's name is empty, or that of an open stream")]
    BadName,
    /// An idle timeout of 0.
    #[error("a stream's idle timeout is above 0")]
    BadIdleTimeout,
    /// No such stream, or it is being ended.
    #[error("the stream is not open")]
    NotOpen,
    /// [`PARTS_MAX`] parts wait for their acknowledgement; try again after
    /// [`NewerEvent::StreamAdvanced`].
    #[error("128 parts of the stream wait to be accepted")]
    Full,
}

/// Why an invocation was not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvokeRefused {
    /// Invocations are made on a live connection only, and never retried.
    #[error("not connected")]
    NotConnected,
    /// [`INVOCATIONS_MAX`] have no answer.
    #[error("256 invocations have no answer yet; wait for some of them")]
    TooMany,
    /// The protobuf subprotocols have no invocations.
    #[error("the protobuf subprotocols have no invocations: use json.reliable or json")]
    NoEncoding,
}

/// How a published stream ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StreamOutcome {
    /// As asked: every part was accepted, then the end.
    Ended,
    /// The hub closed it: `StreamNotFound`, `Forbidden`, `BadRequest`,
    /// `InternalServerError`, `IdleTimeout`; no name when it gave none.
    Closed {
        /// The error's name.
        name: String,
        /// For people.
        message: String,
    },
    /// No receipt within [`STREAM_PROGRESS`].
    NoProgress,
    /// The hub acknowledged what was never sent, or took an acknowledgement back.
    ProtocolViolation,
    /// Its connection is lost for good, or was lost before the hub had accepted the stream:
    /// streams belong to one connection. Source: client-spec 3.6.6.
    Lost,
}

/// Why an invocation has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InvocationFailure {
    /// The transport was lost: handled or not, nobody knows.
    Lost,
    /// No answer in time; the hub was told that none is wanted any more.
    TimedOut,
}

/// What happened to streams and invocations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NewerEvent {
    /// The hub has accepted a stream.
    StreamOpened {
        /// The stream.
        stream_id: Arc<str>,
    },
    /// The hub has accepted parts: there is room for more.
    StreamAdvanced {
        /// The stream.
        stream_id: Arc<str>,
        /// Parts accepted so far.
        accepted: u64,
    },
    /// A stream is over; nothing more comes of it.
    StreamOver {
        /// The stream.
        stream_id: Arc<str>,
        /// How.
        outcome: StreamOutcome,
        /// Parts that the hub is known to have accepted.
        accepted: u64,
        /// Parts beyond these: published or not, nobody knows.
        unknown: u64,
    },
    /// An invocation has no answer and gets none.
    InvocationFailed {
        /// Which.
        id: InvocationId,
        /// Why.
        failure: InvocationFailure,
    },
}

/// A frame of a stream or an invocation to write now.
#[derive(Debug)]
pub enum NewerFrame<'s, C> {
    /// Open a stream.
    StartStream(&'s StreamOptions),
    /// A part of a stream; the shell writes the payload.
    StreamData {
        /// The stream.
        stream_id: &'s str,
        /// Its number, from 1.
        number: u64,
        /// The payload.
        content: &'s C,
    },
    /// Say that a stream lives.
    KeepAlive {
        /// The stream.
        stream_id: &'s str,
    },
    /// End a stream.
    EndStream {
        /// The stream.
        stream_id: Arc<str>,
        /// Why, when it ends in an error.
        error: Option<StreamError<'static>>,
    },
    /// Ask for the answer to an event.
    Invoke {
        /// Which invocation.
        id: InvocationId,
        /// The event.
        event: &'s str,
        /// The payload.
        content: &'s C,
    },
    /// Say that an answer is no longer wanted.
    CancelInvocation(InvocationId),
}

impl<'s, C> NewerFrame<'s, C> {
    /// The frame as the wire has it; `data` makes a payload of the caller's handle.
    pub fn into_request(self, data: impl FnOnce(&'s C) -> Data<'s>) -> Request<'s> {
        let name = |id: InvocationId| id.0.to_string().into();
        match self {
            NewerFrame::StartStream(options) => Request::StartStream {
                group: (&*options.group).into(),
                stream_id: (&*options.stream_id).into(),
                idle_timeout: options.idle_timeout,
                no_echo: options.no_echo,
            },
            NewerFrame::StreamData {
                stream_id,
                number,
                content,
            } => Request::StreamData {
                stream_id: stream_id.into(),
                sequence_id: Some(number),
                data: Some(data(content)),
            },
            NewerFrame::KeepAlive { stream_id } => Request::StreamData {
                stream_id: stream_id.into(),
                sequence_id: None,
                data: None,
            },
            NewerFrame::EndStream { stream_id, error } => Request::EndStream {
                stream_id: stream_id.to_string().into(),
                error,
            },
            NewerFrame::Invoke { id, event, content } => Request::Invoke {
                invocation_id: name(id),
                event: event.into(),
                data: data(content),
            },
            NewerFrame::CancelInvocation(id) => Request::CancelInvocation {
                invocation_id: name(id),
            },
        }
    }
}

/// What happened at the bounds and edges of streams and invocations, since the session was
/// made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NewerCounts {
    /// Streams refused because too many are open.
    pub streams_refused: u64,
    /// Parts turned away because too many wait.
    pub parts_refused: u64,
    /// Parts written again, after a nack or a recovery.
    pub parts_resent: u64,
    /// Nacks.
    pub nacks: u64,
    /// Receipts and closes of streams that are not open (any more).
    pub stray_receipts: u64,
    /// Invocations refused because too many have no answer.
    pub invocations_refused: u64,
    /// Answers to invocations that are over.
    pub late_answers: u64,
}
