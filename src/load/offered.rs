//! What a scenario offers in sum, before anything has started.

use std::time::Duration;

use super::profile::{factor, passed};
use super::schedule::stop;
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
    let members = scenario.members();
    let mut sum = Offered::default();
    let mut total = 0.0;
    for pool in &scenario.pools {
        if let Some(publish) = &pool.publish {
            if publish.after_ack.is_some() {
                sum.closed_loops += 1;
                continue;
            }
            let per_s = f64::from(pool.clients) * publish.rate.as_per_second();
            sum.publishes_per_s += per_s;
            sum.deliveries_per_s += deliveries(pool, publish, &members);
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
    let members = scenario.members();
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
        let published = f64::from(pool.clients) * publish.rate.as_per_second() * factor;
        let delivered = deliveries(pool, publish, &members) * factor;
        let size = publish.sizes.mean(publish.payload.size);
        sum.publishes_per_s += published;
        sum.deliveries_per_s += delivered;
        sum.bytes_in_per_s += published * size;
        sum.bytes_out_per_s += delivered * size;
    }
    sum
}

/// Deliveries per second of one pool's publishes.
fn deliveries(pool: &Pool, publish: &Publish, members: &[u32]) -> f64 {
    let rate = publish.rate.as_per_second();
    let spared = u32::from(publish.no_echo);
    let own = |place: usize| f64::from(pool.groups.members_at(place, pool.clients));
    match &publish.to {
        Destination::Event(_) => 0.0,
        Destination::Group(to) => {
            let echoes = match pool.groups.groups.iter().position(|group| group == to) {
                Some(place) => own(place) * f64::from(spared),
                None => 0.0,
            };
            let receivers = f64::from(members[to.index()]) * f64::from(pool.clients);
            rate * (receivers - echoes)
        }
        Destination::Random(groups) => {
            let share = rate / groups.len() as f64;
            let clients = f64::from(pool.clients);
            groups
                .iter()
                .map(|group| {
                    let place = pool.groups.groups.iter().position(|own| own == group);
                    let echoes = place.map_or(0.0, |place| own(place) * f64::from(spared));
                    share * (f64::from(members[group.index()]) * clients - echoes)
                })
                .sum()
        }
        Destination::Joined => {
            let groups = pool.groups.groups.iter().enumerate();
            let share = rate / f64::from(pool.groups.join.max(1));
            groups
                .map(|(place, group)| {
                    let receivers = members[group.index()].saturating_sub(spared);
                    own(place) * share * f64::from(receivers)
                })
                .sum()
        }
    }
}
