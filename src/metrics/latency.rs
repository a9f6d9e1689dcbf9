//! Latencies: one HdrHistogram per kind, in microseconds, all with the same resolution, so
//! that arbiters and workers merge exactly.

use std::ops::Deref;

use hdrhistogram::Histogram;

/// The smallest latency told apart, µs.
const LOWEST_US: u64 = 1;
/// The largest latency recorded, µs (one hour); longer ones are clipped and counted.
const HIGHEST_US: u64 = 3_600_000_000;
/// What a new histogram has room for, µs: it grows beyond it, by doubling.
const AT_FIRST_US: u64 = 131_071;
/// Decimal digits kept.
const DIGITS: u8 = 3;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LatencyKind {
    /// From the start of a dial to the `connected` frame of a new connection.
    Connect,
    /// From the intended time of a publish to its successful answer.
    Ack,
    /// From the intended time of a publish to a fresh delivery at a receiver.
    Delivery,
    /// From the loss of a transport to the first frame after its recovery.
    Recovery,
    /// From the loss of a transport to the `connected` frame of the new connection and the
    /// answer to its last rejoin.
    Reconnect,
    /// From the intended time of an event to its reply.
    Reply,
}

impl LatencyKind {
    /// All kinds, in the order of reports.
    pub const ALL: [LatencyKind; 6] = [
        LatencyKind::Connect,
        LatencyKind::Ack,
        LatencyKind::Delivery,
        LatencyKind::Recovery,
        LatencyKind::Reconnect,
        LatencyKind::Reply,
    ];

    /// The name in reports and thresholds.
    pub const fn name(self) -> &'static str {
        match self {
            LatencyKind::Connect => "connect",
            LatencyKind::Ack => "ack",
            LatencyKind::Delivery => "delivery",
            LatencyKind::Recovery => "recovery",
            LatencyKind::Reconnect => "reconnect",
            LatencyKind::Reply => "reply",
        }
    }
}

/// A histogram of microseconds that holds as much of the common range as its values need.
///
/// All have the same resolution, so they merge exactly, whatever each has grown to. Most
/// latencies are milliseconds: what is copied once a second is a third of the whole range.
#[derive(Clone, Debug)]
pub struct LatencyHistogram(Box<Histogram<u64>>);

impl Default for LatencyHistogram {
    fn default() -> Self {
        // The bounds are constants that hdrhistogram accepts; a test makes one.
        let made = Histogram::new_with_bounds(LOWEST_US, AT_FIRST_US, DIGITS);
        let mut histogram = made.expect("constant bounds are valid");
        histogram.auto(true);
        LatencyHistogram(Box::new(histogram))
    }
}

impl LatencyHistogram {
    /// Records `micros` µs, or the nearest end of the range.
    pub fn record(&mut self, micros: u64) {
        let recorded = self.0.record(micros.clamp(LOWEST_US, HIGHEST_US));
        debug_assert!(recorded.is_ok(), "it grows up to the end of the range");
    }

    /// Takes away what an earlier state of the same counts had.
    pub fn subtract(&mut self, before: &LatencyHistogram) {
        // Counts only grow, so what was there before can be taken away.
        let taken = self.0.subtract(&*before.0);
        debug_assert!(taken.is_ok());
    }
}

impl Deref for LatencyHistogram {
    type Target = Histogram<u64>;

    fn deref(&self) -> &Histogram<u64> {
        &self.0
    }
}

/// The same counts with room for the whole range, as reports have them: whoever merges those
/// of several runs needs no room to grow.
pub fn with_whole_range(histogram: &Histogram<u64>) -> Histogram<u64> {
    // The bounds are constants that hdrhistogram accepts; a test makes one.
    let made = Histogram::new_with_bounds(LOWEST_US, HIGHEST_US, DIGITS);
    let mut whole = made.expect("constant bounds are valid");
    let added = whole.add(histogram);
    debug_assert!(added.is_ok(), "nothing is recorded beyond the range");
    whole
}

/// Adds what there is of one histogram to another.
pub(super) fn merge(mine: &mut Option<LatencyHistogram>, theirs: Option<&LatencyHistogram>) {
    match (mine, theirs) {
        (Some(mine), Some(theirs)) => {
            // It grows as far as the other has, so adding cannot fail.
            let added = mine.0.add(&*theirs.0);
            debug_assert!(added.is_ok());
        }
        // The first is copied: to add it to zeros takes several times as long.
        (mine @ None, Some(theirs)) => *mine = Some(theirs.clone()),
        (_, None) => {}
    }
}

/// One histogram per [`LatencyKind`].
///
/// Histograms are made on first use: an arbiter with many pools pays only for what it sees.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    histograms: [Option<LatencyHistogram>; LatencyKind::ALL.len()],
    /// Latencies above the largest that is recorded.
    pub clipped: u64,
}

impl Latencies {
    /// Records a latency of `micros` µs.
    pub fn record(&mut self, kind: LatencyKind, micros: u64) {
        if micros > HIGHEST_US {
            self.clipped += 1;
        }
        (self.histograms[kind as usize].get_or_insert_default()).record(micros);
    }

    /// The histogram of one kind, if anything was recorded.
    pub fn get(&self, kind: LatencyKind) -> Option<&Histogram<u64>> {
        self.kept(kind).map(Deref::deref)
    }

    pub(super) fn kept(&self, kind: LatencyKind) -> Option<&LatencyHistogram> {
        self.histograms[kind as usize].as_ref()
    }

    /// Adds another set.
    pub fn merge(&mut self, other: &Latencies) {
        self.clipped += other.clipped;
        for (mine, theirs) in self.histograms.iter_mut().zip(&other.histograms) {
            merge(mine, theirs.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_clipped_in_silence() {
        let mut latencies = Latencies::default();
        latencies.record(LatencyKind::Ack, 3_000_000);
        latencies.record(LatencyKind::Ack, u64::MAX);
        let ack = latencies.get(LatencyKind::Ack).unwrap();
        assert_eq!((ack.len(), latencies.clipped), (2, 1));
        assert!(ack.value_at_quantile(0.5).abs_diff(3_000_000) < 3_000);
    }

    #[test]
    fn merged_histograms_hold_the_samples_of_both() {
        let (mut one, mut two) = (Latencies::default(), Latencies::default());
        one.record(LatencyKind::Delivery, 100);
        two.record(LatencyKind::Delivery, 900);
        one.merge(&two);
        assert_eq!(one.get(LatencyKind::Delivery).unwrap().len(), 2);
        assert!(one.get(LatencyKind::Connect).is_none());
    }

    #[test]
    fn a_histogram_grows_with_its_values_and_changes_none_by_it() {
        let values = [
            0,
            1,
            900,
            131_071,
            131_072,
            2_000_003,
            3_600_000_000,
            u64::MAX,
        ];
        let mut whole = Histogram::<u64>::new_with_bounds(LOWEST_US, HIGHEST_US, DIGITS).unwrap();
        let mut grown = LatencyHistogram::default();
        let small = grown.distinct_values();
        for value in values {
            whole.saturating_record(value.max(LOWEST_US));
            grown.record(value);
        }
        assert!(small * 2 < grown.distinct_values());
        assert!(*grown == whole);
        // A small one and one that has grown, merged either way and taken apart again.
        let mut small = LatencyHistogram::default();
        small.record(900);
        whole.record(900).unwrap();
        for (first, then) in [(&small, &grown), (&grown, &small)] {
            let mut sum = Some(first.clone());
            merge(&mut sum, Some(then));
            let mut sum = sum.unwrap();
            assert!(*sum == whole);
            sum.subtract(first);
            // Compared over the range of the first of the two.
            assert!(**then == *sum);
        }
    }
}
