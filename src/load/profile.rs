//! A rate that changes over time, as the time at which a given amount of it has passed.
//!
//! Schedules count in *amount*: seconds at the full rate. The n-th message is due when the
//! profile has let its amount through. So one inverse serves evenly spread, random and
//! bursty arrivals alike, and a pause or a ramp needs no case of its own.

use std::f64::consts::TAU;

use crate::scenario::{Profile, Stage};

/// Halvings when a sine is inverted: 2^-40 of a day is a tenth of a microsecond.
const HALVINGS: u32 = 40;

/// Inverts the integral of a profile. Asked for ascending amounts only.
#[derive(Clone, Debug)]
pub(super) struct Inverse {
    profile: Profile,
    /// The stage that the last answer lay in, when it begins (s), and the amount before it.
    stage: usize,
    begins: f64,
    before: f64,
}

impl Inverse {
    pub(super) fn new(profile: &Profile) -> Self {
        Inverse {
            profile: profile.clone(),
            stage: 0,
            begins: 0.0,
            before: 0.0,
        }
    }

    /// Seconds from the start after which `amount` has passed; `None`: it never does.
    pub(super) fn at(&mut self, amount: f64) -> Option<f64> {
        match &self.profile {
            Profile::Constant => Some(amount),
            Profile::Sine { period, low, high } => sine(amount, period.as_secs_f64(), *low, *high),
            Profile::Stages(stages) => {
                while let Some(stage) = stages.get(self.stage) {
                    let lasts = stage.lasts.as_secs_f64();
                    let whole = (stage.from + stage.to) / 2.0 * lasts;
                    if amount < self.before + whole {
                        return Some(self.begins + within(stage, amount - self.before));
                    }
                    self.stage += 1;
                    self.begins += lasts;
                    self.before += whole;
                }
                let stays = stages.last().map_or(1.0, |stage| stage.to);
                (stays > 0.0).then(|| self.begins + (amount - self.before) / stays)
            }
        }
    }
}

/// Where in a stage, s, `amount` has passed; there is so much in it.
fn within(stage: &Stage, amount: f64) -> f64 {
    let lasts = stage.lasts.as_secs_f64();
    let slope = (stage.to - stage.from) / lasts;
    // from t + slope t^2 / 2 = amount, in the form that also holds for a slope of zero.
    let root = (stage.from * stage.from + 2.0 * slope * amount)
        .max(0.0)
        .sqrt();
    let sum = stage.from + root;
    if sum > 0.0 {
        (2.0 * amount / sum).min(lasts)
    } else {
        0.0
    }
}

fn sine(amount: f64, period: f64, low: f64, high: f64) -> Option<f64> {
    let (mean, swing) = ((low + high) / 2.0, (high - low) / 2.0);
    if mean <= 0.0 {
        return None;
    }
    let days = (amount / (mean * period)).floor();
    let rest = amount - days * mean * period;
    let passed = |t: f64| mean * t - swing * period / TAU * (TAU * t / period).sin();
    let (mut early, mut late) = (0.0, period);
    for _ in 0..HALVINGS {
        let middle = (early + late) / 2.0;
        if passed(middle) < rest {
            early = middle;
        } else {
            late = middle;
        }
    }
    Some(days * period + late)
}

/// How much of a profile passes in the first `seconds`: the time at full rate that it is
/// worth.
pub(super) fn passed(profile: &Profile, seconds: f64) -> f64 {
    match profile {
        Profile::Constant => seconds,
        Profile::Sine { period, low, high } => {
            let (period, mean) = (period.as_secs_f64(), (low + high) / 2.0);
            let swing = (high - low) / 2.0;
            mean * seconds - swing * period / TAU * (TAU * seconds / period).sin()
        }
        Profile::Stages(stages) => {
            let (mut left, mut amount) = (seconds, 0.0);
            for stage in stages.iter() {
                let lasts = stage.lasts.as_secs_f64();
                let part = left.min(lasts);
                if lasts > 0.0 {
                    let to = stage.from + (stage.to - stage.from) * part / lasts;
                    amount += (stage.from + to) / 2.0 * part;
                }
                left -= part;
            }
            amount + left * stages.last().map_or(1.0, |stage| stage.to)
        }
    }
}

/// The factor at a time, s from the start.
pub(super) fn factor(profile: &Profile, at: f64) -> f64 {
    match profile {
        Profile::Constant => 1.0,
        Profile::Sine { period, low, high } => {
            let swing = (high - low) / 2.0;
            (low + high) / 2.0 - swing * (TAU * at / period.as_secs_f64()).cos()
        }
        Profile::Stages(stages) => {
            let mut begins = 0.0;
            for stage in stages.iter() {
                let lasts = stage.lasts.as_secs_f64();
                if at < begins + lasts {
                    return stage.from + (stage.to - stage.from) * (at - begins) / lasts;
                }
                begins += lasts;
            }
            stages.last().map_or(1.0, |stage| stage.to)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn stages(list: &[(u64, f64, f64)]) -> Profile {
        let stage = |(secs, from, to): &(u64, f64, f64)| Stage {
            lasts: Duration::from_secs(*secs),
            from: *from,
            to: *to,
        };
        Profile::Stages(list.iter().map(stage).collect())
    }

    #[test]
    fn an_amount_has_passed_exactly_when_the_inverse_says_so() {
        // Else a ramp or a day would offer another load than the file asks for.
        let day = Profile::Sine {
            period: Duration::from_secs(20),
            low: 0.0,
            high: 3.0,
        };
        for profile in [
            Profile::Constant,
            stages(&[(10, 0.0, 2.0), (5, 2.0, 2.0), (0, 0.5, 0.5), (10, 0.5, 0.0)]),
            stages(&[(10, 1.0, 1.0), (5, 0.0, 0.0), (0, 1.0, 1.0)]),
            day,
        ] {
            let end = passed(&profile, 25.0);
            let mut inverse = Inverse::new(&profile);
            let mut last = 0.0;
            for nth in 1..500 {
                let amount = end * f64::from(nth) / 500.0;
                let at = inverse.at(amount).unwrap();
                assert!(at >= last, "{profile:?}: {at} after {last}");
                last = at;
                let back = passed(&profile, at);
                assert!((back - amount).abs() < 1e-6, "{profile:?}: {amount} {back}");
            }
            assert!(last <= 25.0);
        }
    }

    #[test]
    fn a_profile_that_ends_in_nothing_lets_nothing_more_through() {
        let mut inverse = Inverse::new(&stages(&[(10, 1.0, 0.0)]));
        assert!(inverse.at(4.9).is_some());
        assert_eq!(inverse.at(5.0), None);
    }

    #[test]
    fn the_factor_is_what_the_file_says_at_each_time() {
        let ramp = stages(&[(10, 0.0, 2.0), (10, 2.0, 2.0)]);
        assert_eq!(factor(&ramp, 5.0), 1.0);
        assert_eq!(factor(&ramp, 500.0), 2.0);
        let day = Profile::Sine {
            period: Duration::from_secs(20),
            low: 1.0,
            high: 3.0,
        };
        assert!((factor(&day, 10.0) - 3.0).abs() < 1e-9);
        assert!((factor(&day, 20.0) - 1.0).abs() < 1e-9);
    }
}
