//! What a hub sends to a client. Source: client-spec 1.2, 3; JSON reliable subprotocol page.

use std::borrow::Cow;

use super::data::Data;
use super::stream::{InvokeResponse, StreamAnswer, StreamPart};
use crate::base::{AckId, SequenceId};

/// A frame from hub to client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Downstream<'a> {
    /// The connection is up, or its reconnection token is refreshed.
    Connected(Connected<'a>),
    /// The hub is about to close the connection.
    Disconnected {
        /// Why, if the hub said so.
        message: Option<Cow<'a, str>>,
    },
    /// The answer to a request with an ackId.
    Ack(Ack<'a>),
    /// A data message.
    Data(DataMessage<'a>),
    /// What the publisher of a group stream is told of it.
    Stream(StreamAnswer<'a>),
    /// The answer to an invocation.
    InvokeResponse(InvokeResponse<'a>),
    /// The answer to a ping.
    Pong,
    /// A well-formed frame of a kind unknown here: ignored, as the Python and JS clients do.
    Unknown {
        /// What the frame says it is, e.g. `type=groupStateUpdate`.
        kind: Cow<'a, str>,
    },
}

/// The `connected` system event. Source: client-spec 1.2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connected<'a> {
    /// Names the session; kept across recoveries.
    pub connection_id: Cow<'a, str>,
    /// The user, if the hub names one (may be empty).
    pub user_id: Option<Cow<'a, str>>,
    /// Present on reliable subprotocols: lets the session be recovered.
    pub reconnection_token: Option<Cow<'a, str>>,
}

/// The answer to a request. Source: client-spec 3.1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ack<'a> {
    /// The request answered.
    pub ack_id: AckId,
    /// Whether the hub executed the request now.
    pub success: bool,
    /// Why not. `Duplicate` means: executed before.
    pub error: Option<AckError<'a>>,
}

/// Why a request was not executed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AckError<'a> {
    /// `Forbidden`, `InternalServerError`, `Duplicate`, `BadRequest`, ...: an open list.
    pub name: Cow<'a, str>,
    /// For people.
    pub message: Cow<'a, str>,
}

/// Who a data message is from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MessageFrom<'a> {
    /// A group the connection is a member of.
    Group {
        /// The group's name.
        group: Cow<'a, str>,
        /// The publisher's user id, where the hub tells it (JSON only).
        from_user_id: Option<Cow<'a, str>>,
    },
    /// The service: a REST send, or the reply to an event.
    Server,
}

/// A data message: the only kind of frame with a sequence id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataMessage<'a> {
    /// Its number on this connection; on reliable subprotocols only.
    pub sequence_id: Option<SequenceId>,
    /// Who it is from.
    pub from: MessageFrom<'a>,
    /// The payload.
    pub data: Data<'a>,
    /// Set when it is a part of a group stream. Boxed, so that other messages carry a pointer.
    pub stream: Option<Box<StreamPart<'a>>>,
}
