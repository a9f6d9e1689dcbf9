//! The life of a run: connect, load, heal, drain, judge.
//!
//! [`phase`] decides, purely, when one phase gives way to the next; [`actor`] carries it
//! out, `ending` closes the books, `messages` says what goes in and comes out. The coordinator speaks to fleets, never to clients, and knows no report: whoever
//! wants to watch gets a [`Tick`] a second.

pub mod actor;
mod ending;
pub mod messages;
pub mod phase;

pub use actor::Coordinator;
pub use messages::{CoordinatorConfig, Finished, FleetHandle, Fleets, Interrupt, Observe, Tick};
pub use phase::{Phase, RETURN_WITHIN, Standing};
