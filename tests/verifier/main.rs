//! The verifier against hand-written histories, and against a naive oracle on random ones.

mod digest;
mod digest_random;
mod histories;
mod history;
mod limits;
mod liveness;
mod lost;
mod measured;
mod model;
mod noise;
mod oracle;
mod random;
mod sampled;
mod servers;
mod speed;
mod tap;
mod world;
