//! Where a spoilt payload differs from what its identity says was sent: for the evidence of
//! a corruption, never on the hot path.

use super::body::{Padding, Template};
use super::identity::Identity;
use crate::wire::Data;

/// The first byte that differs, and how many do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Counted from the start of the payload.
    pub at: usize,
    /// How many bytes differ.
    pub bytes: usize,
    /// What was sent there.
    pub expected: u8,
    /// What came.
    pub got: u8,
}

/// Compares a payload with what a publisher writes for this identity, whatever its padding.
/// `None`: it has another length (a tail is missing, a hub wrote the JSON anew, or the JSON
/// has escapes), or more than half of it differs, so that the identity itself is not to be
/// believed.
pub fn difference(identity: &Identity, data: &Data<'_>) -> Option<Difference> {
    let got = data.as_bytes();
    let mut scratch = Vec::new();
    [Padding::Zeros, Padding::Random, Padding::Unicode]
        .into_iter()
        .filter_map(|padding| {
            let template = Template {
                data_type: data.data_type(),
                size: got.len(),
                padding,
            };
            compare(template.write(identity, &mut scratch).as_bytes(), got)
        })
        .min_by_key(|difference| difference.bytes)
        .filter(|difference| difference.bytes <= got.len() / 2)
}

fn compare(expected: &[u8], got: &[u8]) -> Option<Difference> {
    if expected.len() != got.len() {
        return None;
    }
    let mut apart = (0..got.len()).filter(|at| expected[*at] != got[*at]);
    let at = apart.next()?;
    Some(Difference {
        at,
        bytes: 1 + apart.count(),
        expected: expected[at],
        got: got[at],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Cause, GroupId, Slot};
    use crate::wire::DataType;

    fn identity() -> Identity {
        Identity {
            run: 7,
            publisher: Slot(3),
            group: GroupId(1),
            seq: 9,
            tx: 9,
            epoch: 0,
            transport: 0,
            no_echo: false,
            cause: Cause::First,
            attempt: 1,
            intended: 1_000,
            lag_us: 0,
        }
    }

    #[test]
    fn one_byte_is_found_in_every_padding_and_data_type() {
        for padding in [Padding::Zeros, Padding::Random, Padding::Unicode] {
            for data_type in [DataType::Text, DataType::Json, DataType::Binary] {
                if (padding, data_type) == (Padding::Unicode, DataType::Json) {
                    continue;
                }
                let template = Template {
                    data_type,
                    size: 128,
                    padding,
                };
                let mut scratch = Vec::new();
                let sent = template.write(&identity(), &mut scratch);
                assert_eq!(difference(&identity(), &sent), None);
                let mut bytes = sent.as_bytes().to_vec();
                // Inside the padding, and still text.
                let at = bytes.iter().rposition(u8::is_ascii_alphanumeric).unwrap();
                let was = bytes[at];
                bytes[at] = if was == b'z' { b'y' } else { b'z' };
                let text = || String::from_utf8(bytes.clone()).unwrap();
                let spoilt: Data<'_> = match data_type {
                    DataType::Text => Data::Text(text().into()),
                    DataType::Json => Data::Json(text().into()),
                    _ => Data::Binary(bytes.clone().into()),
                };
                let found = difference(&identity(), &spoilt).expect("a difference");
                assert_eq!(
                    (found.at, found.bytes, found.expected, found.got),
                    (at, 1, was, bytes[at]),
                    "{padding:?} {data_type:?}"
                );
            }
        }
    }

    #[test]
    fn another_message_is_no_difference() {
        let template = Template {
            data_type: DataType::Text,
            size: 128,
            padding: Padding::Random,
        };
        let mut scratch = Vec::new();
        let sent = template.write(&identity(), &mut scratch);
        let text = String::from_utf8(sent.as_bytes().to_vec()).unwrap();
        let other = Identity {
            seq: 10,
            ..identity()
        };
        assert_eq!(difference(&other, &Data::Text(text.into())), None);
    }
}
