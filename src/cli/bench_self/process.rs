//! The processes of a measurement: a hub, and the clients against it.

use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

use super::{EMBEDDED, Measured, Size};
use crate::cli::args::BenchPart;

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
    let [clients, group, rate, seconds] =
        [size.clients, size.group, size.rate, size.seconds].map(|number| number.to_string());
    let name = match part {
        BenchPart::Raw => "raw",
        BenchPart::Whole => "whole",
        BenchPart::Flood => "flood",
        BenchPart::RawFlood => "raw-flood",
    };
    let output = Command::new(std::env::current_exe()?)
        .args(["bench-self", "--part", name, "--hub", addr])
        .args(["--clients", &clients, "--group", &group])
        .args(["--deliveries", &rate, "--seconds", &seconds])
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().rfind(|line| line.starts_with('{'));
    Ok(serde_json::from_str(
        line.with_context(|| format!("the {name} part failed"))?,
    )?)
}
