//! Which operation a request is: method, path, query. Pure.

use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use url::form_urlencoded;

use super::Refused;
use crate::hub::core::Action;
use crate::hub::core::sessions::is_group_name;
use crate::hub::filter::Filter;
use crate::hub::server::query::is_hub_name;

/// Whom a send or a close is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Whom {
    All,
    Group(String),
    User(String),
    Connection(String),
}

/// What a request wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    GenerateToken,
    Send(Whom),
    Close(Whom),
    Exists(Whom),
    /// Adds all that the body's filter accepts to the body's groups.
    AddToGroups,
    RemoveFromGroups,
    /// Lists a group's connections.
    List(String),
    /// Adds a connection or a user to a group.
    Join(Whom, String),
    /// Takes it out of one group, or of all.
    Leave(Whom, Option<String>),
    Grant(Action, String),
    Revoke(Action, String),
    Check(Action, String),
}

impl Operation {
    /// Whether its body is read.
    pub(super) fn has_body(&self) -> bool {
        matches!(
            self,
            Operation::Send(_) | Operation::AddToGroups | Operation::RemoveFromGroups
        )
    }
}

/// The query of a request; what an operation does not know is ignored.
#[derive(Default, Debug)]
pub(super) struct Parameters {
    pub(super) excluded: Vec<String>,
    pub(super) filter: Option<Filter>,
    pub(super) ttl_seconds: u16,
    pub(super) reason: String,
    pub(super) target_name: Option<String>,
    pub(super) page_size: Option<usize>,
    pub(super) top: Option<usize>,
    pub(super) continuation: Option<String>,
    pub(super) user: Option<String>,
    pub(super) roles: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) minutes: Option<u64>,
    pub(super) api_version: Option<String>,
}

/// A request, understood.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) hub: String,
    pub(super) operation: Operation,
    pub(super) parameters: Parameters,
}

impl Call {
    /// Reads method, path and query.
    ///
    /// # Errors
    /// 404 no such path, 405 not with this method, 400 a bad name or parameter.
    pub(super) fn read(method: &Method, path: &str, query: Option<&str>) -> Result<Self, Refused> {
        let parts: Vec<String> = path
            .split('/')
            .skip(3)
            .map(|part| percent_decode_str(part).decode_utf8().map(Into::into))
            .collect::<Result<_, _>>()
            .map_err(|_| Refused::bad("the path is not UTF-8"))?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let Some((&hub, rest)) = parts.split_first() else {
            return Err(not_found());
        };
        if !is_hub_name(hub) {
            return Err(Refused::bad(
                "a hub's name is a letter followed by at most 127 letters, digits or _`,.[]",
            ));
        }
        let operation = operation(method, rest)?;
        Ok(Call {
            hub: hub.to_owned(),
            operation,
            parameters: Parameters::read(query.unwrap_or_default())?,
        })
    }
}

fn not_found() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "no such operation")
}

fn group(name: &str) -> Result<String, Refused> {
    if is_group_name(name) {
        return Ok(name.to_owned());
    }
    Err(Refused::bad(
        "a group name has 1 to 1024 characters and is not only white space",
    ))
}

fn named(text: &str) -> Result<String, Refused> {
    if text.is_empty() {
        return Err(Refused::bad("an id in the path is empty"));
    }
    Ok(text.to_owned())
}

fn action(name: &str) -> Result<Action, Refused> {
    match name {
        "sendToGroup" => Ok(Action::Send),
        "joinLeaveGroup" => Ok(Action::Join),
        _ => Err(Refused::bad(
            "a permission is sendToGroup or joinLeaveGroup",
        )),
    }
}

/// Methods as one word, for matching.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Head,
    Get,
    Post,
    Put,
    Delete,
    Other,
}

fn operation(method: &Method, parts: &[&str]) -> Result<Operation, Refused> {
    use Verb::{Delete, Get, Head, Post, Put};
    let verb = match *method {
        Method::HEAD => Head,
        Method::GET => Get,
        Method::POST => Post,
        Method::PUT => Put,
        Method::DELETE => Delete,
        _ => Verb::Other,
    };
    let connection = |id: &str| named(id).map(Whom::Connection);
    let user = |id: &str| named(id).map(Whom::User);
    Ok(match (verb, parts) {
        (Post, [":generateToken"]) => Operation::GenerateToken,
        (Post, [":send"]) => Operation::Send(Whom::All),
        (Post, [":closeConnections"]) => Operation::Close(Whom::All),
        (Post, [":addToGroups"]) => Operation::AddToGroups,
        (Post, [":removeFromGroups"]) => Operation::RemoveFromGroups,
        (Head, ["connections", id]) => Operation::Exists(connection(id)?),
        (Delete, ["connections", id]) => Operation::Close(connection(id)?),
        (Post, ["connections", id, ":send"]) => Operation::Send(connection(id)?),
        (Delete, ["connections", id, "groups"]) => Operation::Leave(connection(id)?, None),
        (Head, ["groups", name]) => Operation::Exists(Whom::Group(group(name)?)),
        (Post, ["groups", name, ":send"]) => Operation::Send(Whom::Group(group(name)?)),
        (Post, ["groups", name, ":closeConnections"]) => {
            Operation::Close(Whom::Group(group(name)?))
        }
        (Get, ["groups", name, "connections"]) => Operation::List(group(name)?),
        (Put, ["groups", name, "connections", id]) => {
            Operation::Join(connection(id)?, group(name)?)
        }
        (Delete, ["groups", name, "connections", id]) => {
            Operation::Leave(connection(id)?, Some(group(name)?))
        }
        (Put, ["permissions", what, "connections", id]) => {
            Operation::Grant(action(what)?, named(id)?)
        }
        (Delete, ["permissions", what, "connections", id]) => {
            Operation::Revoke(action(what)?, named(id)?)
        }
        (Head, ["permissions", what, "connections", id]) => {
            Operation::Check(action(what)?, named(id)?)
        }
        (Head, ["users", id]) => Operation::Exists(user(id)?),
        (Post, ["users", id, ":send"]) => Operation::Send(user(id)?),
        (Post, ["users", id, ":closeConnections"]) => Operation::Close(user(id)?),
        (Delete, ["users", id, "groups"]) => Operation::Leave(user(id)?, None),
        (Put, ["users", id, "groups", name]) => Operation::Join(user(id)?, group(name)?),
        (Delete, ["users", id, "groups", name]) => Operation::Leave(user(id)?, Some(group(name)?)),
        _ => {
            let elsewhere = [
                Method::GET,
                Method::HEAD,
                Method::POST,
                Method::PUT,
                Method::DELETE,
            ]
            .iter()
            .any(|other| verb != Verb::Other && other != method && matches_any(other, parts));
            return Err(if elsewhere {
                Refused::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "this path is not served with this method",
                )
            } else {
                not_found()
            });
        }
    })
}

/// Whether a path is an operation with this method; asked only for the error's sake.
fn matches_any(method: &Method, parts: &[&str]) -> bool {
    let shape: Vec<&str> = parts
        .iter()
        .enumerate()
        .map(|(at, part)| {
            if at == 1 || at == 3 {
                "sendToGroup"
            } else {
                part
            }
        })
        .collect();
    match *method {
        Method::POST => {
            matches!(
                shape[..],
                [":generateToken"
                    | ":send"
                    | ":closeConnections"
                    | ":addToGroups"
                    | ":removeFromGroups"]
            ) || matches!(shape[..], ["connections" | "groups" | "users", _, ":send"])
        }
        Method::HEAD => matches!(shape[..], ["connections" | "groups" | "users", _]),
        Method::DELETE => matches!(
            shape[..],
            ["connections", _] | ["connections" | "users", _, "groups"]
        ),
        Method::GET => matches!(shape[..], ["groups", _, "connections"]),
        Method::PUT => matches!(
            shape[..],
            ["groups" | "permissions", _, "connections", _] | ["users", _, "groups", _]
        ),
        _ => false,
    }
}

impl Parameters {
    fn read(query: &str) -> Result<Self, Refused> {
        let mut parameters = Parameters::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let bad = |what: &str| Refused::bad(format!("{name} must be {what}"));
            let number = |low: u64, high: u64, what: &str| {
                value
                    .parse()
                    .ok()
                    .filter(|number| (low..=high).contains(number))
                    .ok_or_else(|| bad(what))
            };
            match name.as_ref() {
                "excluded" => parameters.excluded.push(value.into_owned()),
                "filter" if value.trim().is_empty() => {}
                "filter" => {
                    let filter = Filter::parse(&value);
                    parameters.filter =
                        Some(filter.map_err(|error| Refused::bad(error.to_string()))?);
                }
                "messageTtlSeconds" => {
                    parameters.ttl_seconds = number(0, 300, "0 to 300")? as u16;
                }
                "reason" => parameters.reason = value.into_owned(),
                "targetName" => parameters.target_name = Some(group(&value)?),
                "maxpagesize" => {
                    parameters.page_size = Some(number(1, 200, "1 to 200")? as usize);
                }
                "top" => {
                    let most = u64::from(u32::MAX);
                    parameters.top = Some(number(1, most, "a whole number from 1 on")? as usize);
                }
                "continuationToken" => parameters.continuation = Some(value.into_owned()),
                "userId" => parameters.user = Some(value.into_owned()),
                "role" => parameters.roles.push(value.into_owned()),
                "group" => parameters.groups.push(group(&value)?),
                "minutesToExpire" => {
                    let most = 366 * 24 * 60;
                    parameters.minutes = Some(number(1, most, "a whole number from 1 on")?);
                }
                "clientType" => match value.to_ascii_lowercase().as_str() {
                    "default" => {}
                    "mqtt" | "socketio" => {
                        return Err(Refused::bad("this hub serves the clientType Default only"));
                    }
                    _ => return Err(bad("Default, MQTT or SocketIO")),
                },
                "api-version" => parameters.api_version = Some(value.into_owned()),
                _ => {}
            }
        }
        Ok(parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, path: &str) -> Result<Operation, u16> {
        let path = format!("/api/hubs/chat/{path}");
        let (path, query) = path
            .split_once('?')
            .map_or((path.as_str(), None), |(p, q)| (p, Some(q)));
        Call::read(&method.parse().unwrap(), path, query)
            .map(|call| call.operation)
            .map_err(|refused| refused.status.as_u16())
    }

    #[test]
    fn every_row_of_the_service_api_is_found() {
        let c = || Whom::Connection("c".into());
        let u = || Whom::User("a b".into());
        let g = || Whom::Group("x/y".into());
        for (method, path, operation) in [
            ("POST", ":generateToken", Operation::GenerateToken),
            ("POST", "%3Asend", Operation::Send(Whom::All)),
            ("POST", ":closeConnections", Operation::Close(Whom::All)),
            ("POST", ":addToGroups", Operation::AddToGroups),
            ("POST", ":removeFromGroups", Operation::RemoveFromGroups),
            ("HEAD", "connections/c", Operation::Exists(c())),
            ("DELETE", "connections/c", Operation::Close(c())),
            ("POST", "connections/c/:send", Operation::Send(c())),
            (
                "DELETE",
                "connections/c/groups",
                Operation::Leave(c(), None),
            ),
            ("HEAD", "groups/x%2Fy", Operation::Exists(g())),
            ("POST", "groups/x%2Fy/:send", Operation::Send(g())),
            (
                "POST",
                "groups/x%2Fy/:closeConnections",
                Operation::Close(g()),
            ),
            (
                "GET",
                "groups/x%2Fy/connections",
                Operation::List("x/y".into()),
            ),
            (
                "PUT",
                "groups/x%2Fy/connections/c",
                Operation::Join(c(), "x/y".into()),
            ),
            (
                "DELETE",
                "groups/x%2Fy/connections/c",
                Operation::Leave(c(), Some("x/y".into())),
            ),
            (
                "PUT",
                "permissions/sendToGroup/connections/c",
                Operation::Grant(Action::Send, "c".into()),
            ),
            (
                "DELETE",
                "permissions/joinLeaveGroup/connections/c",
                Operation::Revoke(Action::Join, "c".into()),
            ),
            (
                "HEAD",
                "permissions/sendToGroup/connections/c",
                Operation::Check(Action::Send, "c".into()),
            ),
            ("HEAD", "users/a%20b", Operation::Exists(u())),
            ("POST", "users/a%20b/:send", Operation::Send(u())),
            (
                "POST",
                "users/a%20b/:closeConnections",
                Operation::Close(u()),
            ),
            ("DELETE", "users/a%20b/groups", Operation::Leave(u(), None)),
            (
                "PUT",
                "users/a%20b/groups/x%2Fy",
                Operation::Join(u(), "x/y".into()),
            ),
            (
                "DELETE",
                "users/a%20b/groups/x%2Fy",
                Operation::Leave(u(), Some("x/y".into())),
            ),
        ] {
            assert_eq!(read(method, path), Ok(operation), "{method} {path}");
        }
    }

    #[test]
    fn bad_requests_get_the_right_status() {
        for (method, path, status) in [
            ("POST", "nothing", 404),
            ("GET", ":send", 405),
            ("POST", "groups/%20/:send", 400),
            ("PUT", "permissions/all/connections/c", 400),
            ("POST", ":send?filter=userId", 400),
            ("POST", ":send?messageTtlSeconds=301", 400),
            ("GET", "groups/g/connections?maxpagesize=0", 400),
            ("POST", ":generateToken?clientType=MQTT", 400),
            ("POST", ":generateToken?minutesToExpire=0", 400),
        ] {
            assert_eq!(read(method, path), Err(status), "{method} {path}");
        }
    }
}
