//! Scenario files: what a run shall do, as read, checked and resolved.
//!
//! [`model`] is what the rest of the program sees: no option left open, no text left to
//! parse. [`mod@file`] is the way in, [`yaml`] the way out, `read` knows YAML with places and
//! collects mistakes, `resolve` knows the format. Imports `base`, `wire`, `payload`, and the
//! vocabulary of `verify` and of `protocol`; never `chaos`, `load` or anything live.

pub mod audience;
pub mod derive;
pub mod diagnostic;
pub mod file;
pub mod model;
pub mod presets;
mod read;
pub mod reference;
mod resolve;
pub mod yaml;

pub use audience::Audiences;
pub use diagnostic::{Diagnostic, Diagnostics};
pub use file::{load, parse};
pub use model::{
    Arrivals, ChaosEntry, ChaosKind, Churn, ClientSpec, Comparison, Destination, Effect,
    GroupChoice, Mode, Pool, Profile, Promise, Publish, REQUESTS_PER_SERVER, Scenario, Sessions,
    Share, Sizes, Spread, Stage, Stay, TargetSpec, Threshold, Timing, Unit,
};
pub use read::env::Env;
pub use read::overrides::Overrides;
pub use resolve::chaos::HITS_MAX;
pub use resolve::metrics::{Measure, metrics};
pub use yaml::to_yaml;
