//! What a run ends with, and how it is shown: results, verdict, files, terminal.
//!
//! Start with [`results`] (the shape of `report.json`), then [`build`] and [`verdict`].
//! Renderers read a [`Results`] and nothing live. [`progress`] shows a run while it lasts.

pub mod agreement;
pub mod build;
pub mod counts;
pub mod format;
pub mod latency;
mod monitor;
pub mod progress;
pub mod results;
pub mod story;
pub mod terminal;
pub mod threshold;
pub mod timeline;
pub mod verdict;
pub mod write;

pub use build::RunFacts;
pub use counts::Counts;
pub use monitor::Monitor;
pub use results::{Results, RunInfo, Verdict};
pub use threshold::metric_names;
pub use timeline::{Timeline, TimelinePoint};
pub use write::{EventLog, ResultsDir};
