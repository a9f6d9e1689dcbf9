//! The load generator itself, with everything on, against a hub elsewhere.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{MARGIN, Measured, Size, usage};
use crate::base::Clock;
use crate::run::{self, Options};
use crate::scenario::{self, Overrides};

/// How often CPU time and memory are looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);

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

/// When, CPU seconds and resident bytes so far.
type Samples = Arc<Mutex<Vec<(f64, f64, u64)>>>;

fn sample(clock: Clock, samples: &Samples, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let at = clock.now().as_secs_f64();
        if let (Ok((cpu, rss)), Ok(mut samples)) = (usage(), samples.lock()) {
            samples.push((at, cpu, rss));
        }
        std::thread::sleep(SAMPLE_EVERY);
    }
}

pub(super) fn whole(addr: &str, size: Size) -> Result<Measured> {
    let dir = Scratch::new()?;
    let path = dir.0.join("bench.yaml");
    std::fs::write(&path, scenario(size))?;
    let overrides = Overrides {
        target: Some(format!("http://{addr}").into()),
        hub: Some("bench".into()),
        ..Overrides::default()
    };
    let scenario = scenario::load(&path, &overrides, &|_: &str| None)
        .map_err(|mistakes| anyhow::anyhow!("{mistakes}"))?;
    let options = Options {
        out: Some(dir.0.join("out")),
        metrics: Some("127.0.0.1:0".parse()?),
        arbiters: Some(1),
        quiet: true,
        no_color: true,
        ..Options::default()
    };
    let (samples, over) = (Samples::default(), Arc::new(AtomicBool::new(false)));
    let sampler = {
        let (samples, over) = (samples.clone(), over.clone());
        std::thread::spawn(move || sample(Clock::start(), &samples, &over))
    };
    let (_, rss_empty) = usage()?;
    let results = run::run(scenario, &options)?;
    over.store(true, Ordering::Relaxed);
    sampler
        .join()
        .map_err(|_| anyhow::anyhow!("the sampler panicked"))?;
    let samples = samples
        .lock()
        .map_err(|_| anyhow::anyhow!("the sampler panicked"))?;
    let at = |t_s: f64| samples.iter().rfind(|(at, ..)| *at <= t_s).copied();
    // Whole points inside the load: from the second after the first delivery.
    let points = &results.timeline;
    let first = points
        .iter()
        .position(|point| point.delivered > 0)
        .context("nothing was delivered")?
        + 1;
    let last = first + size.seconds as usize;
    let (begin, end) = match (points.get(first), points.get(last)) {
        (Some(begin), Some(end)) => (begin.t_s, end.t_s),
        _ => bail!("the run was too short"),
    };
    let deliveries = points[first + 1..=last].iter().map(|p| p.delivered).sum();
    let (before, after) = at(begin).zip(at(end)).context("no samples")?;
    let all = points.iter().find(|point| point.connected == size.clients);
    let joined = all.and_then(|all| at(all.t_s));
    Ok(Measured {
        cpu_s: after.1 - before.1,
        deliveries,
        joined_bytes: joined.map_or(0, |(_, _, rss)| rss.saturating_sub(rss_empty)),
        connect_s: all.map_or(f64::NAN, |all| all.t_s),
        arrived: deliveries as f64 / (size.rate as f64 * (end - begin)),
        p99_s: Some(results.latency.delivery.p99 as f64 / 1e6),
        verdict: Some(format!("{:?}", results.verdict).to_lowercase()),
    })
}
