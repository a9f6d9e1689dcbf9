//! How an identity and its padding travel as text, JSON or binary.
//!
//! * text: 48 characters of base64url, then padding;
//! * JSON: `{"v":"<48>","p":"<padding>"}` (without `p` when there is no room for it);
//! * binary: the 36 bytes, then padding;
//! * protobuf: the same inside a `google.protobuf.Any`.
//!
//! Values are compared, never bytes of the frame: a hub may write JSON anew. The padding is
//! a function of (run, publisher, group, seq), the same in every transmission.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::Deserialize;

use super::any;
use super::identity::{CHECKED_BYTES, IDENTITY_BYTES, Identity};
use crate::wire::{Data, DataType};

/// Characters of an identity in base64url.
const ENCODED: usize = IDENTITY_BYTES * 4 / 3;
/// Bytes that the JSON form adds around identity and padding.
const JSON_AROUND: usize = r#"{"v":"","p":""}"#.len();

/// What the padding is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Padding {
    /// The character `0` (text, JSON) or the byte 0.
    Zeros,
    /// Letters and digits (text, JSON) or any bytes, from the message's identity.
    #[default]
    Random,
    /// What breaks naive escaping: quotes, backslashes, U+2028, characters outside the
    /// basic plane. Bytes are as for `Random`.
    Unicode,
}

/// The shape of a pool's payloads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Template {
    /// The data type sent.
    pub data_type: DataType,
    /// Bytes of the payload: of the `data` value's text for JSON and text (unescaped), of
    /// the raw bytes before base64 (and, for protobuf, before they are wrapped) for binary.
    pub size: usize,
    /// What fills it.
    pub padding: Padding,
}

impl Template {
    /// The smallest size that carries an identity in this data type: 48, 56 or 36 bytes.
    pub const fn size_min(data_type: DataType) -> usize {
        match data_type {
            DataType::Text => ENCODED,
            DataType::Json => ENCODED + r#"{"v":""}"#.len(),
            DataType::Binary | DataType::Protobuf => IDENTITY_BYTES,
        }
    }

    /// Writes the payload of one transmission into `scratch` and returns it from there.
    pub fn write<'s>(&self, identity: &Identity, scratch: &'s mut Vec<u8>) -> Data<'s> {
        scratch.clear();
        let checked = identity.encode_checked();
        let padding_seed = u64::from(identity.run) << 32
            ^ u64::from(identity.publisher.0) << 40
            ^ u64::from(identity.group.0) << 20
            ^ u64::from(identity.seq);
        match self.data_type {
            DataType::Binary | DataType::Protobuf => {
                scratch.resize(self.size.max(IDENTITY_BYTES), 0);
                if self.padding != Padding::Zeros {
                    fill_bytes(padding_seed, &mut scratch[IDENTITY_BYTES..]);
                }
                let crc =
                    crc32c::crc32c_append(crc32c::crc32c(&checked), &scratch[IDENTITY_BYTES..]);
                scratch[..CHECKED_BYTES].copy_from_slice(&checked);
                scratch[CHECKED_BYTES..IDENTITY_BYTES].copy_from_slice(&crc.to_be_bytes());
                match self.data_type {
                    DataType::Protobuf => {
                        any::wrap(scratch);
                        Data::Protobuf(Cow::Borrowed(scratch))
                    }
                    _ => Data::Binary(Cow::Borrowed(scratch)),
                }
            }
            DataType::Text => {
                scratch.resize(ENCODED, b'0');
                fill_text(
                    self.padding,
                    padding_seed,
                    self.size.saturating_sub(ENCODED),
                    scratch,
                );
                seal_text(&checked, 0, ENCODED..scratch.len(), scratch);
                Data::Text(Cow::Borrowed(text(scratch)))
            }
            DataType::Json => {
                scratch.extend_from_slice(br#"{"v":""#);
                let at = scratch.len();
                scratch.resize(at + ENCODED, b'0');
                let mut padding = at + ENCODED..at + ENCODED;
                if self.size >= ENCODED + JSON_AROUND {
                    scratch.extend_from_slice(br#"","p":""#);
                    let start = scratch.len();
                    fill_text(
                        json_safe(self.padding),
                        padding_seed,
                        self.size - ENCODED - JSON_AROUND,
                        scratch,
                    );
                    padding = start..scratch.len();
                }
                seal_text(&checked, at, padding.clone(), scratch);
                scratch.extend_from_slice(br#""}"#);
                if self.padding == Padding::Unicode && !padding.is_empty() {
                    splice_escaped(identity, &checked, padding, scratch);
                }
                Data::Json(Cow::Borrowed(text(scratch)))
            }
        }
    }
}

/// In JSON the padding is first written unescaped and in place; only `Unicode` has
/// characters that need escapes, and is written by [`splice_escaped`].
fn json_safe(padding: Padding) -> Padding {
    match padding {
        Padding::Unicode => Padding::Zeros,
        other => other,
    }
}

/// Replaces the padding of a JSON payload by escaped unicode padding of the same number of
/// unescaped bytes and seals it again.
fn splice_escaped(
    identity: &Identity,
    checked: &[u8; CHECKED_BYTES],
    padding: std::ops::Range<usize>,
    scratch: &mut Vec<u8>,
) {
    let mut plain = Vec::with_capacity(padding.len());
    fill_text(
        Padding::Unicode,
        u64::from(identity.seq),
        padding.len(),
        &mut plain,
    );
    let crc = crc32c::crc32c_append(crc32c::crc32c(checked), &plain);
    let quoted = serde_json::to_vec(text(&plain)).unwrap_or_default();
    scratch.splice(padding, quoted[1..quoted.len() - 1].iter().copied());
    let at = r#"{"v":""#.len();
    write_sealed(checked, crc, &mut scratch[at..at + ENCODED]);
}

/// Everything that is written here is ASCII, or whole characters of a constant.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Computes the CRC over identity and padding and writes the base64url form at `at`.
fn seal_text(
    checked: &[u8; CHECKED_BYTES],
    at: usize,
    padding: std::ops::Range<usize>,
    out: &mut [u8],
) {
    let crc = crc32c::crc32c_append(crc32c::crc32c(checked), &out[padding]);
    write_sealed(checked, crc, &mut out[at..at + ENCODED]);
}

fn write_sealed(checked: &[u8; CHECKED_BYTES], crc: u32, out: &mut [u8]) {
    let mut bytes = [0; IDENTITY_BYTES];
    bytes[..CHECKED_BYTES].copy_from_slice(checked);
    bytes[CHECKED_BYTES..].copy_from_slice(&crc.to_be_bytes());
    // 36 bytes are exactly 48 characters, the length of the slice.
    let written = BASE64URL.encode_slice(bytes, out);
    debug_assert_eq!(written, Ok(ENCODED));
}

/// xorshift64*: cheap, and the padding need not be better than that.
fn next(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

fn fill_bytes(seed: u64, out: &mut [u8]) {
    let mut state = seed | 1;
    for chunk in out.chunks_mut(8) {
        let bytes = next(&mut state).to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
}

fn fill_text(padding: Padding, seed: u64, size: usize, out: &mut Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const AWKWARD: [&str; 8] = ["\"", "\\", "\u{2028}", "\u{1f980}", "é", "\n", "/", "\u{0}"];
    let end = out.len() + size;
    let mut state = seed | 1;
    match padding {
        Padding::Zeros => out.resize(end, b'0'),
        Padding::Random => {
            while out.len() < end {
                let mut bits = next(&mut state);
                for _ in 0..10.min(end - out.len()) {
                    out.push(ALPHABET[(bits & 63) as usize]);
                    bits >>= 6;
                }
            }
        }
        Padding::Unicode => {
            while out.len() < end {
                let piece = AWKWARD[(next(&mut state) & 7) as usize];
                let piece = if piece.len() <= end - out.len() {
                    piece
                } else {
                    "\""
                };
                out.extend_from_slice(piece.as_bytes());
            }
        }
    }
}

/// Why a payload has no sound identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyError {
    /// Not one of ours at all: no magic, wrong shape.
    Foreign,
    /// One of ours (the magic is there) and changed on the way: the CRC does not fit. The
    /// fields are what can still be read; none of them can be trusted.
    Corrupted(Option<Identity>),
}

#[derive(Deserialize)]
struct JsonBody<'a> {
    #[serde(borrow)]
    v: Cow<'a, str>,
    #[serde(borrow, default)]
    p: Cow<'a, str>,
}

/// Reads and checks a received payload.
///
/// # Errors
/// [`BodyError::Foreign`] or [`BodyError::Corrupted`].
pub fn read(data: &Data<'_>) -> Result<Identity, BodyError> {
    match data {
        Data::Binary(bytes) => read_raw(bytes),
        Data::Protobuf(bytes) => read_raw(any::unwrap(bytes).ok_or(BodyError::Foreign)?),
        Data::Text(text) => {
            let (head, padding) = text
                .as_bytes()
                .split_at_checked(ENCODED)
                .ok_or(BodyError::Foreign)?;
            check(&decode_head(head)?, padding)
        }
        Data::Json(json) => {
            let (head, padding) = match as_written(json.as_bytes()) {
                Some(body) => body,
                None => return read_any_json(json),
            };
            check(&decode_head(head)?, padding)
        }
    }
}

/// Identity and padding of a JSON payload that came byte by byte as [`Template::write`] wrote
/// it, with padding and without escapes. Quicker than serde; anything else is left to serde.
fn as_written(json: &[u8]) -> Option<(&[u8], &[u8])> {
    // No way out of the loop: so the compiler takes many bytes at once.
    let is_plain = |bytes: &[u8]| {
        bytes.iter().fold(true, |plain, byte| {
            plain & (*byte >= 0x20) & (*byte != b'"') & (*byte != b'\\')
        })
    };
    let rest = json.strip_prefix(br#"{"v":""#)?;
    let (head, rest) = rest.split_at_checked(ENCODED)?;
    let padding = rest.strip_prefix(br#"","p":""#)?.strip_suffix(br#""}"#)?;
    (is_plain(head) && is_plain(padding)).then_some((head, padding))
}

fn read_any_json(json: &str) -> Result<Identity, BodyError> {
    let body: JsonBody<'_> = serde_json::from_str(json).map_err(|_| BodyError::Foreign)?;
    check(&decode_head(body.v.as_bytes())?, body.p.as_bytes())
}

/// Reads a payload that arrived under another data type's name than it was sent with: whole,
/// or not at all. For what [`read`] refuses; the CRC keeps chance out.
pub fn read_as_other(data: &Data<'_>) -> Option<Identity> {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    match data {
        Data::Text(text) => read(&Data::Json(text.as_ref().into())).ok(),
        Data::Json(json) => {
            let text: Cow<'_, str> = serde_json::from_str(json).ok()?;
            read(&Data::Text(text)).ok()
        }
        Data::Binary(bytes) => read(&Data::Protobuf(bytes.as_ref().into()))
            .ok()
            .or_else(|| read(&Data::Text(text(bytes)?.into())).ok()),
        Data::Protobuf(bytes) => read_raw(bytes).ok(),
    }
}

fn read_raw(bytes: &[u8]) -> Result<Identity, BodyError> {
    let (identity, padding) = bytes
        .split_first_chunk::<IDENTITY_BYTES>()
        .ok_or(BodyError::Foreign)?;
    check(identity, padding)
}

fn decode_head(head: &[u8]) -> Result<[u8; IDENTITY_BYTES], BodyError> {
    let mut identity = [0; IDENTITY_BYTES];
    match BASE64URL.decode_slice(head, &mut identity) {
        Ok(IDENTITY_BYTES) => Ok(identity),
        // The first characters carry the magic: ours, but no longer base64url.
        _ if head.starts_with(b"aHP") => Err(BodyError::Corrupted(None)),
        _ => Err(BodyError::Foreign),
    }
}

fn check(bytes: &[u8; IDENTITY_BYTES], padding: &[u8]) -> Result<Identity, BodyError> {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..CHECKED_BYTES]), padding);
    let identity = Identity::decode(bytes);
    if bytes[CHECKED_BYTES..] == crc.to_be_bytes() {
        // A right CRC over a wrong magic is somebody else's traffic.
        identity.ok_or(BodyError::Foreign)
    } else if bytes.starts_with(b"hs") {
        Err(BodyError::Corrupted(identity))
    } else {
        Err(BodyError::Foreign)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::identity::example;
    use super::*;

    const TYPES: [DataType; 4] = [
        DataType::Text,
        DataType::Json,
        DataType::Binary,
        DataType::Protobuf,
    ];
    const PADDINGS: [Padding; 3] = [Padding::Zeros, Padding::Random, Padding::Unicode];

    #[test]
    fn the_text_form_never_changes() {
        let template = Template {
            data_type: DataType::Text,
            size: 56,
            padding: Padding::Zeros,
        };
        let mut scratch = Vec::new();
        let Data::Text(text) = template.write(&example(), &mut scratch) else {
            panic!("not text")
        };
        assert_eq!(
            text,
            "aHPerb7vAQIDBAUGAAAHMQAAFAAAAwABIwAHW80VH6Bm3hpo00000000"
        );
    }

    #[test]
    fn a_payload_under_another_types_name_is_still_known() {
        let written = |data_type, scratch: &mut Vec<u8>| {
            let size = 200;
            let padding = Padding::Zeros;
            let template = Template {
                data_type,
                size,
                padding,
            };
            template.write(&example(), scratch).into_owned()
        };
        let mut scratch = Vec::new();
        let Data::Json(json) = written(DataType::Json, &mut scratch) else {
            panic!("not JSON")
        };
        let renamed = Data::Text(json.clone());
        assert!(read(&renamed).is_err());
        let known = read_as_other(&renamed).expect("the identity is whole");
        assert_eq!(known.seq, example().seq);
        let damaged = Data::Text(json.replacen("00", "01", 1).into());
        assert_eq!(read_as_other(&damaged), None);
    }

    #[test]
    fn every_type_and_padding_is_read_back_at_its_size() {
        for data_type in TYPES {
            for padding in PADDINGS {
                for size in [Template::size_min(data_type), 63, 64, 128, 1000] {
                    let template = Template {
                        data_type,
                        size,
                        padding,
                    };
                    let mut scratch = Vec::new();
                    let data = template.write(&example(), &mut scratch);
                    assert_eq!(read(&data), Ok(example()), "{template:?}");
                    if padding != Padding::Unicode && data_type != DataType::Protobuf {
                        assert_eq!(data.as_bytes().len(), size, "{template:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn json_written_anew_by_a_hub_is_the_same_payload() {
        let template = |padding| Template {
            data_type: DataType::Json,
            size: 128,
            padding,
        };
        for padding in PADDINGS {
            let mut scratch = Vec::new();
            let written = template(padding).write(&example(), &mut scratch);
            let written = std::str::from_utf8(written.as_bytes()).unwrap();
            let is_quick = as_written(written.as_bytes()).is_some();
            assert_eq!(is_quick, padding != Padding::Unicode, "{written}");
            let spaced = written.replace("\",\"p\":", "\" , \"p\": ");
            let escaped = written.replacen("{\"v\":\"a", "{\"v\":\"\\u0061", 1);
            for anew in [spaced, escaped] {
                assert_ne!(anew, written);
                assert_eq!(as_written(anew.as_bytes()), None, "{anew}");
                assert_eq!(read(&Data::Json(anew.into())), Ok(example()));
            }
        }
    }

    /// Any ASCII character at any place of a JSON payload: the same answer as serde's.
    #[test]
    fn the_quick_reading_of_json_differs_nowhere() {
        let template = Template {
            data_type: DataType::Json,
            size: 80,
            padding: Padding::Random,
        };
        let mut scratch = Vec::new();
        template.write(&example(), &mut scratch);
        let mut quick = 0;
        for at in 0..scratch.len() {
            let there = scratch[at];
            for other in 0..0x80 {
                scratch[at] = other;
                let text = std::str::from_utf8(&scratch).unwrap();
                quick += u32::from(as_written(text.as_bytes()).is_some());
                assert_eq!(
                    read(&Data::Json(text.into())),
                    read_any_json(text),
                    "{text}"
                );
            }
            scratch[at] = there;
        }
        assert!(quick > 1_000, "{quick}");
    }

    #[test]
    fn other_peoples_traffic_is_foreign_not_corrupted() {
        for data in [
            Data::Text("hello".into()),
            Data::Json("{\"a\":1}".into()),
            Data::Binary(vec![7; 80].into()),
        ] {
            assert_eq!(read(&data), Err(BodyError::Foreign), "{data:?}");
        }
    }

    proptest! {
        #[test]
        fn one_changed_byte_never_passes(at in 0usize..128, flip in 1u8..=255) {
            let template = Template { data_type: DataType::Binary, size: 128, padding: Padding::Random };
            let mut scratch = Vec::new();
            template.write(&example(), &mut scratch);
            scratch[at] ^= flip;
            prop_assert!(read(&Data::Binary(scratch.into())).is_err());
        }

        #[test]
        fn a_cut_or_changed_text_never_passes(at in 0usize..128, with in proptest::char::range('0', 'z'), cut: bool) {
            let template = Template { data_type: DataType::Text, size: 128, padding: Padding::Random };
            let mut scratch = Vec::new();
            template.write(&example(), &mut scratch);
            if cut { scratch.truncate(at) } else if scratch[at] == with as u8 { return Ok(()) } else { scratch[at] = with as u8 }
            let text = String::from_utf8(scratch).unwrap();
            prop_assert!(read(&Data::Text(text.into())).is_err());
        }

        #[test]
        fn arbitrary_payloads_never_panic(text in ".*", bytes: Vec<u8>) {
            let _ = read(&Data::Text(text.clone().into()));
            let _ = read(&Data::Json(text.into()));
            let _ = read(&Data::Binary(bytes.into()));
        }
    }
}
