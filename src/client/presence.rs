//! Clients that leave a group for a while, and visitors that leave for good.
//!
//! Both say so to the hub first, so that the verifier has an answer to hold deliveries
//! against; a visitor ends its connection when every request has its outcome.

use std::sync::Arc;

use crate::base::{GroupId, Time};
use crate::protocol::{Operation, Session};

use super::events::Me;
use super::publish::Message;

/// Where a client stands with its groups, beside its first joins.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// Whose turn it is to be left.
    turn: usize,
    /// The group that the client is away from: one at a time.
    away: Option<Away>,
    /// A visitor on its way out.
    leaving: bool,
}

#[derive(Debug)]
struct Away {
    group: GroupId,
    /// When to join again.
    until: Time,
    /// The leave has its outcome; only then a join may follow, or the two could change places.
    left: bool,
}

impl Presence {
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.away
            .as_ref()
            .filter(|away| away.left)
            .map(|away| away.until)
    }
}

impl Me {
    /// Leaves the next of the groups. Does nothing while away from one, before the first
    /// joins are through, or on the way out.
    pub(super) fn leave_a_group(&mut self, session: &mut Session<Message>, now: Time) {
        let shared = self.shared.clone();
        let Some(churn) = shared.scenario.pools[self.pool].churn else {
            return;
        };
        let here = self.is_ready() && self.presence.away.is_none() && !self.presence.leaving;
        if !here || self.groups.is_empty() || shared.load_over.get() {
            return;
        }
        let group = self.groups[self.presence.turn % self.groups.len()];
        let leave = Operation::Leave(shared.groups[group.index()].clone());
        if session.request(now, leave, true).is_ok() {
            self.presence.turn += 1;
            self.presence.away = Some(Away {
                group,
                until: now + churn.away,
                left: false,
            });
            self.clients(|clients| clients.leaves += 1);
        }
    }

    /// The hub's last word on a leave.
    pub(super) fn leave_settled(&mut self, group: &Arc<str>) {
        let id = self.shared.group_id(group);
        if let Some(away) = &mut self.presence.away
            && id == Some(away.group)
        {
            away.left = true;
        }
    }

    /// Joins the group again when its time has come.
    pub(super) fn return_to_group(&mut self, session: &mut Session<Message>, now: Time) {
        let back = |away: &mut Away| away.left && away.until <= now;
        if let Some(away) = self.presence.away.take_if(back)
            && !self.presence.leaving
        {
            self.join(session, away.group, now);
        }
    }

    /// A visitor's time is over: it leaves its groups; see [`Presence::is_leaving`].
    pub(super) fn depart(&mut self, session: &mut Session<Message>, now: Time) {
        self.presence.leaving = true;
        self.next_publish = None;
        if session.epoch().is_none() {
            // It never got in: nothing to leave, and nothing to wait for.
            session.abandon_requests();
            return;
        }
        let away = self.presence.away.take().map(|away| away.group);
        for group in self.groups.iter().filter(|group| Some(**group) != away) {
            let leave = Operation::Leave(self.shared.groups[group.index()].clone());
            // Bounded by the requests that a session takes; a group not left ends with the
            // connection.
            if session.request(now, leave, true).is_ok() {
                self.clients(|clients| clients.leaves += 1);
            }
        }
    }
}
