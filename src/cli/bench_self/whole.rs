//! The load generator itself, with everything on, against a hub elsewhere or its own.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::{EMBEDDED, MARGIN, Measured, Size, usage};
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
         rate: {}/h\n      payload: {{type: text, size: 128B}}\n",
        size.seconds + 2 * MARGIN.as_secs(),
        size.clients,
        size.groups(),
        (3.6e9 / every_us).round() as u64,
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
    let (_, rss_empty) = usage()?;
    let results = run::run(scenario, &options)?;
    // Whole points inside the load; they may be late on a busy machine.
    let points = &results.timeline;
    let start = results.generator.joined_s;
    let from = start + MARGIN.as_secs_f64();
    let until = start + (size.seconds + 2 * MARGIN.as_secs()) as f64;
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
    let joined = points.iter().find(|point| point.connected == size.clients);
    let above = |rss: u64| rss.saturating_sub(rss_empty);
    Ok(Measured {
        cpu_s: (end.cpu_s - begin.cpu_s) * counted_s / (end.t_s - begin.t_s),
        deliveries,
        joined_bytes: joined.map_or(0, |point| above(point.rss_bytes)),
        joined_verifier_bytes: joined.map_or(0, |point| point.verifier_bytes),
        loaded_bytes: above(end.rss_bytes),
        loaded_verifier_bytes: end.verifier_bytes,
        connect_s: results.generator.joined_s,
        arrived: deliveries as f64 / (size.rate as f64 * counted_s),
        p50_s: Some(results.latency.delivery.p50 as f64 / 1e6),
        p99_s: Some(results.latency.delivery.p99 as f64 / 1e6),
        verdict: Some(format!("{:?}", results.verdict).to_lowercase()),
    })
}
