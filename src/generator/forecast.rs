//! What a run will take of this machine, from the scenario alone.
//!
//! The prices are in [`super::prices`]; a run compares what follows from them with what
//! happened, so that a reader sees how far to trust them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fds::needed_fds;
use super::prices;
use crate::load::{OfferedAt, offered, offered_at};
use crate::scenario::{Destination, Mode, Pool, Scenario, TargetSpec};

/// Per second: up to how many deliveries reads bring one frame, and from how many on many;
/// the same of publishes, which leave together, and of deliveries of the embedded hub.
const DELIVERIES: (f64, f64) = (10_000.0, 400_000.0);
const PUBLISHES: (f64, f64) = (3_000.0, 12_000.0);
const HUB_DELIVERIES: (f64, f64) = (10_000.0, 70_000.0);
/// Clients from which on memory is cold, and how many more are [`prices::COLD`]; it was seen
/// to grow up to so many.
const WARM_CLIENTS: f64 = 1_000.0;
const COLD_CLIENTS: f64 = 8_000.0;
const COLDEST_CLIENTS: f64 = 18_000.0;
/// Points at which the load is added up.
const POINTS: u32 = 500;

/// What is expected of a run.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Forecast {
    /// Deliveries owed in sum; 0 when the hub decides (a closed loop).
    pub deliveries: u64,
    /// CPU time of this process, s; 0 when the hub decides.
    pub cpu_s: f64,
    /// The most cores in use at once on average, threads that drive clients and the
    /// embedded hub together.
    pub peak_cores: f64,
    /// Resident memory at the most, bytes.
    pub memory_bytes: u64,
    /// Open files at the most.
    pub fds: u64,
}

impl Forecast {
    /// What `scenario` will take. Faults, retries and replays are not in it.
    pub fn of(scenario: &Scenario) -> Self {
        let embedded = matches!(scenario.target, TargetSpec::Embedded { .. });
        let sum = offered(scenario);
        let step = scenario.duration / POINTS;
        let (mut deliveries, mut cpu_us, mut peak_cores) = (0.0, 0.0, 0.0_f64);
        for point in 0..POINTS {
            let at = offered_at(scenario, step * point + step / 2);
            let us_per_s = us_per_s(scenario, &at, embedded);
            deliveries += at.deliveries_per_s * step.as_secs_f64();
            cpu_us += us_per_s * step.as_secs_f64();
            peak_cores = peak_cores.max(us_per_s / 1e6);
        }
        let clients = u64::from(scenario.connections());
        let tls = if is_tls(&scenario.target) {
            prices::TLS_CONNECT
        } else {
            0.0
        };
        cpu_us += clients as f64 * (prices::CONNECT + tls);
        let known = sum.closed_loops == 0;
        Forecast {
            deliveries: if known { deliveries.round() as u64 } else { 0 },
            cpu_s: if known { cpu_us / 1e6 } else { 0.0 },
            peak_cores,
            memory_bytes: needed_memory(scenario),
            fds: needed_fds(scenario),
        }
    }
}

/// CPU time that a second of the load takes, µs.
fn us_per_s(scenario: &Scenario, at: &OfferedAt, embedded: bool) -> f64 {
    let clients = f64::from(scenario.connections());
    let rate = at.deliveries_per_s;
    let cold = prices::COLD * (clients.min(COLDEST_CLIENTS) - WARM_CLIENTS).max(0.0) / COLD_CLIENTS;
    let delivery = between(
        rate,
        DELIVERIES,
        prices::DELIVERY + cold,
        prices::DELIVERY_MANY,
    );
    let receipt = receipts(scenario, rate) * (prices::RECEIPT + cold);
    let hub = match embedded {
        true => between(
            rate,
            HUB_DELIVERIES,
            prices::HUB_DELIVERY,
            prices::HUB_DELIVERY_MANY,
        ),
        false => 0.0,
    };
    let publish = between(
        at.publishes_per_s,
        PUBLISHES,
        prices::PUBLISH,
        prices::PUBLISH_MANY,
    );
    rate * (delivery + receipt + hub)
        + at.publishes_per_s * publish
        + clients * prices::IDLE
        + prices::PROCESS_CPU
}

/// A price that falls in a straight line with the rate, from one to the other.
fn between(rate: f64, (from, to): (f64, f64), one: f64, many: f64) -> f64 {
    one + (many - one) * ((rate - from) / (to - from)).clamp(0.0, 1.0)
}

/// Receipts for one delivery, when every client is sent as much: the first message starts
/// the wait for one, all that come until then are in it.
fn receipts(scenario: &Scenario, deliveries_per_s: f64) -> f64 {
    let clients = f64::from(scenario.connections()).max(1.0);
    let each_per_s = deliveries_per_s / clients;
    let of = |pool: &Pool| {
        let policy = &pool.client.session.sequence_ack;
        let by_time = 1.0 / (1.0 + each_per_s * policy.interval.as_secs_f64());
        f64::from(pool.clients) * by_time.max(1.0 / f64::from(policy.every.max(1)))
    };
    let reliable = |pool: &&Pool| !pool.server && pool.protocol.is_reliable();
    scenario.pools.iter().filter(reliable).map(of).sum::<f64>() / clients
}

/// Whether the clients speak TLS: the service is reached over it.
fn is_tls(target: &TargetSpec) -> bool {
    match target {
        TargetSpec::Embedded { .. } => false,
        TargetSpec::Endpoint { url, .. } => !(url.starts_with("http:") || url.starts_with("ws:")),
        _ => true,
    }
}

/// Pairs of a publisher and somebody who hears it, which is what the verifier keeps books of.
fn pairs(scenario: &Scenario) -> u64 {
    let mut members = vec![0_u64; scenario.groups.len()];
    for pool in &scenario.pools {
        for (place, group) in pool.groups.groups.iter().enumerate() {
            members[group.index()] += u64::from(pool.groups.members_at(place, pool.clients));
        }
    }
    let all = u64::from(scenario.connections());
    let of = |pool: &Pool| {
        let clients = u64::from(pool.clients);
        let heard = |by: u64| clients.saturating_mul(by);
        match pool.publish.as_ref().map(|publish| &publish.to) {
            None | Some(Destination::Event { reply: false, .. }) => 0,
            Some(Destination::Event { reply: true, .. }) => clients,
            Some(Destination::User(of) | Destination::Connection(of)) => {
                heard(scenario.pools[*of].clients.into())
            }
            Some(Destination::Everybody) => heard(all),
            Some(Destination::Group(group)) => heard(members[group.index()]),
            Some(Destination::Random(groups)) => {
                heard(groups.iter().map(|group| members[group.index()]).sum())
            }
            Some(Destination::Joined) => {
                let groups = pool.groups.groups.iter().enumerate();
                let own = |place| u64::from(pool.groups.members_at(place, pool.clients));
                groups
                    .map(|(place, group)| own(place).saturating_mul(members[group.index()]))
                    .fold(0, u64::saturating_add)
            }
        }
    };
    scenario.pools.iter().map(of).fold(0, u64::saturating_add)
}

fn bytes(kib: f64) -> u64 {
    (kib * 1024.0) as u64
}

/// Resident memory that a run of `scenario` needs, bytes: the one model, by which the room
/// on this box is judged too. The kernel's memory for sockets comes on top.
pub fn needed_memory(scenario: &Scenario) -> u64 {
    let clients = u64::from(scenario.connections());
    let mut each = bytes(prices::CLIENT);
    if matches!(scenario.target, TargetSpec::Embedded { .. }) {
        each += bytes(prices::HUB_CLIENT);
    }
    if is_tls(&scenario.target) {
        each += bytes(prices::TLS_CLIENT);
    }
    let mut verified = 0;
    if scenario.duration > Duration::ZERO && scenario.mode != Mode::Counts {
        let pairs = pairs(scenario).saturating_mul(prices::PAIR as u64);
        // It keeps to its budget.
        verified = (clients * bytes(prices::VERIFIED))
            .saturating_add(pairs)
            .min(scenario.verify_memory);
    }
    bytes(prices::PROCESS) + clients * each + verified
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Overrides, parse};

    fn forecast(text: &str) -> Forecast {
        let scenario = parse(text, "t.yaml", &Overrides::default(), &|_| None)
            .unwrap_or_else(|wrong| panic!("{wrong}"));
        Forecast::of(&scenario)
    }

    /// A forecast that does not follow the scenario would be compared with nothing.
    #[test]
    fn twice_the_clients_take_twice_the_cpu_time_and_memory() {
        let text = |clients: u32| {
            format!(
                "{{name: f, seed: 1, duration: 100s, pools: {{a: {{clients: {clients}, groups: \
                 {{count: {}, join: 1}}, publish: {{rate: 1/s}}}}}}}}",
                clients / 10
            )
        };
        let (one, two) = (forecast(&text(1000)), forecast(&text(2000)));
        assert_eq!((one.deliveries, two.deliveries), (1_000_000, 2_000_000));
        let ratio = two.cpu_s / one.cpu_s;
        assert!((1.5..=2.0).contains(&ratio), "{one:?} {two:?}");
        assert!(two.fds > one.fds && two.memory_bytes > one.memory_bytes);
    }

    /// TLS sessions are most of a client's memory: a box sized without them runs out.
    #[test]
    fn tls_is_in_the_memory_and_the_embedded_hub_has_none() {
        let of = |target: &str| {
            let text = format!("{{seed: 1, {target} pools: {{a: {{clients: 1000}}}}}}");
            forecast(&text).memory_bytes
        };
        let plain = of("target: {endpoint: 'http://h', access_key: k},");
        let tls = of("target: {endpoint: 'https://h', access_key: k},");
        assert_eq!(tls - plain, 1000 * bytes(prices::TLS_CLIENT));
        assert_eq!(of("") - plain, 1000 * bytes(prices::HUB_CLIENT));
    }

    /// What grew with the number of clients were the receipts, which fewer deliveries share.
    #[test]
    fn the_same_load_on_more_clients_takes_more_receipts() {
        let text = |clients: u32, client: &str| {
            format!(
                "{{name: f, seed: 1, duration: 100s, pools: {{a: {{clients: {clients}, {client} groups: \
                 {{count: {}, join: 1}}, publish: {{pool_rate: 1000/s}}}}}}}}",
                clients / 10
            )
        };
        let (few, many) = (forecast(&text(1000, "")), forecast(&text(9000, "")));
        assert_eq!(few.deliveries, many.deliveries);
        assert!(many.cpu_s > few.cpu_s * 1.2, "{few:?} {many:?}");
        let unreliable = forecast(&text(9000, "protocol: json,"));
        let each_us = (many.cpu_s - unreliable.cpu_s) / many.deliveries as f64 * 1e6;
        assert!(
            (prices::RECEIPT * 0.7..prices::RECEIPT * 1.5).contains(&each_us),
            "{each_us}"
        );
    }

    /// In one large group the verifier's books are most of the memory, up to its budget.
    #[test]
    fn memory_follows_the_pairs_and_not_the_clients_alone_up_to_the_budget() {
        let of = |group: u32, verify: &str| {
            let text = format!(
                "{{seed: 1, duration: 10s, {verify} pools: {{a: {{clients: 1000, groups: {{count: {}, \
                 join: 1}}, publish: {{rate: 1/s}}}}}}}}",
                1000 / group
            );
            forecast(&text).memory_bytes
        };
        let more = of(100, "") - of(10, "");
        assert_eq!(more, (1000 * 100 - 1000 * 10) * prices::PAIR as u64);
        let full = of(100, "verify: {memory: 1MiB},");
        assert!(full < of(10, ""), "{full}");
    }

    /// In a closed loop the hub decides how much comes: a number would be made up.
    #[test]
    fn a_closed_loop_is_not_foretold() {
        let text = "{name: c, seed: 1, duration: 10s, pools: {a: {clients: 2, groups: {names: [g]}, publish: {next: after_ack, pause: 1ms}}}}";
        let forecast = forecast(text);
        assert_eq!((forecast.deliveries, forecast.cpu_s), (0, 0.0));
        assert!(forecast.memory_bytes > bytes(prices::PROCESS));
    }
}
