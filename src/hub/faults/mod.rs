//! What the hub can be told to do wrong: the kinds, how a user names them, when they fire.
//!
//! The faults themselves are committed where they happen (`hub::core`); here is only the
//! list, the parser and the seeded dice. Read [`kind`] for the list.

mod corrupt;
pub mod kind;
mod plan;
mod spec;

pub use kind::FaultKind;
pub use spec::{FaultSpec, FaultSpecError, Trigger};

pub(crate) use corrupt::{Damage, damaged};
pub(crate) use plan::{FaultPlan, Fired};
