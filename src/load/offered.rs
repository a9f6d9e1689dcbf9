//! What a scenario offers in sum, before anything has started.

use std::time::Duration;

use super::profile::{factor, passed};
use super::schedule::stop;
use super::visits::present;
use crate::base::GroupId;
use crate::scenario::{Destination, Pool, Publish, Scenario};

/// The load of a scenario with nothing lost, nothing refused and no fault.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Offered {
    /// Publishes of all clients, per second, where every profile is 1.
    pub publishes_per_s: f64,
    /// Deliveries that they lead to, per second: one per member of the group.
    pub deliveries_per_s: f64,
    /// Publishes over the whole load, as expected (arrivals are random).
    pub publishes_total: u64,
    /// Pools in a closed loop, which are not counted: the hub decides how much they send.
    pub closed_loops: usize,
}

/// Adds up what every pool offers.
pub fn offered(scenario: &Scenario) -> Offered {
    // Of visitors as many as are there in the middle of the load.
    let middle = scenario.duration / 2;
    let members = members(scenario, middle);
    let mut sum = Offered::default();
    let mut total = 0.0;
    for pool in &scenario.pools {
        if let Some(publish) = &pool.publish {
            if publish.after_ack.is_some() {
                sum.closed_loops += 1;
                continue;
            }
            let there = present(pool, middle);
            let per_s = there * publish.rate.as_per_second();
            sum.publishes_per_s += per_s;
            sum.deliveries_per_s += deliveries(scenario, pool, publish, middle, &members);
            let lasts = stop(publish, scenario.duration).saturating_sub(publish.start);
            total += per_s * passed(&publish.profile, lasts.as_secs_f64());
        }
    }
    // Saturates; scenarios are bounded far below.
    sum.publishes_total = total.round() as u64;
    sum
}

/// What a scenario offers at one time.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct OfferedAt {
    /// Publishes of all clients, per second.
    pub publishes_per_s: f64,
    /// Deliveries that they lead to, per second.
    pub deliveries_per_s: f64,
    /// Payload bytes published, per second.
    pub bytes_in_per_s: f64,
    /// Payload bytes delivered, per second.
    pub bytes_out_per_s: f64,
}

/// What every pool offers at `at`, from the start of the load. Closed loops count nothing:
/// the hub decides how much they send.
pub fn offered_at(scenario: &Scenario, at: Duration) -> OfferedAt {
    let members = members(scenario, at);
    let mut sum = OfferedAt::default();
    for pool in &scenario.pools {
        let Some(publish) = &pool.publish else {
            continue;
        };
        let over = at < publish.start || at >= stop(publish, scenario.duration);
        if over || publish.after_ack.is_some() {
            continue;
        }
        let factor = factor(&publish.profile, (at - publish.start).as_secs_f64());
        let there = present(pool, at);
        let published = there * publish.rate.as_per_second() * factor;
        let delivered = deliveries(scenario, pool, publish, at, &members) * factor;
        let size = publish.sizes.mean(publish.payload.size);
        sum.publishes_per_s += published;
        sum.deliveries_per_s += delivered;
        sum.bytes_in_per_s += published * size;
        sum.bytes_out_per_s += delivered * size;
    }
    sum
}

/// Expected members of each group at one time.
fn members(scenario: &Scenario, at: Duration) -> Vec<f64> {
    let mut members = vec![0.0; scenario.groups.len()];
    for pool in &scenario.pools {
        let share = present(pool, at) / f64::from(pool.clients.max(1));
        for (place, group) in pool.groups.groups.iter().enumerate() {
            let own = pool.groups.members_at(place, pool.clients);
            members[group.index()] += f64::from(own) * share;
        }
    }
    members
}

/// Deliveries per second of the publishes of those clients of a pool that are there `at`.
fn deliveries(
    scenario: &Scenario,
    pool: &Pool,
    publish: &Publish,
    at: Duration,
    members: &[f64],
) -> f64 {
    let there = present(pool, at);
    let rate = publish.rate.as_per_second();
    let spared = f64::from(u8::from(publish.no_echo));
    let share = there / f64::from(pool.clients.max(1));
    let own = |place: usize| f64::from(pool.groups.members_at(place, pool.clients)) * share;
    let to = |group: GroupId| {
        let place = pool.groups.groups.iter().position(|own| *own == group);
        let echoes = place.map_or(0.0, |place| own(place) * spared);
        members[group.index()] * there - echoes
    };
    match &publish.to {
        Destination::Event { reply: false, .. } => 0.0,
        Destination::Event { reply: true, .. } | Destination::Connection(_) => rate * there,
        Destination::User(of) => {
            let of = &scenario.pools[*of];
            rate * there * f64::from(of.connections_per_user.min(of.clients))
        }
        Destination::Everybody => {
            let clients = scenario.pools.iter().filter(|pool| !pool.server);
            rate * there * clients.map(|pool| present(pool, at)).sum::<f64>()
        }
        Destination::Group(group) => rate * to(*group),
        Destination::Random(groups) => {
            let each = rate / groups.len() as f64;
            groups.iter().map(|group| each * to(*group)).sum()
        }
        Destination::Joined => {
            let groups = pool.groups.groups.iter().enumerate();
            let each = rate / f64::from(pool.groups.join.max(1));
            groups
                .map(|(place, group)| {
                    let receivers = (members[group.index()] - spared).max(0.0);
                    own(place) * each * receivers
                })
                .sum()
        }
    }
}
