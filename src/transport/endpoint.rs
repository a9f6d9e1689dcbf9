//! Where to connect: endpoint URL, connection string or client access URL, made into the
//! URL of one connection.
//!
//! Opens nothing. [`super::token`] mints the tokens, [`super::dial`] opens the URLs.
//! Sources: client-spec 1.1 and 1.4, service SDKs (Python, JS) for tokens and connection
//! strings.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::mask::mask;
use super::token;

/// Everything that is not unreserved in a URL is escaped (RFC 3986 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The version of the service API that is spoken. Source: protocol 7.3.
const API_VERSION: &str = "2024-12-01";

/// The longest hub name. Source: service SDKs.
const HUB_NAME_MAX: usize = 128;

/// Why a target could not be read. Never quotes a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a URL.
    #[error(
        "{url:?} is not a URL ({why}); write http://, https://, ws:// or wss:// and a host, e.g. http://localhost:8080"
    )]
    NoUrl {
        /// The text, secrets masked.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A part of an endpoint URL that has no place there.
    #[error("endpoint {url:?} has a {part}; write scheme, host and port only, e.g. {example}")]
    Surplus {
        /// The URL, secrets masked.
        url: String,
        /// What is too much.
        part: &'static str,
        /// The URL without it.
        example: String,
    },
    /// Not a hub name.
    #[error(
        "{hub:?} is not a hub name; it starts with a letter, goes on with letters, digits or _ ` , . [ ] and has at most 128 characters"
    )]
    HubName {
        /// The name.
        hub: String,
    },
    /// A client access URL that names no hub.
    #[error(
        "{url:?} is no client access URL: its path is not /client/hubs/HUB (or /client/?hub=HUB)"
    )]
    NoHub {
        /// The URL, secrets masked.
        url: String,
    },
    /// A segment of a connection string that is not `Name=Value`.
    #[error(
        "segment {number} of the connection string has no `=`; it reads Endpoint=https://NAME;AccessKey=KEY;Version=1.0;"
    )]
    Segment {
        /// Which segment, from 1.
        number: usize,
    },
    /// A connection string that lacks a part.
    #[error(
        "the connection string has no {name}; it reads Endpoint=https://NAME;AccessKey=KEY;Version=1.0;"
    )]
    MissingPart {
        /// The part.
        name: &'static str,
    },
    /// The `Port` of a connection string is no port.
    #[error("the connection string's Port {got:?} is not a number from 1 to 65535")]
    Port {
        /// What is there.
        got: String,
    },
}

/// Who a new connection is, as its token will say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The user; `None` for a client without a user id.
    pub user_id: Option<String>,
    /// Role strings, e.g. `webpubsub.joinLeaveGroup`.
    pub roles: Vec<String>,
    /// Groups that the hub joins for the client at connect.
    pub groups: Vec<String>,
    /// How long the token is valid; whole seconds count. Checked by hubs at connect only.
    pub lifetime: Duration,
}

/// A hub to connect to, and the means to be let in.
#[derive(Clone, Debug)]
pub struct Target {
    /// `http` or `https`, `://` and the authority: no path, no trailing slash.
    base: String,
    hub: String,
    access: Access,
}

#[derive(Clone, Debug)]
enum Access {
    /// Nothing to show: the hub lets everybody in, as a user of no name.
    Open,
    /// Signs a token for each connection.
    Key(SecretString),
    /// A finished URL; who the client is has been decided by whoever made it.
    Url(SecretString),
}

impl Target {
    /// A target from the service's endpoint (`http`, `https`, `ws` or `wss`), a hub name
    /// and, unless the hub lets everybody in, its access key. An empty key counts as none.
    ///
    /// # Errors
    /// The endpoint is not a URL of scheme, host and port only, or the hub name cannot be one.
    pub fn from_endpoint(
        url: &str,
        hub: &str,
        key: Option<SecretString>,
    ) -> Result<Self, TargetError> {
        let parsed = parse_url(url)?;
        let base = base_of(&parsed);
        let surplus = if !matches!(parsed.path(), "" | "/") {
            Some("path")
        } else if parsed.query().is_some() {
            Some("query")
        } else if parsed.fragment().is_some() {
            Some("fragment")
        } else if !parsed.username().is_empty() || parsed.password().is_some() {
            Some("user name")
        } else {
            None
        };
        if let Some(part) = surplus {
            return Err(TargetError::Surplus {
                url: mask(without_user(&parsed).as_str()),
                part,
                example: base,
            });
        }
        Ok(Target {
            base,
            hub: hub_name(hub)?,
            access: match key {
                Some(key) if !key.expose_secret().is_empty() => Access::Key(key),
                _ => Access::Open,
            },
        })
    }

    /// A target from a connection string, `Endpoint=...;AccessKey=...;` with an optional
    /// `Port`. Names are read in any case and order; other names are passed over.
    ///
    /// # Errors
    /// A segment without `=`, no endpoint or key, a bad endpoint, port or hub name.
    pub fn from_connection_string(text: &SecretString, hub: &str) -> Result<Self, TargetError> {
        let (mut endpoint, mut key, mut port) = (None, None, None);
        for (index, segment) in text.expose_secret().split(';').enumerate() {
            if segment.trim().is_empty() {
                continue;
            }
            // At the first `=` only: keys are base64 and may end in `=`.
            let (name, value) = segment
                .split_once('=')
                .ok_or(TargetError::Segment { number: index + 1 })?;
            match name.trim().to_ascii_lowercase().as_str() {
                "endpoint" => endpoint = Some(value.trim()),
                "accesskey" => key = Some(value.trim()),
                "port" => port = Some(value.trim()),
                _ => {}
            }
        }
        let needed = |part: Option<&'_ str>, name| {
            part.filter(|value| !value.is_empty())
                .map(str::to_owned)
                .ok_or(TargetError::MissingPart { name })
        };
        let mut endpoint = needed(endpoint, "Endpoint")?;
        let key = needed(key, "AccessKey")?;
        if !endpoint.contains("://") {
            endpoint.insert_str(0, "https://");
        }
        let mut target = Target::from_endpoint(&endpoint, hub, Some(key.into()))?;
        if let Some(port) = port.filter(|port| !port.is_empty()) {
            target.base = with_port(&target.base, port)?;
        }
        Ok(target)
    }

    /// A target from a client access URL, as the service or its SDKs hand them out. All
    /// clients then share the URL's token, and with it the user id and the roles.
    ///
    /// # Errors
    /// Not a URL, or one that names no hub.
    pub fn from_client_access_url(url: &SecretString) -> Result<Self, TargetError> {
        let mut parsed = parse_url(url.expose_secret())?;
        let hub = hub_of(&parsed).ok_or_else(|| TargetError::NoHub {
            url: mask(without_user(&parsed).as_str()),
        })?;
        let hub = hub_name(&hub)?;
        let base = base_of(&parsed);
        parsed.set_fragment(None);
        let url = websocket_scheme(parsed.as_str()).into_owned();
        Ok(Target {
            base,
            hub,
            access: Access::Url(url.into()),
        })
    }

    /// Scheme, host and hub, for people. No secret is in it.
    pub fn display(&self) -> String {
        format!("{} (hub {})", self.base, self.hub)
    }

    /// The hub's name, as the caller spelt it.
    pub fn hub(&self) -> &str {
        &self.hub
    }

    /// Whether [`Self::connect_url`] can say who the client is. Without a key it cannot:
    /// the user id is then the hub's or the given token's business.
    pub fn mints_tokens(&self) -> bool {
        matches!(self.access, Access::Key(_))
    }

    /// The URL for a new connection of this client. With a key it carries a token minted
    /// for the client, valid from `unix_now` (seconds since the Unix epoch); a moment long
    /// enough ago gives an expired token (hubs grant up to 5 minutes of clock skew).
    /// Without one it is the plain URL, or the given client access URL.
    pub fn connect_url(&self, identity: &ClientIdentity, unix_now: u64) -> SecretString {
        let hub = utf8_percent_encode(&self.hub, ESCAPED);
        let plain = || {
            let base = websocket_scheme(&self.base);
            format!("{base}/client/hubs/{hub}")
        };
        match &self.access {
            Access::Url(url) => url.clone(),
            Access::Open => plain().into(),
            Access::Key(key) => {
                // The hub's name stands in the audience as spelt, not escaped: so do the SDKs.
                let audience = format!("{}/client/hubs/{}", self.base, self.hub);
                let token = token::mint(key, &audience, identity, unix_now);
                format!("{}?access_token={}", plain(), token.expose_secret()).into()
            }
        }
    }

    /// The URL of a POST to the service API below `/api/hubs/HUB`, and the token for it,
    /// valid from `unix_now` for a minute. Parts of `path` are escaped by the caller, see
    /// [`Self::escaped`]. Source: protocol 7.2 and 7.3.
    pub fn service_url(&self, path: &str, unix_now: u64) -> (String, Option<SecretString>) {
        let hub = utf8_percent_encode(&self.hub, ESCAPED);
        let base = &self.base;
        let url = format!("{base}/api/hubs/{hub}{path}?api-version={API_VERSION}");
        let Access::Key(key) = &self.access else {
            return (url, None);
        };
        let nobody = ClientIdentity {
            user_id: None,
            roles: Vec::new(),
            groups: Vec::new(),
            // As the official Python SDK.
            lifetime: Duration::from_secs(60),
        };
        let token = token::mint(key, &url, &nobody, unix_now);
        (url, Some(token))
    }

    /// A group, a user or a connection as a part of a path.
    pub fn escaped(part: &str) -> impl fmt::Display + '_ {
        utf8_percent_encode(part, ESCAPED)
    }

    /// The URL that asks to recover a session: `connect_url` with the connection id and the
    /// reconnection token added. Other query parameters stay, the access token too, as in
    /// the official clients. Source: client-spec 1.4.
    pub fn recovery_url(
        connect_url: &SecretString,
        connection_id: &str,
        token: &str,
    ) -> SecretString {
        const ID: &str = "awps_connection_id";
        const TOKEN: &str = "awps_reconnection_token";
        let url = connect_url.expose_secret();
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let mut recovery = format!("{path}?");
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split('=').next().unwrap_or(pair);
            if name != ID && name != TOKEN {
                recovery.push_str(pair);
                recovery.push('&');
            }
        }
        let connection_id = utf8_percent_encode(connection_id, ESCAPED);
        let token = utf8_percent_encode(token, ESCAPED);
        recovery.push_str(&format!("{ID}={connection_id}&{TOKEN}={token}"));
        recovery.into()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display())
    }
}

/// Reads a URL with one of the four schemes and a host.
fn parse_url(text: &str) -> Result<Url, TargetError> {
    let bad = |why: &str| TargetError::NoUrl {
        // What does not parse may hold a user name that cannot be found: cut it off.
        url: mask(text.rsplit_once('@').map_or(text, |(_, rest)| rest)),
        why: why.into(),
    };
    let text = text.trim();
    if !text.contains("://") {
        return Err(bad("it has no scheme"));
    }
    let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
    match url.scheme() {
        "http" | "https" | "ws" | "wss" => Ok(url),
        other => Err(bad(&format!("its scheme is {other:?}"))),
    }
}

/// `http(s)://authority` of a parsed URL, without trailing slash. A default port is left out.
fn base_of(url: &Url) -> String {
    let scheme = match url.scheme() {
        "https" | "wss" => "https",
        _ => "http",
    };
    // The four schemes always have a host; `Url` sees to it.
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

/// The base with another port.
fn with_port(base: &str, port: &str) -> Result<String, TargetError> {
    let number = port
        .parse::<u16>()
        .ok()
        .filter(|number| *number != 0)
        .ok_or_else(|| TargetError::Port { got: port.into() })?;
    let mut url = parse_url(base)?;
    // Setting a port fails only for URLs without a host.
    let _ = url.set_port(Some(number));
    Ok(base_of(&url))
}

/// The URL without user name and password.
fn without_user(url: &Url) -> Url {
    let mut url = url.clone();
    // Both fail only for URLs without a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

fn websocket_scheme(url: &str) -> Cow<'_, str> {
    match url.strip_prefix("http") {
        Some(rest) => Cow::Owned(format!("ws{rest}")),
        None => Cow::Borrowed(url),
    }
}

/// The hub that a client URL names, in either of its two forms. Source: client-spec 1.1.
fn hub_of(url: &Url) -> Option<String> {
    let segments: Vec<&str> = url
        .path_segments()?
        .filter(|part| !part.is_empty())
        .collect();
    match segments.as_slice() {
        ["client", "hubs", hub] => Some(percent_decode_str(hub).decode_utf8().ok()?.into_owned()),
        ["client"] => url
            .query_pairs()
            .find(|(name, _)| name == "hub")
            .map(|(_, hub)| hub.into_owned()),
        _ => None,
    }
}

fn hub_name(hub: &str) -> Result<String, TargetError> {
    let mut chars = hub.chars();
    let good = hub.len() <= HUB_NAME_MAX
        && chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || "_`,.[]".contains(c));
    if good {
        Ok(hub.into())
    } else {
        Err(TargetError::HubName {
            hub: hub.chars().take(HUB_NAME_MAX).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
