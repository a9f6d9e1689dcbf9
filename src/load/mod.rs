//! When clients come, publish, leave groups and go: schedules, and what they offer in sum.
//!
//! Pure: intended times out, no clock, no hub. A schedule never waits for anything, so that
//! a slow hub shows as latency and not as fewer messages.

pub mod offered;
mod profile;
pub mod schedule;
pub mod visits;

pub use offered::{Offered, OfferedAt, offered, offered_at};
pub use schedule::{Schedule, stop};
pub use visits::{Leaves, Visit, present, visit};
