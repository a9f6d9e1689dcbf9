//! The Prometheus endpoint: the numbers of a run as text format 0.0.4.
//!
//! [`names`] is the table of families, [`page`] fills it from the latest snapshot,
//! [`serve()`] answers scrapes. Nothing is observed per message: the page is made from
//! totals when somebody asks for it.

pub mod names;
pub mod page;
pub mod serve;

pub use page::{ExporterState, SharedState, render};
pub use serve::{MetricsServer, serve};
