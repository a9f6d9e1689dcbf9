//! The hub's protocol core: what frames mean. No sockets, no clock, no tasks.
//!
//! The shell (`hub::server`) feeds it decoded frames with the time, wakes the transports
//! that [`Core::take_dirty`] names, lets them [`Core::drain`] their outboxes, and calls
//! [`Core::handle_timeout`] at [`Core::next_deadline`].
//!
//! Read [`state`] for the tables, [`sessions`] for how sessions begin and end,
//! [`requests`] for the frames, [`publish`] for the fan-out.

pub(crate) mod acks;
pub(crate) mod arena;
pub(crate) mod connection_faults;
pub(crate) mod cookies;
pub(crate) mod events;
pub(crate) mod groups;
mod invocations;
pub(crate) mod later;
pub(crate) mod listing;
pub(crate) mod message;
pub(crate) mod outbox;
pub(crate) mod permissions;
pub(crate) mod publish;
pub(crate) mod publish_faults;
pub(crate) mod recovery;
pub(crate) mod recovery_faults;
pub(crate) mod requests;
pub(crate) mod send;
pub(crate) mod service;
pub(crate) mod sessions;
mod simple;
pub(crate) mod state;
pub(crate) mod streams;
pub(crate) mod token;

#[cfg(test)]
mod tests;

pub(crate) use arena::Key;
pub(crate) use cookies::{Remembered, Said};
pub(crate) use message::{Dialect, RawMode};
pub(crate) use outbox::{End, Out};
pub(crate) use permissions::{Action, Permissions};
pub(crate) use service::{Choice, Target};
pub(crate) use sessions::Identity;
pub(crate) use state::{Core, Settings};
pub(crate) use token::{TOKEN_LIFETIME_MAX, token_lifetime};
