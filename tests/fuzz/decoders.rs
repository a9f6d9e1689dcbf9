//! The decoders of both encodings, both directions.

use std::collections::BTreeMap;

use hubstorm::base::Seed;
use hubstorm::wire::codec::{
    Payload, decode_downstream, decode_request, encode_downstream, encode_request,
};
use hubstorm::wire::{Downstream, Subprotocol};
use proptest::prelude::*;

use super::corpus::{self, Way};
use super::memory::{Turn, turn};
use super::mutate::mutate;
use super::{runs, shown};

/// Bytes that reading may ask for beside `PER_BYTE` for each byte read.
const AT_LEAST: usize = 64 * 1024;
/// A map entry of two bytes becomes two strings and a node.
const PER_BYTE: usize = 100;
/// The subprotocols that differ in their encoding.
const ENCODINGS: [Subprotocol; 2] = [Subprotocol::JsonReliable, Subprotocol::ProtobufReliable];

fn payload(subprotocol: Subprotocol, bytes: &[u8]) -> Option<Payload<'_>> {
    if subprotocol.is_binary() {
        return Some(Payload::Binary(bytes));
    }
    // The transport closes a text frame that is no UTF-8 before it comes here.
    std::str::from_utf8(bytes).ok().map(Payload::Text)
}

/// Reads an input. What was good can be written, and read again as the same.
fn read(way: Way, subprotocol: Subprotocol, bytes: &[u8]) -> Result<(), String> {
    let Some(payload) = payload(subprotocol, bytes) else {
        return Err("no UTF-8".into());
    };
    let mut written = Vec::new();
    match way {
        Way::Up => {
            let frame = decode_request(subprotocol, payload).map_err(|error| error.to_string())?;
            if encode_request(subprotocol, &frame, &mut written).is_ok() {
                let again = self::payload(subprotocol, &written).expect("text is UTF-8");
                let again = decode_request(subprotocol, again);
                assert_eq!(again.as_ref(), Ok(&frame), "{}", shown(bytes));
            }
        }
        Way::Down => {
            let frame = decode_downstream(subprotocol, payload).map_err(|e| e.to_string())?;
            if !matches!(frame, Downstream::Unknown { .. }) {
                encode_downstream(subprotocol, &frame, &mut written);
                let again = self::payload(subprotocol, &written).expect("text is UTF-8");
                let again = decode_downstream(subprotocol, again);
                assert_eq!(again.as_ref(), Ok(&frame), "{}", shown(bytes));
            }
        }
    }
    Ok(())
}

/// As [`read`], with a bound on the memory that it asks for.
fn read_within(
    turn: &Turn,
    way: Way,
    subprotocol: Subprotocol,
    bytes: &[u8],
) -> Result<(), String> {
    let (asked, result) = turn.asked(|| read(way, subprotocol, bytes));
    assert!(
        asked <= AT_LEAST + PER_BYTE * bytes.len(),
        "{way:?} {subprotocol}: {asked} bytes of memory for {} bytes: {}",
        bytes.len(),
        shown(bytes)
    );
    result
}

/// An answer without what is the input's own: which place in the decoder it came from.
fn place(result: &Result<(), String>) -> String {
    match result {
        Ok(()) => "read".into(),
        Err(error) => {
            let plain = |c: &char| c.is_ascii_alphabetic() || *c == ' ';
            // What stands in quotes is the input's.
            let own = error.split(['"', '`', '(']).next().unwrap_or_default();
            own.trim().chars().filter(plain).take(40).collect()
        }
    }
}

#[test]
fn the_corpus_is_read_without_harm() {
    let turn = turn();
    for subprotocol in ENCODINGS {
        for way in Way::ALL {
            for (name, bytes) in corpus::load(way.folder(subprotocol)) {
                let result = read_within(&turn, way, subprotocol, &bytes);
                // Names say what must come of an input.
                let good = !name.starts_with("bad-");
                assert_eq!(result.is_ok(), good, "{way:?} {name}: {result:?}");
            }
        }
    }
}

#[test]
fn mutations_of_the_corpus_break_no_decoder() {
    let turn = turn();
    let keep = std::env::var_os("HUBSTORM_FUZZ_KEEP").is_some();
    for subprotocol in ENCODINGS {
        for way in Way::ALL {
            let folder = way.folder(subprotocol);
            let seeds = corpus::load(folder);
            let is_good = |(name, _): &&(String, Vec<u8>)| !name.starts_with("bad-");
            let good: Vec<_> = seeds.iter().filter(is_good).cloned().collect();
            let mut places: BTreeMap<String, u64> = BTreeMap::new();
            for (_, bytes) in &seeds {
                *places
                    .entry(place(&read(way, subprotocol, bytes)))
                    .or_default() += 1;
            }
            for n in 0..runs() {
                let mut rng = Seed(1).stream(folder, n);
                let mut draws = Seed(2).draws(folder, n);
                let mut pick =
                    |from: &[(String, Vec<u8>)]| (draws.fraction() * from.len() as f64) as usize;
                // Good ones mostly: what is bad already seldom gets far.
                let (one, other) = match n % 4 {
                    0 => (&seeds[pick(&seeds)].1, &good[pick(&good)].1),
                    _ => (&good[pick(&good)].1, &seeds[pick(&seeds)].1),
                };
                let mut bytes = mutate(one, other, &mut rng);
                if !subprotocol.is_binary() {
                    bytes = String::from_utf8_lossy(&bytes).into_owned().into_bytes();
                }
                let place = place(&read_within(&turn, way, subprotocol, &bytes));
                let seen = places.entry(place.clone()).or_default();
                *seen += 1;
                if keep && *seen == 1 && bytes.len() < 500 {
                    let bad = if place == "read" { "" } else { "bad-" };
                    let end = if subprotocol.is_binary() {
                        "bin"
                    } else {
                        "json"
                    };
                    let place = place.replace(' ', "-").to_lowercase();
                    let name = format!("{bad}found-{place}.{end}");
                    std::fs::write(corpus::path(folder).join(name), &bytes).unwrap();
                }
            }
            // Mutations that are all refused for one reason would prove nothing.
            assert!(
                places.len() >= 4 && places["read"] > runs() / 50,
                "{places:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn noise_breaks_no_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _turn = turn();
        for subprotocol in Subprotocol::ALL {
            let text = String::from_utf8_lossy(&bytes);
            for payload in [Payload::Binary(&bytes), Payload::Text(&text)] {
                // Errors are as good as frames; only a panic is not.
                let _ = decode_downstream(subprotocol, payload);
                let _ = decode_request(subprotocol, payload);
            }
        }
    }
}

#[test]
fn frames_newer_than_this_client_do_not_break_it() {
    let _turn = turn();
    for (name, bytes) in corpus::load("down-json") {
        if name.starts_with("bad-") {
            continue;
        }
        let text = std::str::from_utf8(&bytes).unwrap();
        let frame = hubstorm::wire::json::decode_downstream(text).unwrap();
        let asked_for = matches!(frame, Downstream::Stream(_) | Downstream::InvokeResponse(_));
        let stream = ["stream-", "invoke-"]
            .iter()
            .any(|kind| name.starts_with(kind));
        assert_eq!(stream, asked_for, "{text}");
        let passed_over = matches!(frame, Downstream::Unknown { .. });
        assert_eq!(name.starts_with("newer-"), passed_over, "{text}");
    }
}
