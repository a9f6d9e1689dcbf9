//! The commands: arguments in, exit code out.
//!
//! Read [`check`] for `hubstorm check`.

pub mod check;

pub use check::check;
