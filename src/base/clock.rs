//! Time: the only module that reads a clock.
//!
//! Everything below the shells (protocol session, hub core, verifier, plans) takes a
//! [`Time`] as a parameter and never asks for it. A [`Clock`] turns tokio's clock into
//! `Time`, so that a paused tokio clock rules the pure layers too.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::{Duration, SystemTime};

/// Microseconds since the origin of one process's [`Clock`]. Monotonic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The clock's origin.
    pub const ZERO: Time = Time(0);
    /// Later than every time a clock can return.
    pub const MAX: Time = Time(u64::MAX);

    /// A time `micros` µs after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Time(micros)
    }

    /// A time `millis` ms after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Time(millis * 1000)
    }

    /// A time `secs` s after the origin.
    pub const fn from_secs(secs: u64) -> Self {
        Time(secs * 1_000_000)
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Seconds since the origin.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Microseconds since `earlier`; zero when it is not after it.
    pub fn micros_since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This time less `by`, not before the origin.
    pub fn saturating_sub(self, by: Duration) -> Time {
        Time(self.0.saturating_sub(micros(by)))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, by: Duration) -> Time {
        Time(self.0.saturating_add(micros(by)))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, by: Duration) {
        *self = *self + by;
    }
}

impl Sub<Time> for Time {
    type Output = Duration;
    fn sub(self, earlier: Time) -> Duration {
        self.since(earlier)
    }
}

/// Whole microseconds of a duration, capped at `u64::MAX`.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The monotonic clock of one process, with the wall-clock time of its origin.
///
/// `Copy`, so that every thread of a process can hold the same one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: tokio::time::Instant,
    wall_origin: SystemTime,
}

impl Clock {
    /// A clock whose origin is now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads clocks")]
    pub fn start() -> Self {
        Clock {
            origin: tokio::time::Instant::now(),
            wall_origin: SystemTime::now(),
        }
    }

    /// The time since the origin.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads clocks")]
    pub fn now(&self) -> Time {
        Time(micros(
            tokio::time::Instant::now().duration_since(self.origin),
        ))
    }

    /// The tokio instant of `time`, for sleeping until it. [`Time::MAX`] and other far
    /// times are capped at 30 years after the origin.
    pub fn instant(&self, time: Time) -> tokio::time::Instant {
        const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
        self.origin + Duration::from_micros(time.0).min(FAR)
    }

    /// The wall-clock time of `time`.
    pub fn wall(&self, time: Time) -> SystemTime {
        self.wall_origin + Duration::from_micros(time.0)
    }

    /// Seconds since the Unix epoch now, for token lifetimes.
    pub fn unix_now(&self) -> u64 {
        self.wall(self.now())
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        assert_eq!(Time::MAX + Duration::from_secs(1), Time::MAX);
        assert_eq!(Time::from_secs(1) - Time::from_secs(2), Duration::ZERO);
        assert_eq!(
            Time::from_millis(5).saturating_sub(Duration::from_secs(1)),
            Time::ZERO
        );
        assert_eq!(format!("{}", Time::from_micros(1_500_000)), "1.500000s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_tokio_clock_rules_it() {
        let clock = Clock::start();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(clock.now(), Time::from_secs(3600));
        assert_eq!(
            clock.instant(Time::from_secs(3600)),
            clock.instant(clock.now())
        );
    }
}
