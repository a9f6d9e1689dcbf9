//! The predefined subprotocols, as named in `Sec-WebSocket-Protocol`.

use std::fmt;

/// A predefined subprotocol. Source: client-spec 1.1 and the subprotocol pages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Subprotocol {
    /// `json.reliable.webpubsub.azure.v1`: text frames, sequence ids, recovery.
    #[default]
    JsonReliable,
    /// `json.webpubsub.azure.v1`: text frames, no recovery.
    Json,
    /// `protobuf.reliable.webpubsub.azure.v1`: binary frames, sequence ids, recovery.
    ProtobufReliable,
    /// `protobuf.webpubsub.azure.v1`: binary frames, no recovery.
    Protobuf,
}

impl Subprotocol {
    /// All of them.
    pub const ALL: [Subprotocol; 4] = [
        Subprotocol::JsonReliable,
        Subprotocol::Json,
        Subprotocol::ProtobufReliable,
        Subprotocol::Protobuf,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Subprotocol::JsonReliable => "json.reliable.webpubsub.azure.v1",
            Subprotocol::Json => "json.webpubsub.azure.v1",
            Subprotocol::ProtobufReliable => "protobuf.reliable.webpubsub.azure.v1",
            Subprotocol::Protobuf => "protobuf.webpubsub.azure.v1",
        }
    }

    /// The name used in scenario files: `json.reliable`, `json`, `protobuf.reliable`, `protobuf`.
    pub const fn short_name(self) -> &'static str {
        match self {
            Subprotocol::JsonReliable => "json.reliable",
            Subprotocol::Json => "json",
            Subprotocol::ProtobufReliable => "protobuf.reliable",
            Subprotocol::Protobuf => "protobuf",
        }
    }

    /// The subprotocol with this wire name. Case is ignored, as the emulator does.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|subprotocol| subprotocol.name().eq_ignore_ascii_case(name))
    }

    /// Whether sessions have sequence ids and can be recovered.
    pub const fn is_reliable(self) -> bool {
        matches!(
            self,
            Subprotocol::JsonReliable | Subprotocol::ProtobufReliable
        )
    }

    /// Whether frames are binary WebSocket messages.
    pub const fn is_binary(self) -> bool {
        matches!(self, Subprotocol::Protobuf | Subprotocol::ProtobufReliable)
    }
}

impl fmt::Display for Subprotocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short_name())
    }
}
