//! One client's intended publish times.
//!
//! A function of (seed, slot) alone, so that it is the same whichever thread or worker
//! drives the client.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::base::{Seed, Slot};
use crate::scenario::{Arrivals, Publish};

/// The intended publish times of one client, in ascending order from the start of the load.
#[derive(Clone, Debug)]
pub struct Schedule {
    gaps: Gaps,
    /// Publishes per second; above zero, else there is nothing left.
    rate: f64,
    end: Duration,
}

#[derive(Clone, Debug)]
enum Gaps {
    /// `(phase + sent) / rate`, computed anew each time so that no error adds up.
    Uniform {
        /// Of a period, 0 to 1.
        phase: f64,
        sent: u64,
    },
    /// Boxed: most schedules are uniform, and there is one per client.
    Poisson { rng: Box<ChaCha8Rng>, at: f64 },
}

impl Schedule {
    /// The schedule of client `slot` for a load that lasts `duration`.
    pub fn new(seed: Seed, slot: Slot, publish: &Publish, duration: Duration) -> Self {
        let mut rng = seed.stream("load", u64::from(slot.0));
        let gaps = match publish.arrivals {
            Arrivals::Uniform => Gaps::Uniform {
                phase: rng.random(),
                sent: 0,
            },
            Arrivals::Poisson => Gaps::Poisson {
                rng: Box::new(rng),
                at: 0.0,
            },
        };
        Schedule {
            gaps,
            rate: publish.rate.as_per_second(),
            end: duration,
        }
    }
}

/// Yields when the next message is meant to be sent, from the start of the load; ends with
/// the load.
impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.rate <= 0.0 {
            return None;
        }
        let seconds = match &mut self.gaps {
            Gaps::Uniform { phase, sent } => {
                let at = (*phase + *sent as f64) / self.rate;
                *sent += 1;
                at
            }
            Gaps::Poisson { rng, at } => {
                // 1 - u is above 0, so the logarithm is finite.
                *at -= (1.0 - rng.random::<f64>()).ln() / self.rate;
                *at
            }
        };
        let at = Duration::try_from_secs_f64(seconds).ok();
        let at = at.filter(|at| *at < self.end);
        if at.is_none() {
            self.rate = 0.0;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Rate;
    use crate::payload::{Padding, Template};
    use crate::scenario::Destination;
    use crate::wire::DataType;

    fn publish(per_second: f64, arrivals: Arrivals) -> Publish {
        Publish {
            rate: Rate::per_second(per_second),
            arrivals,
            to: Destination::Joined,
            payload: Template {
                data_type: DataType::Json,
                size: 128,
                padding: Padding::Zeros,
            },
            ack: true,
            no_echo: false,
        }
    }

    fn times(slot: u32, per_second: f64, arrivals: Arrivals, secs: u64) -> Vec<Duration> {
        Schedule::new(
            Seed(7),
            Slot(slot),
            &publish(per_second, arrivals),
            Duration::from_secs(secs),
        )
        .collect()
    }

    #[test]
    fn uniform_load_meets_its_rate_to_the_message() {
        for per_second in [0.05, 1.0, 3.0, 250.0] {
            for slot in 0..50 {
                let times = times(slot, per_second, Arrivals::Uniform, 60);
                let due = per_second * 60.0;
                assert!(
                    (times.len() as f64 - due).abs() <= 1.0,
                    "{} of {due}",
                    times.len()
                );
                for pair in times.windows(2) {
                    let gap = (pair[1] - pair[0]).as_secs_f64();
                    assert!((gap * per_second - 1.0).abs() < 1e-6, "{gap}");
                }
            }
        }
    }

    #[test]
    fn poisson_load_meets_its_rate_and_is_irregular() {
        let counts: Vec<usize> = (0..200)
            .map(|slot| times(slot, 2.0, Arrivals::Poisson, 50).len())
            .collect();
        let mean = counts.iter().sum::<usize>() as f64 / 200.0;
        // 200 clients with mean 100 and deviation 10 each: the mean deviates by 0.7.
        assert!((mean - 100.0).abs() < 4.0, "{mean}");
        let variance = counts
            .iter()
            .map(|n| (*n as f64 - mean).powi(2))
            .sum::<f64>()
            / 200.0;
        assert!((50.0..200.0).contains(&variance), "{variance}");
    }

    #[test]
    fn times_are_repeatable_ascending_and_inside_the_load() {
        for arrivals in [Arrivals::Uniform, Arrivals::Poisson] {
            let first = times(3, 10.0, arrivals, 20);
            assert_eq!(first, times(3, 10.0, arrivals, 20));
            assert!(first.is_sorted());
            assert!(first.iter().all(|at| *at < Duration::from_secs(20)));
        }
    }

    #[test]
    fn clients_do_not_send_in_step() {
        // All in one instant would measure a burst that nobody asked for.
        let mut tenths = [0; 10];
        for slot in 0..1000 {
            let first = times(slot, 1.0, Arrivals::Uniform, 5)[0];
            tenths[(first.as_secs_f64() * 10.0) as usize] += 1;
        }
        assert!(
            tenths.iter().all(|n| (60..140).contains(n)),
            "first sends per tenth of a period: {tenths:?}"
        );
    }

    #[test]
    fn no_rate_means_no_message_and_an_ended_schedule_stays_ended() {
        assert!(times(0, 0.0, Arrivals::Poisson, 5).is_empty());
        let mut schedule = Schedule::new(
            Seed(1),
            Slot(0),
            &publish(1.0, Arrivals::Poisson),
            Duration::from_secs(2),
        );
        while schedule.next().is_some() {}
        assert_eq!(schedule.next(), None);
    }
}
