//! Simulated clients: one actix actor each, around a [`crate::protocol::Session`].
//!
//! The actor is life cycle and mailbox; the session decides the protocol; `link` owns the
//! socket and the dial; `alarm` is the one timer of all clients; `events` and `outcomes` tell
//! the verifier and the counters what happened. All clients of one arbiter share one
//! [`Shared`] and nothing else.
//!
//! A client is moved in turns ([`turns`]): messages change the client and wake it, so what
//! they asked for leaves in the same write as what frames caused.

pub mod actor;
mod alarm;
mod body;
mod directory;
mod events;
mod faults;
mod link;
mod outcomes;
mod presence;
mod publish;
mod sabotage;
pub mod server;
pub mod shared;
mod turns;

pub use actor::{Abandon, Churn, Client, Depart, Goodbye, Handle, Heal, Inject};
pub use directory::Directory;
pub use sabotage::Sabotage;
pub(crate) use sabotage::{KILLS_AFTER, Road};
pub use server::{Publish, Server};
pub use shared::{Shared, SharedConfig};
pub use turns::Turns;
