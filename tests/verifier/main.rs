//! The verifier against hand-written histories, and against a naive oracle on random ones.

mod histories;
mod world;
