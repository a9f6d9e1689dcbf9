//! The verifier against hand-written histories, and against a naive oracle on random ones.

mod histories;
mod model;
mod oracle;
mod random;
mod tap;
mod world;
