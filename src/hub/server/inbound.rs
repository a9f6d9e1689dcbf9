//! From bytes of the socket to whole messages: frames, continuation, limits.

use crate::hub::frame::{FrameError, Header, OpCode, close_code, read_header};
use crate::wire::{MESSAGE_BYTES_MAX, close};

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// A whole text message; not yet checked to be UTF-8.
    Text(&'a [u8]),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A WebSocket ping.
    Ping(&'a [u8]),
}

/// Why reading ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// The client sent a close frame, with this code if any.
    Closed(Option<u16>),
    /// The client broke the protocol: close with this code and reason.
    Broken(u16, &'static str),
}

impl From<FrameError> for Stop {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Protocol(why) => Stop::Broken(close::PROTOCOL, why),
            FrameError::TooBig => Stop::Broken(close::TOO_BIG, "message larger than 1 MiB"),
        }
    }
}

/// A message whose first frames are in.
struct Fragments {
    opcode: OpCode,
    bytes: Vec<u8>,
}

/// The reading half of one transport. Empty between messages, so an idle transport holds
/// no buffer; otherwise at most one message of 1 MiB and one read.
#[derive(Default)]
pub(crate) struct Inbound {
    partial: Vec<u8>,
    fragments: Option<Box<Fragments>>,
}

impl Inbound {
    /// Takes bytes as they were read and hands whole messages to `take`.
    ///
    /// # Errors
    /// The client closed or broke the protocol, or `take` wants to stop.
    pub(crate) fn feed(
        &mut self,
        bytes: &mut [u8],
        mut take: impl FnMut(Message<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        if self.partial.is_empty() {
            let used = self.frames(bytes, &mut take)?;
            self.partial.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut partial = std::mem::take(&mut self.partial);
        partial.extend_from_slice(bytes);
        let used = self.frames(&mut partial, &mut take)?;
        if used < partial.len() {
            partial.drain(..used);
            self.partial = partial;
        }
        Ok(())
    }

    /// Handles the whole frames at the start of `bytes`; returns how many bytes they had.
    fn frames(
        &mut self,
        bytes: &mut [u8],
        take: &mut impl FnMut(Message<'_>) -> Result<(), Stop>,
    ) -> Result<usize, Stop> {
        let mut used = 0;
        loop {
            let rest = &mut bytes[used..];
            let begun = self.fragments.as_ref().map_or(0, |f| f.bytes.len());
            let Some(header) = read_header(rest, MESSAGE_BYTES_MAX - begun)? else {
                return Ok(used);
            };
            let whole = header.header_len + header.payload_len;
            if rest.len() < whole {
                return Ok(used);
            }
            let payload = &mut rest[header.header_len..whole];
            header.unmask(payload);
            self.frame(header, payload, take)?;
            used += whole;
        }
    }

    fn frame(
        &mut self,
        header: Header,
        payload: &[u8],
        take: &mut impl FnMut(Message<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        match (header.opcode, header.fin, &mut self.fragments) {
            (OpCode::Ping, ..) => take(Message::Ping(payload)),
            (OpCode::Pong, ..) => Ok(()),
            (OpCode::Close, ..) => Err(Stop::Closed(close_code(payload)?)),
            (OpCode::Text | OpCode::Binary, _, Some(_)) => Err(Stop::Broken(
                close::PROTOCOL,
                "a new message began inside a fragmented one",
            )),
            (OpCode::Text, true, None) => take(Message::Text(payload)),
            (OpCode::Binary, true, None) => take(Message::Binary(payload)),
            (opcode @ (OpCode::Text | OpCode::Binary), false, None) => {
                self.fragments = Some(Box::new(Fragments {
                    opcode,
                    bytes: payload.to_vec(),
                }));
                Ok(())
            }
            (OpCode::Continuation, _, None) => Err(Stop::Broken(
                close::PROTOCOL,
                "a continuation frame without a message",
            )),
            (OpCode::Continuation, fin, Some(fragments)) => {
                fragments.bytes.extend_from_slice(payload);
                if !fin {
                    return Ok(());
                }
                match self.fragments.take() {
                    Some(whole) if whole.opcode == OpCode::Text => {
                        take(Message::Text(&whole.bytes))
                    }
                    Some(whole) => take(Message::Binary(&whole.bytes)),
                    None => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_http::ws::{OpCode as Op, Parser};
    use bytes::BytesMut;

    fn frame(payload: &[u8], opcode: Op, fin: bool) -> Vec<u8> {
        let mut out = BytesMut::new();
        Parser::write_message(&mut out, payload, opcode, fin, true);
        out.to_vec()
    }

    fn fed(bytes: &[u8], step: usize) -> (Vec<String>, Result<(), Stop>, Inbound) {
        let (mut seen, mut inbound) = (Vec::new(), Inbound::default());
        for chunk in bytes.chunks(step) {
            let result = inbound.feed(&mut chunk.to_vec(), |message| {
                seen.push(format!("{message:?}"));
                Ok(())
            });
            if result.is_err() {
                return (seen, result, inbound);
            }
        }
        (seen, Ok(()), inbound)
    }

    #[test]
    fn a_message_is_the_same_however_tcp_cuts_it() {
        let bytes = [
            frame(b"one", Op::Text, true),
            frame(b"tw", Op::Text, false),
            frame(b"hi", Op::Ping, true),
            frame(b"o", Op::Continue, true),
            frame(&[7; 300], Op::Binary, true),
        ]
        .concat();
        let (whole, _, inbound) = fed(&bytes, bytes.len());
        assert_eq!(whole.len(), 4);
        assert_eq!(whole[2], format!("{:?}", Message::Text(b"two")));
        assert!(inbound.partial.capacity() == 0 && inbound.fragments.is_none());
        for step in [1, 2, 3, 7] {
            let (seen, result, inbound) = fed(&bytes, step);
            assert_eq!((seen, result), (whole.clone(), Ok(())), "step {step}");
            assert!(inbound.partial.is_empty());
        }
    }

    #[test]
    fn a_message_too_big_in_pieces_is_refused_before_it_is_buffered() {
        let half = vec![0; MESSAGE_BYTES_MAX / 2];
        let bytes = [
            frame(&half, Op::Binary, false),
            frame(&half, Op::Continue, false),
            frame(b"x", Op::Continue, true)[..6].to_vec(),
        ]
        .concat();
        let (_, result, _) = fed(&bytes, 65_536);
        assert!(matches!(result, Err(Stop::Broken(close::TOO_BIG, _))));
    }

    #[test]
    fn broken_sequences_of_frames_are_refused() {
        let first = frame(b"a", Op::Text, false);
        for bytes in [
            frame(b"a", Op::Continue, true),
            [first.clone(), frame(b"b", Op::Text, true)].concat(),
        ] {
            assert!(matches!(
                fed(&bytes, 99).1,
                Err(Stop::Broken(close::PROTOCOL, _))
            ));
        }
        let close = frame(&1000u16.to_be_bytes(), Op::Close, true);
        assert_eq!(fed(&close, 99).1, Err(Stop::Closed(Some(1000))));
    }
}
