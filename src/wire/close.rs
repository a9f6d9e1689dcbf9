//! WebSocket close codes, with what each means in this protocol.
//!
//! Source: RFC 6455 section 7.4 and the behaviour of the official emulator and clients.

/// The client stops, or the service ended the session on purpose. From the service a
/// reliable client still tries to recover first.
pub const NORMAL: u16 = 1000;
/// The peer goes away (a hub that shuts down); recovery may be tried.
pub const GOING_AWAY: u16 = 1001;
/// WebSocket protocol error.
pub const PROTOCOL: u16 = 1002;
/// A frame kind the subprotocol does not use (binary on JSON, text on protobuf).
pub const UNSUPPORTED: u16 = 1003;
/// Bad frame content: invalid JSON, unknown type, missing or wrongly typed field.
pub const INVALID: u16 = 1007;
/// Recovery refused, or a policy broken: the session is gone for good.
/// Source: client-spec 1.4.
pub const POLICY: u16 = 1008;
/// A message above the size limit.
pub const TOO_BIG: u16 = 1009;
/// The service failed (for plain clients: their event handler failed or is missing).
pub const INTERNAL: u16 = 1011;

/// How a transport ended, as seen by the side that reads this.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Close {
    /// The close frame's code; `None` when there was no close frame (TCP end, reset,
    /// or a close frame without a code).
    pub code: Option<u16>,
    /// The close frame's reason, or the transport error's text.
    pub reason: String,
}

impl Close {
    /// A close with a code and a reason.
    pub fn with_code(code: u16, reason: impl Into<String>) -> Self {
        Close {
            code: Some(code),
            reason: reason.into(),
        }
    }

    /// An end without a close frame, for `reason`.
    pub fn without_frame(reason: impl Into<String>) -> Self {
        Close {
            code: None,
            reason: reason.into(),
        }
    }
}
