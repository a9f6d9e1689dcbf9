//! What the session wants written, as frames.

use super::driver::Content;
use crate::protocol::{Control, Operation, Transmit};
use crate::wire::{Subprotocol, Upstream, codec};

/// Appends a frame that the session wants written.
pub(super) fn encode(subprotocol: Subprotocol, transmit: Transmit<'_, Content>, out: &mut Vec<u8>) {
    let frame = match transmit {
        Transmit::Control(Control::Ping) => Upstream::Ping,
        Transmit::Control(Control::SequenceAck(sequence_id)) => {
            Upstream::SequenceAck { sequence_id }
        }
        Transmit::Newer(newer) => {
            let request = newer.into_request(|content| content.reborrow());
            // Refused at the start where there is no encoding for it.
            if let Err(error) = codec::encode_request(subprotocol, &request, out) {
                tracing::warn!(%error, "frame not written");
            }
            return;
        }
        Transmit::Request {
            operation,
            transmission,
        } => {
            let ack_id = transmission.ack_id;
            match &*operation {
                Operation::Join(group) => Upstream::JoinGroup {
                    group: (&**group).into(),
                    ack_id,
                },
                Operation::Leave(group) => Upstream::LeaveGroup {
                    group: (&**group).into(),
                    ack_id,
                },
                Operation::Send {
                    group,
                    no_echo,
                    content,
                } => Upstream::SendToGroup {
                    group: (&**group).into(),
                    ack_id,
                    no_echo: *no_echo,
                    data: content.reborrow(),
                },
                Operation::Event { event, content } => Upstream::Event {
                    event: (&**event).into(),
                    ack_id,
                    data: content.reborrow(),
                },
            }
        }
    };
    codec::encode_upstream(subprotocol, &frame, out);
}
