//! Numbers of a run: counted per arbiter without locks, merged each second, shown everywhere.
//!
//! [`stats`] is what clients count into and the only source of every figure that reports,
//! progress lines and the metrics endpoint show. [`names`] is the table of metric names,
//! [`exporter`] turns the numbers into Prometheus text, [`mod@serve`] answers scrapes.

pub mod exporter;
pub mod latency;
pub mod names;
pub mod serve;
pub mod stats;

pub use exporter::{ExporterState, SharedState};
pub use latency::{Latencies, LatencyKind};
pub use serve::{MetricsServer, serve};
pub use stats::{ClientCounts, Connections, PoolStats, Snapshot};
