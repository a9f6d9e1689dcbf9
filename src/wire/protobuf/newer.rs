//! The frames of newer clients in protobuf: group streams. Invocations have no public schema,
//! so they cannot be written, and none is known to come.
//! Source: the reference pages of the protobuf subprotocols.

use std::borrow::Cow;

use prost::encoding::{WireType, encode_key, encode_varint};

use super::schema::{
    Answer, DownstreamMessage, ErrorMessage, Request as WireRequest, SendToGroup, Stream,
    StreamAck, StreamClosed, StreamData, StreamEnd, StreamEndError, StreamFault as WireFault,
    StreamInfo, StreamNack, UpstreamMessage,
};
use super::{append, checked_payload, message_data, named, nonempty};
use crate::wire::downstream::{AckError, Downstream};
use crate::wire::error::{DecodeError, EncodeError};
use crate::wire::request::{Request, STREAM_IDLE_DEFAULT, StreamError};
use crate::wire::stream::{StreamAnswer, StreamFault, StreamPart};

/// `stream` in `DataMessage`.
const STREAM: u32 = 6;

// ---- hub to client ----------------------------------------------------------------------

/// A frame about a stream without its name is of no use, and no error to a client that may
/// have no stream at all.
fn about(
    stream_id: String,
    make: impl FnOnce(Cow<'static, str>) -> StreamAnswer<'static>,
) -> Downstream<'static> {
    match nonempty(stream_id) {
        Some(stream_id) => Downstream::Stream(make(stream_id)),
        None => Downstream::Unknown {
            kind: "protobuf stream message without its stream".into(),
        },
    }
}

pub(super) fn ack(ack: StreamAck) -> Downstream<'static> {
    about(ack.stream_id, |stream_id| StreamAnswer::Ack {
        stream_id,
        expected: ack.expected_sequence_id,
    })
}

pub(super) fn nack(nack: StreamNack) -> Downstream<'static> {
    about(nack.stream_id, |stream_id| StreamAnswer::Nack {
        stream_id,
        expected: nack.expected_sequence_id,
        name: nack.name.into(),
        message: nonempty(nack.message),
    })
}

pub(super) fn closed(closed: StreamClosed) -> Downstream<'static> {
    about(closed.stream_id, |stream_id| StreamAnswer::Closed {
        stream_id,
        error: closed.error.map(|error| AckError {
            name: error.name.into(),
            message: error.message.into(),
        }),
    })
}

pub(super) fn part(info: StreamInfo) -> Option<Box<StreamPart<'static>>> {
    Some(Box::new(StreamPart {
        stream_id: nonempty(info.stream_id)?,
        number: info.stream_sequence_id,
        end_of_stream: info.end_of_stream.unwrap_or(false),
        error: info.error.map(|error| StreamFault {
            name: error.name.into(),
            message: nonempty(error.message),
            code: nonempty(error.user_error_code),
        }),
    }))
}

/// Appends what a stream's publisher is told.
pub(super) fn encode_answer(answer: &StreamAnswer<'_>, out: &mut Vec<u8>) {
    let answer = match answer {
        StreamAnswer::Ack {
            stream_id,
            expected,
        } => Answer::StreamAck(StreamAck {
            stream_id: stream_id.as_ref().into(),
            expected_sequence_id: *expected,
        }),
        StreamAnswer::Nack {
            stream_id,
            expected,
            name,
            message,
        } => Answer::StreamNack(StreamNack {
            stream_id: stream_id.as_ref().into(),
            name: name.as_ref().into(),
            message: message.as_deref().unwrap_or_default().into(),
            expected_sequence_id: *expected,
        }),
        StreamAnswer::Closed { stream_id, error } => Answer::StreamClosed(StreamClosed {
            stream_id: stream_id.as_ref().into(),
            error: error.as_ref().map(|error| ErrorMessage {
                name: error.name.as_ref().into(),
                message: error.message.as_ref().into(),
            }),
        }),
    };
    append(
        &DownstreamMessage {
            answer: Some(answer),
        },
        out,
    );
}

/// Adds the `stream` field to the body of a data message.
pub fn add_stream_part(part: &StreamPart<'_>, out: &mut Vec<u8>) {
    let optional = |text: &Option<Cow<'_, str>>| text.as_deref().unwrap_or_default().to_owned();
    let info = StreamInfo {
        stream_id: part.stream_id.as_ref().into(),
        stream_sequence_id: part.number,
        end_of_stream: part.end_of_stream.then_some(true),
        error: part.error.as_ref().map(|error| WireFault {
            name: error.name.as_ref().into(),
            message: optional(&error.message),
            user_error_code: optional(&error.code),
        }),
    };
    encode_key(STREAM, WireType::LengthDelimited, out);
    encode_varint(prost::Message::encoded_len(&info) as u64, out);
    append(&info, out);
}

// ---- client to hub ----------------------------------------------------------------------

pub(super) fn start_stream(send: SendToGroup) -> Result<Request<'static>, DecodeError> {
    const KIND: &str = "sendToGroup";
    let stream = send.stream.unwrap_or_default();
    let invalid = |got: &str| DecodeError::Invalid {
        kind: KIND,
        field: "stream",
        got: got.into(),
    };
    if send.data.is_some() || send.ack_id.is_some() {
        return Err(invalid("a stream start with data or ack_id"));
    }
    if stream.idle_timeout_ms == Some(0) {
        return Err(invalid("an idle_timeout_ms of 0"));
    }
    Ok(Request::StartStream {
        group: named(KIND, "group", send.group)?,
        stream_id: named(KIND, "stream_id", stream.stream_id)?,
        idle_timeout: stream.idle_timeout_ms.map_or(STREAM_IDLE_DEFAULT, |ms| {
            std::time::Duration::from_millis(ms.into())
        }),
        no_echo: send.no_echo.unwrap_or(false),
    })
}

pub(super) fn stream_data(part: StreamData) -> Result<Request<'static>, DecodeError> {
    const KIND: &str = "streamData";
    let data = match part.data {
        Some(data) => Some(checked_payload(KIND, Some(data), &None)?),
        None => None,
    };
    if data.is_some() && part.stream_sequence_id.is_none() {
        return Err(DecodeError::Missing {
            kind: KIND,
            field: "stream_sequence_id",
        });
    }
    Ok(Request::StreamData {
        stream_id: named(KIND, "stream_id", part.stream_id)?,
        sequence_id: part.stream_sequence_id,
        data,
    })
}

pub(super) fn end_stream(end: StreamEnd) -> Result<Request<'static>, DecodeError> {
    Ok(Request::EndStream {
        stream_id: named("streamEnd", "stream_id", end.stream_id)?,
        error: end.error.map(|error| StreamError {
            message: error.message.map(Cow::Owned),
            code: error.user_error_code.map(Cow::Owned),
        }),
    })
}

/// Appends a frame to the hub.
///
/// # Errors
/// An invocation, or its cancelling: the protobuf subprotocols have no field for it.
pub fn encode_request(request: &Request<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let wire = match request {
        Request::Basic { frame, extras } => {
            let mut message = super::upstream_message(frame);
            if let Some(extras) = extras {
                let metadata = extras.metadata.iter();
                let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
                match &mut message {
                    WireRequest::SendToGroup(send) => {
                        send.ttl_seconds = extras.ttl_seconds.map(u32::from);
                        send.metadata = metadata.collect();
                    }
                    WireRequest::Event(event) => event.metadata = metadata.collect(),
                    _ => {}
                }
            }
            message
        }
        Request::StartStream {
            group,
            stream_id,
            idle_timeout,
            no_echo,
        } => WireRequest::SendToGroup(SendToGroup {
            group: group.as_ref().into(),
            no_echo: Some(*no_echo),
            stream: Some(Stream {
                stream_id: stream_id.as_ref().into(),
                idle_timeout_ms: (*idle_timeout != STREAM_IDLE_DEFAULT).then(|| {
                    u32::try_from(idle_timeout.as_millis())
                        .unwrap_or(u32::MAX)
                        .max(1)
                }),
            }),
            ..SendToGroup::default()
        }),
        Request::StreamData {
            stream_id,
            sequence_id,
            data,
        } => WireRequest::StreamData(StreamData {
            stream_id: stream_id.as_ref().into(),
            stream_sequence_id: *sequence_id,
            data: data.as_ref().map(message_data),
        }),
        Request::EndStream { stream_id, error } => WireRequest::StreamEnd(StreamEnd {
            stream_id: stream_id.as_ref().into(),
            error: error.as_ref().map(|error| StreamEndError {
                message: error.message.as_deref().map(str::to_owned),
                user_error_code: error.code.as_deref().map(str::to_owned),
            }),
        }),
        Request::Invoke { .. } | Request::CancelInvocation { .. } => {
            return Err(EncodeError::NoInvocations);
        }
    };
    append(
        &UpstreamMessage {
            request: Some(wire),
        },
        out,
    );
    Ok(())
}
