//! What a person reads in the terminal: the banner before, the summary after.
//!
//! Pure functions from data to text, at most [`WIDTH`] columns where the data allows it.
//! The result goes to stdout, everything else to stderr; that is the caller's business.

mod banner;
mod incidents;
mod measured;
mod paint;
mod summary;
mod table;

pub use banner::{Banner, banner};
pub use paint::Paint;
pub use summary::{Again, summary, verdict_line};

/// The width that texts are wrapped to.
pub const WIDTH: usize = 96;
