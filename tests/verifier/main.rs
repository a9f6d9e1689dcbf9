//! The verifier against hand-written histories, and against a naive oracle on random ones.

mod histories;
mod limits;
mod model;
mod oracle;
mod random;
mod tap;
mod world;
