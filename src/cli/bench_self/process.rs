//! The processes of a measurement: a hub, and the clients against it.

use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{EMBEDDED, Measured, Size, cpu_of};
use crate::base::Clock;
use crate::cli::args::BenchPart;

/// How often the hub's CPU time is looked at: the most of one such stretch is shown.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where the clients of a measurement connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Against {
    /// A hub in a process of its own.
    Hub,
    /// The same, with TLS.
    Tls,
    /// The hub of the load generator's own process.
    Embedded,
    /// A sink of the part's own.
    Nothing,
}

/// A hub in a process of its own, ended with this.
struct HubProcess(Child, String);

impl HubProcess {
    fn start(tls: bool) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["hub", "--listen", "127.0.0.1:0"]);
        let certificate =
            std::env::temp_dir().join(format!("hubstorm-bench-{}.pem", std::process::id()));
        if tls {
            command.arg("--tls-self-signed").arg(&certificate);
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("the hub has no stdout")?;
        let mut hub = HubProcess(child, String::new());
        let mut line = String::new();
        std::io::BufReader::new(stdout).read_line(&mut line)?;
        // Clients of a measurement trust anybody; nobody else wants the certificate.
        let _ = std::fs::remove_file(&certificate);
        let addr = line.trim().strip_prefix("listening on ");
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

/// Watches how many cores a hub's process uses, until asked for the most.
struct CoresOfHub {
    end: mpsc::Sender<()>,
    thread: JoinHandle<f64>,
}

impl CoresOfHub {
    fn watch(pid: u32) -> Self {
        let (end, ended) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let used = || {
                let process = procfs::process::Process::new(pid.cast_signed()).ok()?;
                cpu_of(&process).ok()
            };
            let (clock, mut peak) = (Clock::start(), 0.0_f64);
            let (mut before, mut from) = (used(), clock.now());
            while let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(LOOK_EVERY) {
                let (now_used, now) = (used(), clock.now());
                if let (Some(before), Some(used)) = (before, now_used) {
                    peak = peak.max((used - before) / now.since(from).as_secs_f64());
                }
                (before, from) = (now_used, now);
            }
            peak
        });
        CoresOfHub { end, thread }
    }

    fn peak(self) -> f64 {
        drop(self.end);
        // It panics nowhere; a hub that cannot be watched used nothing that was seen.
        self.thread.join().unwrap_or(0.0)
    }
}

/// Runs one part in a process of its own, so that CPU time and memory are its alone.
pub(super) fn part(part: BenchPart, against: Against, size: Size) -> Result<Measured> {
    let hub = match against {
        Against::Hub => Some(HubProcess::start(false)?),
        Against::Tls => Some(HubProcess::start(true)?),
        Against::Embedded | Against::Nothing => None,
    };
    let addr = match &hub {
        // The raw loop wants the address alone.
        Some(hub) => hub.1.strip_prefix("http://").unwrap_or(&hub.1),
        None => EMBEDDED,
    };
    let name = match part {
        BenchPart::Raw => "raw",
        BenchPart::Whole => "whole",
        BenchPart::Flood => "flood",
        BenchPart::RawFlood => "raw-flood",
    };
    let watch = hub.as_ref().map(|hub| CoresOfHub::watch(hub.0.id()));
    let output = Command::new(std::env::current_exe()?)
        .args(["bench-self", "--part", name, "--hub", addr])
        .args(["--load", &serde_json::to_string(&size)?])
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().rfind(|line| line.starts_with('{'));
    let mut measured: Measured =
        serde_json::from_str(line.with_context(|| format!("the {name} part failed"))?)?;
    measured.hub_cores = watch.map(CoresOfHub::peak);
    Ok(measured)
}
