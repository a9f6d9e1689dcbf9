//! The frames of the client protocol and their encodings, both directions.
//!
//! Shared by client and hub, and all that they share: what a frame *means* is decided in
//! `protocol` (client) and `hub::core` (hub), independently. No I/O, no clock, no chance.
//! Sources: client-spec (Azure/azure-webpubsub `protocols/client/client-spec.md`) and the
//! public subprotocol pages; where the official clients differ, what they write decides.
//!
//! Read [`upstream`] and [`downstream`] for the frames ([`request`] for what a hub reads,
//! [`stream`] for what it tells newer clients), [`json`] and
//! [`protobuf`] for the encodings, [`codec`] to choose between them.

pub mod close;
pub mod codec;
pub mod data;
pub mod downstream;
pub mod error;
pub mod json;
pub mod protobuf;
pub mod request;
pub mod stream;
pub mod subprotocol;
pub mod upstream;

pub use data::{Data, DataType};
pub use downstream::{Ack, AckError, Connected, DataMessage, Downstream, MessageFrom};
pub use error::{DecodeError, EncodeError};
pub use request::{Extras, Metadata, Request, StreamError};
pub use stream::{InvokeResponse, StreamAnswer, StreamFault, StreamPart};
pub use subprotocol::Subprotocol;
pub use upstream::Upstream;

/// The largest WebSocket message either side accepts, in bytes (1 MiB; the service's
/// documented limit is 1 MB, its emulator's 1 MiB).
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Unacknowledged messages a hub keeps for one connection before it gives the session up.
/// Source: client-spec 3.2.2.
pub const UNACKED_MESSAGES_MAX: usize = 1000;

/// Unacknowledged bytes a hub keeps for one connection before it gives the session up
/// (16 MB in client-spec 3.2.2; 16 MiB in the emulator, taken here).
pub const UNACKED_BYTES_MAX: usize = 16 << 20;

/// How long a dropped reliable session can be recovered. Source: client-spec 1.4.
pub const RECOVERY_WINDOW: std::time::Duration = std::time::Duration::from_secs(30);
