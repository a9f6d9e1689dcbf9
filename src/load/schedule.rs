//! One client's intended publish times.
//!
//! A function of (seed, slot) alone, so that it is the same whichever thread or worker
//! drives the client.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::profile::Inverse;
use super::visits::Visit;
use crate::base::{Seed, Slot};
use crate::scenario::{Arrivals, Publish};

/// The intended publish times of one client, in ascending order from the start of the load.
#[derive(Clone, Debug)]
pub struct Schedule {
    gaps: Gaps,
    profile: Inverse,
    /// Publishes per second where the profile is 1; above zero, else there is nothing left.
    rate: f64,
    start: Duration,
    /// Earlier times are skipped: the client is not there yet.
    from: Duration,
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
    /// As `Uniform`, but only every `size`-th counts: the others come with it.
    Burst { phase: f64, sent: u64, size: u64 },
    /// Boxed: most schedules are uniform, and there is one per client.
    Poisson { rng: Box<ChaCha8Rng>, at: f64 },
    /// A closed loop: the client itself goes on from the first message.
    First { phase: f64 },
}

impl Schedule {
    /// The schedule of client `slot` for a load that lasts `duration`. In a closed loop it
    /// is the first message alone.
    pub fn new(seed: Seed, slot: Slot, publish: &Publish, duration: Duration) -> Self {
        let mut rng = seed.stream("load", u64::from(slot.0));
        let gaps = match publish.arrivals {
            _ if publish.after_ack.is_some() => Gaps::First {
                phase: rng.random(),
            },
            Arrivals::Uniform => Gaps::Uniform {
                phase: rng.random(),
                sent: 0,
            },
            Arrivals::Burst(size) => Gaps::Burst {
                phase: rng.random(),
                sent: 0,
                size: u64::from(size.max(1)),
            },
            Arrivals::Poisson => Gaps::Poisson {
                rng: Box::new(rng),
                at: 0.0,
            },
        };
        Schedule {
            gaps,
            profile: Inverse::new(&publish.profile),
            rate: match publish.after_ack {
                Some(_) => 1.0,
                None => publish.rate.as_per_second(),
            },
            start: publish.start,
            from: Duration::ZERO,
            end: stop(publish, duration),
        }
    }

    /// Leaves out what is not while the client is there.
    #[must_use]
    pub fn during(mut self, visit: Visit) -> Self {
        if let Gaps::First { .. } = self.gaps {
            self.start = self.start.max(visit.comes);
        }
        self.from = visit.comes;
        self.end = self.end.min(visit.goes);
        self
    }

    /// When the next message is due, wherever the client may be.
    fn due(&mut self) -> Option<Duration> {
        let amount = self.amount()?;
        let seconds = match self.gaps {
            // Spread over the first second, whatever the profile: it paces open loops.
            Gaps::First { .. } => Some(amount),
            _ => self.profile.at(amount),
        };
        let at = Duration::try_from_secs_f64(seconds?).ok()?;
        at.checked_add(self.start)
    }

    /// The seconds at full rate that must have passed for the next message.
    fn amount(&mut self) -> Option<f64> {
        Some(match &mut self.gaps {
            Gaps::Uniform { phase, sent } => {
                let at = (*phase + *sent as f64) / self.rate;
                *sent += 1;
                at
            }
            Gaps::Burst { phase, sent, size } => {
                let burst = (*sent / *size) as f64;
                *sent += 1;
                (*phase + burst) * *size as f64 / self.rate
            }
            Gaps::Poisson { rng, at } => {
                // 1 - u is above 0, so the logarithm is finite.
                *at -= (1.0 - rng.random::<f64>()).ln() / self.rate;
                *at
            }
            Gaps::First { phase } => {
                let first = *phase;
                // No first comes twice.
                *phase = f64::INFINITY;
                return first.is_finite().then_some(first);
            }
        })
    }
}

/// When a pool stops publishing in a load of `duration`, from its start.
pub fn stop(publish: &Publish, duration: Duration) -> Duration {
    publish.stop.unwrap_or(duration).min(duration)
}

/// Yields when the next message is meant to be sent, from the start of the load; ends with
/// the pool's publishing.
impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        loop {
            if self.rate <= 0.0 {
                return None;
            }
            let at = self.due().filter(|at| *at < self.end);
            if at.is_none() {
                self.rate = 0.0;
            }
            if at.is_none_or(|at| at >= self.from) {
                return at;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Rate;
    use crate::payload::{Padding, Template};
    use crate::scenario::{Destination, Profile, Sizes, Stage};
    use crate::wire::DataType;

    fn publish(per_second: f64, arrivals: Arrivals) -> Publish {
        Publish {
            rate: Rate::per_second(per_second),
            arrivals,
            profile: Profile::Constant,
            start: Duration::ZERO,
            stop: None,
            after_ack: None,
            sizes: Sizes::Fixed,
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
        for arrivals in [Arrivals::Uniform, Arrivals::Poisson, Arrivals::Burst(7)] {
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

    #[test]
    fn bursts_come_whole_and_keep_the_rate() {
        let times = times(4, 10.0, Arrivals::Burst(20), 60);
        assert!((times.len() as i64 - 600).abs() <= 20, "{}", times.len());
        for burst in times.chunks_exact(20) {
            assert!(burst.iter().all(|at| *at == burst[0]));
        }
        assert!(times[20] - times[0] > Duration::from_millis(1999));
    }

    #[test]
    fn a_pool_publishes_by_its_profile_between_its_start_and_its_stop() {
        let ramp = Publish {
            profile: Profile::Stages(
                [Stage {
                    lasts: Duration::from_secs(10),
                    from: 0.0,
                    to: 1.0,
                }]
                .into(),
            ),
            start: Duration::from_secs(20),
            stop: Some(Duration::from_secs(40)),
            ..publish(100.0, Arrivals::Uniform)
        };
        let load = Duration::from_secs(60);
        let times: Vec<_> = Schedule::new(Seed(7), Slot(1), &ramp, load).collect();
        // Half the rate for ten seconds, all of it for ten more.
        assert!((times.len() as i64 - 1500).abs() <= 1, "{}", times.len());
        let first_half = times.iter().filter(|at| at.as_secs() < 25).count();
        assert!((first_half as i64 - 125).abs() <= 1, "{first_half}");
        assert!(times[0] >= Duration::from_secs(20));
        assert!(times[times.len() - 1] < Duration::from_secs(40));
    }

    #[test]
    fn a_closed_loop_has_one_intended_time_of_its_own() {
        let closed = Publish {
            after_ack: Some(Duration::ZERO),
            ..publish(0.0, Arrivals::Uniform)
        };
        let load = Duration::from_secs(60);
        let times: Vec<_> = Schedule::new(Seed(7), Slot(1), &closed, load).collect();
        assert_eq!(times.len(), 1);
        assert!(times[0] < Duration::from_secs(1));
    }
}
