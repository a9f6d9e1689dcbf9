//! Scenario files: what a run shall do, as read, checked and resolved.
//!
//! [`model`] is what the rest of the program sees: no option left open, no text left to
//! parse.

pub mod model;

pub use model::{
    Arrivals, ChaosEntry, ChaosKind, Destination, GroupChoice, Mode, Pool, Promise, Publish,
    Scenario, Share, TargetSpec, Threshold, Timing,
};
