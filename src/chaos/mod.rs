//! Faults that the clients suffer: the plan of a run, before anything has started.
//!
//! Read [`mod@plan`] for how entries become injections.

pub mod plan;

pub use plan::{Injection, Plan, plan};
