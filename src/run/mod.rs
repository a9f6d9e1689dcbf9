//! One run from scenario to report: the place that wires the actors together.
//!
//! [`prepare`] makes everything that can fail before anything is started; [`execute`]
//! starts arbiters, fleets and the coordinator and waits for the end; [`watch`] shows what
//! goes on meanwhile.

mod execute;
mod prepare;
mod watch;

pub(crate) use prepare::run_with;
pub use prepare::{Options, RunError, run};
