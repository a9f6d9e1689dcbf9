//! The client side of the protocol as a sans-IO state machine: frames, closes and time in;
//! dials, frames, timers and events out. No socket, no clock, no chance, no payloads.
//!
//! Start with [`session`]: its diagram and its contract. [`config`] holds every policy,
//! [`io`] the words exchanged with the shell around it.

pub mod config;
pub mod io;
mod requests;
mod sequence;
pub mod session;

pub use config::{
    Backoff, Behaviour, Liveness, Reconnect, Recovery, Rejoin, Retry, SequenceAckPolicy,
    SessionConfig,
};
pub use io::{
    Answer, Control, Dial, Event, Operation, Outcome, Output, Received, RecoveryFailure, RequestId,
    RequestOptions, Settled, Transmission, Transmit,
};
pub use session::Session;
