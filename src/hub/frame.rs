//! WebSocket frames, the server's half: reading masked ones, writing unmasked headers.
//!
//! Written by hand, because a hub must refuse an oversized frame by its header alone,
//! before it buffers any of it, and because the client side uses another codec: a shared
//! mistake would be invisible. Source: RFC 6455 section 5.

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OpCode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl OpCode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => OpCode::Continuation,
            1 => OpCode::Text,
            2 => OpCode::Binary,
            8 => OpCode::Close,
            9 => OpCode::Ping,
            10 => OpCode::Pong,
            _ => return None,
        })
    }

    fn is_control(self) -> bool {
        matches!(self, OpCode::Close | OpCode::Ping | OpCode::Pong)
    }
}

/// A frame header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    pub(crate) opcode: OpCode,
    /// Bytes of the header itself.
    pub(crate) header_len: usize,
    /// Bytes of the payload; at most the limit given to [`read_header`].
    pub(crate) payload_len: usize,
    mask: [u8; 4],
}

/// A frame that ends the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FrameError {
    /// Close 1002: what RFC 6455 forbids.
    Protocol(&'static str),
    /// Close 1009.
    TooBig,
}

/// Reads the header at the start of `bytes`; `None` when it is not whole yet.
///
/// # Errors
/// Unmasked, reserved bits, unknown opcode, long or fragmented control frame; payload
/// larger than `limit`.
pub(crate) fn read_header(bytes: &[u8], limit: usize) -> Result<Option<Header>, FrameError> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err(FrameError::Protocol("reserved bits set"));
    }
    let opcode = OpCode::from_bits(first & 0x0f).ok_or(FrameError::Protocol("unknown opcode"))?;
    let fin = first & 0x80 != 0;
    if second & 0x80 == 0 {
        return Err(FrameError::Protocol("frame is not masked"));
    }
    let short = second & 0x7f;
    if opcode.is_control() && (short > 125 || !fin) {
        return Err(FrameError::Protocol("control frame too long or fragmented"));
    }
    let (length, extended) = match short {
        126 => match rest.first_chunk::<2>() {
            Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 2),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(bytes) => (u64::from_be_bytes(*bytes), 8),
            None => return Ok(None),
        },
        short => (u64::from(short), 0),
    };
    let payload_len = usize::try_from(length)
        .ok()
        .filter(|&length| length <= limit)
        .ok_or(FrameError::TooBig)?;
    let Some(mask) = rest[extended..].first_chunk::<4>() else {
        return Ok(None);
    };
    Ok(Some(Header {
        fin,
        opcode,
        header_len: 2 + extended + 4,
        payload_len,
        mask: *mask,
    }))
}

impl Header {
    /// Undoes the mask of the whole payload.
    pub(crate) fn unmask(&self, payload: &mut [u8]) {
        let mask = u32::from_ne_bytes(self.mask);
        let wide = u64::from(mask) << 32 | u64::from(mask);
        let (chunks, rest) = payload.as_chunks_mut::<8>();
        for chunk in chunks {
            *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
        }
        for (byte, mask) in rest.iter_mut().zip(self.mask.iter().cycle()) {
            *byte ^= mask;
        }
    }
}

/// Appends the header of a whole, unmasked frame.
pub(crate) fn write_header(out: &mut Vec<u8>, opcode: OpCode, payload_len: usize) {
    out.push(0x80 | opcode as u8);
    match payload_len {
        0..=125 => out.push(payload_len as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(payload_len as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload_len as u64).to_be_bytes());
        }
    }
}

/// Appends a close frame. The reason is cut to what a control frame can hold.
pub(crate) fn write_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = &reason[..end];
    write_header(out, OpCode::Close, 2 + reason.len());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// The code of a close frame's payload; `Ok(None)` when it has none.
///
/// # Errors
/// A payload of one byte, a code that must not be sent, a reason that is not UTF-8.
pub(crate) fn close_code(payload: &[u8]) -> Result<Option<u16>, FrameError> {
    match payload {
        [] => Ok(None),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(FrameError::Protocol("close code that must not be sent"));
            }
            if std::str::from_utf8(reason).is_err() {
                return Err(FrameError::Protocol("close reason is not UTF-8"));
            }
            Ok(Some(code))
        }
        _ => Err(FrameError::Protocol("close frame with half a code")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_http::ws;
    use bytes::BytesMut;
    use proptest::prelude::*;

    /// A masked frame written by another implementation.
    fn foreign(payload: &[u8], opcode: ws::OpCode, fin: bool) -> Vec<u8> {
        let mut out = BytesMut::new();
        ws::Parser::write_message(&mut out, payload, opcode, fin, true);
        out.to_vec()
    }

    proptest! {
        #[test]
        fn frames_of_another_implementation_are_read(payload in prop::collection::vec(any::<u8>(), 0..70_000), fin: bool) {
            let mut bytes = foreign(&payload, ws::OpCode::Binary, fin);
            let header = read_header(&bytes, 1 << 20).unwrap().unwrap();
            prop_assert_eq!((header.fin, header.opcode, header.payload_len), (fin, OpCode::Binary, payload.len()));
            for cut in 0..header.header_len {
                prop_assert_eq!(read_header(&bytes[..cut], 1 << 20).unwrap(), None);
            }
            header.unmask(&mut bytes[header.header_len..]);
            prop_assert_eq!(&bytes[header.header_len..], &payload[..]);
        }

        #[test]
        fn frames_written_here_are_read_by_another_implementation(payload in prop::collection::vec(any::<u8>(), 0..70_000)) {
            let mut out = Vec::new();
            write_header(&mut out, OpCode::Text, payload.len());
            out.extend_from_slice(&payload);
            let mut src = BytesMut::from(&out[..]);
            let (fin, opcode, data) = ws::Parser::parse(&mut src, false, 1 << 20).unwrap().unwrap();
            prop_assert!(fin && opcode == ws::OpCode::Text);
            prop_assert_eq!(&data.unwrap_or_default()[..], &payload[..]);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            if let Ok(Some(header)) = read_header(&bytes, 1 << 20) {
                prop_assert!(header.payload_len <= 1 << 20);
            }
            let _ = close_code(&bytes);
        }
    }

    #[test]
    fn what_the_rfc_forbids_is_refused_by_the_header_alone() {
        let refused = |bytes: &[u8]| read_header(bytes, 100).unwrap_err();
        assert!(
            matches!(refused(&[0x81, 0x01]), FrameError::Protocol(why) if why.contains("mask"))
        );
        assert!(
            matches!(refused(&[0xc1, 0x81]), FrameError::Protocol(why) if why.contains("reserved"))
        );
        assert!(
            matches!(refused(&[0x83, 0x81]), FrameError::Protocol(why) if why.contains("opcode"))
        );
        assert!(
            matches!(refused(&[0x09, 0x81]), FrameError::Protocol(why) if why.contains("control"))
        );
        assert!(
            matches!(refused(&[0x89, 0xfe]), FrameError::Protocol(why) if why.contains("control"))
        );
        assert_eq!(refused(&[0x82, 0x80 | 101]), FrameError::TooBig);
        let huge = [0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(refused(&huge), FrameError::TooBig);
    }

    #[test]
    fn close_frames_carry_their_code() {
        let mut out = Vec::new();
        write_close(&mut out, 1008, &"ä".repeat(100));
        assert_eq!(out.len(), 2 + usize::from(out[1]));
        assert!(out[1] <= 125);
        assert_eq!(close_code(&out[2..]), Ok(Some(1008)));
        assert_eq!(close_code(&[]), Ok(None));
        for bad in [&[3][..], &[3, 0xed], &[0, 1], &[3, 0xe8, 0xff]] {
            assert!(close_code(bad).is_err(), "{bad:?}");
        }
    }
}
