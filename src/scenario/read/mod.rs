//! From text to a tree of values with their places, and from there to typed values, mistakes
//! collected instead of stopping at the first.
//!
//! Knows YAML, the environment and quantities; not what a scenario is (see `resolve`).
//! Read [`tree`] first, then [`section`].

pub(super) mod compose;
pub(super) mod env;
pub(super) mod names;
pub(super) mod overrides;
pub(super) mod scalar;
pub(super) mod secrets;
pub(super) mod section;
pub(super) mod source;
pub(super) mod tree;
