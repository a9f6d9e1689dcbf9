//! A client's frame as a hub reads it: what every client sends, what newer ones add to it,
//! and the frames that only newer ones send. Source: subprotocol pages, official JS client.

use std::borrow::Cow;
use std::time::Duration;

use super::data::Data;
use super::upstream::Upstream;

/// A frame to the hub, with everything that a hub acts on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// One of the frames that every client knows.
    Basic {
        /// The frame.
        frame: Upstream<'a>,
        /// What a send or an event carries besides; `None` when nothing.
        extras: Option<Box<Extras>>,
    },
    /// A `sendToGroup` that opens a stream; it carries no data. Source: client-spec 3.6.1.
    StartStream {
        /// The group to stream to.
        group: Cow<'a, str>,
        /// Names the stream; unique among the connection's live ones.
        stream_id: Cow<'a, str>,
        /// How long the stream may be silent.
        idle_timeout: Duration,
        /// Spare the sending connection its own stream.
        no_echo: bool,
    },
    /// One message of a stream, or without data a keep-alive. Source: client-spec 3.6.2.
    StreamData {
        /// The stream.
        stream_id: Cow<'a, str>,
        /// Its number in the stream, from 1; with data only.
        sequence_id: Option<u64>,
        /// The payload.
        data: Option<Data<'a>>,
    },
    /// The end of a stream. Source: client-spec 3.6.3.
    EndStream {
        /// The stream.
        stream_id: Cow<'a, str>,
        /// Why, when it ends in an error.
        error: Option<StreamError<'a>>,
    },
    /// An event whose answer is wanted. Source: the official JS client.
    Invoke {
        /// Names the invocation; unique among the connection's pending ones.
        invocation_id: Cow<'a, str>,
        /// The event's name.
        event: Cow<'a, str>,
        /// The payload, empty text when there is none.
        data: Data<'a>,
    },
    /// The answer is no longer wanted.
    CancelInvocation {
        /// The invocation.
        invocation_id: Cow<'a, str>,
    },
}

/// What a publisher says of a stream that ends in an error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamError<'a> {
    /// For people.
    pub message: Option<Cow<'a, str>>,
    /// For programs: the publisher's own code.
    pub code: Option<Cow<'a, str>>,
}

/// The idle time of a stream that names none. Source: client-spec 3.6.1.
pub const STREAM_IDLE_DEFAULT: Duration = Duration::from_secs(300);
/// The longest `ttlSeconds`, in seconds.
pub const TTL_SECONDS_MAX: u64 = 300;

/// What a send or an event may carry besides its payload.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Extras {
    /// Seconds after which an undelivered message is dropped, 0 to 300; 0: never.
    pub ttl_seconds: Option<u16>,
    /// The sender's own headers.
    pub metadata: Metadata,
}

/// Key-value pairs that travel with a message, in the sender's order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Metadata(Vec<(Box<str>, Box<str>)>);

/// Bytes in a metadata key, a value, and all of them. Source: the official emulator.
const KEY_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 1024;
const METADATA_BYTES_MAX: usize = 8 * 1024;

impl Metadata {
    /// Metadata without pairs.
    pub const EMPTY: &'static Metadata = &Metadata(Vec::new());

    /// The pairs, checked.
    ///
    /// # Errors
    /// A key that is no HTTP token, a value that is not printable ASCII, or too many bytes.
    pub fn checked(
        pairs: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, &'static str> {
        let mut result = Vec::new();
        let mut bytes = 0;
        for (key, value) in pairs {
            if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.bytes().all(is_token) {
                return Err("a key is not an HTTP token of at most 256 bytes");
            }
            let printable = |byte: u8| (b' '..=b'~').contains(&byte) || byte == b'\t';
            if value.len() > VALUE_BYTES_MAX || !value.bytes().all(printable) {
                return Err("a value is not printable ASCII of at most 1024 bytes");
            }
            bytes += key.len() + value.len();
            if bytes > METADATA_BYTES_MAX {
                return Err("more than 8 KiB in all");
            }
            result.push((key.into(), value.into()));
        }
        Ok(Metadata(result))
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

/// Characters of an HTTP token. Source: RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl Extras {
    /// `None` when there is nothing in it, so that the usual frame carries a null pointer.
    pub(super) fn boxed(self) -> Option<Box<Extras>> {
        (self != Extras::default()).then(|| Box::new(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_that_could_break_a_header_is_refused() {
        let one = |key: &str, value: &str| Metadata::checked([(key.into(), value.into())]);
        assert_eq!(
            one("a-b", "x y").unwrap().iter().next(),
            Some(("a-b", "x y"))
        );
        for (key, value) in [
            ("", "x"),
            ("a b", "x"),
            ("a:", "x"),
            ("a", "x\r\ny"),
            ("a", "é"),
            (&"k".repeat(257), ""),
            ("k", &"v".repeat(1025)),
        ] {
            assert!(one(key, value).is_err(), "{key} {value}");
        }
        let many = (0..9).map(|n| (format!("k{n}"), "v".repeat(1000)));
        assert!(Metadata::checked(many).is_err());
    }
}
