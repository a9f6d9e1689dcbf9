//! Deliveries with faults armed: what goes wrong between a publish and one receiver.
//!
//! Each delivery is one opportunity for each fault of delivery, asked in a fixed order; a
//! fault that withholds the delivery ends the list.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use super::arena::Key;
use super::message::{Encoding, Message, Tail};
use super::outbox::Out;
use super::publish::Publication;
use super::sessions::connection_text;
use super::state::{Core, Timer};
use crate::hub::faults::{Damage, FaultKind, Fired, damaged};
use crate::hub::truth::Incident;
use crate::wire::Data;

/// How long a delivery held back for `swap` waits for the one to change places with;
/// after that it is delivered where it stands, and the fault tries again later.
const HELD_MAX: Duration = Duration::from_secs(1);

/// A delivery held back.
pub(crate) struct Held {
    kind: FaultKind,
    fired: Fired,
    publisher: Option<Key>,
    group: Option<Box<str>>,
    tail: Rc<Tail>,
    incident: Incident,
}

impl Core {
    /// Delivers to one member, or does wrong by it.
    pub(crate) fn deliver_faulty(
        &mut self,
        publication: &Publication<'_>,
        user: Option<&str>,
        member: Key,
        message: &mut Message<'_>,
    ) {
        let Some(session) = self.sessions.get(member) else {
            return;
        };
        let (reliable, encoding) = (session.dialect.is_reliable(), session.dialect.encoding());
        if let Some(state) = session.fault_state.as_deref() {
            if state.frozen {
                return;
            }
            let group = self.group_of(publication);
            let after = group.is_some_and(|group| state.left.contains(&group));
            self.truth.deliveries_after_leave += u64::from(after);
        }
        if self.fault(FaultKind::Drop, publication, member, None) {
            return;
        }
        if Some(member) == publication.publisher
            && self.fault(FaultKind::SwallowEcho, publication, member, None)
        {
            return;
        }
        if reliable {
            for (kind, withholds) in [(FaultKind::Omit, true), (FaultKind::SkipId, false)] {
                let next = self.last_id(member) + 1;
                if self.fault(kind, publication, member, Some(next)) {
                    self.skip_id(member);
                    if withholds {
                        return;
                    }
                }
            }
        }
        let tail = self
            .spoilt_tail(publication, user, member, encoding)
            .unwrap_or_else(|| message.tail(encoding, &mut self.scratch).clone());
        if let Some(last) = Some(self.last_id(member)).filter(|&last| last > 0)
            && self.fault(FaultKind::ReuseId, publication, member, Some(last))
        {
            self.send_unqueued(member, last, &tail);
            return;
        }
        self.release_before(publication, member);
        if self.hold(publication, member, &tail)
            || self.hold_for_cut(publication, member, &tail)
            || self.put_delivery_off(publication, member, &tail)
        {
            return;
        }
        let id = self.enqueue(member, &tail);
        let id = (id != 0).then_some(id);
        self.release_after(publication, member);
        if self.fault(FaultKind::DuplicateNewId, publication, member, id) {
            self.enqueue(member, &tail);
        }
        if self.fault(FaultKind::DuplicateSameId, publication, member, id) {
            self.send_unqueued(member, id.unwrap_or(0), &tail);
        }
        if self.is_doubled(publication, member) {
            self.enqueue(member, &tail);
        }
        self.hurt_connection(publication, member);
    }

    fn is_doubled(&self, publication: &Publication<'_>, member: Key) -> bool {
        self.faults.has(FaultKind::DoubleJoin)
            && self.group_of(publication).is_some_and(|group| {
                self.sessions
                    .get(member)
                    .and_then(|session| session.fault_state.as_deref())
                    .is_some_and(|state| state.doubled.contains(&group))
            })
    }

    /// What a publish brings to those who should not get it.
    pub(crate) fn deliver_extra(
        &mut self,
        publication: &Publication<'_>,
        user: Option<&str>,
        members: &[Key],
        message: &mut Message<'_>,
    ) {
        let &Publication {
            publisher,
            group,
            now,
            ..
        } = publication;
        if let Some(publisher) = publisher.filter(|_| publication.no_echo)
            && members.contains(&publisher)
            && self.fault(
                FaultKind::Echo,
                publication,
                publisher,
                self.next_id(publisher),
            )
        {
            self.deliver(publisher, message);
        }
        if let Some(fired) = self.faults.fires(FaultKind::Misdeliver, group, now) {
            match self.outsider(fired, publication, members) {
                Some(outsider) => {
                    let id = self.deliver(outsider, message);
                    self.book(
                        FaultKind::Misdeliver,
                        publication,
                        outsider,
                        (id != 0).then_some(id),
                    );
                }
                None => self.faults.refund(fired),
            }
        }
        if !members.is_empty()
            && let Some(fired) = self.faults.fires(FaultKind::Fabricate, group, now)
        {
            let member = members[self.faults.draw(fired, members.len())];
            let text: String = (0..48)
                .map(|_| char::from(b'a' + self.faults.draw(fired, 26) as u8))
                .collect();
            let data = Data::Text(text.into());
            let fabricated = Publication {
                data: &data,
                ..*publication
            };
            let id = self.deliver(member, &mut fabricated.message(user));
            self.book(
                FaultKind::Fabricate,
                publication,
                member,
                (id != 0).then_some(id),
            );
        }
    }

    /// A session of the publisher's hub that is not a member, and was none: what comes after
    /// a leave is `ignore_leave`'s.
    fn outsider(
        &mut self,
        fired: Fired,
        publication: &Publication<'_>,
        members: &[Key],
    ) -> Option<Key> {
        let from = self.faults.draw(fired, self.sessions.len());
        let group = self.group_of(publication);
        self.sessions.find_from(from, |key, session| {
            let left = session
                .fault_state
                .as_deref()
                .is_some_and(|state| group.is_some_and(|group| state.departed.contains(&group)));
            session.hub == publication.hub && !members.contains(&key) && !left
        })
    }

    /// The delivery with a damaged payload or a wrong envelope, if a fault says so.
    fn spoilt_tail(
        &mut self,
        publication: &Publication<'_>,
        user: Option<&str>,
        member: Key,
        encoding: Encoding,
    ) -> Option<Rc<Tail>> {
        let &Publication { group, data, .. } = publication;
        let mut tail = None;
        let next = Some(self.last_id(member) + 1);
        for (kind, damage) in [
            (FaultKind::Corrupt, Damage::Anywhere),
            (FaultKind::CorruptHead, Damage::Head),
            (FaultKind::CorruptTail, Damage::Tail),
            (FaultKind::Truncate, Damage::Cut),
        ] {
            if let Some(fired) = self.faults.fires(kind, group, publication.now) {
                match damaged(data, damage, |bound| self.faults.draw(fired, bound)) {
                    Some(damaged) => {
                        tail = Some(self.other_tail(publication, group, user, &damaged, encoding));
                        self.book(kind, publication, member, next);
                    }
                    None => self.faults.refund(fired),
                }
            }
        }
        // A server message names neither a group nor a user.
        if let Some(group) = group
            && self.fault(FaultKind::WrongGroup, publication, member, next)
        {
            let wrong = format!("{group}-wrong");
            tail = Some(self.other_tail(publication, Some(&wrong), user, data, encoding));
        }
        if group.is_some() && self.fault(FaultKind::WrongUser, publication, member, next) {
            let wrong = format!("{}-wrong", user.unwrap_or("nobody"));
            tail = Some(self.other_tail(publication, group, Some(&wrong), data, encoding));
        }
        if self.fault(FaultKind::WrongType, publication, member, next) {
            let other = other_type(data);
            tail = Some(self.other_tail(publication, group, user, &other, encoding));
        }
        tail
    }

    /// A publication with another envelope or payload, encoded.
    fn other_tail(
        &mut self,
        publication: &Publication<'_>,
        group: Option<&str>,
        user: Option<&str>,
        data: &Data<'_>,
        encoding: Encoding,
    ) -> Rc<Tail> {
        let other = Publication {
            group,
            data,
            ..*publication
        };
        let mut message = other.message(user);
        message.tail(encoding, &mut self.scratch).clone()
    }

    /// Holds a delivery back for a swap, if one is due and none is held already.
    fn hold(&mut self, publication: &Publication<'_>, member: Key, tail: &Rc<Tail>) -> bool {
        let now = publication.now;
        let is_holding = self
            .sessions
            .get(member)
            .and_then(|session| session.fault_state.as_deref())
            .is_some_and(|state| state.held.is_some());
        if is_holding {
            return false;
        }
        for kind in [FaultKind::Swap, FaultKind::SwapPublishers] {
            let Some(fired) = self.faults.fires(kind, publication.group, now) else {
                continue;
            };
            let held = Held {
                kind,
                fired,
                publisher: publication.publisher,
                group: publication.group.map(Box::from),
                tail: tail.clone(),
                incident: self.incident(publication, member, None),
            };
            if let Some(session) = self.sessions.get_mut(member) {
                session.fault_state.get_or_insert_default().held = Some(held);
            }
            self.set_timer(now + HELD_MAX, Timer::ReleaseHeld { session: member });
            return true;
        }
        false
    }

    /// Before a delivery of the publisher whose delivery is held to change places with one
    /// of another's: sends that one now, for nothing, or its own messages would change
    /// places.
    fn release_before(&mut self, publication: &Publication<'_>, member: Key) {
        let overtakes = self
            .sessions
            .get(member)
            .and_then(|session| session.fault_state.as_deref())
            .and_then(|state| state.held.as_ref())
            .is_some_and(|held| {
                held.kind == FaultKind::SwapPublishers && held.publisher == publication.publisher
            });
        if overtakes {
            self.give_up_swap(member);
        }
    }

    /// After a delivery that may be the partner of the one held: sends that one now.
    fn release_after(&mut self, publication: &Publication<'_>, member: Key) {
        let Some(held) = self
            .sessions
            .get_mut(member)
            .and_then(|session| session.fault_state.as_deref_mut())
            .and_then(|state| {
                state.held.take_if(|held| {
                    let same_publisher = held.publisher == publication.publisher;
                    match held.kind {
                        FaultKind::Swap => {
                            same_publisher && held.group.as_deref() == publication.group
                        }
                        _ => !same_publisher,
                    }
                })
            })
        else {
            return;
        };
        let id = self.enqueue(member, &held.tail);
        let incident = Incident {
            sequence_id: (id != 0).then_some(id),
            ..held.incident
        };
        self.truth.fault(held.kind, publication.now, incident);
    }

    /// The delivery held for `session` waited long enough: it goes as it is.
    pub(crate) fn release_held(&mut self, session: Key) {
        self.give_up_swap(session);
        self.end_overflowed();
    }

    fn give_up_swap(&mut self, session: Key) {
        let Some(held) = self
            .sessions
            .get_mut(session)
            .and_then(|session| session.fault_state.as_deref_mut())
            .and_then(|state| state.held.take())
        else {
            return;
        };
        self.faults.refund(held.fired);
        self.enqueue(session, &held.tail);
    }

    fn last_id(&self, key: Key) -> u64 {
        self.sessions.get(key).map_or(0, |session| session.last_id)
    }

    /// The sequence id that a session's next message gets, if it is one with numbers.
    fn next_id(&self, key: Key) -> Option<u64> {
        let session = self.sessions.get(key)?;
        session.dialect.is_reliable().then_some(session.last_id + 1)
    }

    fn skip_id(&mut self, key: Key) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.last_id += 1;
        }
    }

    /// Sends a data message that is not queued for replay.
    fn send_unqueued(&mut self, key: Key, sequence_id: u64, tail: &Rc<Tail>) {
        if let Some(link) = self.sessions.get(key).and_then(|session| session.link) {
            self.send(
                link,
                Out::Data {
                    sequence_id,
                    tail: tail.clone(),
                },
            );
        }
    }

    /// Takes an opportunity for a fault of a delivery and books it if it fires.
    pub(super) fn fault(
        &mut self,
        kind: FaultKind,
        publication: &Publication<'_>,
        member: Key,
        sequence_id: Option<u64>,
    ) -> bool {
        let fired = self
            .faults
            .fires(kind, publication.group, publication.now)
            .is_some();
        if fired {
            self.book(kind, publication, member, sequence_id);
        }
        fired
    }

    pub(super) fn book(
        &mut self,
        kind: FaultKind,
        publication: &Publication<'_>,
        member: Key,
        sequence_id: Option<u64>,
    ) {
        let incident = self.incident(publication, member, sequence_id);
        self.truth.fault(kind, publication.now, incident);
    }

    pub(super) fn incident(
        &self,
        publication: &Publication<'_>,
        member: Key,
        sequence_id: Option<u64>,
    ) -> Incident {
        let connection = |key| {
            self.sessions
                .get(key)
                .map(|session| connection_text(session.id))
        };
        Incident {
            connection: connection(member),
            group: publication.group.map(Into::into),
            sequence_id,
            publisher: publication.publisher.and_then(connection),
            ack_id: publication.ack_id.map(|id| id.0),
            ..Incident::default()
        }
    }
}

/// The same payload under another type's name, well-formed.
fn other_type<'a>(data: &'a Data<'a>) -> Data<'a> {
    match data {
        Data::Json(text) => Data::Text(Cow::Borrowed(text)),
        Data::Text(text) => Data::Binary(Cow::Borrowed(text.as_bytes())),
        Data::Binary(bytes) => Data::Protobuf(Cow::Borrowed(bytes)),
        Data::Protobuf(bytes) => Data::Binary(Cow::Borrowed(bytes)),
    }
}
