//! The commands: arguments in, exit code out.
//!
//! Read [`mod@check`] for `hubstorm check`.

pub mod check;

pub use check::check;
