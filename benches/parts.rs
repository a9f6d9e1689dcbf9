//! What each part of the path of a delivered message costs: `cargo bench --bench parts`.
//!
//! Timed by criterion, then once more side by side, for the ratios at the end: each part
//! against the whole delivery, and both against the floor, which only tells frames apart by
//! their first bytes, as the raw socket loop does. The whole client beside that loop, sockets
//! and all: `hubstorm bench-self`.

#[path = "../tests/delivery_rig/mod.rs"]
mod delivery_rig;
#[path = "parts/part.rs"]
mod part;

use std::time::Duration;

use criterion::{BatchSize, Criterion};
use hubstorm::base::Clock;
use hubstorm::wire::{DataType, Subprotocol};
use part::{CASES, MESSAGES, Part, decoded, fresh};

/// Rounds for the ratios; the best counts, because everything else on the machine only adds.
const ROUNDS: usize = 60;
const MEASURED: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_millis(300);
const SAMPLES: usize = 20;

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
