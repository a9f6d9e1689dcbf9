//! Frames in the log, for whoever hunts a bug on the wire: at level trace, target
//! `hubstorm::frames`. Tokens are masked; payloads are shown as their size unless target
//! `frame_payloads` is at trace, too.

use std::fmt;

use serde_json::Value;
use tracing::{Level, enabled, trace};

/// Writes one frame to the log, if anybody wants it. `client` tells clients apart.
pub fn log_frame(client: &dyn fmt::Display, outbound: bool, frame: &[u8]) {
    if enabled!(target: "hubstorm::frames", Level::TRACE) {
        let payloads = enabled!(target: "frame_payloads", Level::TRACE);
        let direction = if outbound { "out" } else { "in" };
        let frame = shown(frame, payloads);
        trace!(target: "hubstorm::frames", %client, direction, frame);
    }
}

/// A frame as the log shows it.
fn shown(frame: &[u8], payloads: bool) -> String {
    let Ok(mut value) = serde_json::from_slice::<Value>(frame) else {
        // Protobuf, or no frame at all: its text may hold anything, a token too.
        return format!("{} bytes", frame.len());
    };
    if let Value::Object(fields) = &mut value {
        if let Some(token) = fields.get_mut("reconnectionToken") {
            *token = "***".into();
        }
        if let Some(data) = fields.get_mut("data").filter(|_| !payloads) {
            *data = format!("({} bytes)", data.to_string().len()).into();
        }
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_shows_no_token_and_no_payload_unless_asked() {
        let connected = br#"{"type":"system","event":"connected","connectionId":"c","reconnectionToken":"secret"}"#;
        for payloads in [false, true] {
            let text = shown(connected, payloads);
            assert!(text.contains("\"c\"") && !text.contains("secret"), "{text}");
        }
        let message = br#"{"type":"message","sequenceId":7,"dataType":"text","data":"private"}"#;
        let text = shown(message, false);
        assert!(text.contains("7") && text.contains("(9 bytes)"), "{text}");
        assert!(!text.contains("private"), "{text}");
        assert!(shown(message, true).contains("private"));
        assert_eq!(shown(b"\x1a\x06secret", true), "8 bytes");
    }
}
