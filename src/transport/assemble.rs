//! Bytes to whole messages: the reading half of a socket, without the socket.
//!
//! The frames are decoded by actix's codec; here continuations are joined, UTF-8 is
//! checked and sizes are bounded, none of which the codec does. Short whole messages, which
//! nearly all are, and pings and pongs are read in place before the codec sees them: it cuts
//! each off into a buffer of its own, with the counting that this takes. No I/O.
//! Read [`super::socket`] next.

use std::ops::{ControlFlow, Range};

use actix_codec::Decoder as _;
use actix_http::ws::{Codec, Frame, Item, ProtocolError};
use bytes::{Buf as _, Bytes, BytesMut};

use crate::wire::close::{self, Close};

/// A whole WebSocket message, borrowed for the time it is looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incoming<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping; the peer expects a pong with the same bytes.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The close frame. Nothing comes after it.
    Close(Close),
}

/// How the peer broke the rules of WebSocket (RFC 6455).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the hub broke the WebSocket protocol: {why}")]
pub struct Violation {
    /// The close code that answers it: 1002, 1007 or 1009.
    pub code: u16,
    /// What was wrong.
    pub why: String,
}

/// The longest frame header from a server: 2 bytes and 8 of length.
const HEADER_BYTES_MAX: usize = 10;

/// Takes messages out of a stream of bytes. Keeps nothing but an unfinished fragmented
/// message; bytes of an unfinished frame stay with the caller.
#[derive(Debug)]
pub(super) struct Assembler {
    codec: Codec,
    message_bytes_max: usize,
    /// The message whose fragments are coming.
    joining: Option<Box<Joining>>,
    closed: bool,
}

struct Short {
    kind: Kind,
    payload: Range<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
    Ping,
    Pong,
}

#[derive(Debug)]
struct Joining {
    is_text: bool,
    bytes: Vec<u8>,
}

impl Assembler {
    /// An assembler for messages of at most `message_bytes_max` bytes, fragmented or not.
    pub(super) fn new(message_bytes_max: usize) -> Self {
        Assembler {
            codec: Codec::new().client_mode().max_size(message_bytes_max),
            message_bytes_max,
            joining: None,
            closed: false,
        }
    }

    /// Hands every whole message at the front of `bytes` to `on` and removes it, until `on`
    /// breaks or no whole frame is left. After a close frame everything is discarded.
    ///
    /// # Errors
    /// The first violation; the connection is beyond use then.
    pub(super) fn feed(
        &mut self,
        bytes: &mut BytesMut,
        on: &mut dyn FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Violation> {
        loop {
            if self.closed {
                bytes.clear();
            }
            if bytes.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            if let Some(short) = self.short_message(bytes) {
                let message = bytes.get(short.payload.clone()).unwrap_or_default();
                let turn = on(match short.kind {
                    Kind::Text => Incoming::Text(utf8(message)?),
                    Kind::Binary => Incoming::Binary(message),
                    Kind::Ping => Incoming::Ping(message),
                    Kind::Pong => Incoming::Pong(message),
                });
                bytes.advance(short.payload.end);
                match turn {
                    ControlFlow::Continue(()) => continue,
                    ControlFlow::Break(()) => return Ok(turn),
                }
            }
            let Some(frame) = self.codec.decode(bytes).map_err(from_codec)? else {
                // The codec waits for all of a frame before it looks at the size.
                if bytes.len() > self.message_bytes_max + HEADER_BYTES_MAX {
                    return Err(too_big(self.message_bytes_max));
                }
                return Ok(ControlFlow::Continue(()));
            };
            if self.frame(frame, on)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// A whole message of one frame, not masked and shorter than 64 KiB, at the front of
    /// `bytes`; also a ping or pong, which may come between fragments. RFC 6455 5.2, 5.4, 5.5.
    fn short_message(&self, bytes: &[u8]) -> Option<Short> {
        const WHOLE: u8 = 0x80;
        let kind = match bytes.first()?.checked_sub(WHOLE)? {
            0x1 => Kind::Text,
            0x2 => Kind::Binary,
            0x9 => Kind::Ping,
            0xa => Kind::Pong,
            _ => return None,
        };
        let is_control = matches!(kind, Kind::Ping | Kind::Pong);
        let (header, length) = match *bytes.get(1)? {
            short @ ..=125 => (2, usize::from(short)),
            126 if !is_control => (
                4,
                usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
            ),
            _ => return None,
        };
        let is_ours = header + length <= bytes.len()
            && length <= self.message_bytes_max
            && (self.joining.is_none() || is_control);
        is_ours.then_some(Short {
            kind,
            payload: header..header + length,
        })
    }

    fn frame(
        &mut self,
        frame: Frame,
        on: &mut dyn FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Violation> {
        Ok(match frame {
            Frame::Text(bytes) => on(Incoming::Text(utf8(&bytes)?)),
            Frame::Binary(bytes) => on(Incoming::Binary(&bytes)),
            Frame::Ping(bytes) => on(Incoming::Ping(&bytes)),
            Frame::Pong(bytes) => on(Incoming::Pong(&bytes)),
            Frame::Continuation(item) => return self.continuation(item, on),
            Frame::Close(reason) => {
                self.closed = true;
                let close = reason.map_or_else(Close::default, |reason| Close {
                    code: Some(reason.code.into()),
                    reason: reason.description.unwrap_or_default(),
                });
                on(Incoming::Close(close))
            }
        })
    }

    /// The codec has checked that fragments begin and end in order.
    fn continuation(
        &mut self,
        item: Item,
        on: &mut dyn FnMut(Incoming<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Violation> {
        match item {
            Item::FirstText(first) => self.begin(true, &first),
            Item::FirstBinary(first) => self.begin(false, &first),
            Item::Continue(more) => self.join(&more)?,
            Item::Last(last) => {
                self.join(&last)?;
                if let Some(message) = self.joining.take() {
                    return Ok(on(if message.is_text {
                        Incoming::Text(utf8(&message.bytes)?)
                    } else {
                        Incoming::Binary(&message.bytes)
                    }));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn begin(&mut self, is_text: bool, first: &Bytes) {
        self.joining = Some(Box::new(Joining {
            is_text,
            bytes: first.to_vec(),
        }));
    }

    fn join(&mut self, more: &Bytes) -> Result<(), Violation> {
        if let Some(message) = &mut self.joining {
            if message.bytes.len() + more.len() > self.message_bytes_max {
                return Err(too_big(self.message_bytes_max));
            }
            message.bytes.extend_from_slice(more);
        }
        Ok(())
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Violation> {
    std::str::from_utf8(bytes).map_err(|error| Violation {
        code: close::INVALID,
        why: format!("a text message is not UTF-8: {error}"),
    })
}

fn too_big(limit: usize) -> Violation {
    Violation {
        code: close::TOO_BIG,
        why: format!("a message is larger than {limit} bytes"),
    }
}

fn from_codec(error: ProtocolError) -> Violation {
    Violation {
        code: match error {
            ProtocolError::Overflow => close::TOO_BIG,
            _ => close::PROTOCOL,
        },
        why: error.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests;
