//! `hubstorm bench-self`: what this machine carries, measured before a run.
//!
//! Several processes of this program: a hub, and against it, one after another, the raw loop
//! and the load generator. Each gets a fresh hub, and is a process of its own, so that
//! CPU time and memory are those of the clients alone. One thread drives the clients in both.
//! CPU time is what repeats on a busy machine; wall-clock figures want a quiet one.

mod echo;
mod figures;
mod flood;
mod knee;
mod memory;
mod prices;
mod process;
mod raw;
mod whole;

use std::time::Duration;

use anyhow::Result;
use tokio::task::LocalSet;

use super::args::{BenchArgs, BenchFigure, BenchPart};
use super::{EXIT_USAGE, complain};
use crate::generator;

/// Left out at the beginning of the load: connections and buffers settle.
const MARGIN: Duration = Duration::from_secs(1);
/// The share of a core that clients may use on average, so that bursts still find time.
const CORE_SHARE: f64 = 0.7;
/// The share of the free memory that is counted on.
const MEMORY_SHARE: f64 = 0.8;
/// Stands for the address of a hub in the same process.
const EMBEDDED: &str = "embedded";

/// The load of the measurement.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
struct Size {
    clients: u64,
    group: u64,
    /// Deliveries per second of all clients together.
    rate: u64,
    seconds: u64,
    /// How long everybody is joined and nothing is sent, before the load and after it, s.
    /// The raw loop has only the first, and looks at the kernel's memory at its end.
    calm: u64,
    /// How long a client waits with the receipt of a message, ms; left out: as long as it
    /// does anyway. The raw loop knows only that.
    #[serde(default)]
    receipt_ms: Option<u64>,
}

impl Size {
    fn groups(&self) -> u64 {
        self.clients.div_ceil(self.group)
    }

    /// Between two publishes of all clients together, µs.
    fn pause_us(&self) -> f64 {
        1e6 * self.group as f64 / self.rate as f64
    }
}

/// What one part measured in its window.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct Measured {
    cpu_s: f64,
    deliveries: u64,
    /// Of wall-clock time that the window lasted, s.
    window_s: f64,
    /// Resident before the first connection.
    empty_bytes: u64,
    /// Resident when everybody had joined, above what the empty process had, and what the
    /// verifier says it held of it. Of one moment only where nothing is sent before it.
    joined_bytes: u64,
    joined_verifier_bytes: u64,
    /// The same at the end of the window, or of the calm after it.
    loaded_bytes: u64,
    loaded_verifier_bytes: u64,
    /// Cores used in the calm before the load, and CPU time from the start to its end, s.
    idle_cores: f64,
    joined_cpu_s: f64,
    /// From the start to the last join, s.
    connect_s: f64,
    /// By how much the kernel's memory for sockets and files grew with the connections, of
    /// the whole machine, both ends; measured by the raw loop alone.
    kernel_bytes: u64,
    /// The part of the deliveries that the window should have seen.
    arrived: f64,
    /// What was sent and had not come at the end of the window, in seconds of the rate.
    behind_s: f64,
    /// Percentiles of delivery latency, s; not measured by the raw loop.
    p50_s: Option<f64>,
    p99_s: Option<f64>,
    /// How the run was judged, and which of its own signals said that it was the bottleneck;
    /// the raw loop judges nothing.
    verdict: Option<String>,
    own_fault: Option<String>,
    /// The most cores that the hub's process used in a second, where it is another.
    hub_cores: Option<f64>,
}

impl Measured {
    /// CPU seconds per million deliveries.
    fn per_million(&self) -> f64 {
        self.cpu_s * 1e6 / self.deliveries.max(1) as f64
    }

    /// Cores that the process used in the window.
    fn cores(&self) -> f64 {
        self.cpu_s / self.window_s.max(f64::MIN_POSITIVE)
    }
}

pub(super) fn bench_self(args: &BenchArgs) -> u8 {
    let size = Size {
        clients: args.clients,
        group: args.group.min(args.clients),
        rate: args.deliveries,
        seconds: args.seconds,
        calm: 0,
        receipt_ms: None,
    };
    let done = match (args.part, &args.hub, args.only) {
        (Some(part), Some(hub), _) => part_of(part, hub, args.load.as_deref(), size),
        (_, _, Some(figure)) => one(figure, args, size),
        _ => compare(args, size),
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            complain(&format!("{error:#}"));
            EXIT_USAGE
        }
    }
}

fn one(figure: BenchFigure, args: &BenchArgs, size: Size) -> Result<()> {
    match figure {
        BenchFigure::Cpu => figures::cpu(args, size),
        BenchFigure::Memory => memory::memory(args),
        BenchFigure::Flood => figures::flood(args, size),
        BenchFigure::Knee => knee::knee(args, size),
        BenchFigure::Embedded => figures::embedded(size),
        BenchFigure::Connect => figures::connect(size),
        BenchFigure::Prices => prices::prices(args),
        BenchFigure::Echo => echo::echo(size),
    }
}

/// CPU seconds and resident bytes of this process so far.
fn usage() -> Result<(f64, u64)> {
    let process = procfs::process::Process::myself()?;
    let rss_kib = process.status()?.vmrss.unwrap_or(0);
    Ok((cpu_of(&process)?, rss_kib * 1024))
}

/// CPU seconds of a process so far.
fn cpu_of(process: &procfs::process::Process) -> Result<f64> {
    let stat = process.stat()?;
    Ok((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

/// The middle one of some numbers, and the least and the greatest.
fn spread(mut of: Vec<f64>) -> (f64, f64, f64) {
    of.sort_by(f64::total_cmp);
    let at = |n: usize| of.get(n).copied().unwrap_or(f64::NAN);
    (at(of.len() / 2), at(0), at(of.len().saturating_sub(1)))
}

/// Runs one part in this process and prints what it measured as one line of JSON.
fn part_of(part: BenchPart, hub: &str, load: Option<&str>, size: Size) -> Result<()> {
    let size = load.map_or(Ok(size), serde_json::from_str)?;
    let local = |work| -> Result<Measured> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(LocalSet::new().run_until(work))
    };
    let measured = match part {
        BenchPart::Raw => {
            generator::ensure_fds(size.clients + 200)?;
            local(Box::pin(raw::raw(hub, size)) as Local<'_>)?
        }
        BenchPart::Flood => local(Box::pin(flood::flood()))?,
        BenchPart::RawFlood => local(Box::pin(flood::raw_flood()))?,
        BenchPart::Whole => whole::whole(hub, size)?,
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

type Local<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Measured>> + 'a>>;

fn compare(args: &BenchArgs, size: Size) -> Result<()> {
    println!(
        "{} clients in groups of {}, {} deliveries/s for {} s, the hub in another process",
        size.clients, size.group, size.rate, size.seconds
    );
    let mut wholes = Vec::new();
    for _ in 0..args.rounds {
        wholes.push(figures::beside_raw(size, !args.no_raw)?);
    }
    wholes.sort_by(|a, b| a.per_million().total_cmp(&b.per_million()));
    let Some(typical) = wholes.get(wholes.len() / 2) else {
        return Ok(());
    };
    forecast(typical, size)
}

/// What follows for a run against a hub elsewhere.
fn forecast(measured: &Measured, size: Size) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let rate = CORE_SHARE * 1e6 / measured.per_million().max(0.01);
    let (_, files) = rlimit::getrlimit(rlimit::Resource::NOFILE)?;
    let memory = procfs::Current::current()
        .map(|info: procfs::Meminfo| info.mem_available.unwrap_or(info.mem_free))?;
    let each = measured.loaded_bytes.max(1) / size.clients.max(1);
    let by_memory = (memory as f64 * MEMORY_SHARE) as u64 / each.max(1);
    let by_files = files.saturating_sub(200);
    println!("\nForecast for a run from this machine against a hub elsewhere:");
    println!("  deliveries/s  {rate:.0} per thread that drives clients, {cores:.0} cores here");
    println!(
        "  clients       {} ({by_files} by open files, {by_memory} by memory)",
        by_files.min(by_memory)
    );
    println!("  ports         28,000 for one target and source address; see --source-addresses");
    println!(
        "  one figure    bench-self --only cpu|memory|flood|knee|embedded|connect|echo|prices"
    );
    Ok(())
}
