//! The text encoding: one JSON object per WebSocket text message.
//!
//! Frames as programs write them are read by [`plain`]; all others go through one flat,
//! borrowed struct per direction instead of serde's tagged enums, which buffer the whole frame
//! first (measured: less than half the time). Encoding writes straight into the caller's
//! buffer; field order is the official clients'.

mod newer;
mod plain;
mod request;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::data::{Data, DataType};
use super::downstream::{Ack, AckError, Connected, DataMessage, Downstream, MessageFrom};
use super::error::DecodeError;
use super::request::Metadata;
use super::upstream::Upstream;
use crate::base::{AckId, SequenceId};

pub use newer::{add_stream_part, encode_request};
pub use request::{decode_request, decode_upstream};

/// A string that borrows from the frame unless it has escapes. The newtype is what makes
/// serde borrow inside an `Option`.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Every field that a frame to the client may carry. Unknown fields are skipped.
#[derive(Deserialize)]
struct FlatDownstream<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    event: Option<Text<'a>>,
    #[serde(borrow, default)]
    from: Option<Text<'a>>,
    #[serde(borrow, default)]
    group: Option<Text<'a>>,
    #[serde(borrow, default, rename = "fromUserId")]
    from_user_id: Option<Text<'a>>,
    #[serde(borrow, default, rename = "dataType")]
    data_type: Option<Text<'a>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default, rename = "sequenceId")]
    sequence_id: Option<u64>,
    #[serde(default, rename = "ackId")]
    ack_id: Option<u64>,
    #[serde(default)]
    success: Option<bool>,
    #[serde(borrow, default)]
    error: Option<FlatError<'a>>,
    #[serde(borrow, default, rename = "userId")]
    user_id: Option<Text<'a>>,
    #[serde(borrow, default, rename = "connectionId")]
    connection_id: Option<Text<'a>>,
    #[serde(borrow, default, rename = "reconnectionToken")]
    reconnection_token: Option<Text<'a>>,
    #[serde(borrow, default)]
    message: Option<Text<'a>>,
    #[serde(borrow, default)]
    stream: Option<&'a RawValue>,
    #[serde(default)]
    metadata: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct FlatError<'a> {
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow, default)]
    message: Option<Text<'a>>,
}

fn syntax(error: serde_json::Error) -> DecodeError {
    DecodeError::Syntax(error.to_string())
}

/// Reads a frame from the hub.
///
/// # Errors
/// The frame is not JSON, or lacks a field that its kind needs. Unknown kinds, fields and
/// system events are no errors.
pub fn decode_downstream(frame: &str) -> Result<Downstream<'_>, DecodeError> {
    match plain::downstream(frame) {
        Some(frame) => Ok(frame),
        None => decode_any_downstream(frame),
    }
}

fn decode_any_downstream(frame: &str) -> Result<Downstream<'_>, DecodeError> {
    let flat: FlatDownstream<'_> = match serde_json::from_str(frame) {
        Ok(flat) => flat,
        // A frame of the future may use a field's name for something else.
        Err(error) => {
            return match newer::newer_kind(frame) {
                Some(kind) => Ok(newer::decode(frame, &kind)),
                None => Err(syntax(error)),
            };
        }
    };
    match flat.kind.as_ref() {
        "message" => data_message(flat).map(Downstream::Data),
        "ack" => Ok(Downstream::Ack(Ack {
            ack_id: AckId(flat.ack_id.ok_or(DecodeError::Missing {
                kind: "ack",
                field: "ackId",
            })?),
            success: flat.success.ok_or(DecodeError::Missing {
                kind: "ack",
                field: "success",
            })?,
            error: flat.error.map(|error| AckError {
                name: error.name.map_or(Cow::Borrowed(""), |text| text.0),
                message: error.message.map_or(Cow::Borrowed(""), |text| text.0),
            }),
        })),
        "system" => system(flat),
        "pong" => Ok(Downstream::Pong),
        kind => Ok(newer::decode(frame, kind)),
    }
}

fn system(flat: FlatDownstream<'_>) -> Result<Downstream<'_>, DecodeError> {
    match flat.event.as_ref().map(|event| event.0.as_ref()) {
        Some("connected") => Ok(Downstream::Connected(Connected {
            connection_id: flat
                .connection_id
                .ok_or(DecodeError::Missing {
                    kind: "connected",
                    field: "connectionId",
                })?
                .0,
            user_id: flat.user_id.map(|text| text.0),
            reconnection_token: flat.reconnection_token.map(|text| text.0),
        })),
        Some("disconnected") => Ok(Downstream::Disconnected {
            message: flat.message.map(|text| text.0),
        }),
        Some(other) => Ok(Downstream::Unknown {
            kind: Cow::Owned(format!("system event={other}")),
        }),
        None => Err(DecodeError::Missing {
            kind: "system",
            field: "event",
        }),
    }
}

fn data_message(flat: FlatDownstream<'_>) -> Result<DataMessage<'_>, DecodeError> {
    const KIND: &str = "message";
    let from = match flat.from.as_ref().map(|from| from.0.as_ref()) {
        Some("group") => MessageFrom::Group {
            group: flat
                .group
                .ok_or(DecodeError::Missing {
                    kind: KIND,
                    field: "group",
                })?
                .0,
            from_user_id: flat.from_user_id.map(|text| text.0),
        },
        Some("server") => MessageFrom::Server,
        Some(other) => {
            return Err(DecodeError::Invalid {
                kind: KIND,
                field: "from",
                got: format!("{other:?}"),
            });
        }
        None => {
            return Err(DecodeError::Missing {
                kind: KIND,
                field: "from",
            });
        }
    };
    // The end of a group stream, or metadata alone: a message without a payload.
    let bare = flat.stream.is_some() || flat.metadata.is_some();
    let of_group = matches!(from, MessageFrom::Group { .. });
    let stream = flat
        .stream
        .filter(|_| of_group)
        .and_then(newer::stream_part);
    if bare && flat.data.is_none() {
        return Ok(DataMessage {
            sequence_id: flat.sequence_id.map(SequenceId),
            from,
            data: Data::Text(Cow::Borrowed("")),
            stream,
        });
    }
    let data_type = flat.data_type.ok_or(DecodeError::Missing {
        kind: KIND,
        field: "dataType",
    })?;
    let raw = flat.data.ok_or(DecodeError::Missing {
        kind: KIND,
        field: "data",
    })?;
    Ok(DataMessage {
        sequence_id: flat.sequence_id.map(SequenceId),
        from,
        data: read_data(KIND, &data_type.0, raw)?,
        stream,
    })
}

/// Reads a `data` field of the given `dataType`.
fn read_data<'a>(
    kind: &'static str,
    data_type: &str,
    raw: &'a RawValue,
) -> Result<Data<'a>, DecodeError> {
    let invalid = |got: String| DecodeError::Invalid {
        kind,
        field: "data",
        got,
    };
    let text = |raw: &'a RawValue| {
        serde_json::from_str::<Text<'a>>(raw.get())
            .map(|text| text.0)
            .map_err(|_| invalid("not a string".into()))
    };
    let bytes = |raw: &'a RawValue| {
        BASE64
            .decode(text(raw)?.as_bytes())
            .map(Cow::Owned)
            .map_err(|error| invalid(format!("not base64: {error}")))
    };
    match DataType::from_name(data_type) {
        Some(DataType::Json) => Ok(Data::Json(Cow::Borrowed(raw.get()))),
        Some(DataType::Text) => text(raw).map(Data::Text),
        Some(DataType::Binary) => bytes(raw).map(Data::Binary),
        Some(DataType::Protobuf) => bytes(raw).map(Data::Protobuf),
        None => Err(DecodeError::Invalid {
            kind,
            field: "dataType",
            got: format!("{data_type:?}"),
        }),
    }
}

// ---- encoding ---------------------------------------------------------------------------

/// Appends a frame to the hub, as the official clients write it: optional fields that are
/// absent are left out, `noEcho` and `dataType` are always written on a send.
pub fn encode_upstream(frame: &Upstream<'_>, out: &mut Vec<u8>) {
    match frame {
        Upstream::JoinGroup { group, ack_id } => {
            named_request(out, "joinGroup", "group", group, *ack_id)
        }
        Upstream::LeaveGroup { group, ack_id } => {
            named_request(out, "leaveGroup", "group", group, *ack_id)
        }
        Upstream::SendToGroup {
            group,
            ack_id,
            no_echo,
            data,
        } => {
            open_request(out, "sendToGroup", "group", group, *ack_id);
            out.extend_from_slice(if *no_echo {
                b",\"noEcho\":true"
            } else {
                b",\"noEcho\":false"
            });
            write_data(out, data);
            out.push(b'}');
        }
        Upstream::Event {
            event,
            ack_id,
            data,
        } => {
            open_request(out, "event", "event", event, *ack_id);
            write_data(out, data);
            out.push(b'}');
        }
        Upstream::SequenceAck { sequence_id } => {
            out.extend_from_slice(b"{\"type\":\"sequenceAck\",\"sequenceId\":");
            write_number(out, sequence_id.0);
            out.push(b'}');
        }
        Upstream::Ping => out.extend_from_slice(b"{\"type\":\"ping\"}"),
    }
}

fn named_request(out: &mut Vec<u8>, kind: &str, field: &str, name: &str, ack_id: Option<AckId>) {
    open_request(out, kind, field, name, ack_id);
    out.push(b'}');
}

fn open_request(out: &mut Vec<u8>, kind: &str, field: &str, name: &str, ack_id: Option<AckId>) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"");
    out.extend_from_slice(field.as_bytes());
    out.extend_from_slice(b"\":");
    write_string(out, name);
    if let Some(ack_id) = ack_id {
        out.extend_from_slice(b",\"ackId\":");
        write_number(out, ack_id.0);
    }
}

/// Appends a frame to a client. The sequence id of a data message comes first after the
/// type, so that a hub can write the rest once for all receivers: see [`message_tail`].
pub fn encode_downstream(frame: &Downstream<'_>, out: &mut Vec<u8>) {
    match frame {
        Downstream::Connected(connected) => {
            out.extend_from_slice(b"{\"type\":\"system\",\"event\":\"connected\"");
            if let Some(user_id) = &connected.user_id {
                out.extend_from_slice(b",\"userId\":");
                write_string(out, user_id);
            }
            out.extend_from_slice(b",\"connectionId\":");
            write_string(out, &connected.connection_id);
            if let Some(token) = &connected.reconnection_token {
                out.extend_from_slice(b",\"reconnectionToken\":");
                write_string(out, token);
            }
            out.push(b'}');
        }
        Downstream::Disconnected { message } => {
            out.extend_from_slice(b"{\"type\":\"system\",\"event\":\"disconnected\"");
            if let Some(message) = message {
                out.extend_from_slice(b",\"message\":");
                write_string(out, message);
            }
            out.push(b'}');
        }
        Downstream::Ack(ack) => {
            out.extend_from_slice(b"{\"type\":\"ack\",\"ackId\":");
            write_number(out, ack.ack_id.0);
            out.extend_from_slice(if ack.success {
                b",\"success\":true"
            } else {
                b",\"success\":false"
            });
            if let Some(error) = &ack.error {
                out.extend_from_slice(b",\"error\":{\"name\":");
                write_string(out, &error.name);
                // Always written: the Python client raises KeyError without it.
                out.extend_from_slice(b",\"message\":");
                write_string(out, &error.message);
                out.push(b'}');
            }
            out.push(b'}');
        }
        Downstream::Data(message) => {
            message_head(message.sequence_id, out);
            message_tail(&message.from, &message.data, Metadata::EMPTY, out);
            if let Some(part) = &message.stream {
                add_stream_part(part, out);
            }
        }
        Downstream::Stream(answer) => newer::encode_answer(answer, out),
        Downstream::InvokeResponse(response) => newer::encode_invoke_response(response, out),
        Downstream::Pong => out.extend_from_slice(b"{\"type\":\"pong\"}"),
        Downstream::Unknown { kind } => {
            out.extend_from_slice(b"{\"type\":");
            write_string(out, kind);
            out.push(b'}');
        }
    }
}

/// Appends the part of a data message that differs between receivers: `{"type":"message"`
/// and the sequence id.
pub fn message_head(sequence_id: Option<SequenceId>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"message\"");
    if let Some(sequence_id) = sequence_id {
        out.extend_from_slice(b",\"sequenceId\":");
        write_number(out, sequence_id.0);
    }
}

/// Appends the part of a data message that all receivers share, to the closing brace.
pub fn message_tail(
    from: &MessageFrom<'_>,
    data: &Data<'_>,
    metadata: &Metadata,
    out: &mut Vec<u8>,
) {
    match from {
        MessageFrom::Group {
            group,
            from_user_id,
        } => {
            out.extend_from_slice(b",\"from\":\"group\",\"group\":");
            write_string(out, group);
            if let Some(user_id) = from_user_id {
                out.extend_from_slice(b",\"fromUserId\":");
                write_string(out, user_id);
            }
        }
        MessageFrom::Server => out.extend_from_slice(b",\"from\":\"server\""),
    }
    write_data(out, data);
    write_metadata(out, metadata);
    out.push(b'}');
}

fn write_metadata(out: &mut Vec<u8>, metadata: &Metadata) {
    let mut before: &[u8] = b",\"metadata\":{";
    for (key, value) in metadata.iter() {
        out.extend_from_slice(before);
        write_string(out, key);
        out.push(b':');
        write_string(out, value);
        before = b",";
    }
    if !metadata.is_empty() {
        out.push(b'}');
    }
}

/// Appends the fields `dataType` and `data`, each behind a comma.
pub fn write_data(out: &mut Vec<u8>, data: &Data<'_>) {
    out.extend_from_slice(b",\"dataType\":\"");
    out.extend_from_slice(data.data_type().name().as_bytes());
    out.extend_from_slice(b"\",\"data\":");
    match data {
        Data::Json(json) => out.extend_from_slice(json.as_bytes()),
        Data::Text(text) => write_string(out, text),
        Data::Binary(bytes) | Data::Protobuf(bytes) => {
            out.push(b'"');
            let start = out.len();
            let length = base64::encoded_len(bytes.len(), true).unwrap_or(0);
            out.resize(start + length, 0);
            // The slice has exactly the encoded length, so the encoder cannot run out of it.
            let written = BASE64.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
            debug_assert_eq!(written, length);
            out.push(b'"');
        }
    }
}

/// Appends `text` as a JSON string, quotes included.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    // Writing to a Vec cannot fail, and every str is a JSON string.
    let written = serde_json::to_writer(out, text);
    debug_assert!(written.is_ok());
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests;
