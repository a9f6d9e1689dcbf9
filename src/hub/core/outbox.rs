//! What waits to be written to one transport, and how it is written.
//!
//! A waiting data message is 24 bytes and a share of the group's one encoded tail, however
//! slow the receiver. Bytes are made only when the transport can take them.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::rc::Rc;

use super::message::{Encoding, Tail};
use crate::base::{AckId, SequenceId, Time};
use crate::hub::frame::{OpCode, write_header};
use crate::wire::{Ack, AckError, Downstream, json, protobuf};

/// Why a request was not executed: name and text of the ack's error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Nack {
    pub(crate) name: &'static str,
    pub(crate) message: &'static str,
}

/// Something to send.
#[derive(Clone, Debug)]
pub(crate) enum Out {
    /// A data message: the shared tail and this receiver's sequence id (0: unnumbered).
    Data { sequence_id: u64, tail: Rc<Tail> },
    /// A success ack.
    Ack(AckId),
    /// A failure ack.
    Nack(AckId, &'static Nack),
    /// Any other frame, as it goes into a WebSocket message.
    Frame { binary: bool, bytes: Box<[u8]> },
    /// The answer to a `ping` frame.
    Pong,
    /// A WebSocket ping.
    WebSocketPing,
    /// The answer to a WebSocket ping.
    WebSocketPong(Box<[u8]>),
}

/// How a transport shall be ended once its outbox is empty (a reset: at once).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// A close frame, then the closing handshake.
    Close {
        code: u16,
        reason: Cow<'static, str>,
    },
    /// TCP RST.
    Reset,
}

/// What [`Outbox::drain`] has done.
pub(crate) struct Drained {
    /// WebSocket messages written.
    pub(crate) frames: u64,
    /// Of these, acks.
    pub(crate) acks: u64,
    /// The sequence ids of messages that had expired, ascending; 0 for unnumbered ones.
    pub(crate) expired: Vec<u64>,
}

/// Frames waiting for one transport.
#[derive(Default)]
pub(crate) struct Outbox {
    encoding: Encoding,
    queue: VecDeque<Out>,
    data_bytes: usize,
}

/// An empty queue that grew beyond this gives its memory back.
const KEPT_CAPACITY: usize = 64;

impl Outbox {
    pub(crate) fn new(encoding: Encoding) -> Self {
        Outbox {
            encoding,
            ..Outbox::default()
        }
    }

    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, out: Out) {
        if let Out::Data { tail, .. } = &out {
            self.data_bytes += tail.len();
        }
        self.queue.push_back(out);
    }

    /// Frames waiting.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Bytes of data messages waiting (shared tails counted in full).
    pub(crate) fn data_bytes(&self) -> usize {
        self.data_bytes
    }

    pub(crate) fn clear(&mut self) {
        *self = Outbox::new(self.encoding);
    }

    /// Writes waiting frames to `out` until it holds `limit` bytes, less the messages whose
    /// time to live is over at `now`.
    pub(crate) fn drain(&mut self, out: &mut Vec<u8>, limit: usize, now: Time) -> Drained {
        let (mut frames, mut acks) = (0, 0);
        let mut expired = Vec::new();
        while out.len() < limit {
            let Some(next) = self.queue.pop_front() else {
                break;
            };
            frames += 1;
            match next {
                Out::Data { sequence_id, tail } => {
                    self.data_bytes -= tail.len();
                    if tail.expires <= now {
                        frames -= 1;
                        expired.push(sequence_id);
                        continue;
                    }
                    write_data(out, self.encoding, sequence_id, &tail);
                }
                Out::Ack(ack_id) => {
                    acks += 1;
                    self.write(out, &ack(ack_id, None));
                }
                Out::Nack(ack_id, nack) => {
                    acks += 1;
                    self.write(out, &ack(ack_id, Some(nack)));
                }
                Out::Frame { binary, bytes } => {
                    write_header(out, opcode(binary), bytes.len());
                    out.extend_from_slice(&bytes);
                }
                Out::Pong => self.write(out, &Downstream::Pong),
                Out::WebSocketPing => {
                    frames -= 1;
                    write_header(out, OpCode::Ping, 0);
                }
                Out::WebSocketPong(payload) => {
                    frames -= 1;
                    write_header(out, OpCode::Pong, payload.len());
                    out.extend_from_slice(&payload);
                }
            }
        }
        if self.queue.is_empty() && self.queue.capacity() > KEPT_CAPACITY {
            self.queue = VecDeque::new();
        }
        Drained {
            frames,
            acks,
            expired,
        }
    }

    /// Writes a frame in this transport's encoding. Simple clients have no frames but data:
    /// nothing is written to them.
    fn write(&self, out: &mut Vec<u8>, frame: &Downstream<'_>) {
        match self.encoding {
            Encoding::Json => write_late(out, OpCode::Text, |out| {
                json::encode_downstream(frame, out);
            }),
            Encoding::Protobuf => write_late(out, OpCode::Binary, |out| {
                protobuf::encode_downstream(frame, out);
            }),
            Encoding::Raw => {}
        }
    }
}

fn opcode(binary: bool) -> OpCode {
    if binary { OpCode::Binary } else { OpCode::Text }
}

/// One receiver's head and the shared tail as one frame.
fn write_data(out: &mut Vec<u8>, encoding: Encoding, sequence_id: u64, tail: &Tail) {
    let id = (sequence_id != 0).then_some(SequenceId(sequence_id));
    match encoding {
        Encoding::Json => write_json_data(out, id, &tail.bytes),
        Encoding::Protobuf => write_late(out, OpCode::Binary, |out| {
            protobuf::message_frame(id, &tail.bytes, out);
        }),
        Encoding::Raw => {
            write_header(out, opcode(tail.binary), tail.len());
            out.extend_from_slice(&tail.bytes);
        }
    }
}

/// The JSON head goes first behind a header of the right size: its length is known from
/// the number of digits.
fn write_json_data(out: &mut Vec<u8>, id: Option<SequenceId>, tail: &[u8]) {
    const HEAD: usize = r#"{"type":"message""#.len();
    const SEQUENCE: usize = r#","sequenceId":"#.len();
    let head = HEAD + id.map_or(0, |id| SEQUENCE + id.0.ilog10() as usize + 1);
    write_header(out, OpCode::Text, head + tail.len());
    let start = out.len();
    json::message_head(id, out);
    debug_assert_eq!(out.len() - start, head);
    out.extend_from_slice(tail);
}

fn ack(ack_id: AckId, nack: Option<&'static Nack>) -> Downstream<'static> {
    Downstream::Ack(Ack {
        ack_id,
        success: nack.is_none(),
        error: nack.map(|nack| AckError {
            name: nack.name.into(),
            message: nack.message.into(),
        }),
    })
}

/// A frame whose length is only known once it is written: the header is put behind it and
/// the two change places.
fn write_late(out: &mut Vec<u8>, opcode: OpCode, encode: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    encode(out);
    let length = out.len() - start;
    write_header(out, opcode, length);
    let header = out.len() - start - length;
    out[start..].rotate_right(header);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(outs: impl IntoIterator<Item = Out>, limit: usize) -> (Vec<u8>, Outbox) {
        let mut outbox = Outbox::default();
        outs.into_iter().for_each(|out| outbox.push(out));
        let mut bytes = Vec::new();
        outbox.drain(&mut bytes, limit, Time::ZERO);
        (bytes, outbox)
    }

    #[test]
    fn each_frame_has_the_length_its_header_says() {
        let tail = Rc::new(Tail {
            bytes: br#","from":"server","dataType":"text","data":"x"}"#[..].into(),
            binary: false,
            expires: Time::MAX,
        });
        for (id, head) in [
            (0, r#"{"type":"message""#.to_owned()),
            (9, r#"{"type":"message","sequenceId":9"#.to_owned()),
            (10, r#"{"type":"message","sequenceId":10"#.to_owned()),
            (
                u64::MAX,
                format!(r#"{{"type":"message","sequenceId":{}"#, u64::MAX),
            ),
        ] {
            let (bytes, outbox) = drained(
                [Out::Data {
                    sequence_id: id,
                    tail: tail.clone(),
                }],
                1,
            );
            assert_eq!((bytes[0], usize::from(bytes[1])), (0x81, bytes.len() - 2));
            assert!(bytes[2..].starts_with(head.as_bytes()));
            assert_eq!(outbox.data_bytes(), 0);
        }
        let nack = &Nack {
            name: "Forbidden",
            message: "a text long enough that the header of the frame needs its two byte length form, which is above 125",
        };
        let (bytes, _) = drained([Out::Nack(AckId(3), nack)], 1);
        assert_eq!(bytes[..2], [0x81, 126]);
        assert_eq!(
            usize::from(bytes[2]) << 8 | usize::from(bytes[3]),
            bytes.len() - 4
        );
        assert!(bytes[4..].starts_with(br#"{"type":"ack","ackId":3,"success":false"#));
    }

    #[test]
    fn a_full_buffer_leaves_the_rest_waiting() {
        let (bytes, outbox) = drained([Out::Ack(AckId(1)), Out::Ack(AckId(2))], 5);
        assert!(bytes.windows(9).any(|w| w == b"\"ackId\":1"));
        assert_eq!(outbox.len(), 1);
    }
}
