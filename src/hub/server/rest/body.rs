//! Payloads by their content type. Source: protocol docs, data types.

use crate::wire::Data;

/// The payload of a body, typed by its mime type.
///
/// # Errors
/// A mime type that no payload has, or a body that is not of it.
pub(in crate::hub::server) fn data(mime: &str, body: &[u8]) -> Result<Data<'static>, String> {
    let text = || {
        std::str::from_utf8(body)
            .map(str::to_owned)
            .map_err(|_| "the body is not UTF-8".to_owned())
    };
    match mime.to_ascii_lowercase().as_str() {
        "text/plain" => Ok(Data::Text(text()?.into())),
        "application/json" => {
            let text = text()?;
            match serde_json::from_str::<&serde_json::value::RawValue>(&text) {
                Ok(value) if value.get() == "null" => Err("the body is a JSON null".into()),
                Ok(value) => Ok(Data::Json(value.get().to_owned().into())),
                Err(error) => Err(format!("the body is not JSON: {error}")),
            }
        }
        "application/octet-stream" => Ok(Data::Binary(body.to_vec().into())),
        "application/x-protobuf" => Ok(Data::Protobuf(body.to_vec().into())),
        other => {
            let shown: String = other.chars().take(60).collect();
            Err(format!(
                "content type {shown:?} is none of text/plain, application/json, application/octet-stream"
            ))
        }
    }
}
