//! Repetitions: a message that the receiver has already (D4).
//!
//! What they mean depends on why the message was sent again, which the publisher's facts
//! tell, so they wait for those.

use super::facts::Causes;
use super::incident::Subject;
use super::kinds::{Permitted, Unknown, Violation};
use super::pairs::{Arrival, PairKey, Seen};
use super::plan::Promise;
use super::shard::Shard;
use crate::base::Time;
use crate::payload::{Cause, Identity};

/// Repetitions whose meaning is open at once. More can only be forged or of a flood of
/// repetitions: they are `late_or_duplicate`, proven neither way.
const CANDIDATES_MAX: usize = 65_536;

/// A repetition whose meaning is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    key: PairKey,
    identity: Identity,
    arrival: Arrival,
    relation: Relation,
    /// The first copy surely came on the same connection of the receiver.
    same_connection: bool,
}

/// How two delivered copies of one message relate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Relation {
    /// The same transmission: one execution, or one executed twice.
    Same,
    /// Two transmissions; the later had this cause.
    Repeated { cause: Cause, adjacent: bool },
}

/// A message numbered beyond what is known to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) member: u32,
    pub(super) identity: Identity,
    pub(super) arrival: Arrival,
}

/// The meaning of a repetition.
pub(super) enum Meaning {
    Violation(Violation),
    Permitted(Permitted),
    Unknown(Unknown),
}

impl Shard {
    /// A delivery of what the pair has. True when it is in fact the first sound one.
    pub(super) fn again(
        &mut self,
        key: PairKey,
        identity: &Identity,
        arrival: &Arrival,
        horizon: u32,
    ) -> bool {
        if self.pairs.faulted.remove(&(key, identity.seq)) {
            return true;
        }
        let relation = self.relate(key, identity);
        let slot = self.members[key.member() as usize].slot;
        let index = (slot.0 - self.slots.start) as usize;
        self.recorder.file();
        // The newest record is this frame itself.
        let same_connection = self
            .recorder
            .newest(index)
            .skip(1)
            .any(|record| record.epoch == arrival.epoch && record.is(identity));
        let candidate = Candidate {
            key,
            identity: *identity,
            arrival: *arrival,
            relation,
            same_connection,
        };
        if identity.seq <= horizon {
            // Its facts are forgotten.
            let meaning = if self.members[key.member() as usize].folded(key.stream()) {
                Meaning::Unknown(Unknown::LateOrDuplicate)
            } else {
                self.meaning(&candidate, u32::MAX, Causes::default())
            };
            self.count(&candidate, meaning);
        } else if self.candidates.len() < CANDIDATES_MAX {
            self.candidates.push(candidate);
        } else {
            // Why it was sent again will not be known here.
            self.count(&candidate, Meaning::Unknown(Unknown::LateOrDuplicate));
        }
        false
    }

    /// Compares a copy with those that came before, and remembers it.
    fn relate(&mut self, key: PairKey, identity: &Identity) -> Relation {
        let seen = self.pairs.repeated.entry((key, identity.seq)).or_default();
        if seen.is_empty() {
            // Deliveries of later transmissions are noted: the one before was the first.
            seen.push(Seen {
                tx: 0,
                attempt: 1,
                cause: Cause::First,
            });
        }
        let copy = Seen {
            tx: identity.tx,
            attempt: identity.attempt,
            cause: identity.cause,
        };
        let relation = relate_to(seen, copy);
        if !is_among(seen, copy) {
            seen.push(copy);
        }
        relation
    }

    /// Resolves the repetitions whose facts are there; at the end, all.
    pub(super) fn resolve_candidates(&mut self, last: bool, _now: Time) {
        let mut at = 0;
        while at < self.candidates.len() {
            let candidate = self.candidates[at];
            match self.facts_for(&candidate, last) {
                Some((floor, causes)) => {
                    self.candidates.swap_remove(at);
                    let meaning = self.meaning(&candidate, floor, causes);
                    self.count(&candidate, meaning);
                }
                None => at += 1,
            }
        }
    }

    /// The floor of the window in which a repetition came, and why the message was sent
    /// again; `None` while it is too early to tell.
    fn facts_for(&self, candidate: &Candidate, last: bool) -> Option<(u32, Causes)> {
        let membership = &self.members[candidate.key.member() as usize];
        let group = &self.groups[membership.group.index()];
        let stream = &group.streams[candidate.key.stream() as usize];
        let seq = candidate.identity.seq;
        if stream.settled < seq && !last {
            return None;
        }
        let causes = stream
            .exceptions_in(seq, seq)
            .first()
            .map_or(Causes::default(), |exception| exception.causes);
        if !membership.reconnected || candidate.same_connection {
            return Some((0, causes));
        }
        let mut marks = smallvec::SmallVec::new();
        membership
            .resolve(group, &self.told)
            .marks(stream, &mut marks);
        let floor = marks
            .iter()
            .find(|mark| mark.ordinal == candidate.arrival.window)
            .map_or(0, |mark| mark.floor);
        let open = membership
            .windows
            .iter()
            .any(|w| w.ordinal == candidate.arrival.window && w.ended.is_none());
        // An open window's floor is known within one exchange of facts.
        if floor == u32::MAX && open && !last {
            return None;
        }
        Some((floor, causes))
    }

    fn meaning(&self, candidate: &Candidate, floor: u32, causes: Causes) -> Meaning {
        let membership = &self.members[candidate.key.member() as usize];
        let across =
            membership.reconnected && !candidate.same_connection && candidate.identity.seq < floor;
        meaning(candidate.relation, across, causes, self.plan.promise)
    }

    fn count(&mut self, candidate: &Candidate, meaning: Meaning) {
        let kind = match meaning {
            Meaning::Permitted(kind) => return self.permitted.add(kind, 1),
            Meaning::Unknown(kind) => return self.unknown.add(kind, 1),
            // A violation only when no error was answered anywhere: known at the end.
            Meaning::Violation(Violation::DedupeBroken) => {
                self.dedupe_broken += 1;
                Violation::DedupeBroken
            }
            Meaning::Violation(kind) => {
                self.violations.add(kind, 1);
                kind
            }
        };
        let (identity, arrival) = (&candidate.identity, &candidate.arrival);
        let slot = self.members[candidate.key.member() as usize].slot;
        let subject = Subject {
            receiver: Some(slot.0),
            stream: Some(identity.stream()),
            seq: Some(identity.seq),
            frame: Some((arrival.at, arrival.id)),
            ..Subject::default()
        };
        let text = format!(
            "slot {slot} got {} again under sequenceId {}",
            self.message_name(identity.stream(), identity.seq),
            arrival.id
        );
        let evidence = vec![format!(
            "this copy: tx {} attempt {} cause {:?}, publisher epoch {} transport {}, arrived {} on epoch {} transport {}",
            identity.tx,
            identity.attempt,
            identity.cause,
            identity.epoch,
            identity.transport,
            arrival.at,
            arrival.epoch,
            arrival.transport
        )];
        self.incident(kind, subject, arrival.at, text, evidence);
    }
}

/// What a repetition means. `across`: on another connection, where the message was not owed.
pub(super) fn meaning(
    relation: Relation,
    across: bool,
    causes: Causes,
    promise: Promise,
) -> Meaning {
    match relation {
        Relation::Same if across => Meaning::Permitted(Permitted::DuplicatedAcrossConnections),
        Relation::Same => Meaning::Violation(Violation::Duplicated),
        Relation::Repeated { cause, adjacent } => {
            let why = |of: Cause| cause == of || (!adjacent && causes.contains(of));
            if why(Cause::NewConnection) {
                Meaning::Permitted(Permitted::DuplicatedByRetryOnNewConnection)
            } else if why(Cause::FreshAckId) {
                Meaning::Permitted(Permitted::DuplicatedByRetryWithNewAckId)
            } else if why(Cause::AfterError) {
                Meaning::Permitted(Permitted::DuplicatedByRetryAfterError)
            } else if why(Cause::AfterRecovery) && promise == Promise::Published {
                // The answer that the drop took may have been an error, which no hub
                // need remember; whether any error was seen elsewhere does not matter.
                Meaning::Unknown(Unknown::DuplicatedAfterLostAnswer)
            } else {
                Meaning::Violation(Violation::DedupeBroken)
            }
        }
    }
}

/// How a copy relates to those that came before.
pub(super) fn relate_to(seen: &[Seen], copy: Seen) -> Relation {
    let earlier = seen
        .iter()
        .filter(|s| s.attempt < copy.attempt)
        .max_by_key(|s| s.attempt);
    let later = seen
        .iter()
        .filter(|s| s.attempt > copy.attempt)
        .min_by_key(|s| s.attempt);
    match (is_among(seen, copy), earlier, later) {
        (true, ..) | (false, None, None) => Relation::Same,
        (false, Some(earlier), _) => Relation::Repeated {
            cause: copy.cause,
            adjacent: earlier.attempt + 1 == copy.attempt,
        },
        (false, None, Some(later)) => Relation::Repeated {
            cause: later.cause,
            adjacent: copy.attempt + 1 == later.attempt,
        },
    }
}

fn is_among(seen: &[Seen], copy: Seen) -> bool {
    seen.iter()
        .any(|s| s.tx == copy.tx || (s.attempt == copy.attempt && copy.attempt < 15))
}
