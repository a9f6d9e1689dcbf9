//! What follows from a resolved scenario by arithmetic alone: who is in a group, whom a
//! fault can hit, how often. No chance (see `chaos::plan`), no text.

use std::ops::Range;
use std::time::Duration;

use super::model::{ChaosEntry, ChaosKind, GroupChoice, Scenario, Share, Sizes, Timing};

/// The standard normal distribution's 99th percentile.
const NORMAL_P99: f64 = 2.326_347_874_040_841;

impl Scenario {
    /// How many clients join each group, by [`GroupId`](crate::base::GroupId).
    pub fn members(&self) -> Vec<u32> {
        let mut members = vec![0; self.groups.len()];
        for pool in &self.pools {
            for (place, group) in pool.groups.groups.iter().enumerate() {
                members[group.index()] += pool.groups.members_at(place, pool.clients);
            }
        }
        members
    }

    /// The slots that a fault may hit, as ranges in ascending order: those of its pool, else
    /// all
    /// but servers; kinds about recovery only those whose sessions can be recovered; `hub_restart` none.
    pub fn candidates(&self, entry: &ChaosEntry) -> Vec<Range<u32>> {
        let reliable_only = entry.kind.needs_recovery();
        self.pools
            .iter()
            .enumerate()
            .filter(|(at, pool)| {
                entry.kind != ChaosKind::HubRestart
                    && !pool.server
                    && entry.pool.is_none_or(|wanted| wanted == *at)
                    && (!reliable_only || pool.protocol.is_reliable())
            })
            .map(|(_, pool)| pool.slots())
            .collect()
    }
}

impl GroupChoice {
    /// How many of a pool's `clients` join the group at `place` of this choice. Spreads that
    /// are not even know their clients themselves.
    pub fn members_at(&self, place: usize, clients: u32) -> u32 {
        if let Some(ends) = self.spread.ends() {
            let begin = place.checked_sub(1).map_or(0, |before| ends[before]);
            return ends[place] - begin;
        }
        let count = self.groups.len() as u64;
        let join = u64::from(self.join).min(count);
        if join == 0 {
            return 0;
        }
        let (place, clients) = (place as u64, u64::from(clients));
        let (rounds, rest) = (clients / count, clients % count);
        // Client i joins this place when i mod count is one of the `join` places up to it,
        // going round. Of the unfinished last round, clients 0..rest exist.
        let up_to = |end: u64| end.min(rest);
        let in_last_round = if place + 1 >= join {
            up_to(place + 1) - up_to(place + 1 - join)
        } else {
            up_to(place + 1) + rest - up_to(count + place + 1 - join)
        };
        // At most `clients`: nobody joins a group twice.
        (rounds * join + in_last_round) as u32
    }
}

impl Sizes {
    /// The size, bytes, that two numbers from 0 to 1 pick; `fixed` where all are the same.
    pub fn pick(self, fixed: usize, u: f64, v: f64) -> usize {
        match self {
            Sizes::Fixed => fixed,
            Sizes::Uniform { min, max } => {
                let span = f64::from(max - min) + 1.0;
                (min + (u * span) as u32).min(max) as usize
            }
            Sizes::LogNormal {
                median,
                p99,
                min,
                max,
            } => {
                // Box and Muller; 1 - u is above 0, so the logarithm is finite.
                let normal = (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos();
                let size = f64::from(median) * (sigma(median, p99) * normal).exp();
                size.round().clamp(f64::from(min), f64::from(max)) as usize
            }
        }
    }

    /// The mean size, bytes, before it is cut to what fits.
    pub fn mean(self, fixed: usize) -> f64 {
        match self {
            Sizes::Fixed => fixed as f64,
            Sizes::Uniform { min, max } => (f64::from(min) + f64::from(max)) / 2.0,
            Sizes::LogNormal { median, p99, .. } => {
                let sigma = sigma(median, p99);
                f64::from(median) * (sigma * sigma / 2.0).exp()
            }
        }
    }
}

fn sigma(median: u32, p99: u32) -> f64 {
    (f64::from(p99) / f64::from(median)).ln() / NORMAL_P99
}

impl Share {
    /// How many of `all` this is: at least one where there are any, at most all.
    pub fn of(self, all: u32) -> u32 {
        let wanted = match self {
            // The slack undoes the division by 100 (7% of 100 is 7, not 8).
            Share::Fraction(fraction) => (fraction * f64::from(all) - 1e-6).ceil() as u32,
            Share::Count(count) => count,
            Share::Zones(zones) => all.div_ceil(zones.max(1)),
        };
        wanted.max(1).min(all)
    }
}

impl Timing {
    /// How often it happens.
    pub fn count(&self) -> u64 {
        match *self {
            Timing::At(_) => 1,
            Timing::Every {
                start,
                every,
                until,
            } => {
                let span = until.saturating_sub(start).as_nanos();
                let every = every.as_nanos().max(1);
                u64::try_from(span.div_ceil(every)).unwrap_or(u64::MAX)
            }
        }
    }

    /// When it happens, from the start of the load, in ascending order.
    pub fn times(&self) -> impl Iterator<Item = Duration> + use<> {
        let (start, every) = match *self {
            Timing::At(at) => (at, Duration::ZERO),
            Timing::Every { start, every, .. } => (start, every),
        };
        let mut next = Some(start);
        (0..self.count()).map_while(move |_| {
            let now = next?;
            next = now.checked_add(every);
            Some(now)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::GroupId;

    #[test]
    fn members_are_counted_as_clients_join() {
        // Expected deliveries would be wrong for every group otherwise.
        for count in 1..7u32 {
            for join in 1..=count {
                for clients in 0..20 {
                    let choice = GroupChoice {
                        groups: (0..count).map(GroupId).collect(),
                        join,
                        ..GroupChoice::default()
                    };
                    for place in 0..count {
                        let joined = (0..clients)
                            .filter(|i| choice.of(*i).contains(&GroupId(place)))
                            .count();
                        let said = choice.members_at(place as usize, clients);
                        assert_eq!(said as usize, joined, "{clients} {join}/{count} at {place}");
                    }
                }
            }
        }
    }

    #[test]
    fn sizes_are_spread_as_the_file_says() {
        let sizes = Sizes::LogNormal {
            median: 400,
            p99: 4096,
            min: 56,
            max: 60_000,
        };
        let n = 200;
        let grid = (0..n * n).map(|i| (f64::from(i % n) + 0.5, f64::from(i / n) + 0.5));
        let n = f64::from(n);
        let mut drawn: Vec<_> = grid.map(|(u, v)| sizes.pick(0, u / n, v / n)).collect();
        drawn.sort_unstable();
        let quantile = |q: f64| drawn[(q * drawn.len() as f64) as usize] as f64;
        assert!(
            (quantile(0.5) / 400.0 - 1.0).abs() < 0.05,
            "{}",
            quantile(0.5)
        );
        assert!(
            (quantile(0.99) / 4096.0 - 1.0).abs() < 0.1,
            "{}",
            quantile(0.99)
        );
        let even = Sizes::Uniform { min: 60, max: 62 };
        let picked: Vec<_> = [0.0, 0.4, 0.99, 1.0].map(|u| even.pick(0, u, 0.0)).into();
        assert_eq!(picked, [60, 61, 62, 62]);
        assert_eq!(even.mean(0), 61.0);
    }

    #[test]
    fn a_share_hits_whole_clients() {
        assert_eq!(Share::Fraction(0.07).of(100), 7);
        assert_eq!(Share::Fraction(0.001).of(100), 1);
        assert_eq!(Share::Fraction(1.0).of(3), 3);
        assert_eq!(Share::Count(9).of(3), 3);
        assert_eq!(Share::Fraction(0.5).of(0), 0);
    }

    #[test]
    fn a_fault_does_not_happen_at_or_after_its_end() {
        let timing = |until| Timing::Every {
            start: Duration::from_secs(1),
            every: Duration::from_secs(2),
            until: Duration::from_secs(until),
        };
        let seconds = |t: Timing| t.times().map(|at| at.as_secs()).collect::<Vec<_>>();
        assert_eq!(seconds(timing(5)), [1, 3]);
        assert_eq!(seconds(timing(6)), [1, 3, 5]);
        assert!(seconds(timing(1)).is_empty());
        assert_eq!(seconds(Timing::At(Duration::from_secs(4))), [4]);
    }
}
