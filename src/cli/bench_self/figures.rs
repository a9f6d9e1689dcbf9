//! The figures of `bench-self --only`: what is measured, and how it is told.

use anyhow::Result;

use super::process::{Against, part};
use super::{Measured, Size};
use crate::cli::args::{BenchArgs, BenchPart};

pub(super) fn kib(bytes: f64) -> f64 {
    bytes / 1024.0
}

fn line(name: &str, measured: &Measured, size: Size) -> String {
    let mut shown = format!(
        "{name:5}  {:6.2} s CPU per million deliveries ({:.2} s, {} deliveries), {:.1} KiB per \
         client, {:.1} % arrived",
        measured.per_million(),
        measured.cpu_s,
        measured.deliveries,
        kib(measured.joined_bytes as f64) / size.clients as f64,
        measured.arrived * 100.0
    );
    if let (Some(verdict), Some(p99_s)) = (&measured.verdict, measured.p99_s) {
        shown.push_str(&format!(
            ", p99 {:.1} ms, joined after {:.1} s, {verdict}",
            p99_s * 1e3,
            measured.connect_s
        ));
    }
    shown
}

/// Both halves at one size, one after the other. Returns the load generator's.
pub(super) fn beside_raw(size: Size, raw: bool) -> Result<Measured> {
    let raw = raw
        .then(|| part(BenchPart::Raw, Against::Hub, size))
        .transpose()?;
    if let Some(raw) = &raw {
        println!("{}", line("raw", raw, size));
    }
    let whole = part(BenchPart::Whole, Against::Hub, size)?;
    println!("{}", line("whole", &whole, size));
    if let Some(raw) = raw {
        let ratio = whole.per_million() / raw.per_million();
        println!("ratio  {ratio:6.2}");
    }
    Ok(whole)
}

/// CPU time per delivery at several numbers of clients: first all at one rate in sum, so
/// that each client has less to do the more there are, and pays more of its receipts and
/// wake-ups for each message; then at the rate per client of the first.
pub(super) fn cpu(args: &BenchArgs, size: Size) -> Result<()> {
    let rate = size.rate;
    let sizes = [
        (1_000, rate),
        (9_000, rate),
        (18_000, rate),
        (9_000, 9 * rate),
        (18_000, 9 * rate),
    ];
    for (clients, rate) in sizes {
        let size = Size {
            clients,
            rate,
            ..size
        };
        println!(
            "{clients} clients, {rate} deliveries/s, {:.1} a client",
            rate as f64 / clients as f64
        );
        for _ in 0..args.rounds {
            beside_raw(size, !args.no_raw)?;
        }
    }
    Ok(())
}

/// Messages a second that one arbiter takes in.
pub(super) fn flood(args: &BenchArgs, size: Size) -> Result<()> {
    for _ in 0..args.rounds.max(3) {
        let raw = part(BenchPart::RawFlood, Against::Nothing, size)?;
        let flood = part(BenchPart::Flood, Against::Nothing, size)?;
        for (name, measured) in [("raw", &raw), ("flood", &flood)] {
            println!(
                "{name:5}  {:.0} messages/s of the reading thread's CPU time, {:.0}/s of \
                 wall-clock time ({:.2} us each, {} messages)",
                measured.deliveries as f64 / measured.cpu_s,
                measured.deliveries as f64 / measured.connect_s,
                measured.per_million(),
                measured.deliveries
            );
        }
        println!("ratio  {:6.2}", flood.cpu_s / raw.cpu_s);
    }
    Ok(())
}

/// A high rate with the hub in the same process.
pub(super) fn embedded(size: Size) -> Result<()> {
    let size = Size {
        rate: size.rate.max(70_000),
        ..size
    };
    let whole = part(BenchPart::Whole, Against::Embedded, size)?;
    println!(
        "embedded hub: {:.0} of {} deliveries/s verified, {}",
        whole.arrived * size.rate as f64,
        size.rate,
        line("both", &whole, size)
    );
    Ok(())
}

/// How long 9,000 clients take to connect and join.
pub(super) fn connect(size: Size) -> Result<()> {
    let size = Size {
        clients: size.clients.max(9_000),
        seconds: 2,
        ..size
    };
    for against in [Against::Hub, Against::Embedded] {
        let whole = part(BenchPart::Whole, against, size)?;
        println!(
            "{} clients connected and joined in {:.2} s ({})",
            size.clients,
            whole.connect_s,
            if against == Against::Hub {
                "hub in another process"
            } else {
                "embedded hub"
            }
        );
    }
    Ok(())
}
