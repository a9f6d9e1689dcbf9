//! What each part of the path of a delivered message costs: `cargo bench --bench parts`.
//! The whole client beside a raw socket loop: `hubstorm bench-self`.

#![allow(missing_docs, reason = "criterion's macros make public items")]

#[path = "../tests/delivery_rig/mod.rs"]
mod delivery_rig;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use delivery_rig::Rig;
use hubstorm::base::Slot;
use hubstorm::metrics::{Latencies, LatencyKind};
use hubstorm::protocol::Received;
use hubstorm::wire::{DataType, Downstream, Subprotocol};

/// Messages per round; the figures are per round of so many.
const MESSAGES: usize = 1_000;

const CASES: [(&str, Subprotocol, DataType); 3] = [
    ("json", Subprotocol::JsonReliable, DataType::Json),
    ("text", Subprotocol::JsonReliable, DataType::Text),
    ("protobuf", Subprotocol::ProtobufReliable, DataType::Binary),
];

fn data<'a>(rig: &'a Rig, n: usize) -> hubstorm::wire::DataMessage<'a> {
    match Rig::decode(rig.subprotocol, &rig.frames[n]) {
        Downstream::Data(message) => message,
        other => panic!("not a data frame: {other:?}"),
    }
}

fn parts(c: &mut Criterion) {
    for (name, subprotocol, data_type) in CASES {
        let rig = || Rig::new(subprotocol, data_type, MESSAGES as u32);
        let frames = rig();
        c.bench_function(&format!("codec/{name} x{MESSAGES}"), |b| {
            b.iter(|| {
                for frame in &frames.frames {
                    std::hint::black_box(Rig::decode(subprotocol, frame));
                }
            })
        });
        c.bench_function(&format!("session/{name} x{MESSAGES}"), |b| {
            b.iter_batched_ref(
                rig,
                |rig| {
                    for n in 0..MESSAGES {
                        let frame = Downstream::Data(data(&frames, n));
                        let taken = rig.session.handle_frame(frames.at(n), frame);
                        assert!(matches!(taken, Received::Data { fresh: true, .. }));
                    }
                },
                BatchSize::LargeInput,
            )
        });
        c.bench_function(&format!("verifier/{name} x{MESSAGES}"), |b| {
            b.iter_batched_ref(
                rig,
                |rig| {
                    for n in 0..MESSAGES {
                        let message = data(&frames, n);
                        assert!(rig.shard.frame(Slot(0), &message, frames.at(n)).fresh);
                    }
                },
                BatchSize::LargeInput,
            )
        });
        c.bench_function(&format!("all/{name} x{MESSAGES}"), |b| {
            b.iter_batched_ref(
                rig,
                |rig| assert!((0..MESSAGES).all(|n| rig.deliver(n))),
                BatchSize::LargeInput,
            )
        });
    }
    c.bench_function(&format!("histogram x{MESSAGES}"), |b| {
        let mut latencies = Latencies::default();
        b.iter(|| {
            for n in 0..MESSAGES as u64 {
                latencies.record(LatencyKind::Delivery, 100 + n * 37 % 5_000);
            }
        })
    });
}

criterion_group!(benches, parts);
criterion_main!(benches);
