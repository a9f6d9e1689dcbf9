//! Why a frame could not be read.

/// A frame that is not what the protocol says. `Display` names the frame kind, the field
/// and what was got; it quotes at most a few words of the frame, and never a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON or protobuf, or a field of the wrong type. A client answers with close 1007.
    #[error("not a frame: {0}")]
    Syntax(String),
    /// A frame kind without a field that it needs.
    #[error("{kind} frame without `{field}`")]
    Missing {
        /// The frame's kind.
        kind: &'static str,
        /// The field that is missing.
        field: &'static str,
    },
    /// A field with a value that it cannot have.
    #[error("{kind} frame with bad `{field}`: {got}")]
    Invalid {
        /// The frame's kind.
        kind: &'static str,
        /// The field.
        field: &'static str,
        /// What was wrong with it.
        got: String,
    },
    /// A message of the kind that the subprotocol does not use. A hub answers with close 1003.
    #[error("a {0} message, which this subprotocol does not use")]
    WrongKind(&'static str),
    /// A `type` that a hub does not know.
    #[error("unknown frame type {0:?}")]
    UnknownType(String),
}

/// A frame that a subprotocol cannot carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Invocations have no public protobuf schema. Use one of the JSON subprotocols.
    #[error("the protobuf subprotocols have no invocations: use json.reliable or json")]
    NoInvocations,
}
