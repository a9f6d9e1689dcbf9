//! A quick reader for frames as programs write them: no white space, no escapes, no arrays,
//! numbers of at most 19 digits, each known field once and no other. It reads the same as
//! serde would, or nothing; what it gives up is left to serde, which also finds the words for
//! what is wrong.
//!
//! Why: serde took half of the time of a delivered message (`cargo bench --bench parts`).

use super::BASE64;
use crate::base::{AckId, SequenceId};
use crate::wire::data::{Data, DataType};
use crate::wire::downstream::{Ack, DataMessage, Downstream, MessageFrom};
use crate::wire::request::Request;
use crate::wire::upstream::Upstream;
use base64::Engine as _;

/// How deep a payload may be nested here.
const DEPTH_MAX: usize = 8;
/// Digits of a number that cannot overflow.
const DIGITS_MAX: usize = 19;
const DATA_TYPES: [(&str, DataType); 4] = [
    ("json\"", DataType::Json),
    ("text\"", DataType::Text),
    ("binary\"", DataType::Binary),
    ("protobuf\"", DataType::Protobuf),
];

/// A data message, or an ack without an error.
pub(super) fn downstream(frame: &str) -> Option<Downstream<'_>> {
    let (mut is_message, mut is_of_group) = (None, None);
    let (mut sequence_id, mut group, mut from_user_id) = (None, None, None);
    let (mut data_type, mut data, mut ack_id, mut success) = (None, None, None, None);
    let mut scan = Scan { text: frame, at: 0 };
    // Names are told apart by their first letters, so that they need not be read twice.
    scan.object(|scan| match scan.letters()? {
        b"ty" => {
            let kinds = [("message\"", true), ("ack\"", false)];
            put(&mut is_message, scan.named("type")?.one_of(&kinds)?)
        }
        b"se" => put(&mut sequence_id, scan.named("sequenceId")?.number()?),
        b"fr" if scan.letter(4)? == b'"' => {
            let senders = [("group\"", true), ("server\"", false)];
            put(&mut is_of_group, scan.named("from")?.one_of(&senders)?)
        }
        b"fr" => put(&mut from_user_id, scan.named("fromUserId")?.string()?),
        b"gr" => put(&mut group, scan.named("group")?.string()?),
        b"da" if scan.letter(4)? == b'"' => put(&mut data, scan.named("data")?.payload()?),
        b"da" => put(&mut data_type, scan.named("dataType")?.one_of(&DATA_TYPES)?),
        b"ac" => put(&mut ack_id, scan.named("ackId")?.number()?),
        b"su" => put(&mut success, scan.named("success")?.truth()?),
        _ => None,
    })?;
    if !scan.is_at_end() {
        return None;
    }
    if !is_message? {
        return Some(Downstream::Ack(Ack {
            ack_id: AckId(ack_id?),
            success: success?,
            error: None,
        }));
    }
    Some(Downstream::Data(DataMessage {
        sequence_id: sequence_id.map(SequenceId),
        from: if is_of_group? {
            MessageFrom::Group {
                group: group?.into(),
                from_user_id: from_user_id.map(Into::into),
            }
        } else {
            MessageFrom::Server
        },
        data: typed(data?, data_type?)?,
        stream: None,
    }))
}

/// A publish, an event or a receipt.
pub(super) fn request(frame: &str) -> Option<Request<'_>> {
    #[derive(Clone, Copy)]
    enum Kind {
        SendToGroup,
        Event,
        SequenceAck,
    }
    const KINDS: [(&str, Kind); 3] = [
        ("sendToGroup\"", Kind::SendToGroup),
        ("sequenceAck\"", Kind::SequenceAck),
        ("event\"", Kind::Event),
    ];
    let (mut kind, mut group, mut event, mut ack_id) = (None, None, None, None);
    let (mut no_echo, mut data_type, mut data, mut sequence_id) = (None, None, None, None);
    let mut scan = Scan { text: frame, at: 0 };
    scan.object(|scan| match scan.letters()? {
        b"ty" => put(&mut kind, scan.named("type")?.one_of(&KINDS)?),
        b"gr" => put(&mut group, scan.named("group")?.string()?),
        b"ev" => put(&mut event, scan.named("event")?.string()?),
        b"ac" => put(&mut ack_id, scan.named("ackId")?.number()?),
        b"no" => put(&mut no_echo, scan.named("noEcho")?.truth()?),
        b"da" if scan.letter(4)? == b'"' => put(&mut data, scan.named("data")?.payload()?),
        b"da" => put(&mut data_type, scan.named("dataType")?.one_of(&DATA_TYPES)?),
        b"se" => put(&mut sequence_id, scan.named("sequenceId")?.number()?),
        _ => None,
    })?;
    if !scan.is_at_end() {
        return None;
    }
    let ack_id = ack_id.map(AckId);
    Some(Request::Basic {
        frame: match kind? {
            Kind::SendToGroup => Upstream::SendToGroup {
                group: group?.into(),
                ack_id,
                no_echo: no_echo.unwrap_or(false),
                data: typed(data?, data_type.unwrap_or_default())?,
            },
            Kind::Event => Upstream::Event {
                event: event?.into(),
                ack_id,
                data: typed(data?, data_type.unwrap_or_default())?,
            },
            Kind::SequenceAck => Upstream::SequenceAck {
                sequence_id: SequenceId(sequence_id?),
            },
        },
        extras: None,
    })
}

/// A payload: a string without its quotes, or any other value as its text.
#[derive(Clone, Copy)]
enum Value<'a> {
    String { inside: &'a str, whole: &'a str },
    Other(&'a str),
}

/// The payload as its data type has it; `None` when it is not of that type.
fn typed(value: Value<'_>, data_type: DataType) -> Option<Data<'_>> {
    Some(match (data_type, value) {
        (DataType::Json, Value::String { whole, .. } | Value::Other(whole)) => {
            Data::Json(whole.into())
        }
        (DataType::Text, Value::String { inside, .. }) => Data::Text(inside.into()),
        (DataType::Binary, Value::String { inside, .. }) => {
            Data::Binary(BASE64.decode(inside).ok()?.into())
        }
        (DataType::Protobuf, Value::String { inside, .. }) => {
            Data::Protobuf(BASE64.decode(inside).ok()?.into())
        }
        (_, Value::Other(_)) => return None,
    })
}

/// Sets a field; `None` when it was there before, which serde refuses.
fn put<T>(field: &mut Option<T>, value: T) -> Option<()> {
    field.replace(value).is_none().then_some(())
}

/// Where reading has come to. Every method gives `None` at the first thing that is not plain.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    /// Calls `on` at the quote before the name of each field.
    fn object(&mut self, mut on: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.byte(b'{')?;
        loop {
            on(self)?;
            match self.peek()? {
                b',' => self.at += 1,
                _ => return self.byte(b'}'),
            }
        }
    }

    fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The first two letters of the name whose quote is next.
    fn letters(&self) -> Option<&'a [u8; 2]> {
        self.text.as_bytes().get(self.at + 1..)?.first_chunk()
    }

    /// The `n`-th letter of that name, from 0.
    fn letter(&self, n: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + 1 + n).copied()
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    #[inline(always)]
    fn literal(&mut self, literal: &str) -> Option<()> {
        let rest = self.text.as_bytes().get(self.at..)?;
        rest.starts_with(literal.as_bytes())
            .then(|| self.at += literal.len())
    }

    /// Goes past `"name":`.
    #[inline(always)]
    fn named(&mut self, name: &'static str) -> Option<&mut Self> {
        self.byte(b'"')?;
        self.literal(name)?;
        self.literal("\":")?;
        Some(self)
    }

    /// A string that is one of these; each has its closing quote.
    #[inline(always)]
    fn one_of<T: Copy>(&mut self, names: &[(&'static str, T)]) -> Option<T> {
        self.byte(b'"')?;
        names
            .iter()
            .find(|(name, _)| self.literal(name).is_some())
            .map(|(_, what)| *what)
    }

    /// What stands between two quotes.
    fn string(&mut self) -> Option<&'a str> {
        self.byte(b'"')?;
        let start = self.at;
        let end = start + plain_length(self.text.as_bytes().get(start..)?)?;
        self.at = end;
        self.byte(b'"')?;
        self.text.get(start..end)
    }

    fn number(&mut self) -> Option<u64> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = &rest[..length];
        // A fraction or an exponent ends at a byte that no field may follow.
        let is_plain = match digits {
            [] => false,
            [b'0'] => true,
            [first, ..] => *first != b'0' && length <= DIGITS_MAX,
        };
        self.at += length;
        is_plain.then(|| {
            digits
                .iter()
                .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
        })
    }

    fn truth(&mut self) -> Option<bool> {
        let is_true = self.peek()? == b't';
        self.literal(if is_true { "true" } else { "false" })?;
        Some(is_true)
    }

    fn payload(&mut self) -> Option<Value<'a>> {
        let start = self.at;
        if self.peek()? == b'"' {
            let inside = self.string()?;
            let whole = self.text.get(start..self.at)?;
            return Some(Value::String { inside, whole });
        }
        self.value(DEPTH_MAX)?;
        self.text.get(start..self.at).map(Value::Other)
    }

    /// Goes past a value.
    fn value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'{' => {
                let deeper = depth.checked_sub(1)?;
                if self.letter(0)? == b'}' {
                    self.at += 2;
                    return Some(());
                }
                self.object(|scan| {
                    scan.string()?;
                    scan.byte(b':')?;
                    scan.value(deeper)
                })
            }
            b'0'..=b'9' => self.number().map(drop),
            b't' | b'f' => self.truth().map(drop),
            _ => None,
        }
    }
}

/// How many bytes stand before the first quote, backslash or control character, which a
/// string may not hold as it is; `None` when there is none.
fn plain_length(bytes: &[u8]) -> Option<usize> {
    // Most strings are names that end in the first words. Payloads are longer: blocks are
    // looked at by vector instructions, which the compiler finds for a loop without a way out.
    let mut at = 0;
    loop {
        for _ in 0..BLOCK / WORD {
            let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk) else {
                let rest = bytes.get(at..)?;
                return Some(at + rest.iter().position(|byte| is_special(*byte))?);
            };
            if let Some(length) = plain_bytes(u64::from_le_bytes(*word)) {
                return Some(at + length);
            }
            at += WORD;
        }
        let (blocks, _) = bytes.get(at..)?.as_chunks::<BLOCK>();
        let is_plain = |block: &&[u8; BLOCK]| {
            !block
                .iter()
                .fold(false, |any, byte| any | is_special(*byte))
        };
        at += BLOCK * blocks.iter().take_while(is_plain).count();
    }
}

const WORD: usize = 8;
const BLOCK: usize = 32;

fn is_special(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

/// How many of the eight bytes, the lowest first, stand before one that is special.
fn plain_bytes(word: u64) -> Option<usize> {
    /// Eight bytes of 1.
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let (quote, escape) = (word ^ (ONES * 0x22), word ^ (ONES * 0x5c));
    // Subtracting borrows through a byte that is below what is taken from it. A borrow can
    // mark bytes after the first mark by mistake, never before it.
    let marks = ((quote.wrapping_sub(ONES) & !quote)
        | (escape.wrapping_sub(ONES) & !escape)
        | (word.wrapping_sub(ONES * 0x20) & !word))
        & TOPS;
    (marks != 0).then(|| marks.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests;
