//! The kept inputs: small files, one input each. Protobuf frames are those of the JSON
//! files, re-encoded, and some that no encoder writes.

use std::fs;
use std::path::{Path, PathBuf};

use hubstorm::wire::{Subprotocol, codec, json};

use super::memory::turn;

/// Which way a frame goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// From a client.
    Up,
    /// From the hub.
    Down,
}

impl Way {
    pub(crate) const ALL: [Way; 2] = [Way::Up, Way::Down];

    pub(crate) fn folder(self, subprotocol: Subprotocol) -> &'static str {
        match (self, subprotocol.is_binary()) {
            (Way::Up, false) => "up-json",
            (Way::Up, true) => "up-protobuf",
            (Way::Down, false) => "down-json",
            (Way::Down, true) => "down-protobuf",
        }
    }
}

pub(crate) fn path(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(folder)
}

/// The inputs of a folder by name, in order.
pub(crate) fn load(folder: &str) -> Vec<(String, Vec<u8>)> {
    let path = path(folder);
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut inputs: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    inputs.sort();
    inputs
}

/// A JSON frame as a protobuf client or hub would write it, where there is such a frame.
fn as_protobuf(way: Way, text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match way {
        Way::Up => {
            let frame = json::decode_request(text).ok()?;
            codec::encode_request(Subprotocol::ProtobufReliable, &frame, &mut bytes).ok()?;
        }
        Way::Down => {
            let frame = json::decode_downstream(text).ok()?;
            codec::encode_downstream(Subprotocol::ProtobufReliable, &frame, &mut bytes);
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

#[test]
fn protobuf_frames_are_those_of_the_json_files() {
    let _turn = turn();
    let update = std::env::var_os("UPDATE_CORPUS").is_some();
    for way in Way::ALL {
        let kept = load(way.folder(Subprotocol::Protobuf));
        let mut made = 0;
        for (name, text) in load(way.folder(Subprotocol::Json)) {
            let Some(stem) = name.strip_suffix(".json") else {
                panic!("{name}: not a .json");
            };
            let text = String::from_utf8_lossy(&text);
            let Some(bytes) = as_protobuf(way, &text) else {
                continue;
            };
            made += 1;
            let name = format!("{stem}.bin");
            if update {
                let file = path(way.folder(Subprotocol::Protobuf)).join(&name);
                fs::write(file, &bytes).unwrap();
                continue;
            }
            let found = kept.iter().find(|(known, _)| *known == name);
            assert_eq!(
                found.map(|(_, bytes)| bytes),
                Some(&bytes),
                "{way:?} {name}: set UPDATE_CORPUS=1 and run this again"
            );
        }
        assert!(made >= 5, "{way:?}: {made} frames");
    }
}
