//! How much of a fault there is: `delay`, `rate`, `size`, `window`, `rolling`.

use std::time::Duration;

use crate::base::units::ByteSize;
use crate::scenario::model::{ChaosKind, Effect, Timing};
use crate::scenario::read::scalar;
use crate::scenario::read::section::Section;
use crate::scenario::read::source::Mistakes;

/// How long a session can be recovered. Source: client-spec 6.1.
const WINDOW: Duration = Duration::from_secs(30);
/// How near to the end of the window a late client comes back: clients try once a second.
const NEAR: Duration = Duration::from_millis(2500);
/// The longest added delay: a client gives a silent connection up after that.
const DELAY_MAX: Duration = Duration::from_secs(60);
/// The largest piece, bytes.
const PIECE_MAX: u64 = 64 << 10;

/// Which measures belong to which kinds.
const MEASURES: [(&str, &[ChaosKind]); 5] = [
    ("delay", &[ChaosKind::Latency]),
    ("jitter", &[ChaosKind::Latency]),
    ("rate", &[ChaosKind::Throttle, ChaosKind::SlowConsumer]),
    ("size", &[ChaosKind::Slice]),
    ("window", &[ChaosKind::RecoverLate]),
];

/// The measure of a fault; `None` beside a mistake.
pub(super) fn read(
    section: &Section<'_>,
    kind: ChaosKind,
    mistakes: &mut Mistakes,
) -> Option<Effect> {
    for (key, kinds) in MEASURES {
        if let Some(entry) = section.entry(key).filter(|_| !kinds.contains(&kind)) {
            let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            mistakes
                .add(entry.key_place, format!("a {} has no `{key}`", kind.name()))
                .mend(format!("leave it out; it belongs to {}", names.join(", ")));
        }
    }
    match kind {
        ChaosKind::Latency => {
            let node = section.required("delay", "`delay: 200ms`", mistakes)?;
            let delay = scalar::duration(node, mistakes)?;
            let jitter = match section.get("jitter") {
                Some(node) => scalar::duration(node, mistakes)?.value,
                None => Duration::ZERO,
            };
            if delay.value + jitter > DELAY_MAX || (delay.value + jitter).is_zero() {
                mistakes
                    .add(delay.place, format!("`{}` is no such delay", delay.shown))
                    .expected("above 0s, and at most 60s together with the jitter");
            }
            Some(Effect::Delay {
                delay: delay.value,
                jitter,
            })
        }
        ChaosKind::Throttle | ChaosKind::SlowConsumer => {
            let node = section.required("rate", "`rate: 10KiB/s`", mistakes)?;
            let read = scalar::text(node, "bytes a second, e.g. 10KiB/s", mistakes)?;
            let bytes = read.value.trim().strip_suffix("/s");
            let bytes = bytes.and_then(|bytes| bytes.parse::<ByteSize>().ok());
            let Some(bytes) = bytes.filter(|bytes| bytes.0 > 0) else {
                mistakes
                    .add(read.place, format!("`{}` is no such rate", read.shown))
                    .expected("bytes a second, above zero, e.g. 10KiB/s");
                return None;
            };
            Some(Effect::BytesPerSecond(bytes.0))
        }
        ChaosKind::Slice => {
            let node = section.required("size", "`size: 16B`", mistakes)?;
            let read = scalar::size(node, mistakes)?;
            if !(1..=PIECE_MAX).contains(&read.value.0) {
                mistakes
                    .add(read.place, format!("`{}` is no such piece", read.shown))
                    .expected("1B to 64KiB");
                return None;
            }
            // At most 64 KiB.
            Some(Effect::Pieces(read.value.0 as u32))
        }
        _ => Some(Effect::Plain),
    }
}

/// How long a late client is away: `window: inside` or `outside`.
pub(super) fn window(section: &Section<'_>, mistakes: &mut Mistakes) -> Option<Duration> {
    if let Some(entry) = section.entry("for") {
        mistakes
            .add(entry.key_place, "a recover_late has no `for`")
            .mend("the recovery window says how long; give `window: inside` or `outside`");
    }
    let options = [("inside", WINDOW - NEAR), ("outside", WINDOW + NEAR)];
    let node = section.required("window", "`window: inside` or `window: outside`", mistakes)?;
    let read = scalar::choice(node, "a side of the recovery window", &options, mistakes)?;
    Some(read.value)
}

/// `rolling`: the time that a wave takes, inside the load.
pub(super) fn rolling(
    section: &Section<'_>,
    timing: Option<&Timing>,
    duration: Option<Duration>,
    mistakes: &mut Mistakes,
) -> Duration {
    let Some(read) = section
        .get("rolling")
        .and_then(|node| scalar::duration(node, mistakes))
    else {
        return Duration::ZERO;
    };
    let start = match timing {
        Some(Timing::At(at)) => *at,
        Some(Timing::Every { start, .. }) => *start,
        None => Duration::ZERO,
    };
    if duration.is_some_and(|end| start.saturating_add(read.value) > end) {
        mistakes
            .add(
                read.place,
                format!("a wave of `{}` rolls on beyond the load", read.shown),
            )
            .mend("start it earlier, or make it shorter");
    }
    read.value
}
