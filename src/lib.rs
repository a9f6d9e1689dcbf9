//! hubstorm: load, soak and delivery verification for Azure Web PubSub and every hub that
//! speaks its client protocol.

pub mod base;
pub mod chaos;
pub mod cli;
pub mod load;
pub mod payload;
pub mod scenario;
pub mod verify;
pub mod wire;
