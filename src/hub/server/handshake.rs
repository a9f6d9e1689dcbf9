//! Whether a request may become a WebSocket, and as what. Pure: request in, verdict out.
//! Source: client-spec 1.1 and 1.4; statuses as the official emulator gives them.

use std::cell::Cell;
use std::rc::Rc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};

use super::access_token::{self, Claims};
use super::answer::{Reply, error, typed};
use super::query::{Query, hub_name};
use crate::hub::config::HubConfig;
use crate::hub::core::sessions::is_group_name;
use crate::hub::core::{
    Dialect, Identity, Permissions, Remembered, TOKEN_LIFETIME_MAX, token_lifetime,
};
use crate::wire::Subprotocol;

/// What an accepted request becomes.
#[derive(Debug)]
pub(crate) enum Admission {
    /// A new session.
    New {
        id: u128,
        identity: Box<Identity>,
        dialect: Dialect,
        /// Its place among the connections that may be open.
        place: Option<Place>,
    },
    /// An attempt to continue one; refused only after the upgrade, with close 1008.
    Recover {
        connection_id: String,
        token: String,
    },
}

/// The place of a connection that was let in but is not open yet; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place(Rc<Cell<usize>>);

impl Place {
    /// Takes a place; `taken` counts them.
    pub(super) fn take(taken: &Rc<Cell<usize>>) -> Self {
        taken.set(taken.get() + 1);
        Place(taken.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A request that may become a WebSocket, as far as the request itself says.
#[derive(Debug)]
pub(super) enum Candidate {
    New(Box<New>),
    Recover {
        offer: Offer,
        connection_id: String,
        token: String,
    },
}

/// What a request says of the WebSocket to be.
#[derive(Debug)]
pub(super) struct Offer {
    accept: HeaderValue,
    /// The subprotocols, in the client's spelling.
    subprotocols: Vec<String>,
    /// The one chosen.
    chosen: Option<usize>,
}

/// A new connection in the making.
#[derive(Debug)]
pub(super) struct New {
    pub(super) id: u128,
    pub(super) identity: Identity,
    pub(super) offer: Offer,
    /// How a simple client wants to be served, if it is one.
    simple: Result<crate::hub::core::RawMode, String>,
    /// For the connect handler: the token's claims, the query and the headers.
    pub(super) claims: serde_json::Map<String, serde_json::Value>,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<(String, String)>,
    dialect: Option<Dialect>,
    pub(super) place: Option<Place>,
}

/// A request that is answered with an HTTP error.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    message: String,
    /// The connect handler's own words, to be passed on.
    body: Option<Vec<u8>>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Refusal {
            status,
            message: message.into(),
            body: None,
        }
    }

    /// The connect handler's refusal.
    pub(super) fn of_handler(status: StatusCode, body: Vec<u8>) -> Self {
        Refusal {
            status,
            message: String::new(),
            body: Some(body),
        }
    }

    pub(super) fn into_reply(self) -> Reply {
        let mut reply = match self.body {
            Some(body) => typed(self.status, "text/plain; charset=utf-8", body.into()),
            None => error(self.status, &self.message),
        };
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            let headers = reply.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        reply
    }
}

pub(super) fn refuse<T>(status: StatusCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(status, message))
}

/// Judges a request by itself.
///
/// # Errors
/// 404 no such path or hub name, 400 no upgrade or a bad query, 401 bad token.
pub(super) fn judge<B>(request: &Request<B>, config: &HubConfig) -> Result<Candidate, Refusal> {
    let query = Query::read(request.uri().query().unwrap_or_default());
    let hub = hub_name(request.uri().path(), query.hub.as_deref())?;
    let headers = request.headers();
    let offer = Offer::read(headers)?;
    if !query.connection_id.is_empty() {
        // An access token that comes along is ignored: it may have expired meanwhile.
        return Ok(Candidate::Recover {
            offer: offer.choose_known(),
            connection_id: query.connection_id,
            token: query.reconnection_token,
        });
    }
    let (identity, claims) = identify(headers, hub, &query, config)?;
    let simple = query.simple_mode();
    Ok(Candidate::New(Box::new(New {
        id: 0,
        identity,
        offer,
        simple,
        claims,
        query: query.others,
        headers: shown_headers(headers),
        dialect: None,
        place: None,
    })))
}

/// The headers that the connect handler is shown: not the token.
fn shown_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|(name, _)| *name != header::AUTHORIZATION)
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect()
}

impl Offer {
    fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        Ok(Offer {
            accept: websocket_accept(headers)?,
            subprotocols: list(headers, header::SEC_WEBSOCKET_PROTOCOL).collect(),
            chosen: None,
        })
    }

    /// The first subprotocol offered that is served here, as the official emulator chooses.
    fn choose_known(mut self) -> Self {
        self.chosen = self
            .subprotocols
            .iter()
            .position(|name| Subprotocol::from_name(name).is_some());
        self
    }

    pub(super) fn subprotocols(&self) -> &[String] {
        &self.subprotocols
    }
}

impl New {
    /// The connect handler chose a subprotocol; whether it had been offered.
    pub(super) fn choose(&mut self, name: &str) -> bool {
        let names = &self.offer.subprotocols;
        self.offer.chosen = names.iter().position(|it| it.eq_ignore_ascii_case(name));
        self.offer.chosen.is_some()
    }

    /// Decides what the connection speaks.
    ///
    /// # Errors
    /// A simple client with a bad query.
    pub(super) fn settle(&mut self) -> Result<(), Refusal> {
        if self.offer.chosen.is_none() {
            let names = &self.offer.subprotocols;
            self.offer.chosen = names
                .iter()
                .position(|name| Subprotocol::from_name(name).is_some());
        }
        let known = self
            .offer
            .chosen
            .and_then(|at| Subprotocol::from_name(&self.offer.subprotocols[at]));
        self.dialect = Some(match known {
            Some(subprotocol) => Dialect::Known(subprotocol),
            None => match &self.simple {
                Ok(mode) => Dialect::Raw(Box::new(mode.clone())),
                Err(why) => return refuse(StatusCode::BAD_REQUEST, why.clone()),
            },
        });
        Ok(())
    }
}

impl Candidate {
    pub(super) fn into_admission(self) -> Admission {
        match self {
            Candidate::New(new) => Admission::New {
                id: new.id,
                identity: Box::new(new.identity),
                dialect: new
                    .dialect
                    .unwrap_or(Dialect::Raw(Box::new(crate::hub::core::RawMode::SendEvent))),
                place: new.place,
            },
            Candidate::Recover {
                connection_id,
                token,
                ..
            } => Admission::Recover {
                connection_id,
                token,
            },
        }
    }
}

/// The 101 that goes with an accepted request.
pub(super) fn upgrade_response(candidate: &Candidate) -> Response<()> {
    let offer = match candidate {
        Candidate::New(new) => &new.offer,
        Candidate::Recover { offer, .. } => offer,
    };
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, offer.accept.clone());
    // The client's own spelling: some compare it letter by letter.
    if let Some(name) = offer
        .chosen
        .and_then(|at| HeaderValue::from_str(&offer.subprotocols[at]).ok())
    {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, name);
    }
    response
}

/// The items of a header that is a comma-separated list, over all its lines.
fn list(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = String> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
}

fn websocket_accept(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let has = |name, token: &str| list(headers, name).any(|part| part.eq_ignore_ascii_case(token));
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

/// The bearer token of a request.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
        .filter(|token| !token.is_empty())
}

/// The Host header: what the client calls this hub.
pub(super) fn host(headers: &HeaderMap) -> &str {
    headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default()
}

type ClaimMap = serde_json::Map<String, serde_json::Value>;

/// Who connects: by its token, which is checked when the hub has a key.
fn identify(
    headers: &HeaderMap,
    hub: String,
    query: &Query,
    config: &HubConfig,
) -> Result<(Identity, ClaimMap), Refusal> {
    let token = query
        .access_token
        .as_deref()
        .filter(|token| !token.is_empty())
        .or_else(|| bearer(headers));
    let keys = config.keys();
    let claims = match token {
        None if keys.is_empty() || config.allow_anonymous => {
            let identity = Identity {
                hub,
                user: None,
                permissions: if keys.is_empty() {
                    Permissions::all()
                } else {
                    Permissions::from_roles([])
                },
                remembered: Remembered::default(),
                groups: Vec::new(),
                token_lifetime: TOKEN_LIFETIME_MAX,
            };
            return Ok((identity, ClaimMap::new()));
        }
        None => Err("no access token; give it as access_token=... or as a bearer token"),
        Some(token) if keys.is_empty() => access_token::unverified(token),
        Some(token) => {
            let now = config.clock.unix_now();
            access_token::verified(token, &keys, host(headers), &hub, now)
        }
    };
    let map = token.map(access_token::claim_map).unwrap_or_default();
    match claims {
        Ok(claims) => Ok((identity(hub, claims)?, map)),
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
        remembered: Remembered::default(),
        groups,
        token_lifetime: claims
            .reconnection_ttl
            .map_or(TOKEN_LIFETIME_MAX, |ttl| token_lifetime(ttl.0)),
    })
}
