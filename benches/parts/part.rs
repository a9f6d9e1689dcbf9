//! The parts of the path of a delivered message, each to be run alone, for the benches that
//! time them and that count their instructions.

use std::hint::black_box;

use hubstorm::base::Slot;
use hubstorm::metrics::{Latencies, LatencyKind};
use hubstorm::protocol::Received;
use hubstorm::wire::{DataMessage, DataType, Downstream, Subprotocol};

use crate::delivery_rig::Rig;

/// Messages per round; the figures are per round of so many.
pub(crate) const MESSAGES: usize = 1_000;

/// Encodings and payloads.
pub(crate) const CASES: [(&str, Subprotocol, DataType); 3] = [
    ("json", Subprotocol::JsonReliable, DataType::Json),
    ("text", Subprotocol::JsonReliable, DataType::Text),
    ("protobuf", Subprotocol::ProtobufReliable, DataType::Binary),
];

/// A part of the path, in the order in which a message goes through them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Frames told apart by their first bytes: what the raw loop does.
    Floor,
    Codec,
    Session,
    Verifier,
    Histogram,
    /// All of them as a client puts them together, receipts included.
    Whole,
}

impl Part {
    pub(crate) const ALL: [(Part, &str); 6] = [
        (Part::Floor, "floor"),
        (Part::Codec, "codec"),
        (Part::Session, "session"),
        (Part::Verifier, "verifier"),
        (Part::Histogram, "histogram"),
        (Part::Whole, "whole"),
    ];

    /// Takes every message through this part alone. `messages` are decoded already.
    pub(crate) fn run(self, rig: &mut Rig, frames: &Rig, messages: &[DataMessage<'_>]) {
        match self {
            Part::Floor => assert_eq!(floor(&frames.frames), MESSAGES),
            Part::Codec => {
                for frame in &frames.frames {
                    black_box(Rig::decode(frames.subprotocol, frame));
                }
            }
            Part::Session => {
                for (n, message) in messages.iter().enumerate() {
                    let frame = Downstream::Data(message.clone());
                    let taken = rig.session.handle_frame(frames.at(n), frame);
                    assert!(matches!(taken, Received::Data { fresh: true, .. }));
                }
            }
            Part::Verifier => {
                for (n, message) in messages.iter().enumerate() {
                    assert!(rig.shard.frame(Slot(0), message, frames.at(n)).fresh);
                }
            }
            Part::Histogram => {
                for n in 0..MESSAGES as u64 {
                    let latency = 100 + n * 37 % 5_000;
                    rig.latencies.record(LatencyKind::Delivery, latency);
                }
            }
            Part::Whole => assert!((0..MESSAGES).all(|n| rig.deliver(n))),
        }
    }
}

/// Counts the messages as the raw loop does: `{"type":"message"` in front, or the number of
/// protobuf's field for data messages.
fn floor(frames: &[Vec<u8>]) -> usize {
    let is_message = |frame: &&Vec<u8>| {
        black_box(frame.as_slice()).starts_with(br#"{"type":"message""#)
            || frame.first() == Some(&0x12)
    };
    frames.iter().filter(is_message).count()
}

/// The data messages of a rig, in order.
pub(crate) fn decoded(rig: &Rig) -> Vec<DataMessage<'_>> {
    let decode = |frame| match Rig::decode(rig.subprotocol, frame) {
        Downstream::Data(message) => message,
        other => panic!("not a data frame: {other:?}"),
    };
    rig.frames.iter().map(|frame| decode(frame)).collect()
}

/// A rig whose histogram is there already, as in all but the first message of a client.
pub(crate) fn fresh(subprotocol: Subprotocol, data_type: DataType) -> Rig {
    let mut rig = Rig::new(subprotocol, data_type, MESSAGES as u32);
    rig.latencies = Latencies::default();
    rig.latencies.record(LatencyKind::Delivery, 1);
    rig
}
