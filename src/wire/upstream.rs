//! What a client sends to a hub. Source: client-spec 3, JSON reliable subprotocol page.

use std::borrow::Cow;

use super::data::Data;
use crate::base::{AckId, SequenceId};

/// A frame from client to hub.
///
/// Requests with an `ack_id` are answered by exactly one ack; without one they are fire
/// and forget. Source: client-spec 3.1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Upstream<'a> {
    /// Become a member of a group.
    JoinGroup {
        /// Group name, 1 to 1024 characters.
        group: Cow<'a, str>,
        /// Present when an answer is wanted.
        ack_id: Option<AckId>,
    },
    /// Stop being a member of a group.
    LeaveGroup {
        /// Group name.
        group: Cow<'a, str>,
        /// Present when an answer is wanted.
        ack_id: Option<AckId>,
    },
    /// Publish to a group. The sender need not be a member.
    SendToGroup {
        /// Group name.
        group: Cow<'a, str>,
        /// Present when an answer is wanted.
        ack_id: Option<AckId>,
        /// Spare the sending connection its own message.
        no_echo: bool,
        /// The payload.
        data: Data<'a>,
    },
    /// Send a user event to the hub's event handler.
    Event {
        /// Event name.
        event: Cow<'a, str>,
        /// Present when an answer is wanted.
        ack_id: Option<AckId>,
        /// The payload.
        data: Data<'a>,
    },
    /// Cumulative receipt of data messages up to and including `sequence_id`.
    SequenceAck {
        /// The largest sequence id received.
        sequence_id: SequenceId,
    },
    /// Ask for a pong.
    Ping,
}
