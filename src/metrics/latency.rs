//! Latencies: one HdrHistogram per kind, in microseconds, all with the same bounds, so that
//! arbiters and workers merge exactly.

use std::borrow::BorrowMut;

use hdrhistogram::Histogram;

/// The smallest latency told apart, µs.
const LOWEST_US: u64 = 1;
/// The largest latency recorded, µs (one hour); longer ones are clipped and counted.
const HIGHEST_US: u64 = 3_600_000_000;
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

/// A new histogram of microseconds with the common bounds.
pub fn histogram() -> Histogram<u64> {
    // The bounds are constants that hdrhistogram accepts; a test makes one.
    Histogram::new_with_bounds(LOWEST_US, HIGHEST_US, DIGITS).expect("constant bounds are valid")
}

/// Adds what there is of one histogram with the common bounds to another.
pub(super) fn merge<H>(mine: &mut Option<H>, theirs: &Option<H>)
where
    H: BorrowMut<Histogram<u64>> + Clone,
{
    match (mine, theirs) {
        (Some(mine), Some(theirs)) => {
            // Same bounds everywhere, so adding cannot fail.
            let added = mine.borrow_mut().add(theirs.borrow());
            debug_assert!(added.is_ok());
        }
        // The first is copied: to add 200 KB to zeros takes several times as long.
        (mine @ None, Some(_)) => mine.clone_from(theirs),
        (_, None) => {}
    }
}

/// One histogram per [`LatencyKind`].
///
/// Histograms are made on first use: an arbiter with many pools pays only for what it sees.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    histograms: [Option<Box<Histogram<u64>>>; LatencyKind::ALL.len()],
    /// Latencies above the largest that is recorded.
    pub clipped: u64,
}

impl Latencies {
    /// Records a latency of `micros` µs.
    pub fn record(&mut self, kind: LatencyKind, micros: u64) {
        if micros > HIGHEST_US {
            self.clipped += 1;
        }
        self.slot(kind).saturating_record(micros.max(LOWEST_US));
    }

    /// The histogram of one kind, if anything was recorded.
    pub fn get(&self, kind: LatencyKind) -> Option<&Histogram<u64>> {
        self.histograms[kind as usize].as_deref()
    }

    /// Adds another set.
    pub fn merge(&mut self, other: &Latencies) {
        self.clipped += other.clipped;
        for (mine, theirs) in self.histograms.iter_mut().zip(&other.histograms) {
            merge(mine, theirs);
        }
    }

    fn slot(&mut self, kind: LatencyKind) -> &mut Histogram<u64> {
        self.histograms[kind as usize].get_or_insert_with(|| Box::new(histogram()))
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
}
