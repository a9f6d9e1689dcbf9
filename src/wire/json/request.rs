//! Reading what clients send, as a hub must: strictly in what it uses, blind to the rest.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Text, plain, read_data, syntax};
use crate::base::{AckId, SequenceId};
use crate::wire::data::Data;
use crate::wire::error::DecodeError;
use crate::wire::request::{
    Extras, Metadata, Request, STREAM_IDLE_DEFAULT, StreamError, TTL_SECONDS_MAX,
};
use crate::wire::upstream::Upstream;

/// Every field that a frame to the hub may carry. Unknown fields are skipped.
#[derive(Deserialize)]
struct FlatUpstream<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    group: Option<Text<'a>>,
    #[serde(borrow, default)]
    event: Option<Text<'a>>,
    #[serde(default, rename = "ackId")]
    ack_id: Option<u64>,
    #[serde(default, rename = "noEcho")]
    no_echo: Option<bool>,
    #[serde(borrow, default, rename = "dataType")]
    data_type: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(default, rename = "sequenceId")]
    sequence_id: Option<NumberOrText>,
    #[serde(default, rename = "ttlSeconds")]
    ttl_seconds: Option<u64>,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
    #[serde(borrow, default)]
    stream: Option<FlatStream<'a>>,
    #[serde(borrow, default, rename = "streamId")]
    stream_id: Option<Text<'a>>,
    #[serde(default, rename = "streamSequenceId")]
    stream_sequence_id: Option<u64>,
    #[serde(borrow, default)]
    error: Option<FlatStreamError<'a>>,
    #[serde(borrow, default, rename = "invocationId")]
    invocation_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    target: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct FlatStream<'a> {
    #[serde(borrow, rename = "streamId")]
    stream_id: Cow<'a, str>,
    #[serde(default, rename = "idleTimeoutMs")]
    idle_timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
struct FlatStreamError<'a> {
    #[serde(borrow, default)]
    message: Option<Text<'a>>,
    #[serde(borrow, default, rename = "userErrorCode")]
    code: Option<Text<'a>>,
}

/// The newest documentation shows the sequenceAck's id as a string; every client sends a
/// number. Both are accepted.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

/// Keeps a JSON `null` apart from a field that is not there: a null payload is refused,
/// because some clients lose such a message without counting it.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Clone, Copy)]
enum Kind {
    SendToGroup,
    SequenceAck,
    JoinGroup,
    LeaveGroup,
    Event,
    Ping,
    StreamData,
    StreamEnd,
    Invoke,
    CancelInvocation,
}

/// The names, the most frequent first. The official emulator does not look at their case.
const KINDS: [(&str, Kind); 10] = [
    ("sendToGroup", Kind::SendToGroup),
    ("sequenceAck", Kind::SequenceAck),
    ("joinGroup", Kind::JoinGroup),
    ("leaveGroup", Kind::LeaveGroup),
    ("event", Kind::Event),
    ("ping", Kind::Ping),
    ("streamData", Kind::StreamData),
    ("streamEnd", Kind::StreamEnd),
    ("invoke", Kind::Invoke),
    ("cancelInvocation", Kind::CancelInvocation),
];

/// Reads a frame from a client, strictly: a hub closes with 1007 on any error here.
///
/// # Errors
/// The frame is not JSON, of an unknown type, or lacks a field that its type needs.
pub fn decode_request(frame: &str) -> Result<Request<'_>, DecodeError> {
    match plain::request(frame) {
        Some(request) => Ok(request),
        None => decode_any_request(frame),
    }
}

pub(super) fn decode_any_request(frame: &str) -> Result<Request<'_>, DecodeError> {
    let flat: FlatUpstream<'_> = serde_json::from_str(frame).map_err(syntax)?;
    let ack_id = flat.ack_id.map(AckId);
    let Some(&(name, kind)) = KINDS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(&flat.kind))
    else {
        return Err(DecodeError::UnknownType(
            flat.kind.chars().take(40).collect(),
        ));
    };
    let frame = match kind {
        Kind::SendToGroup if flat.stream.is_some() => return start_stream(flat),
        Kind::SendToGroup => {
            let extras = extras(name, flat.ttl_seconds, flat.metadata)?;
            let frame = Upstream::SendToGroup {
                group: named(name, "group", flat.group)?,
                ack_id,
                no_echo: flat.no_echo.unwrap_or(false),
                data: payload(name, flat.data_type, flat.data, &extras)?,
            };
            return Ok(Request::Basic { frame, extras });
        }
        Kind::Event => {
            let extras = extras(name, None, flat.metadata)?;
            let frame = Upstream::Event {
                event: named(name, "event", flat.event)?,
                ack_id,
                data: payload(name, flat.data_type, flat.data, &extras)?,
            };
            return Ok(Request::Basic { frame, extras });
        }
        Kind::SequenceAck => Upstream::SequenceAck {
            sequence_id: sequence_id(name, flat.sequence_id)?,
        },
        Kind::JoinGroup => Upstream::JoinGroup {
            group: named(name, "group", flat.group)?,
            ack_id,
        },
        Kind::LeaveGroup => Upstream::LeaveGroup {
            group: named(name, "group", flat.group)?,
            ack_id,
        },
        Kind::Ping => Upstream::Ping,
        Kind::StreamData | Kind::StreamEnd => return stream(name, kind, flat),
        Kind::Invoke | Kind::CancelInvocation => return invocation(name, kind, flat),
    };
    Ok(Request::Basic {
        frame,
        extras: None,
    })
}

/// Reads one of the frames that every client knows, whatever it carries besides.
///
/// # Errors
/// As [`decode_request`]; also any of the newer frames.
pub fn decode_upstream(frame: &str) -> Result<Upstream<'_>, DecodeError> {
    match decode_request(frame)? {
        Request::Basic { frame, .. } => Ok(frame),
        _ => Err(DecodeError::UnknownType("a newer frame".into())),
    }
}

fn start_stream(flat: FlatUpstream<'_>) -> Result<Request<'_>, DecodeError> {
    const KIND: &str = "sendToGroup";
    let Some(stream) = flat.stream else {
        return Err(DecodeError::Missing {
            kind: KIND,
            field: "stream",
        });
    };
    if flat.data.is_some() || flat.data_type.is_some() || flat.ack_id.is_some() {
        return Err(DecodeError::Invalid {
            kind: KIND,
            field: "stream",
            got: "a stream start with data, dataType or ackId".into(),
        });
    }
    if stream.stream_id.is_empty() || stream.idle_timeout_ms == Some(0) {
        return Err(DecodeError::Invalid {
            kind: KIND,
            field: "stream",
            got: "an empty streamId or an idleTimeoutMs of 0".into(),
        });
    }
    Ok(Request::StartStream {
        group: named(KIND, "group", flat.group)?,
        stream_id: stream.stream_id,
        idle_timeout: stream
            .idle_timeout_ms
            .map_or(STREAM_IDLE_DEFAULT, Duration::from_millis),
        no_echo: flat.no_echo.unwrap_or(false),
    })
}

fn stream<'a>(
    name: &'static str,
    kind: Kind,
    flat: FlatUpstream<'a>,
) -> Result<Request<'a>, DecodeError> {
    let stream_id = named(name, "streamId", flat.stream_id)?;
    if let Kind::StreamEnd = kind {
        return Ok(Request::EndStream {
            stream_id,
            error: flat.error.map(|error| StreamError {
                message: error.message.map(|text| text.0),
                code: error.code.map(|text| text.0),
            }),
        });
    }
    let data = match flat.data {
        Some(_) => Some(payload(name, flat.data_type, flat.data, &None)?),
        None => None,
    };
    if data.is_some() && flat.stream_sequence_id.is_none() {
        return Err(DecodeError::Missing {
            kind: name,
            field: "streamSequenceId",
        });
    }
    Ok(Request::StreamData {
        stream_id,
        sequence_id: flat.stream_sequence_id,
        data,
    })
}

fn invocation<'a>(
    name: &'static str,
    kind: Kind,
    flat: FlatUpstream<'a>,
) -> Result<Request<'a>, DecodeError> {
    let invocation_id = named(name, "invocationId", flat.invocation_id)?;
    if let Kind::CancelInvocation = kind {
        return Ok(Request::CancelInvocation { invocation_id });
    }
    match flat.target.as_ref().map(|target| target.0.as_ref()) {
        Some("event") => {}
        other => {
            return Err(DecodeError::Invalid {
                kind: name,
                field: "target",
                got: format!("{:?}", other.unwrap_or_default()),
            });
        }
    }
    Ok(Request::Invoke {
        invocation_id,
        event: named(name, "event", flat.event)?,
        data: match flat.data {
            Some(_) => payload(name, flat.data_type, flat.data, &None)?,
            None => Data::Text("".into()),
        },
    })
}

fn extras(
    kind: &'static str,
    ttl_seconds: Option<u64>,
    metadata: Option<BTreeMap<String, String>>,
) -> Result<Option<Box<Extras>>, DecodeError> {
    if ttl_seconds.is_none() && metadata.is_none() {
        return Ok(None);
    }
    let invalid = |field, got: String| DecodeError::Invalid { kind, field, got };
    let ttl_seconds = match ttl_seconds {
        Some(seconds) if seconds > TTL_SECONDS_MAX => {
            return Err(invalid("ttlSeconds", format!("{seconds}, above 300")));
        }
        seconds => seconds.map(|seconds| seconds as u16),
    };
    let metadata = Metadata::checked(metadata.unwrap_or_default())
        .map_err(|why| invalid("metadata", why.into()))?;
    Ok(Extras {
        ttl_seconds,
        metadata,
    }
    .boxed())
}

fn sequence_id(kind: &'static str, id: Option<NumberOrText>) -> Result<SequenceId, DecodeError> {
    const FIELD: &str = "sequenceId";
    match id {
        None => Err(DecodeError::Missing { kind, field: FIELD }),
        Some(NumberOrText::Number(id)) => Ok(SequenceId(id)),
        Some(NumberOrText::Text(text)) => {
            text.parse()
                .map(SequenceId)
                .map_err(|_| DecodeError::Invalid {
                    kind,
                    field: FIELD,
                    got: "not a number".into(),
                })
        }
    }
}

fn named<'a>(
    kind: &'static str,
    field: &'static str,
    text: Option<Text<'a>>,
) -> Result<Cow<'a, str>, DecodeError> {
    text.map(|text| text.0)
        .ok_or(DecodeError::Missing { kind, field })
}

/// The payload; it may be missing only beside metadata, and is then an empty text.
fn payload<'a>(
    kind: &'static str,
    data_type: Option<Text<'a>>,
    data: Option<&'a RawValue>,
    extras: &Option<Box<Extras>>,
) -> Result<Data<'a>, DecodeError> {
    const FIELD: &str = "data";
    match data {
        None if extras.as_ref().is_some_and(|e| !e.metadata.is_empty()) => {
            Ok(Data::Text("".into()))
        }
        None => Err(DecodeError::Missing { kind, field: FIELD }),
        Some(raw) if raw.get() == "null" => Err(DecodeError::Invalid {
            kind,
            field: FIELD,
            got: "null".into(),
        }),
        Some(raw) => {
            let data_type = data_type.as_ref().map_or("json", |text| text.0.as_ref());
            read_data(kind, data_type, raw)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_newer_clients_add_is_read_and_checked() {
        let send = |rest: &str| {
            let text = format!(r#"{{"type":"SENDTOGROUP","group":"g"{rest}}}"#);
            match decode_request(&text) {
                Ok(Request::Basic { extras, .. }) => Ok(extras),
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error.to_string()),
            }
        };
        assert_eq!(send(r#","data":1"#), Ok(None));
        let extras = send(r#","ttlSeconds":300,"metadata":{"a":"b"}"#)
            .unwrap()
            .unwrap();
        assert_eq!(extras.ttl_seconds, Some(300));
        assert_eq!(extras.metadata.iter().collect::<Vec<_>>(), [("a", "b")]);
        for (rest, says) in [
            ("", "without `data`"),
            (r#","data":null"#, "null"),
            (r#","data":null,"metadata":{"a":"b"}"#, "null"),
            (r#","metadata":{}"#, "without `data`"),
            (r#","data":1,"ttlSeconds":301"#, "ttlSeconds"),
            (r#","data":1,"ttlSeconds":-1"#, "not a frame"),
            (r#","data":1,"metadata":{"a":1}"#, "not a frame"),
            (r#","data":1,"metadata":{"a b":"x"}"#, "metadata"),
        ] {
            let error = send(rest).unwrap_err();
            assert!(error.contains(says), "{rest}: {error}");
        }
    }

    #[test]
    fn streams_and_invocations_are_read() {
        for (text, wanted) in [
            (
                r#"{"type":"sendToGroup","group":"g","stream":{"streamId":"s"},"noEcho":true}"#,
                Request::StartStream {
                    group: "g".into(),
                    stream_id: "s".into(),
                    idle_timeout: STREAM_IDLE_DEFAULT,
                    no_echo: true,
                },
            ),
            (
                r#"{"type":"streamData","streamId":"s","streamSequenceId":1,"dataType":"text","data":"x"}"#,
                Request::StreamData {
                    stream_id: "s".into(),
                    sequence_id: Some(1),
                    data: Some(Data::Text("x".into())),
                },
            ),
            (
                r#"{"type":"streamEnd","streamId":"s","error":{"message":"m","userErrorCode":"c"}}"#,
                Request::EndStream {
                    stream_id: "s".into(),
                    error: Some(StreamError {
                        message: Some("m".into()),
                        code: Some("c".into()),
                    }),
                },
            ),
            (
                r#"{"type":"invoke","invocationId":"1","target":"event","event":"e"}"#,
                Request::Invoke {
                    invocation_id: "1".into(),
                    event: "e".into(),
                    data: Data::Text("".into()),
                },
            ),
            (
                r#"{"type":"cancelInvocation","invocationId":"1"}"#,
                Request::CancelInvocation {
                    invocation_id: "1".into(),
                },
            ),
        ] {
            assert_eq!(decode_request(text), Ok(wanted), "{text}");
        }
        for bad in [
            r#"{"type":"sendToGroup","group":"g","stream":{"streamId":""}}"#,
            r#"{"type":"sendToGroup","group":"g","stream":{"streamId":"s"},"data":1}"#,
            r#"{"type":"streamData","streamId":"s","data":1}"#,
            r#"{"type":"invoke","invocationId":"1","target":"group","event":"e"}"#,
        ] {
            assert!(decode_request(bad).is_err(), "{bad}");
        }
    }
}
