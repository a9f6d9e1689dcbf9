//! The payload of a message and its four types. Source: subprotocol pages, "dataType".

use std::borrow::Cow;
use std::fmt;

/// The type of a payload, as `dataType` names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum DataType {
    /// Any JSON value. The default when a frame leaves `dataType` out.
    #[default]
    Json,
    /// A string.
    Text,
    /// Bytes; base64 in a JSON frame.
    Binary,
    /// The bytes of a `google.protobuf.Any`; base64 in a JSON frame.
    Protobuf,
}

impl DataType {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            DataType::Json => "json",
            DataType::Text => "text",
            DataType::Binary => "binary",
            DataType::Protobuf => "protobuf",
        }
    }

    /// The type with this wire name, spelt exactly.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            DataType::Json,
            DataType::Text,
            DataType::Binary,
            DataType::Protobuf,
        ]
        .into_iter()
        .find(|data_type| data_type.name() == name)
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A payload, borrowed from its frame where the encoding allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Data<'a> {
    /// One JSON value, as its text.
    Json(Cow<'a, str>),
    /// A string, unescaped.
    Text(Cow<'a, str>),
    /// Raw bytes (base64 already undone).
    Binary(Cow<'a, [u8]>),
    /// The bytes of a `google.protobuf.Any`.
    Protobuf(Cow<'a, [u8]>),
}

impl Data<'_> {
    /// The payload's type.
    pub fn data_type(&self) -> DataType {
        match self {
            Data::Json(_) => DataType::Json,
            Data::Text(_) => DataType::Text,
            Data::Binary(_) => DataType::Binary,
            Data::Protobuf(_) => DataType::Protobuf,
        }
    }

    /// The payload's own bytes: JSON text, UTF-8 text, or the raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Data::Json(text) | Data::Text(text) => text.as_bytes(),
            Data::Binary(bytes) | Data::Protobuf(bytes) => bytes,
        }
    }

    /// A copy that borrows nothing.
    pub fn into_owned(self) -> Data<'static> {
        match self {
            Data::Json(text) => Data::Json(Cow::Owned(text.into_owned())),
            Data::Text(text) => Data::Text(Cow::Owned(text.into_owned())),
            Data::Binary(bytes) => Data::Binary(Cow::Owned(bytes.into_owned())),
            Data::Protobuf(bytes) => Data::Protobuf(Cow::Owned(bytes.into_owned())),
        }
    }

    /// The same payload, borrowing from this one.
    pub fn reborrow(&self) -> Data<'_> {
        match self {
            Data::Json(text) => Data::Json(Cow::Borrowed(text)),
            Data::Text(text) => Data::Text(Cow::Borrowed(text)),
            Data::Binary(bytes) => Data::Binary(Cow::Borrowed(bytes)),
            Data::Protobuf(bytes) => Data::Protobuf(Cow::Borrowed(bytes)),
        }
    }
}
