//! Doing what a service API request wants.

use http::StatusCode;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;

use super::route::{Call, Operation, Parameters, Whom};
use super::{Refused, body};
use crate::base::Time;
use crate::hub::config::DEVELOPMENT_KEY;
use crate::hub::core::sessions::is_group_name;
use crate::hub::core::{Choice, Target};
use crate::hub::filter::Filter;
use crate::hub::server::access_token;
use crate::hub::server::answer::{Reply, json as json_reply};
use crate::hub::server::shell::Shell;

/// Connections on one page of a listing, at most and by default. Source: data-plane REST.
const PAGE_MAX: usize = 200;
/// The lifetime of a token for which none is asked, in minutes.
const TOKEN_MINUTES: u64 = 60;

fn empty(status: StatusCode) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = status;
    reply
}

fn found(is: bool) -> Reply {
    empty(if is {
        StatusCode::OK
    } else {
        StatusCode::NOT_FOUND
    })
}

fn missing(what: &str) -> Refused {
    Refused::new(StatusCode::NOT_FOUND, what)
}

fn target(whom: &Whom) -> Target<'_> {
    match whom {
        Whom::All => Target::All,
        Whom::Group(group) => Target::Group(group),
        Whom::User(user) => Target::User(user),
        Whom::Connection(connection) => Target::Connection(connection),
    }
}

/// The body of `:addToGroups` and `:removeFromGroups`.
#[derive(Deserialize)]
struct GroupsBody {
    groups: Vec<String>,
    #[serde(default)]
    filter: Option<String>,
}

fn groups_body(body: &[u8]) -> Result<(Vec<String>, Option<Filter>), Refused> {
    let body: GroupsBody = serde_json::from_slice(body).map_err(|error| {
        Refused::bad(format!("the body must be JSON {{groups, filter}}: {error}"))
    })?;
    if let Some(bad) = body.groups.iter().find(|group| !is_group_name(group)) {
        let shown: String = bad.chars().take(40).collect();
        return Err(Refused::bad(format!("{shown:?} is no group name")));
    }
    let filter = body
        .filter
        .filter(|text| !text.trim().is_empty())
        .map(|text| Filter::parse(&text))
        .transpose()
        .map_err(|error| Refused::bad(error.to_string()))?;
    Ok((body.groups, filter))
}

/// Executes a call and makes its reply.
///
/// # Errors
/// What the body lacks, or what is not there.
pub(super) fn execute(
    shell: &Shell,
    call: &Call,
    content_type: &str,
    body: &[u8],
    host: &str,
    now: Time,
) -> Result<Reply, Refused> {
    let mut core = shell.core.borrow_mut();
    let (hub, parameters) = (call.hub.as_str(), &call.parameters);
    let choice = Choice {
        excluded: &parameters.excluded,
        filter: parameters.filter.as_ref(),
    };
    let all = Choice::default();
    Ok(match &call.operation {
        Operation::GenerateToken => {
            drop(core);
            generate_token(shell, call, host)
        }
        Operation::Send(whom) => {
            let data = payload(content_type, body)?;
            let ttl = parameters.ttl_seconds;
            core.service_send(hub, target(whom), &choice, &data, ttl, now);
            empty(StatusCode::ACCEPTED)
        }
        Operation::Close(whom) => {
            core.service_close(hub, target(whom), &choice, &parameters.reason, now);
            empty(StatusCode::NO_CONTENT)
        }
        Operation::Exists(whom) => found(core.exists(hub, target(whom))),
        Operation::AddToGroups | Operation::RemoveFromGroups => {
            let (groups, filter) = groups_body(body)?;
            let choice = Choice {
                excluded: &[],
                filter: filter.as_ref(),
            };
            if call.operation == Operation::AddToGroups {
                core.service_join(hub, Target::All, &choice, &groups);
            } else {
                core.service_leave(hub, Target::All, &choice, Some(&groups));
            }
            empty(StatusCode::OK)
        }
        Operation::List(group) => {
            drop(core);
            list(shell, call, group, host)
        }
        Operation::Join(whom, group) => {
            let group = std::slice::from_ref(group);
            if !core.service_join(hub, target(whom), &all, group) {
                return Err(missing("no such connection"));
            }
            empty(StatusCode::OK)
        }
        Operation::Leave(whom, group) => {
            let groups = group.as_ref().map(std::slice::from_ref);
            core.service_leave(hub, target(whom), &all, groups);
            empty(StatusCode::NO_CONTENT)
        }
        Operation::Grant(action, connection) => {
            let group = parameters.target_name.as_deref();
            if !core.grant(hub, connection, *action, group, true) {
                return Err(missing("no such connection"));
            }
            empty(StatusCode::OK)
        }
        Operation::Revoke(action, connection) => {
            let group = parameters.target_name.as_deref();
            core.grant(hub, connection, *action, group, false);
            empty(StatusCode::NO_CONTENT)
        }
        Operation::Check(action, connection) => {
            let group = parameters.target_name.as_deref();
            found(core.is_granted(hub, connection, *action, group))
        }
    })
}

fn payload(content_type: &str, body: &[u8]) -> Result<crate::wire::Data<'static>, Refused> {
    let mime = content_type.split(';').next().unwrap_or_default().trim();
    body::data(mime, body).map_err(|why| {
        let status = if why.starts_with("content type") {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        } else {
            StatusCode::BAD_REQUEST
        };
        Refused::new(status, why)
    })
}

fn generate_token(shell: &Shell, call: &Call, host: &str) -> Reply {
    let Parameters {
        user,
        roles,
        groups,
        minutes,
        ..
    } = &call.parameters;
    let now = shell.config.clock.unix_now();
    let mut claims = json!({
        "aud": format!("{}://{host}/client/hubs/{}", shell.scheme(), call.hub),
        "iat": now,
        "exp": now + minutes.unwrap_or(TOKEN_MINUTES) * 60,
    });
    if let Some(user) = user {
        claims["sub"] = user.as_str().into();
    }
    if !roles.is_empty() {
        claims["role"] = roles.as_slice().into();
    }
    if !groups.is_empty() {
        claims["webpubsub.group"] = groups.as_slice().into();
    }
    let key = match &shell.config.access_key {
        Some(key) => key.expose_secret(),
        None => DEVELOPMENT_KEY,
    };
    let token = access_token::signed(&claims, key.as_bytes());
    json_reply(StatusCode::OK, json!({ "token": token }).to_string())
}

/// One page of a group's connections; the link to the next names where it begins.
fn list(shell: &Shell, call: &Call, group: &str, host: &str) -> Reply {
    let parameters = &call.parameters;
    // The continuation holds the last id given and how many of `top` are still wanted.
    let (after, wanted) = match parameters
        .continuation
        .as_deref()
        .and_then(|text| text.split_once('.'))
    {
        Some((after, left)) => (Some(after), left.parse().ok()),
        None => (None, parameters.top),
    };
    let page = parameters.page_size.unwrap_or(PAGE_MAX);
    let limit = wanted.map_or(page, |top| top.min(page));
    let core = shell.core.borrow();
    let (listed, more) = core.list_group(&call.hub, group, after, limit);
    let value: Vec<_> = listed
        .iter()
        .map(|listed| json!({"connectionId": listed.connection, "userId": listed.user}))
        .collect();
    let mut reply = json!({ "value": value });
    let left = wanted.map(|wanted| wanted - listed.len());
    if let Some(last) = listed.last().filter(|_| more && left != Some(0)) {
        let left = left.map(|left| left.to_string()).unwrap_or_default();
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        reply["nextLink"] = format!(
            "{}://{host}/api/hubs/{}/groups/{}/connections?api-version={}&maxpagesize={page}&continuationToken={}.{left}",
            shell.scheme(),
            encode(&call.hub),
            encode(group),
            encode(parameters.api_version.as_deref().unwrap_or("2024-12-01")),
            last.connection
        )
        .into();
    }
    json_reply(StatusCode::OK, reply.to_string())
}
