//! A resolved scenario as a file again: every default written out, secrets masked.
//!
//! What comes out is read back to the same scenario, but for the secrets.

mod client;
mod publish;

use std::fmt::{self, Write as _};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::model::{
    ChaosEntry, ChaosKind, Effect, GroupChoice, Pool, Scenario, Share, Spread, Stay, TargetSpec,
    Timing,
};
use crate::base::units::{ByteSize, format_duration};

const MASK: &str = "***";

/// Writes a scenario as YAML.
pub fn to_yaml(scenario: &Scenario) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write(scenario, &mut out);
    out
}

fn write(scenario: &Scenario, out: &mut String) -> fmt::Result {
    let duration = format_duration;
    writeln!(out, "hubstorm: 1")?;
    writeln!(out, "name: {}", quoted(&scenario.name))?;
    writeln!(out, "seed: {}", scenario.seed)?;
    writeln!(out, "duration: {}", duration(scenario.duration))?;
    writeln!(out, "drain: {}", duration(scenario.drain))?;
    writeln!(
        out,
        "verify: {{mode: {}, promise: {}, memory: {}, ack_within: {}}}",
        scenario.mode.name(),
        scenario.promise.name(),
        ByteSize(scenario.verify_memory),
        duration(scenario.ack_within)
    )?;
    target(&scenario.target, out)?;
    writeln!(out, "pools:")?;
    for one in &scenario.pools {
        pool(one, scenario, out)?;
    }
    if !scenario.chaos.is_empty() {
        writeln!(out, "chaos:")?;
    }
    for (nth, entry) in (0..).zip(&scenario.chaos) {
        chaos(entry, nth, &scenario.pools, out)?;
    }
    if !scenario.thresholds.is_empty() {
        writeln!(out, "thresholds:")?;
    }
    for threshold in &scenario.thresholds {
        let expr = quoted(&threshold.expr);
        if threshold.over.is_none() && threshold.abort_after.is_none() {
            writeln!(out, "  - {expr}")?;
            continue;
        }
        write!(out, "  - {{that: {expr}")?;
        if let Some(over) = threshold.over {
            write!(out, ", over: {}", duration(over))?;
        }
        if let Some(grace) = threshold.abort_after {
            write!(out, ", abort: true, grace: {}", duration(grace))?;
        }
        writeln!(out, "}}")?;
    }
    Ok(())
}

fn target(target: &TargetSpec, out: &mut String) -> fmt::Result {
    writeln!(out, "target:")?;
    let mut line = |key: &str, value: &str| writeln!(out, "  {key}: {}", quoted(value));
    match target {
        TargetSpec::Embedded { hub } => line("hub", hub),
        TargetSpec::Endpoint {
            url,
            hub,
            access_key,
        } => {
            line("endpoint", url)?;
            line("hub", hub)?;
            match access_key {
                Some(_) => line("access_key", MASK),
                None => Ok(()),
            }
        }
        TargetSpec::ConnectionString { value, hub } => {
            line("connection_string", &mask_connection_string(value))?;
            line("hub", hub)
        }
        TargetSpec::ClientAccessUrl(url) => line("client_access_url", &mask_query(url)),
    }
}

/// Everything but the endpoint masked.
fn mask_connection_string(value: &SecretString) -> String {
    value
        .expose_secret()
        .split(';')
        .filter(|part| !part.trim().is_empty())
        .map(|part| match part.split_once('=') {
            Some((key, value)) if key.trim().eq_ignore_ascii_case("endpoint") => {
                format!("{key}={};", without_user(value))
            }
            Some((key, _)) => format!("{key}={MASK};"),
            None => format!("{MASK};"),
        })
        .collect()
}

/// The query's values masked: tokens, whatever their names.
fn mask_query(url: &SecretString) -> String {
    let url = url.expose_secret();
    let url = url.split('#').next().unwrap_or("");
    let Some((base, query)) = url.split_once('?') else {
        return without_user(url);
    };
    let masked: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) => format!("{key}={MASK}"),
            None => MASK.to_owned(),
        })
        .collect();
    format!("{}?{}", without_user(base), masked.join("&"))
}

/// A URL without the user and password that may be in it.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{path}"),
        None => url.to_owned(),
    }
}

fn pool(pool: &Pool, scenario: &Scenario, out: &mut String) -> fmt::Result {
    writeln!(out, "  {}:", quoted(&pool.name))?;
    if pool.server {
        writeln!(out, "    servers: {}", pool.clients)?;
        return self::publish::publish(pool, scenario, out);
    }
    writeln!(out, "    clients: {}", pool.clients)?;
    writeln!(out, "    protocol: {}", pool.protocol)?;
    if let Some(rate) = pool.connect {
        writeln!(out, "    connect: {rate}")?;
    }
    if pool.connections_per_user > 1 {
        writeln!(
            out,
            "    connections_per_user: {}",
            pool.connections_per_user
        )?;
    }
    if let Some(sessions) = &pool.sessions {
        let stay = match sessions.stay {
            Stay::Fixed(stay) => format_duration(stay),
            Stay::Exponential(mean) => format!("exponential({})", format_duration(mean)),
            Stay::Uniform(min, max) => {
                format!(
                    "'uniform({}, {})'",
                    format_duration(min),
                    format_duration(max)
                )
            }
        };
        let arrive = sessions.arrive;
        writeln!(out, "    sessions: {{arrive: {arrive}, stay: {stay}}}")?;
    }
    if !pool.groups.groups.is_empty() {
        choice(&pool.groups, &scenario.groups, out)?;
    }
    if let Some(churn) = &pool.churn {
        let (every, away) = (format_duration(churn.every), format_duration(churn.away));
        writeln!(out, "    churn: {{every: {every}, away: {away}}}")?;
    }
    self::publish::publish(pool, scenario, out)?;
    client::client(&pool.client, out)
}

fn choice(choice: &GroupChoice, groups: &[String], out: &mut String) -> fmt::Result {
    let mut names = choice.groups.iter().map(|group| &groups[group.index()]);
    let (count, join) = (choice.groups.len(), choice.join);
    let prefix = names.clone().next().and_then(|name| name.strip_suffix('0'));
    let counted = prefix.filter(|prefix| {
        !prefix.trim().is_empty()
            && names
                .clone()
                .enumerate()
                .all(|(nth, name)| *name == format!("{prefix}{nth}"))
    });
    if let Some(prefix) = counted {
        let prefix = quoted(prefix);
        match choice.spread {
            Spread::Even => {}
            Spread::Range { min, max, .. } => {
                return writeln!(
                    out,
                    "    groups: {{prefix: {prefix}, size: {{min: {min}, max: {max}}}}}"
                );
            }
            Spread::Zipf { .. } => {
                return writeln!(
                    out,
                    "    groups: {{count: {count}, prefix: {prefix}, size: zipf}}"
                );
            }
        }
        return writeln!(
            out,
            "    groups: {{count: {count}, prefix: {prefix}, join: {join}}}"
        );
    }
    write!(out, "    groups: {{names: [")?;
    if let Some(first) = names.next() {
        write!(out, "{}", quoted(first))?;
    }
    for name in names {
        write!(out, ", {}", quoted(name))?;
    }
    writeln!(out, "], join: {join}}}")
}

fn chaos(entry: &ChaosEntry, nth: u32, pools: &[Pool], out: &mut String) -> fmt::Result {
    let duration = |duration: Duration| format_duration(duration);
    write!(out, "  - {{kind: {}", entry.kind.name())?;
    if entry.stream != nth {
        write!(out, ", stream: {}", entry.stream)?;
    }
    if let Some(pool) = entry.pool {
        write!(out, ", pool: {}", quoted(&pools[pool].name))?;
    }
    match entry.timing {
        Timing::At(at) => write!(out, ", at: {}", duration(at))?,
        Timing::Every {
            start,
            every,
            until,
        } => write!(
            out,
            ", start: {}, every: {}, until: {}",
            duration(start),
            duration(every),
            duration(until)
        )?,
    }
    match entry.share {
        // A hub_restart hits everybody and says so by saying nothing.
        Share::Count(0) => {}
        Share::Count(count) => write!(out, ", count: {count}")?,
        Share::Zones(zones) => write!(out, ", zones: {zones}")?,
        Share::Fraction(fraction) => {
            write!(out, ", share: {}%", (fraction * 100.0 * 1e9).round() / 1e9)?;
        }
    }
    match entry.lasts {
        Some(lasts) if entry.kind == ChaosKind::RecoverLate => {
            // The recovery window is 30 s.
            let outside = lasts > Duration::from_secs(30);
            write!(
                out,
                ", window: {}",
                if outside { "outside" } else { "inside" }
            )?;
        }
        Some(lasts) => write!(out, ", for: {}", duration(lasts))?,
        None => {}
    }
    match entry.effect {
        Effect::Plain => {}
        Effect::Delay { delay, jitter } => {
            write!(
                out,
                ", delay: {}, jitter: {}",
                duration(delay),
                duration(jitter)
            )?;
        }
        Effect::BytesPerSecond(rate) => write!(out, ", rate: {}/s", ByteSize(rate))?,
        Effect::Pieces(size) => write!(out, ", size: {}", ByteSize(size.into()))?,
    }
    if !entry.rolling.is_zero() {
        write!(out, ", rolling: {}", duration(entry.rolling))?;
    }
    writeln!(out, "}}")
}

/// A text as a double-quoted scalar, nothing in it read as YAML or as a reference to the
/// environment. JSON's escapes are YAML's.
pub(super) fn quoted(text: &str) -> String {
    let safe = !text.is_empty()
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "null" | "true" | "false"
        );
    if safe {
        return text.to_owned();
    }
    let escaped = text.replace("${", "$${");
    // A text always has a JSON form.
    serde_json::to_string(&escaped).unwrap_or_default()
}
