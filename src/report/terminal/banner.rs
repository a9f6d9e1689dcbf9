//! What is about to happen.

use std::net::SocketAddr;
use std::path::Path;

use super::Paint;
use super::table::{section, wrapped};
use crate::base::units::format_duration;
use crate::generator::Forecast;
use crate::report::format::{bytes, count, measured, rate};
use crate::report::results::Unit;
use crate::scenario::{ChaosEntry, Destination, Pool, Scenario, Share, Sizes, Timing};

/// What the banner needs besides the scenario.
#[derive(Debug)]
pub struct Banner<'a> {
    /// Scheme, host and hub as they may be shown: never a token.
    pub target: &'a str,
    /// What the embedded hub is told to do wrong, as it was written.
    pub lies: Vec<String>,
    /// The results folder.
    pub out: &'a Path,
    /// The metrics endpoint, when there is one.
    pub metrics: Option<SocketAddr>,
    /// What the run will take of this machine.
    pub forecast: Forecast,
}

/// The text printed before anything is started: clients, groups, offered load, faults,
/// what is verified, seed, and where the results will be.
pub fn banner(scenario: &Scenario, facts: &Banner<'_>, paint: Paint) -> String {
    let mut out = format!(
        "{} {}  {}\n\n",
        paint.bold("hubstorm"),
        env!("CARGO_PKG_VERSION"),
        paint.bold(&scenario.name)
    );
    let groups = scenario.groups.len() as u64;
    let mut clients = vec![format!(
        "{} in {} pool{}, {} group{}",
        count(scenario.connections().into()),
        scenario.pools.len(),
        s(scenario.pools.len() as u64),
        count(groups),
        s(groups),
    )];
    clients.extend(scenario.pools.iter().map(pool));
    section(&mut out, paint, "clients", &clients);
    let offered: f64 = scenario.pools.iter().map(offered).sum();
    section(
        &mut out,
        paint,
        "load",
        &[format!(
            "{} offered for {}, then up to {} of drain",
            rate(offered),
            format_duration(scenario.duration),
            format_duration(scenario.drain)
        )],
    );
    section(&mut out, paint, "forecast", &[forecast(&facts.forecast)]);
    let faults: Vec<_> = scenario
        .chaos
        .iter()
        .map(|entry| fault(entry, scenario))
        .collect();
    let faults = match faults.is_empty() {
        true => vec!["none".to_owned()],
        false => faults,
    };
    section(&mut out, paint, "faults", &faults);
    section(&mut out, paint, "hub lies", &facts.lies);
    section(
        &mut out,
        paint,
        "verify",
        &[format!(
            "{}, promise: {}, within {}",
            scenario.mode.name(),
            scenario.promise.name(),
            bytes(scenario.verify_memory)
        )],
    );
    if !scenario.thresholds.is_empty() {
        let exprs: Vec<_> = scenario.thresholds.iter().map(|t| t.expr.clone()).collect();
        section(&mut out, paint, "thresholds", &wrapped(&exprs, ", "));
    }
    section(&mut out, paint, "target", &[facts.target.to_owned()]);
    let drawn = if scenario.seed_drawn {
        " (drawn; --seed repeats it)"
    } else {
        ""
    };
    section(
        &mut out,
        paint,
        "seed",
        &[format!("{}{drawn}", scenario.seed)],
    );
    section(
        &mut out,
        paint,
        "results",
        &[facts.out.display().to_string()],
    );
    if let Some(addr) = facts.metrics {
        section(
            &mut out,
            paint,
            "metrics",
            &[format!("http://{addr}/metrics")],
        );
    }
    out
}

/// What a run will take of this machine, in one line.
fn forecast(forecast: &Forecast) -> String {
    let here = format!(
        "{} memory, {} files",
        bytes(forecast.memory_bytes),
        count(forecast.fds)
    );
    if forecast.deliveries == 0 {
        return here;
    }
    format!(
        "{} deliveries, {:.1} s CPU (at the most {:.2} cores), {here}",
        count(forecast.deliveries),
        forecast.cpu_s,
        forecast.peak_cores
    )
}

fn s(n: u64) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// Publishes a second of all clients of a pool.
fn offered(pool: &Pool) -> f64 {
    let publish = pool.publish.as_ref();
    // In a closed loop the hub decides.
    let open = publish.filter(|publish| publish.after_ack.is_none());
    open.map_or(0.0, |publish| {
        publish.rate.as_per_second() * f64::from(pool.clients)
    })
}

fn pool(pool: &Pool) -> String {
    let publish = match &pool.publish {
        None => "listen".to_owned(),
        Some(publish) => {
            let to = match &publish.to {
                Destination::Joined => "their groups".to_owned(),
                Destination::Group(_) => "one group".to_owned(),
                Destination::Random(groups) => {
                    format!("{} groups at random", count(groups.len() as u64))
                }
                Destination::Event { name, reply } => match reply {
                    true => format!("event {name}, with a reply"),
                    false => format!("event {name}"),
                },
                Destination::Everybody => "everybody".to_owned(),
                Destination::User(_) => "a user at random".to_owned(),
                Destination::Connection(_) => "a connection at random".to_owned(),
            };
            let pace = match publish.after_ack {
                Some(_) => "after each ack (closed loop)".to_owned(),
                None => format!("{} each", publish.rate),
            };
            let upto = if publish.sizes == Sizes::Fixed {
                ""
            } else {
                "up to "
            };
            format!(
                "publish {pace} to {to}, {upto}{} of {}{}",
                bytes(publish.payload.size as u64),
                publish.payload.data_type,
                if publish.ack { "" } else { ", without acks" }
            )
        }
    };
    if pool.server {
        let servers = if pool.clients == 1 {
            "server"
        } else {
            "servers"
        };
        let n = count(pool.clients.into());
        return format!("  {}: {n} {servers}, {publish}", pool.name);
    }
    let connect = match pool.connect {
        Some(rate) => format!(", connect at {rate}"),
        None => String::new(),
    };
    format!(
        "  {}: {} {}, join {}, {publish}{connect}",
        pool.name,
        count(pool.clients.into()),
        pool.protocol,
        pool.groups.join
    )
}

fn fault(entry: &ChaosEntry, scenario: &Scenario) -> String {
    let share = match entry.share {
        Share::Fraction(fraction) => measured(fraction, Unit::Share),
        Share::Count(n) => count(n.into()),
        Share::Zones(n) => format!("one of {} zones", count(n.into())),
    };
    let whose = match entry.pool {
        Some(pool) => scenario.pools.get(pool).map_or("?", |pool| &*pool.name),
        None => "all clients",
    };
    let when = match entry.timing {
        Timing::At(at) => format!("at {}", format_duration(at)),
        Timing::Every {
            start,
            every,
            until,
        } => format!(
            "every {} from {} to {}",
            format_duration(every),
            format_duration(start),
            format_duration(until)
        ),
    };
    let lasts = match entry.lasts {
        Some(lasts) => format!(", for {}", format_duration(lasts)),
        None => String::new(),
    };
    format!("{} {share} of {whose} {when}{lasts}", entry.kind.name())
}
