//! Numbers of a run: counted per arbiter without locks, merged each second, shown everywhere.
//!
//! [`stats`] is what clients count into and the only source of every figure that reports,
//! progress lines and the metrics endpoint show; [`latency`] the histograms; [`moments`] what
//! happened to single clients.

pub mod latency;
pub mod moments;
pub mod stats;

pub use latency::{Latencies, LatencyHistogram, LatencyKind};
pub use moments::{Moments, Turn};
pub use stats::{ClientCounts, Connections, PoolStats, Snapshot};
