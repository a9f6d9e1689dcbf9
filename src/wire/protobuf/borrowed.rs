//! Data messages read in place: the frame that comes a million times, without an allocation.
//!
//! Only the plain case is read here: one data message, each field once, none unknown.
//! Everything else, mistakes too, is left to the full decoder, so that the two cannot
//! disagree about what a frame means.

use prost::encoding::{WireType, decode_key, decode_varint};

use super::super::data::Data;
use super::super::downstream::{DataMessage, MessageFrom};
use super::{DATA_MESSAGE, SEQUENCE_ID};
use crate::base::SequenceId;

/// The data message in `frame`, if it is a plain one.
pub(super) fn data_message(frame: &[u8]) -> Option<DataMessage<'_>> {
    let mut rest = frame;
    let (tag, kind) = decode_key(&mut rest).ok()?;
    if (tag, kind) != (DATA_MESSAGE, WireType::LengthDelimited) {
        return None;
    }
    let body = delimited(&mut rest)?;
    if !rest.is_empty() {
        return None;
    }
    fields(body)
}

fn fields(mut body: &[u8]) -> Option<DataMessage<'_>> {
    let (mut from, mut group, mut data, mut sequence_id) = (None, None, None, None);
    while !body.is_empty() {
        let field = decode_key(&mut body).ok()?;
        let again = match field {
            (1, WireType::LengthDelimited) => from.replace(text(&mut body)?).is_some(),
            (2, WireType::LengthDelimited) => group.replace(text(&mut body)?).is_some(),
            (3, WireType::LengthDelimited) => {
                data.replace(payload(delimited(&mut body)?)?).is_some()
            }
            (SEQUENCE_ID, WireType::Varint) => sequence_id
                .replace(SequenceId(decode_varint(&mut body).ok()?))
                .is_some(),
            // Metadata, and what is not known here.
            _ => return None,
        };
        if again {
            return None;
        }
    }
    let from = match from? {
        "group" => MessageFrom::Group {
            group: group?.into(),
            from_user_id: None,
        },
        "server" => MessageFrom::Server,
        _ => return None,
    };
    Some(DataMessage {
        sequence_id,
        from,
        data: data?,
        stream: None,
    })
}

fn payload(mut data: &[u8]) -> Option<Data<'_>> {
    let (tag, kind) = decode_key(&mut data).ok()?;
    if kind != WireType::LengthDelimited {
        return None;
    }
    let payload = match tag {
        1 => Data::Text(text(&mut data)?.into()),
        2 => Data::Binary(delimited(&mut data)?.into()),
        3 => Data::Protobuf(delimited(&mut data)?.into()),
        4 => Data::Json(text(&mut data)?.into()),
        _ => return None,
    };
    data.is_empty().then_some(payload)
}

fn text<'a>(from: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(delimited(from)?).ok()
}

/// The bytes of a length-delimited field, whose key was read.
fn delimited<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(decode_varint(from).ok()?).ok()?;
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(bytes)
}
