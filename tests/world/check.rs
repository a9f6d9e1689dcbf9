//! What must hold at the end of a world.

use std::collections::{BTreeMap, BTreeSet};

use super::app::App;
use super::net::{CLIENTS, WITNESS, World};
use crate::protocol::{Outcome, SessionConfig};

/// What happened in all worlds of a test: proof that the checks had something to check.
#[derive(Default, Debug)]
pub(super) struct Totals {
    pub(super) recovered: u32,
    pub(super) lost_sessions: u32,
    pub(super) resent: u32,
    pub(super) refused: u32,
    pub(super) delivered: usize,
}

impl Totals {
    pub(super) fn add(&mut self, other: Totals) {
        self.recovered += other.recovered;
        self.lost_sessions += other.lost_sessions;
        self.resent += other.resent;
        self.refused += other.refused;
        self.delivered += other.delivered;
    }
}

pub(super) fn all(world: &World) -> Result<Totals, String> {
    let mut totals = Totals::default();
    let config = SessionConfig::of(world.case.behaviour, world.case.subprotocol);
    let keeps_ack_ids = !config.retry.fresh_ack_id;
    for (index, client) in world.clients.iter().enumerate() {
        let broken = |what: String| format!("client {index}: {what}");
        nothing_skipped(&client.app).map_err(broken)?;
        nothing_twice(&client.app, keeps_ack_ids).map_err(broken)?;
        everything_ends(&client.app).map_err(broken)?;
        if client.session.outstanding() != 0 || !client.session.is_connected() {
            return Err(broken(format!("never came to rest: {:?}", client.session)));
        }
        totals.recovered += client.app.recovered;
        totals.lost_sessions += client.app.lost;
        totals.resent += client.app.resent;
        totals.refused += client.app.refused;
        totals.delivered += client.app.heard.iter().map(Vec::len).sum::<usize>();
    }
    if !world.case.restarts {
        outcomes_are_true(world)?;
    }
    nothing_waits(world)?;
    Ok(totals)
}

/// On each connection the application sees 1, 2, 3, ...: whatever happened to transports.
fn nothing_skipped(app: &App) -> Result<(), String> {
    for (epoch, heard) in app.heard.iter().enumerate() {
        for (expected, (id, payload)) in (1..).zip(heard) {
            if *id != expected {
                return Err(format!(
                    "connection {epoch}: {payload} is number {id}, not {expected}"
                ));
            }
        }
    }
    Ok(())
}

/// What was published on one connection is delivered at most once, retried or not. Where a
/// retry takes a new ackId the hub cannot know it again: then, once for each ackId.
fn nothing_twice(app: &App, keeps_ack_ids: bool) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for (_, payload) in app.heard.iter().flatten() {
        let message = match keeps_ack_ids {
            true => payload
                .rsplit_once('-')
                .map_or(payload.as_str(), |(it, _)| it),
            false => payload,
        };
        if !seen.insert(message) {
            return Err(format!("{payload} was delivered twice"));
        }
    }
    Ok(())
}

/// Every publish has exactly one outcome.
fn everything_ends(app: &App) -> Result<(), String> {
    for number in 1..=app.published {
        let outcomes = app.outcomes.get(&number).map_or(0, Vec::len);
        if outcomes != 1 {
            return Err(format!("publish {number} has {outcomes} outcomes"));
        }
    }
    Ok(())
}

/// Held against a member whose line never failed: acknowledged means executed, failed means
/// not executed.
fn outcomes_are_true(world: &World) -> Result<(), String> {
    let mut executed: BTreeMap<(usize, u32), u32> = BTreeMap::new();
    for (_, payload) in world.clients[WITNESS].app.heard.iter().flatten() {
        let mut parts = payload.split('-').map(|part| part.parse::<u32>());
        let (Some(Ok(client)), Some(Ok(number))) = (parts.next(), parts.next()) else {
            return Err(format!("{payload} was never published"));
        };
        *executed.entry((client as usize, number)).or_default() += 1;
    }
    for client in 0..CLIENTS {
        for (number, outcomes) in &world.clients[client].app.outcomes {
            let copies = executed.get(&(client, *number)).copied().unwrap_or(0);
            let right = match outcomes[0] {
                Outcome::Ok => copies > 0,
                Outcome::Failed => copies == 0,
                Outcome::Unknown | Outcome::FireAndForget => true,
            };
            if !right {
                return Err(format!(
                    "publish {client}-{number} ended {:?} and was executed {copies} times",
                    outcomes[0]
                ));
            }
        }
    }
    Ok(())
}

/// The hub holds nothing back, and remembers nobody who is gone.
fn nothing_waits(world: &World) -> Result<(), String> {
    let sessions: Vec<_> = world.core.sessions.keys().collect();
    if sessions.len() != world.clients.len() {
        return Err(format!("the hub has {} sessions", sessions.len()));
    }
    for key in sessions {
        let waiting = world.core.sessions.get(key).map_or(0, |s| s.unacked.len());
        if waiting > 0 {
            return Err(format!("{waiting} messages are never acknowledged"));
        }
    }
    Ok(())
}
