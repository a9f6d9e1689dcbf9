//! The knee: the highest rate that arrives, for the raw loop and for the load generator, and
//! whose limit that was.
//!
//! Both climb the same steps until one rate is too much, and halve the gap below it as often.

use anyhow::Result;

use super::process::{Against, part};
use super::{Measured, Size};
use crate::cli::args::{BenchArgs, BenchPart};

/// A run is over its limit when less than this share of the deliveries arrives in the
/// window, or the 99th percentile of latency is above [`P99_S`]. The raw loop knows no
/// latencies: of it what is on its way at the end must be worth less than that time.
const ARRIVED: f64 = 0.99;
const P99_S: f64 = 1.0;
/// The first rate of the search, deliveries/s, and how much each next one is above it.
const FROM: f64 = 150_000.0;
const STEP: f64 = 1.5;
/// The search ends here, deliveries/s: more than the hub carries on one core.
const MAX: f64 = 4_000_000.0;
/// How often the gap between what was carried and what was not is halved: to 1/16 of it.
const HALVINGS: u32 = 4;
/// How long one rate is held, s.
const SECONDS: u64 = 5;
/// Cores in use from which a process with one busy thread had no time left.
const BUSY_CORES: f64 = 0.9;

/// What one side carried.
#[derive(Debug, Default)]
struct Knee {
    /// The highest rate that arrived, deliveries/s.
    carries: f64,
    /// The lowest that did not; none when the search ended first.
    over: Option<f64>,
    /// CPU seconds per million deliveries at `carries`.
    per_million: f64,
}

/// Why a rate was too much, or nothing when it was not.
fn over(measured: &Measured) -> Option<String> {
    let mut why = Vec::new();
    if measured.arrived < ARRIVED {
        why.push(format!("{:.1} % arrived", measured.arrived * 100.0));
    }
    match measured.p99_s {
        Some(p99_s) if p99_s > P99_S => why.push(format!("p99 {:.0} ms", p99_s * 1e3)),
        None if measured.behind_s > P99_S => {
            why.push(format!("{:.1} s behind at the end", measured.behind_s));
        }
        _ => {}
    }
    (!why.is_empty()).then(|| why.join(", "))
}

/// Who had no time left, by the cores in use and the generator's own signals.
fn whose(measured: &Measured) -> String {
    let hub = measured.hub_cores.unwrap_or(0.0);
    let (client_busy, hub_busy) = (measured.cores() >= BUSY_CORES, hub >= BUSY_CORES);
    let mut of = match (client_busy || measured.own_fault.is_some(), hub_busy) {
        (true, true) => "the clients' and the hub's",
        (true, false) => "the clients'",
        (false, true) => "the hub's",
        // On a quiet machine one of them would have used its core.
        (false, false) => "the machine's: neither had a core to itself",
    }
    .to_owned();
    if let Some(signal) = &measured.own_fault {
        of.push_str(&format!("; {signal}"));
    }
    of
}

pub(super) fn knee(args: &BenchArgs, size: Size) -> Result<()> {
    for _ in 0..args.rounds {
        let raw = (!args.no_raw).then(|| search("raw", BenchPart::Raw, size));
        let whole = search("whole", BenchPart::Whole, size);
        if let Some(raw) = raw.filter(|raw| raw.carries > 0.0) {
            println!("ratio  {:6.2}", whole.carries / raw.carries);
        }
    }
    Ok(())
}

fn search(name: &str, which: BenchPart, size: Size) -> Knee {
    let found = climb(|rate| {
        let size = Size {
            rate: rate as u64,
            seconds: SECONDS,
            ..size
        };
        // A part that fails did not carry the rate.
        let measured = match part(which, Against::Hub, size) {
            Ok(measured) => measured,
            Err(error) => {
                println!("{name:5}  {rate:8.0} deliveries/s: failed: {error:#}");
                return None;
            }
        };
        let over = over(&measured);
        println!(
            "{name:5}  {rate:8.0} deliveries/s: {:5.1} % arrived{}, {:.2} s CPU per million; \
             {:.2} cores, the hub {:.2}{}",
            measured.arrived * 100.0,
            measured.p99_s.map_or(String::new(), |p99_s| format!(
                ", p99 {:.0} ms",
                p99_s * 1e3
            )),
            measured.per_million(),
            measured.cores(),
            measured.hub_cores.unwrap_or(0.0),
            over.as_ref().map_or(String::new(), |why| format!(
                ": too much ({why}); the limit is {}",
                whose(&measured)
            ))
        );
        over.is_none().then(|| measured.per_million())
    });
    match found.over {
        Some(over) => println!(
            "{name:5}  carries {:.0} deliveries/s and not {over:.0}, {:.2} s CPU per million",
            found.carries, found.per_million
        ),
        None => println!(
            "{name:5}  carries {:.0} deliveries/s; the search ends there, no knee was found",
            found.carries
        ),
    }
    found
}

/// Finds the highest rate that `carried` says was: geometric steps up, then halvings.
fn climb(mut carried: impl FnMut(f64) -> Option<f64>) -> Knee {
    let mut knee = Knee::default();
    let mut rate = FROM;
    while rate <= MAX {
        match carried(rate) {
            Some(per_million) => (knee.carries, knee.per_million) = (rate, per_million),
            None => {
                knee.over = Some(rate);
                break;
            }
        }
        rate *= STEP;
    }
    let Some(mut over) = knee.over else {
        return knee;
    };
    for _ in 0..HALVINGS {
        let middle = (knee.carries + over) / 2.0;
        match carried(middle) {
            Some(per_million) => (knee.carries, knee.per_million) = (middle, per_million),
            None => over = middle,
        }
    }
    knee.over = Some(over);
    knee
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A search whose end is its answer says nothing about either side.
    #[test]
    fn the_knee_is_bracketed_closely_wherever_it_lies() {
        for limit in [20_000.0, 160_000.0, 480_000.0, 1_300_000.0] {
            let mut tries = 0;
            let knee = climb(|rate| {
                tries += 1;
                (rate <= limit).then_some(1.0)
            });
            let over = knee.over.unwrap();
            assert!(knee.carries <= limit && limit < over, "{limit}: {knee:?}");
            assert!(
                over - knee.carries <= limit.max(FROM) * 0.07,
                "{limit}: {knee:?}"
            );
            assert!(tries <= 12, "{tries} steps are too long a search");
        }
        assert!(climb(|_| Some(1.0)).over.is_none(), "no knee was seen");
    }

    /// A ratio of knees of which one is the hub's would be read as the generator's.
    #[test]
    fn who_was_at_its_limit_is_told_by_cores_and_signals() {
        let of = |cpu_s: f64, hub: f64, fault: Option<&str>| {
            whose(&Measured {
                cpu_s,
                window_s: 5.0,
                hub_cores: Some(hub),
                own_fault: fault.map(str::to_owned),
                ..Measured::default()
            })
        };
        assert_eq!(of(4.9, 0.5, None), "the clients'");
        assert_eq!(of(2.0, 0.99, None), "the hub's");
        assert_eq!(of(4.9, 0.99, None), "the clients' and the hub's");
        assert!(of(2.0, 0.5, None).starts_with("the machine's"));
        let named = of(2.0, 0.5, Some("schedule lag p99 300 ms > 250 ms"));
        assert_eq!(named, "the clients'; schedule lag p99 300 ms > 250 ms");
    }

    #[test]
    fn too_little_and_too_late_are_both_too_much() {
        let of = |arrived, p99_s, behind_s| {
            over(&Measured {
                arrived,
                p99_s,
                behind_s,
                ..Measured::default()
            })
        };
        assert_eq!(of(1.0, Some(0.2), 0.0), None);
        assert_eq!(of(0.98, Some(0.2), 0.0).unwrap(), "98.0 % arrived");
        assert_eq!(of(1.0, Some(1.2), 0.0).unwrap(), "p99 1200 ms");
        assert_eq!(of(1.0, None, 1.5).unwrap(), "1.5 s behind at the end");
    }
}
