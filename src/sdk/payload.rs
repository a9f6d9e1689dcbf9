//! Payloads from what Rust programs have at hand.

use std::borrow::Cow;

use crate::wire::Data;

impl From<&str> for Data<'static> {
    /// A `text` payload.
    fn from(text: &str) -> Self {
        Data::Text(Cow::Owned(text.to_owned()))
    }
}

impl From<String> for Data<'static> {
    /// A `text` payload.
    fn from(text: String) -> Self {
        Data::Text(Cow::Owned(text))
    }
}

impl From<Vec<u8>> for Data<'static> {
    /// A `binary` payload.
    fn from(bytes: Vec<u8>) -> Self {
        Data::Binary(Cow::Owned(bytes))
    }
}

impl From<serde_json::Value> for Data<'static> {
    /// A `json` payload. Avoid a bare `null`: some clients never see it.
    fn from(value: serde_json::Value) -> Self {
        Data::Json(Cow::Owned(value.to_string()))
    }
}
