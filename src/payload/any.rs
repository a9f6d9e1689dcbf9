//! Binary payloads inside a `google.protobuf.Any`, as the protobuf data type wants them:
//! an Any that holds a `google.protobuf.BytesValue`.

use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};

/// Field 1 of the Any: the type's URL, with tag and length.
const TYPE_URL: &[u8] = b"\x0a\x2etype.googleapis.com/google.protobuf.BytesValue";
/// Field 2 of the Any: the value. Wire type 2.
const ANY_VALUE: u8 = 0x12;
/// Field 1 of the BytesValue. Wire type 2.
const BYTES_VALUE: u8 = 0x0a;

/// Wraps `out[..]` in place.
pub(super) fn wrap(out: &mut Vec<u8>) {
    let raw = out.len() as u64;
    let inner = 1 + encoded_len_varint(raw) as u64 + raw;
    let mut head = Vec::with_capacity(TYPE_URL.len() + 16);
    head.extend_from_slice(TYPE_URL);
    head.push(ANY_VALUE);
    encode_varint(inner, &mut head);
    head.push(BYTES_VALUE);
    encode_varint(raw, &mut head);
    out.splice(..0, head);
}

/// The bytes inside; `None` when this is no Any of ours.
pub(super) fn unwrap(any: &[u8]) -> Option<&[u8]> {
    let mut rest = any.strip_prefix(TYPE_URL)?.strip_prefix(&[ANY_VALUE])?;
    let inner = decode_varint(&mut rest).ok()?;
    if inner != rest.len() as u64 {
        return None;
    }
    let mut rest = rest.strip_prefix(&[BYTES_VALUE])?;
    let raw = decode_varint(&mut rest).ok()?;
    (raw == rest.len() as u64).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Any {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        value: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct BytesValue {
        #[prost(bytes = "vec", tag = "1")]
        value: Vec<u8>,
    }

    #[test]
    fn any_protobuf_library_reads_it() {
        use prost::Message as _;
        for size in [0, 1, 127, 128, 20_000] {
            let raw = vec![7; size];
            let mut wrapped = raw.clone();
            wrap(&mut wrapped);
            let any = Any::decode(wrapped.as_slice()).unwrap();
            assert_eq!(
                any.type_url,
                "type.googleapis.com/google.protobuf.BytesValue"
            );
            assert_eq!(BytesValue::decode(any.value.as_slice()).unwrap().value, raw);
            assert_eq!(unwrap(&wrapped), Some(raw.as_slice()));
        }
        assert_eq!(unwrap(b"nonsense"), None);
    }
}
