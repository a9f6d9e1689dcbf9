//! hubstorm: load, soak and delivery verification for Azure Web PubSub and every hub that
//! speaks its client protocol.

pub mod base;
pub mod chaos;
pub mod cli;
pub mod generator;
pub mod hub;
pub mod load;
pub mod metrics;
pub mod payload;
pub mod protocol;
pub mod report;
pub mod scenario;
pub mod transport;
pub mod verify;
pub mod wire;
