//! The load generator itself, with everything on, against a hub elsewhere or its own.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::{EMBEDDED, MARGIN, Measured, Size, usage};
use crate::report::{Results, TimelinePoint};
use crate::run::{self, Options};
use crate::scenario::{self, Overrides};
use crate::transport::TlsOptions;

/// A folder that goes when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let name = format!("hubstorm-bench-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover in the temporary folder does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn scenario(size: Size) -> String {
    let every_us = size.pause_us() * size.clients as f64;
    format!(
        "hubstorm: 1\nname: client-bench\nseed: 1\nduration: {}s\ndrain: 10s\npools:\n  \
         members:\n    clients: {}\n    groups: {{count: {}, join: 1}}\n    publish:\n      \
         rate: {}/h\n      start: {}s\n      stop: {}s\n      \
         payload: {{type: text, size: 128B}}\n{}",
        size.seconds + 2 * (MARGIN.as_secs() + size.calm),
        size.clients,
        size.groups(),
        (3.6e9 / every_us).round() as u64,
        size.calm,
        size.seconds + 2 * MARGIN.as_secs() + size.calm,
        size.receipt_ms.map_or(String::new(), |receipt_ms| format!(
            "    client: {{sequence_ack: {{interval: {receipt_ms}ms, every: never}}}}\n"
        )),
    )
}

pub(super) fn whole(hub: &str, size: Size) -> Result<Measured> {
    let dir = Scratch::new()?;
    let path = dir.0.join("bench.yaml");
    std::fs::write(&path, scenario(size))?;
    let overrides = Overrides {
        target: (hub != EMBEDDED).then(|| match hub.contains("://") {
            true => hub.to_owned().into(),
            false => format!("http://{hub}").into(),
        }),
        hub: Some("bench".into()),
        ..Overrides::default()
    };
    let scenario = scenario::load(&path, &overrides, &|_: &str| None)
        .map_err(|mistakes| anyhow::anyhow!("{mistakes}"))?;
    let options = Options {
        out: Some(dir.0.join("out")),
        metrics: Some("127.0.0.1:0".parse()?),
        arbiters: Some(1),
        tls: TlsOptions {
            insecure: true,
            ..TlsOptions::default()
        },
        quiet: true,
        no_summary: true,
        no_color: true,
        ..Options::default()
    };
    let (_, empty_bytes) = usage()?;
    let results = run::run(scenario, &options)?;
    measured(&results, size, empty_bytes)
}

fn measured(results: &Results, size: Size, empty_bytes: u64) -> Result<Measured> {
    // Whole points inside the load; they may be late on a busy machine.
    let points = &results.timeline;
    let start = results.generator.joined_s;
    let traffic = start + size.calm as f64;
    let from = traffic + MARGIN.as_secs_f64();
    let until = traffic + (size.seconds + 2 * MARGIN.as_secs()) as f64;
    let first = points.iter().position(|point| point.t_s >= from);
    let last = points.iter().rposition(|point| point.t_s <= until);
    let (Some(first), Some(last)) = (first, last) else {
        bail!("the run was too short");
    };
    if first >= last {
        bail!("the machine is too busy: no whole second was seen");
    }
    let (begin, end) = (&points[first], &points[last]);
    let deliveries: u64 = points[first + 1..=last].iter().map(|p| p.delivered).sum();
    // Counts are somewhat older than the point that shows them, CPU time is not: so rates
    // are compared, each over its own stretch.
    let counted_s = end.as_of_s - begin.as_of_s;
    if counted_s <= 0.0 {
        bail!("the machine is too busy: no counts came within a second");
    }
    let (joined, loaded) = match size.calm {
        0 => {
            let all = |point: &&TimelinePoint| point.connected == size.clients;
            (points.iter().find(all), Some(end))
        }
        // The last point of each calm: nothing moves, so that its older counts are true too.
        calm => {
            let before = |t_s| points.iter().rfind(move |point| point.t_s <= t_s);
            (before(traffic), before(until + calm as f64))
        }
    };
    let held = |point: Option<&TimelinePoint>| {
        let rss = point.map_or(0, |point| point.rss_bytes);
        let verifier = point.map_or(0, |point| point.verifier_bytes);
        (rss.saturating_sub(empty_bytes), verifier)
    };
    let (joined_bytes, joined_verifier_bytes) = held(joined);
    let (loaded_bytes, loaded_verifier_bytes) = held(loaded);
    let window_s = end.t_s - begin.t_s;
    // The first second of the calm is left out: handshakes end, buffers settle.
    let settled = points.iter().find(|point| point.t_s >= start + 1.0);
    let idle_cores = match (settled, joined) {
        (Some(from), Some(to)) if to.t_s > from.t_s => {
            (to.cpu_s - from.cpu_s) / (to.t_s - from.t_s)
        }
        _ => 0.0,
    };
    Ok(Measured {
        cpu_s: (end.cpu_s - begin.cpu_s) * counted_s / window_s,
        deliveries,
        window_s: counted_s,
        empty_bytes,
        joined_bytes,
        joined_verifier_bytes,
        loaded_bytes,
        loaded_verifier_bytes,
        idle_cores,
        joined_cpu_s: joined.map_or(0.0, |point| point.cpu_s),
        connect_s: results.generator.joined_s,
        arrived: deliveries as f64 / (size.rate as f64 * counted_s),
        p50_s: Some(results.latency.delivery.p50 as f64 / 1e6),
        p99_s: Some(results.latency.delivery.p99 as f64 / 1e6),
        verdict: Some(format!("{:?}", results.verdict).to_lowercase()),
        own_fault: (results.generator.saturated).then(|| results.generator.why.clone()),
        ..Measured::default()
    })
}
