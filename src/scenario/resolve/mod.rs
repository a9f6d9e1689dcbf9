//! From a tree of values to a [`Scenario`](super::Scenario): every key, default and
//! cross-check of the format, one file per section.
//!
//! A reader that finds a mistake notes it and goes on with what it has, so that one look
//! shows them all. Read `scenario` first.

pub(super) mod chaos;
pub(super) mod client;
mod destination;
mod effect;
mod expression;
pub(super) mod groups;
mod idle;
pub(super) mod metrics;
mod pace;
pub(super) mod pools;
mod profile;
pub(super) mod publish;
pub(super) mod scenario;
mod sessions;
mod spread;
pub(super) mod target;
pub(super) mod threshold;
mod timing;
