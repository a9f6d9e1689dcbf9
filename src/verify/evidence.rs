//! The words of an incident: names, and the frames and events around it.

use super::incident::Subject;
use super::kinds::Violation;
use super::outcome::Suspect;
use super::shard::Shard;
use crate::base::{Slot, Time};
use crate::payload::StreamId;

/// Frames and control events quoted in an incident.
const FRAMES_QUOTED: usize = 20;
const CONTROL_QUOTED: usize = 20;
/// Recoveries quoted in an incident, the last first.
const RECOVERIES_QUOTED: usize = 5;

impl Shard {
    /// "message 7/group-3#1841 (publisher slot 7, user u-7)".
    pub(super) fn message_name(&self, stream: StreamId, seq: u32) -> String {
        let group = self.plan.name(stream.group).unwrap_or("?");
        let user = self
            .plan
            .slot(stream.publisher)
            .and_then(|slot| slot.user_id.as_deref());
        match user {
            Some(user) => format!(
                "message {}/{group}#{seq} (publisher slot {}, user {user})",
                stream.publisher, stream.publisher
            ),
            None => format!(
                "message {}/{group}#{seq} (publisher slot {})",
                stream.publisher, stream.publisher
            ),
        }
    }

    /// Keeps an incident with what the receiver's recorder holds.
    pub(super) fn incident(
        &mut self,
        kind: Violation,
        subject: Subject,
        now: Time,
        summary: String,
        mut evidence: Vec<String>,
    ) {
        if !self.incidents.wants(kind) {
            return;
        }
        let mut connection = None;
        if let Some(slot) = subject.receiver {
            self.receiver_story(Slot(slot), &mut evidence);
            let index = self.local(Slot(slot));
            let conn = index.and_then(|index| self.receivers[index].conn.as_ref());
            connection = conn.map(|conn| conn.id.to_string());
        }
        if let (Some(stream), Some(seq)) = (subject.stream, subject.seq) {
            self.pins.want(stream, seq);
        }
        let group = subject
            .stream
            .and_then(|stream| self.plan.name(stream.group))
            .map(str::to_owned);
        self.incidents
            .keep(kind, subject, now, summary, group, evidence);
        if let Some(kept) = self.incidents.kept.last_mut() {
            kept.incident.connections.extend(connection);
        }
    }

    /// Keeps an incident about a slot alone.
    pub(super) fn about_slot(&mut self, kind: Violation, slot: Slot, now: Time, summary: String) {
        let subject = Subject {
            receiver: Some(slot.0),
            ..Subject::default()
        };
        self.incident(kind, subject, now, summary, Vec::new());
    }

    /// A recovery is broken; counted once per recovery.
    pub(super) fn recovery_broken(
        &mut self,
        slot: Slot,
        epoch: u16,
        transport: u16,
        now: Time,
        why: impl FnOnce() -> String,
    ) {
        if self.broken.insert((slot.0, epoch, transport)) {
            let text = format!(
                "the recovery of slot {slot} (epoch {epoch}, transport {transport}): {}",
                why()
            );
            self.about_slot(Violation::RecoveryBroken, slot, now, text);
        }
    }

    /// The receiver's connection, its last control events and its last frames.
    pub(super) fn receiver_story(&self, slot: Slot, out: &mut Vec<String>) {
        let Some(index) = self.local(slot) else {
            return;
        };
        let receiver = &self.receivers[index];
        match &receiver.conn {
            Some(conn) => out.push(format!(
                "receiver slot {slot}: connection {} epoch {} transport {} ({:?})",
                conn.id, conn.epoch, conn.transport, conn.link
            )),
            None => out.push(format!("receiver slot {slot}: not connected")),
        }
        for recovery in receiver.recoveries.iter().rev().take(RECOVERIES_QUOTED) {
            out.push(format!(
                "recovery on epoch {} transport {}: lost {}, confirmed {}, about {} messages held for it",
                recovery.epoch,
                recovery.transport,
                recovery.lost_at,
                recovery.confirmed_at,
                recovery.held
            ));
        }
        for (at, control) in receiver.control.newest().take(CONTROL_QUOTED) {
            out.push(format!("event {at} {control}"));
        }
        for frame in receiver.frames.newest().take(FRAMES_QUOTED) {
            out.push(format!("frame {frame}"));
        }
    }

    /// The incident of a delivery that was refused with `Forbidden` (A3). Counted in the
    /// ledger.
    pub(super) fn forbidden_incident(&mut self, slot: Slot, stream: StreamId, seq: u32) {
        let subject = Subject {
            receiver: Some(slot.0),
            stream: Some(stream),
            seq: Some(seq),
        };
        let text = format!(
            "{} was answered Forbidden and reached slot {slot}",
            self.message_name(stream, seq)
        );
        let kind = Violation::AckForbiddenDelivered;
        self.incident(kind, subject, self.last_fold, text, Vec::new());
    }

    /// The incident of a loss.
    pub(super) fn loss_incident(&mut self, suspect: &Suspect, now: Time) {
        let (Some(kind), slot) = (suspect.kind, Slot(suspect.slot)) else {
            return;
        };
        let recovery = suspect.recovery.map(|at| (suspect.slot, suspect.epoch, at));
        let kind = match recovery {
            Some(recovery) if self.overfull.contains(&recovery) => Violation::LostOverflow,
            Some(_) => Violation::RecoveryBroken,
            None => kind,
        };
        if !self.incidents.wants(kind) {
            return;
        }
        let stream = suspect.stream;
        let count = match suspect.len() {
            1 => String::new(),
            n => format!(" and {} more up to seq {}", n - 1, suspect.last),
        };
        let text = format!(
            "{}{count} never reached slot {slot}; not seen within the drain of {:?}",
            self.message_name(stream, suspect.first),
            self.plan.drain
        );
        let mut evidence = Vec::new();
        if let Some(transport) = suspect.recovery {
            evidence.push(format!(
                "laid to the recovery on epoch {} transport {transport}: sent while the receiver was away, or its group is silent since",
                suspect.epoch
            ));
        }
        evidence.push(match suspect.overtaken {
            Some((at, id)) => {
                format!("a later message of the stream came at {at} under sequenceId {id}")
            }
            None => "no later message of the stream came".into(),
        });
        self.others(suspect, &mut evidence);
        self.membership_story(suspect, &mut evidence);
        let story = self.pins.story(slot.0, stream, suspect.first, suspect.last);
        evidence.extend_from_slice(story);
        if !story.is_empty() {
            evidence.push(format!("and at the end, {now}:"));
        }
        let subject = Subject {
            receiver: Some(slot.0),
            stream: Some(stream),
            seq: Some(suspect.first),
        };
        self.incident(kind, subject, now, text, evidence);
    }

    /// Who else of this shard got the first message of a loss.
    fn others(&self, suspect: &Suspect, out: &mut Vec<String>) {
        let group = &self.groups[suspect.stream.group.index()];
        let Some(stream) = group.find_stream(suspect.stream.publisher) else {
            return;
        };
        let others = group.members.iter().filter(|m| **m != suspect.member);
        let mut total = 0;
        let mut got = 0;
        for member in others {
            total += 1;
            let key = super::pairs::PairKey::new(*member, stream);
            let membership = &self.members[*member as usize];
            got += u64::from(self.pairs.has(membership, key, suspect.first));
        }
        out.push(format!(
            "others: {got} of {total} other members on the same thread got it"
        ));
    }

    pub(super) fn membership_story(&self, suspect: &Suspect, out: &mut Vec<String>) {
        for window in &self.members[suspect.member as usize].windows {
            let mut line = format!(
                "member on epoch {}: join sent {}",
                window.epoch, window.join_invoked
            );
            if let Some(at) = window.joined {
                line += &format!(", acked {at}");
            }
            if let Some(at) = window.leave_invoked {
                line += &format!(", leave sent {at}");
            }
            match window.ended {
                Some((at, how)) => line += &format!(", over {at} ({how:?})"),
                None => line += ", still a member",
            }
            out.push(line);
        }
    }
}
