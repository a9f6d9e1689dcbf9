//! `hubstorm bench-self`: what this machine carries, measured before a run.
//!
//! Three processes of this program: a hub, and after one another the raw loop and the load
//! generator against it. Each half gets a fresh hub, and is a process of its own, so that
//! CPU time and memory are those of the clients alone. One thread drives the clients in both.
//! CPU time is what repeats on a busy machine; nothing here is wall-clock time.

mod raw;
mod whole;

use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::LocalSet;

use super::args::{BenchArgs, BenchPart};
use super::{EXIT_USAGE, complain};
use crate::generator;

/// Left out at the beginning of the load: connections and buffers settle.
const MARGIN: Duration = Duration::from_secs(1);
/// The share of a core that clients may use on average, so that bursts still find time.
const CORE_SHARE: f64 = 0.7;
/// The share of the free memory that is counted on.
const MEMORY_SHARE: f64 = 0.8;

/// The load of the measurement.
#[derive(Clone, Copy, Debug)]
struct Size {
    clients: u64,
    group: u64,
    /// Deliveries per second of all clients together.
    rate: u64,
    seconds: u64,
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

/// What one half measured in its window.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Measured {
    cpu_s: f64,
    deliveries: u64,
    /// Resident when everybody had joined, above what the empty process had.
    joined_bytes: u64,
    /// From the start to the last join, s.
    connect_s: f64,
    /// The part of the deliveries that the window should have seen.
    arrived: f64,
    /// 99th percentile of delivery latency, s; not measured by the raw loop.
    p99_s: Option<f64>,
    /// How the run was judged; the raw loop judges nothing.
    verdict: Option<String>,
}

impl Measured {
    /// CPU seconds per million deliveries.
    fn per_million(&self) -> f64 {
        self.cpu_s * 1e6 / self.deliveries.max(1) as f64
    }

    fn kib_per_client(&self, size: Size) -> f64 {
        self.joined_bytes as f64 / 1024.0 / size.clients as f64
    }
}

pub(super) fn bench_self(args: &BenchArgs) -> u8 {
    let size = Size {
        clients: args.clients,
        group: args.group.min(args.clients),
        rate: args.deliveries,
        seconds: args.seconds,
    };
    let done = match (args.part, &args.hub) {
        (Some(part), Some(hub)) => part_of(part, hub, size),
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

/// CPU seconds and resident bytes of this process so far.
fn usage() -> Result<(f64, u64)> {
    let stat = procfs::process::Process::myself()?.stat()?;
    let cpu = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
    Ok((cpu, stat.rss * procfs::page_size()))
}

/// Runs one half in this process and prints what it measured as one line of JSON.
fn part_of(part: BenchPart, hub: &str, size: Size) -> Result<()> {
    generator::ensure_fds(size.clients + 200)?;
    let measured = match part {
        BenchPart::Raw => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(LocalSet::new().run_until(raw::raw(hub, size)))?
        }
        BenchPart::Whole => whole::whole(hub, size)?,
    };
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

/// A hub in a process of its own, ended with this.
struct HubProcess(Child, String);

impl HubProcess {
    fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["hub", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("the hub has no stdout")?;
        let mut hub = HubProcess(child, String::new());
        let mut line = String::new();
        std::io::BufReader::new(stdout).read_line(&mut line)?;
        let addr = line.trim().strip_prefix("listening on http://");
        hub.1 = addr.context("the hub did not start")?.to_owned();
        Ok(hub)
    }
}

impl Drop for HubProcess {
    fn drop(&mut self) {
        // It may be gone already; then there is nothing to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn half(part: BenchPart, size: Size) -> Result<Measured> {
    let hub = HubProcess::start()?;
    let [clients, group, rate, seconds] =
        [size.clients, size.group, size.rate, size.seconds].map(|number| number.to_string());
    let name = match part {
        BenchPart::Raw => "raw",
        BenchPart::Whole => "whole",
    };
    let output = Command::new(std::env::current_exe()?)
        .args(["bench-self", "--part", name, "--hub", &hub.1])
        .args(["--clients", &clients, "--group", &group])
        .args(["--deliveries", &rate, "--seconds", &seconds])
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().rfind(|line| line.starts_with('{'));
    let measured: Measured = serde_json::from_str(line.context("one half failed")?)?;
    let mut shown = format!(
        "{name:5}  {:6.2} s CPU per million deliveries ({:.2} s, {} deliveries), {:.1} KiB per \
         client, {:.1} % arrived",
        measured.per_million(),
        measured.cpu_s,
        measured.deliveries,
        measured.kib_per_client(size),
        measured.arrived * 100.0
    );
    if let (Some(verdict), Some(p99_s)) = (&measured.verdict, measured.p99_s) {
        shown.push_str(&format!(
            ", p99 {:.1} ms, joined after {:.1} s, {verdict}",
            p99_s * 1e3,
            measured.connect_s
        ));
    }
    println!("{shown}");
    Ok(measured)
}

fn compare(args: &BenchArgs, size: Size) -> Result<()> {
    println!(
        "{} clients in groups of {}, {} deliveries/s for {} s, the hub in another process",
        size.clients, size.group, size.rate, size.seconds
    );
    let mut wholes = Vec::new();
    for _ in 0..args.rounds {
        let raw = (!args.no_raw)
            .then(|| half(BenchPart::Raw, size))
            .transpose()?;
        let whole = half(BenchPart::Whole, size)?;
        if let Some(raw) = raw {
            let ratio = whole.per_million() / raw.per_million();
            println!("ratio  {ratio:6.2}");
        }
        wholes.push(whole);
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
    let each = measured.joined_bytes.max(1) / size.clients.max(1);
    let by_memory = (memory as f64 * MEMORY_SHARE) as u64 / each.max(1);
    let by_files = files.saturating_sub(200);
    println!("\nForecast for a run from this machine against a hub elsewhere:");
    println!("  deliveries/s  {rate:.0} per thread that drives clients, {cores:.0} cores here");
    println!(
        "  clients       {} ({by_files} by open files, {by_memory} by memory)",
        by_files.min(by_memory)
    );
    println!("  ports         28,000 for one target and source address; see --source-addresses");
    Ok(())
}
