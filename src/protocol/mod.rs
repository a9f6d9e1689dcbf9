//! The client side of the protocol as a sans-IO state machine: frames, closes and time in;
//! dials, frames, timers and events out. No socket, no clock, no payloads; chance only
//! in the jitter of pauses, drawn from a seed.
//!
//! Start with [`session`]: its diagram and its contract. [`config`] holds every policy,
//! [`behaviour`] whose values they have, [`io`] the words exchanged with the shell around it,
//! [`newer`] those of group streams and invocations.

pub mod behaviour;
mod chance;
pub mod config;
mod invoke;
pub mod io;
pub mod newer;
pub mod order;
mod requests;
mod sequence;
pub mod session;
mod stream;
mod streams;

pub use behaviour::Behaviour;
pub use config::{
    Backoff, Liveness, Reconnect, Recovery, Rejoin, RetriedAnswers, Retry, SequenceAckPolicy,
    SessionConfig, StopHabit,
};
pub use io::{
    Answer, Control, Dial, Event, Operation, Outcome, Output, Received, RecoveryFailure, RequestId,
    RequestOptions, Settled, Transmission, Transmit,
};
pub use newer::{
    InvocationFailure, InvocationId, InvokeRefused, NewerCounts, NewerEvent, NewerFrame,
    StreamOptions, StreamOutcome, StreamRefused,
};
pub use order::{PartOrder, StreamOrder};
pub use session::Session;
