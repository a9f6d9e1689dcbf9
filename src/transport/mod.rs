//! The client's side of a connection: where to connect, how, and the socket afterwards.
//!
//! Moves frames and close codes, and knows no protocol meaning: what a frame says is for
//! `protocol`, who sends what and when for `client`. The faults a connection can be given
//! (reset, stall, black hole, delay, narrow pipe) are here, because they act on the raw socket; who gets them
//! is for `chaos`.
//!
//! Read [`endpoint`] for URLs and tokens, [`dial`] for opening a connection, [`socket`]
//! for the frames on it, [`tap`] for what can be done to it from outside.

mod alarm;
pub mod assemble;
mod connect;
pub mod dial;
pub mod endpoint;
mod frame_log;
pub mod mask;
pub mod poller;
mod refusal;
pub mod service;
pub mod shape;
pub mod socket;
pub mod source;
pub mod tap;
pub mod tls;
pub mod token;

pub use alarm::Alarm;
pub use assemble::{Incoming, Violation};
pub use dial::{DialError, DialRequest, Dialer};
pub use endpoint::{ClientIdentity, Target, TargetError};
pub use frame_log::log_frame;
pub use mask::mask;
pub use poller::{Poller, Ready};
pub use service::{ServiceClient, ServiceError, ServiceRequest};
pub use shape::Shape;
pub use socket::{Closed, QueueError, ReadBuffer, Socket};
pub use source::{SourceAddresses, SourceError, SourceList};
pub use tap::Control;
pub use tls::{TlsError, TlsOptions};
