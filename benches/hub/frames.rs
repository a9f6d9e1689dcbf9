//! The frames that load and bare loop exchange, made once, and telling them apart by their
//! first bytes alone.

/// What is published; with its envelope a delivered frame has about 230 bytes.
const PAYLOAD: usize = 128;
/// Offset of the byte behind `{"type":"` in a text frame's payload.
const KIND_AT: usize = 9;

/// What a frame is, by its type's first letters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Message,
    Ack,
    Publish,
    Other,
}

/// Calls `seen` for each whole frame (masked or not) at the start of `bytes`; returns how
/// many bytes they had.
pub(crate) fn walk(bytes: &[u8], mut seen: impl FnMut(Kind)) -> usize {
    let mut at = 0;
    while let [_, second, rest @ ..] = &bytes[at..] {
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let (length, head) = match (second & 0x7f, rest) {
            (126, [high, low, ..]) => (usize::from(*high) << 8 | usize::from(*low), 4),
            (126 | 127, _) => break,
            (short, _) => (usize::from(short), 2),
        };
        let Some(payload) = bytes.get(at + head + mask..at + head + mask + length) else {
            break;
        };
        seen(match payload.get(KIND_AT..KIND_AT + 3) {
            Some(b"mes") => Kind::Message,
            Some(b"ack") => Kind::Ack,
            Some(b"sen") => Kind::Publish,
            _ => Kind::Other,
        });
        at += head + mask + length;
    }
    at
}

/// A frame of which a few digits change.
pub(crate) struct Template {
    bytes: Vec<u8>,
    group_at: usize,
    ack_at: usize,
}

/// Digits of a group's number and of an ackId: always so many, so that frames have one length.
const GROUP_DIGITS: usize = 5;
const ACK_DIGITS: usize = 10;
/// The first ackId has all its digits.
pub(crate) const FIRST_ACK: u64 = 1_000_000_000;

impl Template {
    pub(crate) fn publish(no_echo: bool) -> Template {
        let no_echo = if no_echo { r#","noEcho":true"# } else { "" };
        Template::new(&format!(
            r#"{{"type":"sendToGroup","group":"g#####","ackId":@@@@@@@@@@{no_echo},"dataType":"text","data":"{}"}}"#,
            "x".repeat(PAYLOAD)
        ))
    }

    pub(crate) fn join() -> Template {
        Template::new(r#"{"type":"joinGroup","group":"g#####","ackId":@@@@@@@@@@}"#)
    }

    fn new(text: &str) -> Template {
        let bytes = masked(text);
        let find = |byte| bytes.iter().position(|&b| b == byte).unwrap_or_default();
        let (group_at, ack_at) = (find(b'#'), find(b'@'));
        Template {
            group_at,
            ack_at,
            bytes,
        }
    }

    /// Appends the frame for this group and ackId.
    pub(crate) fn append(&self, out: &mut Vec<u8>, group: u64, ack_id: u64) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[start..];
        digits(
            &mut frame[self.group_at..self.group_at + GROUP_DIGITS],
            group,
        );
        digits(&mut frame[self.ack_at..self.ack_at + ACK_DIGITS], ack_id);
    }
}

fn digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Appends a `sequenceAck`.
pub(crate) fn sequence_ack(out: &mut Vec<u8>, id: u64) {
    out.extend(masked(&format!(
        r#"{{"type":"sequenceAck","sequenceId":{id}}}"#
    )));
}

/// A delivered frame, as the hub writes it.
pub(crate) fn delivered() -> Vec<u8> {
    text(
        &format!(
            r#"{{"type":"message","sequenceId":12345,"from":"group","group":"g00000","dataType":"text","data":"{}"}}"#,
            "x".repeat(PAYLOAD)
        ),
        0,
    )
}

/// An ack, as the hub writes it.
pub(crate) fn ack() -> Vec<u8> {
    text(
        &format!(r#"{{"type":"ack","ackId":{FIRST_ACK},"success":true}}"#),
        0,
    )
}

/// A masked text frame; the mask is zero, which leaves the text as it is.
fn masked(payload: &str) -> Vec<u8> {
    text(payload, 0x80)
}

fn text(payload: &str, mask: u8) -> Vec<u8> {
    let mut out = vec![0x81];
    match payload.len() {
        short @ ..=125 => out.push(mask | short as u8),
        long => {
            out.push(mask | 126);
            out.extend_from_slice(&(long as u16).to_be_bytes());
        }
    }
    if mask != 0 {
        out.extend_from_slice(&[0; 4]);
    }
    out.extend_from_slice(payload.as_bytes());
    out
}
