//! Frames to bytes and back, whichever subprotocol a connection speaks.

use super::downstream::Downstream;
use super::error::{DecodeError, EncodeError};
use super::request::Request;
use super::subprotocol::Subprotocol;
use super::upstream::Upstream;
use super::{json, protobuf};

/// The content of one WebSocket message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload<'a> {
    /// Of a text message.
    Text(&'a str),
    /// Of a binary message.
    Binary(&'a [u8]),
}

impl Payload<'_> {
    /// The content, text or not.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Payload::Text(text) => text.as_bytes(),
            Payload::Binary(bytes) => bytes,
        }
    }
}

/// Reads a frame from the hub.
///
/// # Errors
/// A message of the kind that the subprotocol does not use, or bad content.
pub fn decode_downstream(
    subprotocol: Subprotocol,
    payload: Payload<'_>,
) -> Result<Downstream<'_>, DecodeError> {
    match (payload, subprotocol.is_binary()) {
        (Payload::Text(text), false) => json::decode_downstream(text),
        (Payload::Binary(bytes), true) => protobuf::decode_downstream(bytes),
        (payload, _) => Err(wrong_kind(payload)),
    }
}

/// Reads a frame from a client, strictly.
///
/// # Errors
/// A message of the kind that the subprotocol does not use, or bad content.
pub fn decode_upstream(
    subprotocol: Subprotocol,
    payload: Payload<'_>,
) -> Result<Upstream<'_>, DecodeError> {
    match (payload, subprotocol.is_binary()) {
        (Payload::Text(text), false) => json::decode_upstream(text),
        (Payload::Binary(bytes), true) => protobuf::decode_upstream(bytes),
        (payload, _) => Err(wrong_kind(payload)),
    }
}

/// Reads a frame from a client with everything that a hub acts on, strictly.
///
/// # Errors
/// As [`decode_upstream`].
pub fn decode_request(
    subprotocol: Subprotocol,
    payload: Payload<'_>,
) -> Result<Request<'_>, DecodeError> {
    match (payload, subprotocol.is_binary()) {
        (Payload::Text(text), false) => json::decode_request(text),
        (Payload::Binary(bytes), true) => protobuf::decode_request(bytes),
        (payload, _) => Err(wrong_kind(payload)),
    }
}

fn wrong_kind(payload: Payload<'_>) -> DecodeError {
    DecodeError::WrongKind(match payload {
        Payload::Text(_) => "text",
        Payload::Binary(_) => "binary",
    })
}

/// Appends a frame to the hub. It goes into a binary message if
/// [`Subprotocol::is_binary`], else into a text message.
pub fn encode_upstream(subprotocol: Subprotocol, frame: &Upstream<'_>, out: &mut Vec<u8>) {
    if subprotocol.is_binary() {
        protobuf::encode_upstream(frame, out);
    } else {
        json::encode_upstream(frame, out);
    }
}

/// Appends a frame to the hub, also one that only newer clients send; likewise.
///
/// # Errors
/// The subprotocol cannot carry it: nothing was written.
pub fn encode_request(
    subprotocol: Subprotocol,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    if subprotocol.is_binary() {
        protobuf::encode_request(request, out)
    } else {
        json::encode_request(request, out);
        Ok(())
    }
}

/// Appends a frame to a client, likewise.
pub fn encode_downstream(subprotocol: Subprotocol, frame: &Downstream<'_>, out: &mut Vec<u8>) {
    if subprotocol.is_binary() {
        protobuf::encode_downstream(frame, out);
    } else {
        json::encode_downstream(frame, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subprotocol_reads_what_it_writes_and_refuses_the_other_kind() {
        for subprotocol in Subprotocol::ALL {
            let (mut up, mut down) = (Vec::new(), Vec::new());
            encode_upstream(subprotocol, &Upstream::Ping, &mut up);
            encode_downstream(subprotocol, &Downstream::Pong, &mut down);
            let kinds = |bytes| {
                let text = Payload::Text(std::str::from_utf8(bytes).unwrap());
                let binary = Payload::Binary(bytes);
                if subprotocol.is_binary() {
                    (binary, text)
                } else {
                    (text, binary)
                }
            };
            let ((right_up, wrong_up), (right_down, wrong_down)) = (kinds(&up), kinds(&down));
            assert_eq!(decode_upstream(subprotocol, right_up), Ok(Upstream::Ping));
            assert_eq!(
                decode_downstream(subprotocol, right_down),
                Ok(Downstream::Pong)
            );
            // A hub answers these with close 1003.
            assert!(matches!(
                decode_upstream(subprotocol, wrong_up),
                Err(DecodeError::WrongKind(_))
            ));
            assert!(matches!(
                decode_downstream(subprotocol, wrong_down),
                Err(DecodeError::WrongKind(_))
            ));
        }
    }
}
