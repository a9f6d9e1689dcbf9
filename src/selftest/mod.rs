//! The proof that a verdict can be trusted: every lie of the embedded hub is told alone and
//! must be named, to the message; honest hubs under brutal conditions must not be accused.
//!
//! [`mod@rows`] is the table (which lie, in which small world, what must come of it), [`judge`]
//! holds a result against its row, [`mod@run`] runs the rows side by side and prints. The
//! verifier is only ever reached through whole runs here: nothing in this module knows how
//! it decides. Source: verification 11.

pub mod judge;
mod lies;
mod own;
pub mod rows;
pub mod run;

pub use rows::{Row, churned, rows};
pub use run::{Options, selftest};

#[cfg(test)]
mod tests;
