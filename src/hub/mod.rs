//! The embedded hub: a local stand-in for Azure Web PubSub, and the ground truth of a run.
//!
//! Shares only [`crate::wire`] and [`crate::base`] with the client, so that it is a second,
//! independent reading of the protocol. Read `core` for what frames mean (no I/O, no
//! clock), `server` for sockets, [`faults`] for what it can be told to do wrong, [`truth`]
//! for what it counts.

mod config;
pub(crate) mod core;
pub mod faults;
mod filter;
mod foreground;
mod frame;
mod handle;
mod server;
pub mod truth;

pub use config::{
    DEVELOPMENT_KEY, EventHandler, HubConfig, HubError, HubTls, SystemEvents, UpstreamUrl,
};
pub use faults::{FaultKind, FaultSpec, FaultSpecError};
pub use foreground::{ready_line, run_foreground};
pub use handle::Hub;
pub use truth::{Incident, Truth};
