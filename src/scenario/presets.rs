//! Scenarios that come with the program: the vendor's published capacity figures, for as many
//! service units as there are. Source: protocol 9 (2 KiB messages, p99 below a second).

use super::read::names::did_you_mean;

/// What a scenario's path starts with when it names a preset.
pub const PREFIX: &str = "preset:";

/// Units of one instance that the figures speak of.
pub const UNITS_MAX: u32 = 100;

/// Their names, and what each asks.
pub const PRESETS: [(&str, &str); 2] = [
    (
        "small-groups",
        "groups of ten: 400 messages a second in, 4,000 out for each unit, up to 50 units",
    ),
    (
        "big-groups",
        "ten big groups: 30 messages a second in, 3,000 out for each unit",
    ),
];

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
    let clients = 1000 * units;
    // Each unit takes a thousand connections; they come as the guide's did, in a minute.
    let connect = clients.div_ceil(20);
    let (groups, rate, expected) = match name {
        "small-groups" => {
            let published = (400 * units).min(15_000);
            ("{size: 10}", published, published * 10)
        }
        "big-groups" => ("{count: 10, join: 1}", 30, 3000 * units),
        _ => {
            let names = PRESETS.map(|(name, _)| name);
            let near = did_you_mean(name, names);
            let near = near.unwrap_or_else(|| format!("there are {}", names.join(", ")));
            return Err(format!("there is no preset `{name}`; {near}"));
        }
    };
    Ok(format!(
        "# Does a service of {units} unit(s) carry the published {rate} messages a second in and
# {expected} out, each below a second, and without loss?
hubstorm: 1
name: {name}
seed: {units}
duration: 60s
drain: 30s
pools:
  members:
    clients: {clients}
    connect: {connect}/s
    groups: {groups}
    publish:
      pool_rate: {rate}/s
      payload: {{type: text, size: 2KiB}}
thresholds:
  - delivery.p99 < 1s
  - delivery.verified >= 100%
"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::offered;
    use crate::scenario::{Overrides, parse};

    #[test]
    fn presets_offer_the_published_figures() {
        let at = |name: &str, units| {
            let text = preset(name, units).unwrap();
            let scenario = parse(&text, "p.yaml", &Overrides::default(), &|_| None)
                .unwrap_or_else(|wrong| panic!("{wrong}"));
            let offered = offered(&scenario);
            let (published, out) = (offered.publishes_per_s, offered.deliveries_per_s);
            (
                scenario.clients(),
                published.round() as u32,
                out.round() as u32,
            )
        };
        assert_eq!(at("small-groups", 1), (1000, 400, 4000));
        assert_eq!(at("small-groups", 100), (100_000, 15_000, 150_000));
        assert_eq!(at("big-groups", 1), (1000, 30, 3000));
        assert_eq!(at("big-groups", 10), (10_000, 30, 30_000));
    }

    #[test]
    fn what_nobody_has_published_is_refused() {
        assert!(
            preset("small-group", 1)
                .unwrap_err()
                .contains("did you mean")
        );
        assert!(preset("x", 1).unwrap_err().contains("big-groups"));
        assert!(preset("big-groups", 0).unwrap_err().contains("1 to 100"));
    }
}
