//! What a hub answers to newer clients: parts and receipts of group streams, answers to
//! invocations. What such clients send is in [`super::request`].
//! Source: client-spec 3.6, the subprotocol pages of 2026, the official JS client.

use std::borrow::Cow;

use super::data::Data;
use super::downstream::AckError;

/// A member's mark on a group message: which part of which stream it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamPart<'a> {
    /// The stream, unique among its publisher's live ones. Source: client-spec 3.6.1.
    pub stream_id: Cow<'a, str>,
    /// The part's number, from 1 without gap; the end takes the next one.
    /// Source: client-spec 3.6.2, 3.6.3.
    pub number: u64,
    /// Nothing follows; the message's payload may be empty.
    pub end_of_stream: bool,
    /// Why, when the stream ended in an error.
    pub error: Option<StreamFault<'a>>,
}

/// Why a stream ended, as its subscribers are told. Source: client-spec 3.6.5.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamFault<'a> {
    /// `UserError`, `IdleTimeout`, `InternalServerError`, `Forbidden`, `Cancelled`: an open list.
    pub name: Cow<'a, str>,
    /// For people.
    pub message: Option<Cow<'a, str>>,
    /// The publisher's own code, with `UserError`.
    pub code: Option<Cow<'a, str>>,
}

/// What a stream's publisher is told of it. Source: client-spec 3.6.4.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StreamAnswer<'a> {
    /// Every part below `expected` is accepted.
    Ack {
        /// The stream.
        stream_id: Cow<'a, str>,
        /// The number that the hub expects next.
        expected: u64,
    },
    /// A part was not accepted; the stream lives on.
    Nack {
        /// The stream.
        stream_id: Cow<'a, str>,
        /// The number that the hub expects next.
        expected: u64,
        /// `InvalidSequenceId` or `TransientError`.
        name: Cow<'a, str>,
        /// For people.
        message: Option<Cow<'a, str>>,
    },
    /// The stream is over; without an error it was ended by its publisher.
    Closed {
        /// The stream.
        stream_id: Cow<'a, str>,
        /// `StreamNotFound`, `Forbidden`, `BadRequest`, `InternalServerError`, `IdleTimeout`.
        error: Option<AckError<'a>>,
    },
}

/// The answer to an invocation. Source: the official JS client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvokeResponse<'a> {
    /// The invocation.
    pub invocation_id: Cow<'a, str>,
    /// Whether the event was handled.
    pub success: bool,
    /// What the handler answered, if anything.
    pub data: Option<Data<'a>>,
    /// Why it was not handled.
    pub error: Option<AckError<'a>>,
}

impl StreamPart<'_> {
    /// A copy that borrows nothing.
    pub fn into_owned(self) -> StreamPart<'static> {
        let text = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        StreamPart {
            stream_id: text(self.stream_id),
            number: self.number,
            end_of_stream: self.end_of_stream,
            error: self.error.map(|error| StreamFault {
                name: text(error.name),
                message: error.message.map(text),
                code: error.code.map(text),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
