//! Mutations: what a broken or hostile peer might make of a good frame.

use rand::{Rng as _, RngExt as _};
use rand_chacha::ChaCha8Rng;

/// Longest input made; the decoders are asked for memory in proportion, so more shows
/// nothing new.
const LENGTH_MAX: usize = 64 * 1024;

/// Numbers, names and bytes that decoders trip over.
const TREATS: &[&[u8]] = &[
    b"0",
    b"-1",
    b"18446744073709551615",
    b"18446744073709551616",
    b"9007199254740993",
    b"1e400",
    b"-0.0",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"\"\"",
    b"\\u0000",
    b"\\ud800",
    b"\xff\xfe",
    b"\xf0\x9f\x92\xa5",
    b"\"type\":\"ack\",",
    b"\"data\":null,",
    b"\"stream\":{\"streamId\":\"s\"},",
    b"====",
    // Protobuf: the longest varint, one that never ends, lengths beyond the message.
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x0a\xff\xff\xff\xff\x0f",
    b"\x12\x80\x80\x80\x80\x08",
];

/// A mutation of `seed`, now and then joined with a part of another input.
pub(crate) fn mutate(seed: &[u8], other: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..6) {
        change(&mut bytes, other, rng);
        bytes.truncate(LENGTH_MAX);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], rng: &mut ChaCha8Rng) {
    let at = rng.random_range(0..=bytes.len());
    let end = rng.random_range(at..=bytes.len().min(at + 40));
    match rng.random_range(0..9) {
        0 if at < bytes.len() => bytes[at] = rng.random(),
        1 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let again = bytes[at..end].to_vec();
            insert(bytes, end, &again);
        }
        5 => {
            let treat = TREATS[rng.random_range(0..TREATS.len())];
            let end = if rng.random() { end } else { at };
            bytes.splice(at..end, treat.iter().copied());
        }
        6 => {
            // Deep nesting, or a long text.
            let many = rng.random_range(1..2000);
            let what = [b'[', b'{', b'"', b'a', 0x0a][rng.random_range(0..5)];
            insert(bytes, at, &vec![what; many]);
        }
        7 if !other.is_empty() => {
            let from = rng.random_range(0..other.len());
            insert(bytes, at, &other[from..]);
        }
        _ => {
            let mut noise = [0; 8];
            rng.fill_bytes(&mut noise);
            insert(bytes, at, &noise);
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, what: &[u8]) {
    bytes.splice(at..at, what.iter().copied());
}
