//! The binary encoding: one protobuf message per WebSocket binary message.
//!
//! The same frames as in [`super::json`], to the same rules. What the schema cannot say:
//! a message has no `fromUserId`, and an absent string is an empty one, so an empty user id
//! or reason is read as none. The schema itself is in `protobuf/schema.rs`.
//! Source: protobuf subprotocol pages, the schemas of the official JS add-on and emulator.

mod borrowed;
mod newer;
mod schema;

use std::borrow::Cow;
use std::collections::BTreeMap;

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use serde::de::IgnoredAny;

use self::schema::{
    AckMessage, Answer, Any, ConnectedMessage, DataMessage as WireData, DisconnectedMessage,
    DownstreamMessage, Empty, ErrorMessage, Event, Membership, MessageData, Payload, Request,
    SendToGroup, SequenceAck, System, SystemMessage, UpstreamMessage,
};
use super::data::Data;
use super::downstream::{Ack, AckError, Connected, DataMessage, Downstream, MessageFrom};
use super::error::DecodeError;
use super::request::{self, Extras, Metadata, TTL_SECONDS_MAX};
use super::upstream::Upstream;
use crate::base::{AckId, SequenceId};

pub use newer::{add_stream_part, encode_request};

/// `data_message` in `DownstreamMessage`.
const DATA_MESSAGE: u32 = 2;
/// `sequence_id` in `DataMessage`.
const SEQUENCE_ID: u32 = 4;

fn syntax(error: prost::DecodeError) -> DecodeError {
    DecodeError::Syntax(error.to_string())
}

/// The text, or none when it is empty: proto3 cannot tell the two apart.
fn nonempty(text: String) -> Option<Cow<'static, str>> {
    (!text.is_empty()).then_some(Cow::Owned(text))
}

// ---- decoding ---------------------------------------------------------------------------

/// Reads a frame from the hub.
///
/// JSON is expected as `json_data`, and is not checked to be JSON: whoever compares it with
/// what was published will see. A hub that delivers JSON as `text_data`, as an old
/// documentation page has it, gives [`Data::Text`].
///
/// # Errors
/// The bytes are not a `DownstreamMessage`, or lack a field that its kind needs. Unknown
/// kinds and fields are no errors.
pub fn decode_downstream(frame: &[u8]) -> Result<Downstream<'_>, DecodeError> {
    match borrowed::data_message(frame) {
        Some(message) => Ok(Downstream::Data(message)),
        None => decode_whole(frame),
    }
}

/// Reads any frame, with copies of what is in it.
fn decode_whole(frame: &[u8]) -> Result<Downstream<'static>, DecodeError> {
    let message = DownstreamMessage::decode(frame).map_err(syntax)?;
    match message.answer {
        Some(Answer::Data(message)) => data_message(message).map(Downstream::Data),
        Some(Answer::Ack(ack)) => Ok(Downstream::Ack(Ack {
            ack_id: AckId(ack.ack_id),
            success: ack.success,
            error: ack.error.map(|error| AckError {
                name: error.name.into(),
                message: error.message.into(),
            }),
        })),
        Some(Answer::System(message)) => system(message),
        Some(Answer::Pong(Empty {})) => Ok(Downstream::Pong),
        Some(Answer::StreamAck(ack)) => Ok(newer::ack(ack)),
        Some(Answer::StreamNack(nack)) => Ok(newer::nack(nack)),
        Some(Answer::StreamClosed(closed)) => Ok(newer::closed(closed)),
        None => Ok(Downstream::Unknown {
            kind: "protobuf message of an unknown kind".into(),
        }),
    }
}

fn system(message: SystemMessage) -> Result<Downstream<'static>, DecodeError> {
    match message.system {
        Some(System::Connected(connected)) => Ok(Downstream::Connected(Connected {
            connection_id: nonempty(connected.connection_id).ok_or(DecodeError::Missing {
                kind: "connected",
                field: "connection_id",
            })?,
            user_id: nonempty(connected.user_id),
            reconnection_token: connected.reconnection_token.map(Cow::Owned),
        })),
        Some(System::Disconnected(disconnected)) => Ok(Downstream::Disconnected {
            message: nonempty(disconnected.reason),
        }),
        None => Ok(Downstream::Unknown {
            kind: "protobuf system message of an unknown kind".into(),
        }),
    }
}

fn data_message(message: WireData) -> Result<DataMessage<'static>, DecodeError> {
    const KIND: &str = "message";
    let from = match message.from.as_str() {
        "group" => MessageFrom::Group {
            group: message
                .group
                .ok_or(DecodeError::Missing {
                    kind: KIND,
                    field: "group",
                })?
                .into(),
            from_user_id: None,
        },
        "server" => MessageFrom::Server,
        "" => {
            return Err(DecodeError::Missing {
                kind: KIND,
                field: "from",
            });
        }
        other => {
            return Err(DecodeError::Invalid {
                kind: KIND,
                field: "from",
                got: format!("{:?}", other.chars().take(40).collect::<String>()),
            });
        }
    };
    // The end of a group stream, or metadata alone: a message without a payload.
    let bare = message.stream.is_some() || !message.metadata.is_empty();
    let data = match message.data {
        None if bare => Data::Text("".into()),
        data => payload(KIND, data)?,
    };
    let of_group = matches!(from, MessageFrom::Group { .. });
    let stream = message.stream.filter(|_| of_group);
    Ok(DataMessage {
        sequence_id: message.sequence_id.map(SequenceId),
        from,
        data,
        stream: stream.and_then(|info| newer::part(*info)),
    })
}

fn payload(kind: &'static str, data: Option<MessageData>) -> Result<Data<'static>, DecodeError> {
    match data.and_then(|data| data.payload) {
        Some(Payload::Text(text)) => Ok(Data::Text(text.into())),
        Some(Payload::Binary(bytes)) => Ok(Data::Binary(bytes.into())),
        Some(Payload::Protobuf(bytes)) => Ok(Data::Protobuf(bytes.into())),
        Some(Payload::Json(text)) => Ok(Data::Json(text.into())),
        None => Err(DecodeError::Missing {
            kind,
            field: "data",
        }),
    }
}

/// Reads a frame from a client, strictly: a hub closes with 1007 on any error here.
///
/// # Errors
/// The bytes are not an `UpstreamMessage` of a known kind, or lack a field that its kind
/// needs; `json_data` is not JSON, `protobuf_data` not a `google.protobuf.Any`.
pub fn decode_request(frame: &[u8]) -> Result<request::Request<'static>, DecodeError> {
    let message = UpstreamMessage::decode(frame).map_err(syntax)?;
    let mut extras = None;
    let frame = match message.request {
        Some(Request::SendToGroup(send)) if send.stream.is_some() => {
            return newer::start_stream(send);
        }
        Some(Request::SendToGroup(send)) => {
            extras = checked_extras("sendToGroup", send.ttl_seconds, send.metadata)?;
            Upstream::SendToGroup {
                group: named("sendToGroup", "group", send.group)?,
                ack_id: send.ack_id.map(AckId),
                no_echo: send.no_echo.unwrap_or(false),
                data: checked_payload("sendToGroup", send.data, &extras)?,
            }
        }
        Some(Request::SequenceAck(ack)) => Upstream::SequenceAck {
            sequence_id: SequenceId(ack.sequence_id),
        },
        Some(Request::JoinGroup(join)) => Upstream::JoinGroup {
            group: named("joinGroup", "group", join.group)?,
            ack_id: join.ack_id.map(AckId),
        },
        Some(Request::LeaveGroup(leave)) => Upstream::LeaveGroup {
            group: named("leaveGroup", "group", leave.group)?,
            ack_id: leave.ack_id.map(AckId),
        },
        Some(Request::Event(event)) => {
            extras = checked_extras("event", None, event.metadata)?;
            Upstream::Event {
                event: named("event", "event", event.event)?,
                ack_id: event.ack_id.map(AckId),
                data: checked_payload("event", event.data, &extras)?,
            }
        }
        Some(Request::Ping(Empty {})) => Upstream::Ping,
        Some(Request::StreamData(part)) => return newer::stream_data(part),
        Some(Request::StreamEnd(end)) => return newer::end_stream(end),
        None => return Err(DecodeError::UnknownType("protobuf".into())),
    };
    Ok(request::Request::Basic { frame, extras })
}

/// Reads one of the frames that every client knows, whatever it carries besides.
///
/// # Errors
/// As [`decode_request`]; also any of the newer frames.
pub fn decode_upstream(frame: &[u8]) -> Result<Upstream<'static>, DecodeError> {
    match decode_request(frame)? {
        request::Request::Basic { frame, .. } => Ok(frame),
        _ => Err(DecodeError::UnknownType("a newer frame".into())),
    }
}

fn checked_extras(
    kind: &'static str,
    ttl_seconds: Option<u32>,
    metadata: BTreeMap<String, String>,
) -> Result<Option<Box<Extras>>, DecodeError> {
    let invalid = |field, got: String| DecodeError::Invalid { kind, field, got };
    if let Some(seconds) = ttl_seconds.filter(|&ttl| u64::from(ttl) > TTL_SECONDS_MAX) {
        return Err(invalid("ttl_seconds", format!("{seconds}, above 300")));
    }
    let metadata =
        Metadata::checked(metadata).map_err(|why| invalid("metadata", why.to_owned()))?;
    Ok(Extras {
        ttl_seconds: ttl_seconds.map(|seconds| seconds as u16),
        metadata,
    }
    .boxed())
}

/// Proto3 cannot say that a string is missing, only that it is empty.
fn named(
    kind: &'static str,
    field: &'static str,
    name: String,
) -> Result<Cow<'static, str>, DecodeError> {
    nonempty(name).ok_or(DecodeError::Missing { kind, field })
}

/// A payload that the hub can pass on in any encoding.
fn checked_payload(
    kind: &'static str,
    data: Option<MessageData>,
    extras: &Option<Box<Extras>>,
) -> Result<Data<'static>, DecodeError> {
    if data.is_none() && extras.as_ref().is_some_and(|e| !e.metadata.is_empty()) {
        return Ok(Data::Text("".into()));
    }
    let data = payload(kind, data)?;
    let invalid = |field, got| DecodeError::Invalid { kind, field, got };
    match &data {
        Data::Json(text) if text.trim() == "null" => {
            return Err(invalid("json_data", "null".into()));
        }
        Data::Json(text) => serde_json::from_str::<IgnoredAny>(text)
            .map(|_| ())
            .map_err(|error| invalid("json_data", error.to_string()))?,
        Data::Protobuf(bytes) => Any::decode(bytes.as_ref())
            .map(|_| ())
            .map_err(|error| invalid("protobuf_data", error.to_string()))?,
        Data::Text(_) | Data::Binary(_) => {}
    }
    Ok(data)
}

// ---- encoding ---------------------------------------------------------------------------

/// Appends a frame to the hub. `no_echo` is always written, as in JSON.
pub fn encode_upstream(frame: &Upstream<'_>, out: &mut Vec<u8>) {
    let message = UpstreamMessage {
        request: Some(upstream_message(frame)),
    };
    append(&message, out);
}

fn upstream_message(frame: &Upstream<'_>) -> Request {
    match frame {
        Upstream::JoinGroup { group, ack_id } => Request::JoinGroup(membership(group, *ack_id)),
        Upstream::LeaveGroup { group, ack_id } => Request::LeaveGroup(membership(group, *ack_id)),
        Upstream::SendToGroup {
            group,
            ack_id,
            no_echo,
            data,
        } => Request::SendToGroup(SendToGroup {
            group: group.as_ref().into(),
            ack_id: ack_id.map(|id| id.0),
            data: Some(message_data(data)),
            no_echo: Some(*no_echo),
            ..SendToGroup::default()
        }),
        Upstream::Event {
            event,
            ack_id,
            data,
        } => Request::Event(Event {
            event: event.as_ref().into(),
            data: Some(message_data(data)),
            ack_id: ack_id.map(|id| id.0),
            ..Event::default()
        }),
        Upstream::SequenceAck { sequence_id } => Request::SequenceAck(SequenceAck {
            sequence_id: sequence_id.0,
        }),
        Upstream::Ping => Request::Ping(Empty {}),
    }
}

fn membership(group: &str, ack_id: Option<AckId>) -> Membership {
    Membership {
        group: group.into(),
        ack_id: ack_id.map(|id| id.0),
    }
}

fn message_data(data: &Data<'_>) -> MessageData {
    let payload = match data {
        Data::Json(text) => Payload::Json(text.as_ref().into()),
        Data::Text(text) => Payload::Text(text.as_ref().into()),
        Data::Binary(bytes) => Payload::Binary(bytes.as_ref().into()),
        Data::Protobuf(bytes) => Payload::Protobuf(bytes.as_ref().into()),
    };
    MessageData {
        payload: Some(payload),
    }
}

/// Appends a frame to a client. The publisher's user id has no field and is left out.
pub fn encode_downstream(frame: &Downstream<'_>, out: &mut Vec<u8>) {
    let answer = match frame {
        Downstream::Connected(connected) => Some(connected_message(connected)),
        Downstream::Disconnected { message } => Some(Answer::System(SystemMessage {
            system: Some(System::Disconnected(DisconnectedMessage {
                reason: message.as_deref().unwrap_or_default().into(),
            })),
        })),
        Downstream::Ack(ack) => Some(Answer::Ack(AckMessage {
            ack_id: ack.ack_id.0,
            success: ack.success,
            error: ack.error.as_ref().map(|error| ErrorMessage {
                name: error.name.as_ref().into(),
                message: error.message.as_ref().into(),
            }),
        })),
        Downstream::Data(message) => {
            let mut body = Vec::new();
            message_body(&message.from, &message.data, Metadata::EMPTY, &mut body);
            if let Some(part) = &message.stream {
                add_stream_part(part, &mut body);
            }
            message_frame(message.sequence_id, &body, out);
            return;
        }
        Downstream::Pong => Some(Answer::Pong(Empty {})),
        Downstream::Stream(answer) => return newer::encode_answer(answer, out),
        // Without a field of their own; the first is not asked for in protobuf.
        Downstream::InvokeResponse(_) | Downstream::Unknown { .. } => None,
    };
    append(&DownstreamMessage { answer }, out);
}

fn connected_message(connected: &Connected<'_>) -> Answer {
    Answer::System(SystemMessage {
        system: Some(System::Connected(ConnectedMessage {
            connection_id: connected.connection_id.as_ref().into(),
            user_id: connected.user_id.as_deref().unwrap_or_default().into(),
            reconnection_token: connected.reconnection_token.as_deref().map(str::to_owned),
        })),
    })
}

/// Appends the part of a data message that all receivers share, for [`message_frame`].
pub fn message_body(
    from: &MessageFrom<'_>,
    data: &Data<'_>,
    metadata: &Metadata,
    out: &mut Vec<u8>,
) {
    let (from, group) = match from {
        MessageFrom::Group { group, .. } => ("group", Some(group.as_ref().into())),
        MessageFrom::Server => ("server", None),
    };
    let message = WireData {
        from: from.into(),
        group,
        data: Some(message_data(data)),
        sequence_id: None,
        metadata: metadata
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        stream: None,
    };
    append(&message, out);
}

/// Appends a data message to one receiver: its sequence id and the shared `body`. Fields
/// may stand in any order, so the body need not be written again.
pub fn message_frame(sequence_id: Option<SequenceId>, body: &[u8], out: &mut Vec<u8>) {
    let sequence_bytes =
        sequence_id.map_or(0, |id| key_len(SEQUENCE_ID) + encoded_len_varint(id.0));
    encode_key(DATA_MESSAGE, WireType::LengthDelimited, out);
    encode_varint((body.len() + sequence_bytes) as u64, out);
    out.extend_from_slice(body);
    if let Some(SequenceId(id)) = sequence_id {
        encode_key(SEQUENCE_ID, WireType::Varint, out);
        encode_varint(id, out);
    }
}

fn append(message: &impl prost::Message, out: &mut Vec<u8>) {
    // A Vec has room without end, the only thing that encoding can lack.
    let written = message.encode(out);
    debug_assert!(written.is_ok());
}

#[cfg(test)]
mod tests;
