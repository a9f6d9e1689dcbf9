//! Who is in which group, and for how long: choices, sessions, churn.

use std::sync::Arc;
use std::time::Duration;

use crate::base::GroupId;
use crate::base::units::Rate;

/// Which groups a pool's clients join.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupChoice {
    /// The groups to choose from.
    pub groups: Vec<GroupId>,
    /// How many of them each client joins, at most all.
    pub join: u32,
    /// How the clients spread over them.
    pub spread: Spread,
}

/// How clients spread over groups.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Spread {
    /// Groups of one size.
    #[default]
    Even,
    /// Every size from `min` to `max` equally likely, the clients dealt out in slot order.
    Range {
        /// Smallest; the last group may be smaller.
        min: u32,
        /// Largest.
        max: u32,
        /// By group, the first client that is no longer in it.
        ends: Arc<[u32]>,
    },
    /// The n-th group has 1/n of the members of the first; none is empty.
    Zipf {
        /// By group, the first client that is no longer in it.
        ends: Arc<[u32]>,
    },
}

impl Spread {
    /// Where runs of clients end, for spreads that are not even.
    pub(in crate::scenario) fn ends(&self) -> Option<&[u32]> {
        match self {
            Spread::Even => None,
            Spread::Range { ends, .. } | Spread::Zipf { ends } => Some(ends),
        }
    }
}

impl GroupChoice {
    /// The groups that client `i` of the pool joins: `join` of them from place
    /// `i mod count` on, so that they spread evenly; else the one whose run it is in.
    pub fn of(&self, i: u32) -> Vec<GroupId> {
        if let Some(ends) = self.spread.ends() {
            let place = ends.partition_point(|end| *end <= i);
            return self.groups.get(place).copied().into_iter().collect();
        }
        let count = self.groups.len();
        (0..(self.join as usize).min(count))
            .map(|k| self.groups[(i as usize + k) % count])
            .collect()
    }
}

/// Clients that come and go: each connects once, stays, leaves its groups and says goodbye.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sessions {
    /// How fast they come, from the start of the load.
    pub arrive: Rate,
    /// How long each stays.
    pub stay: Stay,
}

/// How long something lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stay {
    /// Always as long.
    Fixed(Duration),
    /// With this mean, most shorter.
    Exponential(Duration),
    /// Every length between the two equally likely.
    Uniform(Duration, Duration),
}

/// Leaving a group for a while, again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Churn {
    /// The mean time that a client stays in its groups; gaps are exponential.
    pub every: Duration,
    /// How long it is away from the group that it left.
    pub away: Duration,
}
