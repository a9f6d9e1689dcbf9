//! The prices of the forecast, each measured by two runs that differ in one thing.
//!
//! Prints the table of `docs/performance.md`: what the program counts with beside what this
//! machine does. Where a number is left over after others were taken away, it says so.

use anyhow::Result;

use super::process::{Against, part};
use super::{Measured, Size, spread};
use crate::cli::args::{BenchArgs, BenchPart};
use crate::generator::prices;

/// Clients of the runs that measure CPU time, and of those that measure cold memory.
const WARM: u64 = 1_000;
const COLD: u64 = 9_000;
/// Deliveries/s at which a read brings one frame, and at which it brings many.
const RATE: u64 = 10_000;
const MANY: u64 = 400_000;
/// The same of publishes and of the embedded hub.
const DENSE: u64 = 40_000;
const HUB_MANY: u64 = 70_000;
/// A receipt for each delivery, and none in a run.
const AT_ONCE_MS: u64 = 1;
const NEVER_MS: u64 = 60_000;
/// The two populations between which a client is priced.
const FEW: u64 = 4_000;
const MORE: u64 = 8_000;
/// Clients of the runs in which the verifier's recorders fill, and what each publishes then.
const FULL: u64 = 500;
const PUBLISHES: u64 = 140;
const CALM_S: u64 = 4;

/// What one round says of each price, and how it came to it, in the order of
/// [`prices::ALL`].
type Round = [(f64, &'static str); prices::ALL.len()];

pub(super) fn prices(args: &BenchArgs) -> Result<()> {
    let mut rounds: Vec<Round> = Vec::new();
    for n in 1..=args.rounds {
        eprintln!("round {n} of {}", args.rounds);
        rounds.push(round(args.seconds)?);
    }
    println!("| what | built in | measured here | how |");
    println!("| --- | --- | --- | --- |");
    for (row, price) in prices::ALL.iter().enumerate() {
        let seen = rounds.iter().map(|round| round[row].0);
        let (middle, least, most) = spread(seen.collect());
        let range = match args.rounds {
            1 => String::new(),
            _ => format!(" ({least:.2} to {most:.2})"),
        };
        println!(
            "| {} | {} {} | {middle:.2}{range} | {} |",
            price.name, price.value, price.unit, rounds[0][row].1
        );
    }
    Ok(())
}

fn size(clients: u64, rate: u64, seconds: u64) -> Size {
    Size {
        clients,
        group: 10,
        rate,
        seconds,
        calm: 0,
        receipt_ms: Some(NEVER_MS),
    }
}

/// Clients that are joined and idle, and a little load that nobody looks at.
fn idle(clients: u64) -> Size {
    Size {
        calm: CALM_S,
        ..size(clients, clients, 2)
    }
}

/// CPU time per second of the window, µs.
fn us_per_s(measured: &Measured) -> f64 {
    measured.cores() * 1e6
}

fn round(seconds: u64) -> Result<Round> {
    let warm = size(WARM, RATE, seconds);
    let run = |size| part(BenchPart::Whole, Against::Hub, size);
    let base = run(warm)?;
    let half = run(Size {
        rate: RATE / 2,
        ..warm
    })?;
    let pairs = run(Size { group: 2, ..warm })?;
    let dense = size(WARM, DENSE, seconds);
    let (tens, twos) = (run(dense)?, run(Size { group: 2, ..dense })?);
    let acked = run(Size {
        receipt_ms: Some(AT_ONCE_MS),
        ..warm
    })?;
    let cold = run(size(COLD, RATE, seconds))?;
    let many = run(size(WARM, MANY, seconds))?;
    let hub = |rate| -> Result<f64> {
        let size = Size {
            receipt_ms: None,
            ..size(WARM, rate, seconds)
        };
        let both = part(BenchPart::Whole, Against::Embedded, size)?;
        Ok((us_per_s(&both) - us_per_s(&run(size)?)) / rate as f64)
    };
    let (hub_one, hub_many) = (hub(RATE)?, hub(HUB_MANY)?);
    let slopes = Slopes::measure()?;
    let (full, pair) = verifier()?;
    let raw = Size {
        rate: MORE,
        calm: CALM_S,
        ..size(MORE, MORE, 1)
    };
    let kernel = part(BenchPart::Raw, Against::Hub, raw)?;

    let rate = RATE as f64;
    // Groups of 2 instead of 10: publishes are half of the deliveries instead of a tenth.
    let more = |rate: f64| rate / 2.0 - rate / 10.0;
    let publish = (us_per_s(&pairs) - us_per_s(&base)) / more(rate);
    let publish_dense = (us_per_s(&twos) - us_per_s(&tens)) / more(DENSE as f64);
    let delivery = (us_per_s(&base) - us_per_s(&half)) / (rate / 2.0) - publish / 10.0;
    let grown = us_per_s(&cold) - us_per_s(&base) - (COLD - WARM) as f64 * slopes.idle_us;
    let rest =
        us_per_s(&half) - rate / 2.0 * (delivery + publish / 10.0) - WARM as f64 * slopes.idle_us;
    Ok([
        (
            delivery,
            "10,000 against 5,000/s, 1,000 clients without receipts; less the publishes",
        ),
        (
            many.per_million() - publish_dense / 10.0,
            "400,000/s of 1,000 clients; less the publishes at the price below",
        ),
        (
            grown / rate,
            "9,000 against 1,000 clients, 10,000/s without receipts; less the idle clients",
        ),
        (
            (us_per_s(&acked) - us_per_s(&base)) / rate,
            "one for each delivery against none, 10,000/s",
        ),
        (publish, "groups of 2 against 10, 10,000 deliveries/s"),
        (publish_dense, "groups of 2 against 10, 40,000 deliveries/s"),
        (slopes.idle_us, "8,000 against 4,000 joined clients"),
        (rest, "what is left of 5,000 deliveries/s after the others"),
        (
            slopes.connect_us,
            "8,000 against 4,000 clients, until they are idle",
        ),
        (slopes.tls_connect_us, "the same with TLS, less without"),
        (
            hub_one,
            "10,000 deliveries/s with the hub in this process, less in another",
        ),
        (
            hub_many,
            "70,000 deliveries/s with the hub in this process, less in another",
        ),
        (
            slopes.process / 1024.0,
            "4,000 clients joined, less as many times one",
        ),
        (
            slopes.client / 1024.0,
            "8,000 against 4,000 joined clients, resident; less the verifier's",
        ),
        (
            slopes.tls_client / 1024.0,
            "the same with TLS, less without",
        ),
        (
            slopes.hub_client / 1024.0,
            "the same with the hub in this process, less in another",
        ),
        (
            full / 1024.0,
            "140 publishes each in groups of 10, by its own count; less the pairs",
        ),
        (pair, "groups of 20 against 10, by its own count"),
        (
            kernel.kernel_bytes as f64 / MORE as f64 / 1024.0,
            "8,000 connections of the raw loop: slabs and socket pages of the machine",
        ),
    ])
}

/// Prices of a client: between two populations.
struct Slopes {
    process: f64,
    client: f64,
    tls_client: f64,
    hub_client: f64,
    idle_us: f64,
    connect_us: f64,
    tls_connect_us: f64,
}

impl Slopes {
    fn measure() -> Result<Self> {
        let two = |against| -> Result<[Measured; 2]> {
            Ok([
                part(BenchPart::Whole, against, idle(FEW))?,
                part(BenchPart::Whole, against, idle(MORE))?,
            ])
        };
        let (plain, tls) = (two(Against::Hub)?, two(Against::Tls)?);
        let embedded = two(Against::Embedded)?;
        let slope = |of: &[Measured; 2], what: fn(&Measured) -> f64| {
            (what(&of[1]) - what(&of[0])) / (MORE - FEW) as f64
        };
        let bytes = |of| {
            slope(of, |m| {
                m.joined_bytes as f64 - m.joined_verifier_bytes as f64
            })
        };
        let idle_us = slope(&plain, |m| m.idle_cores * 1e6);
        let connect = |of| slope(of, |m| m.joined_cpu_s * 1e6) - idle_us * CALM_S as f64;
        let each = slope(&plain, |m| m.joined_bytes as f64);
        let few = &plain[0];
        Ok(Slopes {
            process: (few.empty_bytes + few.joined_bytes) as f64 - FEW as f64 * each,
            client: bytes(&plain),
            tls_client: bytes(&tls) - bytes(&plain),
            hub_client: bytes(&embedded) - bytes(&plain),
            idle_us,
            connect_us: connect(&plain),
            tls_connect_us: connect(&tls) - connect(&plain),
        })
    }
}

/// The verifier's bytes for a client whose recorders are full, and for a pair.
fn verifier() -> Result<(f64, f64)> {
    let of = |group: u64| -> Result<f64> {
        // Ten publishes a second of each client, as often as it takes.
        let size = Size {
            group,
            rate: FULL * group * 10,
            seconds: PUBLISHES / 10 - 2,
            calm: CALM_S,
            ..size(FULL, 1, 1)
        };
        let measured = part(BenchPart::Whole, Against::Hub, size)?;
        Ok(measured.loaded_verifier_bytes as f64 / FULL as f64)
    };
    let (ten, twenty) = (of(10)?, of(20)?);
    let pair = (twenty - ten) / 10.0;
    Ok((ten - 10.0 * pair, pair))
}
