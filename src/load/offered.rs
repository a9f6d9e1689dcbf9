//! What a scenario offers in sum, before anything has started.

use crate::scenario::{Destination, Pool, Publish, Scenario};

/// The load of a scenario with nothing lost, nothing refused and no fault.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Offered {
    /// Publishes of all clients, per second.
    pub publishes_per_s: f64,
    /// Deliveries that they lead to, per second: one per member of the group.
    pub deliveries_per_s: f64,
    /// Publishes over the whole load, as expected (arrivals are random).
    pub publishes_total: u64,
}

/// Adds up what every pool offers.
pub fn offered(scenario: &Scenario) -> Offered {
    let members = scenario.members();
    let mut sum = Offered::default();
    for pool in &scenario.pools {
        if let Some(publish) = &pool.publish {
            let per_s = f64::from(pool.clients) * publish.rate.as_per_second();
            sum.publishes_per_s += per_s;
            sum.deliveries_per_s += deliveries(pool, publish, &members);
        }
    }
    // Saturates; scenarios are bounded far below.
    sum.publishes_total = (sum.publishes_per_s * scenario.duration.as_secs_f64()).round() as u64;
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
