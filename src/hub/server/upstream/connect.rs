//! The connect handler: whether a connection may be, and as whom. Source: docs, cloud events.

use http::StatusCode;
use serde::Deserialize;

use super::Upstream;
use crate::hub::core::Remembered;
use crate::hub::core::events::Caller;
use crate::hub::core::sessions::is_group_name;
use crate::hub::server::handshake::{New, Refusal, refuse};

/// What a connect handler may say in its body.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ConnectReply {
    user_id: Option<String>,
    groups: Option<Vec<String>>,
    roles: Option<Vec<String>>,
    subprotocol: Option<String>,
}

/// Asks the connect handler whether a connection may be, and as whom.
///
/// # Errors
/// Its own 4xx; 500 when it cannot be reached or understood.
pub(in crate::hub::server) async fn ask_connect(
    upstream: &Upstream,
    new: &mut New,
) -> Result<(), Refusal> {
    let failed = |why: String| {
        tracing::warn!(%why, "the connect event handler failed");
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the connect event handler failed",
        )
    };
    let caller = Caller {
        id: new.id,
        hub: new.identity.hub.to_ascii_lowercase().into(),
        user: new.identity.user.as_deref().map(Into::into),
        subprotocol: None,
        remembered: Remembered::default(),
        number: 0,
    };
    upstream.validate(&caller.hub).await.map_err(failed)?;
    let body = connect_body(new).to_string();
    let make = || {
        upstream
            .request(&caller, "sys", "connect")
            .insert_header(("content-type", "application/json; charset=utf-8"))
    };
    let reply = upstream.send(make, body.into()).await.map_err(failed)?;
    let said = match reply.status {
        204 => ConnectReply::default(),
        200 if reply.body.is_empty() => ConnectReply::default(),
        200 => serde_json::from_slice(&reply.body)
            .map_err(|error| failed(format!("its answer is not what it must be: {error}")))?,
        status @ 400..=499 => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            return Err(Refusal::of_handler(status, reply.body.to_vec()));
        }
        status => return Err(failed(format!("it answered {status}"))),
    };
    new.identity.remembered.update(&reply.said);
    obey(new, said)
}

fn obey(new: &mut New, said: ConnectReply) -> Result<(), Refusal> {
    if said.user_id.is_some() {
        new.identity.user = said.user_id;
    }
    let groups = said.groups.unwrap_or_default();
    if !groups.iter().all(|group| is_group_name(group)) {
        return refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the connect event handler gave a bad group name",
        );
    }
    new.identity.groups.extend(groups);
    let roles = said.roles.unwrap_or_default();
    new.identity
        .permissions
        .add_roles(roles.iter().map(String::as_str));
    match said.subprotocol {
        Some(name) if !name.is_empty() && !new.choose(&name) => refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the connect event handler chose a subprotocol that was not offered",
        ),
        _ => Ok(()),
    }
}

/// Every value as an array of texts.
fn connect_body(new: &New) -> serde_json::Value {
    use serde_json::{Map, Value, json};
    let gathered = |pairs: &[(String, String)]| {
        let mut map = Map::new();
        for (name, value) in pairs {
            let list = map.entry(name).or_insert_with(|| json!([]));
            if let Value::Array(list) = list {
                list.push(value.clone().into());
            }
        }
        map
    };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let claims: Map<String, Value> = new
        .claims
        .iter()
        .map(|(name, value)| {
            let list: Vec<String> = match value {
                Value::Array(list) => list.iter().map(text).collect(),
                one => vec![text(one)],
            };
            (name.clone(), list.into())
        })
        .collect();
    json!({
        "claims": claims,
        "query": gathered(&new.query),
        "headers": gathered(&new.headers),
        "subprotocols": new.offer.subprotocols(),
        "clientCertificates": [],
    })
}
