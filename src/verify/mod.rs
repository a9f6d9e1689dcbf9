//! The verdict: which deliveries were owed, which came, and whose fault the difference is.
//!
//! Pure: events and stamps in, counters and evidence out. No I/O, no clock, no chance.
//! Nothing here is known to the hub, and nothing of the hub is known here.
//! Read [`kinds`] for the vocabulary of verdicts and [`outcome`] for what a run ends with.

pub mod kinds;
pub mod outcome;

pub use kinds::{Permitted, Tally, Unknown, Violation};
pub use outcome::{Delivery, Incident, Verification, VerifierFacts};
