//! Quantities as people write them: `250ms`, `500/s`, `2KiB`, `10%`.
//!
//! Each parses from text and prints back to text that parses to the same value. An error
//! says what was expected; the caller adds where.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Why a quantity could not be read: names the text and shows a right one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} is not {what}; write {example}")]
pub struct UnitError {
    got: String,
    what: &'static str,
    example: &'static str,
}

impl UnitError {
    /// What the text should have been: `a rate`.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// How a right one is written.
    pub fn example(&self) -> &'static str {
        self.example
    }
}

/// Splits "12.5ms" into 12.5 and "ms". The number must be finite and not negative.
fn split_number(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
        .unwrap_or(text.len());
    let number: f64 = text[..end].replace('_', "").parse().ok()?;
    number.is_finite().then(|| (number, text[end..].trim()))
}

/// How often something happens, in events per second; zero or more.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl Rate {
    /// A rate of `per_second` events a second. Negative and non-finite values become 0.
    pub fn per_second(per_second: f64) -> Self {
        Rate(if per_second.is_finite() {
            per_second.max(0.0)
        } else {
            0.0
        })
    }

    /// Events per second.
    pub fn as_per_second(self) -> f64 {
        self.0
    }

    /// The time between two events; `None` at rate 0.
    pub fn period(self) -> Option<Duration> {
        (self.0 > 0.0).then(|| Duration::try_from_secs_f64(1.0 / self.0).unwrap_or(Duration::MAX))
    }
}

impl FromStr for Rate {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let err = || UnitError {
            got: text.into(),
            what: "a rate",
            example: "a number and a unit, e.g. 500/s, 12/min or 3/h",
        };
        let (number, unit) = split_number(text).ok_or_else(err)?;
        let seconds = match unit {
            "/s" | "/sec" => 1.0,
            "/min" | "/m" => 60.0,
            "/h" => 3600.0,
            _ => return Err(err()),
        };
        Ok(Rate(number / seconds))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, seconds) in [("s", 1.0), ("min", 60.0), ("h", 3600.0)] {
            let number = self.0 * seconds;
            if (number - number.round()).abs() < 1e-9 * number.max(1.0)
                && (number >= 1.0 || self.0 == 0.0)
            {
                return write!(f, "{}/{unit}", number.round());
            }
        }
        write!(f, "{}/s", self.0)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let err = || UnitError {
            got: text.into(),
            what: "a size",
            example: "a whole number of bytes with a unit, e.g. 128B, 2KiB or 1MiB",
        };
        let (number, unit) = split_number(text).ok_or_else(err)?;
        let factor = match unit {
            "B" | "b" => 1.0,
            "kB" | "KB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            "GiB" => 1024.0 * 1024.0 * 1024.0,
            _ => return Err(err()),
        };
        let bytes = number * factor;
        if bytes.fract() != 0.0 || bytes > 9e15 {
            return Err(err());
        }
        Ok(ByteSize(bytes as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// A share of something: 0 to 1, written as 0% to 100%.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Percent(f64);

impl Percent {
    /// The share as a fraction, 0 to 1.
    pub fn as_fraction(self) -> f64 {
        self.0
    }
}

impl FromStr for Percent {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let err = || UnitError {
            got: text.into(),
            what: "a share",
            example: "a percentage from 0% to 100%, e.g. 10%",
        };
        match split_number(text) {
            Some((number, "%")) if number <= 100.0 => Ok(Percent(number / 100.0)),
            _ => Err(err()),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded to undo the division by 100 of the parser (0.07 * 100 is not 7).
        write!(f, "{}%", (self.0 * 100.0 * 1e9).round() / 1e9)
    }
}

/// A duration written with one unit or several: `250ms`, `30s`, `1m30s`, `2h`.
///
/// # Errors
/// A text that is no duration, or one without a unit.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let err = || UnitError {
        got: text.into(),
        what: "a duration",
        example: "a number and a unit, e.g. 250ms, 30s, 1m30s or 2h",
    };
    // humantime refuses fractions; people write 1.5s.
    if let Some((number, unit)) = split_number(text)
        && let Some(scale) = match unit {
            "us" | "µs" => Some(1e-6),
            "ms" => Some(1e-3),
            "s" => Some(1.0),
            "m" | "min" => Some(60.0),
            "h" => Some(3600.0),
            "d" => Some(86_400.0),
            _ => None,
        }
    {
        return Duration::try_from_secs_f64(number * scale).map_err(|_| err());
    }
    humantime::parse_duration(text.trim()).map_err(|_| err())
}

/// A duration as text that [`parse_duration`] reads back: `1m30s`, `250ms`, `1d`.
pub fn format_duration(duration: Duration) -> String {
    humantime::format_duration(duration)
        .to_string()
        .replace("days", "d")
        .replace("day", "d")
        .replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!("500/s".parse::<Rate>().unwrap().as_per_second(), 500.0);
        assert_eq!("12/min".parse::<Rate>().unwrap().as_per_second(), 0.2);
        assert_eq!("128B".parse::<ByteSize>().unwrap(), ByteSize(128));
        assert_eq!("2KiB".parse::<ByteSize>().unwrap(), ByteSize(2048));
        assert_eq!("10%".parse::<Percent>().unwrap().as_fraction(), 0.1);
        assert_eq!(parse_duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(parse_duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(parse_duration("1m30s").unwrap(), Duration::from_secs(90));
        for text in ["1d", "2d3h", "1m30s"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn refuses_what_is_no_quantity_and_shows_a_right_one() {
        for bad in ["5OO/s", "500", "500/week", "", "-1/s", "NaN/s", "/s"] {
            assert!(
                bad.parse::<Rate>()
                    .unwrap_err()
                    .to_string()
                    .contains("500/s"),
                "{bad}"
            );
        }
        assert!("101%".parse::<Percent>().is_err());
        assert!("10".parse::<Percent>().is_err());
        assert!("1.5B".parse::<ByteSize>().is_err());
        assert!(parse_duration("30").is_err());
        assert!(parse_duration("-3s").is_err());
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(bytes in 0u64..1 << 50, percent in 0u32..=1000, per_min in 0u32..100_000, micros in 1u64..1 << 40) {
            prop_assert_eq!(ByteSize(bytes).to_string().parse::<ByteSize>().unwrap(), ByteSize(bytes));
            let share = Percent(f64::from(percent) / 1000.0);
            prop_assert!((share.to_string().parse::<Percent>().unwrap().0 - share.0).abs() < 1e-12);
            let rate = Rate(f64::from(per_min) / 60.0);
            prop_assert!((rate.to_string().parse::<Rate>().unwrap().0 - rate.0).abs() < 1e-9);
            let duration = Duration::from_micros(micros);
            prop_assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration);
        }
    }
}
