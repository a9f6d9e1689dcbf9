//! Latencies as reports hold them: a summary, and the whole histogram beside it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use crate::metrics::latency::with_whole_range;
use crate::metrics::{Latencies, LatencyKind};

/// One kind of latency, µs. All 0 and an empty `hdr` when nothing was recorded.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LatencySummary {
    /// How many were recorded.
    pub count: u64,
    /// The smallest.
    pub min: u64,
    /// The mean, rounded.
    pub mean: u64,
    /// The median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// The largest.
    pub max: u64,
    /// The whole histogram: HdrHistogram V2, deflated, base64. Mergeable.
    pub hdr: String,
}

/// Why a saved histogram could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HdrError {
    /// Not base64.
    #[error("the histogram is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// Not HdrHistogram V2.
    #[error("the histogram is damaged: {0}")]
    Hdr(#[from] hdrhistogram::serialization::DeserializeError),
}

impl LatencySummary {
    /// Summarises a histogram of microseconds.
    pub fn of(recorded: Option<&Histogram<u64>>) -> Self {
        let Some(recorded) = recorded.filter(|recorded| !recorded.is_empty()) else {
            return LatencySummary::default();
        };
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&with_whole_range(recorded), &mut bytes)
            // Into memory, and with bounds far from what the encoding cannot hold.
            .expect("a histogram of an hour in microseconds can be written into memory");
        LatencySummary {
            count: recorded.len(),
            min: recorded.min(),
            mean: recorded.mean().round() as u64,
            p50: recorded.value_at_quantile(0.50),
            p90: recorded.value_at_quantile(0.90),
            p99: recorded.value_at_quantile(0.99),
            p999: recorded.value_at_quantile(0.999),
            max: recorded.max(),
            hdr: BASE64.encode(bytes),
        }
    }

    /// The whole histogram again; `None` when nothing was recorded.
    ///
    /// # Errors
    /// `hdr` was damaged.
    pub fn histogram(&self) -> Result<Option<Histogram<u64>>, HdrError> {
        if self.hdr.is_empty() {
            return Ok(None);
        }
        let bytes = BASE64.decode(&self.hdr)?;
        Ok(Some(Deserializer::new().deserialize(&mut &bytes[..])?))
    }
}

/// All kinds of latency of a run or of a pool.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LatencyTable {
    /// See [`LatencyKind::Connect`].
    pub connect: LatencySummary,
    /// See [`LatencyKind::Ack`].
    pub ack: LatencySummary,
    /// See [`LatencyKind::Delivery`].
    pub delivery: LatencySummary,
    /// See [`LatencyKind::Recovery`].
    pub recovery: LatencySummary,
    /// See [`LatencyKind::Reconnect`].
    pub reconnect: LatencySummary,
    /// See [`LatencyKind::Reply`]; reports of before it have none.
    #[serde(default)]
    pub reply: LatencySummary,
}

impl LatencyTable {
    /// Summarises all kinds.
    pub fn of(latencies: &Latencies) -> Self {
        let of = |kind| LatencySummary::of(latencies.get(kind));
        LatencyTable {
            connect: of(LatencyKind::Connect),
            ack: of(LatencyKind::Ack),
            delivery: of(LatencyKind::Delivery),
            recovery: of(LatencyKind::Recovery),
            reconnect: of(LatencyKind::Reconnect),
            reply: of(LatencyKind::Reply),
        }
    }

    /// One kind.
    pub fn get(&self, kind: LatencyKind) -> &LatencySummary {
        match kind {
            LatencyKind::Connect => &self.connect,
            LatencyKind::Ack => &self.ack,
            LatencyKind::Delivery => &self.delivery,
            LatencyKind::Recovery => &self.recovery,
            LatencyKind::Reconnect => &self.reconnect,
            LatencyKind::Reply => &self.reply,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_histogram_is_the_histogram_and_a_damaged_one_is_refused() {
        let mut latencies = Latencies::default();
        for micros in [150, 900, 3_000_000, 3_599_000_000] {
            latencies.record(LatencyKind::Delivery, micros);
        }
        let summary = LatencyTable::of(&latencies).delivery;
        assert_eq!((summary.count, summary.min), (4, 150));
        let back = summary.histogram().unwrap().unwrap();
        assert_eq!(&back, latencies.get(LatencyKind::Delivery).unwrap());
        let cut = LatencySummary {
            hdr: summary.hdr[..summary.hdr.len() / 2 / 4 * 4].to_owned(),
            ..summary
        };
        assert!(cut.histogram().is_err());
    }

    /// What grows with its values is written with room for all: whoever merges the reports of
    /// several runs adds a slow one to a quick one.
    #[test]
    fn saved_histograms_of_quick_and_slow_runs_merge() {
        let saved = |micros| {
            let mut latencies = Latencies::default();
            latencies.record(LatencyKind::Delivery, micros);
            let summary = LatencyTable::of(&latencies).delivery;
            summary.histogram().unwrap().unwrap()
        };
        let mut quick = saved(900);
        quick.add(saved(3_599_000_000)).unwrap();
        assert_eq!(quick.len(), 2);
    }

    #[test]
    fn nothing_recorded_is_no_latency_at_all() {
        let table = LatencyTable::of(&Latencies::default());
        assert_eq!(table.ack, LatencySummary::default());
        assert!(table.ack.histogram().unwrap().is_none());
    }
}
