//! The load generator's own health: is a bad number the hub's doing or ours?
//!
//! [`sample`] reads procfs once a second, [`health`] judges the run from all samples and
//! says with which bound, [`fds`] checks before the start that the clients fit into the
//! process's open files, [`forecast`] what a run will take at the [`prices`] that were
//! measured, [`room`] whether this box has ports and memory for them. Nothing here knows clients, hub or verifier.

pub mod fds;
pub mod forecast;
pub mod health;
pub mod prices;
pub mod room;
pub mod sample;

pub use fds::{FdError, ensure_fds, needed_fds};
pub use forecast::{Forecast, needed_memory};
pub use health::GeneratorFacts;
pub use room::{Lack, Machine, lacks};
pub use sample::{Sample, Sampler, ThreadUse};
