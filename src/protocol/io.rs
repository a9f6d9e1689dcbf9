//! The words exchanged between a session and the shell around it.

use std::sync::Arc;

use super::newer::{InvocationId, NewerEvent, NewerFrame};
use crate::base::{AckId, Cause, SequenceId};
use crate::wire::close::Close;
use crate::wire::{AckError, DataMessage, InvokeResponse};

/// Names a request for as long as it has no outcome; never reused by a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// What a caller asks for. `C` is the caller's handle on a payload: the session never looks
/// at it and gives it back with the outcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation<C> {
    /// Join a group.
    Join(Arc<str>),
    /// Leave a group.
    Leave(Arc<str>),
    /// Publish to a group.
    Send {
        /// The group.
        group: Arc<str>,
        /// Spare this connection its own message.
        no_echo: bool,
        /// The payload.
        content: C,
    },
    /// Send an event.
    Event {
        /// The event's name.
        event: Arc<str>,
        /// The payload.
        content: C,
    },
}

/// How a request is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestOptions {
    /// With an ackId, answered and retried; otherwise fire and forget.
    pub acked: bool,
    /// The caller's own ackId instead of the session's next; kept on every retry.
    pub ack_id: Option<AckId>,
    /// Tried again by policy.
    pub retried: bool,
}

impl RequestOptions {
    /// Answered and retried under the session's ackIds.
    pub const ACKED: RequestOptions = RequestOptions {
        acked: true,
        ack_id: None,
        retried: true,
    };
    /// Fire and forget.
    pub const UNACKED: RequestOptions = RequestOptions {
        acked: false,
        ..Self::ACKED
    };
}

/// One writing of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmission {
    /// The request.
    pub request: RequestId,
    /// `None`: fire and forget.
    pub ack_id: Option<AckId>,
    /// From 1.
    pub attempt: u32,
    /// Why.
    pub cause: Cause,
    /// Which connection, from 0.
    pub epoch: u16,
    /// Which transport of that connection, from 0.
    pub transport: u16,
}

/// A frame to write now.
#[derive(Debug)]
pub enum Transmit<'s, C> {
    /// A frame without payload.
    Control(Control),
    /// A request; the shell writes the payload.
    Request {
        /// What is asked.
        operation: &'s mut Operation<C>,
        /// Under which ackId, and why now.
        transmission: Transmission,
    },
    /// A frame of a stream or an invocation; only for a caller that uses them.
    Newer(NewerFrame<'s, C>),
}

/// A frame that the session sends of its own accord.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    /// Receipt of everything up to this id.
    SequenceAck(SequenceId),
    /// Ask for a sign of life.
    Ping,
}

/// A connection to make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Dial {
    /// A new one.
    New,
    /// The transport of an old one.
    Recover {
        /// The session.
        connection_id: String,
        /// Its reconnection token: a secret.
        token: String,
    },
}

/// What a received frame was, beside what the session did with it.
#[derive(Debug)]
pub enum Received<'a> {
    /// A data message.
    Data {
        /// The message.
        message: DataMessage<'a>,
        /// Not a replay: to be handed to the application. A replay (its sequence id is not
        /// above those before it) is dropped. Source: client-spec 3.2.4.
        fresh: bool,
    },
    /// The answer to an invocation of the caller's.
    Invoked {
        /// Which.
        id: InvocationId,
        /// The answer.
        response: InvokeResponse<'a>,
    },
    /// Anything else: seen to by the session.
    Handled,
}

/// What the shell has to do or to know, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output<C> {
    /// Make a connection; answer with `handle_opened` or `handle_dial_failed`. A dial still
    /// under way is given up.
    Dial(Dial),
    /// Close the transport, or give up the dial. With a close: say it first.
    CloseTransport(Option<Close>),
    /// Something happened.
    Event(Event<C>),
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event<C> {
    /// A new connection is up. Once per connection, never after a recovery.
    Connected {
        /// Its name.
        connection_id: String,
        /// The user, if the hub named one.
        user_id: Option<String>,
        /// Which connection, from 0.
        epoch: u16,
    },
    /// The hub said why it is about to close.
    DisconnectNotice(Option<String>),
    /// The transport of a live session ended.
    TransportLost(Close),
    /// A transport for recovery opened; whether the hub accepts it is not known yet.
    RecoveryOpened {
        /// Which transport of the connection.
        transport: u16,
    },
    /// A `connected` frame came on a recovered transport.
    RecoveryNamed {
        /// The connection id it names.
        connection_id: String,
    },
    /// The first frame came on a recovered transport.
    RecoveryConfirmed,
    /// The session is lost for good.
    RecoveryFailed(RecoveryFailure),
    /// The session ended without recovery being possible (1008, not reliable, no token).
    NotRecoverable(Close),
    /// An attempt at a new connection failed.
    ConnectFailed(String),
    /// Groups of the last connection have been joined again, as far as they could be.
    RejoinDone {
        /// Joined again.
        joined: u32,
        /// Refused, or not answered.
        failed: u32,
    },
    /// A rejoin failed. The group stays on the list for the next reconnect.
    RejoinFailed {
        /// The group.
        group: Arc<str>,
        /// Why.
        error: String,
    },
    /// A request was answered, finally or not.
    Answered {
        /// What was asked.
        operation: Operation<C>,
        /// Its ackId.
        ack_id: AckId,
        /// The answer.
        answer: Answer,
    },
    /// A request has its outcome.
    Settled(Settled<C>),
    /// An answer for a request that already has its outcome.
    LateAck(AckId),
    /// An answer for an ackId that was never sent.
    UnsolicitedAck(AckId),
    /// A frame that is none; the transport is dropped.
    BadFrame(String),
    /// The hub was silent for too long; the transport is dropped.
    IdleTimeout,
    /// Something happened to a stream or an invocation of the caller's.
    Newer(NewerEvent),
    /// The session stopped. After it nothing more comes.
    Stopped,
}

/// Why a session could not be recovered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecoveryFailure {
    /// The hub closed with 1008.
    Refused,
    /// The window is over.
    WindowPassed,
}

/// What a hub can answer to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Executed.
    Success,
    /// Executed before.
    Duplicate,
    /// Not executed, and never will be: the sender lacks the role.
    Forbidden,
    /// Not executed: the request is bad.
    BadRequest,
    /// Executed or not: an error of the service, or a name unknown here.
    Error,
}

impl Answer {
    /// Reads an answer. Source: client-spec 3.1.
    pub fn of(success: bool, error: Option<&AckError<'_>>) -> Self {
        match (success, error.map(|error| error.name.as_ref())) {
            (true, _) => Answer::Success,
            (false, Some("Duplicate")) => Answer::Duplicate,
            (false, Some("Forbidden")) => Answer::Forbidden,
            (false, Some("BadRequest")) => Answer::BadRequest,
            (false, _) => Answer::Error,
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Executed: answered with success, or with `Duplicate` on a retransmission.
    Ok,
    /// Not executed: refused each time, or never written to a transport.
    Failed,
    /// Executed or not, nobody knows.
    Unknown,
    /// Written without an ackId.
    FireAndForget,
}

/// A request with its outcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settled<C> {
    /// Which request it was.
    pub request: RequestId,
    /// The ackId of its last transmission.
    pub ack_id: Option<AckId>,
    /// What was asked.
    pub operation: Operation<C>,
    /// How it ended.
    pub outcome: Outcome,
    /// The answer that settled it, if one did.
    pub answer: Option<Answer>,
    /// How often it was written to a transport; 0: never.
    pub transmissions: u32,
    /// It was a rejoin of the session's own.
    pub rejoin: bool,
}
