//! Chance in the pauses of one session: drawn from its seed, so that a run can be repeated.

use std::time::Duration;

use crate::base::Seed;

use super::config::Backoff;

/// Draws for the pauses of one purpose.
#[derive(Debug)]
pub(super) struct Chance {
    seed: Seed,
    purpose: &'static str,
    drawn: u64,
}

impl Chance {
    pub(super) fn new(seed: Seed, purpose: &'static str) -> Self {
        Chance {
            seed,
            purpose,
            drawn: 0,
        }
    }

    /// The pause before attempt `n`, counted from 1. Draws only where there is jitter.
    pub(super) fn pause(&mut self, backoff: &Backoff, n: u32) -> Duration {
        if backoff.jitter == 0 {
            return backoff.pause(n);
        }
        // A generator for each draw: pauses are rare, clients are many.
        let draw = self.seed.draws(self.purpose, self.drawn).fraction();
        self.drawn += 1;
        backoff.pause_with(n, draw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_secs(1),
        max: Duration::from_secs(5),
        exponential: false,
        jitter: 50,
    };

    fn pauses(seed: u64) -> Vec<Duration> {
        let mut chance = Chance::new(Seed(seed), "retry");
        (0..1000).map(|_| chance.pause(&BACKOFF, 1)).collect()
    }

    #[test]
    fn a_fleet_with_jitter_does_not_come_back_at_one_instant_and_comes_back_so_again() {
        let drawn = pauses(1);
        let (low, high) = (Duration::from_millis(500), Duration::from_millis(1500));
        assert!(drawn.iter().all(|pause| (low..high).contains(pause)));
        let early = drawn.iter().filter(|pause| **pause < BACKOFF.first).count();
        assert!((400..600).contains(&early), "{early} of 1000 are early");
        assert_eq!(drawn, pauses(1), "the same seed, the same pauses");
        assert_ne!(drawn, pauses(2));
    }
}
