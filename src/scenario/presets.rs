//! Scenarios that come with the program: the vendor's published capacity figures, for as many
//! service units as there are. Source: protocol 9 (2 KiB messages, p99 below a second).

use std::fmt::Write as _;

use super::read::names::did_you_mean;

/// What a scenario's path starts with when it names a preset.
pub const PREFIX: &str = "preset:";

/// Units of one instance that the figures speak of.
pub const UNITS_MAX: u32 = 100;

/// Messages a second at which small groups gain nothing from further units.
const FLAT_AT: u32 = 15_000;

/// Their names, and what each asks.
pub const PRESETS: [(&str, &str); 6] = [
    (
        "connections",
        "1,000 connections for each unit, all of which hear a broadcast now and then",
    ),
    (
        "small-groups",
        "groups of ten: 400 messages a second in, 4,000 out for each unit, up to 50 units",
    ),
    (
        "big-groups",
        "ten big groups: 30 messages a second in, 3,000 out for each unit",
    ),
    (
        "echo",
        "500 events a second for each unit, each answered by the event handler",
    ),
    (
        "send-to-user",
        "180 messages a second for each unit over the service API, each to a user",
    ),
    (
        "broadcast",
        "3 messages a second over the service API to everybody: 3,000 out for each unit",
    ),
];

/// The presets for people.
pub fn list() -> String {
    let mut out =
        String::from("The vendor's published capacity figures, `--units N` (1 to 100):\n");
    for (name, asks) in PRESETS {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {PREFIX}{name:<14} {asks}");
    }
    out
}

/// What a preset offers, in messages a second, and how.
struct Figures {
    published: u32,
    out: u32,
    pools: String,
}

fn figures(name: &str, units: u32) -> Option<Figures> {
    let clients = 1000 * units;
    // Each unit takes a thousand connections; they come in twenty seconds.
    let connect = clients.div_ceil(20);
    let members = format!("  members:\n    clients: {clients}\n    connect: {connect}/s\n");
    let publish = |rate: u32, more: &str| {
        format!(
            "    publish:\n      pool_rate: {rate}/s\n{more}      payload: {{type: text, size: 2KiB}}\n"
        )
    };
    let server = |rate: u32, to: &str| {
        let servers = rate.div_ceil(1000);
        let publish = publish(rate, &format!("      to: {to}\n"));
        format!("{members}  backend:\n    servers: {servers}\n{publish}")
    };
    let (published, out, pools) = match name {
        "connections" => (1, clients, server(1, "everybody")),
        "small-groups" => {
            let rate = (400 * units).min(FLAT_AT);
            let publish = publish(rate, "");
            (
                rate,
                rate * 10,
                format!("{members}    groups: {{size: 10}}\n{publish}"),
            )
        }
        "big-groups" => {
            let publish = publish(30, "");
            let groups = "    groups: {count: 10, join: 1}\n";
            (30, 3000 * units, format!("{members}{groups}{publish}"))
        }
        "echo" => {
            let rate = 500 * units;
            let publish = publish(rate, "      to: {event: echo, reply: echo}\n");
            (rate, rate, format!("{members}{publish}"))
        }
        "send-to-user" => {
            let rate = 180 * units;
            (rate, rate, server(rate, "{user: members}"))
        }
        "broadcast" => (3, 3000 * units, server(3, "everybody")),
        _ => return None,
    };
    Some(Figures {
        published,
        out,
        pools,
    })
}

/// The text of a preset for so many units.
///
/// # Errors
/// There is no such preset, or nobody has figures for so many units; says what there is.
pub fn preset(name: &str, units: u32) -> Result<String, String> {
    if !(1..=UNITS_MAX).contains(&units) {
        return Err(format!(
            "the published figures are for 1 to {UNITS_MAX} units, not for {units}"
        ));
    }
    let Some(figures) = figures(name, units) else {
        let names = PRESETS.map(|(name, _)| name);
        let near = did_you_mean(name, names);
        let near = near.unwrap_or_else(|| format!("there are {}", names.join(", ")));
        return Err(format!("there is no preset `{name}`; {near}"));
    };
    let Figures {
        published,
        out,
        pools,
    } = figures;
    let reply = match name {
        "echo" => "  - reply.p99 < 1s\n",
        _ => "  - delivery.p99 < 1s\n",
    };
    Ok(format!(
        "# Does a service of {units} unit(s) carry the published {published} messages a second in and
# {out} out, each below a second, and without loss?
hubstorm: 1
name: {name}
seed: {units}
duration: 60s
drain: 30s
pools:
{pools}thresholds:
{reply}  - delivery.verified >= 100%
  - clients.connected_peak >= {}
",
        1000 * units
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::offered;
    use crate::scenario::{Overrides, parse};

    fn at(name: &str, units: u32) -> (u32, u32, u32) {
        let text = preset(name, units).unwrap();
        let scenario = parse(&text, "p.yaml", &Overrides::default(), &|_| None)
            .unwrap_or_else(|wrong| panic!("{wrong}"));
        let offered = offered(&scenario);
        let (published, out) = (offered.publishes_per_s, offered.deliveries_per_s);
        let clients = scenario.connections();
        (clients, published.round() as u32, out.round() as u32)
    }

    #[test]
    fn presets_offer_the_published_figures() {
        assert_eq!(at("connections", 2), (2000, 1, 2000));
        assert_eq!(at("small-groups", 1), (1000, 400, 4000));
        assert_eq!(at("small-groups", 10), (10_000, 4000, 40_000));
        assert_eq!(at("small-groups", 50), (50_000, 15_000, 150_000));
        assert_eq!(at("small-groups", 100), (100_000, 15_000, 150_000));
        assert_eq!(at("big-groups", 1), (1000, 30, 3000));
        assert_eq!(at("big-groups", 10), (10_000, 30, 30_000));
        assert_eq!(at("echo", 1), (1000, 500, 500));
        assert_eq!(at("echo", 100), (100_000, 50_000, 50_000));
        assert_eq!(at("send-to-user", 1), (1000, 180, 180));
        assert_eq!(at("send-to-user", 50), (50_000, 9000, 9000));
        assert_eq!(at("broadcast", 1), (1000, 3, 3000));
        assert_eq!(at("broadcast", 10), (10_000, 3, 30_000));
    }

    #[test]
    fn every_preset_is_listed_and_exists() {
        let list = list();
        for (name, asks) in PRESETS {
            assert!(preset(name, 7).is_ok(), "{name}");
            assert!(list.contains(&format!("{PREFIX}{name}")) && list.contains(asks));
        }
    }

    #[test]
    fn what_nobody_has_published_is_refused() {
        for (wrong, near) in [("small-group", "small-groups"), ("ecko", "echo")] {
            let told = preset(wrong, 1).unwrap_err();
            assert!(told.contains(&format!("did you mean `{near}`")), "{told}");
        }
        assert!(preset("x", 1).unwrap_err().contains("big-groups"));
        assert!(preset("big-groups", 0).unwrap_err().contains("1 to 100"));
    }
}
