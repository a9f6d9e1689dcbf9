//! A data message on its way to many: encoded once per encoding in use, never per member.

use std::rc::Rc;

use crate::base::Time;
use crate::wire::{Data, MessageFrom, Metadata, StreamPart, Subprotocol, json, protobuf};

/// How frames are written on a transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Encoding {
    #[default]
    Json,
    Protobuf,
    /// Payloads only, without any envelope. Source: docs, simple WebSocket clients.
    Raw,
}

/// What a simple client's frames mean. Source: docs, client protocols.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RawMode {
    /// Each is the user event `message`.
    SendEvent,
    /// Each is published to the group.
    SendToGroup { group: Box<str>, no_echo: bool },
}

/// What a connection speaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Dialect {
    /// One of the predefined subprotocols.
    Known(Subprotocol),
    /// None of them: a simple client.
    Raw(Box<RawMode>),
}

impl From<Subprotocol> for Dialect {
    fn from(subprotocol: Subprotocol) -> Self {
        Dialect::Known(subprotocol)
    }
}

impl Dialect {
    /// Whether sessions have sequence ids and can be recovered.
    pub(crate) fn is_reliable(&self) -> bool {
        matches!(self, Dialect::Known(subprotocol) if subprotocol.is_reliable())
    }

    pub(crate) fn encoding(&self) -> Encoding {
        match self {
            Dialect::Known(subprotocol) if subprotocol.is_binary() => Encoding::Protobuf,
            Dialect::Known(_) => Encoding::Json,
            Dialect::Raw(_) => Encoding::Raw,
        }
    }

    /// The predefined subprotocol, if it is one.
    pub(crate) fn subprotocol(&self) -> Option<Subprotocol> {
        match self {
            Dialect::Known(subprotocol) => Some(*subprotocol),
            Dialect::Raw(_) => None,
        }
    }

    /// The name for people: `json.reliable`, ..., `simple`.
    pub(crate) fn name(&self) -> &'static str {
        self.subprotocol().map_or("simple", Subprotocol::short_name)
    }
}

/// The encoded part of a data message that all receivers of one encoding share.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) bytes: Box<[u8]>,
    /// For simple clients: a binary WebSocket message, not a text one.
    pub(crate) binary: bool,
    /// When it is no longer to be delivered; [`Time::MAX`]: never.
    pub(crate) expires: Time,
}

impl Tail {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// A data message to be encoded.
pub(crate) struct Message<'a> {
    pub(crate) from: MessageFrom<'a>,
    pub(crate) data: Data<'a>,
    pub(crate) metadata: &'a Metadata,
    pub(crate) expires: Time,
    /// Set when it is a part of a stream; simple clients are not told.
    stream: Option<StreamPart<'a>>,
    tails: [Option<Rc<Tail>>; 3],
}

impl<'a> Message<'a> {
    pub(crate) fn new(
        from: MessageFrom<'a>,
        data: Data<'a>,
        metadata: &'a Metadata,
        expires: Time,
    ) -> Self {
        Message {
            from,
            data,
            metadata,
            expires,
            stream: None,
            tails: [None, None, None],
        }
    }

    /// The same as a part of a stream.
    pub(crate) fn with_stream(mut self, part: StreamPart<'a>) -> Self {
        self.stream = Some(part);
        self
    }

    /// The shared part in `encoding`; made at the first call, in `scratch`.
    pub(crate) fn tail(&mut self, encoding: Encoding, scratch: &mut Vec<u8>) -> &Rc<Tail> {
        let (from, data, metadata) = (&self.from, &self.data, self.metadata);
        let (expires, stream) = (self.expires, &self.stream);
        self.tails[encoding as usize].get_or_insert_with(|| {
            scratch.clear();
            let mut binary = false;
            match encoding {
                Encoding::Json => {
                    json::message_tail(from, data, metadata, scratch);
                    if let Some(part) = stream {
                        json::add_stream_part(part, scratch);
                    }
                }
                Encoding::Protobuf => {
                    protobuf::message_body(from, data, metadata, scratch);
                    if let Some(part) = stream {
                        protobuf::add_stream_part(part, scratch);
                    }
                }
                Encoding::Raw => {
                    binary = matches!(data, Data::Binary(_) | Data::Protobuf(_));
                    scratch.extend_from_slice(data.as_bytes());
                }
            }
            Rc::new(Tail {
                bytes: scratch.as_slice().into(),
                binary,
                expires,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_encoded_once_per_encoding() {
        let group = MessageFrom::Group {
            group: "g".into(),
            from_user_id: Some("u".into()),
        };
        let mut message = Message::new(group, Data::Json("[1]".into()), Metadata::EMPTY, Time::MAX)
            .with_stream(StreamPart {
                stream_id: "s".into(),
                number: 1,
                end_of_stream: false,
                error: None,
            });
        let mut scratch = Vec::new();
        let json = message.tail(Encoding::Json, &mut scratch).clone();
        assert!(Rc::ptr_eq(
            &json,
            message.tail(Encoding::Json, &mut scratch)
        ));
        assert_eq!(
            std::str::from_utf8(&json.bytes).unwrap(),
            r#","from":"group","group":"g","fromUserId":"u","dataType":"json","data":[1],"stream":{"streamId":"s","streamSequenceId":1}}"#
        );
        let raw = message.tail(Encoding::Raw, &mut scratch);
        assert_eq!((&*raw.bytes, raw.binary), (&b"[1]"[..], false));
    }
}
