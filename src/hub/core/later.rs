//! What faults put off: acks, deliveries, joins, the end of a stall; and restarts.

use std::rc::Rc;
use std::time::Duration;

use super::arena::Key;
use super::message::Tail;
use super::outbox::Out;
use super::publish::Publication;
use super::requests::Source;
use super::state::{Core, Timer};
use crate::base::{AckId, Time};
use crate::hub::faults::{FaultKind, Fired};
use crate::hub::truth::Incident;

/// Things put off at once; a fault that would put off more does not fire.
const LATER_MAX: usize = 100_000;
/// Deliveries held back for `leave_cut`; later ones pass.
const CUT_MAX: usize = 1000;

/// Something put off.
pub(crate) enum Later {
    /// A frame to a transport.
    Send { link: Key, out: Out },
    /// A delivery to a session.
    Deliver { session: Key, tail: Rc<Tail> },
    /// A membership.
    Join { session: Key, group: Box<str> },
    /// The transport may write again.
    Wake { link: Key },
    /// Nobody left: what was held back is delivered after all.
    ReleaseCut { session: Key },
}

/// Deliveries held back in case their receiver leaves the group.
pub(crate) struct Cut {
    group: Key,
    tails: Vec<Rc<Tail>>,
    fired: Fired,
    incident: Incident,
}

impl Core {
    /// Whether something more can be put off.
    fn has_room_later(&self) -> bool {
        self.later.len() < LATER_MAX
    }

    fn put_off(&mut self, wait: Duration, what: Later) {
        self.later_set += 1;
        let number = self.later_set;
        self.later.insert(number, what);
        let at = self.now + wait;
        self.set_timer(at, Timer::Later { number });
    }

    /// Does what was put off under `number`.
    pub(super) fn do_later(&mut self, number: u64) {
        match self.later.remove(&number) {
            None => {}
            Some(Later::Send { link, out }) => self.send(link, out),
            Some(Later::Deliver { session, tail }) => {
                self.enqueue(session, &tail);
            }
            Some(Later::Join { session, group }) => self.join(session, &group),
            Some(Later::Wake { link }) => self.mark_dirty(link),
            Some(Later::ReleaseCut { session }) => self.release_cut(session),
        }
        self.end_overflowed();
    }

    /// The answer to a request: at once, or later with the fault `delay_ack`.
    pub(super) fn answer(&mut self, from: Source, out: Out, ack_id: AckId) {
        if self.faults.has(FaultKind::DelayAck)
            && self.has_room_later()
            && let Some(fired) = self.faults.fires(FaultKind::DelayAck, None, self.now)
        {
            let wait = self.faults.lasting(fired);
            self.request_incident(FaultKind::DelayAck, from, None, Some(ack_id), self.now);
            let link = from.link;
            self.put_off(wait, Later::Send { link, out });
        } else {
            self.send(from.link, out);
        }
    }

    /// Puts a delivery off if `delay_delivery` says so. Later ones overtake it: it gets its
    /// sequence id when it goes.
    pub(super) fn put_delivery_off(
        &mut self,
        publication: &Publication<'_>,
        member: Key,
        tail: &Rc<Tail>,
    ) -> bool {
        if !self.faults.has(FaultKind::DelayDelivery) || !self.has_room_later() {
            return false;
        }
        let group = publication.group;
        let Some(fired) = self.faults.fires(FaultKind::DelayDelivery, group, self.now) else {
            return false;
        };
        self.book(FaultKind::DelayDelivery, publication, member, None);
        let wait = self.faults.lasting(fired);
        let (session, tail) = (member, tail.clone());
        self.put_off(wait, Later::Deliver { session, tail });
        true
    }

    /// Joins a session to a group a while after it was told so, if `join_late` says so.
    pub(super) fn join_later(&mut self, from: Source, group: &str, ack_id: Option<AckId>) -> bool {
        if !self.faults.has(FaultKind::JoinLate) || !self.has_room_later() {
            return false;
        }
        let Some(fired) = self
            .faults
            .fires(FaultKind::JoinLate, Some(group), self.now)
        else {
            return false;
        };
        self.request_incident(FaultKind::JoinLate, from, Some(group), ack_id, self.now);
        let wait = self.faults.lasting(fired);
        let join = Later::Join {
            session: from.session,
            group: group.into(),
        };
        self.put_off(wait, join);
        true
    }

    /// A leave ends a join that is not in force yet: one fault is no second one.
    pub(super) fn forget_late_join(&mut self, leaver: Key, left: &str) {
        if !self.faults.has(FaultKind::JoinLate) {
            return;
        }
        self.later.retain(|_, what| match what {
            Later::Join { session, group } => (*session, &**group) != (leaver, left),
            _ => true,
        });
    }

    /// Stops all writing to a transport for a while.
    pub(super) fn stall_link(&mut self, link: Key, wait: Duration) {
        let until = self.now + wait;
        if let Some(state) = self.links.get_mut(link) {
            state.stalled_until = until;
            self.put_off(wait, Later::Wake { link });
        }
    }

    // ---- leave_cut ----------------------------------------------------------------------

    /// Holds a delivery back if `leave_cut` is on for this member and group, or begins now.
    pub(super) fn hold_for_cut(
        &mut self,
        publication: &Publication<'_>,
        member: Key,
        tail: &Rc<Tail>,
    ) -> bool {
        if !self.faults.has(FaultKind::LeaveCut) {
            return false;
        }
        let Some(group) = self.group_of(publication) else {
            return false;
        };
        let state = |core: &mut Core| {
            let session = core.sessions.get_mut(member)?;
            session
                .fault_state
                .get_or_insert_default()
                .cut
                .as_mut()
                .map(|cut| {
                    let holds = cut.group == group && cut.tails.len() < CUT_MAX;
                    if holds {
                        cut.tails.push(tail.clone());
                    }
                    holds
                })
        };
        if let Some(held) = state(self) {
            return held;
        }
        let name = publication.group;
        let Some(fired) = self.faults.fires(FaultKind::LeaveCut, name, self.now) else {
            return false;
        };
        let cut = Cut {
            group,
            tails: vec![tail.clone()],
            fired,
            incident: self.incident(publication, member, None),
        };
        let wait = self.faults.lasting(fired);
        if let Some(session) = self.sessions.get_mut(member) {
            session.fault_state.get_or_insert_default().cut = Some(cut);
        }
        self.put_off(wait, Later::ReleaseCut { session: member });
        true
    }

    fn take_cut(&mut self, session: Key) -> Option<Cut> {
        let session = self.sessions.get_mut(session)?;
        session.fault_state.as_deref_mut()?.cut.take()
    }

    /// The member leaves: what was held back for it is thrown away, each a fault.
    pub(super) fn cut_at_leave(&mut self, session: Key, group: Key) {
        match self.take_cut(session) {
            Some(cut) if cut.group == group => {
                for _ in &cut.tails {
                    let incident = cut.incident.clone();
                    self.truth.fault(FaultKind::LeaveCut, self.now, incident);
                }
            }
            Some(cut) => {
                if let Some(session) = self.sessions.get_mut(session) {
                    session.fault_state.get_or_insert_default().cut = Some(cut);
                }
            }
            None => {}
        }
    }

    fn release_cut(&mut self, session: Key) {
        if let Some(cut) = self.take_cut(session) {
            self.faults.refund(cut.fired);
            for tail in &cut.tails {
                self.enqueue(session, tail);
            }
        }
    }

    // ---- restart ------------------------------------------------------------------------

    /// Sets a timer for each `restart,at=T`.
    pub(super) fn arm_restarts(&mut self, start: Time) {
        for at in self.faults.times(FaultKind::Restart) {
            self.set_timer(start + at, Timer::Restart);
        }
    }

    pub(super) fn restart_at(&mut self, now: Time) {
        if self.faults.fires(FaultKind::Restart, None, now).is_some() {
            self.book_restart(None);
        }
    }

    /// Each publish is an opportunity for the fault `restart`.
    pub(super) fn restart_if_due(&mut self, publication: &Publication<'_>) {
        if self.faults.has(FaultKind::Restart) {
            let (group, now) = (publication.group, publication.now);
            if self.faults.fires(FaultKind::Restart, group, now).is_some() {
                self.book_restart(group);
            }
        }
    }

    fn book_restart(&mut self, group: Option<&str>) {
        self.restart_wanted = true;
        let incident = Incident {
            group: group.map(str::to_owned),
            ..Incident::default()
        };
        self.truth.fault(FaultKind::Restart, self.now, incident);
    }

    /// Whether a fault wants the hub to restart; asked once after each use of the core.
    pub(crate) fn take_restart(&mut self) -> bool {
        std::mem::take(&mut self.restart_wanted)
    }
}
