//! hubstorm: load, soak and delivery verification for Azure Web PubSub and every hub that
//! speaks its client protocol.
//!
//! Four parts can be used by themselves: [`sdk`] is a client library, [`protocol`] the
//! session under it as a state machine without I/O, [`hub`] an embedded hub with faults on
//! demand, [`verify`] the streaming verifier. [`run`] puts them together into a load test;
//! ARCHITECTURE.md in the repository draws the whole.

pub mod base;
pub mod chaos;
pub mod cli;
pub mod client;
pub mod coordinator;
pub mod exporter;
pub mod fleet;
pub mod generator;
pub mod hub;
pub mod load;
pub mod metrics;
pub mod payload;
pub mod protocol;
pub mod report;
pub mod run;
pub mod scenario;
pub mod sdk;
pub mod selftest;
pub mod transport;
pub mod verify;
pub mod wire;

// Needs both sides' private parts, and no file of `src` may import both.
#[cfg(test)]
#[path = "../tests/streams/mod.rs"]
mod streams_world;
#[cfg(test)]
#[path = "../tests/world/mod.rs"]
mod world;
