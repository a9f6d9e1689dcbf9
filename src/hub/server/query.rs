//! The path and query of a client's URL. Source: client-spec 1.1, docs on client protocols.

use http::StatusCode;
use percent_encoding::percent_decode_str;
use url::form_urlencoded;

use super::handshake::{Refusal, refuse};
use crate::hub::core::RawMode;
use crate::hub::core::sessions::is_group_name;

/// The query parameters that matter here; of repeated ones the last counts.
#[derive(Default)]
pub(super) struct Query {
    pub(super) hub: Option<String>,
    pub(super) access_token: Option<String>,
    pub(super) connection_id: String,
    pub(super) reconnection_token: String,
    mode: Option<String>,
    group: Option<String>,
    no_echo: Option<String>,
    /// All but the tokens, for the connect handler.
    pub(super) others: Vec<(String, String)>,
}

impl Query {
    pub(super) fn read(query: &str) -> Self {
        let mut result = Query::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            match name.as_ref() {
                "access_token" => result.access_token = Some(value),
                "awps_reconnection_token" => result.reconnection_token = value,
                name => {
                    match name {
                        "hub" => result.hub = Some(value.clone()),
                        "awps_connection_id" => result.connection_id = value.clone(),
                        "webpubsub_mode" => result.mode = Some(value.clone()),
                        "group" => result.group = Some(value.clone()),
                        "noEcho" => result.no_echo = Some(value.clone()),
                        _ => {}
                    }
                    result.others.push((name.to_owned(), value));
                }
            }
        }
        result
    }

    /// How a simple client wants to be served; an error says what is wrong.
    pub(super) fn simple_mode(&self) -> Result<RawMode, String> {
        let no_echo = match self.no_echo.as_deref() {
            None => false,
            Some(text) if text.eq_ignore_ascii_case("true") => true,
            Some(text) if text.eq_ignore_ascii_case("false") => false,
            Some(_) => return Err("noEcho must be true or false".into()),
        };
        match self.mode.as_deref() {
            None => Ok(RawMode::SendEvent),
            Some(mode) if mode.eq_ignore_ascii_case("sendEvent") => Ok(RawMode::SendEvent),
            Some(mode) if mode.eq_ignore_ascii_case("sendToGroup") => {
                let group = self.group.as_deref().unwrap_or_default();
                if !is_group_name(group) {
                    return Err("webpubsub_mode=sendToGroup needs group=NAME".into());
                }
                let group = group.into();
                Ok(RawMode::SendToGroup { group, no_echo })
            }
            Some(_) => Err("webpubsub_mode must be sendEvent or sendToGroup".into()),
        }
    }
}

/// The hub's name from the path or, on the bare path, from the query.
pub(super) fn hub_name(path: &str, query: Option<&str>) -> Result<String, Refusal> {
    let path = path.trim_end_matches('/');
    let name = if path == "/client" {
        match query {
            Some(name) => name.to_owned(),
            None => return refuse(StatusCode::NOT_FOUND, "no hub named; use /client/hubs/HUB"),
        }
    } else if let Some(name) = path.strip_prefix("/client/hubs/") {
        percent_decode_str(name).decode_utf8_lossy().into_owned()
    } else {
        return refuse(
            StatusCode::NOT_FOUND,
            "no such path; clients connect to /client/hubs/HUB",
        );
    };
    if !is_hub_name(&name) {
        return refuse(
            StatusCode::NOT_FOUND,
            "no such hub: a hub's name is a letter followed by at most 127 letters, digits or _`,.[]",
        );
    }
    Ok(name)
}

/// What a hub may be called. Source: the official service SDKs.
pub(super) fn is_hub_name(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_`,.[]".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simple_clients_query_is_read_or_refused() {
        let mode = |query: &str| Query::read(query).simple_mode();
        assert_eq!(mode(""), Ok(RawMode::SendEvent));
        assert_eq!(
            mode("webpubsub_mode=x&webpubsub_mode=sendToGroup&group=a%20b&noEcho=true"),
            Ok(RawMode::SendToGroup {
                group: "a b".into(),
                no_echo: true
            })
        );
        for bad in [
            "webpubsub_mode=all",
            "webpubsub_mode=sendToGroup",
            "webpubsub_mode=sendToGroup&group=%20",
            "noEcho=1",
        ] {
            assert!(mode(bad).is_err(), "{bad}");
        }
        let query = Query::read("access_token=secret&a=1&awps_reconnection_token=secret");
        assert_eq!(query.others, [("a".to_owned(), "1".to_owned())]);
    }
}
