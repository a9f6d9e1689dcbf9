//! The figures of `bench-self --only`: what is measured, and how it is told.

use anyhow::Result;

use super::process::{Against, part};
use super::{Measured, Size};
use crate::cli::args::{BenchArgs, BenchPart};

/// A run is over its limit when less than this share of the deliveries arrives in time,
/// or the 99th percentile of latency is above [`KNEE_P99_S`].
const KNEE_ARRIVED: f64 = 0.99;
const KNEE_P99_S: f64 = 1.0;
/// The first rate of the search, deliveries/s, and how much each next one is above it.
const KNEE_FROM: f64 = 40_000.0;
const KNEE_STEP: f64 = 1.25;
/// The search ends here, deliveries/s.
const KNEE_MAX: f64 = 400_000.0;
/// How long one rate is held, s.
const KNEE_SECONDS: u64 = 3;

fn kib(bytes: f64) -> f64 {
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

/// CPU time per delivery at several numbers of clients.
pub(super) fn cpu(args: &BenchArgs, size: Size) -> Result<()> {
    for clients in [1_000, 9_000, 18_000] {
        let size = Size { clients, ..size };
        println!("{clients} clients, {} deliveries/s", size.rate);
        for _ in 0..args.rounds {
            beside_raw(size, !args.no_raw)?;
        }
    }
    Ok(())
}

/// Memory of one client: the difference between so many and twice as many, so that what a
/// process has anyway is in neither.
pub(super) fn memory() -> Result<()> {
    for (name, against) in [("plain", Against::Hub), ("TLS", Against::Tls)] {
        let size = |clients| Size {
            clients,
            group: 10,
            rate: clients,
            seconds: 3,
        };
        let (few, many) = (size(5_000), size(10_000));
        let one = part(BenchPart::Whole, against, few)?;
        let two = part(BenchPart::Whole, against, many)?;
        let each = |of: fn(&Measured) -> (u64, u64)| {
            let ((rss, verifier), (rss_two, verifier_two)) = (of(&one), of(&two));
            let more = (many.clients - few.clients) as f64;
            let rss = (rss_two as f64 - rss as f64) / more;
            let verifier = (verifier_two as f64 - verifier as f64) / more;
            format!(
                "{:.2} KiB, of which the verifier {:.2}: {:.2} without it",
                kib(rss),
                kib(verifier),
                kib(rss - verifier)
            )
        };
        println!("{name}, a client from the 5,001st to the 10,000th");
        println!(
            "  joined         {}",
            each(|m| (m.joined_bytes, m.joined_verifier_bytes))
        );
        println!(
            "  after traffic  {}",
            each(|m| (m.loaded_bytes, m.loaded_verifier_bytes))
        );
        println!(
            "  all of 5,000   {:.2} KiB a client with what the process has anyway",
            kib(one.joined_bytes as f64) / few.clients as f64
        );
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

/// The highest rate that arrives, for the raw loop and for the load generator.
pub(super) fn knee(args: &BenchArgs, size: Size) -> Result<()> {
    let raw = match args.no_raw {
        true => None,
        false => Some(highest("raw", BenchPart::Raw, size)),
    };
    let whole = highest("whole", BenchPart::Whole, size);
    if let Some(raw) = raw.filter(|raw| *raw > 0.0) {
        println!("ratio  {:6.2}", whole / raw);
    }
    Ok(())
}

fn highest(name: &str, which: BenchPart, size: Size) -> f64 {
    let (mut rate, mut best) = (KNEE_FROM, 0.0_f64);
    while rate <= KNEE_MAX {
        let size = Size {
            rate: rate as u64,
            seconds: KNEE_SECONDS,
            ..size
        };
        // A part that fails did not carry the rate.
        let Ok(measured) = part(which, Against::Hub, size) else {
            println!("{name:5}  {rate:.0} deliveries/s: failed");
            break;
        };
        let carried = measured.arrived >= KNEE_ARRIVED
            && measured.p99_s.is_none_or(|p99_s| p99_s <= KNEE_P99_S);
        println!(
            "{name:5}  {rate:.0} deliveries/s: {:.1} % arrived{}, {:.2} s CPU per million",
            measured.arrived * 100.0,
            measured.p99_s.map_or(String::new(), |p99_s| format!(
                ", p99 {:.0} ms",
                p99_s * 1e3
            )),
            measured.per_million()
        );
        if !carried {
            break;
        }
        best = rate;
        rate *= KNEE_STEP;
    }
    println!("{name:5}  carries {best:.0} deliveries/s");
    best
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

/// The delay of the generator itself: an idle client hears its own message.
pub(super) fn echo(size: Size) -> Result<()> {
    let size = Size {
        clients: 1,
        group: 1,
        rate: 20,
        ..size
    };
    let whole = part(BenchPart::Whole, Against::Hub, size)?;
    println!(
        "echo of an idle client: p50 {:.3} ms, p99 {:.3} ms ({} messages)",
        whole.p50_s.unwrap_or(f64::NAN) * 1e3,
        whole.p99_s.unwrap_or(f64::NAN) * 1e3,
        whole.deliveries
    );
    Ok(())
}
