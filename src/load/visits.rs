//! When visitors come and go, and when members leave a group for a while.
//!
//! Functions of (seed, slot) alone, each with a stream of its own.

use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::base::{Seed, Slot};
use crate::scenario::{Churn, Pool, Stay};

/// When a visitor is there, from the start of the load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Visit {
    /// It connects.
    pub comes: Duration,
    /// It leaves; later than the end of the load for those that see it.
    pub goes: Duration,
}

/// The visit of client `slot`; `None` for pools that stay.
pub fn visit(seed: Seed, slot: Slot, pool: &Pool) -> Option<Visit> {
    let sessions = pool.sessions?;
    let period = sessions.arrive.period()?;
    let comes = period.saturating_mul(slot.0 - pool.first_slot);
    let mut rng = seed.stream("visit", u64::from(slot.0));
    let stays = match sessions.stay {
        Stay::Fixed(stays) => stays,
        Stay::Exponential(mean) => mean.mul_f64(exponential(&mut rng)),
        Stay::Uniform(min, max) => min + (max - min).mul_f64(rng.random()),
    };
    Some(Visit {
        comes,
        goes: comes.saturating_add(stays),
    })
}

/// How many of a pool's clients are expected to be there `at` so long into the load.
pub fn present(pool: &Pool, at: Duration) -> f64 {
    let Some(sessions) = pool.sessions else {
        return f64::from(pool.clients);
    };
    let at = at.as_secs_f64();
    // Those are there that came in the last `stay`: the mean of what of it is past.
    let past = match sessions.stay {
        Stay::Fixed(stay) => stay.as_secs_f64().min(at),
        Stay::Exponential(mean) => {
            let mean = mean.as_secs_f64();
            mean * (1.0 - (-at / mean).exp())
        }
        Stay::Uniform(min, max) => ((min + max).as_secs_f64() / 2.0).min(at),
    };
    (sessions.arrive.as_per_second() * past).min(f64::from(pool.clients))
}

/// An exponential deviate with mean 1.
fn exponential(rng: &mut ChaCha8Rng) -> f64 {
    // 1 - u is above 0, so the logarithm is finite.
    -(1.0 - rng.random::<f64>()).ln()
}

/// When a member leaves one of its groups, from the start of the load, ascending. It is back
/// before it leaves again.
#[derive(Clone, Debug)]
pub struct Leaves {
    rng: Box<ChaCha8Rng>,
    churn: Churn,
    at: Duration,
    end: Duration,
}

impl Leaves {
    /// The leaves of client `slot` between `from` and `end`.
    pub fn new(seed: Seed, slot: Slot, churn: Churn, from: Duration, end: Duration) -> Self {
        Leaves {
            rng: Box::new(seed.stream("churn", u64::from(slot.0))),
            churn,
            at: from,
            end,
        }
    }
}

impl Iterator for Leaves {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let gap = self.churn.every.mul_f64(exponential(&mut self.rng));
        let at = self.at.saturating_add(gap);
        self.at = at.saturating_add(self.churn.away);
        (at < self.end).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_leave_as_often_as_the_file_says_and_are_back_in_between() {
        let churn = Churn {
            every: Duration::from_secs(8),
            away: Duration::from_secs(2),
        };
        let end = Duration::from_secs(1000);
        let mut count = 0;
        for slot in 0..50 {
            let leaves = Leaves::new(Seed(7), Slot(slot), churn, Duration::ZERO, end);
            let times: Vec<_> = leaves.collect();
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= churn.away));
            count += times.len();
        }
        // 50 clients, one leave in ten seconds each: 5,000, deviation 60.
        assert!((4700..5300).contains(&count), "{count}");
    }
}
