//! Numbers as people read them. Pure; the same in summary, reasons and progress.

use std::time::Duration;

use super::results::Unit;

/// A count with thousands separators: `41,203`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share of `of`: `100%`, `99.98%`. Never rounded up to 100 % nor down to 0 %; `-` when
/// there is nothing to have a share of.
pub fn share(part: u64, of: u64) -> String {
    if of == 0 {
        return "-".into();
    }
    let percent = part as f64 * 100.0 / of as f64;
    if part != of && percent > 99.99 {
        ">99.99%".into()
    } else if part > 0 && percent < 0.01 {
        "<0.01%".into()
    } else {
        let text = format!("{percent:.2}");
        format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// A latency in microseconds with three digits: `870 µs`, `12.3 ms`, `1.20 s`.
pub fn micros(us: u64) -> String {
    let (value, unit) = match us {
        0..1_000 => return format!("{us} µs"),
        1_000..1_000_000 => (us as f64 / 1e3, "ms"),
        1_000_000..120_000_000 => (us as f64 / 1e6, "s"),
        _ => return duration(Duration::from_micros(us)),
    };
    let text = match value {
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    };
    format!("{text} {unit}")
}

/// A duration of seconds or more, no finer than it deserves: `20s`, `1m 30s`, `2h 5m`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 if duration.subsec_millis() > 0 => format!("{:.1}s", duration.as_secs_f64()),
        0..60 => format!("{seconds}s"),
        60..3600 => join(seconds / 60, "m", seconds % 60, "s"),
        3600..86_400 => join(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => join(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

fn join(big: u64, big_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 {
        format!("{big}{big_unit}")
    } else {
        format!("{big}{big_unit} {small}{small_unit}")
    }
}

/// Bytes with three digits: `128 B`, `23.4 MiB`.
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    match unit {
        "B" => format!("{n} B"),
        _ if value < 100.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// Events per second: `200/s`, `1,250/s`, `0.5/s`.
pub fn rate(per_second: f64) -> String {
    if per_second >= 10.0 || per_second.fract() == 0.0 {
        format!("{}/s", count(per_second.round() as u64))
    } else {
        format!("{per_second:.2}/s")
    }
}

/// A measured value in its unit.
pub fn measured(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds => micros((value * 1e6).round() as u64),
        Unit::Bytes => bytes(value as u64),
        Unit::PerSecond => rate(value),
        Unit::BytesPerSecond => format!("{}/s", bytes(value as u64)),
        Unit::Share => {
            let text = format!("{:.4}", value * 100.0);
            format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
        }
        Unit::Count if value.fract() == 0.0 && value >= 0.0 => count(value as u64),
        Unit::Count => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well_and_never_claim_more_than_they_are() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(41_203_110), "41,203,110");
        assert_eq!(share(5, 5), "100%");
        assert_eq!(share(999_999, 1_000_000), ">99.99%", "one lost is not 100%");
        assert_eq!(share(1, 1_000_000), "<0.01%");
        assert_eq!(share(1, 8), "12.5%");
        assert_eq!(share(0, 0), "-");
        assert_eq!(micros(870), "870 µs");
        assert_eq!(micros(12_345), "12.3 ms");
        assert_eq!(micros(1_200_000), "1.20 s");
        assert_eq!(micros(180_000_000), "3m");
        assert_eq!(duration(Duration::from_millis(1500)), "1.5s");
        assert_eq!(duration(Duration::from_secs(90)), "1m 30s");
        assert_eq!(duration(Duration::from_secs(7500)), "2h 5m");
        assert_eq!(bytes(128), "128 B");
        assert_eq!(bytes(24_536_678), "23.4 MiB");
        assert_eq!(rate(1250.0), "1,250/s");
        assert_eq!(rate(0.25), "0.25/s");
        assert_eq!(measured(0.25, Unit::Seconds), "250 ms");
        assert_eq!(measured(0.999_999, Unit::Share), "99.9999%");
        assert_eq!(measured(3.0, Unit::Count), "3");
    }
}
