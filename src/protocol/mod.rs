//! The client side of the protocol as a sans-IO state machine: frames, closes and time in;
//! dials, frames, timers and events out. No socket, no clock, no payloads; chance only
//! in the jitter of pauses, drawn from a seed.
//!
//! Start with [`session`]: its diagram and its contract. [`config`] holds every policy,
//! [`behaviour`] whose values they have, [`io`] the words exchanged with the shell around it.

pub mod behaviour;
mod chance;
pub mod config;
pub mod io;
mod requests;
mod sequence;
pub mod session;

pub use behaviour::Behaviour;
pub use config::{
    Backoff, Liveness, Reconnect, Recovery, Rejoin, RetriedAnswers, Retry, SequenceAckPolicy,
    SessionConfig, StopHabit,
};
pub use io::{
    Answer, Control, Dial, Event, Operation, Outcome, Output, Received, RecoveryFailure, RequestId,
    RequestOptions, Settled, Transmission, Transmit,
};
pub use session::Session;
