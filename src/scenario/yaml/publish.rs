//! What a pool publishes, as YAML.

use std::fmt::{self, Write as _};

use super::quoted;
use crate::base::units::{ByteSize, format_duration};
use crate::scenario::model::{Arrivals, Destination, Pool, Profile, Publish, Scenario, Sizes};
use crate::scenario::resolve::publish::PADDINGS;

pub(super) fn publish(pool: &Pool, scenario: &Scenario, out: &mut String) -> fmt::Result {
    let Some(publish) = &pool.publish else {
        // Servers must say what they publish, be it nothing.
        return match pool.server {
            true => writeln!(out, "    publish: none"),
            false => Ok(()),
        };
    };
    let of = |pool: usize| quoted(&scenario.pools[pool].name);
    writeln!(out, "    publish:")?;
    pace(publish, out)?;
    match &publish.to {
        Destination::Joined => writeln!(out, "      to: joined")?,
        Destination::Random(_) => writeln!(out, "      to: random")?,
        Destination::Group(group) => {
            writeln!(out, "      to: {}", quoted(&scenario.groups[group.index()]))?;
        }
        Destination::Event { name, reply: false } => {
            writeln!(out, "      to: {{event: {}}}", quoted(name))?;
        }
        Destination::Event { name, reply: true } => {
            writeln!(out, "      to: {{event: {}, reply: echo}}", quoted(name))?;
        }
        Destination::Everybody => writeln!(out, "      to: everybody")?,
        Destination::User(pool) => writeln!(out, "      to: {{user: {}}}", of(*pool))?,
        Destination::Connection(pool) => {
            writeln!(out, "      to: {{connection: {}}}", of(*pool))?;
        }
    }
    let padding = PADDINGS
        .iter()
        .find(|(_, padding)| *padding == publish.payload.padding)
        .map_or("", |(name, _)| name);
    let size = |bytes: u32| ByteSize(u64::from(bytes));
    let sizes = match publish.sizes {
        Sizes::Fixed => ByteSize(publish.payload.size as u64).to_string(),
        Sizes::Uniform { min, max } => format!("{{min: {}, max: {}}}", size(min), size(max)),
        Sizes::LogNormal { median, p99, .. } => {
            let (median, p99) = (size(median), size(p99));
            format!("{{lognormal: {{median: {median}, p99: {p99}}}}}")
        }
    };
    writeln!(
        out,
        "      payload: {{type: {}, size: {sizes}, padding: {padding}}}",
        publish.payload.data_type,
    )?;
    if pool.server {
        return Ok(());
    }
    writeln!(out, "      ack: {}", publish.ack)?;
    writeln!(out, "      no_echo: {}", publish.no_echo)
}

fn pace(publish: &Publish, out: &mut String) -> fmt::Result {
    if !publish.start.is_zero() {
        writeln!(out, "      start: {}", format_duration(publish.start))?;
    }
    if let Some(stop) = publish.stop {
        writeln!(out, "      stop: {}", format_duration(stop))?;
    }
    if let Some(pause) = publish.after_ack {
        writeln!(out, "      next: after_ack")?;
        return writeln!(out, "      pause: {}", format_duration(pause));
    }
    writeln!(out, "      rate: {}", publish.rate)?;
    match publish.arrivals {
        Arrivals::Uniform => writeln!(out, "      arrivals: uniform")?,
        Arrivals::Poisson => writeln!(out, "      arrivals: poisson")?,
        Arrivals::Burst(size) => writeln!(out, "      arrivals: {{burst: {size}}}")?,
    }
    match &publish.profile {
        Profile::Constant => Ok(()),
        Profile::Sine { period, low, high } => writeln!(
            out,
            "      profile: {{sine: {{period: {}, low: {low}, high: {high}}}}}",
            format_duration(*period)
        ),
        Profile::Stages(stages) => {
            writeln!(out, "      profile:")?;
            writeln!(out, "        stages:")?;
            for stage in stages.iter() {
                let lasts = format_duration(stage.lasts);
                let (from, to) = (stage.from, stage.to);
                writeln!(out, "          - {{for: {lasts}, from: {from}, to: {to}}}")?;
            }
            Ok(())
        }
    }
}
