//! What every layer may use: time, chance, ids, quantities. No I/O, no protocol.
//!
//! Start with [`clock`] (the only clock reads) and [`seed`] (the only place a random
//! number generator is made).

pub mod cause;
pub mod clock;
pub mod ids;
pub mod reads;
pub mod seed;
pub mod units;

pub use cause::Cause;
pub use clock::{Clock, Time};
pub use ids::{AckId, GroupId, SequenceId, Slot};
pub use reads::ReadCounts;
pub use seed::{Draws, Seed};
