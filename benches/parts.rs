//! What each part of the path of a delivered message costs: `cargo bench --bench parts`.
//!
//! Timed by criterion, then once more side by side, for the ratios at the end: each part
//! against the whole delivery, and both against the floor, which only tells frames apart by
//! their first bytes, as the raw socket loop does. The whole client beside that loop, sockets
//! and all: `hubstorm bench-self`.

#[path = "../tests/delivery_rig/mod.rs"]
mod delivery_rig;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use delivery_rig::Rig;
use hubstorm::base::{Clock, Slot};
use hubstorm::metrics::{Latencies, LatencyKind};
use hubstorm::protocol::Received;
use hubstorm::wire::{DataMessage, DataType, Downstream, Subprotocol};

/// Messages per round; the figures are per round of so many.
const MESSAGES: usize = 1_000;
/// Rounds for the ratios; the best counts, because everything else on the machine only adds.
const ROUNDS: usize = 60;
const MEASURED: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_millis(300);
const SAMPLES: usize = 20;

const CASES: [(&str, Subprotocol, DataType); 3] = [
    ("json", Subprotocol::JsonReliable, DataType::Json),
    ("text", Subprotocol::JsonReliable, DataType::Text),
    ("protobuf", Subprotocol::ProtobufReliable, DataType::Binary),
];

/// A part of the path, in the order in which a message goes through them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
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
    const ALL: [(Part, &str); 6] = [
        (Part::Floor, "floor"),
        (Part::Codec, "codec"),
        (Part::Session, "session"),
        (Part::Verifier, "verifier"),
        (Part::Histogram, "histogram"),
        (Part::Whole, "whole"),
    ];

    /// Takes every message through this part alone. `messages` are decoded already.
    fn run(self, rig: &mut Rig, frames: &Rig, messages: &[DataMessage<'_>]) {
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

fn decoded(rig: &Rig) -> Vec<DataMessage<'_>> {
    let decode = |frame| match Rig::decode(rig.subprotocol, frame) {
        Downstream::Data(message) => message,
        other => panic!("not a data frame: {other:?}"),
    };
    rig.frames.iter().map(|frame| decode(frame)).collect()
}

/// A rig whose histogram is there already, as in all but the first message of a client.
fn fresh(subprotocol: Subprotocol, data_type: DataType) -> Rig {
    let mut rig = Rig::new(subprotocol, data_type, MESSAGES as u32);
    rig.latencies = Latencies::default();
    rig.latencies.record(LatencyKind::Delivery, 1);
    rig
}

fn measure(c: &mut Criterion) {
    for (case, subprotocol, data_type) in CASES {
        let frames = fresh(subprotocol, data_type);
        let messages = decoded(&frames);
        for (part, name) in Part::ALL {
            c.bench_function(&format!("{name}/{case} x{MESSAGES}"), |b| {
                b.iter_batched_ref(
                    || fresh(subprotocol, data_type),
                    |rig| part.run(rig, &frames, &messages),
                    BatchSize::LargeInput,
                )
            });
        }
    }
}

/// The best of [`ROUNDS`] rounds of each part, taken in turns, ns per message.
fn side_by_side(subprotocol: Subprotocol, data_type: DataType) -> [f64; Part::ALL.len()] {
    let clock = Clock::start();
    let frames = fresh(subprotocol, data_type);
    let messages = decoded(&frames);
    let mut best = [f64::INFINITY; Part::ALL.len()];
    // The clock counts microseconds: the cheap parts are repeated for a round.
    const REPEATS: [usize; Part::ALL.len()] = [100, 1, 1, 1, 20, 1];
    for _ in 0..ROUNDS {
        for ((best, (part, _)), repeats) in best.iter_mut().zip(Part::ALL).zip(REPEATS) {
            let mut rig = fresh(subprotocol, data_type);
            let start = clock.now();
            for _ in 0..repeats {
                part.run(&mut rig, &frames, &messages);
            }
            let took = clock.now().micros_since(start) as f64;
            *best = best.min(took * 1e3 / (repeats * MESSAGES) as f64);
        }
    }
    best
}

fn main() {
    let mut criterion = Criterion::default()
        .measurement_time(MEASURED)
        .warm_up_time(WARM_UP)
        .sample_size(SAMPLES)
        .without_plots()
        .configure_from_args();
    measure(&mut criterion);
    criterion.final_summary();
    println!(
        "\nns per message, the best of {ROUNDS} rounds; of the whole delivery; times the floor"
    );
    for (case, subprotocol, data_type) in CASES {
        let best = side_by_side(subprotocol, data_type);
        let (floor, whole) = (best[0], best[Part::ALL.len() - 1]);
        for ((_, name), ns) in Part::ALL.iter().zip(best) {
            println!(
                "{case:<9} {name:<9} {ns:8.1} ns  {:5.2} of whole  {:7.1} x floor",
                ns / whole,
                ns / floor
            );
        }
    }
}
