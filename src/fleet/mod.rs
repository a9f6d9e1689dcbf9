//! The clients of one arbiter: started at their pace, told when a publish or a fault is due.
//!
//! One [`Fleet`] actor per arbiter. It plans nothing: connects, publishes and faults are
//! pure functions of seed and scenario, of which it takes those of its own slots. It knows
//! the coordinator only as somebody who wants [`Report`]s.
//! Read [`agenda`] for what is due when, [`actor`] for the life of a fleet, [`messages`] for
//! what it is told, [`telling`] for the facts of publishers that fleets exchange.

pub mod actor;
mod agenda;
mod alarm;
pub mod messages;
mod telling;

pub use actor::Fleet;
pub use messages::{
    Begin, Conclude, Concluded, Deliver, FleetConfig, Lost, Report, Settle, StartLoad, StopLoad,
    Told,
};
