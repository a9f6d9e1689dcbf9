//! What is connected right now, as JSON, for people and scripts on the same machine:
//! `/admin` (totals), `/admin/connections`, `/admin/groups`, `/admin/truth`.

use http::StatusCode;
use serde_json::json;

use super::answer::{Reply, error, json as reply};
use super::shell::Shell;

/// Lines of one listing; the total is always told.
const LISTED_MAX: usize = 10_000;

/// Answers a request to `/admin...`.
pub(super) fn page(shell: &Shell, path: &str) -> Reply {
    let core = shell.core.borrow();
    let value = match path.trim_end_matches('/') {
        "/admin" => {
            let load = core.load();
            json!({
                "connections": load.connected,
                "recoverable": load.recoverable,
                "groups": load.groups,
                "unackedMessages": load.unacked_messages,
                "unackedBytes": load.unacked_bytes,
                "pages": ["/admin/connections", "/admin/groups", "/admin/truth", "/metrics"],
            })
        }
        "/admin/connections" => json!({
            "total": core.sessions.len(),
            "connections": core.list_sessions(LISTED_MAX),
        }),
        "/admin/groups" => {
            let groups: Vec<_> = core
                .groups
                .list()
                .take(LISTED_MAX)
                .map(|(hub, name, members)| {
                    json!({"hub": &*hub, "group": &**name, "members": members.len()})
                })
                .collect();
            json!({"total": core.groups.count(), "groups": groups})
        }
        "/admin/truth" => match serde_json::to_value(core.truth()) {
            Ok(truth) => truth,
            Err(why) => {
                return error(StatusCode::INTERNAL_SERVER_ERROR, &why.to_string());
            }
        },
        _ => {
            return error(
                StatusCode::NOT_FOUND,
                "no such page; see /admin for the list",
            );
        }
    };
    reply(StatusCode::OK, format!("{value:#}\n"))
}
