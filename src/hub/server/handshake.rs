//! Whether a request may become a WebSocket, and as what. Pure: request in, verdict out.
//! Source: client-spec 1.1 and 1.4; statuses as the official emulator gives them.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret;
use url::form_urlencoded;

use super::access_token::{self, Claims};
use crate::hub::config::HubConfig;
use crate::hub::core::sessions::is_group_name;
use crate::hub::core::{Identity, Permissions};
use crate::wire::Subprotocol;

/// What an accepted request becomes.
#[derive(Debug)]
pub(crate) enum Admission {
    /// A new session.
    New {
        identity: Identity,
        subprotocol: Subprotocol,
    },
    /// An attempt to continue one; refused only after the upgrade, with close 1008.
    Recover {
        connection_id: String,
        token: String,
    },
}

/// A request that is answered with an HTTP error.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

fn refuse<T>(status: StatusCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal {
        status,
        message: message.into(),
    })
}

/// The query parameters that matter here; of repeated ones the last counts.
#[derive(Default)]
struct Query {
    hub: Option<String>,
    access_token: Option<String>,
    connection_id: String,
    reconnection_token: String,
}

impl Query {
    fn read(query: &str) -> Self {
        let mut result = Query::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "hub" => result.hub = Some(value.into_owned()),
                "access_token" => result.access_token = Some(value.into_owned()),
                "awps_connection_id" => result.connection_id = value.into_owned(),
                "awps_reconnection_token" => result.reconnection_token = value.into_owned(),
                _ => {}
            }
        }
        result
    }
}

/// Judges a request; with an admission comes the 101 to send.
///
/// # Errors
/// 404 no such path or hub name, 400 no upgrade or nothing to speak, 401 bad token.
pub(crate) fn admit<B>(
    request: &Request<B>,
    config: &HubConfig,
) -> Result<(Admission, Response<()>), Refusal> {
    let query = Query::read(request.uri().query().unwrap_or_default());
    let hub = hub_name(request.uri().path(), query.hub.as_deref())?;
    let accept = websocket_accept(request.headers())?;
    let (offered, subprotocol) = negotiate(request.headers())?;
    let admission = if query.connection_id.is_empty() {
        Admission::New {
            identity: identify(request.headers(), hub, &query, config)?,
            subprotocol,
        }
    } else {
        // An access token that comes along is ignored: it may have expired meanwhile.
        Admission::Recover {
            connection_id: query.connection_id,
            token: query.reconnection_token,
        }
    };
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    // The client's own spelling: some compare it letter by letter.
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, offered);
    Ok((admission, response))
}

/// The hub's name from the path or, on the bare path, from the query.
fn hub_name(path: &str, query: Option<&str>) -> Result<String, Refusal> {
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
    let is_name = name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_`,.[]".contains(&byte));
    if !is_name {
        return refuse(
            StatusCode::NOT_FOUND,
            "no such hub: a hub's name is a letter followed by at most 127 letters, digits or _`,.[]",
        );
    }
    Ok(name)
}

fn websocket_accept(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let has = |name, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
        return refuse(StatusCode::BAD_REQUEST, "not a WebSocket upgrade request");
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .map(HeaderValue::as_bytes)
        != Some(b"13")
    {
        return refuse(StatusCode::BAD_REQUEST, "Sec-WebSocket-Version must be 13");
    }
    let accept = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .map(|key| actix_http::ws::hash_key(key.as_bytes()))
        .and_then(|hash| HeaderValue::from_bytes(&hash).ok());
    match accept {
        Some(accept) => Ok(accept),
        None => refuse(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing"),
    }
}

/// The first subprotocol offered that is served here, as the official emulator chooses,
/// and the client's spelling of it.
fn negotiate(headers: &HeaderMap) -> Result<(HeaderValue, Subprotocol), Refusal> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .find_map(|name| {
            let subprotocol = Subprotocol::from_name(name).filter(|it| !it.is_binary())?;
            Some((HeaderValue::from_str(name).ok()?, subprotocol))
        })
        .map_or_else(
            || {
                refuse(
                    StatusCode::BAD_REQUEST,
                    format!(
                        "Sec-WebSocket-Protocol offers nothing that this hub speaks; offer {} or {}",
                        Subprotocol::JsonReliable.name(),
                        Subprotocol::Json.name()
                    ),
                )
            },
            Ok,
        )
}

/// Who connects: by its token, which is checked when the hub has a key.
fn identify(
    headers: &HeaderMap,
    hub: String,
    query: &Query,
    config: &HubConfig,
) -> Result<Identity, Refusal> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then_some(token.trim())
        });
    let token = query
        .access_token
        .as_deref()
        .or(bearer)
        .filter(|token| !token.is_empty());
    let claims = match (token, &config.access_key) {
        (None, None) => {
            return Ok(Identity {
                hub,
                user: None,
                permissions: Permissions::all(),
                groups: Vec::new(),
            });
        }
        (None, Some(_)) => Err("no access token; give it as access_token=... or as a bearer token"),
        (Some(token), None) => access_token::unverified(token),
        (Some(token), Some(key)) => {
            let host = headers
                .get(header::HOST)
                .and_then(|host| host.to_str().ok())
                .unwrap_or_default();
            let key = key.expose_secret().as_bytes();
            access_token::verified(token, key, host, &hub, config.clock.unix_now())
        }
    };
    match claims {
        Ok(claims) => identity(hub, claims),
        Err(message) => refuse(StatusCode::UNAUTHORIZED, message),
    }
}

fn identity(hub: String, claims: Claims) -> Result<Identity, Refusal> {
    let groups: Vec<String> = claims.groups.into_vec();
    if let Some(bad) = groups.iter().find(|group| !is_group_name(group)) {
        let start: String = bad.chars().take(40).collect();
        return refuse(
            StatusCode::BAD_REQUEST,
            format!("webpubsub.group holds a bad group name: {start:?}"),
        );
    }
    let roles = claims.roles.into_vec();
    Ok(Identity {
        hub,
        user: claims.sub,
        permissions: Permissions::from_roles(roles.iter().map(String::as_str)),
        groups,
    })
}
