//! The `client` section of a pool, every policy of it.

use std::fmt::{self, Write as _};

use crate::base::units::format_duration;
use crate::protocol::{Backoff, Liveness};
use crate::scenario::model::ClientSpec;
use crate::scenario::resolve::client::REFUSALS;

use super::quoted;

pub(super) fn client(client: &ClientSpec, out: &mut String) -> fmt::Result {
    let duration = format_duration;
    let session = &client.session;
    let retry = &session.retry;
    writeln!(out, "    client:")?;
    writeln!(out, "      behaves_like: {}", client.behaviour.name())?;
    let timeout = retry
        .ack_timeout
        .map_or("never".to_owned(), |timeout| duration(timeout).to_string());
    let refusals = REFUSALS
        .iter()
        .find(|(_, answers)| *answers == retry.answers);
    writeln!(
        out,
        "      retry: {{attempts: {}, {}, ack_timeout: {timeout}, refusals: {}, fresh_ack_id: {}}}",
        retry.retries,
        backoff(&retry.backoff),
        refusals.map_or("errors", |(name, _)| name),
        retry.fresh_ack_id,
    )?;
    let ack = &session.sequence_ack;
    let every = match ack.every {
        u32::MAX => "never".to_owned(),
        every => every.to_string(),
    };
    let interval = duration(ack.interval);
    writeln!(
        out,
        "      sequence_ack: {{interval: {interval}, every: {every}}}"
    )?;
    let reconnect = &session.reconnect;
    let attempts = reconnect
        .attempts
        .map_or("unlimited".to_owned(), |most| most.to_string());
    writeln!(
        out,
        "      reconnect: {{attempts: {attempts}, {}}}",
        backoff(&reconnect.backoff)
    )?;
    writeln!(out, "      auto_reconnect: {}", reconnect.enabled)?;
    writeln!(out, "      auto_rejoin: {}", reconnect.rejoin.is_some())?;
    let connect_timeout = duration(client.connect_timeout);
    writeln!(out, "      connect_timeout: {connect_timeout}")?;
    let idle = match session.liveness {
        Liveness::Trust => "never".to_owned(),
        Liveness::Probe { after, within } => duration(after + within).to_string(),
        Liveness::Beat { silence, .. } => duration(silence).to_string(),
    };
    writeln!(out, "      idle_timeout: {idle}")?;
    let user_ids = if client.user_ids { "own" } else { "none" };
    writeln!(out, "      user_ids: {user_ids}")?;
    let roles: Vec<String> = client.roles.iter().map(|role| quoted(role)).collect();
    writeln!(out, "      roles: [{}]", roles.join(", "))?;
    let lifetime = duration(client.token_lifetime);
    writeln!(out, "      token_lifetime: {lifetime}")
}

fn backoff(backoff: &Backoff) -> String {
    let mode = match backoff.exponential {
        true => "exponential",
        false => "fixed",
    };
    format!(
        "mode: {mode}, delay: {}, max_delay: {}, jitter: {}%",
        format_duration(backoff.first),
        format_duration(backoff.max),
        backoff.jitter
    )
}
