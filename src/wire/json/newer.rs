//! The frames of newer clients in JSON: group streams and invocations.
//!
//! What a client reads here it may not have asked for, so nothing in such a frame is an
//! error: one that lacks what it needs is [`Downstream::Unknown`].

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{FlatError, Text, read_data, write_data, write_number, write_string};
use crate::wire::downstream::{AckError, Downstream};
use crate::wire::request::{Request, STREAM_IDLE_DEFAULT};
use crate::wire::stream::{InvokeResponse, StreamAnswer, StreamFault, StreamPart};

/// Every field of the newer frames; read only when the usual ones do not fit.
#[derive(Deserialize)]
struct FlatNewer<'a> {
    #[serde(borrow, default, rename = "invocationId")]
    invocation_id: Option<Text<'a>>,
    #[serde(default)]
    success: Option<bool>,
    #[serde(borrow, default, rename = "dataType")]
    data_type: Option<Text<'a>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<FlatError<'a>>,
    #[serde(borrow, default, rename = "streamId")]
    stream_id: Option<Text<'a>>,
    #[serde(default, rename = "expectedSequenceId")]
    expected: Option<u64>,
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow, default)]
    message: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct FlatPart<'a> {
    #[serde(borrow, rename = "streamId")]
    stream_id: Text<'a>,
    #[serde(rename = "streamSequenceId")]
    number: u64,
    #[serde(default, rename = "endOfStream")]
    end_of_stream: Option<bool>,
    #[serde(borrow, default)]
    error: Option<FlatFault<'a>>,
}

#[derive(Deserialize)]
struct FlatFault<'a> {
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow, default)]
    message: Option<Text<'a>>,
    #[serde(borrow, default, rename = "userErrorCode")]
    code: Option<Text<'a>>,
}

/// A frame's type alone.
#[derive(Deserialize)]
struct OnlyKind<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
}

/// The type of a frame that could not be read, if it is none that every client knows.
pub(super) fn newer_kind(frame: &str) -> Option<Cow<'_, str>> {
    let kind = serde_json::from_str::<OnlyKind<'_>>(frame).ok()?.kind.0;
    let known = matches!(kind.as_ref(), "message" | "ack" | "system" | "pong");
    (!known).then_some(kind)
}

/// Reads a frame of a kind that not every client knows.
pub(super) fn decode<'a>(frame: &'a str, kind: &str) -> Downstream<'a> {
    serde_json::from_str::<FlatNewer<'_>>(frame)
        .ok()
        .and_then(|flat| read(kind, flat))
        .unwrap_or_else(|| Downstream::Unknown {
            kind: Cow::Owned(format!("type={kind}")),
        })
}

fn read<'a>(kind: &str, flat: FlatNewer<'a>) -> Option<Downstream<'a>> {
    let answer = match kind {
        "invokeResponse" => return invoke_response(flat).map(Downstream::InvokeResponse),
        "streamAck" => StreamAnswer::Ack {
            stream_id: flat.stream_id?.0,
            expected: flat.expected?,
        },
        "streamNack" => StreamAnswer::Nack {
            stream_id: flat.stream_id?.0,
            expected: flat.expected?,
            name: flat.name?.0,
            message: flat.message.map(|text| text.0),
        },
        "streamClosed" => StreamAnswer::Closed {
            stream_id: flat.stream_id?.0,
            error: flat.error.map(error),
        },
        _ => return None,
    };
    Some(Downstream::Stream(answer))
}

fn invoke_response(flat: FlatNewer<'_>) -> Option<InvokeResponse<'_>> {
    let data_type = flat.data_type.map_or(Cow::Borrowed("json"), |text| text.0);
    let data = match flat.data {
        Some(raw) => Some(read_data("invokeResponse", &data_type, raw).ok()?),
        None => None,
    };
    Some(InvokeResponse {
        invocation_id: flat.invocation_id?.0,
        success: flat.success?,
        data,
        error: flat.error.map(error),
    })
}

fn error(flat: FlatError<'_>) -> AckError<'_> {
    AckError {
        name: flat.name.map_or(Cow::Borrowed(""), |text| text.0),
        message: flat.message.map_or(Cow::Borrowed(""), |text| text.0),
    }
}

/// Reads a message's `stream`. One that says nothing usable makes it a plain message, as in
/// the official JS client.
pub(super) fn stream_part(raw: &RawValue) -> Option<Box<StreamPart<'_>>> {
    let flat: FlatPart<'_> = serde_json::from_str(raw.get()).ok()?;
    Some(Box::new(StreamPart {
        stream_id: flat.stream_id.0,
        number: flat.number,
        end_of_stream: flat.end_of_stream.unwrap_or(false),
        error: flat.error.map(|error| StreamFault {
            name: error.name.map_or(Cow::Borrowed(""), |text| text.0),
            message: error.message.map(|text| text.0),
            code: error.code.map(|text| text.0),
        }),
    }))
}

// ---- encoding ---------------------------------------------------------------------------

/// Appends a frame to the hub. What only newer clients send is written with the fields and
/// the order of the official JS client; extras follow the payload.
pub fn encode_request(request: &Request<'_>, out: &mut Vec<u8>) {
    match request {
        Request::Basic { frame, extras } => {
            super::encode_upstream(frame, out);
            let Some(extras) = extras else { return };
            out.pop();
            if let Some(seconds) = extras.ttl_seconds {
                out.extend_from_slice(b",\"ttlSeconds\":");
                write_number(out, seconds.into());
            }
            super::write_metadata(out, &extras.metadata);
        }
        Request::StartStream {
            group,
            stream_id,
            idle_timeout,
            no_echo,
        } => {
            open(out, "sendToGroup", "group", group);
            out.extend_from_slice(b",\"noEcho\":");
            out.extend_from_slice(if *no_echo { b"true" } else { b"false" });
            out.extend_from_slice(b",\"stream\":{\"streamId\":");
            write_string(out, stream_id);
            if *idle_timeout != STREAM_IDLE_DEFAULT {
                let ms = u64::try_from(idle_timeout.as_millis()).unwrap_or(u64::MAX);
                out.extend_from_slice(b",\"idleTimeoutMs\":");
                write_number(out, ms.max(1));
            }
            out.push(b'}');
        }
        Request::StreamData {
            stream_id,
            sequence_id,
            data,
        } => {
            open(out, "streamData", "streamId", stream_id);
            if let Some(number) = sequence_id {
                out.extend_from_slice(b",\"streamSequenceId\":");
                write_number(out, *number);
            }
            if let Some(data) = data {
                write_data(out, data);
            }
        }
        Request::EndStream { stream_id, error } => {
            open(out, "streamEnd", "streamId", stream_id);
            if let Some(error) = error {
                out.extend_from_slice(b",\"error\":");
                let fields = [("message", &error.message), ("userErrorCode", &error.code)];
                write_object(out, fields.map(|(key, text)| (key, text.as_deref())));
            }
        }
        Request::Invoke {
            invocation_id,
            event,
            data,
        } => {
            open(out, "invoke", "invocationId", invocation_id);
            out.extend_from_slice(b",\"target\":\"event\",\"event\":");
            write_string(out, event);
            write_data(out, data);
        }
        Request::CancelInvocation { invocation_id } => {
            open(out, "cancelInvocation", "invocationId", invocation_id);
        }
    }
    out.push(b'}');
}

fn open(out: &mut Vec<u8>, kind: &str, field: &str, name: &str) {
    super::open_request(out, kind, field, name, None);
}

/// Writes an object of the texts that are there.
fn write_object<const N: usize>(out: &mut Vec<u8>, fields: [(&str, Option<&str>); N]) {
    out.push(b'{');
    let mut first = true;
    for (key, text) in fields {
        let Some(text) = text else { continue };
        if !first {
            out.push(b',');
        }
        first = false;
        write_string(out, key);
        out.push(b':');
        write_string(out, text);
    }
    out.push(b'}');
}

/// Appends what a stream's publisher is told.
pub(super) fn encode_answer(answer: &StreamAnswer<'_>, out: &mut Vec<u8>) {
    let expect = |out: &mut Vec<u8>, expected: u64| {
        out.extend_from_slice(b",\"expectedSequenceId\":");
        write_number(out, expected);
    };
    match answer {
        StreamAnswer::Ack {
            stream_id,
            expected,
        } => {
            open(out, "streamAck", "streamId", stream_id);
            expect(out, *expected);
        }
        StreamAnswer::Nack {
            stream_id,
            expected,
            name,
            message,
        } => {
            open(out, "streamNack", "streamId", stream_id);
            expect(out, *expected);
            out.extend_from_slice(b",\"name\":");
            write_string(out, name);
            if let Some(message) = message {
                out.extend_from_slice(b",\"message\":");
                write_string(out, message);
            }
        }
        StreamAnswer::Closed { stream_id, error } => {
            open(out, "streamClosed", "streamId", stream_id);
            write_error(out, error.as_ref());
        }
    }
    out.push(b'}');
}

/// Appends the answer to an invocation.
pub(super) fn encode_invoke_response(response: &InvokeResponse<'_>, out: &mut Vec<u8>) {
    open(
        out,
        "invokeResponse",
        "invocationId",
        &response.invocation_id,
    );
    out.extend_from_slice(b",\"success\":");
    out.extend_from_slice(if response.success { b"true" } else { b"false" });
    if let Some(data) = &response.data {
        write_data(out, data);
    }
    write_error(out, response.error.as_ref());
    out.push(b'}');
}

fn write_error(out: &mut Vec<u8>, error: Option<&AckError<'_>>) {
    if let Some(error) = error {
        out.extend_from_slice(b",\"error\":");
        let fields = [("name", &error.name), ("message", &error.message)];
        write_object(out, fields.map(|(key, text)| (key, Some(text.as_ref()))));
    }
}

/// Adds the `stream` field to a data message that ends with its closing brace.
pub fn add_stream_part(part: &StreamPart<'_>, out: &mut Vec<u8>) {
    let brace = out.pop();
    debug_assert_eq!(brace, Some(b'}'));
    out.extend_from_slice(b",\"stream\":{\"streamId\":");
    write_string(out, &part.stream_id);
    out.extend_from_slice(b",\"streamSequenceId\":");
    write_number(out, part.number);
    if part.end_of_stream {
        out.extend_from_slice(b",\"endOfStream\":true");
    }
    if let Some(error) = &part.error {
        out.extend_from_slice(b",\"error\":");
        let fields = [
            ("name", Some(error.name.as_ref())),
            ("message", error.message.as_deref()),
            ("userErrorCode", error.code.as_deref()),
        ];
        write_object(out, fields);
    }
    out.extend_from_slice(b"}}");
}
