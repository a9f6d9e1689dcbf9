//! What a generated message carries: an identity that lets a receiver say which message,
//! which transmission of it and from whom, and padding up to the wanted size.
//!
//! Written by publishers (`client`), read by the verifier (`verify`). The layout is fixed
//! and has golden vectors, so that an outside publisher can take part in a run.
//! Read [`identity`] for the 36 bytes, [`body`] for how they travel in each data type.

mod any;
pub mod body;
mod diff;
pub mod identity;

pub use body::{BodyError, Padding, Template, read, read_as_other};
pub use diff::{Difference, difference};
pub use identity::{Identity, StreamId};

pub use crate::base::Cause;
